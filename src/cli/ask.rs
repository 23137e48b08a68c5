//! `start`, `stop`, `restart`: a question to a running supervisor.

use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use crate::control::{Client, Command, HttpClient, Order};
use crate::supervisor::SupervisorError;
use crate::{config, os};

/// Connects to the supervisor that is meant.
pub(super) fn connect(target: &Target) -> Result<Client, CliError> {
    match remote(target)? {
        Some(server) => Ok(Client::over(server)),
        None => Ok(Client::connect(&id(target)?)?),
    }
}

/// The server through which the supervisor is asked that is meant, if there is one.
pub(super) fn remote(target: &Target) -> Result<Option<HttpClient>, CliError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(server) = target.server.clone().or_else(|| variable("ENRGDAQ_SERVER")) else { return Ok(None) };
    let token = target.token.clone().or_else(|| variable("ENRGDAQ_TOKEN"));
    let node = target.id.clone().unwrap_or_else(|| "self".into());
    Ok(Some(HttpClient::new(&server, token, node, target.ca.as_deref())?))
}

/// Its id.
fn id(target: &Target) -> Result<String, CliError> {
    match &target.id {
        Some(id) => Ok(id.clone()),
        None => Ok(config::load_supervisor(&target.config)?.0.info.supervisor_id),
    }
}

/// The state directory of a supervisor of this machine.
pub(super) fn state_dir(target: &Target, command: &str) -> Result<PathBuf, CliError> {
    if remote(target)?.is_some() {
        return Err(CliError::Usage(format!("`{command}` works on this machine only: without --server")));
    }
    let (dir, id) = match &target.id {
        Some(id) => (None, id.clone()),
        None => {
            let config = config::load_supervisor(&target.config)?.0;
            (config.state_dir, config.info.supervisor_id)
        }
    };
    Ok(os::state_dir(dir.as_deref(), &id).map_err(SupervisorError::Directory)?)
}

pub(super) fn order(target: &Target, name: String, order: Order) -> Result<ExitCode, CliError> {
    let done = match order {
        Order::Start => "started",
        Order::Stop => "stopped",
        Order::Restart => "restarted",
    };
    connect(target)?.call(&Command::Job { name: name.clone(), order })?;
    println!("{name}: {done}");
    Ok(ExitCode::SUCCESS)
}
