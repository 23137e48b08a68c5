//! `DAQJobStoreMySQL` and `DAQJobStoreSQLite`: tables into tables of a database.
//!
//! ```text
//! commit:  missing tables and columns   (outside: MariaDB ends a transaction with each change of a table)
//!          BEGIN
//!            rows, many a statement     (an error of the data: back to the savepoint, and each half by itself)
//!            marks                      (which messages the database has: `enrgdaq_marks`)
//!          COMMIT
//! ```
//!
//! Invariants: rows and the marks of their messages are committed together, so each message is in the database once; what
//! a commit that got no answer may still do is waited for before the marks are read; an error that is about some rows
//! costs their message only, and no error that may pass costs anything.

mod batch;
mod cells;
mod dialect;
mod mysql;
mod names;
mod read;
mod sqlite;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use enrgdaq::config::Refusal;
use enrgdaq::job::{Delivery, JobError};
use enrgdaq::message::MessageId;
use enrgdaq::store::{Home, Lost, Marks, Refused, Report, Sink, Store, Trouble};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use self::batch::{Column, Part, SqlBatch};
use self::cells::{Cells, Pieces};
use self::dialect::{About, Columns, Dialect, Link, trouble};

/// The job types.
pub(crate) type MySqlStore = Store<Sql<mysql::MySql>>;
pub(crate) type SqliteStore = Store<Sql<sqlite::Sqlite>>;

/// What must be done by then, or the connection is given up.
const RESUME_WITHIN: Duration = Duration::from_secs(5);
const COMMIT_WITHIN: Duration = Duration::from_secs(600);

/// Epochs whose marks are read: as many as [`Marks`] remembers.
const MOST_MARKS: usize = 1024;

/// Where rows go: a table of the database.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlTarget {
    /// The table; made if it is missing, with types from the data. Only letters, digits and `_` of the name are kept. A
    /// message's tag is put behind it: `name_tag`.
    #[schemars(example = &"measurements")]
    table_name: String,
}

/// A database as a sink.
pub(crate) struct Sql<D: Dialect> {
    dialect: D,
    store: String,
    /// Before `runtime`, which a connection needs for its end.
    open: Option<Open<D::Link>>,
    runtime: Runtime,
}

impl<D: Dialect> std::fmt::Debug for Sql<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(D::TYPE).field("store", &self.store).finish_non_exhaustive()
    }
}

impl<D: Dialect> Sink for Sql<D> {
    const TYPE: &'static str = D::TYPE;
    const BACKEND: &'static str = D::BACKEND;
    const BATCH_BYTES: u64 = 1 << 20;
    type Config = D::Config;
    type Target = SqlTarget;
    type Batch = SqlBatch;

    fn check(config: &D::Config) -> Result<(), Vec<Refusal>> {
        D::check(config)
    }

    fn open(config: D::Config, home: &Home) -> Result<Self, JobError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| JobError::failed("cannot make the runtime of the connection", error))?;
        Ok(Self { dialect: D::new(config)?, store: home.unique_id.clone(), open: None, runtime })
    }

    fn put(batch: &mut SqlBatch, target: &SqlTarget, message: &mut Delivery) -> Result<(), Refused> {
        batch.put(&target.table_name, message)
    }

    fn size(batch: &SqlBatch) -> usize {
        batch.bytes()
    }

    fn resume(&mut self) -> Result<Marks, Trouble> {
        self.open = None;
        let Self { dialect, store, .. } = self;
        let (open, marks) = self.runtime.block_on(within(RESUME_WITHIN, "connect", Open::new(dialect, store)))?;
        self.open = Some(open);
        Ok(marks)
    }

    fn commit(&mut self, batch: SqlBatch, marks: &Marks) -> Result<Report, Trouble> {
        let mut open = self.open.take().ok_or_else(|| Trouble::saying("there is no connection"))?;
        let commit = async {
            let report = open.commit(&batch, marks).await?;
            Ok((open, report))
        };
        let (open, report) = self.runtime.block_on(within(COMMIT_WITHIN, "commit", commit))?;
        self.open = Some(open);
        Ok(report)
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        let open = self.open.as_mut().ok_or_else(|| Trouble::saying("there is no connection"))?;
        self.runtime.block_on(within(COMMIT_WITHIN, "sync", open.link.sync()))
    }
}

/// Waits for a work, but not for ever.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(Trouble::saying(format!("the database did not {what} within {limit:?}"))),
    }
}

/// A database that answers.
struct Open<L> {
    link: L,
    store: String,
    /// The columns of tables that were used.
    tables: HashMap<String, Columns>,
    committed: Marks,
    /// Of the next commit: the order in which marks rose.
    turn: i64,
}

/// Why a part is not stored.
enum Failure {
    /// It can never be.
    Rows {
        what: String,
        why: String,
    },
    Trouble(Trouble),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl<L: Link> Open<L> {
    /// Connects, and reads the marks.
    async fn new<D: Dialect<Link = L>>(dialect: &D, store: &str) -> Result<(Self, Marks), Trouble> {
        let mut link = dialect.connect().await?;
        let (marks, turn) =
            read_marks(&mut link, store).await.map_err(|error| trouble("cannot read enrgdaq_marks", error))?;
        let open = Self { link, store: store.into(), tables: HashMap::new(), committed: marks.clone(), turn };
        Ok((open, marks))
    }

    async fn commit(&mut self, batch: &SqlBatch, marks: &Marks) -> Result<Report, Trouble> {
        self.link.check().map_err(|error| Trouble::new("the database is not what it was", error))?;
        let mut report = Report { files: 1, ..Report::default() };
        let mut parts = Vec::new();
        for part in &batch.parts {
            match self.prepare(part).await {
                Ok(is_fresh) => parts.push((part, is_fresh)),
                Err(Failure::Rows { what, why }) => lose(part, what, why, part.messages(), &mut report),
                Err(Failure::Trouble(trouble)) => return Err(trouble),
            }
        }
        let fail = |error| trouble("cannot commit", error);
        self.link.run(L::BEGIN.into()).await.map_err(fail)?;
        for (part, is_fresh) in parts {
            self.store(part, is_fresh, &mut report).await?;
        }
        self.write_marks(marks).await.map_err(|error| trouble("cannot write enrgdaq_marks", error))?;
        self.link.run("COMMIT".into()).await.map_err(fail)?;
        self.committed = marks.clone();
        Ok(report)
    }

    /// Sees to it that the table has all columns. `true` if it was looked at just now.
    async fn prepare(&mut self, part: &Part) -> Result<bool, Failure> {
        let is_missing = |columns: &Columns| {
            let missing = |column: &&Column| !columns.contains_key(&column.name.to_ascii_lowercase());
            part.columns.iter().filter(missing).collect::<Vec<_>>()
        };
        if self.tables.get(&part.table).is_some_and(|columns| is_missing(columns).is_empty()) {
            return Ok(false);
        }
        let mut columns = self.look(&part.table).await?;
        let missing = is_missing(&columns);
        if !missing.is_empty() {
            self.add_columns(part, columns.is_empty(), &missing).await?;
            columns = self.look(&part.table).await?;
        }
        self.tables.insert(part.table.clone(), columns);
        Ok(true)
    }

    async fn look(&mut self, table: &str) -> Result<Columns, Trouble> {
        let columns = self.link.columns(table).await;
        columns.map_err(|error| trouble(format!("cannot look at the table {table}"), error))
    }

    async fn add_columns(&mut self, part: &Part, is_new: bool, missing: &[&Column]) -> Result<(), Failure> {
        let declared = |column: &&Column| format!("`{}` {}", column.name, L::type_of(column));
        let changes = match is_new {
            true => {
                let columns: Vec<_> = missing.iter().map(declared).collect();
                let (columns, options) = (columns.join(", "), L::TABLE_OPTIONS);
                vec![format!("CREATE TABLE IF NOT EXISTS `{}` ({columns}){options}", part.table)]
            }
            false => {
                let add = |column| format!("ALTER TABLE `{}` ADD COLUMN {}", part.table, declared(column));
                missing.iter().map(add).collect()
            }
        };
        for change in changes {
            if let Err(error) = self.link.run(change).await {
                return Err(failure::<L>("cannot change the table", part, error, true));
            }
        }
        Ok(())
    }

    /// Stores the rows of a part, but for those messages that cannot be.
    async fn store(&mut self, part: &Part, is_fresh: bool, report: &mut Report) -> Result<(), Trouble> {
        let mut left: Vec<_> = std::iter::once(0..part.messages()).collect();
        while let Some(messages) = left.pop() {
            match self.try_to_store(part, messages.clone(), is_fresh).await {
                Ok((rows, bytes)) => {
                    report.rows += rows;
                    report.bytes += bytes;
                }
                Err(Failure::Trouble(trouble)) => return Err(trouble),
                Err(Failure::Rows { what, why }) if messages.len() == 1 => lose(part, what, why, 1, report),
                Err(Failure::Rows { .. }) => {
                    let middle = messages.start + messages.len() / 2;
                    left.extend([middle..messages.end, messages.start..middle]);
                }
            }
        }
        Ok(())
    }

    /// All rows of some messages or none; how many rows and bytes that are.
    async fn try_to_store(
        &mut self,
        part: &Part,
        messages: Range<usize>,
        is_fresh: bool,
    ) -> Result<(u64, u64), Failure> {
        let rows = part.rows(messages);
        let columns = self.tables.get(&part.table).ok_or_else(|| Trouble::saying("a table was forgotten"))?;
        if let Some(why) = self.link.misfit(part, rows.clone(), columns) {
            return Err(Failure::Rows { what: "a value".into(), why: format!("table {}: {why}", part.table) });
        }
        let fail = |error| trouble("cannot use a savepoint", error);
        self.link.run("SAVEPOINT part".into()).await.map_err(fail)?;
        match insert(&mut self.link, part, rows.clone(), "").await {
            Ok(()) => {
                self.link.run("RELEASE SAVEPOINT part".into()).await.map_err(fail)?;
                Ok((rows.len() as u64, part.bytes(rows) as u64))
            }
            Err(error) => {
                let failure = failure::<L>("cannot insert", part, error, is_fresh);
                if matches!(failure, Failure::Rows { .. }) {
                    self.link.run("ROLLBACK TO SAVEPOINT part".into()).await.map_err(fail)?;
                }
                Err(failure)
            }
        }
    }

    async fn write_marks(&mut self, marks: &Marks) -> Result<(), sqlx::Error> {
        let risen: Vec<_> = marks.since(&self.committed).collect();
        if risen.is_empty() {
            return Ok(());
        }
        let part = marks_part(&self.store, &risen, self.turn);
        self.turn += 1;
        insert(&mut self.link, &part, part.rows(0..1), L::UPDATE_MARKS).await
    }
}

async fn read_marks<L: Link>(link: &mut L, store: &str) -> Result<(Marks, i64), sqlx::Error> {
    link.run(L::MAKE_MARKS.into()).await?;
    link.run(L::BEGIN.into()).await?;
    let found = link.marks(store, MOST_MARKS).await?;
    if let (MOST_MARKS, Some((_, _, oldest))) = (found.len(), found.last()) {
        link.forget_marks(store, *oldest).await?;
    }
    link.run("COMMIT".into()).await?;
    let turn = found.first().map_or(0, |(_, _, turn)| turn + 1);
    Ok((found.into_iter().rev().map(|(epoch, seq, _)| MessageId { epoch, seq }).collect(), turn))
}

fn marks_part(store: &str, risen: &[MessageId], turn: i64) -> Part {
    let stores: Pieces = risen.iter().map(|_| Some(store.as_bytes())).collect();
    // As signed numbers, which every database has.
    let numbers =
        |of: fn(&MessageId) -> u64| Cells::Integer(risen.iter().map(|id| Some(of(id).cast_signed())).collect());
    let columns = vec![
        Column::new("store", Cells::Text(stores)),
        Column::new("epoch", numbers(|id| id.epoch)),
        Column::new("seq", numbers(|id| id.seq)),
        Column::new("turn", Cells::Integer(vec![Some(turn); risen.len()])),
    ];
    Part::new(names::MARKS.into(), columns, risen.len())
}

/// Inserts rows, many a statement: as many as are the fastest, and for the rest powers of two, so that few statements
/// are to be prepared.
async fn insert<L: Link>(link: &mut L, part: &Part, rows: Range<usize>, ending: &str) -> Result<(), sqlx::Error> {
    let most = L::BEST_ROWS.min(L::MOST_PARAMETERS / part.columns.len());
    let mut at = rows.start;
    while at < rows.end {
        let mut count = power_of_two(most.min(rows.end - at));
        while count > 1 && part.bytes(at..at + count) > link.most_bytes() {
            count /= 2;
        }
        link.insert(format!("{}{ending}", part.insert(count)), part, at..at + count).await?;
        at += count;
    }
    Ok(())
}

/// The largest that is not above.
fn power_of_two(number: usize) -> usize {
    1 << number.max(1).ilog2()
}

/// What an error means for the rows of a part. After a change of their table it helps to look at it again, once.
fn failure<L: Link>(what: &str, part: &Part, error: sqlx::Error, is_fresh: bool) -> Failure {
    let about = match &error {
        sqlx::Error::Database(error) => L::about(error.as_ref()),
        sqlx::Error::Encode(_) => About::Rows,
        _ => About::Database,
    };
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match about {
        About::Table if !is_fresh => trouble(format!("the table {} has changed", part.table), error).into(),
        About::Rows | About::Table => {
            Failure::Rows { what: code, why: format!("table {}: {what}: {error}", part.table) }
        }
        About::Database => trouble(format!("{what} into the table {}", part.table), error).into(),
    }
}

fn lose(part: &Part, what: String, why: String, messages: usize, report: &mut Report) {
    report.lost.push(Lost { messages: messages as u64, key: format!("{} {what}", part.table), why });
}
