//! The supervisor: restarts the dead, removes, gives entries to others; and death itself, which may strike anyone.

use crate::faults::Fault;
use crate::reader;
use crate::state::{READERS, STORE, Scenario, State, Steps, SupervisorAt, WRITERS};
use crate::writer;

pub(crate) fn steps(state: &State, scenario: &Scenario, steps: &mut Steps) {
    match state.supervisor {
        SupervisorAt::Joining { reader, done } => join(state, usize::from(reader), done, scenario, steps),
        SupervisorAt::Idle => {
            for w in (0..WRITERS).filter(|&w| !state.writers[w].alive) {
                steps.add(format!("supervisor restarts W{w}"), writer::restart(state, w, scenario));
            }
            for r in (0..READERS).filter(|&r| r == STORE || scenario.has_monitor) {
                look_after(state, r, scenario, steps);
            }
        }
    }
}

fn look_after(state: &State, r: usize, scenario: &Scenario, steps: &mut Steps) {
    let is_alive = if r == STORE { state.store.alive } else { state.monitor.alive };
    let is_active = state.table.entries[r].active;
    let is_removable = !is_alive || scenario.has(Fault::RemovedAlive);
    if is_active && is_removable && state.ghost.removals > 0 {
        let mut next = *state;
        next.ghost.removals -= 1;
        next.table.entries[r].active = false;
        next.table.version += 1;
        if !scenario.has(Fault::PinsOfTheDead) && !is_alive {
            (0..WRITERS).for_each(|w| next.cells[w][r].pin = None);
        }
        steps.add(format!("supervisor removes reader {r}"), next);
    }
    if is_active && !is_alive {
        steps.add(format!("supervisor restarts reader {r}"), reader::restart(state, r, scenario));
    }
    if !is_active && !is_alive && state.ghost.joins > 0 {
        let mut next = *state;
        if scenario.has(Fault::ActiveEarly) {
            activate(&mut next, r);
        }
        next.supervisor = SupervisorAt::Joining { reader: u8::try_from(r).expect("a small number"), done: 0 };
        steps.add(format!("supervisor gives entry {r} to another"), next);
    }
}

/// One more cell, or after the last the table.
fn join(state: &State, r: usize, done: u8, scenario: &Scenario, steps: &mut Steps) {
    let mut next = *state;
    let w = usize::from(done);
    if w < WRITERS {
        let cell = &mut next.cells[w][r];
        (cell.acked, cell.seen, cell.pin) = (state.regions[w].head, state.regions[w].head, None);
        next.supervisor = SupervisorAt::Joining { reader: u8::try_from(r).expect("a small number"), done: done + 1 };
        steps.add(format!("supervisor sets the cell of reader {r} for W{w}"), next);
    } else {
        if !scenario.has(Fault::ActiveEarly) {
            activate(&mut next, r);
        }
        next.supervisor = SupervisorAt::Idle;
        let mut next = reader::restart(&next, r, scenario);
        next.ghost.joins -= 1;
        steps.add(format!("supervisor activates and starts reader {r}"), next);
    }
}

fn activate(next: &mut State, r: usize) {
    next.table.version += 1;
    let entry = &mut next.table.entries[r];
    (entry.active, entry.since) = (true, next.table.version);
    entry.owner += 1;
    if r == STORE {
        next.ghost.delivered = [0; WRITERS];
    }
}

/// Who may die now.
pub(crate) fn kills(state: &State, steps: &mut Steps) {
    if state.ghost.kills > 0 {
        let mut killed = *state;
        killed.ghost.kills -= 1;
        for w in (0..WRITERS).filter(|&w| state.writers[w].alive) {
            let mut next = killed;
            next.writers[w].alive = false;
            steps.add(format!("W{w} dies"), next);
        }
        if state.store.alive {
            let mut next = killed;
            next.store.alive = false;
            steps.add("store dies", next);
        }
        if state.monitor.alive {
            let mut next = killed;
            next.monitor.alive = false;
            steps.add("monitor dies", next);
        }
    }
    if state.ghost.supervisor_kills > 0 {
        let mut next = *state;
        next.ghost.supervisor_kills -= 1;
        next.supervisor = SupervisorAt::Idle;
        steps.add("supervisor dies, its jobs go on", next);
        next.writers.iter_mut().for_each(|writer| writer.alive = false);
        (next.store.alive, next.monitor.alive) = (false, false);
        steps.add("supervisor dies with all its jobs", next);
    }
}
