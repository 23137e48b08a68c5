//! What waits for a slow thread: bounded in bytes, so that whoever hands in never waits and memory never grows.

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

    /// Hands in; `false` if there is no room for so many bytes, or if it is closed: the item is gone then.
    pub(crate) fn push(&self, item: T, bytes: usize) -> bool {
        let bytes = bytes + BYTES_AN_ITEM;
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.bytes + bytes > self.most_bytes {
            return false;
        }
        waiting.bytes += bytes;
        waiting.items.push_back((item, bytes));
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Takes the oldest, or waits for one.
    pub(crate) fn next(&self, at_most: Duration) -> Next<T> {
        let until = Instant::now() + at_most;
        let mut waiting = self.lock();
        loop {
            if let Some((item, bytes)) = waiting.items.pop_front() {
                waiting.bytes -= bytes;
                return Next::Item(item);
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
    fn what_has_no_room_is_refused_and_what_waits_comes_in_order() {
        let backlog = Backlog::of(3 * BYTES_AN_ITEM + 30);

        assert!(backlog.push('a', 10) && backlog.push('b', 10));
        assert!(!backlog.push('c', 20));
        assert!(backlog.push('d', 10));
        backlog.close();

        assert!(!backlog.push('e', 0));
        let found: Vec<_> = (0..4).map(|_| backlog.next(Duration::ZERO)).collect();
        assert_eq!(found, [Next::Item('a'), Next::Item('b'), Next::Item('d'), Next::End]);
    }

    #[test]
    fn a_wait_ends_without_an_item() {
        assert_eq!(Backlog::<()>::of(0).next(Duration::from_millis(1)), Next::Nothing);
    }
}
