//! Values that came as JSON, beside their schema: every field that does not fit is found, and said in the words in which
//! files are checked.
//!
//! Invariant: a table takes no key that its schema does not name, unless the schema says that it takes others.

use schemars::Schema;
use serde_json::{Map, Number, Value};

use super::catalog::Catalog;
use super::document::join;
use super::limits::{Limits, Quantity};
use super::schema::{Form, Node, Others, quoted};
use super::suggest::nearest;
use crate::message::BadField;

/// More faults at a time help nobody.
const MOST_FAULTS: usize = 10;

/// Takes optional keys away that are null: they are the same as missing ones.
pub(super) fn forget_nulls(value: &mut Value, schema: &Schema) {
    let required = Node::root(schema).required();
    if let Some(table) = value.as_object_mut() {
        table.retain(|key, value| !value.is_null() || required.contains(&key.as_str()));
    }
}

/// What does not fit, at most [`MOST_FAULTS`].
pub(super) fn faults(value: &Value, schema: &Schema, owner: &str, catalog: &Catalog) -> Vec<BadField> {
    let mut look = Look { catalog, found: Vec::new() };
    match value {
        Value::Object(table) => look.table(Node::root(schema), table, "", owner),
        other => look.fault("", format!("expected an object, found {}", shown(other))),
    }
    look.found
}

struct Look<'c> {
    catalog: &'c Catalog,
    found: Vec<BadField>,
}

impl Look<'_> {
    fn fault(&mut self, path: &str, why: impl Into<String>) {
        if self.found.len() < MOST_FAULTS {
            self.found.push(BadField::new(path, why));
        }
    }

    fn table(&mut self, node: Node<'_>, table: &Map<String, Value>, path: &str, owner: &str) {
        let known = node.properties();
        let mut meant = Vec::new();
        for (key, value) in table {
            let here = join(path, key);
            if let Some((_, node)) = known.iter().find(|(name, _)| name == key) {
                self.value(*node, value, &here);
                continue;
            }
            match node.others() {
                Others::Each(each) | Others::Numbered(each) => self.value(each, value, &here),
                // Of a table without named keys nobody knows what it may hold, but of a message that has no fields.
                Others::Anything if node.takes_others() || known.is_empty() && !path.is_empty() => {}
                Others::Refused | Others::Anything => {
                    let names = known.iter().map(|(name, _)| *name);
                    let near = nearest(key, names.clone());
                    let help = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if known.is_empty() => "it has no fields".into(),
                        None => format!("its fields are {}", names.collect::<Vec<_>>().join(", ")),
                    };
                    meant.extend(near);
                    self.fault(&here, format!("is no field of {owner}; {help}"));
                }
            }
        }
        let is_missing = |key: &&str| !table.contains_key(*key) && !meant.contains(key);
        node.required().into_iter().filter(is_missing).for_each(|key| self.fault(&join(path, key), "is missing"));
    }

    fn value(&mut self, node: Node<'_>, value: &Value, path: &str) {
        if !(value.is_null() && node.allows_null()) {
            self.fit(&node.form(), value, path);
        }
    }

    fn fit(&mut self, form: &Form<'_>, value: &Value, path: &str) {
        match (form, value) {
            (Form::Anything, _) | (Form::Boolean, Value::Bool(_)) => {}
            (Form::Integer(limits), Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.number(limits, number, path);
            }
            (Form::Number(limits), Value::Number(number)) => self.number(limits, number, path),
            (Form::Choice(values), _) if values.iter().any(|(choice, _)| *choice == value) => {}
            (Form::Choice(values), _) => {
                let names = values.iter().filter_map(|(choice, _)| choice.as_str());
                let near = value.as_str().and_then(|text| nearest(text, names));
                let help = near.map_or_else(String::new, |near| format!("; did you mean {}?", quoted(&near.into())));
                self.fault(path, format!("expected {}, found {}{help}", form.words(), shown(value)));
            }
            (Form::String(node), Value::String(text)) => {
                self.length(*node, "Length", text.chars().count(), "characters", path);
            }
            (Form::List(node), Value::Array(items)) => {
                self.length(*node, "Items", items.len(), "items", path);
                for (at, item) in items.iter().enumerate() {
                    if let Some(each) = node.item(at) {
                        self.value(each, item, &format!("{path}[{at}]"));
                    }
                }
            }
            (Form::Table(node), Value::Object(table)) => self.table(*node, table, path, &format!("`{path}`")),
            (Form::StoreTable(node), Value::Object(table)) => self.store_table(*node, table, path),
            (Form::Union(forms), _) => self.union(form, forms, value, path),
            _ => self.fault(path, format!("expected {}, found {}", form.words(), shown(value))),
        }
    }

    fn number(&mut self, limits: &Limits<'_>, number: &Number, path: &str) {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        let quantity =
            whole.map_or_else(|| number.as_f64().map(Quantity::Float), |whole| Some(Quantity::Integer(whole)));
        if let Some(objection) = quantity.and_then(|quantity| limits.objection(quantity)) {
            self.fault(path, format!("is {number}, but must be {objection}"));
        }
    }

    fn length(&mut self, node: Node<'_>, what: &str, length: usize, unit: &str, path: &str) {
        match (node.length(&format!("min{what}")), node.length(&format!("max{what}"))) {
            (Some(least), _) if length < least => {
                self.fault(path, format!("has {length} {unit}, but needs at least {least}"));
            }
            (_, Some(most)) if length > most => {
                self.fault(path, format!("has {length} {unit}, but may have at most {most}"));
            }
            _ => {}
        }
    }

    /// A table a backend.
    fn store_table(&mut self, node: Node<'_>, table: &Map<String, Value>, path: &str) {
        let backends = self.catalog.backends();
        let keys = node.properties();
        let known = || backends.keys().copied().collect::<Vec<_>>().join(", ");
        for (key, value) in table {
            let here = join(path, key);
            match (keys.iter().find(|(name, _)| name == key), backends.get(key.as_str())) {
                (Some((_, node)), _) => self.value(*node, value, &here),
                (None, Some((schema, _))) => self.fit(&Form::Table(Node::root(schema)), value, &here),
                (None, None) => {
                    let help = nearest(key, backends.keys().copied())
                        .map_or_else(|| format!("there are {}", known()), |near| format!("did you mean `{near}`?"));
                    self.fault(&here, format!("is no backend; {help}"));
                }
            }
        }
        if table.keys().all(|key| keys.iter().any(|(name, _)| name == key)) {
            self.fault(path, format!("names no backend; there are {}", known()));
        }
    }

    /// One of several forms: the one that objects least.
    fn union(&mut self, form: &Form<'_>, forms: &[Form<'_>], value: &Value, path: &str) {
        let attempts = forms.iter().map(|form| {
            let mut attempt = Look { catalog: self.catalog, found: Vec::new() };
            attempt.fit(form, value, path);
            attempt.found
        });
        // One that objects to the value as a whole is none that was meant.
        let is_other = |found: &Vec<BadField>| found.iter().any(|fault| fault.field == path);
        match attempts.min_by_key(|found| (is_other(found), found.len())) {
            Some(found) if !is_other(&found) => found.into_iter().for_each(|fault| self.fault(&fault.field, fault.why)),
            _ => self.fault(path, format!("expected {}, found {}", form.words(), shown(value))),
        }
    }
}

/// What was found, short enough for a line.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.chars().count() > 40 => "a long text".into(),
        other => quoted(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tests::catalog;

    /// What is said of keys of the tests' job type, which has all forms.
    fn said(mut more: Value) -> Vec<String> {
        let catalog = catalog();
        let info = catalog.get("DAQJobTest").unwrap().info;
        let mut table = json!({ "rand_min": 1, "rand_max": 2 });
        table.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
        let found = faults(&table, &info.schema, "DAQJobTest", &catalog);
        found.iter().map(BadField::to_string).collect()
    }

    #[test]
    fn what_fits_is_not_objected_to() {
        let full = json!({
            "port": "x", "poll_interval_seconds": 1, "trigger": null, "channels": [{ "slot": 1, "numbers": [2] }],
            "labels": ["a"], "offsets": { "1": 0.5 }, "log": true, "action": { "kind": "beep", "seconds": 1 },
            "ports": [1, 2], "store_config": { "csv": { "file_path": "a" }, "target_local_supervisor": true },
        });

        assert_eq!(said(full), Vec::<String>::new());
        assert_eq!(said(json!({ "ports": 7, "trigger": "external" })), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_place() {
        let table = [
            (json!({ "rand_min": null }), "`rand_min`: expected an integer, found `null`"),
            (json!({ "rand_min": 1.5 }), "`rand_min`: expected an integer, found `1.5`"),
            (json!({ "prot": "a" }), "`prot`: is no field of DAQJobTest; did you mean `port`?"),
            (json!({ "port": 3 }), "`port`: expected a string, found `3`"),
            (json!({ "poll_interval_seconds": 0 }), "`poll_interval_seconds`: is 0, but must be from 0.1 to 3600"),
            (
                json!({ "trigger": "extrenal" }),
                "`trigger`: expected one of `\"internal\"`, `\"external\"`, found `\"extrenal\"`; did you mean `\"external\"`?",
            ),
            (
                json!({ "channels": [{ "slot": 256, "numbers": [] }] }),
                "`channels[0].slot`: is 256, but must be from 0 to 255",
            ),
            (json!({ "channels": [{ "numbers": [] }] }), "`channels[0].slot`: is missing"),
            (
                json!({ "channels": [{ "slot": 1, "number": [] }] }),
                "`channels[0].number`: is no field of `channels[0]`; did you mean `numbers`?",
            ),
            (json!({ "store_config": { "cvs": {} } }), "`store_config.cvs`: is no backend; did you mean `csv`?"),
            (json!({ "store_config": { "csv": {} } }), "`store_config.csv.file_path`: is missing"),
        ];

        for (more, expected) in table {
            assert_eq!(said(more.clone()), [expected], "{more}");
        }
        assert!(said(json!({ "ports": "a" }))[0].starts_with("`ports`: expected "));
        assert!(said(json!({ "store_config": {} }))[0].starts_with("`store_config`: names no backend; there are csv"));
    }
}
