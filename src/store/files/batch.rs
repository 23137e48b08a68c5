//! Messages as they will stand in files.

use std::path::PathBuf;

use super::Encoded;
use crate::store::sink::Refused;

/// So much is worth compressing by itself.
const LARGE_PIECE: usize = 256 << 10;

/// What a file must be like for bytes to be appended to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    /// What stands once at the beginning; empty: nothing.
    pub header: Vec<u8>,
    /// The file is a row of zstd frames.
    pub is_compressed: bool,
    /// It consists of CSV records, so that half a one at its end can be told from a whole one.
    pub has_records: bool,
}

/// Bytes for one file.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    pub(super) form: Form,
    /// They take the place of all that is in it.
    pub(super) overwrites: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) messages: u64,
    pub(super) rows: u64,
}

/// Messages that are written together.
#[derive(Debug, Default)]
pub struct FileBatch {
    /// Each file once, in the order of their first messages.
    pieces: Vec<Piece>,
    bytes: usize,
    /// What a message becomes, before it is known to which piece that belongs.
    scratch: Vec<u8>,
}

impl FileBatch {
    /// Takes a message for a file.
    pub(super) fn put(
        &mut self,
        path: PathBuf,
        overwrites: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Encoded, Refused>,
    ) -> Result<(), Refused> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let encoded = encode(&mut scratch);
        if let Ok(Encoded { form, rows }) = &encoded {
            self.add(path, overwrites, form, *rows, &mut scratch);
        }
        self.scratch = scratch;
        encoded.map(drop)
    }

    fn add(&mut self, path: PathBuf, overwrites: bool, form: &Form, rows: u64, bytes: &mut Vec<u8>) {
        self.bytes += bytes.len();
        let is_it = |piece: &&mut Piece| {
            piece.path == path && piece.overwrites == overwrites && (overwrites || piece.form == *form)
        };
        // Most often the last: sources write runs of messages.
        match self.pieces.iter_mut().rev().find(is_it) {
            Some(piece) if overwrites => {
                std::mem::swap(&mut piece.bytes, bytes);
                piece.form = form.clone();
                piece.messages += 1;
                piece.rows += rows;
            }
            Some(piece) => {
                piece.bytes.extend_from_slice(bytes);
                piece.messages += 1;
                piece.rows += rows;
            }
            None => {
                let (form, bytes) = (form.clone(), std::mem::take(bytes));
                self.pieces.push(Piece { path, form, overwrites, bytes, messages: 1, rows });
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A compressed file gains by large pieces, and contents that are replaced need not be written one by one.
    pub(super) fn gains_by_more(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| piece.overwrites || (piece.form.is_compressed && piece.bytes.len() < LARGE_PIECE))
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }
}
