//! Everything that can be killed or stopped is, at random, under load; in the end the balance is right.
//!
//! `ENRGDAQ_CHAOS_SECONDS` makes it longer, `ENRGDAQ_CHAOS_SEED` repeats a run.

use std::time::{Duration, Instant};

use crate::harness::{Picture, Signal, Site, send};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_committed_is_lost_whatever_is_killed_or_stopped() {
    let seconds = number("ENRGDAQ_CHAOS_SECONDS", 30);
    let seed = number("ENRGDAQ_CHAOS_SEED", fastrand::u64(..));
    println!("ENRGDAQ_CHAOS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let quick = "[supervise]\nrestart_base_seconds = 0.1\nrestart_max_seconds = 0.5";
    let recorder = "daq_job_type = \"DAQJobRecorder\"\npath = \"record\"\nwith_origin = true";
    let site = Site::new().supervisor(quick).job("recorder", recorder);
    std::fs::create_dir(site.path("proof")).unwrap();
    let mut site = site;
    for (name, size) in [("small", 64), ("middle", 5000), ("large", 300_000)] {
        let flood = format!("daq_job_type = \"DAQJobFlood\"\nmessages = 1000000000\nsize = {size}\npause_us = 50");
        site = site.job(name, &format!("{flood}\nproof = \"proof\"\n[store_config.recorder]"));
    }
    let jobs = ["recorder", "small", "middle", "large"];
    let mut node = site.start();
    node.wait_ready(&jobs);

    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        // Nothing is waited for: the moment is to be any.
        std::thread::sleep(Duration::from_millis(random.u64(20..600)));
        let pid = node.try_status().and_then(|picture| picture.pid(jobs[random.usize(..jobs.len())]));
        match random.u8(0..20) {
            0 => {
                node.kill();
                node = site.start();
                node.wait_ready(&["recorder"]);
            }
            1..4 => pause(node.pid(), &mut random),
            4..12 => pid.into_iter().for_each(|pid| pause(pid, &mut random)),
            _ => pid.into_iter().for_each(|pid| send(pid, Signal::KILL)),
        }
    }

    assert_nothing_missing(&node.wait_ready(&jobs), &jobs);
    node.stop();
    let mut node = site.start();
    assert_nothing_missing(&node.wait_ready(&jobs), &jobs);
    assert_eq!(node.stop(), 0, "a quiet run leaves nothing");
    site.check_balance();
}

fn assert_nothing_missing(picture: &Picture, jobs: &[&str]) {
    for source in &jobs[1..] {
        assert_eq!(picture.edge(source, "recorder").missing, 0, "{}", picture.brief());
    }
}

fn pause(pid: u32, random: &mut fastrand::Rng) {
    send(pid, Signal::STOP);
    // Nothing is waited for: it is to be away for any time.
    std::thread::sleep(Duration::from_millis(random.u64(1..400)));
    send(pid, Signal::CONT);
}
