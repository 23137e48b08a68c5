//! Commands as other programs give them: a job by its text, a job by its id or type, all jobs at once, the program anew.
//!
//! A job whose text came with a command becomes a file in `<state_dir>/remote`, and from then on is one that was added by
//! hand: it belongs to this supervisor like any other, and comes back with it.
//!
//! Invariant: what comes from elsewhere runs no program of its own choice unless `allow_remote_exec` says so: no job type
//! that runs one, no environment, no directory of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::thread;

use toml::Table;

use super::dispatcher::{Dispatcher, Mail};
use super::entry::{Entry, Presence};
use super::orders::Asker;
use super::phases::Phase;
use super::reload::Wish;
use crate::config::{Deployment, JobConfig, is_meant};
use crate::control::{Admitted, JobRef, Order, Reach, Refusal, Reply, StateName, admit};

/// A job as it comes.
#[derive(Debug)]
pub(super) struct Text {
    /// The text of its file.
    pub(super) config: String,
    /// The name of the file, if somebody cares.
    pub(super) name: Option<String>,
    pub(super) restart_on_crash: bool,
}

/// Where the files of such jobs lie, in the state directory.
const DIR: &str = "remote";

/// Keys of `[supervise]` by which a job could run a program that it does not name.
const KEYS_THAT_REACH: [&str; 5] = ["env", "env_file", "cwd", "user", "umask"];

/// Keys that say where a job writes or reads, and where those from elsewhere may.
const KEYS_OF_PLACES: [&str; 3] = ["out_dir", "spool_dir", "serve_path"];
const OUT: &str = "out";

impl Dispatcher {
    /// Restarts all jobs that run or are to run; the answer comes when all are back.
    pub(super) fn restart_all(&mut self, asker: Asker) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return drop(asker.send(Err(Refusal::Stopping)));
        }
        let stopped = &self.parts.operator.decided().stopped;
        let is_meant = |entry: &Entry| {
            let is_up = !matches!(entry.state.name(), StateName::Stopped | StateName::Exited);
            entry.presence == Presence::Here && is_up && !stopped.contains(entry.name())
        };
        let jobs: Vec<_> = (0..self.parts.entries.len()).filter(|&job| is_meant(&self.parts.entries[job])).collect();
        let admitted = jobs.into_iter().filter_map(|job| {
            let entry = &self.parts.entries[job];
            Some((job, admit(Order::Restart, entry.state.name(), entry.name()).ok()?))
        });
        let admitted: Vec<(usize, Admitted)> = admitted.collect();
        let targets: Vec<_> = admitted.into_iter().map(|(job, admitted)| (job, self.give(job, admitted))).collect();
        let message = format!("{} jobs restarted", targets.len());
        self.answer_when_done(targets, Reply::Done { message }, asker);
    }

    /// Ends a job that is named as other programs name it.
    pub(super) fn end_job(&mut self, job: &JobRef, remove: bool, asker: Asker) {
        let found = match self.find_ref(job) {
            Ok(found) => &self.parts.entries[found],
            Err(refusal) => return drop(asker.send(Err(refusal))),
        };
        let name = found.name().to_owned();
        match remove {
            // What ended by itself, or is stopped already, is where it is to be.
            false if found.state.name() == StateName::Stopped => {
                drop(asker.send(Ok(Reply::Job { name, state: StateName::Stopped })));
            }
            false => self.order_and_answer(name, Order::Stop, asker),
            true => {
                let file = found.wanted().replica.as_ref().map_or(name, |replica| replica.of.clone());
                self.wish(Wish::Remove(file), Some(asker));
            }
        }
    }

    fn find_ref(&self, job: &JobRef) -> Result<usize, Refusal> {
        let here = || self.parts.entries.iter().enumerate().filter(|(_, entry)| entry.presence == Presence::Here);
        if let Some(id) = &job.unique_id {
            let found = here().find(|(_, entry)| entry.wanted().unique_id == *id);
            return found.map(|(at, _)| at).ok_or_else(|| self.no_such_job(id));
        }
        let name = job.name.as_deref().unwrap_or_default();
        let by_name = here().find(|(_, entry)| entry.name() == name);
        let mut of_type = here().filter(|(_, entry)| entry.wanted().job_type == name);
        match (by_name, of_type.next(), of_type.next()) {
            (Some((at, _)), ..) | (None, Some((at, _)), None) => Ok(at),
            (None, Some((_, one)), Some((_, other))) => {
                Err(Refusal::Ambiguous { name: name.into(), jobs: vec![one.name().into(), other.name().into()] })
            }
            _ => Err(self.no_such_job(name)),
        }
    }

    /// Runs a job whose text came with the command.
    pub(super) fn run_text(&mut self, text: Text, reach: Reach, asker: Asker) {
        match self.file_for(text) {
            Ok((path, text)) => self.wish(Wish::Run { path, text, reach }, Some(asker)),
            Err(refusal) => drop(asker.send(Err(refusal))),
        }
    }

    /// Whether somebody elsewhere may have this node run programs.
    pub(super) fn may_run_programs(&self) -> bool {
        self.parts.config.cnc.as_ref().is_some_and(|cnc| cnc.allow_remote_exec)
    }

    /// Removes the files of jobs that came from elsewhere and are no more.
    pub(super) fn forget_guests(&self, before: &BTreeSet<PathBuf>) {
        let dir = self.parts.state_dir.join(DIR);
        let gone: Vec<_> = before.difference(&self.parts.operator.decided().added).cloned().collect();
        let gone: Vec<_> = gone.into_iter().filter(|path| path.starts_with(&dir)).collect();
        if !gone.is_empty() {
            // A disk may not answer.
            let forget = move || gone.iter().for_each(|path| drop(fs::remove_file(path)));
            thread::Builder::new().name("files".into()).spawn(forget).ok();
        }
    }

    /// The file that a text becomes: that of a job which came this way before and is meant, or a new one.
    fn file_for(&self, Text { config, name, restart_on_crash }: Text) -> Result<(PathBuf, String), Refusal> {
        let fault = |error: toml::de::Error| Refusal::BadConfig { report: format!("config: {error}") };
        let table: Table = config.parse().map_err(fault)?;
        let dir = self.parts.state_dir.join(DIR);
        let given = table.get("daq_job_unique_id").and_then(|id| id.as_str());
        let is_meant = |entry: &&Entry| match &name {
            Some(name) => entry.wanted().path == dir.join(format!("{name}.toml")),
            None => given == Some(&entry.wanted().unique_id) && entry.wanted().path.starts_with(&dir),
        };
        let known = self.parts.entries.iter().filter(|entry| entry.is_seen()).find(is_meant);
        if let Some(entry) = known {
            return Ok((entry.wanted().path.clone(), with_policy(config, table, restart_on_crash)));
        }
        let job_type = table.get("daq_job_type").and_then(|name| name.as_str()).unwrap_or_default();
        let stem = match &name {
            Some(name) if file_name(name) != *name => {
                let report = format!("`name`: a job's name has 1 to 64 letters, digits, `-` and `_`, not {name:?}");
                return Err(Refusal::BadConfig { report });
            }
            Some(name) => name.clone(),
            None => file_name(given.unwrap_or_else(|| job_type.strip_prefix("DAQJob").unwrap_or(job_type))),
        };
        let is_free = |name: &String| {
            let is_other = |entry: &Entry| entry.is_seen() && is_meant_by(name, entry);
            !self.parts.entries.iter().any(is_other) && self.parts.operator.decided().added_as(name).is_none()
        };
        let others = (2..).map(|number| format!("{stem}_{number}"));
        // A name that was given is that one: the loader says who else has it.
        let free = std::iter::once(stem.clone()).chain(others).find(|stem| name.is_some() || is_free(stem));
        let path = dir.join(format!("{}.toml", free.expect("the names have no end")));
        Ok((path, with_policy(config, table, restart_on_crash)))
    }

    /// Ends all jobs and starts the program anew, after an update if that is asked for.
    pub(super) fn renew_program(&mut self, update: bool, asker: Asker) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return drop(asker.send(Err(Refusal::Stopping)));
        }
        let command = self.parts.config.cnc.as_ref().map(|cnc| cnc.update_command.clone()).unwrap_or_default();
        if update && command.is_empty() {
            return drop(asker.send(Err(Refusal::NoUpdate)));
        }
        let mailbox = self.parts.mailbox.clone();
        let begun = thread::Builder::new().name("update".into()).spawn(move || {
            let updated = if update { run_update(&command) } else { Ok(()) };
            let is_to_end = updated.is_ok();
            let message = if update { "updated, and restarting" } else { "restarting" };
            let answer = updated.map(|()| Reply::Done { message: message.into() });
            asker.send(answer).ok();
            if is_to_end {
                mailbox.blocking_send(Mail::Renew).ok();
            }
        });
        if let Err(error) = begun {
            tracing::error!("no thread to restart the program: {error}");
        }
    }
}

fn run_update(command: &[String]) -> Result<(), Refusal> {
    let [program, arguments @ ..] = command else { return Err(Refusal::NoUpdate) };
    let fail = |why: String| Err(Refusal::UpdateFailed { why });
    match std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            fail(format!("{program}: {}: {last}", output.status))
        }
        Err(error) => fail(format!("{program}: {error}")),
    }
}

/// The text with a policy that never starts the job again, if that is asked for.
fn with_policy(text: String, mut table: Table, restart_on_crash: bool) -> String {
    if restart_on_crash {
        return text;
    }
    let supervise = table.entry("supervise").or_insert_with(|| toml::Value::Table(Table::new()));
    if let Some(supervise) = supervise.as_table_mut() {
        supervise.insert("restart".into(), "never".into());
    }
    toml::to_string(&table).unwrap_or(text)
}

/// Whether a job, or the file of its copies, has this name.
fn is_meant_by(name: &str, entry: &Entry) -> bool {
    is_meant(name, entry.wanted())
}

/// A name for a file: of letters, digits, `-` and `_`.
fn file_name(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let name: String = word.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).take(64).collect();
    match name.as_str() {
        "" | "supervisor" => "job".into(),
        _ => name,
    }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let dir = path.parent().expect("it lies in a directory");
    fs::create_dir_all(dir)?;
    let new = path.with_extension("new");
    // It may hold a password.
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(dir)?.sync_all()
}

/// A job that somebody brings: its file is written before all files are read, and taken back if it cannot be.
#[derive(Debug)]
pub(super) struct Guest {
    path: PathBuf,
    /// What the file is to hold; `None`: it is there.
    text: Option<String>,
    may_run_programs: bool,
}

impl Guest {
    /// Of a wish that brings one.
    pub(super) fn of(wish: &Wish, may_run_programs: bool) -> Option<Self> {
        let (path, text, reach) = match wish {
            Wish::Add(path, reach) => (path.clone(), None, reach),
            Wish::Run { path, text, reach } => (path.clone(), Some(text.clone()), reach),
            Wish::Plan | Wish::Reload | Wish::Remove(_) | Wish::Scale(..) => return None,
        };
        Some(Self { path, text, may_run_programs: may_run_programs || *reach == Reach::Here })
    }

    /// Reads all files with it.
    ///
    /// # Errors
    /// It cannot be written, something is wrong with the files, or it may not be; then it is taken back.
    pub(super) fn received(self, load: impl Fn() -> Result<Deployment, Refusal>) -> Result<Deployment, Refusal> {
        let before = self.text.is_some().then(|| fs::read(&self.path).ok());
        if let Some(text) = &self.text {
            write(&self.path, text.as_bytes()).map_err(|error| {
                let report = format!("{} cannot be written: {error}", self.path.display());
                Refusal::BadConfig { report }
            })?;
        }
        let loaded = load().and_then(|deployment| {
            let guests = deployment.jobs.iter().filter(|job| is_same_file(&job.path, &self.path));
            guests.into_iter().try_for_each(|job| self.look_at(job))?;
            Ok(deployment)
        });
        if let (Err(_), Some(before)) = (&loaded, before) {
            take_back(&self.path, before);
        }
        loaded
    }

    /// What a job from elsewhere may not be.
    fn look_at(&self, config: &JobConfig) -> Result<(), Refusal> {
        let refuse = |what: String| Err(Refusal::NotFromElsewhere { what });
        if self.may_run_programs {
            return Ok(());
        }
        if config.runs_program {
            return refuse(format!("{} runs a program", config.job_type));
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let table: Table = text.parse().unwrap_or_default();
        let supervise = table.get("supervise").and_then(|table| table.as_table());
        let has = |key: &&&str| supervise.is_some_and(|table| table.contains_key(**key));
        if let Some(key) = KEYS_THAT_REACH.iter().find(has) {
            return refuse(format!("`supervise.{key}` changes what the job's process is"));
        }
        let leads_out = |key: &&&str| {
            let path = table.get(**key).and_then(|path| path.as_str()).map(Path::new);
            let is_up = |part: Component<'_>| part == Component::ParentDir;
            path.is_some_and(|path| !path.starts_with(OUT) || path.components().any(is_up))
        };
        match KEYS_OF_PLACES.iter().find(leads_out) {
            // It could write what this supervisor reads as its configuration.
            Some(key) => refuse(format!("`{key}` is outside `{OUT}/`, where the configuration of a node may lie")),
            None => Ok(()),
        }
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    one == other || full(one) == full(other)
}

/// Takes back what was written for a job that is not to be.
fn take_back(path: &Path, before: Option<Vec<u8>>) {
    let done = match before {
        Some(text) => write(path, &text),
        None => fs::remove_file(path),
    };
    if let Err(error) = done {
        tracing::warn!("{} cannot be taken back: {error}", path.display());
    }
}
