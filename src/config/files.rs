//! The files of a deployment: those of its folder, those that `include` adds, and their texts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::diagnostics::Diagnostic;
use super::document::Source;
use super::suggest::nearest;

/// The supervisor's own file.
pub(super) const SUPERVISOR: &str = "supervisor.toml";

/// Its name, which no job can have.
pub(crate) const SUPERVISOR_STEM: &str = "supervisor";

/// The folder's own job files, sorted; hidden files and folders are none.
pub(super) fn in_folder(dir: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let read = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = read.map_err(|error| folder_fault(dir, &error))?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| is_toml(path) && path.file_name().is_some_and(|name| name != SUPERVISOR)).collect();
    files.sort();
    Ok(files)
}

/// A file that ends in `.toml`, and is not hidden (an editor's lock), or broken link.
fn is_toml(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir()
}

fn folder_fault(dir: &Path, error: &io::Error) -> Diagnostic {
    let (message, help) = match error.kind() {
        io::ErrorKind::NotFound => {
            let fault = Diagnostic::of_file(dir, "there is no such folder");
            let neighbours = neighbours(dir);
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            return match nearest(&name, neighbours.iter().map(String::as_str)) {
                Some(near) => fault.with_help(format!("did you mean {}?", dir.with_file_name(near).display())),
                None => fault.with_help("name the folder of your TOML files with `--config DIR`"),
            };
        }
        io::ErrorKind::NotADirectory => ("this is not a folder".into(), "name the folder that the file is in"),
        io::ErrorKind::PermissionDenied => {
            ("the folder may not be read".into(), "give this user the right to read and enter it")
        }
        _ => (format!("the folder cannot be read: {error}"), "see that it is there and can be listed"),
    };
    let message: String = message;
    Diagnostic::of_file(dir, message).with_help(help)
}

/// The folders beside one that is not there.
fn neighbours(dir: &Path) -> Vec<String> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The files that the patterns of `include` add, and what is wrong with the patterns.
pub(super) fn included(
    dir: &Path,
    supervisor: &Source,
    patterns: &[String],
    include_at: &[usize],
    own: &[PathBuf],
) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let identity = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut known: BTreeSet<PathBuf> = own.iter().map(|path| identity(path)).collect();
    known.insert(identity(&dir.join(SUPERVISOR)));
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for (index, pattern) in patterns.iter().enumerate() {
        let at = include_at.get(index).copied().unwrap_or(0);
        let fault = |message: String| supervisor.error(at, format!("include[{index}]"), message);
        let found = match matching(dir, pattern) {
            Ok(found) => found,
            Err(reason) => {
                faults.push(fault(reason));
                continue;
            }
        };
        if found.is_empty() {
            let none = fault(format!("`{pattern}` matches no .toml file in {}", dir.display()));
            faults.push(none.with_help("patterns are relative to the folder of this file"));
        }
        for path in found {
            if !known.insert(identity(&path)) {
                continue;
            }
            if path.file_name().is_some_and(|name| name == SUPERVISOR) {
                let no_job = fault(format!("`{pattern}` includes {}, which is no job", path.display()));
                faults.push(no_job.with_help("include the job files beside it by name"));
            } else {
                files.push(path);
            }
        }
    }
    (files, faults)
}

/// The job files that a pattern matches, sorted; or why they cannot be told.
fn matching(dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let absolute = Path::new(pattern).is_absolute();
    let base = glob::Pattern::escape(&dir.to_string_lossy());
    let full = if absolute { pattern.to_owned() } else { format!("{base}/{pattern}") };
    let paths = glob::glob(&full)
        .map_err(|error| format!("`{pattern}` is not a pattern of file names: {}", error.msg))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("`{pattern}`: {} cannot be read: {}", error.path().display(), error.error()))?;
    Ok(paths.into_iter().filter(|path| is_toml(path)).collect())
}

/// The bytes of a file. A pipe or a device may never end, and is refused.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(io::Error::other("it is a pipe, a socket or a device")),
    }
}

/// Reads one file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Source>, Diagnostic> {
    let bytes = match bytes_of(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                io::ErrorKind::PermissionDenied => Err(Diagnostic::of_file(path, "the file may not be read")
                    .with_help("give this user the right to read it")),
                _ => Err(Diagnostic::of_file(path, format!("the file cannot be read: {error}"))),
            };
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Source { path: path.to_owned(), text })),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let good = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
            let source = Source { path: path.to_owned(), text: good };
            let fault = source.error(at, "", "this is not UTF-8 text from here on");
            Err(fault.with_help("save the file as UTF-8"))
        }
    }
}
