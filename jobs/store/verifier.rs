//! Looks at every word that comes from a benchmark.
//!
//! Invariants: a message whose number cannot be read counts as the one that was to come, so that one wrong word is one
//! wrong word and no loss besides; what an earlier process of this store had already is not counted as a fault.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use enrgdaq::job::{Context, Delivery};
use enrgdaq::message::{Origin, PayloadKind};
use hdrhistogram::Histogram;

use super::numbers::{Faults, Numbers};
use crate::jobs::pattern::{NUMBERS, Pattern, Words, number};

/// Whose words are known.
const BENCHMARK: &str = "DAQJobBenchmark";

/// Latencies from 1 ns to 1 h, to two digits.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// The latencies of the first so many nanoseconds are left out: memory is touched for the first time then.
const WARM_UP_NS: u64 = 1_000_000_000;

/// All that was seen.
#[derive(Debug)]
pub(super) struct Verifier {
    streams: Vec<Stream>,
    /// The stream of the last message.
    last: usize,
    counts: Counts,
    latencies: Histogram<u64>,
}

/// One start of a source.
#[derive(Debug)]
struct Stream {
    instance_id: String,
    /// `None`: nothing is known of its words.
    pattern: Option<Pattern>,
    numbers: Numbers,
    /// Bytes of its payloads: all have the same.
    len: Option<usize>,
}

#[derive(Debug, Default)]
struct Counts {
    messages: u64,
    bytes: u64,
    wrong: u64,
    redelivered: u64,
    faults: Faults,
}

impl Verifier {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("these bounds are allowed");
        Self { streams: Vec::new(), last: 0, counts: Counts::default(), latencies }
    }

    /// Looks at a message; `at_ns` is the time since the start.
    pub(super) fn look_at(&mut self, delivery: &mut Delivery, at_ns: u64) {
        let stream = self.stream_of(&delivery.envelope.head.src);
        let (stream, counts) = (&mut self.streams[stream], &mut self.counts);
        let Some(pattern) = stream.pattern else { return };
        let repeated = counts.faults.repeated;
        let kind = delivery.envelope.payload.first().map(|info| info.kind);
        let len = delivery.payload(0).map_or(0, <[u8]>::len);
        if kind != Some(PayloadKind::Records) && *stream.len.get_or_insert(len) != len {
            counts.wrong += 1;
        }
        match kind {
            Some(PayloadKind::Raw) => {
                counts.raw(delivery.payload(0).unwrap_or_default(), pattern, &mut stream.numbers);
            }
            Some(PayloadKind::Records) => counts.records(delivery, &mut stream.numbers),
            Some(PayloadKind::ArrowIpc) | None => counts.table(delivery, pattern, &mut stream.numbers),
        }
        if delivery.redelivered() {
            counts.redelivered += counts.faults.repeated - repeated;
            counts.faults.repeated = repeated;
        }
        if at_ns > WARM_UP_NS {
            self.latencies.saturating_record(u64::try_from(delivery.latency_ns()).unwrap_or(0).max(1));
        }
    }

    fn stream_of(&mut self, origin: &Origin) -> usize {
        let is_it = |stream: &Stream| stream.instance_id == origin.instance_id;
        if !self.streams.get(self.last).is_some_and(is_it) {
            self.last = self.streams.iter().position(is_it).unwrap_or_else(|| {
                let pattern = (origin.daq_job_type == BENCHMARK).then(|| Pattern::of(&origin.unique_id));
                let instance_id = origin.instance_id.clone();
                self.streams.push(Stream { instance_id, pattern, numbers: Numbers::default(), len: None });
                self.streams.len() - 1
            });
        }
        self.last
    }

    /// Shows the figures in the job's status.
    pub(super) fn report(&self, cx: &Context, at_ns: u64) {
        let Counts { messages, bytes, wrong, redelivered, faults } = &self.counts;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
        let show = |name: &str, value: u64| cx.figure(name, value as f64);
        show("messages", *messages);
        show("verified_bytes", *bytes);
        show("wrong", *wrong);
        show("lost", faults.lost);
        show("swapped", faults.swapped);
        show("repeated", faults.repeated);
        show("redelivered", *redelivered);
        if !self.latencies.is_empty() {
            let of = |quantile| self.latencies.value_at_quantile(quantile);
            let quantiles = [("p50", of(0.5)), ("p95", of(0.95)), ("p99", of(0.99)), ("max", self.latencies.max())];
            for (name, ns) in quantiles {
                #[expect(clippy::cast_precision_loss, reason = "an hour in nanoseconds fits")]
                cx.figure(&format!("latency_us_{name}"), ns as f64 / 1e3);
            }
        }
        show("at_ns", at_ns);
    }
}

impl Counts {
    fn raw(&mut self, bytes: &[u8], pattern: Pattern, numbers: &mut Numbers) {
        let first = bytes.first_chunk().map(|word| u64::from_le_bytes(*word));
        self.message(first, pattern, numbers, |words| words.wrong_bytes(bytes));
        self.bytes += bytes.len() as u64;
    }

    fn table(&mut self, delivery: &mut Delivery, pattern: Pattern, numbers: &mut Numbers) {
        let table = delivery.table().ok();
        let columns = table.iter().flat_map(|table| table.columns());
        let columns: Vec<_> = columns.filter_map(|column| column.as_primitive_opt::<Float64Type>()).collect();
        let first = columns.first().and_then(|column| column.values().first()).map(|float| float.to_bits());
        self.message(first, pattern, numbers, |words| {
            columns.iter().map(|column| words.wrong_floats(column.values())).sum()
        });
        self.bytes += columns.iter().map(|column| 8 * column.len() as u64).sum::<u64>();
    }

    /// One message with this word 0; `wrong` counts its wrong words.
    fn message(
        &mut self,
        first: Option<u64>,
        pattern: Pattern,
        numbers: &mut Numbers,
        wrong: impl Fn(&mut Words) -> u64,
    ) {
        let wrong_as = |number| wrong(&mut pattern.message(number));
        let expected = numbers.next().unwrap_or(0);
        let read = first.and_then(number);
        let said = read.unwrap_or(expected);
        let (mut number, mut found) = (said, wrong_as(said));
        if found > 0 && said != expected {
            // It may be the number that is wrong.
            let otherwise = wrong_as(expected);
            if otherwise < found {
                (number, found) = (expected, otherwise);
            }
        }
        self.messages += 1;
        self.wrong += found + u64::from(first.is_none());
        numbers.take(number, 1, &mut self.faults);
    }

    /// A pack: each record is its own number.
    fn records(&mut self, delivery: &Delivery, numbers: &mut Numbers) {
        let Ok(records) = delivery.records() else {
            self.wrong += 1;
            return;
        };
        let (mut first, mut count) = (numbers.next().unwrap_or(0), 0);
        for record in records {
            self.messages += 1;
            self.bytes += record.len() as u64;
            let number = <[u8; 8]>::try_from(record).map(u64::from_le_bytes).ok().filter(|&number| number < NUMBERS);
            match number {
                Some(number) if number != first + count => {
                    if count > 0 {
                        numbers.take(first, count, &mut self.faults);
                    }
                    (first, count) = (number, 0);
                }
                Some(_) => {}
                None => self.wrong += 1,
            }
            count += 1;
        }
        if count > 0 {
            numbers.take(first, count, &mut self.faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts after raw messages with these numbers, each changed by `change`.
    fn counts(numbers: &[u64], bytes: usize, change: impl Fn(u64, &mut [u8])) -> Counts {
        let (mut counts, mut seen, pattern) = (Counts::default(), Numbers::default(), Pattern::of("s"));
        for &number in numbers {
            let mut message = vec![0; bytes];
            pattern.message(number).fill_bytes(&mut message);
            change(number, &mut message);
            counts.raw(&message, pattern, &mut seen);
        }
        counts
    }

    #[test]
    fn what_is_right_has_no_fault() {
        for bytes in [8, 9, 1024] {
            let counts = counts(&[0, 1, 2, 3], bytes, |_, _| {});

            assert_eq!((counts.messages, counts.bytes), (4, 4 * bytes as u64));
            assert_eq!((counts.wrong, counts.faults), (0, Faults::default()), "{bytes} bytes");
        }
    }

    #[test]
    fn a_wrong_number_is_a_wrong_word_and_no_loss() {
        let flip =
            |at: usize, bit: u8| move |number, message: &mut [u8]| message[at] ^= if number == 2 { bit } else { 0 };
        for (at, bit) in [(0, 1), (3, 0x40), (7, 0x80), (7, 0x01), (800, 4)] {
            let counts = counts(&[0, 1, 2, 3, 4], 1024, flip(at, bit));

            assert_eq!((counts.wrong, counts.faults), (1, Faults::default()), "byte {at}");
        }
    }

    #[test]
    fn bytes_of_another_message_are_wrong_words_all_of_them() {
        let old = |number, message: &mut [u8]| {
            if number == 3 {
                Pattern::of("s").message(1).fill_bytes(&mut message[8..]);
            }
        };
        let counts = counts(&[0, 1, 2, 3, 4], 1024, old);

        assert_eq!((counts.wrong, counts.faults), (127, Faults::default()));
    }

    #[test]
    fn an_empty_message_is_wrong() {
        let counts = counts(&[0, 1], 0, |_, _| {});

        assert_eq!((counts.messages, counts.wrong), (2, 2));
    }
}
