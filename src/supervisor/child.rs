//! Processes of jobs: spawned one after the other by a thread that lives as long as the supervisor, watched by a task
//! each until they and all that they have started are gone.
//!
//! PDEATHSIG belongs to the thread that spawned, so that thread must not end before the supervisor does. `Command` stays
//! on its `posix_spawn` path: nothing runs between fork and exec; what a child does to itself it does after exec.
//!
//! Invariant: a leader is reaped, and told of as gone, only when nothing of its tree runs: a process table that could not
//! be read proves nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::dispatcher::{Mail, Mailbox};
use super::orphans::{Families, MARK_OF_JOB, MARK_OF_SUPERVISOR, Newcomer};
use super::systemd::OF_SERVICES;
use super::tree::{News, Tree, Watch};
use crate::config::ProcessSetup;
use crate::job::{JobSpec, Tally};
use crate::os::{Cgroup, Process, make_shared_dir, short_hash};
use crate::telemetry::CgroupRefused;

/// How long a file system may take to show what stands in a job's `[supervise]`.
const LOOK_AT_MOST: Duration = Duration::from_secs(10);

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

/// The thread that spawns, and, where files have to be looked at for it, those that look: one that hangs holds up its own job
/// only.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
    /// By job: ends the wait for what is looked at.
    looks: HashMap<usize, oneshot::Sender<()>>,
    /// For which job somebody still looks at what, perhaps for ever.
    looking: Arc<Mutex<HashSet<(usize, String)>>>,
}

/// A process to be made.
#[derive(Debug)]
struct Order {
    job: usize,
    generation: u64,
    spec: Box<JobSpec>,
    /// What its environment is, or why that cannot be told.
    variables: Result<BTreeMap<String, String>, SpawnFailure>,
}

impl Spawner {
    /// Starts the thread; each result comes as mail.
    pub(super) fn start(executable: PathBuf, families: Arc<Families>, mailbox: Mailbox) -> io::Result<Self> {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::Builder::new().name("spawner".into()).spawn(move || {
            for Order { job, generation, spec, variables } in orders {
                let result = variables.and_then(|variables| spawn(&executable, &families, *spec, &variables));
                if mailbox.blocking_send(Mail::Spawned { job, generation, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders: sender, looks: HashMap::new(), looking: Arc::default() })
    }

    /// Orders a process; exactly one result comes. To be called on a tokio runtime.
    pub(super) fn order(&mut self, job: usize, generation: u64, spec: JobSpec) {
        let spec = Box::new(spec);
        if spec.process.env_file.is_none() && spec.process.cwd.is_none() {
            return pass_on(&self.orders, Order { job, generation, spec, variables: Ok(BTreeMap::new()) });
        }
        let (cancel, cancelled) = oneshot::channel();
        self.looks.insert(job, cancel);
        let (orders, found) = (self.orders.clone(), self.look(job, spec.process.clone()));
        tokio::spawn(async move {
            let passing = |error: String| Err(SpawnFailure { error, is_permanent: false });
            let variables = tokio::select! {
                Ok(found) = found => found,
                Ok(()) = cancelled => passing("it was to end before it had a process".into()),
                () = tokio::time::sleep(LOOK_AT_MOST) => {
                    passing(format!("{} not answer for {} s", places_of(&spec.process), LOOK_AT_MOST.as_secs()))
                }
            };
            pass_on(&orders, Order { job, generation, spec, variables });
        });
    }

    /// Has the files of a job looked at. No answer comes where nobody can look.
    fn look(
        &self,
        job: usize,
        setup: ProcessSetup,
    ) -> oneshot::Receiver<Result<BTreeMap<String, String>, SpawnFailure>> {
        let (answer, found) = oneshot::channel();
        let key = (job, places_of(&setup));
        // One that hangs is enough.
        if !self.looking.lock().insert(key.clone()) {
            let error = format!("{} not answer, still not since an earlier start", key.1);
            answer.send(Err(SpawnFailure { error, is_permanent: false })).ok();
            return found;
        }
        let (looking, done) = (self.looking.clone(), key.clone());
        let look = move || {
            let variables = look_around(&setup);
            looking.lock().remove(&done);
            answer.send(variables).ok();
        };
        if thread::Builder::new().name("look".into()).spawn(look).is_err() {
            self.looking.lock().remove(&key);
        }
        found
    }

    /// A job is to end that has no process yet: the files are waited for no more.
    pub(super) fn cancel(&mut self, job: usize) {
        if let Some(cancel) = self.looks.remove(&job) {
            cancel.send(()).ok();
        }
    }
}

fn pass_on(orders: &mpsc::Sender<Order>, order: Order) {
    // The spawner ends only with the supervisor.
    orders.send(order).ok();
}

fn spawn(
    executable: &Path,
    families: &Arc<Families>,
    mut spec: JobSpec,
    variables: &BTreeMap<String, String>,
) -> Result<Child, SpawnFailure> {
    if spec.exclusive.is_some() {
        make_shared_dir().map_err(|error| SpawnFailure {
            error: format!("`exclusive`: {}", crate::error_chain(&error)),
            is_permanent: true,
        })?;
    }
    let cgroup = make_cgroup(families, &spec);
    spec.cgroup = cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned());
    let made = make(executable, families, &spec, variables);
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

fn make(
    executable: &Path,
    families: &Families,
    spec: &JobSpec,
    variables: &BTreeMap<String, String>,
) -> Result<Made, SpawnFailure> {
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
    command.envs(variables).envs(&spec.process.env);
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

/// Reads the variables, and sees whether there is a working directory, which the process itself enters. This may take for
/// ever, where a file system does not answer.
fn look_around(setup: &ProcessSetup) -> Result<BTreeMap<String, String>, SpawnFailure> {
    let mut found = BTreeMap::new();
    if let Some(path) = &setup.env_file {
        let fail = |error: io::Error| SpawnFailure::new(&format!("`env_file` {}", path.display()), &error);
        let text = read_file(path).map_err(fail)?;
        let variables = variables(&text).map_err(|(line, why)| SpawnFailure {
            error: format!("`env_file` {}:{line}: {why}", path.display()),
            is_permanent: true,
        })?;
        found.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    if let Some(dir) = &setup.cwd {
        let fail = |error: io::Error| SpawnFailure::new(&format!("`cwd` {}", dir.display()), &error);
        if !fs::metadata(dir).map_err(fail)?.is_dir() {
            return Err(fail(io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
    }
    Ok(found)
}

/// The text of a file that is one: what has to be written by somebody first, as a pipe, is waited for by nobody.
fn read_file(path: &Path) -> io::Result<String> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// What is looked at for a job, with the beginning of a verb.
fn places_of(setup: &ProcessSetup) -> String {
    let env_file = setup.env_file.as_ref().map(|path| format!("`env_file` {}", path.display()));
    let cwd = setup.cwd.as_ref().map(|dir| format!("`cwd` {}", dir.display()));
    match (env_file, cwd) {
        (Some(file), Some(dir)) => format!("{file} or {dir} does"),
        (one, other) => format!("{} does", one.or(other).unwrap_or_default()),
    }
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
    fn a_pipe_is_no_file_of_variables_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let status = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(status.success());

        let setup = ProcessSetup { env_file: Some(path), ..ProcessSetup::default() };
        let failure = look_around(&setup).unwrap_err();

        assert!(failure.error.ends_with("pipe: it is no file") && failure.is_permanent, "{failure:?}");
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
