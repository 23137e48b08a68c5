//! What a store says of its work: figures, refusals, outages.

use std::path::Path;
use std::time::Instant;

use super::outage::Outage;
use super::refusals::Refusals;
use super::sink::{Refused, Report, Trouble};
use super::spool::{Spool, SpoolError};
use crate::error_chain;
use crate::job::{Context, Delivery};
use crate::message::Severity;

/// What it did so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    rows: u64,
    bytes_written: u64,
    bytes_synced: u64,
    files: u64,
    /// Messages that came again and were stored already.
    pub(super) repeated: u64,
}

/// Speaks for a store.
#[derive(Debug)]
pub(super) struct Teller {
    cx: Context,
    outage: Outage,
    spool_outage: Outage,
    refusals: Refusals,
    pub(super) progress: Progress,
}

impl Teller {
    pub(super) fn new(cx: Context) -> Self {
        let (outage, spool_outage) = (Outage::default(), Outage::default());
        Self { cx, outage, spool_outage, refusals: Refusals::default(), progress: Progress::default() }
    }

    /// A message was refused.
    pub(super) fn refuse(&mut self, delivery: &Delivery, refused: &Refused) {
        self.refusals.refuse(&self.cx, delivery, refused);
    }

    /// A batch is stored, but for what the report names.
    pub(super) fn committed(&mut self, report: Report) {
        self.progress.rows += report.rows;
        self.progress.bytes_written += report.bytes;
        self.progress.files = report.files;
        report.lost.into_iter().for_each(|lost| self.refusals.lose(&self.cx, lost));
    }

    /// All that is stored survives a power failure.
    pub(super) fn synced(&mut self) {
        self.progress.bytes_synced = self.progress.bytes_written;
    }

    /// The backend stores nothing.
    pub(super) fn trouble(&mut self, trouble: &Trouble) {
        let (name, why) = (self.cx.name(), error_chain(trouble));
        self.cx.last_error(&why);
        if self.outage.failed(Instant::now()) {
            let text = format!("{name} cannot write, and keeps what comes until it can: {why}");
            self.cx.alert(Severity::Error, text);
        }
    }

    /// Nor does the spool.
    pub(super) fn spool_trouble(&mut self, error: &SpoolError) {
        let (name, why) = (self.cx.name(), error_chain(error));
        self.cx.last_error(&why);
        if self.spool_outage.failed(Instant::now()) {
            let text = format!("{name} has no place for what comes, and its sources wait; nothing is lost: {why}");
            self.cx.alert(Severity::Error, text);
        }
    }

    /// A part of the spool is no message.
    pub(super) fn unreadable(&self, path: &Path, bytes: u64) {
        let (name, path) = (self.cx.name(), path.display());
        let text =
            format!("{name} cannot read {bytes} bytes of its spool any more, they are not stored; kept as {path}");
        self.cx.alert(Severity::Error, text);
    }

    /// The backend has nothing of what it had stored for good.
    pub(super) fn emptied(&self) {
        let name = self.cx.name();
        let text =
            format!("{name}: what was stored before is not there any more: somebody moved, emptied or replaced it");
        self.cx.alert(Severity::Warning, text);
    }

    /// The backend has not what it had taken since the last sync, so many messages at most, of which so many do not come
    /// again.
    pub(super) fn forgotten(&self, messages: u64, lost: u64) {
        let name = self.cx.name();
        let text = format!(
            "{name}: what was written since the last sync is not there any more, {messages} messages at most \
             (durability = \"synced\" has them kept until it is)"
        );
        self.cx.refuse(lost);
        self.cx.alert(Severity::Error, text);
    }

    /// The backend stores again, and nothing but the spool may be left of an outage.
    pub(super) fn may_be_over(&mut self, now: Instant, is_spool_empty: bool, is_ending: bool) {
        self.spool_outage.is_over(now, true);
        if is_spool_empty && self.outage.is_over(now, is_ending) {
            self.cx.alert(Severity::Info, format!("{} writes again, and has written what waited", self.cx.name()));
        }
    }

    /// Shows the figures.
    pub(super) fn show(&self, spool: &Spool) {
        let progress = &self.progress;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let figures = [
            ("rows", progress.rows),
            ("bytes_written", progress.bytes_written),
            ("bytes_synced", progress.bytes_synced),
            ("files_open", progress.files),
            ("spool_bytes", spool.bytes()),
            ("repeats_passed_over", progress.repeated),
        ]
        .map(|(name, value)| (name, value as f64));
        figures.into_iter().for_each(|(name, value)| self.cx.figure(name, value));
    }
}
