//! Where a supervisor's sockets and locks lie: the runtime directory.
//!
//! Invariant: a directory that is used belongs to us and to nobody else (0700), or it is refused; a symlink is refused.

use std::env;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use rustix::process::getuid;
use thiserror::Error;

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// It can be neither made nor looked at.
    #[error("cannot make the directory {path}")]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could get in.
    #[error("{path} {what}; it must be a directory of your own with mode 700: mend it, or {remedy}")]
    Unsafe {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// What else helps.
        remedy: &'static str,
    },
    /// Too long for the path of a socket.
    #[error("{0} is too long for a socket's path (at most 107 bytes); set ENRGDAQ_RUNTIME_DIR to a shorter one")]
    TooLong(PathBuf),
}

/// The longest path of a unix socket, and the longest name that is put into a runtime directory.
const SOCKET_PATH_MAX: usize = 107;
const LONGEST_NAME: usize = "/control-out.ipc".len();

/// The variable that names the directory of all supervisors.
const RUNTIME: &str = "ENRGDAQ_RUNTIME_DIR";

/// What helps where a directory is not safe.
const NAME_ANOTHER: &str = "name another in ENRGDAQ_RUNTIME_DIR";
const REMOVE: &str = "remove it";

/// The first 16 hex digits of the MD5 of an id: a name of fixed length for ids of any kind.
pub(crate) fn short_hash(id: &str) -> String {
    Md5::digest(id.as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes all");
        hex
    })
}

/// The directory of all supervisors of this user: `$ENRGDAQ_RUNTIME_DIR`, else `/tmp/enrgdaq-<uid>`.
fn runtime_base() -> PathBuf {
    match env::var_os(RUNTIME) {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => user_dir(),
    }
}

/// What is this user's, and is moved by no variable.
fn user_dir() -> PathBuf {
    PathBuf::from(format!("/tmp/enrgdaq-{}", getuid().as_raw()))
}

/// The runtime directory of a supervisor, made if it is missing, with its parent checked too.
///
/// # Errors
/// [`DirectoryError`]: cannot be made, belongs to another, is open to others, or is too long.
pub(crate) fn runtime_dir(supervisor_id: &str) -> Result<PathBuf, DirectoryError> {
    let base = runtime_base();
    let dir = base.join(short_hash(supervisor_id));
    if dir.as_os_str().len() + LONGEST_NAME > SOCKET_PATH_MAX {
        return Err(DirectoryError::TooLong(dir));
    }
    make_private(&base, NAME_ANOTHER)?;
    make_private(&dir, NAME_ANOTHER)?;
    Ok(dir)
}

/// What all supervisors of this user share, wherever their runtime directories are: locks of things that only one job may
/// hold.
pub(crate) fn shared_dir() -> PathBuf {
    user_dir().join("exclusive")
}

/// Makes it if it is missing.
///
/// # Errors
/// As [`runtime_dir`].
pub(crate) fn make_shared_dir() -> Result<(), DirectoryError> {
    make_private(&user_dir(), REMOVE)?;
    make_private(&shared_dir(), REMOVE)
}

/// The directory for what must survive a restart, made if it is missing: as configured, or else by `XDG_STATE_HOME`.
///
/// # Errors
/// As [`runtime_dir`].
pub(crate) fn state_dir(configured: Option<&Path>, supervisor_id: &str) -> Result<PathBuf, DirectoryError> {
    let named = |name: &str| env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = || {
        let of_home = || named("HOME").map(|home| home.join(".local/state"));
        named("XDG_STATE_HOME").or_else(of_home).unwrap_or_else(runtime_base).join("enrgdaq")
    };
    let dir = configured.map_or_else(|| base().join(short_hash(supervisor_id)), Path::to_owned);
    make_private(&dir, "name another in `state_dir` of supervisor.toml")?;
    Ok(dir)
}

fn make_private(path: &Path, remedy: &'static str) -> Result<(), DirectoryError> {
    let fail = |source| DirectoryError::Make { path: path.into(), source };
    let refuse = |what| Err(DirectoryError::Unsafe { path: path.into(), what, remedy });
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let meta = path.symlink_metadata().map_err(fail)?;
    match meta {
        meta if !meta.is_dir() => refuse("is not a directory"),
        meta if meta.uid() != getuid().as_raw() => refuse("belongs to another user"),
        meta if meta.mode() & 0o077 != 0 => refuse("is open to other users"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = env::temp_dir().join(format!("enrgdaq-test-{}-{name}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = scratch("open");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();

        let refusal = state_dir(Some(&dir), "lab").unwrap_err().to_string();
        assert!(refusal.contains("is open to other users") && refusal.contains("`state_dir`"), "{refusal}");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(state_dir(Some(&dir), "lab").is_ok());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_symlink_is_no_directory() {
        let dir = scratch("link");
        symlink("/tmp", dir.join("link")).unwrap();

        assert!(make_private(&dir.join("link"), REMOVE).unwrap_err().to_string().contains("is not a directory"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_id_of_any_kind_gives_a_short_name() {
        assert_eq!(short_hash("lab"), "f9664ea1803311b3");
        assert_eq!(short_hash("../../etc/ä b").len(), 16);
    }
}
