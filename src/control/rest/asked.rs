//! A request that was let in, as its route sees it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::app::Shared;
use super::fault::Fault;
use super::stream::Form;
use crate::control::{Caller, Command, Reply, Status};

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Caller,
    /// The parts of the path that vary.
    pub(super) path: Vec<(String, String)>,
    /// What comes after the `?`.
    pub(super) query: String,
    pub(super) body: Bytes,
    /// In which form a stream is wanted.
    pub(super) form: Option<Form>,
}

/// The form that a request asks for.
pub(super) fn form_of(headers: &HeaderMap) -> Option<Form> {
    let wanted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let mut wanted = wanted.flat_map(|accept| accept.split(',')).filter_map(|kind| kind.split(';').next());
    wanted.find_map(|kind| match kind.trim() {
        "application/x-ndjson" => Some(Form::Lines),
        "text/event-stream" => Some(Form::Events),
        _ => None,
    })
}

impl Asked {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).expect("the path of the route has it")
    }

    /// The node in the path; `self` is this one.
    pub(super) fn node(&self) -> &str {
        match self.part("id") {
            "self" => self.shared.nodes.own_id(),
            id => id,
        }
    }

    /// The job in the path.
    pub(super) fn job(&self) -> String {
        self.part("job").to_owned()
    }

    /// What comes after the `?`.
    ///
    /// # Errors
    /// 422 that says what is wrong.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let uri = axum::http::Uri::builder().path_and_query(format!("/?{}", self.query)).build();
        let uri = uri.map_err(|error| Fault::bad_input(error.to_string()))?;
        let query = axum::extract::Query::<T>::try_from_uri(&uri);
        query.map(|query| query.0).map_err(|error| Fault::bad_input(error.body_text()))
    }

    /// The body; none at all is one without fields.
    ///
    /// # Errors
    /// 422 that says what is wrong, and where.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let text = if self.body.is_empty() { b"{}" } else { &self.body[..] };
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (path, why) = (error.path().to_string(), error.into_inner());
            Fault::bad_input(if path == "." { why.to_string() } else { format!("{path}: {why}") })
        })?;
        json.end().map_err(|error| Fault::bad_input(error.to_string()))?;
        Ok(read)
    }

    /// Has the node of the path carry out a command.
    ///
    /// # Errors
    /// That of the node.
    pub(super) async fn command(&self, command: Command) -> Result<Reply, Fault> {
        // Parts are not wanted.
        let (parts, _) = mpsc::channel(1);
        Ok(self.shared.nodes.command(&self.caller, self.node(), command, parts).await?)
    }

    /// The picture of the node of the path.
    ///
    /// # Errors
    /// That of the node.
    pub(super) async fn status(&self) -> Result<Status, Fault> {
        match self.command(Command::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(Fault::broken("the node answered another question", format!("{other:?}"))),
        }
    }

    /// Has a command carried out, and prints what it is answered.
    ///
    /// # Errors
    /// That of the node.
    pub(super) async fn carry_out(&self, command: Command) -> Result<Response<Body>, Fault> {
        Ok(json(&self.command(command).await?))
    }
}

/// Looks whether a number of a query is as small as it must be.
///
/// # Errors
/// 422 that says how small.
pub(super) fn check_most(name: &str, value: Option<u64>, most: u64) -> Result<(), Fault> {
    match value.filter(|value| *value > most) {
        Some(value) => Err(Fault::bad_input(format!("{name}: {most} at the most, not {value}"))),
        None => Ok(()),
    }
}

/// An answer in JSON.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(value).expect("an answer has string keys only");
    text.push(b'\n');
    sent("application/json", text)
}

/// An answer of that type.
pub(super) fn sent(kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_which_is_asked_for() {
        let form = |accept: &str| form_of(&[(ACCEPT, accept.parse().unwrap())].into_iter().collect());

        assert_eq!(form("application/x-ndjson"), Some(Form::Lines));
        assert_eq!(form("text/html, text/event-stream;q=0.9"), Some(Form::Events));
        assert_eq!(form("*/*"), None);
    }
}
