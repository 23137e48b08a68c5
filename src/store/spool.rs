//! Messages on disk, in the order of their arrival, until a backend, or the other end of a link, has them.
//!
//! A segment is a file `0000000001.spool`; in it stand bodies, all numbers little-endian:
//!
//! ```text
//! ├ u32 length of the body ┼ u32 CRC-32 of the body ┼ the body: at least one byte ┤ …
//! ```
//!
//! A store's body is a message: `u32 length of the envelope, envelope, payloads`. A store reads on from where the last
//! [`done`](Spool::done) was; a link reads ahead of what is acknowledged, and [releases](Spool::release) body by body.
//!
//! Invariants: what was appended is read in the same order, also by a later process; what a crash cut short at the end was
//! never acknowledged, and is cut off; a segment is removed when all of it is done for good, or renamed if a part of it
//! could not be read. How far it was read nobody writes down: a later process reads what is done of the first segment once
//! more, and whoever gets it passes over what it has.

mod segment;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::io::Errno;
use thiserror::Error;

use self::segment::{HEAD, Segment};
use crate::job::Delivery;
use crate::message::Decoder;

/// A segment that has reached this size is followed by another.
const SEGMENT: u64 = 64 << 20;

const ENDING: &str = "spool";

/// The ending of a segment that could not be read to its end.
const DAMAGED: &str = "unreadable";

/// The ending of what was cut off a segment's end.
const TORN: &str = "torn";

/// Why a message is not taken.
#[derive(Debug, Error)]
pub(crate) enum SpoolError {
    /// `spool_max_gb` is reached.
    #[error("the spool is full, {0} bytes are in it (spool_max_gb)")]
    Full(u64),
    /// The disk.
    #[error("cannot use the spool {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// What a store reads.
#[derive(Debug)]
pub(super) enum Read {
    /// A message.
    Message(Box<Delivery>),
    /// A message of another version, or the rest of a segment, which a disk or somebody changed; the file is kept there.
    Unreadable { path: PathBuf, bytes: u64 },
}

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawRead {
    /// What was appended, and where it stands.
    Body { at: Mark, bytes: Bytes },
    /// The rest of a segment, which a disk or somebody changed; the file is kept there.
    Unreadable { path: PathBuf, bytes: u64 },
}

/// Where a body stands, for as long as the spool is open; what was appended later has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    segment: u64,
    offset: u64,
    /// Where the next one begins.
    next: u64,
}

/// The messages that wait.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    limit: u64,
    /// The oldest comes first; what is appended goes into the last.
    segments: VecDeque<Segment>,
    next_number: u64,
    /// Read up to here: a segment, and an offset in it.
    at: (usize, u64),
    /// All up to here is done for good.
    done: (usize, u64),
    decoder: Decoder,
    body: Vec<u8>,
    is_dirty: bool,
}

impl Spool {
    /// Opens what an earlier process left. The directory is made when there is something to put into it.
    pub(crate) fn open(dir: PathBuf, limit: u64) -> Result<Self, SpoolError> {
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
            let segment = Segment::open(number, path.clone()).map_err(fail(&path))?;
            spool.segments.push_back(segment);
            spool.next_number = number + 1;
        }
        if let Some(last) = spool.segments.back_mut() {
            let path = last.path.clone();
            last.cut_torn_end().map_err(fail(&path))?;
        }
        spool.drop_done_or_warn();
        Ok(spool)
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is nothing that is not done.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether all has been read that is in it.
    pub(crate) fn is_read(&self) -> bool {
        let last = self.segments.len();
        self.at.0 >= last || (self.at.0 + 1 == last && self.at.1 >= self.segments[self.at.0].len)
    }

    /// How many bytes have not been read.
    pub(crate) fn unread(&self) -> u64 {
        self.behind(self.at)
    }

    /// What it takes on the disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Takes a message; from then on it survives the process.
    pub(super) fn append(&mut self, delivery: &Delivery) -> Result<(), SpoolError> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        delivery.write_down(&mut body);
        let taken = self.append_raw(&[&body]);
        self.body = body;
        taken
    }

    /// Takes a body, one part behind another, of one byte at least; from then on it survives the process.
    pub(crate) fn append_raw(&mut self, parts: &[&[u8]]) -> Result<(), SpoolError> {
        let (taken, len) = (self.bytes(), parts.iter().map(|part| part.len()).sum::<usize>());
        let len = u32::try_from(len).map_err(|_| SpoolError::Full(taken))?;
        if taken + HEAD as u64 + u64::from(len) > self.limit {
            return Err(SpoolError::Full(taken));
        }
        self.write(len, parts).map_err(|source| SpoolError::Io { path: self.dir.clone(), source })
    }

    fn write(&mut self, len: u32, parts: &[&[u8]]) -> io::Result<()> {
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is nothing in it"));
        }
        if self.segments.back().is_none_or(|last| last.len >= SEGMENT || last.is_damaged) {
            self.begin_segment()?;
        }
        let last = self.segments.back_mut().expect("one was begun");
        last.append(len, parts)?;
        self.is_dirty = true;
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // Whoever says that the last one is on the disk means this one too.
        self.sync()?;
        let number = self.next_number;
        // Whatever becomes of this one: its name is taken.
        self.next_number += 1;
        let segment = Segment::begin(number, self.path(number))?;
        File::open(&self.dir)?.sync_all()?;
        self.segments.push_back(segment);
        Ok(())
    }

    /// The next message; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Read>> {
        let (at, body) = match self.next_raw()? {
            None => return Ok(None),
            Some(RawRead::Unreadable { path, bytes }) => return Ok(Some(Read::Unreadable { path, bytes })),
            Some(RawRead::Body { at, bytes }) => (at, bytes),
        };
        if let Ok(delivery) = Delivery::read_again(&body, &mut self.decoder) {
            return Ok(Some(Read::Message(Box::new(delivery))));
        }
        let segment = &mut self.segments[self.at.0];
        segment.is_damaged = true;
        Ok(Some(Read::Unreadable { path: segment.path.with_extension(DAMAGED), bytes: at.next - at.offset }))
    }

    /// The next body; `None` at the end.
    pub(crate) fn next_raw(&mut self) -> io::Result<Option<RawRead>> {
        loop {
            let count = self.segments.len();
            let Some(segment) = self.segments.get_mut(self.at.0) else { return Ok(None) };
            let offset = self.at.1;
            if offset >= segment.len {
                if self.at.0 + 1 == count {
                    return Ok(None);
                }
                self.at = (self.at.0 + 1, 0);
                continue;
            }
            if let Some((bytes, next)) = or_unreadable(segment.body(offset))? {
                self.at.1 = next;
                return Ok(Some(RawRead::Body { at: Mark { segment: segment.number, offset, next }, bytes }));
            }
            // What is not what was written takes all behind it along: nobody knows where the next begins.
            self.at.1 = segment.len;
            segment.is_damaged = true;
            segment.unreadable_from = Some(offset);
            let path = segment.path.with_extension(DAMAGED);
            let bytes = segment.len - offset;
            // If all before it is done, nobody else asks for the segment.
            self.drop_done_or_warn();
            return Ok(Some(RawRead::Unreadable { path, bytes }));
        }
    }

    /// Reads again what is not done.
    pub(crate) fn rewind(&mut self) {
        // What the disk could not read once it may read now.
        self.segments.iter_mut().for_each(|segment| segment.unreadable_from = None);
        self.at = self.done;
    }

    /// All that was read is done for good.
    pub(super) fn done(&mut self) -> io::Result<()> {
        self.done = self.at;
        self.drop_done()
    }

    /// Has what was appended survive a power failure.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty)
            && let Some(last) = self.segments.back()
            && let Err(error) = last.file.sync_data()
        {
            self.is_dirty = true;
            return Err(error);
        }
        Ok(())
    }

    fn drop_done_or_warn(&mut self) {
        if let Err(error) = self.drop_done() {
            tracing::warn!("cannot remove a segment of the spool: {error}");
        }
    }

    /// Removes segments that nobody needs. One that cannot be removed is read by the next process once more: what is in it
    /// is known to whoever gets it.
    fn drop_done(&mut self) -> io::Result<()> {
        let mut done = Ok(());
        while let Some(first) = self.segments.front() {
            let is_done = self.done.0 > 0 || self.done.1 >= first.end();
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

    /// How many bytes stand behind a place.
    fn behind(&self, (n, offset): (usize, u64)) -> u64 {
        self.segments.iter().skip(n).map(|segment| segment.len).sum::<u64>().saturating_sub(offset)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.{ENDING}"))
    }
}

/// What a link needs, which sends again what was not acknowledged.
impl Spool {
    /// Reads once more a body that [`next_raw`](Self::next_raw) gave; `None` if its segment is gone, or was changed since.
    pub(crate) fn read(&mut self, at: Mark) -> io::Result<Option<Bytes>> {
        let Some(n) = self.position(at) else { return Ok(None) };
        Ok(or_unreadable(self.segments[n].body(at.offset))?.map(|(body, _)| body))
    }

    /// All up to this body, and the body itself, is done for good.
    pub(crate) fn release(&mut self, upto: Mark) {
        let Some(done) = self.position(upto).map(|n| (n, upto.next)) else { return };
        if done > self.done {
            self.done = done;
            self.at = self.at.max(done);
            self.drop_done_or_warn();
        }
    }

    /// How many bytes are not done.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.behind(self.done)
    }

    /// The segment of a mark, if it is not gone.
    fn position(&self, at: Mark) -> Option<usize> {
        self.segments.binary_search_by_key(&at.segment, |segment| segment.number).ok()
    }
}

/// A place that the disk cannot read any more holds nobody up for ever; any other trouble may pass.
fn or_unreadable<T>(read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Ok(None),
        read => read,
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
mod raw_tests;
#[cfg(test)]
mod tests;
