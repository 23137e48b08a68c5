//! `daq_job_type`: from the name in a file to the job type, or to what was probably meant.

use toml::de::{DeTable, DeValue};

use super::catalog::{Catalog, TypeInfo};
use super::diagnostics::Diagnostic;
use super::document::{Source, entry, found};
use super::original;
use super::suggest::nearest;
use super::syntax::Damage;

const KEY: &str = "daq_job_type";

/// The type of a job file, and what is wrong with its name.
pub(super) fn of_file<'c>(
    source: &Source,
    root: &DeTable<'_>,
    catalog: &'c Catalog,
    damage: &Damage,
) -> (Option<&'c TypeInfo>, Vec<Diagnostic>) {
    let Some((_, value)) = entry(root, KEY) else {
        let missing = if damage.is_none() { vec![missing_type(source, root)] } else { Vec::new() };
        return (None, missing);
    };
    let at = value.span().start;
    if !damage.spares(source.position(at).0) {
        return (None, Vec::new());
    }
    let DeValue::String(name) = value.get_ref() else {
        let message = format!("`{KEY}`: expected a string, found {}", found(value.get_ref()));
        return (None, vec![source.error(at, KEY, message).with_help("write the name of a job type in quotes")]);
    };
    match catalog.get(name) {
        Some(found) if found.by_alias => {
            let message = format!("`{name}` is a deprecated name of {}", found.info.name);
            let warning = source.error(at, KEY, message).into_warning();
            (Some(found.info), vec![warning.with_help(format!("write `{KEY} = \"{}\"`", found.info.name))])
        }
        Some(found) => (Some(found.info), Vec::new()),
        None => (None, vec![unknown_type(source, at, name, catalog)]),
    }
}

fn missing_type(source: &Source, root: &DeTable<'_>) -> Diagnostic {
    let near = root.keys().find(|key| {
        let key: &str = key.get_ref();
        key == "type" || key == "job_type" || nearest(key, [KEY]).is_some()
    });
    if let Some(near) = near {
        let key: &str = near.get_ref();
        let error = source.error(near.span().start, key, format!("`{key}` is not a key of a job"));
        return error.with_help(format!("did you mean `{KEY}`?"));
    }
    let missing = source.error(0, KEY, format!("`{KEY}` is missing: a job's file says of which type the job is"));
    if entry(root, "info").is_some() {
        return missing.with_help("if this is the supervisor's own file, call it supervisor.toml");
    }
    missing.with_help("`enrgdaq jobs list` shows the types")
}

fn unknown_type(source: &Source, at: usize, name: &str, catalog: &Catalog) -> Diagnostic {
    if let Some(original) = original::job_type(name) {
        if original::REPLACED_BY_FEDERATION.contains(&original) {
            let message = format!("{original} does not exist any more");
            return source
                .error(at, KEY, message)
                .with_help("remove this file and connect the supervisors by `[federation]` in supervisor.toml");
        }
        let message = format!("{original} is a job type of ENRGDAQ that this program does not have");
        return source
            .error(at, KEY, message)
            .with_help("remove the file, or rename it so that it does not end in .toml");
    }
    let error = source.error(at, KEY, format!("there is no job type {name:?}"));
    let known: Vec<&str> = catalog.names().collect();
    let candidates = catalog.types().iter().flat_map(|info| info.aliases.iter().copied().chain([info.name]));
    // Without the prefix: what all have in common makes nothing alike.
    let bare = |name| str::strip_prefix(name, "DAQJob").unwrap_or(name);
    let near = nearest(bare(name), candidates.clone().map(bare));
    let near = near.and_then(|near| candidates.into_iter().find(|candidate| bare(candidate) == near));
    match near.and_then(|near| catalog.get(near)) {
        Some(near) => error.with_help(format!("did you mean `{}`?", near.info.name)),
        None if known.is_empty() => error,
        None => error.with_help(format!("there are {}", known.join(", "))),
    }
}
