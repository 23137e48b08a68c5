//! Operations that jobs carry out for somebody outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Signal, Site, send, wait_for};

/// A source that ticks once a second, for a store.
const TEST: &str =
    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"";

/// Calls that one connection may have under way.
const CALLS_A_CONNECTION: u64 = 16;

/// A connection to the control socket.
struct Caller(BufReader<UnixStream>);

impl Caller {
    fn new(site: &Site) -> Self {
        Self(BufReader::new(site.connect().unwrap()))
    }

    /// Asks the job `answers`.
    fn ask(&mut self, id: u64, operation: Value) {
        self.call(json!({"id": id, "do": "forward", "name": "answers", "operation": operation}));
    }

    fn call(&mut self, call: Value) {
        writeln!(self.0.get_mut(), "{call}").unwrap();
    }

    /// What comes next.
    fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer comes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What comes up to the last answer to the only call.
    fn heard_to_the_end(&mut self) -> (Vec<Value>, Value) {
        let mut parts = Vec::new();
        loop {
            let heard = self.heard();
            if heard["finished"] == true {
                return (parts, heard);
            }
            parts.push(heard["data"].clone());
        }
    }
}

fn site() -> Site {
    Site::new().job("answers", "daq_job_type = \"DAQJobAnswers\"")
}

fn numbers(to: u64) -> Vec<Value> {
    (0..to).map(Value::from).collect()
}

/// Why a call failed.
fn why(last: &Value) -> &str {
    assert_eq!((&last["finished"], &last["failed"]), (&json!(true), &json!(true)), "{last}");
    last["error"]["message"].as_str().unwrap()
}

/// Why an operation of the job `answers` failed.
fn says(why: &str) -> String {
    format!("`answers`: {why}")
}

#[test]
fn responses_come_one_by_one_in_their_order() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);

    caller.ask(6, json!({"do": "count", "parts": 3}));

    assert_eq!(caller.heard(), json!({"id": 6, "data": 0}));
    assert_eq!(caller.heard(), json!({"id": 6, "data": 1}));
    assert_eq!(caller.heard(), json!({"id": 6, "data": 2}));
    assert_eq!(caller.heard(), json!({"id": 6, "finished": true, "data": {"count": 3}}));
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_job_that_is_killed_in_the_middle_of_a_call_fails_it() {
    let site = site();
    let mut node = site.start();
    let pid = node.wait_ready(&["answers"]).running("answers");
    let mut caller = Caller::new(&site);

    caller.ask(6, json!({"do": "hold", "parts": 3}));
    let parts: Vec<_> = (0..3).map(|_| caller.heard()["data"].clone()).collect();
    send(pid, Signal::KILL);
    let last = caller.heard();

    assert_eq!(parts, numbers(3));
    assert_eq!(why(&last), says("it ended before it answered: killed by SIGKILL"));
    node.wait_back("answers", pid);
    caller.ask(8, json!({"do": "count", "parts": 1}));
    assert_eq!(caller.heard_to_the_end().1["data"], json!({"count": 1}));
}

#[test]
fn a_job_that_dies_of_an_operation_fails_it() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);

    caller.ask(6, json!({"do": "abort"}));

    assert_eq!(why(&caller.heard()), says("it ended before it answered: killed by SIGABRT"));
}

#[test]
fn an_operation_without_an_answer_has_failed() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);

    for operation in ["drop", "panic"] {
        caller.ask(6, json!({"do": operation}));

        assert_eq!(why(&caller.heard()), says("the job gave no answer"), "{operation}");
    }
}

#[test]
fn a_job_that_is_stopped_or_restarted_answers_or_fails() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let (mut patient, mut other) = (Caller::new(&site), Caller::new(&site));
    let begin = |caller: &mut Caller| {
        caller.ask(2, json!({"do": "hold", "parts": 1}));
        assert_eq!(caller.heard(), json!({"id": 2, "data": 0}));
        caller.ask(4, json!({"do": "late"}));
        // Whoever has this answer knows that the job has got what came before it.
        caller.ask(6, json!({"do": "who"}));
        caller.heard()["data"].clone()
    };
    let ends = |caller: &mut Caller| {
        let mut ends = [caller.heard(), caller.heard()];
        ends.sort_by_key(|end| end["id"].as_u64());
        assert_eq!(why(&ends[0]), says("it ended before it answered"));
        assert_eq!(ends[1], json!({"id": 4, "finished": true, "data": "better late than never"}));
    };

    let first = begin(&mut patient);
    assert_eq!(site.cli(&["restart", "answers"]).code, 0);
    ends(&mut patient);

    let second = begin(&mut other);
    assert_eq!(site.cli(&["stop", "answers"]).code, 0);
    ends(&mut other);

    assert_ne!(first, second, "each start answers for itself");
    let stopped = site.cli(&["call", "answers", "who"]);
    assert_eq!(stopped.err, "enrgdaq: `answers` has no process: it is stopped\n");
}

#[test]
fn who_asks_when_the_supervisor_ends_is_answered() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);
    caller.ask(6, json!({"do": "hold", "parts": 1}));
    assert_eq!(caller.heard()["data"], 0);

    node.interrupt();

    assert_eq!(why(&caller.heard()), says("it ended before it answered"));
    assert_eq!(node.wait_exit(), 0);
}

#[test]
fn a_job_hears_that_nobody_waits_any_more() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);
    caller.ask(6, json!({"do": "hold", "parts": 1}));
    assert_eq!(caller.heard()["data"], 0);
    assert!(!site.path("cancelled").exists());

    drop(caller);

    wait_for("the job hears it", || site.path("cancelled").exists());
}

#[test]
fn two_who_ask_at_the_same_time_get_each_their_own() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut callers = [Caller::new(&site), Caller::new(&site)];

    for (caller, parts) in callers.iter_mut().zip([2000, 1000]) {
        caller.ask(2, json!({"do": "count", "parts": parts}));
        caller.ask(4, json!({"do": "count", "parts": 100 + parts}));
    }
    for (caller, parts) in callers.iter_mut().zip([2000, 1000]) {
        let mut came = [Vec::new(), Vec::new()];
        let mut left = 2;
        while left > 0 {
            let heard = caller.heard();
            left -= u32::from(heard["finished"] == true);
            let which = usize::from(heard["id"] == 4);
            came[which].push(heard["data"].clone());
        }
        for (came, parts) in came.iter().zip([parts, 100 + parts]) {
            let (last, came) = came.split_last().unwrap();
            assert_eq!((last, came), (&json!({"count": parts}), &numbers(parts)[..]));
        }
    }
}

#[test]
fn a_hundred_thousand_responses_all_come_as_fast_as_they_are_read() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);

    caller.ask(6, json!({"do": "count", "parts": 100_000}));
    assert_eq!(caller.heard()["data"], 0);
    // While nobody reads, others are answered.
    let other = site.cli(&["call", "answers", "count", "parts=2"]);
    let (parts, last) = caller.heard_to_the_end();

    assert_eq!(other.out, "0\n1\n{\"count\":2}\n", "{other:?}");
    assert_eq!(parts, numbers(100_000)[1..]);
    assert_eq!(last["data"], json!({"count": 100_000}));
}

#[test]
fn whoever_reads_too_slowly_is_told_what_he_misses() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut caller = Caller::new(&site);

    caller.ask(6, json!({"do": "pour", "parts": 1_000_000}));
    let other = site.cli(&["call", "answers", "count", "parts=2"]);
    let (parts, last) = caller.heard_to_the_end();

    assert_eq!(other.code, 0, "{other:?}");
    assert!(parts.len() < 1_000_000, "all could be taken");
    assert_eq!(parts, numbers(parts.len() as u64));
    let number = parts.len() + 1;
    let missed = format!("who asked reads too slowly: response {number} found no room, and the rest is lost");
    assert_eq!(why(&last), says(&missed));
}

#[test]
fn a_response_that_is_too_large_fails_the_call() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);

    let said = site.cli(&["call", "answers", "large"]);

    let limit = "its response has 2000002 bytes, and one may have 1048576; it can be sent in parts";
    assert_eq!((said.code, said.err), (1, format!("enrgdaq: `answers`: {limit}\n")));
}

#[test]
fn a_job_that_answers_nothing_says_so() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let said = site.cli(&["call", "csv", "flush"]);

    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert_eq!(said.err, "enrgdaq: `csv`: it answers no operations\n");
}

#[test]
fn operations_that_a_job_does_not_look_at_wait_up_to_a_limit() {
    let site = Site::new().job("answers", "daq_job_type = \"DAQJobAnswers\"\nis_deaf = true");
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let (answers, heard) = mpsc::channel();

    for _ in 0..5 {
        let (mut caller, answers) = (Caller::new(&site), answers.clone());
        (0..CALLS_A_CONNECTION).for_each(|id| caller.ask(id, json!({"do": "who"})));
        std::thread::spawn(move || {
            (0..CALLS_A_CONNECTION).for_each(|_| answers.send(why(&caller.heard()).to_owned()).unwrap());
        });
    }
    let hear = |count| (0..count).map(|_| heard.recv_timeout(DEADLINE).unwrap()).collect::<Vec<_>>();
    let refused = hear(5 * CALLS_A_CONNECTION - 64);
    assert_eq!(site.cli(&["stop", "answers"]).code, 0);
    let ended = hear(64);

    assert!(refused.iter().all(|why| *why == says("too many operations wait for it")), "{refused:?}");
    assert!(ended.iter().all(|why| *why == says("it ended before it answered")), "{ended:?}");
}

#[test]
fn a_job_has_a_limited_number_of_operations_under_way() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut callers: Vec<_> = (0..8).map(|_| Caller::new(&site)).collect();
    for caller in &mut callers {
        (0..CALLS_A_CONNECTION).for_each(|id| caller.ask(id, json!({"do": "hold", "parts": 1})));
        (0..CALLS_A_CONNECTION).for_each(|_| assert_eq!(caller.heard()["data"], 0));
    }

    let refused = site.cli(&["call", "answers", "who"]);
    drop(callers.pop());
    wait_for("there is room again", || site.cli(&["call", "answers", "who"]).code == 0);

    assert_eq!(refused.err, "enrgdaq: `answers`: it has 128 operations under way already\n");
}

#[test]
fn a_job_is_found_by_its_unique_id_too() {
    let site = site();
    let mut node = site.start();
    let picture = node.wait_ready(&["answers"]);
    let unique_id = picture.job("answers")["unique_id"].clone();
    let mut caller = Caller::new(&site);
    let mut forward = |id: u64, connection_id: Option<&Value>| {
        let mut call = json!({"id": id, "do": "forward", "operation": {"do": "count", "parts": 0}});
        connection_id.iter().for_each(|&named| call["connection_id"] = named.clone());
        caller.call(call);
        caller.heard()
    };

    let found = forward(6, Some(&unique_id));
    let nobody = forward(8, Some(&json!("nope")));
    let nothing = forward(10, None);

    assert_eq!(found, json!({"id": 6, "finished": true, "data": {"count": 0}}));
    assert_eq!(nobody["connection_id"], "nope");
    assert!(why(&nobody).starts_with("there is no job `nope`"), "{nobody}");
    assert_eq!(why(&nothing), "Missing 'connection_id' parameter");
}

#[test]
fn data_at_full_speed_holds_up_no_operation() {
    let site = Site::new().recorder().flood(u64::MAX, "");
    let mut node = site.start();
    let recorder = node.wait_ready(&["recorder", "flood"]).running("recorder");
    wait_for("data flows", || site.recorded() > 0);

    let flowing = site.cli(&["call", "flood", "ping"]);
    // From now on its region is full, and it waits for room.
    send(recorder, Signal::STOP);
    node.wait("the source waits", |picture| picture.region("flood", "dead_time_percent") > 90.0);
    let held_up = site.cli(&["call", "flood", "ping"]);
    send(recorder, Signal::CONT);

    assert_eq!((flowing.code, flowing.out.as_str()), (0, "\"ping\"\n"), "{flowing:?}");
    assert_eq!((held_up.code, held_up.out.as_str()), (0, "\"ping\"\n"), "{held_up:?}");
}

#[test]
fn the_test_job_shows_its_next_rows_and_changes_its_range() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let call = |args: &[&str]| site.cli(&[&["call", "test"], args].concat());

    let changed = call(&["set_range", "rand_min=77", "rand_max=77"]);
    let dumped = call(&["dump", "rows=2"]);
    let status = call(&["status"]);

    assert_eq!(changed.out, "{\"rand_max\":77,\"rand_min\":77}\n", "{changed:?}");
    let lines: Vec<Value> = dumped.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second, last] = &lines[..] else { panic!("{dumped:?}") };
    assert_eq!((&first["A"], &second["C"], last), (&json!(77), &json!(77), &json!({"rows": 2})));
    assert!(status.out.contains("\"rand_max\":77") && status.out.contains("\"rows\":"), "{status:?}");
    let is_there = |row: &Value| {
        let timestamp = row["timestamp"].to_string();
        site.csv_rows("out/t.csv").iter().any(|line| *line == [&timestamp, "77", "77", "77"])
    };
    wait_for("what was shown is what is stored", || is_there(first) && is_there(second));
}

#[test]
fn what_is_wrong_with_an_operation_is_said() {
    let site = Site::new().csv().job("test", TEST);
    let mut node = site.start();
    node.wait_ready(&["csv", "test"]);
    let refused = |args: &[&str], text: &str| {
        let said = site.cli(&[&["call"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}: {said:?}");
        assert_eq!(said.err, format!("enrgdaq: {text}\n"), "{args:?}");
    };

    refused(&["test", "dance"], "`test`: there is no operation `dance`: there are status, set_range, dump");
    refused(&["test", "set_range", "rand_min=9", "rand_max=1"], "`test`: `rand_max` is below `rand_min`, which is 9");
    refused(&["test", "set_range", "rand_min=9"], "`test`: set_range: missing field `rand_max`");
    refused(&["test", "dump", "rows=many"], "`test`: dump: `rows`: invalid type: string \"many\", expected u64");
    refused(&["test", "status", "of=all"], "`test`: status: `of`: unknown field `of`, there are no fields");
    refused(&["tset", "status"], "there is no job `tset`; did you mean `test`?");
    let bare = site.cli(&["call", "test", "dump", "5"]);
    assert_eq!(bare.code, 2, "{bare:?}");
    assert!(bare.err.contains("a parameter is KEY=VALUE"), "{bare:?}");
}

#[test]
fn ctrl_c_ends_a_call() {
    let site = site();
    let mut node = site.start();
    node.wait_ready(&["answers"]);
    let mut command = site.command_in_foreground(&["call", "answers", "hold", "parts=1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"0\n");

    send(child.id(), Signal::INT);

    child.wait().unwrap();
    wait_for("the job hears it", || site.path("cancelled").exists());
}
