//! The journal with real files and no server: what is recorded is in the file, whatever was there
//! before and however the process ended; what does not fit is counted.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::query::{self, LogQuery};
use super::queue::Command;
use super::*;
use crate::entry::{self, CallStatus, Entry, Payload, Round, ToolCall};

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(directory: &TempDir) -> RequestLog {
    RequestLog {
        reader_role: None,
        path: directory.path().join("deep/tidegate.db"),
        database_url: None,
        store_prompts: false,
        retention: None,
        disabled: false,
    }
}

fn entry() -> Entry {
    Entry {
        request_id: Uuid::now_v7(),
        started_at_us: jiff::Timestamp::now().as_microsecond(),
        surface: "/v1/chat/completions",
        operation: "chat",
        http_status: 200,
        model_requested: "gpt-5".to_owned(),
        lane: "verbatim",
        ..Entry::default()
    }
}

/// With a call of a tool that began at the same time.
fn with_call(entry: Entry) -> Entry {
    let call = ToolCall {
        id: Uuid::now_v7(),
        started_at_us: entry.started_at_us,
        server: "db".to_owned(),
        ..ToolCall::default()
    };
    Entry { tool_calls: 1, tool_call_logs: vec![call], ..entry }
}

fn record(journal: &Journal, rows: usize) {
    let recorder = journal.recorder();
    (0..rows).for_each(|_| recorder.record(entry()));
}

fn count(path: &Path, table: &str) -> i64 {
    let file = Connection::open(path).unwrap();
    file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

async fn until(journal: &Journal, what: &str, condition: impl Fn(&JournalStatus) -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition(&journal.status()) {
        assert!(Instant::now() < limit, "never: {what}; {:?}", journal.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn rows_are_in_the_file_without_asking() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 700);
    until(&journal, "700 rows", |status| status.spool_rows == 700).await;
    // Another process sees them while the journal is open.
    assert_eq!(count(&settings.path, "request_logs"), 700);
    assert_eq!(count(&settings.path, "requests_recent"), 700);
    assert_eq!(journal.status().postgres, PostgresState::Off);
    assert_eq!(journal.status().spool_oldest_seconds, 0.0);
    journal.close(PATIENCE).await;
}

#[tokio::test]
async fn what_was_committed_outlives_a_journal_that_is_never_closed() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 10);
    assert!(journal.flush(PATIENCE).await);
    // The files as a kill would leave them, write-ahead log and all.
    let copy = directory.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", settings.path.display());
        std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
    }
    let reopened =
        Journal::open(&RequestLog { path: copy.clone(), ..settings.clone() }, "test").unwrap();
    record(&reopened, 5);
    reopened.close(PATIENCE).await;
    assert_eq!(count(&copy, "request_logs"), 15);
    drop(journal);
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    std::fs::create_dir_all(settings.path.parent().unwrap()).unwrap();
    std::fs::write(&settings.path, "this is no database\n".repeat(500)).unwrap();
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 3);
    journal.close(PATIENCE).await;
    assert_eq!(count(&settings.path, "request_logs"), 3);
    let names = std::fs::read_dir(settings.path.parent().unwrap()).unwrap().flatten();
    let aside: Vec<_> = names
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(".corrupt-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert!(std::fs::read_to_string(&aside[0]).unwrap().starts_with("this is no database"));
}

/// The drainer may say so of a file that the writer has moved aside itself in the meantime.
#[tokio::test]
async fn only_the_damaged_file_is_moved_aside() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    assert!(journal.flush(PATIENCE).await);
    let generation = journal.shared.file_generation.load(Ordering::Relaxed);
    // Each time two rows more, and what is there then.
    for (of, rows) in [(generation - 1, 2), (generation, 0), (generation, 2)] {
        record(&journal, 2);
        assert!(journal.flush(PATIENCE).await);
        journal.shared.command(Command::SetAside(of, "the test says so".to_owned()));
        assert!(journal.flush(PATIENCE).await);
        assert_eq!(count(&settings.path, "request_logs"), rows, "{of} of {generation}");
    }
    journal.close(PATIENCE).await;
    let names = std::fs::read_dir(settings.path.parent().unwrap()).unwrap().flatten();
    let aside = names.filter(|it| it.file_name().to_string_lossy().contains(".corrupt-"));
    assert!(aside.count() >= 1);
}

#[tokio::test]
async fn a_file_that_disappears_is_begun_anew() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 3);
    assert!(journal.flush(PATIENCE).await);
    std::fs::remove_dir_all(settings.path.parent().unwrap()).unwrap();
    let limit = Instant::now() + PATIENCE;
    while !settings.path.exists() {
        assert!(Instant::now() < limit, "the file never comes back");
        record(&journal, 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    record(&journal, 4);
    journal.close(PATIENCE).await;
    assert!(count(&settings.path, "request_logs") >= 4);
}

#[tokio::test]
async fn a_newer_releases_file_is_written_to_unless_it_is_foreign() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    Journal::open(&settings, "test").unwrap().close(PATIENCE).await;
    let newer = Connection::open(&settings.path).unwrap();
    newer
        .execute_batch("ALTER TABLE request_logs ADD COLUMN later TEXT NOT NULL DEFAULT ''")
        .unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 3);
    journal.close(PATIENCE).await;
    assert_eq!(count(&settings.path, "request_logs"), 3);
    // Nor is it made older.
    let version = newer.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_eq!(version.unwrap(), 99);
    newer.pragma_update(None, "user_version", 1001).unwrap();
    let error = Journal::open(&settings, "test").err().unwrap().to_string();
    assert!(error.contains("newer release"), "{error}");
}

#[tokio::test]
async fn a_locked_file_fills_the_queue_and_no_caller_waits() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let bounds = Bounds { queue_rows: 100, ..Bounds::default() };
    let journal = Journal::open_within(&settings, "test", bounds).unwrap();
    let lock = Connection::open(&settings.path).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    record(&journal, 2000);
    let status = journal.status();
    assert!(status.dropped_total >= 2000 - 100 - 256 - 1, "{status:?}");
    lock.execute_batch("ROLLBACK").unwrap();
    assert!(journal.flush(PATIENCE).await);
    let status = journal.status();
    assert_eq!(status.rows_total + status.dropped_total, 2000);
    assert_eq!(status.dropped[0], ("queue_full", status.dropped_total));
    journal.close(PATIENCE).await;
}

#[tokio::test]
async fn a_file_that_refuses_makes_rows_wait_and_passes() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    assert!(journal.flush(PATIENCE).await);
    let shell = Connection::open(&settings.path).unwrap();
    shell
        .execute_batch(
            "CREATE TABLE broken (x);
             CREATE TRIGGER t BEFORE INSERT ON request_logs WHEN EXISTS (SELECT 1 FROM broken)
             BEGIN SELECT json('not json'); END;
             INSERT INTO broken VALUES (1);",
        )
        .unwrap();
    record(&journal, 50);
    assert!(!journal.flush(Duration::from_millis(300)).await);
    assert_eq!(journal.status().dropped_total, 0);
    shell.execute_batch("DELETE FROM broken").unwrap();
    until(&journal, "the rows are written", |status| status.rows_total == 50).await;
    journal.close(PATIENCE).await;
    assert_eq!(count(&settings.path, "request_logs"), 50);
}

#[tokio::test]
async fn bodies_are_kept_only_when_asked_for_and_never_at_a_rows_expense() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&directory);
    let said = |request: &[u8], response: &[u8]| Entry {
        payload: Some(Payload {
            request: request.to_vec(),
            response: response.to_vec(),
            ..Payload::default()
        }),
        ..entry()
    };
    let bounds = Bounds { queue_bytes: 1_000_000, ..Bounds::default() };
    let journal = Journal::open_within(&settings, "test", bounds).unwrap();
    let recorder = journal.recorder();
    recorder.record(said(b"{}", b"{}"));
    assert!(journal.flush(PATIENCE).await);
    assert_eq!(count(&settings.path, "request_payloads"), 0);

    settings.store_prompts = true;
    journal.retarget(&settings).unwrap();
    let cut = [b"a".repeat(256 * 1024 - 1), "é".as_bytes().to_vec()].concat();
    recorder.record(said(br#"{"messages":[1]}"#, &cut));
    recorder.record(said(b"\xff\xfeRIFF", b"nul \0 gone"));
    assert!(journal.flush(PATIENCE).await);
    let file = Connection::open(&settings.path).unwrap();
    let bodies: Vec<(String, i64, i64, String)> = file
        .prepare("SELECT encoding, bytes, truncated, substr(body, 1, 20) FROM request_payloads ORDER BY rowid")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let body = |encoding: &str, bytes, cut, text: &str| {
        (encoding.to_owned(), bytes, i64::from(cut), text.to_owned())
    };
    assert_eq!(
        bodies,
        [
            body("utf-8", 16, false, r#"{"messages":[1]}"#),
            body("utf-8", 256 * 1024 + 1, true, &"a".repeat(20)),
            body("binary", 6, true, ""),
            body("utf-8", 10, false, "nul  gone"),
        ]
    );
    let messages = "SELECT messages FROM litellm_logs WHERE messages <> '{}'";
    assert_eq!(file.query_row(messages, [], |row| row.get::<_, String>(0)).unwrap(), "[1]");

    file.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for _ in 0..20 {
        recorder.record(said(&[b'x'; 100_000], b""));
    }
    file.execute_batch("ROLLBACK").unwrap();
    assert!(journal.flush(PATIENCE).await);
    let status = journal.status();
    assert_eq!((status.rows_total, status.dropped_total), (23, 0));
    assert!(status.payloads_dropped_total >= 1, "{status:?}");
    journal.close(PATIENCE).await;
}

#[tokio::test]
async fn old_rows_go_and_young_ones_stay() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&directory);
    settings.store_prompts = true;
    let journal = Journal::open(&settings, "test").unwrap();
    let recorder = journal.recorder();
    let day = 24 * 3600 * 1_000_000;
    for age in 0..3000 {
        let payload = Payload { request: b"{}".to_vec(), ..Payload::default() };
        let started_at_us = entry().started_at_us - i64::from(age % 10) * day - 1;
        recorder.record(with_call(Entry { started_at_us, payload: Some(payload), ..entry() }));
    }
    assert!(journal.flush(PATIENCE).await);
    assert_eq!(journal.status().spool_rows, 3000);
    settings.retention = Some(Duration::from_secs(3 * 24 * 3600));
    journal.retarget(&settings).unwrap();
    until(&journal, "three days are left", |status| status.spool_rows == 900).await;
    journal.close(PATIENCE).await;
    assert_eq!(count(&settings.path, "request_logs"), 900);
    assert_eq!(count(&settings.path, "request_payloads"), 900);
    assert_eq!(count(&settings.path, "tool_call_logs"), 900);
}

#[tokio::test]
async fn calls_of_tools_stand_beside_their_request() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    let mut entry = with_call(entry());
    entry.key_alias = Some("tester".to_owned());
    entry.tool_calls = 70_000;
    entry.tool_call_logs.push(ToolCall {
        id: Uuid::now_v7(),
        round: 2,
        server: "d\0b".to_owned(),
        tool: "é".repeat(1000),
        status: CallStatus::NotRun,
        result_bytes: Some(u64::MAX),
        cost_usd: None,
        arguments_digest: [0xab; 16],
        ..ToolCall::default()
    });
    let round = Round { model: "m".to_owned(), ..Round::default() };
    entry.rounds = vec![round; 100];
    journal.recorder().record(entry.clone());
    // The same once more changes nothing.
    journal.recorder().record(entry.clone());
    journal.close(PATIENCE).await;
    let file = Connection::open(&settings.path).unwrap();
    let text = |sql: &str| file.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let row = "SELECT tool_calls || ' ' || tool_rounds || ' ' || mcp_servers || ' ' || \
               json_array_length(rounds) || ' ' || (rounds -> 0) FROM request_logs";
    assert_eq!(
        text(row),
        r#"32767 100 ["db"] 64 {"deployment":"","model":"m","status":"ok","duration_us":0}"#
    );
    assert_eq!(count(&settings.path, "tool_call_logs"), 2);
    let odd = "SELECT server || length(tool) || status || result_bytes || arguments_digest || key_alias \
               || (request_id = (SELECT request_id FROM request_logs)) FROM tool_call_logs WHERE round = 2";
    assert_eq!(text(odd), format!("db512not_run1000000000000000{}tester1", "ab".repeat(16)));
    assert_eq!(count(&settings.path, "tool_calls_recent"), 2);
}

#[tokio::test]
async fn rows_that_wait_are_kept_up_to_the_spools_bound() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&directory);
    // Nobody answers at the discard port.
    settings.database_url = Some("postgres://x@127.0.0.1:9/x".to_owned().into());
    settings.retention = Some(Duration::from_secs(1));
    let bounds = Bounds { spool_bytes: 400_000, ..Bounds::default() };
    let journal = Journal::open_within(&settings, "test", bounds).unwrap();
    let recorder = journal.recorder();
    let old = Entry { started_at_us: 1, ..entry() };
    recorder.record(old.clone());
    assert!(journal.flush(PATIENCE).await);
    // Far past its retention, and kept: it is nowhere else.
    assert_eq!(journal.status().spool_rows, 1);
    assert!(journal.status().spool_oldest_seconds > 1e9);
    let limit = Instant::now() + PATIENCE;
    while journal.status().dropped_total == 0 {
        assert!(Instant::now() < limit, "never full: {:?}", journal.status());
        record(&journal, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&journal, "every row is there or counted", |status| {
        status.rows_total - status.dropped_total == status.spool_rows
    })
    .await;
    let status = journal.status();
    assert_eq!(status.dropped[1], ("spool_full", status.dropped_total));
    assert_eq!(status.evicted_total, 0);
    let file = Connection::open(&settings.path).unwrap();
    let oldest: i64 =
        file.query_row("SELECT min(started_at) FROM request_logs", [], |row| row.get(0)).unwrap();
    assert_ne!(oldest, old.started_at_us, "the oldest go first");
    journal.close(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_full_store_gives_up_its_oldest_rows_and_takes_new_ones() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let bounds = Bounds { spool_bytes: 1_000_000, ..Bounds::default() };
    let journal = Journal::open_within(&settings, "test", bounds).unwrap();
    let recorder = journal.recorder();
    let old = Entry { started_at_us: 1, ..entry() };
    recorder.record(old.clone());
    let limit = Instant::now() + PATIENCE;
    let mut last = old.request_id;
    while journal.status().evicted_total == 0 {
        assert!(Instant::now() < limit, "never full: {:?}", journal.status());
        record(&journal, 200);
        let young = entry();
        last = young.request_id;
        recorder.record(young);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&journal, "every row is there or counted", |status| {
        status.rows_total - status.evicted_total == status.spool_rows
    })
    .await;
    // Nothing was refused: the rows were kept as long as there was room.
    assert_eq!(journal.status().dropped_total, 0);
    journal.close(PATIENCE).await;
    let file = Connection::open(&settings.path).unwrap();
    let kept = |id: Uuid| -> i64 {
        let sql = "SELECT count(*) FROM request_logs WHERE request_id = ?";
        file.query_row(sql, [id.to_string()], |row| row.get(0)).unwrap()
    };
    assert_eq!((kept(old.request_id), kept(last)), (0, 1));
    assert!(count(&settings.path, "request_logs") > 500);
}

#[tokio::test]
async fn switched_off_it_touches_nothing_and_an_edit_switches_it_on() {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&directory);
    settings.disabled = true;
    settings.retention = Some(PATIENCE);
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal, 5);
    assert!(journal.flush(PATIENCE).await);
    assert!(!settings.path.exists());
    settings.disabled = false;
    journal.retarget(&settings).unwrap();
    record(&journal, 5);
    assert!(journal.flush(PATIENCE).await);
    assert_eq!(count(&settings.path, "request_logs"), 5);

    let open = settings.path.clone();
    settings.path = directory.path().join("other.db");
    settings.disabled = true;
    let error = journal.retarget(&settings).err().unwrap();
    assert!(matches!(&error, JournalError::PathChanged { open: at, .. } if *at == open), "{error}");
    record(&journal, 5);
    journal.close(PATIENCE).await;
    assert_eq!(count(&open, "request_logs"), 5);
    assert!(!settings.path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_during_and_after_the_close_is_safe() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let journal = Journal::open(&settings, "test").unwrap();
    let going = Arc::new(AtomicBool::new(true));
    let shared = journal.shared.clone();
    let (recorder, flag) = (journal.recorder(), going.clone());
    let load = std::thread::spawn(move || {
        let mut rows = 0;
        while flag.load(Ordering::Relaxed) {
            recorder.record(entry());
            rows += 1;
        }
        rows
    });
    until(&journal, "some rows", |status| status.rows_total > 100).await;
    journal.close(PATIENCE).await;
    going.store(false, Ordering::Relaxed);
    let recorded: u64 = load.join().unwrap();
    let written = shared.counters.rows.load(Ordering::Relaxed);
    let dropped: u64 = shared.counters.dropped().iter().map(|(_, rows)| rows).sum();
    assert_eq!(written + dropped, recorded);
    assert_eq!(count(&settings.path, "request_logs").unsigned_abs(), written);
}

#[tokio::test]
async fn logs_are_found_by_what_is_asked() {
    let directory = TempDir::new().unwrap();
    let settings = settings(&directory);
    let ask = |query: LogQuery| {
        let settings = settings.clone();
        async move { query::find(&settings, &query).await.map(|found| found.rows.len()) }
    };
    assert!(matches!(ask(LogQuery::default()).await, Err(query::QueryError::NoLog(_))));
    let journal = Journal::open(&settings, "test").unwrap();
    let recorder = journal.recorder();
    let first = entry();
    let since = jiff::Timestamp::from_microsecond(first.started_at_us + 1_000_000).unwrap();
    recorder.record(first);
    for index in 0..60 {
        let failed = index % 10 == 0;
        recorder.record(Entry {
            started_at_us: since.as_microsecond() + index,
            http_status: if failed { 429 } else { 200 },
            status: if failed { entry::Status::Error } else { entry::Status::Ok },
            key_id: Some("0123456789ab".to_owned()),
            key_alias: Some("it's \"quoted\"; --".to_owned()),
            model_group: (index < 5).then(|| "small".to_owned()),
            ..entry()
        });
    }
    assert!(journal.flush(PATIENCE).await);
    let all = LogQuery { limit: 1000, ..LogQuery::default() };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(ask(LogQuery::default()).await.unwrap(), 50);
    assert_eq!(ask(all.clone()).await.unwrap(), 61);
    for (query, rows) in [
        (LogQuery { since: Some(since), ..all.clone() }, 60),
        (LogQuery { errors: true, ..all.clone() }, 6),
        (LogQuery { status: text("error"), ..all.clone() }, 6),
        (LogQuery { status: text("429"), ..all.clone() }, 6),
        (LogQuery { status: text("ok"), ..all.clone() }, 55),
        (LogQuery { key: text("0123456789ab"), ..all.clone() }, 60),
        (LogQuery { key: text("it's \"quoted\"; --"), ..all.clone() }, 60),
        (LogQuery { key: text("' OR 1=1"), ..all.clone() }, 0),
        (LogQuery { model: text("small"), errors: true, ..all.clone() }, 1),
        (LogQuery { limit: 0, ..all.clone() }, 0),
    ] {
        assert_eq!(ask(query.clone()).await.unwrap(), rows, "{query:?}");
    }
    let mut out = Vec::new();
    let query = LogQuery { json: true, limit: 1, ..LogQuery::default() };
    assert_eq!(query::run(&settings, &query, &mut out).await.unwrap(), None);
    let row: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&row["stream"], &row["tags"]), (&false.into(), &serde_json::json!([])));
    journal.close(PATIENCE).await;
    // And with the gateway gone.
    assert_eq!(ask(all).await.unwrap(), 61);
}
