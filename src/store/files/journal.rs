//! The journal of a store that writes files: up to where each is committed, and which messages that are.
//!
//! A line an entry: the CRC-32 of what follows, in hexadecimal, a space, JSON. The names are those of [`Entry`]:
//!
//! ```text
//! 5f6a23c1 {"files":{"a.csv":{"id":[2049,77],"start":100,"len":250,"crc":123}},"marks":{"1f3a…":17}}
//! 0b1c9d2e {"synced":true,"closed":["b.csv"]}
//! ```
//!
//! Invariants: an entry is written after the bytes that it names; `synced` says that all before it, files and journal, is
//! on the disk; a file that is closed is not written any more, and is nobody's from then on. After the death of a process
//! all entries count. After a start of the machine, or a sync that failed, of what stands behind the last `synced` a file
//! counts as far as it holds what is said of it: a disk may have the one and not the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{Folder, Identity, lock};
use super::sheet::Change;
use crate::message::MessageId;
use crate::os::{boot_id, short_hash};
use crate::store::marks::Marks;

/// The folder of the journals, below that of the files.
pub(super) const JOURNALS: &str = ".enrgdaq";

/// A journal that has grown to this, and to twice what it began with, is begun anew.
const RENEW_AT: u64 = 4 << 20;

/// How much of a file is in memory at a time.
pub(super) const CHUNK: usize = 256 << 10;

/// A line of it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    /// What was written since the entry before, by file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<PathBuf, Written>,
    /// Epoch in hexadecimal → number, of those that rose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    synced: bool,
    /// Files that are written no more: whoever changes them, it is none of our business.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    closed: Vec<PathBuf>,
    /// Which start of the machine the entries are of; stands in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    id: Identity,
    start: u64,
    len: u64,
    crc: u32,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub(super) struct FoundState {
    /// How long each file is to be.
    pub(super) files: BTreeMap<PathBuf, (Identity, u64)>,
    /// Of these, those that may not be on the disk, and from where on.
    pub(super) unsynced: BTreeMap<PathBuf, u64>,
    pub(super) marks: Marks,
    /// A sync has failed since they were written.
    pub(super) has_failed: bool,
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    folder: Folder,
    path: PathBuf,
    file: File,
    len: u64,
    renew_at: u64,
    /// As it stands in the file.
    marks: Marks,
}

impl Journal {
    /// Opens the journal of a store; what it says is to be carried out before it is begun anew ([`renew`](Self::renew)).
    ///
    /// If a sync has failed, what stands behind the last one counts as after a start of the machine: the system may have
    /// forgotten it.
    pub(super) fn open(folder: &Folder, unique_id: &str, has_failed: bool) -> io::Result<(Self, FoundState)> {
        let path = Path::new(JOURNALS).join(format!("{}.journal", short_hash(unique_id)));
        let folder = folder.try_clone()?;
        let (mut file, _) = folder.file(&path)?;
        if !lock(&file)? {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process writes with the same journal"));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let boot = (!has_failed).then(boot_id);
        let state = FoundState { has_failed, ..replay(&folder, entries(&text), boot.as_deref())? };
        Ok((Self { folder, path, file, len: 0, renew_at: RENEW_AT, marks: state.marks.clone() }, state))
    }

    /// A file is about to be written for the first time.
    pub(super) fn name(&mut self, path: &Path, id: Identity, len: u64) -> io::Result<()> {
        let written = Written { id, start: len, len, crc: 0 };
        self.append(&Entry { files: [(path.to_owned(), written)].into(), ..Entry::default() })
    }

    /// What was written is committed, and with it these messages.
    pub(super) fn commit(
        &mut self,
        changes: impl Iterator<Item = (PathBuf, Identity, Change)>,
        marks: &Marks,
    ) -> io::Result<()> {
        let written = |(path, id, Change { start, len, crc })| (path, Written { id, start, len, crc });
        let files: BTreeMap<_, _> = changes.map(written).collect();
        let risen = marks.since(&self.marks).map(|id| (format!("{:016x}", id.epoch), id.seq)).collect();
        let entry = Entry { files, marks: risen, ..Entry::default() };
        if entry != Entry::default() {
            self.append(&entry)?;
            self.marks = marks.clone();
        }
        Ok(())
    }

    /// All files that were named are on the disk, and some of them closed; now the journal is too.
    pub(super) fn sync(&mut self, lengths: Vec<(PathBuf, Identity, u64)>, closed: Vec<PathBuf>) -> io::Result<()> {
        if self.len >= self.renew_at {
            return self.renew(lengths);
        }
        self.append(&Entry { synced: true, closed, ..Entry::default() })?;
        self.file.sync_data()
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = line(entry)?;
        if let Err(error) = self.file.write_all_at(&line, self.len) {
            self.file.set_len(self.len).ok();
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Begins it anew, with the lengths that files have.
    pub(super) fn renew(&mut self, lengths: Vec<(PathBuf, Identity, u64)>) -> io::Result<()> {
        let written = |(path, id, len)| (path, Written { id, start: len, len, crc: 0 });
        let files = lengths.into_iter().map(written).collect();
        let marks = self.marks.iter().map(|id| (format!("{:016x}", id.epoch), id.seq)).collect();
        let mut text = line(&Entry { files, marks, boot: Some(boot_id()), ..Entry::default() })?;
        text.extend(line(&Entry { synced: true, ..Entry::default() })?);
        self.folder.replace(&self.path, &text)?;
        self.folder.sync_names(Path::new(JOURNALS))?;
        let (file, _) = self.folder.file(&self.path)?;
        lock(&file)?;
        (self.file, self.len) = (file, text.len() as u64);
        self.renew_at = RENEW_AT.max(2 * self.len);
        Ok(())
    }
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(entry)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// The entries of a journal, up to the first that is not whole.
fn entries(text: &[u8]) -> Vec<Entry> {
    let entry = |line: &[u8]| {
        let (crc, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
        let crc = u32::from_str_radix(std::str::from_utf8(&crc[..8]).ok()?, 16).ok()?;
        (crc32fast::hash(json) == crc).then(|| serde_json::from_slice(json).ok()).flatten()
    };
    text.split_inclusive(|&byte| byte == b'\n').map_while(entry).collect()
}

/// What the entries say; unless they are of this start of the machine, as far as the files hold it.
fn replay(folder: &Folder, entries: Vec<Entry>, boot: Option<&str>) -> io::Result<FoundState> {
    let is_of_this_boot = boot.is_some() && entries.first().is_none_or(|first| first.boot.as_deref() == boot);
    let synced = entries.iter().rposition(|entry| entry.synced).map_or(0, |at| at + 1);
    let certain = if is_of_this_boot { entries.len() } else { synced };
    let mut state = FoundState::default();
    // Files that lack something, up to where they have it; what is said of them after that does not count.
    let mut broken = BTreeSet::new();
    let mut is_broken = false;
    for (n, entry) in entries.into_iter().enumerate() {
        for (path, mut written) in entry.files {
            if !is_of_this_boot {
                written.id = folder.identity(&path).map_or(written.id, |now| written.id.as_now(now));
            }
            let begins_anew = written.start == written.len;
            if n >= certain && !begins_anew && (broken.contains(&path) || !holds(folder, &path, &written)?) {
                is_broken = true;
                broken.insert(path);
                continue;
            }
            broken.remove(&path);
            if n >= synced {
                let from = state.unsynced.entry(path.clone()).or_insert(written.start);
                *from = written.start.min(*from);
            }
            state.files.insert(path, (written.id, written.len));
        }
        for path in entry.closed {
            state.files.remove(&path);
        }
        for (epoch, seq) in entry.marks {
            if !is_broken && let Ok(epoch) = u64::from_str_radix(&epoch, 16) {
                state.marks.raise(MessageId { epoch, seq });
            }
        }
    }
    if is_broken {
        tracing::warn!("files have not all that the journal says, as after a power failure: {broken:?}");
    }
    Ok(state)
}

/// Whether a file holds what an entry says of it.
fn holds(folder: &Folder, path: &Path, written: &Written) -> io::Result<bool> {
    match folder.existing(path, written.id)? {
        Some(file) => has(&file, written),
        // Nothing can be cut off it.
        None => Ok(true),
    }
}

fn has(file: &File, written: &Written) -> io::Result<bool> {
    if file.metadata()?.len() < written.len {
        return Ok(false);
    }
    let (mut crc, mut at) = (crc32fast::Hasher::new(), written.start);
    let mut chunk = vec![0; CHUNK];
    while at < written.len {
        let left = usize::try_from(written.len - at).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact_at(&mut chunk[..left], at)?;
        crc.update(&chunk[..left]);
        at += left as u64;
    }
    Ok(crc.finalize() == written.crc)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
