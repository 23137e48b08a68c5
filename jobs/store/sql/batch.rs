//! Messages as they will stand in tables of a database.

use std::ops::Range;

use enrgdaq::job::Delivery;
use enrgdaq::message::{DecodeError, PayloadError, StoreRaw, StoreRecords, StoreTable, StoreTabular};
use enrgdaq::store::Refused;
use thiserror::Error;

use super::cells::{Cells, Kind, Pieces};
use super::names::{self, NameError};
use super::read;

/// Why a message has no rows.
#[derive(Debug, Error)]
pub(crate) enum RowsError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("messages of type {0} are no rows")]
    Type(String),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Body(#[from] DecodeError),
    #[error("column `{column}` has type {data_type}, which has no form in SQL")]
    Column { column: String, data_type: String },
    #[error("a row has {cells} cells, and there are {columns} columns")]
    Length { cells: usize, columns: usize },
    #[error("it has rows, and no column with a type")]
    NoColumns,
}

impl RowsError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Name(error) => error.kind(),
            Self::Type(_) => "type",
            Self::Payload(_) | Self::Body(_) => "payload",
            Self::Column { .. } | Self::NoColumns => "column",
            Self::Length { .. } => "length",
        }
    }
}

/// A column of some rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(super) name: String,
    pub(super) cells: Cells,
    /// Whether the type follows from the values alone, as in old-style rows: the next may be another.
    pub(super) is_loose: bool,
}

impl Column {
    /// Of a type that its message tells.
    pub(super) fn new(name: impl Into<String>, cells: Cells) -> Self {
        Self { name: name.into(), cells, is_loose: false }
    }
}

/// Rows for one table, of messages with the same columns.
#[derive(Debug)]
pub(crate) struct Part {
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    /// How many rows there are up to the end of each message.
    ends: Vec<usize>,
}

impl Part {
    pub(super) fn new(table: String, columns: Vec<Column>, rows: usize) -> Self {
        Self { table, columns, ends: vec![rows] }
    }

    pub(super) fn messages(&self) -> usize {
        self.ends.len()
    }

    /// The rows of some messages.
    pub(super) fn rows(&self, messages: Range<usize>) -> Range<usize> {
        let before = |message: usize| if message == 0 { 0 } else { self.ends[message - 1] };
        before(messages.start)..before(messages.end)
    }

    /// What some rows take on their way to a server, about.
    pub(super) fn bytes(&self, rows: Range<usize>) -> usize {
        self.columns.iter().map(|column| column.cells.bytes(rows.clone())).sum()
    }

    /// Puts rows of text into it: `INSERT … VALUES (?,?),(?,?)`.
    pub(super) fn insert(&self, rows: usize) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| format!("`{}`", column.name)).collect();
        let row = format!("({})", vec!["?"; names.len()].join(","));
        format!("INSERT INTO `{}` ({}) VALUES {}", self.table, names.join(","), vec![row; rows].join(","))
    }

    fn kinds(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.cells.kind()))
    }

    fn append(&mut self, more: &Self) {
        let by = self.ends.last().copied().unwrap_or_default();
        self.ends.extend(more.ends.iter().map(|end| end + by));
        self.columns.iter_mut().zip(&more.columns).for_each(|(all, more)| all.cells.append(&more.cells));
    }
}

/// Messages that are stored together.
#[derive(Debug, Default)]
pub(crate) struct SqlBatch {
    pub(super) parts: Vec<Part>,
    bytes: usize,
}

impl SqlBatch {
    /// Takes a message for a table.
    pub(super) fn put(&mut self, table: &str, message: &mut Delivery) -> Result<(), Refused> {
        let part = part(table, message).map_err(|error| Refused::new(error.kind(), &error))?;
        let Some(part) = part else { return Ok(()) };
        self.bytes += part.bytes(part.rows(0..1));
        // Rows of one table stay in their order, so only its last part can take more.
        let last = self.parts.iter_mut().rev().find(|last| last.table == part.table);
        match last.filter(|last| last.kinds().eq(part.kinds())) {
            Some(last) => last.append(&part),
            None => self.parts.push(part),
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A message as rows; `None` if it has none, and nobody knows of which types they would be.
fn part(table: &str, message: &mut Delivery) -> Result<Option<Part>, RowsError> {
    let table = names::table_name(table, message.envelope.head.tag.as_deref())?;
    let (columns, rows) = if message.envelope.body::<StoreTable>().is_some() {
        read::table(&message.table()?)?
    } else if let Some(tabular) = message.envelope.body::<StoreTabular>() {
        read::tabular(&tabular?)?
    } else {
        bytes(message)?
    };
    match columns.is_empty() {
        true if rows > 0 => Err(RowsError::NoColumns),
        true => Ok(None),
        false => Ok(Some(Part::new(table, columns, rows))),
    }
}

/// Raw messages and records: when, and what.
fn bytes(message: &Delivery) -> Result<(Vec<Column>, usize), RowsError> {
    let data: Pieces = if message.envelope.body::<StoreRecords>().is_some() {
        message.records()?.map(Some).collect()
    } else if message.envelope.body::<StoreRaw>().is_some() {
        std::iter::once(message.payload(0).or(Some(&[]))).collect()
    } else {
        return Err(RowsError::Type(message.envelope.head.kind.clone()));
    };
    let rows = data.len();
    let times = Cells::Integer(vec![Some(message.envelope.ts); rows]);
    Ok((vec![Column::new("timestamp", times), Column::new("data", Cells::Blob(data))], rows))
}

#[cfg(test)]
mod tests {
    use enrgdaq::job::Table;
    use enrgdaq::message::{Message, MessageId, Payload, PayloadKind, StoreRaw};
    use serde_json::json;

    use super::super::cells::Cell;
    use super::*;

    fn made(seq: u64, message: &Message) -> Delivery {
        Delivery::made(message, MessageId { epoch: 1, seq }, 77).unwrap()
    }

    fn rows_of(part: &Part) -> Vec<Vec<Cell<'_>>> {
        let all = part.rows(0..part.messages());
        all.map(|row| part.columns.iter().map(|column| column.cells.get(row)).collect()).collect()
    }

    fn tabular(keys: &[&str], data: serde_json::Value) -> Message {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Message::of(&StoreTabular { keys, data: serde_json::from_value(data).unwrap() }).unwrap()
    }

    #[test]
    fn messages_with_the_same_columns_are_rows_of_one_part() {
        let mut batch = SqlBatch::default();
        for seq in 0..3 {
            let rows = json!([[seq, "x"], [seq, null]]);
            batch.put("t", &mut made(seq, &tabular(&["n", "text"], rows))).unwrap();
        }
        batch.put("t", &mut made(3, &tabular(&["n"], json!([[0.5]])))).unwrap();
        batch.put("t", &mut made(4, &tabular(&["n", "text"], json!([[9, "y"]])))).unwrap();

        let shapes: Vec<_> = batch.parts.iter().map(|part| (part.messages(), part.rows(0..part.messages()))).collect();
        assert_eq!(shapes, [(3, 0..6), (1, 0..1), (1, 0..1)]);
        assert_eq!(batch.parts[0].rows(1..2), 2..4);
        let rows = rows_of(&batch.parts[0]);
        assert_eq!(rows[2..4], [[Cell::Integer(1), Cell::Text("x")], [Cell::Integer(1), Cell::Null]]);
        assert_eq!(batch.parts[0].insert(2), "INSERT INTO `t` (`n`,`text`) VALUES (?,?),(?,?)");
    }

    #[test]
    fn a_refused_message_leaves_the_batch_as_it_was() {
        let mut batch = SqlBatch::default();
        let refused = [
            ("t", tabular(&["a", "A"], json!([[1, 2]]))),
            ("t", tabular(&["a;"], json!([[1]]))),
            ("t;", tabular(&["a"], json!([[1]]))),
            ("t", tabular(&["a", "b"], json!([[1]]))),
            ("t", tabular(&["a"], json!([[null]]))),
            ("t", Message::of(&enrgdaq::message::Heartbeat { next_in_ms: 1, progress: 0, is_ready: true }).unwrap()),
        ];

        for (table, message) in &refused {
            assert!(batch.put(table, &mut made(0, message)).is_err());
        }

        assert!(batch.parts.is_empty() && batch.bytes() == 0);
    }

    #[test]
    fn bytes_are_a_row_with_their_time() {
        let payload = Payload { kind: PayloadKind::Raw, bytes: vec![1, 2, 3] };
        let message = Message::of(&StoreRaw {}).unwrap().with_payload(payload);
        let mut batch = SqlBatch::default();

        batch.put("t", &mut made(0, &message)).unwrap();

        assert_eq!(rows_of(&batch.parts[0]), [[Cell::Integer(77), Cell::Blob(&[1, 2, 3])]]);
    }

    #[test]
    fn a_table_keeps_its_types() {
        let table = Table::new()
            .column("i", [i64::MIN])
            .column("u", [u64::MAX])
            .column("x", [f64::INFINITY])
            .column("b", [true])
            .column("t", ["ä\0"])
            .build()
            .unwrap();

        let (columns, rows) = read::table(&table).unwrap();

        let cells: Vec<_> = columns.iter().map(|column| column.cells.get(0)).collect();
        let expected = [
            Cell::Integer(i64::MIN),
            Cell::Unsigned(u64::MAX),
            Cell::Real(f64::INFINITY),
            Cell::Boolean(true),
            Cell::Text("ä\0"),
        ];
        assert_eq!((rows, cells.as_slice()), (1, expected.as_slice()));
    }
}
