//! MariaDB and MySQL.

use std::ops::Range;
use std::path::PathBuf;

use enrgdaq::config::Refusal;
use enrgdaq::job::JobError;
use enrgdaq::store::Trouble;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlSslMode};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Row};

use super::batch::{Column, Part};
use super::cells::{Cell, Kind, Numbers};
use super::dialect::{About, Columns, Dialect, Link, trouble};

/// How a session is to behave: no value is changed in silence, and nothing is waited for longer than 20 s. Of a connection
/// that is gone without a word, MariaDB gives up the transaction, and with it the marks that the next one waits for.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
                       innodb_lock_wait_timeout = 20, lock_wait_timeout = 20, autocommit = 1 \
                       /*M!100300 , idle_transaction_timeout = 60 */";

/// What a statement has beside its values.
const BESIDE: usize = 64 << 10;

/// Keys of the job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MySqlConfig {
    /// The server: a name or an address, or the path of its socket, which begins with `/`.
    #[schemars(example = &"localhost")]
    host: String,
    /// Its port.
    #[serde(default = "port")]
    port: u16,
    /// Who logs in.
    #[schemars(example = &"daq")]
    user: String,
    /// With which password.
    #[serde(default)]
    password: String,
    /// The database; it exists.
    #[schemars(example = &"lab")]
    database: String,
    /// Whether what goes to the server and comes from it is encrypted.
    #[serde(default)]
    tls: Tls,
    /// With `tls = "verify"`, a PEM file with the certificates of those who may vouch for the server; those of the system
    /// if it is missing.
    tls_ca: Option<PathBuf>,
}

/// See `tls`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tls {
    /// If the server can.
    #[default]
    Prefer,
    /// Never.
    Off,
    /// Always, whoever the server is.
    Require,
    /// Always, and the server's certificate must be good and bear the name of the host.
    Verify,
}

impl From<Tls> for MySqlSslMode {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Prefer => Self::Preferred,
            Tls::Off => Self::Disabled,
            Tls::Require => Self::Required,
            Tls::Verify => Self::VerifyIdentity,
        }
    }
}

fn port() -> u16 {
    3306
}

/// The dialect.
pub(crate) struct MySql {
    options: MySqlConnectOptions,
    /// For people.
    shown: String,
}

impl Dialect for MySql {
    const TYPE: &'static str = "DAQJobStoreMySQL";
    const BACKEND: &'static str = "mysql";
    type Config = MySqlConfig;
    type Link = MySqlLink;

    fn check(config: &MySqlConfig) -> Result<(), Vec<Refusal>> {
        match (&config.tls_ca, config.tls) {
            (Some(_), Tls::Prefer | Tls::Off | Tls::Require) => {
                let reason = "nobody looks at certificates; add tls = \"verify\"".into();
                Err(vec![Refusal { key: "tls_ca".into(), reason }])
            }
            _ => Ok(()),
        }
    }

    fn new(config: MySqlConfig) -> Result<Self, JobError> {
        let MySqlConfig { host, port, user, password, database, tls, tls_ca } = config;
        let shown = format!("{user}@{host}:{port}/{database}");
        let options = MySqlConnectOptions::new().username(&user).database(&database).ssl_mode(tls.into());
        let options = tls_ca.into_iter().fold(options, MySqlConnectOptions::ssl_ca);
        // An empty one would be sent as one, and is not the same as none.
        let options = if password.is_empty() { options } else { options.password(&password) };
        let options = match host.starts_with('/') {
            true => options.socket(host),
            false => options.host(&host).port(port),
        };
        Ok(Self { options: options.disable_statement_logging(), shown })
    }

    async fn connect(&self) -> Result<MySqlLink, Trouble> {
        let fail = |error| trouble(format!("cannot connect to the database {}", self.shown), error);
        let connection = self.options.connect().await.map_err(fail)?;
        let mut link = MySqlLink { connection, most_bytes: 0 };
        link.run(SESSION.into()).await.map_err(fail)?;
        let packet: u64 =
            sqlx::query_scalar("SELECT @@max_allowed_packet").fetch_one(&mut link.connection).await.map_err(fail)?;
        link.most_bytes = usize::try_from(packet).unwrap_or(usize::MAX).saturating_sub(BESIDE);
        Ok(link)
    }
}

/// A connection.
pub(crate) struct MySqlLink {
    connection: MySqlConnection,
    most_bytes: usize,
}

impl Link for MySqlLink {
    const MOST_PARAMETERS: usize = 65_535;
    const BEST_ROWS: usize = 1024;
    const BEGIN: &'static str = "START TRANSACTION";
    const MAKE_MARKS: &'static str = "CREATE TABLE IF NOT EXISTS enrgdaq_marks (\
         store VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, epoch BIGINT NOT NULL, \
         seq BIGINT NOT NULL, turn BIGINT NOT NULL, PRIMARY KEY (store, epoch)) ENGINE=InnoDB";
    const UPDATE_MARKS: &'static str = " ON DUPLICATE KEY UPDATE seq = VALUES(seq), turn = VALUES(turn)";
    const TABLE_OPTIONS: &'static str = " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4";

    fn type_of(column: &Column) -> &'static str {
        match column.cells.kind() {
            // A supply that is off sends 0, and 0.13 when it is on.
            Kind::Integer if column.is_loose && column.cells.all_fit(Numbers::Floating) => "DOUBLE",
            Kind::Integer => "BIGINT",
            Kind::Unsigned => "BIGINT UNSIGNED",
            Kind::Real => "DOUBLE",
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "LONGTEXT",
            Kind::Blob => "LONGBLOB",
        }
    }

    fn about(error: &dyn DatabaseError) -> About {
        let number = error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
        about(number, error.code().as_deref().unwrap_or_default())
    }

    async fn run(&mut self, sql: String) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map(drop)
    }

    async fn insert(&mut self, sql: String, part: &Part, rows: Range<usize>) -> Result<(), sqlx::Error> {
        let mut arguments = MySqlArguments::default();
        Arguments::reserve(&mut arguments, rows.len() * part.columns.len(), part.bytes(rows.clone()));
        for row in rows {
            for column in &part.columns {
                bind(&mut arguments, column.cells.get(row)).map_err(sqlx::Error::Encode)?;
            }
        }
        sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut self.connection).await.map(drop)
    }

    async fn columns(&mut self, table: &str) -> Result<Columns, sqlx::Error> {
        // Some servers give these texts as bytes.
        let sql = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR) FROM information_schema.columns \
                   WHERE table_schema = DATABASE() AND table_name = ?";
        let rows = sqlx::query(sql).bind(table).fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| Ok((row.try_get::<String, _>(0)?.to_ascii_lowercase(), row.try_get(1)?))).collect()
    }

    async fn marks(&mut self, store: &str, most: usize) -> Result<Vec<(u64, u64, i64)>, sqlx::Error> {
        // It waits for a commit of an earlier process, or of a connection that was given up, which is still on its way.
        let sql = "SELECT epoch, seq, turn FROM enrgdaq_marks WHERE store = ? ORDER BY turn DESC FOR UPDATE";
        let rows = sqlx::query(sql).bind(store).fetch_all(&mut self.connection).await?;
        let number = |row, n| sqlx::mysql::MySqlRow::try_get::<i64, _>(row, n);
        let marks = rows.iter().take(most);
        marks
            .map(|row| Ok((number(row, 0)?.cast_unsigned(), number(row, 1)?.cast_unsigned(), number(row, 2)?)))
            .collect()
    }

    async fn forget_marks(&mut self, store: &str, before: i64) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM enrgdaq_marks WHERE store = ? AND turn < ?";
        sqlx::query(sql).bind(store).bind(before).execute(&mut self.connection).await.map(drop)
    }

    fn misfit(&self, part: &Part, rows: Range<usize>, columns: &Columns) -> Option<String> {
        let misfit = part.columns.iter().find_map(|column| {
            let declared = columns.get(&column.name.to_ascii_lowercase())?;
            let why = column.cells.misfit(rows.clone(), Numbers::of_type(declared))?;
            Some(format!("column {} has type {declared}: {why}", column.name))
        });
        misfit.or_else(|| {
            let most = self.most_bytes;
            // Few rows are looked at one by one: all together are seldom too large.
            let is_large = part.bytes(rows.clone()) > most && rows.clone().any(|row| part.bytes(row..row + 1) > most);
            is_large.then(|| format!("a row has more bytes than the server takes, {most} (max_allowed_packet)"))
        })
    }

    fn most_bytes(&self) -> usize {
        /// More at once is not faster.
        const ENOUGH: usize = 4 << 20;
        self.most_bytes.min(ENOUGH)
    }
}

/// By the server's number of an error, and its SQLSTATE.
fn about(number: u16, state: &str) -> About {
    /// No such table, no such column.
    const UNKNOWN: [u16; 2] = [1146, 1054];
    /// A table or a column is there already: somebody else made it.
    const TAKEN: [u16; 2] = [1050, 1060];
    /// What stands in no class of its own: bad values (1264, 1265, 1366, 1364, 1406, 1526), tables and names that cannot
    /// be (1064, 1059, 1103, 1113, 1117, 1118, 1166, 1347), views that take nothing (1288, 1471, 1393 to 1395, 1423),
    /// checks (3819, 4025), generated columns (1906, 3105), texts in another character set (1267, 1300).
    const ROWS: [u16; 26] = [
        1264, 1265, 1366, 1364, 1406, 1526, 1064, 1059, 1103, 1113, 1117, 1118, 1166, 1347, 1288, 1471, 1393, 1394,
        1395, 1423, 3819, 4025, 1906, 3105, 1267, 1300,
    ];
    match state.get(..2).unwrap_or_default() {
        _ if UNKNOWN.contains(&number) => About::Table,
        _ if TAKEN.contains(&number) => About::Database,
        // Data exceptions, constraints, wrong counts, and what a trigger says.
        "21" | "22" | "23" | "44" | "45" => About::Rows,
        _ if ROWS.contains(&number) => About::Rows,
        _ => About::Database,
    }
}

fn bind(arguments: &mut MySqlArguments, cell: Cell<'_>) -> Result<(), sqlx::error::BoxDynError> {
    match cell {
        Cell::Null => Arguments::add(arguments, None::<i64>),
        Cell::Integer(value) => Arguments::add(arguments, value),
        Cell::Unsigned(value) => Arguments::add(arguments, value),
        Cell::Real(value) => Arguments::add(arguments, value.is_finite().then_some(value)),
        Cell::Boolean(value) => Arguments::add(arguments, value),
        Cell::Text(text) => Arguments::add(arguments, text),
        Cell::Blob(bytes) => Arguments::add(arguments, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_pass_cost_no_rows() {
        let table = [
            (1264, "22003", About::Rows),
            (1062, "23000", About::Rows),
            (1366, "HY000", About::Rows),
            (1118, "42000", About::Rows),
            (1146, "42S02", About::Table),
            (1060, "42S21", About::Database),
            (1213, "40001", About::Database),
            (1205, "HY000", About::Database),
            (1021, "HY000", About::Database),
            (1114, "HY000", About::Database),
            (1142, "42000", About::Database),
            (1290, "HY000", About::Database),
            (1053, "08S01", About::Database),
        ];
        for (number, state, expected) in table {
            assert_eq!(about(number, state), expected, "{number}");
        }
    }
}
