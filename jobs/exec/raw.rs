//! `format = "raw"`: records of bytes, a message each.

use enrgdaq::job::JobError;

use super::config::Framing;
use super::decoder::Decoder;
use super::sink::Sink;

/// Bytes of a length.
const PREFIX: usize = size_of::<u32>();

/// Records of bytes.
#[derive(Debug)]
pub(super) struct Raw {
    framing: Framing,
    fixed: usize,
    max: usize,
}

impl Raw {
    /// Records of `fixed` bytes, or with their length before them, which is `max` at the most.
    pub(super) fn new(framing: Framing, fixed: usize, max: usize) -> Self {
        Self { framing, fixed, max }
    }

    /// Where the first record begins and ends; `None` if its length is not there yet.
    fn first(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, JobError> {
        let length = match (self.framing, bytes.first_chunk()) {
            (Framing::Fixed, _) => return Ok(Some((0, self.fixed))),
            (_, None) => return Ok(None),
            (Framing::U32le, Some(prefix)) => u32::from_le_bytes(*prefix),
            (Framing::U32be, Some(prefix)) => u32::from_be_bytes(*prefix),
        };
        match usize::try_from(length).ok().filter(|length| *length <= self.max) {
            Some(length) => Ok(Some((PREFIX, PREFIX + length))),
            None => {
                let context = format!(
                    "the program announces a record of {length} bytes, and `max_record_bytes` is {}: its output is \
                     broken, or the limit too low",
                    self.max
                );
                Err(JobError::Failed { context, source: None })
            }
        }
    }
}

impl Decoder for Raw {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let Some((start, end)) = self.first(rest)? else { break };
            let Some(record) = rest.get(start..end) else { break };
            sink.raw(record)?;
            at += end;
        }
        Ok(at)
    }

    fn end(&mut self, rest: &[u8], _: bool, sink: &mut Sink) -> Result<(), JobError> {
        if !rest.is_empty() {
            sink.lose_rest(rest.len());
        }
        Ok(())
    }
}
