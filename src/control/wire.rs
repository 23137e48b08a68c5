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
//! and `copies`, `signal` with `name` and `signal`.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::command::{Command, Order, Refusal, Reply};
use super::logs::{DEFAULT_LINES, LogQuery, parse_since};
use crate::config::MOST_COPIES;

/// What can be asked.
const OPERATIONS: &str = "status, start, stop, restart, logs, plan, reload, add, rm, scale, signal";

/// A call: whose answer carries which id.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The caller's number.
    pub id: Value,
    /// What is asked.
    pub command: Command,
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
    let command = match operation.as_str() {
        Some("status") => Command::Status,
        Some("start") => Command::Job { name: name(&object).map_err(bad)?, order: Order::Start },
        Some("stop") => Command::Job { name: name(&object).map_err(bad)?, order: Order::Stop },
        Some("restart") => Command::Job { name: name(&object).map_err(bad)?, order: Order::Restart },
        Some("logs") => logs(&object).map_err(bad)?,
        Some("plan") => Command::Plan,
        Some("reload") => Command::Reload,
        Some("add") => Command::Add { path: text(&object, "path").map_err(bad)?.into() },
        Some("rm") => Command::Remove { name: name(&object).map_err(bad)? },
        Some("scale") => Command::Scale { name: name(&object).map_err(bad)?, copies: copies(&object).map_err(bad)? },
        Some("signal") => {
            let signal = text(&object, "signal").and_then(|name| name.parse());
            Command::Signal { name: name(&object).map_err(bad)?, signal: signal.map_err(bad)? }
        }
        _ => return Err(bad(format!("unknown operation {operation}: there are {OPERATIONS}"))),
    };
    Ok(Call { id: id.clone(), command })
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
    let given = |key: &str| object.get(key).filter(|value| !value.is_null());
    let number = |key: &str| {
        let number = given(key).map(|value| value.as_u64().ok_or_else(|| format!("'{key}' must be a whole number")));
        number.transpose()
    };
    let name = given("name").map(|_| name(object)).transpose()?;
    let lines = number("lines")?.map_or(DEFAULT_LINES, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let since = given("since").map(|since| match since {
        Value::String(text) => parse_since(text),
        other => Err(format!("'since' must be a string, not {other}")),
    });
    Ok(Command::Logs { name, query: LogQuery { lines, since: since.transpose()?, after: number("after")? } })
}

/// A call as a line, with its end.
pub(super) fn call_line(id: u64, command: &Command) -> String {
    let mut call = match command {
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
    };
    call["id"] = id.into();
    format!("{call}\n")
}

/// An answer as a line, with its end.
pub(super) fn answer_line(id: &Value, answer: &Result<Reply, Refusal>) -> String {
    match answer {
        Ok(reply) => {
            let mut line = serde_json::to_value(reply).expect("a reply has string keys only");
            line["id"] = id.clone();
            line["finished"] = true.into();
            format!("{line}\n")
        }
        Err(refusal) => failure_line(id, class(refusal), &refusal.to_string()),
    }
}

/// A refusal as a line, with its end.
pub(super) fn failure_line(id: &Value, class: &str, message: &str) -> String {
    let error = json!({"class": class, "message": message});
    format!("{}\n", json!({"id": id, "finished": true, "failed": true, "error": error}))
}

fn class(refusal: &Refusal) -> &'static str {
    match refusal {
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
        let orders = [Command::Status, job(Order::Start), job(Order::Stop), job(Order::Restart), all, logs];
        for command in orders.into_iter().chain(changes) {
            let line = call_line(2, &command);

            assert_eq!(parse_line(line.trim_end().as_bytes()), Ok(Call { id: 2.into(), command }));
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
        ];
        for (line, expected) in table {
            assert_eq!(parse_line(line.as_bytes()), Err(expected), "{line}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in any::<Vec<u8>>()) {
            let _either = parse_line(&line);
        }
    }
}
