//! The thread that reads the program's standard output until its end.
//!
//! EOF is not the end, and the end is not EOF: a program may close its output and go on, and what it has started may hold
//! the pipe after it has ended. So after the end what is there is still read, as long as it comes without a pause.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enrgdaq::job::{Context, JobError, Program, ProgramEnd};
use rustix::event::PollFlags;

use super::decoder::Decoder;
use super::gate::Gate;
use super::pipe;
use super::sink::Sink;

/// So much is read at once.
const CHUNK: usize = 128 << 10;

/// A buffer that has grown beyond this for one record is given back after it.
const LARGE: usize = 4 << 20;

/// After the program's end nothing comes any more when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);

/// The longest beginning of a line that is looked at for a pattern.
const LONGEST_LINE: usize = 64 << 10;

/// What takes the bytes.
pub(super) enum Taker {
    /// They are records, for stores.
    Stores(Box<dyn Decoder>, Box<Sink>),
    /// They are for the log.
    Log,
}

impl Taker {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, JobError> {
        match self {
            Self::Stores(decoder, sink) => {
                let taken = decoder.take(bytes, sink);
                sink.report();
                taken
            }
            Self::Log => {
                let mut out = io::stdout().lock();
                // Nobody to tell if that fails.
                out.write_all(bytes).and_then(|()| out.flush()).ok();
                Ok(bytes.len())
            }
        }
    }

    fn end(&mut self, rest: &[u8], is_clean: bool) -> Result<(), JobError> {
        match self {
            Self::Stores(decoder, sink) => {
                let ended = decoder.end(rest, is_clean, sink);
                sink.report();
                // What was lost counts more than why it ended.
                sink.close().and(ended)
            }
            Self::Log => Ok(()),
        }
    }
}

/// Looks at lines for the sign that the program is ready.
#[derive(Debug)]
pub(super) struct Watch {
    gate: Arc<Gate>,
    /// `None`: any line.
    pattern: Option<regex::bytes::Regex>,
    line: Vec<u8>,
}

impl Watch {
    pub(super) fn new(gate: Arc<Gate>, pattern: Option<regex::bytes::Regex>) -> Self {
        Self { gate, pattern, line: Vec::new() }
    }

    /// Looks at what comes next; `true` once it was there.
    pub(super) fn sees(&mut self, bytes: &[u8]) -> bool {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST_LINE - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if !piece.ends_with(b"\n") {
                continue;
            }
            let line = self.line.trim_ascii_end();
            if self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(line)) {
                self.gate.open();
                return true;
            }
            self.line.clear();
        }
        false
    }
}

/// The reader.
pub(super) struct Reader {
    pub(super) cx: Context,
    pub(super) program: Program,
    pub(super) stdout: File,
    pub(super) watch: Option<Watch>,
    pub(super) taker: Taker,
    /// When the program was found to have ended.
    pub(super) ended_at: Option<Instant>,
}

impl Reader {
    /// Reads all that comes. If it cannot be handed on, the program is ended.
    pub(super) fn run(mut self) -> Result<(), JobError> {
        let result = self.read_all();
        if result.is_err() {
            self.end_program();
        }
        result
    }

    fn read_all(&mut self) -> Result<(), JobError> {
        let failed = |error| JobError::failed("the program's output cannot be read", error);
        let mut room = Room::default();
        while self.fill(&mut room).map_err(failed)? {
            let used = self.taker.take(room.bytes())?;
            room.use_up(used);
        }
        // How it ended decides what its last bytes are worth.
        let end = self.program.wait(None);
        self.taker.end(room.bytes(), end == Some(ProgramEnd::Code(0)))
    }

    /// Reads more; `false` if nothing comes any more.
    fn fill(&mut self, room: &mut Room) -> io::Result<bool> {
        loop {
            if self.ended_at.is_some_and(|at| at.elapsed() > self.patience()) {
                tracing::warn!("what the program has started still writes after its end: that is not read");
                return Ok(false);
            }
            let stdout = Some((self.stdout.as_fd(), PollFlags::IN));
            let program = self.ended_at.is_none().then(|| (self.program.as_fd(), PollFlags::IN));
            let at_most = self.ended_at.map(|_| QUIET.min(self.patience()));
            match pipe::wait([stdout, program], at_most)? {
                [true, _] => {
                    let len = room.read(&mut self.stdout)?;
                    if let Some(watch) = &mut self.watch
                        && watch.sees(room.newest(len))
                    {
                        self.watch = None;
                    }
                    return Ok(len > 0);
                }
                [false, true] => self.ended_at = Some(Instant::now()),
                [false, false] if self.ended_at.is_some() => return Ok(false),
                [false, false] => {}
            }
        }
    }

    /// How long after the program's end its output is read at the most.
    fn patience(&self) -> Duration {
        // Half of what is left, so that it can be handed on, or counted.
        match self.cx.share_of_end(1.0) {
            Some(end) => (self.cx.stop_timeout() / 4).min(end.saturating_duration_since(Instant::now()) / 2),
            None => self.cx.stop_timeout(),
        }
    }

    /// Its output is of no use any more: it is told to end, and killed if it does not.
    fn end_program(&mut self) {
        self.program.stop();
        let until = Instant::now() + self.cx.stop_timeout() / 2;
        let mut nowhere = vec![0; CHUNK];
        while self.program.end().is_none() {
            let left = until.saturating_duration_since(Instant::now());
            let both = [Some((self.stdout.as_fd(), PollFlags::IN)), Some((self.program.as_fd(), PollFlags::IN))];
            let read = match pipe::wait(both, Some(left)) {
                Ok([true, false]) => self.stdout.read(&mut nowhere),
                Ok(_) => Ok(0),
                Err(error) => Err(error),
            };
            if !matches!(read, Ok(1..)) {
                break;
            }
        }
        if self.program.wait(Some(until)).is_none() {
            self.program.kill();
        }
    }
}

/// What was read and is not used up.
#[derive(Debug, Default)]
struct Room {
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Room {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// What the last read has brought.
    fn newest(&self, len: usize) -> &[u8] {
        &self.memory[self.end - len..self.end]
    }

    fn use_up(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.memory.len() > LARGE {
                self.memory = Vec::new();
            }
        }
    }

    fn read(&mut self, from: &mut File) -> io::Result<usize> {
        if self.memory.len() - self.end < CHUNK {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let needed = self.end + CHUNK;
            if self.memory.len() < needed {
                self.memory.resize(needed.max(self.memory.len() * 2), 0);
            }
        }
        let len = loop {
            match from.read(&mut self.memory[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += len;
        Ok(len)
    }
}
