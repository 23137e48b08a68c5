//! Processes of jobs: spawned one after the other by a thread that lives as long as the supervisor, watched by a task
//! each.
//!
//! PDEATHSIG belongs to the thread that spawned, so that thread must not end before the supervisor does. `Command` stays
//! on its `posix_spawn` path: nothing runs between fork and exec; what a child does to itself it does after exec.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::net::unix::pipe;

use super::dispatcher::{Mail, Mailbox};
use crate::job::{JobSpec, Tally};
use crate::os::Process;

/// How often the rest of a group is looked at after its leader has ended.
const GROUP_POLL: Duration = Duration::from_millis(10);
const GROUP_POLL_MAX: Duration = Duration::from_millis(200);

/// A job's process and what came with it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) process: Arc<Process>,
    pub(super) tally: Tally,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What a process could not be made of.
#[derive(Debug)]
pub(crate) struct SpawnFailure {
    pub(super) error: String,
    pub(super) is_permanent: bool,
}

/// The thread that spawns.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<(usize, u64, Box<JobSpec>)>);

impl Spawner {
    /// Starts the thread; each result comes as mail.
    pub(super) fn start(executable: PathBuf, mailbox: Mailbox) -> std::io::Result<Self> {
        let (sender, orders) = mpsc::channel::<(usize, u64, Box<JobSpec>)>();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            for (job, generation, spec) in orders {
                let result = spawn(&executable, &spec);
                if mailbox.blocking_send(Mail::Spawned { job, generation, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Orders a process.
    pub(super) fn order(&self, job: usize, generation: u64, spec: JobSpec) {
        self.0.send((job, generation, Box::new(spec))).expect("the spawner ends only with its orders");
    }
}

fn spawn(executable: &Path, spec: &JobSpec) -> Result<Child, SpawnFailure> {
    let fail = |what: &str, error: std::io::Error| SpawnFailure {
        error: format!("{what}: {error}"),
        is_permanent: matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied),
    };
    let file: File = spec.to_file().map_err(|error| fail("cannot write the job's spec", error))?;
    let tally = Tally::map(&file).map_err(|error| fail("cannot map the job's tally", error))?;
    let mut child = Command::new(executable)
        .arg0(name_of_program())
        .arg("job")
        .arg(&spec.name)
        .stdin(Stdio::from(file))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| fail(&format!("cannot start {}", executable.display()), error))?;
    let stdout = child.stdout.take().map(OwnedFd::from).expect("stdout is piped");
    let stderr = child.stderr.take().map(OwnedFd::from).expect("stderr is piped");
    // From here on the pid is ours to reap, by the pidfd; `Child` does nothing when it is dropped.
    let process = Process::adopt(child.id()).map_err(|error| {
        child.kill().and_then(|()| child.wait().map(drop)).ok();
        fail("cannot open a pidfd", error)
    })?;
    Ok(Child { process: Arc::new(process), tally, stdout, stderr })
}

/// The name under which this program was started.
fn name_of_program() -> OsString {
    let path = std::env::args_os().next().map(PathBuf::from);
    path.and_then(|path| path.file_name().map(Into::into)).unwrap_or_else(|| "enrgdaq".into())
}

/// Waits for the leader's end, then until its group is empty; reaps it and says how it ended.
pub(super) async fn watch(job: usize, generation: u64, process: Arc<Process>, mailbox: Mailbox) {
    let end = process.ended().await;
    let (mut pause, mut empty, mut is_told) = (GROUP_POLL, 0, false);
    // A process that forks while the list is read can be missed once.
    while empty < 2 {
        if process.group_members().is_empty() {
            empty += 1;
            continue;
        }
        empty = 0;
        if !is_told {
            is_told = true;
            mailbox.send(Mail::LeaderEnded { job, generation }).await.ok();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(GROUP_POLL_MAX);
    }
    process.reap().ok();
    mailbox.send(Mail::Gone { job, generation, end }).await.ok();
}

/// A pipe of a job, as the capture reads it.
pub(super) fn reading_end(fd: OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd)
}
