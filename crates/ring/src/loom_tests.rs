//! The memory orderings of `protocol.rs`, explored by loom; each named ordering is taken away in turn, and must be missed.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p enrgdaq-ring --release --lib loom`
//! Loom tries all interleavings and all values that relaxed loads may return; it knows no crashes, which are the
//! business of `tests/model` and `tests/ring/kills.rs`.
#![expect(unsafe_code, reason = "loom's cells stand for the data area")]

use crate::protocol::{self, Versioned};
use crate::sync::{Flag, Named, Weakened, Word};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// One at a time: the planted weakness is seen by the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// `model` holds, and fails without any one of the orderings that `needs` names.
fn holds_and_needs(needs: &[Named], model: fn()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    loom::model(model);
    for &name in needs {
        let _weakened = Weakened::plant(name);
        let outcome = catch_unwind(AssertUnwindSafe(|| loom::model(model)));
        assert!(outcome.is_err(), "nothing goes wrong without {name:?}: the model does not test it");
    }
}

/// The words of one writer, one reader and one record.
struct Shared {
    head: Word,
    reclaimed: Word,
    acked: Word,
    pin: Word,
    descriptor: Word,
    bell: Flag,
    /// Stands for the record's bytes: loom reports any access that is not ordered.
    bytes: UnsafeCell<u64>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let [head, reclaimed, acked, pin, descriptor] = std::array::from_fn(|_| Word::new(0));
        Arc::new(Self { head, reclaimed, acked, pin, descriptor, bell: Flag::new(0), bytes: UnsafeCell::new(0) })
    }

    fn fill(&self, value: u64) {
        // SAFETY: loom panics if the access is not exclusive; that is the test.
        self.bytes.with_mut(|bytes| unsafe { *bytes = value });
    }

    fn look(&self) -> u64 {
        // SAFETY: loom panics if somebody may be writing; that is the test.
        self.bytes.with(|bytes| unsafe { *bytes })
    }
}

#[test]
fn who_sees_the_head_sees_the_record() {
    holds_and_needs(&[Named::Commit], || {
        let shared = Shared::new();
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.fill(7);
                protocol::commit(&shared.head, 1);
            }
        });

        if protocol::observe_head(&shared.head) == 1 {
            assert_eq!(shared.look(), 7);
        }
        writer.join().unwrap();
    });
}

#[test]
fn bytes_are_used_again_only_after_the_last_look_of_who_acknowledged() {
    holds_and_needs(&[Named::Ack], || {
        let shared = Shared::new();
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                assert_eq!(shared.look(), 0);
                protocol::ack(&shared.acked, 1);
            }
        });

        if protocol::observe_acked(&shared.acked) == 1 {
            shared.fill(8);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_pin_and_a_reclaim_never_both_win() {
    holds_and_needs(&[Named::Pin, Named::Reclaim, Named::Unpin], || {
        let shared = Shared::new();
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                if protocol::pin(&shared.pin, 5, &shared.reclaimed, 0) {
                    assert_eq!(shared.look(), 0);
                    protocol::unpin(&shared.pin);
                }
            }
        });

        protocol::reclaim(&shared.reclaimed, 1);
        if !protocol::is_pinned(&shared.pin, 5) {
            shared.fill(8);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_descriptor_is_believed_only_if_it_was_not_reused() {
    holds_and_needs(&[Named::Reclaim, Named::Recheck], || {
        let shared = Shared::new();
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                protocol::reclaim(&shared.reclaimed, 1);
                shared.descriptor.set(8);
            }
        });

        let word = shared.descriptor.get();
        if protocol::still_there(&shared.reclaimed, 0) {
            assert_eq!(word, 0, "a word of the next record");
        }
        writer.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_and_none_is_doubled() {
    holds_and_needs(&[Named::BellArm, Named::BellRing], || {
        let shared = Shared::new();
        let ringers: Vec<_> = (0..2)
            .map(|i| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let news = if i == 0 { &shared.head } else { &shared.acked };
                    news.publish(Named::Commit, 1);
                    protocol::announce();
                    protocol::is_asleep(&shared.bell)
                })
            })
            .collect();

        protocol::arm(&shared.bell);
        let sleeps = shared.head.get() == 0 && shared.acked.get() == 0;
        let wakes = ringers.into_iter().map(|ringer| ringer.join().unwrap()).filter(|&wakes| wakes).count();

        assert!(!sleeps || wakes >= 1, "sleeps for ever");
        assert!(wakes <= 1, "two system calls for one sleep");
    });
}

#[test]
fn a_copy_is_believed_only_whole() {
    holds_and_needs(&[Named::CopyFill, Named::CopyCheck, Named::CopySelect], || {
        let words: Arc<[Word; 5]> = Arc::new(std::array::from_fn(|_| Word::new(0)));
        fn versioned(words: &[Word; 5]) -> Versioned<'_> {
            Versioned { version: &words[0], copies: [&words[1..3], &words[3..5]] }
        }
        let author = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                versioned(&words).write(1, &[1, 1]);
                versioned(&words).write(2, &[2, 2]);
            }
        });

        let mut read = Vec::new();
        if let Some(version) = versioned(&words).read(|_| 2, &mut read) {
            assert_eq!(read, [version, version]);
        }
        author.join().unwrap();
    });
}
