//! The table of all routes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::asked::Asked;
use super::audit::{self, AuditLines, AuditQuery};
use super::call::{self, Call, Operation};
use super::clients::{self, Logs, Outcome, RestartDaq, RunCustomDaqJob, SendMessage, StopDaqJob, Templates};
use super::events::{self, EventsQuery};
use super::health::{self, Alive, Readiness};
use super::jobs::{self, Jobs, Run, Scale, Signal};
use super::logs::{self, LogsQuery};
use super::metrics;
use super::nodes::{self, Alerts, Edges, Me, Node, NodeList, Restart, Ring};
use super::page;
use super::route::{Answering, Route, Verb};
use super::shapes::{CallAnswer, Done, JobFile, JobState, LogLines};
use crate::config::Role;
use crate::control::cnc::{ClientInfo, NodeStatus};
use crate::control::{Changes, JobStatus, Status};

/// Groups of routes.
const EARLIER: &str = "ENRGDAQ";
const NODES: &str = "Nodes";
const JOBS: &str = "Jobs";
const LOGS: &str = "Logs and events";
const SELF: &str = "This server";

/// What a node may refuse that was asked something.
const ASKED: &[u16] = &[404, 500, 503, 504];
/// The same, with a query.
const QUERIED: &[u16] = &[404, 422, 500, 503, 504];
/// What a node may refuse that was told something.
const TOLD: &[u16] = &[404, 409, 422, 500, 503, 504];

const NDJSON: &str = "application/x-ndjson";
const SSE: &str = "text/event-stream";

/// All routes.
pub(super) fn routes() -> &'static [Route] {
    static ROUTES: LazyLock<Vec<Route>> =
        LazyLock::new(|| [of_earlier(), of_nodes(), of_jobs(), of_logs(), of_self()].into_iter().flatten().collect());
    &ROUTES
}

/// A handler as the table has it.
macro_rules! by {
    ($handler:path) => {
        |asked: Asked| -> Answering { Box::pin($handler(asked)) }
    };
}

/// Those that tools made for ENRGDAQ know.
fn of_earlier() -> Vec<Route> {
    let get = |path, summary, handle| Route::new(Verb::Get, path, EARLIER, summary, handle);
    let post = |path, summary, handle| {
        Route::new(Verb::Post, path, EARLIER, summary, handle).needs(Role::Operator).answers::<Outcome>().refuses(TOLD)
    };
    vec![
        get("/clients", "The nodes that have come.", by!(clients::list)).answers::<BTreeMap<String, ClientInfo>>(),
        post("/clients/{id}/ping", "Whether a node answers.", by!(clients::ping)).needs(Role::Viewer),
        get("/clients/{id}/status", "What a node does.", by!(clients::status)).answers::<NodeStatus>().refuses(ASKED),
        post(
            "/clients/{id}/restart_daq",
            "Ends all jobs of a node, and starts its program anew.",
            by!(clients::restart_daq),
        )
        .needs(Role::Admin)
        .takes::<RestartDaq>(),
        post("/clients/{id}/stop_daqjobs", "Restarts all jobs of a node.", by!(clients::stop_daqjobs)),
        post("/clients/{id}/stop_daqjob", "Ends a job.", by!(clients::stop_daqjob)).takes::<StopDaqJob>(),
        post("/clients/{id}/run_custom_daqjob", "Runs a job.", by!(clients::run_custom_daqjob))
            .needs(Role::Admin)
            .takes::<RunCustomDaqJob>(),
        post("/clients/{id}/send_message", "Gives a message to jobs.", by!(clients::send_message))
            .takes::<SendMessage>(),
        get("/clients/{id}/logs", "The newest lines of a node's log.", by!(clients::logs))
            .answers::<Logs>()
            .refuses(ASKED),
        get("/templates/stores", "What store tables may hold.", by!(clients::store_templates)).answers::<Templates>(),
        get("/templates/daqjobs", "What files of jobs may hold.", by!(clients::job_templates)).answers::<Templates>(),
        get("/templates/messages", "What messages may hold.", by!(clients::message_templates)).answers::<Templates>(),
    ]
}

/// Nodes as wholes.
fn of_nodes() -> Vec<Route> {
    let get = |path, summary, handle| Route::new(Verb::Get, path, NODES, summary, handle).refuses(ASKED);
    let post = |path, summary, handle| {
        Route::new(Verb::Post, path, NODES, summary, handle).needs(Role::Operator).refuses(TOLD)
    };
    vec![
        get("/api/v1/nodes", "The nodes that have come, and this one.", by!(nodes::list)).answers::<NodeList>(),
        get("/api/v1/nodes/{id}", "A node.", by!(nodes::one)).answers::<Node>(),
        get("/api/v1/nodes/{id}/status", "All jobs, edges and alerts.", by!(nodes::status)).answers::<Status>(),
        get("/api/v1/nodes/{id}/ring", "The shared memory of its writers.", by!(nodes::ring)).answers::<Ring>(),
        get("/api/v1/nodes/{id}/edges", "The messages from writers to readers.", by!(nodes::edges)).answers::<Edges>(),
        get("/api/v1/nodes/{id}/alerts", "The newest alerts.", by!(nodes::alerts)).answers::<Alerts>(),
        get("/api/v1/nodes/{id}/plan", "What a reload would do.", by!(nodes::plan)).answers::<Changes>().refuses(TOLD),
        post("/api/v1/nodes/{id}/reload", "Brings what runs in line with the files.", by!(nodes::reload))
            .answers::<Changes>(),
        post("/api/v1/nodes/{id}/restart", "Ends all jobs, and starts the program anew.", by!(nodes::restart))
            .needs(Role::Admin)
            .takes::<Restart>()
            .answers::<Done>(),
        post(
            "/api/v1/nodes/{id}/command",
            "Any command, in the words of the control socket; each has its role.",
            by!(call::command),
        )
        .needs(Role::Viewer)
        .takes::<Call>()
        .answers::<CallAnswer>()
        .streams(NDJSON, "What comes before the answer, a line each; the answer is the last line."),
    ]
}

/// The jobs of a node.
fn of_jobs() -> Vec<Route> {
    let get = |path, summary, handle| Route::new(Verb::Get, path, JOBS, summary, handle).refuses(ASKED);
    let post =
        |path, summary, handle| Route::new(Verb::Post, path, JOBS, summary, handle).needs(Role::Operator).refuses(TOLD);
    vec![
        get("/api/v1/nodes/{id}/jobs", "The jobs of a node.", by!(jobs::list)).answers::<Jobs>(),
        post("/api/v1/nodes/{id}/jobs", "Runs a job whose file comes with the request.", by!(jobs::run))
            .needs(Role::Admin)
            .takes::<Run>()
            .answers::<JobState>(),
        get("/api/v1/nodes/{id}/jobs/{job}", "A job, by its name or unique id.", by!(jobs::one)).answers::<JobStatus>(),
        Route::new(Verb::Delete, "/api/v1/nodes/{id}/jobs/{job}", JOBS, "Ends a job for good.", by!(jobs::remove))
            .needs(Role::Admin)
            .answers::<Changes>()
            .refuses(TOLD),
        post("/api/v1/nodes/{id}/jobs/{job}/start", "Runs a job.", by!(jobs::start)).answers::<JobState>(),
        post("/api/v1/nodes/{id}/jobs/{job}/stop", "Ends a job; it stays so.", by!(jobs::stop)).answers::<JobState>(),
        post("/api/v1/nodes/{id}/jobs/{job}/restart", "Ends a job, and runs it again.", by!(jobs::restart))
            .answers::<JobState>(),
        post("/api/v1/nodes/{id}/jobs/{job}/signal", "Signals a job.", by!(jobs::signal))
            .takes::<Signal>()
            .answers::<JobState>(),
        post("/api/v1/nodes/{id}/jobs/{job}/scale", "Runs so many copies of a job.", by!(jobs::scale))
            .needs(Role::Admin)
            .takes::<Scale>()
            .answers::<Changes>(),
        post(
            "/api/v1/nodes/{id}/jobs/{job}/forward",
            "Has a job carry out an operation of its own.",
            by!(call::forward),
        )
        .takes::<Operation>()
        .streams(NDJSON, "What the job sends, a line each; its last response is the last line, with `finished`."),
        get("/api/v1/nodes/{id}/jobs/{job}/config", "The text of a job's file, without secrets.", by!(jobs::config))
            .answers::<JobFile>(),
    ]
}

fn of_logs() -> Vec<Route> {
    let get = |path, summary, handle| Route::new(Verb::Get, path, LOGS, summary, handle).refuses(QUERIED);
    let log = |path, summary, handle| {
        get(path, summary, handle)
            .asks::<LogsQuery>()
            .answers::<LogLines>()
            .streams(NDJSON, "With `follow`: a line each, until the client leaves.")
            .streams(SSE, "With `follow`, where events are accepted: an event `log` each.")
    };
    vec![
        log("/api/v1/nodes/{id}/logs", "The log of a node and all its jobs.", by!(logs::of_node)),
        log("/api/v1/nodes/{id}/jobs/{job}/logs", "The log of a job.", by!(logs::of_job)),
        get("/api/v1/events", "What happens on this node, as it happens.", by!(events::events))
            .asks::<EventsQuery>()
            .streams(SSE, "An event each: `state`, `alert`, `node`, `log`; `lagged` says how many were missed."),
    ]
}

/// The server itself.
fn of_self() -> Vec<Route> {
    let get = |path, summary, handle| Route::new(Verb::Get, path, SELF, summary, handle);
    vec![
        get("/api/v1/me", "Who asks, and what he may do.", by!(nodes::me)).answers::<Me>(),
        get("/api/v1/audit", "The audit log of this node.", by!(audit::lines))
            .needs(Role::Admin)
            .asks::<AuditQuery>()
            .answers::<AuditLines>()
            .refuses(&[422, 500]),
        get("/metrics", "Figures for Prometheus.", by!(metrics::metrics))
            .streams(super::exposition::KIND, "The text format 0.0.4.")
            .refuses(&[500, 503]),
        get("/healthz", "Whether the process lives.", by!(health::alive)).for_all().answers::<Alive>(),
        get("/readyz", "Whether all jobs that are to run are ready.", by!(health::ready))
            .for_all()
            .answers::<Readiness>()
            .answers_with(
                503,
                "application/json",
                Some(|generator| generator.subschema_for::<Readiness>()),
                "Not all are.",
            ),
        get("/openapi.json", "This document.", by!(page::document))
            .for_all()
            .answers::<BTreeMap<String, serde_json::Value>>(),
        get("/docs", "This document as a page.", by!(page::page)).for_all().streams("text/html", "A page."),
        get("/docs/page.js", "A part of the page.", by!(page::script))
            .for_all()
            .streams("text/javascript", "A script."),
        get("/docs/swagger-ui.css", "A part of the page.", by!(page::style)).for_all().streams("text/css", "A style."),
        get("/docs/swagger-ui-bundle.js", "A part of the page.", by!(page::bundle))
            .for_all()
            .streams("text/javascript", "A script."),
    ]
}
