//! Whether the program is ready: several threads may see it, one waits for it.

use parking_lot::{Condvar, Mutex};

/// What the one who waits is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Passage {
    /// Not yet.
    #[default]
    Closed,
    /// The program is ready.
    Open,
    /// It has ended.
    Ended,
    /// The job is to stop.
    Stopping,
}

/// A gate; what is told first counts, but for [`Passage::Open`], which counts in any case.
#[derive(Debug, Default)]
pub(super) struct Gate {
    passage: Mutex<Passage>,
    news: Condvar,
}

impl Gate {
    /// The program is ready.
    pub(super) fn open(&self) {
        self.set(|_| Passage::Open);
    }

    /// The program has ended.
    pub(super) fn end(&self) {
        self.set(|passage| if passage == Passage::Closed { Passage::Ended } else { passage });
    }

    /// The job is to stop.
    pub(super) fn stop(&self) {
        self.set(|passage| if passage == Passage::Closed { Passage::Stopping } else { passage });
    }

    fn set(&self, change: impl FnOnce(Passage) -> Passage) {
        let mut passage = self.passage.lock();
        *passage = change(*passage);
        self.news.notify_all();
    }

    pub(super) fn now(&self) -> Passage {
        *self.passage.lock()
    }

    /// Waits until it is open, or need not be waited for any more.
    pub(super) fn wait(&self) -> Passage {
        let mut passage = self.passage.lock();
        while *passage == Passage::Closed {
            self.news.wait(&mut passage);
        }
        *passage
    }
}
