//! Who subscribes to what: the topic table as words, and the matching of topics to reader masks.
//!
//! ```text
//!   word 0       words in use
//!   1 + 3r       reader entry r: the table version at which it joined (kept after it left)
//!   2 + 3r                       0 inactive, 1 lossless, 2 latest
//!   3 + 3r                       its topics: byte offset (high half) and length (low half) in the text
//!   193 …        text: [length, 2 bytes][topic] …
//! ```
//! A subscription matches the topic itself and what continues it after a dot; the empty one matches all.
//! Invariant: decoding takes any words without a panic; what makes no sense is an entry without topics.

use crate::layout::{READERS, TABLE_WORDS};
use crate::maps::ControlMap;
use crate::protocol::Versioned;
use crate::record::halves;
use std::hash::{BuildHasher, Hasher};

const TEXT: usize = 1 + 3 * READERS;

/// How a reader wants to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every record; the writer waits for its acknowledgement.
    Lossless,
    /// The newest record; it holds up nobody, and what it skips is counted.
    Latest,
}

/// What the table says about one reader entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscriber {
    /// The table version at which it joined; rises with every reader of the entry.
    pub(crate) since: u64,
    /// `None`: inactive.
    pub(crate) policy: Option<Policy>,
    pub(crate) topics: Vec<String>,
}

/// The topic table of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) version: u64,
    pub(crate) entries: Vec<Subscriber>,
}

impl Default for Table {
    fn default() -> Self {
        Self { version: 0, entries: vec![Subscriber::default(); READERS] }
    }
}

impl Table {
    /// The table in force.
    pub(crate) fn load(control: &ControlMap) -> Self {
        let mut words = Vec::new();
        let used = |first: u64| usize::try_from(first).unwrap_or(TABLE_WORDS).max(TEXT);
        loop {
            if let Some(version) = control.table().read(used, &mut words) {
                return Self::decode(version, &words);
            }
            std::hint::spin_loop();
        }
    }

    /// Puts the table in force; `None` if its topics are too long.
    pub(crate) fn store(&self, shared: Versioned<'_>) -> Option<()> {
        shared.write(self.version, &encode(&self.entries)?);
        Some(())
    }

    fn decode(version: u64, words: &[u64]) -> Self {
        let text: Vec<u8> = words.iter().skip(TEXT).flat_map(|word| word.to_le_bytes()).collect();
        let entry = |r: usize| {
            let word = |i: usize| words.get(1 + 3 * r + i).copied().unwrap_or(0);
            let policy = match word(1) {
                1 => Some(Policy::Lossless),
                2 => Some(Policy::Latest),
                _ => None,
            };
            Subscriber { since: word(0), policy, topics: decode_topics(&text, word(2)) }
        };
        Self { version, entries: (0..READERS).map(entry).collect() }
    }

    /// The bits of the active readers that `wanted` picks.
    pub(crate) fn mask_of(&self, wanted: impl Fn(&Subscriber) -> bool) -> u64 {
        let active = self.entries.iter().enumerate().filter(|(_, entry)| entry.policy.is_some() && wanted(entry));
        active.fold(0, |mask, (r, _)| mask | 1 << r)
    }

    /// The bits of the active readers that subscribe to one of the topics.
    pub(crate) fn readers_of<T: AsRef<str>>(&self, topics: &[T]) -> u64 {
        self.mask_of(|entry| {
            entry.topics.iter().any(|subscription| topics.iter().any(|topic| matches(subscription, topic.as_ref())))
        })
    }
}

/// Whether `subscription` covers `topic`: equal, or continued after a dot, or empty.
#[must_use]
pub fn matches(subscription: &str, topic: &str) -> bool {
    subscription.is_empty()
        || topic.strip_prefix(subscription).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn encode(entries: &[Subscriber]) -> Option<Vec<u64>> {
    let mut text = Vec::new();
    let mut words = vec![0; TEXT];
    for (r, entry) in entries.iter().enumerate() {
        let begin = text.len();
        for topic in &entry.topics {
            text.extend(u16::try_from(topic.len()).ok()?.to_le_bytes());
            text.extend(topic.as_bytes());
        }
        words[1 + 3 * r] = entry.since;
        words[2 + 3 * r] = match entry.policy {
            None => 0,
            Some(Policy::Lossless) => 1,
            Some(Policy::Latest) => 2,
        };
        words[3 + 3 * r] = (begin as u64) << 32 | (text.len() - begin) as u64;
    }
    text.resize(text.len().next_multiple_of(8), 0);
    words.extend(text.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("chunks of eight"))));
    words[0] = words.len() as u64;
    (words.len() <= TABLE_WORDS).then_some(words)
}

fn decode_topics(text: &[u8], place: u64) -> Vec<String> {
    let [begin, length] = halves(place).map(|half| half as usize);
    let mut rest = begin.checked_add(length).and_then(|end| text.get(begin..end)).unwrap_or_default();
    let mut topics = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let Some((topic, next)) = tail.split_at_checked(usize::from(u16::from_le_bytes(*head))) else { break };
        topics.push(String::from_utf8_lossy(topic).into_owned());
        rest = next;
    }
    topics
}

/// Masks of the topic sets seen last, for one table version. Its memory is bounded by the number of slots.
#[derive(Debug)]
pub(crate) struct MaskCache {
    slots: Vec<Option<Slot>>,
    last: usize,
    hasher: std::hash::RandomState,
}

#[derive(Debug)]
struct Slot {
    topics: Vec<String>,
    mask: u64,
}

impl MaskCache {
    const SLOTS: usize = 256;

    pub(crate) fn new() -> Self {
        let slots = std::iter::repeat_with(|| None).take(Self::SLOTS).collect();
        Self { slots, last: 0, hasher: std::hash::RandomState::new() }
    }

    /// Forgets all: the table has a new version.
    pub(crate) fn clear(&mut self) {
        self.slots.fill_with(|| None);
    }

    /// The mask of `topics` in `table`, which is the one that all slots were filled from.
    pub(crate) fn mask<T: AsRef<str>>(&mut self, topics: &[T], table: &Table) -> u64 {
        if let Some(mask) = self.slots[self.last].as_ref().and_then(|slot| slot.mask_if(topics)) {
            return mask;
        }
        self.last = self.slot_of(topics);
        let slot = &mut self.slots[self.last];
        if let Some(mask) = slot.as_ref().and_then(|slot| slot.mask_if(topics)) {
            return mask;
        }
        let mask = table.readers_of(topics);
        *slot = Some(Slot { topics: topics.iter().map(|topic| topic.as_ref().to_owned()).collect(), mask });
        mask
    }

    fn slot_of<T: AsRef<str>>(&self, topics: &[T]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        for topic in topics {
            hasher.write(topic.as_ref().as_bytes());
            hasher.write_u8(0xff);
        }
        usize::try_from(hasher.finish() % Self::SLOTS as u64).expect("below the number of slots")
    }
}

impl Slot {
    fn mask_if<T: AsRef<str>>(&self, topics: &[T]) -> Option<u64> {
        let is_same = self.topics.len() == topics.len() && self.topics.iter().zip(topics).all(|(a, b)| a == b.as_ref());
        is_same.then_some(self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(since: u64, policy: Policy, topics: &[&str]) -> Subscriber {
        Subscriber { since, policy: Some(policy), topics: topics.iter().map(|&t| t.to_owned()).collect() }
    }

    fn table() -> Table {
        let mut table = Table::default();
        table.entries[0] = subscriber(1, Policy::Lossless, &["store.csv", "store.raw"]);
        table.entries[63] = subscriber(2, Policy::Latest, &[""]);
        table
    }

    #[test]
    fn a_subscription_matches_itself_and_what_follows_a_dot() {
        for (subscription, topic, expected) in [
            ("store.lab1", "store.lab1", true),
            ("store.lab1", "store.lab1.csv", true),
            ("store.lab1", "store.lab10", false),
            ("store.lab1", "store", false),
            ("", "anything", true),
        ] {
            assert_eq!(matches(subscription, topic), expected, "{subscription} / {topic}");
        }
    }

    #[test]
    fn a_table_comes_back_from_its_words() {
        let table = table();

        let words = encode(&table.entries).unwrap();

        assert_eq!(Table::decode(0, &words), table);
        assert_eq!(table.readers_of(&["store.csv.x", "store.raw"]), 1 | 1 << 63);
        assert_eq!(table.readers_of(&["other"]), 1 << 63);
    }

    #[test]
    fn a_table_that_is_too_long_is_refused() {
        let long = "x".repeat(60_000);

        assert!(encode(&[subscriber(1, Policy::Latest, &[&long])]).is_some());
        assert!(encode(&[subscriber(1, Policy::Latest, &[&long, &long])]).is_none());
    }

    #[test]
    fn the_cache_answers_like_the_table_and_does_not_grow() {
        let table = table();
        let mut cache = MaskCache::new();

        for i in 0..10_000 {
            let topics = [format!("store.csv.{i}"), format!("tag.{}", i % 7)];
            assert_eq!(cache.mask(&topics, &table), 1 | 1 << 63);
            assert_eq!(cache.mask(&topics, &table), 1 | 1 << 63);
        }

        assert_eq!(cache.slots.len(), MaskCache::SLOTS);
    }

    proptest::proptest! {
        #[test]
        fn any_words_decode_without_a_panic(words in proptest::collection::vec(proptest::num::u64::ANY, 0..400)) {
            Table::decode(1, &words);
        }
    }
}
