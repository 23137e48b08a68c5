//! Early writing: the disk begins with what a later sync will wait for.

#![expect(unsafe_code, reason = "rustix has no sync_file_range")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Tells the system to bring these bytes of a file to the disk, and does not wait until they are there. A hint: where a file
/// system does not know it, the sync has all the work.
pub(crate) fn begin_writeback(file: &File, start: u64, len: u64) {
    let (Ok(start), Ok(len)) = (start.try_into(), len.try_into()) else { return };
    // SAFETY: the descriptor is open, and no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) };
}
