//! `format = "csv"`: lines of cells, as RFC 4180 has them: quotes around what holds commas, quotes or ends of lines.

use std::collections::BTreeMap;
use std::str;

use csv_core::ReadRecordResult;
use enrgdaq::job::JobError;

use super::cells::{Cell, Rows};
use super::config::CellType;
use super::decoder::{Decoder, MAX_LINE};
use super::sink::Sink;

/// Rows of a CSV file that never ends.
#[derive(Debug)]
pub(super) struct Csv {
    types: BTreeMap<String, CellType>,
    header: Option<Vec<String>>,
    rows: Option<Rows>,
    reader: csv_core::Reader,
    /// The cells of the record that is being read, one after the other, and where each ends.
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    /// Its bytes, with quotes and commas.
    record_len: usize,
    /// A record that is too long has begun: all until the end of its line is passed over.
    is_skipping: bool,
}

impl Csv {
    /// With the names of columns, or with a first line that has them.
    pub(super) fn new(columns: Option<&[String]>, types: &BTreeMap<String, CellType>) -> Self {
        Self {
            types: types.clone(),
            header: columns.map(<[String]>::to_vec),
            rows: None,
            reader: csv_core::Reader::new(),
            text: vec![0; 1024],
            text_len: 0,
            ends: vec![0; 32],
            ends_len: 0,
            record_len: 0,
            is_skipping: false,
        }
    }

    /// Takes what is there of one record, and says how many bytes that were. No bytes at all are the end.
    fn feed(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let (text, ends) = (&mut self.text[self.text_len..], &mut self.ends[self.ends_len..]);
        let (result, read, written, ended) = self.reader.read_record(bytes, text, ends);
        self.record_len += read;
        self.text_len += written;
        self.ends_len += ended;
        match result {
            ReadRecordResult::Record => {
                let taken = self.take_record(sink);
                self.begin_record();
                taken?;
            }
            ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
            ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
            ReadRecordResult::End => self.begin_record(),
            // Ends of lines between records are part of none.
            ReadRecordResult::InputEmpty if self.is_blank(&bytes[..read]) => self.record_len = 0,
            ReadRecordResult::InputEmpty => {}
        }
        if self.record_len > MAX_LINE {
            sink.refuse("long", || format!("a record of more than {MAX_LINE} bytes; perhaps a quote is not closed"));
            self.reader.reset();
            self.begin_record();
            self.is_skipping = true;
        }
        Ok(read)
    }

    fn is_blank(&self, newest: &[u8]) -> bool {
        self.record_len == newest.len() && newest.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    fn begin_record(&mut self) {
        (self.text_len, self.ends_len, self.record_len) = (0, 0, 0);
    }

    fn take_record(&mut self, sink: &mut Sink) -> Result<(), JobError> {
        let Ok(text) = str::from_utf8(&self.text[..self.text_len]) else {
            sink.refuse("text", || format!("a record that is not UTF-8: {:?}", self.shown()));
            return Ok(());
        };
        let mut start = 0;
        let cells: Option<Vec<&str>> =
            self.ends[..self.ends_len].iter().map(|&end| text.get(std::mem::replace(&mut start, end)..end)).collect();
        let Some(cells) = cells else {
            sink.refuse("text", || format!("a cell that is not UTF-8: {:?}", self.shown()));
            return Ok(());
        };
        let Some(header) = &self.header else {
            self.header = Some(header_of(&cells, &self.types)?);
            return Ok(());
        };
        if cells.len() != header.len() {
            let (have, want) = (cells.len(), header.len());
            sink.refuse("length", || {
                format!("a record of {have} cells, where {want} are expected: {:?}", self.shown())
            });
            return Ok(());
        }
        let rows = self.rows.get_or_insert_with(|| {
            let named = header.iter().zip(&cells);
            let typed = named.map(|(name, cell)| (name.clone(), *self.types.get(name).unwrap_or(&type_of(cell))));
            Rows::new(&typed.collect::<Vec<_>>())
        });
        let typed: Result<Vec<_>, usize> = cells
            .iter()
            .zip(rows.types())
            .enumerate()
            .map(|(column, (cell, cell_type))| parse(cell, *cell_type).ok_or(column))
            .collect();
        match typed {
            Ok(cells) => rows.push(&cells, sink),
            Err(column) => {
                let (name, cell_type) = (rows.name(column), rows.types()[column]);
                let cell = cells.get(column).copied().unwrap_or_default();
                sink.refuse("type", || {
                    format!("a record whose cell `{name}` is {cell:?}, where the type is {}", word(cell_type))
                });
                Ok(())
            }
        }
    }

    /// The beginning of the record.
    fn shown(&self) -> String {
        let mut start = 0;
        let ends = self.ends[..self.ends_len].iter();
        let cells = ends.map(|&end| String::from_utf8_lossy(&self.text[std::mem::replace(&mut start, end)..end]));
        cells.collect::<Vec<_>>().join(",").chars().take(80).collect()
    }
}

impl Decoder for Csv {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<usize, JobError> {
        let mut at = 0;
        while at < bytes.len() {
            if self.is_skipping {
                let end = memchr::memchr(b'\n', &bytes[at..]);
                self.is_skipping = end.is_none();
                at = end.map_or(bytes.len(), |end| at + end + 1);
                continue;
            }
            at += self.feed(&bytes[at..], sink)?;
        }
        self.rows.as_mut().map_or(Ok(()), |rows| rows.hand_on(sink))?;
        Ok(bytes.len())
    }

    fn end(&mut self, _: &[u8], is_clean: bool, sink: &mut Sink) -> Result<(), JobError> {
        match (self.record_len > 0, is_clean) {
            (false, _) => {}
            (true, false) => sink.lose_rest(self.record_len),
            // What is there is a record that needs no end of line; each call ends it, or makes room.
            (true, true) => {
                while self.record_len > 0 {
                    self.feed(&[], sink)?;
                }
            }
        }
        self.rows.as_mut().map_or(Ok(()), |rows| rows.hand_on(sink))
    }
}

fn header_of(cells: &[&str], types: &BTreeMap<String, CellType>) -> Result<Vec<String>, JobError> {
    let header: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
    match types.keys().find(|name| !header.contains(name)) {
        None => Ok(header),
        Some(name) => {
            let columns = header.join(", ");
            Err(JobError::Config(format!("`types` names the column `{name}`, and the program's header has: {columns}")))
        }
    }
}

/// Of a column without a type, by its first cell.
fn type_of(cell: &str) -> CellType {
    if cell.trim().parse::<f64>().is_ok() { CellType::Float } else { CellType::Text }
}

/// A cell as its type; `None` if it is none.
fn parse(cell: &str, cell_type: CellType) -> Option<Cell<'_>> {
    if cell_type == CellType::Text {
        return Some(Cell::Text(cell));
    }
    match (cell.trim(), cell_type) {
        ("", _) => Some(Cell::Null),
        (text, CellType::Int) => text.parse().ok().map(Cell::Int),
        (text, CellType::Float) => text.parse().ok().map(Cell::Float),
        ("true" | "True" | "TRUE" | "1", CellType::Bool) => Some(Cell::Bool(true)),
        ("false" | "False" | "FALSE" | "0", CellType::Bool) => Some(Cell::Bool(false)),
        _ => None,
    }
}

/// As it stands in the configuration.
pub(super) fn word(cell_type: CellType) -> &'static str {
    match cell_type {
        CellType::Int => "\"int\"",
        CellType::Float => "\"float\"",
        CellType::Bool => "\"bool\"",
        CellType::Text => "\"text\"",
    }
}
