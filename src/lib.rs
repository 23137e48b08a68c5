//! enrgdaq takes the data of an experiment: one program that supervises jobs, carries their messages and stores them.
//!
//! The layers, each using only those above it in this list:
//!
//! | module | what | invariant |
//! |---|---|---|
//! | `os` | processes, signals, shared memory, clocks | the only unsafe code beside `crates/` |
//! | [`message`] | envelope, payloads, topics | opens nothing; any bytes give a value or an error |
//! | [`config`] | files → checked values | all errors at once, before anything starts |
//! | `bus` | ZeroMQ: proxies, publisher, subscriber | names no job, touches no tokio |
//! | [`job`] | what a job author sees | a job never waits for its supervisor |
//! | [`store`] | the base of every store | what is acknowledged is safe, and stored once |
//! | `telemetry` | facts → log lines | the text of a fact stands in one place |
//! | [`control`] | commands, the local socket | parsers decide nothing |
//! | [`federation`] | links to other nodes | nothing acknowledged is lost, nothing comes back |
//! | [`supervisor`] | states, policy, processes | policy and states are pure |
//! | `cli` | one file a subcommand | |
//!
//! The job types that ship ([`jobs`]) use only what is public here; a program of one's own with the same three lines of
//! `main` has them too, and its own beside them ([`job`] shows one).

// The job types name the library as every other program does.
extern crate self as enrgdaq;

mod bus;
mod cli;
pub mod config;
pub mod control;
pub mod federation;
pub mod job;
#[path = "../jobs/mod.rs"]
pub mod jobs;
pub mod message;
mod os;
pub mod store;
pub mod supervisor;
mod telemetry;

pub use cli::main;

/// An error with its causes, in one line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
