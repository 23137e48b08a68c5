//! The REST API, as people and programs use it.

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Site, wait_for, wait_until};
use crate::rest_client::{Api, TALKER, TEST, tokens, with_api, with_cnc};

fn site() -> (Site, Api) {
    with_api(Site::of_enrgdaq().csv().job("test", TEST), "")
}

/// With a job that talks.
fn talking() -> (Site, Api) {
    with_api(Site::of_enrgdaq().csv().job("test", TEST).job("talker", TALKER), "")
}

#[test]
fn tools_made_for_enrgdaq_find_their_routes_and_shapes() {
    let (site, api) = site();
    let mut node = site.start();
    let unique_id = node.wait_ready(&["csv", "test"]).job("test")["unique_id"].as_str().unwrap().to_owned();
    let id = site.id();
    let post = |what: &str, body: Value| api.post(&format!("/clients/{id}/{what}"), &body.to_string());

    let clients = api.get("/clients").fine();
    assert_eq!(clients[id]["info"]["supervisor_id"], id);
    assert!(clients[id]["last_seen"].is_string() && clients[id].as_object().unwrap().contains_key("identity"));
    assert_eq!(api.post(&format!("/clients/{id}/ping"), "").fine()["type"], "CNCMessageResPing");
    let status = api.get(&format!("/clients/{id}/status")).fine();
    assert_eq!(status["supervisor_info"]["supervisor_id"], id);
    assert_eq!(status["daq_jobs"].as_array().unwrap().len(), 2);
    assert!(status["daq_job_stats"][id]["DAQJobTest"]["is_alive"].is_boolean(), "{status}");
    assert!(status["daq_job_remote_stats"].is_object() && status["restart_schedules"].is_array());
    let logs = api.get(&format!("/clients/{id}/logs")).fine();
    assert_eq!(logs["logs"][0]["client_id"], id);
    for kind in ["stores", "daqjobs", "messages"] {
        assert!(api.get(&format!("/templates/{kind}")).fine().is_object());
    }
    // As the web page of enrgdaq-control posts them.
    let config = "daq_job_unique_id = \"guest\"\ndaq_job_type = \"DAQJobStoreMemory\"";
    assert_eq!(post("run_custom_daqjob", json!({"config": config})).fine()["success"], true);
    let stop = json!({"daq_job_unique_id": unique_id, "remove": false});
    assert_eq!(post("stop_daqjob", stop).fine()["success"], true);
    assert_eq!(node.status().state("test"), "stopped");
    assert_eq!(api.post(&format!("/clients/{id}/stop_daqjobs"), "").fine()["success"], true);
    let message = json!({"message_type": "Nonsense", "payload": "{}", "target_daq_job_unique_id": null});
    let refused = post("send_message", message).fine();
    assert_eq!((&refused["success"], &refused["jobs_notified"]), (&json!(false), &json!(0)));
    assert!(refused["message"].as_str().unwrap().contains("Unknown message type"), "{refused}");
    let refused = post("restart_daq", json!({"update": true})).fine();
    assert!(
        refused["success"] == false && refused["message"].as_str().unwrap().contains("update_command"),
        "{refused}"
    );
    let unknown = api.get("/clients/nobody/status");
    assert_eq!((unknown.status, &unknown.json()["detail"]), (404, &json!("Client not found or not connected.")));
    assert_eq!(api.post("/clients/nobody/stop_daqjobs", "").status, 404);
    assert_eq!(api.get("/clients/nobody/logs").status, 404);
    assert_eq!(post("run_custom_daqjob", json!({})).code(), "BadInput");
}

#[test]
fn a_node_is_looked_at_and_told_what_to_do() {
    let (site, api) = site();
    let mut node = site.start();
    let first = node.wait("rows", |picture| picture.edge("test", "csv").arrived > 0);
    let get = |path: &str| api.get(&format!("/api/v1/nodes/self{path}")).fine();
    let post = |path: &str, body: &str| api.post(&format!("/api/v1/nodes/{}{path}", site.id()), body);

    let nodes = api.get("/api/v1/nodes").fine();
    assert_eq!((&nodes["nodes"][0]["id"], &nodes["nodes"][0]["is_self"]), (&json!(site.id()), &json!(true)));
    assert_eq!(get("")["is_up"], true);
    assert_eq!(get("/status")["supervisor"]["pid"], node.pid());
    assert_eq!(get("/jobs")["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(get("/jobs/csv")["state"], "ready");
    assert_eq!(get(&format!("/jobs/{}", first.job("csv")["unique_id"].as_str().unwrap()))["name"], "csv");
    assert_eq!(get("/ring")["regions"][0]["job"], "test");
    assert_eq!(get("/edges")["edges"][0]["writer"], "test");
    assert!(get("/alerts")["alerts"].is_array() && get("/plan")["changes"] == json!([]));
    assert!(get("/jobs/csv/config")["config"].as_str().unwrap().contains("DAQJobStoreCSV"));
    assert_eq!(get("/logs?lines=1")["lines"].as_array().unwrap().len(), 1);
    assert_eq!(post("/jobs/csv/restart", "").fine(), json!({"name": "csv", "state": "ready"}));
    node.wait_back("csv", first.running("csv"));
    assert_eq!(post("/jobs/test/stop", "").fine()["state"], "stopped");
    assert_eq!(post("/jobs/test/stop", "").code(), "Already");
    assert_eq!(post("/jobs/test/signal", "{\"signal\":\"USR1\"}").code(), "NoProcess");
    assert_eq!(post("/jobs/test/start", "").fine()["state"], "ready");
    assert_eq!(post("/jobs/csv/signal", "{\"signal\":\"URG\"}").fine()["name"], "csv");
    assert_eq!(post("/jobs/csv/scale", "{\"copies\":2}").code(), "NoCopies");
    let run = json!({"config": "daq_job_unique_id = \"g\"\ndaq_job_type = \"DAQJobStoreMemory\""}).to_string();
    let guest = post("/jobs", &run).fine()["name"].as_str().unwrap().to_owned();
    assert_eq!(node.status().state(&guest), "ready");
    let removed = api.send("DELETE", &format!("/api/v1/nodes/self/jobs/{guest}"), &[], "").fine();
    assert_eq!(removed["changes"][0], json!({"name": guest, "change": "remove", "keys": []}));
    assert_eq!(post("/reload", "").fine()["changes"], json!([]));
    let forwarded = post("/jobs/csv/forward", "{\"do\":\"measure\"}");
    assert_eq!((forwarded.status, forwarded.json()["failed"].clone()), (409, json!(true)));
}

#[test]
fn what_is_wrong_is_said_with_a_code_a_text_and_the_id_of_the_request() {
    let (site, api) = site();
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let self_ = "/api/v1/nodes/self";
    let table = [
        ("GET", "/nowhere".to_owned(), "", 404, "NotFound"),
        ("GET", "/api/v1/nodes/nobody".into(), "", 404, "NoSuchNode"),
        ("GET", format!("{self_}/jobs/cvs"), "", 404, "NoSuchJob"),
        ("POST", format!("{self_}/jobs/cvs/stop"), "", 404, "NoSuchJob"),
        ("PUT", format!("{self_}/jobs"), "{}", 405, "WrongMethod"),
        ("POST", format!("{self_}/jobs"), "{\"config\":\"daq_job_type = 3\"}", 422, "BadConfig"),
        ("POST", format!("{self_}/jobs"), "{\"config\":\"\",\"x\":1}", 422, "BadInput"),
        ("POST", format!("{self_}/jobs/csv/signal"), "{\"signal\":\"BOO\"}", 422, "BadInput"),
        ("POST", format!("{self_}/jobs/csv/scale"), "{\"copies\":0}", 422, "BadInput"),
        ("POST", format!("{self_}/command"), "{\"do\":\"explode\"}", 422, "BadCall"),
        ("GET", format!("{self_}/logs?lines=many"), "", 422, "BadInput"),
        ("GET", format!("{self_}/logs?since=never"), "", 422, "BadInput"),
        ("GET", "/api/v1/events?types=all".into(), "", 422, "BadInput"),
        (
            "POST",
            format!("{self_}/jobs"),
            "{\"config\":\"daq_job_type = \\\"DAQJobExec\\\"\\ncommand = [\\\"true\\\"]\"}",
            403,
            "NotFromElsewhere",
        ),
    ];
    for (method, path, body, status, code) in table {
        let answer = api.send(method, &path, &[("X-Request-Id", "shift-7")], body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-request-id"), Some("shift-7"));
    }
    let hint = api.get(&format!("{self_}/jobs/cvs")).json()["detail"].to_string();
    assert!(hint.contains("did you mean `csv`?"), "{hint}");
    assert_eq!(api.send("PUT", "/healthz", &[], "").header("allow"), Some("GET,HEAD"));
    assert_eq!(api.send("HEAD", "/healthz", &[], "").status, 200);
    assert_eq!(node.status().state("csv"), "ready");
}

/// Each operation of the OpenAPI document: method, path with values, role.
fn operations(api: &Api) -> Vec<(String, String, Option<String>)> {
    let document = api.get("/openapi.json").fine();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "self").replace("{job}", "csv");
        for (method, operation) in operations.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation["x-role"].as_str().map(str::to_owned)));
        }
    }
    all
}

#[test]
fn every_route_wants_a_token_that_counts_and_a_role_that_is_enough() {
    let (site, api) = with_api(Site::of_enrgdaq().csv().job("test", TEST), "require_token = true");
    let tokens = tokens(&site, &["viewer", "operator", "admin"]);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let all = operations(&api);
    assert!(all.len() > 40, "{}", all.len());

    let roles = ["viewer", "operator", "admin"];
    for (method, path, role) in &all {
        let Some(role) = role else {
            assert_eq!(api.send(method, path, &[], "").status, 200, "{method} {path} is for everybody");
            continue;
        };
        let none = api.send(method, path, &[], "");
        let wrong = api.with_token("enrgdaq_wrong").send(method, path, &[], "");
        assert_eq!((none.status, none.code().as_str()), (401, "Unauthorized"), "{method} {path}");
        assert_eq!(
            (wrong.status, wrong.json()["detail"].clone()),
            (401, none.json()["detail"].clone()),
            "{method} {path}"
        );
        assert!(none.header("www-authenticate").is_some_and(|says| says.starts_with("Bearer")));
        let at = roles.iter().position(|known| known == role).unwrap();
        if let Some(less) = at.checked_sub(1) {
            let small = api.with_token(&tokens[less]).send(method, path, &[], "");
            assert_eq!((small.status, small.code().as_str()), (403, "Forbidden"), "{method} {path}");
        }
    }
    let nowhere = api.get("/nowhere");
    assert_eq!(nowhere.status, 401, "who is nobody does not learn either what is not there");
    // One route has a role for each command.
    let command = |role: usize, call: &str| api.with_token(&tokens[role]).post("/api/v1/nodes/self/command", call);
    assert_eq!(command(0, "{\"do\":\"status\"}").status, 200);
    assert_eq!(command(0, "{\"do\":\"stop\",\"name\":\"csv\"}").code(), "Forbidden");
    assert_eq!(command(1, "{\"do\":\"rm\",\"name\":\"csv\"}").code(), "Forbidden");
    let remove = "{\"daq_job_name\":\"csv\",\"remove\":true}";
    assert_eq!(api.with_token(&tokens[1]).post("/clients/self/stop_daqjob", remove).code(), "Forbidden");
    assert_eq!(node.status().state("csv"), "ready", "nothing of it was done");
    let me = api.with_token(&tokens[1]).get("/api/v1/me").fine();
    assert_eq!((&me["name"], &me["role"], &me["needs_token"]), (&json!("operator"), &json!("operator"), &json!(true)));
    let audit = api.with_token(&tokens[2]).get("/api/v1/audit?lines=1000").fine();
    let line = audit["lines"].as_array().unwrap().iter().find(|line| line["call"]["do"] == "rm").unwrap().clone();
    assert_eq!(
        (&line["who"], &line["role"], &line["node"]),
        (&json!("operator"), &json!("operator"), &json!(site.id()))
    );
    assert!(line["from"].as_str().unwrap().starts_with("REST 127.0.0.1:"), "{line}");
    assert!(line["result"].as_str().unwrap().contains("this needs the role admin"), "{line}");
}

#[test]
fn a_token_counts_as_soon_as_it_is_made_and_no_longer_than_it_is_there() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), "require_token = true");
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    let viewer = |token: &str| api.with_token(token).get("/api/v1/me").status;

    let token = tokens(&site, &["viewer"]).remove(0);
    assert_eq!(viewer(&token), 200);
    let bearer = api.send("GET", "/api/v1/me", &[("Authorization", &format!("bEARER {token}"))], "");
    assert_eq!(bearer.status, 200);
    assert_eq!(site.cli(&["token", "rm", "viewer"]).code, 0);
    assert_eq!(viewer(&token), 401);
    let token = tokens(&site, &["viewer"]).remove(0);
    assert_eq!(viewer(&token), 200);
    std::fs::write(site.state_dir().join("tokens.json"), "[{").unwrap();
    assert_eq!(viewer(&token), 401);
    wait_for("it is said", || node.log().contains("was not let in: Unauthorized"));
}

#[test]
fn a_command_is_answered_as_on_the_control_socket() {
    let (site, api) = site();
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let call = |call: &str| api.post("/api/v1/nodes/self/command", call);

    assert_eq!(
        call("{\"do\":\"restart\",\"name\":\"csv\"}").fine(),
        json!({"finished": true, "name": "csv", "state": "ready"})
    );
    let refused = call("{\"do\":\"stop\",\"name\":\"cvs\"}");
    assert_eq!((refused.status, refused.code().as_str()), (404, "NoSuchJob"));
    let body = refused.json();
    assert_eq!(
        (&body["finished"], &body["failed"], &body["error"]["class"]),
        (&json!(true), &json!(true), &json!("NoSuchJob"))
    );
    let lines = [("Accept", "application/x-ndjson")];
    let mut stream = api.stream("POST", "/api/v1/nodes/self/command", &lines, "{\"do\":\"config\",\"name\":\"csv\"}");
    assert!(stream.head.contains("application/x-ndjson"), "{}", stream.head);
    let line: Value = serde_json::from_str(&stream.line().unwrap()).unwrap();
    assert_eq!((&line["finished"], &line["name"]), (&json!(true), &json!("csv")));
    assert_eq!(stream.line(), None);
    let refused = api.stream("POST", "/api/v1/nodes/self/command", &lines, "{\"do\":\"stop\",\"name\":\"cvs\"}");
    assert!(refused.head.contains(" 404 "), "{}", refused.head);
}

#[test]
fn events_tell_what_happens_as_it_happens() {
    let (site, api) = site();
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let mut all = api.stream("GET", "/api/v1/events?logs=true", &[], "");
    let mut alerts = api.stream("GET", "/api/v1/events?types=alert,log", &[], "");
    assert!(all.head.contains("text/event-stream"), "{}", all.head);

    assert_eq!(api.post("/api/v1/nodes/self/jobs/csv/restart", "").status, 200);

    let event = all.event("state");
    assert_eq!((&event["job"], &event["before"], &event["event"]), (&json!("csv"), &json!("ready"), &json!("state")));
    while all.event("state")["state"] != "ready" {}
    let line = all.event("log");
    assert!(line["message"].is_string() && line["number"].is_u64(), "{line}");
    let first = alerts.line().unwrap();
    assert!(first.starts_with(':'), "{first}");
    loop {
        let line = alerts.line().unwrap();
        assert!(!line.contains("event: state"), "{line}");
        if line == "event: log" {
            break;
        }
    }
}

#[test]
fn a_log_is_followed_until_one_leaves() {
    let (site, api) = talking();
    let mut node = site.start();
    node.wait_ready(&["csv", "test", "talker"]);
    let log = "/api/v1/nodes/self/jobs/talker/logs";
    let ticks = |since: &str| api.get(&format!("{log}?lines=2&{since}")).fine()["lines"].clone();
    wait_for("it talks", || ticks("since=1h").as_array().is_some_and(|lines| lines.len() == 2));
    assert_eq!((&ticks("since=1h")[0]["job"], &ticks("since=1h")[0]["message"]), (&json!("talker"), &json!("tick")));
    let first = ticks("since=1h")[1]["number"].as_u64().unwrap();

    let mut lines = api.stream("GET", &format!("{log}?follow=true&after={first}"), &[], "");
    let events = [("Accept", "text/event-stream")];
    let mut events = api.stream("GET", &format!("{log}?follow=true&after={first}"), &events, "");

    let (mut number, mut next) = (first, first);
    for _ in 0..20 {
        let line: Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
        assert!(line["job"] == "talker" && line["number"].as_u64() > Some(number), "{line}");
        number = line["number"].as_u64().unwrap();
        let event = events.event("log");
        assert!(event["number"].as_u64() > Some(next), "{event}");
        next = event["number"].as_u64().unwrap();
    }
    assert_eq!(number, next, "both are told the same");
    drop((lines, events));
    wait_until("their places are free again", DEADLINE, || {
        let metrics = api.get("/metrics").body;
        if metrics.contains("\nenrgdaq_rest_open_streams 0\n") { Ok(()) } else { Err(metrics) }
    });
    let mut short = api.stream("GET", &format!("{log}?follow=true&seconds=1"), &[], "");
    while short.line().is_some() {}
}

#[test]
fn streams_are_bounded_and_end_with_the_supervisor() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), "max_connections = 8");
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let mut streams: Vec<_> = (0..4).map(|_| api.stream("GET", "/api/v1/events", &[], "")).collect();
    let fifth = api.get("/api/v1/events");

    assert_eq!((fifth.status, fifth.code().as_str()), (503, "TooManyStreams"));
    assert!(fifth.header("retry-after").is_some());
    assert_eq!(api.get("/healthz").status, 200);
    node.interrupt();
    for stream in &mut streams {
        while stream.line().is_some() {}
    }
    assert_eq!(node.wait_exit(), 0);
}

#[test]
fn a_node_is_ready_when_all_jobs_are_that_are_to_run() {
    let (site, api) = with_api(Site::new().csv().difficult("hv", "refuses_config", ""), "require_token = true");
    let mut node = site.start();
    node.wait("it is fatal", |picture| picture.state("hv") == "fatal" && picture.state("csv") == "ready");

    let not_ready = api.get("/readyz");

    assert_eq!((not_ready.status, not_ready.json()), (503, json!({"is_ready": false, "not_ready": ["hv"]})));
    assert_eq!(api.get("/healthz").fine(), json!({"status": "ok"}));
    std::fs::remove_file(site.path("configs/hv.toml")).unwrap();
    assert_eq!(site.cli(&["reload"]).code, 0);
    assert_eq!(api.get("/readyz").fine()["is_ready"], true);
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_a_clear_error() {
    let (site, api) = site();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", api.port)).unwrap();

    let said = site.cli(&["--config", "configs"]);

    assert_eq!(said.code, 1, "{said:?}");
    let text = format!("cannot listen on localhost:{} for the REST API", api.port);
    assert!(said.err.contains(&text) && said.err.contains("cnc.rest_api_port"), "{said:?}");
}

#[test]
fn a_job_from_elsewhere_brings_no_program_along_unless_the_node_says_so() {
    let reaching = [
        "daq_job_type = \"DAQJobExec\"\ncommand = [\"sleep\", \"1000\"]",
        "daq_job_type = \"DAQJobStoreMemory\"\n[supervise]\nenv = { LD_PRELOAD = \"/tmp/x.so\" }",
        "daq_job_type = \"DAQJobStoreMemory\"\n[supervise]\ncwd = \"/tmp\"",
        "daq_job_type = \"DAQJobStoreRaw\"\nout_dir = \"configs\"",
        "daq_job_type = \"DAQJobStoreRaw\"\nout_dir = \"/tmp/x\"",
        "daq_job_type = \"DAQJobStoreRaw\"\nout_dir = \"out/../configs\"",
        "daq_job_type = \"DAQJobStoreRaw\"\nspool_dir = \"/tmp/x\"",
    ];
    let run = |api: &Api, config: &str| api.post("/api/v1/nodes/self/jobs", &json!({"config": config}).to_string());
    let (site, api) = site();
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);

    for config in reaching {
        let refused = run(&api, config);
        assert_eq!((refused.status, refused.code().as_str()), (403, "NotFromElsewhere"), "{config}");
    }
    // A file that lies there already is no way around.
    site.write("guest.toml", reaching[0]);
    let path = site.path("guest.toml");
    let added = api.post("/api/v1/nodes/self/command", &json!({"do": "add", "path": path}).to_string());
    assert_eq!((added.status, added.code().as_str()), (403, "NotFromElsewhere"));
    assert_eq!(site.cli(&["add", "guest.toml"]).code, 0, "who is here may");
    run(&api, "daq_job_type = \"DAQJobStoreRaw\"\nout_dir = \"out/raw\"").fine();
    assert_eq!(node.stop(), 0);

    let (site, api) = with_cnc(Site::of_enrgdaq().csv(), "allow_remote_exec = true", "");
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    run(&api, reaching[0]).fine();
    run(&api, reaching[3]).fine();
}
