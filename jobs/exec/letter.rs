//! A message as a line of JSON, for programs.
//!
//! ```text
//! {"topic": …, "type": …, "tag": …, "src": {…}, "ts": ns since the Unix epoch,  and one of
//!  "columns": {"a": [1, 2], "b": ["x", null]}    a table, column by column
//!  "raw": "aGVsbG8="                             bytes, in base64
//!  "records": ["aGVsbG8=", …]                    many small ones
//!  "body": {…}}                                  all other types: their fields
//! ```
//! A number that JSON does not have (NaN, ±∞) is null.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use enrgdaq::job::Delivery;
use enrgdaq::message::PayloadKind;
use serde_json::{Map, Value, json};

/// The line, with its end; or why there is none.
pub(super) fn letter(delivery: &mut Delivery) -> Result<Vec<u8>, String> {
    let head = delivery.envelope.head.clone();
    let mut letter = Map::new();
    let kind = delivery.envelope.payload.first().map(|payload| payload.kind);
    let (key, content) = match kind {
        Some(PayloadKind::ArrowIpc) => ("columns", columns(&delivery.table().map_err(|error| error.to_string())?)?),
        Some(PayloadKind::Raw) => ("raw", base64(delivery.payload(0).unwrap_or_default())),
        Some(PayloadKind::Records) => {
            ("records", delivery.records().map_err(|error| error.to_string())?.map(base64).collect())
        }
        None => ("body", serde_json::to_value(&head.body).map_err(|error| error.to_string())?),
    };
    letter.insert("topic".into(), delivery.topic.as_str().into());
    letter.insert("type".into(), head.kind.as_str().into());
    letter.insert("tag".into(), head.tag.as_deref().into());
    letter.insert("src".into(), serde_json::to_value(&head.src).map_err(|error| error.to_string())?);
    letter.insert("ts".into(), json!(delivery.envelope.ts));
    letter.insert(key.into(), content);
    let mut line = serde_json::to_vec(&letter).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}

fn base64(bytes: &[u8]) -> Value {
    BASE64_STANDARD.encode(bytes).into()
}

fn columns(table: &RecordBatch) -> Result<Value, String> {
    let schema = table.schema();
    let columns = schema.fields().iter().zip(table.columns());
    let values = columns.map(|(field, array)| {
        let values = values(array.as_ref());
        let values = values.ok_or_else(|| format!("column `{}` has type {}", field.name(), array.data_type()))?;
        Ok((field.name().clone(), Value::Array(values)))
    });
    values.collect::<Result<Map<_, _>, String>>().map(Value::Object)
}

/// The values of a column; `None` for types without a form in JSON.
fn values(array: &dyn Array) -> Option<Vec<Value>> {
    macro_rules! all {
        ($array:expr) => {
            $array.iter().map(|value| value.map_or(Value::Null, Value::from)).collect()
        };
    }
    Some(match array.data_type() {
        DataType::Int8 => all!(array.as_primitive::<Int8Type>()),
        DataType::Int16 => all!(array.as_primitive::<Int16Type>()),
        DataType::Int32 => all!(array.as_primitive::<Int32Type>()),
        DataType::Int64 => all!(array.as_primitive::<Int64Type>()),
        DataType::UInt8 => all!(array.as_primitive::<UInt8Type>()),
        DataType::UInt16 => all!(array.as_primitive::<UInt16Type>()),
        DataType::UInt32 => all!(array.as_primitive::<UInt32Type>()),
        DataType::UInt64 => all!(array.as_primitive::<UInt64Type>()),
        DataType::Float32 => all!(array.as_primitive::<Float32Type>()),
        DataType::Float64 => all!(array.as_primitive::<Float64Type>()),
        DataType::Boolean => all!(array.as_boolean()),
        DataType::Utf8 => all!(array.as_string::<i32>()),
        DataType::LargeUtf8 => all!(array.as_string::<i64>()),
        DataType::Null => vec![Value::Null; array.len()],
        _ => return None,
    })
}
