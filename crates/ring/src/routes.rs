//! A writer's view of the topic table: reloaded when its version moves, with the masks of recent topic sets.

use crate::maps::ControlMap;
use crate::topics::{MaskCache, Policy, Table};

#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) table: Table,
    /// Bits of the active lossless readers.
    pub(crate) lossless: u64,
    /// Bits of the active lossy readers.
    pub(crate) latest: u64,
    cache: MaskCache,
}

impl Routes {
    pub(crate) fn load(control: &ControlMap) -> Self {
        let mut routes = Self { table: Table::default(), lossless: 0, latest: 0, cache: MaskCache::new() };
        routes.reload(control);
        routes
    }

    /// Follows the table; `true` if it had moved.
    #[inline]
    pub(crate) fn refresh(&mut self, control: &ControlMap) -> bool {
        let is_old = control.get().table_version.0.observe() != self.table.version;
        if is_old {
            self.reload(control);
        }
        is_old
    }

    #[cold]
    fn reload(&mut self, control: &ControlMap) {
        self.table = Table::load(control);
        self.lossless = self.table.mask_of(|entry| entry.policy == Some(Policy::Lossless));
        self.latest = self.table.mask_of(|entry| entry.policy == Some(Policy::Latest));
        self.cache.clear();
    }

    /// Who gets a message with these topics.
    pub(crate) fn mask<T: AsRef<str>>(&mut self, topics: &[T]) -> u64 {
        self.cache.mask(topics, &self.table)
    }
}
