//! Facts: what happens to a supervisor and its jobs, one struct a fact. The text of a fact stands here and nowhere else.
//!
//! ERROR = data lost, or a human needed; WARN = recovered; INFO = the course of things; nothing per record.

mod console;
mod facts;
mod ring_facts;

pub(crate) use console::log_to_console;
pub(crate) use facts::{
    AlertRaised, ConfigWarned, Draining, HeldUp, JobEnded, JobExpected, JobFatal, JobForced, JobReadyNow, JobRestarts,
    JobSaid, JobStarting, Missing, Ready, StopBegins, Stopped, Undelivered,
};
pub(crate) use ring_facts::{
    LeftoverDrained, LostToGone, RegionKept, RingDiscarded, RingFound, RingKept, RingOfOtherBoot, RingPlaceRefused,
    RingReaderLost, RingTrouble, SeatHeld, StillWaiting, Waiting,
};
