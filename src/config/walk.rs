//! The walk through a file beside its schema: every key that does not fit is found, and said in words.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::catalog::Catalog;
use super::diagnostics::{Diagnostic, Severity};
use super::document::{Source, entry, join};
use super::schema::{Form, Node, Others, first_sentence};
use super::syntax::Damage;

mod remedy;
mod store;
mod union;
mod unknown;
mod value;

/// A backend that a producer's table names.
#[derive(Debug)]
pub(super) struct UsedBackend {
    pub(super) backend: &'static str,
    /// Ready to be reported, if nothing serves the backend.
    pub(super) unserved: Diagnostic,
    /// Stores of other supervisors do not count.
    pub(super) is_local: bool,
}

/// A walk through one file.
pub(super) struct Walk<'a> {
    source: &'a Source,
    catalog: &'a Catalog,
    damage: &'a Damage,
    found: Vec<Diagnostic>,
    /// Keys that are missing, perhaps because they stand elsewhere or with a slip.
    missing: Vec<Diagnostic>,
    /// The keys that were meant by others, as dotted paths.
    meant: BTreeSet<String>,
    backends: Vec<UsedBackend>,
}

/// A table on the way, and the tables around it.
struct Place<'p> {
    /// Dotted path, empty at the root.
    path: &'p str,
    /// What a key would be a key of: `DAQJobTest`, `` `[supervise]` ``.
    owner: String,
    /// Where a missing key is reported.
    at: usize,
    /// The keys that the table may have.
    keys: Vec<(&'p str, Node<'p>)>,
    above: Option<&'p Place<'p>>,
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Spot<'p> {
    /// Dotted path of its key.
    path: &'p str,
    /// Where the key is.
    at: usize,
    /// The table that the key is in.
    within: Option<&'p Place<'p>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a Source, catalog: &'a Catalog, damage: &'a Damage) -> Self {
        Self {
            source,
            catalog,
            damage,
            found: Vec::new(),
            missing: Vec::new(),
            meant: BTreeSet::new(),
            backends: Vec::new(),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.found.iter().all(|diagnostic| diagnostic.severity == Severity::Warning)
    }

    pub(super) fn take_backends(&mut self) -> Vec<UsedBackend> {
        std::mem::take(&mut self.backends)
    }

    /// The faults; a slip in a required key is one fault, not two.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.missing.retain(|missing| !self.meant.contains(&missing.key));
        self.found.append(&mut self.missing);
        self.found
    }

    /// A whole file, whose keys several schemas share.
    pub(super) fn file(&mut self, root: &DeTable<'_>, schemas: &[Node<'_>], owner: &str, at: usize) {
        self.numbers(root, "");
        let keys = schemas.iter().flat_map(|schema| schema.properties()).collect();
        let place = Place { path: "", owner: owner.to_owned(), at, keys, above: None };
        self.table(root, schemas, &place);
    }

    /// A file of which only some keys are known, because its type is not.
    pub(super) fn keys_of_unknown_owner(&mut self, root: &DeTable<'_>, schema: Node<'_>) {
        self.numbers(root, "");
        let keys = schema.properties();
        let place = Place { path: "", owner: "a job".into(), at: 0, keys, above: None };
        for (key, value) in root.iter() {
            let known = place.keys.iter().find(|(name, _)| *name == key.get_ref() && *name != "daq_job_type");
            if let Some((name, node)) = known {
                self.value(*node, value, Spot { path: name, at: key.span().start, within: Some(&place) });
            }
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if self.damage.spares(diagnostic.line) {
            self.found.push(diagnostic);
        }
    }

    fn error(&mut self, at: usize, key: &str, message: impl Into<String>) {
        self.report(self.source.error(at, key, message));
    }

    fn error_with_help(&mut self, at: usize, key: &str, message: impl Into<String>, help: Option<String>) {
        self.report(Diagnostic { help, ..self.source.error(at, key, message) });
    }

    fn table(&mut self, table: &DeTable<'_>, schemas: &[Node<'_>], here: &Place<'_>) {
        for (key, value) in table.iter() {
            let (name, at): (&str, usize) = (key.get_ref(), key.span().start);
            let path = join(here.path, name);
            let spot = Spot { path: &path, at, within: Some(here) };
            if let Some((_, node)) = here.keys.iter().find(|(known, _)| *known == name) {
                if node.is_deprecated() {
                    self.deprecated(at, &path, *node);
                }
                self.value(*node, value, spot);
                continue;
            }
            match others(schemas) {
                Others::Anything => {}
                Others::Each(node) => self.value(node, value, spot),
                Others::Numbered(node) if name.parse::<i64>().is_ok() => {
                    self.value(node, value, spot);
                }
                Others::Numbered(_) => {
                    self.error(at, &path, format!("`{path}`: the keys of this table are whole numbers"));
                }
                Others::Refused => self.unknown(name, spot, here),
            }
        }
        for schema in schemas {
            for key in schema.required() {
                if entry(table, key).is_none() {
                    self.missing(key, *schema, here.path, &here.owner, here.at);
                }
            }
        }
    }

    fn missing(&mut self, key: &str, schema: Node<'_>, path: &str, owner: &str, at: usize) {
        let Some((_, node)) = schema.properties().into_iter().find(|(name, _)| *name == key) else {
            return;
        };
        let full = join(path, key);
        let form = node.form();
        // A whole table is missing: what one has to write are its keys.
        if let Form::Table(inner) = &form
            && !inner.required().is_empty()
        {
            for key in inner.required() {
                self.missing(key, *inner, &full, owner, at);
            }
            return;
        }
        if !self.damage.is_none() {
            return;
        }
        let doc = node.description().map(|doc| format!(": {}", lowered(&first_sentence(doc)))).unwrap_or_default();
        let message = format!("`{full}` is missing in {owner}, {}{doc}", form.words());
        self.missing.push(self.source.error(at, &full, message));
    }

    fn deprecated(&mut self, at: usize, path: &str, node: Node<'_>) {
        let doc = node.description().map(|doc| format!(": {}", lowered(&first_sentence(doc)))).unwrap_or_default();
        let warning = self.source.error(at, path, format!("`{path}` is deprecated{doc}")).into_warning();
        self.report(warning.with_help("remove the line"));
    }
}

/// What the schemas that share a table say of other keys: the most generous word counts, for a type that takes any
/// key takes it also beside the keys of every job.
fn others<'s>(schemas: &[Node<'s>]) -> Others<'s> {
    let mut words = schemas.iter().map(|schema| schema.others());
    words.find(|others| !matches!(others, Others::Refused)).unwrap_or(Others::Refused)
}

/// A sentence in the middle of another.
fn lowered(sentence: &str) -> String {
    let mut chars = sentence.chars();
    let first = chars.next();
    // `CAEN channels` keeps its capitals.
    if chars.clone().next().is_some_and(char::is_uppercase) {
        return sentence.to_owned();
    }
    first.into_iter().flat_map(char::to_lowercase).chain(chars).collect()
}
