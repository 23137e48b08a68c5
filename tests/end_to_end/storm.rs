//! Many commands at once, many jobs at once: nothing wedges, nothing is doubled.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::harness::{DEADLINE, Node, Picture, Signal, Site, send, wait_until};

const CLIENTS: u64 = 8;
const COMMANDS: u32 = 1000;

const NAMES: [&str; 6] = ["a", "b", "c", "test", "many", "many_00"];

#[test]
fn a_thousand_random_commands_from_eight_clients_leave_what_the_process_table_says() {
    let policy = "[supervise]\nrestart_base_seconds = 0.05\nrestart_max_seconds = 0.2\n";
    let needs = format!("{policy}depends_on = [\"a\"]\n");
    let site = Site::new();
    let alone = format!("{policy}exclusive = \"{}\"\n", site.id());
    let test = "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"\n";
    let site = site
        .csv()
        .difficult("a", "good", &alone)
        .difficult("b", "good", &needs)
        .difficult("c", "good", &alone)
        .difficult("many", "good", &format!("{policy}replicas = 2\n"))
        .job("test", test);
    let mut node = site.start();
    node.wait_ready(&["csv", "b", "test"]);

    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let left = AtomicU32::new(COMMANDS);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let client =
                Client { site: &site, supervisor: node.pid(), random: fastrand::Rng::with_seed(seed + client) };
            let left = &left;
            scope.spawn(move || client.run(left));
        }
    });

    node.wait("nothing is on its way", |picture| {
        let jobs = picture.0["jobs"].as_array().unwrap();
        jobs.iter().all(|job| !["starting", "stopping", "backingoff"].contains(&job["state"].as_str().unwrap()))
    });
    let picture = agree(&site, &mut node);
    assert_kept(&site, &picture);
    // And it still takes orders.
    for name in ["a", "b", "c", "many"] {
        site.cli(&["stop", name]);
    }
    for name in ["a", "b", "many"] {
        assert_eq!(site.cli(&["start", name]).code, 0, "{name}");
    }
    node.wait_ready(&["a", "b", "many_00"]);
    node.interrupt();
    node.wait_exit();
    site.wait_until_empty();
}

/// One connection that gives orders and waits for each answer.
struct Client<'a> {
    site: &'a Site,
    supervisor: u32,
    random: fastrand::Rng,
}

impl Client<'_> {
    fn run(mut self, left: &AtomicU32) {
        let mut stream = self.site.connect().expect("the supervisor answers");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a time limit");
        let mut answers = BufReader::new(stream.try_clone().expect("there are descriptors"));
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let Some(line) = self.command() else { continue };
            writeln!(stream, "{line}").expect("it takes the line");
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap_or_else(|error| panic!("no answer to {line}: {error}"));
            assert!(answer.contains("\"finished\":true"), "{line}: {answer}");
        }
    }

    /// A command, or, done at once, a kill.
    fn command(&mut self) -> Option<String> {
        let name = NAMES[self.random.usize(..NAMES.len())];
        Some(match self.random.u32(..20) {
            0..4 => format!("{{\"id\":2,\"do\":\"start\",\"name\":\"{name}\"}}"),
            4..8 => format!("{{\"id\":2,\"do\":\"stop\",\"name\":\"{name}\"}}"),
            8..12 => format!("{{\"id\":2,\"do\":\"restart\",\"name\":\"{name}\"}}"),
            12 => "{\"id\":2,\"do\":\"status\"}".into(),
            13..15 => {
                let behaviour = self.random.u32(..5);
                let text = format!(
                    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = {}\n[store_config.csv]\nfile_path = \"t.csv\"\n",
                    9 + behaviour
                );
                // Whole at every moment: others reload too.
                let new = format!("configs/test.new{}", self.random.u64(..));
                self.site.write(&new, &text);
                std::fs::rename(self.site.path(&new), self.site.path("configs/test.toml")).expect("it can be renamed");
                "{\"id\":2,\"do\":\"reload\"}".into()
            }
            15..17 => format!("{{\"id\":2,\"do\":\"scale\",\"name\":\"many\",\"copies\":{}}}", self.random.u32(1..4)),
            _ => {
                let processes = self.site.processes().into_iter();
                let jobs: Vec<_> = processes.filter(|process| process.pid != self.supervisor).collect();
                if !jobs.is_empty() {
                    send(jobs[self.random.usize(..jobs.len())].pid, Signal::KILL);
                }
                return None;
            }
        })
    }
}

/// On disk stands who is stopped, and nobody else: no order was forgotten, and none came back.
fn assert_kept(site: &Site, picture: &Picture) {
    let jobs = picture.0["jobs"].as_array().unwrap().iter();
    let (stopped, other): (Vec<_>, Vec<_>) = jobs.partition(|job| job["state"] == "stopped");
    let names = |jobs: Vec<&serde_json::Value>| jobs.into_iter().map(|job| job["name"].clone()).collect::<Vec<_>>();
    let (stopped, other) = (names(stopped), names(other));
    wait_until("it is on disk", DEADLINE, || {
        let folders = std::fs::read_dir(site.path("state/enrgdaq")).expect("there is one").flatten();
        let files = folders.filter_map(|folder| std::fs::read(folder.path().join("operator.json")).ok());
        let kept: Option<serde_json::Value> = files.map(|file| serde_json::from_slice(&file).unwrap()).next();
        let kept = kept.and_then(|kept| kept["stopped"].as_array().cloned()).unwrap_or_default();
        let is_so = stopped.iter().all(|name| kept.contains(name)) && !other.iter().any(|name| kept.contains(name));
        if is_so { Ok(()) } else { Err(format!("{kept:?} instead of {stopped:?}")) }
    });
}

/// Waits until the supervisor's picture and the process table say the same; each job is one process at most.
fn agree(site: &Site, node: &mut Node<'_>) -> Picture {
    let supervisor = node.pid();
    node.wait("states are those of the process table", |picture| {
        let jobs = picture.0["jobs"].as_array().unwrap();
        let told: Vec<_> = jobs.iter().filter_map(|job| job["pid"].as_u64()).collect();
        let running: BTreeSet<_> = site
            .processes()
            .iter()
            .filter(|process| process.pid != supervisor)
            .map(|process| u64::from(process.pid))
            .collect();
        told.len() == running.len() && told.iter().all(|pid| running.contains(pid))
    })
}

#[test]
fn three_hundred_jobs_start_and_stop() {
    const JOBS: usize = 300;
    let mut site = Site::new();
    for n in 0..JOBS {
        site = site.difficult(&format!("job{n:03}"), "good", "[supervise]\nstartup_timeout_seconds = 300\n");
    }
    let mut node = site.start();
    let ready =
        |picture: &Picture| picture.0["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "ready").count();

    node.wait("all are ready", |picture| ready(picture) == JOBS);
    let picture = agree(&site, &mut node);
    println!(
        "supervisor: {} MB, {} % of a core",
        picture.0["supervisor"]["rss_mb"], picture.0["supervisor"]["cpu_percent"]
    );
    assert_eq!(site.cli(&["stop", "job150"]).code, 0);

    node.interrupt();
    assert_eq!(node.wait_exit(), 0);
    site.wait_until_empty();
}
