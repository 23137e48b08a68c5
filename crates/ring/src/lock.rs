//! Proof of life and death: open-file-description locks on single bytes of the control segment.
//!
//! ```text
//!   byte 0..64      reader entries        byte 64..320    writer entries        byte 320    the supervisor
//! ```
//! A lock lives as long as some process has the descriptor open; the kernel drops it with the last one. A stopped
//! process holds its lock. The descriptor is closed on exec: a child that runs another program has no map either.
#![expect(unsafe_code, reason = "rustix has no OFD locks")]

use crate::layout::{READERS, WRITERS};
use crate::segment::{self, SegmentError};
use libc::{c_int, c_short};
use rustix::fs::OFlags;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

/// Why a job cannot take its place at the ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A segment cannot be used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The supervisor knows no such writer or reader.
    #[error("the ring has no entry for {unique_id:032x}: its supervisor has to add it first")]
    Unknown {
        /// Who asked.
        unique_id: u128,
    },
    /// The predecessor is alive, perhaps stopped.
    #[error("the predecessor of {unique_id:032x} still lives: end it first")]
    Alive {
        /// Who asked.
        unique_id: u128,
    },
    /// The region's own words contradict each other.
    #[error("the region of writer entry {entry} is damaged ({what}): start the supervisor with --discard-ring")]
    Damaged {
        /// Which writer entry.
        entry: usize,
        /// What makes no sense.
        what: &'static str,
    },
}

/// Who holds which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    Reader(usize),
    Writer(usize),
    Supervisor,
}

impl Seat {
    fn byte(self) -> usize {
        match self {
            Self::Reader(entry) => entry,
            Self::Writer(entry) => READERS + entry,
            Self::Supervisor => READERS + WRITERS,
        }
    }
}

/// A descriptor of the control segment of its own: to hold a seat, or to ask who does.
#[derive(Debug)]
pub(crate) struct LockFile {
    fd: OwnedFd,
    name: String,
}

impl LockFile {
    pub(crate) fn open(name: &str) -> Result<Self, SegmentError> {
        Ok(Self { fd: segment::open(name, OFlags::RDWR)?, name: name.to_owned() })
    }

    /// Takes the seat until this value is dropped; `false`: somebody who lives has it.
    pub(crate) fn try_hold(&self, seat: Seat) -> Result<bool, SegmentError> {
        match self.fcntl(libc::F_OFD_SETLK, libc::F_WRLCK, seat.byte()..seat.byte() + 1) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(SegmentError::system(&self.name, "lock", error)),
        }
    }

    /// Whether nobody else holds the seat: its last holder is proven dead.
    pub(crate) fn is_free(&self, seat: Seat) -> Result<bool, SegmentError> {
        let found = self
            .fcntl(libc::F_OFD_GETLK, libc::F_WRLCK, seat.byte()..seat.byte() + 1)
            .map_err(|e| SegmentError::system(&self.name, "ask", e))?;
        Ok(i32::from(found.l_type) == libc::F_UNLCK)
    }

    fn fcntl(&self, command: c_int, kind: c_int, bytes: Range<usize>) -> Result<libc::flock, std::io::Error> {
        // SAFETY: `flock` is a struct of integers, for which zeros are valid.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = c_short::try_from(kind).expect("a small constant");
        lock.l_whence = c_short::try_from(libc::SEEK_SET).expect("a small constant");
        lock.l_start = libc::off_t::try_from(bytes.start).expect("below 321");
        lock.l_len = libc::off_t::try_from(bytes.len()).expect("at most 321");
        // SAFETY: the descriptor is open, and the third argument is a valid `flock` for both commands.
        let answer = unsafe { libc::fcntl(self.fd.as_raw_fd(), command, &raw mut lock) };
        if answer == -1 { Err(std::io::Error::last_os_error()) } else { Ok(lock) }
    }
}

impl Drop for LockFile {
    /// Closing alone would leave the seat to a child of another thread that has forked and not yet run its program.
    fn drop(&mut self) {
        let unlocked = self.fcntl(libc::F_OFD_SETLK, libc::F_UNLCK, 0..Seat::Supervisor.byte() + 1);
        debug_assert!(unlocked.is_ok(), "giving up a lock needs nothing");
    }
}
