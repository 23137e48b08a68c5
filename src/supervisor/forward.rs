//! Operations that jobs carry out for somebody outside.
//!
//! ```text
//!  asker ──▶ Dispatcher::forward ── Request ──▶ job            one Call each
//!  asker ◀── courier (a task a call) ◀── Dispatcher ◀── Response ── job
//!               └─ "taken so many", "the asker is gone" ──▶ Dispatcher ── Receipt ──▶ job
//! ```
//!
//! The courier hands parts over as fast as the asker takes them, so that the dispatcher waits for nobody; what it has handed
//! over makes room for as much at the job.
//!
//! Invariants: every call gets exactly one answer, after all parts that came before it; a gap in the numbers of the
//! responses fails the call; so does the end of the process that it was given to.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dispatcher::{Dispatcher, Mail, Mailbox};
use super::entry::Presence;
use super::orders::Asker;
use super::phases::Phase;
use crate::control::{Refusal, Reply, StateName};
use crate::job::WINDOW;
use crate::message::{Receipt, Request, Response, Topic};

/// Calls that a job may have at a time: what all of them may have on its way is less than the control plane holds.
const MOST_CALLS: usize = 128;

/// So many parts at the latest are told of when they have been taken.
const TELL_EVERY: u64 = WINDOW / 4;

/// How long the last responses of a process that has ended may still be on their way.
const LAST_RESPONSES: Duration = Duration::from_millis(100);

/// How long the last answers of a supervisor may take to those that wait for them.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// What comes to the dispatcher about calls.
#[derive(Debug)]
pub(crate) enum CallNews {
    /// A job answered.
    Response { unique_id: String, instance_id: String, response: Response },
    /// The asker has so many parts.
    Taken { id: u64, parts: u64 },
    /// The asker waits no more.
    AskerGone { id: u64 },
    /// No response comes any more from this start of a job.
    Silent { job: usize, generation: u64 },
}

/// All calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: HashMap<u64, Call>,
    last_id: u64,
    couriers: JoinSet<()>,
}

/// A call that a job has.
#[derive(Debug)]
struct Call {
    job: usize,
    name: String,
    unique_id: String,
    instance_id: String,
    generation: u64,
    /// To the courier.
    pieces: mpsc::UnboundedSender<Piece>,
    /// Responses that came.
    heard: u64,
    /// Of these, parts that the asker has.
    taken: u64,
    /// How the process ended, if it did.
    end: Option<String>,
}

/// What a courier carries.
#[derive(Debug)]
enum Piece {
    Part(Value),
    Last(Result<Value, Refusal>),
}

/// What a response is to its call.
#[derive(Debug, PartialEq)]
enum Heard {
    /// It came before.
    Again,
    /// One more.
    Next,
    /// So many are missing before it.
    Gap(u64),
    /// More than may be on their way.
    TooMany,
}

impl Call {
    fn hear(&mut self, number: u64, finished: bool) -> Heard {
        if number <= self.heard {
            return Heard::Again;
        }
        let missing = number - self.heard - 1;
        if missing > 0 {
            return Heard::Gap(missing);
        }
        if !finished && self.heard - self.taken >= WINDOW {
            return Heard::TooMany;
        }
        self.heard = number;
        Heard::Next
    }

    fn failed(&self, why: String) -> Result<Value, Refusal> {
        Err(Refusal::Operation { name: self.name.clone(), why, data: Value::Null })
    }

    /// The last response as the answer: why something failed is a text.
    fn answer(&self, response: Response) -> Result<Value, Refusal> {
        match (response.failed, response.data) {
            (false, data) => Ok(data),
            (true, Value::String(why)) => self.failed(why),
            (true, data) => {
                Err(Refusal::Operation { name: self.name.clone(), why: "the operation failed".into(), data })
            }
        }
    }
}

impl Dispatcher {
    /// Hands an operation to a job; what it answers goes to `parts`, its last response is the answer.
    pub(super) fn forward(&mut self, name: &str, operation: Value, parts: mpsc::Sender<Value>, asker: Asker) {
        match self.admit_call(name) {
            Ok(job) => self.begin_call(job, operation, parts, asker),
            Err(refusal) => drop(asker.send(Err(refusal))),
        }
    }

    /// The job that is meant, by its name or unique id, if it can carry out something now.
    fn admit_call(&self, name: &str) -> Result<usize, Refusal> {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return Err(Refusal::Stopping);
        }
        let is_here = |job: &&usize| self.parts.entries[**job].presence != Presence::Gone;
        let by_id = || self.by_unique_id.get(name).filter(is_here).copied();
        let job = self.find(name).or_else(|refusal| by_id().ok_or(refusal))?;
        let entry = &self.parts.entries[job];
        let (name, state) = (entry.name().to_owned(), entry.state.name());
        match state {
            StateName::Ready => {}
            StateName::Starting | StateName::Stopping => {
                let why = "it carries out operations only while it is ready".into();
                return Err(Refusal::Failed { name, state, why });
            }
            StateName::Stopped | StateName::Waiting | StateName::BackingOff | StateName::Exited | StateName::Fatal => {
                return Err(Refusal::NoProcess { name, state });
            }
        }
        let open = self.calls.open.values().filter(|call| call.job == job).count();
        if open >= MOST_CALLS {
            let why = format!("it has {open} operations under way already");
            return Err(Refusal::Operation { name, why, data: Value::Null });
        }
        Ok(job)
    }

    fn begin_call(&mut self, job: usize, operation: Value, parts: mpsc::Sender<Value>, asker: Asker) {
        self.calls.last_id += 1;
        let id = self.calls.last_id;
        let entry = &self.parts.entries[job];
        let (pieces, carried) = mpsc::unbounded_channel();
        let call = Call {
            job,
            name: entry.name().to_owned(),
            unique_id: entry.config.unique_id.clone(),
            instance_id: entry.instance_id.clone().unwrap_or_default(),
            generation: entry.generation,
            pieces,
            heard: 0,
            taken: 0,
            end: None,
        };
        let request = Request {
            id,
            instance_id: call.instance_id.clone(),
            operation,
            reply_topic: Topic::internal(&self.parts.info.supervisor_id).as_str().to_owned(),
        };
        let topic = Topic::job(&call.unique_id);
        self.calls.open.insert(id, call);
        while self.calls.couriers.try_join_next().is_some() {}
        let mailbox = self.parts.mailbox.clone();
        self.calls.couriers.spawn(carry(id, carried, parts, asker, mailbox));
        if !self.parts.link.send(topic, &request) {
            self.fail_call(id, "its process cannot be reached over the bus".into());
        }
    }

    pub(super) fn on_call(&mut self, news: CallNews) {
        match news {
            CallNews::Response { unique_id, instance_id, response } => {
                self.on_response(&unique_id, &instance_id, response);
            }
            CallNews::Taken { id, parts } => {
                if let Some(call) = self.calls.open.get_mut(&id) {
                    call.taken = parts;
                    self.receipt(id, parts, false);
                }
            }
            CallNews::AskerGone { id } => {
                self.receipt(id, 0, true);
                self.calls.open.remove(&id);
            }
            CallNews::Silent { job, generation } => {
                let is_over = |call: &Call| (call.job, call.generation) == (job, generation);
                let over: Vec<_> =
                    self.calls.open.iter().filter(|(_, call)| is_over(call)).map(|(&id, _)| id).collect();
                for id in over {
                    let end = self.calls.open.get_mut(&id).and_then(|call| call.end.take());
                    let how = end.map_or_else(String::new, |end| format!(": {end}"));
                    self.fail_call(id, format!("it ended before it answered{how}"));
                }
            }
        }
    }

    fn on_response(&mut self, unique_id: &str, instance_id: &str, response: Response) {
        let (id, number, finished) = (response.id, response.number, response.finished);
        let Some(call) = self.calls.open.get_mut(&id).filter(|call| call.instance_id == instance_id) else {
            // Nobody waits for it any more, which its job has not heard, or not heard yet.
            let receipt = Receipt { id, taken: number, cancel: true };
            self.parts.link.send(Topic::job(unique_id), &receipt);
            return;
        };
        match call.hear(number, finished) {
            Heard::Again => {}
            Heard::Gap(missing) => self.fail_call(id, format!("{missing} of its responses were lost")),
            Heard::TooMany => self.fail_call(id, "it sent more responses than there is room for".into()),
            Heard::Next if finished => {
                let answer = call.answer(response);
                call.pieces.send(Piece::Last(answer)).ok();
                self.receipt(id, number, false);
                self.calls.open.remove(&id);
            }
            // Without a courier its mail is on the way.
            Heard::Next => drop(call.pieces.send(Piece::Part(response.data))),
        }
    }

    /// Ends a call as failed, and tells its job that nobody waits any more.
    fn fail_call(&mut self, id: u64, why: String) {
        self.receipt(id, 0, true);
        if let Some(call) = self.calls.open.remove(&id) {
            call.pieces.send(Piece::Last(call.failed(why))).ok();
        }
    }

    fn receipt(&self, id: u64, taken: u64, cancel: bool) {
        if let Some(call) = self.calls.open.get(&id) {
            self.parts.link.send(Topic::job(&call.unique_id), &Receipt { id, taken, cancel });
        }
    }

    /// A job's process has ended, or only what it has started still runs: calls that it has not answered fail, as soon as what
    /// it said last has come.
    pub(super) fn end_calls_of(&mut self, job: usize, generation: u64, end: Option<String>) {
        let of_it = |call: &&mut Call| (call.job, call.generation) == (job, generation);
        let mut left = self.calls.open.values_mut().filter(of_it).peekable();
        if left.peek().is_none() {
            return;
        }
        left.for_each(|call| call.end.clone_from(&end));
        let mailbox = self.parts.mailbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_RESPONSES).await;
            mailbox.send(Mail::Call(CallNews::Silent { job, generation })).await.ok();
        });
    }

    /// The supervisor ends: whoever still waits for an answer gets one.
    pub(super) async fn end_calls(&mut self) {
        while self.calls.couriers.try_join_next().is_some() {}
        if self.calls.couriers.is_empty() {
            return;
        }
        let open: Vec<_> = self.calls.open.keys().copied().collect();
        for id in open {
            let end = self.calls.open.get_mut(&id).and_then(|call| call.end.take());
            let how = end.map_or_else(String::new, |end| format!(": {end}"));
            self.fail_call(id, format!("it ended before it answered{how}"));
        }
        let carried = async { while self.calls.couriers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, carried).await.is_ok() {
            // From the courier's hands it still has to go through those of the way in.
            tokio::time::sleep(LAST_ANSWERS / 4).await;
        }
    }
}

/// Carries what comes to who asked, as fast as he takes it.
async fn carry(
    id: u64,
    mut pieces: mpsc::UnboundedReceiver<Piece>,
    parts: mpsc::Sender<Value>,
    mut asker: Asker,
    mailbox: Mailbox,
) {
    let (mut taken, mut told) = (0, 0);
    loop {
        let piece = tokio::select! {
            () = asker.closed() => break,
            piece = pieces.recv() => piece,
        };
        match piece {
            Some(Piece::Part(data)) => {
                tokio::select! {
                    () = asker.closed() => break,
                    // An error means that he wants the answer only.
                    _ = parts.send(data) => {}
                }
                taken += 1;
                if pieces.is_empty() || taken - told >= TELL_EVERY {
                    told = taken;
                    mailbox.send(Mail::Call(CallNews::Taken { id, parts: taken })).await.ok();
                }
            }
            Some(Piece::Last(answer)) => return drop(asker.send(answer.map(|data| Reply::Response { data }))),
            None => return,
        }
    }
    mailbox.send(Mail::Call(CallNews::AskerGone { id })).await.ok();
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;

    fn call() -> Call {
        Call {
            job: 0,
            name: "hv".into(),
            unique_id: "u".into(),
            instance_id: "i".into(),
            generation: 1,
            pieces: mpsc::unbounded_channel().0,
            heard: 0,
            taken: 0,
            end: None,
        }
    }

    #[test]
    fn a_gap_in_the_numbers_is_counted_and_what_comes_again_is_passed_over() {
        let mut call = call();

        let heard = [1, 2, 2, 5, 3].map(|number| call.hear(number, false));

        assert_eq!(heard, [Heard::Next, Heard::Next, Heard::Again, Heard::Gap(2), Heard::Next]);
        assert_eq!(call.hear(u64::MAX, true), Heard::Gap(u64::MAX - 4));
    }

    #[test]
    fn a_job_that_sends_more_than_it_may_is_told_from_one_that_answers() {
        let mut call = call();
        (1..=WINDOW).for_each(|number| assert_eq!(call.hear(number, false), Heard::Next));

        assert_eq!(call.hear(WINDOW + 1, false), Heard::TooMany);
        call.taken = 1;
        assert_eq!(call.hear(WINDOW + 1, false), Heard::Next);
        assert_eq!(call.hear(WINDOW + 2, true), Heard::Next, "there is always room for the last one");
    }

    #[test]
    fn why_an_operation_failed_is_its_text_and_all_else_is_data() {
        let response = |failed, data| Response { id: 1, number: 1, finished: true, failed, data };
        let refusal = |why: &str, data| Err(Refusal::Operation { name: "hv".into(), why: why.into(), data });
        let table = [
            (false, json!("good"), Ok(json!("good"))),
            (true, json!("no such channel"), refusal("no such channel", Value::Null)),
            (true, json!({"channel": 17}), refusal("the operation failed", json!({"channel": 17}))),
        ];
        for (failed, data, expected) in table {
            assert_eq!(call().answer(response(failed, data)), expected);
        }
    }

    struct Carried {
        pieces: mpsc::UnboundedSender<Piece>,
        parts: mpsc::Receiver<Value>,
        answer: oneshot::Receiver<Result<Reply, Refusal>>,
        mail: mpsc::Receiver<Mail>,
    }

    fn courier(room: usize) -> Carried {
        let (pieces, carried) = mpsc::unbounded_channel();
        let (to_parts, parts) = mpsc::channel(room);
        let (asker, answer) = oneshot::channel();
        let (mailbox, mail) = mpsc::channel(1000);
        tokio::spawn(carry(7, carried, to_parts, asker, mailbox));
        Carried { pieces, parts, answer, mail }
    }

    #[tokio::test]
    async fn parts_come_in_their_order_and_the_answer_after_them() {
        let Carried { pieces, mut parts, answer, .. } = courier(1);
        (0..5).for_each(|n| drop(pieces.send(Piece::Part(n.into()))));
        pieces.send(Piece::Last(Ok("end".into()))).unwrap();

        let mut came = Vec::new();
        while let Some(part) = parts.recv().await {
            came.push(part);
        }

        assert_eq!(came, [0, 1, 2, 3, 4].map(Value::from));
        assert_eq!(answer.await.unwrap(), Ok(Reply::Response { data: "end".into() }));
    }

    #[tokio::test]
    async fn who_wants_no_parts_gets_the_answer_and_who_is_gone_is_told_of() {
        let Carried { pieces, parts, answer, mut mail } = courier(1);
        drop(parts);
        (0..5).for_each(|n| drop(pieces.send(Piece::Part(n.into()))));

        while !matches!(mail.recv().await.unwrap(), Mail::Call(CallNews::Taken { id: 7, parts: 5 })) {}
        drop(answer);

        assert!(matches!(mail.recv().await.unwrap(), Mail::Call(CallNews::AskerGone { id: 7 })));
    }

    #[tokio::test]
    async fn only_what_was_taken_is_told_as_taken() {
        let Carried { pieces, mut parts, answer: _answer, mut mail } = courier(1);
        (0..WINDOW).for_each(|n| drop(pieces.send(Piece::Part(n.into()))));

        while tokio::time::timeout(Duration::from_millis(1), parts.recv()).await.is_ok() {}
        let mut last = 0;
        while let Ok(Mail::Call(CallNews::Taken { parts, .. })) = mail.try_recv() {
            assert!(parts > last && parts - last <= TELL_EVERY, "{last} {parts}");
            last = parts;
        }

        assert_eq!(last, WINDOW);
    }
}
