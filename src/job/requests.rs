//! Operations that somebody outside has for the job.
//!
//! ```text
//!  control plane ─▶ keeper ─▶ waiting (at most 64) ─▶ Requests::next ─▶ Operation ─▶ responses ─▶ control plane
//!                     └ nobody takes any, too many wait, the job is to end: failed at once
//! ```
//!
//! Invariant: a request that came is answered, whatever the job does with it; nothing grows with the number of requests.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use serde_json::Value;

use super::operation::{Exchange, Operation, Post};
use super::stop::StopBell;

/// Operations that wait for the job.
const MOST_WAITING: usize = 64;

/// Takes in what is asked, and sees to it that it is answered.
#[derive(Debug)]
pub(super) struct RequestDesk {
    state: Mutex<State>,
    /// Readable while an operation waits.
    waiting: OwnedFd,
    stop: StopBell,
}

#[derive(Debug, Default)]
struct State {
    /// Those of which nobody has said yet that their last response has come.
    open: HashMap<u64, Arc<Exchange>>,
    waiting: VecDeque<Operation>,
    /// So many [`Requests`] there are.
    takers: usize,
    is_closed: bool,
}

impl State {
    /// Why no operation is taken in.
    fn objection(&self, is_stopping: bool) -> Option<&'static str> {
        match (self.is_closed || is_stopping, self.takers, self.waiting.len()) {
            (true, ..) => Some("it is about to end"),
            (_, 0, _) => Some("it answers no operations"),
            (.., MOST_WAITING..) => Some("too many operations wait for it"),
            _ => None,
        }
    }
}

impl RequestDesk {
    pub(super) fn new(stop: StopBell) -> io::Result<Self> {
        let waiting = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), waiting, stop })
    }

    /// Takes in what somebody asks, or answers at once why not.
    pub(super) fn take(&self, id: u64, operation: Value, post: Post) {
        let exchange = Arc::new(Exchange::new(id, post, self.stop.clone()));
        let mut state = self.state.lock();
        if state.open.contains_key(&id) {
            return;
        }
        state.open.insert(id, exchange.clone());
        match state.objection(self.stop.has_rung()) {
            Some(why) => exchange.end(true, why.into()),
            None => {
                state.waiting.push_back(Operation::new(operation, exchange));
                rustix::io::write(&self.waiting, &1u64.to_ne_bytes()).ok();
            }
        }
    }

    /// Hears what became of responses.
    pub(super) fn receipt(&self, id: u64, taken: u64, cancel: bool) {
        let mut state = self.state.lock();
        if state.open.get(&id).is_some_and(|exchange| exchange.receipt(taken, cancel)) {
            state.open.remove(&id);
            if cancel {
                // Nobody has to carry it out any more.
                state.waiting.retain(|operation| !operation.is_cancelled());
                self.show(&state);
            }
        }
    }

    /// Last responses that perhaps were not heard are sent again.
    pub(super) fn repeat(&self) {
        let now = Instant::now();
        self.state.lock().open.values().for_each(|exchange| exchange.repeat(now));
    }

    /// The job has ended: all that is open has failed.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.open.values().for_each(|exchange| exchange.end(true, "it ended before it answered".into()));
        state.waiting.clear();
    }

    fn pop(&self) -> Option<Operation> {
        let mut state = self.state.lock();
        let operation = state.waiting.pop_front();
        self.show(&state);
        operation
    }

    /// The descriptor is readable only while an operation waits.
    fn show(&self, state: &State) {
        if state.waiting.is_empty() {
            rustix::io::read(&self.waiting, &mut [0u8; 8]).ok();
        }
    }

    /// Waits for an operation, or the stop.
    fn wait(&self, left: Option<Duration>) {
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&self.waiting, PollFlags::IN), PollFd::new(self.stop.bell(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!("the wait for operations failed: {error}"),
        }
    }
}

/// The operations that somebody outside has for the job: `enrgdaq call JOB OPERATION KEY=VALUE …`.
///
/// From [`Context::requests`](super::Context::requests). What waits when the last of them is dropped has failed.
#[derive(Debug)]
pub struct Requests(Arc<RequestDesk>);

impl Requests {
    pub(super) fn new(desk: Arc<RequestDesk>) -> Self {
        desk.state.lock().takers += 1;
        Self(desk)
    }

    /// The next operation; `None` when none came in time, or the job is to end. So it can stand where a job would sleep.
    pub fn next(&self, within: Duration) -> Option<Operation> {
        let until = Instant::now().checked_add(within);
        loop {
            if self.0.stop.has_rung() {
                return None;
            }
            if let Some(operation) = self.0.pop() {
                return Some(operation);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            self.0.wait(left);
        }
    }
}

impl AsFd for Requests {
    /// For a poll of one's own, beside [`stop_fd`](super::Context::stop_fd): readable while an operation waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.waiting.as_fd()
    }
}

impl Clone for Requests {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.takers -= 1;
        // At the end of the job all fail together.
        if state.takers == 0 && !self.0.stop.has_rung() {
            let given_up = std::mem::take(&mut state.waiting);
            self.0.show(&state);
            given_up.into_iter().for_each(|operation| operation.fail("it answers no operations any more"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::stop::Cause;
    use super::*;
    use crate::message::Response;

    struct Outside {
        desk: Arc<RequestDesk>,
        stop: StopBell,
        answers: Arc<Mutex<Vec<Response>>>,
    }

    impl Outside {
        fn new() -> Self {
            let stop = StopBell::new(Duration::from_secs(10)).unwrap();
            let desk = Arc::new(RequestDesk::new(stop.clone()).unwrap());
            Self { desk, stop, answers: Arc::default() }
        }

        fn ask(&self, id: u64) {
            let answers = self.answers.clone();
            let post = Post::new(move |response| answers.lock().push(response.clone()));
            self.desk.take(id, json!({"do": "x"}), post);
        }

        /// Which call was answered how.
        fn answers(&self) -> Vec<(u64, bool, Value)> {
            self.answers.lock().iter().map(|answer| (answer.id, answer.failed, answer.data.clone())).collect()
        }
    }

    fn is_readable(requests: &Requests) -> bool {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(requests, PollFlags::IN)], Some(&none)).unwrap() > 0
    }

    #[test]
    fn a_job_that_never_took_requests_says_so_at_once() {
        let outside = Outside::new();

        outside.ask(2);

        assert_eq!(outside.answers(), [(2, true, json!("it answers no operations"))]);
    }

    #[test]
    fn operations_come_in_their_order_and_the_descriptor_tells_of_them() {
        let outside = Outside::new();
        let requests = Requests::new(outside.desk.clone());
        assert!(!is_readable(&requests) && requests.next(Duration::ZERO).is_none());

        [2, 3].iter().for_each(|&id| outside.ask(id));

        assert!(is_readable(&requests));
        requests.next(Duration::MAX).unwrap().finish("a");
        assert!(is_readable(&requests));
        requests.next(Duration::MAX).unwrap().finish("b");
        assert!(!is_readable(&requests));
        assert_eq!(outside.answers(), [(2, false, json!("a")), (3, false, json!("b"))]);
    }

    #[test]
    fn what_is_too_much_is_refused_and_what_waits_stays() {
        let outside = Outside::new();
        let requests = Requests::new(outside.desk.clone());

        (0..=MOST_WAITING as u64).for_each(|id| outside.ask(id));

        assert_eq!(outside.answers(), [(MOST_WAITING as u64, true, json!("too many operations wait for it"))]);
        drop(requests);
        assert!(outside.answers()[1..].iter().all(|answer| answer.2 == "it answers no operations any more"));
        assert_eq!(outside.answers().len(), MOST_WAITING + 1);
    }

    #[test]
    fn at_the_end_all_that_is_open_has_failed() {
        let outside = Outside::new();
        let requests = Requests::new(outside.desk.clone());
        [2, 3].iter().for_each(|&id| outside.ask(id));
        let taken = requests.next(Duration::MAX).unwrap();
        outside.stop.ring(Cause::Message);
        assert!(requests.next(Duration::MAX).is_none());

        outside.ask(4);
        drop(requests);
        outside.desk.close();
        taken.finish("too late");

        let mut answers = outside.answers();
        answers.sort_by_key(|answer| answer.0);
        let ended = json!("it ended before it answered");
        assert_eq!(answers, [(2, true, ended.clone()), (3, true, ended), (4, true, json!("it is about to end"))]);
    }

    #[test]
    fn who_does_not_wait_any_more_leaves_the_queue() {
        let outside = Outside::new();
        let requests = Requests::new(outside.desk.clone());
        [2, 3].iter().for_each(|&id| outside.ask(id));

        outside.desk.receipt(2, 0, true);

        requests.next(Duration::ZERO).unwrap().finish("b");
        assert!(requests.next(Duration::ZERO).is_none() && !is_readable(&requests));
        assert_eq!(outside.answers(), [(3, false, json!("b"))]);
    }

    #[test]
    fn an_answer_is_forgotten_only_when_it_has_been_heard() {
        let outside = Outside::new();
        outside.ask(2);
        assert_eq!(outside.desk.state.lock().open.len(), 1);

        outside.desk.receipt(2, 1, false);

        assert!(outside.desk.state.lock().open.is_empty());
    }
}
