//! Prometheus' text format, 0.0.4.
//!
//! ```text
//! # HELP enrgdaq_job_restarts_total How often the job was started again.
//! # TYPE enrgdaq_job_restarts_total counter
//! enrgdaq_job_restarts_total{job="csv"} 2
//! ```
//!
//! Invariant: a family's samples stand together under its HELP and TYPE; whatever a label holds, it is one line.

use std::fmt::Write;

/// The type of the text.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// A family whose samples are being written.
#[derive(Debug)]
pub(super) struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family of counters.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, "counter")
    }

    /// Begins a family of gauges.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// Begins a family of histograms.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.0, name }
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// A sample.
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: f64) {
        self.put_part("", labels, value);
    }

    /// A count; exact below 2⁵³.
    #[expect(clippy::cast_precision_loss, reason = "the reader has such numbers only")]
    pub(super) fn count(&mut self, labels: &[(&str, &str)], count: u64) {
        self.put(labels, count as f64);
    }

    /// A sample of a part of a histogram: `_bucket`, `_sum`, `_count`.
    pub(super) fn put_part(&mut self, part: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(part);
        for (at, (name, label)) in labels.iter().enumerate() {
            let label = label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let mark = if at == 0 { '{' } else { ',' };
            write!(self.text, "{mark}{name}=\"{label}\"").expect("a text takes everything");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.text, "{end} {value}").expect("a text takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_hold_anything_and_is_one_line() {
        let mut text = Exposition::default();
        let mut family = text.gauge("enrgdaq_x_bytes", "What\nit \\ is.");
        family.count(&[], 3);
        family.put(&[("job", "a\"b\\c\nd"), ("state", "ready")], 0.5);

        assert_eq!(
            text.into_text(),
            "# HELP enrgdaq_x_bytes What\\nit \\\\ is.\n# TYPE enrgdaq_x_bytes gauge\nenrgdaq_x_bytes 3\n\
             enrgdaq_x_bytes{job=\"a\\\"b\\\\c\\nd\",state=\"ready\"} 0.5\n"
        );
    }
}
