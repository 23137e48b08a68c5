//! Tokens: who may use the REST API, and as what. `tokens.json` in the state directory holds their hashes.
//!
//! Invariants: a token is shown once, when it is made; the file has its SHA-256 alone, which tells nothing of 256 random
//! bits; a change of the file counts at once, in a running supervisor too; a file that cannot be read lets nobody in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::Role;
use crate::os::{FileLock, TakeError, iso_now};

/// The file's name in the state directory.
const NAME: &str = "tokens.json";

/// What every token begins with, so that one is known where it should not stand.
const PREFIX: &str = "enrgdaq_";

/// Random bytes of a token.
const BYTES: usize = 32;

/// A token, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// Whose it is.
    pub(crate) name: String,
    /// What he may.
    pub(crate) role: Role,
    /// SHA-256 of the token, in hex.
    sha256: String,
    /// When it was made, ISO 8601 with offset.
    pub(crate) created: String,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// The system does not allow it.
    #[error("cannot use {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error("{path} is damaged: remove it, and make new tokens")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A name twice.
    #[error("there is a token `{0}` already; remove it first: enrgdaq token rm {0}")]
    Taken(String),
    /// No such name.
    #[error("there is no token `{0}`; `enrgdaq token list` shows those that there are")]
    Unknown(String),
    /// A name that would be seen wrongly.
    #[error("a token's name has 1 to 64 letters, digits, `-`, `_`, `.` or `@`, not {0:?}")]
    Name(String),
}

/// The tokens of a supervisor; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    path: PathBuf,
    read: Arc<Mutex<Read>>,
}

/// What was read last.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    tokens: Vec<Token>,
}

/// Tells a file from what it was before.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified_ns: (i64, i64),
}

impl Tokens {
    /// Those of a state directory; there may be none yet.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { path: state_dir.join(NAME), read: Arc::default() }
    }

    /// Whose token it is.
    pub(crate) fn find(&self, token: &str) -> Option<Token> {
        let stamp = stamp_of(&self.path);
        let mut read = self.read.lock();
        if read.stamp != stamp {
            let tokens = self.load().unwrap_or_else(|error| {
                tracing::error!("nobody's token counts: {}", crate::error_chain(&error));
                Vec::new()
            });
            *read = Read { stamp, tokens };
        }
        // Hashes of random tokens: where two of them differ tells nothing of a token.
        let hash = hash(token);
        read.tokens.iter().find(|known| known.sha256 == hash).cloned()
    }

    /// All, in the order in which they were made.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn load(&self) -> Result<Vec<Token>, TokenError> {
        match fs::read(&self.path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| TokenError::Damaged { path: self.path.clone(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(self.fault(source)),
        }
    }

    /// Makes one; gives what its owner has to show, which stands nowhere else.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn add(&self, name: &str, role: Role) -> Result<String, TokenError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err(TokenError::Name(name.into()));
        }
        let mut bytes = [0; BYTES];
        let random = File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
        random.map_err(|source| TokenError::File { path: "/dev/urandom".into(), source })?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        self.change(|tokens| match tokens.iter().any(|known| known.name == name) {
            true => Err(TokenError::Taken(name.into())),
            false => {
                let (sha256, created) = (hash(&token), iso_now());
                tokens.push(Token { name: name.into(), role, sha256, created });
                Ok(())
            }
        })?;
        Ok(token)
    }

    /// Removes one: who has it is nobody from now on.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn remove(&self, name: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.name != name);
            if tokens.len() == before { Err(TokenError::Unknown(name.into())) } else { Ok(()) }
        })
    }

    /// One change after the other; the file is whole at every moment.
    fn change(&self, change: impl FnOnce(&mut Vec<Token>) -> Result<(), TokenError>) -> Result<(), TokenError> {
        let lock = self.path.with_extension("lock");
        let _lock = FileLock::take(&lock).map_err(|error| match error {
            TakeError::Held(holder) => self.fault(io::Error::other(format!("it is being changed by {holder}"))),
            TakeError::System(source) => self.fault(source),
        })?;
        let mut tokens = self.load()?;
        change(&mut tokens)?;
        let text = serde_json::to_vec_pretty(&tokens).expect("a token has string keys only");
        let new = self.path.with_extension("new");
        let mut options = File::options();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &self.path)).map_err(|source| self.fault(source))
    }

    fn fault(&self, source: io::Error) -> TokenError {
        TokenError::File { path: self.path.clone(), source }
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), modified_ns: (meta.mtime(), meta.mtime_nsec()) })
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_until_it_is_removed_and_stands_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, others) = (Tokens::of(dir.path()), Tokens::of(dir.path()));
        assert!(tokens.find("").is_none());

        let token = tokens.add("anna", Role::Operator).unwrap();
        let other = tokens.add("shift@lab", Role::Viewer).unwrap();

        assert_eq!(others.find(&token).map(|found| (found.name, found.role)), Some(("anna".into(), Role::Operator)));
        assert!(token != other && others.find(&format!("{token} ")).is_none());
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert!(!text.contains(&token) && !text.contains(token.strip_prefix(PREFIX).unwrap()));
        assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().mode() & 0o777, 0o600);
        tokens.remove("anna").unwrap();
        assert!(others.find(&token).is_none() && others.find(&other).is_some());
    }

    #[test]
    fn names_are_plain_and_taken_once_and_a_damaged_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path());
        let token = tokens.add("anna", Role::Admin).unwrap();

        assert!(matches!(tokens.add("anna", Role::Viewer), Err(TokenError::Taken(_))));
        assert!(matches!(tokens.remove("otto"), Err(TokenError::Unknown(_))));
        for name in ["", "a b", "a\n", "ä"] {
            assert!(matches!(tokens.add(name, Role::Viewer), Err(TokenError::Name(_))), "{name:?}");
        }
        fs::write(dir.path().join(NAME), "[{").unwrap();
        assert!(tokens.find(&token).is_none());
        assert!(matches!(tokens.add("otto", Role::Viewer), Err(TokenError::Damaged { .. })));
    }
}
