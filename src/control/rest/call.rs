//! Any command, in the words of the control socket; and operations that a job carries out.
//!
//! ```text
//! → {"do":"restart","name":"csv"}
//! ← {"finished":true,"name":"csv","state":"ready"}
//! ```
//! With `Accept: application/x-ndjson` what comes before the answer comes as lines before it: `{"data":…}`. A refusal has
//! the status of its class as long as nothing came before it.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::asked::{Asked, json as print};
use super::fault::Fault;
use super::stream::{self, Form, Pieces};
use crate::control::cnc::NodeError;
use crate::control::wire::{class, parse_value};
use crate::control::{Command, Reply};

/// Parts that may wait for the client.
const MAX_PARTS: usize = 256;

/// A call, for the OpenAPI document; it is read where those of the control socket are.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema is all that is wanted of it")]
pub(super) enum Call {
    /// All jobs, edges and alerts.
    Status,
    /// Runs a job.
    Start(Named),
    /// Ends a job; it stays so.
    Stop(Named),
    /// Ends a job, and runs it again.
    Restart(Named),
    /// Lines of a log.
    Logs {
        /// Of which job; none: of all.
        #[serde(default)]
        name: Option<String>,
        /// How many.
        #[serde(default)]
        lines: Option<u64>,
        /// Since when: `10m`, or a date.
        #[serde(default)]
        since: Option<String>,
        /// After which number.
        #[serde(default)]
        after: Option<u64>,
    },
    /// What a reload would do.
    Plan,
    /// Brings what runs in line with the files.
    Reload,
    /// Runs the job of a file of the node.
    Add {
        /// The file; a path from the root.
        path: String,
    },
    /// Ends a job for good.
    Rm(Named),
    /// Runs so many copies of a job.
    Scale {
        /// The job's name.
        name: String,
        /// How many.
        #[schemars(range(min = 1, max = 100))]
        copies: u16,
    },
    /// Signals a job.
    Signal {
        /// Its name.
        name: String,
        /// `USR1`.
        signal: String,
    },
    /// The text of a job's file.
    Config(Named),
    /// The status, and what each job was told.
    Inventory,
    /// Restarts all jobs.
    RestartAll,
    /// Ends all jobs, and starts the program anew.
    Renew {
        /// Runs the `update_command` of the node before.
        #[serde(default)]
        update: bool,
    },
    /// Runs a job whose file comes with the call.
    Run {
        /// The text of its file.
        config: String,
        /// Its name; without it: made from its unique id, or else its type.
        #[serde(default)]
        name: Option<String>,
        /// Whether its policy starts it again (true).
        #[serde(default)]
        restart_on_crash: Option<bool>,
    },
    /// Ends a job that is named by its name, its type or its unique id: one of them there must be.
    End {
        /// Its name, or its type.
        #[serde(default)]
        name: Option<String>,
        /// Its unique id; counts before the name.
        #[serde(default)]
        unique_id: Option<String>,
        /// For good.
        #[serde(default)]
        remove: bool,
    },
    /// Gives a message to jobs.
    Send {
        /// The type.
        message_type: String,
        /// Its fields, as JSON text.
        payload: String,
        /// Only to the job of this unique id.
        #[serde(default)]
        target: Option<String>,
    },
    /// Has a job carry out an operation of its own.
    Forward {
        /// Its name.
        name: String,
        /// What is asked.
        operation: Operation,
    },
}

/// Names a job.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "its schema is all that is wanted of it")]
pub(super) struct Named {
    /// Its name.
    name: String,
}

/// An operation of a job: `do`, and what else it needs.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Operation {
    /// Its name.
    r#do: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

pub(super) async fn command(asked: Asked) -> Result<Response<Body>, Fault> {
    let call: Value = asked.body().map_err(Fault::answering_call)?;
    let bad_call = |message: String| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "BadCall", message).answering_call();
    let command = parse_value(&call).map_err(bad_call)?;
    match asked.form {
        Some(Form::Lines) => in_parts(asked, command).await,
        _ => asked.command(command).await.map(|reply| print(&last(&reply))).map_err(Fault::answering_call),
    }
}

pub(super) async fn forward(asked: Asked) -> Result<Response<Body>, Fault> {
    let Operation { r#do, mut rest } = asked.body().map_err(Fault::answering_call)?;
    rest.insert("do".into(), r#do.into());
    let command = Command::Forward { name: asked.job(), operation: rest.into() };
    in_parts(asked, command).await
}

/// Answers line by line: parts as they come, the answer last.
async fn in_parts(asked: Asked, command: Command) -> Result<Response<Body>, Fault> {
    let (response, pieces) = stream::begin(&asked.shared, Form::Lines).map_err(Fault::answering_call)?;
    let (parts, mut to_send) = mpsc::channel(MAX_PARTS);
    let id = asked.node().to_owned();
    let mut asking = Box::pin(async move { asked.shared.nodes.command(&asked.caller, &id, command, parts).await });
    // A refusal before the first line is told by the status.
    let (first, answer) = tokio::select! {
        biased;
        Some(part) = to_send.recv() => (Some(part), None),
        answer = &mut asking => (to_send.try_recv().ok(), Some(answer)),
    };
    match (first, answer) {
        (None, Some(Err(error))) => return Err(Fault::from(error).answering_call()),
        (None, Some(Ok(reply))) => drop(tokio::spawn(async move { pieces.send("answer", &last(&reply)).await })),
        (first, answer) => drop(tokio::spawn(async move {
            let answering = async move {
                match answer {
                    Some(answer) => answer,
                    None => asking.await,
                }
            };
            let sent = send_all(&pieces, first, to_send, answering);
            tokio::select! {
                () = sent => {}
                () = pieces.left() => {}
            }
        })),
    }
    Ok(response)
}

async fn send_all(
    pieces: &Pieces,
    first: Option<Value>,
    mut to_send: mpsc::Receiver<Value>,
    answering: impl Future<Output = Result<Reply, NodeError>>,
) {
    let parts = async {
        let mut next = first;
        loop {
            match next {
                Some(part) => drop(pieces.send("part", &json!({"data": part})).await),
                None => return,
            }
            next = to_send.recv().await;
        }
    };
    let (answer, ()) = tokio::join!(answering, parts);
    let line = match answer {
        Ok(reply) => last(&reply),
        Err(error) => failed(&error),
    };
    pieces.send("answer", &line).await.ok();
}

/// The answer, as the control socket has it.
fn last(reply: &Reply) -> Value {
    let mut line = serde_json::to_value(reply).expect("a reply has string keys only");
    line["finished"] = true.into();
    line
}

fn failed(error: &NodeError) -> Value {
    let class = match error {
        NodeError::Unknown => "NoSuchNode",
        NodeError::Silent => "Silent",
        NodeError::Refused(refusal) => class(refusal),
    };
    let error = json!({"class": class, "code": class, "message": error.to_string()});
    json!({"finished": true, "failed": true, "error": error})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_call_and_no_other() {
        let schema = schemars::schema_for!(Call);
        let calls = schema.as_value()["oneOf"].as_array().unwrap();
        let word = |call: &Value| call["properties"]["do"]["const"].as_str().unwrap().to_owned();
        let words: Vec<_> = calls.iter().map(word).collect();

        let error = parse_value(&json!({"do": "?"})).unwrap_err();

        let known = error.split("there are ").nth(1).unwrap();
        assert_eq!(words.join(", "), known);
    }
}
