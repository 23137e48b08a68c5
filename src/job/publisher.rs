//! What a job publishes: messages for topics, tables and bytes for stores, alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use thiserror::Error;

use super::outlet::Outlet;
use super::packs::Flusher;
use super::stream::Stream;
use crate::bus::{Deadline, PublishError};
use crate::message::{
    Alert, AlertInfo, Message, Payload, PayloadError, PayloadKind, Severity, StoreConfig, StoreRaw, StoreTable, Topic,
    encode_table,
};
use crate::os::iso_now;

/// Publishes for one job, and counts; any thread may use it.
#[derive(Debug)]
pub struct Publisher {
    outlet: Arc<Outlet>,
    flusher: Arc<Flusher>,
    backends: BTreeMap<&'static str, Vec<&'static str>>,
}

/// Why something could not be given to the stores.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The table or record cannot be written.
    #[error("the payload cannot be encoded")]
    Payload(#[from] PayloadError),
    /// Ring or bus did not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Publisher {
    pub(super) fn new(outlet: Outlet, backends: BTreeMap<&'static str, Vec<&'static str>>) -> Self {
        Self { outlet: Arc::new(outlet), flusher: Arc::default(), backends }
    }

    pub(super) fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// Sends a message to topics, and counts what became of it. It waits for room until the deadline; when the job is to
    /// stop it waits no longer, and with [`Deadline::Stop`] takes nothing any more.
    ///
    /// # Errors
    /// [`PublishError`]; the message counts as dropped if its deadline passed. One that came when the job was to stop was
    /// never taken.
    pub fn publish(&self, topics: &[Topic], message: &Message, deadline: Deadline) -> Result<(), PublishError> {
        self.outlet.publish(topics, message, deadline)
    }

    /// Sends a message to the stores that a `store_config` names.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn store(&self, stores: &StoreConfig, message: Message) -> Result<(), PublishError> {
        let topics = self.store_topics(stores);
        self.publish(&topics, &message.for_stores(stores), Deadline::Stop)
    }

    /// Sends a table to the stores that a `store_config` names. For many tables of one shape a [`Stream`] is quicker.
    ///
    /// # Errors
    /// [`StoreError`]: a table that cannot be encoded, or what [`publish`](Self::publish) says.
    pub fn store_table(&self, stores: &StoreConfig, tag: Option<&str>, table: &RecordBatch) -> Result<(), StoreError> {
        let message = Message::of(&StoreTable { rows: table.num_rows() as u64 }).map_err(PublishError::Encode)?;
        self.store_payload(stores, tag, message, encode_table(table)?)
    }

    /// Sends bytes as they are to the stores that a `store_config` names. For much, a [`Stream`] is quicker.
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

    /// Many messages to the stores that a `store_config` names, all with the same tag: prepared once, filled in place.
    ///
    /// # Errors
    /// [`StoreError`]: a `store_config` or tag that makes the envelope too long.
    pub fn stream(&self, stores: &StoreConfig, tag: Option<&str>) -> Result<Stream, StoreError> {
        let topics = self.store_topics(stores);
        Ok(Stream::new(self.outlet.clone(), self.flusher.clone(), topics, (stores, tag))?)
    }

    /// Tells people. It goes to alert jobs and into the supervisor's status, and never waits.
    pub fn alert(&self, severity: Severity, text: impl Into<String>) {
        let supervisor_id = self.outlet.supervisor_id();
        let alert = Alert {
            date: iso_now(),
            alert_info: AlertInfo { message: text.into(), severity },
            originated_supervisor_id: supervisor_id.to_owned(),
        };
        let topics = [Topic::alert(supervisor_id)];
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
                true => Topic::store_of(self.outlet.supervisor_id(), job_type),
                false => Topic::store(job_type),
            })
            .collect()
    }
}
