//! From bytes to records: what all formats have in common.

use enrgdaq::job::JobError;

use super::sink::Sink;

/// The longest line, in bytes; a longer one is refused.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Rows are handed on when there are so many of them, or so many bytes.
pub(super) const FULL_ROWS: usize = 4096;
pub(super) const FULL_BYTES: usize = 128 << 10;

/// Makes records of what a program writes.
pub(super) trait Decoder: Send {
    /// Takes all whole records at the beginning of `bytes`, hands them on, and says how many bytes that were. The rest comes
    /// again, with more behind it.
    ///
    /// # Errors
    /// [`JobError`]: the stream is broken for good, or nothing can be handed on any more.
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError>;

    /// Nothing comes any more; the rest is what [`take`](Self::take) has left. It counts as whole if it can be and `is_clean`:
    /// the program ended as it should.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn end(&mut self, rest: &[u8], is_clean: bool, sink: &mut Sink) -> Result<(), JobError>;
}

/// A format of which each line is a record.
pub(super) trait ByLine: Send {
    fn splitter(&mut self) -> &mut LineSplitter;

    /// Takes a line, without its end.
    fn line(&mut self, line: &[u8], sink: &mut Sink) -> Result<(), JobError>;

    /// Hands on what was taken.
    fn hand_on(&mut self, sink: &mut Sink) -> Result<(), JobError>;
}

impl<F: ByLine> Decoder for F {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let mut at = 0;
        loop {
            match self.splitter().next(&bytes[at..]) {
                Split::Line(line, len) => {
                    self.line(line, sink)?;
                    at += len;
                }
                Split::TooLong(len, is_new) => {
                    at += len;
                    if is_new {
                        sink.refuse("long", || format!("a line of more than {MAX_LINE} bytes"));
                    }
                }
                Split::Nothing => break,
            }
        }
        self.hand_on(sink)?;
        Ok(at)
    }

    fn end(&mut self, rest: &[u8], is_clean: bool, sink: &mut Sink) -> Result<(), JobError> {
        match (rest.len(), is_clean) {
            (0, _) => {}
            (_, true) => self.line(without_return(rest), sink)?,
            (len, false) => sink.lose_rest(len),
        }
        self.hand_on(sink)
    }
}

/// Splits off whole lines, for formats of lines.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    /// Within a line that is too long.
    is_skipping: bool,
}

/// What a [`LineSplitter`] finds.
pub(super) enum Split<'a> {
    /// A line without its end, and the bytes that it takes.
    Line(&'a [u8], usize),
    /// So many bytes belong to a line that is too long; `true` where it begins.
    TooLong(usize, bool),
    /// There is no whole line.
    Nothing,
}

impl LineSplitter {
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Split<'a> {
        match memchr::memchr(b'\n', bytes) {
            Some(end) if self.is_skipping => {
                self.is_skipping = false;
                Split::TooLong(end + 1, false)
            }
            Some(end) if end > MAX_LINE => Split::TooLong(end + 1, true),
            Some(end) => Split::Line(without_return(&bytes[..end]), end + 1),
            None if self.is_skipping && !bytes.is_empty() => Split::TooLong(bytes.len(), false),
            None if bytes.len() > MAX_LINE => {
                self.is_skipping = true;
                Split::TooLong(bytes.len(), true)
            }
            None => Split::Nothing,
        }
    }
}

/// A line of Windows, or of a serial port.
pub(super) fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
