//! The operating system: what needs Linux or `unsafe`, behind safe functions.
//!
//! Invariant: beside `crates/`, unsafe code stands here only.

mod bell;
mod cgroup;
mod clock;
mod directories;
mod limits;
mod lock;
mod memory;
mod process;
mod process_table;
mod program;
mod signals;
mod wake;
mod writeback;
mod zmq_option;

pub(crate) use bell::Bell;
pub(crate) use cgroup::{Cgroup, CgroupTree, left_by, start_of};
pub(crate) use clock::{Usage, iso_at, iso_now, now_ns, usage};
pub use directories::DirectoryError;
pub(crate) use directories::{make_shared_dir, runtime_dir, shared_dir, short_hash, state_dir};
pub(crate) use limits::{Resource, hard_limit, set_cores, set_limit, set_nice, set_umask};
pub(crate) use lock::{FileLock, TakeError};
pub(crate) use memory::{SharedWords, memory_file};
pub(crate) use process::{
    ChildEnd, GroupSignal, Process, adopt_orphans, close_other_descriptors, die_with_parent, has_parent,
    kill_own_group, raise_descriptor_limit, reap_orphan,
};
pub(crate) use process_table::{Environment, Identity, Row, boot_id, holds_open, kernel_wait_of, processes, signal};
pub(crate) use program::{
    Account, be_killed_with_parent, become_user, close_at_exec, exec, inheritable_descriptor_of,
    reset_signals_of_program,
};
pub(crate) use signals::{block_stop_signals, reset_signals, spawn_signal_thread};
pub(crate) use wake::Wake;
pub(crate) use writeback::begin_writeback;
pub(crate) use zmq_option::{set_xpub_manual, set_xpub_nodrop, set_zap_enforce_domain};
