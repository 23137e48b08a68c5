//! The reference of all keys, made from the types: what the check knows is what the reader is told.

use std::fmt::Write as _;

use serde_json::Value;

use super::catalog::{Catalog, Kind, TypeInfo};
use super::job;
use super::schema::{Form, Node};
use super::supervisor;

/// A key, as the reference shows it.
#[derive(Debug)]
struct Row {
    key: String,
    kind: String,
    /// `None`: optional without a default; the doc says what its absence means.
    default: Option<String>,
    is_required: bool,
    doc: String,
    choices: Vec<(String, String)>,
}

impl Row {
    fn presence(&self) -> String {
        match &self.default {
            _ if self.is_required => "required".into(),
            Some(default) => format!("default {default}"),
            None => "optional".into(),
        }
    }
}

/// Everything about one job type, as plain text: `enrgdaq jobs describe TYPE`.
#[must_use]
pub fn describe(info: &TypeInfo) -> String {
    let schema = Node::root(&info.schema);
    let mut text = format!("{} ({})\n", info.name, kind_name(info.kind));
    if let Some(doc) = schema.description() {
        _ = write!(text, "\n{doc}\n");
    }
    if !info.aliases.is_empty() {
        _ = write!(text, "\nDeprecated names: {}\n", info.aliases.join(", "));
    }
    text.push_str(&plain("Keys", &rows(schema)));
    if let Some(backend) = &info.backend {
        let title = format!("Keys of [store_config.{}] in a producer's file", backend.key);
        text.push_str(&plain(&title, &rows(Node::root(&backend.schema))));
    }
    text.push_str(&plain("Keys of every job", &rows(Node::root(&job::schema()))));
    text
}

/// The reference of the whole configuration, as Markdown, for `docs/configuration.md`.
#[must_use]
pub fn markdown(catalog: &Catalog) -> String {
    let mut text = String::from(
        "<!-- Generated from the types by `enrgdaq docs`; do not edit, the gate compares. -->\n\n\
         # Configuration reference\n\n\
         A deployment is a folder of TOML files. `supervisor.toml` is the supervisor's own; every other `*.toml` of the\n\
         folder is one job, named like its file. `enrgdaq check` reports every fault with file, line and key.\n",
    );
    let mut section = |title: &str, doc: Option<&str>, rows: &[Row]| {
        _ = write!(text, "\n## {title}\n\n");
        if let Some(doc) = doc {
            _ = write!(text, "{}\n\n", one_line(doc));
        }
        text.push_str(&table(rows));
    };
    let (supervisor, common) = (supervisor::schema(), job::schema());
    section("supervisor.toml", Node::root(&supervisor).description(), &rows(Node::root(&supervisor)));
    section("Every job", Node::root(&common).description(), &rows(Node::root(&common)));
    for info in catalog.types() {
        let schema = Node::root(&info.schema);
        let title = format!("{} ({})", info.name, kind_name(info.kind));
        section(&title, schema.description(), &rows(schema));
    }
    for (key, (schema, types)) in catalog.backends() {
        let schema = Node::root(schema);
        let title = format!("[store_config.{key}], for {}", types.join(", "));
        section(&title, schema.description(), &rows(schema));
    }
    text
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Source => "source",
        Kind::Store => "store",
        Kind::Monitor => "monitor",
        Kind::Alert => "alert",
        Kind::Service => "service",
    }
}

/// The keys of a table and of the tables in it; required ones first, then by name.
fn rows(table: Node<'_>) -> Vec<Row> {
    let mut found = Vec::new();
    collect(table, "", 0, &mut found);
    found
}

fn collect(table: Node<'_>, path: &str, depth: usize, found: &mut Vec<Row>) {
    let required = table.required();
    let mut properties = table.properties();
    properties.sort_by_key(|(key, _)| (!required.contains(key), *key));
    for (key, node) in properties {
        let form = node.form();
        let key_path = format!("{path}{key}");
        found.push(Row {
            key: key_path.clone(),
            kind: without_article(&form.words()),
            // What a table is by default, its keys say.
            default: node.default().filter(|_| !matches!(form, Form::Table(_))).map(Value::to_string),
            is_required: required.contains(&key),
            doc: node.description().map(one_line).unwrap_or_default(),
            choices: choices(&form),
        });
        // Bounded, for a type that contains itself.
        if depth < 4 {
            inner(&form, &key_path, depth + 1, found);
        }
    }
}

/// The keys of the tables that a form is made of.
fn inner(form: &Form<'_>, path: &str, depth: usize, found: &mut Vec<Row>) {
    match form {
        Form::Table(table) => collect(*table, &format!("{path}."), depth, found),
        Form::List(list) => {
            if let Some(item) = list.item(0) {
                inner(&item.form(), &format!("{path}[]"), depth, found);
            }
        }
        Form::Union(forms) => forms.iter().for_each(|form| inner(form, path, depth, found)),
        _ => {}
    }
}

fn choices(form: &Form<'_>) -> Vec<(String, String)> {
    let Form::Choice(values) = form else {
        return Vec::new();
    };
    let described = values.iter().filter_map(|(value, doc)| doc.map(|doc| (value.to_string(), one_line(doc))));
    described.collect()
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn without_article(words: &str) -> String {
    let bare = words.strip_prefix("an ").or_else(|| words.strip_prefix("a "));
    bare.unwrap_or(words).to_owned()
}

fn plain(title: &str, rows: &[Row]) -> String {
    let mut text = format!("\n{title}:\n");
    if rows.is_empty() {
        text.push_str("  none\n");
    }
    for row in rows {
        _ = writeln!(text, "  {}: {}, {}", row.key, row.kind.replace('`', ""), row.presence());
        if !row.doc.is_empty() {
            _ = writeln!(text, "      {}", row.doc.replace('`', ""));
        }
        for (choice, doc) in &row.choices {
            _ = writeln!(text, "      {choice}: {doc}");
        }
    }
    text
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No keys.\n".into();
    }
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = String::from("| key | type | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let default = match &row.default {
            _ if row.is_required => "required".into(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let choices: Vec<_> = row.choices.iter().map(|(choice, doc)| format!("`{choice}`: {doc}")).collect();
        let meaning = [row.doc.clone(), choices.join(" ")].join(" ");
        _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            cell(&row.key),
            cell(&row.kind),
            cell(&default),
            cell(meaning.trim())
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::catalog;

    #[test]
    fn a_description_has_every_key_with_type_default_and_doc() {
        let catalog = catalog();

        let text = describe(catalog.get("DAQJobTest").unwrap().info);

        let expected = [
            "DAQJobTest (source)\n",
            "Deprecated names: test\n",
            "  rand_min: integer, required\n      Smallest number drawn.\n",
            "  port: string, default \"5000\"\n",
            "  channels[].slot: integer from 0 to 255, required\n",
            "  supervise.restart_max_seconds: number above 0, default 60.0\n",
            "      \"always\": Whenever it has ended.\n",
        ];
        for part in expected {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_reference_has_the_supervisor_every_type_and_every_backend() {
        let text = markdown(&catalog());

        let expected = [
            "## supervisor.toml\n",
            "| `info.supervisor_id` | string | required |",
            "| `cnc.server_port` | integer from 1 to 65535 | `1638` | Port of the server. |",
            "## Every job\n",
            "## DAQJobStoreCSV (store)\n",
            "## [store_config.csv], for DAQJobStoreCSV\n",
            "| `file_path` | string | required |",
        ];
        for part in expected {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn every_key_of_the_library_is_documented() {
        let (supervisor, common) = (supervisor::schema(), job::schema());

        for row in rows(Node::root(&supervisor)).into_iter().chain(rows(Node::root(&common))) {
            assert!(!row.doc.is_empty(), "{}", row.key);
        }
    }
}
