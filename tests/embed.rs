//! A program that embeds the supervisor: its jobs are processes of this very test binary, so it has a `main` of its own.

#![expect(clippy::unwrap_used, reason = "a test, though with a main of its own")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use enrgdaq::config::SupervisorConfig;
use enrgdaq::control::{Command, Order, Refusal, Reply, StateName};
use enrgdaq::job::{Context, Job, JobError, JobTypes, Kind, Table};
use enrgdaq::message::StoreConfig;
use enrgdaq::supervisor::{Handle, Supervisor};

/// Publishes one row and waits.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OnceConfig {
    /// Where the row goes.
    store_config: StoreConfig,
}

struct Once(OnceConfig);

impl Job for Once {
    const TYPE: &'static str = "DAQJobOnce";
    const KIND: Kind = Kind::Source;
    type Config = OnceConfig;

    fn new(config: OnceConfig, _: &Context) -> Result<Self, JobError> {
        Ok(Self(config))
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        cx.publisher().store_table(&self.0.store_config, None, &Table::new().column("n", [1i64]).build()?)?;
        while cx.sleep(Duration::from_secs(3600)) {}
        Ok(())
    }
}

fn main() -> ExitCode {
    let types = JobTypes::new().with::<Once>();
    if std::env::args().nth(1).as_deref() == Some("job") {
        return enrgdaq::main(types);
    }
    let dir = tempfile::Builder::new().prefix("enrgdaq-embed").tempdir().unwrap();
    // A directory of its own for sockets can only be given by starting anew with it in the environment.
    if std::env::var_os("ENRGDAQ_RUNTIME_DIR").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .env("ENRGDAQ_RUNTIME_DIR", dir.path().join("run"))
            .status()
            .unwrap();
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    std::fs::write(dir.path().join("once.toml"), "daq_job_type = \"DAQJobOnce\"\n[store_config]\n").unwrap();
    an_embedded_supervisor_runs_answers_and_stops(&types, dir.path());
    println!("1 passed, 0 failed");
    ExitCode::SUCCESS
}

fn an_embedded_supervisor_runs_answers_and_stops(types: &JobTypes, dir: &Path) {
    let config = SupervisorConfig { state_dir: Some(dir.join("state")), ..SupervisorConfig::named("embedded") };
    let supervisor = Supervisor::new(Some(config), types, dir).unwrap();
    let handle = supervisor.handle();
    let runs = std::thread::spawn(move || supervisor.run());

    wait_until_ready(&handle);
    let status = handle.status().unwrap();
    assert_eq!(status.supervisor.info.supervisor_id, "embedded");
    let stop = |name: &str| handle.execute(Command::Job { name: name.into(), order: Order::Stop }).unwrap();
    assert!(matches!(stop("onse"), Err(Refusal::NoSuchJob { similar: Some(name), .. }) if name == "once"));
    stop("once").unwrap();
    assert_eq!(handle.status().unwrap().jobs[0].state, StateName::Stopped);
    let Ok(Reply::Changes(plan)) = handle.execute(Command::Plan).unwrap() else {
        panic!("a plan is a list of changes")
    };
    assert!(plan.changes.is_empty(), "{plan}");
    handle.stop("the test is over");

    assert!(runs.join().unwrap().unwrap().is_clean, "every job ended as it should");
    assert!(handle.status().is_err());
}

fn wait_until_ready(handle: &Handle) {
    let until = Instant::now() + Duration::from_secs(60);
    while handle.status().unwrap().jobs[0].state != StateName::Ready {
        assert!(Instant::now() < until, "the job is not ready: {:?}", handle.status());
        std::thread::yield_now();
    }
}
