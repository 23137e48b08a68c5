//! Bringing what runs in line with the files, while it runs.
//!
//! ```text
//!  plan, reload, SIGHUP, add, rm, scale ─▶ queue ─▶ files read and checked aside ─▶ difference ─▶ carried out
//!                                                   a fault: nothing changes        └─▶ plan: only told
//! ```
//!
//! A job that changes is stopped, becomes its new self when nothing of the old one is left, and starts in the order of the
//! kinds. One that is removed is stopped; what it has published stays until it is read, what waits for it is counted as
//! lost and told.
//!
//! Invariants: one change after the other; a fault in any file changes nothing; a job whose configuration has not changed
//! is not touched; the places of jobs in the list never move, and an id has one place for good: a file that gives its job
//! an id can be renamed. Files that cannot be read hold up nobody but who asked, and him for a while only.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::changes::{between, is_same, relisted};
use super::dispatcher::{Dispatcher, Mail};
use super::elsewhere::Guest;
use super::entry::{Entry, Presence};
use super::orders::{Asker, Wants};
use super::phases::Phase;
use super::ring::{Ring, plan};
use super::state::Event;
use super::timetable::{Clocks, NextStart};
use super::watch::watched_paths;
use crate::config::{Deployment, Diagnostic, JobConfig, Overrides, SUPERVISOR_STEM, Scaled};
use crate::control::{Change, Changes, JobChange, Reach, Refusal, Reply, StateName};
use crate::message::Severity;
use crate::telemetry::{JobLeft, LostToGone, Reloaded};
use enrgdaq_ring::Leftovers;

/// Nobody waits longer for files to be read: a disk may not answer.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// A change that waits for its turn, or for its files.
#[derive(Debug)]
pub(super) struct Load {
    wish: Wish,
    /// `None`: SIGHUP.
    asker: Option<Asker>,
    /// Once its files are being read: its number, and how long they may take.
    begun: Option<(u64, Instant)>,
}

/// Why a job may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsWanted {
    /// If its file lets it start by itself.
    ByItsFile,
    /// It runs already, perhaps by hand.
    Anyway,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// To know what a reload would do.
    Plan,
    Reload,
    /// The job of this file too, for somebody from there.
    Add(PathBuf, Reach),
    /// A job whose text came from there too: it becomes this file.
    Run {
        path: PathBuf,
        text: String,
        reach: Reach,
    },
    /// Without the jobs of the file of this name.
    Remove(String),
    /// So many of them.
    Scale(String, u16),
}

impl Wish {
    /// The name of the only file that is concerned.
    fn only(&self) -> Option<&str> {
        match self {
            Self::Plan | Self::Reload => None,
            Self::Add(path, _) | Self::Run { path, .. } => path.file_stem().and_then(|stem| stem.to_str()),
            Self::Remove(name) | Self::Scale(name, _) => Some(name),
        }
    }
}

/// The name of a job's file.
fn file_of(job: &JobConfig) -> &str {
    job.replica.as_ref().map_or(&job.name, |replica| &replica.of)
}

impl Dispatcher {
    /// Takes a change into the queue, or refuses it.
    pub(super) fn wish(&mut self, wish: Wish, asker: Option<Asker>) {
        let refusal = match self.phase {
            Phase::Stopping(_) | Phase::Done => Some(Refusal::Stopping),
            Phase::Starting { .. } | Phase::Running => None,
        };
        if let Some(refusal) = refusal {
            asker.map(|asker| asker.send(Err(refusal)).ok());
            return;
        }
        self.loads.push_back(Load { wish, asker, begun: None });
        if self.loads.len() == 1 {
            self.begin_load();
        }
    }

    /// Has the files of the first in the queue read, aside.
    fn begin_load(&mut self) {
        while let Some(mut load) = self.loads.pop_front() {
            match self.decision(&load.wish) {
                Ok(overrides) => match self.read_files(overrides, &load.wish) {
                    Ok(number) => {
                        load.begun = Some((number, Instant::now() + READ_WITHIN));
                        self.loads.push_front(load);
                        return;
                    }
                    Err(error) => self.refuse_load(load.asker, format!("no thread to read the files: {error}")),
                },
                Err(refusal) => refuse(load.asker, refusal),
            }
        }
    }

    /// On a thread of its own: one that hangs in a file holds up neither others nor the end.
    fn read_files(&mut self, overrides: Overrides, wish: &Wish) -> std::io::Result<u64> {
        self.loads_begun += 1;
        let (number, origin, mailbox) = (self.loads_begun, self.parts.origin.clone(), self.parts.mailbox.clone());
        let guest = Guest::of(wish, self.may_run_programs());
        let read = move || {
            let load = || origin.load(&overrides).map_err(|report| Refusal::BadConfig { report: report.to_string() });
            let loaded = Box::new(guest.map_or_else(load, |guest| guest.received(load)));
            // Without a dispatcher nobody waits for it.
            mailbox.blocking_send(Mail::Loaded { number, loaded }).ok();
        };
        std::thread::Builder::new().name("files".into()).spawn(read)?;
        Ok(number)
    }

    /// When files have taken too long.
    pub(super) fn load_due(&self) -> Option<Instant> {
        self.loads.front()?.begun.map(|(_, until)| until)
    }

    /// Whoever waits for files that do not come is answered.
    pub(super) fn give_up_load(&mut self, now: Instant) {
        if self.load_due().is_none_or(|due| due > now) {
            return;
        }
        let asker = self.loads.pop_front().and_then(|load| load.asker);
        let seconds = READ_WITHIN.as_secs();
        let dir = self.parts.origin.dir.display();
        let report = format!("{dir}: its files, or those of `include` or `add`, could not be read within {seconds} s");
        self.refuse_load(asker, report);
        self.begin_load();
    }

    /// What will be decided if a wish comes true, beside what is decided now.
    fn decision(&self, wish: &Wish) -> Result<Overrides, Refusal> {
        let mut overrides = self.parts.operator.decided().clone();
        match wish {
            Wish::Plan | Wish::Reload => {}
            Wish::Add(path, _) | Wish::Run { path, .. } => {
                let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                if name == SUPERVISOR_STEM {
                    let report = format!("{}: no job can be called `supervisor`; rename the file", path.display());
                    return Err(Refusal::BadConfig { report });
                }
                overrides.removed.remove(name);
                if matches!(wish, Wish::Run { .. }) {
                    // Who runs it wants it to run.
                    overrides.stopped.remove(name);
                }
                if !is_in(path, &self.parts.origin.dir) {
                    overrides.added.insert(path.clone());
                }
            }
            Wish::Remove(name) => {
                let is_file = |entry: &&Entry| entry.presence == Presence::Here && file_of(entry.wanted()) == name;
                let path = match self.parts.entries.iter().find(is_file) {
                    Some(entry) => entry.wanted().path.clone(),
                    // It was added, and its file is gone.
                    None => overrides.added_as(name).cloned().ok_or_else(|| self.no_such_file(name))?,
                };
                // What was only added needs no word against it.
                if !overrides.added.remove(&path) {
                    overrides.removed.insert(name.clone());
                }
                overrides.scaled.remove(name);
                for copy in self.parts.entries.iter().filter(is_file) {
                    overrides.stopped.remove(copy.name());
                }
            }
            Wish::Scale(name, copies) => {
                let here = || self.parts.entries.iter().filter(|entry| entry.presence == Presence::Here);
                let replica = here().filter_map(|entry| entry.wanted().replica.as_ref()).find(|one| one.of == *name);
                let has_none = |entry: &Entry| entry.name() == name && entry.wanted().replica.is_none();
                let Some(replica) = replica else {
                    return Err(match here().any(has_none) {
                        true => Refusal::NoCopies { name: name.clone() },
                        false => self.no_such_file(name),
                    });
                };
                let instead_of = replica.count_in_file;
                match *copies == instead_of {
                    true => drop(overrides.scaled.remove(name)),
                    false => drop(overrides.scaled.insert(name.clone(), Scaled { copies: *copies, instead_of })),
                }
            }
        }
        Ok(overrides)
    }

    /// A name that is not that of a file: perhaps it is that of a copy.
    fn no_such_file(&self, name: &str) -> Refusal {
        let here = self.parts.entries.iter().filter(|entry| entry.presence == Presence::Here);
        let mut copies = here.filter(|entry| entry.name() == name).filter_map(|entry| entry.wanted().replica.as_ref());
        match copies.next() {
            Some(replica) => Refusal::IsCopy { name: name.to_owned(), of: replica.of.clone() },
            None => self.no_such_job(name),
        }
    }

    /// The files have been read.
    pub(super) fn on_loaded(&mut self, number: u64, loaded: Result<Deployment, Refusal>) {
        // Who waited for others may have given up.
        let is_meant = |load: &Load| load.begun.is_some_and(|(begun, _)| begun == number);
        let Some(load) = self.loads.pop_front_if(|load| is_meant(load)) else { return };
        match loaded {
            _ if matches!(self.phase, Phase::Stopping(_) | Phase::Done) => refuse(load.asker, Refusal::Stopping),
            Ok(deployment) if deployment.supervisor.info.supervisor_id != self.parts.info.supervisor_id => {
                let report = format!(
                    "supervisor.toml: `info.supervisor_id` has changed from {:?} to {:?}; that needs another supervisor",
                    self.parts.info.supervisor_id, deployment.supervisor.info.supervisor_id
                );
                self.refuse_load(load.asker, report);
            }
            Ok(deployment) => self.take_deployment(load, deployment),
            Err(Refusal::BadConfig { report }) => self.refuse_load(load.asker, report),
            Err(refusal) => refuse(load.asker, refusal),
        }
        self.begin_load();
    }

    fn refuse_load(&mut self, asker: Option<Asker>, report: String) {
        if asker.is_none() {
            self.raise(Severity::Error, format!("the configuration was not reloaded: {report}"));
        }
        refuse(asker, Refusal::BadConfig { report });
    }

    fn take_deployment(&mut self, load: Load, deployment: Deployment) {
        let Load { wish, asker, .. } = load;
        // Not what was decided when the files began to be read: orders have come since.
        let mut overrides = match self.decision(&wish).and_then(|overrides| still_needed(&wish, &deployment, overrides))
        {
            Ok(overrides) => overrides.without_overruled(&deployment.jobs),
            Err(refusal) => return refuse(asker, refusal),
        };
        let here = self.parts.entries.iter().filter(|entry| entry.presence == Presence::Here);
        let mut changes = between(here.map(Entry::wanted), (&self.parts.config, &deployment), &overrides);
        if let Some(only) = wish.only() {
            changes = self.limited(changes, &deployment, only);
        }
        if wish == Wish::Plan {
            asker.map(|asker| asker.send(Ok(Reply::Changes(changes))).ok());
            return;
        }
        Reloaded { changes: &changes }.emit();
        if matches!(self.phase, Phase::Running) {
            self.parts.systemd.reloading();
        }
        self.rename_stopped(&mut overrides, &changes, &deployment);
        let before = self.parts.operator.decided().added.clone();
        self.parts.operator.decide(overrides);
        self.tell_passed_over(&deployment.passed_over);
        if !changes.at_once.is_empty() {
            self.list_leaves(&deployment);
        }
        let targets = self.carry_out(&changes, deployment);
        if let Wish::Remove(_) = wish {
            self.forget_guests(&before);
        }
        if let Some(asker) = asker {
            let answer = self.answer_to(&wish, changes, &targets);
            self.answer_when_done(targets, answer, asker);
        }
        self.settle();
    }

    /// From now on the leaves that the files list may connect, and no others.
    fn list_leaves(&mut self, deployment: &Deployment) {
        let Some(relisted) = relisted(&self.parts.config, &deployment.supervisor) else { return };
        if let (Some(federation), Some(leaves)) = (&self.parts.federation, relisted.listed()) {
            federation.list(leaves);
        }
        self.parts.config.federation = Some(relisted);
    }

    /// Who runs or ends one job is told of its state; its name may be that of its first copy.
    fn answer_to(&self, wish: &Wish, changes: Changes, targets: &[(usize, Wants)]) -> Reply {
        let first = targets.first().map(|(job, _)| self.parts.entries[*job].wanted().name.clone());
        match (wish, wish.only()) {
            (Wish::Run { .. }, Some(only)) => {
                Reply::Job { name: first.unwrap_or_else(|| only.to_owned()), state: self.state_of(only) }
            }
            _ => Reply::Changes(changes),
        }
    }

    /// Where the first job of a file stands.
    fn state_of(&self, file: &str) -> StateName {
        let mut entries = self.parts.entries.iter().filter(|entry| entry.is_seen());
        let found = entries.find(|entry| file_of(entry.wanted()) == file);
        found.map_or(StateName::Stopped, |entry| entry.state.name())
    }

    /// A job that was stopped by hand stays so under another name.
    fn rename_stopped(&self, overrides: &mut Overrides, changes: &Changes, deployment: &Deployment) {
        let here = || self.parts.entries.iter().filter(|entry| entry.presence == Presence::Here).map(Entry::wanted);
        let restarted = changes.changes.iter().filter(|change| change.change == Change::Restart);
        let configs = restarted.filter_map(|change| deployment.jobs.iter().find(|job| job.name == change.name));
        let pairs = configs.filter_map(|new| Some((here().find(|old| is_same(old, new))?, new)));
        let renamed: Vec<_> = pairs.filter(|(old, new)| old.name != new.name).collect();
        let is_stopped = |old: &JobConfig| overrides.stopped.contains(&old.name);
        let stopped: Vec<_> =
            renamed.iter().filter(|(old, _)| is_stopped(old)).map(|(_, new)| new.name.clone()).collect();
        overrides.stopped.retain(|name| !renamed.iter().any(|(old, _)| old.name == *name));
        overrides.stopped.extend(stopped);
    }

    /// Files that were added and are gone: their jobs do not run, and somebody thinks that they do.
    pub(super) fn tell_passed_over(&mut self, files: &[Diagnostic]) {
        for file in files {
            self.raise(Severity::Error, file.to_string().replacen(": warning: ", ": ", 1));
        }
    }

    /// Only what concerns the jobs of one file.
    fn limited(&self, changes: Changes, deployment: &Deployment, only: &str) -> Changes {
        let configs = || self.parts.entries.iter().map(Entry::wanted).chain(&deployment.jobs);
        let is_meant = |change: &JobChange| configs().any(|job| job.name == change.name && file_of(job) == only);
        let changes = changes.changes.into_iter().filter(is_meant).collect();
        Changes { changes, ..Changes::default() }
    }

    /// Does it; gives whom it concerns, and where they are to get.
    fn carry_out(&mut self, changes: &Changes, deployment: Deployment) -> Vec<(usize, Wants)> {
        let mut targets = Vec::new();
        for JobChange { name, change, .. } in &changes.changes {
            let config = deployment.jobs.iter().find(|job| job.name == *name).cloned();
            let is_it = |wanted: &JobConfig| match (change, &config) {
                (Change::Restart | Change::Adjust, Some(config)) => is_same(wanted, config),
                _ => wanted.name == *name,
            };
            match (change, self.place_of(is_it), config.clone()) {
                (Change::Remove, Some(job), _) => {
                    self.remove(job);
                    targets.push((job, Wants::Stopped));
                }
                (Change::Add, _, Some(config)) => targets.extend(self.add(config).map(|job| (job, Wants::Running))),
                (Change::Restart, Some(job), Some(config)) => {
                    targets.extend(self.renew(job, config).map(|job| (job, Wants::Running)));
                }
                (Change::Adjust, Some(job), Some(config)) => self.adjust(job, config),
                _ => {}
            }
        }
        self.clear_out();
        self.watch_disks();
        self.start_due();
        targets
    }

    /// Jobs may write elsewhere now.
    fn watch_disks(&self) {
        let here = self.parts.entries.iter().filter(|entry| entry.presence == Presence::Here);
        let paths = watched_paths(here.map(Entry::wanted), self.parts.own_paths.clone());
        if let Some(watch) = &self.parts.disk_watch {
            watch.watch(paths);
        }
    }

    /// Where a job stands in the list that is not about to leave.
    fn place_of(&self, is_it: impl Fn(&JobConfig) -> bool) -> Option<usize> {
        self.parts.entries.iter().position(|entry| entry.presence == Presence::Here && is_it(entry.wanted()))
    }

    fn remove(&mut self, job: usize) {
        let entry = &mut self.parts.entries[job];
        entry.presence = Presence::Leaving;
        entry.next_config = None;
        entry.is_due = false;
        self.apply(job, Event::Stop);
    }

    /// A job more; `None` if it is not to start by itself.
    fn add(&mut self, config: JobConfig) -> Option<usize> {
        let known = self.parts.entries.iter().position(|entry| is_same(&entry.config, &config));
        let job = known.unwrap_or(self.parts.entries.len());
        let id = config.unique_id.clone();
        match known {
            // It was removed, and has perhaps not ended yet.
            Some(job) => {
                let entry = &mut self.parts.entries[job];
                entry.presence = Presence::Here;
                entry.next_config = Some(config);
            }
            None => {
                let mut entry = Entry::new(config.clone(), &self.parts.info.supervisor_id);
                entry.next_config = Some(config);
                self.parts.entries.push(entry);
            }
        }
        self.by_unique_id.insert(id, job);
        self.become_due(job, IsWanted::ByItsFile)
    }

    /// A job that is to be another one; `None` if it is not to start by itself.
    fn renew(&mut self, job: usize, config: JobConfig) -> Option<usize> {
        let entry = &mut self.parts.entries[job];
        entry.next_config = Some(config);
        let is_wanted = if entry.state.is_settled() { IsWanted::ByItsFile } else { IsWanted::Anyway };
        if entry.is_live() {
            self.apply(job, Event::Stop);
        }
        self.become_due(job, is_wanted)
    }

    /// A job goes on, and the supervisor looks after it differently.
    fn adjust(&mut self, job: usize, config: JobConfig) {
        let entry = &mut self.parts.entries[job];
        if entry.config.supervise.schedule != config.supervise.schedule {
            let schedule = config.supervise.schedule.as_ref();
            entry.next_start = schedule.map(|schedule| NextStart::after(schedule, &Clocks::now()));
        }
        let is_to_start = config.supervise.autostart && !entry.config.supervise.autostart;
        match &mut entry.next_config {
            Some(next) => *next = config,
            None => entry.config = config,
        }
        if is_to_start && entry.state.name() == StateName::Stopped {
            self.become_due(job, IsWanted::ByItsFile);
        }
    }

    /// It starts when its rank does, unless an operator or its file has it wait for an order.
    pub(super) fn become_due(&mut self, job: usize, is_wanted: IsWanted) -> Option<usize> {
        let entry = &mut self.parts.entries[job];
        entry.next_start = match is_wanted {
            IsWanted::ByItsFile => entry.first_start(),
            IsWanted::Anyway => entry.start_anew(),
        };
        if !entry.is_live() {
            self.adopt(job);
        }
        let entry = &mut self.parts.entries[job];
        let wanted = entry.wanted();
        let is_by_itself = wanted.supervise.autostart || is_wanted == IsWanted::Anyway;
        let is_due = is_by_itself && !self.parts.operator.decided().stopped.contains(&wanted.name);
        entry.is_due = is_due;
        is_due.then_some(job)
    }

    /// A job without a process becomes what it is to be.
    pub(super) fn adopt(&mut self, job: usize) {
        let Some(config) = self.parts.entries[job].next_config.take() else { return };
        let entry = &mut self.parts.entries[job];
        let keeps_size = entry.config.ring_mb == config.ring_mb && entry.config.kind == config.kind;
        entry.adopt(config, &self.parts.info.supervisor_id);
        let here = |at: &usize| *at == job || self.parts.entries[*at].presence == Presence::Here;
        let places: Vec<_> = (0..self.parts.entries.len()).filter(here).collect();
        let listeners = places.iter().map(|&at| &self.parts.entries[at]);
        let listeners: Vec<_> = listeners.map(|entry| (&entry.config, &entry.subscriptions[..])).collect();
        let plans = plan(&listeners, self.parts.config.ring_buffer_size_mb).into_iter();
        let plan = places.iter().zip(plans).find_map(|(at, plan)| (*at == job).then_some(plan));
        match (&mut self.parts.ring, plan) {
            (Some(ring), Some(plan)) => ring.replan(job, plan, keeps_size),
            (None, _) => self.open_ring(),
            (Some(_), None) => {}
        }
        self.tell_outsiders();
    }

    /// Nobody wanted a ring so far: it is made with the first who does.
    fn open_ring(&mut self) {
        let listeners = self.parts.entries.iter().map(|entry| (&entry.config, &entry.subscriptions[..]));
        let plans = plan(&listeners.collect::<Vec<_>>(), self.parts.config.ring_buffer_size_mb);
        match Ring::open(&self.parts.info.supervisor_id, plans, None, Leftovers::Keep) {
            Ok(ring) => self.parts.ring = ring,
            Err(error) => {
                let error = crate::error_chain(&error);
                self.raise(Severity::Error, format!("no shared memory, so that payloads go over the bus: {error}"));
            }
        }
    }

    /// Jobs that run learn that others need copies over the bus.
    pub(super) fn tell_outsiders(&self) {
        if self.parts.ring.as_ref().is_some_and(super::ring::Ring::has_outsiders) {
            let running = self.parts.entries.iter().filter_map(|entry| entry.running.as_ref());
            running.for_each(|running| running.tally.set_outsiders());
        }
    }

    /// Jobs that were removed and have ended are gone: what waited for them is lost, and told.
    pub(super) fn clear_out(&mut self) {
        for job in 0..self.parts.entries.len() {
            let entry = &mut self.parts.entries[job];
            if entry.presence != Presence::Leaving || !entry.state.is_settled() {
                continue;
            }
            entry.presence = Presence::Gone;
            self.by_unique_id.remove(&entry.config.unique_id);
            JobLeft { job: entry.name() }.emit();
            let lost = self.parts.ring.as_mut().map_or_else(Vec::new, |ring| ring.leave(job));
            if !lost.is_empty() {
                self.is_clean = false;
                let text = LostToGone { job: self.parts.entries[job].name(), lost: &lost }.to_string();
                self.raise(Severity::Error, text);
            }
        }
    }
}

/// A job that others of the files need is not removed.
fn still_needed(wish: &Wish, deployment: &Deployment, overrides: Overrides) -> Result<Overrides, Refusal> {
    let Wish::Remove(name) = wish else { return Ok(overrides) };
    match deployment.jobs.iter().find(|job| job.supervise.depends_on.contains(name)) {
        None => Ok(overrides),
        Some(job) => {
            let help = format!("change that first, or: enrgdaq stop {name}");
            let report = format!("{}: `depends_on` of `{}` names `{name}`; {help}", job.path.display(), job.name);
            Err(Refusal::BadConfig { report })
        }
    }
}

fn refuse(asker: Option<Asker>, refusal: Refusal) {
    // Who asked may have gone.
    drop(asker.map(|asker| asker.send(Err(refusal))));
}

/// Whether a file lies in a folder itself.
fn is_in(path: &Path, dir: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.parent().is_some_and(|parent| full(parent) == full(dir))
}
