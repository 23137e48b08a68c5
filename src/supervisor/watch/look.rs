//! Looks at disks, which may never answer: a look that hangs holds up only the thread that it is made by.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Which file system.
    pub(super) device: u64,
    /// For us, in bytes.
    pub(super) free: u64,
    pub(super) total: u64,
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Look(mpsc::Receiver<Option<Room>>);

impl Look {
    /// One whose answer does not come as long as the first value lives.
    #[cfg(test)]
    pub(super) fn that_hangs() -> (mpsc::Sender<Option<Room>>, Self) {
        let (answer, look) = mpsc::channel();
        (answer, Self(look))
    }

    /// The answer, if it comes in time; `Some(None)`: there is nothing to look at.
    pub(super) fn answer(&self, within: Duration) -> Option<Option<Room>> {
        match self.0.recv_timeout(within) {
            Ok(answer) => Some(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(None),
        }
    }
}

/// A thread that looks.
#[derive(Debug)]
pub(super) struct Looker(mpsc::Sender<(PathBuf, mpsc::Sender<Option<Room>>)>);

impl Looker {
    /// Starts it.
    ///
    /// # Errors
    /// The system's: no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (orders, to_do) = mpsc::channel::<(PathBuf, mpsc::Sender<Option<Room>>)>();
        thread::Builder::new().name("disk-look".into()).spawn(move || {
            for (path, answer) in to_do {
                answer.send(room_at(&path)).ok();
            }
        })?;
        Ok(Self(orders))
    }

    pub(super) fn look(&self, path: &Path) -> Look {
        let (answer, look) = mpsc::channel();
        self.0.send((path.to_owned(), answer)).ok();
        Look(look)
    }
}

/// Of the file system of a path, or of the nearest directory above it that there is.
fn room_at(path: &Path) -> Option<Room> {
    let path = std::path::absolute(path).ok()?;
    let (place, meta) = path.ancestors().find_map(|place| Some((place, place.metadata().ok()?)))?;
    let room = rustix::fs::statvfs(place).ok()?;
    let size = room.f_frsize.max(1);
    Some(Room { device: meta.dev(), free: room.f_bavail * size, total: room.f_blocks * size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_lies_on_the_disk_of_what_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let looker = Looker::start().unwrap();
        let look = |path: &Path| looker.look(path).answer(Duration::from_secs(60)).unwrap().unwrap();

        let (there, not_yet) = (look(dir.path()), look(&dir.path().join("a/b/c")));

        assert_eq!((there.device, there.total), (not_yet.device, not_yet.total));
        assert!(there.total >= there.free && there.total > 0);
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (_sender, look) = mpsc::channel();

        assert_eq!(Look(look).answer(Duration::from_millis(1)), None);
    }
}
