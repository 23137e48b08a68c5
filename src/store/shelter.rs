//! Messages that the backend cannot take now: the spool, and what it does not take either.
//!
//! Invariants: the order stays; a message is acknowledged when the spool has it as safely as `durability` says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pile::MAX_MESSAGES;
use super::settings::Durability;
use super::spool::{Spool, SpoolError};
use super::teller::Teller;
use crate::job::Delivery;

/// How long a spool that took a message no more is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is kept from the backend.
#[derive(Debug)]
pub(super) struct Shelter {
    pub(super) spool: Spool,
    /// For these there is no room anywhere; they hold up those that come.
    pub(super) waiting: VecDeque<Delivery>,
    durability: Durability,
    /// In the spool, and not yet safe from a power failure; only where that is promised.
    unsynced: Vec<Delivery>,
    try_at: Instant,
}

impl Shelter {
    pub(super) fn new(spool: Spool, durability: Durability) -> Self {
        Self { spool, waiting: VecDeque::new(), durability, unsynced: Vec::new(), try_at: Instant::now() }
    }

    /// Nothing is in it that the backend does not have.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.unsynced.is_empty() && self.spool.is_empty()
    }

    /// Takes one that came after all others.
    pub(super) fn take(&mut self, delivery: Delivery, teller: &mut Teller) {
        self.waiting.push_back(delivery);
        self.fill(teller);
    }

    /// Takes those that came after what is in the spool, and before what waits.
    pub(super) fn take_first(&mut self, deliveries: Vec<Delivery>, teller: &mut Teller) {
        let later = std::mem::replace(&mut self.waiting, deliveries.into());
        self.waiting.extend(later);
        self.fill(teller);
    }

    /// Whether the spool may take again what it did not.
    pub(super) fn is_to_be_tried(&self, now: Instant) -> bool {
        now >= self.try_at
    }

    /// Into the spool, as far as it takes them.
    pub(super) fn fill(&mut self, teller: &mut Teller) {
        if self.waiting.is_empty() {
            return;
        }
        while let Some(delivery) = self.waiting.pop_front() {
            if let Err(error) = self.spool.append(&delivery) {
                self.waiting.push_front(delivery);
                self.try_at = Instant::now() + RETRY_AFTER;
                teller.spool_trouble(&error);
                break;
            }
            match self.durability {
                Durability::Written => delivery.ack(),
                Durability::Synced => self.unsynced.push(delivery),
            }
        }
        if self.unsynced.len() >= MAX_MESSAGES {
            self.sync(teller);
        }
    }

    /// Makes safe what waits for that.
    pub(super) fn sync_if_owed(&mut self, teller: &mut Teller) {
        if !self.unsynced.is_empty() {
            self.sync(teller);
        }
    }

    /// Makes all safe from a power failure.
    pub(super) fn sync(&mut self, teller: &mut Teller) {
        match self.spool.sync() {
            Ok(()) => self.unsynced.drain(..).for_each(Delivery::ack),
            Err(error) => {
                teller.spool_trouble(&SpoolError::Io { path: self.spool.dir().to_owned(), source: error });
            }
        }
    }
}
