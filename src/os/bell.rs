//! A bell for a poll that may ring many times: an eventfd between threads.
//!
//! Invariant: whoever hushes it before he looks at what it rings for misses nothing.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Rung any number of times; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A bell that does not ring.
    ///
    /// # Errors
    /// The system's, when the process has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes it readable.
    pub(crate) fn ring(&self) {
        // It fails only where it has been rung 2⁶⁴ times: then it is readable too.
        rustix::io::write(&*self.0, &1u64.to_ne_bytes()).ok();
    }

    /// Until it is rung again.
    pub(crate) fn hush(&self) {
        // Nothing to read is as good.
        rustix::io::read(&*self.0, &mut [0; 8]).ok();
    }

    /// For a poll of one's own: readable while it rings.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_until_it_is_hushed() {
        let bell = Bell::new().unwrap();
        let rings = || {
            let mut items = [zmq::PollItem::from_fd(bell.raw_fd(), zmq::POLLIN)];
            zmq::poll(&mut items, 0).unwrap() == 1
        };
        assert!(!rings());

        bell.clone().ring();
        bell.ring();
        assert!(rings() && rings());

        bell.hush();
        assert!(!rings());
    }
}
