//! Kill points (feature `kill-points`, tests only): the process ends itself with SIGKILL before the k-th shared store.
//!
//! Every store to a shared word passes here, so that killing before store k for all k visits every state that a death
//! can leave behind.

#![expect(clippy::disallowed_types, reason = "a counter of this process, not of the shared memory")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 0 = not armed; otherwise the process dies when it has been counted down.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// Stores passed since the last [`arm`].
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Lets `stores` shared stores of this process happen, and kills it before the next one.
pub fn arm(stores: u64) {
    PASSED.store(0, Relaxed);
    LEFT.store(stores.saturating_add(1), Relaxed);
}

/// Lets the process live, and says how many stores it made since [`arm`].
pub fn disarm() -> u64 {
    LEFT.store(0, Relaxed);
    PASSED.load(Relaxed)
}

/// Called before each shared store.
#[inline]
pub(crate) fn pass() {
    if LEFT.load(Relaxed) != 0 {
        count_down();
    }
}

#[cold]
fn count_down() {
    PASSED.fetch_add(1, Relaxed);
    if LEFT.fetch_sub(1, Relaxed) == 1 {
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("a process can kill itself: {killed:?}");
    }
}
