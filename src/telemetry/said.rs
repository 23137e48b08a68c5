//! Lines that a job, or the supervisor itself, said at one time: kept as they came, looked at only when they are shown.
//!
//! So a job that floods its log costs the time of a copy; each line is cut out, and a marked one read, where it is written.

use std::borrow::Cow;
use std::sync::Arc;

use crate::job::{LogLine, MARK};
use crate::os::{iso_now, now_ns};

/// What was read at one time.
#[derive(Debug)]
pub(crate) struct Said {
    /// By whom.
    pub(crate) by: Arc<str>,
    /// When, as nanoseconds since the Unix epoch.
    pub(crate) at_ns: i64,
    /// When, as ISO 8601 with offset.
    pub(crate) stamp: String,
    /// Whole lines, each with its end.
    text: Vec<u8>,
    lines: u64,
}

/// One line, as far as it is understood.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// `ERROR`, `WARNING`, `INFO` or `DEBUG`.
    pub(crate) level: &'static str,
    /// ISO 8601 with offset.
    pub(crate) stamp: Cow<'a, str>,
    /// Where in the program; `output` for what is no record.
    pub(crate) module: Cow<'a, str>,
    /// Any bytes; only that of a record can have several lines.
    pub(crate) text: Cow<'a, [u8]>,
}

impl Said {
    /// Whole lines, each with its end, said now.
    pub(crate) fn now(by: Arc<str>, text: Vec<u8>) -> Self {
        let lines = memchr::memchr_iter(b'\n', &text).count() as u64;
        Self { by, at_ns: now_ns(), stamp: iso_now(), text, lines }
    }

    /// A record of this process.
    pub(crate) fn record(by: Arc<str>, line: &LogLine) -> Self {
        let json = serde_json::to_string(line).expect("a line has string keys only");
        Self::now(by, format!("{MARK}{json}\n").into_bytes())
    }

    /// How many lines.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Each line, oldest first.
    pub(crate) fn each(&self) -> impl Iterator<Item = Line<'_>> {
        let mut from = 0;
        memchr::memchr_iter(b'\n', &self.text).map(move |end| {
            let line = &self.text[from..end];
            from = end + 1;
            self.line(line)
        })
    }

    fn line<'a>(&'a self, line: &'a [u8]) -> Line<'a> {
        let json = line.strip_prefix(MARK.encode_utf8(&mut [0; 4]).as_bytes());
        match json.and_then(|json| serde_json::from_slice::<LogLine>(json).ok()) {
            Some(record) => Line {
                level: level(&record.level),
                stamp: if is_stamp(&record.timestamp) { record.timestamp.into() } else { (&self.stamp).into() },
                module: record.module.into(),
                text: record.message.into_bytes().into(),
            },
            None => Line {
                level: "INFO",
                stamp: (&self.stamp).into(),
                module: "output".into(),
                text: line.trim_ascii_end().into(),
            },
        }
    }
}

impl Line<'_> {
    /// As programs get it.
    pub(crate) fn to_record(&self) -> LogLine {
        LogLine {
            level: self.level.into(),
            module: self.module.to_string(),
            message: String::from_utf8_lossy(&self.text).into_owned(),
            timestamp: self.stamp.to_string(),
        }
    }

    /// As people read it, with its end: `2026-11-20 11:00:00.000 INFO    [job] text`. Further lines of a record are indented.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>, job: Option<&str>) {
        let stamp = self.stamp.get(..23).unwrap_or(&self.stamp).as_bytes();
        let (date, time) = stamp.split_at(stamp.len().min(10));
        out.extend_from_slice(date);
        out.push(b' ');
        out.extend_from_slice(time.get(1..).unwrap_or_default());
        out.push(b' ');
        out.extend_from_slice(self.level.as_bytes());
        out.extend_from_slice(&b"        "[self.level.len()..]);
        if let Some(job) = job {
            out.push(b'[');
            out.extend_from_slice(job.as_bytes());
            out.extend_from_slice(b"] ");
        }
        for (at, part) in self.text.split(|&byte| byte == b'\n').enumerate() {
            if at > 0 {
                out.extend_from_slice(b"\n    ");
            }
            put_visibly(out, part);
        }
        out.push(b'\n');
    }

    /// As a JSON object, with the line's end.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>, job: Option<&str>) {
        #[derive(serde::Serialize)]
        struct Object<'a> {
            timestamp: &'a str,
            level: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            job: Option<&'a str>,
            module: &'a str,
            message: Cow<'a, str>,
        }
        let message = String::from_utf8_lossy(&self.text);
        let object = Object { timestamp: &self.stamp, level: self.level, job, module: &self.module, message };
        serde_json::to_writer(&mut *out, &object).expect("a Vec takes all");
        out.push(b'\n');
    }
}

/// A level that jobs of any program may have misspelt.
fn level(name: &str) -> &'static str {
    match name {
        "ERROR" => "ERROR",
        "WARNING" => "WARNING",
        "INFO" => "INFO",
        _ => "DEBUG",
    }
}

fn is_stamp(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"-T:.+Z ".contains(&byte);
    (19..=40).contains(&text.len()) && text.bytes().all(is_part)
}

/// Appends text without what a terminal would obey: control characters are shown as `\x1b`, tabs stay.
pub(crate) fn put_visibly(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push(b'\t'),
                c if c.is_control() => out.extend(format!("\\x{:02x}", u32::from(c)).bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(said: &Said) -> String {
        let mut out = Vec::new();
        said.each().for_each(|line| line.write_text(&mut out, Some("hv")));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_has_its_own_level_and_time_and_a_plain_line_that_of_its_arrival() {
        let record = LogLine {
            level: "WARNING".into(),
            module: "m".into(),
            message: "a\nb".into(),
            timestamp: "2026-11-20T11:00:00.000+01:00".into(),
        };
        let mut text = format!("{MARK}{}\n", serde_json::to_string(&record).unwrap());
        text += "plain\r\n";
        let said = Said::now("hv".into(), text.into_bytes());

        let written = text_of(&said);

        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines[..2], ["2026-11-20 11:00:00.000 WARNING [hv] a", "    b"]);
        assert!(lines[2].ends_with(" INFO    [hv] plain"), "{}", lines[2]);
        assert_eq!(lines[2][..10], said.stamp[..10]);
    }

    #[test]
    fn a_record_cannot_forge_a_line_by_its_level_or_time() {
        let forged = LogLine {
            level: "INFO\n2026".into(),
            module: "m".into(),
            message: "x".into(),
            timestamp: "2026-11-20T11:00:00\n.000".into(),
        };
        let said = Said::record("hv".into(), &forged);

        assert_eq!(text_of(&said).lines().count(), 1);
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let said = Said::now("hv".into(), "a\u{1b}[2J\tä\u{9b}\u{7}b\n".into());

        assert!(text_of(&said).ends_with("[hv] a\\x1b[2J\tä\\x9b\\x07b\n"), "{}", text_of(&said));
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines(bytes in any::<Vec<u8>>()) {
            let said = Said::now("hv".into(), [&bytes[..], b"\n"].concat());

            prop_assert_eq!(said.each().count() as u64, said.lines());
            let mut json = Vec::new();
            said.each().for_each(|line| line.write_json(&mut json, None));
            prop_assert_eq!(memchr::memchr_iter(b'\n', &json).count() as u64, said.lines());
        }
    }
}
