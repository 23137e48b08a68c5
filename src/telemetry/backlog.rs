//! What waits for a slow thread: bounded in bytes, so that whoever hands in never waits and memory never grows. The newest
//! is what stays: what was said last is what one needs most.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an item takes besides its own bytes.
const BYTES_AN_ITEM: usize = 256;

/// Items in the order in which they came.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    waiting: Mutex<Waiting<T>>,
    news: Condvar,
    most_bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    is_closed: bool,
}

/// What a wait for an item came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// The oldest item.
    Item(T),
    /// None came in time.
    Nothing,
    /// None comes any more.
    End,
}

impl<T> Backlog<T> {
    /// An empty one for so many bytes.
    pub(crate) fn of(most_bytes: usize) -> Self {
        let waiting = Waiting { items: VecDeque::new(), bytes: 0, is_closed: false };
        Self { waiting: Mutex::new(waiting), news: Condvar::new(), most_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in. Where there is no room, what has waited longest makes it: `evict` gets each such item before anybody takes
    /// another one. `false` if it is closed: the item is gone then.
    pub(crate) fn push(&self, item: T, bytes: usize, mut evict: impl FnMut(T)) -> bool {
        let bytes = bytes + BYTES_AN_ITEM;
        let mut waiting = self.lock();
        if waiting.is_closed {
            return false;
        }
        while waiting.bytes + bytes > self.most_bytes
            && let Some((oldest, freed)) = waiting.items.pop_front()
        {
            waiting.bytes -= freed;
            evict(oldest);
        }
        waiting.bytes += bytes;
        waiting.items.push_back((item, bytes));
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Takes the oldest, or waits for one. `take` sees it before anything else is evicted.
    pub(crate) fn next<U>(&self, at_most: Duration, take: impl FnOnce(T) -> U) -> Next<U> {
        let until = Instant::now() + at_most;
        let mut waiting = self.lock();
        loop {
            if let Some((item, bytes)) = waiting.items.pop_front() {
                waiting.bytes -= bytes;
                return Next::Item(take(item));
            }
            if waiting.is_closed {
                return Next::End;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            waiting = self.news.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes no more; what waits is still given out.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_waited_longest_makes_room_and_the_rest_comes_in_order() {
        let backlog = Backlog::of(3 * BYTES_AN_ITEM + 30);
        let mut evicted = Vec::new();
        for (item, bytes) in [('a', 10), ('b', 10), ('c', 10), ('d', 20)] {
            assert!(backlog.push(item, bytes, |item| evicted.push(item)));
        }
        backlog.close();

        assert!(!backlog.push('e', 0, |_| unreachable!("it takes no more")));
        assert_eq!(evicted, ['a', 'b']);
        let found: Vec<_> = (0..3).map(|_| backlog.next(Duration::ZERO, |item| item)).collect();
        assert_eq!(found, [Next::Item('c'), Next::Item('d'), Next::End]);
    }

    #[test]
    fn what_is_larger_than_all_room_comes_alone() {
        let backlog = Backlog::of(0);
        let mut evicted = Vec::new();
        for item in ['a', 'b'] {
            assert!(backlog.push(item, 1, |item| evicted.push(item)));
        }

        assert_eq!(evicted, ['a']);
        assert_eq!(backlog.next(Duration::ZERO, |item| item), Next::Item('b'));
    }

    #[test]
    fn a_wait_ends_without_an_item() {
        assert_eq!(Backlog::<()>::of(0).next(Duration::from_millis(1), |()| ()), Next::Nothing);
    }
}
