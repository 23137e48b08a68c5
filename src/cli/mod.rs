//! The command line: one file a subcommand.
//!
//! Exit status: 0 done; 1 refused or failed; 2 the command line itself is wrong; 3 another supervisor of this id runs.

mod args;
mod ask;
mod audit_log;
mod bench;
mod call;
mod change;
mod check;
mod jobs;
mod keygen;
mod logs;
mod run;
mod status;
mod token;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::control::{ClientError, Command};
use crate::job::{JobTypes, run_process, run_shim};
use crate::supervisor::SupervisorError;
use args::{Args, JobsCommand, Subcommand};

/// The whole program, for a list of job types: a supervisor, one of its jobs, or a question to a supervisor.
pub fn main(types: JobTypes) -> ExitCode {
    // A job comes here before anything else has touched the process.
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new("job")) {
        return run_process(&types);
    }
    // And a program that is to be a job, before it is that program.
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new("exec")) {
        return run_shim();
    }
    let args = Args::parse();
    match execute(args, &types) {
        Ok(code) => code,
        Err(error) => {
            match &error {
                // A report is a list of places, which editors and terminals can follow.
                CliError::Config(report) | CliError::Supervisor(SupervisorError::Config(report)) => {
                    eprintln!("{report}")
                }
                other => eprintln!("enrgdaq: {}", crate::error_chain(other)),
            }
            match error {
                CliError::Supervisor(SupervisorError::Held { .. }) => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Config(#[from] crate::config::Report),
    #[error(transparent)]
    Token(#[from] crate::control::tokens::TokenError),
    #[error(transparent)]
    Key(#[from] crate::bus::KeyError),
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    #[error("cannot start the program anew")]
    Renew(#[source] std::io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

fn execute(args: Args, types: &JobTypes) -> Result<ExitCode, CliError> {
    let target = args.target;
    match args.command {
        None => run::run(&target, args.discard_ring, types),
        Some(_) if args.discard_ring => Err(CliError::Usage(
            "--discard-ring belongs to the start of a supervisor: enrgdaq --config DIR --discard-ring".into(),
        )),
        Some(Subcommand::Check { json }) => check::check(&target, types, json),
        Some(Subcommand::Status { json }) => status::status(&target, json),
        Some(Subcommand::Start { name }) => ask::order(&target, name, crate::control::Order::Start),
        Some(Subcommand::Stop { name }) => ask::order(&target, name, crate::control::Order::Stop),
        Some(Subcommand::Restart { name }) => ask::order(&target, name, crate::control::Order::Restart),
        Some(Subcommand::Plan { json }) => change::change(&target, &Command::Plan, json),
        Some(Subcommand::Reload { json }) => change::change(&target, &Command::Reload, json),
        Some(Subcommand::Add { file }) => change::add(&target, &file),
        Some(Subcommand::Rm { name }) => change::change(&target, &Command::Remove { name }, false),
        Some(Subcommand::Scale { name, copies }) => change::change(&target, &Command::Scale { name, copies }, false),
        Some(Subcommand::Signal { name, signal }) => change::signal(&target, name, signal),
        Some(Subcommand::Call { name, operation, parameters }) => call::call(&target, name, &operation, parameters),
        Some(Subcommand::Logs(options)) => logs::logs(&target, options),
        Some(Subcommand::Jobs { command: JobsCommand::List }) => jobs::list(types),
        Some(Subcommand::Jobs { command: JobsCommand::Describe { job_type, schema } }) => {
            jobs::describe(types, &job_type, schema)
        }
        Some(Subcommand::Keygen { file }) => keygen::keygen(&file),
        Some(Subcommand::Bench(options)) => bench::bench(&options, types),
        Some(Subcommand::Token { command }) => token::token(&target, command),
        Some(Subcommand::AuditLog(options)) => audit_log::audit_log(&target, &options),
        Some(Subcommand::Docs) => jobs::docs(types),
        Some(Subcommand::Completions { shell }) => {
            clap_complete::generate(shell, &mut Args::command(), "enrgdaq", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
