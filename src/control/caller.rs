//! Who asks.

use crate::config::Role;

/// Whoever gives a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of a token, a node, a user.
    pub who: String,
    /// By which way, and from which address.
    pub from: String,
    /// What he may do.
    pub role: Role,
    /// Whether he is on this machine as this user.
    pub reach: Reach,
}

/// From where a command comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this user, who could as well start programs himself.
    Here,
    /// Over CNC or REST: it starts no program of its own choice, unless `allow_remote_exec` says so.
    Remote,
}

impl Caller {
    /// The user whose supervisor it is.
    #[must_use]
    pub fn here(who: impl Into<String>, from: impl Into<String>) -> Self {
        Self { who: who.into(), from: from.into(), role: Role::Admin, reach: Reach::Here }
    }

    /// Somebody over the network.
    #[must_use]
    pub fn remote(who: impl Into<String>, from: impl Into<String>, role: Role) -> Self {
        Self { who: who.into(), from: from.into(), role, reach: Reach::Remote }
    }
}
