//! A stream: many messages to the same stores with the same tag, prepared once and filled where they are to lie.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use parking_lot::Mutex;

use super::outlet::{Line, Manner, Outlet};
use super::packs::{Flusher, Pack};
use super::publisher::StoreError;
use crate::bus::{Deadline, PublishError};
use crate::message::{
    Columns, Frame, Message, PayloadKind, StoreConfig, StoreRaw, StoreTable, TableShape, Topic, encode_table,
};

/// Messages to the same stores. What is published is committed when the call has returned: from then on it outlives this
/// process. All calls wait while the readers have no room, until the job is to stop; then they fail with
/// [`PublishError::Stopping`], which ends a job as it should.
///
/// ```no_run
/// # use enrgdaq::{job::{Context, JobError}, message::{StoreConfig, TableShape}};
/// # fn run(cx: &Context, stores: &StoreConfig) -> Result<(), JobError> {
/// let shape = TableShape::new().column::<i64>("t").column::<f64>("volts");
/// let mut stream = cx.publisher().stream(stores, None)?;
/// while !cx.stopping() {
///     stream.table(&shape, 1000, |columns| {
///         let (t, volts) = (columns.next::<i64>(), columns.next::<f64>());
///         t.iter_mut().zip(volts).enumerate().for_each(|(n, (t, volts))| (*t, *volts) = (n as i64, 0.5));
///     })?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stream {
    outlet: Arc<Outlet>,
    flusher: Arc<Flusher>,
    topics: Vec<Topic>,
    /// Tag and stores, with any body.
    model: Message,
    over_bus: bool,
    raw: Line,
    table: Option<TableLine>,
    pack: Option<Arc<Mutex<Pack>>>,
    /// The share of the time for the end in which messages that must not be lost wait for room.
    last_words: Option<f64>,
}

/// Tables of one shape and length.
#[derive(Debug)]
struct TableLine {
    shape: TableShape,
    rows: usize,
    frame: Frame,
    line: Line,
}

impl Stream {
    pub(super) fn new(
        outlet: Arc<Outlet>,
        flusher: Arc<Flusher>,
        topics: Vec<Topic>,
        (stores, tag): (&StoreConfig, Option<&str>),
    ) -> Result<Self, PublishError> {
        let mut model = Message::of(&StoreRaw {})?.for_stores(stores);
        model.tag = tag.map(str::to_owned);
        let raw = outlet.line(topics.clone(), model.clone(), PayloadKind::Raw)?;
        Ok(Self { outlet, flusher, topics, model, over_bus: false, raw, table: None, pack: None, last_words: None })
    }

    /// With everything over the bus, as for jobs without a place in the ring: for comparisons.
    #[must_use]
    pub fn over_bus(mut self) -> Self {
        self.over_bus = true;
        self
    }

    /// With this share of the time that the job has for its end ([`Context::share_of_end`](super::Context::share_of_end)) for
    /// [`whole`](Self::whole) and [`whole_table`](Self::whole_table): for what was read from somewhere and is nowhere else.
    #[must_use]
    pub fn with_last_words(mut self, share: f64) -> Self {
        self.last_words = Some(share);
        self
    }

    /// Sends these bytes, also when the job is to stop already, if [`with_last_words`](Self::with_last_words) gives it time.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was sent then, and with last words it counts as dropped.
    pub fn whole(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        send_whole(&self.outlet, &self.raw, self.over_bus, bytes, self.last_words)?;
        Ok(())
    }

    /// Sends this table, of any columns, as [`whole`](Self::whole) sends bytes.
    ///
    /// # Errors
    /// As [`whole`](Self::whole), and for what cannot be encoded.
    pub fn whole_table(&mut self, table: &RecordBatch) -> Result<(), StoreError> {
        let rows = table.num_rows() as u64;
        let message = Message::of(&StoreTable { rows }).map_err(PublishError::Encode)?.like(&self.model);
        let line =
            self.outlet.line(self.topics.clone(), message, PayloadKind::ArrowIpc).map_err(PublishError::Encode)?;
        send_whole(&self.outlet, &line, self.over_bus, &encode_table(table)?.bytes, self.last_words)?;
        Ok(())
    }

    /// Sends bytes. `fill` is handed room for `len` of them, 64-byte aligned, whose old contents mean nothing, and gives how
    /// many of them it has filled, or `None` to send nothing. It is not called if nobody has subscribed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was sent then.
    pub fn raw(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<(), StoreError> {
        Ok(self.outlet.send(&self.raw, len, self.manner(), fill)?)
    }

    /// Sends a table. `fill` is handed its columns, whose old contents mean nothing: it fills all of them. It is not called if
    /// nobody has subscribed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was sent then.
    pub fn table(
        &mut self,
        shape: &TableShape,
        rows: usize,
        fill: impl FnOnce(&mut Columns<'_>),
    ) -> Result<(), StoreError> {
        let table = match self.table.take() {
            Some(table) if table.rows == rows && table.shape == *shape => table,
            _ => self.table_line(shape, rows)?,
        };
        let (manner, TableLine { frame, line, .. }) = (self.manner(), self.table.insert(table));
        let len = frame.len();
        Ok(self.outlet.send(line, len, manner, |bytes| {
            fill(&mut frame.lay_out(bytes));
            Some(len)
        })?)
    }

    /// Sends a small record, packed with others: a message has 64 KiB of them, or what came within 5 ms. It is committed with
    /// its pack; [`flush`](Self::flush) commits it now.
    ///
    /// # Errors
    /// [`StoreError`]: a full pack could not be sent. Its records are kept, and the new one is not taken.
    pub fn record(&mut self, record: &[u8]) -> Result<(), StoreError> {
        if self.outlet.is_stopping() {
            let topic = self.topics.first().cloned().unwrap_or_else(|| Topic::broadcast(""));
            return Err(PublishError::Stopping { topic, sent: None }.into());
        }
        let pack = match self.pack.take() {
            Some(pack) => pack,
            None => self.new_pack(),
        };
        let pack = self.pack.insert(pack);
        let is_first = pack.lock().push(record)?;
        if is_first {
            self.flusher.tell();
        }
        Ok(())
    }

    /// Sends the records that wait for their pack to be full, also when the job is to stop already.
    ///
    /// # Errors
    /// [`StoreError`]; the records are kept then.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.pack.as_ref().map_or(Ok(()), |pack| pack.lock().flush())?;
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner { deadline: Deadline::Stop, over_bus: self.over_bus, despite_stop: false, is_kept: false }
    }

    fn table_line(&self, shape: &TableShape, rows: usize) -> Result<TableLine, PublishError> {
        let message = Message::of(&StoreTable { rows: rows as u64 })?.like(&self.model);
        let line = self.outlet.line(self.topics.clone(), message, PayloadKind::ArrowIpc)?;
        Ok(TableLine { shape: shape.clone(), rows, frame: shape.frame(rows), line })
    }

    fn new_pack(&self) -> Arc<Mutex<Pack>> {
        let pack = Pack::new(self.outlet.clone(), self.topics.clone(), self.model.clone(), self.over_bus);
        let pack = Arc::new(Mutex::new(pack));
        self.flusher.watch(&pack);
        pack
    }
}

/// Sends bytes that lie here: as soon as there is room, and, once the job is to stop, within the time for last words.
fn send_whole(
    outlet: &Outlet,
    line: &Line,
    over_bus: bool,
    bytes: &[u8],
    last_words: Option<f64>,
) -> Result<(), PublishError> {
    let send = |manner| {
        outlet.send(line, bytes.len(), manner, |room| {
            room.copy_from_slice(bytes);
            Some(bytes.len())
        })
    };
    let manner = Manner { deadline: Deadline::Stop, over_bus, despite_stop: false, is_kept: last_words.is_some() };
    match (send(manner), last_words) {
        (Err(PublishError::Stopping { .. }), Some(share)) => {
            let until = outlet.stop().share_passed_at(share);
            let within = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            send(Manner { deadline: Deadline::Within(within), over_bus, despite_stop: true, is_kept: false })
        }
        (sent, _) => sent,
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Here, and not when the flusher lets go of it: the process may end with this.
        if let Some(pack) = self.pack.take() {
            pack.lock().end();
        }
    }
}
