//! The one stop of a job: whatever the job waits for, it ends.

use enrgdaq_ring::Waker;

use crate::os::Wake;

/// Rung once, for good: ends waits for time and for the bus by a bell, those for the ring by its own means.
#[derive(Debug, Clone)]
pub(super) struct StopBell {
    bell: Wake,
    ring: enrgdaq_ring::Stop,
}

impl StopBell {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { bell: Wake::new()?, ring: enrgdaq_ring::Stop::new() })
    }

    /// Rings; again does no harm.
    pub(super) fn ring(&self) {
        self.bell.ring();
        self.ring.set();
    }

    /// Also ends the waits of a reader or writer of the ring.
    pub(super) fn wakes(&self, waker: Waker) {
        self.ring.wakes(waker);
    }

    pub(super) fn has_rung(&self) -> bool {
        self.bell.has_rung()
    }

    pub(super) fn bell(&self) -> &Wake {
        &self.bell
    }

    pub(super) fn of_ring(&self) -> &enrgdaq_ring::Stop {
        &self.ring
    }
}
