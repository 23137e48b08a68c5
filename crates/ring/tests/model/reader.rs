//! The readers: the store, which walks and acknowledges, and the monitor, which picks and pins.

use crate::faults::Fault;
use crate::state::{Descriptor, MONITOR, MonitorAt, PLACES, STORE, Scenario, State, Steps, StoreAt, WRITERS};

/// So many deliveries of the store may be out.
const MOST_HELD: u32 = 2;

pub(crate) fn store_steps(state: &State, scenario: &Scenario, steps: &mut Steps) {
    if !state.store.alive {
        return;
    }
    match state.store.at {
        StoreAt::Idle => {
            for w in 0..WRITERS {
                read(state, w, steps);
                acknowledge(state, w, scenario, steps);
            }
        }
        StoreAt::Read { writer, descriptor } => check(state, usize::from(writer), descriptor, scenario, steps),
        StoreAt::Seen { writer, descriptor } => deliver(state, usize::from(writer), descriptor, scenario, steps),
    }
}

fn read(state: &State, w: usize, steps: &mut Steps) {
    let position = state.store.next[w];
    let held: u32 = state.store.held.iter().map(|held| held.count_ones()).sum();
    if position < state.regions[w].head && held < MOST_HELD {
        let mut next = *state;
        let descriptor = state.regions[w].descriptor(position);
        next.store.at = StoreAt::Read { writer: u8::try_from(w).expect("a small number"), descriptor };
        steps.add(format!("store reads the descriptor of W{w}#{position}"), next);
    }
}

fn check(state: &State, w: usize, descriptor: Descriptor, scenario: &Scenario, steps: &mut Steps) {
    let mut next = *state;
    let position = state.store.next[w];
    let reclaimed = state.regions[w].reclaimed;
    if reclaimed > position && !scenario.has(Fault::DescriptorUnchecked) {
        next.store.next[w] = reclaimed;
        next.store.at = StoreAt::Idle;
        move_front(&mut next, w);
        steps.add(format!("store goes on at W{w}#{reclaimed}"), next);
    } else if descriptor.is_for(STORE, state.table.entries[STORE], scenario) {
        next.cells[w][STORE].seen = position + 1;
        let writer = u8::try_from(w).expect("a small number");
        next.store.at = StoreAt::Seen { writer, descriptor };
        steps.add(format!("store notes that it has seen W{w}#{position}"), next);
    } else {
        next.store.next[w] += 1;
        next.store.at = StoreAt::Idle;
        move_front(&mut next, w);
        steps.add(format!("store passes W{w}#{position}"), next);
    }
}

fn deliver(state: &State, w: usize, descriptor: Descriptor, scenario: &Scenario, steps: &mut Steps) {
    let position = state.store.next[w];
    let label = format!("store is given W{w}#{position}");
    if !state.is_intact(w, position, descriptor.block) {
        return steps.violation(label, "a wrong byte is delivered");
    }
    if !state.is_wanted(STORE, w, position) {
        return steps.violation(label, "a foreign message is delivered");
    }
    let mut next = *state;
    next.store.next[w] += 1;
    next.store.held[w] |= 1 << position;
    next.store.at = StoreAt::Idle;
    next.ghost.delivered[w] |= 1 << position;
    if scenario.has(Fault::AckEarly) {
        next.cells[w][STORE].acked = position + 1;
        // It does not count as delivered before the job has done its work.
        next.ghost.delivered[w] &= !(1 << position);
    }
    steps.add(label, next);
}

fn acknowledge(state: &State, w: usize, scenario: &Scenario, steps: &mut Steps) {
    for position in (0..8u8).filter(|position| state.store.held[w] >> position & 1 == 1) {
        let label = format!("store acknowledges W{w}#{position}");
        let committed = state.ghost.committed[w][usize::from(position)].expect("it was delivered");
        if !state.is_intact(w, position, committed.block) {
            steps.violation(label, "a wrong byte appears under a view of the store");
            continue;
        }
        let mut next = *state;
        next.store.held[w] &= !(1 << position);
        next.ghost.delivered[w] |= 1 << position;
        if scenario.has(Fault::AckOverGap) {
            next.cells[w][STORE].acked = next.cells[w][STORE].acked.max(position + 1);
        } else {
            move_front(&mut next, w);
        }
        steps.add(label, next);
    }
}

/// The shared word rises with the unbroken front.
fn move_front(next: &mut State, w: usize) {
    let held = next.store.held[w];
    let front = if held == 0 { next.store.next[w] } else { u8::try_from(held.trailing_zeros()).expect("below 8") };
    next.cells[w][STORE].acked = next.cells[w][STORE].acked.max(front);
}

pub(crate) fn monitor_steps(state: &State, scenario: &Scenario, steps: &mut Steps) {
    if !state.monitor.alive {
        return;
    }
    match state.monitor.at {
        MonitorAt::Idle => (0..WRITERS).for_each(|w| pick(state, w, steps)),
        MonitorAt::Read { writer, position, descriptor } => {
            let mut next = *state;
            next.cells[usize::from(writer)][MONITOR].pin = Some(descriptor.block);
            next.monitor.at = MonitorAt::Pinned { writer, position, descriptor };
            steps.add(format!("monitor pins block {} for W{writer}#{position}", descriptor.block), next);
        }
        MonitorAt::Pinned { writer, position, descriptor } => {
            look(state, (writer, position), descriptor, scenario, steps);
        }
        MonitorAt::Holding { writer, position, block } => release(state, (writer, position), block, steps),
    }
}

/// Any record that is still there: the newest is one of them.
fn pick(state: &State, w: usize, steps: &mut Steps) {
    let head = state.regions[w].head;
    let oldest = head.saturating_sub(u8::try_from(PLACES).expect("a small number"));
    for position in state.monitor.next[w].max(oldest)..head {
        let mut next = *state;
        let descriptor = state.regions[w].descriptor(position);
        let writer = u8::try_from(w).expect("a small number");
        next.monitor.at = MonitorAt::Read { writer, position, descriptor };
        steps.add(format!("monitor reads the descriptor of W{w}#{position}"), next);
    }
}

fn look(state: &State, (writer, position): (u8, u8), descriptor: Descriptor, scenario: &Scenario, steps: &mut Steps) {
    let w = usize::from(writer);
    let mut next = *state;
    let is_late = state.regions[w].reclaimed > position && !scenario.has(Fault::PinUnchecked);
    if is_late || !descriptor.is_for(MONITOR, state.table.entries[MONITOR], scenario) {
        next.cells[w][MONITOR].pin = None;
        next.monitor.next[w] = position + 1;
        next.monitor.at = MonitorAt::Idle;
        return steps.add(format!("monitor lets W{w}#{position} go"), next);
    }
    let label = format!("monitor is given W{w}#{position}");
    if !state.is_intact(w, position, descriptor.block) {
        return steps.violation(label, "a wrong byte is delivered");
    }
    if !state.is_wanted(MONITOR, w, position) {
        return steps.violation(label, "a foreign message is delivered");
    }
    next.cells[w][MONITOR].seen = position + 1;
    next.monitor.next[w] = position + 1;
    next.monitor.at = MonitorAt::Holding { writer, position, block: descriptor.block };
    steps.add(label, next);
}

fn release(state: &State, (writer, position): (u8, u8), block: u8, steps: &mut Steps) {
    let label = format!("monitor unpins W{writer}#{position}");
    if !state.is_intact(usize::from(writer), position, block) {
        return steps.violation(label, "a wrong byte appears under a view of the monitor");
    }
    let mut next = *state;
    next.cells[usize::from(writer)][MONITOR].pin = None;
    next.monitor.at = MonitorAt::Idle;
    steps.add(label, next);
}

/// The successor of a dead reader, or the first process of a new owner.
pub(crate) fn restart(state: &State, reader: usize, scenario: &Scenario) -> State {
    let mut next = *state;
    for w in 0..WRITERS {
        if !scenario.has(Fault::PinsOfTheDead) {
            next.cells[w][reader].pin = None;
        }
        let cell = next.cells[w][reader];
        if reader == STORE {
            let begin = if scenario.has(Fault::SuccessorSkips) { state.regions[w].head } else { cell.acked };
            next.store.next[w] = begin.max(state.regions[w].reclaimed);
            next.store.held[w] = 0;
        } else {
            next.monitor.next[w] = cell.seen;
        }
    }
    if reader == STORE {
        (next.store.alive, next.store.at) = (true, StoreAt::Idle);
    } else {
        (next.monitor.alive, next.monitor.at) = (true, MonitorAt::Idle);
    }
    next
}
