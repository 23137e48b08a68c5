//! The C interface of libzmq 4.3.5, as far as the crate `zmq` and this project call it.
//!
//! It stands in for the published `zmq-sys` 0.12 (`[patch.crates-io]` in the workspace), whose libzmq has no CURVE,
//! lets child processes inherit its descriptors and forgets the keepalive options. Names and types are those that
//! `zmq` expects; `build.rs` and `platform.hpp` say how the library is built, the same in every cargo profile.
//!
//! Invariants, all tested: this libzmq has CURVE; every descriptor it opens closes on exec; its threads wait in epoll
//! and wake each other by eventfd; the TCP keepalive options take effect.
//!
//! A dependent can see that it got this libzmq: its build script then finds `DEP_ZMQ_ENRGDAQ` set.
//!
//! Not declared: the deprecated names, the draft API, and the timers, counters and threads that Rust has itself.

#![expect(unsafe_code, reason = "foreign functions")]
#![expect(non_camel_case_types, reason = "types are named as in zmq.h")]

mod constants;
pub mod errno;
mod functions;

pub use constants::*;
pub use functions::*;

/// A file descriptor of the system.
pub use std::os::fd::RawFd;
