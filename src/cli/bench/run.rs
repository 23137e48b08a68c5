//! One measurement: a supervisor and its jobs, from their start to their end.
//!
//! ```text
//! ready ─▶ first message ─▶ warm-up 1 s ─▶ sample ─▶ --duration ─▶ sample ─▶ sources stopped ─▶ settled ─▶ stopped
//! ```
//!
//! A job's figures come once a second, with the store's own time: a rate is the difference of two samples by that time.

use std::thread;
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::figures::Figures;
use super::interrupt::Interrupt;
use super::machine::{Use, memcpy_bytes_per_s, used_by};
use super::plan::Plan;
use super::site::{Site, is_source};
use crate::control::{Command, Order, StateName, Status};
use crate::job::JobTypes;
use crate::supervisor::{Handle, Supervisor};

/// How long starting, and the first message, may take.
const START_WITHIN: Duration = Duration::from_secs(60);

const WARM_UP: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// So long nothing must change before the rest is given up as lost: a few reports.
const QUIET: Duration = Duration::from_secs(5);

/// The last words of a job arrive this long after its end.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What came out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) begin: Sample,
    pub(super) end: Sample,
    /// When nothing was under way any more.
    pub(super) last: Figures,
    /// The larger of before and after.
    pub(super) memcpy_bytes_per_s: f64,
    /// Every job ended as it should, and the supervisor too.
    pub(super) ended_well: bool,
}

/// A moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) figures: Figures,
    pub(super) used: Use,
}

/// Runs the plan.
pub(super) fn run(plan: &Plan, types: &JobTypes, interrupt: &Interrupt) -> Result<Measured, BenchError> {
    let site = Site::make(plan)?;
    let before = memcpy_bytes_per_s();
    let supervisor = Supervisor::new(None, types, site.dir())?;
    let handle = supervisor.handle();
    let runs = thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run());
    let runs = runs.map_err(BenchError::Thread)?;
    interrupt.guard(Some(handle.clone()));

    let measured = Run { plan, handle: &handle, interrupt }.measure();

    if interrupt.check().is_ok() {
        handle.stop("the measurement is over");
    }
    let ended_well = runs.join().expect("the supervisor does not panic")?.is_clean;
    interrupt.guard(None);
    interrupt.check()?;
    let (begin, end, last) = measured?;
    Ok(Measured { begin, end, last, memcpy_bytes_per_s: before.max(memcpy_bytes_per_s()), ended_well })
}

/// A supervisor at work.
struct Run<'r> {
    plan: &'r Plan,
    handle: &'r Handle,
    interrupt: &'r Interrupt,
}

impl Run<'_> {
    fn measure(&self) -> Result<(Sample, Sample, Figures), BenchError> {
        self.wait_until_flowing()?;
        self.sleep(WARM_UP)?;
        let begin = self.sample()?;
        self.sleep(self.plan.duration)?;
        let end = self.sample()?;
        let last = self.settle()?;
        Ok((begin, end, last))
    }

    fn wait_until_flowing(&self) -> Result<(), BenchError> {
        let until = Instant::now() + START_WITHIN;
        loop {
            let status = self.status()?;
            let is_ready = status.jobs.iter().all(|job| job.state == StateName::Ready);
            if is_ready && Figures::of(&status, self.plan).received > 0.0 {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(BenchError::Silence(START_WITHIN.as_secs()));
            }
            self.sleep(POLL)?;
        }
    }

    /// Sleeps, but not longer than all is well.
    fn sleep(&self, duration: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + duration;
        loop {
            self.interrupt.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }

    /// The picture of now, if every job is as it should.
    fn status(&self) -> Result<Status, BenchError> {
        let status = self.handle.status()?;
        let is_ill = |state| matches!(state, StateName::Fatal | StateName::BackingOff | StateName::Exited);
        match status.jobs.iter().find(|job| is_ill(job.state)) {
            Some(job) => {
                let why = job.reason.clone().or_else(|| job.last_end.clone()).unwrap_or_default();
                Err(BenchError::Job { job: job.name.clone(), why })
            }
            None => Ok(status),
        }
    }

    fn sample(&self) -> Result<Sample, BenchError> {
        let status = self.status()?;
        let pids = status.jobs.iter().filter_map(|job| job.pid).chain([status.supervisor.pid]);
        Ok(Sample { at: Instant::now(), figures: Figures::of(&status, self.plan), used: used_by(pids) })
    }

    /// Ends the sources, and waits until what they sent has arrived.
    fn settle(&self) -> Result<Figures, BenchError> {
        self.stop_sources()?;
        self.sleep(LAST_WORDS)?;
        let mut last = Figures::default();
        let mut quiet_since = Instant::now();
        loop {
            let figures = Figures::of(&self.status()?, self.plan);
            let counts = |figures: &Figures| (figures.sent, figures.received, figures.lost);
            if counts(&figures) != counts(&last) {
                quiet_since = Instant::now();
            } else if figures.add_up() || quiet_since.elapsed() > QUIET {
                return Ok(figures.settled());
            }
            last = figures;
            self.sleep(POLL)?;
        }
    }

    /// All at once, so that none has the machine for itself in the end.
    fn stop_sources(&self) -> Result<(), BenchError> {
        let jobs = self.status()?.jobs.into_iter().map(|job| job.name);
        let names: Vec<_> = jobs.filter(|name| is_source(name)).collect();
        let stop = |name: &String| self.handle.execute(Command::Job { name: name.clone(), order: Order::Stop });
        thread::scope(|scope| {
            let stops: Vec<_> = names.iter().map(|name| (name, scope.spawn(|| stop(name)))).collect();
            stops.into_iter().try_for_each(|(name, stopped)| {
                let answer = stopped.join().expect("asking does not panic")?;
                let fail =
                    |refusal: crate::control::Refusal| BenchError::Job { job: name.clone(), why: refusal.to_string() };
                answer.map(drop).map_err(fail)
            })
        })
    }
}
