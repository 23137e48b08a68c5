//! The base of stores that write files which grow at their end, or are replaced as a whole.
//!
//! A format implements [`FileFormat`]; [`Files`] is its [`Sink`]. A store has one journal, in `.enrgdaq/` below its folder:
//! each commit appends an entry with the length that each file then has, and the marks (`journal`). After a crash the
//! files are cut to what the last entry says, and what was cut off comes again.
//!
//! Invariants: nothing outside the folder is touched, whatever names lead there; a file is open once, and locked against
//! other processes; the journal names a file before its first byte is written, and no entry names bytes that were not
//! written before; nothing is ever cut but, of a file that was open at a crash, what stands behind the length that the
//! journal says, and in a file that no journal knows, half a record at its end.

mod batch;
mod file_name;
mod folder;
mod found;
mod journal;
mod sheet;
mod shelf;

use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use batch::{FileBatch, Form};
pub use file_name::NameError;

use self::folder::Folder;
use self::journal::Journal;
use self::shelf::{Rotation, Shelf};
use super::marks::Marks;
use super::sink::{Home, Refused, Report, Sink, Trouble};
use crate::job::{Delivery, JobError};
use crate::message::MessageKind;

/// What a format says of its files.
pub trait FileFormat: Send + 'static {
    /// The job type's name.
    const TYPE: &'static str;
    /// Short names of old configs.
    const ALIASES: &'static [&'static str] = &[];
    /// `csv` in `[store_config.csv]`.
    const BACKEND: &'static str;
    /// What stands in `[store_config.…]` of a producer.
    type Target: DeserializeOwned + JsonSchema;

    /// Messages that have a form in such files and that somebody outside can give.
    fn messages() -> Vec<MessageKind> {
        vec![MessageKind::store_tabular(), MessageKind::store_raw()]
    }

    /// How a file of a target is named, and treated.
    fn file(target: &Self::Target) -> FileWish<'_>;

    /// Appends what is to stand in the file to `out`, and tells what such a file is like. After an error `out` may hold
    /// anything behind its old end.
    ///
    /// # Errors
    /// [`Refused`]: this message has no form in such a file.
    fn encode(target: &Self::Target, message: &mut Delivery, out: &mut Vec<u8>) -> Result<Encoded, Refused>;
}

/// What a target says of its file.
#[derive(Debug, Clone, Copy)]
pub struct FileWish<'a> {
    /// Relative to the store's folder.
    pub file_path: &'a str,
    /// An ending that is added if it is missing, with its dot.
    pub ending: &'a str,
    /// The local date of the message stands before the name.
    pub add_date: bool,
    /// The file holds the newest message only.
    pub overwrite: bool,
}

/// What a message has become.
#[derive(Debug)]
pub struct Encoded {
    /// What a file must be like for it to be appended.
    pub form: Form,
    /// Rows or records.
    pub rows: u64,
}

/// Keys of stores that write files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// The folder, relative to the working directory; made if it is missing.
    #[serde(default = "out_dir")]
    out_dir: PathBuf,
    /// A file that has reached this size, in 10⁶ bytes, is followed by `name_1.csv`, `name_2.csv` …; 0: never.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e9))]
    rotate_mb: f64,
    /// A file that is as old as this, in seconds, is followed likewise; 0: never.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e9))]
    rotate_seconds: f64,
}

fn out_dir() -> PathBuf {
    "out/".into()
}

/// The sink of a format.
#[derive(Debug)]
pub struct Files<F> {
    dir: PathBuf,
    unique_id: String,
    rotation: Rotation,
    open: Option<Open>,
    /// A sync has failed, and what that may have cost is not put right yet.
    has_failed: bool,
    format: std::marker::PhantomData<fn() -> F>,
}

#[derive(Debug)]
struct Open {
    shelf: Shelf,
    journal: Journal,
    /// Somebody has moved the folder: what is written from now on belongs into another.
    is_elsewhere: bool,
}

impl<F: FileFormat> Sink for Files<F> {
    const TYPE: &'static str = F::TYPE;
    const ALIASES: &'static [&'static str] = F::ALIASES;
    const BACKEND: &'static str = F::BACKEND;
    type Config = FilesConfig;
    type Target = F::Target;
    type Batch = FileBatch;

    fn messages() -> Vec<MessageKind> {
        F::messages()
    }

    fn open(config: FilesConfig, home: &Home) -> Result<Self, JobError> {
        let dir = std::path::absolute(&config.out_dir)
            .map_err(|error| JobError::failed(format!("cannot find {}", config.out_dir.display()), error))?;
        let rotation = Rotation::new(config.rotate_mb, config.rotate_seconds);
        let (unique_id, format) = (home.unique_id.clone(), std::marker::PhantomData);
        Ok(Self { dir, unique_id, rotation, open: None, has_failed: false, format })
    }

    fn put(batch: &mut FileBatch, target: &F::Target, message: &mut Delivery) -> Result<(), Refused> {
        let wish = F::file(target);
        let path = file_name::path_of(&wish, message).map_err(|error| Refused::new(error.kind(), &error))?;
        batch.put(path, wish.overwrite, |out| F::encode(target, message, out))
    }

    fn size(batch: &FileBatch) -> usize {
        batch.bytes()
    }

    fn gains_by_more(batch: &FileBatch) -> bool {
        batch.gains_by_more()
    }

    fn resume(&mut self) -> Result<Marks, Trouble> {
        // What is open is closed first: its lock would keep us out.
        self.has_failed |= self.open.take().is_some_and(|open| open.shelf.has_failed());
        let fail = |error| Trouble::new(format!("cannot use the folder {}", self.dir.display()), error);
        let folder = Folder::open(&self.dir).map_err(fail)?;
        let (mut journal, found) = Journal::open(&folder, &self.unique_id, self.has_failed).map_err(fail)?;
        let marks = found.marks.clone();
        let shelf = Shelf::new(folder, found, self.rotation).map_err(fail)?;
        journal.renew(shelf.lengths()).map_err(fail)?;
        self.open = Some(Open { shelf, journal, is_elsewhere: false });
        self.has_failed = false;
        Ok(marks)
    }

    fn commit(&mut self, batch: FileBatch, marks: &Marks) -> Result<Report, Trouble> {
        self.open_files()?.commit(batch, marks)
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        self.open_files()?.sync()
    }
}

impl<F> Files<F> {
    fn open_files(&mut self) -> Result<&mut Open, Trouble> {
        self.open.as_mut().ok_or_else(|| Trouble::saying("it is not open"))
    }
}

impl Open {
    fn commit(&mut self, batch: FileBatch, marks: &Marks) -> Result<Report, Trouble> {
        if self.is_elsewhere {
            return Err(Trouble::saying("the folder is not the one that it was"));
        }
        let mut report = Report::default();
        for piece in batch.into_pieces() {
            self.shelf.write(piece, &mut self.journal, &mut report)?;
        }
        let fail = |error| Trouble::new("cannot write the journal", error);
        self.journal.commit(self.shelf.changes(), marks).map_err(fail)?;
        report.files = self.shelf.open_files();
        Ok(report)
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        let closed = self.shelf.sync()?;
        let fail = |error| Trouble::new("cannot sync the journal", error);
        self.journal.sync(self.shelf.lengths(), closed).map_err(fail)?;
        self.is_elsewhere = self.shelf.is_elsewhere();
        Ok(())
    }
}

/// The name of a file that a store of another kind keeps in its folder, without `.`.
///
/// # Errors
/// [`NameError`]: it names no file in the folder.
pub fn checked_name(file_path: &str) -> Result<PathBuf, NameError> {
    file_name::file_name(file_path, None, None)
}

/// Where such a file lies, by its real path. The folder and the file are made if they are missing; a file that exists is
/// not opened, since that would give up the locks that others in this process have on it.
///
/// # Errors
/// What the system says, such as of symbolic links that lead out of the folder.
pub fn made_file(dir: &Path, name: &Path) -> io::Result<PathBuf> {
    let folder = Folder::open(dir)?;
    match folder.identity(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => drop(folder.file(name)?),
        identity => drop(identity?),
    }
    folder.shown(name).canonicalize()
}

#[cfg(test)]
mod tests;
