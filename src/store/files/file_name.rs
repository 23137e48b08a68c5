//! Names of files: date before, tag after, and nothing that leads out of the folder.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use thiserror::Error;

use super::FileWish;
use super::folder::DRAFT;
use super::journal::JOURNALS;
use crate::job::Delivery;

/// The longest part of a path that file systems take, in bytes.
const MAX_PART: usize = 255;

/// The longest name of a file, in bytes: it leaves room for `_1000000000` ([`numbered`]) and for the name of a draft.
const MAX_NAME: usize = MAX_PART - 11;

/// Endings that stand behind the ending of what they compress.
const COMPRESSIONS: [&str; 5] = ["zst", "gz", "bz2", "xz", "lz4"];

/// Why a text names no file in the folder.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// It leads out of the folder.
    #[error("a file path must be relative to the store's `out_dir` and must not contain `..`")]
    Leads,
    /// It is empty, or a folder.
    #[error("a file path must name a file")]
    Empty,
    /// A part of it is too long.
    #[error("a directory's name has at most {MAX_PART} bytes and a file's {MAX_NAME}, this one would have {0}")]
    TooLong(usize),
    /// It is the store's own.
    #[error("the folder `.enrgdaq` and names like `.name.new` are the store's own; name another")]
    Reserved,
    /// It has control characters.
    #[error("a file path must not contain control characters")]
    ControlCharacter,
}

impl NameError {
    /// Of which kind it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Leads => "a name that leads out",
            Self::Empty => "an empty name",
            Self::TooLong(_) => "a long name",
            Self::Reserved => "a name of the store's own",
            Self::ControlCharacter => "a control character",
        }
    }
}

/// The file that a message belongs to, below the folder.
pub(super) fn path_of(wish: &FileWish<'_>, message: &Delivery) -> Result<PathBuf, NameError> {
    let date = wish.add_date.then(|| local_date(message.envelope.ts));
    let tag = message.envelope.head.tag.as_deref();
    let ending = if wish.file_path.ends_with(wish.ending) { "" } else { wish.ending };
    file_name(&format!("{}{ending}", wish.file_path), date, tag)
}

fn local_date(ns: i64) -> Date {
    let time = Timestamp::from_nanosecond(ns.into()).unwrap_or_else(|_| Timestamp::now());
    time.to_zoned(TimeZone::system()).date()
}

/// `2026-11-20_name_tag.csv` of `name.csv`; directories stay before it, `.` goes.
pub(super) fn file_name(file_path: &str, date: Option<Date>, tag: Option<&str>) -> Result<PathBuf, NameError> {
    if file_path.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    let path = Path::new(file_path);
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(NameError::Leads);
    }
    if path.components().any(|part| part.as_os_str() == JOURNALS) {
        return Err(NameError::Reserved);
    }
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(NameError::Empty)?;
    if file_path.ends_with('/') || name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.starts_with('.') && name.ends_with(DRAFT) {
        return Err(NameError::Reserved);
    }
    let (stem, ending) = split_ending(name);
    let date = date.map(|date| format!("{date}_")).unwrap_or_default();
    let tag = tag.map(|tag| format!("_{}", part(tag))).unwrap_or_default();
    let name = format!("{date}{stem}{tag}{ending}");
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(name.len()));
    }
    let path = path.with_file_name(name);
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
    match parts.clone().map(|part| part.as_os_str().len()).find(|&len| len > MAX_PART) {
        Some(len) => Err(NameError::TooLong(len)),
        None => Ok(parts.collect()),
    }
}

/// The `n`-th file beside one whose columns are others: `name_1.csv` of `name.csv`.
pub(super) fn numbered(path: &Path, n: usize) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (stem, ending) = split_ending(name);
    path.with_file_name(format!("{stem}_{n}{ending}"))
}

/// `a.b.csv.zst` → `a.b` and `.csv.zst`.
fn split_ending(name: &str) -> (&str, &str) {
    let dot = |name: &str| name.rfind('.').filter(|&at| at > 0);
    let Some(last) = dot(name) else { return (name, "") };
    let at = match COMPRESSIONS.contains(&&name[last + 1..]) {
        true => dot(&name[..last]).unwrap_or(last),
        false => last,
    };
    name.split_at(at)
}

/// A tag as a part of a name: it may be any text, and a supervisor's id may have a slash in it.
fn part(tag: &str) -> String {
    tag.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn date_and_tag_stand_where_they_always_stood() {
        let day = Some(Date::constant(2026, 11, 20));
        let table = [
            ("test.csv", None, None, "test.csv"),
            ("test.csv", day, None, "2026-11-20_test.csv"),
            ("test.csv.zst", None, Some("latency"), "test_latency.csv.zst"),
            ("a/b.c/test.csv", day, Some("lab"), "a/b.c/2026-11-20_test_lab.csv"),
            ("noending", day, Some("t"), "2026-11-20_noending_t"),
            (".hidden", None, Some("t"), ".hidden_t"),
            ("a.zst", None, Some("t"), "a_t.zst"),
            ("t.csv", None, Some("../../etc/x"), "t_.._.._etc_x.csv"),
            ("./t.csv", None, None, "t.csv"),
            ("././a/./t.csv", day, None, "a/2026-11-20_t.csv"),
        ];
        for (path, date, tag, expected) in table {
            let named = file_name(path, date, tag).unwrap();
            assert_eq!(named.as_os_str(), expected, "{path}");
        }
        assert_eq!(numbered(Path::new("d/test.csv.zst"), 3), PathBuf::from("d/test_3.csv.zst"));
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        for path in ["../x", "/etc/x", "a/../../x", "a/.."] {
            assert_eq!(file_name(path, None, None), Err(NameError::Leads), "{path}");
        }
        for path in [".enrgdaq/x.journal", "./.enrgdaq/x", "a/.enrgdaq/x"] {
            assert_eq!(file_name(path, None, None), Err(NameError::Reserved), "{path}");
        }
        for path in [".a.csv.new", "a/.b.new"] {
            assert_eq!(file_name(path, None, None), Err(NameError::Reserved), "{path}");
        }
        for path in ["", ".", "a/"] {
            assert_eq!(file_name(path, None, None), Err(NameError::Empty), "{path}");
        }
        assert_eq!(file_name(&"x".repeat(10_000), None, None), Err(NameError::TooLong(10_000)));
        assert_eq!(file_name(&"x".repeat(MAX_NAME), None, Some("t")), Err(NameError::TooLong(MAX_NAME + 2)));
        assert!(file_name(&"x".repeat(MAX_NAME), None, None).is_ok());
        assert_eq!(file_name("a\0b", None, None), Err(NameError::ControlCharacter));
    }

    proptest! {
        #[test]
        fn a_name_that_is_accepted_stays_inside(path in any::<String>(), tag in any::<Option<String>>()) {
            if let Ok(named) = file_name(&path, None, tag.as_deref()) {
                prop_assert!(named.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
