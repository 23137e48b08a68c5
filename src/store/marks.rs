//! Which messages a backend has.

use crate::message::MessageId;

/// Epochs that are remembered: those of the writers whose messages came last.
const MOST: usize = 1024;

/// Of each epoch, the number up to which all its messages are stored or refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Epoch and number; the one that rose last stands last.
    of: Vec<(u64, u64)>,
}

impl Marks {
    /// Whether a message is stored.
    #[must_use]
    pub fn has(&self, id: MessageId) -> bool {
        self.of.iter().rev().find(|(epoch, _)| *epoch == id.epoch).is_some_and(|(_, seq)| id.seq <= *seq)
    }

    /// A message, and so all before it of its epoch, is stored from now on; one that was stored already changes nothing.
    pub fn raise(&mut self, id: MessageId) {
        match self.of.iter().rposition(|(epoch, _)| *epoch == id.epoch) {
            Some(at) if self.of[at].1 >= id.seq => {}
            Some(at) => {
                self.of[at].1 = id.seq;
                self.of[at..].rotate_left(1);
            }
            None => {
                if self.of.len() >= MOST {
                    self.of.remove(0);
                }
                self.of.push((id.epoch, id.seq));
            }
        }
    }

    /// Epoch and number; the one that rose last comes last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = MessageId> + '_ {
        self.of.iter().map(|&(epoch, seq)| MessageId { epoch, seq })
    }

    /// How many messages are stored by this and by none of the others; at most, since an epoch of which the others know
    /// nothing may have begun earlier.
    pub(super) fn beyond(&self, others: [&Self; 2]) -> u64 {
        let next = |marks: &Self, epoch| marks.iter().find(|id| id.epoch == epoch).map_or(0, |id| id.seq + 1);
        let known = |epoch| others.map(|marks| next(marks, epoch)).into_iter().max().unwrap_or_default();
        self.iter().map(|id| (id.seq + 1).saturating_sub(known(id.epoch))).sum()
    }

    /// Those that stand higher here than there.
    pub fn since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = MessageId> + 'a {
        self.iter().filter(|id| !earlier.has(*id))
    }
}

impl FromIterator<MessageId> for Marks {
    fn from_iter<I: IntoIterator<Item = MessageId>>(ids: I) -> Self {
        let mut marks = Self::default();
        ids.into_iter().for_each(|id| marks.raise(id));
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u64, seq: u64) -> MessageId {
        MessageId { epoch, seq }
    }

    #[test]
    fn what_is_beyond_others_is_counted() {
        let marks: Marks = [id(1, 5), id(2, 9), id(3, 4)].into_iter().collect();
        let others = [[id(1, 3), id(2, 9)].into_iter().collect(), [id(1, 4), id(2, 0)].into_iter().collect()];

        assert_eq!(marks.beyond(others.each_ref()), 1 + 5);
        assert_eq!(others[0].beyond([&marks, &others[1]]), 0);
    }

    #[test]
    fn a_message_is_stored_when_it_or_a_later_one_of_its_epoch_is() {
        let marks: Marks = [id(1, 5), id(2, 0), id(1, 3)].into_iter().collect();

        let asked = [id(1, 5), id(1, 0), id(1, 6), id(2, 0), id(2, 1), id(3, 0)];

        assert_eq!(asked.map(|id| marks.has(id)), [true, true, false, true, false, false]);
    }

    #[test]
    fn what_rose_last_stands_last_and_the_oldest_is_forgotten_first() {
        let mut marks: Marks = (0..1024).map(|epoch| id(epoch, 0)).collect();
        marks.raise(id(0, 1));
        marks.raise(id(5000, 0));

        assert!(marks.has(id(0, 1)) && !marks.has(id(1, 0)) && marks.has(id(2, 0)));
        assert_eq!(marks.iter().next_back(), Some(id(5000, 0)));
        assert_eq!(marks.iter().count(), MOST);
    }

    #[test]
    fn what_has_risen_is_known() {
        let earlier: Marks = [id(1, 5), id(2, 7)].into_iter().collect();
        let later: Marks = [id(2, 7), id(1, 6), id(3, 0)].into_iter().collect();

        assert_eq!(later.since(&earlier).collect::<Vec<_>>(), [id(1, 6), id(3, 0)]);
    }
}
