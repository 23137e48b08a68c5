//! Processes of jobs: spawned one after the other by a thread that lives as long as the supervisor, watched by a task
//! each until they and all that they have started are gone.
//!
//! PDEATHSIG belongs to the thread that spawned, so that thread must not end before the supervisor does. `Command` stays
//! on its `posix_spawn` path: nothing runs between fork and exec; what a child does to itself it does after exec.
//!
//! Invariant: a leader is reaped, and told of as gone, only when nothing of its tree runs: a process table that could not
//! be read proves nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use super::dispatcher::{Mail, Mailbox};
use super::orphans::{Families, MARK_OF_JOB, MARK_OF_SUPERVISOR, Newcomer};
use super::systemd::OF_SERVICES;
use super::tree::{News, Tree, Watch};
use crate::config::ProcessSetup;
use crate::job::{JobSpec, Tally};
use crate::os::{Cgroup, Process, short_hash};
use crate::telemetry::CgroupRefused;

/// A job's process and what came with it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) process: Arc<Tree>,
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

impl SpawnFailure {
    fn new(what: &str, error: &io::Error) -> Self {
        Self { error: format!("{what}: {error}"), is_permanent: cannot_heal(error) }
    }
}

/// Whether trying again later cannot help: something is missing, forbidden, or no program. A want of processes, memory or
/// descriptors passes.
fn cannot_heal(error: &io::Error) -> bool {
    let is_hopeless = |errno| {
        matches!(errno, libc::ENOENT | libc::EACCES | libc::EPERM | libc::ENOEXEC | libc::ENOTDIR | libc::EISDIR)
    };
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        || error.raw_os_error().is_some_and(is_hopeless)
}

/// The thread that spawns.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<(usize, u64, Box<JobSpec>)>);

impl Spawner {
    /// Starts the thread; each result comes as mail.
    pub(super) fn start(executable: PathBuf, families: Arc<Families>, mailbox: Mailbox) -> io::Result<Self> {
        let (sender, orders) = mpsc::channel::<(usize, u64, Box<JobSpec>)>();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            for (job, generation, spec) in orders {
                let result = spawn(&executable, &families, *spec);
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

fn spawn(executable: &Path, families: &Arc<Families>, mut spec: JobSpec) -> Result<Child, SpawnFailure> {
    let cgroup = make_cgroup(families, &spec);
    spec.cgroup = cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned());
    let made = make(executable, families, &spec);
    let (key, process, (tally, stdout, stderr)) = match made {
        Ok(made) => made,
        Err(failure) => {
            cgroup.iter().for_each(Cgroup::remove);
            return Err(failure);
        }
    };
    let process = Arc::new(Tree::new(key, process, cgroup, families.clone(), spec.stop_timeout));
    Ok(Child { process, tally, stdout, stderr })
}

type Made = (u64, Process, (Tally, OwnedFd, OwnedFd));

fn make(executable: &Path, families: &Families, spec: &JobSpec) -> Result<Made, SpawnFailure> {
    let fail = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| SpawnFailure::new(&what, &error)
    };
    let file: File = spec.to_file().map_err(fail("cannot write the job's spec"))?;
    let tally = Tally::map(&file).map_err(fail("cannot map the job's tally"))?;
    let mut command = Command::new(executable);
    command.arg0(name_of_program()).arg("job").arg(&spec.name).process_group(0);
    command.stdin(Stdio::from(file)).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in OF_SERVICES {
        command.env_remove(variable);
    }
    surround(&mut command, &spec.process)?;
    command.env(MARK_OF_SUPERVISOR, families.mark()).env(MARK_OF_JOB, &spec.instance_id);
    let newcomer = Newcomer {
        name: &spec.name,
        unique_id: &spec.unique_id,
        instance_id: &spec.instance_id,
        cgroup: spec.cgroup.clone(),
    };
    families.make(newcomer, || {
        let mut child = command.spawn().map_err(fail(&format!("cannot start {}", executable.display())))?;
        let stdout = child.stdout.take().map(OwnedFd::from).expect("stdout is piped");
        let stderr = child.stderr.take().map(OwnedFd::from).expect("stderr is piped");
        // From here on the pid is ours to reap, by the pidfd; `Child` does nothing when it is dropped.
        let process = Process::adopt(child.id()).map_err(|error| {
            child.kill().and_then(|()| child.wait().map(drop)).ok();
            SpawnFailure::new("cannot open a pidfd", &error)
        })?;
        Ok((process, (tally, stdout, stderr)))
    })
}

/// Environment and working directory.
fn surround(command: &mut Command, setup: &ProcessSetup) -> Result<(), SpawnFailure> {
    if let Some(path) = &setup.env_file {
        let fail = |error: io::Error| SpawnFailure::new(&format!("`env_file` {}", path.display()), &error);
        let text = fs::read_to_string(path).map_err(fail)?;
        let variables = variables(&text).map_err(|(line, why)| SpawnFailure {
            error: format!("`env_file` {}:{line}: {why}", path.display()),
            is_permanent: true,
        })?;
        command.envs(variables);
    }
    command.envs(&setup.env);
    if let Some(dir) = &setup.cwd {
        let fail = |error: io::Error| SpawnFailure::new(&format!("`cwd` {}", dir.display()), &error);
        if !fs::metadata(dir).map_err(fail)?.is_dir() {
            return Err(fail(io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
        command.current_dir(dir);
    }
    Ok(())
}

/// The variables in a file of lines `NAME=value`: blank lines and those with `#` say nothing, and a value may stand in
/// quotes, which are taken off. Or the line that is none, from 1, and why.
fn variables(text: &str) -> Result<BTreeMap<&str, &str>, (usize, &'static str)> {
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or((at, "it is not `NAME=value`"))?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) || line.contains('\0') {
            return Err((at, "a name is one word, and nothing here may contain NUL"));
        }
        found.insert(name, unquoted(value.trim_start()).ok_or((at, "a quote is not closed"))?);
    }
    Ok(found)
}

fn unquoted(value: &str) -> Option<&str> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].strip_suffix(quote),
        _ => Some(value),
    }
}

/// A control group for this start; it works without one too.
fn make_cgroup(families: &Families, spec: &JobSpec) -> Option<Cgroup> {
    let name = format!("{}-{}", short_hash(&spec.unique_id), short_hash(&spec.instance_id));
    let group = families.cgroups()?.group(&name, spec.memory_max);
    group.inspect_err(|error| CgroupRefused { job: &spec.name, error }.emit()).ok()
}

/// The name under which this program was started.
fn name_of_program() -> OsString {
    let path = std::env::args_os().next().map(PathBuf::from);
    path.and_then(|path| path.file_name().map(Into::into)).unwrap_or_else(|| "enrgdaq".into())
}

/// Tells what happens to a job's tree, until nothing of it is left.
pub(super) async fn watch(job: usize, generation: u64, tree: Arc<Tree>, mailbox: Mailbox) {
    let mut watch = Watch::new(&tree);
    loop {
        let (mail, is_last) = match watch.next().await {
            News::LeaderEnded => (Mail::LeaderEnded { job, generation }, false),
            News::Unkillable(what) => (Mail::Unkillable { job, generation, what }, false),
            News::Gone(end) => (Mail::Gone { job, generation, end }, true),
        };
        mailbox.send(mail).await.ok();
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_may_have_blanks_comments_and_quotes() {
        let text = "# for the crate\n\nA=1\n B = two words \nC=\"in # quotes \"\nD='x=\"y\"'\nE=\nA=3\r\n";

        let found: Vec<_> = variables(text).unwrap().into_iter().collect();

        assert_eq!(found, [("A", "3"), ("B", "two words"), ("C", "in # quotes "), ("D", "x=\"y\""), ("E", "")]);
    }

    #[test]
    fn a_line_that_is_no_variable_is_named() {
        for (text, line) in [("A=1\nnonsense", 2), ("=1", 1), ("A B=1", 1), ("\n\nA=\"open", 3), ("A=\"", 1)] {
            assert_eq!(variables(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn a_want_of_something_passes_and_a_missing_thing_does_not() {
        let of = io::Error::from_raw_os_error;

        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ETXTBSY, libc::EINTR] {
            assert!(!cannot_heal(&of(errno)), "{}", of(errno));
        }
        for errno in [libc::ENOENT, libc::EACCES, libc::ENOEXEC, libc::ENOTDIR] {
            assert!(cannot_heal(&of(errno)), "{}", of(errno));
        }
    }
}
