//! Configuration: from a folder of TOML files to checked values, or to every fault in them at once.
//!
//! ```text
//! folder ──▶ supervisor.toml ──▶ SupervisorConfig ┐
//!        └─▶ *.toml, include ──▶ JobConfig …      ┴─▶ Deployment        load()
//!                  │ every fault of every file
//!                  └──────────────────────────────▶ Report             file:line:column, key, remedy
//! ```
//!
//! Invariant: what [`load`] returns can be started as it is; nothing is checked again, or for the first time, later.
//! This module knows no process and no socket. What a job type's table may hold it learns from the type's JSON
//! Schema, through the [`Catalog`]; the same schemas make the reference ([`markdown`]).

mod catalog;
mod cnc;
mod curve;
mod cycles;
mod deployment;
mod diagnostics;
mod document;
mod doors;
mod family;
mod federation;
mod files;
mod job;
mod job_type;
mod json;
mod limits;
mod original;
mod process;
mod reference;
mod role;
mod schedule;
mod schema;
mod suggest;
mod supervise;
mod supervisor;
mod syntax;
pub mod templates;
mod walk;

#[cfg(test)]
mod tests;

pub use catalog::{Backend, Catalog, CatalogError, Found, Kind, NoMessage, Refusal, TypeInfo, decode};
pub use cnc::{CncConfig, RestConfig};
pub use curve::CurveConfig;
pub use deployment::{Deployment, load, load_for, load_supervisor, load_with};
pub use diagnostics::{Diagnostic, Report, Severity};
pub use family::{Overrides, Scaled};
pub use federation::{Compress, FederationConfig};
pub use job::{DeliveryMode, JobConfig, JobKeys, Replica, Wait};
pub use process::{ProcessSetup, Rlimits, StopSignal};
pub use reference::{describe, markdown};
pub use role::Role;
pub use schedule::{Next, Schedule};
pub use supervise::{MemoryLimits, Restart, Supervise, SuperviseKeys};
pub use supervisor::{
    BusConfig, DiskConfig, LogFormat, LogsConfig, MemoryConfig, SupervisorConfig, Transport, Verbosity,
};

pub(crate) use family::{MOST_COPIES, is_meant};
pub(crate) use files::SUPERVISOR_STEM;
pub(crate) use suggest::nearest as closest;
