//! A file that only one process holds: an advisory lock that the kernel drops when its holder is gone, however it ended.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::iso_now;

/// The lock, for as long as it lives.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

/// Why it cannot be had.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// Another process has it, and wrote this about itself.
    Held(String),
    /// The file cannot be made or locked.
    System(io::Error),
}

impl From<io::Error> for TakeError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl FileLock {
    /// Takes the lock without waiting, and writes into the file who has it.
    ///
    /// # Errors
    /// [`TakeError`].
    pub(crate) fn take(path: &Path) -> Result<Self, TakeError> {
        Self::take_as(path, "")
    }

    /// As [`take`](Self::take). `who`: what the file says besides the pid.
    ///
    /// # Errors
    /// [`TakeError`].
    pub(crate) fn take_named(path: &Path, who: &str) -> Result<Self, TakeError> {
        Self::take_as(path, &format!("{who}, "))
    }

    /// As [`take`](Self::take), for this process and all that it starts: the kernel drops it with the last of them.
    /// `who`: what the file says besides the pid.
    ///
    /// # Errors
    /// [`TakeError`].
    pub(crate) fn take_for_descendants(path: &Path, who: &str) -> Result<Self, TakeError> {
        let lock = Self::take_as(path, &format!("{who}, "))?;
        fcntl_setfd(&lock.file, FdFlags::empty()).map_err(|errno| TakeError::System(errno.into()))?;
        Ok(lock)
    }

    fn take_as(path: &Path, who: &str) -> Result<Self, TakeError> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                let holder = if holder.trim().is_empty() { "one that has just begun" } else { holder.trim() };
                return Err(TakeError::Held(holder.into()));
            }
            Err(errno) => return Err(TakeError::System(errno.into())),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{who}pid {}, since {}", std::process::id(), iso_now())?;
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = FileLock::take(&path).unwrap();

        let Err(TakeError::Held(holder)) = FileLock::take(&path) else { panic!("it is held") };
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");

        drop(first);
        assert!(FileLock::take(&path).is_ok());
    }
}
