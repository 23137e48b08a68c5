//! Breadth-first search over all states, with the trace of what went wrong.

use crate::state::{READERS, STORE, Scenario, State, Step, Steps, WRITERS};
use crate::{reader, supervisor, writer};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// How a search ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Exhausted { states: usize },
    CutOff { states: usize },
    Violated { states: usize, what: &'static str, trace: Vec<String> },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { states } => write!(f, "exhausted: {states} states, no violation"),
            Self::CutOff { states } => write!(f, "cut off after {states} states, no violation"),
            Self::Violated { states, what, trace } => {
                write!(f, "violated after {states} states: {what}\n    {}", trace.join("\n    "))
            }
        }
    }
}

/// Every state that can be reached, up to `most` of them.
pub(crate) fn explore(scenario: Scenario, most: usize) -> Outcome {
    let first = State::first(&scenario);
    let mut search = Search { parents: vec![(0, 0)], ..Search::default() };
    search.seen.insert(fingerprint(&first));
    search.frontier.push_back((first, 0));
    while let Some((state, index)) = search.frontier.pop_front() {
        let (steps, what) = look_around(&state, &scenario);
        if let Some(what) = what {
            return search.violated(&scenario, index, None, what);
        }
        for (number, step) in steps.into_iter().enumerate() {
            match step.outcome {
                Err(what) => return search.violated(&scenario, index, Some(step.label), what),
                Ok(next) => {
                    if let Some(what) = falls(&state, &next) {
                        return search.violated(&scenario, index, Some(step.label), what);
                    }
                    search.add(next, index, number);
                }
            }
        }
        if search.parents.len() >= most {
            return Outcome::CutOff { states: search.parents.len() };
        }
    }
    Outcome::Exhausted { states: search.parents.len() }
}

/// What can happen next, and what is wrong if the world is at rest.
fn look_around(state: &State, scenario: &Scenario) -> (Vec<Step>, Option<&'static str>) {
    let mut steps = Steps::default();
    for w in 0..WRITERS {
        writer::steps(state, w, scenario, &mut steps);
    }
    reader::store_steps(state, scenario, &mut steps);
    reader::monitor_steps(state, scenario, &mut steps);
    supervisor::steps(state, scenario, &mut steps);
    let what = if steps.0.is_empty() { wrong_at_rest(state, scenario) } else { None };
    supervisor::kills(state, &mut steps);
    (steps.0, what)
}

fn wrong_at_rest(state: &State, scenario: &Scenario) -> Option<&'static str> {
    for w in 0..WRITERS {
        let region = &state.regions[w];
        if state.ghost.sent[w] != scenario.messages {
            return Some("a writer is stuck");
        }
        if region.reclaimed != region.head || state.writers[w].pinned.contains(&true) {
            return Some("memory is not free at rest");
        }
        if (0..READERS).any(|r| state.cells[w][r].pin.is_some()) {
            return Some("a pin is left at rest");
        }
        let store = state.table.entries[STORE];
        for (position, committed) in state.ghost.committed[w].iter().enumerate() {
            let is_owed = store.active && committed.is_some_and(|c| c.owed_to == Some(store.owner));
            if is_owed && state.ghost.delivered[w] >> position & 1 == 0 {
                return Some("a committed record is lost");
            }
        }
    }
    None
}

/// Words that only rise.
fn falls(before: &State, after: &State) -> Option<&'static str> {
    for w in 0..WRITERS {
        let (was, is) = (&before.regions[w], &after.regions[w]);
        if is.head < was.head || is.reclaimed < was.reclaimed || is.reclaimed > is.head {
            return Some("head or reclaimed falls, or they cross");
        }
        if (0..READERS).any(|r| after.cells[w][r].acked < before.cells[w][r].acked) {
            return Some("acked falls");
        }
    }
    None
}

#[derive(Default)]
struct Search {
    seen: HashSet<u128, BuildHasherDefault<Folded>>,
    frontier: VecDeque<(State, usize)>,
    /// For each state the one that it came from, and by which of its steps.
    parents: Vec<(usize, usize)>,
}

impl Search {
    fn add(&mut self, state: State, parent: usize, step: usize) {
        if self.seen.insert(fingerprint(&state)) {
            self.frontier.push_back((state, self.parents.len()));
            self.parents.push((parent, step));
        }
    }

    /// Goes the way to `index` once more, to tell it.
    fn violated(&self, scenario: &Scenario, index: usize, last: Option<String>, what: &'static str) -> Outcome {
        let mut way = Vec::new();
        let mut at = index;
        while at != 0 {
            let (parent, step) = self.parents[at];
            way.push(step);
            at = parent;
        }
        let mut state = State::first(scenario);
        let mut trace = Vec::new();
        for step in way.into_iter().rev() {
            let taken = look_around(&state, scenario).0.swap_remove(step);
            trace.push(taken.label);
            state = taken.outcome.expect("the way leads through sound states");
        }
        trace.extend(last);
        Outcome::Violated { states: self.parents.len(), what, trace }
    }
}

/// 128 bits stand for a state: among 10^8 states two collide with a chance of 10^-22.
fn fingerprint(state: &State) -> u128 {
    let mut mixer = Mixer(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    state.hash(&mut mixer);
    mixer.0 ^ mixer.0 >> 67
}

/// FNV-1a of 128 bits, a word at a time.
struct Mixer(u128);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ u128::from(word)).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
        self.0 = mixed ^ mixed >> 71;
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        unreachable!("the fingerprint is all 128 bits")
    }
}

/// A fingerprint is its own hash.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed")
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = u64::try_from(number & u128::from(u64::MAX)).expect("masked to 64 bits");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
