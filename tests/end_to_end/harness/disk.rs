//! A disk that can be full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::said;

/// A small file system of its own.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of 8 MiB there.
    pub(crate) fn mount(at: PathBuf) -> Self {
        Self::mount_mb(at, 8)
    }

    /// Mounts one of so many MiB there.
    pub(crate) fn mount_mb(at: PathBuf, mb: usize) -> Self {
        fs::create_dir_all(&at).expect("the place can be made");
        let size = format!("size={mb}m");
        let mounted = said(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at));
        assert_eq!(mounted.code, 0, "this test must be allowed to mount: {mounted:?}");
        Self(at)
    }

    /// Leaves only so much room.
    pub(crate) fn fill(&self, room_kb: usize) {
        let disk = rustix::fs::statvfs(&self.0).expect("it is mounted");
        let free = usize::try_from(disk.f_bavail * disk.f_frsize).expect("it is small");
        fs::write(self.0.join("ballast"), vec![0; free - (room_kb << 10)]).expect("there is room");
    }

    /// Gives the room back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        said(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// A disk that can hang: whoever writes to it waits until it is thawed.
#[derive(Debug)]
pub(crate) struct FrozenDisk(PathBuf);

impl FrozenDisk {
    /// Makes one of 64 MiB in a file, mounts it there, and freezes it.
    pub(crate) fn mount(image: &Path, at: PathBuf) -> Self {
        fs::create_dir_all(&at).expect("the place can be made");
        fs::File::create(image).and_then(|file| file.set_len(64 << 20)).expect("there is room");
        let made = said(Command::new("mkfs.ext4").arg("-q").arg(image));
        assert_eq!(made.code, 0, "{made:?}");
        let mounted = said(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&at));
        assert_eq!(mounted.code, 0, "this test must be allowed to mount: {mounted:?}");
        let disk = Self(at);
        disk.freeze();
        disk
    }

    /// Has it hang.
    pub(crate) fn freeze(&self) {
        let frozen = said(Command::new("fsfreeze").arg("-f").arg(&self.0));
        assert_eq!(frozen.code, 0, "{frozen:?}");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        said(Command::new("fsfreeze").arg("-u").arg(&self.0));
    }
}

impl Drop for FrozenDisk {
    fn drop(&mut self) {
        self.thaw();
        said(Command::new("umount").arg("-l").arg(&self.0));
    }
}
