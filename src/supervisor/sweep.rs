//! What a former start of this supervisor has left, when that died: found, given time to end, killed, and proven gone.
//!
//! ```text
//! found: by control group, marker, or roll ─▶ those that are suspended go on, strays get SIGTERM
//!        ─▶ 6 s for an orderly end (a job whose supervisor died has 5) ─▶ SIGKILL until nothing is left, 10 s at most
//! ```
//! Invariants: the caller holds the supervisor's lock, so that nobody else is this supervisor; a process is touched only if
//! it is proven to come from it; never this process, its ancestors, its descendants or its group, and never another
//! supervisor that lives, or what belongs to that, even if it was started from within a job.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::orphans::{MARK_OF_JOB, MARK_OF_SUPERVISOR};
use super::roll::{Entry, RollFile};
use super::tree::{Chase, Pass, describe};
use crate::os::{self, Cgroup, Environment, Identity, Row, short_hash};
use crate::telemetry::{RollTrouble, Swept};

/// What ends by itself has so long.
const GRACE: Duration = Duration::from_secs(6);

/// SIGKILL takes effect at once, but for what hangs in the kernel.
const KILLING: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_millis(200);

/// So many processes are named.
const NAMED: usize = 10;

/// What stands in the environment of a supervisor's jobs: the same for each start of it, and another for one of the same
/// id with another runtime directory, which holds another lock.
pub(super) fn mark_of(runtime_dir: &Path) -> String {
    let device = runtime_dir.metadata().map_or(0, |meta| meta.dev());
    let dir = runtime_dir.canonicalize().unwrap_or_else(|_| runtime_dir.to_owned());
    short_hash(&format!("{device} {}", dir.display()))
}

/// Ends what a former start has left, and says so. Whoever has not gone in the end is told of; its locks still protect what
/// it holds.
pub(super) fn sweep(mark: &str, runtime_dir: &Path) {
    let roll = RollFile::read(runtime_dir).unwrap_or_else(|error| {
        RollTrouble::Unreadable { path: &runtime_dir.join("processes.json"), error: &error }.emit();
        RollFile::default()
    });
    let mut sweep = Sweep::new(mark, roll);
    if let Err(error) = sweep.run() {
        Swept::Blind { error: &error }.emit();
    }
    sweep.cgroups.iter().for_each(Cgroup::remove);
}

struct Sweep<'a> {
    mark: &'a str,
    roll: RollFile,
    cgroups: Vec<Cgroup>,
    seen: HashSet<Identity>,
}

impl<'a> Sweep<'a> {
    fn new(mark: &'a str, roll: RollFile) -> Self {
        let named = roll.jobs.iter().filter_map(|job| job.cgroup.clone()).chain(roll.cgroup.clone());
        let named: Vec<PathBuf> = named.collect();
        Self { mark, cgroups: os::left_by(mark, &named), roll, seen: HashSet::new() }
    }

    fn run(&mut self) -> io::Result<()> {
        let found = self.find()?;
        if found.is_empty() {
            return Ok(());
        }
        Swept::Found { what: &self.names(&found), count: found.len() }.emit();
        self.ask(&found);
        let left = self.wait_until_empty(GRACE, |_| Pass::Killed)?;
        let ended = self.seen.len() - left.len();
        if left.is_empty() {
            Swept::Gone { ended, killed: 0 }.emit();
            return Ok(());
        }
        let cgroups = self.cgroups.clone();
        let mut chase = Chase::default();
        let left = self.wait_until_empty(KILLING, |rest| {
            let pass = chase.pass(rest);
            if pass == Pass::Killed {
                cgroups.iter().for_each(|cgroup| kill_all_of(cgroup, rest));
            }
            pass
        })?;
        match left.is_empty() {
            true => Swept::Gone { ended, killed: self.seen.len() - ended }.emit(),
            false => {
                let what: Vec<_> = left.iter().take(NAMED).map(describe).collect();
                Swept::Left { what: &what.join(", ") }.emit();
            }
        }
        Ok(())
    }

    /// Looks again and again until nothing is left, or time is up: what is left then.
    fn wait_until_empty(&mut self, within: Duration, mut act: impl FnMut(&[Row]) -> Pass) -> io::Result<Vec<Row>> {
        let until = Instant::now() + within;
        let (mut pause, mut was_empty) = (POLL, false);
        loop {
            let left = self.find()?;
            // What forks while the table is read can be missed once.
            if left.is_empty() && was_empty {
                return Ok(left);
            }
            was_empty = left.is_empty();
            if was_empty {
                continue;
            }
            let pass = act(&left);
            if Instant::now() > until {
                return Ok(left);
            }
            if pass == Pass::Killed {
                thread::sleep(pause);
                pause = (pause * 2).min(POLL_MAX);
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Jobs got SIGTERM from the kernel when their supervisor died; what is suspended has not heard it, and what has left
    /// its job's group did not get it.
    fn ask(&self, found: &[Row]) {
        let led: HashSet<u32> = self.leaders(found).map(Row::pid).collect();
        for row in found {
            if !led.contains(&row.group) {
                os::signal(row.identity, Signal::TERM);
            }
            if row.state == 'T' {
                os::signal(row.identity, Signal::CONT);
            }
        }
    }

    /// The leaders of the roll that are there.
    fn leaders<'r>(&self, rows: &'r [Row]) -> impl Iterator<Item = &'r Row> {
        let leaders: HashSet<_> = self.roll.jobs.iter().map(|job| job.leader).collect();
        rows.iter().filter(move |row| leaders.contains(&row.identity))
    }

    /// What is left and runs.
    fn find(&mut self) -> io::Result<Vec<Row>> {
        let rows = os::processes()?;
        let mark = |row: &Row| Environment::of(row.pid()).get(MARK_OF_SUPERVISOR).map(str::to_owned);
        let marks = rows.iter().filter_map(|row| Some((row.pid(), mark(row)?)));
        let marks: HashMap<u32, String> = marks.collect();
        let groups: HashSet<u32> = self.leaders(&rows).map(Row::pid).collect();
        let grouped: HashSet<u32> = self.cgroups.iter().flat_map(Cgroup::processes).collect();
        let is_ours = |row: &Row| {
            marks.get(&row.pid()).is_some_and(|mark| mark == self.mark)
                || groups.contains(&row.group)
                || grouped.contains(&row.pid())
        };
        let seeds = rows.iter().filter(|row| is_ours(row)).map(Row::pid);
        // What carries another's mark is another's to sweep.
        let ours = closure(&rows, seeds, |row| marks.get(&row.pid()).is_none_or(|mark| mark == self.mark));
        let spared = spared(&rows, &ours);
        let is_left = |row: &&Row| ours.contains(&row.pid()) && !spared.contains(&row.pid()) && row.runs();
        let found: Vec<Row> = rows.iter().filter(is_left).cloned().collect();
        self.seen.extend(found.iter().map(|row| row.identity));
        Ok(found)
    }

    fn names(&self, found: &[Row]) -> String {
        let name = |row: &Row| {
            let environment = Environment::of(row.pid());
            let instance = environment.get(MARK_OF_JOB);
            let is_its = |job: &&Entry| instance == Some(job.instance_id.as_str()) || job.leader.pid == row.group;
            match self.roll.jobs.iter().find(is_its) {
                Some(job) if job.leader == row.identity => format!("{} (pid {})", job.name, row.pid()),
                Some(job) => format!("{} of {} (pid {})", row.name, job.name, row.pid()),
                None => format!("{} (pid {})", row.name, row.pid()),
            }
        };
        let more = found.len().checked_sub(NAMED).filter(|more| *more > 0);
        let names: Vec<_> = found.iter().take(NAMED).map(name).collect();
        names.join(", ") + &more.map(|more| format!(" and {more} more")).unwrap_or_default()
    }
}

/// At once, if all in it is to die.
fn kill_all_of(cgroup: &Cgroup, left: &[Row]) {
    let condemned: HashSet<u32> = left.iter().map(Row::pid).collect();
    if cgroup.processes().iter().all(|pid| condemned.contains(pid)) {
        cgroup.kill().ok();
    }
}

/// These processes and all that descend from them, as far as `is_followed`.
fn closure(rows: &[Row], seeds: impl Iterator<Item = u32>, is_followed: impl Fn(&Row) -> bool) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<&Row>> = HashMap::new();
    rows.iter().for_each(|row| children.entry(row.parent).or_default().push(row));
    let mut open: Vec<u32> = seeds.collect();
    let mut found = HashSet::new();
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            let next = children.get(&pid).into_iter().flatten().filter(|row| is_followed(row));
            open.extend(next.map(|row| row.pid()));
        }
    }
    found
}

/// What must live, though it came from a job: this process, its ancestors, its group; supervisors that live; and what
/// descends from them.
fn spared(rows: &[Row], ours: &HashSet<u32>) -> HashSet<u32> {
    let by_pid: HashMap<u32, &Row> = rows.iter().map(|row| (row.pid(), row)).collect();
    let me = std::process::id();
    let my_group = by_pid.get(&me).map(|row| row.group);
    let mut ancestors = HashSet::new();
    let mut next = by_pid.get(&me).map(|row| row.parent);
    while let Some(parent) = next.filter(|parent| *parent != 0 && ancestors.insert(*parent)) {
        next = by_pid.get(&parent).map(|row| row.parent);
    }
    let is_supervisor = |pid: u32| os::holds_open(pid, |path| path.ends_with("supervisor.lock"));
    let mates = rows.iter().filter(|row| Some(row.group) == my_group).map(Row::pid);
    let others = ours.iter().copied().filter(|pid| *pid != me && !ancestors.contains(pid) && is_supervisor(*pid));
    let mut spared = closure(rows, mates.chain(others).chain([me]), |_| true);
    spared.extend(ancestors);
    spared
}
