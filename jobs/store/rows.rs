//! Messages as rows of text: the header and the cells of tables and of old-style rows.
//!
//! Numbers come back as they were: integers in full, floats by their shortest digits that read back the same (`NaN`,
//! `inf`, `-inf` as Python and pandas read them). Null is an empty cell.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
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
    #[error("the rows cannot be written")]
    Write(#[from] csv::Error),
}

/// Rows, ready for a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) header: Vec<u8>,
    pub(super) lines: Vec<u8>,
}

/// The rows of a message.
pub(super) fn rows_of(delivery: &mut Delivery) -> Result<Rows, RowsError> {
    if delivery.envelope.body::<StoreTable>().is_some() {
        return table_rows(&delivery.table()?);
    }
    match delivery.envelope.body::<StoreTabular>() {
        Some(tabular) => tabular_rows(&tabular?),
        None => Err(RowsError::Type(delivery.envelope.head.kind.clone())),
    }
}

fn table_rows(table: &RecordBatch) -> Result<Rows, RowsError> {
    let schema = table.schema();
    let header = line(schema.fields().iter().map(|field| field.name().as_bytes()))?;
    let columns = schema.fields().iter().zip(table.columns());
    let columns: Vec<_> = columns
        .map(|(field, array)| {
            column(array.as_ref())
                .ok_or_else(|| RowsError::Column { column: field.name().clone(), data_type: array.data_type().clone() })
        })
        .collect::<Result<_, _>>()?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut cell = Vec::new();
    for row in 0..table.num_rows() {
        for column in &columns {
            cell.clear();
            column(row, &mut cell);
            writer.write_field(&cell)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(Rows { header, lines: into_bytes(writer) })
}

/// Writes the cell of a row.
type Cell<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// How the cells of a column are written; `None` for types without a form in CSV.
fn column(array: &dyn Array) -> Option<Cell<'_>> {
    /// Makes a writer of an array whose values are written by a format.
    macro_rules! cells {
        ($values:expr, $format:literal) => {{
            let values = $values;
            Box::new(move |row, cell: &mut Vec<u8>| {
                if values.is_valid(row) {
                    io_free(cell, format_args!($format, values.value(row)));
                }
            })
        }};
    }
    Some(match array.data_type() {
        DataType::Int8 => cells!(array.as_primitive::<Int8Type>(), "{}"),
        DataType::Int16 => cells!(array.as_primitive::<Int16Type>(), "{}"),
        DataType::Int32 => cells!(array.as_primitive::<Int32Type>(), "{}"),
        DataType::Int64 => cells!(array.as_primitive::<Int64Type>(), "{}"),
        DataType::UInt8 => cells!(array.as_primitive::<UInt8Type>(), "{}"),
        DataType::UInt16 => cells!(array.as_primitive::<UInt16Type>(), "{}"),
        DataType::UInt32 => cells!(array.as_primitive::<UInt32Type>(), "{}"),
        DataType::UInt64 => cells!(array.as_primitive::<UInt64Type>(), "{}"),
        DataType::Float32 => cells!(array.as_primitive::<Float32Type>(), "{:?}"),
        DataType::Float64 => cells!(array.as_primitive::<Float64Type>(), "{:?}"),
        DataType::Boolean => cells!(array.as_boolean(), "{}"),
        DataType::Utf8 => cells!(array.as_string::<i32>(), "{}"),
        DataType::LargeUtf8 => cells!(array.as_string::<i64>(), "{}"),
        DataType::Null => Box::new(|_, _| {}),
        _ => return None,
    })
}

/// Formats into memory.
fn io_free(cell: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    std::io::Write::write_fmt(cell, text).expect("a Vec takes all");
}

fn tabular_rows(tabular: &StoreTabular) -> Result<Rows, RowsError> {
    let columns = tabular.keys.len();
    let mut lines = Vec::new();
    for row in &tabular.data {
        if row.len() != columns {
            return Err(RowsError::Length { cells: row.len(), columns });
        }
        lines.extend(line(row.iter().map(json_cell))?);
    }
    Ok(Rows { header: line(&tabular.keys)?, lines })
}

fn json_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn line(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    Ok(into_bytes(writer))
}

fn into_bytes(writer: csv::Writer<Vec<u8>>) -> Vec<u8> {
    writer.into_inner().expect("a Vec takes all")
}

#[cfg(test)]
mod tests {
    use enrgdaq::job::Table;
    use serde_json::json;

    use super::*;

    fn text(rows: &Rows) -> (String, String) {
        (String::from_utf8(rows.header.clone()).unwrap(), String::from_utf8(rows.lines.clone()).unwrap())
    }

    #[test]
    fn cells_read_back_as_what_they_were() {
        let table = Table::new()
            .column("n", [i64::MIN, i64::MAX])
            .column("x", [f64::NAN, 1e300])
            .column("y", [Some(0.1), None])
            .column("a \"name\", quoted", ["com,ma", "new\nline"])
            .build()
            .unwrap();

        let (header, lines) = text(&table_rows(&table).unwrap());

        assert_eq!(header, "n,x,y,\"a \"\"name\"\", quoted\"\n");
        let expected = "-9223372036854775808,NaN,0.1,\"com,ma\"\n9223372036854775807,1e300,,\"new\nline\"\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let table = Table::new().column("n", Vec::<i64>::new()).build().unwrap();

        assert_eq!(text(&table_rows(&table).unwrap()), ("n\n".into(), String::new()));
    }

    #[test]
    fn old_style_rows_are_rows() {
        let tabular = StoreTabular {
            keys: vec!["a".into(), "b".into()],
            data: vec![vec![json!(1), json!("x")], vec![json!(null), json!(2.5)]],
        };

        assert_eq!(text(&tabular_rows(&tabular).unwrap()), ("a,b\n".into(), "1,x\n,2.5\n".into()));
        let short = StoreTabular { keys: tabular.keys, data: vec![vec![json!(1)]] };
        assert!(matches!(tabular_rows(&short), Err(RowsError::Length { cells: 1, columns: 2 })));
    }
}
