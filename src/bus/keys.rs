//! The key file of a supervisor: its CURVE key pair, for itself alone.
//!
//! ```toml
//! public = "…40 characters of Z85…"
//! secret = "…40 characters of Z85…"
//! ```
//!
//! Invariants: it is made for its owner only and never over another file; one that others can read is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::zap::PublicKey;
use crate::os::set_zap_enforce_domain;

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file of that name is there.
    #[error("{path} is there already, and its keys may be in use; choose another name, or remove it first")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("cannot use the key file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it, or change it.
    #[error(
        "{path} is open to other users (mode {mode:03o}), and whoever has it can speak for this node; say: chmod 600 {path}"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It does not hold a key pair.
    #[error("{path} is no key file: {why}; make one with: enrgdaq keygen FILE")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key in the configuration is none.
    #[error("`{text}` is no key; `enrgdaq keygen` prints one")]
    NoKey {
        /// What stands there.
        text: String,
    },
    /// libzmq has no keys to give.
    #[error("libzmq cannot make keys")]
    Made(#[source] zmq::Error),
}

/// A pair of keys.
pub(crate) struct Keys {
    pub(crate) public: PublicKey,
    pub(crate) secret: PublicKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys {{ public: {}, .. }}", text_of(&self.public))
    }
}

/// What stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    public: String,
    secret: String,
}

impl Keys {
    /// Makes a pair.
    ///
    /// # Errors
    /// What libzmq says.
    pub(crate) fn new() -> Result<Self, zmq::Error> {
        let pair = zmq::CurveKeyPair::new()?;
        Ok(Self { public: pair.public_key, secret: pair.secret_key })
    }

    /// Makes a pair, and the file with it.
    ///
    /// # Errors
    /// [`KeyError`]: the file is there, or cannot be made.
    pub(crate) fn make(path: &Path) -> Result<Self, KeyError> {
        let keys = Self::new().map_err(KeyError::Made)?;
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::File { path: path.to_owned(), source },
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
        let text = format!(
            "# The keys of one node for [cnc.curve] and [federation.curve]; made by `enrgdaq keygen`. For that node alone.\n\
             public = \"{}\"\nsecret = \"{}\"\n",
            text_of(&keys.public),
            text_of(&keys.secret)
        );
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        Ok(keys)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyError`]: it is not there, others can read it, or it holds something else.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        /// No key file is larger.
        const MOST: u64 = 64 << 10;
        let fail = |source| KeyError::File { path: path.to_owned(), source };
        let bad = |why: String| KeyError::Content { path: path.to_owned(), why };
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).map_err(fail)?;
        // The message of the parser would show the line, and with it perhaps the secret.
        let content: Content =
            toml::from_str(&text).map_err(|_| bad("it must hold `public` and `secret`, and nothing else".into()))?;
        let key = |name: &str, text: &str| read_key(text).map_err(|_| bad(format!("`{name}` is no key")));
        Ok(Self { public: key("public", &content.public)?, secret: key("secret", &content.secret)? })
    }

    /// Locks a socket that listens: only who has a key that the gate of its context knows gets in; nobody, if there is none.
    ///
    /// # Errors
    /// What libzmq says.
    pub(crate) fn apply_server(&self, socket: &mut zmq::Socket, domain: &str) -> Result<(), zmq::Error> {
        socket.set_curve_server(true)?;
        socket.set_curve_secretkey(&self.secret)?;
        socket.set_zap_domain(domain)?;
        set_zap_enforce_domain(socket, true)
    }

    /// Gives them to a socket that connects, and speaks to the server with that key only.
    ///
    /// # Errors
    /// What libzmq says.
    pub(crate) fn apply_client(&self, socket: &zmq::Socket, server: &PublicKey) -> Result<(), zmq::Error> {
        socket.set_curve_serverkey(server)?;
        socket.set_curve_publickey(&self.public)?;
        socket.set_curve_secretkey(&self.secret)
    }
}

/// A key as people write it.
pub(crate) fn text_of(key: &PublicKey) -> String {
    zmq::z85_encode(key).expect("a key has 32 bytes, a multiple of four")
}

/// A key as people write it, read.
///
/// # Errors
/// [`KeyError::NoKey`].
pub(crate) fn read_key(text: &str) -> Result<PublicKey, KeyError> {
    let bytes = zmq::z85_decode(text).ok().and_then(|bytes| PublicKey::try_from(bytes).ok());
    bytes.ok_or_else(|| KeyError::NoKey { text: text.into() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pair_comes_back_from_its_file_which_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.keys");

        let made = Keys::make(&path).unwrap();

        let read = Keys::read(&path).unwrap();
        assert_eq!((read.public, read.secret), (made.public, made.secret));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Keys::make(&path), Err(KeyError::Exists { .. })));
        assert_eq!(read_key(&text_of(&made.public)).unwrap(), made.public);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.keys");
        Keys::make(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();

        let refusal = Keys::read(&path).unwrap_err().to_string();

        assert!(refusal.contains("chmod 600") && refusal.contains("640"), "{refusal}");
    }

    #[test]
    fn what_is_no_key_file_is_told_without_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.keys");
        let secret = "s3cr3t".repeat(7);
        for text in ["".to_owned(), format!("public = \"x\"\nsecret = \"{secret}\""), format!("secret = {secret}")] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();

            let refusal = Keys::read(&path).unwrap_err();

            assert!(matches!(refusal, KeyError::Content { .. }), "{refusal}");
            assert!(!crate::error_chain(&refusal).contains("s3cr3t"), "{refusal}");
        }
        assert!(matches!(Keys::read(&dir.path().join("none")), Err(KeyError::File { .. })));
    }
}
