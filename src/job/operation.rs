//! One operation that somebody outside asks of the job, and the way back for its responses.
//!
//! Invariants: an operation has exactly one last response, also when nobody gives it one; responses are numbered from 1 in
//! the order of sending; at most [`WINDOW`] of them, or [`WINDOW_BYTES`], are on their way at a time, so that they crowd
//! out nothing else of the control plane; nothing here waits unless it is told how long.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::stop::StopBell;
use crate::config::decode;
use crate::message::Response;

/// Responses of one operation that may be on their way to who asked.
pub(crate) const WINDOW: u64 = 64;

/// Bytes of them, as JSON, unless there is only one.
const WINDOW_BYTES: usize = 2 << 20;

/// The largest response, in bytes of JSON.
const MOST_BYTES: usize = 1 << 20;

/// How often who waits for room looks whether the job is to end.
const LOOK_AT_STOP: Duration = Duration::from_millis(50);

/// A last response whose receipt does not come within this time is sent again.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// How a response leaves.
#[derive(Clone)]
pub(super) struct Post(Arc<dyn Fn(&Response) + Send + Sync>);

impl Post {
    pub(super) fn new(send: impl Fn(&Response) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

/// How far the responses to one request have come.
#[derive(Debug)]
pub(super) struct Exchange {
    id: u64,
    post: Post,
    stop: StopBell,
    progress: Mutex<Progress>,
    /// Rung when there is more room, or none is needed any more.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    sent: u64,
    taken: u64,
    /// The sizes of those that are on their way.
    under_way: VecDeque<usize>,
    /// The last response, and when it was sent.
    last: Option<(Response, Instant)>,
    is_cancelled: bool,
}

impl Progress {
    fn is_over(&self) -> bool {
        self.is_cancelled || self.last.is_some()
    }

    fn has_room(&self, size: usize) -> bool {
        let bytes = || self.under_way.iter().sum::<usize>() + size;
        self.under_way.is_empty() || self.sent - self.taken < WINDOW && bytes() <= WINDOW_BYTES
    }
}

impl Exchange {
    pub(super) fn new(id: u64, post: Post, stop: StopBell) -> Self {
        Self { id, post, stop, progress: Mutex::default(), news: Condvar::new() }
    }

    /// Sends a response that is not the last; `false` if that is of no use any more.
    fn send(&self, data: Value, size: usize, within: Duration) -> bool {
        let until = Instant::now().checked_add(within);
        let mut progress = self.progress.lock();
        while !progress.is_over() && !progress.has_room(size) {
            let left = until.map_or(LOOK_AT_STOP, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.stop.has_rung() {
                let number = progress.sent + 1;
                let why = format!("who asked reads too slowly: response {number} found no room, and the rest is lost");
                self.send_last(&mut progress, true, why.into());
                return false;
            }
            self.news.wait_for(&mut progress, left.min(LOOK_AT_STOP));
        }
        if progress.is_over() {
            return false;
        }
        progress.sent += 1;
        progress.under_way.push_back(size);
        self.post.0(&Response { id: self.id, number: progress.sent, finished: false, failed: false, data });
        true
    }

    /// Sends the last response, if there was none.
    pub(super) fn end(&self, failed: bool, data: Value) {
        let mut progress = self.progress.lock();
        if !progress.is_over() {
            self.send_last(&mut progress, failed, data);
        }
    }

    fn send_last(&self, progress: &mut Progress, failed: bool, data: Value) {
        progress.sent += 1;
        let response = Response { id: self.id, number: progress.sent, finished: true, failed, data };
        self.post.0(&response);
        progress.last = Some((response, Instant::now()));
        self.news.notify_all();
    }

    /// Hears how many have been taken, and perhaps that no more are wanted; `true` if there is nothing more to hear.
    pub(super) fn receipt(&self, taken: u64, cancel: bool) -> bool {
        let mut progress = self.progress.lock();
        let taken = taken.clamp(progress.taken, progress.sent);
        for _ in progress.taken..taken {
            progress.under_way.pop_front();
        }
        progress.taken = taken;
        progress.is_cancelled |= cancel;
        self.news.notify_all();
        let is_taken = progress.last.as_ref().is_some_and(|(last, _)| last.number <= taken);
        is_taken || progress.is_cancelled
    }

    /// Sends the last response again if nobody has heard it.
    pub(super) fn repeat(&self, now: Instant) {
        let mut progress = self.progress.lock();
        if progress.is_cancelled {
            return;
        }
        if let Some((last, sent_at)) = &mut progress.last
            && now.saturating_duration_since(*sent_at) >= REPEAT_AFTER
        {
            *sent_at = now;
            self.post.0(last);
        }
    }

    fn is_over(&self) -> bool {
        self.progress.lock().is_over()
    }
}

/// Something that somebody outside asks of the job: `enrgdaq call JOB OPERATION KEY=VALUE …`.
///
/// It is over with [`finish`](Self::finish), [`fail`](Self::fail), a bad parameter, a response that found no room, the end
/// of the job; or when nobody waits for it any more. What is sent then goes nowhere, and does no harm. An operation that is
/// dropped without an answer has failed.
#[derive(Debug)]
pub struct Operation {
    name: String,
    parameters: Value,
    exchange: Arc<Exchange>,
}

impl Operation {
    /// From what came: an object whose `do` is the name.
    pub(super) fn new(operation: Value, exchange: Arc<Exchange>) -> Self {
        let mut parameters = if let Value::Object(object) = operation { object } else { Map::new() };
        let name = match parameters.remove("do") {
            Some(Value::String(name)) => name,
            _ => String::new(),
        };
        Self { name, parameters: Value::Object(parameters), exchange }
    }

    /// What is asked.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters: an object.
    pub fn parameters(&self) -> &Value {
        &self.parameters
    }

    /// The parameters as a type of the job's own. `None` if they are not such: then the operation has failed, and who asked
    /// is told which parameter is wrong. With `#[serde(deny_unknown_fields)]` that is so for unknown ones too.
    #[must_use]
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        decode(&self.parameters)
            .map_err(|refusal| {
                let key = if refusal.key.is_empty() { String::new() } else { format!("`{}`: ", refusal.key) };
                self.exchange.end(true, format!("{}: {key}{}", self.name, refusal.reason).into());
            })
            .ok()
    }

    /// Sends a response that is not the last. It never waits: one that finds no room, since who asked reads too slowly, ends
    /// the operation. `false` if the operation is over: nobody wants more.
    ///
    /// A response has at most 1 MiB as JSON; a larger one ends the operation.
    pub fn send(&self, data: impl Serialize) -> bool {
        self.send_within(data, Duration::ZERO)
    }

    /// As [`send`](Self::send), but waits so long for room, until the job is to end: for much that is sent by a thread which
    /// has nothing else to do.
    pub fn send_within(&self, data: impl Serialize, within: Duration) -> bool {
        match weighed(data) {
            Ok((data, size)) => self.exchange.send(data, size, within),
            Err(why) => {
                self.exchange.end(true, why.into());
                false
            }
        }
    }

    /// Sends the last response: the operation has been carried out.
    pub fn finish(self, data: impl Serialize) {
        match weighed(data) {
            Ok((data, _)) => self.exchange.end(false, data),
            Err(why) => self.exchange.end(true, why.into()),
        }
    }

    /// The operation cannot be carried out.
    pub fn fail(self, why: impl fmt::Display) {
        let mut why = why.to_string();
        why.truncate(why.floor_char_boundary(MOST_BYTES / 8));
        self.exchange.end(true, why.into());
    }

    /// The job has no such operation, only these.
    pub fn fail_unknown(self, known: &[&str]) {
        let why = format!("there is no operation `{}`: there are {}", self.name, known.join(", "));
        self.fail(why);
    }

    /// Whether it is over: nobody waits for it any more, or it has failed meanwhile. Worth a look in what takes long.
    pub fn is_cancelled(&self) -> bool {
        self.exchange.is_over()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.exchange.end(true, "the job gave no answer".into());
    }
}

/// Data as JSON, and its size as text.
fn weighed(data: impl Serialize) -> Result<(Value, usize), String> {
    let data = serde_json::to_value(data).map_err(|error| format!("its response cannot be written: {error}"))?;
    let mut size = Bytes(0);
    serde_json::to_writer(&mut size, &data).map_err(|error| format!("its response cannot be written: {error}"))?;
    match size.0 {
        size if size <= MOST_BYTES => Ok((data, size)),
        size => Err(format!("its response has {size} bytes, and one may have {MOST_BYTES}; it can be sent in parts")),
    }
}

/// Counts what is written.
struct Bytes(usize);

impl std::io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    type Sent = Arc<Mutex<Vec<Response>>>;

    fn operation(asked: Value) -> (Operation, Sent, StopBell) {
        let sent = Sent::default();
        let (kept, stop) = (sent.clone(), StopBell::new(Duration::from_secs(10)).unwrap());
        let post = Post::new(move |response| kept.lock().push(response.clone()));
        let exchange = Arc::new(Exchange::new(7, post, stop.clone()));
        (Operation::new(asked, exchange), sent, stop)
    }

    fn last(sent: &Sent) -> (u64, bool, Value) {
        let sent = sent.lock();
        let last = sent.last().unwrap();
        assert!(last.finished, "{sent:?}");
        (last.number, last.failed, last.data.clone())
    }

    #[test]
    fn responses_are_numbered_and_the_last_one_is_the_last() {
        let (operation, sent, _) = operation(json!({"do": "count", "to": 2}));
        assert_eq!((operation.name(), operation.parameters()), ("count", &json!({"to": 2})));

        assert!(operation.send(1) && operation.send(2));
        operation.finish(json!({"count": 2}));

        let numbers: Vec<_> = sent.lock().iter().map(|sent| (sent.number, sent.finished)).collect();
        assert_eq!(numbers, [(1, false), (2, false), (3, true)]);
        assert_eq!(last(&sent), (3, false, json!({"count": 2})));
    }

    #[test]
    fn an_operation_that_is_dropped_has_failed() {
        let (operation, sent, _) = operation(json!({"do": "x"}));

        drop(operation);

        assert_eq!(last(&sent), (1, true, json!("the job gave no answer")));
    }

    #[test]
    fn a_bad_parameter_is_named_to_who_asked() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rows {
            #[serde(rename = "rows")]
            _rows: u32,
        }
        let table = [
            (json!({"do": "dump", "rows": "five"}), "dump: `rows`: invalid type: string \"five\", expected u32"),
            (json!({"do": "dump"}), "dump: missing field `rows`"),
            (json!({"do": "dump", "rows": 5, "file": 1}), "dump: `file`: unknown field `file`, expected `rows`"),
        ];
        for (asked, why) in table {
            let (operation, sent, _) = operation(asked);

            assert!(operation.parse::<Rows>().is_none());
            operation.finish("never heard");

            assert_eq!(last(&sent), (1, true, json!(why)));
            assert_eq!(sent.lock().len(), 1);
        }
    }

    #[test]
    fn what_finds_no_room_ends_the_operation_by_its_number() {
        let (operation, sent, _) = operation(json!({"do": "x"}));

        let fits = (0..).take_while(|n| operation.send(n)).count() as u64;

        assert_eq!(fits, WINDOW);
        let why = format!("who asked reads too slowly: response {} found no room, and the rest is lost", WINDOW + 1);
        assert_eq!(last(&sent), (WINDOW + 1, true, json!(why)));
        assert!(operation.is_cancelled() && !operation.send(0));
    }

    #[test]
    fn large_responses_fill_the_room_sooner() {
        let (operation, sent, _) = operation(json!({"do": "x"}));
        let large = "x".repeat(MOST_BYTES - 2);

        let fits = (0..).take_while(|_| operation.send(&large)).count();

        assert_eq!((fits, sent.lock().len()), (2, 3));
    }

    #[test]
    fn who_waits_for_room_goes_on_when_some_was_taken() {
        let (operation, _sent, _) = operation(json!({"do": "x"}));
        (0..WINDOW).for_each(|n| assert!(operation.send(n)));
        let exchange = operation.exchange.clone();
        let taker = std::thread::spawn(move || exchange.receipt(1, false));

        assert!(operation.send_within("more", Duration::from_secs(60)));
        assert!(!taker.join().unwrap());
        assert!(!operation.send("too much"));
    }

    #[test]
    fn who_waits_for_room_hears_of_the_stop_and_of_the_cancel() {
        for is_stop in [true, false] {
            let (operation, _sent, stop) = operation(json!({"do": "x"}));
            (0..WINDOW).for_each(|n| assert!(operation.send(n)));
            let exchange = operation.exchange.clone();
            let other = std::thread::spawn(move || match is_stop {
                true => stop.ring(super::super::stop::Cause::Message),
                false => drop(exchange.receipt(0, true)),
            });

            assert!(!operation.send_within("more", Duration::MAX));
            other.join().unwrap();
        }
    }

    #[test]
    fn a_response_that_is_too_large_ends_the_operation() {
        let (operation, sent, _) = operation(json!({"do": "x"}));

        operation.finish("x".repeat(2_000_000));

        let (_, failed, why) = last(&sent);
        assert!(failed && why.as_str().unwrap().starts_with("its response has 2000002 bytes"), "{why}");
    }

    #[test]
    fn a_last_response_comes_again_until_there_is_a_receipt() {
        let (operation, sent, _) = operation(json!({"do": "x"}));
        let exchange = operation.exchange.clone();
        operation.finish(1);
        let later = Instant::now() + REPEAT_AFTER;

        exchange.repeat(Instant::now());
        assert_eq!(sent.lock().len(), 1, "too soon");
        exchange.repeat(later);
        assert_eq!(sent.lock().len(), 2);
        assert!(exchange.receipt(1, false));
    }

    #[test]
    fn a_receipt_for_what_was_never_sent_makes_no_room() {
        let (operation, _sent, _) = operation(json!({"do": "x"}));
        (0..3).for_each(|n| assert!(operation.send(n)));

        assert!(!operation.exchange.receipt(u64::MAX, false));
        assert!(!operation.exchange.receipt(1, false));

        assert_eq!((0..).take_while(|n| operation.send(n)).count() as u64, WINDOW);
    }
}
