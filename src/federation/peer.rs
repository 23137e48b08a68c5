//! The other end of one link in the hands of the main thread: what is the same for hub and leaf.
//!
//! ```text
//!   connecting ──session──▶ up ⇄ lagging      silent for 5 s, or bye ──▶ down ──session──▶ up
//! ```
//! Invariant: a word counts only within the session that was agreed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::clock::{Exchange, HubClock, Reading};
use super::frame::{Beat, Parcel, Session, Word};
use super::incoming::Incoming;
use super::latest::Latest;
use super::link::{Faulty, Link, add};
use super::node::Node;
use super::pieces::{Assembly, Made};
use super::quay::Quay;
use super::sender::Sender;
use crate::bus::Publisher;
use crate::control::LinkState;
use crate::message::Severity;
use crate::os::now_ns;
use crate::store::spool::SpoolError;

/// Who is silent for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// How often a leaf says that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How often clocks are looked at.
pub(super) const TICK: Duration = Duration::from_millis(100);
pub(super) const TICK_MS: i64 = 100;

/// How soon it is tried again to commit what had no room.
pub(super) const SOON_MS: i64 = 1;

/// Messages that are taken before they are committed and acknowledged.
pub(super) const BATCH: usize = 64;

/// What each side wants is said again from time to time: a word may be lost.
pub(super) const REPEAT_EVERY: Duration = Duration::from_secs(5);

/// Who was never heard of for so long after the start is called down.
const PATIENCE: Duration = Duration::from_secs(15);

/// The other end of a link.
pub(super) struct Peer {
    node: Arc<Node>,
    pub(super) link: Arc<Link>,
    pub(super) incoming: Incoming,
    quay: Quay,
    /// The one of the latest that is coming.
    latest: Assembly,
    pub(super) session: Option<Session>,
    /// Which start of the other node it is.
    pub(super) instance: u64,
    pub(super) heard_at: Instant,
    /// Since when there is no session.
    since: Instant,
    clock: HubClock,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Peer {
    /// Starts the threads that send.
    ///
    /// # Errors
    /// [`SpoolError`]: what waits for the other end cannot be opened, or there is no thread.
    pub(super) fn new(node: &Arc<Node>, link: Arc<Link>, bus: &Arc<Publisher>) -> Result<Self, SpoolError> {
        let no_thread = |source| SpoolError::Io { path: link.dir.clone(), source };
        let mut threads = Vec::new();
        if let Some(letters) = link.take_letters() {
            let sender = Sender::new(node.clone(), link.clone(), letters)?;
            let latest = Latest::new(node.clone(), link.clone());
            let spawn = |name: &str| thread::Builder::new().name(name.into());
            threads.push(spawn("link-sender").spawn(move || sender.run()).map_err(no_thread)?);
            threads.push(spawn("link-latest").spawn(move || latest.run()).map_err(no_thread)?);
        }
        let quay = Quay::new(node.clone(), link.clone(), bus.clone());
        let now = Instant::now();
        Ok(Self {
            node: node.clone(),
            link,
            incoming: Incoming::default(),
            quay,
            latest: Assembly::default(),
            session: None,
            instance: 0,
            heard_at: now,
            since: now,
            clock: HubClock::default(),
            threads,
        })
    }

    /// A session is agreed: the stream to the other end goes on at `resume`.
    pub(super) fn begin(&mut self, name: &str, session: Session, instance: u64, resume: u64) {
        if instance != self.instance {
            self.clock.forget();
        }
        self.session = Some(session);
        self.instance = instance;
        self.heard_at = Instant::now();
        self.link.heard();
        let sent = self.link.latest_sent.load(Relaxed);
        let seen = self.link.latest_seen.swap(sent, Relaxed);
        add(&self.link.counts.dropped, sent.saturating_sub(seen));
        self.link.begin(name, session, resume);
        self.stand(LinkState::Up, "");
    }

    /// The session is over.
    pub(super) fn end(&mut self, why: &str) {
        if self.session.take().is_none() {
            return;
        }
        self.since = Instant::now();
        self.link.end_session();
        self.stand(LinkState::Down, why);
    }

    /// A word of the session; what only one side says is the caller's.
    pub(super) fn hear(&mut self, word: Word) {
        self.heard_at = Instant::now();
        self.link.heard();
        match word {
            // It is not acknowledged, and waits there.
            Word::Data(_) | Word::Latest(_) if self.node.is_closed.load(Relaxed) => {}
            Word::Data(parcel) => self.incoming.take(parcel, &self.link),
            Word::Latest(parcel) => self.hear_latest(parcel),
            Word::Ack(ack) => match self.link.acknowledge(&ack) {
                Ok(()) => {}
                Err(Faulty::NeverSent) => {
                    add(&self.node.bad_frames, 1);
                    self.end("it acknowledges what was never sent");
                }
                Err(Faulty::GivenUp) => self.end("it waits for what was given up"),
            },
            Word::Beat(beat) => self.hear_beat(&beat),
            Word::Interest(interest) => self.node.set_interest(&self.link, interest),
            Word::Bye => self.end("it has ended, or begun anew"),
            Word::Hello(_) | Word::Welcome(_) | Word::Refused(_) => {}
        }
    }

    fn hear_latest(&mut self, parcel: Parcel) {
        self.incoming.note_piece(&parcel);
        if let Made::Whole(parcel) = self.latest.add(parcel) {
            let landing = self.quay.land_latest(&parcel);
            self.incoming.note_latest(&parcel, &landing, &self.link);
        }
    }

    fn hear_beat(&mut self, beat: &Beat) {
        let heard = now_ns();
        self.link.note_lag_there(beat.lag);
        self.incoming.note_sent(beat.next);
        if self.node.is_hub {
            let reading = beat.clock.map(|(offset, round_trip)| Reading { offset, round_trip });
            self.link.note_clock(reading);
            self.quay.set_clock_offset(reading.map_or(0, |reading| reading.offset));
            self.beat(Some((beat.sent_at, heard)));
        } else if let Some((sent, there)) = beat.echo {
            self.clock.note(Exchange { sent, heard: there, answered: beat.sent_at, returned: heard });
            let best = self.clock.best();
            self.link.note_clock(best);
            self.quay.set_clock_offset(best.map_or(0, |best| best.offset.saturating_neg()));
        }
    }

    /// Says that this node is there.
    pub(super) fn beat(&self, echo: Option<(i64, i64)>) {
        let Some(session) = &self.session else { return };
        let clock = self.clock.best().map(|best| (best.offset, best.round_trip));
        // Read before it is said: what was sent until then goes first.
        let next = self.link.next.load(Relaxed);
        let beat = Beat { sent_at: now_ns(), echo, next, lag: self.link.lag(), clock };
        self.node.port.say(session, &Word::Beat(beat));
    }

    /// Commits what has come, and says so.
    pub(super) fn settle(&mut self) {
        if self.node.is_closed.load(Relaxed) {
            return;
        }
        if let Some(why) = self.incoming.settle(&self.link, |parcel| self.quay.land(parcel)) {
            let text = format!("a message from {} may not come in: {why}; `refused` counts them", self.link.peer());
            self.node.home.raise(Severity::Error, text);
        }
        if let (Some(session), Some(ack)) = (&self.session, self.incoming.ack()) {
            self.node.port.say(session, &Word::Ack(ack));
        }
    }

    /// Looks at the clock.
    pub(super) fn pass_time(&mut self) {
        match self.session {
            Some(_) if self.heard_at.elapsed() >= SILENCE => self.end("it is silent"),
            Some(_) if self.link.is_lagging() => self.stand(LinkState::Lagging, ""),
            Some(_) => self.stand(LinkState::Up, ""),
            None if self.since.elapsed() >= PATIENCE => self.stand(LinkState::Down, &self.why_away()),
            None => {}
        }
    }

    /// What people should look at when the other end does not come.
    fn why_away(&self) -> String {
        let Some((xpub, xsub)) = self.node.config.hub_urls().filter(|_| !self.node.is_hub) else {
            return "it does not come".into();
        };
        let keys = match self.link.is_encrypted {
            true => ", or does not list this node's key, or has another key than `server_key`",
            false => "",
        };
        format!("it does not run, or is not reached at {xpub} and {xsub}{keys}")
    }

    /// Where the link stands now: whoever should know is told.
    fn stand(&self, state: LinkState, why: &str) {
        let Some(before) = self.link.stand(state) else { return };
        let peer = self.link.peer();
        let lag = self.link.lag();
        match (before, state) {
            (LinkState::Down, LinkState::Up) => {
                self.node.home.raise(Severity::Info, format!("{peer} is connected again"))
            }
            (LinkState::Lagging, LinkState::Up) => {
                self.node.home.raise(Severity::Info, format!("the link to {peer} has caught up"));
            }
            (_, LinkState::Up) => tracing::info!("{peer} is connected"),
            (_, LinkState::Lagging) => {
                let there = self.link.lag_there();
                let (where_it_waits, lag) = if there.seconds > lag.seconds { ("there", there) } else { ("here", lag) };
                let text = format!(
                    "the link to {peer} lags: {} messages ({:.1} MB) wait {where_it_waits}, the oldest for {:.0} s",
                    lag.messages,
                    megabytes(lag.bytes),
                    lag.seconds
                );
                self.node.home.raise(Severity::Warning, text);
            }
            (_, LinkState::Down) => {
                let text = format!(
                    "{peer} is not connected: {why}; what it is to have waits here ({} messages, {:.1} MB)",
                    lag.messages,
                    megabytes(lag.bytes)
                );
                self.node.home.raise(Severity::Warning, text);
            }
            (_, LinkState::Connecting) => {}
        }
    }

    /// Says goodbye, once the sending threads have ended.
    pub(super) fn finish(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        if let Some(session) = self.session.take() {
            self.node.port.say(&session, &Word::Bye);
        }
    }

    /// Whether the sending threads have ended.
    pub(super) fn is_finished(&self) -> bool {
        self.threads.iter().all(thread::JoinHandle::is_finished)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
