//! The audit log, for admins.

use axum::body::Body;
use axum::http::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, check_most, json};
use super::fault::Fault;
use crate::control::AuditLine;
use crate::control::audit::read;

/// Lines where a request does not say how many, and at the most.
const DEFAULT_LINES: u64 = 100;
const MOST_LINES: u64 = 10_000;

/// Which lines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// How many: the newest.
    #[schemars(range(min = 0, max = 10_000))]
    lines: Option<u64>,
}

/// Lines of the audit log of this node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditLines {
    /// Oldest first.
    lines: Vec<AuditLine>,
    /// Lines that could not be written since the start.
    lost: u64,
}

pub(super) async fn lines(asked: Asked) -> Result<Response<Body>, Fault> {
    let AuditQuery { lines: wanted } = asked.query()?;
    check_most("lines", wanted, MOST_LINES)?;
    let wanted = usize::try_from(wanted.unwrap_or(DEFAULT_LINES)).unwrap_or(usize::MAX);
    let dir = asked.shared.state_dir.clone();
    // A disk may not answer.
    let lines = tokio::task::spawn_blocking(move || read(&dir)).await.map_err(std::io::Error::other).flatten();
    let mut lines = lines.map_err(|error| Fault::broken("the audit log cannot be read", error.to_string()))?;
    lines.drain(..lines.len().saturating_sub(wanted));
    Ok(json(&AuditLines { lines, lost: asked.shared.desk.audit_lost() }))
}
