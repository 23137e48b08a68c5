//! The subcommand: measures, prints, and judges.

use std::io::Write;
use std::process::ExitCode;

use super::error::BenchError;
use super::interrupt::Interrupt;
use super::options::Options;
use super::plan::Plan;
use super::report::{Report, table};
use super::{plot, run, sweep};
use crate::cli::CliError;
use crate::job::JobTypes;
use crate::telemetry::log_to_console;

/// Exit status 0: nothing was lost, wrong, swapped or repeated; with `--plant`: exactly the planted fault was found.
pub(in crate::cli) fn bench(options: &Options, types: &JobTypes) -> Result<ExitCode, CliError> {
    let interrupt = Interrupt::listen()?;
    let plan = Plan::of(options, &types.catalog())?;
    let _log = log_to_console(plan.verbosity);
    let measure =
        |plan: &Plan| -> Result<Report, BenchError> { Ok(Report::of(plan, &run::run(plan, types, &interrupt)?)) };
    let plans = if options.sweep { sweep::plans(&plan) } else { vec![plan] };
    let mut out = std::io::stdout();
    let mut reports = Vec::new();
    for plan in &plans {
        let report = measure(plan)?;
        if options.json {
            serde_json::to_writer(&mut out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else if !options.sweep {
            write!(out, "{report}")?;
        } else {
            let rows = table(std::slice::from_ref(&report), reports.is_empty());
            out.write_all(rows.as_bytes())?;
        }
        out.flush()?;
        reports.push(report);
    }
    if options.sweep {
        plot::draw(&options.png, &reports)?;
        if !options.json {
            writeln!(out, "drawn: {}", options.png.display())?;
        }
    }
    let is_good = reports.iter().all(Report::is_good);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
