//! The one stop of a job: whatever the job waits for, it ends.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use enrgdaq_ring::Waker;

use crate::os::Wake;

/// What a process needs for its last steps when the job has ended: among them is a look whether the supervisor lives.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// By what a stop came, and so how much time it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A message: SIGTERM comes after `stop_timeout_seconds`, SIGKILL after as long again.
    Message,
    /// SIGTERM: SIGKILL comes after `stop_timeout_seconds`.
    Signal,
}

impl Cause {
    fn timeouts(self) -> u32 {
        match self {
            Self::Message => 2,
            Self::Signal => 1,
        }
    }
}

/// Rung once, for good: ends waits for time and for the bus by a bell, those for the ring by its own means.
#[derive(Debug, Clone)]
pub(super) struct StopBell {
    bell: Wake,
    ring: enrgdaq_ring::Stop,
    stop_timeout: Duration,
    rung: Arc<OnceLock<(Instant, Cause)>>,
}

impl StopBell {
    /// `stop_timeout`: the one of the job.
    pub(super) fn new(stop_timeout: Duration) -> std::io::Result<Self> {
        let rung = Arc::default();
        Ok(Self { bell: Wake::new()?, ring: enrgdaq_ring::Stop::new(), stop_timeout, rung })
    }

    /// Rings; again does no harm, and changes nothing.
    pub(super) fn ring(&self, cause: Cause) {
        self.rung.get_or_init(|| (Instant::now(), cause));
        self.bell.ring();
        self.ring.set();
    }

    /// When this share of the time between the stop and SIGKILL, without the last steps, will have passed; `None` before the
    /// stop.
    pub(super) fn share_passed_at(&self, share: f64) -> Option<Instant> {
        let (at, cause) = self.rung.get()?;
        let whole = self.stop_timeout * cause.timeouts();
        Some(*at + (whole - LAST_STEPS.min(whole / 4)).mul_f64(share))
    }

    /// Also ends the waits of a reader or writer of the ring.
    pub(super) fn wakes(&self, waker: Waker) {
        self.ring.wakes(waker);
    }

    pub(super) fn has_rung(&self) -> bool {
        self.bell.has_rung()
    }

    pub(super) fn bell(&self) -> &Wake {
        &self.bell
    }

    pub(super) fn of_ring(&self) -> &enrgdaq_ring::Stop {
        &self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_by_sigterm_leaves_half_the_time_of_one_by_message() {
        let timeout = Duration::from_secs(10);
        for (cause, seconds) in [(Cause::Message, 20), (Cause::Signal, 10)] {
            let bell = StopBell::new(timeout).unwrap();
            assert_eq!(bell.share_passed_at(1.0), None);
            let before = Instant::now();

            bell.ring(cause);
            bell.ring(Cause::Signal);

            let left = bell.share_passed_at(1.0).unwrap().duration_since(before);
            assert!((seconds - 1..seconds + 5).contains(&left.as_secs()), "{cause:?}: {left:?}");
        }
    }
}
