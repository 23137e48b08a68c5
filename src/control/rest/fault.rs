//! Why a request is refused: what the client may see, and what the log must hold.
//!
//! ```text
//! {"error":{"code":"NoSuchJob","message":"there is no job `cvs`; did you mean `csv`?","request_id":"…"},"detail":"there is …"}
//! ```
//! (`detail` is what tools made for ENRGDAQ show.)

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::control::Refusal;
use crate::control::cnc::NodeError;
use crate::control::wire::class;
use crate::telemetry::RestFailed;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    /// For programs.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// What the client may not see.
    log: Option<String>,
    header: Option<(&'static str, String)>,
    /// The rest of the request is not read.
    is_last: bool,
    /// The answer has the fields of the control socket's too.
    is_to_call: bool,
}

/// The code of a refusal, beside its response.
#[derive(Debug, Clone)]
pub(super) struct Code(pub(super) String);

/// The body of every refusal.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct FaultBody {
    /// What is wrong.
    error: FaultText,
    /// What is wrong, in words.
    detail: String,
}

/// What is wrong.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ErrorText")]
struct FaultText {
    /// For programs: `NoSuchJob`.
    code: String,
    /// For people.
    message: String,
    /// The request, as in the header `X-Request-Id` and in the supervisor's log.
    request_id: String,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self { status, code, message, log: None, header: None, is_last: false, is_to_call: false }
    }

    /// What came does not have the form that it must have.
    pub(super) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "BadInput", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The node cannot do what it should; why is for its log alone.
    pub(super) fn broken(message: &str, log: impl Into<String>) -> Self {
        let fault = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Broken", format!("{message}; the log says why"));
        Self { log: Some(log.into()), ..fault }
    }

    /// The same whether there is no token, or one that nobody knows.
    pub(super) fn unauthorized() -> Self {
        let message = "this needs a token that counts: `Authorization: Bearer TOKEN`; `enrgdaq token add` makes one";
        let fault = Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message);
        Self { header: Some(("www-authenticate", "Bearer realm=\"enrgdaq\"".into())), ..fault }.last()
    }

    /// Come back later.
    pub(super) fn later(status: StatusCode, code: &str, message: &str, wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        Self { header: Some(("retry-after", format!("{seconds}"))), ..Self::new(status, code, message) }
    }

    /// The connection ends with it.
    pub(super) fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// Answers a call in the words of the control socket.
    pub(super) fn answering_call(self) -> Self {
        Self { is_to_call: true, ..self }
    }

    /// Prints it.
    pub(super) fn into_response(self, request_id: &str) -> Response<Body> {
        if let Some(log) = &self.log {
            RestFailed { request_id, message: &self.message, why: log }.emit();
        }
        let Self { status, code, message, header, is_last, is_to_call, .. } = self;
        let mut body = json!({
            "error": {"code": code, "message": message, "request_id": request_id},
            "detail": message,
        });
        if is_to_call {
            body["finished"] = true.into();
            body["failed"] = true.into();
            body["error"]["class"] = code.as_str().into();
        }
        let mut response = Response::new(Body::from(format!("{body}\n")));
        *response.status_mut() = status;
        response.extensions_mut().insert(Code(code));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(name, value);
        }
        if is_last {
            headers.insert(axum::http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = class(&refusal);
        Self::new(status_of(code), code, refusal.to_string())
    }
}

impl From<NodeError> for Fault {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        match error {
            NodeError::Unknown => Self::new(StatusCode::NOT_FOUND, "NoSuchNode", message),
            NodeError::Silent => Self::new(StatusCode::GATEWAY_TIMEOUT, "Silent", message),
            NodeError::Refused(refusal) => refusal.into(),
        }
    }
}

/// The status of a class of refusals; a node of another version may have others.
fn status_of(class: &str) -> StatusCode {
    match class {
        "NoSuchJob" => StatusCode::NOT_FOUND,
        "BadConfig" | "BadPayload" | "UnknownMessage" | "BadCall" => StatusCode::UNPROCESSABLE_ENTITY,
        "Forbidden" | "NotFromElsewhere" => StatusCode::FORBIDDEN,
        "Stopping" => StatusCode::SERVICE_UNAVAILABLE,
        "NotKept" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::control::StateName;

    #[test]
    fn a_refusal_has_the_status_of_its_class() {
        let name = || "csv".to_owned();
        let table = [
            (Refusal::NoSuchJob { name: name(), similar: None }, 404),
            (Refusal::Already { name: name(), state: StateName::Ready }, 409),
            (Refusal::BadConfig { report: name() }, 422),
            (Refusal::BadPayload { message_type: name(), why: name() }, 422),
            (Refusal::Forbidden { needs: Role::Admin, has: Role::Viewer }, 403),
            (Refusal::NotFromElsewhere { what: name() }, 403),
            (Refusal::NoProcess { name: name(), state: StateName::Stopped }, 409),
            (Refusal::Stopping, 503),
            (Refusal::NotKept { why: name() }, 500),
            (Refusal::of_class("NoSuchJob", name()), 404),
            (Refusal::of_class("OfALaterVersion", name()), 409),
        ];
        for (refusal, status) in table {
            let text = refusal.to_string();
            let fault = Fault::from(refusal);
            assert_eq!((fault.status.as_u16(), &fault.message), (status, &text));
        }
        assert_eq!(Fault::from(NodeError::Silent).status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(Fault::from(NodeError::Unknown).status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_the_log_must_hold_is_not_in_the_answer() {
        let fault = Fault::broken("the audit log cannot be read", "/secret/place: permission denied");

        assert!(!fault.message.contains("secret") && fault.log.is_some_and(|log| log.contains("secret")));
    }
}
