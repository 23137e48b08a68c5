//! The one door to the atomics: shared words, named fences, and the two test hooks behind them.
//!
//! Invariant: no other file names an atomic that lies in shared memory. Under `cfg(loom)` the words are loom's, and
//! `Weakened` can take one named ordering away, so that a test can show that it was needed. With the feature
//! `kill-points` every store may be the last thing that the process does (see `kill_points`).

#[cfg(loom)]
use loom::sync::atomic as imp;
#[cfg(not(loom))]
use std::sync::atomic as imp;

use imp::Ordering;

#[cfg_attr(not(loom), expect(clippy::disallowed_types, reason = "this is the door"))]
type Atomic64 = imp::AtomicU64;
#[cfg_attr(not(loom), expect(clippy::disallowed_types, reason = "this is the door"))]
type Atomic32 = imp::AtomicU32;

/// An ordering that carries a proof, by name.
///
/// | name | what it orders |
/// |---|---|
/// | `Commit` | record before `head` |
/// | `BellArm` | sleep flag before the last look |
/// | `BellRing` | own news before the look at the sleep flag |
/// | `Pin` | pin before the look at `reclaimed` |
/// | `Reclaim` | `reclaimed` before the look at the pins, and before new bytes |
/// | `Recheck` | bytes of a descriptor before the second look at `reclaimed` |
/// | `Unpin` | last read of the bytes before the pin goes |
/// | `Ack` | last read of the bytes before `acked` |
/// | `CopyFill` | the old version's end before words of the new copy |
/// | `CopyCheck` | words of a copy before the second look at the version |
/// | `CopySelect` | words of the new copy before its version |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Commit,
    BellArm,
    BellRing,
    Pin,
    Reclaim,
    Recheck,
    Unpin,
    Ack,
    CopyFill,
    CopyCheck,
    CopySelect,
}

/// A fence with a name.
#[inline]
pub(crate) fn fence(name: Named, ordering: Ordering) {
    if is_weakened(name) {
        return;
    }
    #[cfg_attr(not(loom), expect(clippy::disallowed_methods, reason = "this is the door"))]
    imp::fence(ordering);
}

/// Eight shared bytes with one author.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Word(Atomic64);

impl Word {
    /// A word of a loom test.
    #[cfg(all(test, loom))]
    pub(crate) fn new(value: u64) -> Self {
        Self(Atomic64::new(value))
    }

    /// Reads without ordering anything.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Reads; what the author wrote before `publish` is visible afterwards.
    #[inline]
    pub(crate) fn observe(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Writes without ordering anything.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        kill_point();
        self.0.store(value, Ordering::Relaxed);
    }

    /// Writes if it changes something: a line that others look at stays in their caches.
    pub(crate) fn settle(&self, value: u64) {
        if self.get() != value {
            self.set(value);
        }
    }

    /// Writes; all that was written before is visible to who observes it.
    #[inline]
    pub(crate) fn publish(&self, name: Named, value: u64) {
        kill_point();
        let ordering = if is_weakened(name) { Ordering::Relaxed } else { Ordering::Release };
        self.0.store(value, ordering);
    }
}

/// Four shared bytes that a process can sleep on: 1 = somebody sleeps.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Flag(Atomic32);

impl Flag {
    /// A flag of a loom test.
    #[cfg(all(test, loom))]
    pub(crate) fn new(value: u32) -> Self {
        Self(Atomic32::new(value))
    }

    /// Reads without ordering anything.
    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes without ordering anything.
    #[inline]
    pub(crate) fn set(&self, value: u32) {
        kill_point();
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes the value and leaves 0.
    #[inline]
    pub(crate) fn take(&self) -> u32 {
        kill_point();
        self.0.swap(0, Ordering::AcqRel)
    }

    /// What the kernel's futex calls want.
    #[expect(clippy::disallowed_types, reason = "this is the door")]
    pub(crate) fn as_futex(&self) -> &std::sync::atomic::AtomicU32 {
        #[cfg(not(loom))]
        return &self.0;
        #[cfg(loom)]
        unreachable!("loom has no kernel to sleep in");
    }
}

/// A step at which a test may end the process.
#[inline]
pub(crate) fn kill_point() {
    #[cfg(feature = "kill-points")]
    crate::kill_points::pass();
}

#[cfg(not(all(test, loom)))]
#[inline]
const fn is_weakened(_: Named) -> bool {
    false
}

#[cfg(all(test, loom))]
pub(crate) use planted::{Weakened, is_weakened};

/// Takes one named ordering away, for loom tests.
#[cfg(all(test, loom))]
mod planted {
    use super::Named;
    use std::sync::Mutex;

    static WEAK: Mutex<Option<Named>> = Mutex::new(None);

    /// While it lives, the ordering that it names is missing. One at a time.
    #[derive(Debug)]
    pub(crate) struct Weakened(());

    impl Weakened {
        /// Takes the ordering away.
        pub(crate) fn plant(name: Named) -> Self {
            *WEAK.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name);
            Self(())
        }
    }

    impl Drop for Weakened {
        fn drop(&mut self) {
            *WEAK.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }
    }

    pub(crate) fn is_weakened(name: Named) -> bool {
        *WEAK.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(name)
    }
}
