//! Places for what is under way: so many in all, and so many for one who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In all.
const MOST: usize = 64;

/// Of one who asks.
const MOST_OF_ONE: usize = 16;

/// All of them; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<String, usize>>>);

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Places,
    name: String,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one, if there is one left for him; a single one who asks may have all where `is_alone`.
    pub(super) fn take(&self, name: &str, is_alone: bool) -> Option<Place> {
        let mut taken = self.taken();
        let his = taken.get(name).copied().unwrap_or(0);
        let most = if is_alone { MOST } else { MOST_OF_ONE };
        if his >= most || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(name.to_owned(), his + 1);
        Some(Place { of: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(his) = taken.get_mut(&self.name) {
            *his -= 1;
            if *his == 0 {
                taken.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_asks_cannot_take_all_places() {
        let places = Places::default();
        let mut held: Vec<_> = std::iter::from_fn(|| places.take("a", false)).collect();
        assert_eq!(held.len(), MOST_OF_ONE);

        for name in ["b", "c", "d", "e"] {
            held.extend(std::iter::from_fn(|| places.take(name, false)));
        }

        assert_eq!(held.len(), MOST);
        held.pop();
        assert!(places.take("f", false).is_some());
        held.clear();
        assert!(places.taken().is_empty(), "nothing is left of those who have gone");
        assert_eq!(
            std::iter::from_fn(|| places.take("server", true))
                .fold(Vec::new(), |mut all, one| {
                    all.push(one);
                    all
                })
                .len(),
            MOST
        );
    }
}
