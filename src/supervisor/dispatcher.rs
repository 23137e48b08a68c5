//! The dispatcher: takes one event after the other, and never waits for anything else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing_appender::non_blocking::ErrorCounter;

use super::child::{Child, SpawnFailure, Spawner, reading_end, watch};
use super::edges::{edges, under_way};
use super::entry::{Entry, Running, Waiter, Wants};
use super::link::Link;
use super::logs::capture;
use super::policy::Jitter;
use super::shutdown::{Next, Shutdown};
use super::state::{Effect, Event, JobState, Now, StateName};
use crate::bus::Endpoints;
use crate::config::Kind;
use crate::control::{Admitted, Command, Order, Refusal, Reply, Status, SupervisorStatus, admit};
use crate::message::{
    Alert, AlertInfo, CombinedStats, Heartbeat, JobInfo, JobStats, Severity, Stop, SupervisorInfo, Topic,
};
use crate::os::{GroupSignal, Usage, iso_now, usage};
use crate::telemetry::{
    AlertRaised, JobEnded, JobFatal, JobForced, JobReadyNow, JobRestarts, JobStarting, Ready, StopBegins, Undelivered,
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
    /// Something happened to a process.
    Job(JobEvent),
    /// A job said something over the bus.
    Report { unique_id: String, instance_id: String, report: Report },
    /// Somebody raised an alert.
    Alert(Alert),
    /// A command, and where its answer goes.
    Command { command: Command, reply: oneshot::Sender<Result<Reply, Refusal>> },
    /// All is to end; the second time at once.
    Stop { reason: String },
}

/// An event of one start of a job.
#[derive(Debug)]
pub(crate) struct JobEvent {
    pub(super) job: usize,
    pub(super) generation: u64,
    pub(super) event: Event,
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

/// The phases of a supervisor.
#[derive(Debug)]
enum Phase {
    /// Jobs of this rank and below have been started; the next rank comes when they are ready, or at this time.
    Starting {
        rank: u8,
        until: Instant,
    },
    Running,
    Stopping(Shutdown),
    Done,
}

/// What the dispatcher is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) info: SupervisorInfo,
    pub(super) config_dir: String,
    pub(super) endpoints: Endpoints,
    pub(super) entries: Vec<Entry>,
    pub(super) spawner: Spawner,
    pub(super) link: Link,
    pub(super) mailbox: Mailbox,
    pub(super) lost_lines: Option<ErrorCounter>,
}

/// All jobs, and what is going on.
#[derive(Debug)]
pub(super) struct Dispatcher {
    parts: Parts,
    by_unique_id: HashMap<String, usize>,
    phase: Phase,
    alerts: VecDeque<Alert>,
    started_at: Instant,
    beat_due: Instant,
    drain_due: Option<Instant>,
    used: Usage,
    cpu_percent: f64,
    is_clean: bool,
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
            drain_due: None,
            used: usage(),
            cpu_percent: 0.0,
            is_clean: true,
        }
    }

    /// Starts all jobs, and works until all have ended.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>) -> Outcome {
        self.start_rank(0);
        while !matches!(self.phase, Phase::Done) {
            let due = self.due();
            tokio::select! {
                Some(mail) = mail.recv() => self.take(mail),
                () = tokio::time::sleep_until(due.into()) => {}
            }
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
            Mail::Job(JobEvent { job, generation, event }) => self.on_job_event(job, generation, event),
            Mail::Report { unique_id, instance_id, report } => self.on_report(&unique_id, &instance_id, report),
            Mail::Alert(alert) => self.note_alert(alert),
            Mail::Command { command, reply } => self.on_command(command, reply),
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

    fn on_job_event(&mut self, job: usize, generation: u64, event: Event) {
        let entry = &mut self.parts.entries[job];
        if entry.generation != generation {
            return;
        }
        if let Event::Gone { end } = event {
            let was_asked = entry.state.name() == StateName::Stopping;
            JobEnded { job: entry.name(), end, was_asked }.emit();
            for capture in entry.end_start(end).into_iter().flat_map(|running| running.captures) {
                tokio::spawn(async move {
                    let abort = capture.abort_handle();
                    if tokio::time::timeout(LAST_WORDS, capture).await.is_err() {
                        abort.abort();
                    }
                });
            }
        }
        self.apply(job, event);
    }

    fn on_report(&mut self, unique_id: &str, instance_id: &str, report: Report) {
        let Some(&job) = self.by_unique_id.get(unique_id) else { return };
        let entry = &mut self.parts.entries[job];
        if entry.instance_id.as_deref() != Some(instance_id) {
            return;
        }
        entry.heard(Instant::now());
        match report {
            Report::Started(info) => entry.subscriptions = info.subscribed_topics,
            Report::Ready => self.apply(job, Event::Ready),
            Report::Beat(beat) => self.apply(job, Event::Beat { progress: beat.progress }),
            Report::Stats(stats) => entry.take_stats(*stats),
        }
    }

    fn on_command(&mut self, command: Command, reply: oneshot::Sender<Result<Reply, Refusal>>) {
        let answer = match command {
            Command::Status => Ok(Reply::Status(Box::new(self.status()))),
            Command::Logs { name, lines } => self.find(&name).map(|job| {
                let (lines, older) = self.parts.entries[job].log.newest(lines);
                Reply::Logs { lines, older }
            }),
            Command::Job { name, order } => match self.order(&name, order) {
                Ok((job, wants, event)) => {
                    self.parts.entries[job].waiters.push(Waiter { wants, reply });
                    self.apply(job, event);
                    return;
                }
                Err(refusal) => Err(refusal),
            },
        };
        reply.send(answer).ok();
    }

    fn order(&mut self, name: &str, order: Order) -> Result<(usize, Wants, Event), Refusal> {
        let job = self.find(name)?;
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return Err(Refusal::Stopping);
        }
        let entry = &mut self.parts.entries[job];
        let admitted = admit(order, entry.state.name(), name)?;
        // Somebody looks after the job: its failures so far do not count against it.
        entry.history.clear();
        Ok(match admitted {
            Admitted::Start => (job, Wants::Running, Event::Start),
            Admitted::Stop => (job, Wants::Stopped, Event::Stop),
            Admitted::Restart => (job, Wants::Running, Event::Restart),
        })
    }

    fn find(&self, name: &str) -> Result<usize, Refusal> {
        let names = || self.parts.entries.iter().map(Entry::name);
        names().position(|known| known == name).ok_or_else(|| Refusal::NoSuchJob {
            name: name.into(),
            similar: crate::config::closest(name, names()).map(str::to_owned),
        })
    }

    fn on_stop(&mut self, reason: &str) {
        match self.phase {
            Phase::Starting { .. } | Phase::Running => {
                StopBegins { reason }.emit();
                self.phase = Phase::Stopping(Shutdown::begin(Kind::LAST_RANK));
                self.end_rank(Kind::LAST_RANK);
            }
            Phase::Stopping(_) => {
                self.is_clean = false;
                (0..self.parts.entries.len()).for_each(|job| self.apply(job, Event::KillNow));
            }
            Phase::Done => {}
        }
    }

    /// Feeds an event to a job's state, does what follows, and tells who is to know.
    fn apply(&mut self, job: usize, event: Event) {
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
                let spec = entry.begin_start(&self.parts.info, &self.parts.endpoints);
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
            }
            JobState::BackingOff { until, why } => {
                JobRestarts { job: name, delay: until.duration_since(now), why }.emit();
            }
            JobState::Fatal { reason } => {
                JobFatal { job: name, reason }.emit();
                let text = format!("{name} is fatal: {reason}");
                let ends_all = entry.config.supervise.essential.then(|| format!("essential job {name} is fatal"));
                self.raise(Severity::Error, text);
                if let Some(reason) = ends_all
                    && !matches!(self.phase, Phase::Stopping(_))
                {
                    self.is_clean = false;
                    self.on_stop(&reason);
                }
            }
            JobState::Stopped | JobState::Starting { .. } | JobState::Stopping { .. } | JobState::Exited { .. } => {}
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
        let id = self.parts.info.supervisor_id.clone();
        let next_in_ms = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        self.parts.link.send(Topic::broadcast(&id), &Heartbeat { next_in_ms, progress: 0 });
        let jobs = self.parts.entries.iter().map(|entry| (entry.name().to_owned(), entry.stats(now))).collect();
        let stats = CombinedStats { stats: [(id.clone(), jobs)].into() };
        self.parts.link.send(Topic::combined_stats(&id), &stats);
    }

    /// Goes on with the start or the end as far as it can.
    fn advance(&mut self) {
        loop {
            match &mut self.phase {
                Phase::Starting { rank, until } => {
                    let rank = *rank;
                    let is_settled = |entry: &Entry| entry.state.is_settled() || entry.state.name() == StateName::Ready;
                    if Instant::now() < *until && !self.of_rank(rank).all(|job| is_settled(&self.parts.entries[job])) {
                        return;
                    }
                    self.start_rank(rank + 1);
                }
                Phase::Stopping(_) => {
                    if !self.advance_stop() {
                        return;
                    }
                }
                Phase::Running | Phase::Done => return,
            }
        }
    }

    fn of_rank(&self, rank: u8) -> impl Iterator<Item = usize> + use<> {
        let entries = self.parts.entries.iter().enumerate();
        let jobs: Vec<_> =
            entries.filter(|(_, entry)| entry.config.kind.start_rank() == rank).map(|(job, _)| job).collect();
        jobs.into_iter()
    }

    fn start_rank(&mut self, rank: u8) {
        if rank > Kind::LAST_RANK {
            self.phase = Phase::Running;
            let entries = &self.parts.entries;
            let ready = entries.iter().filter(|entry| entry.state.name() == StateName::Ready).count();
            Ready { supervisor_id: &self.parts.info.supervisor_id, ready, jobs: entries.len() }.emit();
            return;
        }
        let timeouts = self.of_rank(rank).map(|job| self.parts.entries[job].config.supervise.startup_timeout);
        let until = Instant::now() + timeouts.max().unwrap_or(Duration::ZERO);
        self.phase = Phase::Starting { rank, until };
        self.of_rank(rank).for_each(|job| self.apply(job, Event::Start));
    }

    fn end_rank(&mut self, rank: u8) {
        self.of_rank(rank).for_each(|job| self.apply(job, Event::Stop));
    }

    /// One step of the end; `false` if it waits for something.
    fn advance_stop(&mut self) -> bool {
        let Phase::Stopping(mut shutdown) = self.phase else { return false };
        let is_gone = self.of_rank(shutdown.rank).all(|job| self.parts.entries[job].state.is_settled());
        let left = if is_gone { self.under_way(shutdown.rank) } else { Vec::new() };
        let count = left.iter().map(|(_, _, messages)| messages).sum();
        let next = shutdown.advance(is_gone, count, Instant::now());
        self.phase = Phase::Stopping(shutdown);
        match next {
            Next::Wait(until) => {
                self.drain_due = until;
                return false;
            }
            Next::End { rank, given_up } => {
                self.give_up(&left, given_up);
                self.end_rank(rank);
            }
            Next::Done { given_up } => {
                self.give_up(&left, given_up);
                self.phase = Phase::Done;
            }
        }
        true
    }

    fn give_up(&mut self, left: &[(String, String, u64)], given_up: u64) {
        if given_up > 0 {
            self.is_clean = false;
            for (writer, reader, messages) in left.iter().filter(|(_, _, messages)| *messages > 0) {
                Undelivered { writer, reader, messages: *messages }.emit();
            }
        }
    }

    /// Writer, reader, messages on their way from jobs of a rank and above to those below that still run.
    fn under_way(&mut self, rank: u8) -> Vec<(String, String, u64)> {
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let entries = &self.parts.entries;
        let writers = entries.iter().filter(|entry| entry.config.kind.start_rank() >= rank);
        let readers = || {
            entries
                .iter()
                .filter(|entry| entry.config.kind.start_rank() < rank && entry.state.name() == StateName::Ready)
        };
        writers
            .flat_map(|writer| readers().map(move |reader| (writer.party(), reader.party())))
            .map(|(writer, reader)| (writer.name.into(), reader.name.into(), under_way(&writer, &reader)))
            .collect()
    }

    fn status(&mut self) -> Status {
        let now = Instant::now();
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let parties: Vec<_> = self.parts.entries.iter().map(Entry::party).collect();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rss_mb = usage().rss_bytes as f64 / 1e6;
        Status {
            supervisor: SupervisorStatus {
                info: self.parts.info.clone(),
                pid: std::process::id(),
                uptime_s: now.duration_since(self.started_at).as_secs_f64(),
                version: env!("CARGO_PKG_VERSION").into(),
                config_dir: self.parts.config_dir.clone(),
                is_stopping: matches!(self.phase, Phase::Stopping(_) | Phase::Done),
                cpu_percent: self.cpu_percent,
                rss_mb,
                log_lines_dropped: self.parts.lost_lines.as_ref().map_or(0, |lost| lost.dropped_lines() as u64),
            },
            edges: edges(&parties),
            jobs: self.parts.entries.iter().map(|entry| entry.status(now)).collect(),
            alerts: self.alerts.iter().cloned().collect(),
        }
    }
}
