//! The facts themselves.

use std::time::Duration;

use crate::config::Diagnostic;
use crate::control::{Changes, Edge, SignalNumber};
use crate::job::LogLine;
use crate::message::{Alert, AlertInfo, Severity};
use crate::os::ChildEnd;

/// Something that the configuration says without effect, or in an old way.
pub(crate) struct ConfigWarned<'a>(pub(crate) &'a Diagnostic);

impl ConfigWarned<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!("{}", self.0.to_string().replacen(": warning: ", ": ", 1));
    }
}

/// A kind of job that most deployments have is not there.
pub(crate) enum JobExpected {
    Store,
    Alert,
}

impl JobExpected {
    pub(crate) fn emit(self) {
        match self {
            Self::Store => tracing::warn!("No store job found, data will not be stored"),
            Self::Alert => tracing::info!("No alert job found, alerts will not be sent"),
        }
    }
}

/// A job's process is being made.
pub(crate) struct JobStarting<'a> {
    pub(crate) job: &'a str,
    pub(crate) job_type: &'a str,
    pub(crate) pid: u32,
}

impl JobStarting<'_> {
    pub(crate) fn emit(self) {
        tracing::debug!("[{}] started ({}, pid {})", self.job, self.job_type, self.pid);
    }
}

/// A job takes messages.
pub(crate) struct JobReadyNow<'a> {
    pub(crate) job: &'a str,
    pub(crate) job_type: &'a str,
    pub(crate) pid: u32,
    pub(crate) after: Duration,
}

impl JobReadyNow<'_> {
    pub(crate) fn emit(self) {
        let ms = self.after.as_millis();
        tracing::info!("[{}] ready ({}, pid {}, after {ms} ms)", self.job, self.job_type, self.pid);
    }
}

/// A job's process has ended, and nothing of its group is left.
pub(crate) struct JobEnded<'a> {
    pub(crate) job: &'a str,
    pub(crate) end: ChildEnd,
    pub(crate) was_asked: bool,
    /// As its policy says.
    pub(crate) is_success: bool,
}

impl JobEnded<'_> {
    pub(crate) fn emit(self) {
        match (self.was_asked, self.is_success || self.was_asked && self.end.is_terminated()) {
            (true, true) => tracing::info!("[{}] stopped", self.job),
            (true, false) => tracing::warn!("[{}] stopped with {}", self.job, self.end),
            (false, true) => tracing::info!("[{}] has ended by itself", self.job),
            (false, false) => tracing::warn!("[{}] died: {}", self.job, self.end),
        }
    }
}

/// A job comes back.
pub(crate) struct JobRestarts<'a> {
    pub(crate) job: &'a str,
    pub(crate) delay: Duration,
    pub(crate) why: &'a str,
}

impl JobRestarts<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!("[{}] starts again in {:.1} s: {}", self.job, self.delay.as_secs_f64(), self.why);
    }
}

/// A job ends and starts again, and it is nobody's failure.
pub(crate) struct JobRenewed<'a> {
    pub(crate) job: &'a str,
    pub(crate) why: &'a str,
}

impl JobRenewed<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("[{}] ends, to start anew: {}", self.job, self.why);
    }
}

/// A job is to start, and something holds it back.
pub(crate) struct JobWaits<'a> {
    pub(crate) job: &'a str,
    pub(crate) hold: &'a str,
}

impl JobWaits<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("[{}] waits: {}", self.job, self.hold);
    }
}

/// A job is no longer one.
pub(crate) struct JobLeft<'a> {
    pub(crate) job: &'a str,
}

impl JobLeft<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("[{}] removed", self.job);
    }
}

/// An operator sent a signal.
pub(crate) struct SignalSent<'a> {
    pub(crate) job: &'a str,
    pub(crate) signal: SignalNumber,
}

impl SignalSent<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("[{}] sending {}", self.job, self.signal);
    }
}

/// What runs is brought in line with the files.
pub(crate) struct Reloaded<'a> {
    pub(crate) changes: &'a Changes,
}

impl Reloaded<'_> {
    pub(crate) fn emit(self) {
        // The notes are for who asked.
        let text = Changes { notes: Vec::new(), ..self.changes.clone() }.to_string();
        tracing::info!("reload: {}", text.trim_end().replace('\n', "; "));
    }
}

/// A job does not come back by itself.
pub(crate) struct JobFatal<'a> {
    pub(crate) job: &'a str,
    pub(crate) reason: &'a str,
}

impl JobFatal<'_> {
    pub(crate) fn emit(self) {
        tracing::error!("[{0}] is fatal: {1}; when it is mended: enrgdaq start {0}", self.job, self.reason);
    }
}

/// A job did not end when asked.
pub(crate) enum JobForced<'a> {
    Terminated { job: &'a str },
    Killed { job: &'a str },
}

impl JobForced<'_> {
    pub(crate) fn emit(self) {
        match self {
            Self::Terminated { job } => tracing::info!("[{job}] sending SIGTERM"),
            Self::Killed { job } => tracing::warn!("[{job}] sending SIGKILL to its process group"),
        }
    }
}

/// A line of a job's log or output.
pub(crate) struct JobSaid<'a> {
    pub(crate) job: &'a str,
    pub(crate) line: &'a LogLine,
}

impl JobSaid<'_> {
    pub(crate) fn emit(self) {
        let (job, text) = (self.job, &self.line.message);
        match self.line.level.as_str() {
            "ERROR" => tracing::error!("[{job}] {text}"),
            "WARNING" => tracing::warn!("[{job}] {text}"),
            "INFO" => tracing::info!("[{job}] {text}"),
            _ => tracing::debug!("[{job}] {text}"),
        }
    }
}

/// Somebody raised an alert.
pub(crate) struct AlertRaised<'a> {
    pub(crate) alert: &'a Alert,
    /// It is another node's.
    pub(crate) is_foreign: bool,
}

impl AlertRaised<'_> {
    pub(crate) fn emit(self) {
        let Alert { alert_info: AlertInfo { message, severity }, originated_supervisor_id: node, .. } = self.alert;
        let of = if self.is_foreign { format!(" of {node}") } else { String::new() };
        match severity {
            Severity::Error => tracing::error!("alert{of}: {message}"),
            Severity::Warning => tracing::warn!("alert{of}: {message}"),
            Severity::Info => tracing::info!("alert{of}: {message}"),
        }
    }
}

/// All jobs have been started, and are ready or have failed.
pub(crate) struct Ready<'a> {
    pub(crate) supervisor_id: &'a str,
    pub(crate) ready: usize,
    pub(crate) jobs: usize,
}

impl Ready<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("{} takes data: {} of {} jobs are ready", self.supervisor_id, self.ready, self.jobs);
    }
}

/// The supervisor begins to stop.
pub(crate) struct StopBegins<'a> {
    pub(crate) reason: &'a str,
}

impl StopBegins<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("stopping: {} (once more, a second or more later, kills all jobs)", self.reason);
    }
}

/// The end waits for messages to arrive.
pub(crate) struct Draining {
    pub(crate) messages: u64,
}

impl Draining {
    pub(crate) fn emit(self) {
        tracing::info!("waiting until {} messages that are under way have arrived", self.messages);
    }
}

/// The supervisor itself was held up: what its jobs said meanwhile is judged from now on.
pub(crate) struct HeldUp {
    pub(crate) by: Duration,
}

impl HeldUp {
    pub(crate) fn emit(self) {
        tracing::warn!("the supervisor was held up for {:.1} s", self.by.as_secs_f64());
    }
}

/// Messages did not reach a reader that was to have them.
pub(crate) struct Undelivered<'a> {
    pub(crate) writer: &'a str,
    pub(crate) reader: &'a str,
    pub(crate) messages: u64,
}

impl Undelivered<'_> {
    pub(crate) fn emit(self) {
        tracing::error!("{} messages of {} did not reach {}", self.messages, self.writer, self.reader);
    }
}

/// Messages of the time of this supervisor that never arrived, though their reader was to have all; told once, at its end.
pub(crate) struct Missing<'a> {
    pub(crate) edge: &'a Edge,
}

impl Missing<'_> {
    pub(crate) fn emit(self) {
        let Edge { writer, reader, missing, skipped, produced, .. } = self.edge;
        let lost = missing.saturating_sub(*skipped);
        tracing::warn!("{lost} of {produced} messages of {writer} never arrived at {reader}");
    }
}

/// What an operator ordered before this start still holds.
pub(crate) struct OrderedByHand<'a> {
    pub(crate) wish: &'a str,
}

impl OrderedByHand<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("{}", self.wish);
    }
}

/// All has ended.
pub(crate) struct Stopped {
    pub(crate) is_clean: bool,
}

impl Stopped {
    pub(crate) fn emit(self) {
        match self.is_clean {
            true => tracing::info!("stopped, all jobs ended as they should"),
            false => tracing::warn!("stopped, but not all ended as it should: see above"),
        }
    }
}
