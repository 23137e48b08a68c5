//! `store_config`: tables of backends, which the catalog knows.

use toml::de::{DeTable, DeValue};

use super::{Place, Spot, UsedBackend, Walk};
use crate::config::document::{entry, join};
use crate::config::original;
use crate::config::schema::{Form, Node};
use crate::config::suggest::nearest;

impl Walk<'_> {
    pub(super) fn store_table(&mut self, node: Node<'_>, table: &DeTable<'_>, spot: Spot<'_>) {
        const LOCAL: &str = "target_local_supervisor";
        let Spot { path, at, within } = spot;
        let backends = self.catalog.backends();
        let local = entry(table, LOCAL).map(|(_, value)| value);
        if let Some(local) = local {
            let full = join(path, LOCAL);
            self.fit(&Form::Boolean, local, Spot { path: &full, ..spot });
        }
        let is_local = local.and_then(|local| local.get_ref().as_bool()) == Some(true);
        let place = Place { path, owner: format!("`[{path}]`"), at, keys: node.properties(), above: within };
        let mut is_empty = true;
        for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != LOCAL) {
            is_empty = false;
            let (name, key_at): (&str, usize) = (key.get_ref(), key.span().start);
            let full = join(path, name);
            let Some((backend, (schema, types))) = backends.get_key_value(name) else {
                self.unknown_backend(name, key_at, value.get_ref(), &place);
                continue;
            };
            self.fit(&Form::Table(Node::root(schema)), value, Spot { path: &full, at: key_at, within: Some(&place) });
            let message = format!("messages for backend `{backend}` have no store here");
            let unserved = self.source.error(key_at, full, message).into_warning();
            let unserved = unserved.with_help(format!("add a job of type {}", types.join(" or ")));
            self.backends.push(UsedBackend { backend, unserved, is_local });
        }
        if is_empty {
            let known: Vec<&str> = backends.keys().copied().collect();
            let warning = self.source.error(at, path, format!("`[{path}]` names no backend, so nothing is stored"));
            self.report(warning.into_warning().with_help(format!("the backends are {}", known.join(", "))));
        }
    }

    fn unknown_backend(&mut self, name: &str, at: usize, value: &DeValue<'_>, here: &Place<'_>) {
        let backends = self.catalog.backends();
        let path = join(here.path, name);
        let known = || backends.keys().copied().collect::<Vec<_>>().join(", ");
        if let Some(elsewhere) = self.above(name, here) {
            return self.error_with_help(at, &path, format!("`{name}` is not a backend"), Some(elsewhere));
        }
        if original::BACKENDS.contains(&name) {
            let message = format!("backend `{name}` is one of ENRGDAQ that this version does not have yet");
            return self.error_with_help(at, &path, message, Some(format!("there are {}", known())));
        }
        let in_backend = if value.is_table() { None } else { self.backend_with_key(name) };
        let help = match (in_backend, nearest(name, backends.keys().copied())) {
            (Some(backend), _) => format!("it belongs under `[{}.{backend}]`", here.path),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("there are {}", known()),
        };
        self.error_with_help(at, &path, format!("`{name}` is not a backend"), Some(help));
    }
}
