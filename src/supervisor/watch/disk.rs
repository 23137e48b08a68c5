//! The watch over the disks to which data, logs and state are written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::look::{Look, Looker, Room};
use crate::config::{DiskConfig, JobConfig, Kind};
use crate::message::Severity;
use crate::supervisor::dispatcher::{Mail, Mailbox};

/// A disk that does not answer within this time is told.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where stores put data that do not say.
const OUT_DIR: &str = "out";

/// Has disks looked at from time to time, until it is dropped.
#[derive(Debug)]
pub(in crate::supervisor) struct DiskWatch {
    paths: mpsc::Sender<Vec<PathBuf>>,
}

impl DiskWatch {
    /// Starts the threads; alerts come as mail. `None` if disks are not to be watched.
    ///
    /// # Errors
    /// The system's: no thread.
    pub(in crate::supervisor) fn start(
        config: &DiskConfig,
        paths: Vec<PathBuf>,
        mailbox: Mailbox,
    ) -> std::io::Result<Option<Self>> {
        if config.free_min_mb == 0 {
            return Ok(None);
        }
        let interval = Duration::try_from_secs_f64(config.interval_seconds).unwrap_or(ANSWER_WITHIN);
        let (sender, new_paths) = mpsc::channel();
        let mut round = Round {
            looker: Looker::start()?,
            hanging: BTreeMap::new(),
            judge: Judge { least: u64::from(config.free_min_mb) << 20, levels: BTreeMap::new() },
        };
        thread::Builder::new().name("disks".into()).spawn(move || {
            let mut paths = paths;
            loop {
                for (severity, message) in round.look(&paths) {
                    if mailbox.blocking_send(Mail::Raise { severity, message }).is_err() {
                        return;
                    }
                }
                match new_paths.recv_timeout(interval) {
                    Ok(new) => paths = new,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Some(Self { paths: sender }))
    }

    /// From now on these: jobs have come, gone or changed.
    pub(in crate::supervisor) fn watch(&self, paths: Vec<PathBuf>) {
        self.paths.send(paths).ok();
    }
}

/// Where jobs write, and these.
pub(in crate::supervisor) fn watched_paths<'a>(
    jobs: impl Iterator<Item = &'a JobConfig>,
    more: impl IntoIterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let mut paths: Vec<_> = jobs.filter_map(out_dir).chain(more).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Where a job writes, as it says or as stores do.
fn out_dir(job: &JobConfig) -> Option<PathBuf> {
    let said = job.settings.get("out_dir").and_then(serde_json::Value::as_str);
    let dir = said.or((job.kind == Kind::Store).then_some(OUT_DIR))?;
    Some(job.process.cwd.as_deref().unwrap_or(Path::new("")).join(dir))
}

/// What all looks of one round come to.
struct Round {
    looker: Looker,
    hanging: BTreeMap<PathBuf, Look>,
    judge: Judge,
}

impl Round {
    fn look(&mut self, paths: &[PathBuf]) -> Vec<(Severity, String)> {
        let mut alerts = Vec::new();
        self.hanging.retain(|path, look| {
            let has_answered = look.answer(Duration::ZERO).is_some();
            if has_answered {
                alerts.push((Severity::Info, format!("disk: {} answers again", path.display())));
            }
            !has_answered
        });
        for path in paths {
            if self.hanging.contains_key(path) {
                continue;
            }
            let look = self.looker.look(path);
            match look.answer(ANSWER_WITHIN) {
                Some(Some(room)) => alerts.extend(self.judge.judge(path, room)),
                Some(None) => {}
                None => {
                    alerts.push((Severity::Warning, format!("disk: {} does not answer", path.display())));
                    self.hanging.insert(path.clone(), look);
                    // That thread hangs with it; the others are looked at by a new one.
                    if let Ok(looker) = Looker::start() {
                        self.looker = looker;
                    }
                }
            }
        }
        alerts
    }
}

/// How a file system stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Well,
    Low,
    NearlyFull,
}

/// Decides what is to be told, once a file system.
#[derive(Debug)]
struct Judge {
    /// What is to be free, in bytes.
    least: u64,
    levels: BTreeMap<u64, Level>,
}

impl Judge {
    fn judge(&mut self, path: &Path, room: Room) -> Option<(Severity, String)> {
        let before = self.levels.get(&room.device).copied().unwrap_or(Level::Well);
        let now = self.level(before, room.free);
        self.levels.insert(room.device, now);
        let (path, free, total) = (path.display(), room.free >> 20, room.total >> 20);
        let least = self.least >> 20;
        let of = format!("disk: {free} of {total} MiB are free where {path} lies");
        match (before, now) {
            (Level::Well | Level::Low, Level::NearlyFull) => {
                Some((Severity::Error, format!("{of}, less than a tenth of {least} (free_min_mb)")))
            }
            (Level::Well, Level::Low) => Some((Severity::Warning, format!("{of}, less than {least} (free_min_mb)"))),
            (Level::Low | Level::NearlyFull, Level::Well) => Some((Severity::Info, format!("{of}: enough again"))),
            _ => None,
        }
    }

    /// It is well again only with a tenth more than would do, so that nobody is told again and again.
    fn level(&self, before: Level, free: u64) -> Level {
        let (low, nearly_full) = (self.least, self.least / 10);
        let level = |slack: fn(u64) -> u64| match free {
            free if free < slack(nearly_full) => Level::NearlyFull,
            free if free < slack(low) => Level::Low,
            _ => Level::Well,
        };
        let strict = level(|limit| limit);
        let patient = level(|limit| limit + limit / 10);
        strict.max(patient.min(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn told(frees: &[u64]) -> Vec<Option<Severity>> {
        let mut judge = Judge { least: 1000 * MIB, levels: BTreeMap::new() };
        let room = |free: u64| Room { device: 7, free: free * MIB, total: 5000 * MIB };
        frees.iter().map(|&free| judge.judge(Path::new("out"), room(free)).map(|(severity, _)| severity)).collect()
    }

    #[test]
    fn each_change_for_the_worse_is_told_once_and_the_recovery_only_with_some_room() {
        use Severity::{Error, Info, Warning};
        let table: [(&[u64], &[Option<Severity>]); 4] = [
            (&[2000, 999, 500, 999, 1001], &[None, Some(Warning), None, None, None]),
            (&[999, 99, 5, 105, 99, 500], &[Some(Warning), Some(Error), None, None, None, None]),
            (&[50, 1099, 1100, 999], &[Some(Error), None, Some(Info), Some(Warning)]),
            (&[50, 500, 50], &[Some(Error), None, Some(Error)]),
        ];
        for (frees, expected) in table {
            assert_eq!(told(frees), expected, "{frees:?}");
        }
    }

    #[test]
    fn paths_on_one_file_system_are_told_once() {
        let mut judge = Judge { least: 1000 * MIB, levels: BTreeMap::new() };
        let room = Room { device: 7, free: MIB, total: 5000 * MIB };

        let told: Vec<_> = ["out", "logs"].map(|path| judge.judge(Path::new(path), room).is_some()).into();

        assert_eq!(told, [true, false]);
    }

    #[test]
    fn a_disk_that_hangs_is_told_once_and_the_others_are_looked_at() {
        let mut round = Round {
            looker: Looker::start().unwrap(),
            hanging: BTreeMap::new(),
            judge: Judge { least: u64::MAX / 2, levels: BTreeMap::new() },
        };
        let (answer, look) = Look::that_hangs();
        round.hanging.insert("nfs".into(), look);

        let alerts = round.look(&["nfs".into(), "/".into()]);

        assert!(alerts.len() == 1 && alerts[0].1.contains("where / lies"), "{alerts:?}");
        drop(answer);
        let alerts = round.look(&["nfs".into(), "/".into()]);
        assert!(alerts.len() == 1 && alerts[0].1.contains("nfs answers again"), "{alerts:?}");
    }
}
