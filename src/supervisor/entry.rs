//! One job as the dispatcher holds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::edges::{Book, Hearing, Party};
use super::logs::{Capture, JobLog};
use super::policy::History;
use super::state::{JobState, why};
use super::timetable::{Clocks, NextStart};
use super::tree::Tree;
use crate::bus::Endpoints;
use crate::config::JobConfig;
use crate::control::{JobStatus, StateName};
use crate::job::{Beat, JobSpec, RingPlace, Tally};
use crate::message::{Count, JobInfo, JobStats, SupervisorInfo, Topic};
use crate::os::{ChildEnd, iso_now, shared_dir, short_hash};

/// A ready job that was heard of within this time is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// A process of a job, and what hangs on it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Arc<Tree>,
    pub(super) tally: Tally,
    /// What it says is read as long as this is there, and to its last word.
    pub(super) _capture: Capture,
}

/// The lock of what only one job of this user may have, whatever supervisor it has.
fn lock_of(word: &str) -> PathBuf {
    shared_dir().join(format!("{}.lock", short_hash(word)))
}

/// What a job hears: whoever serves a backend what is meant for its type, and every job the topics of its config.
fn subscriptions(config: &JobConfig, supervisor_id: &str) -> Vec<String> {
    let of_store = [Topic::store(config.job_type), Topic::store_of(supervisor_id, config.job_type)];
    let own = of_store.iter().filter(|_| config.backend.is_some()).map(|topic| topic.as_str().to_owned());
    own.chain(config.topics_to_subscribe.iter().cloned()).collect()
}

/// Whether a job is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// It ends, and is gone then.
    Leaving,
    /// It has no process, and nobody sees it any more. Its place in the list is kept.
    Gone,
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
    /// What it becomes as soon as it has no process.
    pub(super) next_config: Option<JobConfig>,
    /// It starts when its rank does.
    pub(super) is_due: bool,
    /// So long at most the next rank waits for it.
    pub(super) awaited_until: Option<Instant>,
    /// It has been told that others wait for it while it does not run.
    pub(super) is_wait_told: bool,
    /// The files no longer have it.
    pub(super) presence: Presence,
    /// Its next time, if it has a schedule.
    pub(super) next_start: Option<NextStart>,
    pub(super) last_end: Option<ChildEnd>,
    last_end_was_good: bool,
    pub(super) started_at: Option<Instant>,
    stats: JobStats,
    heard_at: Option<Instant>,
    beats: u64,
    restarts: Count,
}

impl Entry {
    pub(super) fn new(config: JobConfig, supervisor_id: &str) -> Self {
        Self {
            subscriptions: subscriptions(&config, supervisor_id),
            reads_ring: false,
            log: JobLog::of(&config.name),
            config,
            state: JobState::Stopped,
            history: History::default(),
            generation: 0,
            instance_id: None,
            running: None,
            book: Book::default(),
            next_config: None,
            is_due: false,
            awaited_until: None,
            is_wait_told: false,
            presence: Presence::Here,
            next_start: None,
            last_end: None,
            last_end_was_good: true,
            started_at: None,
            stats: JobStats::default(),
            heard_at: None,
            beats: 0,
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
        (runtime_dir, state_dir): (&Path, &Path),
        ring: Option<RingPlace>,
    ) -> JobSpec {
        self.reads_ring = ring.as_ref().is_some_and(|place| place.reads);
        if self.generation > 0 {
            self.restarts = Count { count: self.restarts.count + 1, last_updated: Some(iso_now()) };
        }
        self.generation += 1;
        self.is_wait_told = false;
        self.started_at = Some(Instant::now());
        self.heard_at = None;
        self.beats = 0;
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
            state_dir: state_dir.join("jobs").join(short_hash(&self.config.unique_id)),
            verbosity: self.config.verbosity,
            topics: self.subscriptions.clone(),
            ring,
            wait: self.config.wait,
            process: self.config.process.clone(),
            exclusive: self.config.supervise.exclusive.as_deref().map(lock_of),
            cgroup: None,
            memory_max: self.config.supervise.memory.max_bytes,
            stop_timeout: self.config.supervise.stop_timeout,
            watchdog_timeout: self.config.supervise.watchdog_timeout,
            settings: self.config.settings.clone(),
            config_text: self.config.text.clone(),
        }
    }

    /// The process is gone: its counts go into the book.
    pub(super) fn end_start(&mut self, end: ChildEnd, was_asked: bool) {
        self.read_tally();
        self.book.close();
        self.last_end = Some(end);
        let is_success =
            matches!(end, ChildEnd::Code(code) if self.config.supervise.success_exit_codes.contains(&code));
        self.last_end_was_good = is_success || was_asked && end.is_terminated();
        self.instance_id = None;
        self.running = None;
    }

    pub(super) fn read_tally(&mut self) {
        if let Some(running) = &self.running {
            self.book.update(running.tally.read());
        }
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.count
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
    }

    /// Its heartbeat, if there was one since the last look.
    pub(super) fn new_beat(&mut self) -> Option<Beat> {
        let beat = self.running.as_ref()?.tally.last_beat();
        (std::mem::replace(&mut self.beats, beat.number) != beat.number).then_some(beat)
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

    /// What its process is told of it; before its first start without an instance.
    pub(super) fn info(&self, supervisor: &SupervisorInfo) -> JobInfo {
        JobInfo {
            daq_job_type: self.config.job_type.to_owned(),
            unique_id: self.config.unique_id.clone(),
            instance_id: self.instance_id.clone().unwrap_or_default(),
            config: self.config.text.clone(),
            subscribed_topics: self.subscriptions.clone(),
            supervisor_info: supervisor.clone(),
        }
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

    /// Its configuration is this from now on; it has no process.
    pub(super) fn adopt(&mut self, config: JobConfig, supervisor_id: &str) {
        self.subscriptions = subscriptions(&config, supervisor_id);
        if self.config.name != config.name {
            self.log = JobLog::of(&config.name);
        }
        self.config = config;
        self.history.clear();
    }

    /// What it is to be: with a new configuration that waits for the end of its process.
    pub(super) fn wanted(&self) -> &JobConfig {
        self.next_config.as_ref().unwrap_or(&self.config)
    }

    /// When it starts for the first time with what it is to be.
    pub(super) fn first_start(&self) -> Option<NextStart> {
        let schedule = self.wanted().supervise.schedule.as_ref()?;
        NextStart::first(schedule, &Clocks::now())
    }

    /// When it starts again with what it is to be: what runs at once, what waits for its time when that comes.
    pub(super) fn start_anew(&self) -> Option<NextStart> {
        let keeps_schedule = self.config.supervise.schedule == self.wanted().supervise.schedule;
        match self.state {
            JobState::Waiting { .. } if keeps_schedule => self.next_start.clone(),
            JobState::Waiting { .. } => self.first_start(),
            _ => None,
        }
    }

    /// Whether it is one of the jobs, also when it is about to leave them.
    pub(super) fn is_seen(&self) -> bool {
        self.presence != Presence::Gone
    }

    /// Whether it has a process, or is about to have one.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state.name(), StateName::Starting | StateName::Ready | StateName::Stopping)
    }

    /// Whether it is held back by a job of another supervisor.
    pub(super) fn is_held(&self) -> bool {
        let is_starting = matches!(self.state, JobState::Starting { .. });
        is_starting && self.running.as_ref().is_some_and(|running| running.tally.is_held())
    }

    /// Times of its schedule that passed while it ran are passed over.
    pub(super) fn pass_over(&mut self) {
        if let (Some(schedule), Some(next)) = (&self.config.supervise.schedule, self.next_start.take()) {
            self.next_start = Some(next.pass_over(schedule, &Clocks::now()));
        }
    }

    /// Why it is where it is.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.state {
            JobState::Waiting { hold } => Some(hold.to_string()),
            JobState::Starting { .. } if self.is_held() => {
                Some(format!("a job of another supervisor has {:?}", self.config.supervise.exclusive.as_deref()?))
            }
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
            JobState::Waiting { .. } => {
                let next = self.next_start.as_ref().and_then(NextStart::instant);
                next.map(|next| next.saturating_duration_since(now).as_secs_f64())
            }
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
            log: self.log.counts(),
            last_end: self.last_end.map(|end| end.to_string()),
            stats: self.stats(now),
        }
    }
}
