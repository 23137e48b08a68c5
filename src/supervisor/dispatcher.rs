//! The dispatcher: takes one event after the other, and never waits for anything else.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing_appender::non_blocking::ErrorCounter;

use super::child::{Child, SpawnFailure, Spawner, reading_end, watch};
use super::entry::{Entry, Running};
use super::link::Link;
use super::logs::capture;
use super::phases::Phase;
use super::policy::{Jitter, outcome};
use super::ring::Ring;
use super::state::{Effect, Event, JobState, Now};
use crate::bus::Endpoints;
use crate::control::{Inquiry, StateName};
use crate::message::{
    Alert, AlertInfo, CombinedStats, Heartbeat, JobInfo, JobStats, Severity, Stop, SupervisorInfo, Topic,
};
use crate::os::{ChildEnd, GroupSignal, Usage, iso_now, usage};
use crate::telemetry::{
    AlertRaised, HeldUp, JobEnded, JobFatal, JobForced, JobReadyNow, JobRestarts, JobStarting, LostToGone,
};

/// Heartbeat and statistics go out this often.
const EVERY: Duration = Duration::from_secs(1);

/// Alerts that status shows.
const KEPT_ALERTS: usize = 50;

/// How long a pipe that nobody should hold any more is still read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What comes to the dispatcher.
#[derive(Debug)]
pub(crate) enum Mail {
    /// The spawner has made a process, or could not.
    Spawned { job: usize, generation: u64, result: Result<Child, SpawnFailure> },
    /// A job's leader has ended, others of its group have not.
    LeaderEnded { job: usize, generation: u64 },
    /// Leader reaped, group empty.
    Gone { job: usize, generation: u64, end: ChildEnd },
    /// A job said something over the bus.
    Report { unique_id: String, instance_id: String, report: Report },
    /// Somebody raised an alert.
    Alert(Alert),
    /// Programs that are no jobs want these topics of the ring, or nothing any more: whether they are subscribed now.
    Tap { topics: Vec<String>, done: std::sync::mpsc::Sender<bool> },
    /// All is to end; the second time at once.
    Stop { reason: String },
}

/// What a job says of itself.
#[derive(Debug)]
pub(crate) enum Report {
    Started(Box<JobInfo>),
    Ready,
    Beat(Heartbeat),
    Stats(Box<JobStats>),
}

/// Where mail is sent.
pub(crate) type Mailbox = mpsc::Sender<Mail>;

/// How a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every job ended as it should, and nothing was left under way.
    pub(crate) is_clean: bool,
}

/// What the dispatcher is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) info: SupervisorInfo,
    pub(super) config_dir: String,
    pub(super) endpoints: Endpoints,
    pub(super) runtime_dir: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) spawner: Spawner,
    pub(super) link: Link,
    pub(super) mailbox: Mailbox,
    pub(super) lost_lines: Option<ErrorCounter>,
    pub(super) outside_full: Arc<AtomicU64>,
    /// Without one all goes over the bus.
    pub(super) ring: Option<Ring>,
}

/// All jobs, and what is going on.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) parts: Parts,
    pub(super) by_unique_id: HashMap<String, usize>,
    pub(super) phase: Phase,
    pub(super) alerts: VecDeque<Alert>,
    pub(super) started_at: Instant,
    pub(super) beat_due: Instant,
    pub(super) turned_at: Instant,
    pub(super) drain_due: Option<Instant>,
    pub(super) used: Usage,
    pub(super) cpu_percent: f64,
    pub(super) is_clean: bool,
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
            alerts: VecDeque::new(),
            started_at: now,
            beat_due: now,
            turned_at: now,
            drain_due: None,
            used: usage(),
            cpu_percent: 0.0,
            is_clean: true,
        }
    }

    /// Starts all jobs, and works until all have ended.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>, mut desk: mpsc::Receiver<Inquiry>) -> Outcome {
        self.tell_losses();
        self.start_rank(0);
        while !matches!(self.phase, Phase::Done) {
            let due = self.due();
            tokio::select! {
                Some(mail) = mail.recv() => self.take(mail),
                Some(inquiry) = desk.recv() => self.answer(inquiry),
                () = tokio::time::sleep_until(due.into()) => {}
            }
            // What has come already counts before time does.
            while let Ok(mail) = mail.try_recv() {
                self.take(mail);
            }
            self.make_up_for_pause();
            self.pass_time();
            self.advance();
        }
        let is_clean = self.is_clean && self.parts.entries.iter().all(Entry::ended_well);
        Outcome { is_clean }
    }

    fn due(&self) -> Instant {
        let jobs = self.parts.entries.iter().filter_map(|entry| entry.state.due());
        let phase = match &self.phase {
            Phase::Starting { until, .. } => Some(*until),
            Phase::Stopping(_) => self.drain_due,
            Phase::Running | Phase::Done => None,
        };
        jobs.chain(phase).fold(self.beat_due, Instant::min)
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Spawned { job, generation, result } => self.on_spawned(job, generation, result),
            Mail::LeaderEnded { job, generation } => {
                if self.parts.entries[job].generation == generation {
                    self.apply(job, Event::LeaderEnded);
                }
            }
            Mail::Gone { job, generation, end } => self.on_gone(job, generation, end),
            Mail::Report { unique_id, instance_id, report } => self.on_report(&unique_id, &instance_id, report),
            Mail::Alert(alert) => self.note_alert(alert),
            Mail::Tap { topics, done } => {
                let is_subscribed = self.parts.ring.as_mut().is_some_and(|ring| ring.set_tap(topics));
                done.send(is_subscribed).ok();
            }
            Mail::Stop { reason } => self.on_stop(&reason),
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
        let name: Arc<str> = entry.name().into();
        let captures = [child.stdout, child.stderr].into_iter().filter_map(|fd| {
            let pipe = reading_end(fd).ok()?;
            Some(tokio::spawn(capture(pipe, name.clone(), entry.log.clone())))
        });
        let captures = captures.collect();
        tokio::spawn(watch(job, generation, child.process.clone(), self.parts.mailbox.clone()));
        entry.running = Some(Running { process: child.process, tally: child.tally, captures });
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
        JobEnded { job: entry.name(), end, was_asked }.emit();
        let outcome = outcome(entry.config.kind, end);
        for capture in entry.end_start(end, was_asked).into_iter().flat_map(|running| running.captures) {
            tokio::spawn(async move {
                let abort = capture.abort_handle();
                if tokio::time::timeout(LAST_WORDS, capture).await.is_err() {
                    abort.abort();
                }
            });
        }
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
            Report::Beat(beat) => {
                // Said again with each beat: the first word may have been lost.
                if beat.is_ready {
                    self.apply(job, Event::Ready);
                }
                self.apply(job, Event::Beat { progress: beat.progress });
            }
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
        let entry = &mut self.parts.entries[job];
        let before = entry.state.name();
        let now = Now { at: Instant::now(), jitter: Jitter::from_random(fastrand::u32(..)) };
        let state = std::mem::replace(&mut entry.state, JobState::Stopped);
        let (state, effect) = state.step(event, &entry.config.supervise, &mut entry.history, now);
        entry.state = state;
        if let Some(effect) = effect {
            self.perform(job, &effect);
        }
        let entry = &mut self.parts.entries[job];
        if entry.state.name() != before {
            self.on_change(job, now.at);
        }
        self.parts.entries[job].answer_waiters();
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
                let place = self.parts.ring.as_mut().and_then(|ring| ring.before_start(job));
                let spec = entry.begin_start(&self.parts.info, &self.parts.endpoints, &self.parts.runtime_dir, place);
                self.parts.spawner.order(job, entry.generation, spec);
            }
            Effect::Ask => {
                let stop = Stop { reason: "told by the supervisor".into() };
                self.parts.link.send(Topic::job(&entry.config.unique_id), &stop);
            }
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
            }
            JobState::Fatal { reason } => {
                JobFatal { job: name, reason }.emit();
                let text = format!("{name} is fatal: {reason}");
                self.raise(Severity::Error, text);
                self.lose_reader(job);
                self.end_if_essential(job);
            }
            JobState::Exited { end } => {
                let is_success = end.is_success();
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

    /// What was lost with readers that are no longer configured, or differently.
    fn tell_losses(&mut self) {
        for text in self.parts.ring.as_mut().map(Ring::take_losses).unwrap_or_default() {
            self.is_clean = false;
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

    fn raise(&mut self, severity: Severity, message: String) {
        let alert = Alert {
            date: iso_now(),
            alert_info: AlertInfo { message, severity },
            originated_supervisor_id: self.parts.info.supervisor_id.clone(),
        };
        self.parts.link.send(Topic::alert(&self.parts.info.supervisor_id), &alert);
        self.note_alert(alert);
    }

    fn note_alert(&mut self, alert: Alert) {
        AlertRaised(&alert).emit();
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
        for job in 0..self.parts.entries.len() {
            if self.parts.entries[job].state.due().is_some_and(|due| due <= now) {
                self.apply(job, Event::Tick);
            }
        }
        if now >= self.beat_due {
            self.beat_due = now + EVERY;
            self.beat(now);
        }
    }

    fn beat(&mut self, now: Instant) {
        let used = usage();
        self.cpu_percent = 100.0 * used.cpu.saturating_sub(self.used.cpu).as_secs_f64() / EVERY.as_secs_f64();
        self.used = used;
        if let Some(ring) = &mut self.parts.ring {
            ring.beat(now);
        }
        self.tell_losses();
        let id = self.parts.info.supervisor_id.clone();
        let next_in_ms = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        self.parts.link.send(Topic::broadcast(&id), &Heartbeat { next_in_ms, progress: 0, is_ready: true });
        let jobs = self.parts.entries.iter().map(|entry| (entry.name().to_owned(), entry.stats(now))).collect();
        let stats = CombinedStats { stats: [(id.clone(), jobs)].into() };
        self.parts.link.send(Topic::combined_stats(&id), &stats);
    }
}
