//! One log file: written line by line whole, put aside when it is large or old, opened anew when somebody moved it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::setup::FileSetup;

/// How long is waited after a write that failed before the next one is tried.
const RETRY: Duration = Duration::from_millis(200);

/// How often is looked whether the file is still the one in its place, and how old it is.
const LOOK: Duration = Duration::from_secs(1);

/// How often old files are looked for.
const SWEEP: Duration = Duration::from_hours(1);

/// A disk that was full is written again when it has so much room.
const ROOM: u64 = 64 << 10;

/// Lines ready to be written.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// Where each line ends.
    pub(super) ends: Vec<usize>,
}

impl Block {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(super) fn lines(&self) -> u64 {
        self.ends.len() as u64
    }
}

/// What became of a block.
#[derive(Debug)]
pub(super) struct Written {
    /// Lines that are in the file, whole.
    pub(super) lines: u64,
    /// Why not all.
    pub(super) error: Option<String>,
}

/// A file that lines are added to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
    /// Lines that were dropped since the last one that is in the file.
    pub(super) lost: u64,
    failure: Option<Failure>,
    swept_at: Option<Instant>,
    pub(super) used_at: Instant,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    /// When its first line was said.
    begun: SystemTime,
    /// A line stands there in part, and could not be taken back.
    is_torn: bool,
    looked_at: Instant,
}

#[derive(Debug)]
struct Failure {
    error: String,
    retry_at: Instant,
    wants_room: bool,
}

impl LogFile {
    /// `<name>.log` in the folder; nothing is opened yet.
    pub(super) fn new(setup: &FileSetup, name: &str) -> Self {
        Self {
            path: setup.dir.join(format!("{name}.log")),
            open: None,
            lost: 0,
            failure: None,
            swept_at: None,
            used_at: Instant::now(),
        }
    }

    /// Whether it takes lines, and all that is lost is told in it.
    pub(super) fn is_well(&self) -> bool {
        self.failure.is_none() && self.lost == 0
    }

    /// Adds lines, after `told` (what is to stand there if lines were dropped before).
    pub(super) fn write(&mut self, setup: &FileSetup, block: &Block, told: impl FnOnce(u64) -> Block) -> Written {
        let now = Instant::now();
        self.used_at = now;
        let result = self.ready(setup, now).and_then(|()| self.tell_lost(told)).map_err(|error| (0, error));
        let result = result.and_then(|()| self.add(block));
        let (lines, error) = match result {
            Ok(()) => (block.lines(), None),
            Err((lines, error)) => (lines, Some(error)),
        };
        self.lost += block.lines() - lines;
        let error = error.map(|error| self.fail(&error, now));
        if error.is_none() {
            self.failure = None;
            self.put_aside_if_due(setup);
        }
        Written { lines, error }
    }

    /// Notes a failure, unless it is only that of the last time.
    fn fail(&mut self, error: &io::Error, now: Instant) -> String {
        if error.kind() == io::ErrorKind::WouldBlock
            && let Some(failure) = &self.failure
        {
            return failure.error.clone();
        }
        let wants_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let text = format!("{} cannot be written: {error}", self.path.display());
        self.failure = Some(Failure { error: text.clone(), retry_at: now + RETRY, wants_room });
        text
    }

    /// Sees to it that there is a file that may take lines.
    fn ready(&mut self, setup: &FileSetup, now: Instant) -> io::Result<()> {
        if let Some(failure) = &mut self.failure {
            if now < failure.retry_at {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let has_room = rustix::fs::statvfs(&setup.dir).map(|fs| fs.f_bavail * fs.f_frsize >= ROOM);
            if failure.wants_room && !has_room.unwrap_or(true) {
                failure.retry_at = now + RETRY;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        if self.open.as_ref().is_some_and(|open| now.duration_since(open.looked_at) >= LOOK) && !self.is_in_place(now) {
            self.open = None;
        }
        if self.open.is_none() {
            fs::create_dir_all(&setup.dir)?;
            self.open = Some(open(&self.path, now)?);
            // One that has become old or large while nobody wrote it.
            self.put_aside_if_due(setup);
            if self.open.is_none() {
                self.open = Some(open(&self.path, now)?);
            }
        }
        if self.swept_at.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            self.swept_at = Some(now);
            sweep(&self.path, setup);
        }
        Ok(())
    }

    /// Whether the path still leads to the open file: others move and remove files too.
    fn is_in_place(&mut self, now: Instant) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.looked_at = now;
        let (Ok(there), Ok(ours)) = (fs::metadata(&self.path), open.file.metadata()) else { return false };
        open.len = ours.len();
        (there.dev(), there.ino()) == (ours.dev(), ours.ino())
    }

    fn tell_lost(&mut self, told: impl FnOnce(u64) -> Block) -> io::Result<()> {
        if self.lost > 0 {
            self.add(&told(self.lost)).map_err(|(_, error)| error)?;
            self.lost = 0;
        }
        Ok(())
    }

    /// Writes; on failure so many lines are whole, and nothing stands after them.
    fn add(&mut self, block: &Block) -> Result<(), (u64, io::Error)> {
        let none = |error| (0, error);
        let open = self.open.as_mut().ok_or_else(|| none(io::ErrorKind::NotFound.into()))?;
        if open.is_torn {
            write(&open.file, b"\n").map_err(|(_, error)| none(error))?;
            open.len += 1;
            open.is_torn = false;
        }
        let (count, error) = match write(&open.file, &block.bytes) {
            Ok(()) => {
                open.len += block.bytes.len() as u64;
                return Ok(());
            }
            Err(failed) => failed,
        };
        let whole = block.ends.partition_point(|&end| end <= count);
        let keep = whole.checked_sub(1).map_or(0, |last| block.ends[last]);
        open.len += count as u64;
        if count > keep {
            open.take_back((count - keep) as u64);
        }
        Err((whole as u64, error))
    }

    fn put_aside_if_due(&mut self, setup: &FileSetup) {
        let Some(open) = &self.open else { return };
        let age = SystemTime::now().duration_since(open.begun).unwrap_or_default();
        let is_old = setup.max_age.is_some_and(|most| age >= most);
        if open.len > 0 && (open.len > setup.max_bytes || is_old) {
            // Where it cannot be moved it grows on: that is told by the watch over the disk.
            put_aside(&self.path, setup.keep).ok();
            self.open = None;
        }
    }
}

impl Open {
    /// Removes the last bytes, unless somebody else has added to the file.
    fn take_back(&mut self, bytes: u64) {
        let is_last = self.file.metadata().is_ok_and(|meta| meta.len() == self.len);
        if is_last && self.file.set_len(self.len - bytes).is_ok() {
            self.len -= bytes;
        } else {
            self.is_torn = true;
        }
    }
}

fn open(path: &Path, now: Instant) -> io::Result<Open> {
    // Not to wait for the reader of a pipe that lies there.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblocking).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let begun = if meta.len() == 0 { None } else { first_stamp(path) };
    let begun = begun.or_else(|| meta.modified().ok()).unwrap_or_else(SystemTime::now);
    let ends_well = meta.len() == 0 || last_byte(path, meta.len()).is_none_or(|byte| byte == b'\n');
    Ok(Open { file, len: meta.len(), begun, is_torn: !ends_well, looked_at: now })
}

/// The time at the beginning of a file, in either format.
fn first_stamp(path: &Path) -> Option<SystemTime> {
    let mut head = [0; 64];
    let count = File::open(path).ok()?.read(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head[..count]);
    let head = head.strip_prefix("{\"timestamp\":\"").unwrap_or(&head);
    let time: DateTime = head.get(..19)?.replacen(' ', "T", 1).parse().ok()?;
    time.to_zoned(TimeZone::system()).ok().map(|time| time.timestamp().into())
}

/// A file that a killed supervisor has left may end within a line.
fn last_byte(path: &Path, len: u64) -> Option<u8> {
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    File::open(path).ok()?.read_exact_at(&mut byte, len - 1).ok()?;
    Some(byte[0])
}

/// Writes all, or says how much.
fn write(mut file: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut count = 0;
    while count < bytes.len() {
        match file.write(&bytes[count..]) {
            Ok(0) => return Err((count, io::ErrorKind::WriteZero.into())),
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((count, error)),
        }
    }
    Ok(())
}

fn aside(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// `.1` becomes `.2`, and so on; what has no number left is removed.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    let first_free = (1..keep).find(|&number| !aside(path, number).exists()).unwrap_or(keep);
    for number in (1..first_free).rev() {
        fs::rename(aside(path, number), aside(path, number + 1))?;
    }
    fs::rename(path, aside(path, 1))
}

/// Removes what was put aside and has a number, or an age, beyond what is kept.
fn sweep(path: &Path, setup: &FileSetup) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let most_age = setup.max_age.map(|age| age * setup.keep.max(1));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let number =
            entry.file_name().to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.parse::<u32>().ok());
        let Some(number) = number else { continue };
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_old = most_age.zip(age).is_some_and(|(most, age)| age >= most);
        if number > setup.keep || is_old {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, Verbosity};

    fn setup(dir: &Path) -> FileSetup {
        FileSetup {
            dir: dir.join("logs"),
            max_bytes: 1000,
            keep: 2,
            max_age: None,
            format: LogFormat::Text,
            verbosity: Verbosity::Info,
        }
    }

    fn block(lines: &[&str]) -> Block {
        let mut block = Block::default();
        for line in lines {
            block.bytes.extend_from_slice(line.as_bytes());
            block.bytes.push(b'\n');
            block.ends.push(block.bytes.len());
        }
        block
    }

    fn write(file: &mut LogFile, setup: &FileSetup, lines: &[&str]) -> Written {
        file.write(setup, &block(lines), |lost| block(&[&format!("… {lost} lines dropped")]))
    }

    fn text(setup: &FileSetup, name: &str) -> String {
        fs::read_to_string(setup.dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn a_large_file_is_put_aside_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path());
        let mut file = LogFile::new(&setup, "hv");
        for n in 0..5 {
            write(&mut file, &setup, &[&format!("{n}{}", "x".repeat(1000))]);
        }
        write(&mut file, &setup, &["last"]);

        let firsts = ["hv.log", "hv.log.1", "hv.log.2", "hv.log.3"].map(|name| text(&setup, name).chars().next());
        assert_eq!(firsts, [Some('l'), Some('4'), Some('3'), None]);
    }

    #[test]
    fn nothing_is_put_aside_where_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let setup = FileSetup { keep: 0, ..setup(dir.path()) };
        let mut file = LogFile::new(&setup, "hv");
        write(&mut file, &setup, &[&"x".repeat(1001)]);
        write(&mut file, &setup, &["last"]);

        assert_eq!(text(&setup, "hv.log"), "last\n");
        assert_eq!(fs::read_dir(&setup.dir).unwrap().count(), 1);
    }

    #[test]
    fn an_old_file_is_put_aside_and_a_very_old_one_removed() {
        let dir = tempfile::tempdir().unwrap();
        let setup = FileSetup { max_age: Some(Duration::from_hours(24)), keep: 3, ..setup(dir.path()) };
        fs::create_dir(&setup.dir).unwrap();
        for (name, first, days) in [
            ("hv.log", "2020-01-01 11:00:00.000 INFO    a\n", 0),
            ("hv.log.1", "young\n", 2),
            ("hv.log.2", "old\n", 3),
            ("hv.log.7", "too many\n", 0),
        ] {
            fs::write(setup.dir.join(name), first).unwrap();
            let at = SystemTime::now() - Duration::from_hours(24 * days) - Duration::from_hours(1);
            File::options().write(true).open(setup.dir.join(name)).unwrap().set_modified(at).unwrap();
        }
        let mut file = LogFile::new(&setup, "hv");

        write(&mut file, &setup, &["new"]);

        let files = ["hv.log", "hv.log.1", "hv.log.2", "hv.log.3", "hv.log.7"].map(|name| text(&setup, name));
        assert_eq!(files, ["new\n", "2020-01-01 11:00:00.000 INFO    a\n", "young\n", "", ""]);
    }

    #[test]
    fn a_file_that_others_moved_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path());
        let mut file = LogFile::new(&setup, "hv");
        write(&mut file, &setup, &["one"]);
        fs::rename(setup.dir.join("hv.log"), setup.dir.join("theirs")).unwrap();
        file.open.as_mut().unwrap().looked_at -= LOOK;

        write(&mut file, &setup, &["two"]);

        assert_eq!((text(&setup, "theirs"), text(&setup, "hv.log")), ("one\n".into(), "two\n".into()));
    }

    #[test]
    fn lines_that_found_no_file_are_told_in_it_when_there_is_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path());
        fs::write(&setup.dir, "no folder").unwrap();
        let mut file = LogFile::new(&setup, "hv");
        let refused = write(&mut file, &setup, &["one", "two"]);
        let waiting = write(&mut file, &setup, &["three"]);
        assert!((refused.lines, waiting.lines) == (0, 0) && !file.is_well());
        assert_eq!(refused.error, waiting.error, "the reason is kept");
        fs::remove_file(&setup.dir).unwrap();
        file.failure.as_mut().unwrap().retry_at = Instant::now();

        let written = write(&mut file, &setup, &["four"]);

        assert!(written.lines == 1 && file.is_well(), "{written:?}");
        assert_eq!(text(&setup, "hv.log"), "… 3 lines dropped\nfour\n");
    }

    #[test]
    fn a_line_that_a_dead_supervisor_left_in_part_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path());
        fs::create_dir(&setup.dir).unwrap();
        fs::write(setup.dir.join("hv.log"), "half").unwrap();

        write(&mut LogFile::new(&setup, "hv"), &setup, &["whole"]);

        assert_eq!(text(&setup, "hv.log"), "half\nwhole\n");
    }
}
