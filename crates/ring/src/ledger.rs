//! How many records went to each reader: exact, although the writer may die between any two stores.
//!
//! ```text
//!   ledger (double-buffered, one version)          descriptors
//!   counts of all records below `upto`      +      recount of upto..head      =  the truth at `head`
//! ```
//! Publishing stores no counter: the routing masks stand in the records. The writer keeps the sum in its own memory
//! and puts it in force every so often, always before the descriptors that it covers are used again. What a policy
//! dropped has no record, so each drop puts a new version in force at once.
//!
//! Counts belong to a reader *and* its joining (`since`): those of readers that are gone are added up as `bygone`.

use crate::layout::{LEDGER_WORDS, READERS};
use crate::maps::RegionMap;
use crate::position::{self, distance, is_before};
use crate::protocol;
use crate::record::{Record, bits};
use crate::topics::Table;

/// What a writer did for one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Account {
    /// Which joining of the entry is meant.
    pub(crate) since: u64,
    pub(crate) routed: u64,
    pub(crate) dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The version in force; only the writer goes on from it.
    version: u64,
    /// Counts all records below this position.
    pub(crate) upto: u64,
    pub(crate) accounts: Vec<Account>,
    pub(crate) bygone: Account,
}

impl Ledger {
    /// Nothing counted.
    pub(crate) fn empty() -> Self {
        Self::decode(0, &[])
    }

    fn decode(version: u64, words: &[u64]) -> Self {
        let word = |i: usize| words.get(i).copied().unwrap_or(0);
        let account = |r: usize| Account {
            routed: word(4 + r),
            dropped: word(4 + READERS + r),
            since: word(4 + 2 * READERS + r),
        };
        Self {
            version,
            upto: word(0),
            accounts: (0..READERS).map(account).collect(),
            bygone: Account { since: 0, routed: word(1), dropped: word(2) },
        }
    }

    fn encode(&self) -> [u64; LEDGER_WORDS] {
        let mut words = [0; LEDGER_WORDS];
        [words[0], words[1], words[2]] = [self.upto, self.bygone.routed, self.bygone.dropped];
        for (r, account) in self.accounts.iter().enumerate() {
            words[4 + r] = account.routed;
            words[4 + READERS + r] = account.dropped;
            words[4 + 2 * READERS + r] = account.since;
        }
        words
    }

    /// Puts this state in force.
    pub(crate) fn store(&mut self, region: &RegionMap) {
        self.version = self.version.wrapping_add(1);
        region.ledger().write(self.version, &self.encode());
    }

    /// The truth about a region, from its ledger and its records; `None`: the writer was faster, ask again.
    pub(crate) fn recount(region: &RegionMap, table: &Table) -> Option<Self> {
        let mut words = Vec::with_capacity(LEDGER_WORDS);
        let version = region.ledger().read(|_| LEDGER_WORDS, &mut words)?;
        let mut ledger = Self::decode(version, &words);
        let head = protocol::observe_head(&region.get().head.0);
        if distance(ledger.upto, head) > region.shape.places {
            return region.ledger().is_still(version).then_some(ledger);
        }
        for position in position::range(ledger.upto, head) {
            if let Some(record) = region.record(position) {
                ledger.recount_one(&record, table);
            }
        }
        ledger.upto = head;
        // The records were still those: the writer stores a new version before it reuses the first of their places.
        region.ledger().is_still(version).then_some(ledger)
    }

    fn recount_one(&mut self, record: &Record, table: &Table) {
        for r in bits(record.route.mask) {
            let since = table.entries[r].since;
            if record.route.leads_to(r, since) {
                increase(&mut self.account(r, since).routed, 1);
            } else if record.route.leads_to(r, self.accounts[r].since) && is_before(self.accounts[r].since, since) {
                increase(&mut self.accounts[r].routed, 1);
            } else {
                increase(&mut self.bygone.routed, 1);
            }
        }
    }

    /// One more record for each bit of `mask`, which `table` said.
    pub(crate) fn add_routed(&mut self, mask: u64, table: &Table) {
        for r in bits(mask) {
            increase(&mut self.account(r, table.entries[r].since).routed, 1);
        }
    }

    /// One more drop for each bit of `mask`, which `table` said.
    pub(crate) fn add_dropped(&mut self, mask: u64, table: &Table) {
        for r in bits(mask) {
            increase(&mut self.account(r, table.entries[r].since).dropped, 1);
        }
    }

    /// The account of the reader that joined entry `r` at `since`; a former reader's is closed.
    fn account(&mut self, r: usize, since: u64) -> &mut Account {
        let account = &mut self.accounts[r];
        if account.since != since {
            increase(&mut self.bygone.routed, account.routed);
            increase(&mut self.bygone.dropped, account.dropped);
            *account = Account { since, ..Account::default() };
        }
        account
    }
}

/// What stood in shared memory may be anything: a sum that wraps is wrong, but no panic.
fn increase(sum: &mut u64, by: u64) {
    *sum = sum.wrapping_add(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_comes_back_from_its_words() {
        let mut ledger = Ledger::empty();
        let mut table = Table::default();
        table.entries[5].since = 9;
        ledger.add_routed(1 << 5, &table);
        ledger.add_dropped(1 << 5 | 1, &table);
        ledger.upto = 77;

        assert_eq!(Ledger::decode(0, &ledger.encode()), ledger);
        assert_eq!(ledger.accounts[5], Account { since: 9, routed: 1, dropped: 1 });
    }

    #[test]
    fn a_former_readers_counts_are_bygone_not_lost() {
        let mut ledger = Ledger::empty();
        let mut table = Table::default();
        table.entries[0].since = 1;
        ledger.add_routed(1, &table);

        table.entries[0].since = 2;
        ledger.add_routed(1, &table);

        assert_eq!(ledger.accounts[0], Account { since: 2, routed: 1, dropped: 0 });
        assert_eq!(ledger.bygone.routed, 1);
    }
}
