//! Which numbers of a stream have come: each is to come once, in order.
//!
//! Invariant: what is lost is what was passed over and has not come later. What is remembered is bounded: of the oldest
//! gaps it is then not known any more what came late.

use std::collections::BTreeMap;

/// Gaps that are remembered.
const MAX_GAPS: usize = 4096;

/// The numbers of one stream.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// `None` until the first has come: a store that starts anew goes on where it finds the stream.
    next: Option<u64>,
    /// First number that is missing → the one behind the last.
    gaps: BTreeMap<u64, u64>,
}

/// What is wrong with the order in which numbers came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Passed over, and not come later.
    pub(super) lost: u64,
    /// Passed over, and come later.
    pub(super) swapped: u64,
    /// Come before.
    pub(super) repeated: u64,
}

impl Numbers {
    /// The number that is to come next.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// So many numbers came, one after the other. `faults` are those of all streams so far; what comes late is lost no
    /// more.
    pub(super) fn take(&mut self, first: u64, count: u64, faults: &mut Faults) {
        let end = first.saturating_add(count);
        let next = *self.next.get_or_insert(first);
        if first > next {
            self.pass_over(next, first);
            faults.lost += first - next;
        }
        for number in first..end.min(next) {
            if self.fill(number) {
                faults.lost -= 1;
                faults.swapped += 1;
            } else {
                faults.repeated += 1;
            }
        }
        self.next = Some(next.max(end));
    }

    fn pass_over(&mut self, first: u64, end: u64) {
        self.gaps.insert(first, end);
        if self.gaps.len() > MAX_GAPS {
            self.gaps.pop_first();
        }
    }

    /// `false` if the number was not missing.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&first, &end)) = self.gaps.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        self.gaps.remove(&first);
        for (first, end) in [(first, number), (number + 1, end)] {
            if first < end {
                self.gaps.insert(first, end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(numbers: &[u64]) -> [u64; 3] {
        let (mut seen, mut faults) = (Numbers::default(), Faults::default());
        numbers.iter().for_each(|&number| seen.take(number, 1, &mut faults));
        [faults.lost, faults.swapped, faults.repeated]
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        for (numbers, expected) in [
            (&[0, 1, 2, 3][..], [0, 0, 0]),
            (&[0, 2, 3], [1, 0, 0]),
            (&[0, 2, 1, 3], [0, 1, 0]),
            (&[0, 1, 1, 2], [0, 0, 1]),
            (&[0, 5, 2, 3, 3, 1, 4, 6], [0, 4, 1]),
            (&[0, 5, 2, 6], [3, 1, 0]),
            (&[7, 8, 9], [0, 0, 0]),
            (&[7, 6, 8], [0, 0, 1]),
        ] {
            assert_eq!(faults_of(numbers), expected, "{numbers:?}");
        }
    }

    #[test]
    fn a_run_is_as_good_as_its_numbers_one_by_one() {
        let (mut seen, mut faults) = (Numbers::default(), Faults::default());
        for (first, count) in [(0, 10), (20, 5), (8, 14), (25, 1)] {
            seen.take(first, count, &mut faults);
        }

        assert_eq!(faults, Faults { lost: 0, swapped: 10, repeated: 4 });
        assert_eq!(seen.next(), Some(26));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut seen, mut faults) = (Numbers::default(), Faults::default());
        for number in 0..100_000 {
            seen.take(2 * number, 1, &mut faults);
        }

        assert_eq!(faults.lost, 99_999);
        assert_eq!(seen.gaps.len(), MAX_GAPS);
    }
}
