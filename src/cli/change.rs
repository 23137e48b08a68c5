//! `plan`, `reload`, `add`, `rm`, `scale`, `signal`: which jobs there are, and a word to one of them.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use super::ask::{connect, remote};
use crate::control::{Command, Reply, SignalNumber};

pub(super) fn change(target: &Target, command: &Command, json: bool) -> Result<ExitCode, CliError> {
    let reply = connect(target)?.call(command)?;
    let Reply::Changes(changes) = reply else { return Ok(ExitCode::SUCCESS) };
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, &changes).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        false => write!(out, "{changes}")?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn add(target: &Target, file: &Path) -> Result<ExitCode, CliError> {
    let fail = |why: String| CliError::Usage(format!("{}: {why}", file.display()));
    // The supervisor may have another working directory.
    let path = file.canonicalize().map_err(|error| fail(error.to_string()))?;
    if !path.is_file() || path.extension().is_none_or(|extension| extension != "toml") {
        return Err(fail("a job is a file NAME.toml".into()));
    }
    if remote(target)?.is_some() {
        return bring(target, &path);
    }
    change(target, &Command::Add { path }, false)
}

/// To a supervisor elsewhere a file goes by its text.
fn bring(target: &Target, path: &Path) -> Result<ExitCode, CliError> {
    let config = std::fs::read_to_string(path)?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let reply = connect(target)?.call(&Command::Run { config, name, restart_on_crash: true })?;
    if let Reply::Job { name, .. } = reply {
        println!("+ {name}  new");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn signal(target: &Target, name: String, signal: SignalNumber) -> Result<ExitCode, CliError> {
    connect(target)?.call(&Command::Signal { name: name.clone(), signal })?;
    println!("{name}: {signal} sent");
    Ok(ExitCode::SUCCESS)
}
