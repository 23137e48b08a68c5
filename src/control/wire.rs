//! The dialect of the local socket: one JSON object a line, many calls at a time.
//!
//! ```text
//! → {"id":2,"do":"restart","name":"csv"}
//! ← {"id":2,"finished":true,"name":"csv","state":"ready"}
//! → {"id":4,"do":"stop","name":"cvs"}
//! ← {"id":4,"finished":true,"failed":true,"error":{"class":"NoSuchJob","message":"there is no job `cvs`; did you mean `csv`?"}}
//! ```
//!
//! A client's ids are even, so that both sides may call. A line that is not JSON ends its connection; one without `id`,
//! and one with `id` but without `do` (a late answer), is passed over. Operations: `status`, `start`, `stop` and
//! `restart` with `name`; `logs`, perhaps with `name` (else of all), `lines` (100), `since` (`"10m"`, or a time as in ISO 8601)
//! and `after` (the `next` of an earlier answer); `plan`, `reload`, `add` with `path`, `rm` with `name`, `scale` with `name`
//! and `copies`, `signal` with `name` and `signal`, `config` with `name`, `inventory`, `restart_all`, `renew` with `update`
//! (false), `run` with `config` (the text of a job's file), perhaps `name`, and `restart_on_crash` (true), `end` with `name` or `unique_id`,
//! and `remove` (false), `send` with `message_type`, `payload` (JSON as text) and perhaps `target` (a unique id), `forward`
//! with `name` or `connection_id` (a job's unique id) and `operation` (an object with `do`), whose answers before the last
//! one carry `id` and what the job sent.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::command::{Command, JobRef, Order, Refusal, Reply};
use super::logs::{DEFAULT_LINES, LogQuery, LoggedLine, parse_since};
use super::status::StateName;
use crate::config::MOST_COPIES;
use crate::message::JobInfo;

/// What can be asked.
const OPERATIONS: &str = "status, start, stop, restart, logs, plan, reload, add, rm, scale, signal, config, inventory, \
                          restart_all, renew, run, end, send, forward";

/// A call: whose answer carries which id.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The caller's number.
    pub id: Value,
    /// What is asked.
    pub command: Command,
    /// The job as it was named by `connection_id`, which a refusal repeats.
    pub connection_id: Option<String>,
}

/// Why a line is no call.
#[derive(Debug, Error, PartialEq)]
pub enum WireError {
    /// Not a JSON object: the connection is not worth keeping.
    #[error("not a JSON object")]
    NotJson,
    /// Nothing that needs an answer.
    #[error("neither a call nor an answer that is waited for")]
    NoCall,
    /// A call that cannot be carried out; the caller is told.
    #[error("{message}")]
    BadCall {
        /// The caller's number.
        id: Value,
        /// What is wrong.
        message: String,
    },
}

/// Reads one line, without its end; any bytes may come.
///
/// # Errors
/// [`WireError`].
pub fn parse_line(line: &[u8]) -> Result<Call, WireError> {
    let Ok(Value::Object(object)) = serde_json::from_slice(line) else { return Err(WireError::NotJson) };
    let (Some(id), Some(operation)) = (object.get("id"), object.get("do")) else { return Err(WireError::NoCall) };
    let bad = |message: String| WireError::BadCall { id: id.clone(), message };
    let command = parse_call(operation, &object).map_err(bad)?;
    let connection_id = object.get("connection_id").and_then(Value::as_str).map(str::to_owned);
    Ok(Call { id: id.clone(), command, connection_id })
}

/// Reads a call that is already JSON; its `id` does not matter.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_value(call: &Value) -> Result<Command, String> {
    let object = call.as_object().ok_or("a call is an object")?;
    parse_call(object.get("do").ok_or("Missing 'do' parameter")?, object)
}

fn parse_call(operation: &Value, object: &Map<String, Value>) -> Result<Command, String> {
    Ok(match operation.as_str() {
        Some("status") => Command::Status,
        Some("start") => Command::Job { name: name(object)?, order: Order::Start },
        Some("stop") => Command::Job { name: name(object)?, order: Order::Stop },
        Some("restart") => Command::Job { name: name(object)?, order: Order::Restart },
        Some("logs") => logs(object)?,
        Some("plan") => Command::Plan,
        Some("reload") => Command::Reload,
        Some("add") => Command::Add { path: file(object)? },
        Some("rm") => Command::Remove { name: name(object)? },
        Some("scale") => Command::Scale { name: name(object)?, copies: copies(object)? },
        Some("signal") => Command::Signal { name: name(object)?, signal: text(object, "signal")?.parse()? },
        Some("config") => Command::Config { name: name(object)? },
        Some("inventory") => Command::Inventory,
        Some("restart_all") => Command::RestartAll,
        Some("renew") => Command::Renew { update: flag(object, "update", false)? },
        Some("run") => Command::Run {
            config: text(object, "config")?,
            name: optional(object, "name")?,
            restart_on_crash: flag(object, "restart_on_crash", true)?,
        },
        Some("end") => Command::End { job: job_ref(object)?, remove: flag(object, "remove", false)? },
        Some("send") => Command::Send {
            message_type: text(object, "message_type")?,
            payload: text(object, "payload")?,
            target: optional(object, "target")?,
        },
        Some("forward") => Command::Forward { name: connection(object)?, operation: own_operation(object)? },
        _ => return Err(format!("unknown operation {operation}: there are {OPERATIONS}")),
    })
}

/// The file of a job: whoever asks has perhaps another working directory.
fn file(object: &Map<String, Value>) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(object, "path")?);
    let is_job = path.is_absolute() && path.extension().is_some_and(|extension| extension == "toml");
    if is_job { Ok(path) } else { Err("'path' must be the path of a file NAME.toml, from the root".into()) }
}

/// A text that may be missing, or null.
fn optional(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    given(object, key).map(|_| text(object, key)).transpose()
}

fn given<'o>(object: &'o Map<String, Value>, key: &str) -> Option<&'o Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn flag(object: &Map<String, Value>, key: &str, default: bool) -> Result<bool, String> {
    let flag = |value: &Value| value.as_bool().ok_or_else(|| format!("'{key}' must be true or false, not {value}"));
    given(object, key).map_or(Ok(default), flag)
}

fn job_ref(object: &Map<String, Value>) -> Result<JobRef, String> {
    let job = JobRef { name: optional(object, "name")?, unique_id: optional(object, "unique_id")? };
    let is_named = job.name.is_some() || job.unique_id.is_some();
    if is_named { Ok(job) } else { Err("Missing 'name' or 'unique_id' parameter".into()) }
}

/// The job that an operation is for.
fn connection(object: &Map<String, Value>) -> Result<String, String> {
    match given(object, "name") {
        Some(_) => name(object),
        None => text(object, "connection_id"),
    }
}

fn own_operation(object: &Map<String, Value>) -> Result<Value, String> {
    match object.get("operation") {
        Some(operation) if operation.get("do").is_some_and(Value::is_string) => Ok(operation.clone()),
        Some(_) => Err("'operation' must be an object whose 'do' names the operation".into()),
        None => Err("Missing 'operation' parameter".into()),
    }
}

fn name(object: &Map<String, Value>) -> Result<String, String> {
    text(object, "name")
}

fn text(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("'{key}' must be a string, not {other}")),
        None => Err(format!("Missing '{key}' parameter")),
    }
}

fn copies(object: &Map<String, Value>) -> Result<u16, String> {
    let copies = object.get("copies").and_then(Value::as_u64).and_then(|copies| u16::try_from(copies).ok());
    let copies = copies.filter(|copies| (1..=MOST_COPIES).contains(copies));
    copies.ok_or_else(|| format!("'copies' must be a whole number from 1 to {MOST_COPIES}"))
}

fn logs(object: &Map<String, Value>) -> Result<Command, String> {
    let number = |key: &str| {
        let number =
            given(object, key).map(|value| value.as_u64().ok_or_else(|| format!("'{key}' must be a whole number")));
        number.transpose()
    };
    let name = optional(object, "name")?;
    let lines = number("lines")?.map_or(DEFAULT_LINES, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let since = given(object, "since").map(|since| match since {
        Value::String(text) => parse_since(text),
        other => Err(format!("'since' must be a string, not {other}")),
    });
    Ok(Command::Logs { name, query: LogQuery { lines, since: since.transpose()?, after: number("after")? } })
}

/// A call as a line, with its end.
pub(super) fn call_line(id: u64, command: &Command) -> String {
    let mut call = call_value(command);
    call["id"] = id.into();
    format!("{call}\n")
}

/// A call without its id.
pub(crate) fn call_value(command: &Command) -> Value {
    match command {
        Command::Status => json!({"do": "status"}),
        Command::Job { name, order: Order::Start } => json!({"do": "start", "name": name}),
        Command::Job { name, order: Order::Stop } => json!({"do": "stop", "name": name}),
        Command::Job { name, order: Order::Restart } => json!({"do": "restart", "name": name}),
        Command::Logs { name, query: LogQuery { lines, since, after } } => {
            let since = since.and_then(|since| jiff::Timestamp::from_millisecond(since).ok()).map(|at| at.to_string());
            json!({"do": "logs", "name": name, "lines": lines, "since": since, "after": after})
        }
        Command::Plan => json!({"do": "plan"}),
        Command::Reload => json!({"do": "reload"}),
        Command::Add { path } => json!({"do": "add", "path": path}),
        Command::Remove { name } => json!({"do": "rm", "name": name}),
        Command::Scale { name, copies } => json!({"do": "scale", "name": name, "copies": copies}),
        Command::Signal { name, signal } => json!({"do": "signal", "name": name, "signal": signal.to_string()}),
        Command::Config { name } => json!({"do": "config", "name": name}),
        Command::Inventory => json!({"do": "inventory"}),
        Command::RestartAll => json!({"do": "restart_all"}),
        Command::Renew { update } => json!({"do": "renew", "update": update}),
        Command::Run { config, name, restart_on_crash } => {
            json!({"do": "run", "config": config, "name": name, "restart_on_crash": restart_on_crash})
        }
        Command::End { job: JobRef { name, unique_id }, remove } => {
            json!({"do": "end", "name": name, "unique_id": unique_id, "remove": remove})
        }
        Command::Send { message_type, payload, target } => {
            json!({"do": "send", "message_type": message_type, "payload": payload, "target": target})
        }
        Command::Forward { name, operation } => json!({"do": "forward", "name": name, "operation": operation}),
    }
}

/// The answer to a command, from what came.
pub(crate) fn read_reply(command: &Command, answer: Value) -> Result<Reply, serde_json::Error> {
    use serde::Deserialize;
    #[derive(Deserialize)]
    struct Lines {
        lines: Vec<LoggedLine>,
        older: u64,
        next: u64,
        forgotten: u64,
        file: Option<PathBuf>,
        #[serde(default)]
        begins: i64,
    }
    #[derive(Deserialize)]
    struct Job {
        name: String,
        state: StateName,
    }
    #[derive(Deserialize)]
    struct Text {
        name: String,
        path: PathBuf,
        config: String,
    }
    #[derive(Deserialize)]
    struct All {
        status: Box<super::status::Status>,
        jobs: Vec<JobInfo>,
    }
    #[derive(Deserialize)]
    struct Done {
        message: String,
        #[serde(default)]
        jobs_notified: usize,
    }
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        data: Value,
    }
    Ok(match command {
        Command::Status => Reply::Status(serde_json::from_value(answer)?),
        Command::Logs { .. } => {
            let Lines { lines, older, next, forgotten, file, begins } = serde_json::from_value(answer)?;
            Reply::Logs { lines, older, next, forgotten, file, begins }
        }
        Command::Plan
        | Command::Reload
        | Command::Add { .. }
        | Command::Remove { .. }
        | Command::Scale { .. }
        | Command::End { remove: true, .. } => Reply::Changes(serde_json::from_value(answer)?),
        Command::Job { .. } | Command::Signal { .. } | Command::Run { .. } | Command::End { .. } => {
            let Job { name, state } = serde_json::from_value(answer)?;
            Reply::Job { name, state }
        }
        Command::Config { .. } => {
            let Text { name, path, config } = serde_json::from_value(answer)?;
            Reply::Config { name, path, config }
        }
        Command::Inventory => {
            let All { status, jobs } = serde_json::from_value(answer)?;
            Reply::Inventory { status, jobs }
        }
        Command::RestartAll | Command::Renew { .. } => {
            Reply::Done { message: serde_json::from_value::<Done>(answer)?.message }
        }
        Command::Send { .. } => {
            let Done { message, jobs_notified } = serde_json::from_value(answer)?;
            Reply::Sent { message, jobs_notified }
        }
        Command::Forward { .. } => Reply::Response { data: serde_json::from_value::<Response>(answer)?.data },
    })
}

/// An answer as a line, with its end.
pub(super) fn answer_line(id: &Value, connection_id: Option<&str>, answer: &Result<Reply, Refusal>) -> String {
    let mut line = answer_value(answer);
    line["id"] = id.clone();
    if let (Some(connection_id), Err(_)) = (connection_id, answer) {
        line["connection_id"] = connection_id.into();
    }
    format!("{line}\n")
}

/// An answer without its id.
pub(crate) fn answer_value(answer: &Result<Reply, Refusal>) -> Value {
    match answer {
        Ok(reply) => {
            let mut value = serde_json::to_value(reply).expect("a reply has string keys only");
            value["finished"] = true.into();
            value
        }
        Err(refusal) => {
            let mut failure = failure_value(class(refusal), &refusal.to_string());
            if let Refusal::Operation { data, .. } | Refusal::Elsewhere { data, .. } = refusal
                && !data.is_null()
            {
                failure["data"] = data.clone();
            }
            failure
        }
    }
}

/// What another supervisor answered to a command.
///
/// # Errors
/// Its refusal in its own words, or that it cannot be understood.
pub(crate) fn read_answer(command: &Command, answer: Value) -> Result<Reply, Refusal> {
    if answer["failed"] == true {
        let text = |key: &str| answer["error"][key].as_str().map(str::to_owned);
        let message = text("message").unwrap_or_else(|| "it did not say why".into());
        let (class, data) = (text("class").unwrap_or_else(|| "Elsewhere".into()), answer["data"].clone());
        return Err(Refusal::Elsewhere { class, message, data });
    }
    read_reply(command, answer).map_err(|error| Refusal::Elsewhere {
        class: "BadAnswer".into(),
        message: format!("it answered what this version does not understand: {error}"),
        data: Value::Null,
    })
}

/// What comes before an answer, as a line, with its end.
pub(super) fn part_line(id: &Value, data: &Value) -> String {
    format!("{}\n", json!({"id": id, "data": data}))
}

/// A refusal as a line, with its end.
pub(super) fn failure_line(id: &Value, class: &str, message: &str) -> String {
    let mut line = failure_value(class, message);
    line["id"] = id.clone();
    format!("{line}\n")
}

/// A refusal without its id.
pub(crate) fn failure_value(class: &str, message: &str) -> Value {
    json!({"finished": true, "failed": true, "error": {"class": class, "message": message}})
}

/// The name of a refusal, for programs.
pub(crate) fn class(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::Forbidden { .. } => "Forbidden",
        Refusal::NotFromElsewhere { .. } => "NotFromElsewhere",
        Refusal::NoUpdate => "NoUpdate",
        Refusal::UpdateFailed { .. } => "UpdateFailed",
        Refusal::Ambiguous { .. } => "Ambiguous",
        Refusal::UnknownMessage { .. } => "UnknownMessage",
        Refusal::BadPayload { .. } => "BadPayload",
        Refusal::NobodyTakes { .. } => "NobodyTakes",
        Refusal::Operation { .. } => "Operation",
        Refusal::Elsewhere { class, .. } => class,
        Refusal::NoSuchJob { .. } => "NoSuchJob",
        Refusal::Already { .. } => "Already",
        Refusal::BadConfig { .. } => "BadConfig",
        Refusal::NoCopies { .. } => "NoCopies",
        Refusal::IsCopy { .. } => "IsCopy",
        Refusal::NoProcess { .. } => "NoProcess",
        Refusal::NotSignalled { .. } => "NotSignalled",
        Refusal::Stopping => "Stopping",
        Refusal::Failed { .. } => "Failed",
        Refusal::NotKept { .. } => "NotKept",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_comes_back_from_its_line() {
        let job = |order| Command::Job { name: "hv \"1\"".into(), order };
        let all = Command::Logs { name: None, query: LogQuery::default() };
        let query = LogQuery { lines: 7, since: Some(1_790_000_000_123), after: Some(8) };
        let logs = Command::Logs { name: Some("csv".into()), query };
        let name = || "hv \"1\"".to_owned();
        let changes = [
            Command::Plan,
            Command::Reload,
            Command::Add { path: "/a b/c.toml".into() },
            Command::Remove { name: name() },
            Command::Scale { name: name(), copies: 3 },
            Command::Signal { name: name(), signal: "USR1".parse().unwrap() },
        ];
        let end = |id: Option<&str>| JobRef { name: None, unique_id: id.map(str::to_owned) };
        let elsewhere = [
            Command::Config { name: name() },
            Command::Inventory,
            Command::RestartAll,
            Command::Renew { update: true },
            Command::Run { config: "a = \"\n\"".into(), name: Some(name()), restart_on_crash: false },
            Command::End { job: end(Some("id")), remove: true },
            Command::Send { message_type: "M".into(), payload: "{}".into(), target: Some("id".into()) },
            Command::Forward { name: name(), operation: json!({"do": "dump", "rows": 3}) },
        ];
        let changes = changes.into_iter().chain(elsewhere);
        let orders = [Command::Status, job(Order::Start), job(Order::Stop), job(Order::Restart), all, logs];
        for command in orders.into_iter().chain(changes) {
            let line = call_line(2, &command);

            assert_eq!(parse_line(line.trim_end().as_bytes()), Ok(Call { id: 2.into(), command, connection_id: None }));
        }
    }

    #[test]
    fn what_is_no_call_is_told_apart() {
        let bad = |message: &str| WireError::BadCall { id: 8.into(), message: message.into() };
        let table = [
            ("", WireError::NotJson),
            ("[1]", WireError::NotJson),
            (r#"{"do":"status"}"#, WireError::NoCall),
            (r#"{"id":8}"#, WireError::NoCall),
            (r#"{"id":8,"do":"stop"}"#, bad("Missing 'name' parameter")),
            (r#"{"id":8,"do":"stop","name":3}"#, bad("'name' must be a string, not 3")),
            (r#"{"id":8,"do":"logs","name":"a","lines":-1}"#, bad("'lines' must be a whole number")),
            (r#"{"id":8,"do":"scale","name":"a","copies":0}"#, bad("'copies' must be a whole number from 1 to 100")),
            (r#"{"id":8,"do":"logs","since":5}"#, bad("'since' must be a string, not 5")),
            (r#"{"id":8,"do":"forward","operation":{"do":"x"}}"#, bad("Missing 'connection_id' parameter")),
            (r#"{"id":8,"do":"forward","connection_id":"u"}"#, bad("Missing 'operation' parameter")),
            (
                r#"{"id":8,"do":"forward","name":"a","operation":{"rows":3}}"#,
                bad("'operation' must be an object whose 'do' names the operation"),
            ),
        ];
        for (line, expected) in table {
            assert_eq!(parse_line(line.as_bytes()), Err(expected), "{line}");
        }
    }

    #[test]
    fn what_a_job_answered_has_the_shape_that_other_programs_know() {
        let id = Value::from(6);
        let forward = br#"{"id":6,"do":"forward","connection_id":"nope","operation":{"do":"x"}}"#;
        let call = parse_line(forward).unwrap();
        let line = |answer| {
            let line = answer_line(&id, call.connection_id.as_deref(), &answer);
            serde_json::from_str::<Value>(&line).unwrap()
        };

        let part = serde_json::from_str::<Value>(&part_line(&id, &json!([1, 2]))).unwrap();
        let last = line(Ok(Reply::Response { data: json!("end") }));
        let nobody = line(Err(Refusal::NoSuchJob { name: "nope".into(), similar: None }));
        let why = "no such channel".into();
        let failed = line(Err(Refusal::Operation { name: "hv".into(), why, data: json!({"channel": 17}) }));

        assert_eq!(part, json!({"id": 6, "data": [1, 2]}));
        assert_eq!(last, json!({"id": 6, "finished": true, "data": "end"}));
        let message = "there is no job `nope`; `enrgdaq status` lists them";
        let error = json!({"class": "NoSuchJob", "message": message});
        assert_eq!(nobody, json!({"id": 6, "finished": true, "failed": true, "connection_id": "nope", "error": error}));
        assert_eq!(failed["error"], json!({"class": "Operation", "message": "`hv`: no such channel"}));
        assert_eq!(failed["data"], json!({"channel": 17}));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in any::<Vec<u8>>()) {
            let _either = parse_line(&line);
        }
    }
}
