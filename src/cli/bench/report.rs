//! What a measurement says: the figures of two samples and of the end become rates, ratios, sums and a verdict.

use std::fmt;

use serde::Serialize;

use super::figures::Figures;
use super::options::{Content, Plant, Wait};
use super::plan::Plan;
use super::run::{Measured, Sample};

/// One measurement, as `--json` prints it. Megabytes and gigabytes are 10⁶ and 10⁹ bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) payload_bytes: u64,
    pub(super) clients: u64,
    pub(super) content: Content,
    pub(super) store: &'static str,
    pub(super) shm: bool,
    pub(super) wait: Wait,
    /// The time between the two samples.
    pub(super) seconds: f64,
    /// Of all sources together.
    pub(super) messages_per_s: f64,
    /// Payloads that arrived, of all sources together.
    pub(super) mb_per_s: f64,
    /// The same, if every word of them was looked at.
    pub(super) verified_mb_per_s: Option<f64>,
    pub(super) memcpy_mb_per_s: f64,
    /// Of what arrived to what one thread copies.
    pub(super) ratio: f64,
    /// From the first to the last, warm-up included.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// Words, not messages.
    pub(super) wrong: u64,
    pub(super) swapped: u64,
    pub(super) repeated: u64,
    pub(super) latency_us: Option<Latency>,
    /// Processor time of supervisor and jobs.
    pub(super) cpu_s_per_gb: f64,
    /// Private memory of supervisor and jobs.
    pub(super) rss_mb: f64,
    /// Every job ended as it should.
    pub(super) ended_well: bool,
    pub(super) planted: Option<Plant>,
}

/// From commit to receipt, warm-up excluded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Report {
    pub(super) fn of(plan: &Plan, measured: &Measured) -> Self {
        let Measured { begin, end, last, memcpy_bytes_per_s, ended_well } = measured;
        let (messages_per_s, bytes_per_s) = rates(begin, end);
        let cpu = end.used.cpu.saturating_sub(begin.used.cpu).as_secs_f64();
        let cpu_per_s = cpu / end.at.duration_since(begin.at).as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "memory of processes")]
        let private_bytes = end.used.private_bytes as f64;
        Self {
            payload_bytes: plan.message.bytes(),
            clients: plan.clients,
            content: plan.message.content(),
            store: plan.store.job_type,
            shm: plan.uses_shm,
            wait: plan.wait,
            seconds: rounded(span(begin, end), 3),
            messages_per_s: rounded(messages_per_s, 1),
            mb_per_s: rounded(bytes_per_s / 1e6, 3),
            verified_mb_per_s: plan.store.verifies().then(|| rounded(bytes_per_s / 1e6, 3)),
            memcpy_mb_per_s: rounded(memcpy_bytes_per_s / 1e6, 1),
            ratio: rounded(bytes_per_s / memcpy_bytes_per_s, 4),
            sent: count(last.sent),
            received: count(last.received),
            lost: count(last.lost),
            wrong: count(last.wrong),
            swapped: count(last.swapped),
            repeated: count(last.repeated),
            latency_us: last.latency_us.map(|us| {
                let [p50, p95, p99, max] = us.map(|us| rounded(us, 1));
                Latency { p50, p95, p99, max }
            }),
            cpu_s_per_gb: if bytes_per_s > 0.0 { rounded(cpu_per_s / (bytes_per_s / 1e9), 3) } else { 0.0 },
            rss_mb: rounded(private_bytes / 1e6, 1),
            ended_well: *ended_well,
            planted: plan.plant,
        }
    }

    /// No fault; or, if one was planted, exactly that.
    pub(super) fn is_good(&self) -> bool {
        let once = |plant| u64::from(self.planted == Some(plant));
        let expected = [once(Plant::Wrong), once(Plant::Lost), once(Plant::Swapped), 0];
        [self.wrong, self.lost, self.swapped, self.repeated] == expected && self.ended_well
    }
}

/// The time between two samples: by the store's clock, if it has one.
fn span(begin: &Sample, end: &Sample) -> f64 {
    match (begin.figures.at_s, end.figures.at_s) {
        (Some(begin), Some(end)) => end - begin,
        _ => end.at.duration_since(begin.at).as_secs_f64(),
    }
}

/// Messages and bytes a second.
fn rates(begin: &Sample, end: &Sample) -> (f64, f64) {
    let span = span(begin, end).max(1e-9);
    let rate = |of: fn(&Figures) -> f64| (of(&end.figures) - of(&begin.figures)) / span;
    (rate(|figures| figures.received), rate(|figures| figures.bytes))
}

/// A count, as figures carry it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 2⁵³")]
fn count(figure: f64) -> u64 {
    figure.round() as u64
}

fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

/// For people: a few lines with units.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = if self.clients == 1 { "1 source".into() } else { format!("{} sources", self.clients) };
        let way = if self.shm { "shared memory" } else { "the bus" };
        let content = format!("{:?}", self.content).to_lowercase();
        writeln!(f, "{clients}, {content} of {}, over {way} to {}", bytes(self.payload_bytes), self.store)?;
        let verified = if self.verified_mb_per_s.is_some() { "every word verified" } else { "not verified" };
        writeln!(
            f,
            "  throughput  {:.1} messages/s, {:.1} MB/s, {verified}, for {:.1} s",
            self.messages_per_s, self.mb_per_s, self.seconds
        )?;
        writeln!(f, "  of memcpy   {:.2} (one thread copies {:.0} MB/s)", self.ratio, self.memcpy_mb_per_s)?;
        let Self { sent, received, lost, wrong, swapped, repeated, .. } = self;
        writeln!(
            f,
            "  messages    {sent} sent, {received} received, {lost} lost, {swapped} swapped, {repeated} repeated"
        )?;
        writeln!(f, "  words       {wrong} wrong")?;
        if let Some(Latency { p50, p95, p99, max }) = self.latency_us {
            writeln!(f, "  latency     p50 {p50:.1} µs, p95 {p95:.1} µs, p99 {p99:.1} µs, longest {max:.1} µs")?;
        }
        writeln!(
            f,
            "  cost        {:.3} s of processor time a GB, {:.1} MB of memory",
            self.cpu_s_per_gb, self.rss_mb
        )?;
        match (self.planted, self.is_good()) {
            (None, true) => Ok(()),
            (None, false) if self.ended_well => writeln!(f, "  FAULTS: see above"),
            (_, false) if !self.ended_well => writeln!(f, "  FAULT: a job did not end as it should"),
            (Some(_), true) => writeln!(f, "  the planted fault was found, and no other"),
            (_, false) => writeln!(f, "  FAULT: found is not exactly what was planted"),
        }
    }
}

/// For people: a line a measurement.
pub(super) fn table(reports: &[Report], has_head: bool) -> String {
    let mut text = String::new();
    if has_head {
        text += &row(["payload", "messages/s", "MB/s", "of memcpy", "p50 µs", "p99 µs", "s/GB", "lost", "wrong"]);
    }
    for report in reports {
        let latency =
            |of: fn(&Latency) -> f64| report.latency_us.as_ref().map_or("-".into(), |l| format!("{:.1}", of(l)));
        let cells = [
            bytes(report.payload_bytes),
            format!("{:.0}", report.messages_per_s),
            format!("{:.1}", report.mb_per_s),
            format!("{:.3}", report.ratio),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
            format!("{:.3}", report.cpu_s_per_gb),
            report.lost.to_string(),
            report.wrong.to_string(),
        ];
        text += &row(cells.each_ref().map(String::as_str));
    }
    text
}

fn row(cells: [&str; 9]) -> String {
    let [first, rest @ ..] = cells;
    let rest: String = rest.iter().map(|cell| format!("  {cell:>11}")).collect();
    format!("{first:>10}{rest}\n")
}

/// `160 kB`; in powers of ten.
pub(super) fn bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => (1, "B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let value = rounded(bytes as f64 / unit as f64, 3);
    format!("{value} {name}")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::super::machine::Use;
    use super::super::plan::tests::plan;
    use super::*;

    fn measured(last: Figures) -> Measured {
        let now = Instant::now();
        let sample = |received: f64, seconds: u64| Sample {
            at: now + Duration::from_secs(seconds),
            figures: Figures { received, bytes: received * 1000.0, at_s: Some(7.0 + seconds as f64), ..last },
            used: Use { cpu: Duration::from_secs(seconds), private_bytes: 30_000_000 },
        };
        Measured {
            begin: sample(1000.0, 0),
            end: sample(2_001_000.0, 4),
            last,
            memcpy_bytes_per_s: 1e9,
            ended_well: true,
        }
    }

    /// What a run of that command line might have said.
    pub(in crate::cli::bench) fn report(line: &str, lost: f64) -> Report {
        let latency_us = Some([1.0, 2.0, 3.0, 4.0]);
        Report::of(
            &plan(line).unwrap(),
            &measured(Figures { sent: 9.0, received: 9.0, lost, latency_us, ..Figures::default() }),
        )
    }

    #[test]
    fn rates_are_differences_of_two_samples() {
        let report = report("", 0.0);

        assert_eq!((report.seconds, report.messages_per_s, report.mb_per_s), (4.0, 500_000.0, 500.0));
        assert_eq!((report.verified_mb_per_s, report.ratio), (Some(500.0), 0.5));
        assert_eq!((report.cpu_s_per_gb, report.rss_mb), (2.0, 30.0), "one core, half a GB a second");
    }

    #[test]
    fn only_the_planted_fault_is_good() {
        assert!(report("", 0.0).is_good());
        assert!(!report("", 1.0).is_good());
        assert!(report("--plant lost", 1.0).is_good());
        assert!(!report("--plant lost", 0.0).is_good());
        assert!(!report("--plant lost", 2.0).is_good());
        assert!(!report("--plant wrong", 1.0).is_good());
        assert!(!Report { repeated: 1, ..report("", 0.0) }.is_good());
        assert!(!Report { ended_well: false, ..report("", 0.0) }.is_good());
    }

    #[test]
    fn the_json_has_the_fields_that_programs_read() {
        let json = serde_json::to_value(report("", 0.0)).unwrap();

        let numbers = [
            "payload_bytes",
            "messages_per_s",
            "verified_mb_per_s",
            "memcpy_mb_per_s",
            "ratio",
            "sent",
            "received",
            "lost",
            "wrong",
            "swapped",
            "repeated",
            "cpu_s_per_gb",
            "rss_mb",
        ];
        assert!(numbers.iter().all(|key| json[key].is_number()), "{json}");
        assert!(["p50", "p95", "p99", "max"].iter().all(|key| json["latency_us"][key].is_number()), "{json}");
        assert!(serde_json::to_value(report("--store csv", 0.0)).unwrap()["verified_mb_per_s"].is_null());
    }

    #[test]
    fn people_get_units_and_columns() {
        assert_eq!([96, 1024, 160_000, 8_000_000].map(bytes), ["96 B", "1.024 kB", "160 kB", "8 MB"]);
        let text = report("--clients 2", 0.0).to_string();
        assert!(text.starts_with("2 sources, table of 160 kB, over shared memory to DAQJobStoreMemory\n"), "{text}");
        let lines = table(&[report("", 0.0)], true);
        let widths: Vec<_> = lines.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths[0], widths[1], "{lines}");
    }
}
