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
//! `restart` with `name`, `logs` with `name` and perhaps `lines` (100).

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::command::{Command, Order, Refusal, Reply};

/// Lines of `logs` where a call does not say.
const DEFAULT_LINES: u64 = 100;

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
        Some("logs") => Command::Logs { name: name(&object).map_err(bad)?, lines: lines(&object).map_err(bad)? },
        _ => return Err(bad(format!("unknown operation {operation}: there are status, start, stop, restart, logs"))),
    };
    Ok(Call { id: id.clone(), command })
}

fn name(object: &Map<String, Value>) -> Result<String, String> {
    match object.get("name") {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(other) => Err(format!("'name' must be a string, not {other}")),
        None => Err("Missing 'name' parameter".into()),
    }
}

fn lines(object: &Map<String, Value>) -> Result<usize, String> {
    let value = object.get("lines").map_or(Some(DEFAULT_LINES), Value::as_u64);
    value.and_then(|lines| usize::try_from(lines).ok()).ok_or_else(|| "'lines' must be a whole number".into())
}

/// A call as a line, with its end.
pub(super) fn call_line(id: u64, command: &Command) -> String {
    let mut call = match command {
        Command::Status => json!({"do": "status"}),
        Command::Job { name, order: Order::Start } => json!({"do": "start", "name": name}),
        Command::Job { name, order: Order::Stop } => json!({"do": "stop", "name": name}),
        Command::Job { name, order: Order::Restart } => json!({"do": "restart", "name": name}),
        Command::Logs { name, lines } => json!({"do": "logs", "name": name, "lines": lines}),
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
        Refusal::Stopping => "Stopping",
        Refusal::Failed { .. } => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_comes_back_from_its_line() {
        let job = |order| Command::Job { name: "hv \"1\"".into(), order };
        let logs = Command::Logs { name: "csv".into(), lines: 7 };
        for command in [Command::Status, job(Order::Start), job(Order::Stop), job(Order::Restart), logs] {
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
