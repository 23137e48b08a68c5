//! Keys that a table does not know, and where they belong.

use super::{Place, Spot, Walk};
use crate::config::document::join;
use crate::config::schema::{Form, Node};
use crate::config::suggest::nearest;

impl Walk<'_> {
    /// A key that the table does not know.
    pub(super) fn unknown(&mut self, name: &str, spot: Spot<'_>, here: &Place<'_>) {
        let Spot { at, path, .. } = spot;
        let message = format!("`{name}` is not a key of {}", here.owner);
        let known: Vec<&str> = here.keys.iter().map(|(key, _)| *key).collect();
        if let Some(elsewhere) = self.above(name, here).or_else(|| self.below(name, here)) {
            return self.error_with_help(at, path, message, Some(elsewhere));
        }
        if here.above.is_none() && here.owner == "supervisor.toml" && name == "daq_job_type" {
            let help = "a job has a file of its own in this folder, with another name";
            return self.error_with_help(at, path, message, Some(help.into()));
        }
        let near = nearest(name, known.iter().copied());
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it has no keys".into(),
            None if known.len() > 12 && here.above.is_none() => {
                format!("`enrgdaq jobs describe {}` lists its keys", here.owner)
            }
            None => format!("its keys are {}", known.join(", ")),
        };
        self.meant.extend(near.map(|near| join(here.path, near)));
        self.error_with_help(at, path, message, Some(help));
    }

    /// The key belongs to a table around this one.
    pub(super) fn above(&mut self, name: &str, here: &Place<'_>) -> Option<String> {
        let mut around = here.above;
        while let Some(place) = around {
            if place.keys.iter().any(|(key, _)| *key == name) {
                let to = if place.path.is_empty() {
                    "move it up, above the first line in [brackets]".to_owned()
                } else {
                    format!("move it under `[{}]`", place.path)
                };
                self.meant.insert(join(place.path, name));
                return Some(format!("it is a key of {}: {to}", place.owner));
            }
            around = place.above;
        }
        None
    }

    /// The key belongs to a table inside this one.
    fn below(&mut self, name: &str, here: &Place<'_>) -> Option<String> {
        for (key, node) in &here.keys {
            let path = join(here.path, key);
            match node.form() {
                Form::Table(inner) if inner.properties().iter().any(|(key, _)| *key == name) => {
                    self.meant.insert(join(&path, name));
                    return Some(format!("it belongs under `[{path}]`"));
                }
                Form::StoreTable(inner) => {
                    if inner.properties().iter().any(|(key, _)| *key == name) {
                        return Some(format!("it belongs under `[{path}]`"));
                    }
                    if self.catalog.backends().contains_key(name) {
                        return Some(format!("write `[{path}.{name}]`"));
                    }
                    if let Some(backend) = self.backend_with_key(name) {
                        return Some(format!("it belongs under `[{path}.{backend}]`"));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first backend whose table has this key.
    pub(super) fn backend_with_key(&self, name: &str) -> Option<&'static str> {
        let has = |schema| Node::root(schema).properties().iter().any(|(key, _)| *key == name);
        self.catalog.backends().into_iter().find(|(_, (schema, _))| has(schema)).map(|(backend, _)| backend)
    }
}
