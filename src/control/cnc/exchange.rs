//! Where the server's thread and those who ask meet: who has come, what is under way, what is to be sent.
//!
//! Invariant: a request that nobody waits for any more leaves nothing behind, and whoever carries it out is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::body::encode;
use super::drops::{Dropped, Drops};
use super::message::Message;
use super::nodes::NodeError;
use super::outbox::{Letters, Outbox, outbox};
use super::pending::Pending;
use super::registry::Registry;
use crate::control::{Events, Refusal};

/// How long a request waits for its answer, and a command for a sign of life.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What goes to a node.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) to: String,
    pub(super) body: Vec<u8>,
    /// The request that cannot be answered if it cannot be sent.
    pub(super) request: Option<String>,
}

/// All of it; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    pending: Pending,
    out: Option<Outbox<Letter>>,
    /// Until the server's thread takes them.
    letters: Mutex<Option<Letters<Letter>>>,
    drops: Drops,
    events: Events,
    /// A node proves who it is by its key: what is meant for it goes to nobody who could have taken its place unheard.
    is_strict: AtomicBool,
}

impl Exchange {
    /// One to which nobody has come.
    pub(super) fn new(events: Events) -> Self {
        // Without a descriptor there is nobody to send to; the server then cannot start either.
        let (out, letters) = outbox().ok().unzip();
        Self(Arc::new(Inner {
            registry: Mutex::default(),
            pending: Pending::default(),
            out,
            letters: Mutex::new(letters),
            drops: Drops::default(),
            events,
            is_strict: AtomicBool::new(false),
        }))
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending(&self) -> &Pending {
        &self.0.pending
    }

    pub(super) fn events(&self) -> &Events {
        &self.0.events
    }

    /// What is to be sent, once: for who sends it.
    pub(super) fn take_letters(&self, is_strict: bool) -> Option<Letters<Letter>> {
        self.0.is_strict.store(is_strict, Ordering::Relaxed);
        self.0.letters.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Something was dropped.
    pub(super) fn drop(&self, dropped: Dropped, who: &str, why: &str) {
        self.0.drops.count(dropped, who, why, Some(&self.0.events));
    }

    /// So many of each kind.
    pub(super) fn drops(&self) -> BTreeMap<&'static str, u64> {
        self.0.drops.counts()
    }

    /// Hands in what nobody waits for an answer to.
    pub(super) fn send(&self, to: &str, message: &Message) {
        let sent = encode(message).is_ok_and(|body| self.hand_in(to, body, None));
        if !sent {
            self.drop(Dropped::Unsent, to, message.name());
        }
    }

    fn hand_in(&self, to: &str, body: Vec<u8>, request: Option<String>) -> bool {
        let letter = Letter { to: to.to_owned(), body, request };
        self.0.out.as_ref().is_some_and(|out| out.hand_in(letter).is_ok())
    }

    /// Asks a node, and waits for its answer.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(super) async fn ask(&self, node: &str, request: Message) -> Result<Message, NodeError> {
        let mut ticket = self.begin(node, request, None)?;
        match timeout(PATIENCE, &mut ticket.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NodeError::Silent),
        }
    }

    /// Has a node carry out a command, and waits for its last answer as long as it gives signs of life.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(super) async fn command(
        &self,
        node: &str,
        request: Message,
        parts: mpsc::Sender<Value>,
    ) -> Result<Value, NodeError> {
        let mut ticket = self.begin(node, request, Some(parts))?;
        let mut due = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                biased;
                answered = &mut ticket.answer => return match answered {
                    Ok(Message::ResCommand { answer, .. }) => Ok(answer),
                    _ => Err(NodeError::Silent),
                },
                () = sleep_until(due) => {}
            }
            due = match self.pending().heard(&ticket.id) {
                Some(heard) if heard.elapsed() >= PATIENCE => return Err(NodeError::Silent),
                Some(heard) => Instant::from_std(heard) + PATIENCE,
                // It is being answered just now.
                None => Instant::now() + PATIENCE,
            };
        }
    }

    fn begin(&self, node: &str, request: Message, parts: Option<mpsc::Sender<Value>>) -> Result<Ticket<'_>, NodeError> {
        {
            let registry = self.registry();
            if !registry.has(node) {
                return Err(NodeError::Unknown);
            }
            if self.0.is_strict.load(Ordering::Relaxed) && !registry.is_in_its_place(node) {
                return Err(NodeError::Silent);
            }
        }
        let is_command = parts.is_some();
        let (id, answer) = self.pending().begin(node, request.name(), parts).ok_or(NodeError::Silent)?;
        let ticket = Ticket { exchange: self, node: node.to_owned(), id, is_command, answer };
        let body = encode(&request.with_req_id(Some(ticket.id.clone())))
            .map_err(|error| NodeError::Refused(Refusal::of_class("TooLarge", error.to_string())))?;
        match self.hand_in(node, body, Some(ticket.id.clone())) {
            true => Ok(ticket),
            false => Err(NodeError::Silent),
        }
    }
}

/// A request under way, as long as somebody waits for its answer.
#[derive(Debug)]
struct Ticket<'e> {
    exchange: &'e Exchange,
    node: String,
    id: String,
    is_command: bool,
    answer: oneshot::Receiver<Message>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let is_open = self.exchange.pending().end(&self.id);
        if is_open && self.is_command {
            self.exchange.send(&self.node, &Message::ReqCancel { req_id: Some(self.id.clone()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::decode;
    use super::super::registry::Now;
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn with_node() -> (Exchange, Letters<Letter>) {
        let exchange = Exchange::new(Events::new());
        exchange.registry().hear("lab1", "", Now::new());
        let letters = exchange.take_letters(false).unwrap();
        (exchange, letters)
    }

    fn ping() -> Message {
        Message::ReqPing { req_id: None }
    }

    fn command() -> Message {
        let call = serde_json::json!({"do": "status"});
        let (who, from) = ("anna".to_owned(), "REST".to_owned());
        Message::ReqCommand { req_id: None, call, who, from, role: crate::config::Role::Viewer }
    }

    #[test]
    fn a_request_that_is_not_answered_is_silent_and_leaves_nothing() {
        let (exchange, letters) = with_node();

        let answer = runtime().block_on(exchange.ask("lab1", ping()));

        assert_eq!(answer, Err(NodeError::Silent));
        assert_eq!(exchange.pending().count(), 0);
        assert_eq!(letters.waiting.try_iter().count(), 1, "and nothing is to be called off");
        assert_eq!(runtime().block_on(exchange.ask("lab2", ping())), Err(NodeError::Unknown));
    }

    #[test]
    fn whoever_leaves_before_the_answer_leaves_nothing_and_calls_his_command_off() {
        let (exchange, letters) = with_node();

        runtime().block_on(async {
            let (parts, _received) = mpsc::channel(1);
            assert!(timeout(Duration::from_secs(1), exchange.command("lab1", command(), parts)).await.is_err());
            assert!(timeout(Duration::from_secs(1), exchange.ask("lab1", ping())).await.is_err());
        });

        assert_eq!(exchange.pending().count(), 0);
        let sent: Vec<_> = letters.waiting.try_iter().map(|letter| decode(&letter.body).unwrap()).collect();
        let names: Vec<_> = sent.iter().map(Message::name).collect();
        assert_eq!(names, ["CNCMessageReqCommand", "CNCMessageReqCancel", "CNCMessageReqPing"]);
        assert_eq!(sent[0].req_id(), sent[1].req_id());
    }

    #[test]
    fn nobody_who_could_have_taken_a_nodes_place_gets_what_is_meant_for_it() {
        let exchange = Exchange::new(Events::new());
        exchange.registry().hear("lab1", "", Now::new());
        let letters = exchange.take_letters(true).unwrap();

        exchange.registry().note_displaced("lab1");

        assert_eq!(runtime().block_on(exchange.ask("lab1", ping())), Err(NodeError::Silent));
        assert_eq!(letters.waiting.try_iter().count(), 0);
    }

    #[test]
    fn a_full_outbox_is_silence_and_not_a_wait() {
        let (exchange, letters) = with_node();
        while exchange.hand_in("lab1", Vec::new(), None) {}

        assert_eq!(runtime().block_on(exchange.ask("lab1", ping())), Err(NodeError::Silent));
        assert_eq!(exchange.pending().count(), 0);
        drop(letters);
    }
}
