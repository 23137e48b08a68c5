//! The operating system: what needs Linux or `unsafe`, behind safe functions.
//!
//! Invariant: beside `crates/`, unsafe code stands here only.

mod clock;
mod directories;
mod lock;
mod memory;
mod process;
mod signals;
mod wake;
mod zmq_option;

pub(crate) use clock::{Usage, iso_now, now_ns, usage};
pub use directories::DirectoryError;
pub(crate) use directories::{runtime_dir, short_hash};
pub(crate) use lock::{FileLock, TakeError};
pub(crate) use memory::{SharedWords, memory_file};
pub(crate) use process::{
    ChildEnd, GroupSignal, Process, close_other_descriptors, die_with_parent, has_parent, kill_own_group,
    raise_descriptor_limit,
};
pub(crate) use signals::{block_stop_signals, reset_signals, spawn_signal_thread};
pub(crate) use wake::Wake;
pub(crate) use zmq_option::set_xpub_nodrop;
