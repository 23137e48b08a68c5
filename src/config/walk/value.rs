//! Values: of the right type, within their limits, one of their choices.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::remedy::{remedy, remedy_for_choice};
use super::{Place, Spot, Walk};
use crate::config::document::{found, join, quantity, to_json};
use crate::config::limits::Limits;
use crate::config::schema::{Form, Node, quoted};
use crate::config::suggest::nearest;

impl Walk<'_> {
    pub(super) fn value(&mut self, node: Node<'_>, value: &Spanned<DeValue<'_>>, spot: Spot<'_>) {
        self.fit(&node.form(), value, spot);
    }

    pub(super) fn fit(&mut self, form: &Form<'_>, value: &Spanned<DeValue<'_>>, spot: Spot<'_>) {
        let Spot { path, at, within } = spot;
        let start = value.span().start;
        match (form, value.get_ref()) {
            (Form::Anything, _) | (Form::Boolean, DeValue::Boolean(_)) => {}
            (Form::Integer(limits), DeValue::Integer(_))
            | (Form::Number(limits), DeValue::Integer(_) | DeValue::Float(_)) => {
                self.in_limits(form, limits, value, path);
            }
            (Form::Choice(values), actual) => self.chosen(form, values, actual, start, path),
            (Form::String(node), DeValue::String(text)) => {
                self.length(*node, "Length", text.chars().count(), start, path)
            }
            (Form::List(node), DeValue::Array(items)) => self.list(*node, items, start, spot),
            (Form::Table(node), DeValue::Table(table)) => {
                let owner = format!("`{}`", if path.ends_with(']') { path.to_owned() } else { format!("[{path}]") });
                let place = Place { path, owner, at, keys: node.properties(), above: within };
                self.table(table, &[*node], &place);
            }
            (Form::StoreTable(node), DeValue::Table(table)) => self.store_table(*node, table, spot),
            (Form::Union(forms), _) => self.union(form, forms, value, spot),
            (_, actual) => self.wrong_type(form, actual, start, path),
        }
    }

    pub(super) fn wrong_type(&mut self, form: &Form<'_>, actual: &DeValue<'_>, at: usize, path: &str) {
        let message = format!("`{path}`: expected {}, found {}", form.words(), found(actual));
        self.error_with_help(at, path, message, remedy(form, actual, path));
    }

    fn in_limits(&mut self, form: &Form<'_>, limits: &Limits<'_>, value: &Spanned<DeValue<'_>>, path: &str) {
        // A number that is none was reported by `numbers`.
        let Some(objection) = quantity(value.get_ref()).and_then(|quantity| limits.objection(quantity)) else { return };
        let shown = match value.get_ref() {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            _ => String::new(),
        };
        let kind = if matches!(form, Form::Integer(_)) { "an integer" } else { "a number" };
        let of = if objection.starts_with("at ") { " of" } else { "" };
        self.error(value.span().start, path, format!("`{path}` is {shown}, but must be {kind}{of} {objection}"));
    }

    fn chosen(
        &mut self,
        form: &Form<'_>,
        values: &[(&Value, Option<&str>)],
        actual: &DeValue<'_>,
        at: usize,
        path: &str,
    ) {
        let json = to_json(actual);
        if values.iter().any(|(value, _)| **value == json) {
            return;
        }
        let names = values.iter().filter_map(|(value, _)| value.as_str());
        let near = json.as_str().and_then(|text| nearest(text, names));
        let message = format!("`{path}`: expected {}, found {}", form.words(), found(actual));
        let help = match near {
            Some(near) => Some(format!("did you mean {}?", quoted(&Value::from(near)))),
            None => remedy_for_choice(values, &json),
        };
        self.error_with_help(at, path, message, help);
    }

    fn list(&mut self, node: Node<'_>, items: &DeArray<'_>, at: usize, spot: Spot<'_>) {
        let path = spot.path;
        self.length(node, "Items", items.len(), at, path);
        for (index, item) in items.iter().enumerate() {
            if let Some(each) = node.item(index) {
                let path = format!("{path}[{index}]");
                self.value(each, item, Spot { path: &path, at: item.span().start, ..spot });
            }
        }
    }

    /// Limits of a length, `minItems` or `maxLength`.
    fn length(&mut self, node: Node<'_>, what: &str, length: usize, at: usize, path: &str) {
        let unit = if what == "Items" { "items" } else { "characters" };
        match (node.length(&format!("min{what}")), node.length(&format!("max{what}"))) {
            (Some(1), _) if length == 0 => {
                self.error(
                    at,
                    path,
                    format!("`{path}` is empty, but needs at least one {}", unit.trim_end_matches('s')),
                );
            }
            (Some(least), _) if length < least => {
                self.error(at, path, format!("`{path}` has {length} {unit}, but needs at least {least}"));
            }
            (_, Some(most)) if length > most => {
                self.error(at, path, format!("`{path}` has {length} {unit}, but may have at most {most}"));
            }
            _ => {}
        }
    }

    /// Numbers that no computation can use: not finite, or longer than 64 bits.
    pub(super) fn numbers(&mut self, table: &DeTable<'_>, path: &str) {
        for (key, value) in table.iter() {
            self.number(value, &join(path, key.get_ref()));
        }
    }

    fn number(&mut self, value: &Spanned<DeValue<'_>>, path: &str) {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Integer(integer) if quantity(value.get_ref()).is_none() => {
                self.error(at, path, format!("`{path}`: {integer} does not fit into 64 bits"));
            }
            DeValue::Float(float) if quantity(value.get_ref()).is_none() => {
                self.error(at, path, format!("`{path}` is {float}, but must be a finite number"));
            }
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.number(item, &format!("{path}[{index}]"));
                }
            }
            DeValue::Table(table) => self.numbers(table, path),
            _ => {}
        }
    }
}
