//! Letters for nodes that take none just now: a burst is more than libzmq holds for one of them.
//!
//! Invariants: letters to one node stay in their order; they wait for [`PATIENCE`] at the most, and all together take
//! [`MOST_BYTES`]; nobody else waits for them.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::exchange::{Letter, PATIENCE};

/// Letters to one node.
const MOST: usize = 256;

/// All of them.
const MOST_BYTES: usize = 32 << 20;

/// What became of an attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The node takes none now.
    NotNow,
    /// There is no such node.
    Never,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    nodes: HashMap<String, VecDeque<(Instant, Letter)>>,
    bytes: usize,
}

impl Delayed {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Sends a letter, or keeps it for later.
    ///
    /// # Errors
    /// The letter, if neither is possible.
    pub(super) fn send(&mut self, letter: Letter, send: impl FnOnce(&Letter) -> Sent) -> Result<(), Letter> {
        if !self.nodes.contains_key(&letter.to) {
            match send(&letter) {
                Sent::Yes => return Ok(()),
                Sent::NotNow => {}
                Sent::Never => return Err(letter),
            }
        }
        let waiting = self.nodes.entry(letter.to.clone()).or_default();
        if waiting.len() >= MOST || self.bytes + letter.body.len() > MOST_BYTES {
            if waiting.is_empty() {
                self.nodes.remove(&letter.to);
            }
            return Err(letter);
        }
        self.bytes += letter.body.len();
        waiting.push_back((Instant::now(), letter));
        Ok(())
    }

    /// Sends what can be sent now: those that are given up.
    pub(super) fn send_again(&mut self, send: impl Fn(&Letter) -> Sent) -> Vec<Letter> {
        let (mut given_up, mut gone) = (Vec::new(), 0);
        self.nodes.retain(|_, waiting| {
            while let Some((since, letter)) = waiting.front() {
                let sent = if since.elapsed() >= PATIENCE { Sent::Never } else { send(letter) };
                if sent == Sent::NotNow {
                    return true;
                }
                let Some((_, letter)) = waiting.pop_front() else { break };
                gone += letter.body.len();
                if sent == Sent::Never {
                    given_up.push(letter);
                }
            }
            false
        });
        self.bytes -= gone;
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to: &str, number: u8) -> Letter {
        Letter { to: to.into(), body: vec![number], request: None }
    }

    #[test]
    fn letters_to_one_node_keep_their_order_and_others_pass_them_by() {
        let mut delayed = Delayed::default();
        assert!(delayed.send(letter("deaf", 1), |_| Sent::NotNow).is_ok());
        assert!(delayed.send(letter("deaf", 2), |_| panic!("it would come before the first")).is_ok());
        assert!(delayed.send(letter("good", 3), |_| Sent::Yes).is_ok());
        assert!(delayed.send(letter("gone", 4), |_| Sent::Never).is_err());

        assert!(delayed.send_again(|_| Sent::NotNow).is_empty() && !delayed.is_empty());
        let sent = std::cell::RefCell::new(Vec::new());
        let given_up = delayed.send_again(|letter| {
            sent.borrow_mut().push(letter.body[0]);
            Sent::Yes
        });

        assert!(given_up.is_empty() && delayed.is_empty());
        assert_eq!((sent.into_inner(), delayed.bytes), (vec![1, 2], 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut delayed = Delayed::default();
        let taken = (0..1000).take_while(|_| delayed.send(letter("deaf", 0), |_| Sent::NotNow).is_ok()).count();
        assert_eq!(taken, MOST);
        let large = Letter { to: "other".into(), body: vec![0; MOST_BYTES], request: None };
        assert!(delayed.send(large, |_| Sent::NotNow).is_err());

        assert_eq!(delayed.send_again(|_| Sent::Never).len(), MOST);
        assert!(delayed.is_empty() && delayed.bytes == 0);
    }
}
