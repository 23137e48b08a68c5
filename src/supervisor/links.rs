//! The links to other nodes in the hands of the supervisor: their places in the ring, what the jobs here want of others,
//! alerts of others.
//!
//! Invariant: what a job that reads the ring wants is wanted as long as the ring keeps it for that job, whether its process
//! lives or not; so a link brings nothing that a store here does not get.

use std::sync::mpsc;
use std::time::Duration;

use enrgdaq_ring::Policy;

use super::dispatcher::{Dispatcher, Mail, Mailbox};
use super::entry::{Entry, Presence};
use super::ring::{LinkWish, Ring};
use crate::config::DeliveryMode;
use crate::control::StateName;
use crate::federation::{Home, Interest};
use crate::message::{Alert, Severity};

/// The supervisor answers at once, but at its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What links ask of the supervisor comes as mail.
#[derive(Debug, Clone)]
pub(super) struct MailHome(pub(super) Mailbox);

impl MailHome {
    fn ask(&self, link: &str, wish: LinkWish) -> Result<bool, String> {
        let (done, answer) = mpsc::channel();
        let mail = Mail::Link { link: link.to_owned(), wish, done };
        // At its end the supervisor waits for whoever asks here: nobody is to wait for room in its mailbox.
        self.0.try_send(mail).map_err(|_| "the supervisor takes no mail".to_owned())?;
        answer.recv_timeout(ANSWER_WITHIN).map_err(|_| "the supervisor does not answer".to_owned())?
    }
}

impl Home for MailHome {
    fn give_region(&self, link: &str, bytes: usize) -> Result<bool, String> {
        self.ask(link, LinkWish::Region { bytes })
    }

    fn subscribe(&self, link: &str, policy: Policy, topics: Vec<String>) -> Result<(), String> {
        self.ask(link, LinkWish::Topics { policy, topics }).map(drop)
    }

    fn raise(&self, severity: Severity, message: String) {
        // At its end the supervisor takes no mail, and nobody is to wait for it.
        if let Err(error) = self.0.try_send(Mail::Raise { severity, message })
            && let Mail::Raise { message, .. } = error.into_inner()
        {
            tracing::warn!("{message}");
        }
    }

    fn hear(&self, alert: Alert) {
        self.0.try_send(Mail::Alert(alert)).ok();
    }
}

/// What the jobs want of other nodes: of those that do not read the ring, while they run or are about to.
pub(super) fn wanted(entries: &[Entry], ring: Option<&Ring>) -> Interest {
    let mut interest = Interest::default();
    for (job, entry) in entries.iter().enumerate() {
        let is_kept = ring.is_some_and(|ring| ring.is_read_by(job));
        let is_first = entry.generation == 0 && entry.config.supervise.autostart;
        let is_on = is_first || entry.is_due || entry.is_live() || entry.state.name() == StateName::BackingOff;
        if entry.presence == Presence::Gone || !(is_kept || is_on) {
            continue;
        }
        let is_lossless = entry.config.delivery == DeliveryMode::Lossless;
        entry.subscriptions.iter().for_each(|topic| interest.add(topic, is_lossless));
    }
    interest
}

impl Dispatcher {
    /// Other nodes learn what is wanted here.
    pub(super) fn tell_links(&self) {
        let Some(federation) = &self.parts.federation else { return };
        let ring = self.parts.ring.as_ref();
        federation.set_wanted(wanted(&self.parts.entries, ring), ring.is_some_and(Ring::has_outsiders));
    }

    pub(super) fn serve_link(&mut self, link: &str, wish: LinkWish) -> Result<bool, String> {
        let ring = self.parts.ring.as_mut().ok_or("there is no ring")?;
        ring.serve_link(link, wish).map_err(|error| crate::error_chain(&error))
    }
}
