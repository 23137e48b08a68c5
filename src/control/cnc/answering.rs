//! Requests of tools made for ENRGDAQ, carried out here: each becomes a command, and its answer a response.
//!
//! Invariant: who asks is answered within five seconds, as he waits no longer; an order that takes its time goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::message::Message;
use super::picture::picture;
use super::places::Place;
use crate::control::{Caller, Command, Desk, JobRef, Refusal, Reply};
use crate::message::SupervisorInfo;

/// How long an order may take before it is said that it is under way.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is said then.
const UNDER_WAY: &str = "under way: it takes longer than 4 s and goes on; the status shows what comes of it";

/// The command that a request stands for; `None`: it needs none.
pub(super) fn command_of(request: &Message) -> Option<Command> {
    Some(match request.clone() {
        Message::ReqStatus { .. } => Command::Inventory,
        Message::ReqRestartDaq { update, .. } => Command::Renew { update },
        Message::ReqStopDaqJobs { .. } => Command::RestartAll,
        Message::ReqRunCustomDaqJob { config, restart_on_crash, .. } => {
            Command::Run { config, name: None, restart_on_crash: restart_on_crash.unwrap_or(true) }
        }
        Message::ReqStopDaqJob { daq_job_name: name, daq_job_unique_id: unique_id, remove, .. } => {
            Command::End { job: JobRef { name, unique_id }, remove }
        }
        Message::ReqSendMessage { message_type, payload, target_daq_job_unique_id: target, .. } => {
            Command::Send { message_type, payload, target }
        }
        _ => return None,
    })
}

/// The answer to a request that needs no command; `clients` are those that a list of them shows.
pub(super) fn at_once(
    request: &Message,
    clients: impl FnOnce() -> BTreeMap<String, Option<SupervisorInfo>>,
) -> Option<Message> {
    match request.clone() {
        Message::ReqPing { req_id } => Some(Message::ResPing { req_id }),
        Message::ReqListClients { req_id } => Some(Message::ResListClients { req_id, clients: clients() }),
        _ => None,
    }
}

/// Has a request carried out here.
///
/// # Errors
/// [`Refusal`], where a response cannot say that it was refused: the status. What is no request has no response either.
pub(super) async fn answer(
    desk: &Desk,
    caller: Caller,
    request: &Message,
    place: Option<Place>,
) -> Result<Message, Refusal> {
    let command = match command_of(request) {
        Some(Command::End { job: JobRef { name: None, unique_id: None }, .. }) => {
            return response(request, Err(bad_call("say which job: `daq_job_name` or `daq_job_unique_id`")));
        }
        Some(command) => command,
        None => return Err(bad_call("that is no request")),
    };
    let desk = desk.clone();
    let order = tokio::spawn(async move {
        let answer = desk.ask(&caller, command).await;
        drop(place);
        answer
    });
    match tokio::time::timeout(PATIENCE, order).await {
        Ok(answered) => response(request, answered.unwrap_or(Err(Refusal::Stopping))),
        Err(_) => response(request, Ok(Reply::Done { message: UNDER_WAY.into() })),
    }
}

fn bad_call(message: &str) -> Refusal {
    Refusal::of_class("BadCall", message)
}

/// The response to a request that could not be looked at.
pub(super) fn busy(request: &Message) -> Option<Message> {
    let busy = Refusal::of_class("Busy", "too busy: many requests are under way");
    response(request, Err(busy)).ok()
}

/// The response to a request, from what came of its command.
///
/// # Errors
/// The refusal, where the response cannot say it.
pub(super) fn response(request: &Message, answer: Result<Reply, Refusal>) -> Result<Message, Refusal> {
    let req_id = request.req_id().map(str::to_owned);
    if matches!(request, Message::ReqStatus { .. }) {
        return match answer? {
            Reply::Inventory { status, jobs } => {
                Ok(Message::ResStatus { req_id, status: Box::new(picture(*status, jobs, Timestamp::now())) })
            }
            _ => Err(bad_call("the status takes too long")),
        };
    }
    let success = answer.is_ok();
    let jobs_notified = if let Ok(Reply::Sent { jobs_notified, .. }) = answer { jobs_notified } else { 0 };
    let message = told(answer);
    Ok(match request {
        Message::ReqRestartDaq { .. } => Message::ResRestartDaq { req_id, success, message },
        Message::ReqStopDaqJobs { .. } => Message::ResStopDaqJobs { req_id, success, message },
        Message::ReqRunCustomDaqJob { .. } => Message::ResRunCustomDaqJob { req_id, success, message },
        Message::ReqStopDaqJob { .. } => Message::ResStopDaqJob { req_id, success, message },
        Message::ReqSendMessage { .. } => Message::ResSendMessage { req_id, success, message, jobs_notified },
        _ => return Err(bad_call(&message)),
    })
}

/// An answer in a line for people.
fn told(answer: Result<Reply, Refusal>) -> String {
    match answer {
        Ok(Reply::Done { message } | Reply::Sent { message, .. }) => message,
        Ok(Reply::Job { name, state }) => {
            let state = serde_json::to_value(state).unwrap_or_default();
            format!("`{name}` is {}", state.as_str().unwrap_or("there"))
        }
        Ok(Reply::Changes(changes)) => changes.to_string().trim_end().to_owned(),
        Ok(_) => "done".into(),
        Err(refusal) => refusal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::StateName;
    use crate::control::cnc::picture::tests::status;

    fn stop(name: Option<&str>) -> Message {
        let daq_job_name = name.map(str::to_owned);
        Message::ReqStopDaqJob { req_id: Some("9".into()), daq_job_name, daq_job_unique_id: None, remove: true }
    }

    #[test]
    fn each_request_that_does_something_is_a_command() {
        let run = |restart_on_crash| Message::ReqRunCustomDaqJob { req_id: None, config: "c".into(), restart_on_crash };
        let run_command = |restart_on_crash| Some(Command::Run { config: "c".into(), name: None, restart_on_crash });
        let end = Command::End { job: JobRef { name: Some("csv".into()), unique_id: None }, remove: true };
        let table = [
            (Message::ReqPing { req_id: None }, None),
            (Message::ReqStatus { req_id: None }, Some(Command::Inventory)),
            (Message::ReqRestartDaq { req_id: None, update: true }, Some(Command::Renew { update: true })),
            (Message::ReqStopDaqJobs { req_id: None }, Some(Command::RestartAll)),
            (run(None), run_command(true)),
            (run(Some(false)), run_command(false)),
            (stop(Some("csv")), Some(end)),
            (Message::ResPing { req_id: None }, None),
        ];
        for (request, command) in table {
            assert_eq!(command_of(&request), command, "{request:?}");
        }
    }

    #[test]
    fn a_response_says_what_came_of_its_request() {
        let done = response(&stop(Some("csv")), Ok(Reply::Job { name: "csv".into(), state: StateName::Stopped }));
        let Ok(Message::ResStopDaqJob { req_id: Some(id), success: true, message }) = done else { panic!("{done:?}") };
        assert_eq!((id.as_str(), message.as_str()), ("9", "`csv` is stopped"));

        let refused = response(&stop(Some("csv")), Err(Refusal::Stopping));
        let Ok(Message::ResStopDaqJob { success: false, message, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(message, "the supervisor is stopping");

        let status_of = |answer| response(&Message::ReqStatus { req_id: None }, answer);
        let inventory = Reply::Inventory { status: Box::new(status(&[])), jobs: Vec::new() };
        assert!(matches!(status_of(Ok(inventory)), Ok(Message::ResStatus { .. })));
        assert_eq!(status_of(Err(Refusal::Stopping)), Err(Refusal::Stopping));
    }

    #[test]
    fn who_is_too_busy_says_so_where_he_can() {
        assert!(matches!(busy(&stop(None)), Some(Message::ResStopDaqJob { success: false, .. })));
        assert_eq!(busy(&Message::ReqStatus { req_id: None }), None);
    }
}
