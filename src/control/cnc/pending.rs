//! Requests of the server that a node is to answer.
//!
//! Invariants: an entry goes with its answer, or when nobody waits for that any more; only the node that was asked can
//! answer, and only with what answers that request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::message::Message;

/// Requests at a time.
const MOST: usize = 1024;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<String, Waiting>>);

#[derive(Debug)]
struct Waiting {
    node: String,
    /// The name of the request.
    request: &'static str,
    answer: oneshot::Sender<Message>,
    /// Where what comes before the answer goes.
    parts: Option<mpsc::Sender<Value>>,
    /// When the node last said something about it.
    heard: Instant,
}

/// An answer that nobody waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unexpected;

impl Pending {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for the answer of a node: the request's id, and where the answer comes. `None`: too many wait.
    pub(super) fn begin(
        &self,
        node: &str,
        request: &'static str,
        parts: Option<mpsc::Sender<Value>>,
    ) -> Option<(String, oneshot::Receiver<Message>)> {
        let (answer, received) = oneshot::channel();
        let mut entries = self.entries();
        if entries.len() >= MOST {
            return None;
        }
        let id = Uuid::new_v4().to_string();
        entries.insert(id.clone(), Waiting { node: node.to_owned(), request, answer, parts, heard: Instant::now() });
        Some((id, received))
    }

    /// A node answers.
    pub(super) fn answer(&self, node: &str, message: Message) -> Result<(), Unexpected> {
        let id = message.req_id().ok_or(Unexpected)?.to_owned();
        let mut entries = self.entries();
        let is_meant = |waiting: &&mut Waiting| waiting.node == node && message.answers(waiting.request);
        let waiting = entries.get_mut(&id).filter(is_meant).ok_or(Unexpected)?;
        if let Message::ResCommand { finished: false, mut answer, .. } = message {
            waiting.heard = Instant::now();
            if let (Some(data), Some(parts)) = (answer.get_mut("data").map(Value::take), &waiting.parts) {
                // Whoever asked has so much room, and no more.
                parts.try_send(data).ok();
            }
            return Ok(());
        }
        if let Some(waiting) = entries.remove(&id) {
            // It may be that nobody waits any more, since just now.
            waiting.answer.send(message).ok();
        }
        Ok(())
    }

    /// When its node last said something about a request.
    pub(super) fn heard(&self, id: &str) -> Option<Instant> {
        self.entries().get(id).map(|waiting| waiting.heard)
    }

    /// Nobody waits for it any more, or nobody can answer it: whether it was still open.
    pub(super) fn end(&self, id: &str) -> bool {
        self.entries().remove(id).is_some()
    }

    /// Nobody can answer any of them.
    pub(super) fn end_all(&self) {
        self.entries().clear();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.entries().len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PING: &str = "CNCMessageReqPing";
    const COMMAND: &str = "CNCMessageReqCommand";

    fn pong(id: &str) -> Message {
        Message::ResPing { req_id: Some(id.to_owned()) }
    }

    #[test]
    fn only_the_node_that_was_asked_answers_and_only_what_was_asked() {
        let pending = Pending::default();
        let (id, mut answer) = pending.begin("lab1", PING, None).unwrap();
        let other_answer = Message::ResListClients { req_id: Some(id.clone()), clients: Default::default() };

        assert_eq!(pending.answer("lab2", pong(&id)), Err(Unexpected));
        assert_eq!(pending.answer("lab1", other_answer), Err(Unexpected));
        assert_eq!(pending.answer("lab1", pong("another")), Err(Unexpected));
        assert_eq!(pending.answer("lab1", Message::ResPing { req_id: None }), Err(Unexpected));
        assert!(answer.try_recv().is_err());

        assert_eq!(pending.answer("lab1", pong(&id)), Ok(()));
        assert_eq!(answer.try_recv(), Ok(pong(&id)));
        assert_eq!(pending.answer("lab1", pong(&id)), Err(Unexpected), "once");
        assert_eq!(pending.count(), 0);
    }

    #[test]
    fn parts_come_before_the_answer_as_far_as_there_is_room() {
        let pending = Pending::default();
        let (parts, mut received) = mpsc::channel(2);
        let (id, mut answer) = pending.begin("lab1", COMMAND, Some(parts)).unwrap();
        let say = |finished, answer| {
            pending.answer("lab1", Message::ResCommand { req_id: Some(id.clone()), finished, answer })
        };
        let before = pending.heard(&id).unwrap();

        for part in [json!({"data": 1}), json!({}), json!({"data": 2}), json!({"data": 3})] {
            assert_eq!(say(false, part), Ok(()));
        }
        assert!(pending.heard(&id).unwrap() > before && answer.try_recv().is_err());
        assert_eq!(say(true, json!({"name": "csv"})), Ok(()));

        assert_eq!([received.try_recv(), received.try_recv()], [Ok(json!(1)), Ok(json!(2))]);
        assert!(received.try_recv().is_err());
        assert!(matches!(answer.try_recv(), Ok(Message::ResCommand { finished: true, .. })));
        assert_eq!(pending.heard(&id), None);
    }

    #[test]
    fn what_ends_is_gone_and_there_is_a_most() {
        let pending = Pending::default();
        let (id, mut answer) = pending.begin("lab1", PING, None).unwrap();
        assert!(pending.end(&id) && !pending.end(&id));
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));

        let held: Vec<_> = std::iter::from_fn(|| pending.begin("lab1", PING, None)).collect();

        assert_eq!(held.len(), MOST);
        pending.end_all();
        assert_eq!(pending.count(), 0);
    }
}
