//! The thread that writes the messages of the inbox to the program's standard input: a line of JSON each.
//!
//! A message is acknowledged when it is in the pipe. A program that does not read holds up this thread, and nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use enrgdaq::job::{Context, Delivery, JobError, Program};
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::letter::letter;
use super::pipe;

/// The input of a program that ends is closed a moment before its end is known.
const END_AFTER_CLOSE: Duration = Duration::from_millis(200);

/// The feeder.
#[derive(Debug)]
pub(super) struct Feeder {
    cx: Context,
    program: Program,
    stdin: Option<File>,
    feeds_watchdog: bool,
    is_told: bool,
}

impl Feeder {
    pub(super) fn new(cx: &Context, program: &Program, stdin: File, feeds_watchdog: bool) -> io::Result<Self> {
        fcntl_setfl(&stdin, fcntl_getfl(&stdin)? | OFlags::NONBLOCK)?;
        let (cx, program) = (cx.clone(), program.clone());
        Ok(Self { cx, program, stdin: Some(stdin), feeds_watchdog, is_told: false })
    }

    /// Feeds until the job is to stop, or the program has ended.
    pub(super) fn run(mut self) {
        while self.program.end().is_none() {
            match self.cx.inbox().next(Duration::from_secs(1)) {
                Ok(Some(delivery)) => self.feed(delivery),
                Ok(None) if self.cx.stopping() => return,
                Ok(None) => {}
                Err(error) => return tracing::error!("the program gets no messages any more: {}", chain(&error)),
            }
        }
    }

    fn feed(&mut self, mut delivery: Delivery) {
        let line = match letter(&mut delivery) {
            Ok(line) => line,
            Err(why) => {
                self.refuse(delivery, &why);
                return;
            }
        };
        match self.write(&line) {
            Ok(true) => {
                delivery.ack();
                if self.feeds_watchdog {
                    self.cx.alive();
                }
            }
            // It comes again, to the next process of this job, if it is to.
            Ok(false) => drop(delivery),
            Err(_) if self.has_ended() => drop(delivery),
            Err(error) => {
                self.stdin = None;
                self.refuse(delivery, &format!("it does not read its standard input any more ({error})"));
            }
        }
    }

    /// Writes all; `false` if the program has ended, or the job is to stop, before that was possible.
    fn write(&mut self, mut line: &[u8]) -> io::Result<bool> {
        let mut stdin = self.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        while !line.is_empty() {
            match stdin.write(line) {
                Ok(len) => line = &line[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let room = Some((stdin.as_fd(), PollFlags::OUT));
                    let others = [self.cx.stop_fd(), self.program.as_fd()].map(|fd| Some((fd, PollFlags::IN)));
                    let [has_room, is_stopping, has_ended] = pipe::wait([room, others[0], others[1]], None)?;
                    if !has_room && (is_stopping || has_ended) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the program has ended; one that has closed its input may be about to.
    fn has_ended(&self) -> bool {
        let patience = self.stdin.as_ref().map_or(Duration::ZERO, |_| END_AFTER_CLOSE);
        self.program.wait(Some(Instant::now() + patience)).is_some()
    }

    fn refuse(&mut self, delivery: Delivery, why: &str) {
        self.cx.refuse(1);
        delivery.ack();
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!("the program misses a message: {why}; others are only counted");
        }
    }
}

fn chain(error: &JobError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
