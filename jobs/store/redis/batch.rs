//! Messages as they will stand in a Redis server: what is appended to lists, set, or added to time series.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use enrgdaq::job::Delivery;
use enrgdaq::message::{DecodeError, PayloadError, StoreRaw, StoreRecords, StoreTable, StoreTabular};
use enrgdaq::store::Refused;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use thiserror::Error;

use super::RedisTarget;
use crate::jobs::store::rows;

/// Before the names of stores: the keys of their marks.
pub(super) const MARKS: &str = "enrgdaq:marks:";

/// The longest key; a server takes more, but nobody means it.
const MAX_KEY: usize = 1024;

/// The largest value that a server takes if nobody told it otherwise.
const MAX_VALUE: usize = 512 << 20;

const DAY_S: u64 = 24 * 60 * 60;

/// Why a message has no form here.
#[derive(Debug, Error)]
pub(super) enum FormError {
    #[error("keys that begin with `{MARKS}` are the stores' own")]
    Reserved,
    #[error("messages of type {0} have nothing to store")]
    Type(String),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Body(#[from] DecodeError),
    #[error("column `{column}` has type {data_type}, which has no form in Redis")]
    Column { column: String, data_type: DataType },
    #[error("a time series needs whole numbers in a column `timestamp`")]
    Times,
    #[error("a row has {cells} cells, and there are {columns} columns")]
    Length { cells: usize, columns: usize },
    #[error("its key would have {0} bytes, {MAX_KEY} are the most")]
    Key(usize),
    #[error("it has {0} bytes, and a value in Redis {MAX_VALUE} at most, as base64")]
    Value(usize),
}

impl FormError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Type(_) => "type",
            Self::Payload(_) | Self::Body(_) => "payload",
            Self::Column { .. } => "column",
            Self::Reserved => "a key of the stores",
            Self::Times => "timestamp",
            Self::Length { .. } => "length",
            Self::Key(_) => "a long key",
            Self::Value(_) => "a large value",
        }
    }
}

/// What is written under a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// Appended to a list.
    List(Vec<Vec<u8>>),
    /// In the place of what was there.
    Value(Vec<u8>),
    /// Time in milliseconds and value, into a time series.
    Series { key: String, tag: Option<String>, samples: Vec<(i64, f64)> },
}

/// One write of some messages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) what: What,
    /// How long it is to be kept, in seconds.
    pub(super) expires_s: Option<u64>,
    /// Whose it is, by their place in the batch; each once.
    pub(super) messages: Vec<usize>,
}

/// Messages that are stored together.
#[derive(Debug, Default)]
pub(crate) struct RedisBatch {
    pub(super) writes: Vec<Write>,
    /// Rows or records of each message.
    pub(super) rows: Vec<u64>,
    by_key: HashMap<String, usize>,
    bytes: usize,
}

impl RedisBatch {
    /// Takes a message.
    pub(super) fn put(&mut self, target: &RedisTarget, message: &mut Delivery) -> Result<(), Refused> {
        let (writes, rows) = writes(target, message).map_err(|error| Refused::new(error.kind(), &error))?;
        let number = self.rows.len();
        self.rows.push(rows);
        writes.into_iter().for_each(|write| self.add(Write { messages: vec![number], ..write }));
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn add(&mut self, mut write: Write) {
        self.bytes += write.bytes();
        let next = self.writes.len();
        let place = *self.by_key.entry(write.key.clone()).or_insert(next);
        let last = self.writes.get_mut(place);
        match last.map(|last| (&mut last.what, &mut write.what, &mut last.messages, &mut last.expires_s)) {
            Some((What::List(all), What::List(more), messages, expires_s)) => {
                all.append(more);
                messages.append(&mut write.messages);
                *expires_s = write.expires_s;
            }
            Some((What::Series { samples: all, .. }, What::Series { samples: more, .. }, messages, _)) => {
                all.append(more);
                messages.append(&mut write.messages);
            }
            // A value takes the place of another; kinds that differ are for the server to judge.
            _ => {
                self.by_key.insert(write.key.clone(), next);
                self.writes.push(write);
            }
        }
    }
}

impl Write {
    fn bytes(&self) -> usize {
        /// What stands around each argument.
        const EACH: usize = 32;
        match &self.what {
            What::List(values) => values.iter().map(|value| EACH + value.len()).sum(),
            What::Value(value) => EACH + value.len(),
            What::Series { samples, .. } => 2 * EACH * samples.len(),
        }
    }
}

/// What a message writes, and how many rows or records that are.
fn writes(target: &RedisTarget, message: &mut Delivery) -> Result<(Vec<Write>, u64), FormError> {
    let keys = Keys::new(target, message)?;
    if message.envelope.body::<StoreTable>().is_some() {
        let table = message.table()?;
        let rows = table.num_rows() as u64;
        let writes = if target.use_timeseries == Some(true) { series(&keys, &table)? } else { lists(&keys, &table)? };
        return Ok((writes, rows));
    }
    if let Some(tabular) = message.envelope.body::<StoreTabular>() {
        let tabular = tabular?;
        let rows = tabular.data.len() as u64;
        return Ok((old_style(&keys, target, &tabular)?, rows));
    }
    if message.envelope.body::<StoreRecords>().is_some() {
        let records = message.records()?;
        let rows = records.len() as u64;
        let values = records.into_iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        return Ok((keys.list(None, values).into_iter().collect(), rows));
    }
    if message.envelope.body::<StoreRaw>().is_some() {
        let what = What::Value(encoded(message.payload(0).unwrap_or_default())?);
        return Ok((vec![keys.write(keys.plain.clone(), what)], 1));
    }
    Err(FormError::Type(message.envelope.head.kind.clone()))
}

fn encoded(bytes: &[u8]) -> Result<Vec<u8>, FormError> {
    match bytes.len().div_ceil(3) * 4 {
        ..=MAX_VALUE => Ok(BASE64_STANDARD.encode(bytes).into_bytes()),
        _ => Err(FormError::Value(bytes.len())),
    }
}

/// The keys of a message.
struct Keys {
    /// `key` and `key[.tag]`.
    key: String,
    tag: Option<String>,
    plain: String,
    /// `:2026-11-20`, where lists expire.
    date: String,
    expires_s: Option<u64>,
}

impl Keys {
    fn new(target: &RedisTarget, message: &Delivery) -> Result<Self, FormError> {
        let tag = message.envelope.head.tag.clone();
        let plain = match &tag {
            Some(tag) => format!("{}.{tag}", target.key),
            None => target.key.clone(),
        };
        if plain.starts_with(MARKS) {
            return Err(FormError::Reserved);
        }
        if plain.len() > MAX_KEY {
            return Err(FormError::Key(plain.len()));
        }
        let date = |_| {
            let time = Timestamp::from_nanosecond(message.envelope.ts.into()).unwrap_or_else(|_| Timestamp::now());
            format!(":{}", time.to_zoned(TimeZone::system()).date())
        };
        let date = target.key_expiration_days.map(date).unwrap_or_default();
        let expires_s = target.key_expiration_days.map(|days| u64::from(days) * DAY_S);
        Ok(Self { key: target.key.clone(), tag, plain, date, expires_s })
    }

    fn write(&self, key: String, what: What) -> Write {
        Write { key, what, expires_s: self.expires_s, messages: Vec::new() }
    }

    fn list(&self, column: Option<&str>, values: Vec<Vec<u8>>) -> Option<Write> {
        let column = column.map(|column| format!(".{column}")).unwrap_or_default();
        let key = format!("{}{column}{}", self.plain, self.date);
        // A server has no empty lists.
        (!values.is_empty()).then(|| self.write(key, What::List(values)))
    }

    fn series(&self, column: &str, samples: Vec<(i64, f64)>) -> Option<Write> {
        let what = What::Series { key: self.key.clone(), tag: self.tag.clone(), samples };
        (!matches!(&what, What::Series { samples, .. } if samples.is_empty()))
            .then(|| self.write(format!("{}.{column}", self.plain), what))
    }
}

fn lists(keys: &Keys, table: &RecordBatch) -> Result<Vec<Write>, FormError> {
    let mut writes = Vec::new();
    for (field, array) in table.schema().fields().iter().zip(table.columns()) {
        let fail = || FormError::Column { column: field.name().clone(), data_type: array.data_type().clone() };
        let cells = rows::Cells::of(array.as_ref()).ok_or_else(fail)?;
        let value = |row| {
            let mut value = Vec::new();
            cells.put(row, &mut value);
            value
        };
        writes.extend(keys.list(Some(field.name()), (0..array.len()).map(value).collect()));
    }
    Ok(writes)
}

fn series(keys: &Keys, table: &RecordBatch) -> Result<Vec<Write>, FormError> {
    let times = table.column_by_name("timestamp").and_then(times).ok_or(FormError::Times)?;
    let mut writes = Vec::new();
    for (field, array) in table.schema().fields().iter().zip(table.columns()) {
        if field.name() == "timestamp" {
            continue;
        }
        let fail = || FormError::Column { column: field.name().clone(), data_type: array.data_type().clone() };
        let values = numbers(array).ok_or_else(fail)?;
        let samples = times.iter().zip(values).filter_map(|(time, value)| Some((*time, value?)));
        writes.extend(keys.series(field.name(), samples.filter(|(_, value)| !value.is_nan()).collect()));
    }
    Ok(writes)
}

fn times(array: &ArrayRef) -> Option<Vec<i64>> {
    match array.data_type() {
        DataType::Int64 if array.null_count() == 0 => Some(array.as_primitive::<Int64Type>().values().to_vec()),
        _ => {
            let times = numbers(array)?;
            times.into_iter().map(|time| time.filter(|time| time.is_finite()).map(rounded)).collect()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it ends at the ends of the range")]
fn rounded(time: f64) -> i64 {
    time.round() as i64
}

/// `None` if they are no numbers.
fn numbers(array: &ArrayRef) -> Option<Vec<Option<f64>>> {
    use arrow_array::types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    };
    /// The values of a type, each by a conversion.
    macro_rules! as_f64 {
        ($type:ty, $from:expr) => {
            array.as_primitive::<$type>().iter().map(|value| value.map($from)).collect()
        };
    }
    #[expect(clippy::cast_precision_loss, reason = "time series hold f64 only")]
    let (of_i64, of_u64) = (|value: i64| value as f64, |value: u64| value as f64);
    Some(match array.data_type() {
        DataType::Int8 => as_f64!(Int8Type, f64::from),
        DataType::Int16 => as_f64!(Int16Type, f64::from),
        DataType::Int32 => as_f64!(Int32Type, f64::from),
        DataType::Int64 => as_f64!(Int64Type, of_i64),
        DataType::UInt8 => as_f64!(UInt8Type, f64::from),
        DataType::UInt16 => as_f64!(UInt16Type, f64::from),
        DataType::UInt32 => as_f64!(UInt32Type, f64::from),
        DataType::UInt64 => as_f64!(UInt64Type, of_u64),
        DataType::Float32 => as_f64!(Float32Type, f64::from),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().collect(),
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map(|is| f64::from(u8::from(is)))).collect(),
        DataType::Null => vec![None; array.len()],
        _ => return None,
    })
}

/// Old-style rows: as a table.
fn old_style(keys: &Keys, target: &RedisTarget, tabular: &StoreTabular) -> Result<Vec<Write>, FormError> {
    let columns = tabular.keys.len();
    if let Some(row) = tabular.data.iter().find(|row| row.len() != columns) {
        return Err(FormError::Length { cells: row.len(), columns });
    }
    let values = |column: usize| tabular.data.iter().map(move |row| &row[column]);
    let named = tabular.keys.iter().enumerate();
    if target.use_timeseries != Some(true) {
        let list = |(n, key): (usize, &String)| {
            keys.list(Some(key), values(n).map(rows::json_cell).map(String::into_bytes).collect())
        };
        return Ok(named.filter_map(list).collect());
    }
    let time = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(rounded));
    let at = tabular.keys.iter().position(|key| key == "timestamp").ok_or(FormError::Times)?;
    let times: Option<Vec<i64>> = values(at).map(time).collect();
    let times = times.ok_or(FormError::Times)?;
    let mut writes = Vec::new();
    for (n, key) in named.filter(|(n, _)| *n != at) {
        let is_number = |value: &Value| value.is_number() || value.is_boolean() || value.is_null();
        if !values(n).all(is_number) {
            return Err(FormError::Column { column: key.clone(), data_type: DataType::Utf8 });
        }
        let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|is| f64::from(u8::from(is))));
        let samples = times.iter().zip(values(n)).filter_map(|(time, value)| Some((*time, number(value)?)));
        writes.extend(keys.series(key, samples.collect()));
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use enrgdaq::message::{Message, MessageId};
    use serde_json::json;

    use super::*;

    fn target(text: &str) -> RedisTarget {
        toml::from_str(text).unwrap()
    }

    fn tabular(keys: &[&str], data: Value) -> Delivery {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        let rows = StoreTabular { keys, data: serde_json::from_value(data).unwrap() };
        let message = Message::of(&rows).unwrap().with_tag("lab");
        Delivery::made(&message, MessageId { epoch: 1, seq: 0 }, 1_700_000_000_000_000_000).unwrap()
    }

    #[test]
    fn lists_of_messages_are_appended_to_by_one_write() {
        let mut batch = RedisBatch::default();
        let target = target("key = \"k\"\nkey_expiration_days = 2");
        for _ in 0..2 {
            batch.put(&target, &mut tabular(&["a", "b"], json!([[1, "x"], [null, "y"]]))).unwrap();
        }

        let shapes: Vec<_> = batch.writes.iter().map(|write| (write.key.as_str(), write.messages.clone())).collect();
        assert_eq!(shapes.len(), 2);
        assert!(shapes[0].0.starts_with("k.lab.a:2023-11-1") && shapes[0].1 == [0, 1], "{shapes:?}");
        assert_eq!(batch.writes[0].expires_s, Some(2 * DAY_S));
        let values: Vec<Vec<u8>> = [&b"1"[..], b"", b"1", b""].map(<[u8]>::to_vec).into();
        assert_eq!(batch.writes[0].what, What::List(values));
    }

    #[test]
    fn time_series_have_the_numbers_of_a_row_at_its_time() {
        let mut batch = RedisBatch::default();
        let target = target("key = \"k\"\nuse_timeseries = true");
        batch.put(&target, &mut tabular(&["x", "timestamp"], json!([[1.5, 7], [null, 8], [2, 9.4]]))).unwrap();

        assert_eq!(batch.writes[0].key, "k.lab.x");
        let samples = vec![(7, 1.5), (9, 2.0)];
        assert_eq!(batch.writes[0].what, What::Series { key: "k".into(), tag: Some("lab".into()), samples });
        assert_eq!(batch.writes.len(), 1);
        for (keys, row) in [(["x", "time"], json!([[1, 1]])), (["x", "timestamp"], json!([["text", 1]]))] {
            assert!(batch.put(&target, &mut tabular(&keys, row)).is_err());
        }
        assert_eq!(batch.writes.len(), 1);
    }
}
