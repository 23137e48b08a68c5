//! A job's counts, kept in a page that it shares with its supervisor, so that they are exact when it is killed.
//!
//! ```text
//! word 0     magic                                            author of every word but 14: the job
//!      1     sets in use          2  sources in use
//!      3     epoch of the data that the job publishes
//!      4     messages that the job received and refused
//!      5 6   messages and bytes that came on the control plane
//!      7 8   messages and bytes that came by the ring
//!      9 …   13: messages and bytes that went into the ring, unrouted there, dropped there, wanted by outsiders only
//!     14     some job of the supervisor has no place in the ring, and needs copies over the bus; author: the supervisor
//!     15     heartbeats so far           16  progress        17  the job takes messages
//!     18     the job waits for what a job of another supervisor has
//!     24 …   64 sets × 8 words    a set = the topics to which one message goes over the bus
//!            messages, bytes, last seq + 1 on the data plane, dropped, unrouted, text at, text length, 0
//!    536 …   256 sources × 8      a source = a writer from which data came over the bus, by its unique_id
//!            messages, bytes, missing, epoch, last seq + 1, text at, text length, 0
//!   2584 …   text: topics with newlines between, unique ids; padded to words
//! ```
//!
//! Who sent what to whom by the ring stands in the ring itself, as exact.
//!
//! Invariants: an entry's text is whole before the number of entries in use says that it exists; entries are never
//! reused; the reader copies what it reads, then checks it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};

use crate::bus::{Arrival, Tracked};
use crate::message::{MessageId, Plane, Topic};
use crate::os::SharedWords;

/// The size of the page, in bytes.
pub(crate) const TALLY_BYTES: u64 = (WORDS * 8) as u64;

const MAGIC: u64 = u64::from_le_bytes(*b"ENRGTAL2");
const WORDS: usize = 8192;
const SETS_IN_USE: usize = 1;
const SOURCES_IN_USE: usize = 2;
const EPOCH: usize = 3;
const REFUSED: usize = 4;
const CONTROL_MESSAGES: usize = 5;
const CONTROL_BYTES: usize = 6;
const RING_IN_MESSAGES: usize = 7;
const RING_IN_BYTES: usize = 8;
const RING_OUT_MESSAGES: usize = 9;
const RING_OUT_BYTES: usize = 10;
const RING_UNROUTED: usize = 11;
const RING_DROPPED: usize = 12;
const RING_PAST: usize = 13;
const OUTSIDERS: usize = 14;
const BEATS: usize = 15;
const PROGRESS: usize = 16;
const IS_READY: usize = 17;
const IS_HELD: usize = 18;
const SETS: Block = Block { start: 24, count: 64 };
const SOURCES: Block = Block { start: SETS.end(), count: 256 };
const TEXT: usize = SOURCES.end();
const ENTRY: usize = 8;
const TEXT_AT: usize = 5;
const TEXT_LEN: usize = 6;

/// A row of entries.
struct Block {
    start: usize,
    count: usize,
}

impl Block {
    const fn end(&self) -> usize {
        self.start + self.count * ENTRY
    }

    fn entry(&self, n: usize) -> usize {
        self.start + n * ENTRY
    }
}

/// What went to one set of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SetTally {
    /// The topics; empty for the entry that collects what found no place of its own.
    pub(crate) topics: Vec<String>,
    /// Messages published, also those for which nobody was there.
    pub(crate) messages: u64,
    /// Envelope and payloads of the copies that were sent.
    pub(crate) bytes: u64,
    /// Of the newest message that was sent to somebody: its seq, plus one.
    pub(crate) sent_up_to: u64,
    /// Given up: no room until the deadline.
    pub(crate) dropped: u64,
    /// Published while nobody subscribed any of the topics.
    pub(crate) unrouted: u64,
}

/// What came from one writer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceTally {
    /// The writer's unique id; empty for the entry that collects what found no place of its own.
    pub(crate) unique_id: String,
    /// Messages handed to the job.
    pub(crate) messages: u64,
    /// Envelopes and payloads.
    pub(crate) bytes: u64,
    /// Copies that the numbering shows as lost.
    pub(crate) missing: u64,
    /// The writer's epoch, as last seen.
    pub(crate) epoch: u64,
    /// Of the newest message of that epoch: its seq, plus one.
    pub(crate) received_up_to: u64,
}

/// All counts of one start of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TallySnapshot {
    /// What it published.
    pub(crate) sets: Vec<SetTally>,
    /// The epoch of the data that it publishes; 0 before the first message.
    pub(crate) epoch: u64,
    /// The data that it received.
    pub(crate) sources: Vec<SourceTally>,
    /// Messages that it received on the control plane.
    pub(crate) control_messages: u64,
    /// Their bytes.
    pub(crate) control_bytes: u64,
    /// What of it the job refused.
    pub(crate) refused: u64,
    /// What came and went by the ring.
    pub(crate) ring: RingTally,
}

/// What one start of a job did with the ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RingTally {
    /// Messages handed to the job.
    pub(crate) messages_in: u64,
    /// Envelopes and payloads.
    pub(crate) bytes_in: u64,
    /// Messages committed.
    pub(crate) messages_out: u64,
    /// Envelopes and payloads.
    pub(crate) bytes_out: u64,
    /// Published while nobody subscribed.
    pub(crate) unrouted: u64,
    /// Given up: no room until the deadline.
    pub(crate) dropped: u64,
}

/// A heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Counts them.
    pub(crate) number: u64,
    /// Rises whenever the job got something done.
    pub(crate) progress: u64,
    /// The job takes messages.
    pub(crate) is_ready: bool,
}

/// The page: written by the job, read by the supervisor.
#[derive(Debug)]
pub(crate) struct Tally {
    page: SharedWords,
    index: Mutex<Index>,
}

/// Where the job finds its entries again.
#[derive(Debug, Default)]
struct Index {
    sets: HashMap<Vec<Topic>, usize>,
    sources: HashMap<String, usize>,
    text_words: usize,
}

impl Tally {
    /// Maps the page at the beginning of a file.
    ///
    /// # Errors
    /// The system's; `EINVAL` for a file that is too short.
    pub(crate) fn map(file: &File) -> std::io::Result<Self> {
        let page = SharedWords::map(file, WORDS)?;
        page.words()[0].store(MAGIC, Relaxed);
        Ok(Self { page, index: Mutex::new(Index::default()) })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.page.words()[at]
    }

    /// The job is there, and has come so far.
    pub(crate) fn beat(&self, progress: u64, is_ready: bool) {
        self.word(PROGRESS).store(progress, Relaxed);
        self.word(IS_READY).store(u64::from(is_ready), Relaxed);
        // PAIRS Tally::last_beat: whoever sees the beat sees what came with it.
        self.word(BEATS).fetch_add(1, Release);
    }

    /// The newest heartbeat; its number is 0 before the first.
    pub(crate) fn last_beat(&self) -> Beat {
        // PAIRS Tally::beat.
        let number = self.word(BEATS).load(Acquire);
        Beat { number, progress: self.get(PROGRESS), is_ready: self.get(IS_READY) != 0 }
    }

    /// Whether some job needs copies over the bus of what rides the ring.
    pub(crate) fn has_outsiders(&self) -> bool {
        self.word(OUTSIDERS).load(Relaxed) != 0
    }

    /// Some job needs them from now on.
    pub(crate) fn set_outsiders(&self) {
        self.word(OUTSIDERS).store(1, Relaxed);
    }

    /// The job published a message to a set of topics.
    pub(crate) fn published(&self, topics: &[Topic], tracked: Tracked) {
        let entry = self.set(topics);
        self.word(entry).fetch_add(1, Relaxed);
        self.word(entry + 1).fetch_add(tracked.bytes, Relaxed);
        if tracked.routed == 0 {
            self.word(entry + 4).fetch_add(1, Relaxed);
        } else if tracked.plane == Plane::Data {
            self.word(EPOCH).store(tracked.id.epoch, Relaxed);
            self.word(entry + 2).fetch_max(tracked.id.seq.saturating_add(1), Relaxed);
        }
    }

    /// The job gave up a message.
    pub(crate) fn dropped(&self, topics: &[Topic]) {
        self.word(self.set(topics) + 3).fetch_add(1, Relaxed);
    }

    /// A message was handed to the job.
    pub(crate) fn received(&self, arrival: &Arrival) {
        let bytes = arrival.delivery.size();
        if arrival.plane == Plane::Control {
            self.word(CONTROL_MESSAGES).fetch_add(1, Relaxed);
            self.word(CONTROL_BYTES).fetch_add(bytes, Relaxed);
            return;
        }
        let envelope = &arrival.delivery.envelope;
        self.received_data(&envelope.head.src.unique_id, envelope.id, bytes, arrival.missing);
    }

    fn received_data(&self, unique_id: &str, id: MessageId, bytes: u64, missing: u64) {
        let entry = self.source(unique_id);
        self.word(entry).fetch_add(1, Relaxed);
        self.word(entry + 1).fetch_add(bytes, Relaxed);
        self.word(entry + 2).fetch_add(missing, Relaxed);
        let up_to = id.seq.saturating_add(1);
        if self.word(entry + 3).swap(id.epoch, Relaxed) == id.epoch {
            self.word(entry + 4).fetch_max(up_to, Relaxed);
        } else {
            self.word(entry + 4).store(up_to, Relaxed);
        }
    }

    /// A record was handed to the job. One thread at a time.
    pub(crate) fn received_by_ring(&self, bytes: u64) {
        self.add(RING_IN_MESSAGES, 1);
        self.add(RING_IN_BYTES, bytes);
    }

    /// The job committed a record. One thread at a time.
    pub(crate) fn committed(&self, bytes: u64) {
        self.add(RING_OUT_MESSAGES, 1);
        self.add(RING_OUT_BYTES, bytes);
    }

    /// Only jobs that do not read the ring wanted a message: it is counted with those that rode it, its bytes are not.
    pub(crate) fn sent_past_ring(&self) {
        self.word(RING_PAST).fetch_add(1, Relaxed);
    }

    /// Nobody reads the ring under these topics, nor gets copies.
    pub(crate) fn unrouted_in_ring(&self) {
        self.word(RING_UNROUTED).fetch_add(1, Relaxed);
    }

    /// The ring had no room in time.
    pub(crate) fn dropped_in_ring(&self) {
        self.word(RING_DROPPED).fetch_add(1, Relaxed);
    }

    /// The job waits for what a job of another supervisor has, or does so no more.
    pub(crate) fn set_held(&self, is_held: bool) {
        self.word(IS_HELD).store(u64::from(is_held), Relaxed);
    }

    /// Whether it waits so.
    pub(crate) fn is_held(&self) -> bool {
        self.get(IS_HELD) != 0
    }

    /// For words with one author at a time: cheaper than an addition that others may interrupt.
    fn add(&self, at: usize, more: u64) {
        let word = self.word(at);
        word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The job cannot use messages that it received.
    pub(crate) fn refused(&self, messages: u64) {
        self.word(REFUSED).fetch_add(messages, Relaxed);
    }

    fn set(&self, topics: &[Topic]) -> usize {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&entry) = index.sets.get(topics) {
            return entry;
        }
        let text = topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("\n");
        let entry = self.open(&SETS, SETS_IN_USE, &text, &mut index.text_words);
        if index.sets.len() < SETS.count {
            index.sets.insert(topics.to_vec(), entry);
        }
        entry
    }

    fn source(&self, unique_id: &str) -> usize {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&entry) = index.sources.get(unique_id) {
            return entry;
        }
        let entry = self.open(&SOURCES, SOURCES_IN_USE, unique_id, &mut index.text_words);
        if index.sources.len() < SOURCES.count {
            index.sources.insert(unique_id.to_owned(), entry);
        }
        entry
    }

    /// A new entry; the last one, without text, when entries or text are used up.
    fn open(&self, block: &Block, in_use: usize, text: &str, text_words: &mut usize) -> usize {
        let n = usize::try_from(self.word(in_use).load(Relaxed)).unwrap_or(block.count);
        let words = text.len().div_ceil(8);
        let entry = block.entry(n.min(block.count - 1));
        if n + 1 < block.count && TEXT + *text_words + words <= WORDS {
            for (at, chunk) in text.as_bytes().chunks(8).enumerate() {
                let mut bytes = [0; 8];
                bytes[..chunk.len()].copy_from_slice(chunk);
                self.word(TEXT + *text_words + at).store(u64::from_le_bytes(bytes), Relaxed);
            }
            self.word(entry + TEXT_AT).store(*text_words as u64, Relaxed);
            self.word(entry + TEXT_LEN).store(text.len() as u64, Relaxed);
            *text_words += words;
        }
        // PAIRS Tally::read: whoever sees the entry counted sees its text.
        self.word(in_use).store((n + 1).min(block.count) as u64, Release);
        entry
    }

    /// What the page says now.
    pub(crate) fn read(&self) -> TallySnapshot {
        let sets = self.entries(&SETS, SETS_IN_USE, |entry, text| SetTally {
            topics: text.split('\n').filter(|topic| !topic.is_empty()).map(str::to_owned).collect(),
            messages: self.get(entry),
            bytes: self.get(entry + 1),
            sent_up_to: self.get(entry + 2),
            dropped: self.get(entry + 3),
            unrouted: self.get(entry + 4),
        });
        let sources = self.entries(&SOURCES, SOURCES_IN_USE, |entry, text| SourceTally {
            unique_id: text,
            messages: self.get(entry),
            bytes: self.get(entry + 1),
            missing: self.get(entry + 2),
            epoch: self.get(entry + 3),
            received_up_to: self.get(entry + 4),
        });
        TallySnapshot {
            sets,
            sources,
            epoch: self.get(EPOCH),
            refused: self.get(REFUSED),
            control_messages: self.get(CONTROL_MESSAGES),
            control_bytes: self.get(CONTROL_BYTES),
            ring: RingTally {
                messages_in: self.get(RING_IN_MESSAGES),
                bytes_in: self.get(RING_IN_BYTES),
                messages_out: self.get(RING_OUT_MESSAGES).wrapping_add(self.get(RING_PAST)),
                bytes_out: self.get(RING_OUT_BYTES),
                unrouted: self.get(RING_UNROUTED),
                dropped: self.get(RING_DROPPED),
            },
        }
    }

    fn get(&self, at: usize) -> u64 {
        self.word(at).load(Relaxed)
    }

    fn entries<T>(&self, block: &Block, in_use: usize, make: impl Fn(usize, String) -> T) -> Vec<T> {
        // PAIRS Tally::open.
        let count = usize::try_from(self.word(in_use).load(Acquire)).unwrap_or(0).min(block.count);
        (0..count).map(|n| make(block.entry(n), self.text(block.entry(n)))).collect()
    }

    /// The text of an entry; empty where the page says nonsense.
    fn text(&self, entry: usize) -> String {
        let number = |at| usize::try_from(self.get(at)).unwrap_or(usize::MAX);
        let (at, len) = (number(entry + TEXT_AT), number(entry + TEXT_LEN));
        let Some(end) = TEXT.checked_add(at).and_then(|start| start.checked_add(len.div_ceil(8))) else {
            return String::new();
        };
        if end > WORDS {
            return String::new();
        }
        let mut bytes: Vec<u8> = (TEXT + at..end).flat_map(|word| self.get(word).to_le_bytes()).collect();
        bytes.truncate(len);
        String::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::os::memory_file;

    fn page() -> (File, Tally) {
        let file = memory_file("tally", TALLY_BYTES).unwrap();
        let tally = Tally::map(&file).unwrap();
        (file, tally)
    }

    fn tracked(seq: u64, routed: u32) -> Tracked {
        Tracked { id: MessageId { epoch: 1, seq }, plane: Plane::Data, routed, bytes: 100 * u64::from(routed) }
    }

    #[test]
    fn the_other_side_sees_what_was_counted() {
        let (file, tally) = page();
        let topics = [Topic::store("A"), Topic::store("B")];
        tally.published(&topics, tracked(0, 2));
        tally.published(&topics, tracked(1, 0));
        tally.dropped(&topics);
        tally.received_data("someone", MessageId { epoch: 9, seq: 41 }, 50, 2);

        let seen = Tally::map(&file).unwrap().read();

        let set = SetTally {
            topics: vec!["store.A".into(), "store.B".into()],
            messages: 2,
            bytes: 200,
            sent_up_to: 1,
            dropped: 1,
            unrouted: 1,
        };
        let source = SourceTally {
            unique_id: "someone".into(),
            messages: 1,
            bytes: 50,
            missing: 2,
            epoch: 9,
            received_up_to: 42,
        };
        assert_eq!(
            seen,
            TallySnapshot { sets: vec![set], sources: vec![source], epoch: 1, ..TallySnapshot::default() }
        );
    }

    #[test]
    fn a_heartbeat_brings_what_came_with_it() {
        let (file, job) = page();
        let supervisor = Tally::map(&file).unwrap();
        assert_eq!(supervisor.last_beat().number, 0);

        job.beat(7, true);

        assert_eq!(supervisor.last_beat(), Beat { number: 1, progress: 7, is_ready: true });
    }

    #[test]
    fn a_flood_of_topic_sets_ends_in_one_entry_without_name() {
        let (_, tally) = page();
        for n in 0..1000 {
            tally.published(&[Topic::store(&format!("T{n}"))], tracked(n, 1));
        }

        let seen = tally.read();

        assert_eq!(seen.sets.len(), 64);
        assert!(seen.sets[63].topics.is_empty());
        assert_eq!(seen.sets.iter().map(|set| set.messages).sum::<u64>(), 1000);
    }

    proptest! {
        #[test]
        fn a_page_full_of_nonsense_is_read_without_harm(words in proptest::collection::vec(any::<u64>(), 600)) {
            let (_, tally) = page();
            for (at, word) in words.into_iter().enumerate() {
                tally.word(at).store(word, Relaxed);
            }
            tally.read();
        }
    }
}
