//! Orders that take their time: who gave them is answered when every job that they concern has got where it was to, or
//! cannot get there any more.

use tokio::sync::oneshot;

use super::dispatcher::Dispatcher;
use super::entry::{Entry, Presence};
use super::state::{Hold, JobState};
use crate::control::{Refusal, Reply, StateName};

/// The way back for an answer.
pub(super) type Asker = oneshot::Sender<Result<Reply, Refusal>>;

/// An order under way.
#[derive(Debug)]
pub(super) struct Pending {
    /// Whom it concerns.
    pub(super) targets: Vec<(usize, Wants)>,
    /// What is answered when it is done; a job's state is filled in.
    pub(super) answer: Reply,
    /// So many decisions are to be on the disk before.
    pub(super) decisions: u64,
    pub(super) asker: Asker,
}

/// Where a job is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Running,
    Stopped,
}

/// How far it has come.
enum Progress {
    UnderWay,
    There,
    Missed { why: String },
}

impl Dispatcher {
    /// Answers those whose order is done.
    pub(super) fn settle(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let states: Vec<_> =
                pending.targets.iter().map(|&(job, wants)| progress(&self.parts.entries[job], wants)).collect();
            if states.iter().any(|progress| matches!(progress, Progress::UnderWay)) && !pending.asker.is_closed() {
                self.pending.push(pending);
                continue;
            }
            let Some(kept) = self.parts.operator.has_kept(pending.decisions) else {
                if !pending.asker.is_closed() {
                    self.pending.push(pending);
                }
                continue;
            };
            let missed = pending.targets.iter().zip(states).find_map(|(&(job, _), progress)| match progress {
                Progress::Missed { why } => Some((job, why)),
                Progress::UnderWay | Progress::There => None,
            });
            let answer = match missed {
                Some((job, why)) => {
                    let entry = &self.parts.entries[job];
                    Err(Refusal::Failed { name: entry.name().to_owned(), state: entry.state.name(), why })
                }
                None => match kept {
                    Ok(()) => Ok(self.filled_in(pending.answer, pending.targets.first().map(|(job, _)| *job))),
                    Err(why) => Err(Refusal::NotKept { why }),
                },
            };
            pending.asker.send(answer).ok();
        }
    }

    fn filled_in(&self, answer: Reply, job: Option<usize>) -> Reply {
        match (answer, job) {
            (Reply::Job { name, .. }, Some(job)) => Reply::Job { name, state: self.parts.entries[job].state.name() },
            (other, _) => other,
        }
    }
}

fn progress(entry: &Entry, wants: Wants) -> Progress {
    let missed = || Progress::Missed { why: entry.reason().unwrap_or_else(overtaken) };
    if entry.is_due {
        return Progress::UnderWay;
    }
    match (wants, entry.state.name()) {
        (_, StateName::Starting | StateName::Stopping) => Progress::UnderWay,
        (Wants::Running, StateName::Ready | StateName::Exited)
        | (Wants::Stopped, StateName::Stopped | StateName::Exited | StateName::Fatal) => Progress::There,
        (Wants::Running, StateName::Waiting) => match &entry.state {
            JobState::Waiting { hold: Hold::NotYet { .. } } => Progress::There,
            JobState::Waiting { hold: Hold::Needs { is_coming: true, .. } } => Progress::UnderWay,
            _ => missed(),
        },
        (Wants::Running, StateName::Stopped) if entry.presence != Presence::Here => Progress::There,
        (Wants::Running, StateName::Stopped | StateName::BackingOff | StateName::Fatal)
        | (Wants::Stopped, StateName::Ready | StateName::BackingOff | StateName::Waiting) => missed(),
    }
}

fn overtaken() -> String {
    "another command came in between".into()
}
