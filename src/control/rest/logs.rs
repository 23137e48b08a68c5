//! Logs of nodes and jobs: once, or as they grow.

use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::app::Shared;
use super::asked::{Asked, check_most};
use super::events::{KEEP_ALIVE, MOST_SECONDS, after as seconds_are_over, ended};
use super::fault::Fault;
use super::stream::{self, Form, Gone, Pieces};
use crate::control::{Caller, Command, DEFAULT_LINES, LogQuery, Reply, parse_since};

/// How often somebody who follows a log is told what is new.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lines of an answer.
const MOST_LINES: u64 = 10_000;

/// Lines at a time.
const LINES_AT_ONCE: usize = 1000;

/// Which lines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// How many at the most: the newest; those that come first where `after` is given.
    #[schemars(range(min = 0, max = 10_000))]
    lines: Option<u64>,
    /// Only those that came since: `10m` (s, m, h, d), or a date as in ISO 8601.
    since: Option<String>,
    /// Only those with a higher number.
    after: Option<u64>,
    /// Goes on with what comes, until the client leaves: JSON lines, or events (`Accept: text/event-stream`).
    follow: bool,
    /// With `follow`: ends after so many seconds.
    #[schemars(range(min = 0, max = 86_400))]
    seconds: Option<u32>,
}

pub(super) async fn of_node(asked: Asked) -> Result<Response<Body>, Fault> {
    answer(asked, None).await
}

pub(super) async fn of_job(asked: Asked) -> Result<Response<Body>, Fault> {
    let job = asked.job();
    answer(asked, Some(job)).await
}

async fn answer(asked: Asked, name: Option<String>) -> Result<Response<Body>, Fault> {
    let LogsQuery { lines, since, after, follow, seconds } = asked.query()?;
    check_most("lines", lines, MOST_LINES)?;
    check_most("seconds", seconds.map(u64::from), MOST_SECONDS)?;
    let lines = lines.map_or(DEFAULT_LINES, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let since = since.map(|since| parse_since(&since)).transpose().map_err(Fault::bad_input)?;
    let command = Command::Logs { name: name.clone(), query: LogQuery { lines, since, after } };
    let reply = asked.command(command).await?;
    if !follow {
        return Ok(super::asked::json(&reply));
    }
    let (response, pieces) = stream::begin(&asked.shared, asked.form.unwrap_or(Form::Lines))?;
    let node = asked.node().to_owned();
    let follower = Follower { node, name, caller: asked.caller, pieces };
    tokio::spawn(async move {
        let shared = asked.shared;
        tokio::select! {
            _ = follower.follow(&shared, reply) => {}
            () = follower.pieces.left() => {}
            () = ended(&shared) => {}
            () = seconds_are_over(seconds) => {}
        }
    });
    Ok(response)
}

/// Somebody who follows a log.
struct Follower {
    node: String,
    name: Option<String>,
    caller: Caller,
    pieces: Pieces,
}

impl Follower {
    async fn follow(&self, shared: &Shared, first: Reply) -> Result<(), Gone> {
        let mut reply = first;
        let mut said_at = tokio::time::Instant::now();
        loop {
            let Reply::Logs { lines, next, .. } = reply else { return Ok(()) };
            for line in &lines {
                self.pieces.send("log", line).await?;
            }
            if !lines.is_empty() {
                said_at = tokio::time::Instant::now();
            } else if said_at.elapsed() >= KEEP_ALIVE {
                self.pieces.keep_alive().await?;
                said_at = tokio::time::Instant::now();
            }
            if lines.len() < LINES_AT_ONCE {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let query = LogQuery { lines: LINES_AT_ONCE, since: None, after: Some(next) };
            let command = Command::Logs { name: self.name.clone(), query };
            let (parts, _) = mpsc::channel(1);
            reply = match shared.nodes.command(&self.caller, &self.node, command, parts).await {
                Ok(reply) => reply,
                Err(error) => {
                    let Fault { code, message, .. } = error.into();
                    let error = json!({"error": {"code": code, "message": message}});
                    return self.pieces.send("error", &error).await;
                }
            };
        }
    }
}
