//! `enrgdaq check`: all mistakes of a folder, and nothing else.

use std::io::Write;
use std::process::ExitCode;

use super::CliError;
use super::args::Target;
use crate::config;
use crate::job::JobTypes;

pub(super) fn check(target: &Target, types: &JobTypes, json: bool) -> Result<ExitCode, CliError> {
    let (report, code) = match config::load(&target.config, &types.catalog()) {
        Ok(deployment) => (deployment.report(), ExitCode::SUCCESS),
        Err(report) => (report, ExitCode::FAILURE),
    };
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        false => writeln!(out, "{report}")?,
    }
    Ok(code)
}
