//! Places of links to other nodes: no jobs, and in the ring like them.
//!
//! Invariants: a link's region is made anew only when all in the old one has been read; what a link is to have waits for it
//! as long as it is a guest, whether the other node is there or not.

use enrgdaq_ring::{Added, ControlError, Leftovers, Policy, ReaderPlan, WriterPlan};

use super::Ring;
use crate::federation::{Guest, latest_number, reader_number, writer_number};

/// What a link wants of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) enum LinkWish {
    /// A region of that size for what comes from the other node.
    Region { bytes: usize },
    /// These topics.
    Topics { policy: Policy, topics: Vec<String> },
}

impl Ring {
    /// Fulfils a wish; `false`: not yet, since something in the old region has not been read.
    pub(in crate::supervisor) fn serve_link(&mut self, link: &str, wish: LinkWish) -> Result<bool, ControlError> {
        match wish {
            LinkWish::Region { bytes } => self.give_link_region(link, bytes),
            LinkWish::Topics { policy, topics } => self.subscribe_link(link, policy, topics).map(|()| true),
        }
    }

    fn give_link_region(&mut self, link: &str, bytes: usize) -> Result<bool, ControlError> {
        let number = writer_number(link);
        self.guests.insert(number);
        self.names.insert(number, name(link));
        let plan = WriterPlan::new(number, bytes);
        match self.control.add_writer(&plan)? {
            Added::Found { bytes: found, has_planned_shape: false } if found < bytes => {}
            Added::Made | Added::Found { .. } => return Ok(true),
        }
        match self.control.remove_writer(number, Leftovers::Keep) {
            Ok(last) => self.flows.end(&last.edges),
            Err(ControlError::NotDrained { .. } | ControlError::Alive { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.control.add_writer(&plan)?;
        Ok(true)
    }

    fn subscribe_link(&mut self, link: &str, policy: Policy, topics: Vec<String>) -> Result<(), ControlError> {
        let (number, name) = match policy {
            Policy::Lossless => (reader_number(link), name(link)),
            Policy::Latest => (latest_number(link), format!("{} (latest)", name(link))),
        };
        self.names.insert(number, name);
        if topics.is_empty() {
            self.guests.remove(&number);
            return match self.remove_reader(number) {
                Ok(_) | Err(ControlError::Unknown { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        }
        self.guests.insert(number);
        self.control.add_reader(&ReaderPlan { unique_id: number, policy, topics })
    }

    /// Those for whom something may wait already.
    pub(super) fn expect_guests(&mut self, guests: &[Guest]) -> Result<(), ControlError> {
        guests.iter().try_for_each(|guest| self.subscribe_link(&guest.key, Policy::Lossless, guest.topics.clone()))
    }
}

/// What a guest is called.
pub(super) fn named(guest: &Guest) -> (u128, String) {
    (reader_number(&guest.key), name(&guest.key))
}

/// Under which a link stands among writers and readers.
fn name(link: &str) -> String {
    format!("link:{link}")
}
