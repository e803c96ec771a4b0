//! Stored responses: the state of conversations that a client goes on with by `previous_response_id`, where the
//! provider keeps none. A file beside the request log, one thread that owns it, commands in order: what was
//! put is there for the next get. Bounded in rows, bytes and age; what has gone is not found, never half there.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

const SCHEMA: &str = include_str!("migrations/responses_0001.sql");
/// Commands that wait.
const QUEUE: usize = 1024;
/// Longest row; a longer response is not stored.
const MAX_ROW: usize = 16 * 1024 * 1024;
/// Most bytes of all rows.
const MAX_BYTES: i64 = 1024 * 1024 * 1024;
const MAX_ROWS: i64 = 100_000;
/// OpenAI keeps responses for 30 days too.
const MAX_AGE_US: i64 = 30 * 86_400 * 1_000_000;
/// Longest chain of responses, and most bytes of one, that a request can go on from.
const MAX_CHAIN: usize = 1_000;
const MAX_CHAIN_BYTES: usize = 64 * 1024 * 1024;

/// One stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub response_id: String,
    /// Whose it is; nobody else finds it.
    pub owner: String,
    /// Microseconds since 1970 UTC.
    pub created_us: i64,
    /// The deployment that keeps the response itself; the texts below are then empty.
    pub deployment: Option<String>,
    pub previous: Option<String>,
    /// The request's own items: a JSON list.
    pub input: String,
    /// The response object.
    pub response: String,
    /// Items with an id, each as JSON, for references.
    pub items: Vec<(String, String)>,
}

/// The way to the thread that keeps responses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Responses {
    commands: SyncSender<Command>,
}

#[derive(Debug)]
enum Command {
    Put(Box<Stored>),
    /// A response and those before it, the oldest first; empty where one is missing.
    Chain(String, String, oneshot::Sender<Vec<Stored>>),
    Item(String, String, oneshot::Sender<Option<String>>),
    /// Whether there is such a response, whoever it belongs to.
    Exists(String, oneshot::Sender<bool>),
    Delete(String, String, oneshot::Sender<bool>),
    /// Answered when all before it is done.
    Flush(oneshot::Sender<()>),
}

impl Responses {
    /// Opens the store beside the request log, in memory where that is switched off.
    pub(super) fn open(log: &Path, in_memory: bool) -> Self {
        let path = (!in_memory).then(|| beside(log));
        let (commands, queue) = sync_channel(QUEUE);
        let spawned = std::thread::Builder::new()
            .name("responses".to_owned())
            .spawn(move || keep(path.as_deref(), &queue));
        if let Err(error) = spawned {
            tracing::error!(%error, "stored responses cannot be kept: no thread");
        }
        Self { commands }
    }

    /// Stores a response. With a full queue it is given up, and said so in the log.
    pub fn put(&self, stored: Stored) {
        let id = stored.response_id.clone();
        if self.commands.try_send(Command::Put(Box::new(stored))).is_err() {
            tracing::warn!(response_id = %id, "a response could not be stored: too many wait");
        }
    }

    /// A response and all before it, the oldest first; empty where any of them is not there. What came before one
    /// that a provider keeps is the provider's business.
    pub async fn chain(&self, response_id: &str, owner: &str) -> Vec<Stored> {
        let (response_id, owner) = (response_id.to_owned(), owner.to_owned());
        self.ask(|answer| Command::Chain(response_id, owner, answer)).await.unwrap_or_default()
    }

    /// One item by its id, as JSON.
    pub async fn item(&self, item_id: &str, owner: &str) -> Option<String> {
        let (item_id, owner) = (item_id.to_owned(), owner.to_owned());
        self.ask(|answer| Command::Item(item_id, owner, answer)).await.flatten()
    }

    /// Whether there is such a response, whoever it belongs to.
    pub async fn exists(&self, response_id: &str) -> bool {
        let response_id = response_id.to_owned();
        self.ask(|answer| Command::Exists(response_id, answer)).await.unwrap_or_default()
    }

    /// Deletes a response; whether it was there.
    pub async fn delete(&self, response_id: &str, owner: &str) -> bool {
        let (response_id, owner) = (response_id.to_owned(), owner.to_owned());
        self.ask(|answer| Command::Delete(response_id, owner, answer)).await.unwrap_or_default()
    }

    /// Waits until everything that was put is in the file.
    pub(super) async fn flush(&self) {
        let _gone = self.ask(Command::Flush).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, wanted) = oneshot::channel();
        self.commands.try_send(command(answer)).ok()?;
        wanted.await.ok()
    }
}

fn beside(log: &Path) -> PathBuf {
    log.with_extension("responses.db")
}

/// The thread: until nobody can send a command any more.
fn keep(path: Option<&Path>, queue: &Receiver<Command>) {
    let mut store = match Store::open(path) {
        Ok(store) => store,
        Err(error) => {
            tracing::error!(%error, "stored responses are kept in memory only");
            let Ok(store) = Store::open(None) else { return };
            store
        }
    };
    while let Ok(command) = queue.recv() {
        if let Err(error) = store.obey(command) {
            tracing::error!(%error, "stored responses");
        }
    }
}

struct Store {
    connection: Connection,
    bytes: i64,
    rows: i64,
}

impl Store {
    fn open(path: Option<&Path>) -> rusqlite::Result<Self> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.execute_batch(SCHEMA)?;
        let sums = "SELECT coalesce(sum(bytes), 0), count(*) FROM responses";
        let (bytes, rows) = connection.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { connection, bytes, rows })
    }

    /// Does one thing. Whoever asked may have gone: nobody then hears the answer.
    fn obey(&mut self, command: Command) -> rusqlite::Result<()> {
        match command {
            Command::Put(stored) => self.put(&stored)?,
            Command::Flush(answer) => {
                let _gone = answer.send(());
            }
            Command::Chain(id, owner, answer) => {
                let _gone = answer.send(self.chain(&id, &owner)?);
            }
            Command::Item(id, owner, answer) => {
                let sql = "SELECT item FROM response_items WHERE item_id = ? AND owner = ?";
                let mut select = self.connection.prepare_cached(sql)?;
                let found = select.query_row(params![id, owner], |row| row.get(0)).optional()?;
                let _gone = answer.send(found);
            }
            Command::Exists(id, answer) => {
                let sql = "SELECT 1 FROM responses WHERE response_id = ?";
                let _gone = answer.send(self.connection.prepare_cached(sql)?.exists([id])?);
            }
            Command::Delete(id, owner, answer) => {
                let sql =
                    "DELETE FROM responses WHERE response_id = ? AND owner = ? RETURNING bytes";
                let mut delete = self.connection.prepare_cached(sql)?;
                let freed: Option<i64> =
                    delete.query_row(params![id, owner], |row| row.get(0)).optional()?;
                self.rows -= i64::from(freed.is_some());
                self.bytes -= freed.unwrap_or_default();
                let _gone = answer.send(freed.is_some());
            }
        }
        Ok(())
    }

    fn put(&mut self, stored: &Stored) -> rusqlite::Result<()> {
        let items: usize = stored.items.iter().map(|(_, item)| item.len()).sum();
        let size = stored.input.len() + stored.response.len() + items + 512;
        if size > MAX_ROW {
            tracing::warn!(
                response_id = %stored.response_id, size, "a response is too large to be stored"
            );
            return Ok(());
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction()?;
        let written = transaction.execute(
            "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                stored.response_id,
                stored.owner,
                stored.created_us,
                size,
                stored.deployment,
                stored.previous,
                stored.input,
                stored.response
            ],
        )?;
        for (id, item) in stored.items.iter().filter(|_| written > 0) {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO response_items VALUES (?, ?, ?, ?)")?
                .execute(params![id, stored.owner, stored.response_id, item])?;
        }
        transaction.commit()?;
        if written > 0 {
            self.rows += 1;
            self.bytes += size;
        }
        self.make_room(stored.created_us - MAX_AGE_US)
    }

    /// Deletes what is too old, and the oldest where there is too much.
    fn make_room(&mut self, before_us: i64) -> rusqlite::Result<()> {
        loop {
            let is_full = self.rows > MAX_ROWS || self.bytes > MAX_BYTES;
            let before = if is_full { i64::MAX } else { before_us };
            let sql = "DELETE FROM responses WHERE response_id IN
                 (SELECT response_id FROM responses WHERE created_at < ? ORDER BY created_at LIMIT 16)
               RETURNING bytes";
            let mut delete = self.connection.prepare_cached(sql)?;
            let freed: Vec<i64> =
                delete.query_map(params![before], |row| row.get(0))?.collect::<Result<_, _>>()?;
            self.rows -= i64::try_from(freed.len()).unwrap_or_default();
            self.bytes -= freed.iter().sum::<i64>();
            if freed.is_empty() || !is_full {
                return Ok(());
            }
        }
    }

    fn chain(&self, response_id: &str, owner: &str) -> rusqlite::Result<Vec<Stored>> {
        let sql = "SELECT created_at, deployment, previous, input, response FROM responses
                   WHERE response_id = ? AND owner = ?";
        let mut select = self.connection.prepare_cached(sql)?;
        let mut chain = Vec::new();
        let mut size = 0;
        let mut next = Some(response_id.to_owned());
        while let Some(id) = next.take() {
            let found = select.query_row(params![id, owner], |row| {
                Ok(Stored {
                    response_id: id.clone(),
                    owner: owner.to_owned(),
                    created_us: row.get(0)?,
                    deployment: row.get(1)?,
                    previous: row.get(2)?,
                    input: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                    response: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                    items: Vec::new(),
                })
            });
            let Some(stored) = found.optional()? else { return Ok(Vec::new()) };
            size += stored.input.len() + stored.response.len();
            if stored.deployment.is_none() {
                next.clone_from(&stored.previous);
            }
            chain.push(stored);
            if chain.len() > MAX_CHAIN || size > MAX_CHAIN_BYTES {
                return Ok(Vec::new());
            }
        }
        chain.reverse();
        Ok(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: &str, previous: Option<&str>) -> Stored {
        Stored {
            response_id: id.into(),
            owner: "key".into(),
            created_us: MAX_AGE_US * 2,
            previous: previous.map(str::to_owned),
            input: "[]".into(),
            response: format!("{{\"id\":\"{id}\"}}"),
            items: vec![(format!("msg_{id}"), "{}".into())],
            ..Stored::default()
        }
    }

    #[tokio::test]
    async fn what_was_put_is_there_for_its_owner_and_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log.db");
        let responses = Responses::open(&log, false);
        responses.put(stored("a", None));
        responses.put(stored("b", Some("a")));
        let chain = responses.chain("b", "key").await;
        let ids: Vec<_> = chain.iter().map(|stored| stored.response_id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(responses.chain("b", "other").await.is_empty());
        assert_eq!(responses.item("msg_a", "key").await.as_deref(), Some("{}"));
        assert_eq!(responses.item("msg_a", "other").await, None);
        assert!(responses.exists("b").await && !responses.exists("none").await);
        assert!(!responses.delete("a", "other").await);
        assert!(responses.delete("a", "key").await);
        assert!(responses.chain("b", "key").await.is_empty(), "a chain with a gap is none");
        assert_eq!(responses.item("msg_a", "key").await, None);
        responses.put(stored("late", None));
        responses.flush().await;
        drop(responses);
        let again = Responses::open(&log, false);
        assert_eq!(again.chain("late", "key").await.len(), 1, "flushed before the end");
        again.put(stored("c", None));
        assert_eq!(again.chain("c", "key").await.len(), 1);
    }

    #[test]
    fn the_store_is_bounded_in_age_rows_and_bytes() {
        let mut store = Store::open(None).expect("in memory");
        let mut old = stored("old", None);
        old.created_us = 0;
        store.put(&old).expect("put");
        store.put(&stored("new", None)).expect("put");
        assert_eq!(store.rows, 1);
        store.bytes = MAX_BYTES + 1;
        store.make_room(0).expect("room");
        assert_eq!(store.rows, 0);
        let mut large = stored("large", None);
        large.response = "x".repeat(MAX_ROW);
        store.put(&large).expect("passed over");
        assert_eq!(store.rows, 0);
    }

    #[test]
    fn what_came_before_a_response_that_a_provider_keeps_is_not_looked_for() {
        let mut store = Store::open(None).expect("in memory");
        let kept = Stored { deployment: Some("d".into()), ..stored("b", Some("a")) };
        store.put(&kept).expect("put");
        let chain = store.chain("b", "key").expect("read");
        assert_eq!(chain.len(), 1);
        assert_eq!(chain[0].deployment.as_deref(), Some("d"));
    }

    #[test]
    fn a_circle_ends() {
        let mut store = Store::open(None).expect("in memory");
        store.put(&stored("a", Some("b"))).expect("put");
        store.put(&stored("b", Some("a"))).expect("put");
        assert!(store.chain("a", "key").expect("read").is_empty());
    }
}
