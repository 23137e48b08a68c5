//! How a process waits: a bounded spin, then a sleep on its own bell in the control segment.
//!
//! ```text
//!   sleeper                              waker
//!   bell = 1, fence                      store the news, fence
//!   look for news: any → bell = 0        bell ≠ 0? take it → wake
//!   sleep while bell = 1
//! ```
//! The news may be a shared word (`head`, `acked`) or one of this process: a [`Stop`], a [`Waker`]'s call. All use the
//! same bell, so a sleeper has one place to sleep. An idle ring makes no system call; nothing polls.

use crate::maps::ControlMap;
use crate::protocol;
use crate::sync::Flag;
use crossbeam_utils::Backoff;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Until when a call may wait.
#[derive(Debug, Clone, Copy)]
pub struct Until<'a> {
    deadline: Option<Instant>,
    stop: &'a Stop,
}

impl<'a> Until<'a> {
    /// Until `stop` is set.
    #[must_use]
    pub fn stopped(stop: &'a Stop) -> Self {
        Self { deadline: None, stop }
    }

    /// Also not after `deadline`.
    #[must_use]
    pub fn or_at(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Also not longer than `wait` from now.
    #[must_use]
    pub fn or_after(self, wait: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(wait), ..self }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Ends waits for good. Clones are the same stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<StopShared>,
}

#[derive(Debug, Default)]
struct StopShared {
    is_set: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// A stop that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has [`Stop::set`] also wake whom this waker wakes. Without it a sleeper sees the stop at its next waking.
    pub fn wakes(&self, waker: Waker) {
        self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        if self.is_set() {
            self.wake_all();
        }
    }

    /// Stops. Takes a lock: not for signal handlers.
    pub fn set(&self) {
        self.shared.is_set.store(true, SeqCst);
        self.wake_all();
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.shared.is_set.load(SeqCst)
    }

    fn wake_all(&self) {
        for waker in self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker.wake();
        }
    }
}

/// Which bell.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sleeper {
    Reader(usize),
    Writer(usize),
}

/// Interrupts the wait of one [`crate::Reader`] or [`crate::Writer`] of this process, from any thread.
#[derive(Debug, Clone)]
pub struct Waker {
    bed: Arc<Bed>,
}

impl Waker {
    /// Ends the wait that is on, or else the next one, once.
    pub fn wake(&self) {
        self.bed.is_called.store(true, SeqCst);
        ring(self.bed.bell());
    }
}

/// Where one reader or writer of this process sleeps.
#[derive(Debug)]
pub(crate) struct Bed {
    control: Arc<ControlMap>,
    sleeper: Sleeper,
    is_called: AtomicBool,
}

impl Bed {
    pub(crate) fn new(control: Arc<ControlMap>, sleeper: Sleeper) -> Arc<Self> {
        Arc::new(Self { control, sleeper, is_called: AtomicBool::new(false) })
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker { bed: Arc::clone(self) }
    }

    /// Whether a waker called since the last answer.
    pub(crate) fn was_called(&self) -> bool {
        self.is_called.load(SeqCst) && self.is_called.swap(false, SeqCst)
    }

    /// Whether a waker called, without answering.
    pub(crate) fn is_called(&self) -> bool {
        self.is_called.load(SeqCst)
    }

    pub(crate) fn bell(&self) -> &Flag {
        match self.sleeper {
            Sleeper::Reader(entry) => self.control.reader_bell(entry),
            Sleeper::Writer(entry) => self.control.writer_bell(entry),
        }
    }

    /// Sleeps until the bell is rung or the wait is over, unless `has_news` once the bell is armed.
    pub(crate) fn sleep(&self, until: &Until<'_>, has_news: impl FnOnce() -> bool) {
        let bell = self.bell();
        protocol::arm(bell);
        let is_awaited = has_news() || until.is_stopped() || self.is_called();
        if !is_awaited {
            sleep_on(bell, until.deadline);
        }
        bell.set(0);
    }
}

/// Tells a sleeper that there is news, after the news was stored.
pub(crate) fn ring(bell: &Flag) {
    protocol::announce();
    if protocol::is_asleep(bell) {
        wake(bell);
    }
}

/// Wakes whoever sleeps on the bell.
#[cold]
pub(crate) fn wake(bell: &Flag) {
    // It fails only for an address that is not mapped, and this one is.
    let woken = futex::wake(bell.as_futex(), futex::Flags::empty(), u32::MAX >> 1);
    debug_assert!(woken.is_ok(), "the bell is mapped");
}

fn sleep_on(bell: &Flag, deadline: Option<Instant>) {
    let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = rest.and_then(|rest| Timespec::try_from(rest).ok());
    // Woken, interrupted, timed out, rung before it slept: the caller looks around in each case.
    let slept = futex::wait(bell.as_futex(), futex::Flags::empty(), 1, timeout.as_ref());
    debug_assert!(!matches!(slept, Err(Errno::FAULT | Errno::INVAL)), "the bell is mapped");
}

/// How long a wait spins before it sleeps. A wake across cores costs about 20 µs: a shorter wait is better spun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// So long at most.
    For(Duration),
    /// Never sleeps: for jobs with a core of their own.
    Busy,
}

impl Default for Spin {
    fn default() -> Self {
        Self::For(Duration::from_micros(50))
    }
}

/// One spin.
#[derive(Debug)]
pub(crate) struct Spinning {
    backoff: Backoff,
    spin: Spin,
    begin: Instant,
}

impl Spinning {
    pub(crate) fn new(spin: Spin) -> Self {
        Self { backoff: Backoff::new(), spin, begin: Instant::now() }
    }

    /// Lets a moment pass; `false`: spun long enough, sleep.
    pub(crate) fn turn(&self) -> bool {
        match self.spin {
            Spin::Busy => {
                std::hint::spin_loop();
                true
            }
            Spin::For(longest) => {
                self.backoff.snooze();
                self.begin.elapsed() < longest
            }
        }
    }
}
