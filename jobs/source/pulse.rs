//! An even beat: work done once an interval, without drift, and without catching up what was missed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use enrgdaq::job::Context;

/// Beats once an interval.
#[derive(Debug)]
pub(super) struct Pulse {
    next: Instant,
    interval: Duration,
}

impl Pulse {
    /// The first beat comes at once.
    pub(super) fn every(interval: Duration) -> Self {
        Self { next: Instant::now(), interval }
    }

    /// How long it is until the next beat.
    pub(super) fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Waits for the next beat; `false` when the job is to end.
    pub(super) fn wait(&mut self, cx: &Context) -> bool {
        let goes_on = cx.sleep_until(self.next);
        // After a pause (a suspended PC, a slow store) the beat goes on from now.
        self.next = (self.next + self.interval).max(Instant::now());
        goes_on
    }
}

/// Milliseconds since the Unix epoch: the column `timestamp`.
pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
