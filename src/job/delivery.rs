//! A message in a job's hands.
//!
//! Invariants: the bytes of a payload do not change while the delivery, or a table made of it, lives; an acknowledgement
//! takes effect when the last of these is gone, so that nobody writes over a table that is still looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use bytes::Bytes;

use crate::bus;
use crate::message::{
    DecodeError, Decoder, EncodeError, Envelope, Message, MessageId, Origin, PayloadError, Prepared, Records, Topic,
    records, table_in_place,
};

/// A message. One that came by the ring is borrowed: a reader with `delivery = "lossless"` has to [`ack`](Self::ack)
/// each, at the latest when it has no more use for it, in any order; until then its writer cannot use the room again, and
/// a successor of this process gets the message once more.
#[derive(Debug)]
#[must_use = "a delivery that is not acknowledged holds up its writer"]
pub struct Delivery {
    /// The topic under which it came; of several that were subscribed, one.
    pub topic: Topic,
    /// What it says of itself.
    pub envelope: Envelope,
    latency_ns: i64,
    comes_again: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Ring(enrgdaq_ring::Delivery),
    /// Looked at by a table, too.
    Shared(Arc<Lent>),
    Bus(bus::Delivery),
    /// Written down and read again: all of it, and of that the payloads, one after the other.
    Kept {
        written: Bytes,
        payloads: Bytes,
    },
}

/// A record of the ring with more than one owner.
#[derive(Debug)]
struct Lent {
    record: Option<enrgdaq_ring::Delivery>,
    is_done: AtomicBool,
}

impl Lent {
    fn payload(&self) -> &[u8] {
        self.record.as_ref().map_or(&[], enrgdaq_ring::Delivery::payload)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.is_done.load(Ordering::Acquire)
            && let Some(record) = self.record.take()
        {
            record.ack();
        }
    }
}

/// One payload of a record, as the owner of a table's bytes.
struct Window {
    lent: Arc<Lent>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        &self.lent.payload()[self.start..self.end]
    }
}

impl Delivery {
    /// Of a record whose payloads were checked to lie within it.
    pub(super) fn of_ring(
        (topic, envelope): (Topic, Envelope),
        latency_ns: i64,
        record: enrgdaq_ring::Delivery,
        comes_again: bool,
    ) -> Self {
        Self { topic, envelope, latency_ns, comes_again, content: Content::Ring(record) }
    }

    pub(super) fn of_bus(delivery: bus::Delivery, latency_ns: i64) -> Self {
        let (topic, envelope) = (delivery.topic.plain(), delivery.envelope.clone());
        Self { topic, envelope, latency_ns, comes_again: false, content: Content::Bus(delivery) }
    }

    /// A message as it would come, for tests of whoever takes messages.
    ///
    /// # Errors
    /// [`EncodeError`]: no message that could be sent.
    ///
    /// # Panics
    /// If this library cannot read what it has written.
    pub fn made(message: &Message, id: MessageId, ts: i64) -> Result<Self, EncodeError> {
        let prepared = Prepared::new(message, &Origin::default(), &[])?;
        let infos = message.payload_infos();
        let len = prepared.size(&infos);
        let mut bytes = vec![0; size_of::<u32>() + len];
        prepared.write(&mut bytes[size_of::<u32>()..], id, ts, &infos);
        bytes[..size_of::<u32>()].copy_from_slice(&u32::try_from(len).expect("checked to be short").to_le_bytes());
        message.payloads.iter().for_each(|payload| bytes.extend_from_slice(&payload.bytes));
        Ok(Self::read_again(&bytes.into(), &mut Decoder::default()).expect("what was just encoded"))
    }

    /// A message that was written down ([`write_down`](Self::write_down)); nobody waits for its acknowledgement.
    ///
    /// # Errors
    /// [`DecodeError`]: other bytes.
    pub(crate) fn read_again(bytes: &Bytes, decoder: &mut Decoder) -> Result<Self, DecodeError> {
        let (len, rest) = bytes.split_first_chunk().ok_or(DecodeError::Payloads)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (envelope, payloads) = rest.split_at_checked(len).ok_or(DecodeError::Payloads)?;
        let mut envelope = decoder.decode(envelope)?;
        if envelope.check_offsets(payloads.len()).is_err() {
            // From the bus: they follow one another, whatever the envelope says of places.
            let len = envelope.payload.iter().fold(0, |sum: u64, info| sum.saturating_add(info.len));
            if len != payloads.len() as u64 {
                return Err(DecodeError::Payloads);
            }
            envelope.payload.iter_mut().for_each(|info| info.offset = None);
        }
        let topic = envelope.head.topics.first().cloned().unwrap_or_else(|| Topic::broadcast(""));
        let content = Content::Kept { payloads: bytes.slice_ref(payloads), written: bytes.clone() };
        Ok(Self { topic, envelope, latency_ns: 0, comes_again: false, content })
    }

    /// Appends the message to bytes: the envelope's length (u32, little-endian), the envelope, the payloads.
    pub(crate) fn write_down(&self, out: &mut Vec<u8>) {
        let of_record = |out: &mut Vec<u8>, record: &enrgdaq_ring::Delivery| {
            put_envelope(out, record.envelope());
            out.extend_from_slice(record.payload());
        };
        match &self.content {
            Content::Ring(record) => of_record(out, record),
            Content::Shared(lent) => lent.record.iter().for_each(|record| of_record(out, record)),
            Content::Bus(delivery) => {
                put_envelope(out, &delivery.envelope_frame);
                delivery.payloads.iter().for_each(|frame| out.extend_from_slice(frame));
            }
            Content::Kept { written, .. } => out.extend_from_slice(written),
        }
    }

    /// What names the message for ever.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.envelope.id
    }

    /// The bytes of a payload; in the ring they begin at a multiple of 64.
    #[must_use]
    pub fn payload(&self, n: usize) -> Option<&[u8]> {
        let all = match &self.content {
            Content::Ring(record) => record.payload(),
            Content::Shared(lent) => lent.payload(),
            Content::Bus(delivery) => return delivery.payloads.get(n).map(|frame| &frame[..]),
            Content::Kept { payloads, .. } => payloads,
        };
        let (start, end) = self.place(n)?;
        all.get(start..end)
    }

    /// The table that the message carries. Of a record of the ring nothing is copied: the table looks at the ring, and the
    /// acknowledgement of the delivery waits until the table is dropped.
    ///
    /// # Errors
    /// [`PayloadError`]: no payload, or one that is no table.
    pub fn table(&mut self) -> Result<RecordBatch, PayloadError> {
        if matches!(self.content, Content::Ring(_)) {
            let nothing = Content::Shared(Arc::new(Lent { record: None, is_done: AtomicBool::new(false) }));
            if let Content::Ring(record) = std::mem::replace(&mut self.content, nothing) {
                let lent = Lent { record: Some(record), is_done: AtomicBool::new(false) };
                self.content = Content::Shared(Arc::new(lent));
            }
        }
        match &self.content {
            Content::Shared(lent) => {
                let (start, end) = self.place(0).ok_or(PayloadError::Batches(0))?;
                table_in_place(Bytes::from_owner(Window { lent: lent.clone(), start, end }))
            }
            Content::Kept { payloads, .. } => {
                let (start, end) = self.place(0).ok_or(PayloadError::Batches(0))?;
                table_in_place(payloads.get(start..end).map_or_else(Bytes::new, |bytes| payloads.slice_ref(bytes)))
            }
            Content::Bus(_) | Content::Ring(_) => {
                crate::message::decode_table(self.payload(0).ok_or(PayloadError::Batches(0))?)
            }
        }
    }

    /// The small records that the message carries.
    ///
    /// # Errors
    /// [`PayloadError`]: no payload, or one that is no pack of records.
    pub fn records(&self) -> Result<Records<'_>, PayloadError> {
        records(self.payload(0).ok_or(PayloadError::Records(0))?)
    }

    /// Whether an earlier process of this job may have had the message already.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        match &self.content {
            Content::Ring(record) => record.redelivered(),
            Content::Shared(lent) => lent.record.as_ref().is_some_and(enrgdaq_ring::Delivery::redelivered),
            Content::Bus(_) => false,
            Content::Kept { .. } => true,
        }
    }

    /// Whether it comes again, to the next process of this job, if it is not acknowledged.
    #[must_use]
    pub fn comes_again(&self) -> bool {
        self.comes_again
    }

    /// From the writer's commit to the job's hands, in nanoseconds; negative where clocks differ.
    #[must_use]
    pub fn latency_ns(&self) -> i64 {
        self.latency_ns
    }

    /// Envelope and payloads, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let of_record = |record: &enrgdaq_ring::Delivery| (record.envelope().len() + record.payload().len()) as u64;
        match &self.content {
            Content::Ring(record) => of_record(record),
            Content::Shared(lent) => lent.record.as_ref().map_or(0, of_record),
            Content::Bus(delivery) => delivery.size(),
            Content::Kept { written, .. } => (written.len() - size_of::<u32>()) as u64,
        }
    }

    /// Done with it: what was to be kept is kept. Dropped without this, it comes again to the next process of this job.
    pub fn ack(self) {
        match self.content {
            Content::Ring(record) => record.ack(),
            Content::Shared(lent) => lent.is_done.store(true, Ordering::Release),
            Content::Bus(_) | Content::Kept { .. } => {}
        }
    }

    /// Where a payload lies within its record.
    fn place(&self, n: usize) -> Option<(usize, usize)> {
        let info = self.envelope.payload.get(n)?;
        // On the bus they have no offsets: they follow one another.
        let before = || self.envelope.payload[..n].iter().map(|info| info.len).sum();
        let start = usize::try_from(info.offset.unwrap_or_else(before)).ok()?;
        Some((start, start.checked_add(usize::try_from(info.len).ok()?)?))
    }
}

fn put_envelope(out: &mut Vec<u8>, envelope: &[u8]) {
    let len = u32::try_from(envelope.len()).expect("no envelope has over 16 MiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(envelope);
}
