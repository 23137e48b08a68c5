//! One file that bytes are appended to.
//!
//! Invariants: what is behind `len` is a failed write's, and goes before the next; the checksum is that of all that was
//! written since the last entry of the journal.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::io::Errno;

use super::batch::Form;
use crate::os::begin_writeback;

/// The fastest: a store is to keep up with its disk.
const ZSTD_LEVEL: i32 = 1;

/// So much is written before the disk is told to begin: few pages go to it twice.
const WRITEBACK: u64 = 4 << 20;

/// An open file.
#[derive(Debug)]
pub(super) struct Sheet {
    file: File,
    pub(super) form: Form,
    len: u64,
    /// As the journal has it.
    journaled: u64,
    crc: crc32fast::Hasher,
    /// Up to here the disk has begun.
    begun: u64,
    is_dirty: bool,
}

/// What was written into a file since the last entry of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) crc: u32,
}

impl Sheet {
    /// A file that is whole up to `len`; what is behind goes.
    pub(super) fn new(file: File, form: Form, len: u64) -> io::Result<Self> {
        if file.metadata()?.len() > len {
            file.set_len(len)?;
        }
        Ok(Self { file, form, len, journaled: len, crc: crc32fast::Hasher::new(), begun: len, is_dirty: false })
    }

    /// Appends to it, behind the header.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let before = self.len;
        if self.len == 0 && !self.form.header.is_empty() {
            let whole = [&self.form.header, bytes].concat();
            self.write(&whole)?;
        } else if !bytes.is_empty() {
            self.write(bytes)?;
        }
        Ok(self.len - before)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = packed(bytes, self.form.is_compressed)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.len) {
            // If this fails too, it is done when the file is opened again.
            self.file.set_len(self.len).ok();
            return Err(error);
        }
        self.crc.update(&bytes);
        self.len += bytes.len() as u64;
        self.is_dirty = true;
        if self.len - self.begun >= WRITEBACK {
            begin_writeback(&self.file, self.begun, self.len - self.begun);
            self.begun = self.len;
        }
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What the journal does not know yet; from then on it does.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        if self.len == self.journaled {
            return None;
        }
        let start = std::mem::replace(&mut self.journaled, self.len);
        let crc = std::mem::take(&mut self.crc).finalize();
        Some(Change { start, len: self.len, crc })
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Whether what was written is still there: the file has a name, and nobody has cut it.
    pub(super) fn is_kept(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok(metadata.nlink() > 0 && metadata.len() >= self.len)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Bytes as they stand in a file.
pub(super) fn packed(bytes: &[u8], is_compressed: bool) -> io::Result<Cow<'_, [u8]>> {
    match is_compressed {
        // Memory is all that it can want for.
        true => zstd::bulk::compress(bytes, ZSTD_LEVEL).map(Cow::Owned).map_err(|_| Errno::NOMEM.into()),
        false => Ok(Cow::Borrowed(bytes)),
    }
}
