//! `enrgdaq audit-log`: who commanded what.

use std::io::{self, Write};
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use super::ask::{remote, state_dir};
use crate::control::{AuditLine, audit};
use crate::telemetry::put_visibly;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// How many commands, the newest.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    /// Print a JSON object for each line.
    #[arg(long)]
    json: bool,
}

pub(super) fn audit_log(target: &Target, options: &Options) -> Result<ExitCode, CliError> {
    let lines = match remote(target)? {
        Some(mut server) => server.audit_log(options.lines)?,
        None => audit::read(&state_dir(target, "audit-log")?)?,
    };
    let lines = &lines[lines.len().saturating_sub(options.lines)..];
    match show(lines, options.json) {
        // Who reads this has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => Ok(other.map(|()| ExitCode::SUCCESS)?),
    }
}

fn show(lines: &[AuditLine], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if lines.is_empty() && !json {
        return writeln!(out, "nobody has commanded anything yet");
    }
    for line in lines {
        match json {
            true => writeln!(out, "{}", serde_json::to_string(line)?)?,
            false => out.write_all(&shown(line))?,
        }
    }
    out.flush()
}

/// A line for people; a long text in a command is cut.
fn shown(line: &AuditLine) -> Vec<u8> {
    const LONGEST: usize = 200;
    let AuditLine { date, who, from, role, node, call, result } = line;
    let call: String = call.to_string().chars().take(LONGEST).collect();
    let text = format!("{date} {node} {who} ({role}, {from}): {call} → {result}");
    let mut out = Vec::new();
    put_visibly(&mut out, text.replace('\n', " ").as_bytes());
    out.push(b'\n');
    out
}
