//! The jobs of a node.

use axum::body::Body;
use axum::http::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, json};
use super::fault::Fault;
use crate::config::{MOST_COPIES, closest};
use crate::control::{Command, JobStatus, Order, Refusal, SignalNumber};

/// All jobs of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Jobs {
    /// In the order of their names.
    jobs: Vec<JobStatus>,
}

/// `POST /api/v1/nodes/{id}/jobs`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The text of the job's file, in TOML.
    config: String,
    /// Its name; without it: made from its unique id, or else its type.
    #[serde(default)]
    name: Option<String>,
    /// Whether its policy starts it again; otherwise it never is.
    #[serde(default = "yes")]
    restart_on_crash: bool,
}

/// `POST /api/v1/nodes/{id}/jobs/{job}/signal`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    /// Its name or number: `USR1`, `SIGUSR1`, `10`.
    signal: String,
}

/// `POST /api/v1/nodes/{id}/jobs/{job}/scale`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scale {
    /// How many copies.
    #[schemars(range(min = 1, max = 100))]
    copies: u16,
}

fn yes() -> bool {
    true
}

pub(super) async fn list(asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&Jobs { jobs: asked.status().await?.jobs }))
}

pub(super) async fn one(asked: Asked) -> Result<Response<Body>, Fault> {
    let jobs = asked.status().await?.jobs;
    let name = asked.job();
    match jobs.iter().find(|job| job.name == name || job.unique_id == name) {
        Some(job) => Ok(json(job)),
        None => {
            let similar = closest(&name, jobs.iter().map(|job| job.name.as_str())).map(str::to_owned);
            Err(Refusal::NoSuchJob { name, similar }.into())
        }
    }
}

pub(super) async fn start(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Job { name: asked.job(), order: Order::Start }).await
}

pub(super) async fn stop(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Job { name: asked.job(), order: Order::Stop }).await
}

pub(super) async fn restart(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Job { name: asked.job(), order: Order::Restart }).await
}

pub(super) async fn signal(asked: Asked) -> Result<Response<Body>, Fault> {
    let Signal { signal } = asked.body()?;
    let signal = signal.parse::<SignalNumber>().map_err(Fault::bad_input)?;
    asked.carry_out(Command::Signal { name: asked.job(), signal }).await
}

pub(super) async fn config(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Config { name: asked.job() }).await
}

pub(super) async fn run(asked: Asked) -> Result<Response<Body>, Fault> {
    let Run { config, name, restart_on_crash } = asked.body()?;
    asked.carry_out(Command::Run { config, name, restart_on_crash }).await
}

pub(super) async fn remove(asked: Asked) -> Result<Response<Body>, Fault> {
    asked.carry_out(Command::Remove { name: asked.job() }).await
}

pub(super) async fn scale(asked: Asked) -> Result<Response<Body>, Fault> {
    let Scale { copies } = asked.body()?;
    if !(1..=MOST_COPIES).contains(&copies) {
        return Err(Fault::bad_input(format!("copies: a whole number from 1 to {MOST_COPIES}, not {copies}")));
    }
    asked.carry_out(Command::Scale { name: asked.job(), copies }).await
}
