//! Segments that cannot be used are refused by name, with the remedy; an idle ring is quiet.

use crate::common::{RawSegment, TestRing, drain, send, soon};
use enrgdaq_ring::{Control, ControlError, Found, Leftovers, Policy, RingName, SegmentError, Stop, WriterPlan};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn own_name(what: &str) -> RingName {
    RingName::new(&format!("segment-{what}-{}", std::process::id())).unwrap()
}

#[test]
fn a_full_dev_shm_is_an_error_that_says_what_to_do() {
    let mut ring = TestRing::new();

    // More than any machine's /dev/shm; tmpfs refuses it before it fills a page.
    let error =
        Control::add_writer(&mut ring, &WriterPlan { places: 16, ..WriterPlan::new(1, 127 << 30) }).unwrap_err();

    assert!(matches!(error, ControlError::Segment(SegmentError::NoSpace { .. })), "{error}");
    assert!(error.to_string().contains("ring_buffer_size_mb"));
    assert!(ring.name.regions().unwrap().is_empty());
}

#[test]
fn a_squatted_name_is_refused() {
    let name = own_name("squatted");
    let path = format!("/dev/shm/{name}_c");
    std::fs::write(&path, [0; 4096]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();

    let error = Control::open(&name, Leftovers::Discard).unwrap_err();

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(error, ControlError::Segment(SegmentError::Squatted { mode: 0o666, .. })), "{error}");
}

#[test]
fn a_foreign_layout_is_refused_and_discarded_if_asked() {
    let mut ring = TestRing::new();
    RawSegment::open(&format!("{}_c", ring.name)).set_word(1, 999);
    ring.abandon();

    let refused = Control::open(&ring.name, Leftovers::Keep).unwrap_err();
    let (control, found) = Control::open(&ring.name, Leftovers::Discard).unwrap();

    assert!(matches!(refused, ControlError::Segment(SegmentError::ForeignLayout { .. })), "{refused}");
    assert!(refused.to_string().contains("--discard-ring"));
    assert_eq!(found, Found::Discarded { segments: 1, owed: None });
    control.remove().unwrap();
}

#[test]
fn segments_of_another_boot_are_removed_and_counted() {
    let mut ring = TestRing::new();
    ring.add_writer(1, 1 << 16, 16);
    RawSegment::open(&format!("{}_c", ring.name)).set_word(3, 1);
    ring.abandon();

    let (control, found) = Control::open(&ring.name, Leftovers::Keep).unwrap();

    assert_eq!(found, Found::OtherBoot { segments: 2 });
    control.remove().unwrap();
}

#[test]
fn a_control_segment_that_was_never_finished_is_made_again() {
    for length in [0, 4096] {
        let name = own_name(&format!("unfinished-{length}"));
        let path = format!("/dev/shm/{name}_c");
        std::fs::write(&path, vec![0; length]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

        let (control, found) = Control::open(&name, Leftovers::Keep).unwrap();

        assert_eq!(found, Found::Nothing);
        control.remove().unwrap();
    }
}

#[test]
fn an_idle_reader_makes_no_system_call() {
    let mut ring = TestRing::new();
    ring.add_writer(1, 1 << 16, 16);
    ring.add_reader(2, Policy::Lossless, "t");
    let (mut writer, mut reader) = (ring.writer(1), ring.reader(2));
    let (tell, told) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        let stop = Stop::new();
        reader.next(soon(&stop)).unwrap().unwrap().ack();
    });
    let thread = told.recv().unwrap();
    std::thread::sleep(Duration::from_millis(100));

    let before = switches(thread.get());
    std::thread::sleep(Duration::from_millis(500));
    let after = switches(thread.get());
    send(&mut writer, "t", b"wake up");
    sleeper.join().unwrap();

    // Each system call that could wait, and each waking, would be a switch.
    assert_eq!(before, after);
}

fn switches(thread: i32) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    assert!(status.contains("S (sleeping)"), "{status}");
    status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect()
}

const SMALL: &str = "ENRGDAQ_RING_SMALL_SHM";

/// Runs where `/dev/shm` has 16 MB.
#[test]
fn child_with_a_small_dev_shm() {
    if std::env::var(SMALL).is_err() {
        return;
    }
    let mut ring = TestRing::new();
    ring.add_writer(1, 8 << 20, 64);
    ring.add_reader(2, Policy::Lossless, "t");

    let error = Control::add_writer(&mut ring, &WriterPlan::new(3, 8 << 20)).unwrap_err();

    assert!(matches!(error, ControlError::Segment(SegmentError::NoSpace { .. })), "{error}");
    let (mut writer, mut reader) = (ring.writer(1), ring.reader(2));
    let payload = vec![7; 3 << 20];
    for _ in 0..5 {
        send(&mut writer, "t", &payload);
        assert_eq!(drain(&mut reader), [&payload[..]]);
    }
    println!("@refused");
}

#[test]
fn what_fits_into_a_small_dev_shm_works_and_what_does_not_is_refused() {
    let mount = "mount -t tmpfs -o size=16m tmpfs /dev/shm 2>/dev/null && exec \"$0\" \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .arg(std::env::current_exe().unwrap())
        .args(["segments::child_with_a_small_dev_shm", "--exact", "--nocapture"])
        .env(SMALL, "1")
        .output();

    match output {
        Ok(output) if !output.stdout.is_empty() => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("@refused"), "{text} {}", String::from_utf8_lossy(&output.stderr));
        }
        _ => println!("skipped: this user may not mount"),
    }
}
