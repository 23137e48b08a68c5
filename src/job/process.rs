//! The life of a job's process, from exec to exit status.
//!
//! ```text
//! spec from descriptor 0 → die with the supervisor → control group, limits → log → locks → bus, handshake → Job::new → ready → Job::run → drain → exit
//!                                                                                     stop: message, SIGTERM
//! exit status   0 ended as it should · 1 failed, may be tried again · 78 only another configuration helps
//!               all else: that of the program which the job ran
//! ```

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use super::context::{Context, Parts};
use super::keeper::Keeper;
use super::log_line::MarkedLines;
use super::setup::{Setup, set_up};
use super::spec::{JobSpec, SpecError};
use super::stop::{Cause, StopBell};
use super::tally::Tally;
use super::types::{JobError, JobTypes};
use crate::bus::{Contexts, Deadline, PublishError, Subscriber};
use crate::message::{JobReady, Message, Plane, Topic};
use crate::os::{
    FileLock, TakeError, block_stop_signals, close_other_descriptors, die_with_parent, has_parent, kill_own_group,
    reset_signals, spawn_signal_thread,
};

/// `EX_CONFIG` of sysexits.h.
pub(crate) const EXIT_CONFIG: u8 = 78;

/// How long a job may live on after its supervisor has died.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// How long messages may still leave once the job is to stop, and how often that is looked at.
const LEAVE_AFTER_STOP: Duration = Duration::from_secs(6);
const LEAVE_POLL: Duration = Duration::from_millis(20);

/// How long a supervisor may take to end after it has stopped to be one.
const LAST_SIGN: Duration = Duration::from_millis(200);

/// Whether the stop came by a signal.
static HAS_SIGNAL: AtomicBool = AtomicBool::new(false);

/// How often a job looks whether its predecessor is gone.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Runs the job that descriptor 0 describes.
pub(crate) fn run(types: &JobTypes) -> ExitCode {
    reset_signals();
    block_stop_signals();
    close_other_descriptors();
    let (spec, tally) = match take_spec() {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!("{}", crate::error_chain(&error));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if !die_with_parent(spec.supervisor_pid) {
        return ExitCode::FAILURE;
    }
    let parent = spec.supervisor_pid;
    // The limits of a program are for the process in which it is started.
    let runs_program = types.get(&spec.job_type).is_some_and(|job_type| job_type.runs_program);
    let setup = set_up(&spec, !runs_program);
    let guard = log_to_supervisor(&spec);
    let status = match told(setup).and_then(|()| live(types, spec, tally)) {
        Ok(()) | Err(JobError::Stopping) => ExitCode::SUCCESS,
        Err(JobError::Exit { code, why }) => {
            tracing::warn!("{why}");
            ExitCode::from(code)
        }
        Err(error) => {
            tracing::error!("{}", crate::error_chain(&error));
            match error {
                JobError::Config(_) => ExitCode::from(EXIT_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    };
    drop(guard);
    if is_orphan(parent) {
        // Nobody is left to end what this job started.
        kill_own_group();
    }
    status
}

/// Says what could not be set up, now that there is a log.
fn told(setup: Setup) -> Result<(), JobError> {
    if let Some(error) = setup.outside {
        tracing::warn!("the job runs without a control group, which cannot be entered: {error}");
    }
    setup.result.map_err(|error| JobError::Config(crate::error_chain(&error)))
}

/// Whether the supervisor is gone. SIGTERM may be its last sign of life: the kernel sends it while the supervisor is still
/// ending.
fn is_orphan(supervisor_pid: u32) -> bool {
    if !HAS_SIGNAL.load(Ordering::Relaxed) {
        return !has_parent(supervisor_pid);
    }
    let until = Instant::now() + LAST_SIGN;
    while has_parent(supervisor_pid) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Reads the spec and maps the tally; descriptor 0 is `/dev/null` afterwards.
fn take_spec() -> Result<(JobSpec, Tally), SpecError> {
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(SpecError::Read)?);
    let spec = JobSpec::from_file(&file)?;
    let tally = Tally::map(&file).map_err(SpecError::Read)?;
    let null = File::open("/dev/null").map_err(SpecError::Read)?;
    rustix::stdio::dup2_stdin(null).map_err(|errno| SpecError::Read(errno.into()))?;
    Ok((spec, tally))
}

/// Log records go to stderr by a thread of their own: a supervisor that does not read cannot hold up the job.
fn log_to_supervisor(spec: &JobSpec) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(10_000).finish(std::io::stderr());
    tracing_subscriber::fmt()
        .event_format(MarkedLines)
        .with_max_level(spec.verbosity.level())
        .with_writer(writer)
        .init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panic.to_string().replace('\n', " "))));
    guard
}

fn live(types: &JobTypes, spec: JobSpec, tally: Tally) -> Result<(), JobError> {
    let job_type = types
        .get(&spec.job_type)
        .ok_or_else(|| JobError::Config(format!("this program has no job type {}", spec.job_type)))?;
    let stop =
        StopBell::new(spec.stop_timeout).map_err(|error| JobError::failed("the system refused a descriptor", error))?;
    hear_signals(stop.clone(), spec.supervisor_pid)
        .map_err(|error| JobError::failed("the system refused a thread for signals", error))?;
    let _lock = be_the_only_one(&spec, &stop)?;
    let _exclusive = be_exclusive(&spec, &tally, &stop)?;
    let settings = spec.settings.clone();
    let contexts = Contexts::new();
    let takes_messages = !(job_type.messages)().is_empty();
    let parts = Parts { spec, tally, stop: stop.clone(), backends: types.backends(), takes_messages };
    let cx = Context::open(&contexts, parts)?;
    let keeper = Keeper::start(&contexts, cx.clone())?;
    cx.started()?;
    let result = (job_type.run)(settings, cx.clone());
    cx.close_inbox();
    cx.close_requests();
    let has_left = LastWords::new(&stop).wait_until_passed(&contexts, &cx);
    cx.close_data();
    let Contexts { control, data } = contexts;
    drop_aside(data);
    keeper.end();
    cx.bus().close(Plane::Control);
    drop(cx);
    drop(control);
    result.and(has_left)
}

/// The wait at the end until what was published over the bus is safe from this process's end. Libzmq drops what it had
/// read from its queues and could not write yet when a socket is closed, however long it is to linger.
struct LastWords<'a> {
    stop: &'a StopBell,
    give_up_at: Option<Instant>,
}

impl<'a> LastWords<'a> {
    fn new(stop: &'a StopBell) -> Self {
        Self { stop, give_up_at: None }
    }

    /// Returns when the proxy has all data: when a last message to this job itself, behind all others, has come back. Once
    /// the job is to stop this has a limit.
    fn wait_until_passed(&mut self, contexts: &Contexts, cx: &Context) -> Result<(), JobError> {
        if !cx.bus().has_published(Plane::Data) {
            return Ok(());
        }
        let planes = [Plane::Data];
        let topic = Topic::probe(cx.instance_id(), "end");
        let mut echo = Subscriber::connect(contexts, &cx.spec().endpoints, &planes)?;
        echo.subscribe(&topic)?;
        while !cx.bus().has_readers(Plane::Data, &topic) {
            self.pause()?;
        }
        let message = Message::of(&JobReady {}).map_err(PublishError::Encode)?;
        while cx.bus().publish(std::slice::from_ref(&topic), &message, Deadline::Within(LEAVE_POLL)).is_err() {
            self.pause()?;
        }
        while echo.next(LEAVE_POLL, &[])?.is_none() {
            self.pause()?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), JobError> {
        if self.stop.has_rung() && Instant::now() > *self.give_up_at.get_or_insert(Instant::now() + LEAVE_AFTER_STOP) {
            let context = "messages that were published could not leave: their readers have no room".into();
            return Err(JobError::Failed { context, source: None });
        }
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

/// Ends a context without waiting for it.
fn drop_aside(context: zmq::Context) {
    if let Err(error) = thread::Builder::new().name("closer".into()).spawn(move || drop(context)) {
        tracing::debug!("no thread to close the bus: {error}");
    }
}

/// Waits until no other process is this job. After the death of a supervisor its jobs live on for some seconds, or, if
/// they are stopped, until somebody lets them go on; two of them would write into the same files.
fn be_the_only_one(spec: &JobSpec, stop: &StopBell) -> Result<FileLock, JobError> {
    let tell = |holder: &str| {
        tracing::warn!("an earlier process of this job is still there ({holder}): waiting until it is gone");
    };
    wait_for_lock(&spec.lock, stop, FileLock::take, tell)
}

/// Waits until no other job has the same word as `exclusive`. What the job starts holds the lock with it.
fn be_exclusive(spec: &JobSpec, tally: &Tally, stop: &StopBell) -> Result<Option<FileLock>, JobError> {
    let Some(path) = &spec.exclusive else { return Ok(None) };
    let who = format!("{} of {}", spec.name, spec.supervisor.supervisor_id);
    let tell = |holder: &str| {
        tracing::warn!("what is `exclusive` to this job is held by {holder}: waiting until it is free");
        tally.set_held(true);
    };
    let lock = wait_for_lock(path, stop, |path| FileLock::take_for_descendants(path, &who), tell)?;
    tally.set_held(false);
    Ok(Some(lock))
}

fn wait_for_lock(
    path: &Path,
    stop: &StopBell,
    take: impl Fn(&Path) -> Result<FileLock, TakeError>,
    tell: impl Fn(&str),
) -> Result<FileLock, JobError> {
    let mut is_told = false;
    loop {
        match take(path) {
            Ok(lock) => return Ok(lock),
            Err(TakeError::System(error)) => {
                return Err(JobError::failed(format!("cannot lock {}", path.display()), error));
            }
            Err(TakeError::Held(holder)) => {
                if !std::mem::replace(&mut is_told, true) {
                    tell(&holder);
                }
                if stop.bell().wait(LOCK_POLL) {
                    return Err(JobError::Stopping);
                }
            }
        }
    }
}

/// SIGTERM and SIGINT mean stop; when they come because the supervisor died, the job's time is limited.
fn hear_signals(stop: StopBell, supervisor_pid: u32) -> std::io::Result<()> {
    spawn_signal_thread(move |_| {
        HAS_SIGNAL.store(true, Ordering::Relaxed);
        stop.ring(Cause::Signal);
        if is_orphan(supervisor_pid) {
            thread::sleep(ORPHAN_GRACE);
            tracing::error!(
                "the supervisor died {} s ago and the job has not ended: killing it",
                ORPHAN_GRACE.as_secs()
            );
            kill_own_group();
        }
    })
}
