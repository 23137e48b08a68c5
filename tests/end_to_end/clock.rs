//! Somebody sets the clock: injected below the program's own calls, never set.

use std::path::Path;
use std::process::Command;

use crate::harness::{LogReader, Site, wait_until};

const HOUR: i64 = 3600;

/// Compiles the library that shifts the wall clock.
pub(crate) fn shifter(site: &Site) -> String {
    let library = site.path("clock_shift.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clock_shift.c");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(status.expect("there is a C compiler").success());
    library.display().to_string()
}

/// Shifts it by so many seconds.
pub(crate) fn shift(site: &Site, seconds: i64) {
    // In place: it is mapped.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(site.path("shift"));
    file.and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0)).expect("the shift can be written");
}

#[test]
fn a_clock_that_jumps_starts_a_scheduled_job_once_and_disturbs_nobody() {
    let minute = (jiff::Zoned::now().minute() + 30) % 60;
    let keys = format!("[supervise]\nschedule = \"{minute} * * * *\"\nmax_age_seconds = 2\n");
    let failing = "[supervise]\nrestart_base_seconds = 3600\nrestart_max_seconds = 3600\n";
    let site = Site::new().csv().rows(3, 0).difficult("failing", "fails_in_run", failing);
    let text = std::fs::read_to_string(site.path("configs/rows.toml")).unwrap();
    let site = site.job("rows", &format!("{text}\n{keys}"));
    shift(&site, 0);
    let shift_file = site.path("shift").display().to_string();
    let variables = [("LD_PRELOAD", shifter(&site)), ("CLOCK_SHIFT_FILE", shift_file), ("TZ", "UTC".into())];
    let mut node = site.start_with_env(&["--config", "configs"], &variables, LogReader::Test);
    let before = node.wait("all others are where they stay", |picture| {
        picture.state("csv") == "ready"
            && picture.state("rows") == "waiting"
            && picture.state("failing") == "backingoff"
    });

    shift(&site, HOUR);
    node.wait("its time has passed", |picture| picture.edge("rows", "csv").arrived == 3);
    node.wait("it waits for the next", |picture| picture.state("rows") == "waiting");

    shift(&site, -3 * HOUR);
    // Ten heartbeats later nothing more has come of it.
    let started = std::time::Instant::now();
    wait_until("time has passed", crate::harness::DEADLINE, || {
        if started.elapsed().as_secs() >= 10 { Ok(()) } else { Err("not yet".into()) }
    });
    let after = node.status();
    assert_eq!(after.edge("rows", "csv").produced, 3);
    assert_eq!(after.pid("csv"), before.pid("csv"), "no hang was seen: {}", after.brief());
    assert_eq!((after.state("failing"), after.restarts("failing")), ("backingoff", 0));
    assert!(after.job("csv")["stats"]["is_alive"].as_bool().unwrap());
    node.interrupt();
    node.wait_exit();
}
