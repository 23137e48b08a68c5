//! One link, as all its threads share it: what it counts, where it stands, what the sending threads are told.
//!
//! ```text
//!   main thread (sockets) ──session, resume, interest, acks──▶ sender, latest      relay ──letters──▶ sender
//!                         ◀──counts, lag──
//! ```
//! Invariant: nobody waits here but for a moment: figures are atomics, and what is behind a lock is copied out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::Thread;
use std::time::{Duration, Instant};

use enrgdaq_ring::Waker;
use parking_lot::Mutex;

use super::clock::Reading;
use super::frame::{Ack, Lag, Session};
use super::interest::Interest;
use crate::control::{LinkState, LinkStatus};

/// Messages of the bus that wait for the sender.
const LETTERS: usize = 1024;

/// Up, and the oldest message older than this: lagging.
const LAGS_AFTER_S: f64 = 5.0;

/// A message of the bus, to be sent.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// As it would stand in the ring.
    pub(super) envelope: Arc<Vec<u8>>,
    pub(super) payload: Arc<Vec<u8>>,
    /// When it was sent, by the clock here.
    pub(super) at: i64,
    /// It is worth nothing later.
    pub(super) is_lossy: bool,
}

/// What a link has done since the supervisor started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) unwanted: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) lag_messages: AtomicU64,
    pub(super) lag_bytes: AtomicU64,
    pub(super) lag_ms: AtomicU64,
    pub(super) spool_bytes: AtomicU64,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Relaxed);
}

/// Where a link stands; author: the main thread.
#[derive(Debug)]
struct Standing {
    /// The other node's id, once it is known.
    peer: Option<String>,
    state: LinkState,
    since: Instant,
    heard_at: Option<Instant>,
    clock: Option<Reading>,
    /// What the other end still has for this one.
    lag_there: Lag,
}

/// What the sending threads are told.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// The connection that is up.
    pub(super) session: Option<Session>,
    /// Where the stream goes on with it; taken once.
    pub(super) resume: Option<u64>,
    /// What the other end wants.
    pub(super) interest: Arc<Interest>,
    /// Nobody is to come there any more: what waits for it is given up; taken once.
    pub(super) is_dismissed: bool,
}

/// Why an acknowledgement ends its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faulty {
    /// What was never sent is nowhere: nothing that such a one says of it is to be believed.
    NeverSent,
    /// It waits for what was given up while it connected: the next session begins behind that.
    GivenUp,
}

/// How the end of a link goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// What is there is to be sent until then; what is not goes to the disk.
    By(Instant),
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    /// Under which its places in the ring and on the disk are made.
    pub(super) key: String,
    /// Where it keeps what must survive.
    pub(super) dir: PathBuf,
    /// The stream that is sent; random.
    pub(super) stream: u64,
    pub(super) counts: Counts,
    pub(super) is_encrypted: bool,
    /// The other end may come: a leaf can be taken off the list.
    is_expected: AtomicBool,
    standing: Mutex<Standing>,
    course: Mutex<Course>,
    has_news: [AtomicBool; 2],
    committed: AtomicU64,
    /// The first number that is not acknowledged, and the next that is sent.
    pub(super) first: AtomicU64,
    pub(super) next: AtomicU64,
    /// No number from this one on has been given to the socket yet.
    pub(super) offered: AtomicU64,
    /// Of the latest: sent, and seen at the other end.
    pub(super) latest_sent: AtomicU64,
    pub(super) latest_seen: AtomicU64,
    letters: SyncSender<Letter>,
    waiting: Mutex<Option<Receiver<Letter>>>,
    ending: Mutex<Ending>,
    sleepers: Mutex<Vec<(Option<Waker>, Thread)>>,
}

/// Which sending thread asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Sender,
    Latest,
}

impl Link {
    pub(super) fn new(key: String, peer: Option<String>, dir: PathBuf, is_encrypted: bool, interest: Interest) -> Self {
        let (letters, waiting) = sync_channel(LETTERS);
        let standing = Standing {
            peer,
            state: LinkState::Connecting,
            since: Instant::now(),
            heard_at: None,
            clock: None,
            lag_there: Lag::default(),
        };
        Self {
            key,
            dir,
            stream: uuid::Uuid::new_v4().as_u64_pair().0,
            counts: Counts::default(),
            is_encrypted,
            is_expected: AtomicBool::new(true),
            standing: Mutex::new(standing),
            course: Mutex::new(Course {
                session: None,
                resume: None,
                interest: Arc::new(interest),
                is_dismissed: false,
            }),
            has_news: [AtomicBool::new(true), AtomicBool::new(true)],
            committed: AtomicU64::new(0),
            first: AtomicU64::new(0),
            next: AtomicU64::new(0),
            offered: AtomicU64::new(0),
            latest_sent: AtomicU64::new(0),
            latest_seen: AtomicU64::new(0),
            letters,
            waiting: Mutex::new(Some(waiting)),
            ending: Mutex::new(Ending::No),
            sleepers: Mutex::default(),
        }
    }

    /// What the other end is called.
    pub(super) fn peer(&self) -> String {
        self.standing.lock().peer.clone().unwrap_or_else(|| self.key.clone())
    }

    // What the main thread does.

    /// A connection is up, and the stream goes on at a number.
    pub(super) fn begin(&self, peer: &str, session: Session, resume: u64) {
        self.standing.lock().peer = Some(peer.to_owned());
        self.change_course(|course| {
            (course.session, course.resume, course.is_dismissed) = (Some(session), Some(resume), false);
        });
    }

    /// There is no connection any more.
    pub(super) fn end_session(&self) {
        self.change_course(|course| course.session = None);
    }

    pub(super) fn is_expected(&self) -> bool {
        self.is_expected.load(Relaxed)
    }

    /// The other end may come again.
    pub(super) fn expect(&self) {
        self.is_expected.store(true, Relaxed);
    }

    /// The other end is not to come any more: what waits for it is given up.
    pub(super) fn dismiss(&self) {
        self.is_expected.store(false, Relaxed);
        self.change_course(|course| course.is_dismissed = true);
    }

    /// The other end wants this; `false` if it is what it wanted before.
    pub(super) fn set_interest(&self, interest: Interest) -> bool {
        if *self.course.lock().interest == interest {
            return false;
        }
        self.change_course(|course| course.interest = Arc::new(interest));
        true
    }

    fn change_course(&self, change: impl FnOnce(&mut Course)) {
        change(&mut self.course.lock());
        self.has_news.iter().for_each(|news| news.store(true, SeqCst));
        self.wake();
    }

    /// The other end has committed all below a number, and misses what comes from another one.
    ///
    /// # Errors
    /// [`Faulty`]: the session cannot go on.
    pub(super) fn acknowledge(&self, ack: &Ack) -> Result<(), Faulty> {
        let first = self.first.load(Relaxed);
        if ack.committed > self.offered.load(SeqCst).max(first) {
            return Err(Faulty::NeverSent);
        }
        if ack.again_from.is_some_and(|from| from < first) {
            return Err(Faulty::GivenUp);
        }
        let seen = ack.latest.min(self.latest_sent.load(Relaxed));
        let before = self.latest_seen.fetch_max(seen, Relaxed);
        add(&self.counts.sent, seen.saturating_sub(before));
        self.committed.fetch_max(ack.committed, SeqCst);
        if let Some(from) = ack.again_from {
            self.change_course(|course| course.resume = Some(from));
        } else {
            self.wake();
        }
        Ok(())
    }

    /// Where it stands now; `Some` if that is another state than before.
    pub(super) fn stand(&self, state: LinkState) -> Option<LinkState> {
        let mut standing = self.standing.lock();
        if standing.state == state {
            return None;
        }
        standing.since = Instant::now();
        Some(std::mem::replace(&mut standing.state, state))
    }

    /// Whether it lags, as both ends see it.
    pub(super) fn is_lagging(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a lag")]
        let here = self.counts.lag_ms.load(Relaxed) as f64 / 1e3;
        here.max(self.standing.lock().lag_there.seconds) > LAGS_AFTER_S
    }

    pub(super) fn heard(&self) {
        self.standing.lock().heard_at = Some(Instant::now());
    }

    pub(super) fn note_clock(&self, clock: Option<Reading>) {
        self.standing.lock().clock = clock;
    }

    /// What the other end still has for this one, as it says.
    pub(super) fn lag_there(&self) -> Lag {
        self.standing.lock().lag_there
    }

    pub(super) fn note_lag_there(&self, lag: Lag) {
        self.standing.lock().lag_there = lag;
    }

    /// What is to be said of it.
    pub(super) fn lag(&self) -> Lag {
        let counts = &self.counts;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a lag")]
        let seconds = counts.lag_ms.load(Relaxed) as f64 / 1e3;
        Lag { messages: counts.lag_messages.load(Relaxed), bytes: counts.lag_bytes.load(Relaxed), seconds }
    }

    // What the sending threads do.

    /// What has changed since the same thread asked last.
    pub(super) fn news(&self, asks: Asks) -> Option<Course> {
        let news = &self.has_news[usize::from(asks == Asks::Latest)];
        if !news.load(Relaxed) || !news.swap(false, SeqCst) {
            return None;
        }
        let mut course = self.course.lock();
        let told = course.clone();
        if asks == Asks::Sender {
            (course.resume, course.is_dismissed) = (None, false);
        }
        Some(told)
    }

    /// What the other end wants.
    pub(super) fn interest(&self) -> Arc<Interest> {
        self.course.lock().interest.clone()
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.load(SeqCst)
    }

    /// Whom a change wakes: this thread, which waits for the ring, or sleeps.
    pub(super) fn wakes(&self, waker: Option<Waker>) {
        let this = std::thread::current();
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|(_, thread)| thread.id() != this.id());
        sleepers.push((waker, this));
    }

    pub(super) fn wake(&self) {
        for (waker, thread) in self.sleepers.lock().iter() {
            waker.iter().for_each(Waker::wake);
            thread.unpark();
        }
    }

    /// The messages of the bus, for the one who sends them.
    pub(super) fn take_letters(&self) -> Option<Receiver<Letter>> {
        self.waiting.lock().take()
    }

    /// Gives a message of the bus to the sender; gives it back if there is no room.
    pub(super) fn post(&self, letter: Letter) -> Result<(), Letter> {
        match self.letters.try_send(letter) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(letter) | TrySendError::Disconnected(letter)) => Err(letter),
        }
    }

    /// What is there is to be sent within this time, then the sending threads end.
    pub(super) fn finish(&self, within: Duration) {
        *self.ending.lock() = Ending::By(Instant::now() + within);
        self.wake();
    }

    pub(super) fn ending(&self) -> Ending {
        *self.ending.lock()
    }

    /// The picture of now.
    pub(super) fn status(&self) -> LinkStatus {
        let standing = self.standing.lock();
        let counts = &self.counts;
        let count = |count: &AtomicU64| count.load(Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let ms = |ns: i64| ns as f64 / 1e6;
        LinkStatus {
            peer: standing.peer.clone().unwrap_or_else(|| self.key.clone()),
            state: standing.state,
            since_s: standing.since.elapsed().as_secs_f64(),
            heard_s: standing.heard_at.map(|at| at.elapsed().as_secs_f64()),
            sent: count(&counts.sent),
            sent_bytes: count(&counts.sent_bytes),
            received: count(&counts.received),
            received_bytes: count(&counts.received_bytes),
            duplicates: count(&counts.duplicates),
            refused: count(&counts.refused),
            resent: count(&counts.resent),
            unwanted: count(&counts.unwanted),
            dropped: count(&counts.dropped),
            lag_messages: count(&counts.lag_messages),
            lag_bytes: count(&counts.lag_bytes),
            lag_s: self.lag().seconds,
            lag_there_messages: standing.lag_there.messages,
            lag_there_bytes: standing.lag_there.bytes,
            lag_there_s: standing.lag_there.seconds,
            spool_bytes: count(&counts.spool_bytes),
            clock_offset_ms: standing.clock.map(|clock| ms(clock.offset)),
            round_trip_ms: standing.clock.map(|clock| ms(clock.round_trip)),
            is_encrypted: self.is_encrypted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_of_what_was_sent_and_is_still_kept() {
        let link = Link::new("a".into(), None, PathBuf::new(), false, Interest::default());
        link.first.store(20, Relaxed);
        link.offered.store(30, SeqCst);
        let hear = |committed, again_from| link.acknowledge(&Ack { committed, again_from, latest: 0 });

        assert_eq!(hear(31, None), Err(Faulty::NeverSent));
        assert_eq!(hear(10, Some(10)), Err(Faulty::GivenUp), "else both would wait for ever");
        assert_eq!((hear(25, Some(27)), link.committed()), (Ok(()), 25));
        assert_eq!(link.news(Asks::Sender).and_then(|course| course.resume), Some(27));
    }

    #[test]
    fn who_comes_again_before_it_was_given_up_keeps_what_waits_for_it() {
        let link = Link::new("a".into(), None, PathBuf::new(), false, Interest::default());
        link.dismiss();
        link.expect();
        link.begin("a", Session::default(), 0);

        assert!(link.is_expected());
        assert_eq!(link.news(Asks::Sender).map(|course| course.is_dismissed), Some(false));
    }
}
