//! What a lossless reader is done with: acknowledgements come in any order and from any thread, the shared word rises
//! with the unbroken front.
//!
//! ```text
//!   acked ▼
//!   ██████▓░▓▓░░────        ▓ done, but something before it is not    ░ handed out    ─ not walked yet
//! ```
//! Invariant: `acked` only rises, and passes no record that was handed out and not acknowledged.

use crate::position::{distance, is_before};

#[derive(Debug)]
pub(crate) struct Front {
    acked: u64,
    /// One bit a place: done, ahead of `acked`.
    done: Vec<u64>,
    places: u64,
}

impl Front {
    pub(crate) fn new(acked: u64, places: u64) -> Self {
        let words = usize::try_from(places.div_ceil(64)).expect("a region has at most 2^20 places");
        Self { acked, done: vec![0; words], places }
    }

    /// The records `from..to` are done; the new front if it moved.
    pub(crate) fn finish(&mut self, from: u64, to: u64) -> Option<u64> {
        let before = self.acked;
        if distance(self.acked, to) > self.places {
            // So far ahead that nothing of ours can be open: what lies between was reclaimed.
            self.done.fill(0);
            self.acked = to;
        } else if from == self.acked {
            self.acked = to;
        } else {
            for position in crate::position::range(from, to) {
                if !is_before(position, self.acked) {
                    self.mark(position, true);
                }
            }
        }
        while self.is_marked(self.acked) {
            self.mark(self.acked, false);
            self.acked = self.acked.wrapping_add(1);
        }
        (self.acked != before).then_some(self.acked)
    }

    fn place(&self, position: u64) -> (usize, u32) {
        let place = position & (self.places - 1);
        let word = usize::try_from(place / 64).expect("below the number of words");
        (word, u32::try_from(place % 64).expect("below 64"))
    }

    fn is_marked(&self, position: u64) -> bool {
        let (word, bit) = self.place(position);
        self.done[word] >> bit & 1 == 1
    }

    fn mark(&mut self, position: u64, is_done: bool) {
        let (word, bit) = self.place(position);
        self.done[word] = self.done[word] & !(1 << bit) | u64::from(is_done) << bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_front_waits_for_the_oldest() {
        let mut front = Front::new(u64::MAX - 1, 8);

        assert_eq!(front.finish(u64::MAX, 0), None);
        assert_eq!(front.finish(1, 2), None);
        assert_eq!(front.finish(u64::MAX - 1, u64::MAX), Some(0));
        assert_eq!(front.finish(0, 1), Some(2));
    }

    proptest! {
        #[test]
        fn any_order_ends_at_the_same_front(order in Just((0..64u64).collect::<Vec<_>>()).prop_shuffle(), start: u64) {
            let mut front = Front::new(start, 64);
            let mut done = std::collections::HashSet::new();
            for i in order {
                done.insert(i);
                let expected = (0..64).take_while(|i| done.contains(i)).count() as u64;
                let at = start.wrapping_add(i);
                front.finish(at, at.wrapping_add(1));
                prop_assert_eq!(front.acked, start.wrapping_add(expected));
            }
        }
    }
}
