//! Waiting for pipes and what else has a descriptor.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until one of these descriptors has something, or for so long; says which have, `false` for all if none.
///
/// # Errors
/// The system's.
pub(super) fn wait<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    at_most: Option<Duration>,
) -> io::Result<[bool; N]> {
    let until = at_most.map(|at_most| Instant::now() + at_most);
    let mut polled: Vec<_> = fds.iter().flatten().map(|(fd, flags)| PollFd::new(fd, *flags)).collect();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => break,
        }
    }
    let mut results = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(fds.map(|fd| fd.is_some() && results.next() == Some(true)))
}
