//! What other threads hand to the one that owns a socket.
//!
//! Invariant: whoever hands in never waits; what there is no room for is given back.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::os::Bell;

/// Letters that may wait.
const MOST: usize = 256;

/// Where letters are handed in; clones are the same.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    letters: SyncSender<T>,
    bell: Bell,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), bell: self.bell.clone() }
    }
}

/// Where they come out.
#[derive(Debug)]
pub(super) struct Letters<T> {
    pub(super) waiting: Receiver<T>,
    pub(super) bell: Bell,
}

/// A new one.
///
/// # Errors
/// The system's, when the process has no descriptor left.
pub(super) fn outbox<T>() -> std::io::Result<(Outbox<T>, Letters<T>)> {
    let (letters, waiting) = sync_channel(MOST);
    let bell = Bell::new()?;
    Ok((Outbox { letters, bell: bell.clone() }, Letters { waiting, bell }))
}

impl<T> Outbox<T> {
    /// Hands in a letter.
    ///
    /// # Errors
    /// The letter, if there is no room for it, or nobody sends any more.
    pub(super) fn hand_in(&self, letter: T) -> Result<(), T> {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        self.letters.try_send(letter).map_err(|(Full(letter) | Disconnected(letter))| letter)?;
        self.bell.ring();
        Ok(())
    }
}
