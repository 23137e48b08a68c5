//! What the spool gives back, whatever befell it.

use std::os::unix::fs::FileExt;

use super::*;
use crate::message::{Message, MessageId, Payload, PayloadKind, StoreRaw};

fn message(seq: u64, len: usize) -> Delivery {
    let bytes = (0..len).map(|n| u8::try_from((n + usize::try_from(seq).unwrap()) % 251).unwrap()).collect();
    let payload = Payload { kind: PayloadKind::Raw, bytes };
    Delivery::made(&Message::of(&StoreRaw {}).unwrap().with_payload(payload), MessageId { epoch: 1, seq }, 5).unwrap()
}

pub(super) fn opened(dir: &tempfile::TempDir, limit: u64) -> Spool {
    Spool::open(dir.path().join("spool"), limit).unwrap()
}

/// The numbers of the messages that are left to read; each has the bytes that it was given.
fn rest(spool: &mut Spool) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(read) = spool.next().unwrap() {
        let Read::Message(delivery) = read else { panic!("{read:?}") };
        let (seq, payload) = (delivery.id().seq, delivery.payload(0).unwrap());
        assert_eq!(payload, message(seq, payload.len()).payload(0).unwrap());
        numbers.push(seq);
    }
    numbers
}

pub(super) fn files(dir: &tempfile::TempDir) -> usize {
    fs::read_dir(dir.path().join("spool")).map_or(0, Iterator::count)
}

#[test]
fn what_was_appended_is_read_in_its_order_also_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..5).for_each(|seq| spool.append(&message(seq, 1000)).unwrap());
    assert_eq!(rest(&mut spool), [0, 1, 2, 3, 4]);
    spool.rewind();
    assert_eq!(rest(&mut spool), [0, 1, 2, 3, 4]);
    drop(spool);

    let mut spool = opened(&dir, u64::MAX);
    spool.append(&message(5, 0)).unwrap();

    assert_eq!(rest(&mut spool), [0, 1, 2, 3, 4, 5]);
    spool.done().unwrap();
    assert!(spool.is_empty() && files(&dir) == 0);
    assert!(opened(&dir, u64::MAX).is_empty());
}

#[test]
fn a_segment_goes_when_all_of_it_is_done_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..10).for_each(|seq| spool.append(&message(seq, 20 << 20)).unwrap());
    assert_eq!(files(&dir), 3, "four messages a segment");
    for _ in 0..6 {
        spool.next().unwrap().unwrap();
    }

    spool.done().unwrap();

    assert_eq!(files(&dir), 2);
    assert_eq!(rest(&mut spool), [6, 7, 8, 9]);
    spool.rewind();
    assert_eq!(rest(&mut spool), [6, 7, 8, 9]);
    assert_eq!(rest(&mut opened(&dir, u64::MAX)), [4, 5, 6, 7, 8, 9], "the next process reads whole segments");
}

#[test]
fn a_torn_end_is_cut_off_and_what_is_before_it_stays() {
    for torn in [1, 7, 8, 500] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = opened(&dir, u64::MAX);
        (0..3).for_each(|seq| spool.append(&message(seq, 1000)).unwrap());
        let (path, len) = (spool.segments[0].path.clone(), spool.bytes());
        drop(spool);
        File::options().write(true).open(&path).unwrap().set_len(len - torn).unwrap();

        let mut spool = opened(&dir, u64::MAX);
        spool.append(&message(9, 10)).unwrap();

        assert_eq!(rest(&mut spool), [0, 1, 9], "{torn}");
    }
}

#[test]
fn zeros_at_the_end_are_no_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    spool.append(&message(0, 10)).unwrap();
    let path = spool.segments[0].path.clone();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(spool.bytes() + 4096).unwrap();

    assert_eq!(rest(&mut opened(&dir, u64::MAX)), [0]);
}

#[test]
fn what_somebody_changed_within_the_last_segment_is_not_cut_off_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..3).for_each(|seq| spool.append(&message(seq, 1000)).unwrap());
    let third = spool.bytes() / 3;
    spool.segments[0].file.write_all_at(b"changed", third + 500).unwrap();
    drop(spool);

    let mut spool = opened(&dir, u64::MAX);
    spool.append(&message(9, 10)).unwrap();
    let reads: Vec<_> = std::iter::from_fn(|| spool.next().unwrap()).collect();

    let told = matches!(&reads[1], Read::Unreadable { bytes, .. } if *bytes == 2 * third);
    assert!(told && reads.len() == 3, "{reads:?}");
    spool.done().unwrap();
    assert!(spool.is_empty() && files(&dir) == 1, "kept for whoever can read it");
}

#[test]
fn what_somebody_changed_is_told_and_costs_its_segment_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..8).for_each(|seq| spool.append(&message(seq, 20 << 20)).unwrap());
    let segment = &spool.segments[0];
    let (start, len) = (2 * segment.len / 4, segment.len);
    segment.file.write_all_at(b"changed", start + 1000).unwrap();

    let reads: Vec<_> = std::iter::from_fn(|| spool.next().unwrap()).collect();

    let lost = reads.iter().find_map(|read| match read {
        Read::Unreadable { bytes, .. } => Some(*bytes),
        Read::Message(_) => None,
    });
    assert_eq!(lost, Some(len - start));
    assert_eq!(reads.len(), 2 + 1 + 4);
}

#[test]
fn a_message_that_nobody_understands_costs_itself_only_and_its_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    spool.append(&message(0, 10)).unwrap();
    // Of another version, but whole.
    spool.append_raw(&[b"not what this version writes"]).unwrap();
    spool.append(&message(2, 10)).unwrap();

    let reads: Vec<_> = std::iter::from_fn(|| spool.next().unwrap()).collect();

    assert!(matches!(&reads[..], [Read::Message(_), Read::Unreadable { .. }, Read::Message(_)]), "{reads:?}");
    spool.done().unwrap();
    assert!(spool.is_empty());
    let Read::Unreadable { path, .. } = &reads[1] else { unreachable!() };
    assert!(path.exists() && opened(&dir, u64::MAX).is_empty());
}

#[test]
fn it_takes_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, 2500);

    let taken = (0..5).map(|seq| spool.append(&message(seq, 1000)).is_ok()).collect::<Vec<_>>();

    assert_eq!(taken, [true, true, false, false, false]);
    assert_eq!(rest(&mut spool), [0, 1]);
    spool.done().unwrap();
    assert!(spool.append(&message(5, 1000)).is_ok(), "there is room again");
    assert!(opened(&tempfile::tempdir().unwrap(), 0).append(&message(0, 0)).is_err());
}

#[test]
fn what_is_cut_off_is_kept_beside() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..3).for_each(|seq| spool.append(&message(seq, 1000)).unwrap());
    let (path, third) = (spool.segments[0].path.clone(), spool.bytes() / 3);
    // A length that leads beyond the end: nobody can tell it from a torn message.
    spool.segments[0].file.write_all_at(&[0xff; 4], third).unwrap();
    drop(spool);

    assert_eq!(rest(&mut opened(&dir, u64::MAX)), [0]);
    assert_eq!(fs::metadata(path.with_extension(TORN)).unwrap().len(), 2 * third);
}

#[test]
fn a_segment_that_cannot_be_removed_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    spool.append(&message(0, 10)).unwrap();
    let path = spool.segments[0].path.clone();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(rest(&mut spool), [0]);

    assert!(spool.done().is_err() && spool.is_empty());
    spool.append(&message(1, 10)).unwrap();
    assert_eq!(rest(&mut spool), [1]);
}

#[test]
fn a_name_that_is_taken_costs_one_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    fs::create_dir_all(spool.path(1)).unwrap();

    assert!(spool.append(&message(0, 10)).is_err());
    spool.append(&message(0, 10)).unwrap();

    assert_eq!(rest(&mut spool), [0]);
}
