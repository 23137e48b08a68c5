//! Programs in other languages as jobs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    DEADLINE, Node, Picture, Signal, Site, is_suspended, memory_peak_mb, said, send, variable, wait_for, wait_until,
};

/// A file of the repository.
fn of_the_repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A site with an executable file `prog`.
fn with_program(site: Site, text: &[u8]) -> Site {
    let path = site.path("prog");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    site
}

/// A site with a shell script as the job `prog`.
fn script(text: &str, rest: &str) -> Site {
    script_at(Site::new(), text, rest)
}

fn script_at(site: Site, text: &str, rest: &str) -> Site {
    let site = with_program(site, format!("#!/bin/sh\n{text}\n").as_bytes());
    site.job("prog", &format!("daq_job_type = \"DAQJobExec\"\ncommand = [\"./prog\"]\n{rest}"))
}

/// The same, into `out/prog.csv`.
fn stored(text: &str, rest: &str) -> Site {
    script_at(Site::new().csv(), text, &format!("{rest}\n[store_config.csv]\nfile_path = \"prog.csv\""))
}

/// Starts it, waits until the program has ended as it should, and stops; the rows without the header.
fn rows_of(site: &Site) -> Vec<Vec<String>> {
    let mut node = site.start();
    node.wait("the program has done its work", |picture| picture.state("prog") == "exited");
    assert_eq!(node.stop(), 0);
    site.csv_rows("out/prog.csv").split_off(1)
}

/// The same, with what is said of what was refused.
fn rows_and_log(site: &Site) -> (Vec<Vec<String>>, String) {
    let mut node = site.start();
    node.wait("the program has ended", |picture| ["exited", "fatal"].contains(&picture.state("prog")));
    node.interrupt();
    node.wait_exit();
    (site.csv_rows("out/prog.csv").into_iter().skip(1).collect(), node.log())
}

/// The program itself, a child of the job's process.
fn program_of(picture: &Picture) -> u32 {
    let job = picture.running("prog");
    wait_until("the job has its program", DEADLINE, || {
        let children = fs::read_to_string(format!("/proc/{job}/task/{job}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).ok_or(children)
    })
}

fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, tail)| !tail.trim_start().starts_with(['Z', 'X']))
}

fn column(rows: &[Vec<String>], column: usize) -> Vec<&str> {
    rows.iter().map(|row| row[column].as_str()).collect()
}

fn wait_for_log(node: &Node<'_>, part: &str) {
    wait_until(&format!("the log has {part:?}"), DEADLINE, || match node.log() {
        log if log.contains(part) => Ok(()),
        log => Err(log),
    });
}

/// Counts, and writes down how far it has come when it is told to end.
const COUNTER: &str = "trap 'echo $n > last; exit 0' TERM
echo n
n=0
while :; do
    echo $n
    n=$((n + 1))
    [ $((n % 50)) = 0 ] && sleep 0.01
done";

/// All numbers from 0 on are there, first seen in their order, and as many as the counter has written.
fn check_count(site: &Site) -> (usize, usize) {
    let rows = site.csv_rows("out/prog.csv").split_off(1);
    let mut seen: Vec<u64> = Vec::new();
    for row in &rows {
        let number = row[0].parse().unwrap();
        match number {
            next if next == seen.len() as u64 => seen.push(number),
            again => assert!(again < seen.len() as u64, "{again} comes after {:?}", seen.last()),
        }
    }
    let last: usize = fs::read_to_string(site.path("last")).unwrap().trim().parse().unwrap();
    // The signal may come between a number's line and the count of it.
    assert!((last..=last + 1).contains(&seen.len()), "{last} were written, {} are stored", seen.len());
    (seen.len(), rows.len())
}

#[test]
fn a_script_fills_a_csv_file_and_a_store_that_is_killed_costs_nothing_that_was_read() {
    let site = stored(COUNTER, "format = \"csv\"\ntypes = { n = \"int\" }");
    let mut node = site.start();
    for _ in 0..6 {
        let before = node.wait_ready(&["csv", "prog"]).edge("prog", "csv").arrived;
        let picture = node.wait("data", |picture| picture.edge("prog", "csv").arrived > before + 30);
        let store = picture.running("csv");
        send(store, Signal::KILL);
        node.wait_back("csv", store);
    }
    let before = node.status().edge("prog", "csv").arrived;
    node.wait("data again", |picture| picture.edge("prog", "csv").arrived > before + 30);

    assert_eq!(node.stop(), 0);

    let (numbers, rows) = check_count(&site);
    println!("{numbers} numbers in {rows} rows");
}

#[test]
fn what_the_program_wrote_until_its_end_is_stored_when_it_is_told_to_stop() {
    let site =
        stored(&COUNTER.replace("[ $((n % 50)) = 0 ] && sleep 0.01", ":"), "format = \"csv\"\ntypes = { n = \"int\" }");
    let mut node = site.start();
    node.wait("data", |picture| picture.edge("prog", "csv").arrived > 30);

    assert_eq!(node.stop(), 0);

    let (numbers, rows) = check_count(&site);
    assert_eq!(numbers, rows, "nothing comes twice");
}

#[test]
fn lines_are_rows_whatever_is_in_them() {
    let text = "printf 'one\\ntwo, \"2\"\\r\\n\\n\\377\\376 bytes\\nnul \\000 byte\\nno end'";
    let site = stored(text, "format = \"lines\"");

    let rows = rows_of(&site);

    assert_eq!(column(&rows, 1), ["one", "two, \"2\"", "", "\u{fffd}\u{fffd} bytes", "nul \0 byte", "no end"]);
    assert!(rows.iter().all(|row| row[0].parse::<u64>().unwrap() > 1_700_000_000_000), "{rows:?}");
}

#[test]
fn a_line_is_stored_at_once_and_waits_for_no_other() {
    let site = stored("trap 'exit 0' TERM; echo only; while :; do sleep 0.05; done", "format = \"lines\"");
    let mut node = site.start();

    node.wait("the line is in the file", |_| site.csv_rows("out/prog.csv").len() == 2);

    assert_eq!(node.stop(), 0);
}

#[test]
fn a_line_without_end_is_refused_and_takes_no_memory() {
    let text =
        "trap 'exit 0' TERM; head -c 100000000 /dev/zero | tr '\\0' x\necho\necho short; while :; do sleep 0.05; done";
    let site = stored(text, "format = \"lines\"");
    let mut node = site.start();
    node.wait("it is behind that line", |_| site.csv_rows("out/prog.csv").len() == 2);

    let peak = memory_peak_mb(node.status().running("prog"));
    println!("at most {peak} MB");
    assert!(peak < 60, "the job once had {peak} MB");
    assert!(node.status().has_alert("a line of more than 1048576 bytes"), "{:?}", node.status().alerts());
    assert_eq!(node.stop(), 0);
    assert_eq!(column(&site.csv_rows("out/prog.csv").split_off(1), 1), ["short"]);
}

#[test]
fn rows_of_csv_have_their_types_and_what_does_not_fit_is_refused() {
    let text = "cat << 'END'
name, n,x,ok
\"a, \"\"b\"\"\",1,0.5,true
,,,
c,9223372036854775807,nan,0
too,few
one,2,3,true,more
d,1.5,1,true
e,1,high,false
\"two
lines\",2,-1e3,1
END
printf 'last,3,1,0'";
    let site = stored(text, "format = \"csv\"\ntypes = { n = \"int\", x = \"float\", ok = \"bool\" }");
    let (rows, _) = rows_and_log(&site);

    assert_eq!(
        rows,
        [
            ["a, \"b\"", "1", "0.5", "true"],
            ["", "", "", ""],
            ["c", "9223372036854775807", "NaN", "false"],
            ["two\nlines", "2", "-1000.0", "true"],
            ["last", "3", "1.0", "false"],
        ]
    );
}

#[test]
fn what_is_refused_is_counted_and_told_once() {
    let text = "trap 'exit 0' TERM; echo a,b; echo 1,2; for n in 1 2 3; do echo 1; echo x,1; done; while :; do sleep 0.05; done";
    let site = stored(text, "format = \"csv\"");
    let mut node = site.start();

    let picture = node.wait("six are refused", |picture| {
        picture.job("prog")["stats"]["figures"]["records_refused"].as_f64() == Some(6.0)
    });

    assert_eq!(picture.alerts().iter().filter(|alert| alert.contains("does not store")).count(), 2, "{picture:?}");
    assert!(picture.has_alert("a record of 1 cells, where 2 are expected: \"1\""));
    assert!(picture.has_alert("a record whose cell `a` is \"x\", where the type is \"float\""));
    assert_eq!(node.stop(), 0);
}

#[test]
fn columns_can_be_named_for_a_program_without_a_header() {
    let site = stored("echo 1,x; echo 2.5,y", "format = \"csv\"\ncolumns = [\"volts\", \"channel\"]");

    assert_eq!(rows_of(&site), [["1.0", "x"], ["2.5", "y"]]);
    assert_eq!(site.csv_rows("out/prog.csv")[0], ["volts", "channel"]);
}

#[test]
fn types_of_columns_that_the_header_has_not_are_hopeless() {
    let site = stored("echo a,b; sleep 1000", "format = \"csv\"\ntypes = { c = \"int\" }");
    let mut node = site.start();

    node.wait("it is given up", |picture| picture.state("prog") == "fatal");

    wait_for_log(&node, "`types` names the column `c`, and the program's header has: a, b");
}

#[test]
fn objects_of_json_are_rows_and_a_new_key_begins_a_new_table() {
    let text = r#"cat << 'END'
{"z": 1, "a": "x", "n": 7, "deep": {"k": [1, 2]}, "ok": true}
{"a": 5, "z": null, "n": 8}

[1, 2]
{"z": "no number"}
{"broken
{"n": 1.5}
{"z": 2, "a": "b", "n": 9, "more": "new"}
{"z": 3, "n": 10}
END"#;
    let site = stored(text, "format = \"jsonl\"\ntypes = { n = \"int\" }");
    let (rows, _) = rows_and_log(&site);

    assert_eq!(site.csv_rows("out/prog.csv")[0], ["z", "a", "n", "deep", "ok"]);
    assert_eq!(rows, [["1.0", "x", "7", "{\"k\":[1,2]}", "true"], ["", "5", "8", "", ""]]);
    let wider = site.csv_rows("out/prog_1.csv");
    assert_eq!(wider[0], ["z", "a", "n", "deep", "ok", "more"]);
    assert_eq!(wider[1..], [["2.0", "b", "9", "", "", "new"], ["3.0", "", "10", "", "", ""]]);
}

#[test]
fn a_record_that_the_death_of_the_program_cuts_off_is_lost_alone_and_told() {
    for (format, whole, part, rest) in [
        ("lines", "whole\\n", "part", ""),
        ("csv", "a,b\\n1,2\\n", "3,", ""),
        ("csv", "a,b\\n1,2\\n", "\\\"open, ", ""),
        ("jsonl", "{\\\"a\\\": 1}\\n", "{\\\"a\\\":", ""),
    ] {
        let text = format!("printf \"{whole}{part}\"; kill -9 $$");
        let site = stored(&text, &format!("format = \"{format}\"\n{rest}\n[supervise]\nrestart = \"never\""));

        let (rows, log) = rows_and_log(&site);

        assert_eq!(rows.len(), 1, "{format}: {rows:?}");
        assert!(log.contains("the program ended within a record: its "), "{format}: {log}");
        assert!(log.contains("killed by SIGKILL"), "{format}: {log}");
    }
}

#[test]
fn a_record_of_bytes_or_a_table_that_is_cut_off_is_lost_alone_and_told() {
    let table = enrgdaq::job::Table::new().column("a", [1i64, 2]).build().unwrap();
    let stream = enrgdaq::message::encode_table(&table).unwrap().bytes;
    let site =
        stored("cat stream; head -c 60 stream; kill -9 $$", "format = \"arrow\"\n[supervise]\nrestart = \"never\"");
    fs::write(site.path("stream"), stream).unwrap();

    let (rows, log) = rows_and_log(&site);

    assert_eq!(rows, [["1"], ["2"]]);
    assert!(log.contains("the program ended within a record: its 60 bytes are lost"), "{log}");

    let text = "printf '\\010\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\010\\0\\0\\0\\1\\0\\0'; kill -9 $$";
    let rest = "format = \"raw\"\nframing = \"u32le\"\n[supervise]\nrestart = \"never\"\n[store_config.recorder]";
    let site = script_at(Site::new().recorder(), text, rest);
    let (_, log) = rows_and_log(&site);
    assert_eq!(site.records(), [0]);
    assert!(log.contains("the program ended within a record: its 7 bytes are lost"), "{log}");
}

#[test]
fn records_of_bytes_are_messages() {
    for (framing, length) in [("\"u32le\"", "<I"), ("\"u32be\"", ">I"), ("\"fixed\"\nrecord_bytes = 8", "")] {
        let prefix = if length.is_empty() { String::new() } else { format!("struct.pack('{length}', 8) + ") };
        let text = format!(
            "exec python3 -c \"import struct, sys
for n in range(5000): sys.stdout.buffer.write({prefix}struct.pack('<Q', n))\""
        );
        let rest = format!("format = \"raw\"\nframing = {framing}\n[store_config.recorder]");
        let site = script_at(Site::new().recorder(), &text, &rest);

        rows_and_log(&site);

        assert!(site.records().into_iter().eq(0..5000), "{framing}: {:?}", site.records().len());
    }
}

#[test]
fn a_large_record_arrives_whole() {
    let text = "exec python3 -c \"import struct, sys
step, size = 0x9e3779b97f4a7c15, 3 << 20
record = b''.join(struct.pack('<Q', (at * step) % 2**64) for at in range(size // 8))
sys.stdout.buffer.write(struct.pack('<I', size) + record)\"";
    let rest = "format = \"raw\"\nframing = \"u32le\"\n[store_config.recorder]";
    let site = script_at(Site::new().recorder(), text, rest);

    rows_and_log(&site);

    assert_eq!(site.records(), [0], "the recorder has verified each word");
}

#[test]
fn an_output_that_is_broken_ends_the_program_and_the_job_starts_again() {
    let long = "format = \"raw\"\nframing = \"u32be\"\nmax_record_bytes = 1000\n[store_config.recorder]";
    let no_arrow = "format = \"arrow\"\n[store_config.recorder]";
    let cases = [
        (long, "printf '\\0\\0\\4\\0'", "the program announces a record of 1024 bytes"),
        (no_arrow, "head -c 100000 /dev/urandom", "the program's output is"),
        (no_arrow, "printf '\\377\\377\\377\\377\\377\\377\\377\\177'; cat /dev/zero", "the program's output"),
    ];
    for (rest, text, said) in cases {
        let site = script_at(Site::new().recorder(), &format!("{text}; exec sleep 1000"), rest);
        let mut node = site.start();

        node.wait("it starts again", |picture| picture.restarts("prog") > 0);

        wait_for_log(&node, said);
        node.interrupt();
        node.wait_exit();
        site.wait_until_empty();
    }
}

#[test]
fn tables_of_arrow_are_stored_as_they_are_one_stream_after_the_other() {
    let table = enrgdaq::job::Table::new().column("a", [1i64, 2]).column("b", ["x", "y"]).build().unwrap();
    let stream = enrgdaq::message::encode_table(&table).unwrap().bytes;
    let site = stored("cat stream stream; head -c 1 stream; sleep 0.1; tail -c +2 stream", "format = \"arrow\"");
    fs::write(site.path("stream"), stream).unwrap();

    assert_eq!(rows_of(&site), [["1", "x"], ["2", "y"], ["1", "x"], ["2", "y"], ["1", "x"], ["2", "y"]]);
}

#[test]
fn a_job_is_ready_when_its_first_line_a_pattern_or_a_notification_says_so() {
    let notify = "python3 -c \"import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in [b'garbage', b'\\0' * 9000, b'', b'READY=0', b'STATUS=warm', b'READY=1']: s.sendto(text, os.environ['NOTIFY_SOCKET'])\"";
    let cases = [
        ("\"first_line\"\nformat = \"lines\"\n[store_config.csv]\nfile_path = \"prog.csv\"", "echo go"),
        ("\"first_line\"", "echo go"),
        ("{ pattern = 'listening on \\d+' }", "printf 'listening ' >&2; echo 'on 17' >&2"),
        ("{ pattern = 'listening on \\d+' }", "echo listening on 17"),
        ("\"notify\"", notify),
    ];
    for (ready, sign) in cases {
        let text = format!("echo begun >&2; while [ ! -e go ]; do sleep 0.02; done; {sign}; exec sleep 1000");
        let site = script_at(Site::new().csv(), &text, &format!("ready = {ready}"));
        let mut node = site.start();
        wait_for_log(&node, "begun");
        assert_eq!(node.status().state("prog"), "starting", "{ready}");

        site.write("go", "");

        node.wait_ready(&["prog"]);
        assert_eq!(node.stop(), 0, "{ready}");
    }
}

#[test]
fn a_program_that_ends_before_it_is_ready_has_failed_and_what_it_wrote_is_stored() {
    let site = stored("echo early", "format = \"lines\"\nready = \"notify\"\n[supervise]\nrestart = \"never\"");

    let (rows, log) = rows_and_log(&site);

    assert_eq!(column(&rows, 1), ["early"]);
    assert!(log.contains("the program ended with exit code 0 before it was ready"), "{log}");
}

#[test]
fn a_program_that_is_not_ready_is_stopped_at_once() {
    let site = script("echo begun >&2; exec sleep 1000", "ready = \"notify\"");
    let node = site.start();
    wait_for_log(&node, "begun");

    assert_eq!(node.stop(), 0);
    site.wait_until_empty();
}

#[test]
fn a_program_whose_watchdog_is_silent_is_started_again() {
    let text = "exec python3 -c \"import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
assert os.environ['WATCHDOG_USEC'] == '3000000'
s.send(b'READY=1')
while not os.path.exists('hang'): s.send(b'WATCHDOG=1'); time.sleep(0.2)
time.sleep(1000)\"";
    let rest = "ready = \"notify\"\nwatchdog = true\n[supervise]\nwatchdog_timeout_seconds = 3";
    let site = script(text, rest);
    let mut node = site.start();
    node.wait("it is alive for longer than its watchdog", |picture| {
        picture.job("prog")["uptime_s"].as_f64().is_some_and(|up| up > 5.0)
    });
    let picture = node.status();
    assert_eq!(picture.restarts("prog"), 0);
    let (job, program) = (picture.running("prog"), program_of(&picture));

    site.write("hang", "");

    node.wait("it is given up", |picture| picture.pid("prog") != Some(job));
    wait_for("the program is gone", || !is_there(program));
    fs::remove_file(site.path("hang")).unwrap();
    node.wait_back("prog", job);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_watchdog_and_its_timeout_go_together_before_anything_starts() {
    for (rest, said) in [
        ("watchdog = true", "nobody says how long the program may be silent"),
        (
            "[supervise]\nwatchdog_timeout_seconds = 3",
            "the program has no records by which it could be seen to be alive",
        ),
    ] {
        let site = script("exec sleep 1000", rest);

        let checked = site.cli(&["check", "--config", "configs"]);

        assert_eq!(checked.code, 1, "{checked:?}");
        let all = format!("{}{}", checked.out, checked.err);
        assert!(all.contains(said) && all.contains("prog.toml:"), "{checked:?}");
    }
    // What is meant for all jobs is none of its business.
    let site = script("exec sleep 1000", "").supervisor("[supervise]\nwatchdog_timeout_seconds = 2.5");
    let mut node = site.start();
    let picture = node.wait("it is up for longer than that", |picture| {
        let up = picture.job("prog")["uptime_s"].as_f64();
        up.is_some_and(|up| up > 5.0) || picture.restarts("prog") > 0 || picture.state("prog") == "fatal"
    });
    assert_eq!((picture.state("prog"), picture.restarts("prog")), ("ready", 0), "{}", picture.brief());
    assert_eq!(node.stop(), 0);
}

/// The numbers in a column of a file are those from 0 on; how many.
fn check_numbers(site: &Site, file: &str, column: usize) -> usize {
    let text = fs::read_to_string(site.path(file)).unwrap();
    let numbers = text.lines().skip(1).map(|line| line.split(',').nth(column).unwrap());
    numbers.zip(0u64..).map(|(cell, expected)| assert_eq!(cell.parse(), Ok(expected), "in {file}")).count()
}

#[test]
fn a_store_that_stalls_makes_programs_wait_and_no_watchdog_bites() {
    let rows = "daq_job_type = \"DAQJobExec\"\ncommand = [\"seq\", \"0\", \"999999999\"]\nring_mb = 1\nformat = \"csv\"
columns = [\"n\"]\ntypes = { n = \"int\" }\n[supervise]\nwatchdog_timeout_seconds = 3\n[store_config.csv]\nfile_path = \"rows.csv\"";
    let python = "import itertools, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
for n in itertools.count(0, 1000):
    s.send(b'WATCHDOG=1')
    sys.stdout.write(''.join('%d\\n' % (n + at) for at in range(1000)))";
    let lines = format!(
        "daq_job_type = \"DAQJobExec\"\ncommand = [\"python3\", \"-c\", '''{python}''']\nring_mb = 1\nformat = \"lines\"\nwatchdog = true
[supervise]\nwatchdog_timeout_seconds = 3\n[store_config.csv]\nfile_path = \"lines.csv\""
    );
    let site = Site::new().csv().job("rows", rows).job("lines", &lines);
    let mut node = site.start();
    let store = node.wait_ready(&["csv", "rows", "lines"]).running("csv");
    node.wait("data of both", |picture| ["rows", "lines"].iter().all(|job| picture.edge(job, "csv").arrived > 0));
    send(store, Signal::STOP);
    let up = |picture: &Picture| picture.0["supervisor"]["uptime_s"].as_f64().unwrap_or_default();
    let begun = up(&node.status());

    let is_harmed = |picture: &Picture| ["rows", "lines"].iter().any(|job| picture.state(job) != "ready");
    let stalled =
        node.wait("the store has stalled for long", |picture| up(picture) > begun + 9.0 || is_harmed(picture));
    assert!(!is_harmed(&stalled), "{}", stalled.brief());
    for job in ["rows", "lines"] {
        assert!(stalled.region(job, "dead_time_percent") > 50.0, "{job} waits: {}", stalled.job(job)["region"]);
    }
    send(store, Signal::CONT);
    let before = stalled.edge("rows", "csv").arrived;
    let picture = node.wait("data again", |picture| picture.edge("rows", "csv").arrived > before);
    assert_eq!(picture.restarts("rows") + picture.restarts("lines"), 0);

    node.interrupt();
    assert_eq!(node.wait_exit(), 0);

    println!("{} rows, {} lines", check_numbers(&site, "out/rows.csv", 0), check_numbers(&site, "out/lines.csv", 1));
}

/// Writes rows of 100 bytes, 40 at once as a pipe takes them whole, and notes how many it has written.
const BOOKKEEPER: &str = "exec python3 -c \"import os
book = os.open('book-' + os.environ['ENRGDAQ_JOB_NAME'], os.O_CREAT | os.O_WRONLY)
os.write(1, b'n,filler\\n')
n = 0
while True:
    os.write(1, b''.join(b'%09d,' % (n + at) + b'x' * 89 + b'\\n' for at in range(40)))
    n += 40
    os.pwrite(book, b'%09d' % n, 0)\"";

#[test]
fn what_finds_no_room_until_the_end_is_counted_and_told() {
    let site = with_program(Site::new().csv(), format!("#!/bin/sh\n{BOOKKEEPER}\n").as_bytes());
    let job = |name: &str, rest: &str| {
        format!(
            "daq_job_type = \"DAQJobExec\"\ncommand = [\"./prog\"]\nring_mb = 1\nformat = \"csv\"\n{rest}
types = {{ n = \"int\" }}\n[supervise]\nstop_timeout_seconds = 2\n[store_config.csv]\nfile_path = \"{name}.csv\""
        )
    };
    // The one that is not ready hears no message: its end begins with SIGTERM.
    let site = site.job("told", &job("told", "")).job("early", &job("early", "ready = \"notify\""));
    let mut node = site.start();
    let store = node.wait_ready(&["csv", "told"]).running("csv");
    node.wait("data of both", |picture| ["told", "early"].iter().all(|job| picture.edge(job, "csv").arrived > 0));
    send(store, Signal::STOP);
    let book = |job: &str| fs::read_to_string(site.path(format!("book-{job}"))).unwrap_or_default();
    for job in ["told", "early"] {
        let mut seen = (String::new(), 0);
        wait_for("its program waits in its write", || {
            let now = book(job);
            seen.1 = if seen.0 == now { seen.1 + 1 } else { 0 };
            seen.0 = now;
            seen.1 > 20
        });
    }

    let mut lost = Vec::new();
    for job in ["told", "early"] {
        let stopped = site.cli(&["stop", job]);
        assert_eq!(stopped.out, format!("{job}: stopped\n"), "{stopped:?}");
        let log = wait_until("what is lost is told", DEADLINE, || {
            let log = node.log();
            let line = log.lines().find(|line| line.contains(&format!("[{job}]")) && line.contains("are lost"));
            line.map(str::to_owned).ok_or(log)
        });
        let words: Vec<_> = log.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "records").unwrap();
        lost.push(words[at - 1].parse::<usize>().unwrap());
        assert!(!node.log().contains(&format!("[{job}] sending SIGKILL")), "it had the time to say it");
    }
    send(store, Signal::CONT);
    node.interrupt();
    assert_ne!(node.wait_exit(), 0, "something was lost");

    for (job, lost) in ["told", "early"].into_iter().zip(lost) {
        let written: usize = book(job).parse().unwrap();
        let rows = site.csv_rows(&format!("out/{job}.csv")).split_off(1);
        let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{job}: no row twice, and all in their order");
        let stored = numbers.len();
        println!("{job}: {written} written, {stored} stored, {lost} lost");
        assert!(
            lost > 1000 && (written..=written + 40).contains(&(stored + lost)),
            "{job}: {written}, {stored}, {lost}"
        );
    }
}

#[test]
fn a_signal_that_nobody_gets_is_an_error() {
    let site = script("trap 'echo hup >> heard' HUP; while :; do sleep 0.05; done", "");
    let mut node = site.start();
    let picture = node.wait_ready(&["prog"]);
    let (job, program) = (picture.running("prog"), program_of(&picture));
    assert_eq!(site.cli(&["signal", "prog", "HUP"]).code, 0);
    wait_for("the program has it", || site.path("heard").exists());
    send(job, Signal::STOP);
    wait_for("it is suspended", || is_suspended(job));
    send(program, Signal::KILL);
    wait_for("the program is gone", || !is_there(program));

    let sent = site.cli(&["signal", "prog", "HUP"]);

    assert!(sent.code != 0 && sent.err.contains("nobody got the signal"), "{sent:?}");
    send(job, Signal::KILL);
    node.wait_back("prog", job);
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_job_ends_as_its_program_does() {
    for (text, end, state) in [
        ("exit 0", "exit code 0", "exited"),
        ("exit 3", "exit code 3", "exited"),
        ("exit 78", "exit code 78", "fatal"),
        ("kill -9 $$", "exit code 137", "exited"),
        ("kill -SEGV $$", "exit code 139", "exited"),
    ] {
        let site = script(text, "[supervise]\nrestart = \"never\"");
        let mut node = site.start();

        let picture = node.wait("it has ended", |picture| ["exited", "fatal"].contains(&picture.state("prog")));

        assert_eq!(picture.job("prog")["last_end"], end, "{text}");
        assert_eq!(picture.state("prog"), state, "{text}");
    }
}

#[test]
fn a_program_is_told_to_end_by_the_signal_of_its_own() {
    let text = "trap 'echo hup >> heard; exit 0' HUP; trap 'echo term >> heard' TERM; while :; do sleep 0.05; done";
    let site = script(text, "[supervise]\nstop_signal = \"HUP\"");
    let mut node = site.start();
    node.wait_ready(&["prog"]);

    assert_eq!(node.stop(), 0);

    assert_eq!(fs::read_to_string(site.path("heard")).unwrap(), "hup\n");
}

#[test]
fn a_program_that_is_killed_by_its_stop_signal_has_ended_well() {
    let site = script("exec sleep 1000", "");
    let mut node = site.start();
    node.wait_ready(&["prog"]);

    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_that_hears_nothing_is_killed_and_what_it_wrote_is_stored() {
    let text = "trap '' TERM INT HUP; echo n; echo 1; while [ ! -e late ]; do sleep 0.02; done; echo 2; while :; do sleep 1; done";
    let site = stored(text, "format = \"csv\"\n[supervise]\nstop_timeout_seconds = 2");
    let mut node = site.start();
    node.wait("a row", |_| site.csv_rows("out/prog.csv").len() == 2);

    node.interrupt();
    site.write("late", "");

    assert_ne!(node.wait_exit(), 0, "it did not end as it should");
    site.wait_until_empty();
    assert_eq!(site.csv_rows("out/prog.csv").split_off(1), [["1.0"], ["2.0"]]);
}

#[test]
fn what_cannot_be_run_is_hopeless_and_is_said_exactly() {
    let machine = |mut elf: Vec<u8>| {
        elf[18] = 0x15; // PowerPC, 64 bits
        elf[19] = 0;
        elf
    };
    let elf = machine(fs::read("/bin/true").unwrap());
    let cases: [(&str, &[u8], &str); 6] = [
        ("./prog", b"just text\n", "exec format error"),
        ("./prog", &elf, "exec format error"),
        ("./prog", b"#!/no/such/interpreter\n", "there is no interpreter such as"),
        ("./missing", b"", "there is no ./missing in the working directory"),
        ("no-such-program", b"", "there is no program \"no-such-program\" in PATH"),
        ("./configs", b"", "is a directory, not a program"),
    ];
    for (command, text, said) in cases {
        let site = with_program(Site::new(), text);
        let site = site.job("prog", &format!("daq_job_type = \"DAQJobExec\"\ncommand = [\"{command}\"]"));
        let mut node = site.start();

        let picture = node.wait("it is given up", |picture| picture.state("prog") == "fatal");

        assert_eq!(picture.restarts("prog"), 0, "{said}");
        wait_for_log(&node, said);
    }
    let site = script("exit 0", "");
    fs::set_permissions(site.path("prog"), PermissionsExt::from_mode(0o644)).unwrap();
    let mut node = site.start();
    node.wait("it is given up", |picture| picture.state("prog") == "fatal");
    wait_for_log(&node, "./prog is not executable");
}

#[test]
fn what_the_program_has_started_may_hold_the_pipe_and_the_job_ends_all_the_same() {
    let site = stored(
        "(trap '' TERM; sleep 0.3; echo child; exec sleep 1000) & echo parent",
        "format = \"lines\"\n[supervise]\nstop_timeout_seconds = 2",
    );

    let rows = rows_of(&site);

    assert_eq!(column(&rows, 1), ["parent", "child"]);
    site.wait_until_empty();
}

#[test]
fn a_program_that_closes_its_output_may_go_on() {
    let text = "trap 'exit 0' TERM; echo one; exec 1>&-; touch closed; while :; do sleep 0.05; done";
    let site = stored(text, "format = \"lines\"");
    let mut node = site.start();
    wait_for("it is closed", || site.path("closed").exists());
    node.wait("the row is there", |_| site.csv_rows("out/prog.csv").len() == 2);

    assert_eq!(node.status().state("prog"), "ready");
    assert_eq!(node.status().restarts("prog"), 0);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_does_not_outlive_its_job() {
    let site = script("trap '' TERM INT HUP; while :; do sleep 0.05; done", "");
    let mut node = site.start();
    let picture = node.wait_ready(&["prog"]);
    let (job, program) = (picture.running("prog"), program_of(&picture));

    send(job, Signal::KILL);

    wait_for("the program is gone", || !is_there(program));
    let picture = node.wait_back("prog", job);
    assert_ne!(program_of(&picture), program);
    node.kill();
    site.wait_until_empty();
}

#[test]
fn a_job_that_is_suspended_and_killed_takes_its_program_with_it() {
    let site = script("exec sleep 1000", "");
    let mut node = site.start();
    let picture = node.wait_ready(&["prog"]);
    let (job, program) = (picture.running("prog"), program_of(&picture));
    send(job, Signal::STOP);
    wait_for("it is suspended", || is_suspended(job));

    send(job, Signal::KILL);

    wait_for("the program is gone", || !is_there(program));
    node.wait_back("prog", job);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_runs_as_the_user_with_the_limits_and_without_what_is_ours() {
    assert!(rustix::process::getuid().is_root(), "this test becomes another user: run it as root");
    let command = "id -un; id -gn; id -G; echo $HOME; ulimit -n; ulimit -c; ulimit -f; ls -l /proc/self/fd | grep -c -e '->'; \
                   grep -e SigBlk -e SigIgn /proc/self/status; echo ${WATCHDOG_USEC-unset} $ENRGDAQ_JOB_NAME";
    let toml =
        format!("daq_job_type = \"DAQJobExec\"\ncommand = [\"sh\", \"-c\", \"\"\"{command}\"\"\"]\nformat = \"lines\"");
    let supervise = "[supervise]\nuser = \"nobody\"\nrlimits = { open_files = 123, core_mb = 0, file_size_mb = 5 }";
    let site =
        Site::new().csv().job("prog", &format!("{toml}\n{supervise}\n[store_config.csv]\nfile_path = \"prog.csv\""));

    let rows = rows_of(&site);

    let lines = column(&rows, 1);
    assert_eq!(lines[0], "nobody");
    let group = said(Command::new("id").args(["-gn", "nobody"])).out;
    assert_eq!(lines[1], group.trim());
    assert_eq!(lines[2], said(Command::new("id").args(["-G", "nobody"])).out.trim());
    assert_eq!(lines[4..7], ["123", "0", "10240"], "the last in blocks of 512 bytes");
    assert_eq!(lines[7], "4", "its own standard three, and the listed folder");
    assert_eq!(lines[8], "SigBlk:\t0000000000000000");
    // The two that the C library keeps for itself cannot be changed.
    let ignored = u64::from_str_radix(lines[9].trim_start_matches("SigIgn:\t"), 16).unwrap();
    assert_eq!(ignored & !(0b11 << 31), 0, "{}", lines[9]);
    assert_eq!(lines[10], "unset prog");
}

#[test]
fn a_program_of_another_user_can_notify() {
    assert!(rustix::process::getuid().is_root(), "this test becomes another user: run it as root");
    let python = "import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b'STATUS=I am %d' % os.getuid() + b'\\\\nREADY=1', os.environ['NOTIFY_SOCKET'])
time.sleep(1000)";
    let toml = format!(
        "daq_job_type = \"DAQJobExec\"\nready = \"notify\"\ncommand = [\"/usr/bin/python3\", \"-c\", \"\"\"{python}\"\"\"]"
    );
    let site = Site::new().job("prog", &format!("{toml}\n[supervise]\nuser = \"nobody\""));
    let mut node = site.start();

    node.wait_ready(&["prog"]);

    wait_for_log(&node, "status: I am 65534");
    let picture = node.status();
    let socket = |picture: &Picture| variable(program_of(picture), "NOTIFY_SOCKET").unwrap();
    let (job, path) = (picture.running("prog"), socket(&picture));
    send(job, Signal::KILL);
    let picture = node.wait_back("prog", job);
    assert_eq!(socket(&picture), path, "nothing is left behind");
    assert_eq!(node.stop(), 0);
    assert!(!Path::new(&path).parent().unwrap().exists());
}

#[test]
fn a_user_that_there_is_not_is_warned_of_and_hopeless() {
    let site = script("exit 0", "[supervise]\nuser = \"no_such_user\"");
    let checked = site.cli(&["check", "--config", "configs"]);
    assert_eq!(checked.code, 0, "perhaps there is one where it is to run: {checked:?}");
    let all = format!("{}{}", checked.out, checked.err);
    assert!(all.contains("there is no user or group \"no_such_user\" on this machine"), "{checked:?}");
    let mut node = site.start();

    node.wait("it is given up", |picture| picture.state("prog") == "fatal");

    wait_for_log(&node, "there is no user or group \"no_such_user\"");
}

#[test]
fn messages_of_other_jobs_come_on_standard_input() {
    let text = "exec python3 -uc \"import json, sys
for line in sys.stdin:
    message = json.loads(line)
    print(message['columns']['n'][0], message['type'], message['src']['daq_job_type'], file=open('got', 'a'))\"";
    let rest = "stdin = \"jsonl\"\ndelivery = \"lossless\"\ntopics_to_subscribe = [\"store.DAQJobStoreCSV\"]";
    let site = script_at(Site::new().csv().rows(100, 100), text, rest);
    let mut node = site.start();
    let got = || fs::read_to_string(site.path("got")).unwrap_or_default();

    node.wait("all have come", |_| got().lines().count() >= 100);

    let expected = (0..100).map(|n| format!("{n} DAQJobMessageStoreTable DAQJobRows\n"));
    assert_eq!(got(), expected.collect::<String>());
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_comes_after_the_death_of_a_program_is_kept_for_the_next_one() {
    let rest = "stdin = \"jsonl\"\ndelivery = \"lossless\"\ntopics_to_subscribe = [\"store.DAQJobStoreCSV\"]\n\
                [supervise]\nrestart_base_seconds = 0.05";
    let site = script_at(Site::new().csv().rows(1_000_000, 100), "exec cat > /dev/null", rest);
    let mut node = site.start();
    for _ in 0..3 {
        let picture = node.wait_ready(&["prog"]);
        let job = picture.running("prog");

        send(program_of(&picture), Signal::TERM);

        node.wait_back("prog", job);
    }
    assert!(!node.log().contains("misses a message"), "{}", node.log());
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_that_does_not_read_holds_up_nobody() {
    let rest = "stdin = \"jsonl\"\ntopics_to_subscribe = [\"store.DAQJobStoreCSV\"]";
    let site = script_at(Site::new().csv().rows(20_000, 0), "exec sleep 1000", rest);
    let mut node = site.start();

    node.wait("all rows are stored", |picture| picture.edge("rows", "csv").arrived == 20_000);

    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_that_closes_its_input_goes_on() {
    let rest = "stdin = \"jsonl\"\ntopics_to_subscribe = [\"store.DAQJobStoreCSV\"]";
    let site = script_at(Site::new().csv().rows(1000, 10), "exec 0<&-; exec sleep 1000", rest);
    let mut node = site.start();

    node.wait("all rows are stored", |picture| picture.edge("rows", "csv").arrived == 1000);

    wait_for_log(&node, "it does not read its standard input any more");
    assert_eq!(node.status().restarts("prog"), 0);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_program_without_a_format_talks_into_the_log() {
    let site = script("echo to stdout; echo to stderr >&2; exec sleep 1000", "");
    let mut node = site.start();
    node.wait_ready(&["prog"]);

    wait_for_log(&node, "to stdout");
    wait_for_log(&node, "to stderr");
    assert_eq!(node.stop(), 0);
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    for (rest, said) in [
        ("format = \"lines\"", "stored nowhere: add [store_config.csv]"),
        ("[store_config.csv]\nfile_path = \"a.csv\"", "there is nothing to store"),
        ("framing = \"fixed\"", "has a meaning for `format = \"raw\"` only"),
        ("columns = [\"a\"]", "has a meaning for `format = \"csv\"` only"),
        ("format = \"raw\"\n[store_config.csv]\nfile_path = \"a.csv\"", "needs `framing`"),
        ("ready = { pattern = \"(\" }", "is no regular expression"),
        ("ready = \"soon\"", "ready"),
    ] {
        let site = script("exit 0", rest).csv();

        let checked = site.cli(&["check", "--config", "configs"]);

        assert_eq!(checked.code, 1, "{rest}: {checked:?}");
        assert!(format!("{}{}", checked.out, checked.err).contains(said), "{rest}: {checked:?}");
    }
}

/// A site with an example of the repository, whose paths are relative to the repository's root.
fn example(name: &str) -> (Site, String) {
    let folder = format!("configs/examples/{name}");
    let site = Site::of_enrgdaq().with_id(&name.replace('-', "_"));
    fs::create_dir_all(site.path(&folder)).unwrap();
    for entry in fs::read_dir(of_the_repo(&folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, site.path(&folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    (site, folder)
}

#[test]
fn the_example_in_shell_works() {
    let (site, folder) = example("exec-shell");
    let mut node = site.start_with(&folder, crate::harness::LogReader::Test);

    node.wait("rows", |_| site.csv_rows("out/counter.csv").len() > 3);

    assert_eq!(node.stop(), 0);
    let rows = site.csv_rows("out/counter.csv");
    assert_eq!(rows[0], ["n", "load"]);
    assert_eq!(rows[1][0], "0");
}

#[test]
fn the_example_in_python_works_with_its_helper() {
    let (site, folder) = example("exec-python");
    let mut node = site.start_with(&folder, crate::harness::LogReader::Test);
    node.wait("rows", |_| site.csv_rows("out/sine.csv").len() > 20);

    node.interrupt();

    assert_eq!(node.wait_exit(), 0);
    assert!(node.log().contains(" samples taken"), "{}", node.log());
    let rows = site.csv_rows("out/sine.csv");
    assert_eq!(rows[0], ["n", "volts"]);
    assert!(column(&rows[1..], 0).iter().enumerate().all(|(n, cell)| **cell == n.to_string()), "{rows:?}");
}

#[test]
fn the_example_in_c_works() {
    let (site, folder) = example("exec-c");
    let compiled = said(
        Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o", "pulses", "pulses.c"])
            .current_dir(site.path(&folder)),
    );
    assert_eq!(compiled.code, 0, "{compiled:?}");
    let mut node = site.start_with(&folder, crate::harness::LogReader::Test);

    node.wait("pulses", |picture| picture.edge("pulses", "memory").arrived > 100);

    wait_for_log(&node, "standard error is the log");
    assert_eq!(node.stop(), 0);
}
