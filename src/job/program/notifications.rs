//! `NOTIFY_SOCKET`: a program says that it is ready, alive, or how it does, as services say it to systemd.
//!
//! A datagram holds lines `NAME=value`. Invariant: whatever comes, at most it means nothing.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::job::JobSpec;
use crate::os::{Account, short_hash};

/// The longest datagram that is looked at; what is beyond is not.
const LONGEST: usize = 4096;

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// `READY=1`: it has started.
    Ready,
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `STATUS=…`: how it does, in words.
    Status(String),
}

/// The socket, in a directory that nobody else can enter.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    dir: PathBuf,
}

impl Notifications {
    /// Opens the socket of a job, for a program of this user or another. Our runtime directory is closed to others: for them
    /// it lies elsewhere, and is theirs.
    pub(super) fn open(spec: &JobSpec, account: Option<&Account>) -> io::Result<Self> {
        let other = account.filter(|account| account.uid != rustix::process::getuid().as_raw());
        let dir = match (other, spec.lock.parent()) {
            (None, Some(runtime)) => runtime.join(format!("n{}", &short_hash(&spec.unique_id)[..10])),
            // Its lock is this job's alone; so its next start finds what is left when it is killed.
            _ => env::temp_dir().join(format!("enrgdaq-n{}", short_hash(&spec.lock.to_string_lossy()))),
        };
        let dir = free_place(dir, account, &spec.instance_id);
        DirBuilder::new().mode(0o700).create(&dir)?;
        let path = dir.join("s");
        let socket = UnixDatagram::bind(&path).inspect_err(|_| drop(fs::remove_dir_all(&dir)))?;
        let opened = Self { socket, dir };
        opened.socket.set_nonblocking(true)?;
        if let Some(Account { uid, gid, .. }) = other {
            chown(&path, Some(*uid), Some(*gid))?;
            chown(&opened.dir, Some(*uid), Some(*gid))?;
        }
        Ok(opened)
    }

    /// The path of the socket.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// What has come, in order; never waits.
    #[must_use]
    pub fn take(&self) -> Vec<News> {
        let mut room = [0; LONGEST];
        let mut all = Vec::new();
        // Bounded, for a program that says it without end.
        for _ in 0..64 {
            match self.socket.recv(&mut room) {
                Ok(len) => all.extend(news(&room[..len])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        all
    }
}

/// Readable when something has come.
impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::debug!("{} stays: {error}", dir.display());
    }
}

/// Removes what an earlier process of this job has left there. Where something is that is none of its own, another place.
fn free_place(dir: PathBuf, account: Option<&Account>, instance_id: &str) -> PathBuf {
    let Ok(meta) = dir.symlink_metadata() else { return dir };
    let owners = [Some(rustix::process::getuid().as_raw()), account.map(|account| account.uid)];
    if meta.is_dir() && owners.contains(&Some(meta.uid())) && fs::remove_dir_all(&dir).is_ok() {
        return dir;
    }
    dir.with_file_name(format!("enrgdaq-{instance_id}"))
}

/// What one datagram says.
fn news(bytes: &[u8]) -> Vec<News> {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| match line {
            b"READY=1" => Some(News::Ready),
            b"WATCHDOG=1" => Some(News::Alive),
            _ => line.strip_prefix(b"STATUS=").map(|text| News::Status(String::from_utf8_lossy(text).into_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_datagram_says_several_things_and_what_is_unknown_is_passed_over() {
        let said = news(b"READY=1\nSTATUS=all \xff well\nMAINPID=7\nWATCHDOG=1\nRELOADING=1\nREADY=0\n");

        assert_eq!(said, [News::Ready, News::Status("all \u{fffd} well".into()), News::Alive]);
    }

    #[test]
    fn what_an_earlier_process_has_left_gives_way_and_what_is_of_others_does_not() {
        let scratch = tempfile::tempdir().unwrap();
        let (old, link) = (scratch.path().join("old"), scratch.path().join("link"));
        fs::create_dir(&old).unwrap();
        fs::write(old.join("s"), "").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();

        assert_eq!(free_place(link.clone(), None, "7"), scratch.path().join("enrgdaq-7"));
        assert!(old.join("s").exists());
        assert_eq!(free_place(old.clone(), None, "7"), old);
        assert!(!old.exists());
        assert_eq!(free_place(old.clone(), None, "7"), old);
    }

    proptest! {
        #[test]
        fn any_bytes_can_come(bytes in any::<Vec<u8>>()) {
            news(&bytes);
        }
    }
}
