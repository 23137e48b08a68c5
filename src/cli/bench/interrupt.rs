//! Ctrl-C: the supervisor of the moment is told to stop, and no other one is started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::BenchError;
use crate::os::{block_stop_signals, spawn_signal_thread};
use crate::supervisor::{Handle, SupervisorError};

/// Whether it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    has_come: AtomicBool,
    running: Mutex<Option<Handle>>,
}

impl Interrupt {
    /// From now on it is heard; before any other thread is started.
    pub(super) fn listen() -> Result<Self, BenchError> {
        block_stop_signals();
        let interrupt = Self::default();
        let heard = interrupt.clone();
        spawn_signal_thread(move |_| heard.come()).map_err(SupervisorError::System)?;
        Ok(interrupt)
    }

    fn come(&self) {
        self.0.has_come.store(true, Ordering::SeqCst);
        if let Some(handle) = &*self.0.running.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.stop("Ctrl-C");
        }
    }

    /// Who is to be told; `None`: nobody any more.
    pub(super) fn guard(&self, handle: Option<Handle>) {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = handle;
        // It may have come before there was anybody to tell.
        if let Some(handle) = running.as_ref().filter(|_| self.0.has_come.load(Ordering::SeqCst)) {
            handle.stop("Ctrl-C");
        }
    }

    /// # Errors
    /// [`BenchError::Interrupted`] if it came.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        match self.0.has_come.load(Ordering::SeqCst) {
            true => Err(BenchError::Interrupted),
            false => Ok(()),
        }
    }
}
