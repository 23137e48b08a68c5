//! In what databases differ.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use enrgdaq::config::Refusal;
use enrgdaq::job::JobError;
use enrgdaq::store::Trouble;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use sqlx::error::DatabaseError;

use super::batch::{Column, Part};

/// A kind of database.
pub(crate) trait Dialect: Sized + Send + 'static {
    /// The job type's name.
    const TYPE: &'static str;
    /// `mysql` in `[store_config.mysql]`.
    const BACKEND: &'static str;
    /// The job's own keys.
    type Config: DeserializeOwned + JsonSchema;
    /// A connection.
    type Link: Link;

    /// What the types cannot say of the configuration.
    fn check(_config: &Self::Config) -> Result<(), Vec<Refusal>> {
        Ok(())
    }

    fn new(config: Self::Config) -> Result<Self, JobError>;

    /// Connects, and has the session behave as the store expects it.
    async fn connect(&self) -> Result<Self::Link, Trouble>;
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// The rows: they can never be stored.
    Rows,
    /// The table is not what it was: it helps to look at it again.
    Table,
    /// The database: it may pass.
    Database,
}

/// What was being done, and what came of it; of an error of the database its own words only, which say all.
pub(super) fn trouble(what: impl Into<String>, error: sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => Trouble::saying(format!("{}: {error}", what.into())),
        error => Trouble::new(what, error),
    }
}

/// The columns of a table that exists: names in small letters, and their types as declared.
pub(crate) type Columns = HashMap<String, String>;

/// A connection to a database. An error leaves it in a state that only a rollback, or its end, puts right.
pub(crate) trait Link: Send {
    /// The most parameters of a statement.
    const MOST_PARAMETERS: usize;
    /// So many rows a statement are the fastest.
    const BEST_ROWS: usize;
    /// Begins a transaction that may write.
    const BEGIN: &'static str;
    /// Makes the table of the marks.
    const MAKE_MARKS: &'static str;
    /// What makes an insert of marks that exist an update.
    const UPDATE_MARKS: &'static str;

    /// The type of a new column.
    fn type_of(column: &Column) -> &'static str;

    /// What stands behind a new table.
    const TABLE_OPTIONS: &'static str;

    /// What an error of the database is about.
    fn about(error: &dyn DatabaseError) -> About;

    /// Runs a statement without parameters.
    async fn run(&mut self, sql: String) -> Result<(), sqlx::Error>;

    /// Runs the statement whose parameters are the cells of some rows, one row after the other.
    async fn insert(&mut self, sql: String, part: &Part, rows: Range<usize>) -> Result<(), sqlx::Error>;

    /// The columns of a table; none if there is no such table.
    async fn columns(&mut self, table: &str) -> Result<Columns, sqlx::Error>;

    /// Of a store, the epochs and numbers of the newest marks, and their turns; the newest comes first. In a transaction,
    /// it waits for those who may still change them.
    async fn marks(&mut self, store: &str, most: usize) -> Result<Vec<(u64, u64, i64)>, sqlx::Error>;

    /// Forgets the marks of a store that are older than a turn.
    async fn forget_marks(&mut self, store: &str, before: i64) -> Result<(), sqlx::Error>;

    /// Why some rows would not come back as they were.
    fn misfit(&self, part: &Part, rows: Range<usize>, columns: &Columns) -> Option<String>;

    /// The most bytes of a statement.
    fn most_bytes(&self) -> usize {
        usize::MAX
    }

    /// Whether what was committed is still there.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Has what was committed outlive a power failure.
    async fn sync(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}
