//! Where records go: to the stores, or, if they are none, into the book of what was refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use enrgdaq::job::{Context, JobError, PublishError, StoreError, Stream};
use enrgdaq::message::{Severity, StoreConfig};

use super::gate::Gate;

/// The stores of a program's records.
#[derive(Debug)]
pub(super) struct Sink {
    cx: Context,
    stream: Stream,
    gate: Arc<Gate>,
    opens_gate: bool,
    feeds_watchdog: bool,
    records: u64,
    refused: u64,
    /// Read from the program, and handed on no more, as the stores had no room until the end.
    lost: u64,
    told: BTreeSet<&'static str>,
}

/// What a sink does besides storing.
#[derive(Debug, Clone)]
pub(super) struct Duties {
    pub(super) gate: Arc<Gate>,
    /// The first record is the sign that the program is ready.
    pub(super) opens_gate: bool,
    /// Each record is a sign of life.
    pub(super) feeds_watchdog: bool,
}

/// The share of the time for the end in which the last records wait for room: beyond that of the program, and enough is
/// left to count what found none.
const LAST_WORDS: f64 = 0.9;

impl Sink {
    pub(super) fn new(
        cx: &Context,
        (stores, tag): (&StoreConfig, Option<&str>),
        duties: Duties,
    ) -> Result<Self, JobError> {
        let stream = cx.publisher().stream(stores, tag)?.with_last_words(LAST_WORDS);
        let Duties { gate, opens_gate, feeds_watchdog, .. } = duties;
        let (records, refused, lost, told) = (0, 0, 0, BTreeSet::new());
        Ok(Self { cx: cx.clone(), stream, gate, opens_gate, feeds_watchdog, records, refused, lost, told })
    }

    /// Rows.
    pub(super) fn table(&mut self, table: &RecordBatch) -> Result<(), JobError> {
        if table.num_rows() > 0 {
            let sent = self.stream.whole_table(table);
            self.note(sent, table.num_rows() as u64)?;
        }
        Ok(())
    }

    /// A record of bytes.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        let sent = self.stream.whole(bytes);
        self.note(sent, 1)
    }

    /// Counts what was handed on, or found no room until the end; all that comes after it is still tried, and counted.
    fn note(&mut self, sent: Result<(), StoreError>, records: u64) -> Result<(), JobError> {
        match sent {
            Err(StoreError::Publish(PublishError::Stopping { .. } | PublishError::Deadline { .. })) => {
                self.lost += records;
                return Ok(());
            }
            other => other?,
        }
        self.records += records;
        if self.feeds_watchdog {
            self.cx.alive();
        }
        if self.opens_gate {
            self.gate.open();
        }
        Ok(())
    }

    /// A record that cannot be stored: it is counted, and the first of its kind told.
    pub(super) fn refuse(&mut self, kind: &'static str, why: impl FnOnce() -> String) {
        self.cx.refuse(1);
        self.refused += 1;
        if self.told.insert(kind) {
            let text = format!("{} does not store what its program writes: {}", self.cx.name(), why());
            self.cx.alert(Severity::Warning, format!("{text} (others like it are only counted)"));
        }
    }

    /// The program's end has cut a record off.
    pub(super) fn lose_rest(&mut self, bytes: usize) {
        self.cx.refuse(1);
        self.refused += 1;
        tracing::warn!("the program ended within a record: its {bytes} bytes are lost");
    }

    /// The last word: nothing comes any more.
    ///
    /// # Errors
    /// How much was lost, if any was.
    pub(super) fn close(&self) -> Result<(), JobError> {
        if self.refused > 0 {
            tracing::warn!("{} records of the program were not stored, {} were", self.refused, self.records);
        }
        if self.lost == 0 {
            return Ok(());
        }
        let context = format!(
            "{} records that the program wrote are lost: the stores had no room for them until the job had to end",
            self.lost
        );
        Err(JobError::Failed { context, source: None })
    }

    /// Shows how much there was.
    pub(super) fn report(&self) {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        for (name, count) in [("records", self.records), ("records_refused", self.refused), ("records_lost", self.lost)]
        {
            self.cx.figure(name, count as f64);
        }
    }
}
