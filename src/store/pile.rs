//! Messages that are held together, and acknowledged together.

use std::time::{Duration, Instant};

use crate::job::Delivery;

/// So many are enough to do something with them.
pub(super) const MAX_MESSAGES: usize = 4096;

/// Messages in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Pile {
    deliveries: Vec<Delivery>,
    bytes: u64,
    since: Option<Instant>,
}

impl Pile {
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.size();
        self.since.get_or_insert_with(Instant::now);
        self.deliveries.push(delivery);
    }

    /// All of them; none stay.
    pub(super) fn take(&mut self) -> Vec<Delivery> {
        std::mem::take(self).deliveries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the oldest has been here.
    pub(super) fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
