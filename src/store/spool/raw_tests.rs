//! What a link gets from the spool: bodies, read ahead and released one by one.

use std::os::unix::fs::FileExt;

use super::tests::{files, opened};
use super::*;

/// A body of that number, in two parts; each number another length, so that a place that is wrong is seen.
fn append_body(spool: &mut Spool, number: u8, len: usize) {
    spool.append_raw(&[&[], &[number], &vec![number; len + usize::from(number)]]).unwrap();
}

/// The bodies that are left to read, by their numbers, and where each stands.
fn bodies(spool: &mut Spool) -> Vec<(u8, Mark)> {
    let mut found = Vec::new();
    while let Some(read) = spool.next_raw().unwrap() {
        let RawRead::Body { at, bytes } = read else { panic!("{read:?}") };
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        found.push((bytes[0], at));
    }
    found
}

fn numbers_of(bodies: &[(u8, Mark)]) -> Vec<u8> {
    bodies.iter().map(|(number, _)| *number).collect()
}

#[test]
fn a_body_comes_back_as_one_whatever_its_parts_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    let large = vec![7; 5 << 20];
    for parts in [&[b"a".as_slice(), b"", b"bc", b""][..], &[&large, b"x"], &[b"abc"]] {
        spool.append_raw(parts).unwrap();
    }
    let many: Vec<_> = (0..3000).map(|_| b"y".as_slice()).collect();
    spool.append_raw(&many).unwrap();

    let read: Vec<_> = std::iter::from_fn(|| spool.next_raw().unwrap()).collect();

    let bytes = read.into_iter().map(|read| match read {
        RawRead::Body { bytes, .. } => bytes,
        RawRead::Unreadable { .. } => panic!("{read:?}"),
    });
    let bytes: Vec<_> = bytes.collect();
    assert_eq!(bytes, [b"abc".as_slice(), &[large, b"x".to_vec()].concat(), b"abc", &[b'y'; 3000]]);
}

#[test]
fn nothing_is_no_body() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);

    for parts in [&[][..], &[b"".as_slice(), b""]] {
        assert!(spool.append_raw(parts).is_err());
    }

    assert!(spool.is_empty() && files(&dir) == 0);
}

#[test]
fn a_body_is_read_again_where_it_stands_without_moving() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..6).for_each(|number| append_body(&mut spool, number, 20 << 20));
    let read = bodies(&mut spool);
    append_body(&mut spool, 6, 10);

    let again = |spool: &mut Spool, at| spool.read(at).unwrap().map(|body| (body[0], body.len()));
    for (number, at) in read.iter().rev() {
        assert_eq!(again(&mut spool, *at), Some((*number, (20 << 20) + usize::from(*number) + 1)));
    }
    spool.release(read[4].1);

    assert_eq!(again(&mut spool, read[0].1), None, "its segment is gone");
    assert_eq!(again(&mut spool, read[5].1).unwrap().0, 5);
    assert_eq!(numbers_of(&bodies(&mut spool)), [6]);
}

#[test]
fn what_is_released_is_not_read_again_and_its_segments_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..10).for_each(|number| append_body(&mut spool, number, 20 << 20));
    let all = spool.bytes();
    let read = bodies(&mut spool);
    assert_eq!((numbers_of(&read), files(&dir)), ((0..10).collect(), 3));
    assert_eq!((spool.waiting_bytes(), spool.unread()), (all, 0));

    spool.release(read[5].1);
    spool.release(read[2].1);

    assert_eq!(files(&dir), 2, "in the second one two wait");
    let of = |numbers: std::ops::Range<u64>| numbers.map(|n| (20 << 20) + n + 9).sum::<u64>();
    assert_eq!((spool.waiting_bytes(), spool.bytes()), (of(6..10), of(4..10)));
    assert!(spool.is_read() && !spool.is_empty());
    spool.rewind();
    assert_eq!((spool.unread(), spool.is_read()), (of(6..10), false));
    assert_eq!(numbers_of(&bodies(&mut spool)), [6, 7, 8, 9]);
    drop(spool);
    let mut spool = opened(&dir, u64::MAX);
    assert_eq!(spool.waiting_bytes(), of(4..10), "the next process reads whole segments");
    assert_eq!(numbers_of(&bodies(&mut spool)), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_spool_from_which_all_is_released_takes_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    for round in 0..3 {
        (0..3).for_each(|number| append_body(&mut spool, number, 100));
        let read = bodies(&mut spool);
        read.iter().for_each(|(_, at)| spool.release(*at));

        assert!(spool.is_empty() && spool.is_read() && spool.sync().is_ok(), "{round}");
        assert_eq!((spool.bytes(), spool.waiting_bytes(), spool.unread(), files(&dir)), (0, 0, 0, 0));
        read.iter().for_each(|(_, at)| spool.release(*at));
    }
    append_body(&mut spool, 7, 100);
    assert_eq!(numbers_of(&bodies(&mut spool)), [7]);
}

#[test]
fn what_is_appended_behind_what_is_released_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..3).for_each(|number| append_body(&mut spool, number, 100));
    let read = bodies(&mut spool);
    spool.release(read[1].1);
    append_body(&mut spool, 3, 100);
    spool.sync().unwrap();

    spool.release(read[2].1);

    assert_eq!(spool.waiting_bytes(), 8 + 1 + 103);
    assert_eq!(numbers_of(&bodies(&mut spool)), [3]);
}

#[test]
fn who_reads_again_from_the_beginning_passes_over_what_is_released_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = opened(&dir, u64::MAX);
    (0..4).for_each(|number| append_body(&mut spool, number, 100));
    let read = bodies(&mut spool);
    spool.rewind();

    spool.release(read[1].1);

    assert_eq!(numbers_of(&bodies(&mut spool)), [2, 3]);
}

#[test]
fn after_a_crash_all_is_read_but_what_was_cut_short() {
    for torn in [1, 8, 50] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = opened(&dir, u64::MAX);
        (0..4).for_each(|number| append_body(&mut spool, number, 100));
        let read = bodies(&mut spool);
        spool.release(read[0].1);
        let (path, len) = (spool.segments[0].path.clone(), spool.bytes());
        drop(spool);
        File::options().write(true).open(&path).unwrap().set_len(len - torn).unwrap();

        let mut spool = opened(&dir, u64::MAX);
        append_body(&mut spool, 9, 100);

        assert_eq!(numbers_of(&bodies(&mut spool)), [0, 1, 2, 9], "{torn}");
    }
}

#[test]
fn a_segment_with_a_damaged_rest_is_kept_aside_as_soon_as_what_is_before_it_is_released() {
    for released in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = opened(&dir, u64::MAX);
        (0..6).for_each(|number| append_body(&mut spool, number, 20 << 20));
        let damage = spool.segments[0].len / 2 + 1000;
        spool.segments[0].file.write_all_at(b"changed", damage).unwrap();
        let mut next = || spool.next_raw().unwrap().unwrap();
        let before = [next(), next()].map(|read| match read {
            RawRead::Body { at, .. } => at,
            RawRead::Unreadable { .. } => panic!("{read:?}"),
        });
        before.iter().take(released).for_each(|at| spool.release(*at));

        let RawRead::Unreadable { path, .. } = spool.next_raw().unwrap().unwrap() else { panic!("it was changed") };

        assert_eq!(path.exists(), released == 2);
        assert_eq!(numbers_of(&bodies(&mut spool)), [4, 5]);
        spool.release(before[1]);
        assert!(path.exists() && spool.segments.len() == 1);
        assert_eq!(spool.waiting_bytes(), spool.bytes(), "of the second one nothing is released");
    }
}
