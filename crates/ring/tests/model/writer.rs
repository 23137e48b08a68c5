//! A writer: route, take a block, fill, describe, commit; reclaim in between.

use crate::faults::Fault;
use crate::state::{BLOCKS, Bytes, Committed, MONITOR, PLACES, READERS, STORE, Scenario, State, Steps, WriterAt};

/// What the writer can do next.
pub(crate) fn steps(state: &State, w: usize, scenario: &Scenario, steps: &mut Steps) {
    let writer = state.writers[w];
    if !writer.alive {
        return;
    }
    match writer.at {
        WriterAt::Idle => begin(state, w, scenario, steps),
        WriterAt::Routed => {
            take_block(state, w, scenario, steps);
            reclaim(state, w, scenario, steps);
        }
        WriterAt::Reclaimed { block } => look_at_pins(state, w, block, scenario, steps),
        WriterAt::Filling { block } => fill(state, w, block, steps),
        WriterAt::Describing { block, steps: done } => describe(state, w, (block, done), scenario, steps),
    }
    sweep(state, w, steps);
}

fn begin(state: &State, w: usize, scenario: &Scenario, steps: &mut Steps) {
    let message = state.ghost.sent[w];
    let mut next = *state;
    if !scenario.has(Fault::TableStale) {
        next.writers[w].table = state.table;
    }
    if message == scenario.messages {
        // Done: only reclaims, with the table in force.
        if next != *state {
            steps.add(format!("W{w} looks at the table"), next);
        }
        return reclaim(state, w, scenario, steps);
    }
    let store = state.table.entries[STORE];
    next.ghost.owed_to[w] = (store.active && store.wants(message)).then_some(store.owner);
    next.writers[w].mask = next.writers[w].table.mask(message);
    if next.writers[w].mask == 0 {
        next.ghost.sent[w] += 1;
        steps.add(format!("W{w} message {message} unrouted"), next);
    } else {
        next.writers[w].at = WriterAt::Routed;
        steps.add(format!("W{w} routes message {message} to {:02b}", next.writers[w].mask), next);
    }
}

fn take_block(state: &State, w: usize, scenario: &Scenario, steps: &mut Steps) {
    let (region, writer) = (&state.regions[w], &state.writers[w]);
    if usize::from(region.head - region.reclaimed) >= PLACES && !scenario.has(Fault::ReuseUnannounced) {
        return;
    }
    for block in 0..BLOCKS {
        let name = u8::try_from(block).expect("a small number");
        let newest = region.head.checked_sub(1).map(|position| region.descriptor(position).block);
        let is_taken = if scenario.has(Fault::ReuseUnannounced) { newest == Some(name) } else { region.is_live(name) };
        if !is_taken && !writer.pinned[block] {
            let mut next = *state;
            next.regions[w].blocks[block] = Bytes::Torn;
            next.writers[w].at = WriterAt::Filling { block: name };
            steps.add(format!("W{w} begins to fill block {block}"), next);
        }
    }
}

fn reclaim(state: &State, w: usize, scenario: &Scenario, steps: &mut Steps) {
    let (region, writer) = (&state.regions[w], &state.writers[w]);
    let position = region.reclaimed;
    if position == region.head {
        return;
    }
    let descriptor = region.descriptor(position);
    let entry = writer.table.entries[STORE];
    let holds = (entry.active || scenario.has(Fault::RemovedStillHolds)) && descriptor.is_for(STORE, entry, scenario);
    if !holds || state.cells[w][STORE].acked > position || scenario.has(Fault::ReuseUnacknowledged) {
        let mut next = *state;
        next.regions[w].reclaimed += 1;
        next.writers[w].at = WriterAt::Reclaimed { block: descriptor.block };
        steps.add(format!("W{w} reclaims #{position}"), next);
    } else if writer.table != state.table && writer.at == WriterAt::Routed {
        let mut next = *state;
        next.writers[w].at = WriterAt::Idle;
        steps.add(format!("W{w} looks at the table while it waits"), next);
    }
}

fn look_at_pins(state: &State, w: usize, block: u8, scenario: &Scenario, steps: &mut Steps) {
    let mut next = *state;
    next.writers[w].pinned[usize::from(block)] = is_pinned(state, w, block) && !scenario.has(Fault::IgnorePins);
    let is_done = state.ghost.sent[w] == scenario.messages;
    next.writers[w].at = if is_done { WriterAt::Idle } else { WriterAt::Routed };
    steps.add(format!("W{w} looks at the pins of block {block}"), next);
}

fn is_pinned(state: &State, w: usize, block: u8) -> bool {
    (0..READERS).any(|r| state.cells[w][r].pin == Some(block))
}

fn sweep(state: &State, w: usize, steps: &mut Steps) {
    for block in 0..BLOCKS {
        let name = u8::try_from(block).expect("a small number");
        if state.writers[w].pinned[block] && !is_pinned(state, w, name) {
            let mut next = *state;
            next.writers[w].pinned[block] = false;
            steps.add(format!("W{w} frees block {block}"), next);
        }
    }
}

fn fill(state: &State, w: usize, block: u8, steps: &mut Steps) {
    let mut next = *state;
    next.regions[w].blocks[usize::from(block)] = Bytes::Of { message: state.ghost.sent[w], life: state.ghost.lives[w] };
    next.writers[w].at = WriterAt::Describing { block, steps: 0 };
    steps.add(format!("W{w} has filled block {block}"), next);
}

/// One store of descriptor or commit.
fn describe(state: &State, w: usize, (block, done): (u8, u8), scenario: &Scenario, steps: &mut Steps) {
    #[derive(Debug, Clone, Copy)]
    enum Word {
        Position,
        Block,
        Mask,
        Head,
    }
    let order = if scenario.has(Fault::CommitEarly) {
        [Word::Position, Word::Block, Word::Head, Word::Mask]
    } else {
        [Word::Position, Word::Block, Word::Mask, Word::Head]
    };
    let word = order[usize::from(done)];
    let is_last = usize::from(done) + 1 == order.len();
    let mut next = *state;
    let position =
        if is_last && scenario.has(Fault::CommitEarly) { state.regions[w].head - 1 } else { state.regions[w].head };
    let place = &mut next.regions[w].places[usize::from(position) % PLACES];
    match word {
        Word::Position => place.position = position,
        Word::Block => place.block = block,
        Word::Mask => (place.mask, place.routed_by) = (state.writers[w].mask, state.writers[w].table.version),
        Word::Head => {
            let message = state.ghost.sent[w];
            let bytes = state.regions[w].blocks[usize::from(block)];
            let owed_to = state.ghost.owed_to[w];
            next.ghost.committed[w][usize::from(position)] = Some(Committed { bytes, message, block, owed_to });
            next.regions[w].head += 1;
            next.ghost.sent[w] += 1;
        }
    }
    next.writers[w].at = if is_last { WriterAt::Idle } else { WriterAt::Describing { block, steps: done + 1 } };
    steps.add(format!("W{w} stores {word:?} of #{position}"), next);
}

/// The successor of a dead writer: nothing but its pins and its table is rebuilt here, the rest stands in the region.
pub(crate) fn restart(state: &State, w: usize, scenario: &Scenario) -> State {
    let mut next = *state;
    let writer = &mut next.writers[w];
    writer.alive = true;
    writer.at = WriterAt::Idle;
    writer.mask = 0;
    writer.table = state.table;
    writer.pinned = std::array::from_fn(|block| {
        let pin = state.cells[w][MONITOR].pin.map(usize::from);
        pin == Some(block) && !state.regions[w].is_live(u8::try_from(block).expect("a small number"))
    });
    if scenario.has(Fault::SuccessorForgetsPins) {
        writer.pinned = [false; BLOCKS];
    }
    next.ghost.lives[w] += 1;
    next.ghost.owed_to[w] = None;
    next
}
