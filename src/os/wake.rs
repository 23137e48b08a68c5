//! A bell that ends every wait: an eventfd that, once rung, stays readable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Rung once, for good; every clone hears it.
#[derive(Debug, Clone)]
pub(crate) struct Wake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rung: AtomicBool,
    fd: OwnedFd,
}

impl Wake {
    /// A bell that has not rung.
    ///
    /// # Errors
    /// The system's, when the process has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { rung: AtomicBool::new(false), fd })))
    }

    /// Rings; again does no harm.
    pub(crate) fn ring(&self) {
        self.0.rung.store(true, Ordering::SeqCst);
        rustix::io::write(&self.0.fd, &1u64.to_ne_bytes()).ok();
    }

    /// Whether it has rung.
    pub(crate) fn has_rung(&self) -> bool {
        self.0.rung.load(Ordering::Relaxed)
    }

    /// Waits for the bell, at most so long; `true` if it rang.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let end = Instant::now().checked_add(at_most);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let mut fds = [PollFd::new(&self.0.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                _ => return self.has_rung(),
            }
        }
    }

    /// For a poll of one's own: readable once it has rung.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_bell_rings() {
        let wake = Wake::new().unwrap();
        let other = wake.clone();
        let ringer = std::thread::spawn(move || other.ring());

        assert!(wake.wait(Duration::from_secs(60)));
        ringer.join().unwrap();
        assert!(wake.has_rung() && wake.wait(Duration::MAX));
    }

    #[test]
    fn a_wait_ends_by_itself() {
        assert!(!Wake::new().unwrap().wait(Duration::from_millis(1)));
    }
}
