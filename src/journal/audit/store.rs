//! Entries of the audit log in the SQLite file: written by the writer thread, read by the drainer for PostgreSQL.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::super::columns::rfc3339;
use super::{Act, Entry, KEPT};

pub(in crate::journal) const COLUMNS: &str = "chain, seq, at, instance, actor, source, action, object, outcome, before, after, config_sha256, prev_hash, hash";
/// Entries of one step to PostgreSQL.
const BATCH: i64 = 500;

/// Writes the act behind what is there; returns its number.
pub(in crate::journal) fn append(
    connection: &mut Connection,
    act: &Act,
    at_us: i64,
    instance: &str,
) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last = last(&transaction)?;
    let entry = act.entry(last.as_ref(), || uuid::Uuid::now_v7().to_string(), at_us, instance);
    transaction.execute(
        &format!("INSERT INTO audit_log ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"),
        params![
            entry.chain,
            entry.seq,
            entry.at,
            entry.instance,
            entry.actor,
            entry.source,
            entry.action,
            entry.object,
            entry.outcome,
            entry.before,
            entry.after,
            entry.config_sha256,
            entry.prev_hash,
            entry.hash,
        ],
    )?;
    transaction.execute("DELETE FROM audit_log WHERE seq <= ?1", params![entry.seq - KEPT])?;
    transaction.commit()?;
    Ok(entry.seq)
}

fn last(connection: &Connection) -> rusqlite::Result<Option<Entry>> {
    let sql = format!("SELECT {COLUMNS} FROM audit_log ORDER BY seq DESC LIMIT 1");
    connection.query_row(&sql, [], read).optional()
}

/// The chain's id and its last number; `None` while nothing was written.
pub(in crate::journal) fn end(connection: &Connection) -> rusqlite::Result<Option<(String, i64)>> {
    Ok(last(connection)?.map(|entry| (entry.chain, entry.seq)))
}

/// The entries after a number, a bounded count of them.
pub(in crate::journal) fn after(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!("SELECT {COLUMNS} FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT {BATCH}");
    connection.prepare(&sql)?.query_map(params![seq], read)?.collect()
}

/// Reads a row of `COLUMNS`.
pub(in crate::journal) fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        chain: row.get(0)?,
        seq: row.get(1)?,
        at: row.get(2)?,
        instance: row.get(3)?,
        actor: row.get(4)?,
        source: row.get(5)?,
        action: row.get(6)?,
        object: row.get(7)?,
        outcome: row.get(8)?,
        before: row.get(9)?,
        after: row.get(10)?,
        config_sha256: row.get(11)?,
        prev_hash: row.get(12)?,
        hash: row.get(13)?,
    })
}

/// The entries as PostgreSQL takes them: a JSON array of objects with the columns' names.
pub(in crate::journal) fn to_json(entries: &[Entry]) -> String {
    let fits = entries.iter().filter(|entry| rfc3339(entry.at).is_some());
    serde_json::to_string(&fits.collect::<Vec<_>>()).unwrap_or_else(|_| "[]".to_owned())
}
