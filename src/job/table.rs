//! Tables, column by column: what most sources publish.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::ArrowError;
use thiserror::Error;

/// A table under construction; all columns must have the same length.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, ArrayRef)>);

/// Why columns are no table.
#[derive(Debug, Error)]
#[error("the columns do not make a table")]
pub struct TableError(#[from] ArrowError);

/// A type of value that a column can have.
pub trait Column: Sized {
    /// The values as an Arrow array.
    fn array(values: Vec<Self>) -> ArrayRef;
}

macro_rules! columns {
    ($($value:ty => $array:ty),* $(,)?) => {
        $(impl Column for $value {
            fn array(values: Vec<Self>) -> ArrayRef { Arc::new(<$array>::from(values)) }
        })*
    };
}

columns!(
    i32 => Int32Array, i64 => Int64Array, u32 => UInt32Array, u64 => UInt64Array, f32 => Float32Array,
    f64 => Float64Array, bool => BooleanArray, String => StringArray, &str => StringArray,
    Option<i64> => Int64Array, Option<f64> => Float64Array, Option<String> => StringArray,
);

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a column more.
    #[must_use]
    pub fn column<T: Column>(mut self, name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        self.0.push((name.into(), T::array(values.into_iter().collect())));
        self
    }

    /// The table.
    ///
    /// # Errors
    /// [`TableError`]: no column, columns of different length.
    pub fn build(self) -> Result<RecordBatch, TableError> {
        Ok(RecordBatch::try_from_iter_with_nullable(self.0.into_iter().map(|(name, array)| (name, array, true)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_different_length_are_no_table() {
        assert!(Table::new().column("a", [1i64, 2]).column("b", [1.0]).build().is_err());
        assert_eq!(Table::new().column("a", [1i64, 2]).column("b", ["x", "y"]).build().unwrap().num_rows(), 2);
    }
}
