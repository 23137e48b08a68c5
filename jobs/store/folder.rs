//! A store's folder, and files in it: the kernel itself sees to it that no path leads out, symbolic links included
//! (`openat2` with `RESOLVE_BENEATH`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, ResolveFlags, flock, mkdirat, openat, openat2, renameat};
use rustix::io::Errno;

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

    /// Opens a file of it for reading and writing, and makes it and the folders before it if they are missing. It is
    /// locked until it is closed: two writers would destroy each other's rows.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        self.make_parents(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = openat2(&self.dir, path, flags, Mode::from_raw_mode(0o666), inside())?;
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it exists and is no regular file"));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes it")),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Puts whole contents in the place of a file; whoever reads it sees the old ones or the new ones.
    pub(super) fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.make_parents(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let dir = self.directory(parent.unwrap_or(Path::new(".")))?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(".new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&dir, &draft, flags, Mode::from_raw_mode(0o666))?);
        io::Write::write_all(&mut file, contents)?;
        file.sync_data()?;
        Ok(renameat(&dir, &draft, &dir, name)?)
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat2(&self.dir, path, flags, Mode::empty(), inside())?)
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

fn inside() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS
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
        let first = folder.file(Path::new("alias/x.csv")).unwrap();
        assert!(folder.file(Path::new("inner/x.csv")).is_err(), "it is open already");
        drop(first);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
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
