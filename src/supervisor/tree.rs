//! The tree of a job: its leader and all that has come from it, until nothing of it runs.
//!
//! SIGTERM and SIGKILL go to the leader's group at once, SIGKILL to the control group too; what is outside of the group is
//! found in the process table and signalled one by one. What forks faster than it is killed is first suspended, pass by
//! pass, until nothing new comes, and then killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;

use super::orphans::{Families, Key};
use crate::os::{self, Cgroup, ChildEnd, GroupSignal, Identity, Process, Row};

/// How often what is left of a tree is looked at.
const POLL: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(200);

/// How soon it is tried again where that could not be told.
const POLL_BLIND: Duration = Duration::from_millis(50);

/// Between two passes over what forks, and how many of them come in a row.
const PASS_PAUSE: Duration = Duration::from_millis(1);
const PASSES: u32 = 50;

/// A leader and what it has started.
#[derive(Debug)]
pub(crate) struct Tree {
    key: Key,
    leader: Arc<Process>,
    cgroup: Option<Cgroup>,
    families: Arc<Families>,
    patience: Duration,
    order: watch::Sender<Option<GroupSignal>>,
}

impl Tree {
    /// Of a leader that was just made. `patience`: how long SIGKILL may take before it is worth a word.
    pub(super) fn new(
        key: Key,
        leader: Process,
        cgroup: Option<Cgroup>,
        families: Arc<Families>,
        patience: Duration,
    ) -> Self {
        let (order, _) = watch::channel(None);
        Self { key, leader: Arc::new(leader), cgroup, families, patience, order }
    }

    /// The leader's process id.
    pub(super) fn pid(&self) -> u32 {
        self.leader.pid()
    }

    /// Under which what it has started is found.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Signals the leader alone; `false` if it could not be.
    pub(super) fn signal_leader(&self, signal: i32) -> bool {
        Signal::from_named_raw(signal).is_some_and(|signal| self.leader.signal(signal))
    }

    /// Signals what the leader has started itself; `false` if there was nothing.
    pub(super) async fn signal_children(&self, signal: i32) -> bool {
        let Some(signal) = Signal::from_named_raw(signal) else { return false };
        let rows = self.families.look().await.map(|survey| survey.of(self.key)).unwrap_or_default();
        let children = rows.into_iter().filter(|row| row.parent == self.pid());
        children.filter(|child| os::signal(child.identity, signal)).count() > 0
    }

    /// Signals all of it: the group now, the rest as soon as it is found.
    pub(super) fn signal_group(&self, signal: GroupSignal) {
        self.strike(signal);
        self.order.send_modify(|order| *order = (*order).max(Some(signal)));
    }

    /// Signals what can be reached without looking.
    fn strike(&self, signal: GroupSignal) {
        self.leader.signal_group(signal);
        if signal == GroupSignal::Kill {
            self.cgroup.as_ref().and_then(|cgroup| cgroup.kill().ok());
        }
    }

    /// What still runs; `None` if that cannot be told.
    async fn rest(&self) -> Option<Vec<Row>> {
        let survey = self.families.look().await?;
        let mut rest = survey.of(self.key);
        // The group knows also what was forked while the table was being read.
        if let Some(cgroup) = self.cgroup.as_ref().filter(|cgroup| rest.is_empty() && cgroup.is_populated()) {
            rest.extend(cgroup.processes().into_iter().filter_map(Row::of).filter(Row::runs));
            if rest.is_empty() && cgroup.is_populated() {
                return None;
            }
        }
        let is_known = !rest.is_empty() || self.cgroup.is_some() || !survey.is_undecided;
        is_known.then_some(rest)
    }

    fn is_outside(&self, row: &Row) -> bool {
        row.group != self.pid()
    }
}

/// The watch over a tree.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    tree: &'a Tree,
    order: watch::Receiver<Option<GroupSignal>>,
    end: Option<ChildEnd>,
    /// What SIGTERM was sent to.
    terminated: HashSet<Identity>,
    chase: Chase,
    pause: Duration,
    was_empty: bool,
    killed_at: Option<Instant>,
    /// Told: the leader has ended, others have not.
    is_left: bool,
    /// Told: SIGKILL does not help.
    is_unkillable: bool,
}

/// What happens to a tree.
#[derive(Debug)]
pub(super) enum News {
    /// Its leader has ended, others run.
    LeaderEnded,
    /// This is still there, long after SIGKILL.
    Unkillable(String),
    /// Nothing of it runs, and the leader, which ended so, is reaped.
    Gone(ChildEnd),
}

impl<'a> Watch<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            order: tree.order.subscribe(),
            end: None,
            terminated: HashSet::new(),
            chase: Chase::default(),
            pause: POLL,
            was_empty: false,
            killed_at: None,
            is_left: false,
            is_unkillable: false,
        }
    }

    /// The next thing to tell; [`News::Gone`] is the last.
    pub(super) async fn next(&mut self) -> News {
        loop {
            self.wait().await;
            match (self.end, self.tree.rest().await) {
                // A process that forks while the table is read can be missed once.
                (Some(end), Some(rest)) if rest.is_empty() && self.was_empty => return self.close(end).await,
                (Some(_), Some(rest)) if rest.is_empty() => {
                    (self.was_empty, self.pause) = (true, Duration::ZERO);
                }
                (end, Some(rest)) => {
                    (self.was_empty, self.pause) = (false, self.pause.max(PASS_PAUSE));
                    self.act(&rest);
                    if end.is_some() && !std::mem::replace(&mut self.is_left, true) {
                        return News::LeaderEnded;
                    }
                    if let Some(what) = self.complaint(&rest) {
                        return News::Unkillable(what);
                    }
                }
                (_, None) => (self.was_empty, self.pause) = (false, POLL_BLIND),
            }
        }
    }

    async fn close(&mut self, end: ChildEnd) -> News {
        self.tree.families.retire(self.tree.key, &self.tree.leader).await;
        self.tree.cgroup.iter().for_each(Cgroup::remove);
        News::Gone(end)
    }

    /// Waits until there is something to look at: the leader's end, an order, or, when one of both has come, a while.
    async fn wait(&mut self) {
        let order = *self.order.borrow();
        let is_looking = self.end.is_some() || order == Some(GroupSignal::Kill);
        tokio::select! {
            end = self.tree.leader.ended(), if self.end.is_none() => {
                self.end = Some(end);
                self.pause = POLL;
            }
            Ok(()) = self.order.changed() => {}
            () = tokio::time::sleep(self.pause), if is_looking => self.pause = (self.pause * 2).min(POLL_MAX),
        }
    }

    /// Carries out what was ordered.
    fn act(&mut self, rest: &[Row]) {
        let order = *self.order.borrow();
        match order {
            None => {}
            Some(GroupSignal::Terminate) => {
                let strays = rest.iter().filter(|row| self.tree.is_outside(row));
                for stray in strays {
                    if self.terminated.insert(stray.identity) {
                        os::signal(stray.identity, Signal::TERM);
                    }
                }
            }
            Some(GroupSignal::Kill) => self.kill(rest),
        }
    }

    fn kill(&mut self, rest: &[Row]) {
        self.killed_at.get_or_insert_with(Instant::now);
        match self.chase.pass(rest) {
            Pass::Suspended => self.pause = PASS_PAUSE,
            Pass::Killed => self.tree.strike(GroupSignal::Kill),
        }
    }

    fn complaint(&mut self, rest: &[Row]) -> Option<String> {
        let is_due = self.killed_at.is_some_and(|at| at.elapsed() > self.tree.patience);
        if !is_due || std::mem::replace(&mut self.is_unkillable, true) {
            return None;
        }
        Some(rest.iter().take(5).map(describe).collect::<Vec<_>>().join(", "))
    }
}

/// SIGKILL to a changing number of processes, pass by pass.
#[derive(Debug, Default)]
pub(super) struct Chase {
    /// What was there at the last pass.
    seen: HashSet<Identity>,
    has_begun: bool,
    /// Passes that may only suspend.
    passes_left: u32,
}

/// What a pass has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Something new had come: it was suspended, so that it makes nothing new; look again at once.
    Suspended,
    /// All were killed.
    Killed,
}

impl Chase {
    /// Deals with those that are there now.
    pub(super) fn pass(&mut self, rest: &[Row]) -> Pass {
        let before = std::mem::replace(&mut self.seen, rest.iter().map(|row| row.identity).collect());
        let fresh: Vec<_> = rest.iter().filter(|row| !before.contains(&row.identity)).collect();
        if self.has_begun && !fresh.is_empty() && self.passes_left > 0 {
            self.passes_left -= 1;
            for row in fresh {
                os::signal(row.identity, Signal::STOP);
            }
            return Pass::Suspended;
        }
        self.has_begun = true;
        // Where the passes are used up what forks wins some time, not all of it.
        self.passes_left = PASSES;
        for row in rest {
            os::signal(row.identity, Signal::KILL);
        }
        Pass::Killed
    }
}

/// A process that does not go, for people.
pub(super) fn describe(row: &Row) -> String {
    let place = os::kernel_wait_of(row.pid()).map(|place| format!(", waits in {place}")).unwrap_or_default();
    format!("{} (pid {}, state {}{place})", row.name, row.pid(), row.state)
}
