//! The thread that reads: all pipes of all jobs, each in its turn, as soon as something is there.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

use super::lines::Lines;
use super::{JobLog, Shared};

/// What is read at one time: all that a pipe holds.
const CHUNK: usize = 64 << 10;

/// How long a pipe that nobody should hold any more is still read, from its last word on; and in all.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_WORDS_AT_MOST: Duration = Duration::from_secs(5);

/// How often is looked after what was lost.
const TICK: Duration = Duration::from_secs(1);

/// The bell among the pipes.
const BELL: u64 = 0;

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Read {
        start: u64,
        log: JobLog,
        pipes: [OwnedFd; 2],
    },
    /// Nobody should hold these pipes any more.
    LastWords {
        start: u64,
    },
    End,
}

/// Tells the thread what to do.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    orders: mpsc::Sender<Order>,
    bell: Arc<OwnedFd>,
    starts: Arc<AtomicU64>,
}

/// The pipes of one process, while it runs.
#[derive(Debug)]
pub(in crate::supervisor) struct Capture {
    reader: Reader,
    start: u64,
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.reader.tell(Order::LastWords { start: self.start });
    }
}

impl Reader {
    fn tell(&self, order: Order) {
        self.orders.send(order).ok();
        rustix::io::write(&self.bell, &1u64.to_ne_bytes()).ok();
    }

    pub(super) fn read(&self, log: &JobLog, pipes: [OwnedFd; 2]) -> Capture {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        self.tell(Order::Read { start, log: log.clone(), pipes });
        Capture { reader: self.clone(), start }
    }

    /// All is to be read to its end.
    pub(super) fn end(&self) {
        self.tell(Order::End);
    }
}

/// Starts the thread; the receiver hears of its end.
pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<(Reader, mpsc::Receiver<()>)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
    let (orders, to_do) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let mut room = Room {
        shared,
        epoll,
        bell: bell.clone(),
        to_do,
        pipes: HashMap::new(),
        next_pipe: BELL + 1,
        tick_due: Instant::now() + TICK,
        end_by: None,
        buffer: vec![0; CHUNK],
    };
    thread::Builder::new().name("capture".into()).spawn(move || {
        let _end = end;
        room.work();
    })?;
    Ok((Reader { orders, bell, starts: Arc::default() }, ended))
}

/// A pipe that is read.
#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    start: u64,
    log: JobLog,
    lines: Lines,
    /// Nobody should hold it any more: read until it has been quiet for so long, and not after the second one.
    last_words: Option<(Instant, Instant)>,
}

/// All that the thread has.
struct Room {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    to_do: mpsc::Receiver<Order>,
    pipes: HashMap<u64, Pipe>,
    next_pipe: u64,
    tick_due: Instant,
    end_by: Option<Instant>,
    buffer: Vec<u8>,
}

impl Room {
    fn work(&mut self) {
        let mut events = Vec::with_capacity(64);
        while !self.is_done() {
            events.clear();
            let left = self.due().saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                // Nothing can be read any more: better no log than a job that waits for ever.
                Err(_) => return,
            }
            for event in &events {
                match event.data.u64() {
                    BELL => self.take_orders(),
                    pipe => self.read(pipe),
                }
            }
            self.pass_time();
        }
        let left: Vec<_> = self.pipes.keys().copied().collect();
        left.into_iter().for_each(|pipe| self.close(pipe));
    }

    fn is_done(&self) -> bool {
        self.end_by.is_some_and(|by| self.pipes.is_empty() || by <= Instant::now())
    }

    fn due(&self) -> Instant {
        let quiet = self.pipes.values().filter_map(|pipe| pipe.last_words).map(|(quiet, by)| quiet.min(by));
        quiet.chain(self.end_by).fold(self.tick_due, Instant::min)
    }

    fn take_orders(&mut self) {
        let mut count = [0; 8];
        rustix::io::read(&self.bell, &mut count).ok();
        while let Ok(order) = self.to_do.try_recv() {
            match order {
                Order::Read { start, log, pipes } => {
                    pipes.into_iter().for_each(|fd| self.open(start, log.clone(), fd));
                }
                Order::LastWords { start } => {
                    let now = Instant::now();
                    let pipes = self.pipes.values_mut().filter(|pipe| pipe.start == start);
                    pipes.for_each(|pipe| pipe.last_words = Some((now + LAST_WORDS, now + LAST_WORDS_AT_MOST)));
                }
                Order::End => self.end_by = Some(Instant::now() + LAST_WORDS),
            }
        }
    }

    /// Takes a pipe; one that cannot be watched is closed, so that nobody waits for a reader that never comes.
    fn open(&mut self, start: u64, log: JobLog, fd: OwnedFd) {
        let number = self.next_pipe;
        self.next_pipe += 1;
        let data = epoll::EventData::new_u64(number);
        let opened =
            fcntl_setfl(&fd, OFlags::NONBLOCK).and_then(|()| epoll::add(&self.epoll, &fd, data, epoll::EventFlags::IN));
        match opened {
            Ok(()) => {
                let pipe = Pipe { fd, start, log, lines: Lines::default(), last_words: None };
                self.pipes.insert(number, pipe);
            }
            Err(error) => self.shared.take(&log, format!("its output cannot be read: {error}\n").into_bytes()),
        }
    }

    fn read(&mut self, number: u64) {
        let Some(pipe) = self.pipes.get_mut(&number) else { return };
        let text = match rustix::io::read(&pipe.fd, &mut self.buffer) {
            Ok(0) => return self.close(number),
            Ok(count) => pipe.lines.take(&self.buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.close(number),
        };
        if let Some((quiet, _)) = &mut pipe.last_words {
            *quiet = Instant::now() + LAST_WORDS;
        }
        if !text.is_empty() {
            self.shared.take(&pipe.log, text);
        }
    }

    fn close(&mut self, number: u64) {
        let Some(mut pipe) = self.pipes.remove(&number) else { return };
        epoll::delete(&self.epoll, pipe.fd.as_fd()).ok();
        let text = pipe.lines.end();
        if !text.is_empty() {
            self.shared.take(&pipe.log, text);
        }
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        let is_over = |pipe: &Pipe| pipe.last_words.is_some_and(|(quiet, by)| quiet.min(by) <= now);
        let over: Vec<_> = self.pipes.iter().filter(|(_, pipe)| is_over(pipe)).map(|(&number, _)| number).collect();
        over.into_iter().for_each(|pipe| self.close(pipe));
        if now >= self.tick_due {
            self.tick_due = now + TICK;
            if let Some(files) = &self.shared.files {
                self.shared.losses.pass_time(files.are_well(), now);
            }
        }
    }
}
