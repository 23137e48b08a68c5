//! What can be typed.

use std::path::PathBuf;

use clap::Parser;
use clap_complete::Shell;

use crate::config::Role;
use crate::control::SignalNumber;

/// Takes the data of an experiment: starts the jobs of a folder of TOML files, and keeps them running.
#[derive(Debug, Parser)]
#[command(name = "enrgdaq", version, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) target: Target,
    /// Throw away what a former run has left in shared memory, counted, instead of delivering it; then take data.
    #[arg(long)]
    pub(super) discard_ring: bool,
    #[command(subcommand)]
    pub(super) command: Option<Subcommand>,
}

const EXAMPLES: &str = "\
Examples:
  enrgdaq --config configs/            take data with the jobs in configs/, until Ctrl-C
  enrgdaq check --config configs/      look for mistakes in configs/, and start nothing
  enrgdaq status                       what the supervisor of configs/ is doing
  enrgdaq restart csv                  restart the job of configs/csv.toml
  enrgdaq plan                         what has changed in configs/ since it was read; then: enrgdaq reload
  enrgdaq call test dump rows=5        have the job of configs/test.toml show its next 5 rows
  enrgdaq logs csv -n 50               the last 50 lines that it said
  enrgdaq logs -f --since 10m          what all said in the last 10 minutes, and from now on
  enrgdaq jobs describe DAQJobTest     all keys of a job type";

/// Which supervisor is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The folder with supervisor.toml and a file for each job.
    #[arg(long, global = true, value_name = "DIR", alias = "daq-job-config-path", default_value = "configs/")]
    pub(super) config: PathBuf,
    /// A running supervisor by its id, instead of by its folder.
    #[arg(long, global = true, value_name = "ID")]
    pub(super) id: Option<String>,
    /// A supervisor elsewhere, by the REST API of its server, http://HOST:PORT or https://HOST:PORT; --id says which of the
    /// server's nodes, without it the server itself. Also from ENRGDAQ_SERVER.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) server: Option<String>,
    /// The token for --server. Better in ENRGDAQ_TOKEN, where others of this machine do not see it.
    #[arg(long, global = true)]
    pub(super) token: Option<String>,
    /// Certificates (PEM) that are trusted for https, instead of the usual ones.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Look for mistakes in a folder: all at once, with file, line and remedy; start nothing. Exit status 0 or 1.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show jobs, messages between them, and alerts of a running supervisor.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start a job that is stopped, done or fatal, and wait until it is ready.
    Start {
        /// The job's name: its file's name without .toml; of one with copies: all of them, or one by NAME_00.
        name: String,
    },
    /// Stop a job, and wait until it has ended. It stays stopped, also when the supervisor is restarted, until `start`.
    Stop {
        /// The job's name: its file's name without .toml; of one with copies: all of them, or one by NAME_00.
        name: String,
    },
    /// Stop a job and start it again, and wait until it is ready.
    Restart {
        /// The job's name: its file's name without .toml; of one with copies: all of them, or one by NAME_00.
        name: String,
    },
    /// Show what `reload` would do, and do nothing.
    Plan {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring what runs in line with the files: only jobs that have changed are touched; with a fault in any file nothing.
    Reload {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the job of a file too, also when the supervisor is restarted, until `rm`.
    Add {
        /// The file.
        file: PathBuf,
    },
    /// Stop a job for good, also when the supervisor is restarted, until its file is added again.
    Rm {
        /// The name of its file without .toml.
        name: String,
    },
    /// Run so many copies of a job whose file has `replicas`, also when the supervisor is restarted.
    Scale {
        /// The name of its file without .toml.
        name: String,
        /// How many: 1 to 100.
        #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
        copies: u16,
    },
    /// Send a signal to a job's process, or to the program that it runs.
    Signal {
        /// The job's name.
        name: String,
        /// HUP, SIGHUP, USR1 …, or a number.
        signal: SignalNumber,
    },
    /// Have a job carry out an operation of its own; print what it answers as JSON, a line each. Ctrl-C ends it.
    #[command(after_help = "Example: enrgdaq call test dump rows=5")]
    Call {
        /// The job's name, or its unique id.
        name: String,
        /// The operation; each job type has its own.
        operation: String,
        /// Its parameters: the value as JSON, or else as text.
        #[arg(value_name = "KEY=VALUE", value_parser = super::call::parameter)]
        parameters: Vec<super::call::Parameter>,
    },
    /// Show the last lines that a job said, or all jobs and the supervisor; or follow them.
    Logs(super::logs::Options),
    /// Show the job types that this program has.
    Jobs {
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// Make the key pair of a node for `[cnc.curve]` and `[federation.curve]`: a file for this user alone, which must not be
    /// there yet.
    Keygen {
        /// The file.
        file: PathBuf,
    },
    /// Measure how fast this machine takes data, with every word verified. Exit status 0: nothing lost, nothing wrong.
    Bench(super::bench::Options),
    /// Say who may use the REST API of this folder's supervisor.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Show who commanded what: one line for each command that changed something, or was to.
    AuditLog(super::audit_log::Options),
    /// Print completions for a shell.
    #[command(after_help = "Example: enrgdaq completions bash > ~/.local/share/bash-completion/completions/enrgdaq")]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Print docs/configuration.md, made from the types.
    #[command(hide = true)]
    Docs,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, once.
    Add {
        /// Whose it is: it stands in the audit log.
        name: String,
        /// What he may: viewer (look), operator (also start, stop, restart jobs), admin (all).
        #[arg(long)]
        role: Role,
    },
    /// List names and roles.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove one; it counts no more at once.
    Rm {
        /// Whose.
        name: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum JobsCommand {
    /// List them, a line each.
    List,
    /// Show every key of one: its type, its default, what it means.
    Describe {
        /// The type, such as DAQJobPCMetrics.
        job_type: String,
        /// Print its JSON Schema.
        #[arg(long)]
        schema: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_ring_is_discarded_only_when_that_is_said() {
        assert!(Args::parse_from(["enrgdaq", "--config", "d", "--discard-ring"]).discard_ring);
        assert!(!Args::parse_from(["enrgdaq", "--config", "d"]).discard_ring);
        assert!(Args::try_parse_from(["enrgdaq", "status", "--discard-ring"]).is_err());
    }

    #[test]
    fn the_folder_may_stand_before_or_after_and_have_its_old_name() {
        let lines = [
            "enrgdaq --config d status",
            "enrgdaq status --config d",
            "enrgdaq --daq-job-config-path d",
            "enrgdaq --daq-job-config-path=d status",
        ];
        for line in lines {
            assert_eq!(Args::parse_from(line.split(' ')).target.config, PathBuf::from("d"), "{line}");
        }
    }
}
