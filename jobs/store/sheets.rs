//! The files of a store: those that are open, what waits for one, and whole contents that wait to replace one.
//!
//! Invariants: a file is open once, whatever names lead to it, and locked; rows are given up only together with a word
//! about it (`Round::lost`), and only if trying again is of no use; the trouble of one file leaves the others alone.
//! Nothing here waits: who calls decides when to try again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::file_name::numbered;
use super::folder::{Folder, Identity, lock};
use super::sheet::{Form, Sheet, packed};

/// Files that are open at a time; beyond that the one that was written longest ago is closed.
const MAX_OPEN: usize = 128;

/// Files `name_1.csv` … that are tried for rows that do not fit.
const MAX_NUMBER: usize = 1000;

/// Files of other processes that are remembered, so that each is told once.
const MAX_TOLD: usize = 10_000;

/// Why rows do not get into a file.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("cannot write {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} and {MAX_NUMBER} files beside it hold other columns, or are another process's")]
    Columns { path: PathBuf },
}

impl Failure {
    /// Whether trying again may help: the system is short of something.
    pub(super) fn is_passing(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let passing = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::IO,
            Errno::AGAIN,
            Errno::INTR,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
        ];
        Errno::from_io_error(source).is_some_and(|errno| passing.contains(&errno))
    }

    /// Whether another open file is one too many.
    fn is_too_many(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Columns { path } => path,
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The first thing that did not work and may work later.
    pub(super) trouble: Option<Failure>,
    /// What was given up.
    pub(super) lost: Vec<Lost>,
}

/// Messages whose rows reach no file.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) failure: Failure,
    pub(super) messages: u64,
}

impl Round {
    /// Sorts a failure; `true` if what failed is to be kept for another try.
    fn note(&mut self, failure: Failure, messages: u64) -> bool {
        let is_passing = failure.is_passing();
        match is_passing {
            true => drop(self.trouble.get_or_insert(failure)),
            false => self.lost.push(Lost { failure, messages }),
        }
        is_passing
    }
}

/// Where rows belong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// The file below the store's folder, or the one beside which it is.
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

/// Rows that are in no file's buffer yet.
#[derive(Debug)]
struct Waiting {
    target: Target,
    lines: Vec<u8>,
    messages: u64,
}

/// Whole contents.
#[derive(Debug)]
struct Draft {
    text: Vec<u8>,
    is_compressed: bool,
}

/// An open file, the name it was opened by, and when it was used.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    sheet: Sheet,
    used_at: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sheets {
    folder: Folder,
    open: HashMap<Identity, Open>,
    /// Which open file rows were found to belong to.
    found: HashMap<Target, Identity>,
    waiting: Vec<Waiting>,
    drafts: BTreeMap<PathBuf, Draft>,
    told: HashSet<PathBuf>,
    uses: u64,
}

impl Sheets {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            folder,
            open: HashMap::new(),
            found: HashMap::new(),
            waiting: Vec::new(),
            drafts: BTreeMap::new(),
            told: HashSet::new(),
            uses: 0,
        }
    }

    /// Takes the rows of a message; they are in a file's buffer then, or wait, or are lost.
    pub(super) fn put(&mut self, target: Target, lines: Vec<u8>) -> Round {
        let mut round = Round::default();
        self.waiting.push(Waiting { target, lines, messages: 1 });
        self.put_waiting(&mut round);
        round
    }

    /// Takes contents that replace a file at the next round, and whatever waits to replace it.
    pub(super) fn replace(&mut self, target: Target, lines: &[u8]) {
        let text = [&target.form.header, lines].concat();
        self.drafts.insert(target.path, Draft { text, is_compressed: target.form.is_compressed });
    }

    /// Tries once to put everything onto the disk.
    pub(super) fn round(&mut self) -> Round {
        let mut round = Round::default();
        self.leave_gone(&mut round);
        self.put_waiting(&mut round);
        for identity in self.identities() {
            self.attempt(identity, &mut round, Sheet::flush);
        }
        self.replace_files(&mut round);
        round
    }

    /// Tries once to hand everything to the system; `false` if something waits for the next round: a compressed file
    /// gains by large pieces, and whole contents may be replaced before.
    pub(super) fn hand_over(&mut self) -> (Round, bool) {
        let mut round = Round::default();
        self.put_waiting(&mut round);
        let (late, early) = self.identities().into_iter().partition::<Vec<_>, _>(|id| self.open[id].sheet.is_late());
        for identity in early {
            self.attempt(identity, &mut round, Sheet::write);
        }
        (round, late.is_empty() && self.waiting.is_empty() && self.drafts.is_empty())
    }

    fn put_waiting(&mut self, round: &mut Round) {
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { target, lines, messages } = &waiting;
            match self.find(target, round) {
                Ok(identity) => {
                    let open = self.open.get_mut(&identity).expect("what is found is open");
                    open.sheet.append(lines, *messages);
                    if open.sheet.is_full() {
                        self.attempt(identity, round, Sheet::write);
                    }
                }
                Err(failure) => {
                    if failure.is_too_many() {
                        self.close_oldest(round);
                    }
                    if round.note(failure, *messages) {
                        self.waiting.push(waiting);
                    }
                }
            }
        }
    }

    /// The open file that rows belong to: the one of that name, or the first beside it, `name_1.csv` …, that fits.
    fn find(&mut self, target: &Target, round: &mut Round) -> Result<Identity, Failure> {
        self.uses += 1;
        if let Some(identity) = self.found.get(target) {
            self.open.get_mut(identity).expect("what is found is open").used_at = self.uses;
            return Ok(*identity);
        }
        if self.open.len() >= MAX_OPEN {
            self.close_oldest(round);
        }
        for n in 0..=MAX_NUMBER {
            let path = if n == 0 { target.path.clone() } else { numbered(&target.path, n) };
            let opened = self.open(&path, &target.form);
            if let Some(identity) = opened.map_err(|source| Failure::Io { path: self.folder.shown(&path), source })? {
                self.found.insert(target.clone(), identity);
                return Ok(identity);
            }
        }
        Err(Failure::Columns { path: self.folder.shown(&target.path) })
    }

    /// The file of this name, if rows of this form fit.
    fn open(&mut self, path: &Path, form: &Form) -> io::Result<Option<Identity>> {
        let (file, identity) = self.folder.file(path)?;
        if let Some(open) = self.open.get_mut(&identity) {
            open.used_at = self.uses;
            return Ok(open.sheet.fits(form).then_some(identity));
        }
        let shown = self.folder.shown(path);
        if !lock(&file)? {
            if self.told.len() < MAX_TOLD && self.told.insert(path.into()) {
                tracing::warn!("{} is written by another process; rows go to a file beside it", shown.display());
            }
            return Ok(None);
        }
        let Some(sheet) = Sheet::open(file, form, &shown)? else { return Ok(None) };
        self.open.insert(identity, Open { path: path.into(), sheet, used_at: self.uses });
        Ok(Some(identity))
    }

    /// Leaves files that somebody deleted, moved or cut; rows that come later get a file of that name again.
    fn leave_gone(&mut self, round: &mut Round) {
        for identity in self.identities() {
            let open = &self.open[&identity];
            let is_kept = open.sheet.is_kept().unwrap_or(true);
            let is_there = match self.folder.identity(&open.path) {
                Ok(now) => now == identity,
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            };
            if is_kept && is_there {
                continue;
            }
            let shown = self.folder.shown(&open.path);
            if is_kept && !self.attempt(identity, round, Sheet::flush) {
                continue;
            }
            tracing::warn!("{} was deleted, moved or cut by somebody; it is begun anew", shown.display());
            let Some(Open { path, sheet, .. }) = self.forget(identity) else { continue };
            let messages = sheet.messages();
            let (form, lines) = sheet.into_unwritten();
            if !lines.is_empty() {
                self.waiting.push(Waiting { target: Target { path, form }, lines, messages });
            }
        }
    }

    fn replace_files(&mut self, round: &mut Round) {
        for (path, draft) in std::mem::take(&mut self.drafts) {
            let contents = packed(&draft.text, draft.is_compressed);
            let Err(source) = contents.and_then(|contents| self.folder.replace(&path, &contents)) else { continue };
            if round.note(Failure::Io { path: self.folder.shown(&path), source }, 1) {
                self.drafts.insert(path, draft);
            }
        }
    }

    fn close_oldest(&mut self, round: &mut Round) {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used_at).map(|(identity, _)| *identity);
        if let Some(oldest) = oldest
            && self.attempt(oldest, round, Sheet::flush)
        {
            self.forget(oldest);
        }
    }

    /// Does something to an open file; `true` if it worked. If it never will, the file is closed.
    fn attempt(&mut self, identity: Identity, round: &mut Round, what: fn(&mut Sheet) -> io::Result<()>) -> bool {
        let Some(open) = self.open.get_mut(&identity) else { return true };
        let Err(source) = what(&mut open.sheet) else { return true };
        let failure = Failure::Io { path: self.folder.shown(&open.path), source };
        if !round.note(failure, open.sheet.messages()) {
            self.forget(identity);
        }
        false
    }

    fn forget(&mut self, identity: Identity) -> Option<Open> {
        self.found.retain(|_, found| *found != identity);
        self.open.remove(&identity)
    }

    fn identities(&self) -> Vec<Identity> {
        self.open.keys().copied().collect()
    }
}

#[cfg(test)]
#[path = "sheets_tests.rs"]
mod tests;
