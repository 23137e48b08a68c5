//! `enrgdaq exec FD`: what stands between the job and its program. It reads its spec from the descriptor, makes of itself
//! what the spec says, and becomes the program; what fails it says on a pipe, which a successful exec closes.
//!
//! Nothing runs between fork and exec of the job's process, which has threads: what is done to the program is done here.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, ExitCode};

use parking_lot::Mutex;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::super::setup::set_limits;
use super::ProgramError;
use crate::config::Rlimits;
use crate::os::{Account, be_killed_with_parent, become_user, close_at_exec, exec, reset_signals_of_program};

/// What the shim ends with if it does not become the program.
const NOT_EXECUTED: u8 = 127;

/// Descriptors that are to be inherited are open to every child that is started meanwhile: so one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What the shim makes of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ShimSpec {
    /// The file of the program.
    pub(super) path: String,
    /// Its name and arguments.
    pub(super) argv: Vec<String>,
    pub(super) user: Option<Ids>,
    pub(super) limits: Rlimits,
    /// A descriptor that the program keeps.
    pub(super) keep: Option<RawFd>,
    /// Its job's process; `spawn` fills this in, and the next.
    pub(super) parent: u32,
    /// Where the shim says what failed.
    pub(super) report_to: RawFd,
}

/// The numbers of a user.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl From<&Account> for Ids {
    fn from(account: &Account) -> Self {
        Self { uid: account.uid, gid: account.gid, groups: account.groups.clone() }
    }
}

/// The step that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) step: String,
    pub(super) errno: i32,
}

impl Report {
    fn new(step: impl Into<String>, error: &io::Error) -> Self {
        Self { step: step.into(), errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }
}

/// Starts the shim, and waits until it has become the program, or has said why not.
pub(super) fn spawn(mut command: Command, mut spec: ShimSpec) -> Result<(Child, Option<Report>), ProgramError> {
    let _alone = ONE_AT_A_TIME.lock();
    let cannot = ProgramError::system("cannot start a process for the program");
    let mut started = || -> io::Result<(Child, Option<Report>)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut file = spec_file()?;
        spec.parent = std::process::id();
        spec.report_to = writer.as_raw_fd();
        serde_json::to_writer(&file, &spec)?;
        file.rewind()?;
        fcntl_setfd(&writer, FdFlags::empty())?;
        fcntl_setfd(&file, FdFlags::empty())?;
        let child = command.arg("exec").arg(file.as_raw_fd().to_string()).spawn()?;
        drop((writer, file));
        Ok((child, read_report(reader)?))
    };
    started().map_err(cannot)
}

/// An empty file in memory.
fn spec_file() -> io::Result<File> {
    let fd = rustix::fs::memfd_create("enrgdaq-exec", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(File::from(fd))
}

/// What the shim says before its end of the pipe is closed.
fn read_report(reader: OwnedFd) -> io::Result<Option<Report>> {
    let mut text = Vec::new();
    File::from(reader).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Becomes the program that the descriptor describes.
pub(crate) fn run_shim() -> ExitCode {
    let open = |fd: &str| File::open(format!("/proc/self/fd/{fd}")).ok();
    let file = std::env::args().nth(2).as_deref().and_then(open);
    let spec: Option<ShimSpec> = file.and_then(|file| serde_json::from_reader(file).ok());
    let Some(spec) = spec else {
        eprintln!("`enrgdaq exec` is started by a job, not by hand");
        return ExitCode::from(NOT_EXECUTED);
    };
    // Now: another user cannot.
    let pipe = File::options().write(true).open(format!("/proc/self/fd/{}", spec.report_to));
    let report = become_program(&spec);
    let said = pipe.and_then(|mut pipe| pipe.write_all(&serde_json::to_vec(&report)?));
    if said.is_err() {
        eprintln!("{}: {}", report.step, io::Error::from_raw_os_error(report.errno));
    }
    ExitCode::from(NOT_EXECUTED)
}

/// Returns only with what failed. The order matters: limits may need the rights that the user has not; a change of user clears
/// the signal at the parent's death.
fn become_program(spec: &ShimSpec) -> Report {
    reset_signals_of_program();
    if let Err(error) = set_limits(&spec.limits) {
        return Report::new(error.to_string(), error.cause());
    }
    if let Some(Ids { uid, gid, groups }) = &spec.user
        && let Err(error) = become_user(*uid, *gid, groups)
    {
        return Report::new(format!("cannot become user {uid}, which only root can"), &error);
    }
    close_at_exec(spec.keep);
    if !be_killed_with_parent(spec.parent) {
        return Report::new("its job has ended", &io::Error::from_raw_os_error(libc::ESRCH));
    }
    Report::new("execve", &exec(&spec.path, &spec.argv))
}
