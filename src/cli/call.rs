//! `enrgdaq call`: has a job carry out an operation of its own.
//!
//! Whoever ends this program ends the call: the supervisor tells the job that nobody waits any more.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::CliError;
use super::args::Target;
use super::ask::connect;
use crate::control::{ClientError, Command, Reply};

/// `KEY=VALUE` of the command line.
pub(super) type Parameter = (String, Value);

/// Reads a parameter: the value as JSON, or else as it stands.
pub(super) fn parameter(text: &str) -> Result<Parameter, String> {
    match text.split_once('=') {
        None | Some(("", _)) => Err("a parameter is KEY=VALUE".into()),
        Some(("do", _)) => Err("`do` is the operation, which stands before the parameters".into()),
        Some((key, value)) => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((key.into(), value))
        }
    }
}

/// Prints what comes as JSON, a line each.
pub(super) fn call(
    target: &Target,
    name: String,
    operation: &str,
    parameters: Vec<Parameter>,
) -> Result<ExitCode, CliError> {
    let operation = asked(operation, parameters)?;
    let mut out = io::stdout().lock();
    let mut print = |data: &Value| writeln!(out, "{data}").and_then(|()| out.flush());
    let reply = connect(target)?.call_with_parts(&Command::Forward { name, operation }, |part| print(&part));
    let printed = match reply {
        Ok(Reply::Response { data }) if !data.is_null() => print(&data),
        Err(ClientError::Output(error)) => Err(error),
        other => other.map(|_| Ok(()))?,
    };
    match printed {
        // Who reads this has enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn asked(operation: &str, parameters: Vec<Parameter>) -> Result<Value, CliError> {
    let mut asked = Map::from_iter([("do".to_owned(), operation.into())]);
    for (key, value) in parameters {
        if asked.insert(key.clone(), value).is_some() {
            return Err(CliError::Usage(format!("the parameter `{key}` stands there twice")));
        }
    }
    Ok(asked.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_where_it_can_be_and_text_else() {
        let table = [
            ("rows=5", "rows", json!(5)),
            ("v=-1.5e3", "v", json!(-1500.0)),
            ("on=true", "on", json!(true)),
            ("name=hv 1", "name", json!("hv 1")),
            ("number=\"5\"", "number", json!("5")),
            ("list=[1,2]", "list", json!([1, 2])),
            ("query=a=b", "query", json!("a=b")),
            ("empty=", "empty", json!("")),
        ];
        for (text, key, value) in table {
            assert_eq!(parameter(text), Ok((key.into(), value)), "{text}");
        }
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        assert!(parameter("rows").is_err() && parameter("=5").is_err() && parameter("do=x").is_err());
        assert!(asked("x", vec![("a".into(), json!(1)), ("a".into(), json!(2))]).is_err());
        assert_eq!(asked("x", vec![("a".into(), json!(1))]).unwrap(), json!({"do": "x", "a": 1}));
    }
}
