//! What becomes of pieces that meet names, other processes, trouble and crashes.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::message::{Message, MessageId, Payload, PayloadKind, StoreRaw};

/// Rows are the bytes of a raw message; the header stands in the target.
#[derive(Debug)]
struct Lines;

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct LinesTarget {
    file_path: String,
    header: String,
    overwrite: bool,
    use_zstd: bool,
}

impl FileFormat for Lines {
    const TYPE: &'static str = "DAQJobStoreLines";
    const BACKEND: &'static str = "lines";
    type Target = LinesTarget;

    fn file(target: &LinesTarget) -> FileWish<'_> {
        FileWish { file_path: &target.file_path, ending: "", add_date: false, overwrite: target.overwrite }
    }

    fn encode(target: &LinesTarget, message: &mut Delivery, out: &mut Vec<u8>) -> Result<Encoded, Refused> {
        out.extend_from_slice(message.payload(0).unwrap());
        let header = target.header.clone().into_bytes();
        Ok(Encoded { form: Form { header, is_compressed: target.use_zstd, has_records: true }, rows: 1 })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    sink: Files<Lines>,
    batch: FileBatch,
    marks: Marks,
    seq: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with("{}")
    }

    fn with(keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config: FilesConfig = serde_json::from_str(keys).unwrap();
        config.out_dir = dir.path().into();
        let home = Home { name: "me".into(), unique_id: "me".into(), state_dir: dir.path().join("state") };
        let mut sink = Files::open(config, &home).unwrap();
        let marks = sink.resume().unwrap();
        Self { dir, sink, batch: FileBatch::default(), marks, seq: 0 }
    }

    fn put_to(&mut self, target: &LinesTarget, line: &str) {
        let payload = Payload { kind: PayloadKind::Raw, bytes: line.into() };
        let id = MessageId { epoch: 7, seq: self.seq };
        let message = Message::of(&StoreRaw {}).unwrap().with_payload(payload);
        self.seq += 1;
        self.marks.raise(id);
        Files::<Lines>::put(&mut self.batch, target, &mut Delivery::made(&message, id, 0).unwrap()).unwrap();
    }

    fn put(&mut self, path: &str, header: &str, line: &str) {
        self.put_to(&target(path, header), line);
    }

    fn try_commit(&mut self) -> Result<Report, Trouble> {
        let batch = std::mem::take(&mut self.batch);
        self.sink.commit(batch, &self.marks)
    }

    fn commit(&mut self) {
        let report = self.try_commit().unwrap();
        assert!(report.lost.is_empty(), "{report:?}");
    }

    /// Ends without a word, and begins anew.
    fn crash(&mut self) {
        self.marks = self.sink.resume().unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }
}

fn target(path: &str, header: &str) -> LinesTarget {
    LinesTarget { file_path: path.into(), header: header.into(), ..LinesTarget::default() }
}

#[test]
fn what_was_not_committed_is_cut_off_and_what_was_is_known() {
    for use_zstd in [false, true] {
        let mut bench = Bench::new();
        let target = LinesTarget { use_zstd, ..target("a.csv", "x\n") };
        let text = |bench: &Bench| {
            let bytes = fs::read(bench.path("a.csv")).unwrap();
            let bytes = if use_zstd { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
            String::from_utf8(bytes).unwrap()
        };
        bench.put_to(&target, "1\n");
        bench.commit();
        bench.sink.sync().unwrap();
        bench.put_to(&target, "2\n");
        bench.commit();
        let whole = fs::read(bench.path("a.csv")).unwrap();
        fs::write(bench.path("a.csv"), [&whole[..], &whole, b"torn"].concat()).unwrap();

        bench.crash();

        assert_eq!(bench.marks.iter().collect::<Vec<_>>(), [MessageId { epoch: 7, seq: 1 }]);
        assert_eq!(text(&bench), "x\n1\n2\n");
        bench.put_to(&target, "3\n");
        bench.commit();
        bench.crash();
        assert_eq!(text(&bench), "x\n1\n2\n3\n");
    }
}

#[test]
fn names_of_one_file_share_it() {
    let mut bench = Bench::new();
    symlink("a.csv", bench.path("link.csv")).unwrap();
    for (path, line) in [("a.csv", "1\n"), ("./a.csv", "2\n"), ("link.csv", "3\n"), ("a.csv", "4\n")] {
        bench.put(path, "x\n", line);
        bench.commit();
    }

    assert_eq!(bench.text("a.csv"), "x\n1\n2\n3\n4\n");
    bench.crash();
    assert_eq!(bench.text("a.csv"), "x\n1\n2\n3\n4\n");
}

#[test]
fn other_columns_go_beside_it() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.put("a.csv", "y\n", "2\n");
    bench.put("a_1.csv", "z\n", "3\n");
    bench.put("a.csv", "z\n", "4\n");
    bench.put_to(&LinesTarget { use_zstd: true, ..target("a.csv", "x\n") }, "5\n");

    bench.commit();

    assert_eq!(bench.text("a.csv"), "x\n1\n");
    assert_eq!(bench.text("a_1.csv"), "y\n2\n");
    assert_eq!(bench.text("a_1_1.csv"), "z\n3\n");
    assert_eq!(bench.text("a_2.csv"), "z\n4\n");
    assert_eq!(zstd::decode_all(File::open(bench.path("a_3.csv")).unwrap()).unwrap(), b"x\n5\n");
}

#[test]
fn a_file_of_another_process_is_left_alone() {
    let mut bench = Bench::new();
    fs::write(bench.path("a.csv"), "x\n1\n2").unwrap();
    let other = File::open(bench.path("a.csv")).unwrap();
    assert!(folder::lock(&other).unwrap());

    bench.put("a.csv", "x\n", "3\n");
    bench.commit();

    assert_eq!(bench.text("a.csv"), "x\n1\n2");
    assert_eq!(bench.text("a_1.csv"), "x\n3\n");
}

#[test]
fn a_file_that_somebody_deleted_moved_or_cut_is_begun_anew() {
    let mut bench = Bench::new();
    let files = ["deleted.csv", "moved.csv", "cut.csv"];
    files.iter().for_each(|path| bench.put(path, "x\n", "1\n"));
    bench.commit();
    fs::remove_file(bench.path("deleted.csv")).unwrap();
    fs::rename(bench.path("moved.csv"), bench.path("old.csv")).unwrap();
    File::create(bench.path("cut.csv")).unwrap();

    files.iter().for_each(|path| bench.put(path, "x\n", "2\n"));
    bench.commit();

    assert_eq!(files.map(|path| bench.text(path)), ["x\n2\n"; 3]);
    assert_eq!(bench.text("old.csv"), "x\n1\n");
    bench.crash();
    assert_eq!(files.map(|path| bench.text(path)), ["x\n2\n"; 3]);
}

#[test]
fn trouble_that_lasts_costs_its_own_messages_only() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("dir.csv")).unwrap();
    symlink("loop.csv", bench.path("loop.csv")).unwrap();
    symlink("/tmp", bench.path("outside")).unwrap();
    bench.put("good.csv", "x\n", "1\n");
    let long = format!("{}/x.csv", "d".repeat(255));
    for path in ["dir.csv", "loop.csv", "outside/x.csv"] {
        bench.put(path, "x\n", "1\n");
    }
    bench.put_to(&LinesTarget { overwrite: true, ..target("dir.csv", "x\n") }, "1\n");
    bench.put(&long, "x\n", "1\n");
    bench.put_to(&LinesTarget { overwrite: true, ..target("whole.csv", "x\n") }, "1\n");

    let report = bench.try_commit().unwrap();

    assert_eq!(report.lost.iter().map(|lost| lost.messages).collect::<Vec<_>>(), [1; 4], "{report:?}");
    assert_eq!(bench.text("good.csv"), "x\n1\n");
    assert_eq!(bench.text("whole.csv"), "x\n1\n");
}

#[test]
fn a_folder_that_somebody_removed_is_made_again_and_costs_nothing() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    fs::remove_dir_all(bench.dir.path()).unwrap();
    bench.put("b.csv", "x\n", "2\n");
    assert!(bench.try_commit().is_err(), "it is tried again");

    bench.crash();
    bench.put("b.csv", "x\n", "2\n");
    bench.commit();

    assert_eq!(bench.text("b.csv"), "x\n2\n");
}

#[test]
fn old_files_that_are_none_any_more_keep_nobody_from_starting() {
    let mut bench = Bench::new();
    for path in ["linked.csv", "deep/file.csv", "good.csv"] {
        bench.put(path, "x\n", "1\n");
    }
    bench.commit();
    fs::rename(bench.path("linked.csv"), bench.path("moved.csv")).unwrap();
    symlink("/etc/passwd", bench.path("linked.csv")).unwrap();
    fs::remove_dir_all(bench.path("deep")).unwrap();
    fs::write(bench.path("deep"), "a file").unwrap();

    bench.crash();

    bench.put("good.csv", "x\n", "2\n");
    bench.commit();
    assert_eq!(bench.text("good.csv"), "x\n1\n2\n");
}

#[test]
fn a_file_that_rows_are_appended_to_is_not_overwritten() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    bench.put_to(&LinesTarget { overwrite: true, ..target("a.csv", "x\n") }, "2\n");

    let report = bench.try_commit().unwrap();

    assert_eq!(report.lost.len(), 1);
    assert_eq!(bench.text("a.csv"), "x\n1\n");
}

#[test]
fn more_names_than_may_be_open_lose_nothing() {
    let mut bench = Bench::new();
    for line in ["1\n", "2\n"] {
        (0..600).for_each(|n| bench.put(&format!("{n}.csv"), "x\n", line));
        bench.commit();
    }
    bench.crash();

    assert!((0..600).all(|n| bench.text(&format!("{n}.csv")) == "x\n1\n2\n"));
}

#[test]
fn a_file_that_is_large_or_old_enough_is_followed_by_another() {
    let mut bench = Bench::with(r#"{"rotate_mb": 0.00001}"#);
    for n in 0..7 {
        bench.put("a.csv", "x\n", &format!("{n}__\n"));
        bench.commit();
        if n == 4 {
            bench.crash();
        }
    }
    assert_eq!(bench.text("a.csv"), "x\n0__\n1__\n");
    assert_eq!(bench.text("a_1.csv"), "x\n2__\n3__\n");
    assert_eq!(bench.text("a_2.csv"), "x\n4__\n5__\n");
    assert_eq!(bench.text("a_3.csv"), "x\n6__\n");

    let mut bench = Bench::with(r#"{"rotate_seconds": 0.000001}"#);
    for n in 0..3 {
        bench.put("a.csv", "x\n", &format!("{n}\n"));
        bench.commit();
    }
    assert_eq!(bench.text("a_2.csv"), "x\n2\n");
}

#[test]
fn of_contents_that_are_replaced_the_newest_stay() {
    let mut bench = Bench::new();
    let target = LinesTarget { overwrite: true, ..target("now.csv", "x\n") };
    bench.put_to(&target, "1\n");
    bench.put_to(&target, "2\n");
    bench.commit();
    assert_eq!(bench.text("now.csv"), "x\n2\n");

    bench.put_to(&target, "3\n");
    bench.commit();
    bench.crash();

    assert_eq!(bench.text("now.csv"), "x\n3\n");
    assert_eq!(bench.marks.iter().next().map(|id| id.seq), Some(2));
}

#[test]
fn what_the_system_forgot_when_a_sync_failed_is_not_known_and_the_rest_is_written_again() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    bench.sink.sync().unwrap();
    for n in 2..5 {
        bench.put("a.csv", "x\n", &format!("{n}\n"));
        bench.commit();
    }
    let last = |bench: &Bench| bench.marks.iter().next().map(|id| id.seq);
    // Page cache that was given up reads as what the disk has.
    fs::write(bench.path("a.csv"), b"x\n1\n2\n3\n\0\0").unwrap();
    bench.sink.has_failed = true;

    let folder = Folder::open(bench.dir.path()).unwrap();
    bench.sink.open = None;
    let (_, found) = Journal::open(&folder, "me", true).unwrap();
    assert_eq!(found.unsynced[std::path::Path::new("a.csv")], 4, "all since the sync is written again");
    bench.crash();

    assert_eq!(last(&bench), Some(2), "the fourth is not in the file");
    assert_eq!(bench.text("a.csv"), "x\n1\n2\n3\n");
    assert!(!bench.sink.has_failed);
}

#[test]
fn the_journal_names_only_files_that_are_open() {
    let mut bench = Bench::new();
    for line in ["1\n", "2\n"] {
        for n in 0..2000 {
            bench.put(&format!("{}/{n}.csv", n % 10), "x\n", line);
            if n % 100 == 0 {
                bench.commit();
                bench.sink.sync().unwrap();
            }
        }
        bench.commit();
    }
    bench.sink.sync().unwrap();
    bench.sink.open = None;
    let folder = Folder::open(bench.dir.path()).unwrap();
    let (_, found) = Journal::open(&folder, "me", false).unwrap();
    assert!(found.files.len() <= 256, "{}", found.files.len());
    bench.crash();

    assert!((0..2000).all(|n| bench.text(&format!("{}/{n}.csv", n % 10)) == "x\n1\n2\n"));
}

#[test]
fn a_moved_file_does_not_stand_in_the_journal_for_its_successor() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    fs::rename(bench.path("a.csv"), bench.path("old.csv")).unwrap();
    bench.put("a.csv", "x\n", "2\n");
    bench.commit();
    bench.sink.sync().unwrap();
    let open = bench.sink.open.as_mut().unwrap();
    open.journal.renew(open.shelf.lengths()).unwrap();
    let not_committed = [fs::read(bench.path("a.csv")).unwrap(), b"3\n".to_vec()].concat();
    fs::write(bench.path("a.csv"), not_committed).unwrap();

    bench.crash();

    assert_eq!((bench.text("a.csv").as_str(), bench.text("old.csv").as_str()), ("x\n2\n", "x\n1\n"));
}

#[test]
fn what_others_append_to_a_file_that_is_closed_stays() {
    let mut bench = Bench::with(r#"{"rotate_mb": 0.000001}"#);
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    bench.put("a.csv", "x\n", "2\n");
    bench.commit();
    bench.sink.sync().unwrap();
    fs::write(bench.path("a.csv"), "x\n1\nby hand\n").unwrap();

    bench.crash();

    assert_eq!((bench.text("a.csv").as_str(), bench.text("a_1.csv").as_str()), ("x\n1\nby hand\n", "x\n2\n"));
}

#[test]
fn rotation_has_no_end() {
    let mut bench = Bench::with(r#"{"rotate_mb": 0.000001}"#);
    for n in 0..1200 {
        bench.put("a.csv", "x\n", &format!("{n}\n"));
        bench.commit();
        if n == 1100 {
            bench.sink.sync().unwrap();
            bench.crash();
        }
    }
    assert!((1..1200).all(|n| bench.text(&format!("a_{n}.csv")) == format!("x\n{n}\n")));
}

#[test]
fn a_folder_that_was_moved_away_is_begun_anew() {
    let mut bench = Bench::new();
    bench.put("a.csv", "x\n", "1\n");
    bench.commit();
    let away = bench.dir.path().with_extension("away");
    fs::rename(bench.dir.path(), &away).unwrap();

    bench.sink.sync().unwrap();
    bench.put("a.csv", "x\n", "2\n");
    assert!(bench.try_commit().is_err());
    bench.crash();
    bench.put("a.csv", "x\n", "2\n");
    bench.commit();

    assert_eq!(fs::read_to_string(away.join("a.csv")).unwrap(), "x\n1\n");
    assert_eq!(bench.text("a.csv"), "x\n2\n");
    fs::remove_dir_all(away).unwrap();
}
