//! What a job receives: each message once, as long as the job is not to stop; then what is already here, and no more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::measures::Latencies;
use super::tally::Tally;
use crate::bus::{Arrival, BusError, Delivery, Subscriber, SubscriberCounts};
use crate::os::{Wake, now_ns};

/// How long nothing must come before nothing is on its way any more, once a job has unsubscribed.
const LAST_ARRIVALS: Duration = Duration::from_millis(50);

/// The messages of the topics that a job subscribed.
#[derive(Debug)]
pub struct Inbox {
    subscriber: Mutex<Option<Reading>>,
    tally: Arc<Tally>,
    latencies: Arc<Latencies>,
    counts: Mutex<SubscriberCounts>,
    bell: Wake,
}

#[derive(Debug)]
struct Reading {
    subscriber: Subscriber,
    is_ending: bool,
    /// Never rings: the last arrivals are waited for although the job is to stop.
    silent: Wake,
}

impl Inbox {
    pub(super) fn new(
        subscriber: Subscriber,
        tally: Arc<Tally>,
        latencies: Arc<Latencies>,
        bell: Wake,
    ) -> Result<Self, BusError> {
        let silent = Wake::new().map_err(BusError::System)?;
        let reading = Reading { subscriber, is_ending: false, silent };
        Ok(Self { subscriber: Mutex::new(Some(reading)), tally, latencies, counts: Mutex::default(), bell })
    }

    /// The next message; `None` when none came in time. Once the job is to stop it subscribes no more, and gives what
    /// was already on its way here; `None` then means that there is nothing left.
    ///
    /// # Errors
    /// [`BusError`] of a broken bus; the job had better end.
    pub fn next(&self, within: Duration) -> Result<Option<Delivery>, BusError> {
        let mut reading = self.subscriber.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reading) = reading.as_mut() else { return Ok(None) };
        let mut arrival = None;
        if !self.bell.has_rung() {
            arrival = reading.subscriber.next(within, &self.bell)?;
        }
        if arrival.is_none() && self.bell.has_rung() {
            reading.end()?;
            arrival = reading.subscriber.next(LAST_ARRIVALS, &reading.silent)?;
        }
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = reading.subscriber.counts();
        Ok(arrival.map(|arrival| self.note(arrival)))
    }

    fn note(&self, arrival: Arrival) -> Delivery {
        self.latencies.record(now_ns().saturating_sub(arrival.delivery.envelope.ts));
        self.tally.received(&arrival);
        arrival.delivery
    }

    pub(super) fn counts(&self) -> SubscriberCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the sockets.
    pub(super) fn close(&self) {
        self.subscriber.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Reading {
    /// No more of anything, so that what is here is finite.
    fn end(&mut self) -> Result<(), BusError> {
        if std::mem::replace(&mut self.is_ending, true) {
            return Ok(());
        }
        let topics: Vec<_> = self.subscriber.topics().map(|(plane, topic)| (plane, topic.clone())).collect();
        topics.iter().try_for_each(|(plane, topic)| self.subscriber.unsubscribe_on(*plane, topic, true))
    }
}
