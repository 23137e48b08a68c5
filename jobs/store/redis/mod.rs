//! `DAQJobStoreRedis`: tables into lists, a list a column, or into time series; bytes as base64.
//!
//! ```text
//! WATCH marks, HGET marks start       still ours? an earlier connection of this store can write no more
//! MULTI
//!   RPUSH …, SET …, TS.MADD …, EXPIRE …
//!   HSET marks …                      which messages the server has: `enrgdaq:marks:<unique id>`
//! EXEC
//! ```
//!
//! Invariants: what a batch writes and the marks of its messages are executed together, so each message is stored once as
//! long as the server keeps its data; a transaction of a connection that was given up is never executed after the marks
//! were read, since reading them changes what it watches.

mod batch;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use enrgdaq::job::{Delivery, JobError};
use enrgdaq::message::MessageId;
use enrgdaq::store::{Home, Lost, Marks, Refused, Report, Sink, Store, Trouble};
use redis::{
    Client, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError,
    RedisResult, Value, cmd, from_redis_value, pipe,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::batch::{RedisBatch, What, Write};

/// The job type.
pub(crate) type RedisStore = Store<Redis>;

/// What must be done by then, or the connection is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const COMMIT_WITHIN: Duration = Duration::from_secs(60);

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Epochs whose marks are kept: as many as [`Marks`] remembers.
const MOST_MARKS: usize = 1024;

/// Values that one command appends.
const VALUES: usize = 4096;

/// The field of the marks that counts the connections of the store.
const START: &str = "start";

/// Keys of the job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisConfig {
    /// The server: a name or an address, or the path of its socket, which begins with `/`.
    #[schemars(example = &"localhost")]
    host: String,
    /// Its port.
    #[serde(default = "port")]
    port: u16,
    /// The number of the database.
    #[serde(default)]
    db: u16,
    /// With which password, if there is one.
    password: Option<String>,
}

fn port() -> u16 {
    6379
}

/// Where values go: lists, or time series, of the server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisTarget {
    /// Before each key: a column is the list `key.column`, of messages with a tag `key.tag.column`.
    #[schemars(example = &"lab")]
    key: String,
    /// A new list every day, `key.column:2026-11-20`, which goes so many days after it was last written to. Of time series:
    /// how long each value is kept.
    #[schemars(range(min = 1, max = 100_000))]
    key_expiration_days: Option<u32>,
    /// Columns are time series, at the times in the column `timestamp`, in milliseconds.
    use_timeseries: Option<bool>,
}

/// A server as a sink.
pub(crate) struct Redis {
    client: Client,
    /// For people.
    shown: String,
    marks_key: String,
    open: Option<Open>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("server", &self.shown).finish_non_exhaustive()
    }
}

/// A server that answers.
struct Open {
    connection: Connection,
    committed: Marks,
    /// Which connection of the store it is, by [`START`].
    start: i64,
    turn: u64,
    /// The server has the commands for time series.
    knows_series: bool,
}

impl Sink for Redis {
    const TYPE: &'static str = "DAQJobStoreRedis";
    const BACKEND: &'static str = "redis";
    type Config = RedisConfig;
    type Target = RedisTarget;
    type Batch = RedisBatch;

    fn open(config: RedisConfig, home: &Home) -> Result<Self, JobError> {
        let RedisConfig { host, port, db, password } = config;
        let address = match host.starts_with('/') {
            true => ConnectionAddr::Unix(host.into()),
            false => ConnectionAddr::Tcp(host, port),
        };
        let shown = format!("{address}/{db}");
        let settings = RedisConnectionInfo::default().set_db(db.into()).set_skip_set_lib_name();
        let settings = match password {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        let info = address.into_connection_info().map(|info| info.set_redis_settings(settings));
        let client = info.and_then(Client::open).map_err(|error| JobError::Config(error.to_string()))?;
        Ok(Self { client, shown, marks_key: format!("{}{}", batch::MARKS, home.unique_id), open: None })
    }

    fn put(batch: &mut RedisBatch, target: &RedisTarget, message: &mut Delivery) -> Result<(), Refused> {
        batch.put(target, message)
    }

    fn size(batch: &RedisBatch) -> usize {
        batch.bytes()
    }

    fn resume(&mut self) -> Result<Marks, Trouble> {
        self.open = None;
        let fail = |error| Trouble::new(format!("cannot connect to the Redis server {}", self.shown), error);
        let (open, marks) = connect(&self.client, &self.marks_key).map_err(fail)?;
        self.open = Some(open);
        Ok(marks)
    }

    fn commit(&mut self, batch: RedisBatch, marks: &Marks) -> Result<Report, Trouble> {
        let mut open = self.open.take().ok_or_else(|| Trouble::saying("there is no connection"))?;
        let report = commit(&mut open, &batch, marks, &self.marks_key)?;
        self.open = Some(open);
        Ok(report)
    }
}

fn connect(client: &Client, marks_key: &str) -> RedisResult<(Open, Marks)> {
    let mut connection = client.get_connection_with_timeout(CONNECT_WITHIN)?;
    connection.set_read_timeout(Some(CONNECT_WITHIN))?;
    connection.set_write_timeout(Some(ANSWER_WITHIN))?;
    let series = cmd("TS.QUERYINDEX").arg("enrgdaq=none").query::<Value>(&mut connection);
    let knows_series = !matches!(&series, Err(error) if is_unknown_command(error));
    let (start, fields): (i64, Vec<(String, String)>) = pipe()
        .atomic()
        .cmd("HINCRBY")
        .arg(marks_key)
        .arg(START)
        .arg(1)
        .cmd("HGETALL")
        .arg(marks_key)
        .query(&mut connection)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut found: Vec<_> = fields.iter().filter_map(|(epoch, mark)| read_mark(epoch, mark)).collect();
    found.sort_unstable_by_key(|(turn, id)| (*turn, id.epoch));
    let too_many = found.len().saturating_sub(MOST_MARKS);
    if too_many > 0 {
        let epochs: Vec<_> = found.drain(..too_many).map(|(_, id)| id.epoch).collect();
        cmd("HDEL").arg(marks_key).arg(epochs).exec(&mut connection)?;
    }
    let turn = found.last().map_or(0, |(turn, _)| turn + 1);
    let marks: Marks = found.into_iter().map(|(_, id)| id).collect();
    Ok((Open { connection, committed: marks.clone(), start, turn, knows_series }, marks))
}

fn is_unknown_command(error: &RedisError) -> bool {
    error.to_string().to_ascii_lowercase().contains("unknown command")
}

/// Epoch → `number turn`.
fn read_mark(epoch: &str, mark: &str) -> Option<(u64, MessageId)> {
    let (seq, turn) = mark.split_once(' ')?;
    Some((turn.parse().ok()?, MessageId { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? }))
}

fn commit(open: &mut Open, batch: &RedisBatch, marks: &Marks, marks_key: &str) -> Result<Report, Trouble> {
    let until = Instant::now() + COMMIT_WITHIN;
    let fail = |error| Trouble::new("cannot commit", error);
    let mut report = Report::default();
    let mut lost = HashSet::new();
    make_series(open, batch, until)?;
    let (pipeline, writes) = transaction(open, batch, marks, marks_key, &mut lost, &mut report);
    watch(open, marks_key, until)?;
    let answers = execute(open, &pipeline, until).map_err(fail)?;
    for (write, answer) in writes.iter().zip(&answers) {
        if let Some(error) = error_of(answer) {
            lose(write, &error, &mut lost, &mut report);
        }
    }
    // Behind the writes stand the marks: without them the batch would come again.
    if let Some(error) = answers.iter().skip(writes.len()).find_map(error_of) {
        return Err(Trouble::saying(format!("cannot write the marks {marks_key}: {error}")));
    }
    open.committed = marks.clone();
    open.turn += 1;
    let rows = batch.rows.iter().enumerate().filter(|(message, _)| !lost.contains(message));
    report.rows = rows.map(|(_, rows)| rows).sum();
    report.bytes = batch.bytes() as u64;
    Ok(report)
}

/// The commands of a batch, the marks last, and of each the write that it belongs to.
fn transaction<'b>(
    open: &Open,
    batch: &'b RedisBatch,
    marks: &Marks,
    marks_key: &str,
    lost: &mut HashSet<usize>,
    report: &mut Report,
) -> (Pipeline, Vec<&'b Write>) {
    let mut pipeline = pipe();
    pipeline.atomic();
    let mut writes = Vec::new();
    for write in &batch.writes {
        if !open.knows_series && matches!(write.what, What::Series { .. }) {
            lose(write, "the server knows no time series (use_timeseries)", lost, report);
            continue;
        }
        let before = pipeline.len();
        add(&mut pipeline, write);
        writes.extend(std::iter::repeat_n(write, pipeline.len() - before));
    }
    for id in marks.since(&open.committed) {
        pipeline.cmd("HSET").arg(marks_key).arg(id.epoch).arg(format!("{} {}", id.seq, open.turn));
    }
    (pipeline, writes)
}

/// Makes the time series of a batch that are missing: somebody may have deleted one.
fn make_series(open: &mut Open, batch: &RedisBatch, until: Instant) -> Result<(), Trouble> {
    let mut pipeline = pipe();
    for write in batch.writes.iter().filter(|_| open.knows_series) {
        let What::Series { key, tag, .. } = &write.what else { continue };
        let retention_ms = write.expires_s.unwrap_or_default() * 1000;
        pipeline.cmd("TS.CREATE").arg(&write.key).arg("RETENTION").arg(retention_ms);
        // Of a row that comes at the time of another, the later one counts.
        pipeline.arg("DUPLICATE_POLICY").arg("LAST").arg("LABELS").arg("key").arg(key);
        if let Some(tag) = tag.as_ref().filter(|tag| !tag.is_empty()) {
            pipeline.arg("tag").arg(tag);
        }
    }
    let answers = send(&mut open.connection, &pipeline, pipeline.len(), until);
    let answers = answers.map_err(|error| Trouble::new("cannot make time series", error))?;
    // One that exists is an error too, and what is wrong with a key shows when it is written to; but without memory that
    // would cost the values.
    let refusal = answers.iter().filter_map(error_of).find(|error| error.contains("OOM"));
    refusal.map_or(Ok(()), |error| Err(Trouble::saying(format!("cannot make time series: {error}"))))
}

fn add(pipeline: &mut Pipeline, write: &Write) {
    let key = write.key.as_str();
    match &write.what {
        What::List(values) => {
            for values in values.chunks(VALUES) {
                pipeline.cmd("RPUSH").arg(key);
                for value in values {
                    pipeline.arg(value.as_slice());
                }
            }
            if let Some(seconds) = write.expires_s {
                pipeline.cmd("EXPIRE").arg(key).arg(seconds);
            }
        }
        What::Value(value) => {
            pipeline.cmd("SET").arg(key).arg(value.as_slice());
            if let Some(seconds) = write.expires_s {
                pipeline.arg("EX").arg(seconds);
            }
        }
        What::Series { samples, .. } => {
            for samples in samples.chunks(VALUES) {
                pipeline.cmd("TS.MADD");
                for (time, value) in samples {
                    pipeline.arg(key).arg(*time).arg(*value);
                }
            }
        }
    }
}

/// From here on the transaction fails if another connection of the store has begun.
fn watch(open: &mut Open, marks_key: &str, until: Instant) -> Result<(), Trouble> {
    let mut pipeline = pipe();
    pipeline.cmd("WATCH").arg(marks_key).cmd("HGET").arg(marks_key).arg(START);
    let answers = send(&mut open.connection, &pipeline, 2, until);
    let answers = answers.map_err(|error| Trouble::new("cannot ask whose turn it is", error))?;
    let start = answers.into_iter().nth(1).and_then(|start| from_redis_value::<Option<i64>>(start).ok().flatten());
    match start == Some(open.start) {
        true => Ok(()),
        false => Err(Trouble::saying("the server's data is not what it was, or another store has the same unique id")),
    }
}

/// The answers of a transaction's commands.
fn execute(open: &mut Open, pipeline: &Pipeline, until: Instant) -> RedisResult<Vec<Value>> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let answers = send(&mut open.connection, pipeline, pipeline.len() + 2, until)?;
    let refusal = answers.iter().find_map(error_of);
    match answers.into_iter().last() {
        Some(Value::Array(answers)) => Ok(answers),
        _ => {
            let why = refusal.unwrap_or_else(|| "another connection has written the marks".into());
            Err((ErrorKind::Client, "the transaction was not executed", why).into())
        }
    }
}

/// Sends commands, and waits for their answers, errors of commands among them.
fn send(connection: &mut Connection, pipeline: &Pipeline, answers: usize, until: Instant) -> RedisResult<Vec<Value>> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    connection.send_packed_command(&pipeline.get_packed_pipeline())?;
    let answer = |_| {
        if Instant::now() >= until {
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        }
        connection.recv_response()
    };
    (0..answers).map(answer).collect()
}

/// An error among the answers to a command.
fn error_of(answer: &Value) -> Option<String> {
    match answer {
        Value::ServerError(error) => Some(RedisError::from(error.clone()).to_string()),
        Value::Array(answers) => answers.iter().find_map(error_of),
        _ => None,
    }
}

fn lose(write: &Write, why: &str, lost: &mut HashSet<usize>, report: &mut Report) {
    let messages = write.messages.iter().filter(|&&message| lost.insert(message)).count() as u64;
    if messages > 0 {
        let key = format!("{} {}", write.key, why.split(':').next().unwrap_or_default());
        report.lost.push(Lost { messages, key, why: format!("key {}: {why}", write.key) });
    }
}
