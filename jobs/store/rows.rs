//! Messages as rows of text: the header and the cells of tables and of old-style rows.
//!
//! Numbers come back as they were: integers in full, floats by their shortest digits that read back the same (`NaN`,
//! `inf`, `-inf` as Python and pandas read them). Null is an empty cell.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, BooleanArray, LargeStringArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::DataType;
use enrgdaq::job::Delivery;
use enrgdaq::message::{DecodeError, PayloadError, StoreTable, StoreTabular};
use serde_json::Value;
use thiserror::Error;

/// Why a message has no rows.
#[derive(Debug, Error)]
pub(super) enum RowsError {
    #[error("messages of type {0} are no rows")]
    Type(String),
    #[error(transparent)]
    Table(#[from] PayloadError),
    #[error(transparent)]
    Body(#[from] DecodeError),
    #[error("column `{column}` has type {data_type}, which has no form in CSV")]
    Column { column: String, data_type: DataType },
    #[error("a row has {cells} cells, and there are {columns} columns")]
    Length { cells: usize, columns: usize },
    #[error("it has no columns, and so no rows")]
    NoColumns,
    #[error("the rows cannot be written")]
    Write(#[from] csv::Error),
}

impl RowsError {
    /// Of which kind it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Type(_) => "type",
            Self::Table(_) | Self::Body(_) => "payload",
            Self::Column { .. } | Self::NoColumns => "column",
            Self::Length { .. } => "length",
            Self::Write(_) => "write",
        }
    }
}

/// Appends the rows of a message; gives their header, and how many they are.
pub(super) fn append_rows(delivery: &mut Delivery, out: &mut Vec<u8>) -> Result<(Vec<u8>, u64), RowsError> {
    if delivery.envelope.body::<StoreTable>().is_some() {
        return table_rows(&delivery.table()?, out);
    }
    match delivery.envelope.body::<StoreTabular>() {
        Some(tabular) => tabular_rows(&tabular?, out),
        None => Err(RowsError::Type(delivery.envelope.head.kind.clone())),
    }
}

fn table_rows(table: &RecordBatch, out: &mut Vec<u8>) -> Result<(Vec<u8>, u64), RowsError> {
    let schema = table.schema();
    let header = header(schema.fields().iter().map(|field| field.name().as_bytes()))?;
    let columns = schema.fields().iter().zip(table.columns());
    let columns: Vec<_> = columns
        .map(|(field, array)| {
            Cells::of(array.as_ref())
                .ok_or_else(|| RowsError::Column { column: field.name().clone(), data_type: array.data_type().clone() })
        })
        .collect::<Result<_, _>>()?;
    for row in 0..table.num_rows() {
        let begin = out.len();
        for (n, column) in columns.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let cell = out.len();
            column.put(row, out);
            if matches!(column, Cells::Utf8(_) | Cells::LargeUtf8(_)) {
                quote(out, cell);
            }
        }
        // Else it would be an empty line, which is no record.
        if out.len() == begin {
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }
    Ok((header, table.num_rows() as u64))
}

/// Defines the columns that have a form as text, and how their cells are written.
macro_rules! cells {
    ($($name:ident: $array:ty = $from:expr, $put:expr;)*) => {
        /// The cells of a column, as text.
        pub(super) enum Cells<'a> {
            $($name(&'a $array),)*
            Null,
        }

        impl<'a> Cells<'a> {
            /// `None` for types without a form as text.
            pub(super) fn of(array: &'a dyn Array) -> Option<Self> {
                Some(match array.data_type() {
                    $(DataType::$name => Self::$name($from(array)),)*
                    DataType::Null => Self::Null,
                    _ => return None,
                })
            }

            /// Appends the cell of a row; nothing for null.
            pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(values) if values.is_valid(row) => $put(out, values.value(row)),)*
                    _ => {}
                }
            }
        }
    };
}

cells! {
    Int8: PrimitiveArray<Int8Type> = AsArray::as_primitive, put_integer;
    Int16: PrimitiveArray<Int16Type> = AsArray::as_primitive, put_integer;
    Int32: PrimitiveArray<Int32Type> = AsArray::as_primitive, put_integer;
    Int64: PrimitiveArray<Int64Type> = AsArray::as_primitive, put_integer;
    UInt8: PrimitiveArray<UInt8Type> = AsArray::as_primitive, put_integer;
    UInt16: PrimitiveArray<UInt16Type> = AsArray::as_primitive, put_integer;
    UInt32: PrimitiveArray<UInt32Type> = AsArray::as_primitive, put_integer;
    UInt64: PrimitiveArray<UInt64Type> = AsArray::as_primitive, put_integer;
    Float32: PrimitiveArray<Float32Type> = AsArray::as_primitive, put_float;
    Float64: PrimitiveArray<Float64Type> = AsArray::as_primitive, put_float;
    Boolean: BooleanArray = AsArray::as_boolean, |out: &mut Vec<u8>, value| {
        out.extend_from_slice(if value { b"true" } else { b"false" });
    };
    Utf8: StringArray = AsArray::as_string, put_text;
    LargeUtf8: LargeStringArray = AsArray::as_string, put_text;
}

fn put_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// By the shortest digits that read back the same.
fn put_float(out: &mut Vec<u8>, value: impl ryu::Float) {
    out.extend_from_slice(ryu::Buffer::new().format(value).as_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Puts what begins there in quotes, where it must be.
fn quote(out: &mut Vec<u8>, begin: usize) {
    if !out[begin..].iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return;
    }
    let text = out.split_off(begin);
    out.push(b'"');
    for byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn tabular_rows(tabular: &StoreTabular, out: &mut Vec<u8>) -> Result<(Vec<u8>, u64), RowsError> {
    let (header, columns) = (header(tabular.keys.iter())?, tabular.keys.len());
    for row in &tabular.data {
        if row.len() != columns {
            return Err(RowsError::Length { cells: row.len(), columns });
        }
        out.extend(line(row.iter().map(json_cell))?);
    }
    Ok((header, tabular.data.len() as u64))
}

pub(super) fn json_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The names of columns as a line.
fn header(names: impl ExactSizeIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<u8>, RowsError> {
    match names.len() {
        0 => Err(RowsError::NoColumns),
        _ => Ok(line(names)?),
    }
}

fn line(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    Ok(writer.into_inner().expect("a Vec takes all"))
}

#[cfg(test)]
mod tests {
    use enrgdaq::job::Table;
    use serde_json::json;

    use super::*;

    type Append<T> = fn(&T, &mut Vec<u8>) -> Result<(Vec<u8>, u64), RowsError>;

    fn text<T>(append: Append<T>, rows: &T) -> (String, String) {
        let mut lines = Vec::new();
        let (header, _) = append(rows, &mut lines).unwrap();
        (String::from_utf8(header).unwrap(), String::from_utf8(lines).unwrap())
    }

    #[test]
    fn cells_read_back_as_what_they_were() {
        let table = Table::new()
            .column("n", [i64::MIN, i64::MAX])
            .column("x", [f64::NAN, 1e300])
            .column("y", [Some(0.1), None])
            .column("z", [f64::NEG_INFINITY, -0.0])
            .column("a \"name\", quoted", ["com,ma", "new\nline"])
            .build()
            .unwrap();

        let (header, lines) = text(table_rows, &table);

        assert_eq!(header, "n,x,y,z,\"a \"\"name\"\", quoted\"\n");
        let expected = "-9223372036854775808,NaN,0.1,-inf,\"com,ma\"\n9223372036854775807,1e300,,-0.0,\"new\nline\"\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let table = Table::new().column("n", Vec::<i64>::new()).build().unwrap();

        assert_eq!(text(table_rows, &table), ("n\n".into(), String::new()));
    }

    #[test]
    fn old_style_rows_are_rows() {
        let tabular = StoreTabular {
            keys: vec!["a".into(), "b".into()],
            data: vec![vec![json!(1), json!("x")], vec![json!(null), json!(2.5)]],
        };

        assert_eq!(text(tabular_rows, &tabular), ("a,b\n".into(), "1,x\n,2.5\n".into()));
        let short = StoreTabular { keys: tabular.keys, data: vec![vec![json!(1)]] };
        assert!(matches!(tabular_rows(&short, &mut Vec::new()), Err(RowsError::Length { cells: 1, columns: 2 })));
    }
}
