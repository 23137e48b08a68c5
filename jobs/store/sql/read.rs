//! Columns of cells out of tables and of old-style rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use enrgdaq::message::StoreTabular;
use serde_json::Value;

use super::batch::{Column, RowsError};
use super::cells::Cells;
use super::names;

/// The columns of a table, and how many rows they have. A column of type null is left out: it says nothing.
pub(super) fn table(table: &RecordBatch) -> Result<(Vec<Column>, usize), RowsError> {
    let schema = table.schema();
    let names = names::column_names(schema.fields().iter().map(|field| field.name().as_str()))?;
    let mut columns = Vec::with_capacity(names.len());
    for (name, array) in names.into_iter().zip(table.columns()) {
        if *array.data_type() == DataType::Null {
            continue;
        }
        match cells(array.as_ref()) {
            Some(cells) => columns.push(Column::new(name, cells)),
            None => return Err(RowsError::Column { column: name, data_type: array.data_type().to_string() }),
        }
    }
    Ok((columns, table.num_rows()))
}

/// `None` for types without a form in SQL.
fn cells(array: &dyn Array) -> Option<Cells> {
    Some(match array.data_type() {
        DataType::Int8 => Cells::Integer(numbers::<Int8Type, _>(array)),
        DataType::Int16 => Cells::Integer(numbers::<Int16Type, _>(array)),
        DataType::Int32 => Cells::Integer(numbers::<Int32Type, _>(array)),
        DataType::Int64 => Cells::Integer(numbers::<Int64Type, _>(array)),
        DataType::UInt8 => Cells::Integer(numbers::<UInt8Type, _>(array)),
        DataType::UInt16 => Cells::Integer(numbers::<UInt16Type, _>(array)),
        DataType::UInt32 => Cells::Integer(numbers::<UInt32Type, _>(array)),
        DataType::UInt64 => Cells::Unsigned(numbers::<UInt64Type, _>(array)),
        DataType::Float32 => Cells::Real(numbers::<Float32Type, _>(array)),
        DataType::Float64 => Cells::Real(numbers::<Float64Type, _>(array)),
        DataType::Boolean => Cells::Boolean(array.as_boolean().iter().collect()),
        DataType::Utf8 => Cells::Text(array.as_string::<i32>().iter().map(as_bytes).collect()),
        DataType::LargeUtf8 => Cells::Text(array.as_string::<i64>().iter().map(as_bytes).collect()),
        DataType::Binary => Cells::Blob(array.as_binary::<i32>().iter().collect()),
        DataType::LargeBinary => Cells::Blob(array.as_binary::<i64>().iter().collect()),
        DataType::FixedSizeBinary(_) => Cells::Blob(array.as_fixed_size_binary().iter().collect()),
        _ => return None,
    })
}

fn numbers<T: ArrowPrimitiveType, N: From<T::Native>>(array: &dyn Array) -> Vec<Option<N>> {
    let array = array.as_primitive::<T>();
    match array.null_count() {
        0 => array.values().iter().map(|&value| Some(value.into())).collect(),
        _ => array.iter().map(|value| value.map(Into::into)).collect(),
    }
}

fn as_bytes(text: Option<&str>) -> Option<&[u8]> {
    text.map(str::as_bytes)
}

/// The columns of old-style rows, and how many rows they have. A column has the type that holds all of its values; one
/// without values is left out.
pub(super) fn tabular(tabular: &StoreTabular) -> Result<(Vec<Column>, usize), RowsError> {
    let names = names::column_names(tabular.keys.iter().map(String::as_str))?;
    let columns = names.len();
    if let Some(row) = tabular.data.iter().find(|row| row.len() != columns) {
        return Err(RowsError::Length { cells: row.len(), columns });
    }
    let column = |(n, name)| values(tabular, n).map(|cells| Column { is_loose: true, ..Column::new(name, cells) });
    Ok((names.into_iter().enumerate().filter_map(column).collect(), tabular.data.len()))
}

fn values(tabular: &StoreTabular, column: usize) -> Option<Cells> {
    let all = || tabular.data.iter().map(move |row| &row[column]);
    let some = || all().filter(|value| !value.is_null());
    some().next()?;
    Some(if some().all(Value::is_boolean) {
        Cells::Boolean(all().map(Value::as_bool).collect())
    } else if some().all(Value::is_i64) {
        Cells::Integer(all().map(Value::as_i64).collect())
    } else if some().all(Value::is_u64) {
        Cells::Unsigned(all().map(Value::as_u64).collect())
    } else if some().all(Value::is_number) && some().any(Value::is_f64) {
        Cells::Real(all().map(Value::as_f64).collect())
    } else {
        let texts: Vec<_> = all().map(text).collect();
        Cells::Text(texts.iter().map(|text| as_bytes(text.as_deref())).collect())
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::Kind;
    use super::*;

    #[test]
    fn a_column_of_old_style_rows_has_the_type_that_holds_all_its_values() {
        let table = [
            (json!([1, -2, null]), Some(Kind::Integer)),
            (json!([1, u64::MAX]), Some(Kind::Unsigned)),
            (json!([-1, u64::MAX]), Some(Kind::Text)),
            (json!([1, 2.5]), Some(Kind::Real)),
            (json!([true, null]), Some(Kind::Boolean)),
            (json!([true, 1]), Some(Kind::Text)),
            (json!(["a", [1, 2]]), Some(Kind::Text)),
            (json!([null, null]), None),
        ];
        for (values, kind) in table {
            let data = values.as_array().unwrap().iter().map(|value| vec![value.clone()]).collect();
            let rows = StoreTabular { keys: vec!["a".into()], data };

            let (columns, _) = tabular(&rows).unwrap();

            assert_eq!(columns.first().map(|column| column.cells.kind()), kind, "{values}");
        }
    }
}
