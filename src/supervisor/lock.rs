//! One supervisor an id: an advisory lock on a file of the runtime directory, held until the process ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

use crate::os::iso_now;

/// The lock, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another supervisor has it.
    #[error("supervisor `{id}` already runs ({holder}); stop it, or choose another `info.supervisor_id`")]
    Held {
        /// Whose id it is.
        id: String,
        /// What the holder wrote: pid and start.
        holder: String,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {path}")]
    System {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock of a supervisor.
    pub(super) fn take(dir: &Path, id: &str) -> Result<Self, LockError> {
        let path = dir.join("supervisor.lock");
        let fail = |source| LockError::System { path: path.clone(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                return Err(LockError::Held { id: id.into(), holder: holder.trim().into() });
            }
            Err(errno) => return Err(fail(errno.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        writeln!(file, "pid {}, since {}", std::process::id(), iso_now()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_told_who_has_the_lock() {
        let dir = std::env::temp_dir().join(format!("enrgdaq-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = Lock::take(&dir, "lab").unwrap();

        let refusal = Lock::take(&dir, "lab").unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");

        drop(first);
        assert!(Lock::take(&dir, "lab").is_ok());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
