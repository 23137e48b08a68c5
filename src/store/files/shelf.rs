//! The files of a store: those that are open, and how a piece finds its own.
//!
//! Invariants: a file is open once, whatever names lead to it, and locked; whatever is closed is on the disk; bytes are
//! given up only together with a word about it (`Report::lost`), and only if waiting is of no use.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::batch::{Form, Piece};
use super::file_name::numbered;
use super::folder::{Folder, Identity, lock};
use super::found::{Found, begins, look};
use super::journal::{FoundState, Journal};
use super::sheet::{Change, Sheet, packed};
use crate::store::sink::{Lost, Report, Trouble};

/// Files that are open at a time; beyond that the one that was written longest ago is closed.
const MAX_OPEN: usize = 128;

/// Files `name_1.csv` … that are tried.
const MAX_NUMBER: usize = 100_000;

/// Files of other processes that are remembered, so that each is told once.
const MAX_TOLD: usize = 10_000;

/// When a file is followed by another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    bytes: u64,
    age: Duration,
}

impl Rotation {
    /// In 10⁶ bytes and seconds; 0: never.
    pub(super) fn new(mb: f64, seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a size")]
        let bytes = if mb > 0.0 { (mb * 1e6).max(1.0) as u64 } else { u64::MAX };
        let age = if seconds > 0.0 { Duration::from_secs_f64(seconds) } else { Duration::MAX };
        Self { bytes, age }
    }

    fn is_over(&self, sheet: &Sheet) -> bool {
        let is_old = |made_at: SystemTime| made_at.elapsed().is_ok_and(|age| age >= self.age);
        let has_something = sheet.len() > 0;
        has_something && (sheet.len() >= self.bytes || self.age < Duration::MAX && sheet.made_at().is_ok_and(is_old))
    }
}

/// Which pieces go together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    path: PathBuf,
    form: Form,
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
pub(super) struct Shelf {
    folder: Folder,
    rotation: Rotation,
    open: HashMap<Identity, Open>,
    /// Where a place's pieces went last: the open file, and its number among those beside it.
    found: HashMap<Place, (Identity, usize)>,
    /// Files that are whole up to there, and no longer.
    whole: HashMap<Identity, (PathBuf, u64)>,
    /// What was written into files that are closed again, and is not in the journal.
    closed: Vec<(PathBuf, Identity, Change)>,
    told: HashSet<PathBuf>,
    uses: u64,
}

impl Shelf {
    /// Cuts files to what the journal says.
    pub(super) fn new(folder: Folder, found: FoundState, rotation: Rotation) -> io::Result<Self> {
        let mut whole = HashMap::new();
        for (path, (id, len)) in found.files {
            let Some(file) = folder.existing(&path, id)? else { continue };
            let shown = folder.shown(&path);
            let now = file.metadata()?.len();
            if !lock(&file)? {
                tracing::warn!("{} is written by another process now, and is left alone", shown.display());
                continue;
            }
            if now < len {
                tracing::warn!("{} was cut by somebody: it has {now} bytes, and had {len}", shown.display());
                continue;
            }
            if now > len {
                file.set_len(len)?;
                tracing::warn!("cut {} bytes off the end of {}: their messages come again", now - len, shown.display());
            }
            // Soon the journal says that it is on the disk.
            if found.unsynced.contains(&path) {
                file.sync_data()?;
            }
            whole.insert(id, (path, len));
        }
        Ok(Self {
            folder,
            rotation,
            open: HashMap::new(),
            found: HashMap::new(),
            whole,
            closed: Vec::new(),
            told: HashSet::new(),
            uses: 0,
        })
    }

    /// Writes a piece into the file it belongs to.
    pub(super) fn write(&mut self, piece: Piece, journal: &mut Journal, report: &mut Report) -> Result<(), Trouble> {
        let (path, messages, rows) = (piece.path.clone(), piece.messages, piece.rows);
        let written = if piece.overwrites { self.replace(&piece) } else { self.append(piece, journal) };
        let shown = self.folder.shown(&path);
        match written {
            Ok(Some(bytes)) => {
                report.bytes += bytes;
                report.rows += rows;
            }
            Ok(None) => report.lost.push(Lost {
                messages,
                key: format!("{} none", shown.display()),
                why: format!("{}: it and all files beside it hold other columns, or are another's", shown.display()),
            }),
            Err(error) if is_passing(&error) || self.folder.is_gone() => {
                return Err(Trouble::new(format!("cannot write {}", shown.display()), error));
            }
            Err(error) => report.lost.push(Lost {
                messages,
                key: format!("{} {:?}", shown.display(), error.raw_os_error()),
                why: format!("{}: {error}", shown.display()),
            }),
        }
        Ok(())
    }

    fn replace(&self, piece: &Piece) -> io::Result<Option<u64>> {
        let whole = [&piece.form.header[..], &piece.bytes].concat();
        let contents = packed(&whole, piece.form.is_compressed)?;
        if self.folder.is_taken(&piece.path)? {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "rows are appended to this file"));
        }
        self.folder.replace(&piece.path, &contents)?;
        Ok(Some(contents.len() as u64))
    }

    /// `None` if no file fits.
    fn append(&mut self, piece: Piece, journal: &mut Journal) -> io::Result<Option<u64>> {
        let place = Place { path: piece.path, form: piece.form };
        let Some(identity) = self.find(place, journal)? else { return Ok(None) };
        let open = self.open.get_mut(&identity).expect("what is found is open");
        open.sheet.append(&piece.bytes).map(Some)
    }

    /// The open file that a piece belongs to: the one of that name, or the first beside it that fits and has room.
    fn find(&mut self, place: Place, journal: &mut Journal) -> io::Result<Option<Identity>> {
        self.uses += 1;
        let mut first = 0;
        if let Some(&(identity, number)) = self.found.get(&place) {
            if self.is_usable(identity)? {
                self.open.get_mut(&identity).expect("what is found is open").used_at = self.uses;
                return Ok(Some(identity));
            }
            first = number;
            self.close(identity)?;
        }
        while self.open.len() >= MAX_OPEN {
            self.close_oldest()?;
        }
        for number in first..=MAX_NUMBER {
            let path = if number == 0 { place.path.clone() } else { numbered(&place.path, number) };
            if let Some(identity) = self.open(&path, &place.form, journal)? {
                self.found.insert(place, (identity, number));
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Whether an open file still is what it was, under its name, and has room.
    fn is_usable(&self, identity: Identity) -> io::Result<bool> {
        let open = &self.open[&identity];
        let is_there = match self.folder.identity(&open.path) {
            Ok(now) => now == identity,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_there || !open.sheet.is_kept()? {
            let shown = self.folder.shown(&open.path);
            tracing::warn!("{} was deleted, moved or cut by somebody; it is begun anew", shown.display());
            return Ok(false);
        }
        Ok(!self.rotation.is_over(&open.sheet))
    }

    /// The file of this name, if pieces of this form fit and it has room.
    fn open(&mut self, path: &Path, form: &Form, journal: &mut Journal) -> io::Result<Option<Identity>> {
        let (file, identity) = self.folder.file(path)?;
        if let Some(open) = self.open.get_mut(&identity) {
            open.used_at = self.uses;
            return Ok((open.sheet.form == *form && !self.rotation.is_over(&open.sheet)).then_some(identity));
        }
        let shown = self.folder.shown(path);
        if !lock(&file)? {
            if self.told.len() < MAX_TOLD && self.told.insert(path.into()) {
                tracing::warn!("{} is written by another process; rows go to a file beside it", shown.display());
            }
            return Ok(None);
        }
        let now = file.metadata()?.len();
        let len = match self.whole.get(&identity) {
            Some(&(_, len)) if len == now => begins(&file, form)?.then_some(len),
            _ => match look(&file, form)? {
                Found::Ours(len) => Some(len),
                Found::Foreign => None,
            },
        };
        let Some(len) = len else { return Ok(None) };
        if now > len {
            tracing::warn!("cut {} bytes off the end of {}: what a crash left of rows", now - len, shown.display());
        }
        let sheet = Sheet::new(file, form.clone(), len)?;
        if self.rotation.is_over(&sheet) {
            return Ok(None);
        }
        journal.name(path, identity, len)?;
        self.open.insert(identity, Open { path: path.into(), sheet, used_at: self.uses });
        Ok(Some(identity))
    }

    fn close_oldest(&mut self) -> io::Result<()> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used_at).map(|(identity, _)| *identity);
        oldest.map_or(Ok(()), |oldest| self.close(oldest))
    }

    fn close(&mut self, identity: Identity) -> io::Result<()> {
        self.found.retain(|_, (found, _)| *found != identity);
        let Some(Open { path, mut sheet, .. }) = self.open.remove(&identity) else { return Ok(()) };
        self.closed.extend(sheet.take_change().map(|change| (path.clone(), identity, change)));
        self.whole.insert(identity, (path, sheet.len()));
        sheet.sync()
    }

    /// What was written since it was last asked.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = (PathBuf, Identity, Change)> + '_ {
        let of_open = |(identity, open): (&Identity, &mut Open)| {
            open.sheet.take_change().map(|change| (open.path.clone(), *identity, change))
        };
        self.closed.drain(..).chain(self.open.iter_mut().filter_map(of_open))
    }

    /// How long each file is that this store knows.
    pub(super) fn lengths(&self) -> Vec<(PathBuf, Identity, u64)> {
        let of_open = self.open.iter().map(|(identity, open)| (open.path.clone(), *identity, open.sheet.len()));
        let is_closed = |identity: &Identity| !self.open.contains_key(identity);
        let of_whole = self.whole.iter().filter(|(identity, _)| is_closed(identity));
        of_open.chain(of_whole.map(|(identity, (path, len))| (path.clone(), *identity, *len))).collect()
    }

    pub(super) fn open_files(&self) -> u64 {
        self.open.len() as u64
    }

    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        for open in self.open.values_mut() {
            let fail = |error| Trouble::new(format!("cannot sync {}", self.folder.shown(&open.path).display()), error);
            open.sheet.sync().map_err(fail)?;
        }
        Ok(())
    }
}

/// Whether waiting may help: all errors but those that are about this one name.
fn is_passing(error: &io::Error) -> bool {
    let lasting = [
        Errno::NOENT,
        Errno::EXIST,
        Errno::LOOP,
        Errno::XDEV,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::FBIG,
    ];
    Errno::from_io_error(error).is_some_and(|errno| !lasting.contains(&errno))
}
