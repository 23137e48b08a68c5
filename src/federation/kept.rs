//! What a node remembers of its links: what the other end wants, so that nothing that it is to have is passed over before
//! it has said so again.
//!
//! ```text
//!   <state_dir>/federation/hub/link.json                     of a leaf: what the hub wants
//!                              spool/                        what it has not acknowledged (`store::spool`)
//!                          leaves/<hash of its id>/…         of a hub: the same for each leaf
//! ```
//! Invariant: a file is replaced as a whole, so that a crash of the program leaves the old or the new one. Nobody waits for
//! the disk here: who says hello often is not to hold up the others.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::interest::Interest;
use crate::os::short_hash;

const FILE: &str = "link.json";

/// What is remembered of one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Under which its places in the ring are made.
    pub(super) key: String,
    /// What the other end wanted last.
    pub(super) interest: Interest,
}

/// Where the link to the hub keeps what must survive.
pub(super) fn dir_of_hub(state_dir: &Path) -> PathBuf {
    state_dir.join("federation").join("hub")
}

/// Where the link to a leaf does.
pub(super) fn dir_of_leaf(state_dir: &Path, leaf: &str) -> PathBuf {
    leaves(state_dir).join(short_hash(leaf))
}

fn leaves(state_dir: &Path) -> PathBuf {
    state_dir.join("federation").join("leaves")
}

/// What the hub wanted last, if it has ever said so.
pub(super) fn read_hub(state_dir: &Path) -> Option<Kept> {
    read(&dir_of_hub(state_dir))
}

/// What the leaves wanted last; of those that are `known`.
pub(super) fn read_leaves(state_dir: &Path, known: impl Fn(&str) -> bool) -> Vec<Kept> {
    let Ok(entries) = fs::read_dir(leaves(state_dir)) else { return Vec::new() };
    let all = entries.flatten().filter_map(|entry| read(&entry.path()));
    let mut kept: Vec<_> = all.filter(|kept| known(&kept.key)).collect();
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    kept
}

/// What cannot be read is told, and left.
fn read(dir: &Path) -> Option<Kept> {
    let path = dir.join(FILE);
    let decoded = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    match decoded {
        Ok(Kept { key, interest }) => Some(Kept { key, interest: interest.checked() }),
        Err(error) => {
            tracing::warn!("cannot read what is remembered of a link, {}: {error}", path.display());
            None
        }
    }
}

/// Remembers.
///
/// # Errors
/// The system's: what was remembered before stays.
pub(super) fn write(dir: &Path, kept: &Kept) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = dir.join("link.json.new");
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    fs::rename(new, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_remembered_and_what_is_damaged_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        let mut interest = Interest::default();
        interest.add("store.A", true);
        let [a, b, stranger] =
            ["leaf-b", "leaf-a", "leaf-x"].map(|key| Kept { key: key.into(), interest: interest.clone() });
        for kept in [&a, &b, &b, &stranger] {
            write(&dir_of_leaf(state.path(), &kept.key), kept).unwrap();
        }
        let damaged = dir_of_leaf(state.path(), "c");
        fs::create_dir_all(&damaged).unwrap();
        fs::write(damaged.join(FILE), "{").unwrap();

        assert_eq!(read_leaves(state.path(), |leaf| leaf != "leaf-x"), [b, a]);
        assert_eq!(read_leaves(&state.path().join("none"), |_| true), []);
        assert_eq!(read_hub(state.path()), None);
    }
}
