//! The ring's protocol as a state machine, explored breadth-first with kills at every step.
//!
//! ```text
//!   2 writers ── 2 places, 3 blocks each ── store (lossless) and monitor (latest) ── supervisor
//! ```
//! One step is one access to shared memory (a descriptor is written word by word). Any process may die between two
//! steps; the supervisor restarts, removes, and gives the entry to somebody else. Checked at every step: no wrong byte
//! is delivered or appears under a view that is held, no foreign or out-of-order message, no shared word falls. At
//! rest: nothing lost, nobody stuck, all memory free.
//!
//! Memory is sequentially consistent here (orderings are loom's business), and nobody sleeps. A run says whether it
//! was exhausted or cut off; `ENRGDAQ_RING_MODEL_STATES=20000000` makes it longer. Each planted fault must be found.

#[cfg(test)]
mod checker;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod state;
#[cfg(test)]
mod supervisor;
#[cfg(test)]
mod writer;

#[cfg(test)]
mod tests {
    use crate::checker::{Outcome, explore};
    use crate::faults::Fault;
    use crate::state::Scenario;

    const ONE_WRITER: Scenario = Scenario {
        writers: 1,
        messages: 3,
        kills: 1,
        supervisor_kills: 0,
        removals: 0,
        joins: 0,
        has_monitor: true,
        fault: None,
    };
    const REUSE: Scenario = Scenario { removals: 1, joins: 1, has_monitor: false, ..ONE_WRITER };
    const ALL: Scenario = Scenario { writers: 2, kills: 2, supervisor_kills: 1, removals: 1, joins: 1, ..ONE_WRITER };

    fn budget(default: usize) -> usize {
        std::env::var("ENRGDAQ_RING_MODEL_STATES").map_or(default, |text| text.parse().expect("a number of states"))
    }

    fn finds_nothing(scenario: Scenario, states: usize) {
        let outcome = explore(scenario, budget(states));
        println!("{scenario:?}: {outcome}");
        assert!(!matches!(outcome, Outcome::Violated { .. }), "{outcome}");
    }

    #[test]
    fn one_writer_and_a_kill_anywhere() {
        finds_nothing(Scenario { messages: 2, ..ONE_WRITER }, 400_000);
        finds_nothing(ONE_WRITER, 800_000);
    }

    #[test]
    fn removal_and_reuse_of_an_entry_and_the_supervisors_death() {
        finds_nothing(Scenario { messages: 2, ..REUSE }, 400_000);
        finds_nothing(Scenario { supervisor_kills: 1, ..REUSE }, 100_000);
    }

    #[test]
    fn two_writers_two_readers_and_kills_of_everyone() {
        finds_nothing(ALL, 200_000);
    }

    #[test]
    fn every_planted_fault_is_found() {
        let two_messages = Scenario { messages: 2, ..ONE_WRITER };
        let removal = Scenario { messages: 2, joins: 0, ..REUSE };
        let both_readers = Scenario { messages: 2, has_monitor: true, ..REUSE };
        for fault in Fault::ALL {
            let found = [two_messages, removal, REUSE, both_readers].iter().find_map(|&scenario| {
                let outcome = explore(Scenario { fault: Some(fault), ..scenario }, 400_000);
                matches!(outcome, Outcome::Violated { .. }).then_some(outcome)
            });
            let found = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
            println!("{fault:?}: {found}");
        }
    }
}
