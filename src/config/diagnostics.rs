//! What is wrong with a configuration: one [`Diagnostic`] a fault, one [`Report`] for them all.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// Whether a fault forbids the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// It starts, but perhaps not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One fault: where it is, what it is, what to do.
///
/// Printed as `configs/run7/hv.toml:4:1: error: message; help`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it forbids the start.
    pub severity: Severity,
    /// The file, or the folder, as it was named by the caller.
    #[serde(serialize_with = "as_shown")]
    pub file: PathBuf,
    /// From 1; 0 where the fault lies in no line (a file that cannot be read).
    pub line: usize,
    /// From 1, in characters; 0 where the fault lies in no line.
    pub column: usize,
    /// Dotted path of the key in its file, items of lists from 0: `channels_to_monitor[1].slot`. Empty: none.
    pub key: String,
    /// What is wrong, and what is expected.
    pub message: String,
    /// What to do, where more can be said than in `message`.
    pub help: Option<String>,
}

/// A path that is no UTF-8 must not keep a report from being written.
fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl Diagnostic {
    /// A fault of a whole file or folder.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Order of a report: by file, then by place, errors before warnings.
    fn rank(&self) -> (&Path, usize, usize, Severity) {
        (&self.file, self.line, self.column, self.severity)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}: {}", self.severity, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// All faults of a configuration, errors and warnings, in the order of files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sorted by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// Files that were read, `supervisor.toml` among them.
    pub files_checked: usize,
    /// Job files among them.
    pub jobs: usize,
}

impl Report {
    pub(super) fn new(mut diagnostics: Vec<Diagnostic>, files_checked: usize, jobs: usize) -> Self {
        diagnostics.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Self { diagnostics, files_checked, jobs }
    }

    /// The faults that forbid the start.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// The faults that do not.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}")?;
        }
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "{}, {} in {} ({})",
            counted(self.errors(), "error"),
            counted(self.warnings(), "warning"),
            counted(self.files_checked, "file"),
            counted(self.jobs, "job"),
        )
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: usize) -> Diagnostic {
        Diagnostic { line, column: 1, ..Diagnostic::of_file(Path::new(file), "is wrong") }
    }

    #[test]
    fn a_report_is_sorted_by_file_and_line_and_ends_with_the_counts() {
        let report = Report::new(vec![at("b.toml", 1), at("a.toml", 9), at("a.toml", 2).into_warning()], 2, 1);

        assert_eq!(
            report.to_string(),
            "a.toml:2:1: warning: is wrong\na.toml:9:1: error: is wrong\nb.toml:1:1: error: is wrong\n\
             2 errors, 1 warning in 2 files (1 job)"
        );
    }

    #[test]
    fn a_fault_of_a_whole_file_names_no_line() {
        let fault = Diagnostic::of_file(Path::new("a.toml"), "cannot be read").with_help("give the right to read it");

        assert_eq!(fault.to_string(), "a.toml: error: cannot be read; give the right to read it");
    }
}
