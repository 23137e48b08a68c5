//! Payloads: tables (Arrow IPC stream), raw bytes, packs of small records (drawn in `records`).
//!
//! Invariant: what came from elsewhere is checked before it is used; arrow's decoder panics on some corrupt streams, and
//! such a panic ends here, as an error.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{StreamDecoder, StreamReader};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::frame::END;

/// What a payload's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// An Arrow record batch in IPC stream format.
    ArrowIpc,
    /// Bytes as they are.
    Raw,
    /// Many small byte records with their lengths.
    Records,
}

impl PayloadKind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::ArrowIpc, Self::Raw, Self::Records];

    /// The name in the envelope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArrowIpc => "arrow_ipc",
            Self::Raw => "raw",
            Self::Records => "records",
        }
    }
}

/// What the envelope says of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadInfo {
    /// How to read it.
    pub kind: PayloadKind,
    /// How many bytes.
    pub len: u64,
    /// In the ring: where it begins, 64-byte aligned; absent on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// A payload to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How to read it.
    pub kind: PayloadKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a payload could not be made or read.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// Arrow refused it.
    #[error("not a readable Arrow IPC stream")]
    Arrow(#[from] ArrowError),
    /// Arrow's decoder panicked on it.
    #[error("a corrupt Arrow IPC stream")]
    Corrupt,
    /// The stream holds no record batch, or more than one.
    #[error("a table payload holds exactly one record batch, this one holds {0}")]
    Batches(usize),
    /// A pack of records whose lengths do not add up.
    #[error("a pack of records whose lengths do not fit its {0} bytes")]
    Records(usize),
}

/// A table as an Arrow IPC stream of one record batch.
///
/// # Errors
/// [`PayloadError::Arrow`] for a batch that arrow cannot write (none of those that `RecordBatch` lets one build).
pub fn encode_table(batch: &RecordBatch) -> Result<Payload, PayloadError> {
    let mut writer = StreamWriter::try_new(Vec::with_capacity(1024 + batch.get_array_memory_size()), &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(Payload { kind: PayloadKind::ArrowIpc, bytes: writer.into_inner()? })
}

/// The table that an Arrow IPC stream holds, fully validated; copies.
///
/// # Errors
/// [`PayloadError`] for anything but a whole stream of one record batch.
pub fn decode_table(bytes: &[u8]) -> Result<RecordBatch, PayloadError> {
    let decode = || -> Result<Vec<RecordBatch>, ArrowError> {
        StreamReader::try_new(Cursor::new(bytes), None)?.take(2).collect()
    };
    let mut batches = quietly(decode).ok_or(PayloadError::Corrupt)??;
    match (batches.pop(), batches.len()) {
        (Some(batch), 0) => Ok(batch),
        (None, _) => Err(PayloadError::Batches(0)),
        (Some(_), more) => Err(PayloadError::Batches(more + 1)),
    }
}

/// The table that an Arrow IPC stream holds, fully validated, without a copy of its values: the table keeps the bytes
/// alive, and of bytes with an owner ([`Bytes::from_owner`]) that owner. Columns that do not lie at a multiple of the
/// size of their values are copied all the same; in the payloads of our writers, aligned themselves, there are none.
///
/// # Errors
/// As [`decode_table`], with the same verdict on the same bytes.
pub fn table_in_place(bytes: Bytes) -> Result<RecordBatch, PayloadError> {
    let decode = || only_batch(Buffer::from(bytes.clone()));
    match quietly(decode) {
        Some(Ok(Some(batch))) => Ok(batch),
        // What is not just as writers write it is judged in one place.
        _ => decode_table(&bytes),
    }
}

/// The record batch of a stream that goes on with nothing but its end.
fn only_batch(mut stream: Buffer) -> Result<Option<RecordBatch>, ArrowError> {
    let batch = StreamDecoder::new().decode(&mut stream)?;
    Ok(batch.filter(|_| stream.is_empty() || stream.starts_with(&END)))
}

/// Runs a decoder that may panic; `None` if it did. The panic's message still goes to the hook.
fn quietly<T>(decode: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decode)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array};
    use proptest::prelude::*;

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("t", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
            ("v", Arc::new(Float64Array::from(vec![0.5, f64::NAN, -1.0])) as _),
        ])
        .unwrap()
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        let payload = encode_table(&batch()).unwrap();

        let back = decode_table(&payload.bytes).unwrap();

        assert_eq!(back.num_rows(), 3);
        assert_eq!(back.schema(), batch().schema());
    }

    #[test]
    fn no_single_corrupt_byte_gets_past_the_edge_as_a_panic() {
        let whole = encode_table(&batch()).unwrap().bytes;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _either = decode_table(&bytes);
        }
    }

    #[test]
    fn read_in_place_the_same_bytes_get_the_same_verdict() {
        let whole = encode_table(&batch()).unwrap().bytes;
        let two = [&whole[..whole.len() - END.len()], &whole[..]].concat();
        let trailing = [&whole[..], b"more"].concat();
        let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
        let corrupt = (0..whole.len()).flat_map(|at| [0x01, 0x80, 0xff].map(|flip| (at, flip))).map(|(at, flip)| {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            bytes
        });

        for bytes in [whole.clone(), two, trailing].into_iter().chain(cut).chain(corrupt) {
            let copied = decode_table(&bytes);
            let in_place = table_in_place(Bytes::from(bytes));

            // Compared as text, because one of the values is no number.
            assert_eq!(format!("{:?}", in_place.ok()), format!("{:?}", copied.ok()));
        }
    }

    #[test]
    fn bytes_that_are_not_aligned_are_a_table_all_the_same() {
        let whole = encode_table(&batch()).unwrap().bytes;
        for shift in 0..9 {
            let shifted = [&vec![0; shift][..], &whole[..]].concat();

            let back = table_in_place(Bytes::from(shifted).slice(shift..)).unwrap();

            assert_eq!(format!("{back:?}"), format!("{:?}", batch()));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _either = decode_table(&bytes);
            let _either = table_in_place(bytes.into());
        }
    }
}
