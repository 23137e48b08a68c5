//! kill -9: of a store, of a source, of the supervisor.

use std::fs;

use crate::harness::{DEADLINE, Node, Picture, Signal, Site, is_suspended, send, wait_for, wait_until};

/// Kills a job, sees it wait, and sees it back.
fn kill_and_await(node: &mut Node<'_>, job: &str) -> (Picture, Picture) {
    let before = node.status();
    send(before.running(job), Signal::KILL);
    let waiting = node.wait("it waits before it comes back", |picture| picture.state(job) == "backingoff");
    assert!(waiting.job(job)["restart_in_s"].as_f64().unwrap() > 0.0);
    assert!(waiting.reason(job).contains("SIGKILL"), "{}", waiting.brief());
    let after = node.wait_back(job, before.running(job));
    (before, after)
}

fn assert_came_back(before: &Picture, after: &Picture, job: &str) {
    let of = |picture: &Picture, key: &str| picture.job(job)[key].as_str().unwrap().to_owned();
    assert_eq!(of(before, "unique_id"), of(after, "unique_id"));
    assert_ne!(of(before, "instance_id"), of(after, "instance_id"));
    assert_ne!(before.pid(job), after.pid(job));
    assert_eq!((before.restarts(job), after.restarts(job)), (0, 1));
    assert!(of(after, "last_end").contains("SIGKILL"), "{}", after.job(job));
}

/// Header once, no torn row; the numbers of the rows.
fn whole_rows(site: &Site) -> Vec<u64> {
    let rows = site.csv_rows("out/rows.csv");
    assert_eq!(rows[0], ["n", "padding"]);
    rows[1..]
        .iter()
        .map(|row| row[0].parse().unwrap_or_else(|_| panic!("a torn row or a second header: {row:?}")))
        .collect()
}

#[test]
fn a_store_that_is_killed_comes_back_and_its_file_stays_right() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    node.wait("some rows are on the disk", |_| site.csv_rows("out/rows.csv").len() > 100);

    let (before, after) = kill_and_await(&mut node, "csv");

    assert_came_back(&before, &after, "csv");
    let so_far = site.csv_rows("out/rows.csv").len();
    node.wait("more rows", |_| site.csv_rows("out/rows.csv").len() > so_far + 100);
    node.stop();
    let numbers = whole_rows(&site);
    assert!(numbers.is_sorted_by(|a, b| a < b), "rows come once and in order");
}

#[test]
fn a_source_that_is_killed_comes_back_and_loses_nothing_that_it_had_published() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    node.wait("some rows arrived", |picture| picture.edge("rows", "csv").arrived > 100);

    let (before, after) = kill_and_await(&mut node, "rows");

    assert_came_back(&before, &after, "rows");
    let so_far = after.edge("rows", "csv").arrived;
    let last = node.wait("more rows", |picture| picture.edge("rows", "csv").arrived > so_far + 100);
    node.stop();
    let numbers = whole_rows(&site);
    assert_eq!(numbers.iter().filter(|&&n| n == 0).count(), 2, "each start counts from 0");
    assert!(numbers.len() as u64 >= last.edge("rows", "csv").arrived);
}

#[test]
fn what_a_killed_source_had_handed_over_is_counted_where_it_is_missing() {
    let site = Site::new().recorder().flood(1_000_000, "pause_us = 1");
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("flood", "recorder").arrived > 1000);
    let pid = node.status().running("flood");

    send(pid, Signal::KILL);

    node.wait_back("flood", pid);
    assert_eq!(node.stop(), 0);
    let starts = site.records().iter().filter(|&&n| n == 0).count();
    assert_eq!(starts, 2);
}

#[test]
fn when_the_supervisor_is_killed_no_job_survives_it_and_a_second_start_works_at_once() {
    let site = Site::new().csv().recorder().rows(1_000_000, 2000).flood(1_000_000, "pause_us = 100");
    let mut node = site.start();
    let first = node.wait("data", |picture| picture.edge("rows", "csv").arrived > 10);

    node.kill();
    let mut node = site.start();

    let second = node.wait("data again", |picture| picture.edge("rows", "csv").arrived > 10);
    for job in ["csv", "recorder", "rows", "flood"] {
        let (old, new) = (first.running(job), second.running(job));
        wait_for("the jobs of the first start are gone", || site.processes().iter().all(|process| process.pid != old));
        assert_ne!(old, new);
        assert_eq!(first.job(job)["unique_id"], second.job(job)["unique_id"]);
    }
    assert_eq!(node.stop(), 0);
    site.wait_until_empty();
    whole_rows(&site);
}

#[test]
fn a_job_that_is_suspended_does_not_survive_the_supervisor() {
    let site = Site::new().csv().rows(1_000_000, 2000);
    let mut node = site.start();
    let picture = node.wait_ready(&["csv", "rows"]);
    let pid = picture.running("csv");
    send(pid, Signal::STOP);
    wait_for("it is suspended", || is_suspended(pid));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_job_that_hears_nothing_kills_itself_and_its_children_when_the_supervisor_is_killed() {
    let site = Site::new().difficult("deaf", "deaf", "child = \"deaf\"");
    let mut node = site.start();
    node.wait_ready(&["deaf"]);
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_child_of_a_good_job_does_not_survive_the_supervisor() {
    let site = Site::new().difficult("parent", "good", "child = \"good\"");
    let mut node = site.start();
    node.wait_ready(&["parent"]);
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();

    site.wait_until_empty();
}

#[test]
fn a_second_start_clears_away_what_a_killed_supervisor_left() {
    let site = Site::new().difficult("parent", "good", "child = \"deaf\"");
    let mut node = site.start();
    let old = node.wait_ready(&["parent"]).running("parent");
    wait_for("its child runs", || site.processes().iter().any(|process| process.name == "sleep"));

    node.kill();
    let mut node = site.start();

    node.wait_ready(&["parent"]);
    wait_for("the old group is empty", || site.processes().iter().all(|process| process.group != old));
}

#[test]
fn what_had_arrived_outlives_the_supervisor_and_no_second_store_writes_into_it() {
    const PADDING: usize = 50;
    let source = format!("daq_job_type = \"DAQJobRows\"\nrows = 1000000\npause_us = 200\npadding = {PADDING}");
    let target = "[store_config.csv]\nfile_path = \"rows.csv\"";
    let site = Site::new().csv().job("rows", &format!("{source}\n{target}"));
    let mut arrived = Vec::new();
    for _ in 0..5 {
        let mut node = site.start();
        let picture = node.wait("some rows arrived", |picture| picture.edge("rows", "csv").arrived > 300);
        arrived.push(picture.edge("rows", "csv").arrived);
        node.kill();
    }

    let mut node = site.start();
    node.wait("rows again", |picture| picture.edge("rows", "csv").arrived > 300);
    assert_eq!(node.stop(), 0);

    site.wait_until_empty();
    let rows = site.csv_rows("out/rows.csv");
    let is_whole = |row: &Vec<String>| row.len() == 2 && row[0].parse::<u64>().is_ok() && row[1].len() == PADDING;
    let torn: Vec<_> = rows[1..].iter().filter(|row| !is_whole(row)).collect();
    assert!(torn.is_empty(), "{torn:?}");
    let numbers: Vec<u64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
    let (rows, arrived) = (numbers.len() as u64, arrived.iter().sum::<u64>());
    assert!(rows >= arrived, "{arrived} had arrived, {rows} are in the file");
    // A store that died may have written the last rows without having said so: they come again.
    for number in 0..300 {
        let times = numbers.iter().filter(|&&other| other == number).count();
        assert!(times >= 6, "each start made row {number}, and it is there {times} times");
    }
}

/// The pid that a script has written into a file.
fn pid_in(site: &Site, file: &str) -> u32 {
    wait_until(file, DEADLINE, || {
        let text = fs::read_to_string(site.path(file)).unwrap_or_default();
        text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).ok_or_else(|| format!("{text:?}"))
    })
}

fn runs(site: &Site, pid: u32) -> bool {
    site.processes().iter().any(|process| process.pid == pid)
}

/// A supervisor is killed while one job is well, one is suspended, one is deaf and one has a deaf child outside of its group.
fn leave_all_kinds(site: Site) {
    let stray = "(setsid sh -c 'trap \"\" TERM; echo $$ > stray; while :; do sleep 1000; done' &) ; exit 0";
    let site = site
        .difficult("well", "good", "child = \"good\"")
        .difficult("suspended", "good", "child = \"deaf\"")
        .difficult("deaf", "deaf", "child = \"deaf\"")
        .difficult("parent", "good", &format!("script = '''{stray}'''"));
    let jobs = ["well", "suspended", "deaf", "parent"];
    let mut node = site.start();
    let before = node.wait_ready(&jobs);
    let stray = pid_in(&site, "stray");
    fs::remove_file(site.path("stray")).unwrap();
    let old: Vec<u32> = jobs.iter().map(|job| before.running(job)).collect();
    send(old[1], Signal::STOP);
    wait_for("it is suspended", || is_suspended(old[1]));

    node.kill();
    let mut node = site.start();

    let after = node.wait_ready(&jobs);
    assert!(old.iter().chain([&stray]).all(|&pid| !runs(&site, pid)), "{:?}", site.processes());
    assert!(jobs.iter().all(|job| !old.contains(&after.running(job))));
    let log = node.log();
    assert!(log.contains("a former start of this supervisor has left"), "{log}");
    assert!(log.contains(&format!("(pid {stray})")), "{log}");
    assert!(log.contains("what a former start had left is gone"), "{log}");
    assert!(!log.contains("an earlier process of this job is still there"), "{log}");
    node.stop();
    site.wait_until_empty();
}

#[test]
fn what_a_killed_supervisor_left_is_gone_before_the_next_starts_its_jobs() {
    leave_all_kinds(Site::new());
}

#[test]
fn what_a_killed_supervisor_left_is_found_without_control_groups_too() {
    leave_all_kinds(Site::new().with_env("ENRGDAQ_CGROUP", "off"));
}

/// What a shell must run to start a supervisor at a site.
fn start_line(site: &Site) -> String {
    let command = site.command(&["--config", "configs"]);
    let envs = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    let envs: Vec<_> = envs.map(|(name, value)| format!("{name}={value}")).collect();
    let program = command.get_program().to_str().unwrap();
    let dir = command.get_current_dir().unwrap().display();
    format!("cd {dir}; exec env {} {program} --config configs 2>> nested.log", envs.join(" "))
}

#[test]
fn a_supervisor_that_was_started_from_within_a_job_outlives_the_sweep() {
    let inner = Site::new().difficult("inner", "good", "child = \"good\"");
    let text = format!("setsid sh -c '{}' &", start_line(&inner));
    let outer = Site::new().difficult("host", "good", &format!("script = '''{text}'''"));
    let mut node = outer.start();
    node.wait_ready(&["host"]);
    let status = |site: &Site| {
        site.ask("{\"id\":2,\"do\":\"status\"}").ok().and_then(|text| serde_json::from_str(&text).ok()).map(Picture)
    };
    let pid_of = |site: &Site| status(site).filter(|picture| picture.state("inner") == "ready")?.pid("inner");
    let inner_pid = wait_until("the inner one is ready", DEADLINE, || pid_of(&inner).ok_or_else(String::new));
    // The host would start another one.
    outer.write("configs/host.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"");

    node.kill();
    let mut node = outer.start();
    node.wait_ready(&["host"]);

    assert_eq!(pid_of(&inner), Some(inner_pid), "{}", node.log());
    node.stop();
    assert_eq!(pid_of(&inner), Some(inner_pid));
}

#[test]
fn a_supervisor_that_is_started_again_from_within_its_own_job_does_not_kill_itself() {
    let site = Site::new().difficult("host", "good", "child = \"deaf\"");
    let text = format!("setsid sh -c \"while ! test -e go; do sleep 0.05; done; rm go; {}\" &", start_line(&site));
    let site = site.difficult("host", "good", &format!("child = \"deaf\"\nscript = '''{text}'''"));
    let mut node = site.start();
    let old = node.wait_ready(&["host"]).running("host");

    node.kill();
    site.write("go", "");

    let is_back = || {
        let text = site.ask("{\"id\":2,\"do\":\"status\"}").ok()?;
        let picture = Picture(serde_json::from_str(&text).ok()?);
        (picture.state("host") == "ready" && picture.running("host") != old).then_some(())
    };
    let log = || fs::read_to_string(site.path("nested.log")).unwrap_or_default();
    wait_until("it is back", DEADLINE, || is_back().ok_or_else(log));
    assert!(!runs(&site, old));
}

#[test]
fn two_supervisors_of_one_id_in_two_runtime_directories_leave_each_other_alone() {
    let one = Site::new().difficult("job", "good", "child = \"good\"");
    let two = Site::new().with_id(one.id()).supervisor("").difficult("job", "good", "");
    let mut first = one.start();
    let pid = first.wait_ready(&["job"]).running("job");
    let mut second = two.start();
    second.wait("it runs or is refused", |picture| picture.state("job") != "no such job");

    assert_eq!(first.status().running("job"), pid, "{}", second.log());
}

#[test]
fn a_roll_that_is_garbage_or_of_strangers_harms_nobody() {
    let site = Site::new().difficult("job", "good", "");
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let mut node = site.start();
    let pid = node.wait_ready(&["job"]).running("job");
    let roll = site.socket("processes.json");
    let text = wait_until("the roll has the job", DEADLINE, || {
        let text = fs::read_to_string(&roll).unwrap_or_default();
        if text.contains(&format!("\"pid\":{pid}")) { Ok(text) } else { Err(text) }
    });
    node.kill();
    // The number has another owner now, as far as the roll can tell.
    fs::write(&roll, text.replace(&format!("\"pid\":{pid}"), &format!("\"pid\":{}", stranger.id()))).unwrap();
    let mut node = site.start();
    node.wait_ready(&["job"]);
    node.kill();
    fs::write(&roll, "{\"boot_id\": [").unwrap();
    let mut node = site.start();
    node.wait_ready(&["job"]);

    assert!(node.log().contains("cannot read"), "{}", node.log());
    assert!(stranger.try_wait().unwrap().is_none(), "it was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(node.stop(), 0);
    assert!(!roll.exists());
}
