//! The files of a store: those that are open, and how a piece finds its own.
//!
//! Invariants: a file is open once, whatever names lead to it, and locked; whatever is closed is on the disk; bytes are
//! given up only together with a word about it (`Report::lost`), and only if waiting is of no use.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::batch::{Form, Piece};
use super::file_name::numbered;
use super::folder::{Folder, Identity, lock, try_lock};
use super::found::{Found, begins, look};
use super::journal::{CHUNK, FoundState, Journal};
use super::sheet::{Change, Sheet, packed};
use crate::store::sink::{Lost, Report, Trouble};

/// Files that are open at a time; beyond that the one that was written longest ago is closed.
const MAX_OPEN: usize = 256;

/// Files that are closed, and of which it is known that they are whole.
const MAX_WHOLE: usize = 10_000;

/// Places of which it is known where their pieces went last.
const MAX_FOUND: usize = 100_000;

/// Files `name_1.csv` … that hold something else, and are passed over.
const MAX_OTHERS: usize = 1000;

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

    fn is_over(&self, len: u64, file: &File) -> bool {
        let is_old = |made_at: SystemTime| made_at.elapsed().is_ok_and(|age| age >= self.age);
        len > 0 && (len >= self.bytes || self.age < Duration::MAX && made_at(file).is_ok_and(is_old))
    }
}

/// When a file was made, or, where file systems do not tell, last written.
fn made_at(file: &File) -> io::Result<SystemTime> {
    let metadata = file.metadata()?;
    metadata.created().or_else(|_| metadata.modified())
}

/// Whether a file takes pieces of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It does, and is open.
    Takes(Identity),
    /// It is long or old enough.
    IsFull,
    /// It holds something else, or is another's.
    IsOther,
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
    /// Where a place's pieces went last: the file, and its number among those beside it.
    found: HashMap<Place, (Identity, usize)>,
    /// How long files were when they were closed, so that nobody need look through them again.
    whole: HashMap<Identity, u64>,
    /// Files that take no more, whatever the rotation says: file systems have limits.
    full: HashSet<Identity>,
    /// What was written into files that are closed again, and is not in the journal.
    changed: Vec<(PathBuf, Identity, Change)>,
    /// Files that were closed since the last sync.
    closed: HashSet<PathBuf>,
    /// Folders in which there are new names since the last sync.
    renamed_in: HashSet<PathBuf>,
    /// A sync has failed.
    has_failed: bool,
    told: HashSet<PathBuf>,
    uses: u64,
}

impl Shelf {
    /// Cuts files to what the journal says.
    pub(super) fn new(folder: Folder, found: FoundState, rotation: Rotation) -> io::Result<Self> {
        let mut whole = HashMap::new();
        let renamed_in = found.unsynced.keys().map(|path| parent(path)).collect();
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
                file.sync_data()?;
                tracing::warn!("cut {} bytes off the end of {}: their messages come again", now - len, shown.display());
            }
            // Soon the journal says that it is on the disk.
            if let Some(&start) = found.unsynced.get(&path) {
                if found.has_failed {
                    write_again(&file, start, len)?;
                }
                file.sync_data()?;
            }
            whole.insert(id, len);
        }
        Ok(Self {
            folder,
            rotation,
            open: HashMap::new(),
            found: HashMap::new(),
            whole,
            full: HashSet::new(),
            changed: Vec::new(),
            closed: HashSet::new(),
            renamed_in,
            has_failed: false,
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

    fn replace(&mut self, piece: &Piece) -> io::Result<Option<u64>> {
        let whole = [&piece.form.header[..], &piece.bytes].concat();
        let contents = packed(&whole, piece.form.is_compressed)?;
        if self.folder.is_taken(&piece.path)? {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "rows are appended to this file"));
        }
        self.folder.replace(&piece.path, &contents)?;
        self.renamed_in.insert(parent(&piece.path));
        Ok(Some(contents.len() as u64))
    }

    /// `None` if no file fits.
    fn append(&mut self, piece: Piece, journal: &mut Journal) -> io::Result<Option<u64>> {
        let place = Place { path: piece.path, form: piece.form };
        while let Some(identity) = self.find(&place, journal)? {
            let open = self.open.get_mut(&identity).expect("what is found is open");
            match open.sheet.append(&piece.bytes) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::FBIG) && open.sheet.len() > 0 => {
                    self.full.insert(identity);
                }
                appended => return appended.map(Some),
            }
        }
        Ok(None)
    }

    /// The open file that a piece belongs to: the one of that name, or the first beside it that fits and has room.
    fn find(&mut self, place: &Place, journal: &mut Journal) -> io::Result<Option<Identity>> {
        self.uses += 1;
        let (mut number, mut others) = (0, 0);
        if let Some(&(identity, last)) = self.found.get(place) {
            number = last;
            if self.open.contains_key(&identity) {
                if self.is_usable(identity)? {
                    self.open.get_mut(&identity).expect("it is open").used_at = self.uses;
                    return Ok(Some(identity));
                }
                self.close(identity)?;
            }
        }
        while self.open.len() >= MAX_OPEN {
            self.close_oldest()?;
        }
        while others <= MAX_OTHERS {
            let path = if number == 0 { place.path.clone() } else { numbered(&place.path, number) };
            match self.open(&path, &place.form, journal)? {
                Fit::Takes(identity) => {
                    self.found.insert(place.clone(), (identity, number));
                    return Ok(Some(identity));
                }
                Fit::IsFull => {}
                Fit::IsOther => others += 1,
            }
            number += 1;
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
        Ok(!self.is_full(identity, open.sheet.len(), open.sheet.file()))
    }

    fn is_full(&self, identity: Identity, len: u64, file: &File) -> bool {
        len > 0 && self.full.contains(&identity) || self.rotation.is_over(len, file)
    }

    /// Opens the file of this name, if it takes pieces of this form.
    fn open(&mut self, path: &Path, form: &Form, journal: &mut Journal) -> io::Result<Fit> {
        let (file, identity) = self.folder.file(path)?;
        if let Some(open) = self.open.get(&identity) {
            return Ok(match open.sheet.form == *form {
                false => Fit::IsOther,
                true if self.is_full(identity, open.sheet.len(), &file) => Fit::IsFull,
                true => Fit::Takes(identity),
            });
        }
        let shown = self.folder.shown(path);
        let is_ours = if self.told.contains(path) { try_lock(&file)? } else { lock(&file)? };
        if !is_ours {
            if self.told.len() < MAX_TOLD && self.told.insert(path.into()) {
                tracing::warn!("{} is written by another process; rows go to a file beside it", shown.display());
            }
            return Ok(Fit::IsOther);
        }
        let now = file.metadata()?.len();
        // Before it is looked through: there may be many.
        if self.is_full(identity, now, &file) {
            return Ok(Fit::IsFull);
        }
        let len = match self.whole.get(&identity) {
            Some(&len) if len == now => begins(&file, form)?.then_some(len),
            _ => match look(&file, form)? {
                Found::Ours(len) => Some(len),
                Found::Foreign => None,
            },
        };
        let Some(len) = len else { return Ok(Fit::IsOther) };
        if now > len {
            tracing::warn!("cut {} bytes off the end of {}: what a crash left of rows", now - len, shown.display());
        }
        let sheet = Sheet::new(file, form.clone(), len)?;
        journal.name(path, identity, len)?;
        if len == 0 {
            self.renamed_in.insert(parent(path));
        }
        self.closed.remove(path);
        self.open.insert(identity, Open { path: path.into(), sheet, used_at: self.uses });
        Ok(Fit::Takes(identity))
    }

    fn close_oldest(&mut self) -> io::Result<()> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used_at).map(|(identity, _)| *identity);
        oldest.map_or(Ok(()), |oldest| self.close(oldest))
    }

    fn close(&mut self, identity: Identity) -> io::Result<()> {
        let Some(Open { path, mut sheet, .. }) = self.open.remove(&identity) else { return Ok(()) };
        self.changed.extend(sheet.take_change().map(|change| (path.clone(), identity, change)));
        self.closed.insert(path);
        self.whole.insert(identity, sheet.len());
        sheet.sync().inspect_err(|_| self.has_failed = true)
    }

    /// What was written since it was last asked.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = (PathBuf, Identity, Change)> + '_ {
        let of_open = |(identity, open): (&Identity, &mut Open)| {
            open.sheet.take_change().map(|change| (open.path.clone(), *identity, change))
        };
        self.changed.drain(..).chain(self.open.iter_mut().filter_map(of_open))
    }

    /// How long each open file is.
    pub(super) fn lengths(&self) -> Vec<(PathBuf, Identity, u64)> {
        self.open.iter().map(|(identity, open)| (open.path.clone(), *identity, open.sheet.len())).collect()
    }

    /// Whether the folder's path leads to another folder now.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.folder.is_elsewhere()
    }

    pub(super) fn open_files(&self) -> u64 {
        self.open.len() as u64
    }

    /// Has all of it outlive a power failure; gives the files that are written no more.
    pub(super) fn sync(&mut self) -> Result<Vec<PathBuf>, Trouble> {
        let synced = self.try_to_sync();
        self.has_failed |= synced.is_err();
        synced?;
        self.renamed_in.clear();
        self.forget();
        Ok(self.closed.drain().collect())
    }

    fn try_to_sync(&mut self) -> Result<(), Trouble> {
        let fail = |path: &Path| {
            let what = format!("cannot sync {}", self.folder.shown(path).display());
            |error| Trouble::new(what, error)
        };
        for open in self.open.values_mut() {
            open.sheet.sync().map_err(fail(&open.path))?;
        }
        for folder in &self.renamed_in {
            match self.folder.sync_names(folder) {
                // Somebody removed it, and what is in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(fail(folder))?,
            }
        }
        Ok(())
    }

    /// Whether the system may have forgotten what it had taken.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// What is known only to be faster stays bounded.
    fn forget(&mut self) {
        if self.whole.len() > MAX_WHOLE {
            self.whole.clear();
        }
        if self.found.len() > MAX_FOUND {
            self.found.clear();
        }
    }
}

/// The folder of a file; empty: the store's own.
fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).into()
}

/// Has the system write a part of a file once more: after a sync that failed it takes it for written, which it is not.
fn write_again(file: &File, from: u64, to: u64) -> io::Result<()> {
    let (mut chunk, mut at) = (vec![0; CHUNK], from);
    while at < to {
        let part = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact_at(&mut chunk[..part], at)?;
        file.write_all_at(&chunk[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// Whether waiting may help: all errors but those that are about this one name. Words of our own are about names.
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
    match Errno::from_io_error(error) {
        Some(errno) => !lasting.contains(&errno),
        None => !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput),
    }
}
