//! A store's folder, and files in it: the kernel itself sees to it that no path leads out, symbolic links included
//! (`openat2` with `RESOLVE_BENEATH`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, ResolveFlags, flock, fstat, mkdirat, openat, openat2, renameat,
    unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// How the name of a file that is about to replace another ends; it begins with a dot.
pub(super) const DRAFT: &str = ".new";

/// How long a lock is waited for.
const LOCK_WITHIN: Duration = Duration::from_millis(100);

/// The folder that a store writes into.
#[derive(Debug)]
pub(super) struct Folder {
    dir: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens it, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let dir = openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?;
        Ok(Self { dir, path: path.into() })
    }

    /// Where a file of it lies, for people.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// Opens a file of it for reading and writing, and makes it and the folders before it if they are missing.
    pub(super) fn file(&self, path: &Path) -> io::Result<(File, Identity)> {
        self.make_parents(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::from(self.open_inside(path, flags, 0o666)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it exists and is no regular file"));
        }
        let identity = Identity::of(&file)?;
        Ok((file, identity))
    }

    /// The file of this name, for reading and writing, if it is this one.
    pub(super) fn existing(&self, path: &Path, identity: Identity) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = match self.open_inside(path, flags, 0) {
            Ok(file) => File::from(file),
            Err(error) if is_about_name(&error) => {
                tracing::warn!("{} is not as it was left, and is left alone: {error}", self.shown(path).display());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok((Identity::of(&file)? == identity).then_some(file))
    }

    /// Whether somebody has removed the folder.
    pub(super) fn is_gone(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether its path leads elsewhere: somebody has moved it, or mounted something over it.
    pub(super) fn is_elsewhere(&self) -> bool {
        let now = File::open(&self.path).and_then(|dir| Identity::of(&dir));
        !Identity::of(&self.dir).is_ok_and(|was| now.is_ok_and(|now| now == was))
    }

    /// Whether somebody, this process included, appends to the file of this name.
    pub(super) fn is_taken(&self, path: &Path) -> io::Result<bool> {
        match self.open_inside(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, 0) {
            Ok(file) => Ok(!try_lock(&File::from(file))?),
            // Whoever replaces it sees what is wrong with it.
            Err(_) => Ok(false),
        }
    }

    /// The same folder once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { dir: self.dir.try_clone()?, path: self.path.clone() })
    }

    /// Which file has this name now.
    pub(super) fn identity(&self, path: &Path) -> io::Result<Identity> {
        Identity::of(&self.open_inside(path, OFlags::PATH | OFlags::CLOEXEC, 0)?)
    }

    /// Puts whole contents in the place of a file; whoever reads it sees the old ones or the new ones.
    pub(super) fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.make_parents(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = self.directory(parent.unwrap_or(Path::new(".")))?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(DRAFT);
        // What a crash left.
        unlinkat(&dir, &draft, AtFlags::empty()).ok();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&dir, &draft, flags, Mode::from_raw_mode(0o666))?);
        let written = io::Write::write_all(&mut file, contents).and_then(|()| file.sync_data());
        let replaced = written.and_then(|()| Ok(renameat(&dir, &draft, &dir, name)?));
        if replaced.is_err() {
            // A draft that stays would take room from what it is to replace; the next try makes it anew.
            unlinkat(&dir, &draft, AtFlags::empty()).ok();
        }
        replaced
    }

    /// Has the names in a folder outlive a power failure; an empty path is the store's own.
    pub(super) fn sync_names(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::from(self.directory(path)?).sync_all()
    }

    fn open_inside(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.dir, path, flags, Mode::from_raw_mode(mode), inside).map_err(|errno| match errno {
            Errno::XDEV => io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of the folder"),
            errno => errno.into(),
        })
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        self.open_inside(path, flags, 0)
    }

    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let mut made = PathBuf::new();
        for part in path.parent().unwrap_or(Path::new("")).components() {
            let parent = self.directory(if made.as_os_str().is_empty() { Path::new(".") } else { &made })?;
            match mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => made.push(part),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// A file, whatever it is called: its device and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity(u64, u64);

impl Identity {
    /// The same file after a start of the machine, which may have given its device another number.
    pub(super) fn as_now(self, now: Self) -> Self {
        if self.1 == now.1 { now } else { self }
    }

    fn of(file: &impl AsFd) -> io::Result<Self> {
        let stat = fstat(file)?;
        Ok(Self(stat.st_dev, stat.st_ino))
    }
}

/// Whether an error is about the file, and not about the system.
fn is_about_name(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let is_link = Errno::from_io_error(error) == Some(Errno::LOOP);
    is_link || matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | IsADirectory | ReadOnlyFilesystem)
}

/// Makes a file ours until it is closed: two writers would destroy each other's rows. `false` if it is another's.
///
/// A process that is about to become another program has all locks of its parent for a moment, also those that the parent
/// gives up meanwhile: that is waited for.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    let until = Instant::now() + LOCK_WITHIN;
    loop {
        if try_lock(file)? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(LOCK_WITHIN / 20);
    }
}

/// The same, without waiting.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_that_stays_is_not() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("inner", dir.path().join("alias")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();

        assert!(folder.file(Path::new("out/x.csv")).is_err());
        assert!(folder.replace(Path::new("out/x.csv"), b"x").is_err());
        assert!(folder.file(Path::new("inner/x.csv")).is_ok());
        let (first, identity) = folder.file(Path::new("alias/x.csv")).unwrap();
        let (second, same) = folder.file(Path::new("inner/x.csv")).unwrap();
        assert_eq!(identity, same);
        assert!(lock(&first).unwrap());
        assert!(!lock(&second).unwrap(), "it is another's");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_draft_that_cannot_take_its_place_goes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("a.csv")).unwrap();

        assert!(folder.replace(Path::new("a.csv"), b"new").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn contents_are_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.replace(Path::new("a/b.csv"), b"long old contents").unwrap();
        folder.replace(Path::new("a/b.csv"), b"new").unwrap();

        assert_eq!(std::fs::read(dir.path().join("a/b.csv")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }
}
