//! What systemd is told, by a socket that it would listen on; and the unit file.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{DEADLINE, Signal, Site, is_suspended, said, send, wait_for, wait_until};

/// systemd, as far as a service sees it.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the path is free");
        socket.set_read_timeout(Some(DEADLINE)).expect("it is a time");
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.0.recv(&mut buffer).expect("something is said in time");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    /// All that is said until this.
    fn hear_until(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear());
            if heard.last().is_some_and(|last| is_it(last)) {
                return heard;
            }
        }
    }
}

/// A supervisor that systemd has started, killed in the end.
struct Service(Child);

impl Service {
    fn start(site: &Site, socket: &str, watchdog: Option<Duration>) -> Self {
        let mut command = site.command(&["--config", "configs"]);
        command.env("NOTIFY_SOCKET", socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Self(command.spawn().expect("it can be started"))
    }

    fn wait(&mut self) -> i32 {
        let status = wait_until("it ends", DEADLINE, || self.0.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn systemd_hears_when_it_is_ready_how_it_stands_and_that_it_stops() {
    let site = Site::new().csv().rows(10, 0).difficult("slow", "good", "");
    let manager = Manager::listen(&site.path("notify"));
    let mut service = Service::start(&site, site.path("notify").to_str().unwrap(), None);

    let start = manager.hear_until(|said| said == "READY=1");
    let status = manager.hear_until(|said| said.starts_with("STATUS=running"));
    send(service.0.id(), Signal::TERM);
    let end = manager.hear_until(|said| said == "STOPPING=1");

    assert!(start.iter().any(|said| said.starts_with("STATUS=starting: ")), "{start:?}");
    assert!(!start.iter().chain(&status).chain(&end).any(|said| said.contains("WATCHDOG")), "nobody asked for it");
    assert_eq!(service.wait(), 0);
    let last = status.last().unwrap();
    assert!(last.contains(" of 3 jobs ready, 0 restarts"), "{last}");
}

#[test]
fn a_dispatcher_that_works_gives_signs_of_life_and_one_that_hangs_does_not() {
    let site = Site::new().csv();
    let manager = Manager::listen(&site.path("notify"));
    let mut service = Service::start(&site, site.path("notify").to_str().unwrap(), Some(Duration::from_secs(1)));
    manager.hear_until(|said| said == "READY=1");
    for _ in 0..3 {
        manager.hear_until(|said| said == "WATCHDOG=1");
    }

    send(service.0.id(), Signal::STOP);
    wait_for("it hangs", || is_suspended(service.0.id()));
    manager.0.set_nonblocking(true).unwrap();
    while manager.0.recv(&mut [0; 100]).is_ok() {}
    manager.0.set_nonblocking(false).unwrap();
    manager.0.set_read_timeout(Some(Duration::from_secs(3))).unwrap();

    assert!(manager.0.recv(&mut [0; 100]).is_err(), "it must not speak");
    manager.0.set_read_timeout(Some(DEADLINE)).unwrap();
    send(service.0.id(), Signal::CONT);
    manager.hear_until(|said| said == "WATCHDOG=1");
    send(service.0.id(), Signal::TERM);
    assert_eq!(service.wait(), 0);
}

#[test]
fn jobs_cannot_speak_for_the_supervisor() {
    let site = Site::new().csv();
    let manager = Manager::listen(&site.path("notify"));
    let service = Service::start(&site, site.path("notify").to_str().unwrap(), Some(Duration::from_secs(60)));
    manager.hear_until(|said| said == "READY=1");

    let jobs: Vec<_> = site.processes().into_iter().filter(|process| process.pid != service.0.id()).collect();

    assert!(!jobs.is_empty());
    for job in jobs {
        let environment = fs::read(format!("/proc/{}/environ", job.pid)).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{job:?}");
    }
}

#[test]
fn a_manager_that_does_not_listen_holds_up_nobody() {
    let site = Site::new().csv().rows(1_000_000, 1000);
    let manager = Manager::listen(&site.path("notify"));
    // As many signs of life as its socket holds come within a second.
    let mut service = Service::start(&site, site.path("notify").to_str().unwrap(), Some(Duration::from_millis(4)));
    manager.hear_until(|said| said == "READY=1");
    let rows = || site.csv_rows("out/rows.csv").len();
    wait_for("data arrives", || rows() > 1);
    let before = rows();

    wait_for("data goes on", || rows() > before + 3000);

    send(service.0.id(), Signal::TERM);
    assert_eq!(service.wait(), 0);
}

fn install(arguments: &[&str]) -> crate::harness::Said {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install-service");
    let program = env!("CARGO_BIN_EXE_enrgdaq");
    said(Command::new(script).args(arguments).env("ENRGDAQ", program))
}

#[test]
fn the_unit_file_is_installed_and_systemd_accepts_it() {
    let site = Site::of_enrgdaq().csv();
    let (root, config) = (site.path("root"), site.path("configs"));
    let (root, config) = (root.to_str().unwrap(), config.to_str().unwrap());

    let dry = install(&["--config", config, "--name", "lab", "--root", root, "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("Type=notify") && !Path::new(root).exists(), "{dry:?}");
    let done = install(&["--config", config, "--name", "lab", "--root", root, "--run-as", "daemon"]);

    assert_eq!(done.code, 0, "{done:?}");
    let unit = format!("{root}/etc/systemd/system/enrgdaq-lab.service");
    let text = fs::read_to_string(&unit).expect("it is there");
    assert!(
        text.contains(&format!("--config {config}")) && text.contains("User=daemon") && !text.contains('@'),
        "{text}"
    );
    assert!(done.out.contains("systemctl enable --now enrgdaq-lab"), "{done:?}");
    let verified = said(Command::new("systemd-analyze").args(["verify", "--man=no", &unit]));
    assert!(verified.code == 0 && !verified.err.contains("enrgdaq-lab"), "{verified:?}");
}

#[test]
fn a_folder_with_mistakes_is_not_installed() {
    let site = Site::of_enrgdaq().job("csv", "daq_job_type = \"DAQJobStoreCVS\"");
    let (root, config) = (site.path("root"), site.path("configs"));
    let (root, config) = (root.to_str().unwrap(), config.to_str().unwrap());

    let refused = install(&["--config", config, "--name", "lab", "--root", root]);
    let bad_name = install(&["--config", config, "--name", "a b", "--root", root]);

    assert!(refused.code == 1 && (refused.out + &refused.err).contains("DAQJobStoreCSV"));
    assert!(bad_name.code == 2 && bad_name.err.contains("a b"), "{bad_name:?}");
    assert!(!Path::new(root).exists());
}

#[test]
fn systemd_hears_of_the_jobs_that_there_are() {
    let site = Site::new().difficult("a", "good", "").difficult("b", "good", "").difficult("c", "good", "");
    let manager = Manager::listen(&site.path("notify"));
    let mut service = Service::start(&site, site.path("notify").to_str().unwrap(), None);
    manager.hear_until(|said| said == "STATUS=running: 3 of 3 jobs ready, 0 restarts");

    assert_eq!(site.cli(&["rm", "c"]).code, 0);

    manager.hear_until(|said| said == "STATUS=running: 2 of 2 jobs ready, 0 restarts");
    send(service.0.id(), Signal::TERM);
    assert_eq!(service.wait(), 0);
}
