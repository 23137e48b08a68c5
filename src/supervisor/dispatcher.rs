//! The dispatcher: takes one event after the other, and never waits for anything else.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::changes::wishes;
use super::child::{Child, SpawnFailure, Spawner, watch};
use super::entry::{Entry, Running};
use super::forward::{CallNews, Calls};
use super::link::Link;
use super::logs::Logs;
use super::operator::Operator;
use super::orders::Pending;
use super::origin::Origin;
use super::phases::Phase;
use super::policy::{Jitter, outcome};
use super::reload::{IsWanted, Load, Wish};
use super::ring::{LinkWish, Ring};
use super::state::{Effect, Event, JobState, Now, Then};
use super::systemd::Systemd;
use super::timetable::{Clocks, NextStart};
use super::watch::{DiskWatch, MemoryWatch};
use crate::bus::Endpoints;
use crate::config::{Deployment, Diagnostic, SupervisorConfig};
use crate::control::{Event as Told, Events, Inquiry, Refusal, StateName};
use crate::federation::Federation;
use crate::message::{Alert, AlertInfo, JobInfo, JobStats, Severity, Stop, SupervisorInfo, Topic};
use crate::os::{ChildEnd, GroupSignal, Usage, iso_now, usage};
use crate::telemetry::{
    AlertRaised, HeldUp, JobEnded, JobFatal, JobForced, JobReadyNow, JobRenewed, JobRestarts, JobStarting, JobWaits,
    LostToGone, OrderedByHand,
};

/// Heartbeat and statistics go out this often.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Alerts that status shows.
const KEPT_ALERTS: usize = 50;

/// What comes to the dispatcher.
#[derive(Debug)]
pub(crate) enum Mail {
    /// The spawner has made a process, or could not.
    Spawned { job: usize, generation: u64, result: Result<Child, SpawnFailure> },
    /// A job's leader has ended, others of its group have not.
    LeaderEnded { job: usize, generation: u64 },
    /// This is still there, long after SIGKILL.
    Unkillable { job: usize, generation: u64, what: String },
    /// Leader reaped, group empty.
    Gone { job: usize, generation: u64, end: ChildEnd },
    /// A job said something over the bus.
    Report { unique_id: String, instance_id: String, report: Report },
    /// Something about an operation that a job carries out for somebody.
    Call(CallNews),
    /// Somebody raised an alert.
    Alert(Alert),
    /// A part of the supervisor itself has something to tell.
    Raise { severity: Severity, message: String },
    /// Programs that are no jobs want these topics of the ring, or nothing any more: whether they are subscribed now.
    Tap { topics: Vec<String>, done: std::sync::mpsc::Sender<bool> },
    /// A link to another node wants a place in the ring: `false` if it is too early for it.
    Link { link: String, wish: LinkWish, done: std::sync::mpsc::Sender<Result<bool, String>> },
    /// The files have been read, for the load of this number.
    Loaded { number: u64, loaded: Box<Result<Deployment, Refusal>> },
    /// SIGHUP.
    Reload,
    /// A job holds too much memory, or most where too much is held.
    Overgrown { job: usize, generation: u64, why: String },
    /// All is to end; the second time at once.
    Stop { reason: String },
    /// All is to end, and the program to start anew.
    Renew,
}

/// What a job says of itself.
#[derive(Debug)]
pub(crate) enum Report {
    Started(Box<JobInfo>),
    Ready,
    Stats(Box<JobStats>),
}

/// Where mail is sent.
pub(crate) type Mailbox = mpsc::Sender<Mail>;

/// How a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every job ended as it should, and nothing was left under way.
    pub(crate) is_clean: bool,
    /// The program is to start anew.
    pub(crate) is_to_start_anew: bool,
}

/// What the dispatcher is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) info: SupervisorInfo,
    pub(super) config: SupervisorConfig,
    pub(super) origin: Origin,
    pub(super) operator: Operator,
    pub(super) endpoints: Endpoints,
    pub(super) runtime_dir: PathBuf,
    /// Where jobs keep what must survive a restart, each in a directory of its own.
    pub(super) state_dir: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) spawner: Spawner,
    pub(super) link: Link,
    pub(super) mailbox: Mailbox,
    pub(super) logs: Rc<Logs>,
    pub(super) outside_full: Arc<AtomicU64>,
    pub(super) systemd: Systemd,
    /// Only where memory is limited.
    pub(super) memory_watch: MemoryWatch,
    /// Dropped with the dispatcher, so that disks are watched as long as jobs run.
    pub(super) disk_watch: Option<DiskWatch>,
    /// Where the supervisor itself writes, and what its configuration says besides.
    pub(super) own_paths: Vec<PathBuf>,
    /// Files that were added by hand and are gone.
    pub(super) passed_over: Vec<Diagnostic>,
    /// Without one all goes over the bus.
    pub(super) ring: Option<Ring>,
    /// Who wants to know what happens.
    pub(super) events: Events,
    /// The links to other nodes, where there are any.
    pub(super) federation: Option<Federation>,
}

/// All jobs, and what is going on.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) parts: Parts,
    pub(super) by_unique_id: HashMap<String, usize>,
    pub(super) phase: Phase,
    /// Orders under way.
    pub(super) pending: Vec<Pending>,
    /// Operations under way.
    pub(super) calls: Calls,
    /// Changes of the jobs; the files of the first are being read.
    pub(super) loads: VecDeque<Load>,
    pub(super) alerts: VecDeque<Alert>,
    pub(super) started_at: Instant,
    pub(super) beat_due: Instant,
    pub(super) own_beat_due: Instant,
    pub(super) turned_at: Instant,
    pub(super) drain_due: Option<Instant>,
    pub(super) used: Usage,
    pub(super) cpu_percent: f64,
    pub(super) is_clean: bool,
    /// When the end began.
    pub(super) stop_begun: Option<Instant>,
    /// Numbers the loads.
    pub(super) loads_begun: u64,
    is_to_start_anew: bool,
}

impl Dispatcher {
    pub(super) fn new(parts: Parts) -> Self {
        let ids = parts.entries.iter().enumerate();
        let by_unique_id = ids.map(|(at, entry)| (entry.config.unique_id.clone(), at)).collect();
        let now = Instant::now();
        Self {
            parts,
            by_unique_id,
            phase: Phase::Running,
            pending: Vec::new(),
            calls: Calls::default(),
            loads: VecDeque::new(),
            alerts: VecDeque::new(),
            started_at: now,
            beat_due: now,
            own_beat_due: now,
            turned_at: now,
            drain_due: None,
            used: usage(),
            cpu_percent: 0.0,
            is_clean: true,
            stop_begun: None,
            loads_begun: 0,
            is_to_start_anew: false,
        }
    }

    /// Starts all jobs, and works until all have ended.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>, mut desk: mpsc::Receiver<Inquiry>) -> Outcome {
        self.tell_losses();
        wishes(self.parts.operator.decided()).for_each(|wish| OrderedByHand { wish: &wish }.emit());
        let passed_over = std::mem::take(&mut self.parts.passed_over);
        self.tell_passed_over(&passed_over);
        for job in 0..self.parts.entries.len() {
            self.become_due(job, IsWanted::ByItsFile);
        }
        self.start_rank(0);
        while !matches!(self.phase, Phase::Done) {
            let due = self.due();
            tokio::select! {
                Some(mail) = mail.recv() => self.take(mail),
                Some(inquiry) = desk.recv() => self.answer(inquiry),
                () = self.parts.operator.news() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
            // What has come already counts before time does.
            while let Ok(mail) = mail.try_recv() {
                self.take(mail);
            }
            self.make_up_for_pause();
            self.pass_time();
            self.look_at_waiting();
            self.clear_out();
            self.advance();
            self.settle();
        }
        self.end_calls().await;
        if let Err(why) = self.parts.operator.end().await {
            self.raise(Severity::Error, format!("what was ordered last is forgotten: {why}"));
            self.is_clean = false;
        }
        let is_clean =
            self.is_clean && self.parts.entries.iter().filter(|entry| entry.is_seen()).all(Entry::ended_well);
        Outcome { is_clean, is_to_start_anew: self.is_to_start_anew }
    }

    fn due(&self) -> Instant {
        let jobs = self.parts.entries.iter().filter_map(|entry| entry.state.due());
        let phase = match &self.phase {
            Phase::Starting { rank } => self.awaited_until(*rank),
            Phase::Stopping(_) => self.drain_due,
            Phase::Running | Phase::Done => None,
        };
        let watches = [self.parts.memory_watch.due()];
        let others = self.next_time().into_iter().chain(self.load_due()).chain(watches).chain(self.parts.systemd.due());
        jobs.chain(phase).chain(others).fold(self.beat_due, Instant::min)
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Spawned { job, generation, result } => self.on_spawned(job, generation, result),
            Mail::LeaderEnded { job, generation } => {
                if self.parts.entries[job].generation == generation {
                    self.end_calls_of(job, generation, None);
                    self.apply(job, Event::LeaderEnded);
                }
            }
            Mail::Unkillable { job, generation, what } => {
                let entry = &self.parts.entries[job];
                if entry.generation == generation {
                    let text = format!("{} does not go, not even by SIGKILL: {what}", entry.name());
                    self.raise(Severity::Error, text);
                }
            }
            Mail::Gone { job, generation, end } => self.on_gone(job, generation, end),
            Mail::Report { unique_id, instance_id, report } => self.on_report(&unique_id, &instance_id, report),
            Mail::Call(news) => self.on_call(news),
            Mail::Alert(alert) => self.note_alert(alert),
            Mail::Raise { severity, message } => self.raise(severity, message),
            Mail::Tap { topics, done } => {
                let is_subscribed = self.parts.ring.as_mut().is_some_and(|ring| ring.set_tap(topics));
                done.send(is_subscribed).ok();
            }
            Mail::Link { link, wish, done } => drop(done.send(self.serve_link(&link, wish))),
            Mail::Loaded { number, loaded } => self.on_loaded(number, *loaded),
            Mail::Reload => self.wish(Wish::Reload, None),
            Mail::Overgrown { job, generation, why } => self.on_overgrown(job, generation, &why),
            Mail::Stop { reason } => {
                // Who ends it wants it ended.
                self.is_to_start_anew = false;
                self.on_stop(&reason);
            }
            // A stop that is under way is not to become one at once.
            Mail::Renew if matches!(self.phase, Phase::Stopping(_) | Phase::Done) => {}
            Mail::Renew => {
                self.is_to_start_anew = true;
                self.on_stop("the program is to start anew");
            }
        }
    }

    fn on_spawned(&mut self, job: usize, generation: u64, result: Result<Child, SpawnFailure>) {
        let child = match result {
            Ok(child) => child,
            Err(SpawnFailure { error, is_permanent }) => {
                self.parts.entries[job].instance_id = None;
                self.apply(job, Event::SpawnFailed { error, is_permanent });
                return;
            }
        };
        let pid = child.process.pid();
        let entry = &mut self.parts.entries[job];
        JobStarting { job: entry.name(), job_type: entry.config.job_type, pid }.emit();
        let capture = self.parts.logs.capture(&entry.log, [child.stdout, child.stderr]);
        tokio::spawn(watch(job, generation, child.process.clone(), self.parts.mailbox.clone()));
        entry.running = Some(Running { process: child.process, tally: child.tally, _capture: capture });
        self.tell_outsiders();
        self.apply(job, Event::Spawned { pid });
    }

    fn on_gone(&mut self, job: usize, generation: u64, end: ChildEnd) {
        let entry = &mut self.parts.entries[job];
        if entry.generation != generation {
            return;
        }
        if let Some(ring) = &self.parts.ring {
            ring.ended();
        }
        let was_asked = entry.state.name() == StateName::Stopping;
        let is_success = entry.config.supervise.is_success(end);
        JobEnded { job: entry.name(), end, was_asked, is_success }.emit();
        let outcome = outcome(entry.config.kind, end, &entry.config.supervise);
        entry.pass_over();
        entry.end_start(end, was_asked);
        self.end_calls_of(job, generation, Some(end.to_string()));
        self.apply(job, Event::Gone { end, outcome });
    }

    fn on_report(&mut self, unique_id: &str, instance_id: &str, report: Report) {
        let Some(&job) = self.by_unique_id.get(unique_id) else { return };
        let entry = &mut self.parts.entries[job];
        if entry.instance_id.as_deref() != Some(instance_id) {
            return;
        }
        entry.heard(Instant::now());
        match report {
            Report::Started(info) => entry.take_info(*info),
            Report::Ready => self.apply(job, Event::Ready),
            Report::Stats(stats) => {
                let name = entry.name().to_owned();
                if entry.take_stats(*stats) {
                    let text =
                        format!("{name} gets what are no messages, and passes it over: `frames_refused` counts it");
                    self.raise(Severity::Warning, text);
                }
            }
        }
    }

    /// Feeds an event to a job's state, does what follows, and tells who is to know.
    pub(super) fn apply(&mut self, job: usize, event: Event) {
        let hold = self.hold(job);
        let entry = &mut self.parts.entries[job];
        let before = entry.state.name();
        let now = Now { at: Instant::now(), jitter: Jitter::from_random(fastrand::u32(..)), hold };
        let state = std::mem::replace(&mut entry.state, JobState::Stopped);
        let (state, effect) = state.step(event, &entry.config.supervise, &mut entry.history, &now);
        entry.state = state;
        if let Some(effect) = effect {
            self.perform(job, &effect);
        }
        let entry = &mut self.parts.entries[job];
        if entry.state.name() != before {
            self.tell_state(job, before);
            self.on_change(job, now.at);
            self.tell_links();
        }
    }

    /// Tells whoever listens where a job stands now.
    fn tell_state(&self, job: usize, before: StateName) {
        let entry = &self.parts.entries[job];
        self.parts.events.tell(Told::State {
            date: iso_now(),
            job: entry.name().to_owned(),
            before,
            state: entry.state.name(),
            reason: entry.reason(),
            pid: entry.state.pid(),
        });
    }

    fn perform(&mut self, job: usize, effect: &Effect) {
        let entry = &mut self.parts.entries[job];
        let group = |entry: &Entry, signal| {
            if let Some(running) = &entry.running {
                running.process.signal_group(signal);
            }
        };
        match effect {
            Effect::Spawn => {
                self.adopt(job);
                let entry = &mut self.parts.entries[job];
                entry.next_start =
                    entry.config.supervise.schedule.as_ref().map(|schedule| NextStart::after(schedule, &Clocks::now()));
                let place = self.parts.ring.as_mut().and_then(|ring| ring.before_start(job));
                let dirs = (self.parts.runtime_dir.as_path(), self.parts.state_dir.as_path());
                let spec = entry.begin_start(&self.parts.info, &self.parts.endpoints, dirs, place);
                self.parts.spawner.order(job, entry.generation, spec);
            }
            Effect::Ask => {
                let stop = Stop { reason: "told by the supervisor".into() };
                self.parts.link.send(Topic::job(&entry.config.unique_id), &stop);
            }
            // It has no process yet: what is looked at for it is not waited for.
            Effect::Terminate | Effect::Kill if entry.running.is_none() => self.parts.spawner.cancel(job),
            Effect::Terminate => {
                JobForced::Terminated { job: entry.name() }.emit();
                group(entry, GroupSignal::Terminate);
            }
            Effect::Kill => {
                JobForced::Killed { job: entry.name() }.emit();
                group(entry, GroupSignal::Kill);
            }
        }
    }

    fn on_change(&mut self, job: usize, now: Instant) {
        let entry = &self.parts.entries[job];
        let name = entry.name();
        match &entry.state {
            JobState::Ready { pid, .. } => {
                let after = entry.started_at.map_or(Duration::ZERO, |at| now.duration_since(at));
                JobReadyNow { job: name, job_type: entry.config.job_type, pid: *pid, after }.emit();
                self.note_marks(job);
            }
            JobState::BackingOff { until, why } => {
                JobRestarts { job: name, delay: until.duration_since(now), why }.emit();
                // It comes back when the policy says, not when its schedule does.
                self.parts.entries[job].next_start = None;
            }
            JobState::Stopping { then: Then::Decide(Some(why)), .. } => {
                let text = format!("{name} is ended, and started again as its policy says: {why}");
                self.raise(Severity::Warning, text);
            }
            JobState::Stopping { then: Then::StartFor(why) | Then::StartLater(why), .. } => {
                JobRenewed { job: name, why }.emit()
            }
            JobState::Waiting { hold } => JobWaits { job: name, hold: &hold.to_string() }.emit(),
            JobState::Fatal { reason } => {
                JobFatal { job: name, reason }.emit();
                let text = format!("{name} is fatal: {reason}");
                self.raise(Severity::Error, text);
                self.lose_reader(job);
                self.end_if_essential(job);
            }
            JobState::Exited { end } => {
                let is_success = entry.config.supervise.is_success(*end);
                self.lose_reader(job);
                if !is_success {
                    self.end_if_essential(job);
                }
            }
            JobState::Stopped | JobState::Starting { .. } | JobState::Stopping { .. } => {}
        }
    }

    /// A job does not come back by itself: its writers go on, and what waited for it is lost to it. At the end of all
    /// nobody has to go on, so that it waits for the next start.
    fn lose_reader(&mut self, job: usize) {
        if !matches!(self.phase, Phase::Starting { .. } | Phase::Running) {
            return;
        }
        let lost = self.parts.ring.as_mut().map_or_else(Vec::new, |ring| ring.lose_reader(job));
        if !lost.is_empty() {
            self.is_clean = false;
            let text = LostToGone { job: self.parts.entries[job].name(), lost: &lost }.to_string();
            self.raise(Severity::Error, text);
        }
    }

    /// Without an essential job the others make no sense.
    fn end_if_essential(&mut self, job: usize) {
        let entry = &self.parts.entries[job];
        if entry.config.supervise.essential && matches!(self.phase, Phase::Starting { .. } | Phase::Running) {
            let reason = format!("essential job {} does not come back", entry.name());
            self.is_clean = false;
            self.on_stop(&reason);
        }
    }

    pub(super) fn raise(&mut self, severity: Severity, message: String) {
        let alert = Alert {
            date: iso_now(),
            alert_info: AlertInfo { message, severity },
            originated_supervisor_id: self.parts.info.supervisor_id.clone(),
        };
        self.parts.link.send(Topic::alert(&self.parts.info.supervisor_id), &alert);
        self.note_alert(alert);
    }

    fn note_alert(&mut self, alert: Alert) {
        let is_foreign = alert.originated_supervisor_id != self.parts.info.supervisor_id;
        AlertRaised { alert: &alert, is_foreign }.emit();
        self.parts.events.tell(Told::Alert(alert.clone()));
        if self.alerts.len() == KEPT_ALERTS {
            self.alerts.pop_front();
        }
        self.alerts.push_back(alert);
    }

    /// A supervisor that was stopped, or starved, for a while has not heard its jobs meanwhile.
    fn make_up_for_pause(&mut self) {
        let now = Instant::now();
        let late = now.duration_since(std::mem::replace(&mut self.turned_at, now)).saturating_sub(EVERY);
        if late > EVERY {
            HeldUp { by: late }.emit();
            self.parts.entries.iter_mut().for_each(|entry| entry.state.postpone(late));
        }
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        if now >= self.beat_due {
            self.beat_due = now + EVERY;
            self.beat(now);
        }
        for job in 0..self.parts.entries.len() {
            if self.parts.entries[job].state.due().is_some_and(|due| due <= now) {
                self.look_whether_held(job);
                self.apply(job, Event::Tick);
            }
        }
        self.give_up_load(now);
        self.watch_memory(now);
        self.parts.systemd.pass_time(now);
    }
}
