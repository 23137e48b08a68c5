//! Which file a command means, found before anything is started, so that what is wrong with it can be said exactly.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::ProgramError;

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A file that can be executed, as far as one can see from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Executable(PathBuf);

impl Executable {
    /// The file of a command: by its path where that has a slash, else the first in `PATH`.
    ///
    /// # Errors
    /// [`ProgramError::Hopeless`]: there is none, or what is there cannot be executed.
    pub(super) fn find(command: &[String]) -> Result<Self, ProgramError> {
        let name = command.first().map_or("", String::as_str);
        if name.is_empty() {
            return Err(ProgramError::Hopeless("`command` names no program".into()));
        }
        if name.contains('/') {
            return Self::at(Path::new(name)).map_err(ProgramError::Hopeless);
        }
        let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let found = env::split_paths(&path).find_map(|dir| Self::at(&dir.join(name)).ok());
        let path = path.to_string_lossy();
        found.ok_or_else(|| ProgramError::Hopeless(format!("there is no program {name:?} in PATH, which is {path}")))
    }

    fn at(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let meta = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if path.is_relative() => {
                let dir = env::current_dir().unwrap_or_default();
                format!("there is no {shown} in the working directory {}: `cwd` sets it", dir.display())
            }
            io::ErrorKind::NotFound => format!("there is no {shown}"),
            _ => format!("{shown} cannot be looked at: {error}"),
        })?;
        if meta.is_dir() {
            return Err(format!("{shown} is a directory, not a program"));
        }
        if !meta.is_file() {
            return Err(format!("{shown} is not a file"));
        }
        match access(path, Access::EXEC_OK) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(_) => Err(format!("{shown} is not executable: `chmod +x` makes it so, if it is a program")),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        Executable::find(&[name.to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_with_a_program_is_said_exactly() {
        assert!(refusal("").contains("names no program"));
        assert!(refusal("no-such-program-anywhere").contains("in PATH, which is"));
        assert_eq!(refusal("/no/such"), "there is no /no/such");
        assert!(refusal("./no-such").contains("`cwd` sets it"));
        assert_eq!(refusal("/tmp"), "/tmp is a directory, not a program");
        assert_eq!(refusal("/dev/null"), "/dev/null is not a file");
        assert!(refusal("/etc/passwd").starts_with("/etc/passwd is not executable"));
    }

    #[test]
    fn a_name_is_found_in_the_path() {
        assert!(Executable::find(&["sh".into()]).unwrap().path().is_absolute());
    }
}
