//! A supervisor as a value: for the program, for tests, for programs of others.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use enrgdaq_ring::Leftovers;
use thiserror::Error;
use tokio::sync::mpsc;

use super::child::Spawner;
use super::dispatcher::{Dispatcher, Mail, Mailbox, Outcome, Parts};
use super::entry::Entry;
use super::link::Link;
use super::links::{MailHome, wanted};
use super::logs::{FileSetup, Logs};
use super::operator::{Operator, OperatorError};
use super::origin::Origin;
use super::orphans::Families;
use super::ring::{Ring, plan};
use super::roll::Roll;
use super::sweep::{mark_of, sweep};
use super::systemd::Systemd;
use super::tap::Tap;
use super::watch::{DiskWatch, MemoryWatch, watched_paths};
use crate::bus::{BusError, Contexts, Endpoints, Proxies, Transport};
use crate::config::{self, Deployment, Kind, SupervisorConfig};
use crate::control::audit::AuditLog;
use crate::control::network::{NetworkParts, Taken, descriptors};
use crate::control::{Command, Desk, Events, Inquiry, NetworkError, Refusal, Reply, Status, local};
use crate::federation::{self, FederationError};
use crate::job::JobTypes;
use crate::os::{CgroupTree, DirectoryError, FileLock, TakeError, raise_descriptor_limit, runtime_dir, state_dir};
use crate::telemetry::{CgroupsUsed, ConfigWarned, Console, JobExpected, Stopped};

/// Mail that may wait before its senders do.
const MAILBOX: usize = 4096;

/// Descriptors of a supervisor without jobs, and more for each job: five connections of the bus, two pipes, a pidfd, and
/// as many to spare. libzmq ends the process when it gets none.
const DESCRIPTORS: u64 = 256;
const DESCRIPTORS_PER_JOB: u64 = 16;

/// And for links to other nodes, two connections each.
const DESCRIPTORS_OF_LINKS: u64 = 1024;

/// Inquiries that may wait.
const INQUIRIES: usize = 64;

/// Why a supervisor cannot run.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Report),
    /// The runtime or state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What the operator has decided cannot be read.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Another one of this id runs.
    #[error("supervisor `{id}` already runs ({holder}); stop it, or choose another `info.supervisor_id`")]
    Held {
        /// Whose id it is.
        id: String,
        /// What the holder wrote: pid and start.
        holder: String,
    },
    /// Another one keeps its decisions there.
    #[error("{dir} is the state directory of another supervisor ({holder}); give each its own `state_dir`")]
    StateHeld {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote: id, pid and start.
        holder: String,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock {path}")]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The audit log cannot be opened.
    #[error("cannot open audit.jsonl in {dir}, in which commands are written down")]
    Audit {
        /// The state directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no way in over the network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The links to other nodes cannot be opened.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The bus cannot be opened.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The control socket cannot be opened.
    #[error("cannot open the control socket {path}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The ring cannot be made or taken over: no room, a former one of another version, another supervisor.
    #[error(transparent)]
    Ring(#[from] enrgdaq_ring::ControlError),
    /// The system does not allow as many descriptors as the jobs need.
    #[error("{jobs} jobs need about {needed} open files, and the system allows {allowed}; raise `ulimit -Hn`")]
    Descriptors {
        /// How many jobs.
        jobs: usize,
        /// Descriptors that they need here.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The system gave no thread or runtime.
    #[error("the system refused a thread or a descriptor")]
    System(#[source] std::io::Error),
    /// It has ended.
    #[error("the supervisor has ended")]
    Ended,
}

/// A supervisor that is ready to run: its lock is taken, its bus and its control socket are open.
pub struct Supervisor {
    origin: Origin,
    operator: Operator,
    deployment: Deployment,
    executable: PathBuf,
    console: Option<Console>,
    log_files: FileSetup,
    leftovers: Leftovers,
    owns_all_children: bool,
    mailbox: Mailbox,
    mail: mpsc::Receiver<Mail>,
    desk: Desk,
    inquiries: mpsc::Receiver<Inquiry>,
    // In the order in which they are closed.
    network: Option<Taken>,
    federation: Option<federation::Prepared>,
    contexts: Contexts,
    proxies: Proxies,
    endpoints: Endpoints,
    listener: UnixListener,
    socket: PathBuf,
    runtime_dir: PathBuf,
    state_dir: PathBuf,
    _locks: [FileLock; 2],
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("info", &self.deployment.supervisor.info).finish_non_exhaustive()
    }
}

/// How a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Every job ended as it should, and no message was left under way.
    pub is_clean: bool,
    /// Somebody wants the program to start anew.
    pub is_to_start_anew: bool,
}

/// Speaks to a running supervisor from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    mailbox: Mailbox,
    desk: Desk,
}

impl Supervisor {
    /// Loads and checks a folder, with what an operator wants otherwise, takes the lock, opens bus and socket. `config`
    /// stands for `supervisor.toml`. Jobs are processes of this same executable, whose `main` must be [`crate::main`] with
    /// the same job types.
    ///
    /// # Errors
    /// [`SupervisorError`]: a bad configuration (all errors of it), another supervisor of the same id, no bus.
    pub fn new(config: Option<SupervisorConfig>, jobs: &JobTypes, config_dir: &Path) -> Result<Self, SupervisorError> {
        let origin = Origin { dir: config_dir.to_owned(), catalog: jobs.catalog(), own: config };
        let own = origin.supervisor()?;
        let id = &own.info.supervisor_id;
        let dir = runtime_dir(id)?;
        let lock = take_lock(&dir, id)?;
        let state_dir = state_dir(own.state_dir.as_deref(), id)?;
        let state_lock = take_state_lock(&state_dir, id)?;
        let mut operator = Operator::open(&state_dir)?;
        let deployment = origin.load(operator.decided())?;
        operator.decide(operator.decided().clone().without_overruled(&deployment.jobs));
        let jobs = deployment.jobs.len();
        let of_network = own.cnc.as_ref().map_or(0, descriptors);
        let of_links = if own.federation.is_some() { DESCRIPTORS_OF_LINKS } else { 0 };
        let needed = DESCRIPTORS + of_network + of_links + DESCRIPTORS_PER_JOB * jobs as u64;
        if let Err(allowed) = raise_descriptor_limit(needed) {
            return Err(SupervisorError::Descriptors { jobs, needed, allowed });
        }
        sweep(&mark_of(&dir), &dir);
        // First the socket: whoever answers there still needs the addresses of the bus.
        let socket = local::socket_path(&dir);
        let listener =
            local::bind(&socket).map_err(|source| SupervisorError::Socket { path: socket.clone(), source })?;
        let contexts = Contexts::new();
        let transport = match deployment.supervisor.bus.transport {
            config::Transport::Ipc => Transport::Ipc(dir.clone()),
            config::Transport::Tcp => Transport::Tcp,
        };
        let (proxies, endpoints) = Proxies::start(&contexts, &transport)?;
        let (mailbox, mail) = mpsc::channel(MAILBOX);
        let (inquiries, handed_in) = mpsc::channel(INQUIRIES);
        let audit = AuditLog::open(&state_dir);
        let audit = audit.map_err(|source| SupervisorError::Audit { dir: state_dir.clone(), source })?;
        let desk = Desk::new(inquiries, id.clone(), audit, Events::new());
        let take = |cnc| {
            let (config_dir, state_dir, catalog) = (config_dir.to_owned(), state_dir.clone(), origin.catalog.clone());
            let own = deployment.supervisor.info.clone();
            Taken::of(NetworkParts { cnc, config_dir, state_dir, own, desk: desk.clone(), catalog })
        };
        let network = deployment.supervisor.cnc.clone().map(take).transpose()?;
        let prepare = |config| federation::Prepared::of(config, config_dir);
        let federation = deployment.supervisor.federation.clone().map(prepare).transpose()?;
        let executable = PathBuf::from("/proc/self/exe");
        let log_files = FileSetup::of(&deployment.supervisor)?;
        Ok(Self {
            origin,
            operator,
            deployment,
            executable,
            console: None,
            log_files,
            leftovers: Leftovers::Keep,
            owns_all_children: false,
            mailbox,
            mail,
            desk,
            inquiries: handed_in,
            network,
            federation,
            contexts,
            proxies,
            endpoints,
            listener,
            socket,
            runtime_dir: dir,
            state_dir: std::path::absolute(&state_dir).map_err(SupervisorError::System)?,
            _locks: [lock, state_lock],
        })
    }

    /// Runs jobs as processes of another executable; its `main` must be [`crate::main`].
    #[must_use]
    pub fn with_executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = path.into();
        self
    }

    /// Throws away what a former run has left in the ring, counted, instead of delivering it.
    #[must_use]
    pub fn discarding_ring(mut self) -> Self {
        self.leftovers = Leftovers::Discard;
        self
    }

    /// This program is nothing but a supervisor: whatever child it has comes from a job, and is reaped.
    #[must_use]
    pub(crate) fn owning_all_children(mut self) -> Self {
        self.owns_all_children = true;
        self
    }

    /// Shows on the console what jobs say, and keeps and writes what the supervisor itself says.
    #[must_use]
    pub(crate) fn with_console(mut self, console: Console) -> Self {
        self.console = Some(console);
        self
    }

    /// To stop it and to ask it, from another thread.
    pub fn handle(&self) -> Handle {
        Handle { mailbox: self.mailbox.clone(), desk: self.desk.clone() }
    }

    /// Starts all jobs and works until it is told to stop. Its thread must not end before: jobs die with it.
    ///
    /// # Errors
    /// [`SupervisorError`]: no threads, no descriptors, no ring; nothing has been started then.
    pub fn run(self) -> Result<Ended, SupervisorError> {
        let logs = Logs::start(self.log_files.clone(), self.console.clone(), self.mailbox.clone());
        let logs = Rc::new(logs.map_err(SupervisorError::System)?);
        self.warn();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(SupervisorError::System)?;
        let Outcome { is_clean, is_to_start_anew } = runtime.block_on(self.work(logs.clone()))?;
        Stopped { is_clean }.emit();
        Ok(Ended { is_clean, is_to_start_anew })
    }

    fn warn(&self) {
        for warning in &self.deployment.warnings {
            ConfigWarned(warning).emit();
        }
        let has = |kind| self.deployment.jobs.iter().any(|job| job.kind == kind);
        let is_leaf = self.deployment.supervisor.federation.as_ref().is_some_and(|links| !links.is_server);
        if !has(Kind::Store) && !is_leaf {
            JobExpected::Store.emit();
        }
        if !has(Kind::Alert) && !is_leaf {
            JobExpected::Alert.emit();
        }
    }

    async fn work(self, logs: Rc<Logs>) -> Result<Outcome, SupervisorError> {
        let info = self.deployment.supervisor.info.clone();
        let jobs = self.deployment.jobs.into_iter();
        let entries: Vec<_> = jobs.map(|job| Entry::new(job, &info.supervisor_id)).collect();
        let listeners: Vec<_> = entries.iter().map(|entry| (&entry.config, &entry.subscriptions[..])).collect();
        let plans = plan(&listeners, self.deployment.supervisor.ring_buffer_size_mb);
        let of_links = self.deployment.supervisor.federation.as_ref();
        let guests = of_links.map(|config| federation::guests(config, &self.state_dir));
        let ring = Ring::open(&info.supervisor_id, plans, guests.as_deref(), self.leftovers)?;
        let system = SupervisorError::System;
        let config = &self.deployment.supervisor;
        let own_paths = self.log_files.dir().into_iter().chain(&config.state_dir).chain(&config.disk.paths).cloned();
        let own_paths: Vec<_> = own_paths.collect();
        let paths = watched_paths(entries.iter().map(|entry| &entry.config), own_paths.clone());
        let disk_watch = DiskWatch::start(&config.disk, paths, self.mailbox.clone()).map_err(system)?;
        let link = Link::open(&self.contexts, &self.endpoints, &info, self.mailbox.clone())?;
        let families = families(&self.runtime_dir, self.owns_all_children).map_err(SupervisorError::System)?;
        let families = Arc::new(families);
        let memory_watch = MemoryWatch::new(&config.memory, families.clone(), self.mailbox.clone());
        let adopting = families.clone().adopt().map_err(SupervisorError::System)?;
        let spawner =
            Spawner::start(self.executable, families.clone(), self.mailbox.clone()).map_err(SupervisorError::System)?;
        let served = local::serve(self.listener, self.desk.clone())
            .map_err(|source| SupervisorError::Socket { path: self.socket.clone(), source })?;
        let network = self.network.map(Taken::serve).transpose()?;
        let tap = {
            let dropped = self.proxies.outside_full();
            Tap::start(&self.contexts, &self.endpoints, &info, self.mailbox.clone(), dropped)?
        };
        let start = |prepared: federation::Prepared| {
            prepared.start(federation::Parts {
                contexts: &self.contexts,
                endpoints: &self.endpoints,
                info: &info,
                state_dir: self.state_dir.clone(),
                home: Box::new(MailHome(self.mailbox.clone())),
                wanted: wanted(&entries, ring.as_ref()),
                has_outsiders: ring.as_ref().is_some_and(Ring::has_outsiders),
            })
        };
        let federation = self.federation.map(start).transpose()?;
        let dispatcher = Dispatcher::new(Parts {
            info,
            config: self.deployment.supervisor,
            origin: self.origin,
            operator: self.operator,
            endpoints: self.endpoints,
            runtime_dir: self.runtime_dir,
            state_dir: self.state_dir,
            entries,
            spawner,
            link,
            mailbox: self.mailbox,
            logs,
            systemd: Systemd::from_environment(),
            memory_watch,
            disk_watch,
            own_paths,
            passed_over: self.deployment.passed_over,
            outside_full: self.proxies.outside_full(),
            ring,
            events: self.desk.events().clone(),
            federation,
        });
        let outcome = dispatcher.run(self.mail, self.inquiries).await;
        // Whoever asks from elsewhere is told nothing any more.
        drop(network);
        served.abort();
        adopting.abort();
        families.close();
        drop(tap);
        std::fs::remove_file(&self.socket).ok();
        drop(self.proxies);
        Ok(outcome)
    }
}

/// What is known of processes when there are none yet.
fn families(runtime_dir: &Path, owns_all: bool) -> std::io::Result<Families> {
    let mark = mark_of(runtime_dir);
    let cgroups = CgroupTree::make(&mark);
    match &cgroups {
        Ok(tree) => CgroupsUsed::Yes { dir: tree.dir(), has_memory: tree.has_memory() }.emit(),
        Err(why) => CgroupsUsed::No { why }.emit(),
    }
    let cgroups = cgroups.ok();
    let roll = Roll::open(runtime_dir.to_owned(), cgroups.as_ref().map(|tree| tree.dir().to_owned()))?;
    Families::new(mark, cgroups, roll, owns_all)
}

fn take_lock(dir: &Path, id: &str) -> Result<FileLock, SupervisorError> {
    let path = dir.join("supervisor.lock");
    FileLock::take(&path).map_err(|error| match error {
        TakeError::Held(holder) => SupervisorError::Held { id: id.into(), holder },
        TakeError::System(source) => SupervisorError::Lock { path, source },
    })
}

/// Two supervisors would overwrite each other's decisions.
fn take_state_lock(dir: &Path, id: &str) -> Result<FileLock, SupervisorError> {
    let path = dir.join("supervisor.lock");
    FileLock::take_named(&path, &format!("`{id}`")).map_err(|error| match error {
        TakeError::Held(holder) => SupervisorError::StateHeld { dir: dir.to_owned(), holder },
        TakeError::System(source) => SupervisorError::Lock { path, source },
    })
}

impl Handle {
    /// Brings what runs in line with the files; the result is in the log.
    pub fn reload(&self) {
        self.mailbox.blocking_send(Mail::Reload).ok();
    }

    /// Begins to stop; another call, a second or more later, kills all jobs.
    pub fn stop(&self, reason: &str) {
        self.mailbox.blocking_send(Mail::Stop { reason: reason.into() }).ok();
    }

    /// The picture of now.
    ///
    /// # Errors
    /// [`SupervisorError::Ended`].
    pub fn status(&self) -> Result<Status, SupervisorError> {
        match self.execute(Command::Status)? {
            Ok(Reply::Status(status)) => Ok(*status),
            _ => Err(SupervisorError::Ended),
        }
    }

    /// Carries out a command, and waits until it is done.
    ///
    /// # Errors
    /// [`SupervisorError::Ended`]; the inner result is the supervisor's answer.
    pub fn execute(&self, command: Command) -> Result<Result<Reply, Refusal>, SupervisorError> {
        self.desk.ask_blocking(command).map_err(|_| SupervisorError::Ended)
    }
}
