//! Places where one of several forms may stand.

use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::{Spot, Walk};
use crate::config::document::{entry, found, join};
use crate::config::schema::{Form, Node, quoted};
use crate::config::suggest::nearest;

impl Walk<'_> {
    /// One of several forms: by the type of the value, then by its tag, else the one that objects least.
    pub(super) fn union(&mut self, form: &Form<'_>, forms: &[Form<'_>], value: &Spanned<DeValue<'_>>, spot: Spot<'_>) {
        let fitting: Vec<&Form<'_>> = forms.iter().filter(|form| is_of_type(form, value.get_ref())).collect();
        if fitting.is_empty() {
            return self.wrong_type(form, value.get_ref(), value.span().start, spot.path);
        }
        if let Some(tag) = Tag::of(&fitting) {
            return self.tagged(&fitting, &tag, value, spot);
        }
        let attempts = fitting.into_iter().map(|form| {
            let mut attempt = Walk::new(self.source, self.catalog, self.damage);
            attempt.fit(form, value, spot);
            attempt
        });
        if let Some(best) = attempts.min_by_key(|attempt| attempt.found.len() + attempt.missing.len()) {
            self.found.extend(best.found);
            self.missing.extend(best.missing);
            self.meant.extend(best.meant);
            self.backends.extend(best.backends);
        }
    }

    fn tagged(&mut self, forms: &[&Form<'_>], tag: &Tag<'_>, value: &Spanned<DeValue<'_>>, spot: Spot<'_>) {
        let Some(table) = value.get_ref().as_table() else { return };
        let path = join(spot.path, tag.key);
        let expected = tag.names.iter().map(|name| quoted(&Value::from(*name))).collect::<Vec<_>>().join(", ");
        let Some((_, given)) = entry(table, tag.key) else {
            if self.damage.is_none() {
                self.error(spot.at, &path, format!("`{path}` is missing: one of {expected}"));
            }
            return;
        };
        let name = given.get_ref().as_str();
        let chosen = tag.names.iter().position(|known| Some(*known) == name);
        if let Some(form) = chosen.and_then(|index| forms.get(index)) {
            return self.fit(form, value, spot);
        }
        let message = format!("`{path}`: expected one of {expected}, found {}", found(given.get_ref()));
        let near = name.and_then(|name| nearest(name, tag.names.iter().copied()));
        let help = near.map(|near| format!("did you mean {}?", quoted(&Value::from(near))));
        self.error_with_help(given.span().start, &path, message, help);
    }
}

/// The key that tells the tables of a union apart, with its value for each.
struct Tag<'s> {
    key: &'s str,
    names: Vec<&'s str>,
}

impl<'s> Tag<'s> {
    fn of(forms: &[&Form<'s>]) -> Option<Self> {
        let as_table = |form: &&Form<'s>| if let Form::Table(node) = form { Some(*node) } else { None };
        let tables: Vec<Node<'s>> = forms.iter().map(as_table).collect::<Option<_>>()?;
        let candidates = tables.first().filter(|_| tables.len() > 1)?.properties();
        candidates.into_iter().find_map(|(key, _)| {
            let names: Option<Vec<&str>> = tables.iter().map(|table| table.tag(key)).collect();
            names.map(|names| Self { key, names })
        })
    }
}

/// Whether the value has the type that a form begins with.
pub(super) fn is_of_type(form: &Form<'_>, value: &DeValue<'_>) -> bool {
    match form {
        Form::Anything => true,
        Form::StoreTable(_) | Form::Table(_) => value.is_table(),
        Form::Choice(values) => values.iter().any(|(choice, _)| match choice {
            Value::String(_) => value.is_str(),
            Value::Number(_) => value.is_integer() || value.is_float(),
            Value::Bool(_) => value.is_bool(),
            _ => false,
        }),
        Form::Boolean => value.is_bool(),
        Form::Integer(_) => value.is_integer(),
        Form::Number(_) => value.is_integer() || value.is_float(),
        Form::String(_) => value.is_str(),
        Form::List(_) => value.is_array(),
        Form::Union(forms) => forms.iter().any(|form| is_of_type(form, value)),
    }
}
