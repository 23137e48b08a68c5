//! What operators do to a node that takes data: they rename, add and remove, stop and start, reload at the wrong moment,
//! and go away before they have an answer.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::harness::{Node, Signal, Site, send, wait_for, wait_until};

/// A source of three messages that ends.
const FEW: &str = "daq_job_type = \"DAQJobFlood\"\nmessages = 3\nsize = 8\n[store_config.recorder]\n";

/// A recorder with an id of its own.
fn recorder(id: &str, path: &str) -> String {
    format!("daq_job_unique_id = \"{id}\"\ndaq_job_type = \"DAQJobRecorder\"\npath = \"{path}\"\n")
}

fn rename(site: &Site, from: &str, to: &str) {
    let path = |name: &str| site.path(format!("configs/{name}"));
    fs::rename(path(from), path(to)).expect("it can be renamed");
}

/// What a recorder has written into a file: all numbers without a gap.
fn check_gapless(site: &Site, path: &str) -> usize {
    let bytes = fs::read(site.path(path)).unwrap_or_default();
    let mut numbers: Vec<_> =
        bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "a gap in {path}");
    numbers.len()
}

/// Waits until a store has all that a source has sent so far.
fn wait_for_all(node: &mut Node<'_>, writer: &str, readers: &[&str]) {
    node.wait("all has arrived", |picture| {
        readers.iter().all(|reader| {
            let edge = picture.edge(writer, reader);
            edge.produced > 0 && edge.produced == edge.arrived
        })
    });
}

/// The decisions on disk.
fn operator(site: &Site) -> serde_json::Value {
    let folders = fs::read_dir(site.path("state/enrgdaq")).expect("there is one").flatten();
    let mut files = folders.filter_map(|folder| fs::read(folder.path().join("operator.json")).ok());
    files.next().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[test]
fn stores_whose_files_are_renamed_or_change_names_lose_nothing() {
    let site = Site::new().flood(400_000, "pause_us = 50");
    let site = site.job("first", &recorder("one", "record")).job("second", &recorder("two", "record2"));
    let mut node = site.start();
    node.wait("some arrived", |_| site.recorded() > 100);

    rename(&site, "first.toml", "third.toml");
    let said = site.cli(&["reload"]);
    assert_eq!((said.code, said.out.as_str()), (0, "~ third  restarted: its name (it was first)\n"), "{said:?}");
    let at = site.recorded();
    node.wait("it goes on", |_| site.recorded() > at + 100);

    rename(&site, "second.toml", "x");
    rename(&site, "third.toml", "second.toml");
    rename(&site, "x", "third.toml");
    let said = site.cli(&["reload"]);
    assert!(said.code == 0 && said.out.contains("~ second  ") && said.out.contains("~ third  "), "{said:?}");
    assert_eq!(node.status().job("second")["unique_id"], "one");
    let at = site.recorded();
    node.wait("both go on", |_| site.recorded() > at + 100);

    assert_eq!(site.cli(&["stop", "flood"]).code, 0);
    wait_for_all(&mut node, "flood", &["second", "third"]);
    let counts = ["record", "record2"].map(|path| check_gapless(&site, path));
    assert_eq!(counts[0], counts[1]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_stopped_job_stays_stopped_under_another_name() {
    let site = Site::new().job("first", &recorder("one", "record"));
    let mut node = site.start();
    node.wait_ready(&["first"]);
    assert_eq!(site.cli(&["stop", "first"]).code, 0);

    rename(&site, "first.toml", "second.toml");
    assert_eq!(site.cli(&["reload"]).code, 0);

    assert_eq!(node.status().state("second"), "stopped");
    wait_for("it is on disk", || operator(&site)["stopped"] == serde_json::json!(["second"]));
}

#[test]
fn jobs_that_come_to_an_empty_supervisor_have_every_promise() {
    let elsewhere = Site::new().recorder().flood(20_000, "pause_us = 50");
    let site = Site::new();
    let mut node = site.start();
    node.wait("it runs", |picture| picture.0["jobs"].as_array().is_some_and(Vec::is_empty));
    for job in ["recorder", "flood"] {
        let path = elsewhere.path(format!("configs/{job}.toml"));
        let said = site.cli(&["add", path.to_str().unwrap()]);
        assert_eq!((said.code, said.out), (0, format!("+ {job}  new\n")));
    }
    node.wait("some arrived", |_| site.recorded() > 1000);

    let pid = node.status().running("recorder");
    send(pid, Signal::KILL);
    node.wait_back("recorder", pid);

    wait_for("all are there", || {
        let mut records = site.records();
        records.sort_unstable();
        records.dedup();
        records.len() == 20_000
    });
    node.interrupt();
    node.wait_exit();
    assert_eq!(check_gapless(&site, "record"), 20_000);
}

#[test]
fn an_end_with_messages_that_never_arrived_at_a_store_is_not_clean() {
    let site = Site::new().flood(400_000, "pause_us = 50\nuse_shm_when_possible = false");
    let site = site.job("recorder", &format!("{}use_shm_when_possible = false\n", recorder("one", "record")));
    let mut node = site.start();
    node.wait("some arrived", |_| site.recorded() > 100);
    let produced = |node: &Node<'_>| node.status().edge("flood", "recorder").produced;

    // By the bus nothing waits for it.
    assert_eq!(site.cli(&["stop", "recorder"]).code, 0);
    let at = produced(&node);
    node.wait("it misses some", |picture| picture.edge("flood", "recorder").produced > at + 100);
    assert_eq!(site.cli(&["start", "recorder"]).code, 0);
    assert_eq!(site.cli(&["stop", "flood"]).code, 0);

    assert_eq!(node.stop(), 1);
}

#[test]
fn a_store_that_is_started_by_hand_holds_nobody_up_before_and_a_stopped_one_does_with_an_alert() {
    let text = format!("{}[supervise]\nautostart = false\n", recorder("one", "record"));
    let site = Site::new().flood(100_000, "ring_mb = 1").job("recorder", &text);
    let mut node = site.start();
    node.wait("all are sent", |picture| picture.region("flood", "unrouted") >= 100_000.0);

    assert_eq!(site.cli(&["start", "recorder"]).code, 0);
    assert_eq!(site.cli(&["restart", "flood"]).code, 0);
    node.wait("all arrive", |_| site.recorded() == 100_000);
    assert_eq!(site.cli(&["stop", "recorder"]).code, 0);
    assert_eq!(site.cli(&["restart", "flood"]).code, 0);

    node.wait("somebody is told", |picture| picture.has_alert("flood waits for recorder, which does not run"));
    assert_eq!(node.status().reason("recorder"), "stopped by hand");
    assert_eq!(site.cli(&["start", "recorder"]).code, 0);
    node.wait("all arrive", |_| site.recorded() == 200_000);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_reload_in_the_middle_of_the_start_breaks_no_order() {
    let site = Site::new().csv().rows(3, 0);
    let site = site.difficult("hv", "hangs_in_new", "[supervise]\nstartup_timeout_seconds = 4\nrestart = \"never\"\n");
    let mut node = site.start();
    node.wait("it starts", |picture| picture.state("hv") == "starting" && picture.state("csv") == "ready");

    site.write("configs/more.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n");
    assert_eq!(site.cli(&["reload"]).out, "+ more  new\n");
    assert_eq!(site.cli(&["reload"]).out, "nothing has changed\n");
    assert_eq!(node.status().state("rows"), "stopped", "{}", node.log());

    node.wait("the source has come", |picture| picture.edge("rows", "csv").arrived == 3);
    let log = node.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text} is not in {log}"));
    assert!(at("not ready within 4 s") < at("[rows] ready"), "{log}");
    assert_eq!(log.matches(" takes data: ").count(), 1, "{log}");
}

#[test]
fn orders_that_come_while_files_are_read_are_kept() {
    let mut site = Site::new().difficult("a", "good", "").difficult("b", "good", "[supervise]\nautostart = false\n");
    for n in 0..300 {
        site = site.difficult(&format!("job{n:03}"), "good", "[supervise]\nautostart = false\n");
    }
    let mut node = site.start();
    node.wait_ready(&["a"]);
    assert_eq!(site.cli(&["stop", "b"]).code, 1);
    let stream = site.connect().unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());

    for (name, order) in [("a", "stop"), ("a", "start"), ("a", "stop")] {
        let lines = format!("{{\"id\":2,\"do\":\"reload\"}}\n{{\"id\":4,\"do\":\"{order}\",\"name\":\"{name}\"}}\n");
        (&stream).write_all(lines.as_bytes()).unwrap();
        for _ in 0..2 {
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert!(answer.contains("\"finished\":true") && !answer.contains("failed"), "{answer}");
        }
        let expected = if order == "stop" { vec!["a"] } else { Vec::new() };
        wait_until("it is on disk", crate::harness::DEADLINE, || {
            let operator = operator(&site);
            if operator["stopped"] == serde_json::json!(expected) { Ok(()) } else { Err(operator.to_string()) }
        });
        // The rest of what was under way changes nothing.
        assert_eq!(site.cli(&["reload"]).code, 0);
        assert_eq!(operator(&site)["stopped"], serde_json::json!(expected));
    }
}

#[test]
fn what_is_gone_or_was_removed_forbids_no_start_and_is_told() {
    let needs = "[supervise]\ndepends_on = [\"a\"]\n";
    let site = Site::new().csv().difficult("a", "good", "");
    site.write("elsewhere/extra.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n");
    site.write("elsewhere/supervisor.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n");
    let mut node = site.start();
    node.wait_ready(&["csv", "a"]);
    let refused = site.cli(&["add", "elsewhere/supervisor.toml"]);
    assert!(refused.code == 1 && refused.err.contains("called `supervisor`"), "{refused:?}");
    assert_eq!(site.cli(&["add", "elsewhere/extra.toml"]).code, 0);
    site.write("configs/b.toml", &format!("daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n{needs}"));
    assert_eq!(site.cli(&["reload"]).out.lines().next(), Some("+ b  new"));
    let refused = site.cli(&["rm", "a"]);
    assert!(refused.code == 1 && refused.err.contains("`depends_on` of `b` names `a`"), "{refused:?}");
    fs::remove_file(site.path("configs/b.toml")).unwrap();
    assert_eq!(site.cli(&["reload"]).code, 0);
    assert_eq!(site.cli(&["rm", "a"]).code, 0);
    site.write("configs/b.toml", &format!("daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n{needs}"));
    fs::remove_file(site.path("elsewhere/extra.toml")).unwrap();
    node.stop();

    let mut node = site.start();
    let picture =
        node.wait("the others run", |picture| picture.state("csv") == "ready" && picture.state("b") == "waiting");
    assert!(picture.has_alert("extra.toml: the file was added by hand and is not there"), "{}", picture.brief());
    assert!(node.log().contains("a: removed by hand") && node.log().contains("extra.toml: added by hand"));
    assert_eq!(site.cli(&["rm", "extra"]).code, 0);
    assert!(!site.cli(&["plan"]).out.contains("extra"));
    assert_eq!(site.cli(&["add", "configs/a.toml"]).code, 0);
    node.wait_ready(&["a", "b"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn jobs_that_are_done_or_fatal_can_be_stopped_and_a_hand_started_one_outlives_a_reload() {
    let by_hand = "[supervise]\nautostart = false\n";
    let site = Site::new().recorder().job("few", FEW);
    let site = site.difficult("hv", "refuses_config", "").difficult("b", "good", by_hand);
    let mut node = site.start();
    node.wait("both have ended", |picture| picture.state("few") == "exited" && picture.state("hv") == "fatal");

    for job in ["few", "hv"] {
        let said = site.cli(&["stop", job]);
        assert_eq!((said.code, node.status().state(job)), (0, "stopped"), "{said:?}");
        assert_eq!(node.status().reason(job), "stopped by hand");
    }
    assert_eq!(site.cli(&["start", "b"]).code, 0);
    let before = node.status().running("b");
    let by_hand = format!("daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\nwait = \"busy\"\n{by_hand}");
    site.write("configs/b.toml", &by_hand);
    assert_eq!(site.cli(&["reload"]).out.lines().next(), Some("~ b  restarted: wait"));
    let picture = node.status();
    assert!(picture.state("b") == "ready" && picture.pid("b") != Some(before), "{}", picture.brief());
    node.stop();

    let mut node = site.start();
    let picture = node.wait_ready(&["recorder"]);
    assert_eq!([picture.state("few"), picture.state("hv")], ["stopped", "stopped"]);
    assert!(node.log().contains("few: stopped by hand; enrgdaq start few"), "{}", node.log());
}

#[test]
fn two_supervisors_do_not_share_a_state_directory() {
    let first = Site::new();
    let state = first.path("shared").display().to_string();
    let top = format!("state_dir = \"{state}\"");
    let first = first.supervisor_with(&top, "").csv();
    let second = Site::new().supervisor_with(&top, "").csv();
    let mut node = first.start();
    node.wait_ready(&["csv"]);

    let refused = second.cli(&["--config", "configs"]);

    assert!(refused.code == 1 && refused.err.contains(&state) && refused.err.contains(first.id()), "{refused:?}");
    node.stop();
    second.start().wait_ready(&["csv"]);
}

#[test]
fn a_scheduled_job_that_waits_for_another_costs_nothing_and_a_reload_does_not_start_one() {
    let seldom = format!("{FEW}[supervise]\nschedule = \"every 1 h\"\n");
    let site = Site::new()
        .recorder()
        .difficult("a", "good", "[supervise]\nautostart = false\nexclusive = \"x\"\n")
        .job("often", &format!("{FEW}[supervise]\nschedule = \"every 2 s\"\nexclusive = \"x\"\n"))
        .job("seldom", &seldom);
    let mut node = site.start();
    node.wait("it ran", |picture| {
        picture.edge("seldom", "recorder").arrived == 3 && picture.reason("seldom").contains("next time")
    });

    site.write("configs/seldom.toml", &format!("wait = \"busy\"\n{seldom}"));
    let said = site.cli(&["reload"]);
    assert_eq!((said.code, said.out.as_str()), (0, "~ seldom  restarted: wait\n"), "{said:?}");
    let picture = node.status();
    assert_eq!((picture.state("seldom"), picture.restarts("seldom")), ("waiting", 0));
    wait_until("the other has the lock", crate::harness::DEADLINE, || {
        let said = site.cli(&["start", "a"]);
        if node.status().state("a") == "ready" { Ok(()) } else { Err(format!("{said:?}")) }
    });
    node.wait("its time is over", |picture| picture.reason("often") == "a has \"x\"");

    // The figure is of the last second.
    let cpu = |picture: &crate::harness::Picture| picture.0["supervisor"]["cpu_percent"].as_f64().unwrap();
    let at = node.status().0["supervisor"]["uptime_s"].as_f64().unwrap();
    node.wait("it is idle", |picture| {
        picture.0["supervisor"]["uptime_s"].as_f64() > Some(at + 2.0) && cpu(picture) < 10.0
    });
    assert_eq!(node.stop(), 0);
}

/// A file that cannot be opened for some time: who holds a lease of it does not give it back.
struct Unanswering(Child);

impl Unanswering {
    fn make(path: &std::path::Path) -> Self {
        let text = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], 'r+')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", text])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is Python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Unanswering {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_file_that_does_not_answer_holds_up_neither_others_nor_the_end() {
    let site = Site::new().csv();
    let mut node = site.start();
    node.wait_ready(&["csv"]);
    site.write("configs/z.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"\n");
    let held = Unanswering::make(&site.path("configs/z.toml"));

    let said = site.cli(&["reload"]);
    assert!(said.code == 1 && said.err.contains("could not be read within 20 s"), "{said:?}");
    let waiting = site.command(&["plan"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    assert_eq!(site.cli(&["restart", "csv"]).code, 0);
    assert_eq!(node.stop(), 0, "the end waits for no file");

    drop(held);
    waiting.unwrap().wait().unwrap();
}

#[test]
fn an_order_that_cannot_be_done_soon_is_answered_and_one_that_nobody_waits_for_takes_no_place() {
    let pause = "[supervise]\nrestart_base_seconds = 0.5\nrestart_max_seconds = 0.5\n";
    let site = Site::new()
        .difficult("a", "fails_in_new", pause)
        .difficult("b", "good", "[supervise]\ndepends_on = [\"a\"]\n")
        .difficult("c", "good", "[supervise]\ndepends_on = [\"b\"]\n")
        .difficult("slow", "hangs_in_new", "[supervise]\nautostart = false\nstartup_timeout_seconds = 600\n");
    let mut node = site.start();
    node.wait("it fails again and again", |picture| picture.restarts("a") >= 1);

    for job in ["b", "c"] {
        site.cli(&["stop", job]);
        let said = site.cli(&["start", job]);
        assert!(said.code == 1 && said.err.contains("is now waiting: "), "{said:?}");
    }
    let line = "{\"id\":2,\"do\":\"restart\",\"name\":\"slow\"}\n";
    for _ in 0..70 {
        let mut stream = site.connect().unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        drop(stream);
    }
    for _ in 0..10 {
        wait_for("there is room for others", || site.cli(&["status"]).code == 0);
    }
    // Who only says no more is answered.
    let stream = site.connect().unwrap();
    (&stream).write_all(b"{\"id\":2,\"do\":\"stop\",\"name\":\"slow\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"state\":\"stopped\""), "{answer}");
}

#[test]
fn refusals_name_what_helps() {
    let site = Site::new().difficult("many", "good", "[supervise]\nreplicas = 2\n");
    let mut node = site.start();
    node.wait_ready(&["many_00", "many_01"]);

    for command in [&["rm", "many_01"][..], &["scale", "many_01", "3"]] {
        let said = site.cli(command);
        assert!(said.code == 1 && said.err.contains("`many_01` is a copy of `many`"), "{said:?}");
    }
    let answer = site.ask("{\"id\":2,\"do\":\"signal\",\"name\":\"many_00\",\"signal\":\"34\"}").unwrap();
    assert!(answer.contains("there is no signal `34`"), "{answer}");
    assert_eq!(site.cli(&["scale", "many", "1"]).code, 0);
    assert_eq!(node.stop(), 0);
}

#[test]
fn two_stop_signals_at_a_time_are_one() {
    let site = Site::new().csv().rows(1_000_000, 50);
    let mut node = site.start();
    node.wait("data flows", |picture| picture.edge("rows", "csv").arrived > 100);

    send(node.pid(), Signal::TERM);
    send(node.pid(), Signal::INT);

    assert_eq!(node.wait_exit(), 0, "{}", node.log());
    assert!(node.log().contains("stopping: ") && !node.log().contains("Ctrl-C kills"), "{}", node.log());
}

#[test]
fn what_was_ordered_is_on_the_disk_when_it_is_answered_or_said_to_be_forgotten() {
    let site = Site::new().recorder().job("waits", &format!("{FEW}[supervise]\ndepends_on = [\"recorder\"]"));
    for n in 0..6 {
        let mut node = site.start();
        node.wait_ready(&["recorder"]);
        let order = if n % 2 == 0 { "stop" } else { "start" };
        let said = site.cli(&[order, "waits"]);
        node.kill();
        assert_eq!(said.code, 0, "{said:?}");
        let stopped = operator(&site)["stopped"].as_array().map_or(0, Vec::len);
        assert_eq!(stopped, 1 - n % 2, "{order} was answered");
        site.wait_until_empty();
    }

    let mut node = site.start();
    node.wait_ready(&["recorder"]);
    let folders = fs::read_dir(site.path("state/enrgdaq")).unwrap().flatten();
    let file = folders.map(|folder| folder.path().join("operator.json")).find(|file| file.exists()).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let said = site.cli(&["stop", "waits"]);
    assert!(said.code == 1 && said.err.contains("it is done, but cannot write"), "{said:?}");
    assert_eq!(node.stop(), 1, "an order is forgotten");
}
