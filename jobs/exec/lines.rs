//! `format = "lines"`: a row a line, a table a piece that was read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use enrgdaq::job::JobError;

use super::decoder::{ByLine, FULL_BYTES, FULL_ROWS, LineSplitter};
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
}

impl ByLine for Lines {
    fn splitter(&mut self) -> &mut LineSplitter {
        &mut self.splitter
    }

    fn line(&mut self, line: &[u8], sink: &mut Sink) -> Result<(), JobError> {
        match std::str::from_utf8(line) {
            Ok(_) => self.text.extend_from_slice(line),
            Err(_) => self.text.extend_from_slice(String::from_utf8_lossy(line).as_bytes()),
        }
        self.offsets.push(i32::try_from(self.text.len()).expect("it is handed on long before"));
        match self.offsets.len() > FULL_ROWS || self.text.len() >= FULL_BYTES {
            true => self.hand_on(sink),
            false => Ok(()),
        }
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

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
