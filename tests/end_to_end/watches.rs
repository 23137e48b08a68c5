//! Memory and disks: who takes too much is restarted, and what is nearly full is told.

use std::fs;

use crate::harness::{Picture, Site, SmallDisk};

/// A job that leaks, and is not to be restarted more often than once.
fn leak(step_mb: u32, rest: &str) -> String {
    format!("daq_job_type = \"DAQJobLeak\"\nstep_mb = {step_mb}\npause_ms = 100\n{rest}")
}

const QUICK: &str = "[memory]\ninterval_seconds = 0.2";

fn alerts_of_memory(picture: &Picture) -> Vec<&str> {
    picture.alerts().into_iter().filter(|alert| alert.contains("memory: ")).collect()
}

#[test]
fn a_job_that_leaks_is_restarted_again_and_again_and_that_is_no_failure() {
    let site = Site::new().supervisor(QUICK);
    let site = site.csv().rows(1_000_000, 10_000);
    let site = site.job("leak", &leak(20, "[supervise]\nmemory_max_mb = 120\nmax_restarts = 1"));
    let mut node = site.start();

    let picture = node.wait("three restarts", |picture| picture.restarts("leak") >= 3);

    let told = alerts_of_memory(&picture);
    assert!(told[0].contains("leak is restarted: memory: it holds 1") && told[0].contains("may hold 120"), "{told:?}");
    assert!(told.len() >= 3 && told.len() as u64 <= picture.restarts("leak") + 1, "{told:?}");
    assert_eq!(picture.restarts("rows") + picture.restarts("csv"), 0);
    let before = picture.edge("rows", "csv").arrived;
    node.wait("data goes on", |picture| picture.edge("rows", "csv").arrived > before + 10);
    assert_eq!(node.stop(), 0);
}

#[test]
fn memory_of_a_child_counts_as_that_of_its_job() {
    let site = Site::new().supervisor(QUICK);
    let site = site.job("leak", &leak(200, "by_child = true\n[supervise]\nmemory_max_mb = 150"));
    let mut node = site.start();

    let picture = node.wait("it is restarted", |picture| picture.restarts("leak") >= 1);

    assert!(alerts_of_memory(&picture)[0].contains("may hold 150"), "{:?}", picture.alerts());
    assert_eq!(node.stop(), 0);
    site.wait_until_empty();
}

#[test]
fn what_hides_from_its_job_counts_and_so_does_a_job_that_is_not_ready_yet() {
    let hold = "import time; x = bytearray(200 << 20); time.sleep(1000)";
    let exec = |command: &str, rest: &str| {
        format!("daq_job_type = \"DAQJobExec\"\ncommand = [\"sh\", \"-c\", \"\"\"{command}\"\"\"]\n{rest}")
    };
    let keys = "[supervise]\nmemory_max_mb = 150";
    // In a session of its own, and its parent ends.
    let hidden = format!("setsid sh -c 'python3 -c \\\"{hold}\\\" & exit 0'; exec sleep 1000");
    let early = format!("exec python3 -c '{hold}'");
    let site = Site::new().supervisor(QUICK);
    let site =
        site.job("hidden", &exec(&hidden, keys)).job("early", &exec(&early, &format!("ready = \"notify\"\n{keys}")));
    let mut node = site.start();

    for job in ["hidden", "early"] {
        let told = format!("{job} is restarted: memory: it holds 2");
        node.wait("it is restarted for its memory", |picture| picture.has_alert(&told) && picture.restarts(job) > 0);
    }

    node.interrupt();
    node.wait_exit();
    site.wait_until_empty();
}

#[test]
fn a_job_that_rises_again_and_again_is_told_to_leak() {
    let site = Site::new().supervisor(QUICK);
    let keys = "[supervise]\nmemory_growth_mb = 15\nmemory_growth_count = 3";
    let site = site.job("leak", &leak(10, keys)).job("steady", &leak(100, &format!("steps = 1\n{keys}")));
    let mut node = site.start();

    let picture = node.wait("it is restarted", |picture| picture.restarts("leak") >= 1);

    assert!(alerts_of_memory(&picture)[0].contains("after 3 rises by more than 15 (memory_growth_mb)"));
    assert_eq!(picture.restarts("steady"), 0);
}

#[test]
fn when_all_hold_too_much_the_largest_gives_way() {
    let site = Site::new().supervisor(&format!("{QUICK}\ntotal_max_mb = 300"));
    let large = leak(250, "steps = 1");
    let small: Vec<_> = (0..2).map(|n| (format!("small_{n}"), leak(50, "steps = 1"))).collect();
    let site = small.iter().fold(site.job("large", &large), |site, (name, text)| site.job(name, text));
    let mut node = site.start();

    let picture = node.wait("it is restarted", |picture| picture.restarts("large") >= 1);

    let told = alerts_of_memory(&picture);
    assert!(told[0].starts_with("large is restarted: memory: all jobs hold"), "{told:?}");
    assert_eq!(picture.restarts("small_0") + picture.restarts("small_1"), 0);
    assert_eq!(told.len() as u64, picture.restarts("large"), "one at a time: {told:?}");
}

#[test]
fn when_the_host_has_little_memory_the_largest_gives_way() {
    // More than any machine has.
    let site = Site::new().supervisor(&format!("{QUICK}\nhost_free_min_mb = 4000000000"));
    let site = site.job("large", &leak(100, "steps = 1")).job("small", &leak(1, "steps = 1"));
    let mut node = site.start();

    let picture = node.wait("it is restarted", |picture| picture.restarts("large") >= 1);

    assert!(
        alerts_of_memory(&picture).iter().any(|alert| alert.starts_with("large is restarted: memory: the host has"))
    );
}

#[test]
fn a_disk_is_told_once_when_it_is_low_once_when_it_is_full_and_once_when_it_is_well_again() {
    let site = Site::new().csv().rows(10, 0);
    let disk = SmallDisk::mount(site.path("out"));
    let site = site.supervisor("[disk]\ninterval_seconds = 0.2\nfree_min_mb = 5\npaths = [\"out/deeper\"]");
    disk.fill(4 << 10);
    let mut node = site.start();
    let of_disk = |picture: &Picture| -> Vec<String> {
        picture.alerts().into_iter().filter(|alert| alert.contains("disk: ")).map(str::to_owned).collect()
    };

    node.wait("it is low", |picture| picture.has_alert("where out lies, less than 5 (free_min_mb)"));
    disk.free();
    node.wait("it is well", |picture| picture.has_alert("enough again"));
    disk.fill(300);
    let picture = node.wait("it is full", |picture| picture.has_alert("less than a tenth of 5"));

    assert_eq!(of_disk(&picture).len(), 3, "{:?}", picture.alerts());
    let severity = |at: usize| picture.0["alerts"][at]["alert_info"]["severity"].as_str().unwrap().to_lowercase();
    assert_eq!([severity(0), severity(1), severity(2)], ["warning", "info", "error"]);
    assert_eq!(node.stop(), 0);
    drop(fs::remove_file(site.path("out/ballast")));
}

#[test]
fn without_limits_nobody_watches() {
    let site = Site::new().supervisor("[disk]\nfree_min_mb = 0").csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let threads = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().flatten();
    let names: Vec<_> =
        threads.map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default()).collect();

    assert!(names.iter().any(|name| name == "capture\n"), "{names:?}");
    assert!(!names.iter().any(|name| name == "memory\n" || name.starts_with("disk")), "{names:?}");
}
