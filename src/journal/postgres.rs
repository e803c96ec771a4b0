//! PostgreSQL: a small pool, the schema and its partitions, and the one transaction that takes a batch
//! of rows. Every call has a deadline, so that a server that hangs is a fault like any other. Knows
//! nothing of the spool the rows come from.
//!
//! No statement is prepared by name and no session state outlives a transaction, so pgbouncer may
//! stand in between in transaction mode.

use std::fmt;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::GENERATION;
use super::columns::{self, PAYLOADS, REQUESTS, TOOL_CALLS};
use super::tls::{Address, AddressError};

/// Until a connection stands, password and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until a batch is committed. The server gives up on a statement at the same time.
const BATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the schema is up to date.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Until a report over many rows is made.
const REPORT_TIMEOUT: Duration = Duration::from_secs(600);
/// Connections at most; the drainer uses one, `tidegate logs` another in a process of its own.
const POOL_SIZE: usize = 2;
/// Months for which partitions are made in advance, this one not counted.
const MONTHS_AHEAD: i32 = 3;
/// The advisory lock of every change to the schema: "tidegate" in ASCII.
const SCHEMA_LOCK: i64 = 0x7469_6465_6761_7465;
/// The partitioned tables.
pub(super) const TABLES: [&str; 3] = ["request_logs", "request_payloads", "tool_call_logs"];

/// Every step of the schema: number, name, text. A step that was released is never edited: its digest
/// is kept beside it.
pub(super) const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "request_logs", include_str!("migrations/postgres_0001_request_logs.sql")),
    (2, "losses", include_str!("migrations/postgres_0002_losses.sql")),
    (3, "tool_calls", include_str!("migrations/postgres_0003_tool_calls.sql")),
    (4, "prices", include_str!("migrations/postgres_0004_prices.sql")),
    (5, "usage", include_str!("migrations/postgres_0005_usage.sql")),
    (6, "audit_log", include_str!("migrations/postgres_0006_audit_log.sql")),
];

static INSERT_REQUESTS: LazyLock<String> = LazyLock::new(|| insert("request_logs", REQUESTS));
static INSERT_PAYLOADS: LazyLock<String> = LazyLock::new(|| insert("request_payloads", PAYLOADS));
static INSERT_TOOL_CALLS: LazyLock<String> = LazyLock::new(|| insert("tool_call_logs", TOOL_CALLS));

/// A database, connected to on demand.
pub(super) struct Postgres {
    pool: Pool,
}

/// What went wrong, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server is away, starting, full, slow or refuses the login: the same batch again, later.
    Away(String),
    /// A row's content is refused: find it.
    Row(String),
    /// No partition for a row's time: make it.
    NoPartition,
    /// Tables, rights or releases do not fit: a person has to look.
    Drift(String),
}

impl Postgres {
    /// Reads the URL and sets up the pool; connects to nothing.
    pub(super) fn new(url: &str) -> Result<Self, AddressError> {
        let Address { mut config, tls } = Address::parse(url)?;
        config.connect_timeout(CONNECT_TIMEOUT);
        config.keepalives_idle(Duration::from_secs(30));
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, tls, manager_config))
            .runtime(Runtime::Tokio1)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|error| AddressError::Tls(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Asks the server for a sign of life.
    pub(super) async fn ping(&self) -> Result<(), Fault> {
        self.within(CONNECT_TIMEOUT, async |client| Ok(client.batch_execute("").await?)).await
    }

    /// Brings the schema up to date, and makes this month's partitions and the next ones. Tells the steps that were taken.
    pub(super) async fn migrate(&self) -> Result<Vec<String>, Fault> {
        let taken = self
            .within(MIGRATE_TIMEOUT, async |client| {
                begin(client, MIGRATE_TIMEOUT).await?;
                let lock = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK})");
                client.batch_execute(&lock).await?;
                let taken = migrate(client).await?;
                client.batch_execute("COMMIT").await?;
                Ok(taken)
            })
            .await?;
        self.make_partitions(Timestamp::now().as_microsecond()).await?;
        Ok(taken)
    }

    /// Copies entries of the audit log, a JSON array of objects. What is there already is passed over.
    pub(super) async fn insert_audit(&self, entries: &str) -> Result<(), Fault> {
        self.within(BATCH_TIMEOUT, async |client| {
            begin(client, BATCH_TIMEOUT).await?;
            client
                .execute_typed(
                    "INSERT INTO tidegate.audit_log
                     SELECT * FROM json_populate_recordset(NULL::tidegate.audit_log, $1::text::json)
                     ON CONFLICT DO NOTHING",
                    &[(&entries, Type::TEXT)],
                )
                .await?;
            client.batch_execute("COMMIT").await?;
            Ok(())
        })
        .await
    }

    /// Makes the partitions from the month of `from_us` (microseconds since 1970 UTC) to the last one
    /// wanted in advance. What exists is left alone.
    pub(super) async fn make_partitions(&self, from_us: i64) -> Result<(), Fault> {
        let now = month_of(Timestamp::now().as_microsecond())
            .ok_or_else(|| Fault::Drift("the clock shows no date".to_owned()))?;
        let from = month_of(from_us)
            .filter(|month| month.year() >= 1970)
            .ok_or_else(|| Fault::Row("the row's time is outside the calendar".to_owned()))?;
        let mut months: Vec<Date> = (0..=MONTHS_AHEAD)
            .filter_map(|ahead| now.checked_add(jiff::Span::new().months(ahead)).ok())
            .collect();
        if !months.contains(&from) {
            months.push(from);
        }
        self.within(MIGRATE_TIMEOUT, async |client| {
            for month in &months {
                make_partition(client, *month).await?;
            }
            Ok(())
        })
        .await
    }

    /// Commits rows, payloads and tool calls, each a JSON array of objects. Rows that are there already are
    /// passed over, so the same batch may come any number of times. `Ok` means the server answered COMMIT.
    pub(super) async fn insert(
        &self,
        entries: &str,
        payloads: &str,
        tool_calls: &str,
    ) -> Result<(), Fault> {
        self.within(BATCH_TIMEOUT, async |client| {
            begin(client, BATCH_TIMEOUT).await?;
            client.execute_typed(&INSERT_REQUESTS, &[(&entries, Type::TEXT)]).await?;
            if payloads != "[]" {
                client.execute_typed(&INSERT_PAYLOADS, &[(&payloads, Type::TEXT)]).await?;
            }
            if tool_calls != "[]" {
                client.execute_typed(&INSERT_TOOL_CALLS, &[(&tool_calls, Type::TEXT)]).await?;
            }
            client.batch_execute("COMMIT").await?;
            Ok(())
        })
        .await
    }

    /// Runs a query and returns its first column, which must be text.
    pub(super) async fn texts(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<String>, Fault> {
        self.within(BATCH_TIMEOUT, async |client| {
            let rows = client.query_typed(sql, parameters).await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Does work that sees the database as of one moment, and changes nothing.
    pub(super) async fn in_snapshot<T>(
        &self,
        work: impl AsyncFnOnce(&Looking<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.within(REPORT_TIMEOUT, async |client| {
            client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let found = work(&Looking(client)).await?;
            client.batch_execute("COMMIT").await?;
            Ok(found)
        })
        .await
    }

    /// Runs one or more statements without parameters as one transaction.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Fault> {
        self.within(BATCH_TIMEOUT, async |client| Ok(client.batch_execute(sql).await?)).await
    }

    /// Runs one statement and returns how many rows it touched.
    pub(super) async fn count(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<u64, Fault> {
        self.within(BATCH_TIMEOUT, async |client| Ok(client.execute_typed(sql, parameters).await?))
            .await
    }

    /// Lends a connection to `work`. One that failed, or was left in the middle of something at the
    /// deadline, is thrown away and with it its open transaction.
    async fn within<T>(
        &self,
        deadline: Duration,
        work: impl AsyncFnOnce(&Object) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let client = self.pool.get().await.map_err(pool_fault)?;
        let mut lease = Lease(Some(client));
        let outcome = bounded(deadline, async {
            match &lease.0 {
                Some(client) => work(client).await,
                None => Err(Fault::Away("no connection".to_owned())),
            }
        })
        .await;
        if outcome.is_ok() {
            // Dropping the object gives it back to the pool.
            drop(lease.0.take());
        }
        outcome
    }
}

/// A transaction that sees one moment.
pub(super) struct Looking<'c>(&'c Object);

impl Looking<'_> {
    /// Runs a query and returns its first column, which must be text.
    pub(super) async fn texts(
        &self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<String>, Fault> {
        let rows = self.0.query_typed(sql, parameters).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

/// A connection that returns to the pool only on purpose: when the future that uses it is dropped, it
/// is closed.
struct Lease(Option<Object>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = describe(&error);
        let Some(code) = error.code() else { return Self::Away(text) };
        // The tables have no check constraint but their partitions' bounds.
        if *code == SqlState::CHECK_VIOLATION {
            return Self::NoPartition;
        }
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        match code.code().get(..2) {
            Some("22" | "23") => Self::Row(text),
            // 42 is syntax, names and rights; 3D and 3F are a missing database and schema, which a person
            // makes, but 3D also shows while one is being restored: both are tried again.
            Some("42" | "0A") => Self::Drift(text),
            _ => Self::Away(text),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(text) | Self::Row(text) | Self::Drift(text) => f.write_str(text),
            Self::NoPartition => f.write_str("no partition for the row's time"),
        }
    }
}

/// The first of the month, in UTC; `None` outside the calendar.
pub(super) fn month_of(micros: i64) -> Option<Date> {
    let time = Timestamp::from_microsecond(micros).ok()?;
    Some(time.to_zoned(TimeZone::UTC).date().first_of_month())
}

/// `request_logs_y2026m11`.
pub(super) fn partition_name(table: &str, month: Date) -> String {
    format!("{table}_y{:04}m{:02}", month.year(), month.month())
}

/// Reads `partition_name` back; `None` for a table that Tidegate did not make.
pub(super) fn partition_month(table: &str, partition: &str) -> Option<Date> {
    let (year, month) = partition.strip_prefix(table)?.strip_prefix("_y")?.split_once('m')?;
    Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()
}

async fn begin(client: &Object, timeout: Duration) -> Result<(), Fault> {
    // A role may have synchronous_commit off for its own tables; a row that was answered for may not
    // get lost with the server.
    let sql = format!(
        "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = {};",
        timeout.as_millis()
    );
    Ok(client.batch_execute(&sql).await?)
}

async fn migrate(client: &Object) -> Result<Vec<String>, Fault> {
    let mut taken = Vec::new();
    // `CREATE … IF NOT EXISTS` asks for the right to create even where nothing is left to create.
    client
        .batch_execute(
            "DO $$ BEGIN
               IF to_regnamespace('tidegate') IS NULL THEN CREATE SCHEMA tidegate; END IF;
               IF to_regclass('tidegate.migrations') IS NULL THEN
                 CREATE TABLE tidegate.migrations (
                   version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
                   applied_at timestamptz NOT NULL DEFAULT now());
               END IF;
             END $$",
        )
        .await?;
    let applied =
        client.query_typed("SELECT version, sha256 FROM tidegate.migrations", &[]).await?;
    let mut done = Vec::new();
    for row in applied {
        let (version, digest): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        match MIGRATIONS.iter().find(|(known, ..)| *known == version) {
            None if is_foreign(version) => {
                return Err(Fault::Drift(format!(
                    "the database's schema has step {version}, which this release does not know: \
                     use the newer release"
                )));
            }
            None => tracing::debug!(version, "a newer release has added to the schema"),
            Some((_, name, text)) if sha256(text) != digest => {
                return Err(Fault::Drift(format!(
                    "the database's schema step {version} ({name}) differs from this release's"
                )));
            }
            Some(_) => done.push(version),
        }
    }
    for (version, name, text) in MIGRATIONS {
        if done.contains(version) {
            continue;
        }
        client.batch_execute(text).await?;
        client
            .execute_typed(
                "INSERT INTO tidegate.migrations (version, name, sha256) VALUES ($1, $2, $3)",
                &[(version, Type::INT4), (name, Type::TEXT), (&sha256(text), Type::TEXT)],
            )
            .await?;
        tracing::info!(version, name, "database schema step applied");
        taken.push(format!("{version} {name}"));
    }
    Ok(taken)
}

/// Whether a step is of a generation of the schema that this release cannot write to.
fn is_foreign(version: i32) -> bool {
    let newest = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or_default();
    let generation = |version: i32| usize::try_from(version).unwrap_or_default() / GENERATION;
    generation(version) > generation(newest)
}

async fn make_partition(client: &Object, month: Date) -> Result<(), Fault> {
    let next = month
        .checked_add(jiff::Span::new().months(1))
        .map_err(|error| Fault::Row(error.to_string()))?;
    for table in TABLES {
        let partition = partition_name(table, month);
        let exists = client
            .query_typed(
                "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass('tidegate.' || $1))",
                &[(&partition, Type::TEXT)],
            )
            .await?;
        if exists.first().map(|row| row.try_get(0)).transpose()? == Some(true) {
            continue;
        }
        // Attaching takes a weaker lock than `PARTITION OF`: readers of the table are not held up.
        let sql = format!(
            "BEGIN;
             SET LOCAL lock_timeout = '5s';
             SELECT pg_advisory_xact_lock({SCHEMA_LOCK});
             CREATE TABLE IF NOT EXISTS tidegate.{partition} (LIKE tidegate.{table} INCLUDING DEFAULTS);
             DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = 'tidegate.{partition}'::regclass) THEN
                 ALTER TABLE tidegate.{table} ATTACH PARTITION tidegate.{partition}
                   FOR VALUES FROM ('{month} 00:00:00+00') TO ('{next} 00:00:00+00');
               END IF;
             END $$;
             COMMIT;"
        );
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

async fn bounded<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(Fault::Away(format!("no answer within {} s", deadline.as_secs()))))
}

fn insert(table: &str, columns: &[(&str, columns::Kind)]) -> String {
    let names = columns::names(columns);
    // Digits that were taken for the bytes of a text become the bytes that they stand for.
    let values = columns.iter().map(|(name, kind)| match kind {
        columns::Kind::Hex => format!("decode(encode({name}, 'escape'), 'hex')"),
        _ => (*name).to_owned(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    // The parameter is text, so that the driver needs no catalogue query to learn its type.
    format!(
        "INSERT INTO tidegate.{table} ({names})
         SELECT {values} FROM json_populate_recordset(NULL::tidegate.{table}, $1::text::json)
         ON CONFLICT DO NOTHING"
    )
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pool_fault(error: PoolError) -> Fault {
    match error {
        PoolError::Backend(error) => match Fault::from(error) {
            // Whatever the reason, a login that fails may succeed later.
            Fault::Row(text) | Fault::Drift(text) => Fault::Away(text),
            fault => fault,
        },
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            Fault::Away(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))
        }
        error => Fault::Away(error.to_string()),
    }
}

/// The server's own words with their code, or the driver's with what is behind them. Neither holds the
/// password; a row's content may stand in a DETAIL, which is left out.
fn describe(error: &tokio_postgres::Error) -> String {
    let text = match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    };
    columns::clean(&text, 300).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_their_month() {
        let month = month_of(1_763_690_400_000_000).unwrap();
        let name = partition_name("request_logs", month);
        assert_eq!(name, "request_logs_y2025m11");
        assert_eq!(partition_month("request_logs", &name), Some(month));
        for other in [
            "request_logs_default",
            "request_logs_y2025",
            "request_payloads_y2025m11",
            "request_logs_y2025m13",
        ] {
            assert_eq!(partition_month("request_logs", other), None, "{other}");
        }
    }
}
