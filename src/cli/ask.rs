//! `start`, `stop`, `restart`: a question to a running supervisor.

use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use crate::config;
use crate::control::{Client, Command, Order};

/// Connects to the supervisor that is meant.
pub(super) fn connect(target: &Target) -> Result<Client, CliError> {
    let id = match &target.id {
        Some(id) => id.clone(),
        None => config::load_supervisor(&target.config)?.0.info.supervisor_id,
    };
    Ok(Client::connect(&id)?)
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
