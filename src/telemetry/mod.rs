//! Facts: what happens to a supervisor and its jobs, one struct a fact. The text of a fact stands here and nowhere else.
//!
//! ERROR = data lost, or a human needed; WARN = recovered; INFO = the course of things; nothing per record.

mod backlog;
mod cnc_facts;
mod console;
mod facts;
mod federation_facts;
mod number;
mod process_facts;
mod rest_facts;
mod ring_facts;
mod said;

pub(crate) use backlog::{Backlog, Next};
pub(crate) use cnc_facts::{CncDropped, CncInsecure, CncNode, CncServer, CncServes};
pub(crate) use console::{Console, LogGuard, OWN, is_shown, log_to_console, log_to_subscriber};
pub(crate) use facts::{
    AlertRaised, ConfigWarned, Draining, HeldUp, JobEnded, JobExpected, JobFatal, JobForced, JobLeft, JobReadyNow,
    JobRenewed, JobRestarts, JobSaid, JobStarting, JobWaits, Missing, OrderedByHand, Ready, Reloaded, SignalSent,
    StopBegins, Stopped, Undelivered,
};
pub(crate) use federation_facts::{Federates, FederationInsecure};
pub(crate) use number::with_commas;
pub(crate) use process_facts::{CgroupRefused, CgroupsUsed, OrphanSeen, RollTrouble, Swept, TableUnreadable};
pub(crate) use rest_facts::{CertificateRead, RestFailed, RestInClear, RestListens, RestTurnedAway};
pub(crate) use ring_facts::{
    LeftoverDrained, LostToGone, RegionKept, RingDiscarded, RingFound, RingKept, RingOfOtherBoot, RingPlaceRefused,
    RingReaderLost, RingTrouble, SeatHeld, StillWaiting, Waiting,
};
pub(crate) use said::{Line, Said, put_visibly};
