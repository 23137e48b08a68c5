//! `enrgdaq --config DIR`: the supervisor itself, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use crate::config;
use crate::job::JobTypes;
use crate::os::{block_stop_signals, close_at_exec, exec, spawn_signal_thread};
use crate::supervisor::{Supervisor, SupervisorError};
use crate::telemetry::log_to_console;

pub(super) fn run(target: &Target, discard_ring: bool, types: &JobTypes) -> Result<ExitCode, CliError> {
    if target.id.is_some() {
        return Err(CliError::Usage(
            "--id names a running supervisor; to start one, give its folder with --config".into(),
        ));
    }
    block_stop_signals();
    // An update may put another file in its place.
    let program = std::env::current_exe()?;
    let verbosity = config::load_supervisor(&target.config).map(|(config, _)| config.verbosity).unwrap_or_default();
    let log = log_to_console(verbosity);
    let mut supervisor =
        Supervisor::new(None, types, &target.config)?.with_console(log.console()).owning_all_children();
    if discard_ring {
        supervisor = supervisor.discarding_ring();
    }
    let handle = supervisor.handle();
    let heard = move |signal| match signal {
        libc::SIGHUP => handle.reload(),
        signal => handle.stop(signal_reason(signal)),
    };
    spawn_signal_thread(heard).map_err(SupervisorError::System)?;
    let ended = supervisor.run()?;
    drop(log);
    if ended.is_to_start_anew {
        return Err(CliError::Renew(start_anew(&program)));
    }
    Ok(if ended.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes this process the program anew, as the file of the program now is; returns only if that fails.
fn start_anew(program: &Path) -> std::io::Error {
    close_at_exec(None);
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    exec(&program.to_string_lossy(), &arguments)
}

fn signal_reason(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "Ctrl-C",
        _ => "SIGTERM",
    }
}
