//! The messages under way to the other end: sent in order, kept until they are acknowledged, sent again where some are
//! missing. Pure.
//!
//! ```text
//!   first ──────── sent, not acknowledged ──────── cursor ── to be sent ── next
//!     └ release(committed)          └ rewind(again_from)                      └ push
//! ```
//! Invariants: numbers rise by one; nothing leaves the window before it is acknowledged; what is in it has `limit` bytes
//! at most, or is one message alone.

use std::collections::VecDeque;

/// A message under way.
#[derive(Debug)]
pub(super) struct Item<H> {
    /// Envelope and payload.
    pub(super) bytes: u64,
    /// How it is kept until then.
    pub(super) held: H,
}

/// The messages under way.
#[derive(Debug)]
pub(super) struct Window<H> {
    items: VecDeque<Item<H>>,
    /// The number of the first.
    first: u64,
    /// So many have been sent.
    sent: usize,
    bytes: u64,
    limit: u64,
}

impl<H> Window<H> {
    pub(super) fn new(limit: u64) -> Self {
        Self { items: VecDeque::new(), first: 0, sent: 0, bytes: 0, limit }
    }

    /// Whether one message more may come in, whatever its size.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the oldest message that is not acknowledged.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that is sent next.
    pub(super) fn next_to_send(&self) -> u64 {
        self.first + self.sent as u64
    }

    /// A message more, to be sent.
    pub(super) fn push(&mut self, bytes: u64, held: H) {
        self.bytes += bytes;
        self.items.push_back(Item { bytes, held });
    }

    /// The next to be sent, and its number.
    pub(super) fn due(&self) -> Option<(u64, &Item<H>)> {
        self.items.get(self.sent).map(|item| (self.next_to_send(), item))
    }

    /// The one that was due is sent.
    pub(super) fn note_sent(&mut self) {
        self.sent = (self.sent + 1).min(self.items.len());
    }

    /// All below this number are committed at the other end; what nobody sent cannot be. Gives them, oldest first.
    pub(super) fn release(&mut self, committed: u64) -> impl Iterator<Item = Item<H>> + '_ {
        let count = usize::try_from(committed.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.sent);
        self.first += count as u64;
        self.sent -= count;
        let released = self.items.drain(..count);
        released.inspect(|item| self.bytes -= item.bytes)
    }

    /// From this number on all are to be sent once more; gives how many have been sent already.
    pub(super) fn rewind(&mut self, to: u64) -> u64 {
        let to = usize::try_from(to.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let again = self.sent.saturating_sub(to);
        self.sent -= again;
        again as u64
    }

    /// What is in it, oldest first.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item<H>> {
        self.items.iter()
    }

    /// What is in it, to be kept in another way.
    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = &mut Item<H>> {
        self.items.iter_mut()
    }

    /// What has not been sent, oldest first.
    pub(super) fn unsent(&self) -> impl Iterator<Item = &Item<H>> {
        self.items.iter().skip(self.sent)
    }

    /// Takes out some of what has not been sent; those behind it get its numbers.
    pub(super) fn take_unsent(&mut self, mut is_meant: impl FnMut(&Item<H>) -> bool) -> Vec<Item<H>> {
        let unsent = self.items.split_off(self.sent);
        let (taken, kept): (Vec<_>, Vec<_>) = unsent.into_iter().partition(|item| is_meant(item));
        self.items.extend(kept);
        self.bytes -= taken.iter().map(|item| item.bytes).sum::<u64>();
        taken
    }

    /// Gives up all that is in it: gives it. The numbers go on.
    pub(super) fn give_up(&mut self) -> Vec<Item<H>> {
        self.first += self.items.len() as u64;
        (self.sent, self.bytes) = (0, 0);
        std::mem::take(&mut self.items).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn send_all(window: &mut Window<u64>) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        while let Some((number, item)) = window.due() {
            sent.push((number, item.held));
            window.note_sent();
        }
        sent
    }

    #[test]
    fn what_is_missing_is_sent_again_under_its_number() {
        let mut window = Window::new(100);
        (10..14).for_each(|held| window.push(30, held));
        assert!(!window.has_room());
        assert_eq!(send_all(&mut window), [(0, 10), (1, 11), (2, 12), (3, 13)]);

        let released: Vec<_> = window.release(2).map(|item| item.held).collect();
        let again = window.rewind(3);

        assert_eq!((released, again, window.bytes()), (vec![10, 11], 1, 60));
        assert_eq!(send_all(&mut window), [(3, 13)]);
        assert_eq!(window.rewind(0), 2, "what is acknowledged is not sent again");
    }

    #[test]
    fn what_was_not_sent_cannot_be_acknowledged() {
        let mut window = Window::new(100);
        window.push(1, 10);
        window.push(1, 11);
        window.note_sent();

        let released: Vec<_> = window.release(u64::MAX).map(|item| item.held).collect();

        assert_eq!((released, window.first(), window.next_to_send()), (vec![10], 1, 1));
    }

    #[test]
    fn the_numbers_go_on_after_all_was_given_up() {
        let mut window = Window::new(100);
        window.push(1, 10);
        window.note_sent();
        assert_eq!(window.give_up().len(), 1);

        window.push(1, 11);

        assert_eq!((send_all(&mut window), window.bytes()), (vec![(1, 11)], 1));
    }

    proptest! {
        /// A receiver that takes the next number only, over a link that loses what it likes, gets all, once each.
        #[test]
        fn everything_arrives_in_order(losses in proptest::collection::vec(any::<bool>(), 0..200)) {
            let (mut window, mut expected, mut taken, mut made) = (Window::new(10), 0, Vec::new(), 0);
            let mut losses = losses.into_iter();
            for _ in 0..400 {
                while window.has_room() && made < 40 {
                    window.push(3, made);
                    made += 1;
                }
                for (number, held) in send_all(&mut window) {
                    if !losses.next().unwrap_or(false) && number == expected {
                        taken.push(held);
                        expected += 1;
                    }
                }
                window.release(expected).for_each(drop);
                window.rewind(expected);
            }
            prop_assert_eq!(taken, (0..40).collect::<Vec<u64>>());
            prop_assert_eq!((window.is_empty(), window.bytes()), (true, 0));
        }
    }
}
