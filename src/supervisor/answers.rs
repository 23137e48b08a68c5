//! What the dispatcher does about commands: it answers at once, or when an order has been carried out.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::dispatcher::Dispatcher;
use super::edges::edges;
use super::elsewhere::Text;
use super::entry::{Entry, Presence};
use super::logs::JobLog;
use super::orders::{Asker, Pending, Wants};
use super::phases::Phase;
use super::reload::Wish;
use super::state::Event;
use crate::config::is_meant;
use crate::control::{
    Admitted, Command, Inquiry, Order, Refusal, RegionStatus, Reply, SignalNumber, StateName, Status, SupervisorStatus,
    admit,
};
use crate::federation::Federation;
use crate::os::usage;
use crate::telemetry::{OWN, SignalSent};

impl Dispatcher {
    /// Answers, or sees to it that the answer comes when the order has been carried out.
    pub(super) fn answer(&mut self, inquiry: Inquiry) {
        let Inquiry { command, reach, reply, parts } = inquiry;
        let answer = match command {
            Command::Status => Ok(Reply::Status(Box::new(self.status()))),
            Command::Logs { name, query } => self.logs(name.as_deref()).map(|logs| self.parts.logs.find(&logs, &query)),
            Command::Job { name, order } => return self.order_and_answer(name, order, reply),
            Command::Signal { name, signal } => return self.signal(&name, signal, reply),
            Command::Plan => return self.wish(Wish::Plan, Some(reply)),
            Command::Reload => return self.wish(Wish::Reload, Some(reply)),
            Command::Add { path } => return self.wish(Wish::Add(path, reach), Some(reply)),
            Command::Remove { name } => return self.wish(Wish::Remove(name), Some(reply)),
            Command::Scale { name, copies } => return self.wish(Wish::Scale(name, copies), Some(reply)),
            Command::Config { name } => self.find(&name).map(|job| self.config_of(job)),
            Command::Inventory => Ok(self.inventory()),
            Command::RestartAll => return self.restart_all(reply),
            Command::Renew { update } => return self.renew_program(update, reply),
            Command::Run { config, name, restart_on_crash } => {
                let text = Text { config, name, restart_on_crash };
                return self.run_text(text, reach, reply);
            }
            Command::End { job, remove } => return self.end_job(&job, remove, reply),
            Command::Send { message_type, payload, target } => self.send_message(&message_type, &payload, target),
            Command::Forward { name, operation } => return self.forward(&name, operation, parts, reply),
        };
        reply.send(answer).ok();
    }

    /// The text of a job's file, without its secrets.
    fn config_of(&self, job: usize) -> Reply {
        let config = self.parts.entries[job].wanted();
        Reply::Config { name: config.name.clone(), path: config.path.clone(), config: config.text.clone() }
    }

    /// The picture of now, and what each job was told.
    fn inventory(&mut self) -> Reply {
        let status = Box::new(self.status());
        let seen = self.parts.entries.iter().filter(|entry| entry.is_seen());
        let jobs = seen.map(|entry| entry.info(&self.parts.info)).collect();
        Reply::Inventory { status, jobs }
    }

    /// Gives an order; the answer comes when it is carried out.
    pub(super) fn order_and_answer(&mut self, name: String, order: Order, reply: Asker) {
        match self.order(&name, order) {
            Ok(targets) => {
                // The state is filled in when it is reached.
                let answer = Reply::Job { name, state: StateName::Stopped };
                self.answer_when_done(targets, answer, reply);
            }
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// The answer comes when all have got where they are to, and what was decided is on the disk.
    pub(super) fn answer_when_done(&mut self, targets: Vec<(usize, Wants)>, answer: Reply, asker: Asker) {
        let decisions = self.parts.operator.decisions();
        self.pending.push(Pending { targets, answer, decisions, asker });
    }

    /// Gives an order to a job, or to all copies of one: to all or to none.
    fn order(&mut self, name: &str, order: Order) -> Result<Vec<(usize, Wants)>, Refusal> {
        let jobs = self.find_all(name)?;
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return Err(Refusal::Stopping);
        }
        let admitted = jobs.iter().map(|&job| {
            let entry = &self.parts.entries[job];
            // One that is to start soon is as good as waiting.
            let state = if entry.is_due && !entry.is_live() { StateName::Waiting } else { entry.state.name() };
            admit(order, state, entry.name()).map(|admitted| (job, admitted))
        });
        let (able, refused): (Vec<_>, Vec<_>) = admitted.partition(Result::is_ok);
        if let (true, Some(Err(refusal))) = (able.is_empty(), refused.into_iter().next()) {
            return Err(refusal);
        }
        Ok(able.into_iter().flatten().map(|(job, admitted)| (job, self.give(job, admitted))).collect())
    }

    /// Gives one order; what an operator has stopped starts only by an order.
    pub(super) fn give(&mut self, job: usize, admitted: Admitted) -> Wants {
        let entry = &mut self.parts.entries[job];
        // Somebody looks after the job: its failures so far do not count against it.
        entry.history.clear();
        entry.is_due = false;
        self.parts.operator.set_stopped(entry.name(), admitted == Admitted::Stop);
        let (wants, event) = match admitted {
            Admitted::Start => (Wants::Running, Event::Start),
            Admitted::Stop => (Wants::Stopped, Event::Stop),
            Admitted::Restart => (Wants::Running, Event::Restart),
        };
        if wants == Wants::Running {
            // Its time is now.
            entry.next_start = None;
        }
        self.apply(job, event);
        wants
    }

    /// Signals the process of a job, or the program that it runs, which is looked for first: the answer comes then.
    fn signal(&self, name: &str, signal: SignalNumber, reply: Asker) {
        let (name, state, tree, runs_program) = match self.find(name).map(|job| &self.parts.entries[job]) {
            Err(refusal) => return drop(reply.send(Err(refusal))),
            Ok(entry) => {
                let tree = entry.running.as_ref().map(|running| running.process.clone());
                (entry.name().to_owned(), entry.state.name(), tree, entry.config.runs_program)
            }
        };
        let Some(tree) = tree else { return drop(reply.send(Err(Refusal::NoProcess { name, state }))) };
        tokio::spawn(async move {
            let is_sent = match runs_program {
                true => tree.signal_children(signal.get()).await,
                false => tree.signal_leader(signal.get()),
            };
            if !is_sent {
                return drop(reply.send(Err(Refusal::NotSignalled { name })));
            }
            SignalSent { job: &name, signal }.emit();
            reply.send(Ok(Reply::Job { name, state })).ok();
        });
    }

    /// The log of a job, of the supervisor, or all.
    fn logs(&self, name: Option<&str>) -> Result<Vec<&JobLog>, Refusal> {
        let own = self.parts.logs.own();
        match name {
            Some(name) => match self.find(name) {
                Err(_) if name == OWN => Ok(vec![own]),
                found => found.map(|job| vec![&self.parts.entries[job].log]),
            },
            None => Ok(self
                .parts
                .entries
                .iter()
                .filter(|entry| entry.is_seen())
                .map(|entry| &entry.log)
                .chain([own])
                .collect()),
        }
    }

    /// A job by its name.
    pub(super) fn find(&self, name: &str) -> Result<usize, Refusal> {
        let mut entries = self.parts.entries.iter();
        let found = entries.position(|entry| entry.presence != Presence::Gone && entry.name() == name);
        found.ok_or_else(|| self.no_such_job(name))
    }

    /// A job by its name, or all copies by the name of their file.
    fn find_all(&self, name: &str) -> Result<Vec<usize>, Refusal> {
        let entries = self.parts.entries.iter().enumerate();
        let meant = entries.filter(|(_, entry)| entry.presence == Presence::Here && is_meant(name, &entry.config));
        let found: Vec<_> = meant.map(|(job, _)| job).collect();
        if found.is_empty() { Err(self.no_such_job(name)) } else { Ok(found) }
    }

    pub(super) fn no_such_job(&self, name: &str) -> Refusal {
        let names = self.parts.entries.iter().filter(|entry| entry.is_seen()).map(Entry::name);
        Refusal::NoSuchJob { name: name.into(), similar: crate::config::closest(name, names).map(str::to_owned) }
    }

    /// The picture of now.
    fn status(&mut self) -> Status {
        let now = Instant::now();
        self.parts.entries.iter_mut().for_each(Entry::read_tally);
        let parties: Vec<_> = self.parts.entries.iter().map(Entry::party).collect();
        let mut edges = edges(&parties);
        let mut jobs: Vec<_> = self.parts.entries.iter().map(|entry| entry.status(now)).collect();
        let stopped = &self.parts.operator.decided().stopped;
        for job in jobs.iter_mut().filter(|job| job.state == StateName::Stopped && stopped.contains(&job.name)) {
            job.reason = Some("stopped by hand".into());
        }
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
        let seen = self.parts.entries.iter().map(Entry::is_seen);
        let jobs = jobs.into_iter().zip(seen).filter(|(_, is_seen)| *is_seen).map(|(job, _)| job).collect();
        Status {
            supervisor: SupervisorStatus {
                info: self.parts.info.clone(),
                pid: std::process::id(),
                uptime_s: now.duration_since(self.started_at).as_secs_f64(),
                version: env!("CARGO_PKG_VERSION").into(),
                config_dir: self.parts.origin.dir.display().to_string(),
                is_stopping: matches!(self.phase, Phase::Stopping(_) | Phase::Done),
                cpu_percent: self.cpu_percent,
                rss_mb,
                outside_full: self.parts.outside_full.load(Ordering::Relaxed),
                log_lines_dropped: self.parts.logs.dropped_on_console(),
                log: self.parts.logs.own().counts(),
            },
            edges,
            jobs,
            alerts: self.alerts.iter().cloned().collect(),
            federation: self.parts.federation.as_ref().map(Federation::status),
        }
    }
}
