//! Templates: whoever makes forms of them, by the rules that the known web client has, gets configs and messages that are
//! accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use enrgdaq::config::{Catalog, load, templates};
use serde_json::{Map, Value, json};

use crate::harness::Site;
use crate::rest_client::with_api;

/// Fields that a form leaves out.
const LEFT_OUT: [&str; 3] = ["daq_job_type", "remote_config", "verbosity"];

/// All templates, as they stand under `/templates`.
#[derive(Debug)]
pub(crate) struct Templates {
    pub(crate) stores: Value,
    pub(crate) jobs: Value,
    pub(crate) messages: Value,
}

/// What somebody gets who fills in forms with defaults, and with examples where there is no default.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Jobs, by the names of their files; of one with store tables there is one for each store.
    pub(crate) configs: BTreeMap<String, Value>,
    /// Messages, by their types and stores.
    pub(crate) payloads: BTreeMap<(String, String), Value>,
}

impl Templates {
    fn of(catalog: &Catalog) -> Self {
        let (stores, jobs) = (templates::stores(catalog), templates::jobs(catalog));
        Self { stores, jobs, messages: templates::messages(catalog) }
    }

    /// Walks all of them.
    pub(crate) fn fill(&self) -> Filled {
        let mut filled = Filled::default();
        let stores: Vec<&str> = object(&self.stores).keys().map(String::as_str).collect();
        for (key, template) in object(&self.jobs) {
            for store in &stores {
                let mut config = self.form(template, store);
                config.insert("daq_job_type".into(), key.as_str().into());
                let name = if config.contains_key("store_config") { format!("{key}_{store}") } else { key.clone() };
                filled.configs.insert(name, config.into());
            }
        }
        for (key, template) in object(&self.messages) {
            for store in &stores {
                filled.payloads.insert((key.clone(), (*store).to_owned()), self.form(template, store).into());
            }
        }
        filled
    }

    fn form(&self, template: &Value, store: &str) -> Map<String, Value> {
        let definition = resolved(template, template);
        let required = |name: &str| definition["required"].as_array().is_some_and(|keys| keys.contains(&name.into()));
        let mut form = Map::new();
        let Some(properties) = definition.get("properties") else { return form };
        for (name, property) in object(properties) {
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            if is_store_table(property) {
                if required(name) {
                    form.insert(name.clone(), json!({ store: self.form(&self.stores[store], store) }));
                }
                continue;
            }
            let default = property.get("default").filter(|default| !default.is_null());
            let example = property["examples"].get(0).filter(|_| required(name));
            match default.or(example) {
                Some(value) => put(&mut form, template, name, property, value),
                None => {
                    assert!(!required(name), "`{name}` has neither default nor example in {}", template["type_key"])
                }
            }
        }
        form
    }
}

/// A field of a form, which has the type that its widget gives.
fn put(form: &mut Map<String, Value>, template: &Value, name: &str, property: &Value, value: &Value) {
    let field = resolved(template, option(property));
    if let Some(choices) = field.get("enum").and_then(Value::as_array) {
        assert!(choices.contains(value), "{name}: {value} is none of {choices:?}");
        form.insert(name.to_owned(), value.clone());
        return;
    }
    let is_fitting = match kind(field) {
        // Forms have no fields for them.
        "object" => return,
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.as_array().is_some_and(|items| items.iter().all(|item| is_item(template, field, item))),
        _ => value.is_string(),
    };
    assert!(is_fitting, "{name}: {value} does not fit {field}");
    form.insert(name.to_owned(), value.clone());
}

/// Whether a list takes an item: one that refers to a definition has objects with its keys.
fn is_item(template: &Value, list: &Value, item: &Value) -> bool {
    let definition = list["items"].get("$ref").map(|_| resolved(template, &list["items"]));
    let Some(definition) = definition.filter(|definition| definition["properties"].is_object()) else { return true };
    let required = definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let knows = |key: &String| definition["properties"].get(key).is_some();
    item.as_object().is_some_and(|item| item.keys().all(knows) && required.clone().all(|key| item.contains_key(key)))
}

/// What a value is, behind its reference.
fn resolved<'t>(template: &'t Value, property: &'t Value) -> &'t Value {
    match property.get("$ref").and_then(Value::as_str) {
        Some(to) => {
            let name = to.rsplit('/').next().unwrap();
            template["$defs"].get(name).unwrap_or_else(|| panic!("there is no {to} in {}", template["type_key"]))
        }
        None => property,
    }
}

/// Of several options the first that is something.
fn option(property: &Value) -> &Value {
    let options = property.get("anyOf").and_then(Value::as_array);
    options.and_then(|options| options.iter().find(|option| option["type"] != "null")).unwrap_or(property)
}

fn is_store_table(property: &Value) -> bool {
    let is_here = |value: &Value| value["$ref"] == "#/$defs/DAQJobStoreConfig";
    is_here(property) || property["anyOf"].as_array().is_some_and(|options| options.iter().any(is_here))
}

/// The type of a value: the first of several, and else text.
fn kind(field: &Value) -> &str {
    field["type"].as_str().or_else(|| field["type"][0].as_str()).unwrap_or("string")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object"))
}

/// Asserts that the templates are JSON Schemas and take what was made of them, and nothing with a key more, as a validator of
/// somebody else sees it.
fn assert_valid(pairs: &[(&Value, &Value)]) {
    const SCRIPT: &str = "\
import json, sys
from jsonschema import Draft202012Validator as Validator
for template, value in json.load(sys.stdin):
    Validator.check_schema(template)
    found = [error.json_path + ': ' + error.message for error in Validator(template).iter_errors(value)]
    assert not found, (template['type_key'], value, found)
    assert list(Validator(template).iter_errors({**value, 'no_such_key': 1})), template['type_key']
    required = template['$defs'][template['$ref'].rsplit('/')[-1]].get('required', [])
    for key in required:
        less = {name: value[name] for name in value if name != key}
        assert list(Validator(template).iter_errors(less)), (template['type_key'], key)
print('valid')";
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("scripts/python has made target/python");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let text = serde_json::to_vec(pairs).unwrap();
        move || drop(stdin.write_all(&text))
    });
    let said = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "valid", "{}", String::from_utf8_lossy(&said.stderr));
}

/// Walks all templates, and asserts that what comes of it is accepted by whoever has these job types.
pub(crate) fn assert_accepted(templates: &Templates, catalog: &Catalog) {
    let filled = templates.fill();
    assert!(filled.configs.len() >= object(&templates.jobs).len() && !filled.configs.is_empty());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("supervisor.toml"), "[info]\nsupervisor_id = \"forms\"\n").unwrap();
    for (name, config) in &filled.configs {
        std::fs::write(dir.path().join(format!("{name}.toml")), toml::to_string(config).unwrap()).unwrap();
    }

    let deployment = load(dir.path(), catalog).unwrap_or_else(|report| panic!("{report}"));

    assert_eq!(deployment.jobs.len(), filled.configs.len());
    assert!(deployment.warnings.is_empty(), "{}", deployment.report());
    for ((message_type, store), payload) in &filled.payloads {
        let read = catalog.read_message(message_type, &payload.to_string());
        let message = read.unwrap_or_else(|fault| panic!("{message_type} for {store}: {fault}: {payload}"));
        assert_eq!(message.kind, message_type);
    }
    let of_jobs =
        filled.configs.values().map(|config| (&templates.jobs[config["daq_job_type"].as_str().unwrap()], config));
    let of_messages = filled.payloads.iter().map(|((name, _), payload)| (&templates.messages[name], payload));
    assert_valid(&of_jobs.chain(of_messages).collect::<Vec<_>>());
}

#[test]
fn forms_made_of_the_templates_are_accepted() {
    let catalog = enrgdaq::jobs::all().catalog();

    assert_accepted(&Templates::of(&catalog), &catalog);
}

#[test]
fn every_type_has_a_template() {
    let catalog = enrgdaq::jobs::all().catalog();

    let Templates { stores, jobs, messages } = Templates::of(&catalog);

    let keys = |value: &Value| object(value).keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&stores), catalog.backends().into_keys().collect::<Vec<_>>());
    assert_eq!(keys(&jobs), catalog.names().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    assert_eq!(keys(&messages), catalog.messages().into_keys().collect::<Vec<_>>());
    assert!(keys(&messages).contains(&"DAQJobMessageStop".to_owned()));
}

#[test]
fn forms_made_of_the_templates_that_a_server_gives_are_accepted() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), "");
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let template = |kind: &str| api.get(&format!("/templates/{kind}")).fine();

    let templates = Templates { stores: template("stores"), jobs: template("daqjobs"), messages: template("messages") };

    assert_accepted(&templates, &enrgdaq::jobs::all().catalog());
    assert_eq!(node.stop(), 0);
}
