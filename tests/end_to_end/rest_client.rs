//! A small HTTP client, and the site of a server with the REST API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::Site;

/// A source that ticks once a second, for a store.
pub(crate) const TEST: &str =
    "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\n[store_config.csv]\nfile_path = \"t.csv\"";

/// A program that says a line now and then.
pub(crate) const TALKER: &str =
    "daq_job_type = \"DAQJobExec\"\ncommand = [\"sh\", \"-c\", \"while :; do echo tick; sleep 0.1; done\"]";

/// Where a server is asked.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) port: u16,
    /// Where nodes report to it.
    pub(crate) cnc_port: u16,
    pub(crate) token: Option<String>,
}

/// What it answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of a success.
    #[track_caller]
    pub(crate) fn fine(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The code of a refusal, whose form is looked at.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert_eq!(body["detail"], error["message"], "{self:?}");
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        error["code"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Lets a site be a server with the API; `rest` is the inside of `[cnc.rest]`.
pub(crate) fn with_api(site: Site, rest: &str) -> (Site, Api) {
    with_cnc(site, "", rest)
}

/// The same, with these lines in `[cnc]`.
pub(crate) fn with_cnc(site: Site, cnc: &str, rest: &str) -> (Site, Api) {
    let (port, cnc_port) = (free_port(), free_port());
    let cnc = format!(
        "[cnc]\nis_server = true\nserver_port = {cnc_port}\nrest_api_enabled = true\nrest_api_port = {port}\n{cnc}\n\
         [cnc.rest]\n{rest}"
    );
    (site.supervisor(&cnc), Api { port, cnc_port, token: None })
}

/// Makes tokens of these roles, and gives them.
pub(crate) fn tokens(site: &Site, roles: &[&str]) -> Vec<String> {
    let token = |role: &&str| {
        let made = site.cli(&["token", "add", role, "--role", role]);
        assert_eq!(made.code, 0, "{made:?}");
        made.out.trim().to_owned()
    };
    roles.iter().map(token).collect()
}

impl Api {
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], body)
    }

    /// A request; a body is JSON unless the headers say otherwise.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(self.text("1.1", method, path, headers, body).as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let (mut answer, length) = head_of(&mut stream).expect("there is an answer");
        if method != "HEAD" {
            answer.body = body_of(&mut stream, length);
        }
        answer
    }

    /// A request whose answer is read line by line, as it comes: without chunks.
    pub(crate) fn stream(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Stream {
        let mut stream = self.connect();
        stream.write_all(self.text("1.0", method, path, headers, body).as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Stream { head, lines }
    }

    /// The text of a request.
    pub(crate) fn text(&self, version: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut text = format!("{method} {path} HTTP/{version}\r\n");
        let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            text.push_str(&format!("Host: 127.0.0.1:{}\r\n", self.port));
        }
        if let Some(token) = &self.token {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if !body.is_empty() && !has("content-type") {
            text.push_str("Content-Type: application/json\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        if !has("connection") {
            text.push_str("Connection: close\r\n");
        }
        format!("{text}\r\n{body}")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) head: String,
    lines: BufReader<TcpStream>,
}

impl Stream {
    /// The next line; `None` at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).unwrap();
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event of that name, with its data.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.line().expect("the stream goes on");
            if line == format!("event: {name}") {
                let data = self.line().expect("an event has data");
                return serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    }
}

/// Reads the next answer of a connection; `None` where it ends.
pub(crate) fn next_answer(stream: &mut BufReader<TcpStream>) -> Option<Answer> {
    let (answer, length) = head_of(stream)?;
    Some(Answer { body: body_of(stream, length), ..answer })
}

/// An answer without its body, and how long that is.
fn head_of(stream: &mut BufReader<TcpStream>) -> Option<(Answer, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            assert!(head.is_empty(), "it ends within a head: {head}");
            return None;
        }
    }
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, length)| length.parse().ok());
    Some((Answer { status, headers, body: String::new() }, length.unwrap_or(0)))
}

fn body_of(stream: &mut BufReader<TcpStream>, length: usize) -> String {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8_lossy(&body).into_owned()
}
