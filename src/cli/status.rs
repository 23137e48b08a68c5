//! `enrgdaq status`: jobs, edges and alerts, for people or as JSON.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use super::ask::connect;
use crate::control::{Edge, FederationStatus, JobStatus, LinkState, LinkStatus, StateName, Status};
use crate::telemetry::with_commas;

pub(super) fn status(target: &Target, json: bool) -> Result<ExitCode, CliError> {
    let status = connect(target)?.status()?;
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, &status).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        false => out.write_all(picture(&status).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn picture(status: &Status) -> String {
    let mut text = String::new();
    let supervisor = &status.supervisor;
    let doing = if supervisor.is_stopping { "stopping" } else { "running" };
    line(
        &mut text,
        format_args!(
            "{}: {doing}, up {}, pid {}, {}, cpu {:.1} %, {:.1} MB",
            supervisor.info.supervisor_id,
            span(supervisor.uptime_s),
            supervisor.pid,
            supervisor.config_dir,
            supervisor.cpu_percent,
            supervisor.rss_mb
        ),
    );
    let jobs = std::iter::once(JOB_HEAD.map(str::to_owned)).chain(status.jobs.iter().map(job_row));
    table(&mut text, 2, &jobs.collect::<Vec<_>>());
    for job in &status.jobs {
        if let Some(reason) = &job.reason {
            line(&mut text, format_args!("  {}: {reason}", job.name));
        }
    }
    for job in status.jobs.iter().filter(|job| job.log.dropped > 0) {
        let dropped = with_commas(job.log.dropped);
        line(&mut text, format_args!("  {dropped} lines of {} are missing in its log file", job.name));
    }
    let regions: Vec<_> = status.jobs.iter().filter_map(region_row).collect();
    if !regions.is_empty() {
        table(&mut text, 1, &std::iter::once(REGION_HEAD.map(str::to_owned)).chain(regions).collect::<Vec<_>>());
    }
    if !status.edges.is_empty() {
        let edges = std::iter::once(EDGE_HEAD.map(str::to_owned)).chain(status.edges.iter().map(edge_row));
        table(&mut text, 1, &edges.collect::<Vec<_>>());
    }
    if let Some(federation) = &status.federation {
        links(&mut text, federation);
    }
    for alert in &status.alerts {
        let node = &alert.originated_supervisor_id;
        let of = if *node == supervisor.info.supervisor_id { String::new() } else { format!(" of {node}") };
        line(&mut text, format_args!("alert {}{of}: {}", alert.date, alert.alert_info.message));
    }
    text
}

const JOB_HEAD: [&str; 13] = [
    "job",
    "state",
    "pid",
    "up",
    "restarts",
    "in",
    "MB in",
    "out",
    "MB out",
    "gaps",
    "refused",
    "p99 ms",
    "cpu % / MB",
];

fn job_row(job: &JobStatus) -> [String; 13] {
    let stats = &job.stats;
    let is_running = job.pid.is_some();
    let if_running = |text: String| if is_running { text } else { "-".into() };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = |bytes: u64| if_running(format!("{:.1}", bytes as f64 / 1e6));
    let latency = &stats.latency_stats;
    [
        job.name.clone(),
        state(job),
        job.pid.map_or("-".into(), |pid| pid.to_string()),
        job.uptime_s.map_or("-".into(), span),
        job.restarts.to_string(),
        if_running(stats.message_in_stats.count.to_string()),
        megabytes(stats.message_in_bytes),
        if_running(stats.message_out_stats.count.to_string()),
        megabytes(stats.message_out_bytes),
        if_running((stats.message_in_missing + stats.message_out_dropped).to_string()),
        if_running((stats.message_in_refused + stats.frames_refused).to_string()),
        if latency.count == 0 { "-".into() } else { format!("{:.2}", latency.p99_ms) },
        if_running(format!("{:.1} / {:.1}", stats.resource_stats.cpu_percent, stats.resource_stats.rss_mb)),
    ]
}

/// What a writer has of the shared memory, and how long it had to wait for room.
const REGION_HEAD: [&str; 7] = ["ring of", "MiB", "fill %", "records", "dead time %", "dead s", "unrouted"];

fn region_row(job: &JobStatus) -> Option<[String; 7]> {
    let region = job.region?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (size, used) = (region.size_bytes as f64, region.used_bytes as f64);
    Some([
        job.name.clone(),
        format!("{:.1}", size / f64::from(1 << 20)),
        format!("{:.1}", if size > 0.0 { 100.0 * used / size } else { 0.0 }),
        region.records.to_string(),
        format!("{:.1}", region.dead_time_percent),
        format!("{:.1}", region.dead_time_s),
        region.unrouted.to_string(),
    ])
}

const EDGE_HEAD: [&str; 8] =
    ["messages from → to", "produced", "arrived", "waiting", "missing", "dropped", "skipped", "again"];

fn edge_row(edge: &Edge) -> [String; 8] {
    let Edge { writer, reader, produced, arrived, waiting, missing, dropped, skipped, redelivered } = edge;
    let counts = [produced, arrived, waiting, missing, dropped, skipped, redelivered];
    let [produced, arrived, waiting, missing, dropped, skipped, again] = counts.map(u64::to_string);
    [format!("{writer} → {reader}"), produced, arrived, waiting, missing, dropped, skipped, again]
}

const LINK_HEAD: [&str; 12] =
    ["link to", "state", "for", "sent", "received", "waiting", "MB", "s", "there", "again", "lost", "clock ms"];

fn links(text: &mut String, federation: &FederationStatus) {
    let rows = std::iter::once(LINK_HEAD.map(str::to_owned)).chain(federation.links.iter().map(link_row));
    table(text, 2, &rows.collect::<Vec<_>>());
    if federation.links.is_empty() {
        line(text, format_args!("  no leaf has connected yet"));
    }
    let FederationStatus { strangers, bad_frames, .. } = federation;
    if strangers + bad_frames > 0 {
        line(text, format_args!("  turned away: {strangers}; frames dropped that made no sense: {bad_frames}"));
    }
}

fn link_row(link: &LinkStatus) -> [String; 12] {
    let state = match link.state {
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
        LinkState::Lagging => "LAGGING",
        LinkState::Down => "DOWN",
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = link.lag_bytes as f64 / 1e6;
    [
        link.peer.clone(),
        state.into(),
        span(link.since_s),
        link.sent.to_string(),
        link.received.to_string(),
        link.lag_messages.to_string(),
        format!("{megabytes:.1}"),
        format!("{:.1}", link.lag_s),
        link.lag_there_messages.to_string(),
        (link.resent + link.duplicates).to_string(),
        (link.dropped + link.refused).to_string(),
        link.clock_offset_ms.map_or("-".into(), |offset| format!("{offset:.3}")),
    ]
}

fn state(job: &JobStatus) -> String {
    match (job.state, job.restart_in_s) {
        (StateName::Stopped, _) => "stopped".into(),
        (StateName::Waiting, _) => "waiting".into(),
        (StateName::Starting, _) => "starting".into(),
        (StateName::Ready, _) if job.stats.is_alive => "ready".into(),
        (StateName::Ready, _) => "ready, silent".into(),
        (StateName::BackingOff, seconds) => format!("restarts in {:.0} s", seconds.unwrap_or(0.0)),
        (StateName::Stopping, _) => "stopping".into(),
        (StateName::Exited, _) => "done".into(),
        (StateName::Fatal, _) => "FATAL".into(),
    }
}

/// `2d 03:04:05`, `03:04:05`.
fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of an uptime")]
    let s = seconds as u64;
    let days = if s >= 86_400 { format!("{}d ", s / 86_400) } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// Columns as wide as their widest cell; the first ones to the left, the others, with numbers, to the right.
fn table<const N: usize>(text: &mut String, left: usize, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let mut cells = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            let separator = if at == 0 { "" } else { "  " };
            cells += &if at < left { format!("{separator}{cell}{gap}") } else { format!("{separator}{gap}{cell}") };
        }
        line(text, format_args!("{}", cells.trim_end()));
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_shows_days_only_when_there_are_some() {
        assert_eq!(span(59.9), "00:00:59");
        assert_eq!(span(93_784.0), "1d 02:03:04");
    }

    #[test]
    fn an_edge_with_large_counts_still_fits_a_terminal() {
        let many = 123_456_789_012;
        let edge = Edge {
            writer: "digitizer".into(),
            reader: "csv".into(),
            produced: many,
            arrived: many,
            waiting: 65_536,
            missing: many,
            dropped: many,
            skipped: many,
            redelivered: 65_536,
        };
        let mut text = String::new();

        table(&mut text, 1, &[EDGE_HEAD.map(str::to_owned), edge_row(&edge)]);

        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let mut text = String::new();
        table(&mut text, 2, &[["→".into(), "b".into(), "c".into()], ["aa".into(), "b".into(), "100".into()]]);

        assert_eq!(text, "→   b    c\naa  b  100\n");
    }
}
