//! Names of tables and columns.
//!
//! As in the original they keep only `[A-Za-z0-9_]`; other characters go. Invariant: what leaves here needs no quoting,
//! and what looks like an attempt to write SQL does not leave here at all.

use thiserror::Error;

/// The longest name that MariaDB and MySQL take.
const MAX_NAME: usize = 64;

/// The table in which the stores keep which messages they have.
pub(super) const MARKS: &str = "enrgdaq_marks";

/// Why a text names nothing in a database.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NameError {
    #[error("the name {0:?} has quotes, `;`, `\\`, `--` or control characters, which no table or column has")]
    Sql(String),
    #[error("of the name {0:?} nothing is left: names have letters (A to Z), digits and `_`")]
    Empty(String),
    #[error("the name {name:?} would have {len} characters; names have {MAX_NAME} at most")]
    TooLong { name: String, len: usize },
    #[error("`{MARKS}` is the store's own table")]
    Reserved,
    #[error("the columns {0:?} and {1:?} would become one")]
    Twice(String, String),
}

impl NameError {
    /// Of which kind it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sql(_) => "SQL in a name",
            Self::Empty(_) => "an empty name",
            Self::TooLong { .. } => "a long name",
            Self::Reserved => "a reserved name",
            Self::Twice(..) => "two columns of one name",
        }
    }
}

/// `table_tag`.
pub(super) fn table_name(table: &str, tag: Option<&str>) -> Result<String, NameError> {
    let name = clean(table)?;
    let name = match tag {
        Some(tag) => clean(&format!("{name}_{tag}"))?,
        None => name,
    };
    match name.eq_ignore_ascii_case(MARKS) {
        true => Err(NameError::Reserved),
        false => Ok(name),
    }
}

/// The names of a message's columns, each once.
pub(super) fn column_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<String>, NameError> {
    let mut clean_names: Vec<String> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for name in names {
        let cleaned = clean(name)?;
        if let Some(other) = seen.insert(cleaned.to_ascii_lowercase(), name) {
            return Err(NameError::Twice(other.to_owned(), name.to_owned()));
        }
        clean_names.push(cleaned);
    }
    Ok(clean_names)
}

fn clean(name: &str) -> Result<String, NameError> {
    let is_sql = |c: char| matches!(c, '`' | '\'' | '"' | ';' | '\\') || c.is_control();
    if name.contains(is_sql) || name.contains("--") {
        return Err(NameError::Sql(shortened(name)));
    }
    let cleaned: String = name.chars().filter(|&c| c.is_ascii_alphanumeric() || c == '_').collect();
    match cleaned.len() {
        0 => Err(NameError::Empty(shortened(name))),
        1..=MAX_NAME => Ok(cleaned),
        len => Err(NameError::TooLong { name: shortened(name), len }),
    }
}

/// For people, who need not see all of 10 kB.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lose_what_no_name_has() {
        let table = [
            ("rows", None, "rows"),
            ("HV (lab 2) [V]", None, "HVlab2V"),
            ("temp °C", Some("lab.7"), "tempC_lab7"),
            ("x", Some("a-b"), "x_ab"),
        ];
        for (name, tag, expected) in table {
            assert_eq!(table_name(name, tag).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["a`b", "a'b", "a\"b", "a;b", "a\\b", "a\0b", "a\nb", "a -- b"] {
            assert_eq!(table_name(name, None), Err(NameError::Sql(name.into())));
            assert_eq!(table_name("t", Some(name)), Err(NameError::Sql(format!("t_{name}"))));
            assert!(column_names(["a", name].into_iter()).is_err());
        }
        assert_eq!(table_name("°", None), Err(NameError::Empty("°".into())));
        assert_eq!(table_name(&"x".repeat(65), None).unwrap_err().kind(), "a long name");
        assert_eq!(table_name("enrgdaq", Some("MARKS")), Err(NameError::Reserved));
        let twice = column_names(["U [V]", "n", "uv"].into_iter());
        assert_eq!(twice, Err(NameError::Twice("U [V]".into(), "uv".into())));
    }

    proptest! {
        #[test]
        fn a_name_that_is_accepted_needs_no_quoting(name in any::<String>(), tag in any::<Option<String>>()) {
            if let Ok(name) = table_name(&name, tag.as_deref()) {
                prop_assert!(!name.is_empty() && name.len() <= MAX_NAME);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            }
        }
    }
}
