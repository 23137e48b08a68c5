//! The routes that tools made for ENRGDAQ know.
//!
//! Invariant: paths, fields and texts never change; a body may have fields that nobody knows. What a node refuses is
//! answered with 200 and `success: false`, as the node says it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, json};
use super::fault::Fault;
use crate::config::{Role, templates};
use crate::control::cnc::{ClientLog, Message, NodeError};

/// `POST /clients/{id}/restart_daq`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct RestartDaq {
    /// Runs the `update_command` of the node before.
    update: Option<bool>,
}

/// `POST /clients/{id}/stop_daqjob`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct StopDaqJob {
    /// The job's name, or its type if only one job has that.
    daq_job_name: Option<String>,
    /// Its unique id; counts before the name.
    daq_job_unique_id: Option<String>,
    /// Also after a restart of the supervisor it is not there any more; needs the role admin.
    remove: Option<bool>,
}

/// `POST /clients/{id}/run_custom_daqjob`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct RunCustomDaqJob {
    /// The text of the job's file, in TOML.
    config: String,
    /// Whether its policy starts it again.
    restart_on_crash: Option<bool>,
}

/// `POST /clients/{id}/send_message`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct SendMessage {
    /// The type, such as `DAQJobMessageStop`.
    message_type: String,
    /// Its fields, as JSON text.
    payload: String,
    /// Only to the job of this unique id.
    target_daq_job_unique_id: Option<String>,
}

/// What became of a request.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Outcome {
    /// `CNCMessageRes…`.
    r#type: String,
    /// Of no meaning here.
    req_id: Option<String>,
    /// Whether it was done.
    success: Option<bool>,
    /// What was done, or why not.
    message: Option<String>,
    /// Of `send_message`: to how many jobs it went.
    jobs_notified: Option<u64>,
}

/// The log of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Logs {
    /// The newest 1000, oldest first.
    logs: Vec<ClientLog>,
}

/// Type key → JSON Schema of what it may hold, with `type_key`, `label` and `description`.
pub(super) type Templates = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;

pub(super) async fn list(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&asked.shared.nodes.clients()))
}

pub(super) async fn ping(asked: Asked) -> Result<Response<Body>, Fault> {
    request(&asked, Message::ReqPing { req_id: None }).await
}

pub(super) async fn status(asked: Asked) -> Result<Response<Body>, Fault> {
    match asked.shared.nodes.request(&asked.caller, asked.node(), Message::ReqStatus { req_id: None }).await? {
        Message::ResStatus { status, .. } => Ok(json(&status)),
        other => Err(Fault::broken("the node answered another question", format!("{other:?}"))),
    }
}

pub(super) async fn restart_daq(asked: Asked) -> Result<Response<Body>, Fault> {
    let RestartDaq { update } = asked.body()?;
    request(&asked, Message::ReqRestartDaq { req_id: None, update: update.unwrap_or(false) }).await
}

pub(super) async fn stop_daqjobs(asked: Asked) -> Result<Response<Body>, Fault> {
    request(&asked, Message::ReqStopDaqJobs { req_id: None }).await
}

pub(super) async fn stop_daqjob(asked: Asked) -> Result<Response<Body>, Fault> {
    let StopDaqJob { daq_job_name, daq_job_unique_id, remove } = asked.body()?;
    let remove = remove.unwrap_or(false);
    if remove && asked.caller.role < Role::Admin {
        let call =
            serde_json::json!({"do": "end", "name": daq_job_name, "unique_id": daq_job_unique_id, "remove": true});
        return Err(asked.shared.desk.turn_away(&asked.caller, asked.node(), call, Role::Admin).await.into());
    }
    request(&asked, Message::ReqStopDaqJob { req_id: None, daq_job_name, daq_job_unique_id, remove }).await
}

pub(super) async fn run_custom_daqjob(asked: Asked) -> Result<Response<Body>, Fault> {
    let RunCustomDaqJob { config, restart_on_crash } = asked.body()?;
    request(&asked, Message::ReqRunCustomDaqJob { req_id: None, config, restart_on_crash }).await
}

pub(super) async fn send_message(asked: Asked) -> Result<Response<Body>, Fault> {
    let SendMessage { message_type, payload, target_daq_job_unique_id } = asked.body()?;
    let message = Message::ReqSendMessage { req_id: None, message_type, payload, target_daq_job_unique_id };
    request(&asked, message).await
}

pub(super) async fn logs(asked: Asked) -> Result<Response<Body>, Fault> {
    let logs = asked.shared.nodes.logs(asked.node()).await.ok_or(NodeError::Unknown)?;
    Ok(json(&Logs { logs }))
}

pub(super) async fn store_templates(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&templates::stores(&asked.shared.catalog)))
}

pub(super) async fn job_templates(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&templates::jobs(&asked.shared.catalog)))
}

pub(super) async fn message_templates(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&templates::messages(&asked.shared.catalog)))
}

/// The answer of a node, as it came.
async fn request(asked: &Asked, request: Message) -> Result<Response<Body>, Fault> {
    Ok(json(&asked.shared.nodes.request(&asked.caller, asked.node(), request).await?))
}
