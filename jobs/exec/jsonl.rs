//! `format = "jsonl"`: an object a line, its keys the columns.
//!
//! The columns are those of the first object, in its order; a key that comes later adds a column, with which a new table
//! begins. What is missing is null. A nested value is its JSON text.

use std::collections::BTreeMap;
use std::fmt;

use enrgdaq::job::JobError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::cells::{Cell, Rows};
use super::config::CellType;
use super::csv::word;
use super::decoder::{ByLine, LineSplitter};
use super::sink::Sink;

/// A program that invents more columns than this is not understood.
const MOST_COLUMNS: usize = 1000;

/// Rows of JSON objects.
#[derive(Debug)]
pub(super) struct Jsonl {
    types: BTreeMap<String, CellType>,
    columns: Vec<(String, CellType)>,
    rows: Option<Rows>,
    splitter: LineSplitter,
}

impl Jsonl {
    pub(super) fn new(types: &BTreeMap<String, CellType>) -> Self {
        Self { types: types.clone(), columns: Vec::new(), rows: None, splitter: LineSplitter::default() }
    }
}

impl ByLine for Jsonl {
    fn splitter(&mut self) -> &mut LineSplitter {
        &mut self.splitter
    }

    fn line(&mut self, line: &[u8], sink: &mut Sink) -> Result<(), JobError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let Some(object) = object(line) else {
            sink.refuse("object", || format!("a line that is no JSON object: {:?}", shown(line)));
            return Ok(());
        };
        // Which column each key has; new ones behind the others.
        let mut columns = Vec::with_capacity(object.len());
        let mut new = Vec::new();
        for (name, value) in &object {
            let known = self.columns.iter().chain(&new).position(|(column, _)| column == name);
            columns.push(known.unwrap_or(self.columns.len() + new.len()));
            if known.is_none() {
                let cell_type = self.types.get(name).copied().unwrap_or_else(|| type_of(value));
                new.push((name.clone(), cell_type));
            }
        }
        let (count, more) = (self.columns.len() + new.len(), &new);
        if count == 0 || count > MOST_COLUMNS {
            sink.refuse("columns", || {
                format!("an object with which there would be {count} columns: {:?}", shown(line))
            });
            return Ok(());
        }
        let mut cells = vec![Cell::Null; count];
        for ((name, value), column) in object.iter().zip(columns) {
            let cell_type = self.columns.iter().chain(more).nth(column).map_or(CellType::Text, |(_, known)| *known);
            let Some(cell) = cell(value, cell_type) else {
                sink.refuse("type", || {
                    format!("an object whose `{name}` is {value}, where the type is {}", word(cell_type))
                });
                return Ok(());
            };
            cells[column] = cell;
        }
        if !new.is_empty() {
            self.hand_on(sink)?;
            self.columns.append(&mut new);
            self.rows = None;
        }
        self.rows.get_or_insert_with(|| Rows::new(&self.columns)).push(&cells, sink)
    }

    fn hand_on(&mut self, sink: &mut Sink) -> Result<(), JobError> {
        self.rows.as_mut().map_or(Ok(()), |rows| rows.hand_on(sink))
    }
}

/// The keys and values of an object, in their order; `None` for all else.
fn object(line: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let object = (&mut json).deserialize_map(InOrder).ok()?;
    json.end().ok()?;
    Some(object)
}

/// Keeps the order of keys; of a key that comes twice the last value counts.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = map.next_entry()? {
            object.push(entry);
        }
        Ok(object)
    }
}

/// Of a column without a type, by its first value.
fn type_of(value: &Value) -> CellType {
    match value {
        Value::Number(_) => CellType::Float,
        Value::Bool(_) => CellType::Bool,
        _ => CellType::Text,
    }
}

/// A value as a cell of its type; `None` if it is none. A column of text takes all.
fn cell(value: &Value, cell_type: CellType) -> Option<Cell<'_>> {
    match (value, cell_type) {
        (Value::Null, _) => Some(Cell::Null),
        (Value::String(text), CellType::Text) => Some(Cell::Text(text)),
        (other, CellType::Text) => Some(Cell::Owned(other.to_string())),
        (Value::Number(number), CellType::Int) => number.as_i64().map(Cell::Int),
        (Value::Number(number), CellType::Float) => number.as_f64().map(Cell::Float),
        (Value::Bool(value), CellType::Bool) => Some(Cell::Bool(*value)),
        _ => None,
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}
