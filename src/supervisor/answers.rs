//! What the dispatcher does about commands: it answers at once, or when an order has been carried out.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::dispatcher::Dispatcher;
use super::edges::edges;
use super::entry::{Entry, Waiter, Wants};
use super::phases::Phase;
use super::state::Event;
use crate::control::{
    Admitted, Command, Inquiry, Order, Refusal, RegionStatus, Reply, Status, SupervisorStatus, admit,
};
use crate::os::usage;

impl Dispatcher {
    /// Answers, or sees to it that the answer comes when the order has been carried out.
    pub(super) fn answer(&mut self, inquiry: Inquiry) {
        let Inquiry { command, reply } = inquiry;
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

    /// The picture of now.
    fn status(&mut self) -> Status {
        let now = Instant::now();
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let parties: Vec<_> = self.parts.entries.iter().map(Entry::party).collect();
        let mut edges = edges(&parties);
        let mut jobs: Vec<_> = self.parts.entries.iter().map(|entry| entry.status(now)).collect();
        if let Some(ring) = &self.parts.ring {
            let regions = ring.picture(&mut edges);
            for (job, region) in jobs.iter_mut().zip(regions) {
                // A writer that was killed while it waited waits no more.
                let is_running = job.pid.is_some();
                let quiet = |region: RegionStatus| RegionStatus { dead_time_percent: 0.0, ..region };
                job.region = region.map(|region| if is_running { region } else { quiet(region) });
            }
        }
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
                outside_full: self.parts.outside_full.load(Ordering::Relaxed),
                log_lines_dropped: self.parts.lost_lines.as_ref().map_or(0, |lost| lost.dropped_lines() as u64),
            },
            edges,
            jobs,
            alerts: self.alerts.iter().cloned().collect(),
        }
    }
}
