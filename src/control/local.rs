//! The local socket: `supervisor.ipc` in the runtime directory, for the user alone.
//!
//! Invariants: each call is served by a task of its own, so a slow one holds up no other; what a client may have open is
//! bounded; a client that does not read its answers holds up itself; when a client is gone nobody waits for its answers.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::getuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::caller::Caller;
use super::desk::Desk;
use super::wire::{Call, WireError, answer_line, failure_line, parse_line, part_line};

/// Clients at a time.
const MAX_CLIENTS: usize = 64;

/// Calls of one client that may be under way at a time.
const MAX_CALLS: usize = 16;

/// Parts of an answer that may wait for a client here; more wait where they come from.
const MAX_PARTS: usize = 4;

/// How often somebody looks whether a client that says no more is still there.
const LOOK_AFTER_CLIENT: Duration = Duration::from_millis(250);

/// The longest line of a client, in bytes.
const MAX_LINE: u64 = 64 << 10;

/// Where the socket of a supervisor lies.
pub(crate) fn socket_path(dir: &Path) -> PathBuf {
    dir.join("supervisor.ipc")
}

/// Binds it; a socket that nobody answers on is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until aborted. Where all places are taken, the client that has been there longest without a call under way
/// gives way.
pub(crate) fn serve(listener: UnixListener, desk: Desk) -> io::Result<JoinHandle<()>> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok(tokio::spawn(async move {
        let mut clients: Vec<Conversation> = Vec::new();
        loop {
            // An error here is one of a client that has gone, or a shortage of descriptors that passes.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            clients.retain(|client| !client.task.is_finished());
            if clients.len() >= MAX_CLIENTS {
                let Some(idle) = clients.iter().position(Conversation::is_idle) else {
                    let refusal = failure_line(&serde_json::Value::Null, "Busy", "too many clients at a time");
                    stream.try_write(refusal.as_bytes()).ok();
                    continue;
                };
                clients.remove(idle).task.abort();
            }
            let peer = stream.peer_cred().ok().filter(|peer| [0, getuid().as_raw()].contains(&peer.uid()));
            if let Some(peer) = peer {
                let process = peer.pid().map_or_else(String::new, |pid| format!(" pid {pid}"));
                let caller = Caller::here(format!("uid {}", peer.uid()), format!("control socket{process}"));
                let calls = Arc::new(Semaphore::new(MAX_CALLS));
                let task = tokio::spawn(converse(stream, caller, desk.clone(), calls.clone()));
                clients.push(Conversation { task, calls });
            }
        }
    }))
}

/// A client.
struct Conversation {
    task: JoinHandle<()>,
    /// A place for each call that may be under way.
    calls: Arc<Semaphore>,
}

impl Conversation {
    fn is_idle(&self) -> bool {
        self.calls.available_permits() == MAX_CALLS
    }
}

async fn converse(stream: tokio::net::UnixStream, caller: Caller, desk: Desk, calls: Arc<Semaphore>) {
    let (reading, mut writing) = stream.into_split();
    let (answers, mut to_write) = mpsc::channel::<String>(MAX_CALLS);
    let writer = tokio::spawn(async move {
        while let Some(line) = to_write.recv().await {
            if writing.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut lines = BufReader::new(reading);
    // Dropped with the client: then nobody waits for the answers any more.
    let mut under_way = JoinSet::new();
    while let Some(line) = next_line(&mut lines).await {
        while under_way.try_join_next().is_some() {}
        match parse_line(&line) {
            Ok(call) => {
                let place = tokio::select! {
                    Ok(place) = calls.clone().acquire_owned() => place,
                    () = hung_up(lines.get_ref().as_ref()) => break,
                };
                let (desk, answers, caller) = (desk.clone(), answers.clone(), caller.clone());
                under_way.spawn(async move {
                    answer(call, &caller, &desk, &answers).await;
                    drop(place);
                });
            }
            Err(WireError::BadCall { id, message }) => {
                answers.send(failure_line(&id, "BadCall", &message)).await.ok();
            }
            Err(WireError::NoCall) => tracing::debug!("a line on the control socket that is no call"),
            Err(WireError::NotJson) => break,
        }
    }
    drop(answers);
    // Who has said all may still wait for answers.
    tokio::select! {
        _ = writer => {}
        () = hung_up(lines.get_ref().as_ref()) => {}
    }
}

/// Waits until a client is gone; one that only says no more is there.
async fn hung_up(stream: &tokio::net::UnixStream) {
    while stream.ready(Interest::WRITABLE).await.is_ok_and(|ready| !ready.is_write_closed()) {
        tokio::time::sleep(LOOK_AFTER_CLIENT).await;
    }
}

/// One line without its end; `None` at the end of the stream, and for a line that is too long.
async fn next_line(lines: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    lines.take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    match line.pop() {
        Some(b'\n') => Some(line),
        _ => None,
    }
}

/// Has a call carried out; parts are written as they come.
async fn answer(call: Call, caller: &Caller, desk: &Desk, lines: &mpsc::Sender<String>) {
    let Call { id, command, connection_id } = call;
    let (parts, mut to_send) = mpsc::channel(MAX_PARTS);
    let asked = desk.ask_for_parts(caller, command, parts);
    let sent = async {
        while let Some(part) = to_send.recv().await {
            lines.send(part_line(&id, &part)).await.ok();
        }
    };
    let (answer, ()) = tokio::join!(asked, sent);
    lines.send(answer_line(&id, connection_id.as_deref(), &answer)).await.ok();
}
