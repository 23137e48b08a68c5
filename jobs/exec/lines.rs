//! `format = "lines"`: a row a line, a table a piece that was read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use enrgdaq::job::JobError;

use super::decoder::{Decoder, FULL_BYTES, FULL_ROWS, LineSplitter, MAX_LINE, Split, without_return};
use super::sink::Sink;

/// Lines of text.
#[derive(Debug)]
pub(super) struct Lines {
    schema: SchemaRef,
    splitter: LineSplitter,
    /// The lines that are to be handed on, one after the other, and where each begins and the last ends.
    text: Vec<u8>,
    offsets: Vec<i32>,
}

impl Lines {
    pub(super) fn new() -> Self {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let fields = vec![field("timestamp", DataType::Int64), field("line", DataType::Utf8)];
        let (splitter, text) = (LineSplitter::default(), Vec::new());
        Self { schema: Arc::new(Schema::new(fields)), splitter, text, offsets: vec![0] }
    }

    fn push(&mut self, line: &[u8]) {
        match std::str::from_utf8(line) {
            Ok(_) => self.text.extend_from_slice(line),
            Err(_) => self.text.extend_from_slice(String::from_utf8_lossy(line).as_bytes()),
        }
        self.offsets.push(i32::try_from(self.text.len()).expect("it is handed on long before"));
    }

    fn hand_on(&mut self, sink: &mut Sink) -> Result<(), JobError> {
        let rows = self.offsets.len() - 1;
        if rows == 0 {
            return Ok(());
        }
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let text = Buffer::from_vec(std::mem::take(&mut self.text));
        let lines = StringArray::try_new(offsets, text, None);
        let times = Int64Array::from(vec![unix_ms(); rows]);
        let table =
            lines.and_then(|lines| RecordBatch::try_new(self.schema.clone(), vec![Arc::new(times), Arc::new(lines)]));
        sink.table(&table.map_err(|error| JobError::failed("lines do not make a table", error))?)
    }
}

impl Decoder for Lines {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let mut at = 0;
        loop {
            match self.splitter.next(&bytes[at..]) {
                Split::Line(line, len) => {
                    self.push(line);
                    at += len;
                    if self.offsets.len() > FULL_ROWS || self.text.len() >= FULL_BYTES {
                        self.hand_on(sink)?;
                    }
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
            (_, true) => self.push(without_return(rest)),
            (len, false) => sink.lose_rest(len),
        }
        self.hand_on(sink)
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
