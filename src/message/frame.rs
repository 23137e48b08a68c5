//! Tables written in place: an Arrow IPC stream of one record batch, whose columns the caller fills where they lie.
//!
//! ```text
//! 0                                                    64·k                                        len - 8
//! ├ schema message ─ pad ┼ record batch message ─ pad ─┼ column 0 ─ pad ┼ column 1 ─ pad ┼ … ──────┼ end of stream ┤
//! ```
//!
//! Invariant: every part begins at a multiple of 64 bytes from the start, so that in a payload that is aligned itself
//! each column can be written, and later read, as a slice of its type. A reader cannot tell such a table from one of
//! `enrgdaq::job::Table`.

use std::slice;
use std::sync::{Arc, OnceLock};

use arrow_ipc::writer::{EncodedData, IpcWriteOptions, StreamWriter, write_message};
use arrow_ipc::{FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use bytemuck::Pod;
use flatbuffers::FlatBufferBuilder;

/// What every part of a stream begins at a multiple of; also what arrow's own writer pads to.
const ALIGNMENT: usize = 64;

/// What ends a stream: the mark of a message, and a length of zero.
pub(super) const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

mod sealed {
    /// Only types whose bytes Arrow lays out as Rust does are columns that can be filled in place.
    pub trait Sealed {}
}

/// A type of value whose columns can be filled in place: the integers of 8 to 64 bits, `f32` and `f64`.
pub trait FixedWidth: Pod + sealed::Sealed {
    /// The type in Arrow's words.
    const TYPE: DataType;
}

macro_rules! fixed_width {
    ($($value:ty => $name:ident),* $(,)?) => {
        $(
            impl sealed::Sealed for $value {}
            impl FixedWidth for $value {
                const TYPE: DataType = DataType::$name;
            }
        )*
    };
}

fixed_width!(
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64, u8 => UInt8, u16 => UInt16, u32 => UInt32, u64 => UInt64,
    f32 => Float32, f64 => Float64,
);

/// Names and types of the columns of tables that are written in place; there are no missing values.
#[derive(Debug, Clone, Default)]
pub struct TableShape {
    fields: Vec<FieldRef>,
    /// The schema message with its padding, once it was needed.
    opening: OnceLock<Vec<u8>>,
}

impl PartialEq for TableShape {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl TableShape {
    /// A shape without columns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a column more.
    #[must_use]
    pub fn column<T: FixedWidth>(mut self, name: impl Into<String>) -> Self {
        // A table of `job::Table` says the same of its columns, whether or not a value is missing in them.
        self.fields.push(Arc::new(Field::new(name, T::TYPE, true)));
        self.opening = OnceLock::new();
        self
    }

    /// Where everything of a table of so many rows lies. To be kept for further tables of as many rows; making it
    /// allocates. Of rows that no memory could hold, the length is [`usize::MAX`].
    ///
    /// # Panics
    /// The names of the columns have two gigabytes or more.
    #[must_use]
    pub fn frame(&self, rows: usize) -> Frame {
        let opening = self.opening.get_or_init(|| schema_message(&self.fields));
        let mut body_len = 0_usize;
        let place = |field: &FieldRef| {
            let start = body_len;
            let len = rows.saturating_mul(field.data_type().primitive_width().unwrap_or_default());
            let padded = len.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
            body_len = body_len.saturating_add(padded);
            Place { field: Arc::clone(field), start, len, next: body_len }
        };
        let places: Vec<Place> = self.fields.iter().map(place).collect();
        let mut head = opening.clone();
        push_message(&mut head, batch_message(rows, &places, body_len));
        let len = head.len().saturating_add(body_len).saturating_add(END.len());
        Frame { head, places, rows, len }
    }
}

/// Where a column lies, in bytes from the start of the body.
#[derive(Debug, Clone)]
struct Place {
    field: FieldRef,
    start: usize,
    len: usize,
    /// Where the next column begins; from the column's last byte to here is padding.
    next: usize,
}

/// All bytes of a table that are not values, for a number of rows.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The schema message and the record batch message, each with its padding.
    head: Vec<u8>,
    places: Vec<Place>,
    rows: usize,
    len: usize,
}

impl Frame {
    /// The bytes of the whole payload.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a stream without rows has bytes too")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The rows of each column.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes everything but the values into the first [`len`](Self::len) bytes of a payload, and hands out the columns.
    /// A column that is not written keeps the bytes that were there.
    ///
    /// # Panics
    /// The payload is shorter than [`len`](Self::len).
    #[must_use]
    pub fn lay_out<'p>(&'p self, payload: &'p mut [u8]) -> Columns<'p> {
        let (has, needs) = (payload.len(), self.len);
        assert!(has >= needs, "a payload of {has} bytes is too short for a table of {needs}");
        let (head, rest) = payload[..needs].split_at_mut(self.head.len());
        let (body, end) = rest.split_at_mut(rest.len() - END.len());
        head.copy_from_slice(&self.head);
        for place in &self.places {
            body[place.start + place.len..place.next].fill(0);
        }
        end.copy_from_slice(&END);
        Columns { body, places: self.places.iter() }
    }
}

/// The columns of a table that is being written, in the order of its shape.
#[derive(Debug)]
pub struct Columns<'p> {
    /// From the next column on.
    body: &'p mut [u8],
    places: slice::Iter<'p, Place>,
}

impl<'p> Columns<'p> {
    /// The next column, to be filled: one value a row, what is in it at first means nothing. Several may be held at once.
    ///
    /// # Panics
    /// `T` is not the type of the column, there is no column left, or the payload does not begin at a multiple of the
    /// size of `T`.
    #[expect(clippy::should_implement_trait, reason = "each column has a type of its own, so it cannot be an iterator")]
    pub fn next<T: FixedWidth>(&mut self) -> &'p mut [T] {
        let Some(place) = self.places.next() else { panic!("the shape of the table has no further column") };
        let (name, is) = (place.field.name(), place.field.data_type());
        assert!(*is == T::TYPE, "column `{name}` of the table is {is}, not {}", T::TYPE);
        let (column, rest) = std::mem::take(&mut self.body).split_at_mut(place.next - place.start);
        self.body = rest;
        match bytemuck::try_cast_slice_mut(&mut column[..place.len]) {
            Ok(values) => values,
            Err(fault) => panic!("column `{name}` cannot be filled in place: {fault}; the payload must be aligned"),
        }
    }
}

/// Bytes that tables can be written into where there is no ring: they begin at a multiple of eight.
#[derive(Debug, Clone, Default)]
pub struct AlignedBytes {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBytes {
    /// So many zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(size_of::<u64>())], len }
    }

    /// The bytes, to be read.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to be written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }

    /// The bytes as the bus takes them; copies.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.as_slice().to_vec()
    }
}

/// The message that opens a stream, with its padding.
fn schema_message(fields: &[FieldRef]) -> Vec<u8> {
    let schema = Schema::new(fields.to_vec());
    let writer = StreamWriter::try_new(Vec::new(), &schema).expect("arrow can write any schema of numbers");
    writer.get_ref().clone()
}

/// The metadata of a record batch with columns at these places.
fn batch_message(rows: usize, places: &[Place], body_len: usize) -> Vec<u8> {
    let rows = number(rows);
    let nodes: Vec<_> = places.iter().map(|_| FieldNode::new(rows, 0)).collect();
    // Each column has two buffers, the first for which of its values are missing: an empty one means none.
    let buffers_of = |place: &Place| {
        let start = number(place.start);
        [arrow_ipc::Buffer::new(start, 0), arrow_ipc::Buffer::new(start, number(place.len))]
    };
    let buffers: Vec<_> = places.iter().flat_map(buffers_of).collect();
    let mut builder = FlatBufferBuilder::with_capacity(256 + 64 * places.len());
    let nodes = builder.create_vector(&nodes);
    let buffers = builder.create_vector(&buffers);
    let mut batch = RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    let batch = batch.finish().as_union_value();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_bodyLength(number(body_len));
    message.add_header(batch);
    let message = message.finish();
    builder.finish(message, None);
    builder.finished_data().to_vec()
}

/// Appends a message with its mark, its length and its padding.
fn push_message(stream: &mut Vec<u8>, ipc_message: Vec<u8>) {
    let message = EncodedData { ipc_message, arrow_data: Vec::new() };
    write_message(stream, message, &IpcWriteOptions::default()).expect("a vector takes all bytes");
}

/// A number of rows or bytes as Arrow has it; one that does not fit belongs to a frame that fits no payload.
fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
