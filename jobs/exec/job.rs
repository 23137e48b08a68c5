//! The job: starts the program and the threads that serve it, and ends as the program does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use enrgdaq::job::{Context, Job, JobError, Kind, Launch, Program, ProgramEnd, Refusal};
use regex::bytes::Regex;

use super::arrow::Arrow;
use super::config::{ExecConfig, Format, Framing, Ready, Stdin};
use super::csv::Csv;
use super::decoder::Decoder;
use super::feeder::Feeder;
use super::gate::{Gate, Passage};
use super::jsonl::Jsonl;
use super::lines::Lines;
use super::minder::{Errors, Minder};
use super::raw::Raw;
use super::reader::{Reader, Taker, Watch};
use super::sink::{Duties, Sink};

/// How much later than its program a job may hear the SIGTERM that both were sent.
const SIGNAL_GRACE: Duration = Duration::from_secs(2);

/// The job.
#[derive(Debug)]
pub(crate) struct Exec {
    program: Program,
    gate: Arc<Gate>,
    minder: JoinHandle<()>,
    reader: Option<JoinHandle<Result<(), JobError>>>,
    feeder: Option<JoinHandle<()>>,
    has_killed: Arc<AtomicBool>,
}

impl Job for Exec {
    const TYPE: &'static str = "DAQJobExec";
    const KIND: Kind = Kind::Source;
    const RUNS_PROGRAM: bool = true;
    type Config = ExecConfig;

    fn check(config: &ExecConfig) -> Result<(), Vec<Refusal>> {
        let refusals = config.check();
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    fn check_watchdog(config: &ExecConfig, timeout: Option<Duration>) -> Result<(), Refusal> {
        config.check_watchdog(timeout)
    }

    fn kind(config: &ExecConfig) -> Kind {
        match (config.format, config.stdin) {
            (Format::None, Stdin::Jsonl) => Kind::Monitor,
            _ => Kind::Source,
        }
    }

    fn new(config: ExecConfig, cx: &Context) -> Result<Self, JobError> {
        let mut exec = Self::start(&config, cx)?;
        if exec.gate.wait() == Passage::Ended {
            // The sign may be in what it has written.
            exec.join_reader()?;
        }
        match exec.gate.now() {
            Passage::Open => Ok(exec),
            Passage::Stopping => exec.finish(cx).and(Err(JobError::Stopping)),
            Passage::Ended | Passage::Closed => {
                exec.finish(cx)?;
                if cx.stopping() {
                    return Err(JobError::Stopping);
                }
                let context = "the program ended with exit code 0 before it was ready".into();
                Err(JobError::Failed { context, source: None })
            }
        }
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        self.finish(&cx)
    }
}

impl Exec {
    fn start(config: &ExecConfig, cx: &Context) -> Result<Self, JobError> {
        let gate = Arc::new(Gate::default());
        let pattern = match &config.ready {
            Ready::Pattern(text) => {
                Some(Regex::new(text).map_err(|error| JobError::Config(format!("`ready.pattern`: {error}")))?)
            }
            _ => None,
        };
        let is_seen_in_lines = config.format == Format::None && config.ready == Ready::FirstLine;
        let launch = Launch {
            command: config.command.clone(),
            feeds_stdin: config.stdin == Stdin::Jsonl,
            reads_stdout: config.format != Format::None || pattern.is_some() || is_seen_in_lines,
            reads_stderr: pattern.is_some(),
            hears_notifications: config.watchdog || config.ready == Ready::Notify,
            watchdog: cx.watchdog_timeout().filter(|_| config.watchdog),
        };
        let duties = Duties {
            gate: gate.clone(),
            opens_gate: config.ready == Ready::FirstLine,
            feeds_watchdog: !config.watchdog,
        };
        let taker = taker(config, cx, duties)?;
        let program = Program::start(cx, &launch)?;
        if config.ready == Ready::Start {
            gate.open();
        }
        let has_killed = Arc::new(AtomicBool::new(false));
        let watch = |is_wanted: bool| is_wanted.then(|| Watch::new(gate.clone(), pattern.clone()));
        let errors = program.take_stderr().map(|from| Errors { from, watch: watch(true), line: Vec::new() });
        let minder = Minder {
            cx: cx.clone(),
            program: program.clone(),
            gate: gate.clone(),
            notifications: program.take_notifications(),
            opens_gate: config.ready == Ready::Notify,
            feeds_watchdog: config.watchdog,
            errors,
            has_killed: has_killed.clone(),
        };
        let is_text = !matches!(config.format, Format::Raw | Format::Arrow);
        let watch = watch(pattern.is_some() && is_text || is_seen_in_lines);
        let reader = program.take_stdout().map(|stdout| Reader {
            cx: cx.clone(),
            program: program.clone(),
            stdout,
            watch,
            taker,
            ended_at: None,
        });
        let feeder = program.take_stdin().map(|stdin| Feeder::new(cx, &program, stdin, !config.watchdog));
        let feeder = feeder.transpose().map_err(|error| JobError::failed("cannot write to the program", error))?;
        let minder = spawn("minder", || minder.run())?;
        let reader = reader.map(|reader| spawn("reader", || reader.run())).transpose()?;
        let feeder = feeder.map(|feeder| spawn("feeder", || feeder.run())).transpose()?;
        Ok(Self { program, gate, minder, reader, feeder, has_killed })
    }

    /// Waits until all that the program has written is handed on.
    fn join_reader(&mut self) -> Result<(), JobError> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        reader.join().unwrap_or_else(|_| {
            self.program.kill();
            Err(JobError::Failed { context: "the reader of the program's output has failed".into(), source: None })
        })
    }

    /// Waits for the program's end, and makes it the job's.
    fn finish(mut self, cx: &Context) -> Result<(), JobError> {
        let read = self.join_reader();
        let end = self.program.wait(None);
        self.minder.join().ok();
        if matches!(end, Some(ProgramEnd::Signal(libc::SIGTERM))) {
            // Who stops the job signals its group: the program may be gone before the job has heard its own.
            cx.alive();
            cx.sleep(SIGNAL_GRACE);
        }
        if let Some(feeder) = self.feeder.filter(|_| cx.stopping()) {
            feeder.join().ok();
        }
        read?;
        match end.unwrap_or(ProgramEnd::Code(0)) {
            ProgramEnd::Code(0) => Ok(()),
            _ if self.has_killed.load(Ordering::Relaxed) => {
                let context = "the program did not end when it was told to, and was killed".into();
                Err(JobError::Failed { context, source: None })
            }
            end if cx.stopping() && (self.program.is_end_by_stop(end) || end == ProgramEnd::Signal(libc::SIGTERM)) => {
                Ok(())
            }
            end => Err(JobError::Exit { code: end.code(), why: end.to_string() }),
        }
    }
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, JobError> {
    let thread = thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|error| JobError::failed("the system refused a thread", error))
}

/// What becomes of the program's standard output.
fn taker(config: &ExecConfig, cx: &Context, duties: Duties) -> Result<Taker, JobError> {
    let Some(stores) = &config.store_config else { return Ok(Taker::Log) };
    let sink = Sink::new(cx, (stores, config.tag.as_deref()), duties)?;
    let max = config.max_record();
    let decoder: Box<dyn Decoder> = match config.format {
        Format::None => return Ok(Taker::Log),
        Format::Lines => Box::new(Lines::new()),
        Format::Csv => Box::new(Csv::new(config.columns.as_deref(), &config.types)),
        Format::Jsonl => Box::new(Jsonl::new(&config.types)),
        Format::Raw => {
            let fixed = usize::try_from(config.record_bytes.unwrap_or(1)).unwrap_or(usize::MAX);
            Box::new(Raw::new(config.framing.unwrap_or(Framing::Fixed), fixed, max))
        }
        Format::Arrow => Box::new(Arrow::new(max)),
    };
    Ok(Taker::Stores(decoder, Box::new(sink)))
}
