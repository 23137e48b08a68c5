//! When a job starts: after others, alone, at its time, or not by itself.

use std::time::Duration;

use crate::harness::{Signal, Site, send, wait_for};

const NEEDS_A: &str = "[supervise]\ndepends_on = [\"a\"]\n";

#[test]
fn a_job_waits_until_those_that_it_needs_are_ready_and_ends_before_them() {
    let site = Site::new().difficult("a", "good", "").difficult("b", "good", NEEDS_A);
    let mut node = site.start();
    node.wait_ready(&["a", "b"]);
    assert_eq!(site.cli(&["stop", "b"]).code, 0);
    assert_eq!(site.cli(&["stop", "a"]).code, 0);

    let refused = site.cli(&["start", "b"]);
    assert!(refused.err.contains("`b` is now waiting: a does not run, and it depends on it"), "{refused:?}");
    // A restart while it waits, and a stop, wedge nothing.
    assert_eq!(site.cli(&["restart", "b"]).code, 1);
    assert_eq!(node.status().state("b"), "waiting");
    assert_eq!(site.cli(&["stop", "b"]).code, 0);
    assert_eq!(node.status().state("b"), "stopped");
    site.cli(&["start", "b"]);
    assert_eq!(site.cli(&["start", "a"]).code, 0);
    node.wait_ready(&["a", "b"]);

    node.interrupt();
    assert_eq!(node.wait_exit(), 0);
    let log = node.log();
    let at = |text: &str| log.rfind(text).unwrap_or_else(|| panic!("{text} is not in {log}"));
    assert!(at("[b] stopped") < at("[a] stopped"), "{log}");
}

#[test]
fn a_job_whose_need_never_comes_holds_up_no_stranger() {
    let site = Site::new()
        .difficult("a", "refuses_config", "")
        .difficult("b", "good", NEEDS_A)
        .difficult("c", "good", "")
        .rows(1, 0)
        .csv();
    let mut node = site.start();

    let picture = node.wait("all others have come", |picture| {
        picture.state("c") == "ready" && picture.state("rows") == "ready" && picture.state("a") == "fatal"
    });

    assert_eq!(picture.state("b"), "waiting");
    assert_eq!(site.cli(&["stop", "b"]).code, 0);
    node.interrupt();
    node.wait_exit();
}

#[test]
fn of_two_jobs_with_the_same_lock_one_runs_and_the_other_takes_over() {
    let site = Site::new();
    let word = site.id().to_owned();
    let lock = format!("[supervise]\nexclusive = \"{word}\"\n");
    let site = site.difficult("a", "good", &lock).difficult("b", "good", &lock);
    let mut node = site.start();
    let picture = node.wait("one waits", |picture| picture.state("a") == "ready" && picture.state("b") == "waiting");
    assert_eq!(picture.reason("b"), format!("a has {word:?}"));

    assert_eq!(site.cli(&["stop", "a"]).code, 0);

    node.wait("the other has it", |picture| picture.state("b") == "ready");
    let refused = site.cli(&["start", "a"]);
    assert!(refused.err.contains(&format!("b has {word:?}")), "{refused:?}");
    // Whoever dies gives way.
    send(node.status().running("b"), Signal::KILL);
    node.wait("and gives it back", |picture| picture.state("a") == "ready" && picture.state("b") != "ready");
}

#[test]
fn who_waits_does_not_begin_when_all_ends() {
    let site = Site::new();
    let word = site.id().to_owned();
    let lock = format!("[supervise]\nexclusive = \"{word}\"\n");
    let site = site.difficult("a", "good", &lock).difficult("b", "good", &lock);
    let mut node = site.start();
    node.wait("one waits", |picture| picture.state("a") == "ready" && picture.state("b") == "waiting");

    node.interrupt();

    assert_eq!(node.wait_exit(), 0);
    let log = node.log();
    assert!(!log.contains("[b] ready") && !log.contains("[b] sending") && !log.contains("[b] stopped"), "{log}");
}

#[test]
fn what_an_operator_has_stopped_stays_stopped_over_a_restart_until_it_is_started() {
    let site = Site::new().difficult("a", "good", "").difficult("b", "good", "[supervise]\nautostart = false\n");
    let mut node = site.start();
    let picture = node.wait_ready(&["a"]);
    assert_eq!(picture.state("b"), "stopped");
    assert_eq!(site.cli(&["start", "b"]).code, 0);
    assert_eq!(site.cli(&["stop", "a"]).code, 0);
    wait_for("it is on disk", || {
        let file = glob_operator(&site);
        file.contains("\"a\"")
    });
    node.kill();

    let mut node = site.start();
    let picture = node.wait("it has started", |picture| !picture.0["supervisor"].is_null());
    assert_eq!((picture.state("a"), picture.state("b")), ("stopped", "stopped"));
    assert_eq!(site.cli(&["start", "a"]).code, 0);
    node.interrupt();
    assert_eq!(node.wait_exit(), 0);

    let mut node = site.start();
    node.wait_ready(&["a"]);
    node.stop();
    // A file that cannot be read is no permission to start what was stopped.
    let path = operator_file(&site);
    std::fs::write(&path, "{").unwrap();
    let said = site.cli(&["--config", "configs"]);
    assert!(said.code == 1 && said.err.contains("is damaged"), "{said:?}");
}

fn operator_file(site: &Site) -> std::path::PathBuf {
    let folders = std::fs::read_dir(site.path("state/enrgdaq")).unwrap().flatten();
    folders.map(|folder| folder.path().join("operator.json")).find(|path| path.exists()).unwrap_or_default()
}

fn glob_operator(site: &Site) -> String {
    std::fs::read_to_string(operator_file(site)).unwrap_or_default()
}

#[test]
fn a_scheduled_source_comes_and_goes() {
    let site = Site::new().csv().rows(3, 0);
    let text = std::fs::read_to_string(site.path("configs/rows.toml")).unwrap();
    let site = site.job("rows", &format!("{text}\n[supervise]\nschedule = \"every 2 s\"\nmax_age_seconds = 1\n"));
    let mut node = site.start();

    node.wait("it ran three times", |picture| picture.edge("rows", "csv").arrived >= 9);

    node.wait("it waits", |picture| picture.state("rows") == "waiting" && picture.reason("rows").contains("next time"));
    assert_eq!(site.cli(&["stop", "rows"]).code, 0);
    let at = node.status().edge("rows", "csv").produced;
    assert_eq!(site.cli(&["start", "rows"]).code, 0, "by hand at once");
    node.wait("it ran again", |picture| picture.edge("rows", "csv").produced > at);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_is_old_starts_anew_and_that_is_no_failure() {
    let keys = "[supervise]\nmax_age_seconds = 1\nmax_restarts = 1\n";
    let site = Site::new().difficult("a", "good", keys);
    let mut node = site.start();

    node.wait("it was renewed thrice", |picture| picture.state("a") == "ready" && picture.restarts("a") >= 3);

    assert!(node.log().contains("[a] ends, to start anew: it has run for 1 s"), "{}", node.log());
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_stop_during_a_pause_before_a_restart_wins() {
    let keys = "[supervise]\nrestart_base_seconds = 0.5\nrestart_max_seconds = 0.5\n";
    let site = Site::new().difficult("a", "fails_in_run", keys);
    let mut node = site.start();
    for _ in 0..5 {
        node.wait("it waits", |picture| picture.state("a") == "backingoff");
        assert_eq!(site.cli(&["stop", "a"]).code, 0);
        let before = node.status().restarts("a");
        // Longer than any pause before a restart.
        let until = std::time::Instant::now() + Duration::from_millis(900);
        wait_for("the pause is over", || std::time::Instant::now() > until);
        let after = node.status();
        assert_eq!((after.state("a"), after.restarts("a")), ("stopped", before));
        site.cli(&["start", "a"]);
    }
}
