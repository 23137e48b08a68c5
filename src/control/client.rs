//! A client of the local socket: what the command line speaks with.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::command::{Command, Reply};
use super::http_client::HttpClient;
use super::local::socket_path;
use super::status::Status;
use super::wire::{call_line, read_reply};
use crate::os::{DirectoryError, runtime_dir};

/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why a supervisor did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no supervisor `{id}` runs here; start it with: enrgdaq --config DIR")]
    NotRunning {
        /// Which was meant.
        id: String,
    },
    /// The runtime directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The connection broke.
    #[error("cannot speak with the supervisor at {path}")]
    Connection {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered something that this version does not know.
    #[error("the supervisor answered what this version does not understand")]
    Answer(#[source] serde_json::Error),
    /// It did not answer in time: it is stopped, or very busy.
    #[error("the supervisor does not answer; is it stopped?")]
    Silent,
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// The server of `--server` cannot be used.
    #[error("cannot use the server {server}: {why}")]
    Server {
        /// Its URL.
        server: String,
        /// Why.
        why: String,
    },
    /// What came could not be handed on.
    #[error("cannot write what came")]
    Output(#[source] io::Error),
}

/// A way to one supervisor.
#[derive(Debug)]
pub struct Client(Way);

#[derive(Debug)]
enum Way {
    Socket(Socket),
    Server(HttpClient),
}

/// A connection to the local socket.
#[derive(Debug)]
struct Socket {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    next_id: u64,
}

impl Client {
    /// Connects to the supervisor of that id.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] where nobody listens.
    pub fn connect(supervisor_id: &str) -> Result<Self, ClientError> {
        let path = socket_path(&runtime_dir(supervisor_id)?);
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self(Way::Socket(Socket { stream: BufReader::new(stream), path, next_id: 2 }))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Err(ClientError::NotRunning { id: supervisor_id.into() })
                }
                _ => Err(ClientError::Connection { path, source: error }),
            },
        }
    }

    /// Asks a supervisor behind a server.
    pub(crate) fn over(server: HttpClient) -> Self {
        Self(Way::Server(server))
    }

    /// Asks, and waits until it is done.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the supervisor's own words; [`ClientError::Connection`] where it ends meanwhile.
    pub fn call(&mut self, command: &Command) -> Result<Reply, ClientError> {
        self.call_with_parts(command, |_| Ok(()))
    }

    /// Asks, and waits until it is done; what comes before the answer goes to `take`.
    ///
    /// # Errors
    /// As [`call`](Self::call), and [`ClientError::Output`] of `take`, which ends the connection.
    pub fn call_with_parts(
        &mut self,
        command: &Command,
        take: impl FnMut(Value) -> io::Result<()>,
    ) -> Result<Reply, ClientError> {
        match &mut self.0 {
            Way::Socket(socket) => answer_of(command, socket.exchange(command, take)?),
            Way::Server(server) => server.call(command, take),
        }
    }

    /// Asks for the status, as the JSON that came.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(&Command::Status)? {
            Reply::Status(status) => Ok(*status),
            _ => Err(ClientError::Refused("an answer to another question".into())),
        }
    }
}

/// What a last answer says.
pub(super) fn answer_of(command: &Command, answer: Value) -> Result<Reply, ClientError> {
    if answer["failed"] == true {
        let message = answer["error"]["message"].as_str().unwrap_or("it did not say why");
        return Err(ClientError::Refused(message.into()));
    }
    read_reply(command, answer).map_err(ClientError::Answer)
}

impl Socket {
    fn exchange(
        &mut self,
        command: &Command,
        mut take: impl FnMut(Value) -> io::Result<()>,
    ) -> Result<Value, ClientError> {
        let id = self.next_id;
        self.next_id += 2;
        // An order takes as long as the job does; a question is answered at once.
        let patience = matches!(command, Command::Status | Command::Logs { .. }).then_some(ANSWER_WITHIN);
        let fail = |path: &PathBuf, source| ClientError::Connection { path: path.clone(), source };
        let line = call_line(id, command);
        self.stream.get_ref().set_read_timeout(patience).map_err(|error| fail(&self.path, error))?;
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|error| fail(&self.path, error))?;
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(0) => return Err(fail(&self.path, io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ClientError::Silent),
                Err(error) => return Err(fail(&self.path, error)),
            }
            let mut answer: Value = serde_json::from_str(&line).map_err(ClientError::Answer)?;
            let is_for_all = answer["id"].is_null() && answer["failed"] == true;
            if is_for_all || answer["id"] == id && answer["finished"] == true {
                return Ok(answer);
            }
            if answer["id"] == id
                && let Err(error) = take(answer["data"].take())
            {
                // Whoever goes away is not answered any more.
                self.stream.get_ref().shutdown(Shutdown::Both).ok();
                return Err(ClientError::Output(error));
            }
        }
    }
}
