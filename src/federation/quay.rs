//! Where messages from another node come ashore: into the ring, or onto the bus, as its own would.
//!
//! Invariants: what is not a whole message, or may not come in, is refused before it is seen by anybody; a message keeps
//! the name that its origin gave it, and all of one link go into one region, in the order in which they came: so a store
//! may take it that what it has of an epoch is all up to there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use enrgdaq_ring::{Claim, ClaimError, RingName, Size, Spin, Stop, Until, Writer, WriterSpec};

use super::frame::Parcel;
use super::interest::{Barred, crossing};
use super::link::{Link, add};
use super::node::{Node, writer_number};
use super::packing::unpack;
use crate::bus::Publisher;
use crate::message::{Alert, Decoder, Envelope, Plane, Received, Severity, Stamping, Topic};
use crate::os::now_ns;
use crate::store::Marks;

/// No message is larger.
pub(super) const MAX_MESSAGE: u64 = 256 << 20;

/// How often it is tried to get room in the ring.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Landing {
    /// It is committed.
    Done,
    /// It is here already.
    Again,
    /// Nobody wants it any more.
    Unwanted,
    /// There is no room for it now.
    Later,
    /// It may not come in, and why.
    Refused(&'static str),
}

/// The quay of one link.
pub(super) struct Quay {
    node: Arc<Node>,
    link: Arc<Link>,
    bus: Arc<Publisher>,
    writer: Option<Writer>,
    /// The size of its region.
    bytes: usize,
    look_at: Instant,
    decoder: Decoder,
    /// What has come of each epoch.
    marks: Marks,
    /// To be added to the origin's clock.
    clock_offset: i64,
    begun_at: Instant,
    is_told: bool,
    never: Stop,
}

/// A message that may come in.
struct Arrived<'p> {
    envelope: Envelope,
    stamping: Stamping<'p>,
    received: Received,
    topics: Vec<Topic>,
    len: usize,
}

impl Quay {
    pub(super) fn new(node: Arc<Node>, link: Arc<Link>, bus: Arc<Publisher>) -> Self {
        let now = Instant::now();
        Self {
            bytes: usize::try_from(node.config.ring_bytes()).unwrap_or(usize::MAX),
            node,
            link,
            bus,
            writer: None,
            look_at: now,
            decoder: Decoder::default(),
            marks: Marks::default(),
            clock_offset: 0,
            begun_at: now,
            is_told: false,
            never: Stop::new(),
        }
    }

    /// What is to be added to the other node's clock to have this one's, in ns.
    pub(super) fn set_clock_offset(&mut self, offset: i64) {
        self.clock_offset = offset;
    }

    /// Brings a message of the stream in, if there is room.
    pub(super) fn land(&mut self, parcel: &Parcel) -> Landing {
        if parcel.envelope.is_empty() {
            return Landing::Unwanted;
        }
        let arrived = match self.look_at_it(parcel) {
            Ok(arrived) => arrived,
            Err(why) => return Landing::Refused(why),
        };
        let id = arrived.envelope.id;
        if self.marks.has(id) {
            return Landing::Again;
        }
        let landing = self.bring_in(parcel, &arrived);
        if matches!(landing, Landing::Done | Landing::Unwanted) {
            self.marks.raise(id);
        }
        landing
    }

    /// Brings one of the latest in: at once, or not at all.
    pub(super) fn land_latest(&mut self, parcel: &Parcel) -> Landing {
        match self.look_at_it(parcel) {
            Ok(arrived) => self.bring_in(parcel, &arrived),
            Err(why) => Landing::Refused(why),
        }
    }

    fn look_at_it<'p>(&mut self, parcel: &'p Parcel) -> Result<Arrived<'p>, &'static str> {
        let len = parcel.whole.unwrap_or(parcel.payload.len() as u64);
        let len = usize::try_from(len).ok().filter(|len| *len as u64 <= MAX_MESSAGE).ok_or("it is too large")?;
        let envelope = self.decoder.decode(&parcel.envelope).map_err(|_| "it has no readable envelope")?;
        let stamping = Stamping::of(&parcel.envelope).filter(|_| envelope.ord.is_none());
        let stamping = stamping.ok_or("it has an envelope of another form")?;
        envelope.check_offsets(len).map_err(|_| "its payloads are not where its envelope says")?;
        let topics = crossing(&envelope, self.node.inward(&self.link)).map_err(|barred| match barred {
            Barred::Local => "it is for stores of its own node only",
            Barred::Origin => "it is said to come from another node than the one that sent it",
            Barred::Topic => "it has no topic that may come from elsewhere",
        })?;
        let before = envelope.received.map_or(0, |received| received.clock_offset);
        let received = Received { at: now_ns(), clock_offset: before.saturating_add(self.clock_offset) };
        Ok(Arrived { envelope, stamping, received, topics, len })
    }

    fn bring_in(&mut self, parcel: &Parcel, arrived: &Arrived<'_>) -> Landing {
        let is_data = |topic: &&Topic| topic.plane() == Plane::Data;
        if arrived.topics.iter().all(|topic| !is_data(&topic)) {
            return self.put_onto_bus(arrived);
        }
        let topics: Vec<_> = arrived.topics.iter().filter(is_data).cloned().collect();
        let landing = self.put_into_ring(parcel, arrived, &topics);
        if matches!(landing, Landing::Done | Landing::Unwanted) && self.node.has_outsiders.load(Relaxed) {
            return self.to_outsiders(parcel, arrived, &topics).unwrap_or(landing);
        }
        landing
    }

    /// What a node says of itself.
    fn put_onto_bus(&self, arrived: &Arrived<'_>) -> Landing {
        let envelope = &arrived.envelope;
        if arrived.len > 0 {
            return Landing::Refused("it has a payload, where none may be");
        }
        let mut is_heard = false;
        if let Some(alert) = envelope.body::<Alert>() {
            let of_itself =
                alert.ok().filter(|alert| alert.originated_supervisor_id == envelope.head.src.supervisor_id);
            let Some(alert) = of_itself else { return Landing::Refused("it is an alert in another's name") };
            self.node.home.hear(alert);
            is_heard = true;
        }
        let mut stamped = vec![0; arrived.stamping.len()];
        arrived.stamping.write(&mut stamped, arrived.received);
        let (sent, wanted) = self.bus.forward(Plane::Control, &arrived.topics, &stamped, &[]);
        add(&self.link.counts.dropped, wanted - sent);
        if sent > 0 || is_heard { Landing::Done } else { Landing::Unwanted }
    }

    fn put_into_ring(&mut self, parcel: &Parcel, arrived: &Arrived<'_>, topics: &[Topic]) -> Landing {
        if !self.has_writer() {
            return Landing::Later;
        }
        let Some(writer) = &mut self.writer else { return Landing::Later };
        let size = Size { envelope: arrived.stamping.len(), payload: arrived.len };
        let too_large = match writer.claim(topics, size, Until::stopped(&self.never).or_at(self.begun_at)) {
            Ok(claim) => return fill(claim, parcel, arrived),
            Err(ClaimError::Unrouted) => return Landing::Unwanted,
            Err(ClaimError::NoRoom | ClaimError::Stopped) => return Landing::Later,
            Err(ClaimError::TooLarge { bytes, .. }) => bytes,
        };
        self.grow(too_large);
        Landing::Later
    }

    /// Copies for jobs that do not read the ring; whether they, and perhaps only they, got it.
    fn to_outsiders(&self, parcel: &Parcel, arrived: &Arrived<'_>, topics: &[Topic]) -> Option<Landing> {
        let mut whole;
        let payload = match parcel.whole {
            None => &parcel.payload[..],
            Some(_) => {
                whole = vec![0; arrived.len];
                unpack(&parcel.payload, &mut whole).ok()?;
                &whole
            }
        };
        let place = |at: u64| usize::try_from(at).ok();
        let infos = arrived.envelope.payload.iter();
        let frames = infos.map(|info| payload.get(place(info.offset?)?..place(info.offset?.checked_add(info.len)?)?));
        let frames: Vec<&[u8]> = frames.collect::<Option<_>>()?;
        let mut stamped = vec![0; arrived.stamping.len()];
        arrived.stamping.write(&mut stamped, arrived.received);
        let copies: Vec<_> = topics.iter().map(Topic::copy_of).collect();
        let (sent, wanted) = self.bus.forward(Plane::Data, &copies, &stamped, &frames);
        add(&self.link.counts.dropped, wanted - sent);
        (sent > 0).then_some(Landing::Done)
    }

    /// Whether there is a region; it is asked for from time to time.
    fn has_writer(&mut self) -> bool {
        if self.writer.is_some() {
            return true;
        }
        let now = Instant::now();
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_EVERY;
        match self.node.home.give_region(&self.link.key, self.bytes) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(why) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    let peer = self.link.peer();
                    let text = format!("what comes from {peer} waits there, since the ring has no room for it: {why}");
                    self.node.home.raise(Severity::Error, text);
                }
                return false;
            }
        }
        let Ok(ring) = RingName::new(&self.node.ring) else { return false };
        let unique_id = writer_number(&self.link.key);
        self.writer = Writer::open(&WriterSpec { ring, unique_id, spin: Spin::For(Duration::ZERO) }).ok();
        self.writer.is_some()
    }

    /// A message needs a larger region, which comes when all in this one has been read: another way would overtake it.
    fn grow(&mut self, record: usize) {
        self.writer = None;
        self.bytes = self.bytes.max(record.saturating_mul(4));
    }
}

fn fill(mut claim: Claim<'_>, parcel: &Parcel, arrived: &Arrived<'_>) -> Landing {
    let (envelope, payload) = claim.parts_mut();
    arrived.stamping.write(envelope, arrived.received);
    if parcel.whole.is_none() {
        payload.copy_from_slice(&parcel.payload);
    } else if unpack(&parcel.payload, payload).is_err() {
        return Landing::Refused("it cannot be unpacked");
    }
    claim.commit();
    Landing::Done
}
