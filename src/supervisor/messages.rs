//! Messages that somebody outside gives to jobs.
//!
//! Each goes to the jobs one by one, by the control plane: a job that is ready hears it, another one never does. What a job
//! does not read in time is dropped there, and counted.

use super::dispatcher::Dispatcher;
use super::entry::{Entry, Presence};
use super::phases::Phase;
use crate::bus::PublishError;
use crate::config::NoMessage;
use crate::control::{Refusal, Reply, StateName};
use crate::message::{Body, Message, Stop, Topic};

impl Dispatcher {
    /// Gives a message to the jobs that take its type, or to one of them.
    pub(super) fn send_message(
        &mut self,
        message_type: &str,
        payload: &str,
        target: Option<String>,
    ) -> Result<Reply, Refusal> {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return Err(Refusal::Stopping);
        }
        let bad = |why: String| Refusal::BadPayload { message_type: message_type.into(), why };
        let message = match self.parts.origin.catalog.read_message(message_type, payload) {
            Ok(message) => message,
            Err(NoMessage::UnknownType) => return Err(self.unknown_message(message_type)),
            Err(fault) => return Err(bad(fault.to_string())),
        };
        let is_named = |entry: &&Entry| target.as_ref().is_none_or(|id| entry.config.unique_id == *id);
        let mut notified = Vec::new();
        for entry in self.parts.entries.iter().filter(is_named).filter(|entry| self.takes(entry, &message)) {
            match self.parts.link.give(direct_topic(entry, &message), &message) {
                Ok(true) => notified.push(entry.name()),
                // Its subscription has not gone round yet.
                Ok(false) => {}
                Err(PublishError::Encode(error)) => return Err(bad(crate::error_chain(&error))),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the bus did not take a message")
                }
            }
        }
        if notified.is_empty() {
            return Err(Refusal::NobodyTakes { message_type: message_type.into(), target });
        }
        let message = format!("{message_type} sent to {}", notified.join(", "));
        Ok(Reply::Sent { message, jobs_notified: notified.len() })
    }

    /// Whether a job is ready for a message; those for stores are for the backends that they name.
    fn takes(&self, entry: &Entry, message: &Message) -> bool {
        let is_ready = entry.presence == Presence::Here && entry.state.name() == StateName::Ready;
        let serves = |backend: &str| entry.config.backend == Some(backend);
        let is_meant = message.store_config.as_ref().is_none_or(|stores| stores.backends.keys().any(|key| serves(key)));
        is_ready && is_meant && self.parts.origin.catalog.takes(entry.config.job_type, message.kind)
    }

    fn unknown_message(&self, message_type: &str) -> Refusal {
        let known = self.parts.origin.catalog.messages().into_keys().map(str::to_owned).collect();
        Refusal::UnknownMessage { message_type: message_type.into(), known }
    }
}

/// Where a job hears a message of this type: a stop is none of the messages that it reads itself.
fn direct_topic(entry: &Entry, message: &Message) -> Topic {
    let unique_id = &entry.config.unique_id;
    if message.kind == Stop::TYPE { Topic::job(unique_id) } else { Topic::messages_to(unique_id) }
}
