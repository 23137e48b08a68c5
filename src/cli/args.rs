//! What can be typed.

use std::path::PathBuf;

use clap::Parser;
use clap_complete::Shell;

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
  enrgdaq logs csv -n 50               the last 50 lines that it said
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
        /// The job's name: its file's name without .toml.
        name: String,
    },
    /// Stop a job, and wait until it has ended.
    Stop {
        /// The job's name: its file's name without .toml.
        name: String,
    },
    /// Stop a job and start it again, and wait until it is ready.
    Restart {
        /// The job's name: its file's name without .toml.
        name: String,
    },
    /// Show the last lines that a job said.
    Logs {
        /// The job's name: its file's name without .toml.
        name: String,
        /// How many lines.
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: usize,
    },
    /// Show the job types that this program has.
    Jobs {
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// Measure how fast this machine takes data, with every word verified. Exit status 0: nothing lost, nothing wrong.
    Bench(super::bench::Options),
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
