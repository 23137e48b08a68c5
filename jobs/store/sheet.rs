//! One CSV file that rows are appended to.
//!
//! Invariants: the header stands once, at the beginning; the file holds whole rows: what a crash or a full disk cut
//! short is cut off; with zstd the file is a row of whole frames, one a write. What is not on the disk for sure is dirty.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

use super::found::{Found, look};

/// Rows that wait in memory at the most, in bytes, before they are written.
const BUFFER: usize = 1 << 20;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// What a file must be like for rows to fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Form {
    /// The first record, with its line end.
    pub(super) header: Vec<u8>,
    pub(super) is_compressed: bool,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Sheet {
    file: File,
    form: Form,
    /// Up to here the file is whole.
    len: u64,
    /// Rows that wait; before the first write the header stands before them.
    rows: Vec<u8>,
    is_dirty: bool,
    /// Behind `len` there may be a part of a row.
    is_torn: bool,
    /// Messages whose rows may not be on the disk.
    messages: u64,
}

impl Sheet {
    /// Takes a file, and cuts off what a crash left at its end; `None` if the rows do not fit: then it is not changed.
    pub(super) fn open(file: File, form: &Form, shown: &Path) -> io::Result<Option<Self>> {
        let Found::Ours(len) = look(&file, &form.header, form.is_compressed)? else { return Ok(None) };
        let torn = file.metadata()?.len().saturating_sub(len);
        let rows = if len == 0 { form.header.clone() } else { Vec::new() };
        let is_dirty = !rows.is_empty();
        let mut sheet = Self { file, form: form.clone(), len, rows, is_dirty, is_torn: torn > 0, messages: 0 };
        if torn > 0 {
            sheet.cut()?;
            tracing::warn!("cut {torn} bytes off the end of {}: what a crash left of rows", shown.display());
        }
        Ok(Some(sheet))
    }

    /// Whether rows of this form may be appended.
    pub(super) fn fits(&self, form: &Form) -> bool {
        self.form == *form
    }

    /// Takes the rows of messages into memory.
    pub(super) fn append(&mut self, lines: &[u8], messages: u64) {
        self.rows.extend_from_slice(lines);
        self.messages += messages;
        self.is_dirty |= !self.rows.is_empty();
    }

    /// Whether so much waits that it had better be written.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= BUFFER
    }

    /// Whether rows wait that had better be written together with more.
    pub(super) fn is_late(&self) -> bool {
        self.form.is_compressed && !self.rows.is_empty()
    }

    /// Writes what waits. After an error nothing is lost: the rows wait on.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.cut()?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let bytes = packed(&self.rows, self.form.is_compressed)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.len) {
            // If cutting fails too, it is done before the next write.
            self.is_torn = true;
            self.cut().ok();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.rows.clear();
        Ok(())
    }

    /// Writes what waits, and has all that was written put onto the disk.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_dirty {
            return Ok(());
        }
        self.write()?;
        self.file.sync_data()?;
        (self.is_dirty, self.messages) = (false, 0);
        Ok(())
    }

    /// How many messages would be lost if it ended here.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether what was written is still there: the file has a name, and nobody has cut it.
    pub(super) fn is_kept(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok(metadata.nlink() > 0 && metadata.len() >= self.len)
    }

    /// The rows that were not written, without the header, and how to write them elsewhere.
    pub(super) fn into_unwritten(mut self) -> (Form, Vec<u8>) {
        if self.len == 0 {
            self.rows.drain(..self.form.header.len());
        }
        (self.form, self.rows)
    }

    /// Back to the last whole row.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.is_torn = false;
        Ok(())
    }
}

/// Text as it stands in a file.
pub(super) fn packed(text: &[u8], is_compressed: bool) -> io::Result<Cow<'_, [u8]>> {
    match is_compressed {
        // Memory is all that it can want for.
        true => zstd::bulk::compress(text, ZSTD_LEVEL).map(Cow::Owned).map_err(|_| Errno::NOMEM.into()),
        false => Ok(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn opened(dir: &tempfile::TempDir, header: &str, is_compressed: bool) -> Option<Sheet> {
        let path = dir.path().join("a.csv");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        Sheet::open(file, &Form { header: header.into(), is_compressed }, &path).unwrap()
    }

    fn contents(dir: &tempfile::TempDir, is_compressed: bool) -> String {
        let bytes = std::fs::read(dir.path().join("a.csv")).unwrap();
        let bytes = if is_compressed { zstd::stream::decode_all(bytes.as_slice()).unwrap() } else { bytes };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_header_stands_once_and_a_cut_row_is_cut_off() {
        for is_compressed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut sheet = opened(&dir, "a,b\n", is_compressed).unwrap();
            sheet.append(b"1,2\n", 1);
            sheet.flush().unwrap();
            let path = dir.path().join("a.csv");
            let torn: &[u8] = if is_compressed { b"\x28\xb5\x2f\xfd\x04" } else { b"3,4\n5," };
            File::options().append(true).open(&path).unwrap().write_all(torn).unwrap();

            let mut sheet = opened(&dir, "a,b\n", is_compressed).unwrap();
            sheet.append(b"7,8\n", 1);
            sheet.flush().unwrap();

            let expected = if is_compressed { "a,b\n1,2\n7,8\n" } else { "a,b\n1,2\n3,4\n7,8\n" };
            assert_eq!(contents(&dir, is_compressed), expected);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_changed() {
        for (foreign, is_compressed) in [("a,b\n1,2\n3,", false), ("notes", false), ("a,c\n1,2\n", true)] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a.csv"), foreign).unwrap();

            assert!(opened(&dir, "a,c\n", is_compressed).is_none());
            assert_eq!(contents(&dir, false), foreign);
        }
    }

    #[test]
    fn what_was_written_is_dirty_until_it_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let mut sheet = opened(&dir, "a\n", false).unwrap();
        sheet.append(&b"1\n".repeat(BUFFER), 3);

        assert!(sheet.is_full());
        sheet.write().unwrap();
        assert!(!sheet.is_full() && sheet.is_dirty);
        assert_eq!(sheet.messages(), 3);
        sheet.flush().unwrap();
        assert!(!sheet.is_dirty);
        assert_eq!(sheet.messages(), 0);
    }

    #[test]
    fn rows_that_cannot_be_written_wait_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut sheet = opened(&dir, "a\n", false).unwrap();
        let path = dir.path().join("a.csv");
        let writable = std::mem::replace(&mut sheet.file, File::open(&path).unwrap());
        sheet.append(b"1\n", 1);

        assert!(sheet.flush().is_err());
        assert!(sheet.flush().is_err());
        assert_eq!(sheet.messages(), 1);
        sheet.file = writable;
        sheet.flush().unwrap();
        assert_eq!(contents(&dir, false), "a\n1\n");
    }
}
