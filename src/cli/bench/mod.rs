//! `enrgdaq bench`: how fast this machine takes data, every word verified.
//!
//! ```text
//! options ─▶ plan ─▶ site: a folder of TOML ─▶ run: supervisor and jobs as ever ─▶ figures of their status ─▶ report
//!            sweep: one plan a payload size                     machine: memcpy, /proc       plot: PNG of a sweep
//! ```
//!
//! Invariant: what is measured is the program as it takes data: the same supervisor, a process a job, the same status.

mod command;
mod error;
mod figures;
mod interrupt;
mod machine;
mod options;
mod plan;
mod plot;
mod report;
mod run;
mod site;
mod sweep;

pub(super) use command::bench;
pub(super) use error::BenchError;
pub(super) use options::Options;
