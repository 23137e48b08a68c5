//! The messages between a CNC server and its clients, as tools made for ENRGDAQ speak them: MessagePack maps tagged by `type`.
//!
//! Invariant: names of types and fields never change; a missing optional field is the same as nil; fields that are not known
//! are passed over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::config::Role;
use crate::message::{JobInfo, JobStats, SupervisorInfo};

/// A message, either way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[expect(clippy::enum_variant_names, reason = "each is called as it is on the wire")]
pub(crate) enum Message {
    #[serde(rename = "CNCMessageHeartbeat")]
    Heartbeat {
        #[serde(default)]
        req_id: Option<String>,
        supervisor_info: SupervisorInfo,
    },
    #[serde(rename = "CNCMessageLog")]
    Log {
        #[serde(default)]
        req_id: Option<String>,
        #[serde(flatten)]
        log: ClientLog,
    },
    #[serde(rename = "CNCMessageReqPing")]
    ReqPing {
        #[serde(default)]
        req_id: Option<String>,
    },
    #[serde(rename = "CNCMessageResPing")]
    ResPing {
        #[serde(default)]
        req_id: Option<String>,
    },
    #[serde(rename = "CNCMessageReqStatus")]
    ReqStatus {
        #[serde(default)]
        req_id: Option<String>,
    },
    #[serde(rename = "CNCMessageResStatus")]
    ResStatus {
        #[serde(default)]
        req_id: Option<String>,
        status: Box<NodeStatus>,
    },
    #[serde(rename = "CNCMessageReqListClients")]
    ReqListClients {
        #[serde(default)]
        req_id: Option<String>,
    },
    #[serde(rename = "CNCMessageResListClients")]
    ResListClients {
        #[serde(default)]
        req_id: Option<String>,
        clients: BTreeMap<String, Option<SupervisorInfo>>,
    },
    #[serde(rename = "CNCMessageReqRestartDAQ")]
    ReqRestartDaq {
        #[serde(default)]
        req_id: Option<String>,
        #[serde(default)]
        update: bool,
    },
    #[serde(rename = "CNCMessageResRestartDAQ")]
    ResRestartDaq {
        #[serde(default)]
        req_id: Option<String>,
        success: bool,
        message: String,
    },
    #[serde(rename = "CNCMessageReqStopDAQJobs")]
    ReqStopDaqJobs {
        #[serde(default)]
        req_id: Option<String>,
    },
    #[serde(rename = "CNCMessageResStopDAQJobs")]
    ResStopDaqJobs {
        #[serde(default)]
        req_id: Option<String>,
        success: bool,
        message: String,
    },
    #[serde(rename = "CNCMessageReqRunCustomDAQJob")]
    ReqRunCustomDaqJob {
        #[serde(default)]
        req_id: Option<String>,
        config: String,
        #[serde(default)]
        restart_on_crash: Option<bool>,
    },
    #[serde(rename = "CNCMessageResRunCustomDAQJob")]
    ResRunCustomDaqJob {
        #[serde(default)]
        req_id: Option<String>,
        success: bool,
        message: String,
    },
    #[serde(rename = "CNCMessageReqStopDAQJob")]
    ReqStopDaqJob {
        #[serde(default)]
        req_id: Option<String>,
        #[serde(default)]
        daq_job_name: Option<String>,
        #[serde(default)]
        daq_job_unique_id: Option<String>,
        #[serde(default)]
        remove: bool,
    },
    #[serde(rename = "CNCMessageResStopDAQJob")]
    ResStopDaqJob {
        #[serde(default)]
        req_id: Option<String>,
        success: bool,
        message: String,
    },
    #[serde(rename = "CNCMessageReqSendMessage")]
    ReqSendMessage {
        #[serde(default)]
        req_id: Option<String>,
        message_type: String,
        payload: String,
        #[serde(default)]
        target_daq_job_unique_id: Option<String>,
    },
    #[serde(rename = "CNCMessageResSendMessage")]
    ResSendMessage {
        #[serde(default)]
        req_id: Option<String>,
        success: bool,
        message: String,
        jobs_notified: usize,
    },
    /// Ours: any command, in the words of the control socket, from a server to a client.
    #[serde(rename = "CNCMessageReqCommand")]
    ReqCommand {
        #[serde(default)]
        req_id: Option<String>,
        call: Value,
        who: String,
        from: String,
        role: Role,
    },
    /// Ours: one of the answers to it; the last one is `finished`.
    #[serde(rename = "CNCMessageResCommand")]
    ResCommand {
        #[serde(default)]
        req_id: Option<String>,
        finished: bool,
        /// What the control socket would say, without `id`; while nothing is to be told: an empty object, once a second.
        answer: Value,
    },
    /// Ours: nobody waits for the answer to a `CNCMessageReqCommand` any more; this one is not answered.
    #[serde(rename = "CNCMessageReqCancel")]
    ReqCancel {
        #[serde(default)]
        req_id: Option<String>,
    },
}

/// What a message is, and whether it asks or answers.
macro_rules! table {
    ($($variant:ident $name:literal),* $(,)?) => {
        impl Message {
            /// Its `type`.
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name),* }
            }

            /// Which request it is, or which it answers.
            pub(crate) fn req_id(&self) -> Option<&str> {
                match self { $(Self::$variant { req_id, .. } => req_id.as_deref()),* }
            }

            /// The same, as or for that request.
            #[must_use]
            pub(crate) fn with_req_id(mut self, id: Option<String>) -> Self {
                match &mut self { $(Self::$variant { req_id, .. } => *req_id = id),* }
                self
            }
        }
    };
}

table! {
    Heartbeat "CNCMessageHeartbeat",
    Log "CNCMessageLog",
    ReqPing "CNCMessageReqPing",
    ResPing "CNCMessageResPing",
    ReqStatus "CNCMessageReqStatus",
    ResStatus "CNCMessageResStatus",
    ReqListClients "CNCMessageReqListClients",
    ResListClients "CNCMessageResListClients",
    ReqRestartDaq "CNCMessageReqRestartDAQ",
    ResRestartDaq "CNCMessageResRestartDAQ",
    ReqStopDaqJobs "CNCMessageReqStopDAQJobs",
    ResStopDaqJobs "CNCMessageResStopDAQJobs",
    ReqRunCustomDaqJob "CNCMessageReqRunCustomDAQJob",
    ResRunCustomDaqJob "CNCMessageResRunCustomDAQJob",
    ReqStopDaqJob "CNCMessageReqStopDAQJob",
    ResStopDaqJob "CNCMessageResStopDAQJob",
    ReqSendMessage "CNCMessageReqSendMessage",
    ResSendMessage "CNCMessageResSendMessage",
    ReqCommand "CNCMessageReqCommand",
    ResCommand "CNCMessageResCommand",
    ReqCancel "CNCMessageReqCancel",
}

/// What every name of a request, and of a response, begins with.
const REQUEST: &str = "CNCMessageReq";
const RESPONSE: &str = "CNCMessageRes";

impl Message {
    /// Whether it wants an answer.
    pub(crate) fn is_request(&self) -> bool {
        self.name().starts_with(REQUEST)
    }

    /// Whether it is an answer to a request of that name.
    pub(crate) fn answers(&self, request: &str) -> bool {
        let rest = |name: &'static str| name.strip_prefix(RESPONSE);
        rest(self.name()).is_some_and(|rest| request.strip_prefix(REQUEST) == Some(rest))
    }
}

/// A line of a client's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClientLog {
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR`.
    pub(crate) level: String,
    /// What was said.
    pub(crate) message: String,
    /// When, ISO 8601.
    pub(crate) timestamp: String,
    /// Who said it: a job, or `supervisor`.
    pub(crate) module: String,
    /// Of which supervisor.
    pub(crate) client_id: String,
}

/// The picture of a supervisor, as tools made for ENRGDAQ read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeStatus {
    /// Whose it is.
    pub(crate) supervisor_info: SupervisorInfo,
    /// Its jobs.
    pub(crate) daq_jobs: Vec<JobInfo>,
    /// Supervisor id → job type → figures; of several jobs of a type the first stands under the type, the others under
    /// `TYPE (NAME)`.
    pub(crate) daq_job_stats: BTreeMap<String, BTreeMap<String, JobStats>>,
    /// Supervisor id → what this one saw of it.
    pub(crate) daq_job_remote_stats: BTreeMap<String, crate::message::RemoteStats>,
    /// Jobs that are to be started again.
    pub(crate) restart_schedules: Vec<RestartSchedule>,
}

/// A job that is to be started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RestartSchedule {
    /// Its name.
    pub(crate) job: String,
    /// When, ISO 8601 with offset.
    pub(crate) restart_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_name_under_which_it_is_sent() {
        let ping = Message::ReqPing { req_id: Some("7".into()) };
        let log = ClientLog {
            level: "INFO".into(),
            message: "m".into(),
            timestamp: "t".into(),
            module: "csv".into(),
            client_id: "lab1".into(),
        };
        let log = Message::Log { req_id: None, log };
        for message in [ping.clone(), log, Message::ReqCancel { req_id: None }] {
            assert_eq!(serde_json::to_value(&message).unwrap()["type"], message.name());
        }
        assert_eq!(ping.req_id(), Some("7"));
        assert_eq!(ping.with_req_id(None).req_id(), None);
    }

    #[test]
    fn a_response_answers_its_own_request_only() {
        let response = Message::ResPing { req_id: None };
        assert!(response.answers("CNCMessageReqPing"));
        assert!(!response.answers("CNCMessageReqStatus") && !response.answers("CNCMessageResPing"));
        assert!(!response.is_request() && Message::ReqPing { req_id: None }.is_request());
        let command = Message::ResCommand { req_id: None, finished: true, answer: Value::Null };
        assert!(command.answers("CNCMessageReqCommand"));
    }
}
