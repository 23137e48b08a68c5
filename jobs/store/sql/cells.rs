//! The cells of a column, of one type.

use std::ops::Range;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Unsigned,
    Real,
    Boolean,
    Text,
    Blob,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Unsigned(u64),
    Real(f64),
    Boolean(bool),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// The cells of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    Integer(Vec<Option<i64>>),
    Unsigned(Vec<Option<u64>>),
    Real(Vec<Option<f64>>),
    Boolean(Vec<Option<bool>>),
    Text(Pieces),
    Blob(Pieces),
}

/// Texts or bytes, one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    places: Vec<Option<(usize, usize)>>,
}

impl Pieces {
    pub(super) fn push(&mut self, piece: Option<&[u8]>) {
        let place = piece.map(|piece| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(piece);
            (start, self.bytes.len())
        });
        self.places.push(place);
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        self.places[row].map(|(start, end)| &self.bytes[start..end])
    }

    fn append(&mut self, other: &Self) {
        let by = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.places.extend(other.places.iter().map(|place| place.map(|(start, end)| (start + by, end + by))));
    }

    fn bytes(&self, rows: Range<usize>) -> usize {
        self.places[rows].iter().flatten().map(|(start, end)| end - start).sum()
    }
}

impl<'a> FromIterator<Option<&'a [u8]>> for Pieces {
    fn from_iter<I: IntoIterator<Item = Option<&'a [u8]>>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.push(piece));
        all
    }
}

impl Cells {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) => Kind::Integer,
            Self::Unsigned(_) => Kind::Unsigned,
            Self::Real(_) => Kind::Real,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
            Self::Blob(_) => Kind::Blob,
        }
    }

    /// The cell of a row.
    pub(super) fn get(&self, row: usize) -> Cell<'_> {
        let cell = match self {
            Self::Integer(values) => values[row].map(Cell::Integer),
            Self::Unsigned(values) => values[row].map(Cell::Unsigned),
            Self::Real(values) => values[row].map(Cell::Real),
            Self::Boolean(values) => values[row].map(Cell::Boolean),
            Self::Text(pieces) => {
                pieces.get(row).map(|text| Cell::Text(std::str::from_utf8(text).expect("only texts were put in")))
            }
            Self::Blob(pieces) => pieces.get(row).map(Cell::Blob),
        };
        cell.unwrap_or(Cell::Null)
    }

    /// Appends cells of the same kind.
    pub(super) fn append(&mut self, more: &Self) {
        match (self, more) {
            (Self::Integer(all), Self::Integer(more)) => all.extend_from_slice(more),
            (Self::Unsigned(all), Self::Unsigned(more)) => all.extend_from_slice(more),
            (Self::Real(all), Self::Real(more)) => all.extend_from_slice(more),
            (Self::Boolean(all), Self::Boolean(more)) => all.extend_from_slice(more),
            (Self::Text(all), Self::Text(more)) | (Self::Blob(all), Self::Blob(more)) => all.append(more),
            _ => unreachable!("only what has the same kinds is merged"),
        }
    }

    /// What some rows take on their way to a server, about.
    pub(super) fn bytes(&self, rows: Range<usize>) -> usize {
        /// A number, or a length, and the type of a parameter.
        const EACH: usize = 12;
        EACH * rows.len()
            + match self {
                Self::Text(pieces) | Self::Blob(pieces) => pieces.bytes(rows),
                _ => 0,
            }
    }

    /// Whether all come back from such a column as they were.
    pub(super) fn all_fit(&self, column: Numbers) -> bool {
        self.misfit(0..self.len(), column).is_none()
    }

    fn len(&self) -> usize {
        match self {
            Self::Integer(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Text(pieces) | Self::Blob(pieces) => pieces.len(),
        }
    }

    /// Why the cells of some rows would not come back from a column of numbers as they were.
    pub(super) fn misfit(&self, rows: Range<usize>, column: Numbers) -> Option<String> {
        /// Whole numbers above have gaps in `f64`.
        const EXACT: u64 = 1 << 53;
        match (self, column) {
            (Self::Real(values), Numbers::Whole) => {
                let is_broken = |value: &&f64| value.is_finite() && value.fract() != 0.0;
                values[rows].iter().flatten().find(is_broken).map(|value| format!("{value} is no whole number"))
            }
            (Self::Integer(values), Numbers::Floating) => {
                let is_large = |value: &&i64| value.unsigned_abs() > EXACT;
                values[rows].iter().flatten().find(is_large).map(|value| format!("{value} has too many digits"))
            }
            (Self::Unsigned(values), Numbers::Floating) => {
                let large = values[rows].iter().flatten().find(|&&value| value > EXACT);
                large.map(|value| format!("{value} has too many digits"))
            }
            _ => None,
        }
    }

    /// The first number of some rows that no `i64` holds.
    pub(super) fn beyond_i64(&self, rows: Range<usize>) -> Option<u64> {
        let Self::Unsigned(values) = self else { return None };
        values[rows].iter().flatten().copied().find(|&value| i64::try_from(value).is_err())
    }
}

/// Which numbers an existing column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    Whole,
    Floating,
    /// No numbers, or decimal ones.
    Other,
}

impl Numbers {
    /// By the type of its declaration, as in `bigint(20) unsigned`.
    pub(super) fn of_type(declared: &str) -> Self {
        let declared = declared.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match () {
            () if has(&["int", "bit"]) => Self::Whole,
            () if has(&["real", "floa", "doub"]) => Self::Floating,
            () => Self::Other,
        }
    }
}
