//! The supervisors that a server knows, itself among them: what can be asked of each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::mpsc;

use super::answering::{answer, at_once, command_of};
use super::exchange::Exchange;
use super::log_lines::{as_client_log, is_shown};
use super::message::{ClientLog, Message};
use super::registry::{KEPT_LINES, info_of};
use crate::config::{Role, Verbosity};
use crate::control::wire::{call_value, read_answer};
use crate::control::{Caller, Command, Desk, LogQuery, Refusal, Reply};
use crate::message::SupervisorInfo;

/// A supervisor, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClientInfo {
    /// Its identity on the wire, base64.
    pub(crate) identity: Option<String>,
    /// When it was last heard of, ISO 8601.
    pub(crate) last_seen: String,
    /// What it said of itself.
    pub(crate) info: Option<SupervisorInfo>,
}

/// Why a node did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NodeError {
    /// Nobody of that id has ever come.
    #[error("Client not found or not connected.")]
    Unknown,
    /// It did not answer in time.
    #[error("Timeout waiting for client response.")]
    Silent,
    /// Who asks may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// All of them; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    own: SupervisorInfo,
    desk: Desk,
    exchange: Exchange,
    /// What of the server's own log is shown.
    verbosity: Verbosity,
}

impl Nodes {
    /// The server itself, to which nobody has come.
    pub(crate) fn new(own: SupervisorInfo, desk: Desk) -> Self {
        let exchange = Exchange::new(desk.events().clone());
        Self { own, desk, exchange, verbosity: Verbosity::default() }
    }

    /// Shows these lines of the server's own log, and those that are worse.
    #[must_use]
    pub(crate) fn with_verbosity(self, verbosity: Verbosity) -> Self {
        Self { verbosity, ..self }
    }

    /// The id of the server itself.
    pub(crate) fn own_id(&self) -> &str {
        &self.own.supervisor_id
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Who has come, and the server itself.
    pub(crate) fn clients(&self) -> BTreeMap<String, ClientInfo> {
        let mut clients = self.exchange.registry().infos();
        let own = info_of(self.own_id(), Timestamp::now(), Some(self.own.clone()));
        clients.insert(self.own_id().to_owned(), own);
        clients
    }

    /// What was dropped or refused, by kind.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.exchange.drops()
    }

    /// The newest lines of a node's log, oldest first; `None`: nobody of that id has ever come.
    pub(crate) async fn logs(&self, id: &str) -> Option<Vec<ClientLog>> {
        if id != self.own_id() {
            return self.exchange.registry().lines(id);
        }
        let caller = Caller::remote(id, "CNC", Role::Viewer);
        // Some of them are not shown.
        let query = LogQuery { lines: 10 * KEPT_LINES, ..LogQuery::default() };
        let lines = match self.desk.ask(&caller, Command::Logs { name: None, query }).await {
            Ok(Reply::Logs { lines, .. }) => lines,
            _ => Vec::new(),
        };
        let shown = lines.into_iter().filter(|line| is_shown(self.verbosity, &line.line.level));
        let mut shown: Vec<_> = shown.map(|line| as_client_log(line, id)).collect();
        shown.drain(..shown.len().saturating_sub(KEPT_LINES));
        Some(shown)
    }

    /// Asks a node what tools made for ENRGDAQ ask: a `Req…` is answered by its `Res…`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) async fn request(&self, caller: &Caller, id: &str, request: Message) -> Result<Message, NodeError> {
        let command = command_of(&request);
        if id == self.own_id() {
            if let Some(answer) = at_once(&request, || self.said_of_themselves()) {
                return Ok(answer);
            }
            let needs = command.map_or(Role::Viewer, |command| command.needs());
            let answered = answer(&self.desk, caller.clone(), &request, None).await;
            return match caller.role >= needs {
                true => Ok(answered?),
                // It is written down by now, and no answer for anybody.
                false => Err(Refusal::Forbidden { needs, has: caller.role }.into()),
            };
        }
        let entry = match &command {
            Some(command) => self.desk.admit(caller, id, command).await?,
            None => None,
        };
        let answered = self.exchange.ask(id, request).await;
        if let Some(entry) = entry {
            entry.end(outcome(&answered)).await;
        }
        answered
    }

    /// The server itself, and who has come.
    pub(super) fn said_of_themselves(&self) -> BTreeMap<String, Option<SupervisorInfo>> {
        let mut all = self.exchange.registry().said_of_themselves();
        all.insert(self.own_id().to_owned(), Some(self.own.clone()));
        all
    }

    /// Has a node carry out a command; what comes before the answer goes to `parts`. To drop the future is to call it off.
    ///
    /// # Errors
    /// [`NodeError`]; the node's own refusal is [`NodeError::Refused`].
    pub(crate) async fn command(
        &self,
        caller: &Caller,
        id: &str,
        command: Command,
        parts: mpsc::Sender<Value>,
    ) -> Result<Reply, NodeError> {
        if id == self.own_id() {
            return Ok(self.desk.ask_for_parts(caller, command, parts).await?);
        }
        let entry = self.desk.admit(caller, id, &command).await?;
        let Caller { who, from, role, .. } = caller.clone();
        let request = Message::ReqCommand { req_id: None, call: call_value(&command), who, from, role };
        let answered = self.exchange.command(id, request, parts).await;
        let answered = answered.and_then(|answer| Ok(read_answer(&command, answer)?));
        if let Some(entry) = entry {
            entry.end(answered.as_ref().map_or_else(NodeError::to_string, |_| "ok".into())).await;
        }
        answered
    }
}

/// What became of a request, for the audit log.
fn outcome(answered: &Result<Message, NodeError>) -> String {
    match answered {
        Ok(
            Message::ResRestartDaq { success: false, message, .. }
            | Message::ResStopDaqJobs { success: false, message, .. }
            | Message::ResRunCustomDaqJob { success: false, message, .. }
            | Message::ResStopDaqJob { success: false, message, .. }
            | Message::ResSendMessage { success: false, message, .. },
        ) => message.clone(),
        Ok(_) => "ok".into(),
        Err(error) => error.to_string(),
    }
}
