//! Facts of command and control over the network.

use std::fmt::Display;

/// The server listens.
pub(crate) struct CncServes<'a> {
    pub(crate) address: &'a str,
    pub(crate) is_encrypted: bool,
}

impl CncServes<'_> {
    pub(crate) fn emit(self) {
        let how = if self.is_encrypted { ", for nodes with a listed key" } else { "" };
        tracing::info!("CNC: listening at {}{how}", self.address);
    }
}

/// What goes beyond this machine is open to everybody in that network.
pub(crate) enum CncInsecure<'a> {
    Server { address: &'a str },
    Client { address: &'a str },
}

impl CncInsecure<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Server { address } => tracing::warn!(
                "CNC: {address} is open to everybody who reaches it (`insecure = true`): they can read and command this \
                 node; `[cnc.curve]` closes it"
            ),
            Self::Client { address } => tracing::warn!(
                "CNC: whoever answers at {address} can read and command this node (`insecure = true`); `[cnc.curve]` \
                 closes it"
            ),
        }
    }
}

/// A node came, or is no longer heard of.
pub(crate) enum CncNode<'a> {
    Up {
        id: &'a str,
    },
    Down {
        id: &'a str,
    },
    Contested {
        id: &'a str,
    },
    /// So many more came or went.
    More {
        count: u64,
    },
}

impl CncNode<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Up { id } => tracing::info!("CNC: node {id} is up"),
            Self::Down { id } => tracing::warn!("CNC: node {id} is no longer heard of"),
            Self::More { count } => tracing::warn!("CNC: nodes came or went {count} more times"),
            Self::Contested { id } => tracing::warn!(
                "CNC: {id} speaks from several addresses by turns; if two nodes have this `supervisor_id`, give each its own"
            ),
        }
    }
}

/// Something was dropped or refused; told at times, with how many there were since.
pub(crate) struct CncDropped<'a> {
    pub(crate) kind: &'a str,
    pub(crate) who: &'a str,
    pub(crate) why: &'a str,
    pub(crate) new: u64,
}

impl CncDropped<'_> {
    pub(crate) fn emit(self) {
        let Self { kind, who, why, new } = self;
        match new {
            0 | 1 => tracing::warn!("CNC: {kind}: {who}: {why}"),
            _ => tracing::warn!("CNC: {kind}: {new} more; the last: {who}: {why}"),
        }
    }
}

/// What a client knows of its server.
pub(crate) enum CncServer<'a> {
    Found { address: &'a str },
    Lost { address: &'a str },
    NoKey { address: &'a str },
    NoHandshake { address: &'a str },
    Unusable { why: &'a dyn Display },
}

impl CncServer<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Found { address } => tracing::info!("CNC: connected to the server at {address}"),
            Self::Lost { address } => tracing::warn!("CNC: the server at {address} is gone; trying again"),
            Self::NoKey { address } => tracing::warn!(
                "CNC: the server at {address} does not know this node's key; its `[cnc.curve.clients]` must list it"
            ),
            Self::NoHandshake { address } => tracing::warn!(
                "CNC: no handshake with {address}: its keys are others than `[cnc.curve]` here says, or it is no CNC server"
            ),
            Self::Unusable { why } => tracing::error!("CNC: no connection to the server: {why}"),
        }
    }
}
