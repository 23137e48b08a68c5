//! Whether the node lives, and whether it works: for those who start and balance programs. It says nothing else, and needs
//! no token.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::asked::{Asked, json};
use super::fault::Fault;
use crate::config::Role;
use crate::control::{Caller, Command, JobStatus, Reply, StateName};

/// How long the supervisor may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whether it lives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Whether it works.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Readiness {
    /// Whether all jobs that are to run are ready.
    is_ready: bool,
    /// Those that are not.
    not_ready: Vec<String>,
}

pub(super) async fn alive(_asked: Asked) -> Result<Response<Body>, Fault> {
    Ok(json(&Alive { status: "ok" }))
}

pub(super) async fn ready(asked: Asked) -> Result<Response<Body>, Fault> {
    let caller = Caller::remote("readyz", asked.caller.from, Role::Viewer);
    let asked = tokio::time::timeout(ANSWER_WITHIN, asked.shared.desk.ask(&caller, Command::Status)).await;
    let readiness = match asked {
        Ok(Ok(Reply::Status(status))) => {
            let not_ready: Vec<_> =
                status.jobs.iter().filter(|job| is_missing(job)).map(|job| job.name.clone()).collect();
            Readiness { is_ready: not_ready.is_empty() && !status.supervisor.is_stopping, not_ready }
        }
        _ => Readiness { is_ready: false, not_ready: Vec::new() },
    };
    let mut response = json(&readiness);
    if !readiness.is_ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Whether a job is to run now and does not. One that waits for the time of its schedule is not to run now.
fn is_missing(job: &JobStatus) -> bool {
    match job.state {
        StateName::Ready | StateName::Stopped | StateName::Exited => false,
        StateName::Waiting => job.restart_in_s.is_none_or(|seconds| seconds <= 0.0),
        StateName::Starting | StateName::BackingOff | StateName::Stopping | StateName::Fatal => true,
    }
}
