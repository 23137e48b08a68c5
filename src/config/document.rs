//! A TOML file: its text, the places in it, and its values as words and as JSON.

use std::path::PathBuf;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostics::{Diagnostic, Severity};
use super::limits::Quantity;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Line and column, both from 1, of a byte; columns count characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.text.floor_char_boundary(offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let columns = before[line_start..].chars().filter(|c| *c != '\u{feff}').count();
        (before.matches('\n').count() + 1, columns + 1)
    }

    /// An error at a byte of this file.
    pub(super) fn error(&self, offset: usize, key: impl Into<String>, message: impl Into<String>) -> Diagnostic {
        let (line, column) = self.position(offset);
        Diagnostic {
            severity: Severity::Error,
            file: self.path.clone(),
            line,
            column,
            key: key.into(),
            message: message.into(),
            help: None,
        }
    }
}

/// A dotted path, one key longer.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The key of that name in a table: where it stands, and its value.
pub(super) fn entry<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(usize, &'t Spanned<DeValue<'i>>)> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span().start, value))
}

/// Where the key of a dotted path stands, or the deepest part of it that is there.
pub(super) fn locate(root: &DeTable<'_>, path: &str) -> Option<usize> {
    let steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let (mut table, mut list, mut found) = (Some(root), None, None);
    for step in steps {
        let next = match (table, list) {
            (Some(table), _) => entry(table, step),
            (None, Some(items)) => {
                let items: &toml::de::DeArray<'_> = items;
                step.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item.span().start, item))
            }
            (None, None) => None,
        };
        let Some((offset, value)) = next else { break };
        found = Some(offset);
        table = value.get_ref().as_table();
        list = value.get_ref().as_array();
    }
    found
}

/// What was found, in words: `the string "abc"`, `a table`.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
        DeValue::String(_) => "a long string".into(),
        DeValue::Integer(integer) => format!("the integer `{integer}`"),
        DeValue::Float(float) => format!("the float `{float}`"),
        DeValue::Boolean(boolean) => format!("the boolean `{boolean}`"),
        DeValue::Datetime(date) => format!("the date `{date}`"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The value of an integer, if it has less than 128 bits.
pub(super) fn whole(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number that a computation can use: finite, and an integer of at most 64 bits.
pub(super) fn quantity(value: &DeValue<'_>) -> Option<Quantity> {
    match value {
        DeValue::Integer(integer) => {
            whole(integer).filter(|whole| (i64::MIN.into()..=u64::MAX.into()).contains(whole)).map(Quantity::Integer)
        }
        DeValue::Float(float) => {
            float.as_str().parse().ok().filter(|float: &f64| float.is_finite()).map(Quantity::Float)
        }
        _ => None,
    }
}

/// The same value in JSON. Dates become strings; numbers that JSON does not know become null.
pub(super) fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(_) | DeValue::Float(_) => match quantity(value) {
            Some(Quantity::Float(float)) => Value::from(float),
            Some(Quantity::Integer(whole)) => i64::try_from(whole)
                .map(Value::from)
                .or_else(|_| u64::try_from(whole).map(Value::from))
                .unwrap_or(Value::Null),
            None => Value::Null,
        },
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| to_json(item.get_ref())).collect()),
        DeValue::Table(table) => table_to_json(table),
    }
}

/// A table in JSON.
pub(super) fn table_to_json(table: &DeTable<'_>) -> Value {
    Value::Object(table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_and_not_bytes_and_no_byte_order_mark() {
        let source = Source { path: "a.toml".into(), text: "\u{feff}ä = 1\nµµ = 2".into() };

        assert_eq!(source.position(3), (1, 1));
        assert_eq!(source.position(source.text.find('=').unwrap()), (1, 3));
        assert_eq!(source.position(source.text.rfind('=').unwrap()), (2, 4));
        assert_eq!(source.position(usize::MAX), (2, 7));
    }

    #[test]
    fn a_path_leads_to_its_key_or_as_near_as_there_is_one() {
        let text = "[a]\nb = [1, { c = 2 }]";
        let (table, _) = DeTable::parse_recoverable(text);
        let at = |path: &str| locate(table.get_ref(), path).map(|offset| &text[offset..=offset]);

        assert_eq!(at("a.b[1].c"), Some("c"));
        assert_eq!(at("a.b[0]"), Some("1"));
        assert_eq!(at("a.missing"), Some("a"));
        assert_eq!(at("x"), None);
    }

    #[test]
    fn a_key_that_is_not_bare_is_quoted_in_a_path() {
        assert_eq!(join("a", "b-1"), "a.b-1");
        assert_eq!(join("a", "b c"), "a.\"b c\"");
    }
}
