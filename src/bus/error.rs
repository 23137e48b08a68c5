//! Why the bus cannot be used.

use std::io;

use thiserror::Error;

/// Why the bus could not be opened.
#[derive(Debug, Error)]
pub enum BusError {
    /// libzmq refused a socket or an option.
    #[error("cannot open a socket of the bus")]
    Socket(#[source] zmq::Error),
    /// An address could not be bound or connected.
    #[error("cannot use the bus address {address}")]
    Address {
        /// Which.
        address: String,
        /// Why.
        source: zmq::Error,
    },
    /// The system gave no descriptor or no thread.
    #[error("the system refused a thread or a descriptor for the bus")]
    System(#[source] io::Error),
}
