//! Small records, packed into one message: as many as make 64 KiB, or as come within 5 ms.
//!
//! A record is committed with its pack: when [`Pack::flush`] has returned, or, at the latest, some milliseconds after the
//! last record. Invariant: a pack that is not empty is flushed by whoever fills it, by the flusher, or when its stream
//! ends; what then finds no room is counted as dropped.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::outlet::{Manner, Outlet};
use super::publisher::StoreError;
use crate::bus::{Deadline, PublishError};
use crate::message::{Message, PayloadKind, RecordPack, StoreRecords, Topic};

/// A pack is sent when it has so many bytes.
const FULL: usize = 64 << 10;

/// A pack is sent when its first record is so old.
const OLD: Duration = Duration::from_millis(5);

/// How long the last records of a stream wait for room once the job is to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The records of a stream that are not sent yet.
#[derive(Debug)]
pub(super) struct Pack {
    outlet: Arc<Outlet>,
    topics: Vec<Topic>,
    message: Message,
    over_bus: bool,
    records: RecordPack,
    since: Option<Instant>,
}

impl Pack {
    /// Empty, for messages like this one.
    pub(super) fn new(outlet: Arc<Outlet>, topics: Vec<Topic>, message: Message, over_bus: bool) -> Self {
        Self { outlet, topics, message, over_bus, records: RecordPack::default(), since: None }
    }

    /// Takes a record; `true` if it is the first. After an error it is not taken.
    pub(super) fn push(&mut self, record: &[u8]) -> Result<bool, StoreError> {
        if self.records.len_bytes() + record.len() >= FULL {
            self.send(self.manner(Deadline::Stop, false))?;
        }
        self.records.push(record)?;
        if self.since.is_some() {
            return Ok(false);
        }
        self.since = Some(Instant::now());
        Ok(true)
    }

    /// Sends what is there, as soon as there is room; when the job is to stop it waits no longer than for last words.
    pub(super) fn flush(&mut self) -> Result<(), PublishError> {
        match self.outlet.is_stopping() {
            true => self.send(self.manner(Deadline::Within(LAST_WORDS), true)),
            false => self.send(self.manner(Deadline::Stop, false)),
        }
    }

    fn manner(&self, deadline: Deadline, despite_stop: bool) -> Manner {
        Manner { deadline, over_bus: self.over_bus, despite_stop, is_kept: true }
    }

    /// Sends what is there. What could not be sent stays.
    fn send(&mut self, manner: Manner) -> Result<(), PublishError> {
        let count = self.records.count();
        if count == 0 {
            return Ok(());
        }
        let body = Message::of(&StoreRecords { records: count as u64 })?;
        let message = body.like(&self.message);
        let line = self.outlet.line(self.topics.clone(), message, PayloadKind::Records)?;
        let len = self.records.len_bytes();
        let records = &self.records;
        self.outlet.send(&line, len, manner, |bytes| {
            records.write_into(bytes);
            Some(len)
        })?;
        self.records.clear();
        self.since = None;
        Ok(())
    }

    /// The last words of its stream: what finds no room is given up, and counted.
    pub(super) fn end(&mut self) {
        if let Err(error) = self.send(self.manner(Deadline::Within(LAST_WORDS), true)) {
            let count = self.records.count();
            tracing::error!(error = &error as &dyn std::error::Error, "the last {count} records are lost");
            self.outlet.give_up(&self.topics, self.over_bus);
            self.records.clear();
        }
    }

    fn is_old(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= OLD)
    }
}

/// A thread that sends packs that have grown old; it is started with the first record of the process.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    packs: Vec<Weak<Mutex<Pack>>>,
    is_running: bool,
    /// Some pack has got its first record.
    has_news: bool,
}

impl Flusher {
    /// Looks after a pack from now on.
    pub(super) fn watch(self: &Arc<Self>, pack: &Arc<Mutex<Pack>>) {
        let mut state = self.state.lock();
        state.packs.retain(|pack| pack.strong_count() > 0);
        state.packs.push(Arc::downgrade(pack));
        if !state.is_running {
            let flusher = self.clone();
            let thread = thread::Builder::new().name("flusher".into()).spawn(move || flusher.run());
            // Without it records wait for their pack to be full, or for the end of the stream.
            state.is_running = thread.is_ok();
        }
    }

    /// A pack has got its first record.
    pub(super) fn tell(&self) {
        let mut state = self.state.lock();
        if !state.has_news {
            state.has_news = true;
            self.news.notify_one();
        }
    }

    fn run(&self) {
        loop {
            let packs: Vec<_> = {
                let mut state = self.state.lock();
                while !state.has_news {
                    self.news.wait(&mut state);
                }
                state.has_news = false;
                state.packs.clone()
            };
            thread::sleep(OLD);
            let mut is_filling = false;
            for pack in packs.iter().filter_map(Weak::upgrade) {
                let mut pack = pack.lock();
                let manner = pack.manner(Deadline::Stop, false);
                if pack.is_old()
                    && let Err(error) = pack.send(manner)
                {
                    // Whoever fills the pack meets the same error, or its end tries once more.
                    tracing::debug!(error = &error as &dyn std::error::Error, "records wait");
                }
                is_filling |= pack.since.is_some();
            }
            if is_filling {
                self.state.lock().has_news = true;
            }
        }
    }
}
