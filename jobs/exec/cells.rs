//! Columns of typed cells, for formats whose records are rows.
//!
//! Invariant: all columns have the same length: a row is taken whole or not at all. The names and types of a table never
//! change within a stream, but that columns may be added.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use enrgdaq::job::JobError;

use super::config::CellType;
use super::decoder::{FULL_BYTES, FULL_ROWS};
use super::sink::Sink;

/// One cell, of the type of its column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    /// There is none.
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Owned(String),
}

impl Cell<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Owned(text) => text.len(),
            _ => 8,
        }
    }
}

/// A column and its cells since the last table.
#[derive(Debug)]
enum Column {
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
}

impl Column {
    fn new(cell_type: CellType) -> Self {
        match cell_type {
            CellType::Int => Self::Int(Int64Builder::new()),
            CellType::Float => Self::Float(Float64Builder::new()),
            CellType::Bool => Self::Bool(BooleanBuilder::new()),
            CellType::Text => Self::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Int(column), Cell::Int(value)) => column.append_value(*value),
            (Self::Float(column), Cell::Float(value)) => column.append_value(*value),
            (Self::Bool(column), Cell::Bool(value)) => column.append_value(*value),
            (Self::Text(column), Cell::Text(value)) => column.append_value(value),
            (Self::Text(column), Cell::Owned(value)) => column.append_value(value),
            (Self::Int(column), _) => column.append_null(),
            (Self::Float(column), _) => column.append_null(),
            (Self::Bool(column), _) => column.append_null(),
            (Self::Text(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(column) => Arc::new(column.finish()),
            Self::Float(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Text(column) => Arc::new(column.finish()),
        }
    }
}

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    types: Vec<CellType>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
}

impl Rows {
    /// A table with these columns.
    pub(super) fn new(columns: &[(String, CellType)]) -> Self {
        let field = |(name, cell_type): &(String, CellType)| {
            let data_type = match cell_type {
                CellType::Int => DataType::Int64,
                CellType::Float => DataType::Float64,
                CellType::Bool => DataType::Boolean,
                CellType::Text => DataType::Utf8,
            };
            Field::new(name, data_type, true)
        };
        Self {
            schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
            types: columns.iter().map(|(_, cell_type)| *cell_type).collect(),
            columns: columns.iter().map(|(_, cell_type)| Column::new(*cell_type)).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// The types of the columns.
    pub(super) fn types(&self) -> &[CellType] {
        &self.types
    }

    /// The name of a column.
    pub(super) fn name(&self, column: usize) -> &str {
        self.schema.fields().get(column).map_or("", |field| field.name())
    }

    /// A row: a cell a column, each of the column's type or null.
    pub(super) fn push(&mut self, cells: &[Cell<'_>], sink: &mut Sink) -> Result<(), JobError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
            self.bytes += cell.len();
        }
        self.rows += 1;
        match self.rows >= FULL_ROWS || self.bytes >= FULL_BYTES {
            true => self.hand_on(sink),
            false => Ok(()),
        }
    }

    /// The rows since the last table, as a table.
    pub(super) fn hand_on(&mut self, sink: &mut Sink) -> Result<(), JobError> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        self.bytes = 0;
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        let table = RecordBatch::try_new(self.schema.clone(), columns);
        sink.table(&table.map_err(|error| JobError::failed("cells do not make a table", error))?)
    }
}
