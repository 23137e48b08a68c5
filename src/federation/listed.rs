//! Whose keys a hub knows. By its key a leaf is known, whatever it says it is called.
//!
//! Invariant: the list counts for each word, and not only when somebody connects; so whoever is taken off it is out at once,
//! and so is the old key of one that has a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bus::{Guests, KeyError, read_key};

/// The leaf of each key, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed(HashMap<String, String>);

/// The list that is to count from now on, until the hub has taken it.
pub(super) type NewList = Arc<Mutex<Option<Listed>>>;

/// Who says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speaker {
    /// There are no keys.
    Anybody,
    /// Its key is listed for this leaf.
    Leaf(String),
    /// This key was listed when it connected.
    Unlisted(String),
}

impl Speaker {
    /// Whether it may speak for that leaf.
    pub(super) fn may_be(&self, leaf: &str) -> bool {
        match self {
            Self::Anybody => true,
            Self::Leaf(own) => own == leaf,
            Self::Unlisted(_) => false,
        }
    }
}

/// What a new list changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Relisted {
    pub(super) new: Vec<String>,
    pub(super) gone: Vec<String>,
    /// Known by another key.
    pub(super) rekeyed: Vec<String>,
}

impl Listed {
    /// From the key of each leaf.
    pub(super) fn of(clients: &BTreeMap<String, String>) -> Self {
        Self(clients.iter().map(|(leaf, key)| (key.clone(), leaf.clone())).collect())
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &String> {
        self.0.values()
    }

    fn key_of(&self, leaf: &str) -> Option<&str> {
        self.0.iter().find(|(_, of)| *of == leaf).map(|(key, _)| key.as_str())
    }

    /// For the gate: what comes in carries the key itself.
    ///
    /// # Errors
    /// [`KeyError::NoKey`].
    pub(super) fn guests(&self) -> Result<Guests, KeyError> {
        self.0.keys().map(|key| Ok((read_key(key)?, key.clone()))).collect()
    }

    /// Whose key it is.
    pub(super) fn speaker(&self, key: &str) -> Speaker {
        self.0.get(key).map_or_else(|| Speaker::Unlisted(key.into()), |leaf| Speaker::Leaf(leaf.clone()))
    }

    /// What this list changes of one before.
    pub(super) fn since(&self, before: &Self) -> Relisted {
        let mut relisted = Relisted::default();
        for leaf in self.leaves() {
            match before.key_of(leaf) {
                None => relisted.new.push(leaf.clone()),
                key if key != self.key_of(leaf) => relisted.rekeyed.push(leaf.clone()),
                _ => {}
            }
        }
        relisted.gone.extend(before.leaves().filter(|leaf| self.key_of(leaf).is_none()).cloned());
        relisted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(leaves: &[(&str, &str)]) -> Listed {
        Listed::of(&leaves.iter().map(|(leaf, key)| ((*leaf).into(), (*key).into())).collect())
    }

    #[test]
    fn a_leaf_is_known_by_its_key_alone() {
        let listed = listed(&[("a", "K1"), ("K3", "K2")]);

        assert_eq!(listed.speaker("K1"), Speaker::Leaf("a".into()));
        assert_eq!(listed.speaker("K2"), Speaker::Leaf("K3".into()));
        assert_eq!(listed.speaker("K3"), Speaker::Unlisted("K3".into()), "a name is no key");
    }

    #[test]
    fn a_new_list_lets_in_shuts_out_and_takes_new_keys() {
        let before = listed(&[("a", "K1"), ("b", "K2"), ("c", "K3")]);

        let after = listed(&[("a", "K1"), ("b", "K4"), ("d", "K3")]);

        let expected = Relisted { new: vec!["d".into()], gone: vec!["c".into()], rekeyed: vec!["b".into()] };
        assert_eq!(after.since(&before), expected);
        assert_eq!(after.since(&after), Relisted::default());
    }
}
