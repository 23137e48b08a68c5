//! A client of the REST API: the command line for a supervisor elsewhere.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::audit::AuditLine;
use super::client::{ClientError, answer_of};
use super::command::{Command, Reply};
use super::wire::call_value;

/// How long a server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The longest line of an answer, and what is read of a refusal.
const MAX_LINE: u64 = 256 << 20;
const MAX_REFUSAL: u64 = 64 << 10;

/// One supervisor behind a server.
#[derive(Debug)]
pub(crate) struct HttpClient {
    agent: Agent,
    server: String,
    token: Option<String>,
    node: String,
}

impl HttpClient {
    /// For a server, `https://hub:8000`, and one of its nodes; `ca`: certificates (PEM) that are trusted instead of the usual
    /// ones.
    ///
    /// # Errors
    /// No URL, or no certificates.
    pub(crate) fn new(
        server: &str,
        token: Option<String>,
        node: String,
        ca: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::Server { server: server.into(), why };
        let uri: Uri = server.parse().map_err(|error| bad(format!("it is no URL: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(bad("write http://HOST:PORT or https://HOST:PORT".into()));
        }
        let mut tls = TlsConfig::builder();
        if let Some(path) = ca {
            let fault = |why: String| bad(format!("{}: {why}", path.display()));
            let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
            let found = parse_pem(&text).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let found: Vec<_> = found.collect();
            if found.is_empty() {
                return Err(fault("there is no certificate in it".into()));
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(found)));
        }
        let config = Agent::config_builder().tls_config(tls.build()).timeout_connect(Some(CONNECT_WITHIN));
        let agent = config.http_status_as_error(false).max_redirects(0).build().new_agent();
        Ok(Self { agent, server: server.trim_end_matches('/').into(), token, node })
    }

    /// Asks, and waits until it is done; what comes before the answer goes to `take`.
    ///
    /// # Errors
    /// As [`Client::call`](super::Client::call).
    pub(crate) fn call(
        &mut self,
        command: &Command,
        mut take: impl FnMut(Value) -> io::Result<()>,
    ) -> Result<Reply, ClientError> {
        let path = format!("/api/v1/nodes/{}/command", encoded(&self.node));
        let request = self.agent.post(format!("{}{path}", self.server));
        let request = request.header("Accept", "application/x-ndjson");
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        let body = call_value(command).to_string();
        let response = request.content_type("application/json").send(body).map_err(|error| self.broken(&error))?;
        let response = self.good(response)?;
        let mut lines = BufReader::new(response.into_body().into_with_config().limit(MAX_LINE).reader());
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                Ok(0) => return Err(self.fault("it ended before it had answered")),
                Ok(_) => {}
                Err(error) => return Err(self.fault(error.to_string())),
            }
            let mut answer: Value = serde_json::from_str(&line).map_err(ClientError::Answer)?;
            if answer["finished"] == true {
                return answer_of(command, answer);
            }
            take(answer["data"].take()).map_err(ClientError::Output)?;
        }
    }

    /// The newest lines of the server's audit log.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub(crate) fn audit_log(&mut self, lines: usize) -> Result<Vec<AuditLine>, ClientError> {
        let request = self.agent.get(format!("{}/api/v1/audit?lines={lines}", self.server));
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        let response = self.good(request.call().map_err(|error| self.broken(&error))?)?;
        let text = response.into_body().into_with_config().limit(MAX_LINE).read_to_string();
        let text = text.map_err(|error| self.broken(&error))?;
        let mut answer: Value = serde_json::from_str(&text).map_err(ClientError::Answer)?;
        serde_json::from_value(answer["lines"].take()).map_err(ClientError::Answer)
    }

    /// A response that is none of a refusal.
    fn good(&self, response: Response<Body>) -> Result<Response<Body>, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.into_body().into_with_config().limit(MAX_REFUSAL).read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let message = answer["error"]["message"].as_str().or(answer["detail"].as_str());
        match (message, status.as_u16()) {
            (_, 401) if self.token.is_none() => {
                Err(self.fault("it wants a token: --token, or ENRGDAQ_TOKEN in the environment"))
            }
            (Some(message), _) => Err(ClientError::Refused(message.into())),
            (None, _) => Err(self.fault(format!("it answered {status}; is it the REST API of enrgdaq?"))),
        }
    }

    fn broken(&self, error: &ureq::Error) -> ClientError {
        self.fault(error.to_string())
    }

    fn fault(&self, why: impl Into<String>) -> ClientError {
        ClientError::Server { server: self.server.clone(), why: why.into() }
    }
}

/// A word as one part of a path.
fn encoded(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    // A path of dots would be another path.
    match word {
        "." | ".." => word.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        _ => word.bytes().map(encode).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(encoded("lab_1.a"), "lab_1.a");
        assert_eq!(encoded("a b/ä?#"), "a%20b%2F%C3%A4%3F%23");
        assert_eq!(encoded(".."), "%2E%2E");
    }

    #[test]
    fn what_is_no_server_is_told() {
        for server in ["hub:8000", "ftp://hub", "", "http://"] {
            let fault = HttpClient::new(server, None, "self".into(), None).unwrap_err().to_string();
            assert!(fault.starts_with("cannot use the server"), "{server}: {fault}");
        }
        let fault = HttpClient::new("https://hub:1", None, "self".into(), Some(Path::new("/dev/null"))).unwrap_err();
        assert!(fault.to_string().contains("there is no certificate"), "{fault}");
    }
}
