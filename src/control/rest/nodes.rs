//! Nodes as wholes: which there are, what each does, what it is to do.

use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, json};
use super::fault::Fault;
use crate::config::Role;
use crate::control::cnc::{ClientInfo, NodeError};
use crate::control::{Command, Edge, RegionStatus};
use crate::message::{Alert, SupervisorInfo};

/// A node that was not heard of for so long is down.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// All nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct NodeList {
    /// In the order of their ids.
    nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Node {
    /// The id of its supervisor.
    pub(super) id: String,
    /// Whether it is the one that answers.
    pub(super) is_self: bool,
    /// Whether it was heard of in the last 10 s.
    pub(super) is_up: bool,
    /// When it was last heard of, ISO 8601.
    pub(super) last_seen: String,
    /// What it said of itself.
    pub(super) info: Option<SupervisorInfo>,
}

/// All shared memory of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ring {
    /// In the order of the jobs' names.
    regions: Vec<Region>,
}

/// The shared memory of one writer.
#[derive(Debug, Serialize, JsonSchema)]
struct Region {
    /// The writer's name.
    job: String,
    #[serde(flatten)]
    region: RegionStatus,
}

/// All edges of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Edges {
    /// Writer → reader.
    edges: Vec<Edge>,
}

/// The newest alerts of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Alerts {
    /// Oldest first.
    alerts: Vec<Alert>,
}

/// Whoever asks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Me {
    /// The name of the token; `anonymous`: there was none, and none is needed.
    name: String,
    /// What he may do.
    role: Role,
    /// The node that answers.
    node: String,
    /// The program's version.
    version: String,
    /// Whether nobody is let in without a token.
    needs_token: bool,
}

/// `POST /api/v1/nodes/{id}/restart`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Restart {
    /// Runs the `update_command` of the node before.
    update: bool,
}

impl Node {
    pub(super) fn new(id: String, client: ClientInfo, own_id: &str, now: Timestamp) -> Self {
        let is_self = id == own_id;
        let age = client.last_seen.parse::<Timestamp>().ok().map(|seen| now.duration_since(seen));
        let is_heard = age.is_some_and(|age| age.unsigned_abs() <= DOWN_AFTER);
        Self { is_self, is_up: is_self || is_heard, last_seen: client.last_seen, info: client.info, id }
    }
}

/// All nodes that have come, and this one.
pub(super) fn all(asked: &Asked) -> Vec<Node> {
    let (own_id, now) = (asked.shared.nodes.own_id(), Timestamp::now());
    asked.shared.nodes.clients().into_iter().map(|(id, client)| Node::new(id, client, own_id, now)).collect()
}

pub(super) async fn me(asked: Asked) -> Result<Response<Body>, Fault> {
    let (node, needs_token) = (asked.shared.nodes.own_id().to_owned(), asked.shared.gate.needs_token());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(json(&Me { name: asked.caller.who.clone(), role: asked.caller.role, node, version, needs_token }))
}

pub(super) async fn list(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&NodeList { nodes: all(&asked) }))
}

pub(super) async fn one(asked: Asked) -> Result<Response<Body>, Fault> {
    let found = all(&asked).into_iter().find(|node| node.id == asked.node());
    Ok(json(&found.ok_or(NodeError::Unknown)?))
}

pub(super) async fn status(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&asked.status().await?))
}

pub(super) async fn ring(asked: Asked) -> Result<Response<Body>, Fault> {
    let jobs = asked.status().await?.jobs.into_iter();
    let regions = jobs.filter_map(|job| Some(Region { job: job.name, region: job.region? }));
    Ok(json(&Ring { regions: regions.collect() }))
}

pub(super) async fn edges(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&Edges { edges: asked.status().await?.edges }))
}

pub(super) async fn alerts(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&Alerts { alerts: asked.status().await?.alerts }))
}

pub(super) async fn plan(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Plan).await
}

pub(super) async fn reload(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Reload).await
}

pub(super) async fn restart(asked: Asked) -> Result<Response<Body>, Fault> {
    let Restart { update } = asked.body()?;
    asked.carry_out(Command::Renew { update }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_up_as_long_as_it_is_heard_of_and_the_own_one_always() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let node = |id: &str, last_seen: &str| {
            let client = ClientInfo { identity: None, last_seen: last_seen.into(), info: None };
            Node::new(id.into(), client, "lab1", now).is_up
        };

        assert!(node("lab2", "2026-11-30T12:59:55+01:00") && !node("lab2", "2026-11-30T11:59:49Z"));
        assert!(node("lab1", "2026-11-30T11:00:00Z") && !node("lab2", "yesterday"));
    }
}
