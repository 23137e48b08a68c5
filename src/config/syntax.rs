//! From a file's text to its tree, with every syntax error in words that help.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::document::Source;

/// A parsed file.
pub(super) struct Parsed<'t> {
    pub(super) root: DeTable<'t>,
    /// The syntax errors, at most one a line.
    pub(super) errors: Vec<Diagnostic>,
    /// Where the tree is not to be trusted.
    pub(super) damage: Damage,
}

/// The lines that a syntax error makes doubtful.
#[derive(Debug, Clone, Default)]
pub(super) struct Damage {
    lines: BTreeSet<usize>,
    from: Option<usize>,
}

impl Damage {
    pub(super) fn is_none(&self) -> bool {
        self.lines.is_empty() && self.from.is_none()
    }

    /// What stands in this line is in the tree as it was meant.
    pub(super) fn spares(&self, line: usize) -> bool {
        !self.lines.contains(&line) && self.from.is_none_or(|from| line < from)
    }

    fn add(&mut self, line: usize, ends_with_its_line: bool) {
        if ends_with_its_line {
            self.lines.insert(line);
        } else {
            self.from = Some(self.from.map_or(line, |from| from.min(line)));
        }
    }
}

/// Parses a file; around syntax errors it goes on as well as it can.
pub(super) fn parse(source: &Source) -> Parsed<'_> {
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    let root = root.into_inner();
    let mut spans: Vec<(Range<usize>, String)> =
        errors.iter().map(|error| (error.span().unwrap_or_default(), error.message().to_owned())).collect();
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    let mut damage = Damage::default();
    let mut errors = Vec::new();
    let mut unclosed = Vec::new();
    for (span, message) in &spans {
        let is_unclosed = message.starts_with("unclosed array,") || message.starts_with("invalid multi-line");
        if let Some((value, fault)) = is_unclosed.then(|| ending_at(source, &root, span.start)).flatten() {
            damage.add(fault.line, false);
            unclosed.push(value);
            errors.push(fault);
        }
    }
    for (span, message) in spans {
        // Inside a list without an end everything is an error, and none of it a fault of its own.
        if unclosed.iter().any(|value| (value.start..=value.end).contains(&span.start)) {
            continue;
        }
        let is_header = line_before(source, span.start).trim_start().starts_with('[');
        let error = explain(source, span, &message);
        damage.add(error.line, !is_header && LOCAL.iter().any(|local| message.starts_with(local)));
        if errors.iter().all(|known| known.line != error.line) {
            errors.push(error);
        }
    }
    Parsed { root, errors, damage }
}

/// Errors after which the parser is right again on the next line.
const LOCAL: [&str; 5] = [
    "duplicate key",
    "string values must be quoted",
    "invalid boolean",
    "missing escaped value",
    "invalid basic string",
];

/// The outermost list or string that ends at a byte because it has no end of its own, and what to say of it.
fn ending_at(source: &Source, table: &DeTable<'_>, end: usize) -> Option<(Range<usize>, Diagnostic)> {
    fn within<'v, 'i>(value: &'v Spanned<DeValue<'i>>, end: usize) -> Option<&'v Spanned<DeValue<'i>>> {
        match value.get_ref() {
            DeValue::Array(_) | DeValue::String(_) if value.span().end == end => Some(value),
            DeValue::Array(items) => items.iter().find_map(|item| within(item, end)),
            DeValue::Table(table) => table.iter().find_map(|(_, value)| within(value, end)),
            _ => None,
        }
    }
    let values = table.iter().filter_map(|(_, value)| within(value, end));
    let value = values.min_by_key(|value| value.span().start)?;
    let start = value.span().start;
    let fault = if value.get_ref().is_array() {
        source.error(start, "", "the list that begins here is not closed").with_help("write the missing `]`")
    } else {
        let quotes = source.text.get(start..start + 3).unwrap_or_default();
        source.error(start, "", "the string that begins here is not closed").with_help(format!("end it with {quotes}"))
    };
    Some((value.span(), fault))
}

/// What the parser says, as a sentence about the file.
fn explain(source: &Source, span: Range<usize>, message: &str) -> Diagnostic {
    let text = source.text.get(span.clone()).unwrap_or_default();
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let error = |message: &str| source.error(span.start, "", message);
    match what {
        "duplicate key" => source
            .error(span.start, text, format!("`{text}` is set twice in this table"))
            .with_help("keep one of the two"),
        "string values must be quoted" | "invalid boolean" if text.is_empty() => {
            error("a value is missing").with_help("write one after the `=`")
        }
        "string values must be quoted" | "invalid boolean" => unquoted(source, span.start),
        "missing escaped value" => error("a backslash in a \"…\" string begins an escape, and this is none")
            .with_help(r"write `\\` for each backslash, or put the text in single quotes: 'C:\data'"),
        "invalid basic string" | "invalid literal string" => error("the string is not closed on this line")
            .with_help(format!("end it with {}", expected.replace('`', ""))),
        "unclosed table" | "unclosed array of tables" => {
            error("the header of the table is not closed").with_help(format!("end it with {expected}"))
        }
        "unclosed array" => error("a list is not closed").with_help("write the missing `]`"),
        "recursion limit" => error("tables or lists are nested too deeply").with_help("nest at most 80"),
        _ if what.starts_with("invalid ") && begins_a_word(source, span.start) => unquoted(source, span.start),
        "key with no value" => {
            let key = line_before(source, span.start).trim();
            source.error(span.start, key, format!("`{key}` has no value")).with_help(format!("write `{key} = …`"))
        }
        _ if expected.is_empty() => error(what),
        _ => error(what).with_help(format!("expected {expected}")),
    }
}

/// What stands before a byte on its line.
fn line_before(source: &Source, offset: usize) -> &str {
    source.text.get(..offset).unwrap_or_default().rsplit('\n').next().unwrap_or_default()
}

fn begins_a_word(source: &Source, start: usize) -> bool {
    source.text.get(start..).unwrap_or_default().starts_with(char::is_alphabetic)
}

/// A word where a value should be.
fn unquoted(source: &Source, start: usize) -> Diagnostic {
    let rest = source.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let word = rest.split([',', ']', '}', '#']).next().unwrap_or_default().trim();
    let error = source.error(start, "", format!("`{word}` is not a TOML value"));
    match word.to_lowercase().as_str() {
        "true" | "yes" | "on" => error.with_help("write `true`"),
        "false" | "no" | "off" => error.with_help("write `false`"),
        "none" | "null" | "nil" => error.with_help("TOML has no such value: leave the key out"),
        _ if word.contains(['"', '\\', '\'']) => error.with_help("a string stands in quotes"),
        _ => error.with_help(format!("a string stands in quotes: \"{word}\"")),
    }
}
