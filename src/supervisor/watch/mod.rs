//! Watches over what jobs share: the memory of the machine and its disks.
//!
//! Each has a thread of its own, since reading `/proc` takes time and a disk may not answer; what they find comes as mail.
//! What is to be done is decided by pure policies.

mod disk;
mod look;
mod memory;
mod sample;

pub(super) use disk::{DiskWatch, watched_paths};
pub(super) use memory::{MemoryWatch, Stage, Watched};
