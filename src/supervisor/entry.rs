//! One job as the dispatcher holds it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::edges::{Book, Hearing, Party};
use super::logs::JobLog;
use super::policy::History;
use super::state::{JobState, why};
use crate::bus::Endpoints;
use crate::config::JobConfig;
use crate::control::{JobStatus, Refusal, Reply, StateName};
use crate::job::{JobSpec, RingPlace, Tally};
use crate::message::{Count, JobInfo, JobStats, SupervisorInfo, Topic};
use crate::os::{ChildEnd, Process, iso_now, short_hash};

/// A ready job that was heard of within this time is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// A process of a job, and what hangs on it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Arc<Process>,
    pub(super) tally: Tally,
    pub(super) captures: Vec<JoinHandle<()>>,
}

/// What a job hears: whoever serves a backend what is meant for its type, and every job the topics of its config.
fn subscriptions(config: &JobConfig, supervisor_id: &str) -> Vec<String> {
    let of_store = [Topic::store(config.job_type), Topic::store_of(supervisor_id, config.job_type)];
    let own = of_store.iter().filter(|_| config.backend.is_some()).map(|topic| topic.as_str().to_owned());
    own.chain(config.topics_to_subscribe.iter().cloned()).collect()
}

/// Somebody who waits until an order has been carried out.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) wants: Wants,
    pub(super) reply: oneshot::Sender<Result<Reply, Refusal>>,
}

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Running,
    Stopped,
}

/// A job.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) config: JobConfig,
    pub(super) state: JobState,
    pub(super) history: History,
    /// Counts the starts; events carry it.
    pub(super) generation: u64,
    pub(super) instance_id: Option<String>,
    pub(super) running: Option<Running>,
    pub(super) log: JobLog,
    pub(super) book: Book,
    pub(super) subscriptions: Vec<String>,
    /// Payloads reach it through the ring.
    reads_ring: bool,
    pub(super) waiters: Vec<Waiter>,
    pub(super) last_end: Option<ChildEnd>,
    last_end_was_good: bool,
    pub(super) started_at: Option<Instant>,
    stats: JobStats,
    heard_at: Option<Instant>,
    restarts: Count,
}

impl Entry {
    pub(super) fn new(config: JobConfig, supervisor_id: &str) -> Self {
        Self {
            subscriptions: subscriptions(&config, supervisor_id),
            reads_ring: false,
            config,
            state: JobState::Stopped,
            history: History::default(),
            generation: 0,
            instance_id: None,
            running: None,
            log: JobLog::default(),
            book: Book::default(),
            waiters: Vec::new(),
            last_end: None,
            last_end_was_good: true,
            started_at: None,
            stats: JobStats::default(),
            heard_at: None,
            restarts: Count::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// A new start begins: what its process is told.
    pub(super) fn begin_start(
        &mut self,
        info: &SupervisorInfo,
        endpoints: &Endpoints,
        runtime_dir: &Path,
        ring: Option<RingPlace>,
    ) -> JobSpec {
        self.reads_ring = ring.as_ref().is_some_and(|place| place.reads);
        if self.generation > 0 {
            self.restarts = Count { count: self.restarts.count + 1, last_updated: Some(iso_now()) };
        }
        self.generation += 1;
        self.started_at = Some(Instant::now());
        self.heard_at = None;
        self.stats = JobStats::default();
        let instance_id = uuid::Uuid::new_v4().to_string();
        self.instance_id = Some(instance_id.clone());
        JobSpec {
            name: self.config.name.clone(),
            job_type: self.config.job_type.to_owned(),
            unique_id: self.config.unique_id.clone(),
            instance_id,
            supervisor: info.clone(),
            supervisor_pid: std::process::id(),
            endpoints: endpoints.clone(),
            lock: runtime_dir.join(format!("job-{}.lock", short_hash(&self.config.unique_id))),
            verbosity: self.config.verbosity,
            topics: self.subscriptions.clone(),
            ring,
            wait: self.config.wait,
            settings: self.config.settings.clone(),
            config_text: self.config.text.clone(),
        }
    }

    /// The process is gone: its counts go into the book.
    pub(super) fn end_start(&mut self, end: ChildEnd, was_asked: bool) -> Option<Running> {
        self.read_tally();
        self.book.close();
        self.last_end = Some(end);
        self.last_end_was_good = end.is_success() || was_asked && end.is_terminated();
        self.instance_id = None;
        self.running.take()
    }

    pub(super) fn read_tally(&mut self) {
        if let Some(running) = &self.running {
            self.book.update(running.tally.read());
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
    }

    /// What the job says of itself must be what it was told.
    pub(super) fn take_info(&mut self, info: JobInfo) {
        debug_assert_eq!(info.subscribed_topics, self.subscriptions);
        self.subscriptions = info.subscribed_topics;
    }

    /// Takes a report; `true` if it is the first of this start that says of frames or records that were no messages.
    pub(super) fn take_stats(&mut self, stats: JobStats) -> bool {
        let before = std::mem::replace(&mut self.stats, stats);
        before.frames_refused == 0 && self.stats.frames_refused > 0
    }

    /// The job's figures, with what only the supervisor knows.
    pub(super) fn stats(&self, now: Instant) -> JobStats {
        let is_ready = self.state.name() == StateName::Ready;
        let is_heard = self.heard_at.is_some_and(|at| now.duration_since(at) < ALIVE_WITHIN);
        JobStats { restart_stats: self.restarts.clone(), is_alive: is_ready && is_heard, ..self.stats.clone() }
    }

    pub(super) fn party(&self) -> Party<'_> {
        Party { name: &self.config.name, unique_id: &self.config.unique_id, hearing: self.hearing(), book: &self.book }
    }

    /// What reaches it over the bus.
    pub(super) fn hearing(&self) -> Hearing<'_> {
        Hearing { subscriptions: &self.subscriptions, reads_ring: self.reads_ring }
    }

    /// Whether all is well at the end of the supervisor.
    pub(super) fn ended_well(&self) -> bool {
        match &self.state {
            JobState::Fatal { .. } => false,
            _ => self.last_end_was_good,
        }
    }

    /// Why it is where it is.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.state {
            JobState::BackingOff { why, .. } => Some(why.clone()),
            JobState::Fatal { reason } => Some(reason.clone()),
            JobState::Exited { end } => Some(why(*end)),
            _ => None,
        }
    }

    pub(super) fn status(&self, now: Instant) -> JobStatus {
        let since = match &self.state {
            JobState::Ready { since, .. } => Some(now.duration_since(*since).as_secs_f64()),
            _ => None,
        };
        let restart_in = match &self.state {
            JobState::BackingOff { until, .. } => Some(until.saturating_duration_since(now).as_secs_f64()),
            _ => None,
        };
        JobStatus {
            name: self.config.name.clone(),
            daq_job_type: self.config.job_type.to_owned(),
            unique_id: self.config.unique_id.clone(),
            instance_id: self.instance_id.clone(),
            state: self.state.name(),
            reason: self.reason(),
            pid: self.state.pid(),
            uptime_s: since,
            restart_in_s: restart_in,
            restarts: self.restarts.count,
            region: None,
            last_end: self.last_end.map(|end| end.to_string()),
            stats: self.stats(now),
        }
    }

    /// Answers those whose wish is fulfilled, or cannot be any more.
    pub(super) fn answer_waiters(&mut self) {
        let state = self.state.name();
        let reason = self.reason();
        for waiter in std::mem::take(&mut self.waiters) {
            let name = self.config.name.clone();
            let reached = match (waiter.wants, state) {
                (_, StateName::Starting | StateName::Stopping) => {
                    self.waiters.push(waiter);
                    continue;
                }
                (Wants::Running, StateName::Ready | StateName::Exited) => true,
                (Wants::Stopped, StateName::Stopped | StateName::Exited | StateName::Fatal) => true,
                (Wants::Running, StateName::Stopped | StateName::BackingOff | StateName::Fatal)
                | (Wants::Stopped, StateName::Ready | StateName::BackingOff) => false,
            };
            let answer = match reached {
                true => Ok(Reply::Job { name, state }),
                false => Err(Refusal::Failed { name, state, why: reason.clone().unwrap_or_else(overtaken) }),
            };
            waiter.reply.send(answer).ok();
        }
    }
}

fn overtaken() -> String {
    "another command came in between".into()
}
