//! Which process belongs to which job: also what has left its group and lost its parent.
//!
//! ```text
//! supervisor ─┬─ leader of a job ── child ── grandchild …     the job's, whatever group or session it makes for itself
//!             └─ orphan: its parent died, and we adopt it     the job's: seen before as its, or by group, control group,
//!                                                             session, or the marker in its environment
//! ```
//! Invariants: every descendant of a job is a descendant of ours, since we adopt; of our children only those are touched
//! that are proven to come from a job, or all if this program is nothing but a supervisor; the process table is read only
//! when somebody asks, once for all who ask meanwhile, by a thread of its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::roll::{Entry, Roll};
use crate::os::{self, CgroupTree, Environment, Identity, Process, Row};
use crate::telemetry::{OrphanSeen, TableUnreadable};

/// In the environment of a job: whose it is.
pub(super) const MARK_OF_SUPERVISOR: &str = "ENRGDAQ_SUPERVISOR";

/// In the environment of a job: its instance id.
pub(super) const MARK_OF_JOB: &str = "ENRGDAQ_JOB";

/// Orphans that come and go are looked at this often at most.
const ORPHAN_PAUSE: Duration = Duration::from_millis(100);

/// Much longer than a process without an environment needs to start its program.
const STARTS_PROGRAM: Duration = Duration::from_millis(200);

/// A process table that cannot be read for so long is worth a word: until then no job can end.
const BLIND: Duration = Duration::from_secs(3);

/// So many jobs that have ended are remembered by name.
const FORMER: usize = 1000;

/// Stands for one start of a job.
pub(super) type Key = u64;

/// A job's start, as its processes can be recognised.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) unique_id: String,
    pub(super) instance_id: String,
    pub(super) cgroup: Option<PathBuf>,
}

impl Family {
    /// The name of its directory in the supervisor's control group.
    fn cgroup_name(&self) -> Option<&str> {
        self.cgroup.as_ref()?.file_name()?.to_str()
    }
}

/// What one look at the process table has shown.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The processes of each job that still run.
    trees: HashMap<Key, Vec<Row>>,
    /// There is a new orphan that cannot be told yet: it may be anybody's.
    pub(super) is_undecided: bool,
}

impl Survey {
    /// Those of one job, its leader included until it has ended.
    pub(super) fn of(&self, key: Key) -> Vec<Row> {
        self.trees.get(&key).cloned().unwrap_or_default()
    }
}

/// What is asked of the thread that looks.
enum Request {
    /// A survey that begins after this; `None` comes if the table cannot be read.
    Look(oneshot::Sender<Option<Arc<Survey>>>),
    /// The leader has ended and its tree is empty: it may be reaped.
    Retire(Key, Arc<Process>, oneshot::Sender<()>),
}

/// All processes that jobs have started.
#[derive(Debug)]
pub(super) struct Families {
    mark: String,
    cgroups: Option<CgroupTree>,
    roll: Roll,
    registry: Arc<Mutex<Registry>>,
    requests: mpsc::Sender<Request>,
}

/// What is asked of a start that is to be made.
pub(super) struct Newcomer<'a> {
    pub(super) name: &'a str,
    pub(super) unique_id: &'a str,
    pub(super) instance_id: &'a str,
    pub(super) cgroup: Option<PathBuf>,
}

impl Families {
    /// Starts the thread that looks. `owns_all`: this program has no children but jobs.
    ///
    /// # Errors
    /// The system's: no thread.
    pub(super) fn new(mark: String, cgroups: Option<CgroupTree>, roll: Roll, owns_all: bool) -> std::io::Result<Self> {
        let registry = Arc::new(Mutex::new(Registry::new(mark.clone(), owns_all)));
        let (requests, asked) = mpsc::channel();
        let theirs = registry.clone();
        thread::Builder::new().name("census".into()).spawn(move || serve(&theirs, &asked))?;
        Ok(Self { mark, cgroups, roll, registry, requests })
    }

    /// What stands in the environment of each job.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// The control groups, if there are any.
    pub(super) fn cgroups(&self) -> Option<&CgroupTree> {
        self.cgroups.as_ref()
    }

    /// Makes the leader of a new family. While it is being made nobody takes it for an orphan.
    pub(super) fn make<T, E>(
        &self,
        newcomer: Newcomer<'_>,
        make: impl FnOnce() -> Result<(Process, T), E>,
    ) -> Result<(Key, Process, T), E> {
        let mut registry = self.registry.lock();
        let (process, rest) = make()?;
        let key = registry.next_key;
        registry.next_key += 1;
        let family = Family {
            key,
            name: newcomer.name.to_owned(),
            unique_id: newcomer.unique_id.to_owned(),
            instance_id: newcomer.instance_id.to_owned(),
            cgroup: newcomer.cgroup,
        };
        if let Some(leader) = Identity::of(process.pid()) {
            self.roll.add(key, entry(&family, leader));
        }
        registry.leaders.insert(process.pid(), family);
        Ok((key, process, rest))
    }

    /// As [`look`](Self::look), for a thread that may wait.
    pub(super) fn look_and_wait(&self) -> Option<Arc<Survey>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Look(reply)).ok()?;
        answer.blocking_recv().ok().flatten()
    }

    /// A look that begins now; `None` if the table cannot be read.
    pub(super) async fn look(&self) -> Option<Arc<Survey>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Look(reply)).ok()?;
        answer.await.ok().flatten()
    }

    /// Reaps a leader whose tree is empty.
    pub(super) async fn retire(&self, key: Key, leader: &Arc<Process>) {
        let (reply, done) = oneshot::channel();
        if self.requests.send(Request::Retire(key, leader.clone(), reply)).is_ok() {
            done.await.ok();
        }
        self.roll.strike(key);
    }

    /// The end: what names or holds processes goes, as there are none.
    pub(super) fn close(&self) {
        self.roll.close();
        self.cgroups.iter().for_each(CgroupTree::remove);
    }

    /// Looks after those that we adopt, until this task is ended.
    ///
    /// # Errors
    /// The system's: no descriptor for the signal.
    pub(super) fn adopt(self: Arc<Self>) -> std::io::Result<tokio::task::JoinHandle<()>> {
        os::adopt_orphans()?;
        let mut ends = signal(SignalKind::child())?;
        Ok(tokio::spawn(async move {
            while ends.recv().await.is_some() {
                self.look().await;
                tokio::time::sleep(ORPHAN_PAUSE).await;
            }
        }))
    }
}

fn entry(family: &Family, leader: Identity) -> Entry {
    Entry {
        name: family.name.clone(),
        unique_id: family.unique_id.clone(),
        instance_id: family.instance_id.clone(),
        leader,
        cgroup: family.cgroup.clone(),
    }
}

/// The thread that looks: all who have asked before a look begins have the same.
fn serve(registry: &Mutex<Registry>, asked: &mpsc::Receiver<Request>) {
    let mut sight = Sight::default();
    while let Ok(first) = asked.recv() {
        let mut askers = Vec::new();
        for request in std::iter::once(first).chain(asked.try_iter()) {
            match request {
                Request::Look(reply) => askers.push(reply),
                Request::Retire(key, leader, done) => {
                    registry.lock().retire(key, &leader);
                    done.send(()).ok();
                }
            }
        }
        if !askers.is_empty() {
            let rows = sight.note(os::processes());
            let survey = rows.map(|rows| Arc::new(registry.lock().survey(&rows)));
            askers.into_iter().for_each(|reply| drop(reply.send(survey.clone())));
        }
    }
}

/// Whether the process table could be read.
#[derive(Debug, Default)]
struct Sight {
    blind_since: Option<Instant>,
    is_told: bool,
}

impl Sight {
    /// Takes what a look has brought; tells once if nothing has for long.
    fn note(&mut self, rows: std::io::Result<Vec<Row>>) -> Option<Vec<Row>> {
        match rows {
            Ok(rows) => {
                *self = Self::default();
                Some(rows)
            }
            Err(error) => {
                let since = *self.blind_since.get_or_insert_with(Instant::now);
                if since.elapsed() > BLIND && !std::mem::replace(&mut self.is_told, true) {
                    TableUnreadable { error: &error }.emit();
                }
                None
            }
        }
    }
}

/// To whom a process was found to belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A job that runs.
    Running(Key),
    /// One that has ended: it must not be there.
    Former(Key),
}

/// What is known of processes, from look to look.
#[derive(Debug)]
struct Registry {
    us: u32,
    our_session: u32,
    mark: String,
    owns_all: bool,
    next_key: Key,
    /// By pid: leaders that are not reaped.
    leaders: HashMap<u32, Family>,
    former: VecDeque<Family>,
    /// Whose a process was when it was last seen.
    owners: HashMap<Identity, Key>,
    /// Sessions that jobs have made.
    sessions: HashMap<u32, Key>,
    /// Children of ours of whom nothing is known, with the time until which that may change; `None`: it will not.
    strangers: HashMap<Identity, Option<Instant>>,
    /// Orphans of which was told.
    told: HashSet<Identity>,
}

impl Registry {
    fn new(mark: String, owns_all: bool) -> Self {
        let me = Row::of(std::process::id());
        let mut registry = Self {
            us: std::process::id(),
            our_session: me.map_or(0, |row| row.session),
            mark,
            owns_all,
            next_key: 1,
            leaders: HashMap::new(),
            former: VecDeque::new(),
            owners: HashMap::new(),
            sessions: HashMap::new(),
            strangers: HashMap::new(),
            told: HashSet::new(),
        };
        // Children that are older than all jobs are not theirs.
        let rows = os::processes().unwrap_or_default();
        let before: Vec<_> = rows.iter().filter(|row| row.parent == registry.us).map(|row| row.identity).collect();
        registry.told.extend(&before);
        registry.strangers.extend(before.into_iter().map(|identity| (identity, None)));
        registry
    }

    fn retire(&mut self, key: Key, leader: &Process) {
        leader.reap().ok();
        if self.leaders.get(&leader.pid()).is_some_and(|family| family.key == key) {
            self.former.extend(self.leaders.remove(&leader.pid()));
        }
        if self.former.len() > FORMER {
            self.former.pop_front();
        }
    }

    /// Whose is which; and what is to be done about those whose parent is gone.
    fn survey(&mut self, rows: &[Row]) -> Survey {
        let owners = self.assign(rows);
        self.remember(rows, &owners);
        let mut survey = Survey::default();
        for row in rows {
            if let Some(Owner::Running(key)) = owners.get(&row.pid())
                && row.runs()
            {
                survey.trees.entry(*key).or_default().push(row.clone());
            }
        }
        survey.is_undecided = self.strangers.values().any(Option::is_some);
        let orphans = rows.iter().filter(|row| row.parent == self.us && !self.leaders.contains_key(&row.pid()));
        let orphans: Vec<_> = orphans.map(|row| (row, owners.get(&row.pid()).copied())).collect();
        orphans.into_iter().for_each(|(row, owner)| self.tend(row, owner));
        survey
    }

    /// The owner of each process that has one: the child of ours from which it descends says it.
    fn assign(&mut self, rows: &[Row]) -> HashMap<u32, Owner> {
        let mut children: HashMap<u32, Vec<&Row>> = HashMap::new();
        rows.iter().for_each(|row| children.entry(row.parent).or_default().push(row));
        let mut owners = HashMap::new();
        let mut open: Vec<(&Row, Owner)> = Vec::new();
        for child in children.get(&self.us).into_iter().flatten() {
            open.extend(self.owner_of_child(child).map(|owner| (*child, owner)));
        }
        while let Some((row, owner)) = open.pop() {
            if owners.insert(row.pid(), owner).is_none() {
                open.extend(children.get(&row.pid()).into_iter().flatten().map(|child| (*child, owner)));
            }
        }
        owners
    }

    fn owner_of_child(&mut self, child: &Row) -> Option<Owner> {
        let leader = self.leaders.get(&child.pid()).or_else(|| self.leaders.get(&child.group));
        if let Some(family) = leader {
            return Some(Owner::Running(family.key));
        }
        let seen = self.owners.get(&child.identity).or_else(|| self.sessions.get(&child.session));
        if let Some(&key) = seen {
            return Some(self.standing(key));
        }
        if self.strangers.get(&child.identity) == Some(&None) {
            return None;
        }
        let environment = Environment::of(child.pid());
        let found = self.family_by_evidence(child, &environment).map(|key| self.standing(key));
        match found {
            Some(_) => drop(self.strangers.remove(&child.identity)),
            None if child.runs() => self.note_stranger(child.identity, &environment),
            None => {}
        }
        found
    }

    /// While a process starts a program it has no environment: then it is looked at again.
    fn note_stranger(&mut self, who: Identity, environment: &Environment) {
        let now = Instant::now();
        let until = self.strangers.entry(who).or_insert(Some(now + STARTS_PROGRAM));
        if !environment.is_empty() || until.is_none_or(|until| until <= now) {
            *until = None;
        }
    }

    fn standing(&self, key: Key) -> Owner {
        match self.leaders.values().any(|family| family.key == key) {
            true => Owner::Running(key),
            false => Owner::Former(key),
        }
    }

    /// What its control group or its environment says. A process that has ended has no environment any more.
    fn family_by_evidence(&self, child: &Row, environment: &Environment) -> Option<Key> {
        let families = || self.leaders.values().chain(&self.former);
        let of_group = os::start_of(child.pid(), &self.mark)
            .and_then(|name| families().find(|family| family.cgroup_name() == Some(name.as_str())));
        let of_marker = || {
            let mark = environment.get(MARK_OF_SUPERVISOR).filter(|mark| *mark == self.mark);
            let instance = mark.and_then(|_| environment.get(MARK_OF_JOB))?;
            families().find(|family| family.instance_id == instance)
        };
        let family = of_group.or_else(of_marker)?;
        // The number may have got another owner while that was read.
        (Identity::of(child.pid()) == Some(child.identity)).then_some(family.key)
    }

    fn remember(&mut self, rows: &[Row], owners: &HashMap<u32, Owner>) {
        let known = rows.iter().filter_map(|row| match owners.get(&row.pid())? {
            Owner::Running(key) | Owner::Former(key) => Some((row, *key)),
        });
        let known: Vec<_> = known.collect();
        self.owners = known.iter().map(|(row, key)| (row.identity, *key)).collect();
        let of_others = known.iter().filter(|(row, _)| row.session != self.our_session);
        self.sessions = of_others.map(|(row, key)| (row.session, *key)).collect();
        let present: HashSet<_> = rows.iter().map(|row| row.identity).collect();
        self.strangers.retain(|identity, _| present.contains(identity));
        self.told.retain(|identity| present.contains(identity));
    }

    /// An orphan that has ended is reaped; of one that runs is told; one whose job has ended is killed.
    fn tend(&mut self, row: &Row, owner: Option<Owner>) {
        if row.is_zombie() {
            if owner.is_some() || self.owns_all {
                os::reap_orphan(row.pid());
            }
            return;
        }
        if self.strangers.get(&row.identity).is_some_and(Option::is_some) {
            return;
        }
        let is_new = self.told.insert(row.identity);
        let (process, pid) = (row.name.as_str(), row.pid());
        match owner {
            Some(Owner::Running(key)) if is_new => {
                OrphanSeen::Adopted { job: self.name_of(key), process, pid }.emit();
            }
            Some(Owner::Former(key)) => {
                if is_new {
                    OrphanSeen::Late { job: self.name_of(key), process, pid }.emit();
                }
                os::signal(row.identity, Signal::KILL);
            }
            None if is_new => OrphanSeen::Unknown { process, pid }.emit(),
            Some(Owner::Running(_)) | None => {}
        }
    }

    fn name_of(&self, key: Key) -> &str {
        let mut families = self.leaders.values().chain(&self.former);
        families.find(|family| family.key == key).map_or("", |family| &family.name)
    }
}
