//! Templates: what stores, jobs and messages may hold, in the one form of JSON Schema from which web forms are made.
//!
//! ```text
//! {"DAQJobTest": {"$ref": "#/$defs/DAQJobTestConfig", "$defs": {…}, "type_key", "label", "description"}, …}
//! ```
//!
//! They come from the same types as the check of the files and the reference, made plain by one pure function: an optional
//! value is an `anyOf` with `{"type": "null"}` as its last option, a choice is one `enum`, an `allOf` is merged, and
//! whatever has a name stands in `$defs` and is referred to by `#/$defs/…`.
//!
//! Invariant: a template is whole, and describes what the check of the files accepts.

use std::collections::{BTreeMap, BTreeSet};

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::catalog::{Catalog, TypeInfo};
use super::job;

const DEFS: &str = "#/$defs/";

/// The definition of a table of backends.
const STORE_CONFIG: &str = "DAQJobStoreConfig";

/// What may stand in `[store_config.KEY]`, by the keys.
#[must_use]
pub fn stores(catalog: &Catalog) -> Value {
    let backends = backends(catalog);
    let template = |backend: &NamedBackend<'_>| {
        let mut definitions = Definitions::default();
        let name = definitions.add(&backend.definition, backend.schema);
        let label = label(backend.server);
        (backend.key.to_owned(), definitions.template(&name, backend.key, &label))
    };
    Value::Object(backends.iter().map(template).collect())
}

/// What the files of jobs may hold, by their types.
#[must_use]
pub fn jobs(catalog: &Catalog) -> Value {
    let template = |info: &TypeInfo| {
        let mut definitions = Definitions::with_stores(catalog);
        let common = plain(job::schema().as_value(), &definitions.take_inner(job::schema().as_value(), "DAQJob"));
        let name = definitions.add(&format!("{}Config", info.name), &info.schema);
        definitions.merge_keys_of_all(&name, common, info.name);
        (info.name.to_owned(), definitions.template(&name, info.name, &label(info.name)))
    };
    Value::Object(catalog.types().iter().map(template).collect())
}

/// What messages that somebody outside can give may hold, by their types.
#[must_use]
pub fn messages(catalog: &Catalog) -> Value {
    let template = |(name, kind): (&'static str, crate::message::MessageKind)| {
        let needs_stores = refers_to(kind.schema().as_value(), STORE_CONFIG);
        let mut definitions = if needs_stores { Definitions::with_stores(catalog) } else { Definitions::default() };
        let definition = definitions.add(name, kind.schema());
        definitions.close(&definition);
        (name.to_owned(), definitions.template(&definition, name, &label(name)))
    };
    Value::Object(catalog.messages().into_iter().map(template).collect())
}

/// A backend with the name of its definition.
struct NamedBackend<'c> {
    key: &'static str,
    /// `DAQJobStoreConfigCSV`.
    definition: String,
    schema: &'c Schema,
    /// The first job type that serves it.
    server: &'static str,
}

fn backends(catalog: &Catalog) -> Vec<NamedBackend<'_>> {
    let named = catalog.backends().into_iter().map(|(key, (schema, types))| {
        let server = types.first().copied().unwrap_or(key);
        let bare = ["DAQJobStore", "DAQJob"].iter().find_map(|prefix| server.strip_prefix(prefix)).unwrap_or(server);
        NamedBackend { key, definition: format!("{STORE_CONFIG}{bare}"), schema, server }
    });
    named.collect()
}

/// A name for people: `CSV Store` of `DAQJobStoreCSV`, `PC Metrics` of `DAQJobPCMetrics`.
fn label(name: &str) -> String {
    if let Some(store) = name.strip_prefix("DAQJobStore").filter(|store| !store.is_empty()) {
        return format!("{store} Store");
    }
    let bare = ["DAQJobMessage", "DAQJob"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let letters: Vec<char> = bare.chars().collect();
    let begins_word = |at: usize| {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let has_small_after = letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let is_after_small = before.is_some_and(|before| before.is_ascii_lowercase());
        let is_after_capital = before.is_some_and(|before| before.is_ascii_uppercase());
        letters[at].is_ascii_uppercase() && (is_after_small || is_after_capital && has_small_after)
    };
    let spaced = letters.iter().enumerate().flat_map(|(at, letter)| {
        let space = begins_word(at).then_some(' ');
        space.into_iter().chain([*letter])
    });
    spaced.collect()
}

/// Whether a schema refers to a definition.
fn refers_to(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(table) => {
            let is_here = table.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(DEFS)) == Some(name);
            is_here || table.values().any(|value| refers_to(value, name))
        }
        Value::Array(items) => items.iter().any(|value| refers_to(value, name)),
        _ => false,
    }
}

/// The definitions of one template, under names of their own.
#[derive(Debug, Default)]
struct Definitions(Map<String, Value>);

/// The names that a schema's definitions have here; the root's is the empty one.
type Names = BTreeMap<String, String>;

impl Definitions {
    /// With those of the tables of backends.
    fn with_stores(catalog: &Catalog) -> Self {
        let mut definitions = Self::default();
        let mut properties = Map::new();
        for backend in backends(catalog) {
            let name = definitions.add(&backend.definition, backend.schema);
            let description = definitions.0[&name].get("description").cloned();
            let mut property = json!({ "anyOf": [{ "$ref": reference(&name) }, { "type": "null" }], "default": null });
            property.as_object_mut().into_iter().for_each(|property| {
                property.extend(description.clone().map(|description| ("description".into(), description)));
            });
            properties.insert(backend.key.into(), property);
        }
        let own = plain(schemars::schema_for!(crate::message::StoreConfig).as_value(), &Names::new());
        let mut own = own.as_object().cloned().unwrap_or_default();
        properties.extend(own.remove("properties").and_then(|own| own.as_object().cloned()).unwrap_or_default());
        own.insert("properties".into(), properties.into());
        own.insert("additionalProperties".into(), false.into());
        definitions.0.insert(STORE_CONFIG.into(), own.into());
        definitions
    }

    /// Adds a schema and what it refers to; gives the name that it got.
    fn add(&mut self, wanted: &str, schema: &Schema) -> String {
        let root = schema.as_value();
        let name = self.free_name(wanted, "");
        // Kept free while the inner ones get theirs.
        self.0.insert(name.clone(), Value::Null);
        let mut names = self.take_inner(root, &name);
        names.insert(String::new(), name.clone());
        self.0.insert(name.clone(), plain(root, &names));
        name
    }

    /// Adds the definitions of a schema. Of two of the same name that are not the same, the second gets its owner's name too.
    fn take_inner(&mut self, root: &Value, owner: &str) -> Names {
        let inner = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        let known = self.known(&inner, root);
        let mut names = Names::from([(String::new(), owner.to_owned())]);
        for name in inner.keys() {
            let here = if known.contains(name) { name.clone() } else { self.free_name(name, owner) };
            names.insert(name.clone(), here);
        }
        for (name, definition) in inner.iter().filter(|(name, _)| !known.contains(*name)) {
            self.0.insert(names[name].clone(), plain(&with_root(definition, root), &names));
        }
        names
    }

    /// Which of a schema's definitions are here already: the same in themselves, and in all that they refer to.
    fn known(&self, inner: &Map<String, Value>, root: &Value) -> BTreeSet<String> {
        let is_same = |name: &String, definition: &Value| {
            let plain = || plain(&with_root(definition, root), &Names::new());
            self.0.get(name).is_some_and(|known| name == STORE_CONFIG || *known == plain())
        };
        let same = inner.iter().filter(|(name, definition)| is_same(name, definition));
        let mut known: BTreeSet<String> = same.map(|(name, _)| name.clone()).collect();
        loop {
            let others: Vec<_> = inner.keys().filter(|name| !known.contains(*name)).collect();
            let before = known.len();
            known.retain(|name| !others.iter().any(|other| refers_to(&inner[name], other)));
            if known.len() == before {
                return known;
            }
        }
    }

    fn free_name(&self, wanted: &str, owner: &str) -> String {
        let of_owner = format!("{owner}{wanted}");
        let numbered = (2..).map(|number| format!("{of_owner}{number}"));
        let mut names = [wanted.to_owned(), of_owner.clone()].into_iter().chain(numbered);
        names.find(|name| !self.0.contains_key(name)).expect("the names have no end")
    }

    /// A job's own keys, and those that every job has.
    fn merge_keys_of_all(&mut self, name: &str, common: Value, job_type: &str) {
        let Some(Value::Object(own)) = self.0.get_mut(name) else { return };
        own.insert("type".into(), "object".into());
        let mut properties = own.remove("properties").and_then(|keys| keys.as_object().cloned()).unwrap_or_default();
        properties.extend(common["properties"].as_object().cloned().unwrap_or_default());
        if let Some(key) = properties.get_mut("daq_job_type").and_then(Value::as_object_mut) {
            key.insert("enum".into(), json!([job_type]));
            key.insert("default".into(), job_type.into());
        }
        own.insert("properties".into(), properties.into());
        let listed = |of: &Value| of["required"].as_array().cloned().unwrap_or_default();
        let own_required = own.remove("required").and_then(|keys| keys.as_array().cloned()).unwrap_or_default();
        own.insert("required".into(), listed(&common).into_iter().chain(own_required).collect());
    }

    /// Tables take no keys that they do not name: as messages are checked, whatever their types say of it.
    fn close(&mut self, root: &str) {
        for (name, definition) in &mut self.0 {
            let Some(table) = definition.as_object_mut() else { continue };
            let is_table = name == root || table.contains_key("properties");
            let has_word = ["additionalProperties", "unevaluatedProperties", "anyOf", "allOf"];
            if is_table && !has_word.iter().any(|key| table.contains_key(*key)) {
                table.insert("additionalProperties".into(), false.into());
            }
        }
    }

    fn template(self, name: &str, key: &str, label: &str) -> Value {
        let description = self.0[name].get("description").cloned().unwrap_or_else(|| "".into());
        json!({
            "$ref": reference(name), "$defs": self.0, "type_key": key, "label": label, "description": description,
        })
    }
}

fn reference(name: &str) -> String {
    format!("{DEFS}{name}")
}

/// A definition with the others of its schema beside it, for what it refers to.
fn with_root(definition: &Value, root: &Value) -> Value {
    let mut definition = definition.clone();
    if let (Some(table), Some(defs)) = (definition.as_object_mut(), root.get("$defs")) {
        table.insert("$defs".into(), defs.clone());
    }
    definition
}

/// A schema in the plain form, without its definitions; references lead to the new names.
fn plain(root: &Value, names: &Names) -> Value {
    let mut value = Plain { root, names }.made(root);
    if let Some(table) = value.as_object_mut() {
        ["$schema", "$defs", "title"].iter().for_each(|key| drop(table.remove(*key)));
    }
    value
}

struct Plain<'s> {
    root: &'s Value,
    names: &'s Names,
}

impl Plain<'_> {
    fn made(&self, schema: &Value) -> Value {
        let Value::Object(table) = schema else { return schema.clone() };
        let mut table = table.clone();
        self.merge_all(&mut table);
        for (keyword, inner) in &mut table {
            match (keyword.as_str(), &mut *inner) {
                ("properties" | "patternProperties", Value::Object(named)) => {
                    named.values_mut().for_each(|schema| *schema = self.made(schema));
                }
                ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(listed)) => {
                    listed.iter_mut().for_each(|schema| *schema = self.made(schema));
                }
                ("items" | "additionalProperties" | "unevaluatedProperties", _) => *inner = self.made(inner),
                ("$ref", Value::String(to)) => *to = self.renamed(to),
                ("description", Value::String(text)) => *text = unwrapped(text),
                ("default", Value::Object(keys)) => keys.retain(|_, value| !value.is_null()),
                _ => {}
            }
        }
        close(&mut table);
        match table.remove("const") {
            Some(Value::Null) => drop(table.insert("type".into(), "null".into())),
            Some(only) => drop(table.insert("enum".into(), json!([only]))),
            None => {}
        }
        list_choices(&mut table);
        split_types(&mut table);
        order_options(&mut table);
        Value::Object(table)
    }

    fn renamed(&self, to: &str) -> String {
        let name = to.strip_prefix(DEFS).unwrap_or(if to == "#" { "" } else { to });
        self.names.get(name).map_or_else(|| to.to_owned(), |name| reference(name))
    }

    /// What stands in `allOf`, behind references too if there is more than one, is said of the schema itself.
    fn merge_all(&self, table: &mut Map<String, Value>) {
        let Some(Value::Array(parts)) = table.remove("allOf") else { return };
        let is_only = parts.len() == 1 && !table.contains_key("properties");
        let mut kept = Vec::new();
        for part in parts {
            let target =
                part.get("$ref").and_then(Value::as_str).and_then(|to| self.root.pointer(to.strip_prefix('#')?));
            let part = if is_only { &part } else { target.unwrap_or(&part) };
            let mut part = part.as_object().cloned().unwrap_or_default();
            self.merge_all(&mut part);
            kept.extend(merge(table, part));
        }
        if !kept.is_empty() {
            table.insert("allOf".into(), kept.into());
        }
    }
}

/// Adds what a part says; gives back what cannot be said of both at once.
fn merge(table: &mut Map<String, Value>, part: Map<String, Value>) -> Option<Value> {
    let mut left = Map::new();
    for (key, value) in part {
        match (table.get_mut(&key), value) {
            (None, value) => drop(table.insert(key, value)),
            (Some(Value::Object(known)), Value::Object(more)) if key == "properties" => known.extend(more),
            (Some(Value::Array(known)), Value::Array(more)) if key == "required" => known.extend(more),
            (Some(known), value) if *known == value => {}
            (Some(_), value) if is_said_of_value(&key) => drop(left.insert(key, value)),
            // Of descriptions and defaults the outer one counts.
            _ => {}
        }
    }
    (!left.is_empty()).then_some(Value::Object(left))
}

/// A text whose paragraphs and items are a line each.
fn unwrapped(text: &str) -> String {
    let mut unwrapped = String::new();
    for line in text.lines() {
        let is_new = line.is_empty() || ["* ", "- ", "| "].iter().any(|mark| line.starts_with(mark));
        let ends_line = is_new || unwrapped.is_empty() || unwrapped.ends_with('\n');
        unwrapped.push_str(match (ends_line, unwrapped.is_empty()) {
            (_, true) => "",
            (true, false) if unwrapped.ends_with("\n\n") => "",
            (true, false) => "\n",
            (false, false) => " ",
        });
        unwrapped.push_str(line);
    }
    unwrapped
}

/// Whether a keyword says what a value may be; others tell people about it.
fn is_said_of_value(keyword: &str) -> bool {
    !["description", "default", "examples", "title", "deprecated", "readOnly", "writeOnly"].contains(&keyword)
}

/// Where all keys stand in one place, a table is closed by the usual keyword.
fn close(table: &mut Map<String, Value>) {
    let is_one = !["anyOf", "oneOf", "allOf", "$ref"].iter().any(|key| table.contains_key(*key));
    if is_one && let Some(others) = table.remove("unevaluatedProperties") {
        table.entry("additionalProperties").or_insert(others);
    }
}

/// Options that are single values become one list of them, and other options stay beside it. What is said of the values goes
/// into the description.
fn list_choices(table: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = table.remove("oneOf").or_else(|| table.remove("anyOf")) else { return };
    let (mut values, mut kinds, mut said, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for option in options {
        match option.get("enum").and_then(Value::as_array).cloned() {
            Some(listed) => {
                if let (Some(doc), [Value::String(value)]) =
                    (option.get("description").and_then(Value::as_str), &listed[..])
                {
                    said.push(format!("- `{value}`: {doc}"));
                }
                kinds.extend(option.get("type").cloned());
                values.extend(listed);
            }
            None => others.push(option),
        }
    }
    kinds.dedup();
    let mut choice = Map::new();
    if !values.is_empty() {
        choice.insert("enum".into(), values.into());
        choice.extend((kinds.len() == 1).then(|| ("type".into(), kinds.remove(0))));
    }
    if !said.is_empty() {
        let head = table.get("description").and_then(Value::as_str).map(|head| format!("{head}\n\n"));
        table.insert("description".into(), format!("{}{}", head.unwrap_or_default(), said.join("\n")).into());
    }
    match (choice.is_empty(), others.is_empty()) {
        (true, _) => drop(table.insert("anyOf".into(), others.into())),
        (false, true) => table.extend(choice),
        (false, false) => {
            others.insert(0, choice.into());
            table.insert("anyOf".into(), others.into());
        }
    }
}

/// A value of several types is one of several options, each with what is said of it.
fn split_types(table: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = table.get("type").cloned() else { return };
    let limits: Vec<String> = table.keys().filter(|key| is_said_of_value(key) && *key != "type").cloned().collect();
    let limits: Map<_, _> = limits.into_iter().filter_map(|key| table.remove_entry(&key)).collect();
    table.remove("type");
    let option = |kind: Value| {
        let mut option = Map::from_iter([("type".to_owned(), kind.clone())]);
        if kind != "null" {
            option.extend(limits.clone());
            if let Some(Value::Array(values)) = option.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
        }
        Value::Object(option)
    };
    table.insert("anyOf".into(), types.into_iter().map(option).collect());
}

/// An option that is nothing but options gives its own; "nothing" comes last; one alone is what the value is.
fn order_options(table: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = table.remove("anyOf") else { return };
    let flat = options.into_iter().flat_map(|option| match option.as_object() {
        Some(only) if only.len() == 1 => only.get("anyOf").and_then(Value::as_array).cloned().unwrap_or(vec![option]),
        _ => vec![option],
    });
    let is_null = |option: &Value| option["type"] == "null";
    let (nulls, mut options): (Vec<_>, Vec<_>) = flat.partition(is_null);
    if !nulls.is_empty() {
        options.push(json!({ "type": "null" }));
    }
    let only = match &mut options[..] {
        [Value::Object(only)] if only.keys().all(|key| !table.contains_key(key)) => Some(std::mem::take(only)),
        _ => None,
    };
    match only {
        Some(only) => table.extend(only),
        None => drop(table.insert("anyOf".into(), options.into())),
    }
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, schema_for};
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::tests::catalog;

    fn made(schema: Value) -> Value {
        plain(&schema, &Names::new())
    }

    #[test]
    fn every_form_has_a_plain_one() {
        let nothing = json!({ "type": "null" });
        let table = [
            (
                json!({ "type": ["integer", "null"], "minimum": 1, "default": null, "description": "d" }),
                json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, nothing], "default": null, "description": "d" }),
            ),
            (
                json!({ "oneOf": [
                    { "type": "string", "enum": ["a", "b"] },
                    { "type": "string", "const": "c", "description": "The\nthird." },
                ] }),
                json!({ "type": "string", "enum": ["a", "b", "c"], "description": "- `c`: The third." }),
            ),
            (
                json!({ "oneOf": [{ "type": "string", "const": "a" }, { "type": "object", "properties": {} }] }),
                json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "object", "properties": {} }] }),
            ),
            (
                json!({ "type": ["string", "null"], "enum": ["a", null] }),
                json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, nothing] }),
            ),
            (
                json!({ "anyOf": [{ "type": "null" }, { "anyOf": [{ "type": "string" }, { "type": "boolean" }] }] }),
                json!({ "anyOf": [{ "type": "string" }, { "type": "boolean" }, nothing] }),
            ),
            (
                json!({ "allOf": [{ "$ref": "#/$defs/A" }], "description": "d" }),
                json!({ "$ref": "#/$defs/A", "description": "d" }),
            ),
            (
                json!({
                    "type": "object", "properties": { "a": true }, "required": ["a"], "unevaluatedProperties": false,
                    "allOf": [{ "$ref": "#/$defs/B" }],
                    "$defs": { "B": { "type": "object", "properties": { "b": true }, "required": ["b"] } },
                }),
                json!({
                    "type": "object", "properties": { "a": true, "b": true }, "required": ["a", "b"],
                    "additionalProperties": false,
                }),
            ),
            (
                json!({ "$schema": "s", "title": "t", "properties": { "title": { "type": ["null", "array"] } } }),
                json!({ "properties": { "title": { "anyOf": [{ "type": "array" }, nothing] } } }),
            ),
        ];

        for (schema, expected) in table {
            assert_eq!(made(schema.clone()), expected, "{schema}");
        }
    }

    /// What no template may have, at any depth; in `places` what is below a schema and no schema.
    fn assert_plain(schema: &Value, template: &Value, whole: &str) {
        let Value::Object(table) = schema else { return };
        for keyword in ["allOf", "oneOf", "const", "$schema", "title", "unevaluatedProperties"] {
            assert!(!table.contains_key(keyword), "`{keyword}` in {schema} of {whole}");
        }
        assert!(!table.get("type").is_some_and(Value::is_array), "several types in {schema} of {whole}");
        if let Some(to) = table.get("$ref").and_then(Value::as_str) {
            let name = to.strip_prefix("#/$defs/").unwrap_or_else(|| panic!("{to} in {whole}"));
            assert!(template["$defs"][name].is_object(), "{to} leads nowhere in {whole}");
        }
        for (keyword, inner) in table {
            match (keyword.as_str(), inner) {
                ("properties" | "patternProperties" | "$defs", Value::Object(named)) => {
                    named.values().for_each(|schema| assert_plain(schema, template, whole));
                }
                ("anyOf" | "prefixItems", Value::Array(listed)) => {
                    listed.iter().for_each(|schema| assert_plain(schema, template, whole));
                }
                ("items" | "additionalProperties", _) => assert_plain(inner, template, whole),
                _ => {}
            }
        }
    }

    #[test]
    fn all_templates_are_plain_and_whole() {
        for catalog in [catalog(), crate::jobs::all().catalog()] {
            for templates in [stores(&catalog), jobs(&catalog), messages(&catalog)] {
                let templates = templates.as_object().unwrap();
                assert!(!templates.is_empty());
                for (key, template) in templates {
                    assert_eq!(template["type_key"], *key);
                    assert_plain(template, template, key);
                    for text in ["label", "description"] {
                        assert!(!template[text].as_str().unwrap().is_empty(), "{text} of {key}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_job_has_the_keys_of_all_its_own_and_the_tables_of_the_stores() {
        let catalog = crate::jobs::all().catalog();

        let test = jobs(&catalog)["DAQJobTest"].clone();

        assert_eq!((&test["$ref"], &test["label"]), (&json!("#/$defs/DAQJobTestConfig"), &json!("Test")));
        let defs = &test["$defs"];
        let config = &defs["DAQJobTestConfig"];
        assert_eq!(config["required"], json!(["daq_job_type", "rand_min", "rand_max", "store_config"]));
        let keys = &config["properties"];
        assert_eq!(keys["daq_job_type"]["enum"], json!(["DAQJobTest"]));
        assert_eq!(keys["verbosity"]["$ref"], "#/$defs/Verbosity");
        assert_eq!(defs["Verbosity"]["enum"], json!(["DEBUG", "INFO", "WARNING", "ERROR"]));
        assert_eq!(keys["daq_job_unique_id"]["anyOf"][0]["type"], "string");
        assert_eq!(keys["store_config"]["$ref"], "#/$defs/DAQJobStoreConfig");
        let stores = &defs["DAQJobStoreConfig"]["properties"];
        assert_eq!(stores["csv"]["anyOf"], json!([{ "$ref": "#/$defs/DAQJobStoreConfigCSV" }, { "type": "null" }]));
        assert_eq!(stores["target_local_supervisor"]["type"], "boolean");
        for name in ["Raw", "MySQL", "SQLite", "Redis", "Memory"] {
            assert!(defs[format!("DAQJobStoreConfig{name}")].is_object(), "{name}");
        }
        assert_eq!(defs["DAQJobStoreConfigCSV"]["required"], json!(["file_path"]));
    }

    #[test]
    fn stores_and_messages_are_named_as_one_names_them() {
        let catalog = crate::jobs::all().catalog();

        let (stores, messages) = (stores(&catalog), messages(&catalog));

        assert_eq!(stores["csv"]["label"], "CSV Store");
        assert_eq!(stores["csv"]["$ref"], "#/$defs/DAQJobStoreConfigCSV");
        let names: Vec<_> = messages.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["DAQJobMessageStop", "DAQJobMessageStoreRaw", "DAQJobMessageStoreTabular"]);
        assert_eq!(messages["DAQJobMessageStoreTabular"]["label"], "Store Tabular");
        let stop = &messages["DAQJobMessageStop"]["$defs"];
        assert!(stop["DAQJobStoreConfig"].is_null());
        assert_eq!(stop["DAQJobMessageStop"]["additionalProperties"], false);
    }

    #[test]
    fn labels_are_words() {
        let table = [
            ("DAQJobPCMetrics", "PC Metrics"),
            ("DAQJobCAENHV", "CAENHV"),
            ("DAQJobN1081B", "N1081B"),
            ("DAQJobHandleStats", "Handle Stats"),
            ("DAQJobStoreMySQL", "MySQL Store"),
            ("DAQJobMessageCAENHVSetChParam", "CAENHV Set Ch Param"),
            ("Mine", "Mine"),
        ];

        for (name, expected) in table {
            assert_eq!(label(name), expected);
        }
    }

    mod one {
        use super::*;

        /// One.
        #[derive(Serialize, Deserialize, JsonSchema)]
        pub(super) struct Part {
            /// A.
            a: u8,
        }
    }

    mod other {
        use super::*;

        /// Other.
        #[derive(Serialize, Deserialize, JsonSchema)]
        pub(super) struct Part {
            /// B.
            b: Option<Box<Part>>,
        }
    }

    #[test]
    fn definitions_of_one_name_are_kept_apart() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "the schema is what is tested")]
        struct First {
            part: one::Part,
        }
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "the schema is what is tested")]
        struct Second {
            part: other::Part,
        }
        let mut definitions = Definitions::default();

        let first = definitions.add("First", &schema_for!(First));
        let second = definitions.add("Second", &schema_for!(Second));
        let again = definitions.add("Third", &schema_for!(First));

        let of = |name: &str| definitions.0[name]["properties"]["part"]["$ref"].clone();
        assert_eq!(
            (of(&first), of(&second), of(&again)),
            ("#/$defs/Part".into(), "#/$defs/SecondPart".into(), of(&first))
        );
        let inner = &definitions.0["SecondPart"]["properties"]["b"]["anyOf"];
        assert_eq!(*inner, json!([{ "$ref": "#/$defs/SecondPart" }, { "type": "null" }]));
        assert_eq!(definitions.0.len(), 5);
    }
}
