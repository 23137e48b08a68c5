//! A job's seats in the ring: the right to write into its region, and to read as the one reader of its name.

use std::time::Duration;

use enrgdaq_ring::{OpenError, Reader, ReaderSpec, RingName, Spin, Writer, WriterSpec};

use super::spec::{JobSpec, RingPlace};
use super::stop::StopBell;
use super::types::JobError;
use crate::config::Wait;

/// How often a job looks whether what its predecessor left running has let go.
const SEAT_POLL: Duration = Duration::from_millis(20);

/// What a job has of the ring.
#[derive(Debug, Default)]
pub(super) struct Seats {
    pub(super) writer: Option<Writer>,
    pub(super) reader: Option<Reader>,
}

impl Seats {
    /// Takes the seats that the spec names, as soon as no process of an earlier start holds them.
    pub(super) fn take(spec: &JobSpec, stop: &StopBell) -> Result<Self, JobError> {
        let Some(place) = &spec.ring else { return Ok(Self::default()) };
        let ring = RingName::new(&place.ring).map_err(|error| JobError::failed("the ring has no name", error))?;
        let unique_id = RingPlace::number(&spec.unique_id);
        let spin = match spec.wait {
            Wait::Sleep => Spin::default(),
            Wait::Busy => Spin::Busy,
        };
        let writer = || Writer::open(&WriterSpec { ring: ring.clone(), unique_id, spin });
        let reader = || Reader::open(&ReaderSpec { ring: ring.clone(), unique_id, spin });
        let writer = place.writes.then(|| patiently(writer, stop)).transpose()?;
        let reader = place.reads.then(|| patiently(reader, stop)).transpose()?;
        if let Some(writer) = &writer {
            stop.wakes(writer.waker());
        }
        Ok(Self { writer, reader })
    }
}

/// Tries again while somebody lives who holds the seat: a child of the job's last process.
fn patiently<T>(open: impl Fn() -> Result<T, OpenError>, stop: &StopBell) -> Result<T, JobError> {
    let mut is_told = false;
    loop {
        match open() {
            Err(OpenError::Alive { .. }) => {}
            other => return other.map_err(|error| JobError::failed("the job finds no place in the ring", error)),
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!("a process of an earlier start of this job is still there: waiting until it is gone");
        }
        if stop.bell().wait(SEAT_POLL) {
            return Err(JobError::Stopping);
        }
    }
}
