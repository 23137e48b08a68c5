//! What becomes of rows that meet names, other processes and trouble.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use super::*;

impl Sheets {
    /// How many messages would be lost if it ended here.
    fn messages(&self) -> u64 {
        let waiting = self.waiting.iter().map(|waiting| waiting.messages);
        let open = self.open.values().map(|open| open.sheet.messages());
        waiting.chain(open).sum::<u64>() + self.drafts.len() as u64
    }
}

struct Bench {
    dir: tempfile::TempDir,
    sheets: Sheets,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sheets = Sheets::new(Folder::open(dir.path()).unwrap());
        Self { dir, sheets }
    }

    fn put(&mut self, path: &str, header: &str, lines: &str) -> Round {
        self.sheets.put(target(path, header, false), lines.into())
    }

    fn flush(&mut self) {
        let round = self.sheets.round();
        assert!(round.trouble.is_none() && round.lost.is_empty(), "{round:?}");
        assert_eq!(self.sheets.messages(), 0);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }
}

fn target(path: &str, header: &str, is_compressed: bool) -> Target {
    Target { path: path.into(), form: Form { header: header.into(), is_compressed } }
}

#[test]
fn names_of_one_file_share_it() {
    let mut bench = Bench::new();
    symlink("a.csv", bench.path("link.csv")).unwrap();
    for (path, line) in [("a.csv", "1\n"), ("./a.csv", "2\n"), ("link.csv", "3\n"), ("a.csv", "4\n")] {
        bench.put(path, "x\n", line);
    }

    bench.flush();

    assert_eq!(bench.text("a.csv"), "x\n1\n2\n3\n4\n");
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 2);
}

#[test]
fn other_columns_go_beside_a_file_that_is_not_on_the_disk_yet() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.put("a.csv", "y\n", "2\n");
    bench.put("a_1.csv", "z\n", "3\n");
    bench.put("a.csv", "z\n", "4\n");
    bench.sheets.put(target("a.csv", "x\n", true), b"5\n".into());

    bench.flush();

    let texts = ["a.csv", "a_1.csv", "a_1_1.csv", "a_2.csv"].map(|path| bench.path(path).exists());
    assert_eq!(bench.text("a.csv"), "x\n1\n");
    assert_eq!(bench.text("a_1.csv"), "y\n2\n");
    assert_eq!(bench.text("a_1_1.csv"), "z\n3\n");
    assert_eq!(bench.text("a_2.csv"), "z\n4\n");
    assert!(texts.iter().all(|&there| there));
    assert_eq!(zstd::decode_all(File::open(bench.path("a_3.csv")).unwrap()).unwrap(), b"x\n5\n");
}

#[test]
fn a_file_of_another_process_is_left_alone() {
    let mut bench = Bench::new();
    fs::write(bench.path("a.csv"), "x\n1\n2").unwrap();
    let other = File::open(bench.path("a.csv")).unwrap();
    assert!(lock(&other).unwrap());

    bench.put("a.csv", "x\n", "3\n");
    bench.flush();

    assert_eq!(bench.text("a.csv"), "x\n1\n2");
    assert_eq!(bench.text("a_1.csv"), "x\n3\n");
}

#[test]
fn a_file_that_somebody_deleted_or_moved_is_begun_anew_and_no_waiting_row_is_lost() {
    let mut bench = Bench::new();
    for path in ["deleted.csv", "moved.csv", "cut.csv"] {
        bench.put(path, "x\n", "1\n");
    }
    bench.flush();
    for path in ["deleted.csv", "moved.csv", "cut.csv"] {
        bench.put(path, "x\n", "2\n");
    }
    fs::remove_file(bench.path("deleted.csv")).unwrap();
    fs::rename(bench.path("moved.csv"), bench.path("old.csv")).unwrap();
    File::create(bench.path("cut.csv")).unwrap();

    bench.flush();
    bench.put("moved.csv", "x\n", "3\n");
    bench.put("deleted.csv", "x\n", "3\n");
    bench.flush();

    assert_eq!(bench.text("deleted.csv"), "x\n2\n3\n");
    assert_eq!(bench.text("old.csv"), "x\n1\n2\n");
    assert_eq!(bench.text("moved.csv"), "x\n3\n");
    assert_eq!(bench.text("cut.csv"), "x\n2\n");
}

#[test]
fn trouble_that_lasts_costs_its_own_messages_only() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("dir.csv")).unwrap();
    symlink("loop.csv", bench.path("loop.csv")).unwrap();
    let long = format!("{}/x.csv", "d".repeat(300));

    bench.put("good.csv", "x\n", "1\n");
    bench.sheets.replace(target("dir.csv", "x\n", false), b"1\n");
    bench.sheets.replace(target("whole.csv", "x\n", false), b"1\n");
    let rounds = ["dir.csv", "loop.csv", &long].map(|path| bench.put(path, "x\n", "1\n"));
    let last = bench.sheets.round();

    for round in rounds.iter().chain([&last]) {
        assert!(round.trouble.is_none());
        assert_eq!(round.lost.iter().map(|lost| lost.messages).collect::<Vec<_>>(), [1]);
    }
    assert_eq!(bench.sheets.messages(), 0);
    assert_eq!(bench.text("good.csv"), "x\n1\n");
    assert_eq!(bench.text("whole.csv"), "x\n1\n");
}

#[test]
fn what_the_system_is_short_of_is_waited_for() {
    let failure = |errno: Errno| Failure::Io { path: "a".into(), source: errno.into() };

    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
        assert!(failure(errno).is_passing(), "{errno}");
    }
    for errno in [Errno::ISDIR, Errno::NAMETOOLONG, Errno::LOOP, Errno::XDEV, Errno::ACCESS, Errno::ROFS] {
        assert!(!failure(errno).is_passing(), "{errno}");
    }
}

#[test]
fn more_names_than_may_be_open_lose_nothing() {
    let mut bench = Bench::new();
    for line in ["1\n", "2\n"] {
        for n in 0..=MAX_OPEN {
            bench.put(&format!("{n}.csv"), "x\n", line);
        }
        assert_eq!(bench.sheets.open.len(), MAX_OPEN);
    }

    bench.flush();

    assert!((0..=MAX_OPEN).all(|n| bench.text(&format!("{n}.csv")) == "x\n1\n2\n"));
}
