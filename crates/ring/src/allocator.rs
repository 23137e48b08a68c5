//! The writer's own memory of which bytes of its data area are free. First fit at the lowest address: what is in use
//! stays together, and in the cache.
//!
//! ```text
//!   ▓▓▓▓▓▓▓▓░░░░░▓▓▓▓▓▓▓▓░░░░░░░░░░░░░░░     free: sorted, never touching, never empty
//! ```
//! Invariant: no two ranges that were handed out and not given back overlap. Nothing here is shared.

use crate::record::Bytes;

#[derive(Debug)]
pub(crate) struct Allocator {
    /// Free ranges by rising offset.
    free: Vec<Bytes>,
    free_units: u64,
    all_units: u32,
}

impl Allocator {
    /// A data area of `units`, all free; never allocates memory again while it has at most `ranges` free ranges.
    pub(crate) fn new(units: u32, ranges: usize) -> Self {
        let mut free = Vec::with_capacity(ranges);
        free.push(Bytes { offset: 0, units });
        Self { free, free_units: u64::from(units), all_units: units }
    }

    /// Takes the lowest range that is long enough.
    pub(crate) fn take(&mut self, units: u32) -> Option<Bytes> {
        let index = self.free.iter().position(|range| range.units >= units)?;
        let range = &mut self.free[index];
        let taken = Bytes { offset: range.offset, units };
        if range.units == units {
            self.free.remove(index);
        } else {
            range.offset += units;
            range.units -= units;
        }
        self.free_units -= u64::from(units);
        Some(taken)
    }

    /// Takes a range that a predecessor handed out; `false` if it is not all free.
    pub(crate) fn take_exactly(&mut self, wanted: Bytes) -> bool {
        let Some(index) =
            self.free.iter().position(|range| range.offset <= wanted.offset && wanted.end() <= range.end())
        else {
            return false;
        };
        let range = self.free.remove(index);
        let before = Bytes { offset: range.offset, units: wanted.offset - range.offset };
        let after_start = wanted.offset + wanted.units;
        let after = Bytes { offset: after_start, units: range.offset + range.units - after_start };
        let parts = [before, after].into_iter().filter(|part| part.units > 0);
        self.free.splice(index..index, parts);
        self.free_units -= u64::from(wanted.units);
        true
    }

    /// Gives a range back, joined with its free neighbours.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        self.free_units += u64::from(bytes.units);
        let index = self.free.partition_point(|range| range.offset < bytes.offset);
        let joins_before = index > 0 && self.free[index - 1].end() == u64::from(bytes.offset);
        let joins_after = self.free.get(index).is_some_and(|after| bytes.end() == u64::from(after.offset));
        match (joins_before, joins_after) {
            (true, true) => {
                let after = self.free.remove(index);
                self.free[index - 1].units += bytes.units + after.units;
            }
            (true, false) => self.free[index - 1].units += bytes.units,
            (false, true) => {
                self.free[index].offset = bytes.offset;
                self.free[index].units += bytes.units;
            }
            (false, false) => self.free.insert(index, bytes),
        }
    }

    pub(crate) fn used_units(&self) -> u64 {
        u64::from(self.all_units) - self.free_units
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lowest_fit_is_taken() {
        let mut allocator = Allocator::new(100, 8);
        let [a, b, c] = [10, 20, 30].map(|units| allocator.take(units).unwrap());

        allocator.give_back(a);
        allocator.give_back(c);

        assert_eq!(allocator.take(5), Some(Bytes { offset: 0, units: 5 }));
        assert_eq!(allocator.take(6), Some(Bytes { offset: b.offset + 20, units: 6 }));
        assert_eq!(allocator.take(65), None);
    }

    #[test]
    fn a_successor_takes_what_was_in_use_once() {
        let mut allocator = Allocator::new(100, 8);

        assert!(allocator.take_exactly(Bytes { offset: 10, units: 10 }));
        assert!(!allocator.take_exactly(Bytes { offset: 19, units: 2 }));
        assert!(allocator.take_exactly(Bytes { offset: 90, units: 10 }));

        assert_eq!(allocator.used_units(), 20);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_come_back(steps in prop::collection::vec((1u32..40, any::<prop::sample::Index>()), 1..200)) {
            let mut allocator = Allocator::new(256, 8);
            let mut held: Vec<Bytes> = Vec::new();
            for (units, pick) in steps {
                if let Some(bytes) = allocator.take(units) {
                    prop_assert!(bytes.end() <= 256);
                    prop_assert!(held.iter().all(|other| bytes.end() <= other.offset.into() || other.end() <= bytes.offset.into()));
                    held.push(bytes);
                } else if !held.is_empty() {
                    allocator.give_back(held.swap_remove(pick.index(held.len())));
                }
                prop_assert_eq!(allocator.used_units(), held.iter().map(|b| u64::from(b.units)).sum::<u64>());
            }
            for bytes in held {
                allocator.give_back(bytes);
            }
            prop_assert_eq!(allocator.free, vec![Bytes { offset: 0, units: 256 }]);
        }
    }
}
