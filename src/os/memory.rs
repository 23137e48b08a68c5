//! Memory that two processes share: an anonymous file, and words of it as atomics.

#![expect(unsafe_code, reason = "mapping memory")]

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An anonymous file in memory, of that many zero bytes; its size is sealed, so a mapping of it never faults.
///
/// # Errors
/// The system's: no descriptors, no memory.
pub(crate) fn memory_file(name: &str, len: u64) -> std::io::Result<File> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, len)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(File::from(fd))
}

/// The first words of a file, shared with whoever else maps it.
pub(crate) struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: it is a slice of atomics; its memory stays mapped until the value is dropped, whichever thread does that.
unsafe impl Send for SharedWords {}
// SAFETY: all access goes through atomics.
unsafe impl Sync for SharedWords {}

impl fmt::Debug for SharedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedWords({})", self.count)
    }
}

impl SharedWords {
    /// Maps the first `count` words of a file.
    ///
    /// # Errors
    /// `EINVAL` for a file that is shorter, or could shrink under the mapping; else what `mmap` says.
    pub(crate) fn map(file: impl AsFd, count: usize) -> std::io::Result<Self> {
        let len = count * size_of::<AtomicU64>();
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        if count == 0 || size < len as u64 || !seals.contains(SealFlags::SHRINK) {
            return Err(Errno::INVAL.into());
        }
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches nothing that exists.
        let start =
            unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(Errno::INVAL)?;
        Ok(Self { start, count })
    }

    /// The words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned, mapped for `count` words that a sealed file backs, valid as long as `self`; other
        // processes touch them, but atomics allow that.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let start: *mut c_void = self.start.as_ptr().cast();
        // SAFETY: exactly the mapping that `map` made; no borrow of it can outlive `self`.
        unsafe { munmap(start, self.count * size_of::<AtomicU64>()) }.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn two_mappings_of_a_file_share_their_words() {
        let file = memory_file("test", 4096).unwrap();
        let one = SharedWords::map(&file, 512).unwrap();
        let two = SharedWords::map(&file, 512).unwrap();

        one.words()[511].store(42, Relaxed);

        assert_eq!(two.words()[511].load(Relaxed), 42);
    }

    #[test]
    fn more_words_than_the_file_has_are_refused() {
        let file = memory_file("test", 4096).unwrap();

        assert!(SharedWords::map(&file, 513).is_err());
    }
}
