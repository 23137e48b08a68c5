//! Payloads: tables (Arrow IPC stream), raw bytes, packs of small records.
//!
//! A pack of records, all numbers little-endian:
//!
//! ```text
//! 0        4          4+4n
//! ├ u32 n ─┼ n × u32 ─┼ the records, one after the other ┤
//!   count    lengths    exactly the sum of the lengths
//! ```
//!
//! Invariant: what came from elsewhere is checked before it is used; arrow's decoder panics on some corrupt streams, and
//! such a panic ends here, as an error.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// Many small records as one payload.
///
/// # Errors
/// [`PayloadError::Records`] for more than `u32::MAX` records or bytes.
pub fn pack_records<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Payload, PayloadError> {
    let mut lengths = vec![0u8; 4];
    let mut content = Vec::new();
    let mut count = 0u32;
    for record in records {
        let too_much = || PayloadError::Records(record.len());
        let len = u32::try_from(record.len()).map_err(|_| too_much())?;
        count = count.checked_add(1).ok_or_else(too_much)?;
        lengths.extend_from_slice(&len.to_le_bytes());
        content.extend_from_slice(record);
    }
    lengths[..4].copy_from_slice(&count.to_le_bytes());
    lengths.append(&mut content);
    Ok(Payload { kind: PayloadKind::Records, bytes: lengths })
}

/// The records of a pack.
///
/// # Errors
/// [`PayloadError::Records`] where the lengths do not fit the bytes.
pub fn unpack_records(bytes: &[u8]) -> Result<Vec<&[u8]>, PayloadError> {
    let refuse = || PayloadError::Records(bytes.len());
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(refuse)?;
    let count = u32::from_le_bytes(*count) as usize;
    let (lengths, mut content) = rest.split_at_checked(count.saturating_mul(4)).ok_or_else(refuse)?;
    let mut records = Vec::with_capacity(count);
    for len in lengths.chunks_exact(4) {
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let (record, after) = content.split_at_checked(len).ok_or_else(refuse)?;
        records.push(record);
        content = after;
    }
    match content.is_empty() {
        true => Ok(records),
        false => Err(refuse()),
    }
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

    proptest! {
        #[test]
        fn records_come_back_as_they_were(records in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let payload = pack_records(records.iter().map(Vec::as_slice)).unwrap();

            prop_assert_eq!(unpack_records(&payload.bytes).unwrap(), records);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _either = decode_table(&bytes);
            let _either = unpack_records(&bytes);
        }
    }
}
