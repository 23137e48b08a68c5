//! One file of a spool: bodies, each behind its length and its checksum.
//!
//! Invariant: what `len` covers are bodies that were written whole, or that a disk or somebody changed since.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::{Errno, pwritev};

use super::TORN;

/// What stands before a body.
pub(super) const HEAD: usize = 8;

#[derive(Debug)]
pub(super) struct Segment {
    /// It rises from one to the next, and is not used twice.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) len: u64,
    /// A failed write left something behind `len`.
    is_torn: bool,
    /// Something in it could not be read: the file is kept for whoever can.
    pub(super) is_damaged: bool,
    /// From here on it could not be read.
    pub(super) unreadable_from: Option<u64>,
}

impl Segment {
    pub(super) fn open(number: u64, path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { number, path, file, len, is_torn: false, is_damaged: false, unreadable_from: None })
    }

    /// A new file, for this user only.
    pub(super) fn begin(number: u64, path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { number, path, file, len: 0, is_torn: false, is_damaged: false, unreadable_from: None })
    }

    /// Writes a body of that length, part by part; all of it, or nothing that counts.
    pub(super) fn append(&mut self, len: u32, parts: &[&[u8]]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.is_torn = false;
        }
        let mut crc = crc32fast::Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        let (len_bytes, crc) = (len.to_le_bytes(), crc.finalize().to_le_bytes());
        let all = [len_bytes.as_slice(), &crc].into_iter().chain(parts.iter().copied());
        let mut slices: Vec<_> = all.map(IoSlice::new).collect();
        if let Err(error) = write_all_at(&self.file, &mut slices, self.len) {
            self.is_torn = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += HEAD as u64 + u64::from(len);
        Ok(())
    }

    /// Where what can be read ends.
    pub(super) fn end(&self) -> u64 {
        self.unreadable_from.unwrap_or(self.len)
    }

    /// The body at an offset, and where the next begins; `None` if there is none, or another than was written.
    pub(super) fn body(&self, at: u64) -> io::Result<Option<(Bytes, u64)>> {
        let mut head = [0; HEAD];
        let start = at + HEAD as u64;
        if start > self.len {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, at)?;
        let [a, b, c, d, e, f, g, h] = head;
        let (len, crc) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let end = start + u64::from(len);
        // Zeros, as a power failure may leave them, would be a body without bytes and with the right checksum.
        if len == 0 || end > self.len {
            return Ok(None);
        }
        let mut body = vec![0; len as usize];
        self.file.read_exact_at(&mut body, start)?;
        Ok((crc32fast::hash(&body) == crc).then(|| (body.into(), end)))
    }

    /// Whether what stands at an offset, and is not what was written, is the end of a write that a crash cut short: that
    /// can only be the last one.
    fn is_torn(&self, at: u64) -> io::Result<bool> {
        let mut head = [0; HEAD];
        let rest = self.len - at;
        if rest < HEAD as u64 {
            return Ok(true);
        }
        self.file.read_exact_at(&mut head, at)?;
        let [a, b, c, d, ..] = head;
        let len = u64::from(u32::from_le_bytes([a, b, c, d]));
        // Zeros, as a power failure may leave them.
        Ok(len == 0 || HEAD as u64 + len >= rest)
    }

    pub(super) fn cut_torn_end(&mut self) -> io::Result<()> {
        let mut whole = 0;
        while let Some((_, next)) = self.body(whole)? {
            whole = next;
        }
        if whole < self.len && !self.is_torn(whole)? {
            // Something was changed within, and behind it stands what was acknowledged.
            self.is_damaged = true;
            return Ok(());
        }
        if whole < self.len {
            let kept = self.path.with_extension(TORN);
            let (bytes, path) = (self.len - whole, self.path.display());
            // It was never acknowledged: a full disk is no reason not to begin.
            let fate = match self.keep(whole, &kept) {
                Ok(()) => format!("kept as {}", kept.display()),
                Err(error) => format!("not kept: {error}"),
            };
            tracing::warn!("cut {bytes} bytes off the end of {path}, what a crash left; {fate}");
            self.file.set_len(whole)?;
            self.len = whole;
        }
        Ok(())
    }

    /// Writes what stands behind an offset into a file of its own.
    fn keep(&self, from: u64, path: &Path) -> io::Result<()> {
        let mut rest = vec![0; usize::try_from(self.len - from).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut rest, from)?;
        fs::write(path, rest)
    }
}

/// Writes them one behind another, without first copying them into one.
fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
    // Empty ones at the beginning would look like a file that takes nothing.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match pwritev(file, slices, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
