//! `enrgdaq jobs`: the job types of this program, and the reference made of them.

use std::io::Write;
use std::process::ExitCode;

use super::CliError;
use crate::config::{closest, describe as describe_type, markdown};
use crate::job::JobTypes;

pub(super) fn list(types: &JobTypes) -> Result<ExitCode, CliError> {
    let catalog = types.catalog();
    let width = catalog.names().map(str::len).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for info in catalog.types() {
        let doc = info.schema.get("description").and_then(|doc| doc.as_str()).unwrap_or_default();
        let kind = format!("{:?}", info.kind).to_lowercase();
        let doc = doc.replace('\n', " ");
        let first = doc.split_inclusive(". ").next().unwrap_or_default().trim();
        writeln!(out, "{:width$}  {kind:<8}  {first}", info.name)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn describe(types: &JobTypes, job_type: &str, schema: bool) -> Result<ExitCode, CliError> {
    let catalog = types.catalog();
    let found = catalog.get(job_type).ok_or_else(|| {
        let hint = match closest(job_type, catalog.names()) {
            Some(name) => format!("did you mean {name}?"),
            None => "`enrgdaq jobs list` shows those that there are".into(),
        };
        CliError::Usage(format!("there is no job type {job_type}; {hint}"))
    })?;
    let mut out = std::io::stdout().lock();
    match schema {
        true => {
            serde_json::to_writer_pretty(&mut out, &found.info.schema).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        false => write!(out, "{}", describe_type(found.info))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn docs(types: &JobTypes) -> Result<ExitCode, CliError> {
    std::io::stdout().lock().write_all(markdown(&types.catalog()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
