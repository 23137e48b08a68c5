//! What a job publishes: messages for topics, tables and bytes for stores, alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use thiserror::Error;

use super::tally::Tally;
use crate::bus::{self, Deadline, PublishError};
use crate::message::{
    Alert, AlertInfo, Message, Payload, PayloadError, PayloadKind, Severity, StoreConfig, StoreRaw, StoreTable, Topic,
    encode_table,
};
use crate::os::iso_now;

/// Publishes for one job, and counts; any thread may use it.
#[derive(Debug)]
pub struct Publisher {
    bus: bus::Publisher,
    tally: Arc<Tally>,
    supervisor_id: String,
    backends: BTreeMap<&'static str, Vec<&'static str>>,
}

/// Why something could not be given to the stores.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The table cannot be written.
    #[error("the table cannot be encoded")]
    Payload(#[from] PayloadError),
    /// The bus did not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Publisher {
    pub(super) fn new(
        bus: bus::Publisher,
        tally: Arc<Tally>,
        supervisor_id: String,
        backends: BTreeMap<&'static str, Vec<&'static str>>,
    ) -> Self {
        Self { bus, tally, supervisor_id, backends }
    }

    pub(super) fn bus(&self) -> &bus::Publisher {
        &self.bus
    }

    /// Sends a message to topics, and counts what became of it. It waits for room until the deadline; when the job is to
    /// stop it waits no longer, and with [`Deadline::Stop`] takes nothing any more.
    ///
    /// # Errors
    /// [`PublishError`]; the message counts as dropped then.
    pub fn publish(&self, topics: &[Topic], message: &Message, deadline: Deadline) -> Result<(), PublishError> {
        match self.bus.publish(topics, message, deadline) {
            Ok(tracked) => {
                self.tally.published(topics, tracked);
                Ok(())
            }
            Err(error) => {
                if let PublishError::Deadline { sent, .. } | PublishError::Stopping { sent, .. } = &error {
                    self.tally.dropped(topics);
                    // Some of its readers have it all the same.
                    sent.iter().for_each(|tracked| self.tally.published(topics, *tracked));
                }
                Err(error)
            }
        }
    }

    /// Sends a message to the stores that a `store_config` names.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn store(&self, stores: &StoreConfig, message: Message) -> Result<(), PublishError> {
        let topics = self.store_topics(stores);
        self.publish(&topics, &message.for_stores(stores), Deadline::Stop)
    }

    /// Sends a table to the stores that a `store_config` names.
    ///
    /// # Errors
    /// [`StoreError`]: a table that cannot be encoded, or what [`publish`](Self::publish) says.
    pub fn store_table(&self, stores: &StoreConfig, tag: Option<&str>, table: &RecordBatch) -> Result<(), StoreError> {
        let message = Message::of(&StoreTable { rows: table.num_rows() as u64 }).map_err(PublishError::Encode)?;
        self.store_payload(stores, tag, message, encode_table(table)?)
    }

    /// Sends bytes as they are to the stores that a `store_config` names.
    ///
    /// # Errors
    /// As [`store_table`](Self::store_table).
    pub fn store_raw(&self, stores: &StoreConfig, tag: Option<&str>, bytes: Vec<u8>) -> Result<(), StoreError> {
        let message = Message::of(&StoreRaw {}).map_err(PublishError::Encode)?;
        self.store_payload(stores, tag, message, Payload { kind: PayloadKind::Raw, bytes })
    }

    fn store_payload(
        &self,
        stores: &StoreConfig,
        tag: Option<&str>,
        message: Message,
        payload: Payload,
    ) -> Result<(), StoreError> {
        let mut message = message.with_payload(payload);
        message.tag = tag.map(str::to_owned);
        Ok(self.store(stores, message)?)
    }

    /// Tells people. It goes to alert jobs and into the supervisor's status, and never waits.
    pub fn alert(&self, severity: Severity, text: impl Into<String>) {
        let alert = Alert {
            date: iso_now(),
            alert_info: AlertInfo { message: text.into(), severity },
            originated_supervisor_id: self.supervisor_id.clone(),
        };
        let topics = [Topic::alert(&self.supervisor_id)];
        let sent = Message::of(&alert).map_err(PublishError::Encode);
        if let Err(error) = sent.and_then(|message| self.publish(&topics, &message, Deadline::Stop)) {
            tracing::error!(error = &error as &dyn std::error::Error, "an alert could not be sent");
        }
    }

    /// One topic for each job type that serves one of the backends.
    fn store_topics(&self, stores: &StoreConfig) -> Vec<Topic> {
        let types = stores.backends.keys().filter_map(|key| self.backends.get(key.as_str())).flatten();
        types
            .map(|job_type| match stores.target_local_supervisor {
                true => Topic::store_of(&self.supervisor_id, job_type),
                false => Topic::store(job_type),
            })
            .collect()
    }
}
