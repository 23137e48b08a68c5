//! A place for one deployment, and the supervisor that runs there.

mod disk;
mod network;
mod picture;
mod process;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use tempfile::TempDir;

pub(crate) use disk::{FrozenDisk, SmallDisk};
pub(crate) use network::{Host, Lan};
pub(crate) use picture::{Edge, Picture};
pub(crate) use process::{Process, Signal, is_suspended, memory_peak_mb, private_memory_mb, send, variable};

/// Nothing that is waited for takes so long, on any machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What supervisors of tests have where they do not say.
pub(crate) const SMALL_RING: &str = "ring_buffer_size_mb = 8";

const POLL: Duration = Duration::from_millis(20);

/// A working directory with `configs/`, a runtime directory, and a program. What still runs there in the end is killed.
#[derive(Debug)]
pub(crate) struct Site {
    dir: TempDir,
    runtime: TempDir,
    program: PathBuf,
    id: String,
    env: Vec<(String, String)>,
    /// What the shell of a namespace does besides starting the supervisor.
    namespace: Option<String>,
    /// Where its supervisors run, if not on this machine's own network.
    host: Option<Host>,
}

/// A supervisor that runs in a [`Site`].
#[derive(Debug)]
pub(crate) struct Node<'a> {
    site: &'a Site,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// What a command printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Who reads the supervisor's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogReader {
    Test,
    Nobody,
}

impl Site {
    /// A place for the fixture `own-jobs`, with only a `supervisor.toml`.
    pub(crate) fn new() -> Self {
        Self::with_program(own_jobs())
    }

    /// A place for `enrgdaq` itself.
    pub(crate) fn of_enrgdaq() -> Self {
        Self::with_program(env!("CARGO_BIN_EXE_enrgdaq").into())
    }

    /// With the id of a `supervisor.toml` that comes from elsewhere.
    #[must_use]
    pub(crate) fn with_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// With a variable in the environment of all that is started here.
    #[must_use]
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its supervisors run in a namespace of pids of their own, started by this script as `"$@"`.
    #[must_use]
    pub(crate) fn in_namespace(mut self, script: &str) -> Self {
        self.namespace = Some(script.to_owned());
        self
    }

    /// Its supervisors run on this host.
    #[must_use]
    pub(crate) fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    fn with_program(program: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mode: fs::Permissions = PermissionsExt::from_mode(0o700);
        let made = |name| {
            tempfile::Builder::new()
                .prefix(name)
                .permissions(mode.clone())
                .tempdir_in("/tmp")
                .expect("/tmp takes a directory")
        };
        let id = format!("lab_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (dir, runtime) = (made("enrgdaq-e2e-"), made("e2e-"));
        let site = Self { dir, runtime, program, id, env: Vec::new(), namespace: None, host: None };
        site.supervisor("")
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A path in the working directory.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn runtime_dir(&self) -> &Path {
        self.runtime.path()
    }

    /// Writes `supervisor.toml`: its id, and this.
    #[must_use]
    pub(crate) fn supervisor(self, rest: &str) -> Self {
        self.supervisor_with(SMALL_RING, rest)
    }

    /// The same, with these lines before the tables.
    #[must_use]
    pub(crate) fn supervisor_with(self, top: &str, rest: &str) -> Self {
        self.write_supervisor(top, rest);
        self
    }

    /// Writes `supervisor.toml`, also while it runs.
    pub(crate) fn write_supervisor(&self, top: &str, rest: &str) {
        let info = format!("[info]\nsupervisor_id = \"{}\"", self.id);
        self.write("configs/supervisor.toml", &format!("{top}\n{info}\n{rest}\n"));
    }

    /// Writes the file of a job.
    #[must_use]
    pub(crate) fn job(self, name: &str, text: &str) -> Self {
        self.write(&format!("configs/{name}.toml"), text);
        self
    }

    /// A CSV store, into `out/`.
    #[must_use]
    pub(crate) fn csv(self) -> Self {
        self.job("csv", "daq_job_type = \"DAQJobStoreCSV\"")
    }

    /// A source of numbered rows for `rows.csv`.
    #[must_use]
    pub(crate) fn rows(self, rows: u64, pause_us: u64) -> Self {
        let text = "[store_config.csv]\nfile_path = \"rows.csv\"";
        self.job("rows", &format!("daq_job_type = \"DAQJobRows\"\nrows = {rows}\npause_us = {pause_us}\n{text}"))
    }

    /// A store that writes down the numbers of the messages at once, into `record`.
    #[must_use]
    pub(crate) fn recorder(self) -> Self {
        self.job("recorder", "daq_job_type = \"DAQJobRecorder\"\npath = \"record\"")
    }

    /// A source of numbered messages for the recorder, as fast as it can.
    #[must_use]
    pub(crate) fn flood(self, messages: u64, rest: &str) -> Self {
        let head = format!("daq_job_type = \"DAQJobFlood\"\nmessages = {messages}\nsize = 100\nstays = true\n{rest}\n");
        self.job("flood", &format!("{head}[store_config.recorder]"))
    }

    /// A job that does what jobs must not do.
    #[must_use]
    pub(crate) fn difficult(self, name: &str, behaviour: &str, rest: &str) -> Self {
        self.job(name, &format!("daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"{behaviour}\"\n{rest}"))
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("the directory can be made");
        fs::write(path, text).expect("the file can be written");
    }

    /// Starts the supervisor of `configs/`.
    pub(crate) fn start(&self) -> Node<'_> {
        self.start_with("configs", LogReader::Test)
    }

    pub(crate) fn start_with(&self, folder: &str, reader: LogReader) -> Node<'_> {
        self.start_by(&["--config", folder], reader)
    }

    pub(crate) fn start_by(&self, arguments: &[&str], reader: LogReader) -> Node<'_> {
        self.start_with_env(arguments, &[], reader)
    }

    pub(crate) fn start_with_env(&self, arguments: &[&str], env: &[(&str, String)], reader: LogReader) -> Node<'_> {
        let mut command = self.command(arguments);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if let Some(script) = &self.namespace {
            let plain = std::mem::replace(&mut command, Command::new("unshare"));
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"]);
            command.arg(plain.get_program()).args(plain.get_args());
            command.current_dir(plain.get_current_dir().expect("it was given one"));
            command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let spawned = match &self.host {
            Some(host) => host.inside(|| command.spawn()),
            None => command.spawn(),
        };
        let mut child = spawned.expect("the supervisor can be started");
        let log = Arc::new(Mutex::new(String::new()));
        if reader == LogReader::Test {
            let (stderr, log) = (child.stderr.take().expect("it is piped"), log.clone());
            std::thread::spawn(move || keep(stderr, &log));
        }
        Node { site: self, child, log }
    }

    /// Runs the program with these arguments, for a minute at most.
    pub(crate) fn cli(&self, args: &[&str]) -> Said {
        said(&mut self.command(args))
    }

    /// The program with these arguments, ready to run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.prepare(command.args(args));
        command
    }

    /// Where Ctrl-C ends it, also while the tests themselves run in the background, where a shell has it ignored.
    pub(crate) fn command_in_foreground(&self, args: &[&str]) -> Command {
        let mut command = Command::new("env");
        self.prepare(command.arg("--default-signal=INT").arg(&self.program).args(args));
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("ENRGDAQ_RUNTIME_DIR", self.runtime.path())
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
    }

    /// All processes that were started from here, and their children: each has inherited our runtime directory.
    pub(crate) fn processes(&self) -> Vec<Process> {
        process::with_environment(&format!("ENRGDAQ_RUNTIME_DIR={}", self.runtime.path().display()))
    }

    /// Waits until nothing that was started here runs any more.
    pub(crate) fn wait_until_empty(&self) {
        wait_until("all processes are gone", DEADLINE, || {
            let left = self.processes();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }

    /// The answer to one line on the control socket.
    pub(crate) fn ask(&self, line: &str) -> std::io::Result<String> {
        let mut stream = self.connect()?;
        writeln!(stream, "{line}")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }

    /// Where the supervisor keeps what survives its restart.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state/enrgdaq").join(short(&self.id))
    }

    /// A socket of the supervisor.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.runtime.path().join(short(&self.id)).join(name)
    }

    /// A connection to the control socket.
    pub(crate) fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(self.socket("supervisor.ipc"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(stream)
    }

    /// The cells of a CSV file, header first.
    pub(crate) fn csv_rows(&self, relative: &str) -> Vec<Vec<String>> {
        csv_rows(&fs::read_to_string(self.path(relative)).unwrap_or_default())
    }

    /// Segments of shared memory that supervisors of this id have left.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let part = format!("_{}_", short(&self.id));
        let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&part));
        let files = fs::read_dir("/dev/shm").expect("there is /dev/shm").flatten();
        files.map(|file| file.path()).filter(is_ours).collect()
    }

    /// What the recorder wrote down.
    pub(crate) fn records(&self) -> Vec<u64> {
        let bytes = fs::read(self.path("record")).unwrap_or_default();
        bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("it has 8 bytes"))).collect()
    }

    /// Compares what sources wrote into `proof/`, each start its count of committed messages, with what the recorder wrote
    /// down with origins: each message is there, none between is missing, and no byte is wrong.
    pub(crate) fn check_balance(&self) {
        const LINE: usize = 36 + 8;
        let record = fs::read(self.path("record")).unwrap_or_default();
        let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
        for line in record.chunks_exact(LINE) {
            let (origin, number) = line.split_at(36);
            let number = u64::from_le_bytes(number.try_into().expect("it has 8 bytes"));
            assert_ne!(number, u64::MAX, "a message had a wrong byte");
            seen.entry(String::from_utf8_lossy(origin).into_owned()).or_default().push(number);
        }
        let mut total = 0;
        for file in fs::read_dir(self.path("proof")).expect("there are proofs").flatten() {
            let count = fs::read(file.path()).expect("a proof can be read");
            let committed = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
            let mut numbers = seen.remove(&*file.file_name().to_string_lossy()).unwrap_or_default();
            numbers.sort_unstable();
            numbers.dedup();
            let recorded = numbers.len() as u64;
            assert!(numbers.iter().copied().eq(0..recorded), "a gap within {:?}", file.file_name());
            // What was committed when its source died had perhaps not been written into the proof yet.
            assert!((committed..=committed + 1).contains(&recorded), "{committed} committed, {recorded} recorded");
            total += recorded;
        }
        assert!(seen.is_empty(), "messages from nowhere: {:?}", seen.keys());
        println!("{total} messages, all there");
    }

    /// Removes the control groups that a killed supervisor has left.
    fn remove_cgroups(&self) {
        let roll = fs::read(self.socket("processes.json")).unwrap_or_default();
        let roll: serde_json::Value = serde_json::from_slice(&roll).unwrap_or_default();
        let Some(dir) = roll["cgroup"].as_str() else { return };
        fs::read_dir(dir).into_iter().flatten().flatten().for_each(|entry| drop(fs::remove_dir(entry.path())));
        fs::remove_dir(dir).ok();
    }

    /// How much the recorder wrote down.
    pub(crate) fn recorded(&self) -> u64 {
        fs::metadata(self.path("record")).map_or(0, |meta| meta.len() / 8)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > until {
                self.segments().iter().for_each(|segment| drop(fs::remove_file(segment)));
                self.remove_cgroups();
                return;
            }
            left.iter().for_each(|process| send(process.pid, Signal::KILL));
            std::thread::sleep(POLL);
        }
    }
}

impl Node<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The supervisor's log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("its reader does not panic").clone()
    }

    /// The picture of now, as the control socket gives it; `None` if nobody answers.
    pub(crate) fn try_status(&self) -> Option<Picture> {
        let answer = self.site.ask("{\"id\":2,\"do\":\"status\"}").ok()?;
        serde_json::from_str(&answer).ok().map(Picture)
    }

    /// The picture of now.
    pub(crate) fn status(&self) -> Picture {
        self.try_status().expect("the supervisor answers")
    }

    /// Waits for a picture of this kind.
    pub(crate) fn wait(&mut self, what: &str, is_so: impl Fn(&Picture) -> bool) -> Picture {
        wait_until(what, DEADLINE, || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("the supervisor ended with {status} instead of: {what}");
            }
            match self.try_status() {
                Some(picture) if is_so(&picture) => Ok(picture),
                Some(picture) => Err(picture.brief()),
                None => Err("no answer".into()),
            }
        })
    }

    /// Waits until these jobs are ready.
    pub(crate) fn wait_ready(&mut self, jobs: &[&str]) -> Picture {
        self.wait(&format!("{jobs:?} ready"), |picture| jobs.iter().all(|job| picture.state(job) == "ready"))
    }

    /// Waits until a job is ready in another process than this.
    pub(crate) fn wait_back(&mut self, job: &str, old_pid: u32) -> Picture {
        self.wait(&format!("{job} is back"), |picture| {
            picture.state(job) == "ready" && picture.pid(job) != Some(old_pid)
        })
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        send(self.pid(), Signal::INT);
    }

    /// Waits for its end: its exit code, or 128 and the number of the signal.
    pub(crate) fn wait_exit(&mut self) -> i32 {
        let status = wait_until("the supervisor ends", DEADLINE, || {
            self.child.try_wait().expect("it is our child").ok_or_else(|| "it runs".to_owned())
        });
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Ctrl-C, and its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.interrupt();
        self.wait_exit()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("the end of the supervisor's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {}", line.chars().take(300).collect::<String>()));
        }
    }
}

/// Asks again and again until it is so; the error says how it is instead.
pub(crate) fn wait_until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + within;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(instead) => assert!(Instant::now() < until, "not within {within:?}: {what}; instead: {instead}"),
        }
        std::thread::sleep(POLL);
    }
}

/// As [`wait_until`], for a question without an explanation.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_until(what, DEADLINE, || if is_so() { Ok(()) } else { Err("it is not so".into()) });
}

/// Runs a command for a minute at most.
pub(crate) fn said(command: &mut Command) -> Said {
    said_within(command, DEADLINE)
}

/// Runs a command for so long at most.
pub(crate) fn said_within(command: &mut Command, within: Duration) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).expect("a pipe can be read");
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().expect("it is piped")));
    let err = read(Box::new(child.stderr.take().expect("it is piped")));
    let until = Instant::now() + within;
    let status = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break status,
            None if Instant::now() > until => {
                child.kill().expect("it is our child");
                child.wait().expect("it is our child");
                panic!("{command:?} did not end within {within:?}");
            }
            None => std::thread::sleep(POLL),
        }
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("its reader does not panic");
    Said { code: status.code().unwrap_or(-1), out: text(out), err: text(err) }
}

/// The cells of a text in CSV, header first.
pub(crate) fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().map(|row| row.expect("it is CSV").iter().map(str::to_owned).collect()).collect()
}

/// The program of the fixture.
fn own_jobs() -> PathBuf {
    let test = std::env::current_exe().expect("a program knows where it lies");
    let found = test.parent().and_then(Path::parent).map(|dir| dir.join("own-jobs")).filter(|path| path.exists());
    found.expect("the program own-jobs is missing: build it with cargo build --release --workspace")
}

/// The name of a supervisor's own runtime directory: 16 hex digits of the MD5 of its id.
pub(crate) fn short(id: &str) -> String {
    Md5::digest(id).iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn keep(mut stderr: impl Read, log: &Mutex<String>) {
    /// More than that of a log helps nobody.
    const KEPT: usize = 4 << 20;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut log = log.lock().expect("nobody panics with it");
        log.push_str(&String::from_utf8_lossy(&buffer[..count]));
        if log.len() > KEPT {
            let cut = log.ceil_char_boundary(KEPT / 2);
            log.drain(..cut);
        }
    }
}
