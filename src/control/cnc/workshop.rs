//! Where a client carries out what its server asks.
//!
//! Invariants: each request is a task of its own, so that a slow one holds up no other; so many are under way at a time; a
//! command that nobody waits for any more is called off, an order of a tool made for ENRGDAQ goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::answering::{answer, at_once, busy};
use super::body::{decode, encode};
use super::drops::{Dropped, Drops};
use super::exchange::PATIENCE;
use super::message::Message;
use super::outbox::Outbox;
use super::places::{Place, Places};
use crate::config::Role;
use crate::control::wire::{answer_value, failure_value, parse_value};
use crate::control::{Caller, Command, Desk};
use crate::message::SupervisorInfo;

/// How often it is said that a command is still under way.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How soon it tries again to hand in an answer.
const AGAIN: Duration = Duration::from_millis(20);

/// Parts of an answer that may wait for their way out.
const PARTS: usize = 64;

/// Where requests of the server are carried out; clones are the same.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) desk: Desk,
    pub(super) own: SupervisorInfo,
    pub(super) address: String,
    pub(super) answers: Outbox<(Instant, Vec<u8>)>,
    pub(super) places: Places,
    /// Commands that can be called off, by the id of the request.
    pub(super) under_way: Arc<Mutex<HashMap<String, AbortHandle>>>,
    pub(super) drops: Arc<Drops>,
    pub(super) runtime: Handle,
}

impl Workshop {
    /// One message of the server.
    pub(super) fn take(&self, body: &[u8]) {
        let message = match decode(body) {
            Ok(message) => message,
            Err(error) => return self.drops.count(Dropped::Body, "the server", &error.to_string(), None),
        };
        match message {
            Message::ReqCancel { req_id: Some(id) } => self.call_off(&id),
            Message::ReqCommand { req_id: Some(id), call, who, from, role } => {
                self.carry_out(id, &call, Caller::remote(who, from, role));
            }
            request if request.is_request() => self.answer(request),
            other => self.drops.count(Dropped::Unexpected, "the server", other.name(), None),
        }
    }

    /// What tools made for ENRGDAQ ask.
    fn answer(&self, request: Message) {
        let this = self.clone();
        let own = || [(self.own.supervisor_id.clone(), Some(self.own.clone()))].into();
        if let Some(answer) = at_once(&request, own) {
            self.runtime.spawn(async move { this.send(&answer).await });
            return;
        }
        let Some(place) = self.places.take("server", true) else {
            self.drops.count(Dropped::Busy, "the server", request.name(), None);
            if let Some(busy) = busy(&request) {
                self.runtime.spawn(async move { this.send(&busy).await });
            }
            return;
        };
        self.runtime.spawn(async move {
            let caller = Caller::remote("server", format!("CNC {}", this.address), Role::Admin);
            // A status that is refused has no words for that.
            if let Ok(response) = answer(&this.desk, caller, &request, Some(place)).await {
                this.send(&response).await;
            }
        });
    }

    /// A command in the words of the control socket.
    fn carry_out(&self, id: String, call: &Value, caller: Caller) {
        let this = self.clone();
        let refuse = |class: &str, why: &str| {
            let (this, id, answer) = (self.clone(), id.clone(), failure_value(class, why));
            self.runtime.spawn(async move { this.say(&id, true, answer).await });
        };
        let command = match parse_value(call) {
            Ok(command) => command,
            Err(why) => return refuse("BadCall", &why),
        };
        let Some(place) = self.places.take("server", true) else {
            self.drops.count(Dropped::Busy, "the server", "CNCMessageReqCommand", None);
            return refuse("Busy", "too busy: many requests are under way");
        };
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.contains_key(&id) {
            return;
        }
        let its_id = id.clone();
        // It takes itself out of the table at its end, for which it needs the lock that is held here.
        let task = self.runtime.spawn(async move { this.work(its_id, command, caller, place).await });
        under_way.insert(id, task.abort_handle());
    }

    async fn work(self, id: String, command: Command, caller: Caller, place: Place) {
        let (parts, mut to_send) = mpsc::channel(PARTS);
        let asked = self.desk.ask_for_parts(&caller, command, parts);
        tokio::pin!(asked);
        let mut life = tokio::time::interval(SIGN_OF_LIFE);
        let answer = loop {
            tokio::select! {
                // Parts before the answer that they belong to.
                biased;
                Some(data) = to_send.recv() => self.say(&id, false, json!({"data": data})).await,
                answer = &mut asked => break answer,
                _ = life.tick() => self.say(&id, false, json!({})).await,
            }
        };
        while let Ok(data) = to_send.try_recv() {
            self.say(&id, false, json!({"data": data})).await;
        }
        self.say(&id, true, answer_value(&answer)).await;
        drop(place);
        self.forget(&id);
    }

    fn call_off(&self, id: &str) {
        if let Some(task) = self.forget(id) {
            task.abort();
        }
    }

    fn forget(&self, id: &str) -> Option<AbortHandle> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    async fn say(&self, id: &str, finished: bool, answer: Value) {
        let req_id = Some(id.to_owned());
        self.send(&Message::ResCommand { req_id, finished, answer }).await;
    }

    /// Waits for room as long as the server waits for the message.
    async fn send(&self, message: &Message) {
        let body = match (encode(message), message) {
            (Ok(body), _) => body,
            (Err(error), Message::ResCommand { req_id, finished: true, .. }) => {
                let answer = failure_value("TooLarge", &error.to_string());
                let told = encode(&Message::ResCommand { req_id: req_id.clone(), finished: true, answer });
                told.unwrap_or_default()
            }
            (Err(error), _) => return self.drops.count(Dropped::Unsent, "the server", &error.to_string(), None),
        };
        let mut letter = (Instant::now(), body);
        while let Err(back) = self.answers.hand_in(letter) {
            if back.0.elapsed() > PATIENCE {
                return self.drops.count(Dropped::Unsent, "the server", message.name(), None);
            }
            letter = back;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Nobody waits for any of it any more.
    pub(super) fn close(&self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).drain().for_each(|(_, task)| task.abort());
    }
}
