//! Once a second: the supervisor hears its jobs, looks at their memory and at who waits for whom, and says that it is there
//! itself.

use std::time::{Duration, Instant};

use super::dispatcher::{Dispatcher, EVERY};
use super::entry::{Entry, Presence};
use super::phases::Phase;
use super::policy::Insistence;
use super::ring::Ring;
use super::state::{Event, JobState};
use super::watch::{Stage, Watched};
use crate::control::StateName;
use crate::message::{CombinedStats, Heartbeat, Severity, Topic};
use crate::os::usage;
use crate::telemetry::Waiting;

/// The supervisor's own heartbeat goes to every job: less often, as a hundred idle jobs are to cost nothing. Each says when
/// the next one comes.
const OWN_BEAT_EVERY: Duration = Duration::from_secs(5);

impl Dispatcher {
    /// Once a second.
    pub(super) fn beat(&mut self, now: Instant) {
        self.listen(now);
        self.show_status(now);
        let used = usage();
        self.cpu_percent = 100.0 * used.cpu.saturating_sub(self.used.cpu).as_secs_f64() / EVERY.as_secs_f64();
        self.used = used;
        if let Some(ring) = &mut self.parts.ring {
            ring.beat(now);
        }
        self.tell_links();
        self.tell_losses();
        self.tell_who_is_waited_for();
        if let Some(failure) = self.parts.operator.failure() {
            self.raise(Severity::Error, failure);
        }
        let id = self.parts.info.supervisor_id.clone();
        if now >= self.own_beat_due {
            self.own_beat_due = now + OWN_BEAT_EVERY;
            let next_in_ms = u64::try_from(OWN_BEAT_EVERY.as_millis()).unwrap_or(u64::MAX);
            self.parts.link.send(Topic::broadcast(&id), &Heartbeat { next_in_ms, progress: 0, is_ready: true });
        }
        if !self.parts.link.has_readers(&Topic::combined_stats(&id)) {
            return;
        }
        let seen = self.parts.entries.iter().filter(|entry| entry.is_seen());
        let jobs = seen.map(|entry| (entry.name().to_owned(), entry.stats(now))).collect();
        let stats = CombinedStats { stats: [(id.clone(), jobs)].into() };
        self.parts.link.send(Topic::combined_stats(&id), &stats);
    }

    /// Hears the heartbeats of all jobs.
    fn listen(&mut self, now: Instant) {
        for job in 0..self.parts.entries.len() {
            self.look_whether_held(job);
            let Some(beat) = self.parts.entries[job].new_beat() else { continue };
            self.parts.entries[job].heard(now);
            // Said again with each beat: the first word may have been lost.
            if beat.is_ready && matches!(self.parts.entries[job].state, JobState::Starting { .. }) {
                self.apply(job, Event::Ready);
            }
            self.apply(job, Event::Beat { progress: beat.progress });
        }
    }

    /// A job that waits for what another has is not late.
    pub(super) fn look_whether_held(&mut self, job: usize) {
        if self.parts.entries[job].is_held() {
            self.apply(job, Event::Held);
        }
    }

    pub(super) fn watch_memory(&mut self, now: Instant) {
        let entries = self.parts.entries.iter().enumerate();
        let watched = entries.filter_map(|(job, entry)| {
            let key = entry.running.as_ref()?.process.key();
            let stage = match entry.state.name() {
                StateName::Starting => Stage::Starting,
                StateName::Ready => Stage::Ready,
                _ => Stage::Ending,
            };
            let limits = entry.config.supervise.memory;
            Some(Watched { job, generation: entry.generation, key, stage, limits })
        });
        self.parts.memory_watch.pass_time(now, watched);
    }

    pub(super) fn on_overgrown(&mut self, job: usize, generation: u64, why: &str) {
        let is_up = |entry: &Entry| matches!(entry.state.name(), StateName::Starting | StateName::Ready);
        let is_now = |entry: &Entry| entry.generation == generation && is_up(entry);
        if !matches!(self.phase, Phase::Starting { .. } | Phase::Running)
            || !self.parts.entries.get(job).is_some_and(is_now)
        {
            return;
        }
        let is_failure = self.parts.entries[job].config.supervise.memory.counts_as_failure;
        self.apply(job, Event::Overgrown { why: why.to_owned(), is_failure });
        let entry = &self.parts.entries[job];
        let (name, times) = (entry.name(), entry.history.overgrown());
        match Insistence::of(times) {
            Insistence::Say => self.raise(Severity::Warning, format!("{name} is restarted: {why}")),
            Insistence::Urge => {
                let window = entry.config.supervise.restart_window.as_secs_f64();
                let text = format!(
                    "{name} is restarted: {why}; it is the {times}th time, each less than {window} s after the one before"
                );
                self.raise(Severity::Error, text);
            }
            Insistence::Pass => {}
        }
    }

    /// What was lost with readers that are no longer configured, or differently.
    pub(super) fn tell_losses(&mut self) {
        for text in self.parts.ring.as_mut().map(Ring::take_losses).unwrap_or_default() {
            self.is_clean = false;
            self.raise(Severity::Error, text);
        }
    }

    /// A store that does not run, and does not come by itself, holds up who writes for it: that is as ordered, and
    /// somebody should know.
    fn tell_who_is_waited_for(&mut self) {
        let is_idle = |entry: &Entry| {
            let is_idle = matches!(entry.state, JobState::Stopped | JobState::Waiting { .. });
            is_idle && entry.presence == Presence::Here && !entry.is_due && !entry.is_wait_told
        };
        let idle: Vec<_> = (0..self.parts.entries.len()).filter(|&job| is_idle(&self.parts.entries[job])).collect();
        let Some(ring) = self.parts.ring.as_ref().filter(|_| !idle.is_empty()) else { return };
        for (job, Waiting { writer, reader, .. }) in ring.waited_for(&idle) {
            self.parts.entries[job].is_wait_told = true;
            let what = "its memory is full of messages for it";
            self.raise(
                Severity::Error,
                format!("{writer} waits for {reader}, which does not run: {what}; enrgdaq start {reader}"),
            );
        }
    }

    /// What `systemctl status` shows.
    fn show_status(&mut self, now: Instant) {
        let (entries, phase) = (&self.parts.entries, &self.phase);
        self.parts.systemd.show(now, || {
            let doing = match phase {
                Phase::Starting { .. } => "starting",
                Phase::Running => "running",
                Phase::Stopping(_) | Phase::Done => "stopping",
            };
            let here = || entries.iter().filter(|entry| entry.presence == Presence::Here);
            let ready = here().filter(|entry| entry.state.name() == StateName::Ready).count();
            let restarts: u64 = here().map(Entry::restarts).sum();
            format!("{doing}: {ready} of {} jobs ready, {restarts} restarts", here().count())
        });
    }
}
