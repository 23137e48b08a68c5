//! What holds a job back that is to start: who must be ready first, who has what only one may have, what time it is.

use std::time::Instant;

use super::dispatcher::Dispatcher;
use super::entry::{Entry, Presence};
use super::phases::Phase;
use super::state::{Event, Hold, JobState};
use super::timetable::{Clocks, NextStart};
use crate::config::is_meant;
use crate::control::StateName;

impl Dispatcher {
    /// What would hold a job back if it were to start now.
    pub(super) fn hold(&self, job: usize) -> Option<Hold> {
        let entries = &self.parts.entries;
        let config = entries[job].wanted();
        former(entries, job)
            .or_else(|| taken(entries, job, config.supervise.exclusive.as_deref()?))
            .or_else(|| config.supervise.depends_on.iter().find_map(|name| needs(entries, name)))
            .or_else(|| not_yet(&entries[job]))
    }

    /// Lets those go on that nothing holds back any more; at the end of all nobody begins.
    pub(super) fn look_at_waiting(&mut self) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return;
        }
        for job in 0..self.parts.entries.len() {
            let JobState::Waiting { hold } = &self.parts.entries[job].state else { continue };
            if self.hold(job).as_ref() != Some(hold) {
                self.apply(job, Event::Look);
            }
        }
    }

    /// When the first of those is due that wait for their time, where it is known. Who waits for something else may be past it.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let is_for_time = |entry: &&Entry| matches!(entry.state, JobState::Waiting { hold: Hold::NotYet { .. } });
        let waiting = self.parts.entries.iter().filter(is_for_time);
        waiting.filter_map(|entry| entry.next_start.as_ref().and_then(NextStart::instant)).min()
    }
}

/// A job that had the same name, and has not ended yet.
fn former(entries: &[Entry], job: usize) -> Option<Hold> {
    let name = &entries[job].wanted().name;
    let is_former = |at: usize, entry: &Entry| at != job && entry.name() == name && entry.is_live();
    let former = entries.iter().enumerate().any(|(at, entry)| is_former(at, entry));
    former.then(|| Hold::Taken { what: "its name".into(), by: "its former configuration".into() })
}

fn taken(entries: &[Entry], job: usize, word: &str) -> Option<Hold> {
    let has_it = |(at, entry): &(usize, &Entry)| {
        *at != job && entry.is_live() && entry.config.supervise.exclusive.as_deref() == Some(word)
    };
    let (_, holder) = entries.iter().enumerate().find(has_it)?;
    Some(Hold::Taken { what: format!("{word:?}"), by: holder.name().to_owned() })
}

fn needs(entries: &[Entry], name: &str) -> Option<Hold> {
    let mut meant = entries.iter().filter(|entry| entry.presence == Presence::Here && is_meant(name, entry.wanted()));
    let missing = |is_coming| Some(Hold::Needs { job: name.to_owned(), is_coming });
    let Some(first) = meant.next() else { return missing(false) };
    let not_ready = std::iter::once(first).chain(meant).find(|entry| entry.state.name() != StateName::Ready)?;
    missing(not_ready.is_due || is_coming(&not_ready.state))
}

/// Whether a job is about to be ready, as far as can be seen: one that has failed may fail for ever.
fn is_coming(state: &JobState) -> bool {
    match state {
        JobState::Starting { .. } | JobState::Ready { .. } | JobState::Stopping { .. } => true,
        JobState::Waiting { hold } => matches!(hold, Hold::Needs { is_coming: true, .. }),
        JobState::Stopped | JobState::BackingOff { .. } | JobState::Exited { .. } | JobState::Fatal { .. } => false,
    }
}

fn not_yet(entry: &Entry) -> Option<Hold> {
    let next = entry.next_start.as_ref()?;
    let is_due = next.is_due(&Clocks::now());
    (!is_due).then(|| Hold::NotYet { until: next.text() })
}
