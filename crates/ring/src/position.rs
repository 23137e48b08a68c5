//! Positions of records: they rise for ever, wrap at 2^64 and are compared by distance.
//!
//! ```text
//!   reclaimed ≤ acked ≤ head            (as distances on the circle)
//!   ──▓▓▓▓▓▓▓▓░░░░░░░░░░────────▶       ▓ acknowledged, not yet reused   ░ waiting for this reader
//! ```
//! Two positions that are compared are less than 2^63 apart: a region has at most 2^20 live records.

/// Whether `a` comes before `b`.
#[inline]
#[must_use]
pub(crate) const fn is_before(a: u64, b: u64) -> bool {
    let distance = b.wrapping_sub(a);
    distance != 0 && distance < 1 << 63
}

/// The later one of the two.
#[inline]
#[must_use]
pub(crate) const fn later(a: u64, b: u64) -> u64 {
    if is_before(a, b) { b } else { a }
}

/// How many records lie in `from..to`; 0 if `to` comes first.
#[inline]
#[must_use]
pub(crate) const fn distance(from: u64, to: u64) -> u64 {
    if is_before(from, to) { to.wrapping_sub(from) } else { 0 }
}

/// The positions `from..to`, across the wrap.
pub(crate) fn range(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (0..distance(from, to)).map(move |i| from.wrapping_add(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        assert!(is_before(u64::MAX, 0));
        assert!(!is_before(0, u64::MAX));
        assert!(is_before(u64::from(u32::MAX), 1 << 32));
        assert!(!is_before(7, 7));
        assert_eq!(later(u64::MAX, 3), 3);
        assert_eq!(distance(u64::MAX - 1, 2), 4);
        assert_eq!(distance(2, u64::MAX), 0);
        assert_eq!(range(u64::MAX, 2).collect::<Vec<_>>(), [u64::MAX, 0, 1]);
    }
}
