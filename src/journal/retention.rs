//! How long rows are kept. In SQLite the writer deletes old rows in small steps; in PostgreSQL whole
//! months are dropped and the rest of one is deleted in small steps. Rows that wait for PostgreSQL are
//! never too old.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::types::Type;

use super::drain::Target;
use super::postgres::{Fault, Postgres, TABLES, month_of, partition_month};
use super::queue::{Command, Shared};

const INTERVAL: Duration = Duration::from_secs(3600);
/// Rows deleted from PostgreSQL in one transaction.
const CHUNK: i64 = 5000;
/// Such transactions in one run: new rows wait in the spool meanwhile. The rest goes an hour later.
const CHUNKS: usize = 200;
/// The sums by day are small, and are kept so long even where rows are not: more than a year, so that months can be compared.
const USAGE_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// Has the writer delete old rows at once, hourly, and when an edit shortened the retention, as long as
/// SQLite is the store. Runs until dropped.
pub(super) async fn run(shared: Arc<Shared>, mut target: watch::Receiver<Target>) {
    loop {
        let Target { database_url, retention, .. } = target.borrow_and_update().clone();
        let now_us = jiff::Timestamp::now().as_microsecond();
        if database_url.is_none()
            && let Some(before_us) = before_us(retention, now_us)
        {
            shared.command(Command::Expire(before_us));
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            changed = target.changed() => if changed.is_err() { return },
        }
    }
}

/// The moment, in microseconds since 1970 UTC, before which rows are too old.
pub(super) fn before_us(retention: Option<Duration>, now_us: i64) -> Option<i64> {
    let retention = i64::try_from(retention?.as_micros()).ok()?;
    now_us.checked_sub(retention)
}

/// Drops every partition that ended before the retention and deletes older rows from the one it falls in; then the oldest
/// days of the sums. `now_us` is microseconds since 1970 UTC.
pub(super) async fn expire(
    postgres: &Postgres,
    retention: Duration,
    now_us: i64,
) -> Result<(), Fault> {
    if let Some(before_us) = before_us(Some(retention), now_us) {
        expire_rows(postgres, before_us).await?;
    }
    let oldest_day = before_us(Some(retention.max(USAGE_KEPT)), now_us);
    if let Some(before) = oldest_day.and_then(super::columns::rfc3339) {
        let sql = "DELETE FROM tidegate.usage_daily
                   WHERE day < ($1::text::timestamptz AT TIME ZONE 'UTC')::date";
        postgres.count(sql, &[(&before, Type::TEXT)]).await?;
    }
    Ok(())
}

async fn expire_rows(postgres: &Postgres, before_us: i64) -> Result<(), Fault> {
    let Some(month) = month_of(before_us) else { return Ok(()) };
    let before = super::columns::rfc3339(before_us).unwrap_or_default();
    for table in TABLES {
        let partitions = postgres
            .texts(
                "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = to_regclass('tidegate.' || $1) ORDER BY 1",
                &[(&table, Type::TEXT)],
            )
            .await?;
        for partition in partitions {
            if partition_month(table, &partition).is_some_and(|of| of < month) {
                // A reader may hold the table for long; nobody shall queue behind us meanwhile.
                let sql = format!(
                    "BEGIN; SET LOCAL lock_timeout = '2s'; DROP TABLE tidegate.{partition}; COMMIT;"
                );
                postgres.run(&sql).await?;
                tracing::info!(partition, "a month of request rows passed its retention");
            }
        }
        let sql = format!(
            "DELETE FROM tidegate.{table} WHERE (request_id, started_at) IN
               (SELECT request_id, started_at FROM tidegate.{table}
                WHERE started_at < $1::text::timestamptz LIMIT {CHUNK})"
        );
        for _ in 0..CHUNKS {
            if postgres.count(&sql, &[(&before, Type::TEXT)]).await? == 0 {
                break;
            }
        }
    }
    Ok(())
}
