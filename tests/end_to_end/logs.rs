//! Logs: a file for each job, what `enrgdaq logs` shows, and what becomes of it when disks do not take it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{
    FrozenDisk, LogReader, Node, Picture, Signal, Site, SmallDisk, memory_peak_mb, said, send, wait_for, wait_until,
};

/// The supervisor's memory stays below this whatever jobs say.
const MOST_MB: u64 = 60;

/// What became of a job's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    lines: u64,
    written: u64,
    dropped: u64,
}

fn counts(picture: &Picture, job: &str) -> Counts {
    let count = |key: &str| picture.job(job)["log"][key].as_u64().expect("a job counts its lines");
    Counts { lines: count("lines"), written: count("written"), dropped: count("dropped") }
}

/// Waits until each line of a job that has ended was written or dropped.
fn settled(node: &mut Node<'_>, job: &str) -> Counts {
    let picture = node.wait("nothing waits for the disk any more", |picture| {
        let Counts { lines, written, dropped } = counts(picture, job);
        picture.state(job) == "exited" && lines > 0 && lines == written + dropped
    });
    counts(&picture, job)
}

fn shouter(megabytes: usize, line: usize) -> String {
    format!("daq_job_type = \"DAQJobShout\"\nmegabytes = {megabytes}\nline = {line}\nto = \"stdout\"")
}

/// Log files in `logs/`.
fn in_logs(rest: &str) -> String {
    format!("[logs]\ndir = \"logs\"\n{rest}")
}

fn read(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Number of lines that a file says were dropped.
fn told_in(text: &str) -> u64 {
    let told = text.lines().filter_map(|line| line.split_once("… ")?.1.strip_suffix(" lines dropped"));
    told.map(|number| number.replace(',', "").parse::<u64>().expect("it is a number")).sum()
}

#[test]
fn every_job_has_a_file_and_the_supervisor_one_with_all() {
    let site =
        Site::new().job("shout", &shouter(0, 0)).difficult("bad", "fails_in_run", "[supervise]\nrestart = \"never\"");
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs(""));
    let mut node = site.start();
    settled(&mut node, "shout");
    node.wait("it has failed", |picture| picture.state("bad") == "exited");

    assert_eq!(node.stop(), 1, "a job failed");

    let (shout, bad, all) =
        (read(logs.join("shout.log")), read(logs.join("bad.log")), read(logs.join("supervisor.log")));
    assert!(shout.contains(" INFO    next to last words\n") && !shout.contains("cable"), "{shout}");
    assert!(bad.contains(" ERROR   ") && bad.contains("the cable is broken"), "{bad}");
    assert!(all.contains(" INFO    [shout] last words\n") && all.contains(" ERROR   [bad] "), "{all}");
    assert!(all.lines().last().unwrap().contains("stopped"), "to its last word: {all}");
    let mode = fs::metadata(logs.join("shout.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "not for all users");
}

#[test]
fn without_a_folder_they_lie_in_the_state_directory_and_with_0_mb_nowhere() {
    let site = Site::new().job("shout", &shouter(0, 0));
    let mut node = site.start();
    settled(&mut node, "shout");
    node.stop();
    let found =
        fs::read_dir(site.path("state/enrgdaq")).unwrap().flatten().next().expect("there is a directory").path();
    assert!(read(found.join("logs/shout.log")).contains("last words"));
    fs::remove_dir_all(site.path("state")).unwrap();
    let site = site.supervisor("[logs]\nmax_mb = 0");
    let mut node = site.start();

    let picture = node.wait("it has said all", |picture| counts(picture, "shout").lines == 3);

    assert_eq!(counts(&picture, "shout"), Counts { lines: 3, written: 0, dropped: 0 });
    node.stop();
    let of_state = fs::read_dir(site.path("state/enrgdaq")).unwrap().flatten().next().expect("there is a directory");
    assert!(!of_state.path().join("logs").exists());
}

#[test]
fn in_json_each_line_is_an_object() {
    let site = Site::new().job("shout", &shouter(0, 0));
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs("format = \"json\""));
    let mut node = site.start();
    settled(&mut node, "shout");
    node.stop();

    for (file, job) in [("shout.log", Value::Null), ("supervisor.log", "shout".into())] {
        let text = read(logs.join(file));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        let last = lines.iter().find(|line| line["message"] == "last words").expect("it is there");
        assert_eq!((&last["level"], &last["job"], &last["module"]), (&"INFO".into(), &job, &"output".into()));
        assert!(last["timestamp"].as_str().unwrap().len() > 25, "{last}");
    }
}

#[test]
fn files_are_put_aside_and_no_line_is_torn_or_lost_between_them() {
    let site = Site::new().job("shout", &shouter(5, 100));
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs("max_mb = 1\nkeep = 20"));
    let mut node = site.start();
    let counts = settled(&mut node, "shout");

    let files: Vec<_> = (0..20).map(|n| if n == 0 { "shout.log".into() } else { format!("shout.log.{n}") }).collect();
    let texts: Vec<_> = files.iter().map(|file| read(logs.join(file))).filter(|text| !text.is_empty()).collect();

    assert!((5..=9).contains(&texts.len()), "{} files", texts.len());
    assert!(texts.iter().all(|text| text.len() < (1 << 20) + 200_000));
    let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).collect();
    let shouts = lines.iter().filter(|line| line.len() == 32 + 99 && line.ends_with("xxx")).count();
    let told = lines.iter().filter(|line| line.ends_with(" lines dropped")).count();
    assert_eq!(lines.len() as u64 - told as u64, counts.written);
    assert_eq!(shouts + told + 3, lines.len(), "each is whole");
    assert_eq!(texts.iter().map(|text| told_in(text)).sum::<u64>(), counts.dropped);
}

#[test]
fn under_a_gigabyte_with_a_full_disk_the_job_runs_on_and_each_dropped_line_is_counted() {
    const LINES: u64 = 10_000_000 + 3;
    let site = Site::new().csv().rows(1_000_000, 10_000).job("shout", &shouter(1000, 100));
    let disk = SmallDisk::mount(site.path("logs"));
    disk.fill(1024);
    let site = site.supervisor(&in_logs("max_mb = 100"));
    let mut node = site.start();
    let begun = Instant::now();
    let before = node.wait_ready(&["rows"]).edge("rows", "csv").arrived;

    node.wait("it has said all and ended", |picture| picture.state("shout") == "exited");
    let seconds = begun.elapsed().as_secs_f64();
    let full = settled(&mut node, "shout");

    assert_eq!((full.lines, full.written + full.dropped), (LINES, LINES));
    let text = read(site.path("logs/shout.log"));
    let told = text.lines().filter(|line| line.ends_with(" lines dropped")).count();
    assert_eq!((text.lines().count() - told) as u64, full.written, "what counts as written is there");
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("20")), "no line is torn");
    let picture = node.wait("data goes on", |picture| picture.edge("rows", "csv").arrived > before + 10);
    assert_eq!(picture.restarts("rows") + picture.restarts("csv"), 0);
    let told: Vec<_> = picture.alerts().into_iter().filter(|alert| alert.contains("lines are dropped")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    disk.free();

    let over = node.wait("it is over", |picture| picture.has_alert("log files are written again"));

    let text = read(site.path("logs/shout.log"));
    assert_eq!(told_in(&text), full.dropped, "the file says how many are missing");
    let end = over.alerts().into_iter().find(|alert| alert.contains("written again")).unwrap().replace(',', "");
    assert!(end.contains(&format!("shout {}", full.dropped)), "{end}, not {}", full.dropped);
    let peak = memory_peak_mb(node.pid());
    println!("1 GB in {seconds:.1} s, {} of {LINES} lines dropped, at most {peak} MB", full.dropped);
    assert!(peak < MOST_MB, "the supervisor once had {peak} MB");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_disk_with_room_again_is_written_again_and_the_file_has_no_half_line() {
    let site = Site::new().job("shout", &shouter(20, 1000));
    let disk = SmallDisk::mount(site.path("logs"));
    disk.fill(300);
    let site = site.supervisor(&in_logs("max_mb = 100"));
    let mut node = site.start();
    let first = settled(&mut node, "shout");
    assert!(first.dropped > 1000, "{first:?}");
    disk.free();
    node.wait("it is over", |picture| picture.has_alert("log files are written again"));
    // Less than the disk has room for now.
    site.write("configs/shout.toml", "");

    let text = read(site.path("logs/shout.log"));

    assert_eq!(told_in(&text), first.dropped);
    let is_whole = |line: &&str| line.ends_with(" lines dropped") || line.ends_with(" words") || line.len() == 32 + 999;
    let odd: Vec<_> = text.lines().filter(|line| !is_whole(line)).collect();
    // The empty line before the last words.
    assert!(odd.len() <= 1, "{odd:?}");
}

#[test]
fn a_folder_that_cannot_be_written_stops_nobody_and_is_told_once() {
    let site = Site::new().csv().rows(1000, 1000).job("shout", &shouter(1, 100));
    site.write("logs", "this is no folder");
    let site = site.supervisor(&in_logs(""));
    let mut node = site.start();

    let counts = settled(&mut node, "shout");
    let picture = node.wait("data arrives", |picture| picture.edge("rows", "csv").arrived == 1000);

    assert_eq!((counts.lines, counts.written), (10_003, 0));
    let told: Vec<_> = picture.alerts().into_iter().filter(|alert| alert.contains("lines are dropped")).collect();
    assert!(told.len() == 1 && told[0].contains("logs") && told[0].contains("cannot be written"), "{told:?}");
    assert!(site.cli(&["status"]).out.contains("10,003 lines of shout are missing"), "{}", site.cli(&["status"]).out);
    fs::remove_file(site.path("logs")).unwrap();
    node.wait("it is over", |picture| picture.has_alert("log files are written again"));
    assert_eq!(told_in(&read(site.path("logs/shout.log"))), 10_003);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_afterwards_every_line_is_accounted_for() {
    let site = Site::new().csv().rows(1_000_000, 10_000).job("shout", &shouter(50, 100));
    let disk = FrozenDisk::mount(&site.path("image"), site.path("logs"));
    let site = site.supervisor(&in_logs("max_mb = 100"));
    let mut node = site.start();
    // Thawed first, whatever happens: nobody who waits for a frozen disk can be killed.
    let disk = disk;
    let before = node.wait_ready(&["rows"]).edge("rows", "csv").arrived;

    let hanging = node.wait("it has said all, and lines are dropped", |picture| {
        picture.state("shout") == "exited" && counts(picture, "shout").dropped > 0
    });
    node.wait("data goes on", |picture| picture.edge("rows", "csv").arrived > before + 10);
    assert_eq!(counts(&hanging, "shout").written, 0);
    disk.thaw();

    let counts = settled(&mut node, "shout");
    node.wait("it is over", |picture| picture.has_alert("log files are written again"));
    let text = read(site.path("logs/shout.log"));
    assert_eq!((counts.lines, told_in(&text)), (500_003, counts.dropped));
    assert!(text.ends_with(" last words\n"), "what it said last is what was kept");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_pipe_in_the_place_of_a_log_holds_up_nobody() {
    let site = Site::new().csv().rows(1_000_000, 10_000).job("shout", &shouter(50, 100));
    fs::create_dir(site.path("logs")).unwrap();
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs(""));
    assert_eq!(said(Command::new("mkfifo").arg(logs.join("shout.log"))).code, 0);
    let mut node = site.start();
    let before = node.wait_ready(&["rows"]).edge("rows", "csv").arrived;

    let counts = settled(&mut node, "shout");
    node.wait("data goes on", |picture| picture.edge("rows", "csv").arrived > before + 10);

    assert_eq!(counts.written, 0, "a pipe is no log file");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_log_that_somebody_moved_is_begun_anew() {
    let site = Site::new().job("words", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"fails_in_run\"\n[supervise]\nrestart_base_seconds = 0.3\nrestart_max_seconds = 0.3");
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs(""));
    let node = site.start();
    wait_for("it has said something", || read(logs.join("words.log")).contains("cable"));

    fs::rename(logs.join("words.log"), logs.join("theirs")).unwrap();

    wait_for("there is a new one", || read(logs.join("words.log")).contains("cable"));
    assert_eq!(read(logs.join("words.log")).lines().filter(|line| line.contains("dropped")).count(), 0);
    drop(node);
}

#[test]
fn logs_shows_one_job_or_all_or_the_supervisor() {
    let site = Site::new().job("one", &shouter(0, 0)).job("two", &shouter(0, 0));
    let mut node = site.start();
    settled(&mut node, "one");
    settled(&mut node, "two");

    let (one, all) = (site.cli(&["logs", "one"]), site.cli(&["logs"]));
    let (own, newest) = (site.cli(&["logs", "supervisor"]), site.cli(&["logs", "one", "-n", "1"]));
    let (json, wrong) = (site.cli(&["logs", "one", "--json"]), site.cli(&["logs", "onr"]));

    assert!(one.out.ends_with(" last words\n") && !one.out.contains('['), "{one:?}");
    assert!(all.out.contains("[one] last words") && all.out.contains("[two] last words"), "{all:?}");
    assert!(all.out.contains("[supervisor] ") && all.out.contains("takes data"), "{all:?}");
    assert!(own.out.contains("takes data") && !own.out.contains("last words"), "{own:?}");
    assert!(newest.out.starts_with("… 2 older lines\n") && newest.out.lines().count() == 2, "{newest:?}");
    let objects: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(objects.len() == 3 && objects[2]["message"] == "last words" && objects[2]["job"] == "one", "{json:?}");
    assert!(wrong.code == 1 && wrong.err.contains("did you mean `one`?"), "{wrong:?}");
}

#[test]
fn logs_since_a_time_says_where_older_lines_are() {
    let site = Site::new().job("shout", &shouter(1, 100));
    let mut node = site.start();
    settled(&mut node, "shout");

    let (recent, future) =
        (site.cli(&["logs", "shout", "--since", "1h"]), site.cli(&["logs", "shout", "--since", "2100-01-01"]));
    let wrong = site.cli(&["logs", "shout", "--since", "yesterday"]);

    let first = recent.out.lines().next().unwrap();
    assert!(first.contains("older lines") && first.ends_with("logs/shout.log"), "{first}");
    assert!(recent.out.lines().count() > 1000, "all that are in memory");
    assert_eq!(future.out, "nothing was said since\n");
    assert!(wrong.code == 2 && wrong.err.contains("write 10m"), "{wrong:?}");
}

#[test]
fn followed_logs_come_as_they_are_said_until_the_supervisor_ends() {
    let site = Site::new().difficult("words", "good", "");
    let mut node = site.start();
    node.wait_ready(&["words"]);
    let mut tail = site.command(&["logs", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("takes data")), "what there was before comes first");

    assert_eq!(site.cli(&["restart", "words"]).code, 0);

    let mut next = || lines.next().expect("it goes on");
    wait_until("the restart is shown", crate::harness::DEADLINE, || {
        let line = next();
        if line.contains("[words] ready") { Ok(()) } else { Err(line) }
    });
    node.stop();
    let mut said = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(tail.wait().unwrap().success() && said.contains("the supervisor has ended"), "{said}");
}

#[test]
fn followed_logs_end_by_ctrl_c_and_when_nobody_reads() {
    let site = Site::new().difficult("words", "good", "");
    let mut node = site.start();
    node.wait_ready(&["words"]);
    for signal in [Some(Signal::INT), None] {
        let mut tail = site.command(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(tail.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty());

        match signal {
            Some(signal) => send(tail.id(), signal),
            None => drop(out),
        }

        let status = wait_until("it ends", crate::harness::DEADLINE, || {
            tail.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        assert!(status.success(), "{signal:?}: {status}");
    }
}

#[test]
fn who_follows_a_flood_is_told_how_many_lines_it_missed() {
    let site = Site::new().job("shout", &shouter(200, 100));
    let mut node = site.start();
    node.wait("it answers", |_| true);
    let mut tail = site.command(&["logs", "shout", "-f", "-n", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(tail.stdout.take().unwrap());
    let (mut shown, mut missed) = (0, 0);

    for line in out.lines().map_while(Result::ok) {
        match line.strip_prefix("… ") {
            Some(told) => missed += told.split(' ').next().unwrap().parse::<u64>().unwrap(),
            None => shown += 1,
        }
        if line.ends_with(" last words") && !line.contains("next to") {
            break;
        }
    }

    send(tail.id(), Signal::INT);
    tail.wait().unwrap();
    let picture = node.wait("it has ended", |picture| picture.state("shout") == "exited");
    assert_eq!(shown + missed, counts(&picture, "shout").lines);
}

#[test]
fn a_job_that_ends_says_its_last_words_even_to_a_supervisor_whose_log_nobody_reads() {
    let site = Site::new().job("shout", &shouter(30, 100));
    let logs = site.path("logs");
    let site = site.supervisor(&in_logs("max_mb = 100"));
    let mut node = site.start_with("configs", LogReader::Nobody);
    let counts = settled(&mut node, "shout");

    assert_eq!(node.stop(), 0);

    assert_eq!(counts.lines, 300_003);
    assert!(read(logs.join("shout.log")).ends_with(" last words\n"));
}

#[test]
fn all_that_is_in_memory_since_a_time_is_shown_and_where_the_rest_is() {
    // Each has at least 1000 lines in memory.
    let names: Vec<_> = (0..12).map(|n| format!("shout{n}")).collect();
    let site = names.iter().fold(Site::new(), |site, name| site.job(name, &shouter(1, 100)));
    let site = site.supervisor(&in_logs(""));
    let mut node = site.start();
    for name in &names {
        settled(&mut node, name);
    }

    let shown = site.cli(&["logs", "--since", "1h"]);
    let newest = site.cli(&["logs", "--since", "1h", "-n", "11000"]);

    let head = shown.out.lines().next().unwrap();
    assert!(head.ends_with("those before these are in logs/supervisor.log"), "{head}");
    for name in &names {
        let count = shown.out.lines().filter(|line| line.contains(&format!("[{name}]"))).count();
        assert!(count >= 1000, "{count} of {name}");
    }
    let lines: Vec<_> = shown.out.lines().skip(1).collect();
    let least: Vec<_> = newest.out.lines().skip(1).collect();
    assert!(lines.len() > 11_000 && lines.ends_with(&least), "{} and {}", lines.len(), least.len());
    assert_eq!(least.len(), 11_000);
    assert_eq!(node.stop(), 0);

    site.write("configs/shout0.toml", "daq_job_type = \"DAQJobDifficult\"\nbehaviour = \"good\"");
    let mut node = site.start();
    node.wait_ready(&["shout0"]);
    let shown = site.cli(&["logs", "shout0", "--since", "1h"]);
    assert!(shown.out.starts_with("… what was said before 20"), "{}", shown.out);
    let head = shown.out.lines().next().unwrap();
    assert!(head.ends_with("when the supervisor began, is in logs/shout0.log"), "{head}");
    node.interrupt();
    assert_eq!(node.wait_exit(), 0);
}
