//! `DAQJobExec`: any program is a job.
//!
//! ```text
//!                   stdin  ◀── feeder ◀── inbox               main: ready, the end
//!   the program  ── stdout ──▶ reader ──▶ decoder ──▶ sink ──▶ stores
//!                ── stderr, NOTIFY_SOCKET ──▶ minder ◀── stop  (log, ready, alive; stop signal, kill)
//! ```
//!
//! Invariant: what the reader has taken out of the pipe it hands on before it reads more, and waits for room as long as
//! that takes; what cannot be handed on is counted and told: a record that is broken, one that the program's end cut off.

mod arrow;
mod cells;
mod config;
mod csv;
mod decoder;
mod feeder;
mod gate;
mod job;
mod jsonl;
mod letter;
mod lines;
mod minder;
mod pipe;
mod raw;
mod reader;
mod sink;

pub(crate) use job::Exec;
