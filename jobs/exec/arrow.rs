//! `format = "arrow"`: a stream of Arrow tables; each record batch is a message.
//!
//! Arrow's decoder panics on some corrupt streams: such a panic ends here, as a broken stream.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use enrgdaq::job::JobError;

use super::decoder::Decoder;
use super::sink::Sink;

/// What each message of a stream begins with; its size follows.
const MARK: [u8; 4] = [0xff; 4];

/// Tables.
#[derive(Debug)]
pub(super) struct Arrow {
    decoder: StreamDecoder,
    max: usize,
    /// Bytes since the last table.
    since: usize,
}

impl Arrow {
    /// Tables of `max` bytes at the most.
    pub(super) fn new(max: usize) -> Self {
        Self { decoder: StreamDecoder::new(), max, since: 0 }
    }

    /// What a message begins with: the decoder would wait for as many bytes as garbage announces.
    fn check_start(&self, bytes: &[u8]) -> Result<(), JobError> {
        let is_message = bytes.iter().take(MARK.len()).eq(MARK.iter().take(bytes.len()));
        let size = bytes.get(MARK.len()..).and_then(<[u8]>::first_chunk).map_or(0, |size| u32::from_le_bytes(*size));
        match is_message && usize::try_from(size).is_ok_and(|size| size <= self.max) {
            true => Ok(()),
            false => Err(broken("the program's output is no Arrow stream".into())),
        }
    }

    fn next(&mut self, bytes: &mut Buffer) -> Result<Option<RecordBatch>, JobError> {
        let before = bytes.len();
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(bytes)));
        match decoded {
            Ok(Ok(batch)) => {
                self.since += before - bytes.len();
                Ok(batch)
            }
            // After the end of a stream another may begin.
            Ok(Err(_)) if self.decoder.finish().is_ok() => {
                (self.decoder, self.since) = (StreamDecoder::new(), 0);
                Ok(None)
            }
            Ok(Err(error)) => Err(JobError::failed("the program's output is no Arrow stream", error)),
            Err(_) => Err(broken("the program's output is a corrupt Arrow stream".into())),
        }
    }
}

fn broken(context: String) -> JobError {
    JobError::Failed { context, source: None }
}

impl Decoder for Arrow {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() {
            if self.since == 0 {
                self.check_start(&buffer)?;
            }
            let batch = self.next(&mut buffer)?;
            if self.since > self.max {
                let max = self.max;
                return Err(broken(format!(
                    "the program's output has no table within {max} bytes: it is broken, or \
                    `max_record_bytes` too low"
                )));
            }
            if let Some(batch) = batch {
                self.since = 0;
                sink.table(&batch)?;
            }
        }
        Ok(bytes.len())
    }

    fn end(&mut self, _: &[u8], _: bool, sink: &mut Sink) -> Result<(), JobError> {
        if self.decoder.finish().is_err() {
            sink.lose_rest(self.since);
        }
        Ok(())
    }
}
