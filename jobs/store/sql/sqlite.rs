//! SQLite: a database in a file.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enrgdaq::config::Refusal;
use enrgdaq::job::JobError;
use enrgdaq::store::{Trouble, files};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Row};

use super::batch::{Column, Part};
use super::cells::{Cell, Kind, Numbers};
use super::dialect::{About, Columns, Dialect, Link, trouble};

/// The results of SQLite that are about the data, without what stands in their higher bits.
const ERROR: i32 = 1;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const RANGE: i32 = 25;

/// How long others may hold the database.
const BUSY: Duration = Duration::from_secs(4);

/// Keys of the job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqliteConfig {
    /// The folder, relative to the working directory; made if it is missing.
    #[serde(default = "out_dir")]
    out_dir: PathBuf,
    /// The database, relative to `out_dir`; made if it is missing.
    #[serde(default = "file_path")]
    file_path: String,
}

fn out_dir() -> PathBuf {
    "out/".into()
}

fn file_path() -> String {
    "data.db".into()
}

/// The dialect.
#[derive(Debug)]
pub(crate) struct Sqlite {
    dir: PathBuf,
    name: PathBuf,
}

impl Dialect for Sqlite {
    const TYPE: &'static str = "DAQJobStoreSQLite";
    const BACKEND: &'static str = "sqlite";
    type Config = SqliteConfig;
    type Link = SqliteLink;

    fn check(config: &SqliteConfig) -> Result<(), Vec<Refusal>> {
        let refuse = |error: files::NameError| vec![Refusal { key: "file_path".into(), reason: error.to_string() }];
        files::checked_name(&config.file_path).map(drop).map_err(refuse)
    }

    fn new(config: SqliteConfig) -> Result<Self, JobError> {
        let name = files::checked_name(&config.file_path).map_err(|error| JobError::Config(error.to_string()))?;
        let dir = std::path::absolute(&config.out_dir)
            .map_err(|error| JobError::failed(format!("cannot find {}", config.out_dir.display()), error))?;
        Ok(Self { dir, name })
    }

    async fn connect(&self) -> Result<SqliteLink, Trouble> {
        let shown = self.dir.join(&self.name);
        let fail = |error: io::Error| Trouble::new(format!("cannot use the database {}", shown.display()), error);
        let path = files::made_file(&self.dir, &self.name).map_err(fail)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .pragma("cache_size", "-32768")
            .pragma("wal_autocheckpoint", "4000")
            .disable_statement_logging();
        let connection = options.connect().await;
        let connection =
            connection.map_err(|error| trouble(format!("cannot open the database {}", shown.display()), error))?;
        SqliteLink::new(connection, path).map_err(fail)
    }
}

/// A connection.
pub(crate) struct SqliteLink {
    connection: SqliteConnection,
    path: PathBuf,
    /// Which file it was when it was opened.
    identity: (u64, u64),
    log: PathBuf,
    checkpoint_at: Instant,
    /// Tables, and columns of texts in them: SQLite would make texts of numbers, with 15 digits.
    texts: HashSet<(String, String)>,
}

impl SqliteLink {
    fn new(connection: SqliteConnection, path: PathBuf) -> io::Result<Self> {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let identity = identity(&path)?;
        Ok(Self { connection, path, identity, log: log.into(), checkpoint_at: Instant::now(), texts: HashSet::new() })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Link for SqliteLink {
    // It takes 32,766; but a hundred statements are kept ready, and with 4096 each they take about 50 MB.
    const MOST_PARAMETERS: usize = 4096;
    // Each statement goes to the thread of the connection and back.
    const BEST_ROWS: usize = 1024;
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const MAKE_MARKS: &'static str = "CREATE TABLE IF NOT EXISTS enrgdaq_marks (store TEXT NOT NULL, \
         epoch INTEGER NOT NULL, seq INTEGER NOT NULL, turn INTEGER NOT NULL, PRIMARY KEY (store, epoch)) WITHOUT ROWID";
    const UPDATE_MARKS: &'static str =
        " ON CONFLICT (store, epoch) DO UPDATE SET seq = excluded.seq, turn = excluded.turn";
    const TABLE_OPTIONS: &'static str = "";

    fn type_of(column: &Column) -> &'static str {
        match column.cells.kind() {
            Kind::Integer | Kind::Boolean => "INTEGER",
            // Without a type SQLite changes no value: what is above an i64 is kept as digits.
            Kind::Unsigned => "",
            Kind::Real => "REAL",
            Kind::Text => "TEXT",
            Kind::Blob => "BLOB",
        }
    }

    fn about(error: &dyn DatabaseError) -> About {
        let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
        match code & 0xFF {
            TOO_BIG | CONSTRAINT | MISMATCH | RANGE => About::Rows,
            ERROR => About::Table,
            _ => About::Database,
        }
    }

    async fn run(&mut self, sql: String) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map(drop)
    }

    async fn insert(&mut self, sql: String, part: &Part, rows: Range<usize>) -> Result<(), sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * part.columns.len(), 0);
        let is_text = |column: &Column| {
            let is_real = column.cells.kind() == Kind::Real;
            is_real && self.texts.contains(&(part.table.clone(), column.name.to_ascii_lowercase()))
        };
        let texts: Vec<_> = part.columns.iter().map(is_text).collect();
        for row in rows {
            for (column, is_text) in part.columns.iter().zip(&texts) {
                match (column.cells.get(row), is_text) {
                    (Cell::Real(value), true) if !value.is_nan() => arguments.add(format!("{value:?}")),
                    (cell, _) => bind(&mut arguments, cell),
                }
                .map_err(sqlx::Error::Encode)?;
            }
        }
        sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut self.connection).await.map(drop)
    }

    async fn columns(&mut self, table: &str) -> Result<Columns, sqlx::Error> {
        let sql = "SELECT name, type FROM pragma_table_info(?)";
        let rows = sqlx::query(sql).bind(table).fetch_all(&mut self.connection).await?;
        let columns = rows.iter().map(|row| Ok((row.try_get::<String, _>(0)?.to_ascii_lowercase(), row.try_get(1)?)));
        let columns = columns.collect::<Result<Columns, sqlx::Error>>()?;
        let texts =
            columns.iter().filter(|(_, declared)| is_text(declared)).map(|(name, _)| (table.into(), name.clone()));
        self.texts.extend(texts);
        Ok(columns)
    }

    async fn marks(&mut self, store: &str, most: usize) -> Result<Vec<(u64, u64, i64)>, sqlx::Error> {
        let sql = "SELECT epoch, seq, turn FROM enrgdaq_marks WHERE store = ? ORDER BY turn DESC LIMIT ?";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind(store).bind(most).fetch_all(&mut self.connection).await?;
        let number = |row, n| sqlx::sqlite::SqliteRow::try_get::<i64, _>(row, n);
        rows.iter()
            .map(|row| Ok((number(row, 0)?.cast_unsigned(), number(row, 1)?.cast_unsigned(), number(row, 2)?)))
            .collect()
    }

    async fn forget_marks(&mut self, store: &str, before: i64) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM enrgdaq_marks WHERE store = ? AND turn < ?";
        sqlx::query(sql).bind(store).bind(before).execute(&mut self.connection).await.map(drop)
    }

    fn misfit(&self, part: &Part, rows: Range<usize>, columns: &Columns) -> Option<String> {
        part.columns.iter().find_map(|column| {
            let declared = columns.get(&column.name.to_ascii_lowercase())?;
            let why = match Numbers::of_type(declared) {
                // It keeps broken numbers as they are.
                Numbers::Whole => None,
                numbers => column.cells.misfit(rows.clone(), numbers),
            };
            let large = column.cells.beyond_i64(rows.clone()).filter(|_| !declared.is_empty());
            let why = why.or_else(|| large.map(|value| format!("{value} has too many digits")));
            why.map(|why| format!("column {} has type {declared}: {why}", column.name))
        })
    }

    fn check(&self) -> io::Result<()> {
        match identity(&self.path)? == self.identity {
            true => Ok(()),
            false => Err(io::Error::other(format!("{} is another file now", self.path.display()))),
        }
    }

    async fn sync(&mut self) -> Result<(), Trouble> {
        /// The log goes into the database itself so often.
        const CHECKPOINT_EVERY: Duration = Duration::from_millis(900);
        let fail = |error| Trouble::new(format!("cannot sync {}", self.log.display()), error);
        // Never the database itself: closing it once would give up SQLite's locks on it.
        match File::open(&self.log).and_then(|log| log.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        if self.checkpoint_at <= Instant::now() {
            self.checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
            let done = self.run("PRAGMA wal_checkpoint(PASSIVE)".into()).await;
            done.map_err(|error| trouble(format!("cannot sync {}", self.path.display()), error))?;
        }
        Ok(())
    }
}

/// Whether SQLite gives a column of that type the affinity of texts.
fn is_text(declared: &str) -> bool {
    let declared = declared.to_ascii_lowercase();
    !declared.contains("int") && ["char", "clob", "text"].iter().any(|word| declared.contains(word))
}

fn bind(arguments: &mut SqliteArguments, cell: Cell<'_>) -> Result<(), sqlx::error::BoxDynError> {
    match cell {
        Cell::Null => arguments.add(None::<i64>),
        Cell::Integer(value) => arguments.add(value),
        Cell::Unsigned(value) => match i64::try_from(value) {
            Ok(value) => arguments.add(value),
            Err(_) => arguments.add(value.to_string()),
        },
        Cell::Real(value) => arguments.add(value),
        Cell::Boolean(value) => arguments.add(i64::from(value)),
        Cell::Text(text) => arguments.add(text),
        Cell::Blob(bytes) => arguments.add(bytes),
    }
}

#[cfg(test)]
mod tests {
    use enrgdaq::store::conformance::{Subject, check};
    use enrgdaq::store::{Home, Sink};
    use tokio::runtime::Builder;

    use super::super::{Sql, SqlTarget};
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Subject for Folder {
        type Sink = Sql<Sqlite>;

        fn open(&self) -> Sql<Sqlite> {
            let config = SqliteConfig { out_dir: self.0.path().into(), file_path: file_path() };
            let home = Home { name: "db".into(), unique_id: "db".into(), state_dir: self.0.path().join("state") };
            Sql::open(config, &home).unwrap()
        }

        fn target(&self, place: &str) -> SqlTarget {
            SqlTarget { table_name: place.into() }
        }

        fn read(&self, place: &str) -> Vec<i64> {
            let options = SqliteConnectOptions::new().filename(self.0.path().join(file_path()));
            let read = async {
                let mut connection = options.connect().await.unwrap();
                let sql = format!("SELECT n FROM {place} ORDER BY rowid");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap()
            };
            Builder::new_current_thread().enable_all().build().unwrap().block_on(read)
        }
    }

    #[test]
    fn it_conforms() {
        (0..4).for_each(|seed| check(&Folder(tempfile::tempdir().unwrap()), seed));
    }
}
