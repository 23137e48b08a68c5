//! The one desk of all ways in: looks whether who asks may, writes down what he asks, hands it to the supervisor.

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::audit::{AuditLog, Entry};
use super::caller::{Caller, Reach};
use super::command::{Command, Refusal, Reply};
use super::events::{Event, Events};
use super::wire::call_value;
use crate::config::Role;

/// A command on its way to who executes it, with the way back for the answer.
#[derive(Debug)]
pub(crate) struct Inquiry {
    /// What is asked.
    pub(crate) command: Command,
    /// From where.
    pub(crate) reach: Reach,
    /// Where the answer goes. When it is closed nobody waits any more.
    pub(crate) reply: oneshot::Sender<Result<Reply, Refusal>>,
    /// Where what comes before the answer goes, as far as there is room.
    pub(crate) parts: mpsc::Sender<Value>,
}

/// Where commands are handed in; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    inquiries: mpsc::Sender<Inquiry>,
    /// Of this supervisor.
    id: String,
    audit: AuditLog,
    events: Events,
}

impl Desk {
    pub(crate) fn new(inquiries: mpsc::Sender<Inquiry>, id: String, audit: AuditLog, events: Events) -> Self {
        Self { inquiries, id, audit, events }
    }

    /// Has a command carried out; what comes before its answer is not wanted.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn ask(&self, caller: &Caller, command: Command) -> Result<Reply, Refusal> {
        let (parts, _) = mpsc::channel(1);
        self.ask_for_parts(caller, command, parts).await
    }

    /// Has a command carried out; what comes before its answer goes to `parts`. To drop the future is to leave.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn ask_for_parts(
        &self,
        caller: &Caller,
        command: Command,
        parts: mpsc::Sender<Value>,
    ) -> Result<Reply, Refusal> {
        let entry = self.admit(caller, &self.id, &command).await?;
        let (reply, answer) = oneshot::channel();
        let sent = self.inquiries.send(Inquiry { command, reach: caller.reach, reply, parts }).await;
        let answer = match sent {
            Ok(()) => answer.await.unwrap_or(Err(Refusal::Stopping)),
            Err(_) => Err(Refusal::Stopping),
        };
        if let Some(entry) = entry {
            entry.end(result(answer.as_ref().map(drop))).await;
        }
        answer
    }

    /// Whether a caller may give this command to this node; what changes something is written down, with the result that
    /// the entry is given.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], which is written down too.
    pub(crate) async fn admit(&self, caller: &Caller, node: &str, command: &Command) -> Result<Option<Entry>, Refusal> {
        let needs = command.needs();
        let is_allowed = caller.role >= needs;
        // Who only looks leaves no trace.
        let entry = (needs > Role::Viewer).then(|| self.audit.begin(caller, node, call_value(command)));
        if is_allowed {
            return Ok(entry);
        }
        let refusal = Refusal::Forbidden { needs, has: caller.role };
        if let Some(entry) = entry {
            entry.end(refusal.to_string()).await;
        }
        Err(refusal)
    }

    /// Somebody wants what his role does not allow, whatever it is in full: that is written down too.
    pub(crate) async fn turn_away(&self, caller: &Caller, node: &str, call: Value, needs: Role) -> Refusal {
        let refusal = Refusal::Forbidden { needs, has: caller.role };
        self.audit.begin(caller, node, call).end(refusal.to_string()).await;
        refusal
    }

    /// What happens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.listen()
    }

    /// Whom to tell what happens.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Commands that are missing in the audit log.
    pub(crate) fn audit_lost(&self) -> u64 {
        self.audit.lost()
    }

    /// Without a runtime: hands in, and waits.
    pub(crate) fn ask_blocking(&self, command: Command) -> Result<Result<Reply, Refusal>, Gone> {
        let (reply, answer) = oneshot::channel();
        let (parts, _) = mpsc::channel(1);
        let inquiry = Inquiry { command, reach: Reach::Here, reply, parts };
        self.inquiries.blocking_send(inquiry).map_err(|_| Gone)?;
        answer.blocking_recv().map_err(|_| Gone)
    }
}

/// Nobody executes commands any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;

/// What became of a command, for the audit log.
pub(crate) fn result(answer: Result<(), &Refusal>) -> String {
    match answer {
        Ok(()) => "ok".into(),
        Err(refusal) => refusal.to_string(),
    }
}
