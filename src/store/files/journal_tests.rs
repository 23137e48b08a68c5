//! What the journal says after a death, and after a power failure.

use std::fs;

use super::*;
use crate::store::files::batch::Form;
use crate::store::files::sheet::Sheet;

struct Bench {
    dir: tempfile::TempDir,
    folder: Folder,
    journal: Journal,
    sheet: Sheet,
    id: Identity,
    marks: Marks,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (mut journal, _) = Journal::open(&folder, "me", false).unwrap();
        journal.renew(Vec::new()).unwrap();
        let (file, id) = folder.file(Path::new("a")).unwrap();
        let form = Form { header: Vec::new(), is_compressed: false, has_records: false };
        let sheet = Sheet::new(file, form, 0).unwrap();
        journal.name(Path::new("a"), id, 0).unwrap();
        Self { dir, folder, journal, sheet, id, marks: Marks::default() }
    }

    fn commit(&mut self, seq: u64, text: &str) {
        self.sheet.append(text.as_bytes()).unwrap();
        self.marks.raise(MessageId { epoch: 0xfe, seq });
        let change = self.sheet.take_change().map(|change| ("a".into(), self.id, change));
        self.journal.commit(change.into_iter(), &self.marks).unwrap();
    }

    fn sync(&mut self) {
        self.journal.sync(vec![("a".into(), self.id, self.sheet.len())], Vec::new()).unwrap();
    }

    /// How long the file is to be, and which message is the last, by the journal as it stands on the disk.
    fn found(&self) -> (u64, Option<u64>) {
        self.found_after(&boot_id())
    }

    fn found_after(&self, boot: &str) -> (u64, Option<u64>) {
        let text = fs::read(self.dir.path().join(&self.journal.path)).unwrap();
        let state = replay(&self.folder, entries(&text), Some(boot)).unwrap();
        (state.files[Path::new("a")].1, state.marks.iter().next().map(|id| id.seq))
    }
}

#[test]
fn what_was_committed_counts_and_what_was_only_written_does_not() {
    let mut bench = Bench::new();
    assert_eq!(bench.found(), (0, None));
    bench.commit(3, "one");
    bench.sync();
    bench.commit(4, "two");
    bench.sheet.append(b"three").unwrap();

    assert_eq!(bench.found(), (6, Some(4)));
}

#[test]
fn what_may_not_be_on_the_disk_is_known() {
    let mut bench = Bench::new();
    bench.commit(1, "one");
    let unsynced = |bench: &Bench| {
        let text = fs::read(bench.dir.path().join(&bench.journal.path)).unwrap();
        replay(&bench.folder, entries(&text), Some(&boot_id())).unwrap().unsynced.len()
    };
    assert_eq!(unsynced(&bench), 1);

    bench.sync();

    assert_eq!(unsynced(&bench), 0);
}

#[test]
fn after_a_power_failure_what_was_not_synced_counts_as_far_as_the_file_holds_it() {
    let mut bench = Bench::new();
    bench.commit(1, "one");
    bench.sync();
    bench.commit(2, "two");
    bench.commit(3, "three");
    let path = bench.dir.path().join("a");
    for (contents, expected) in [
        (&b"onetwothree"[..], (11, Some(3))),
        (b"onetwothr\0\0", (6, Some(2))),
        (b"onetwo", (6, Some(2))),
        (b"one\0\0\0three", (3, Some(1))),
        (b"on", (3, Some(1))),
    ] {
        fs::write(&path, contents).unwrap();

        assert_eq!(bench.found_after("another"), expected, "{}", contents.escape_ascii());
        assert_eq!(bench.found(), (11, Some(3)), "while the machine runs nothing is lost");
    }
}

#[test]
fn a_file_that_was_begun_anew_is_what_it_is_now() {
    let mut bench = Bench::new();
    bench.commit(1, "one");
    let path = bench.dir.path().join("a");
    fs::write(&path, "").unwrap();
    bench.journal.name(Path::new("a"), bench.id, 0).unwrap();
    let (file, _) = bench.folder.file(Path::new("a")).unwrap();
    let form = Form { header: Vec::new(), is_compressed: false, has_records: false };
    bench.sheet = Sheet::new(file, form, 0).unwrap();
    bench.commit(2, "other");

    assert_eq!(bench.found(), (5, Some(2)));
    assert_eq!(bench.found_after("another").0, 5);
}

#[test]
fn a_torn_line_ends_it() {
    let mut bench = Bench::new();
    bench.commit(1, "one");
    let len = bench.journal.len;
    bench.commit(2, "two");
    let path = bench.dir.path().join(&bench.journal.path);
    let whole = fs::read(&path).unwrap();

    for cut in usize::try_from(len).unwrap()..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(bench.found(), (3, Some(1)), "{cut}");
    }
}

#[test]
fn a_journal_that_has_grown_is_begun_anew() {
    let mut bench = Bench::new();
    let mut seq = 0;
    while bench.journal.len < RENEW_AT {
        seq += 1;
        bench.commit(seq, "x");
    }

    bench.sync();

    assert!(bench.journal.len < 500);
    assert_eq!(bench.found(), (seq, Some(seq)));
    bench.commit(seq + 1, "x");
    assert_eq!(bench.found(), (seq + 1, Some(seq + 1)));
}

#[test]
fn a_store_with_the_same_journal_is_kept_out() {
    let bench = Bench::new();

    assert_eq!(Journal::open(&bench.folder, "me", false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(Journal::open(&bench.folder, "you", false).is_ok());
}
