//! The REST API, judged by programs of others: Prometheus' parser, a browser, schemathesis.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{DEADLINE, Said, Site, said, said_within};
use crate::rest_client::{TEST, tokens, with_api};

fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/peers").join(name)
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python3"));
    command.args(arguments);
    command
}

#[track_caller]
fn assert_fine(said: &Said) {
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
}

#[test]
fn prometheus_reads_the_metrics_whatever_the_names_hold() {
    let (site, api) = with_api(Site::of_enrgdaq().csv().job("test", TEST).job("a \"b\" \\c {d}", TEST), "");
    let mut node = site.start();
    node.wait("rows", |picture| picture.edge("test", "csv").arrived > 1 && picture.state("a \"b\" \\c {d}") == "ready");
    api.get("/nowhere");

    let script = peer("rest_metrics.py").display().to_string();
    let judged = said(&mut python(&[&script, &format!("http://127.0.0.1:{}/metrics", api.port)]));

    assert_fine(&judged);
    for line in
        ["enrgdaq_job_ready{job=a \"b\" \\c {d}} 1.0", "enrgdaq_job_state{job=csv,state=ready,type=DAQJobStoreCSV} 1.0"]
    {
        assert!(judged.out.contains(line), "{line}\n{}", judged.out);
    }
    for name in [
        "enrgdaq_supervisor_uptime_seconds",
        "enrgdaq_edge_arrived_messages_total{reader=csv,writer=test}",
        "enrgdaq_rest_requests_total{method=GET,route=none,status=404} 1.0",
        "enrgdaq_ring_size_bytes{job=test}",
        "enrgdaq_node_up",
        "enrgdaq_audit_lost_lines_total 0.0",
        "enrgdaq_job_received_bytes_total{job=csv}",
        "enrgdaq_rest_request_duration_seconds_bucket",
    ] {
        assert!(judged.out.contains(name), "{name}\n{}", judged.out);
    }
}

#[test]
fn the_page_of_the_routes_is_whole_without_any_other_machine() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), "");
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let url = format!("http://127.0.0.1:{}/docs", api.port);
    let profile = site.path("browser").display().to_string();

    // Whatever is asked of another machine fails, and is told in the log.
    let show = |what: &str| {
        let mut browser = Command::new("chromium");
        browser.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--window-size=1200,1600",
        ]);
        browser.args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000"]);
        browser.args([&format!("--user-data-dir={profile}"), what, &url]).current_dir(site.path(""));
        said(&mut browser)
    };
    let shown = show("--dump-dom");

    assert_fine(&shown);
    for part in ["/api/v1/nodes/{id}/jobs/{job}/restart", "Logs and events", "Authorize", "/clients/{id}/send_message"]
    {
        assert!(shown.out.contains(part), "{part} is not on the page: {:.3000}", shown.out);
    }
    for trouble in ["Content Security Policy", "ERR_NAME_NOT_RESOLVED", "Uncaught", "Failed to load"] {
        assert!(!shown.err.contains(trouble), "{}", shown.err);
    }
    assert!(!shown.out.contains("src=\"http"), "something comes from elsewhere");
    // To be looked at.
    if let Ok(place) = std::env::var("ENRGDAQ_REST_PICTURE") {
        assert_fine(&show(&format!("--screenshot={place}")));
    }
}

#[test]
fn schemathesis_finds_nothing() {
    let site = Site::of_enrgdaq().csv().job("test", TEST).job("spare", TEST);
    let (site, api) = with_api(site, "require_token = true\nmax_requests_per_second = 100000");
    let api = api.with_token(&tokens(&site, &["admin"])[0]);
    let mut node = site.start();
    node.wait_ready(&["csv", "test", "spare"]);

    // First this node and its jobs, then any that come to its mind.
    for (part, examples) in [("self", "8"), ("any", "3")] {
        let config = peer("rest_schemathesis.toml").display().to_string();
        let url = format!("http://127.0.0.1:{}/openapi.json", api.port);
        let token = format!("Authorization: Bearer {}", api.token.as_ref().unwrap());
        let mut command = python(&["-m", "schemathesis.cli", "--config-file", &config, "run", &url, "-n", examples]);
        command.args(["-H", &token]).current_dir(site.path(""));
        command.env("SCHEMATHESIS_HOOKS", peer("rest_schemathesis.py")).env("REST_NODE", part);
        assert_fine(&said_within(&mut command, 3 * DEADLINE));
    }

    assert_eq!(api.get("/api/v1/me").status, 200);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}
