//! Jobs that fail: when they come back, and when they do not.

use crate::harness::{DEADLINE, Signal, Site, send, wait_until};

/// Retries come quickly, so that the tests do too.
const QUICK: &str = "[supervise]\nrestart_base_seconds = 0.2\nrestart_max_seconds = 0.4\nstartup_timeout_seconds = 3\nstop_timeout_seconds = 1";

#[test]
fn a_job_that_cannot_open_its_device_is_tried_again_and_does_not_hold_up_the_others() {
    let site = Site::new().supervisor(QUICK).csv().rows(10, 0).difficult("hv", "fails_in_new", "");
    let mut node = site.start();

    let picture = node.wait("the others take data", |picture| {
        picture.edge("rows", "csv").arrived == 10 && picture.restarts("hv") >= 2
    });

    assert!(["backingoff", "starting", "stopping"].contains(&picture.state("hv")), "{}", picture.brief());
    node.wait("its reason is shown", |picture| picture.reason("hv").contains("exit code 1"));
    assert!(node.log().contains("the device is not there"), "{}", node.log());
}

#[test]
fn a_job_that_never_gets_ready_is_killed_and_tried_again() {
    let site = Site::new().supervisor(QUICK).csv().rows(10, 0).difficult("hv", "hangs_in_new", "child = \"deaf\"");
    let mut node = site.start();

    node.wait("the reason is shown", |picture| picture.reason("hv") == "not ready within 3 s");

    node.wait("the others take data", |picture| picture.edge("rows", "csv").arrived == 10);
    node.wait("it is tried again", |picture| picture.restarts("hv") >= 1);
}

#[test]
fn a_job_whose_configuration_is_hopeless_is_fatal_at_once() {
    for behaviour in ["refuses_config", "exits78"] {
        let site = Site::new().supervisor(QUICK).difficult("hv", behaviour, "");
        let mut node = site.start();

        let picture = node.wait("it is fatal", |picture| picture.state("hv") == "fatal");

        assert_eq!(picture.restarts("hv"), 0);
        assert!(picture.reason("hv").contains("exit code 78"), "{}", picture.brief());
        assert!(picture.has_alert("hv is fatal"), "{}", picture.brief());
        assert_ne!(node.stop(), 0);
    }
}

#[test]
fn a_job_that_fails_too_often_is_fatal() {
    let site = Site::new().supervisor(QUICK).difficult("hv", "panics", "[supervise]\nmax_restarts = 2");
    let mut node = site.start();

    let picture = node.wait("it is given up", |picture| picture.state("hv") == "fatal");

    assert_eq!(picture.restarts("hv"), 2);
    assert!(picture.reason("hv").contains("restarted 2 times"), "{}", picture.brief());
    assert!(picture.has_alert("hv is fatal"), "{}", picture.brief());
    assert!(node.log().contains("the sky is falling"), "a panic is in the log: {}", node.log());
}

#[test]
fn the_end_of_an_essential_job_is_the_end_of_all() {
    let site = Site::new().supervisor(QUICK).csv().rows(10, 0);
    let site = site.difficult("hv", "refuses_config", "[supervise]\nessential = true");
    let mut node = site.start();

    assert_ne!(node.wait_exit(), 0);

    site.wait_until_empty();
    assert!(node.log().contains("essential job hv does not come back"), "{}", node.log());
}

const ONE_MESSAGE: &str = "daq_job_type = \"DAQJobFlood\"\nmessages = 1\nsize = 100\n[store_config.recorder]";

#[test]
fn a_source_that_ends_by_itself_is_done() {
    let site = Site::new().supervisor(QUICK).recorder().job("flood", ONE_MESSAGE);
    let mut node = site.start();

    let picture = node.wait("it is done", |picture| picture.state("flood") == "exited");

    assert_eq!((picture.restarts("flood"), picture.reason("flood")), (0, "it ended with exit code 0"));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_others_need_comes_back_when_it_ends_by_itself() {
    let site = Site::new().supervisor(QUICK).difficult("sink", "is_done", "");
    let mut node = site.start();

    node.wait("it was started again", |picture| picture.restarts("sink") >= 2);

    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_is_always_to_run_starts_again_after_a_clean_end() {
    let site = Site::new().supervisor(QUICK).difficult("again", "is_done", "[supervise]\nrestart = \"always\"");
    let mut node = site.start();

    node.wait("it was started again", |picture| picture.restarts("again") >= 2);

    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_hangs_is_killed_and_comes_back_with_the_reason_shown() {
    let hang = "[supervise]\nliveness_timeout_seconds = 3\nstop_timeout_seconds = 0.5";
    let site = Site::new().csv().rows(1_000_000, 10_000).difficult("hv", "good", hang);
    let mut node = site.start();
    let pid = node.wait_ready(&["csv", "rows", "hv"]).running("hv");

    send(pid, Signal::STOP);

    node.wait("the reason is shown", |picture| picture.reason("hv") == "no heartbeat for 3 s");
    let picture = node.wait_back("hv", pid);
    assert_eq!((picture.restarts("hv"), picture.restarts("csv"), picture.restarts("rows")), (1, 0, 0));
    wait_until("the hanging process is gone", DEADLINE, || {
        if site.processes().iter().all(|process| process.pid != pid) { Ok(()) } else { Err(format!("{pid} runs")) }
    });
}
