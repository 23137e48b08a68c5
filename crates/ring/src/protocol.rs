//! Which shared word moves when, and what must be visible by then. All of the ring's memory orderings are here.
//!
//! ```text
//!  writer                                   lossless reader            lossy reader
//!  ──────                                   ───────────────            ────────────
//!  fill bytes, descriptor                   observe head               observe head
//!  commit: head = t+1        ──Commit──▶    read descriptor            read descriptor, pin = bytes
//!  ring the sleepers                        still_there?               still_there?  (Pin)
//!        …                                  read bytes                 read bytes
//!  observe acked             ◀───Ack────    acked = t+1                pin = 0  (Unpin)
//!  reclaimed = t+1; pinned?  (Reclaim)      ring the writer
//!  use the bytes again
//! ```
//! Invariants: each word has one author and only rises, except a pin and a bell. A bell loses no wake-up: each side
//! stores its own news, fences, then looks at the other's. Nothing here waits, and nothing knows where a word lies:
//! the same functions run under loom.

use crate::position::is_before;
use crate::sync::{Flag, Named, Word, fence};
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

/// The writer makes everything below `next` visible. The one step that commits.
// PAIRS observe_head: whoever sees the new head sees the descriptor and the bytes below it.
#[inline]
pub(crate) fn commit(head: &Word, next: u64) {
    head.publish(Named::Commit, next);
}

/// What has been committed so far.
// PAIRS commit
#[inline]
pub(crate) fn observe_head(head: &Word) -> u64 {
    head.observe()
}

/// The writer gives up everything below `upto`; only afterwards may it look at pins and write there.
// PAIRS pin (by the full fences: one of the two sees the other) and still_there (by the new bytes).
#[inline]
pub(crate) fn reclaim(reclaimed: &Word, upto: u64) {
    reclaimed.set(upto);
    fence(Named::Reclaim, SeqCst);
}

/// Whether a reader may still look at `bytes`. Asked after [`reclaim`].
// PAIRS unpin: when the pin is seen gone, the reader's last look at the bytes is over.
#[inline]
pub(crate) fn is_pinned(pin: &Word, bytes: u64) -> bool {
    pin.observe() == bytes
}

/// A lossy reader holds `bytes`, which the record at `position` owns; `false`: too late, and nothing is held.
// PAIRS reclaim
#[inline]
pub(crate) fn pin(pin: &Word, bytes: u64, reclaimed: &Word, position: u64) -> bool {
    pin.set(bytes);
    fence(Named::Pin, SeqCst);
    let is_held = !is_before(position, reclaimed.get());
    if !is_held {
        unpin(pin);
    }
    is_held
}

/// The reader has looked at the bytes for the last time.
// PAIRS is_pinned
#[inline]
pub(crate) fn unpin(pin: &Word) {
    pin.publish(Named::Unpin, 0);
}

/// Whether what was read of the record at `position` was its own: asked after reading, before believing.
// PAIRS reclaim: who has seen a word of a later record sees that this one was given up.
#[inline]
pub(crate) fn still_there(reclaimed: &Word, position: u64) -> bool {
    fence(Named::Recheck, Acquire);
    !is_before(position, reclaimed.get())
}

/// A lossless reader is done with everything below `upto`.
// PAIRS observe_acked: the writer that sees it may overwrite what the reader has read.
#[inline]
pub(crate) fn ack(acked: &Word, upto: u64) {
    acked.publish(Named::Ack, upto);
}

/// What a lossless reader is done with.
// PAIRS ack
#[inline]
pub(crate) fn observe_acked(acked: &Word) -> u64 {
    acked.observe()
}

/// Announces that the caller is about to sleep. It must look for news once more before it does.
// PAIRS announce
#[inline]
pub(crate) fn arm(bell: &Flag) {
    bell.set(1);
    fence(Named::BellArm, SeqCst);
}

/// After news was stored, before any number of [`is_asleep`].
// PAIRS arm
#[inline]
pub(crate) fn announce() {
    fence(Named::BellRing, SeqCst);
}

/// After [`announce`]: whether the other side sleeps and has to be woken. One `true` a sleep.
#[inline]
pub(crate) fn is_asleep(bell: &Flag) -> bool {
    bell.get() != 0 && bell.take() != 0
}

/// Two copies of some words; the version says which one counts. One author; a death between two versions leaves the
/// old one in force.
///
/// ```text
///   version 6 ──▶ copy 0 (6 & 1)      the author fills copy 1, then stores version 7
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versioned<'a> {
    /// The version in force.
    pub(crate) version: &'a Word,
    /// Version v stands in copy v & 1.
    pub(crate) copies: [&'a [Word]; 2],
}

impl Versioned<'_> {
    /// Puts version `next` in force, which follows the one in force; words beyond `words` keep what they had, and
    /// words that are right already are not stored.
    // PAIRS read
    pub(crate) fn write(&self, next: u64, words: &[u64]) {
        fence(Named::CopyFill, Release);
        for (word, value) in self.copies[usize::from(next & 1 == 1)].iter().zip(words) {
            word.settle(*value);
        }
        self.version.publish(Named::CopySelect, next);
    }

    /// Copies the words of the version in force that `wanted` says are in use (it sees the first word).
    /// `None`: the author was faster; ask again.
    // PAIRS write
    pub(crate) fn read(&self, wanted: impl FnOnce(u64) -> usize, words: &mut Vec<u64>) -> Option<u64> {
        let version = self.version.observe();
        let copy = self.copies[usize::from(version & 1 == 1)];
        let count = wanted(copy.first().map_or(0, Word::get)).min(copy.len());
        words.clear();
        words.extend(copy[..count].iter().map(Word::get));
        self.is_still(version).then_some(version)
    }

    /// Whether `version` is in force: asked after reading what the author changes only under the next version.
    pub(crate) fn is_still(&self, version: u64) -> bool {
        fence(Named::CopyCheck, Acquire);
        self.version.get() == version
    }
}
