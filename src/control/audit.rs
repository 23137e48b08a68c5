//! The audit log: one JSON line for every command that changes something, or was to.
//!
//! ```text
//! {"date":"2026-11-30T12:00:00.123+01:00","who":"anna","from":"REST 10.0.0.7:51234","role":"operator","node":"lab1",
//!  "call":{"do":"restart","name":"csv"},"result":"ok"}
//! ```
//!
//! Invariants: lines are only appended, whole; a command that changes something is answered when its line is on the disk, or
//! after a second; nobody waits longer for a disk, and what could not be written is counted and told; who leaves before the
//! answer is in it too. A file above 10 MiB is put aside as `audit.jsonl.1` …, five of them are kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::caller::Caller;
use crate::config::Role;
use crate::os::iso_now;

/// The file's name in the state directory.
pub(crate) const NAME: &str = "audit.jsonl";

/// A larger file is put aside, and so many are kept.
const MAX_BYTES: u64 = 10 << 20;
const KEPT: u32 = 5;

/// Lines that may wait for the disk.
const WAITING: usize = 1024;

/// How long an answer waits for its line.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditLine {
    /// When it was given, ISO 8601 with offset.
    pub date: String,
    /// Who.
    pub who: String,
    /// By which way, and from which address.
    pub from: String,
    /// What he may do.
    pub role: Role,
    /// To which supervisor.
    pub node: String,
    /// The command, in the words of the control socket.
    pub call: Value,
    /// `ok`, or why not.
    pub result: String,
}

/// Where lines are handed in; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog {
    lines: SyncSender<(AuditLine, oneshot::Sender<()>)>,
    lost: Arc<AtomicU64>,
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Entry {
    log: AuditLog,
    line: Option<AuditLine>,
}

impl AuditLog {
    /// Opens the file of a state directory.
    ///
    /// # Errors
    /// The system's: it cannot be made or opened, or there is no thread to write it.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(NAME);
        let file = open(&path)?;
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let its_lost = lost.clone();
        thread::Builder::new().name("audit".into()).spawn(move || write_all(&path, file, &waiting, &its_lost))?;
        Ok(Self { lines, lost })
    }

    /// A command begins.
    pub(crate) fn begin(&self, caller: &Caller, node: &str, call: Value) -> Entry {
        let Caller { who, from, role, .. } = caller.clone();
        let line = AuditLine { date: iso_now(), who, from, role, node: node.into(), call, result: String::new() };
        Entry { log: self.clone(), line: Some(line) }
    }

    /// Lines that are not on the disk and never will be.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn hand_in(&self, line: AuditLine) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.lines.try_send((line, done)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        written
    }
}

impl Entry {
    /// It is done, or refused: returns when that is on the disk, or after a while.
    pub(crate) async fn end(mut self, result: String) {
        if let Some(line) = self.line.take() {
            let written = self.log.hand_in(AuditLine { result, ..line });
            tokio::time::timeout(WRITE_WITHIN, written).await.ok();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            drop(self.log.hand_in(AuditLine { result: "whoever asked left before the answer".into(), ..line }));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write_all(path: &Path, mut file: File, waiting: &Receiver<(AuditLine, oneshot::Sender<()>)>, lost: &AtomicU64) {
    while let Ok((line, done)) = waiting.recv() {
        let mut text = serde_json::to_vec(&line).expect("a line has string keys only");
        text.push(b'\n');
        match append(path, &mut file, &text) {
            Ok(()) => drop(done.send(())),
            Err(error) => {
                lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!("{} cannot be written, so that it misses a command: {error}", path.display());
            }
        }
    }
}

/// A line as a whole, or not at all.
fn append(path: &Path, file: &mut File, text: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    if before >= MAX_BYTES {
        put_aside(path)?;
        *file = open(path)?;
    }
    let before = file.metadata()?.len();
    file.write_all(text).and_then(|()| file.sync_data()).inspect_err(|_| {
        // What of it is there would spoil the next line.
        file.set_len(before).ok();
    })
}

fn put_aside(path: &Path) -> io::Result<()> {
    for number in (1..KEPT).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The lines of a state directory, oldest first, with those that were put aside; what is no line is passed over.
///
/// # Errors
/// The system's; a directory without the file has no lines.
pub(crate) fn read(state_dir: &Path) -> io::Result<Vec<AuditLine>> {
    let path = state_dir.join(NAME);
    let files = (1..=KEPT).rev().map(|number| aside(&path, number)).chain([path.clone()]);
    let mut lines = Vec::new();
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_command_is_a_line_with_its_result_also_when_who_gave_it_left() {
        let dir = tempfile::tempdir().unwrap();
        let log = AuditLog::open(dir.path()).unwrap();
        let anna = Caller::remote("anna", "REST 10.0.0.7:5", Role::Operator);

        runtime().block_on(async {
            log.begin(&anna, "lab1", json!({"do": "stop", "name": "csv"})).end("ok".into()).await;
            drop(log.begin(&anna, "lab1", json!({"do": "reload"})));
            log.begin(&anna, "lab2", json!({"do": "plan"})).end("refused".into()).await;
        });

        let lines = read(dir.path()).unwrap();
        let results: Vec<_> = lines.iter().map(|line| (line.node.as_str(), line.result.as_str())).collect();
        assert_eq!(results, [("lab1", "ok"), ("lab1", "whoever asked left before the answer"), ("lab2", "refused")]);
        assert_eq!((lines[0].who.as_str(), lines[0].role), ("anna", Role::Operator));
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_large_file_is_put_aside_and_five_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        for number in 0..8 {
            let mut file = open(&path).unwrap();
            file.set_len(MAX_BYTES).unwrap();
            append(&path, &mut file, format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap().trim_start_matches('\0'), "7\n");
        assert!(aside(&path, KEPT).is_file() && !aside(&path, KEPT + 1).exists());
    }
}
