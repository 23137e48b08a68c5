//! When to tell people that writing does not work, and that it works again.
//!
//! Invariant: an outage is told once at its beginning and once at its end, and writing that works now and then is one
//! outage, not many.

use std::time::{Duration, Instant};

/// So long writing must have worked before people are told.
const QUIET: Duration = Duration::from_secs(5);

/// An outage, if there is one.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failed_at: Option<Instant>,
}

impl Outage {
    /// Writing failed; `true` if it begins to.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failed_at.replace(now).is_none()
    }

    /// Writing works; `true` once when an outage has come to its end, at the job's end without further waiting.
    pub(super) fn is_over(&mut self, now: Instant, is_ending: bool) -> bool {
        self.failed_at.take_if(|failed_at| is_ending || now >= *failed_at + QUIET).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_its_beginning_and_at_its_end() {
        let start = Instant::now();
        let mut outage = Outage::default();

        assert!(!outage.is_over(start, false));
        assert!(outage.failed(start));
        assert!(!outage.failed(start));
        assert!(!outage.is_over(start, false), "it may fail again at once");
        assert!(!outage.failed(start + QUIET));
        assert!(!outage.is_over(start + QUIET, false));
        assert!(outage.is_over(start + 2 * QUIET, false));
        assert!(!outage.is_over(start + 2 * QUIET, false));
        assert!(outage.failed(start + 3 * QUIET));
        assert!(outage.is_over(start + 3 * QUIET, true));
    }
}
