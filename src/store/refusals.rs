//! Messages that cannot be stored: each is counted, and each kind is told once a stream.

use std::collections::HashSet;

use super::sink::{Lost, Refused};
use crate::job::{Context, Delivery};
use crate::message::Severity;

/// Kinds that are remembered; beyond, they are counted only.
const MOST_TOLD: usize = 10_000;

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    messages: u64,
    told: HashSet<String>,
}

impl Refusals {
    /// A message was refused.
    pub(super) fn refuse(&mut self, cx: &Context, delivery: &Delivery, refused: &Refused) {
        let src = &delivery.envelope.head.src;
        let key = format!("{} {}", src.unique_id, refused.kind);
        let text = format!("messages of {} ({}): {}", src.daq_job_type, src.unique_id, refused.why);
        self.count(cx, 1, key, &text);
    }

    /// Messages could not be stored.
    pub(super) fn lose(&mut self, cx: &Context, lost: Lost) {
        self.count(cx, lost.messages, lost.key, &lost.why);
    }

    fn count(&mut self, cx: &Context, messages: u64, key: String, text: &str) {
        cx.refuse(messages);
        self.messages += messages;
        if self.told.len() < MOST_TOLD && self.told.insert(key) {
            let refused = self.messages;
            cx.alert(Severity::Error, format!("{} does not store {text} (refused so far: {refused})", cx.name()));
        }
    }
}
