//! The words that the benchmark sends: each follows from its stream, the number of its message and its place in it, so
//! that a reader can tell for every single word whether it is right.
//!
//! ```text
//! word 0        0x3ff ‖ number of the message, 52 bits
//! word i > 0    0x3ff ‖ upper 52 bits of (mix(stream, number) + i · odd constant)
//! ```
//!
//! As a float a word is finite and lies in [1, 2). Both directions are sums and shifts of integers without a branch, which
//! the compiler turns into vector instructions.

/// The upper twelve bits of 1.0.
const ONE: u64 = 0x3ff << 52;

/// Numbers of messages are smaller.
pub(crate) const NUMBERS: u64 = 1 << 52;

/// 2⁶⁴ divided by the golden ratio, odd: neighbours have nothing in common.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The words of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern {
    seed: u64,
}

/// The words of one message, one after the other; its pieces are filled or checked in their order.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    first: u64,
    base: u64,
    at: u64,
}

impl Pattern {
    /// The pattern of the stream of that name: FNV-1a of it.
    pub(crate) fn of(stream: &str) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self { seed: stream.bytes().fold(0xcbf2_9ce4_8422_2325, hash) }
    }

    /// The words of a message.
    pub(crate) fn message(self, number: u64) -> Words {
        Words { first: ONE | (number & (NUMBERS - 1)), base: mix(self.seed ^ mix(number)), at: 0 }
    }
}

/// The number that a word 0 carries; `None` if it cannot be one.
pub(crate) fn number(word: u64) -> Option<u64> {
    (word & ONE == ONE && word >> 63 == 0).then_some(word & (NUMBERS - 1))
}

/// Spreads every bit over the whole (the finaliser of MurmurHash3).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

impl Words {
    /// Fills floats with the next words.
    pub(crate) fn fill_floats(&mut self, floats: &mut [f64]) {
        let (first, value) = self.advance(floats.len());
        with_vectors(|| {
            for (slot, value) in floats.iter_mut().zip(values(value)) {
                *slot = f64::from_bits(value);
            }
        });
        if let (Some(word), Some(slot)) = (first, floats.first_mut()) {
            *slot = f64::from_bits(word);
        }
    }

    /// Fills bytes with the next words, little-endian; the last bytes that make no word are zero.
    pub(crate) fn fill_bytes(&mut self, bytes: &mut [u8]) {
        let (words, tail) = bytes.as_chunks_mut::<8>();
        tail.fill(0);
        let (first, value) = self.advance(words.len());
        with_vectors(|| {
            for (slot, value) in words.iter_mut().zip(values(value)) {
                *slot = value.to_le_bytes();
            }
        });
        if let (Some(word), Some(slot)) = (first, words.first_mut()) {
            *slot = word.to_le_bytes();
        }
    }

    /// How many floats are not the next words.
    pub(crate) fn wrong_floats(&mut self, floats: &[f64]) -> u64 {
        let (first, value) = self.advance(floats.len());
        wrong(floats, first, value, |float| float.to_bits())
    }

    /// How many words of these bytes are not the next words; a tail that is not zero counts as one.
    pub(crate) fn wrong_bytes(&mut self, bytes: &[u8]) -> u64 {
        let (words, tail) = bytes.as_chunks::<8>();
        let (first, value) = self.advance(words.len());
        wrong(words, first, value, |word| u64::from_le_bytes(*word)) + u64::from(tail.iter().any(|&byte| byte != 0))
    }

    /// Passes over so many words: word 0 if it is among them, and the value that the first of them comes from.
    fn advance(&mut self, words: usize) -> (Option<u64>, u64) {
        let first = (self.at == 0).then_some(self.first);
        let value = self.base.wrapping_add(self.at.wrapping_mul(STEP));
        self.at = self.at.wrapping_add(words as u64);
        (first, value)
    }
}

/// Runs a loop as the compiler makes it for the vector registers of this processor: it alone may only count on those that
/// every processor has.
fn with_vectors<T>(work: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(work)
}

/// The words from a value on, as if none of them were word 0.
fn values(mut value: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        let word = ONE | value >> 12;
        value = value.wrapping_add(STEP);
        word
    })
}

/// How many of these are not the words from `value` on, or, the first of them, not `first`.
fn wrong<T>(given: &[T], first: Option<u64>, value: u64, bits: impl Fn(&T) -> u64) -> u64 {
    let (head, rest, value) = match (first, given.split_first()) {
        (Some(word), Some((head, rest))) => (u64::from(bits(head) != word), rest, value.wrapping_add(STEP)),
        _ => (0, given, value),
    };
    let difference =
        with_vectors(|| rest.iter().zip(values(value)).fold(0, |all, (given, word)| all | (bits(given) ^ word)));
    if difference == 0 {
        return head;
    }
    head + rest.iter().zip(values(value)).map(|(given, word)| u64::from(bits(given) != word)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(words: usize) -> (Vec<f64>, Vec<u8>) {
        let pattern = Pattern::of("a stream");
        let (mut floats, mut bytes) = (vec![0.0; words], vec![0xff; 8 * words + 3]);
        pattern.message(77).fill_floats(&mut floats);
        pattern.message(77).fill_bytes(&mut bytes);
        (floats, bytes)
    }

    #[test]
    fn floats_and_bytes_are_the_same_words_in_one_and_two() {
        let (floats, bytes) = message(1000);

        let of_floats: Vec<u8> = floats.iter().flat_map(|float| float.to_bits().to_le_bytes()).collect();
        assert_eq!(of_floats, bytes[..8000]);
        assert_eq!(bytes[8000..], [0; 3]);
        assert!(floats.iter().all(|float| (1.0..2.0).contains(float)));
        assert_eq!(number(floats[0].to_bits()), Some(77));
    }

    #[test]
    fn what_was_filled_in_pieces_is_right_as_a_whole() {
        let (mut floats, pattern) = (vec![0.0; 100], Pattern::of("s"));
        let mut words = pattern.message(5);
        let (a, b) = floats.split_at_mut(33);
        words.fill_floats(a);
        words.fill_floats(b);

        assert_eq!(pattern.message(5).wrong_floats(&floats), 0);
        let mut words = pattern.message(5);
        assert_eq!(words.wrong_floats(&floats[..1]) + words.wrong_floats(&floats[1..]), 0);
    }

    #[test]
    fn every_single_changed_bit_is_one_wrong_word() {
        let (mut floats, mut bytes) = message(40);
        let pattern = Pattern::of("a stream");
        for bit in 0..40 * 64 {
            let flip = 1 << (bit % 64);
            floats[bit / 64] = f64::from_bits(floats[bit / 64].to_bits() ^ flip);
            assert_eq!(pattern.message(77).wrong_floats(&floats), 1, "bit {bit}");
            floats[bit / 64] = f64::from_bits(floats[bit / 64].to_bits() ^ flip);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(pattern.message(77).wrong_bytes(&bytes), 1, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(pattern.message(77).wrong_bytes(&bytes), 1, "the tail");
    }

    #[test]
    fn another_message_or_stream_has_no_word_in_common() {
        let (floats, _) = message(1000);

        assert_eq!(Pattern::of("a stream").message(78).wrong_floats(&floats), 1000);
        assert_eq!(Pattern::of("another").message(77).wrong_floats(&floats), 999, "word 0 is the number alone");
    }

    #[test]
    fn a_word_that_is_no_number_is_known() {
        assert_eq!(number(ONE | 5), Some(5));
        assert_eq!(number(ONE | 5 | 1 << 63), None);
        assert_eq!(number(5), None);
    }
}
