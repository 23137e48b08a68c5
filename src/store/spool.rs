//! Messages on disk, in the order of their arrival, until the backend has them.
//!
//! A segment is a file `0000000001.spool`; in it stand messages, all numbers little-endian:
//!
//! ```text
//! ├ u32 length of the body ┼ u32 CRC-32 of the body ┼ the body: u32 length of the envelope, envelope, payloads ┤ …
//! ```
//!
//! Invariants: what was appended is read in the same order, also by a later process; what a crash cut short at the end was
//! never acknowledged, and is cut off; a segment is removed when the backend has all of it for good, or renamed if a part
//! of it could not be read. How far it was read
//! nobody writes down: the backend passes over what it has.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::Errno;
use thiserror::Error;

use crate::job::Delivery;
use crate::message::Decoder;

/// A segment that has reached this size is followed by another.
const SEGMENT: u64 = 64 << 20;

/// What stands before a body.
const HEAD: usize = 8;

const ENDING: &str = "spool";

/// The ending of a segment that could not be read to its end.
const DAMAGED: &str = "unreadable";

/// The ending of what was cut off a segment's end.
const TORN: &str = "torn";

/// Why a message is not taken.
#[derive(Debug, Error)]
pub(super) enum SpoolError {
    /// `spool_max_gb` is reached.
    #[error("the spool is full, {0} bytes are in it (spool_max_gb)")]
    Full(u64),
    /// The disk.
    #[error("cannot use the spool {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    /// A message.
    Message(Box<Delivery>),
    /// A message of another version, or the rest of a segment, which a disk or somebody changed; the file is kept there.
    Unreadable { path: PathBuf, bytes: u64 },
}

/// The messages that wait.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    limit: u64,
    /// The oldest comes first; what is appended goes into the last.
    segments: VecDeque<Segment>,
    next_number: u64,
    /// Read up to here: a segment, and an offset in it.
    at: (usize, u64),
    /// The backend has all up to here.
    done: (usize, u64),
    decoder: Decoder,
    body: Vec<u8>,
    is_dirty: bool,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    len: u64,
    /// A failed write left something behind `len`.
    is_torn: bool,
    /// Something in it could not be read: the file is kept for whoever can.
    is_damaged: bool,
}

impl Spool {
    /// Opens what an earlier process left. The directory is made when there is something to put into it.
    pub(super) fn open(dir: PathBuf, limit: u64) -> Result<Self, SpoolError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { path, source }
        };
        let mut spool = Self {
            limit,
            segments: VecDeque::new(),
            next_number: 1,
            at: (0, 0),
            done: (0, 0),
            decoder: Decoder::default(),
            body: Vec::new(),
            is_dirty: false,
            dir,
        };
        let numbers = numbers(&spool.dir).map_err(fail(&spool.dir))?;
        for &number in &numbers {
            let path = spool.path(number);
            let segment = Segment::open(path.clone()).map_err(fail(&path))?;
            spool.segments.push_back(segment);
            spool.next_number = number + 1;
        }
        if let Some(last) = spool.segments.back_mut() {
            let path = last.path.clone();
            last.cut_torn_end().map_err(fail(&path))?;
        }
        if let Err(error) = spool.drop_done() {
            tracing::warn!("cannot remove a segment of the spool: {error}");
        }
        Ok(spool)
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is nothing that the backend does not have.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether all has been read that is in it.
    pub(super) fn is_read(&self) -> bool {
        let last = self.segments.len();
        self.at.0 >= last || (self.at.0 + 1 == last && self.at.1 >= self.segments[self.at.0].len)
    }

    /// How many bytes have not been read.
    pub(super) fn unread(&self) -> u64 {
        let (n, offset) = self.at;
        self.segments.iter().skip(n).map(|segment| segment.len).sum::<u64>().saturating_sub(offset)
    }

    /// What it takes on the disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Takes a message; from then on it survives the process.
    pub(super) fn append(&mut self, delivery: &Delivery) -> Result<(), SpoolError> {
        self.body.clear();
        self.body.resize(HEAD, 0);
        delivery.write_down(&mut self.body);
        let taken = self.bytes();
        if taken + self.body.len() as u64 > self.limit {
            return Err(SpoolError::Full(taken));
        }
        let len = u32::try_from(self.body.len() - HEAD).map_err(|_| SpoolError::Full(taken))?;
        let crc = crc32fast::hash(&self.body[HEAD..]);
        self.body[..4].copy_from_slice(&len.to_le_bytes());
        self.body[4..HEAD].copy_from_slice(&crc.to_le_bytes());
        self.write().map_err(|source| SpoolError::Io { path: self.dir.clone(), source })
    }

    fn write(&mut self) -> io::Result<()> {
        if self.segments.back().is_none_or(|last| last.len >= SEGMENT || last.is_damaged) {
            self.begin_segment()?;
        }
        let last = self.segments.back_mut().expect("one was begun");
        last.append(&self.body)?;
        self.is_dirty = true;
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // Whoever says that the last one is on the disk means this one too.
        self.sync()?;
        let path = self.path(self.next_number);
        // Whatever becomes of this one: its name is taken.
        self.next_number += 1;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        File::open(&self.dir)?.sync_all()?;
        self.segments.push_back(Segment { path, file, len: 0, is_torn: false, is_damaged: false });
        Ok(())
    }

    /// The next message; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            let count = self.segments.len();
            let Some(segment) = self.segments.get_mut(self.at.0) else { return Ok(None) };
            if self.at.1 >= segment.len {
                if self.at.0 + 1 == count {
                    return Ok(None);
                }
                self.at = (self.at.0 + 1, 0);
                continue;
            }
            let body = match segment.body(self.at.1) {
                Err(error) if Errno::from_io_error(&error) != Some(Errno::IO) => return Err(error),
                body => body.ok().flatten(),
            };
            // What is not what was written takes all behind it along: nobody knows where the next begins.
            let next = body.as_ref().map_or(segment.len, |(_, next)| *next);
            let bytes = next - std::mem::replace(&mut self.at.1, next);
            let read = body.and_then(|(body, _)| Delivery::read_again(&body, &mut self.decoder).ok());
            return Ok(Some(match read {
                Some(delivery) => Read::Message(Box::new(delivery)),
                None => {
                    segment.is_damaged = true;
                    Read::Unreadable { path: segment.path.with_extension(DAMAGED), bytes }
                }
            }));
        }
    }

    /// Reads again what the backend may not have.
    pub(super) fn rewind(&mut self) {
        self.at = self.done;
    }

    /// The backend has all that was read, for good.
    pub(super) fn done(&mut self) -> io::Result<()> {
        self.done = self.at;
        self.drop_done()
    }

    /// Has what was appended survive a power failure.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty)
            && let Some(last) = self.segments.back()
            && let Err(error) = last.file.sync_data()
        {
            self.is_dirty = true;
            return Err(error);
        }
        Ok(())
    }

    /// Removes segments that nobody needs. One that cannot be removed is passed over by the next process: the backend has
    /// what is in it.
    fn drop_done(&mut self) -> io::Result<()> {
        let mut done = Ok(());
        while let Some(first) = self.segments.front() {
            let is_done = self.done.0 > 0 || self.done.1 >= first.len;
            if !is_done {
                break;
            }
            let gone = match first.is_damaged {
                true => fs::rename(&first.path, first.path.with_extension(DAMAGED)),
                false => fs::remove_file(&first.path),
            };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => done = Err(error),
                _ => {}
            }
            self.segments.pop_front();
            let before = |(n, offset): (usize, u64)| if n == 0 { (0, 0) } else { (n - 1, offset) };
            (self.at, self.done) = (before(self.at), before(self.done));
        }
        done
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.{ENDING}"))
    }
}

impl Segment {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, file, len, is_torn: false, is_damaged: false })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.is_torn = false;
        }
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            self.is_torn = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The body at an offset, and where the next begins; `None` if there is none, or another than was written.
    fn body(&self, at: u64) -> io::Result<Option<(Bytes, u64)>> {
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

    /// Whether behind a body that is not what was written, another one is.
    fn is_followed(&self, at: u64) -> io::Result<bool> {
        let mut head = [0; HEAD];
        if at + HEAD as u64 > self.len {
            return Ok(false);
        }
        self.file.read_exact_at(&mut head, at)?;
        let [a, b, c, d, ..] = head;
        let next = at + HEAD as u64 + u64::from(u32::from_le_bytes([a, b, c, d]));
        Ok(next < self.len && self.body(next)?.is_some())
    }

    fn cut_torn_end(&mut self) -> io::Result<()> {
        let mut whole = 0;
        while let Some((_, next)) = self.body(whole)? {
            whole = next;
        }
        if whole < self.len && self.is_followed(whole)? {
            // Not torn: something was changed within, and behind it stands what was acknowledged.
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

/// The numbers of the segments in a directory, rising.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let number = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|ending| ending == ENDING);
        is_ours.then(|| path.file_stem()?.to_str()?.parse().ok()).flatten()
    };
    let mut numbers: Vec<u64> = entries.filter_map(|entry| entry.map(number).transpose()).collect::<io::Result<_>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
