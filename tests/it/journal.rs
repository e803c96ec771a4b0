//! The journal against a real PostgreSQL: whatever happens to the server, the rows in it are the rows
//! that were recorded, each once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::config::snapshot::RequestLog;
use tidegate::conversation::usage::Usage;
use tidegate::entry::{
    Attempt, CallStatus, Entry, Loss, Payload, Round, Status, ToolCall, UsageSource,
};
use tidegate::ground::secret::Secret;
use tidegate::journal::query::{self, LogQuery};
use tidegate::journal::{Journal, JournalStatus, PostgresState, Recorder};
use tokio::sync::mpsc;
use uuid::{NoContext, Timestamp, Uuid};

use crate::support::postgres::{PASSWORD, Postgres, USER};

/// How long a condition may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
const COUNT: &str = "SELECT count(*) FROM tidegate.request_logs";
const CALLS: &str = "SELECT count(*) FROM tidegate.tool_call_logs";
/// Requests, as the sums by day have them.
const USAGE: &str = "SELECT coalesce(sum(requests), 0)::bigint FROM tidegate.usage_daily";
const MONTH: u64 = 31 * 24 * 3600;

fn settings(directory: &TempDir, url: Option<String>) -> RequestLog {
    RequestLog {
        reader_role: None,
        path: directory.path().join("tidegate.db"),
        database_url: url.map(Secret::new),
        store_prompts: false,
        retention: None,
        disabled: false,
    }
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A request that ended just now.
fn entry() -> Entry {
    entry_at(now_us())
}

fn entry_at(started_at_us: i64) -> Entry {
    let micros = started_at_us.unsigned_abs();
    let nanos = u32::try_from(micros % 1_000_000).unwrap() * 1000;
    let time = Timestamp::from_unix(NoContext, micros / 1_000_000, nanos);
    // Whatever becomes of the request's row becomes of its calls'.
    let call = ToolCall {
        id: Uuid::new_v7(time),
        started_at_us,
        duration_us: 900,
        round: 1,
        server: "db".to_owned(),
        tool: "query".to_owned(),
        function: "db-query".to_owned(),
        status: CallStatus::Ok,
        arguments_bytes: 2,
        result_bytes: Some(512),
        arguments_digest: [7; 16],
        cost_usd: "0.001".parse().ok(),
        ..ToolCall::default()
    };
    Entry {
        request_id: Uuid::new_v7(time),
        started_at_us,
        tool_calls: 1,
        tool_call_logs: vec![call],
        duration_us: 1500,
        surface: "/v1/chat/completions",
        operation: "chat",
        status: Status::Ok,
        http_status: 200,
        model_requested: "gpt-5".to_owned(),
        lane: "verbatim",
        ..Entry::default()
    }
}

fn record(recorder: &Recorder, rows: usize) {
    for _ in 0..rows {
        recorder.record(entry());
    }
}

/// Polls the journal's own figures.
#[track_caller]
fn until(
    journal: &Journal,
    what: &'static str,
    condition: impl Fn(&JournalStatus) -> bool,
) -> impl Future<Output = ()> {
    let limit = Instant::now() + PATIENCE;
    async move {
        loop {
            let status = journal.status();
            if condition(&status) {
                return;
            }
            assert!(Instant::now() < limit, "never: {what}; {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn until_drained(journal: &Journal, rows: u64) {
    until(journal, "every row is in PostgreSQL", |status| {
        status.rows_total == rows && status.spool_rows == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_a_server_that_is_not_there_yet() {
    let directory = TempDir::new().unwrap();
    let mut server = Postgres::new();
    let journal = Journal::open(&settings(&directory, Some(server.url())), "test").unwrap();
    record(&journal.recorder(), 1200);
    until(&journal, "the rows wait", |status| {
        status.spool_rows == 1200 && matches!(status.postgres, PostgresState::Error(_))
    })
    .await;
    assert!(!format!("{:?}", journal.status()).contains(PASSWORD));

    server.start().await;
    until_drained(&journal, 1200).await;
    assert_eq!(server.count(COUNT).await, 1200);
    assert_eq!(server.count(CALLS).await, 1200);
    until(&journal, "connected", |status| status.postgres == PostgresState::Connected).await;
    assert_eq!(journal.status().spool_oldest_seconds, 0.0);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_outlive_the_gateway_and_a_closed_journal_is_empty() {
    let directory = TempDir::new().unwrap();
    let mut server = Postgres::new();
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 300);
    journal.close(Duration::from_secs(3)).await;

    server.start().await;
    let journal = Journal::open(&settings, "test").unwrap();
    let recorder = journal.recorder();
    record(&recorder, 700);
    // Closing alone takes everything there: no waiting for the drainer's next turn.
    journal.close(PATIENCE).await;
    assert_eq!(server.count(COUNT).await, 1000);
    assert_eq!(server.count(CALLS).await, 1000);
    assert!(!directory.path().join("tidegate.db-wal").exists());
    recorder.record(entry());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_has_every_row_once() {
    let directory = TempDir::new().unwrap();
    let mut server = Postgres::running().await;
    let journal = Journal::open(&settings(&directory, Some(server.url())), "test").unwrap();

    let (going, recorded) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let load = std::thread::spawn({
        let (recorder, going, recorded) = (journal.recorder(), going.clone(), recorded.clone());
        move || {
            while going.load(Ordering::Relaxed) {
                record(&recorder, 10);
                recorded.fetch_add(10, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    for _ in 0..3 {
        let drained = journal.status().drained_total;
        until(&journal, "rows arrive", |status| status.drained_total > drained + 500).await;
        server.kill().await;
        let before = recorded.load(Ordering::Relaxed);
        until(&journal, "rows pile up", |status| {
            status.rows_total > before + 300 && matches!(status.postgres, PostgresState::Error(_))
        })
        .await;
        server.start().await;
    }
    going.store(false, Ordering::Relaxed);
    load.join().unwrap();

    let recorded = recorded.load(Ordering::Relaxed);
    until_drained(&journal, recorded).await;
    assert_eq!(server.count(COUNT).await.unsigned_abs(), recorded);
    assert_eq!(server.count(CALLS).await.unsigned_abs(), recorded);
    assert_eq!(server.count(USAGE).await.unsigned_abs(), recorded);
    assert_eq!(journal.status().dropped_total, 0);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_mended_in_the_server_or_in_the_config() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let wrong = settings(&directory, Some(server.url_with("wrong-canary")));
    let journal = Journal::open(&wrong, "test").unwrap();
    let refused = |status: &JournalStatus| matches!(&status.postgres, PostgresState::Error(why) if why.contains("28P01") && !why.contains("canary"));
    record(&journal.recorder(), 50);
    until(&journal, "the login is refused", refused).await;

    server.execute(&format!("ALTER ROLE {USER} PASSWORD 'wrong-canary'")).await;
    until_drained(&journal, 50).await;

    let second = Postgres::running().await;
    let wrong = settings(&directory, Some(second.url_with("wrong-canary")));
    journal.retarget(&wrong).unwrap();
    record(&journal.recorder(), 60);
    until(&journal, "the login is refused", refused).await;
    journal.retarget(&settings(&directory, Some(second.url()))).unwrap();
    until_drained(&journal, 110).await;
    assert_eq!(second.count(COUNT).await, 60);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_holds_up_nobody() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let journal = Journal::open(&settings(&directory, Some(server.url())), "test").unwrap();
    record(&journal.recorder(), 10);
    until_drained(&journal, 10).await;

    server.freeze();
    record(&journal.recorder(), 900);
    // In the file, and kept there, while the drainer waits for an answer that does not come.
    assert!(journal.flush(PATIENCE).await);
    until(&journal, "the server counts as away", |status| {
        status.spool_rows == 900 && matches!(status.postgres, PostgresState::Error(_))
    })
    .await;
    server.thaw();
    until_drained(&journal, 910).await;
    assert_eq!(server.count(COUNT).await, 910);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_beside_a_hung_server_keeps_its_deadline_and_the_rows() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 1);
    until_drained(&journal, 1).await;
    server.freeze();
    record(&journal.recorder(), 40);
    journal.close(Duration::from_secs(2)).await;
    assert_eq!(spool_rows(&settings.path), 40);
    server.thaw();
    Journal::open(&settings, "test").unwrap().close(PATIENCE).await;
    assert_eq!(spool_rows(&settings.path), 0);
    assert_eq!(server.count(COUNT).await, 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_row_does_not_take_its_neighbours_along() {
    let directory = TempDir::new().unwrap();
    let mut server = Postgres::new();
    let mut settings = settings(&directory, Some(server.url()));
    settings.store_prompts = true;
    let journal = Journal::open(&settings, "test").unwrap();
    let recorder = journal.recorder();
    record(&recorder, 20);
    let mut nul = entry();
    nul.error_message = Some("a\0b".to_owned());
    nul.tags = vec!["t\0ag".to_owned()];
    nul.user_agent = Some("\u{1b}[31m\u{fffd}".to_owned());
    nul.payload = Some(Payload {
        request: b"{\"messages\":[{\"content\":\"\\u0000\"}]}".to_vec(),
        response: b"\0\xff\xfe".to_vec(),
        ..Payload::default()
    });
    recorder.record(nul);
    assert!(journal.flush(PATIENCE).await);
    // Nothing that is recorded can be refused; a person with a shell can still make it so.
    let file = rusqlite::Connection::open(&settings.path).unwrap();
    let spoilt = "UPDATE request_logs SET http_status = 99999 WHERE rowid IN (3, 17)";
    assert_eq!(file.execute(spoilt, []).unwrap(), 2);
    let before_christ = "UPDATE request_logs SET started_at = -99999999999999999 WHERE rowid = 5";
    assert_eq!(file.execute(before_christ, []).unwrap(), 1);
    record(&recorder, 20);

    server.start().await;
    until_drained(&journal, 41).await;
    assert_eq!(server.count(COUNT).await, 38);
    assert_eq!(server.count(CALLS).await, 38);
    assert_eq!(journal.status().dead_letter_total, 3);
    assert_eq!(journal.status().dropped_total, 0);
    let letters = "SELECT count(*) FROM dead_letters WHERE reason LIKE '%22003%' AND json_extract(entry, '$.http_status') = 99999 \
                   AND json_extract(tool_calls, '$[0].tool') = 'query'";
    assert_eq!(file.query_row(letters, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    let message =
        "SELECT count(*) FROM tidegate.request_logs WHERE error_message = 'ab' AND tags = '{tag}'";
    assert_eq!(server.count(message).await, 1);
    // jsonb cannot hold the escape either: the view shows such a body as text.
    let shown = "SELECT count(*) FROM public.litellm_logs WHERE proxy_server_request::text LIKE '%u0000%' AND response = '\"\"'";
    assert_eq!(server.count(shown).await, 1);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_of_the_spool_stops_nothing() {
    use std::os::unix::fs::FileExt;
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let mut settings = settings(&directory, None);
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 2000);
    journal.close(PATIENCE).await;
    let file = std::fs::OpenOptions::new().write(true).open(&settings.path).unwrap();
    let size = file.metadata().unwrap().len();
    for page in 20..(size / 4096 - 40) {
        file.write_all_at(&[0xff; 4096], page * 4096).unwrap();
    }
    settings.database_url = Some(Secret::new(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    until(&journal, "it is moved aside", |_| {
        let mut names = std::fs::read_dir(directory.path()).unwrap().flatten();
        names.any(|entry| entry.file_name().to_string_lossy().contains(".corrupt-"))
    })
    .await;
    let moment = now_us();
    record(&journal.recorder(), 30);
    // Beside them, rows that could be read before the damage was met.
    until(&journal, "new rows arrive", |status| {
        status.rows_total >= 30
            && status.spool_rows == 0
            && status.postgres == PostgresState::Connected
    })
    .await;
    journal.close(PATIENCE).await;
    let new = format!("{COUNT} WHERE started_at >= to_timestamp({moment} / 1e6)");
    assert_eq!(server.count(&new).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_refuses_everything_makes_rows_wait() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 1);
    until_drained(&journal, 1).await;
    server.execute("ALTER TABLE tidegate.request_logs ADD owner text; UPDATE tidegate.request_logs SET owner = 'x'; ALTER TABLE tidegate.request_logs ALTER owner SET NOT NULL").await;
    record(&journal.recorder(), 200);
    until(
        &journal,
        "nothing is taken",
        |status| matches!(&status.postgres, PostgresState::Error(why) if why.contains("every row")),
    )
    .await;
    assert_eq!(journal.status().dead_letter_total, 0);
    server.execute("ALTER TABLE tidegate.request_logs ALTER owner DROP NOT NULL").await;
    // Closing does not wait for the pause to pass.
    assert!(journal.flush(PATIENCE).await);
    journal.close(PATIENCE).await;
    assert_eq!(server.count(COUNT).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_sent_twice_arrive_once() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    let entries: Vec<_> = (0..600).map(|_| entry()).collect();
    let record_all = |recorder: Recorder| {
        for entry in &entries {
            recorder.record(entry.clone());
        }
    };
    record_all(journal.recorder());
    until_drained(&journal, 600).await;
    // As after a COMMIT whose answer was lost: the same rows again.
    record_all(journal.recorder());
    until_drained(&journal, 1200).await;
    assert_eq!(server.count(COUNT).await, 600);

    // Two processes at one file, both draining.
    let other = Journal::open(&settings, "other").unwrap();
    for _ in 0..20 {
        record(&journal.recorder(), 50);
        record(&other.recorder(), 50);
        tokio::task::yield_now().await;
    }
    journal.close(PATIENCE).await;
    other.close(PATIENCE).await;
    assert_eq!(server.count(COUNT).await, 2600);
    assert_eq!(server.count(CALLS).await, 2600);
    assert_eq!(server.count(USAGE).await, 2600);
    assert_eq!(spool_rows(&settings.path), 0);
    let file = rusqlite::Connection::open(&settings.path).unwrap();
    let calls = "SELECT count(*) FROM tool_call_logs";
    assert_eq!(file.query_row(calls, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_arrives_and_litellms_view_shows_it() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let mut settings = settings(&directory, Some(server.url()));
    settings.store_prompts = true;
    let journal = Journal::open(&settings, "instance-7").unwrap();
    let full = full_entry();
    let id = full.request_id;
    journal.recorder().record(full);
    let mut denied = entry();
    denied.status = Status::Denied;
    denied.http_status = 403;
    journal.recorder().record(denied);
    until_drained(&journal, 2).await;

    let client = server.connect().await;
    let row = client
        .query_one(
            "SELECT row_to_json(l)::text FROM tidegate.request_logs l WHERE request_id = $1",
            &[&id],
        )
        .await
        .unwrap();
    let row: serde_json::Value = serde_json::from_str(row.get(0)).unwrap();
    for (column, value) in row.as_object().unwrap() {
        let later = ["queue_us", "price_version", "trace_id", "span_id"];
        assert!(!value.is_null() || later.contains(&column.as_str()), "{column} is empty");
    }
    assert_eq!(row["tags"], serde_json::json!(["a \"b\"", "é"]));
    assert_eq!(row["losses"][0]["path"], "logit_bias");
    assert_eq!(row["attempt_trail"][0]["error"], "connect");
    assert_eq!(row["client_ip"], "192.0.2.7");
    assert_eq!(row["cost_usd"], 0.0125);
    assert_eq!(row["price_version"], "2026-11-26-00000000");
    assert_eq!(row["instance"], "instance-7");
    assert_eq!((&row["tool_calls"], &row["tool_rounds"]), (&1.into(), &2.into()));
    assert_eq!(row["mcp_servers"], serde_json::json!(["db"]));
    let rounds = serde_json::json!([
        { "deployment": "first", "model": "gpt-5-2026", "status": "ok", "duration_us": 7, "input_tokens": 4,
          "output_tokens": 2, "cost_usd": 0.0025, "price_version": "config" },
        { "deployment": "second", "model": "gpt-5-2026", "status": "error", "duration_us": 0 },
    ]);
    assert_eq!(row["rounds"], rounds);
    let call = client
        .query_one(
            "SELECT row_to_json(l)::text FROM tidegate.tool_call_logs l WHERE request_id = $1",
            &[&id],
        )
        .await
        .unwrap();
    let call: serde_json::Value = serde_json::from_str(call.get(0)).unwrap();
    for (column, value) in call.as_object().unwrap() {
        assert!(!value.is_null(), "{column} is empty");
    }
    assert_eq!(call["arguments_digest"], "07".repeat(16));
    assert_eq!((&call["status"], &call["key_alias"]), (&"ok".into(), &"openwebui".into()));
    assert_eq!(call["started_at"], row["started_at"]);

    let view = client
        .query_one(
            "SELECT row_to_json(l)::text FROM public.litellm_logs l WHERE request_id = $1",
            &[&id.to_string()],
        )
        .await
        .unwrap();
    let view: serde_json::Value = serde_json::from_str(view.get(0)).unwrap();
    for column in LITELLM_COLUMNS {
        assert!(view.get(column).is_some(), "{column}");
    }
    assert_eq!(view["call_type"], "acompletion");
    assert_eq!(view["total_tokens"], 30);
    assert_eq!(view["spend"], 0.0125);
    assert_eq!(view["startTime"], "2026-02-03T04:05:06.789");
    assert_eq!(view["endTime"], "2026-02-03T04:05:08.789");
    assert_eq!(view["completionStartTime"], "2026-02-03T04:05:07.039");
    assert_eq!(view["status"], "success");
    assert_eq!(view["messages"][0]["content"], "hello");
    assert_eq!(view["proxy_server_request"]["model"], "gpt-5");
    assert_eq!(view["response"], "data: not json");
    assert_eq!(view["metadata"]["user_api_key_alias"], "openwebui");
    let failed = "SELECT count(*) FROM litellm_logs WHERE status = 'failure' AND spend = 0";
    assert_eq!(server.count(failed).await, 1);

    // The same names, in the same order, in the file.
    let file = rusqlite::Connection::open(&settings.path).unwrap();
    let select = file.prepare("SELECT * FROM litellm_logs").unwrap();
    let in_file: Vec<_> = select.column_names().map(str::to_owned).collect();
    let in_server: Vec<_> = view.as_object().unwrap().keys().cloned().collect();
    assert_eq!(in_file, in_server);
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_come_and_go() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let mut settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    let ago = |seconds: u64| now_us() - i64::try_from(seconds * 1_000_000).unwrap();
    for age in [0, 2 * 24 * 3600, 5 * MONTH, 14 * MONTH] {
        journal.recorder().record(entry_at(ago(age)));
    }
    // A call may begin in a later month than its request.
    let mut late = entry_at(ago(10 * MONTH));
    late.duration_us = MONTH * 1_000_000;
    late.tool_call_logs[0].started_at_us = ago(9 * MONTH);
    journal.recorder().record(late);
    until_drained(&journal, 5).await;
    assert_eq!((server.count(COUNT).await, server.count(CALLS).await), (5, 5));
    let partitions =
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tidegate.request_logs'::regclass";
    // This month and three ahead, perhaps the one before it, and one for each old row or call.
    let all = server.count(partitions).await;
    assert!((8..=9).contains(&all), "{all}");

    settings.retention = Some(Duration::from_secs(3 * MONTH));
    journal.retarget(&settings).unwrap();
    poll(&server, COUNT, 2).await;
    poll(&server, partitions, all - 4).await;
    poll(&server, CALLS, 2).await;
    settings.retention = Some(Duration::from_secs(24 * 3600));
    journal.retarget(&settings).unwrap();
    poll(&server, COUNT, 1).await;
    poll(&server, CALLS, 1).await;
    // What was used is known for longer than who used it for what: all but the oldest day.
    poll(&server, USAGE, 4).await;
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_from_the_future_or_gone_astray_only_makes_rows_wait() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 5);
    until_drained(&journal, 5).await;
    journal.close(PATIENCE).await;

    // What the next release adds: this one goes on beside it, and after it.
    server
        .execute(
            "ALTER TABLE tidegate.request_logs ADD COLUMN later text NOT NULL DEFAULT '';
             CREATE TABLE tidegate.later (id integer);
             INSERT INTO tidegate.migrations VALUES (99, 'later', '')",
        )
        .await;
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 5);
    until_drained(&journal, 5).await;
    assert_eq!(server.count(COUNT).await, 10);
    journal.close(PATIENCE).await;

    server.execute("INSERT INTO tidegate.migrations VALUES (1001, 'much later', '')").await;
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 5);
    until(
        &journal,
        "a foreign schema is refused",
        |status| matches!(&status.postgres, PostgresState::Error(why) if why.contains("1001")),
    )
    .await;
    assert!(journal.flush(PATIENCE).await);
    assert_eq!(journal.status().spool_rows, 5);
    // A person mends it and an edit of the config wakes the drainer.
    server.execute("DROP SCHEMA tidegate CASCADE").await;
    let mut settings = settings;
    settings.retention = Some(Duration::from_secs(MONTH));
    journal.retarget(&settings).unwrap();
    until_drained(&journal, 5).await;
    assert_eq!(server.count(COUNT).await, 5);
    journal.close(PATIENCE).await;
}

/// The steps that a release before prices took, in both stores, with a row in each; then this one comes.
#[tokio::test(flavor = "multi_thread")]
async fn stores_of_an_older_release_are_brought_up_to_date() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    server
        .execute(
            "CREATE SCHEMA tidegate; CREATE TABLE tidegate.migrations (version integer PRIMARY KEY, name text NOT NULL, \
             sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await;
    for (version, name, sql) in [
        (
            1,
            "request_logs",
            include_str!("../../src/journal/migrations/postgres_0001_request_logs.sql"),
        ),
        (2, "losses", include_str!("../../src/journal/migrations/postgres_0002_losses.sql")),
        (
            3,
            "tool_calls",
            include_str!("../../src/journal/migrations/postgres_0003_tool_calls.sql"),
        ),
    ] {
        server.execute(sql).await;
        let step = format!(
            "INSERT INTO tidegate.migrations VALUES ({version}, '{name}', encode(sha256(convert_to($sql${sql}$sql$, 'UTF8')), 'hex'))"
        );
        server.execute(&step).await;
    }
    let file = rusqlite::Connection::open(&settings.path).unwrap();
    for sql in [
        include_str!("../../src/journal/migrations/sqlite_0001_request_logs.sql"),
        include_str!("../../src/journal/migrations/sqlite_0002_losses.sql"),
        include_str!("../../src/journal/migrations/sqlite_0003_tool_calls.sql"),
        "PRAGMA user_version = 3",
    ] {
        file.execute_batch(sql).unwrap();
    }
    let time = now_us();
    file.execute(
        "INSERT INTO request_logs (request_id, started_at, ended_at, duration_us, surface, operation, stream, status, \
         http_status, client_closed, tags, model_requested, lane, attempts, usage_source, cost_usd, config_generation, \
         instance, bytes_in, bytes_out) VALUES (?1, ?2, ?2, 1, '/v1/chat/completions', 'chat', 0, 'ok', 200, 0, '[]', \
         'old', 'verbatim', 1, 'provider', 0.25, 1, 'i', 1, 1)",
        rusqlite::params![Uuid::now_v7().to_string(), time],
    )
    .unwrap();
    drop(file);
    let journal = Journal::open(&settings, "test").unwrap();
    let mut priced = entry();
    priced.cost_usd = "0.1234567894".parse().ok();
    priced.price_version = Some("config".into());
    if let Some(call) = priced.tool_call_logs.first_mut() {
        call.cost_usd = "0.0000465".parse().ok();
    }
    journal.recorder().record(priced);
    until(&journal, "both rows are in PostgreSQL", |status| status.spool_rows == 0).await;
    poll(&server, COUNT, 2).await;
    journal.close(PATIENCE).await;
    let told = |sql| server.count(sql);
    let old = "SELECT count(*) FROM tidegate.request_logs WHERE cost_usd = 0.25 AND price_version IS NULL";
    assert_eq!(told(old).await, 1);
    // To the last of nine decimals, and no further.
    let new = "SELECT count(*) FROM tidegate.request_logs WHERE cost_usd::text = '0.123456789' AND price_version = 'config'";
    assert_eq!(told(new).await, 1);
    let call = "SELECT count(*) FROM tidegate.tool_call_logs WHERE cost_usd::text = '0.000046500'";
    assert_eq!(told(call).await, 1);
    assert_eq!(told("SELECT max(version)::bigint FROM tidegate.migrations").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_both_stores_and_follow_new_rows() {
    let directory = TempDir::new().unwrap();
    let mut server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    let recorder = journal.recorder();
    let mut odd = full_entry();
    odd.model_requested = "it's\nforged".to_owned();
    recorder.record(odd);
    record(&recorder, 30);
    until_drained(&journal, 31).await;

    let query = LogQuery { json: true, limit: 5, ..LogQuery::default() };
    let (lines, mut reader) = Lines::new();
    let following = tokio::spawn({
        let (settings, query) = (settings.clone(), query.clone());
        let mut lines = lines.clone();
        async move { query::follow(&settings, &query, &mut lines).await.map_err(|e| e.to_string()) }
    });
    for _ in 0..5 {
        reader.recv().await.unwrap();
    }
    let news: Vec<_> = (0..40).map(|_| entry()).collect();
    let mut ids: Vec<_> = news.iter().map(|entry| entry.request_id.to_string()).collect();
    for entry in news {
        recorder.record(entry);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut shown = Vec::new();
    for _ in 0..40 {
        let line: serde_json::Value = serde_json::from_str(&reader.recv().await.unwrap()).unwrap();
        shown.push(line["request_id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    shown.sort();
    assert_eq!(shown, ids, "each row once, wherever it was found");
    following.abort();

    let find = |query: LogQuery| {
        let settings = settings.clone();
        async move { query::find(&settings, &query).await.unwrap() }
    };
    until_drained(&journal, 71).await;
    let odd = find(LogQuery { model: Some("it's\nforged".to_owned()), ..query.clone() }).await;
    assert_eq!(odd.rows.len(), 1);
    // Column for column what the file would have said.
    let in_server = odd.rows[0].0.clone();
    assert_eq!(in_server["started_at"], "2026-02-03T04:05:06.789000Z");
    assert_eq!(in_server["cost_usd"], 0.0125);
    let many = LogQuery {
        key: Some("openwebui".to_owned()),
        status: Some("200".to_owned()),
        ..query.clone()
    };
    assert_eq!(find(LogQuery { errors: true, ..many.clone() }).await.rows.len(), 0);
    assert_eq!(find(many).await.rows.len(), 1);

    server.kill().await;
    record(&recorder, 7);
    assert!(journal.flush(PATIENCE).await);
    let all = LogQuery { limit: 1000, ..query.clone() };
    let waiting = find(all.clone()).await;
    assert_eq!(waiting.rows.len(), 7);
    let notice = waiting.notice.unwrap();
    assert!(!notice.contains(PASSWORD), "{notice}");
    server.start().await;
    let found = find(all).await;
    assert_eq!((found.rows.len(), found.notice), (78, None));
    journal.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_means_what_it_means_to_libpq() {
    let (server, authority) = Postgres::secured().await;
    let root = format!("sslrootcert={}", authority.display());
    let connects = async |host: &str, parameters: &str| {
        let directory = TempDir::new().unwrap();
        let url = server.url_of(host, parameters);
        let journal = Journal::open(&settings(&directory, Some(url)), "test").unwrap();
        until(&journal, "an answer", |status| {
            !matches!(status.postgres, PostgresState::Connecting | PostgresState::Off)
        })
        .await;
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'tidegate'";
        let outcome = match journal.status().postgres {
            PostgresState::Connected if server.count(encrypted).await == 1 => "encrypted",
            PostgresState::Connected => "plain",
            _ => "refused",
        };
        journal.close(PATIENCE).await;
        // The server ends a session a moment after its client left.
        poll(&server, encrypted, 0).await;
        outcome
    };
    for (host, parameters, expected) in [
        ("127.0.0.1", "sslmode=disable", "plain"),
        ("127.0.0.1", "", "encrypted"),
        ("127.0.0.1", "sslmode=require", "encrypted"),
        // The system knows no such authority.
        ("localhost", "sslmode=verify-ca", "refused"),
        ("localhost", "sslmode=verify-full", "refused"),
        ("127.0.0.1", &format!("sslmode=verify-ca&{root}"), "encrypted"),
        ("127.0.0.1", &format!("sslmode=verify-full&{root}"), "refused"),
        ("localhost", &format!("sslmode=verify-full&{root}"), "encrypted"),
        ("127.0.0.1", &format!("{root}&sslmode=require"), "encrypted"),
    ] {
        assert_eq!(connects(host, parameters).await, expected, "{host} {parameters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_sql_is_right() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let settings = settings(&directory, Some(server.url()));
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 1);
    until_drained(&journal, 1).await;
    let file = rusqlite::Connection::open(&settings.path).unwrap();
    let guide = include_str!("../../docs/guide/logs.md");
    let blocks: Vec<_> =
        guide.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5);
    for sql in blocks {
        if sql.contains("tidegate.") {
            server.execute(sql).await;
        } else {
            file.prepare(sql).unwrap().query([]).unwrap().next().unwrap();
        }
    }
    journal.close(PATIENCE).await;
}

/// A writer that hands over one line at a time.
#[derive(Clone)]
struct Lines {
    sender: mpsc::Sender<String>,
    rest: String,
}

impl Lines {
    fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(1000);
        (Self { sender, rest: String::new() }, receiver)
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some((line, rest)) = self.rest.split_once('\n') {
            self.sender.try_send(line.to_owned()).map_err(std::io::Error::other)?;
            self.rest = rest.to_owned();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// LiteLLM's SpendLogs, as its dashboards and scripts name them.
const LITELLM_COLUMNS: [&str; 32] = [
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "request_duration_ms",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "api_base",
    "user",
    "metadata",
    "cache_hit",
    "cache_key",
    "request_tags",
    "team_id",
    "organization_id",
    "end_user",
    "requester_ip_address",
    "messages",
    "response",
    "session_id",
    "status",
    "mcp_namespaced_tool_name",
    "agent_id",
    "proxy_server_request",
];

fn full_entry() -> Entry {
    let text = |text: &str| Some(text.to_owned());
    let failed = Attempt {
        deployment: "first".to_owned(),
        status: None,
        error: Some("connect"),
        duration_us: 5,
        round: None,
        ..Attempt::default()
    };
    let answered = Attempt {
        deployment: "second".to_owned(),
        status: Some(200),
        error: None,
        duration_us: 9,
        round: Some(2),
        ..Attempt::default()
    };
    Entry {
        losses: vec![Loss { path: "logit_bias".to_owned(), why: "no place for it".to_owned() }],
        duration_us: 2_000_000,
        upstream_us: Some(1_900_000),
        ttfb_us: Some(200_000),
        ttft_us: Some(250_000),
        overhead_us: Some(90),
        stream: true,
        error_type: text("none"),
        error_message: text("none"),
        finish_reason: text("stop"),
        key_id: text("0123456789ab"),
        key_alias: text("openwebui"),
        user_id: text("u1"),
        team_id: text("t1"),
        end_user: text("e1"),
        session_id: text("s1"),
        tags: vec!["a \"b\"".to_owned(), "é".to_owned()],
        model_group: text("gpt-5"),
        deployment: text("second"),
        provider: Some("openai"),
        model_upstream: text("gpt-5-2026"),
        api_base: text("https://api.openai.com/v1"),
        attempts: vec![failed, answered],
        rounds: vec![
            Round {
                deployment: "first".to_owned(),
                model: "gpt-5-2026".to_owned(),
                status: Status::Ok,
                duration_us: 7,
                tokens: Usage { input: Some(4), output: Some(2), ..Usage::default() },
                cost_usd: "0.0025".parse().ok(),
                price_version: Some("config".into()),
                ..Round::default()
            },
            Round {
                deployment: "second".to_owned(),
                model: "gpt-5-2026".to_owned(),
                status: Status::Error,
                ..Round::default()
            },
        ],
        fallback_from: text("gpt-4"),
        tokens: Usage {
            input: Some(10),
            output: Some(20),
            cache_read: Some(3),
            cache_write: Some(4),
            reasoning: Some(5),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        cost_usd: "0.0125".parse().ok(),
        price_version: Some("2026-11-26-00000000".into()),
        client_ip: Some("::ffff:192.0.2.7".parse().unwrap()),
        user_agent: text("curl/8"),
        upstream_request_id: text("req_1"),
        config_generation: 3,
        bytes_in: 100,
        bytes_out: 200,
        payload: Some(Payload {
            request: br#"{"model":"gpt-5","messages":[{"role":"user","content":"hello"}]}"#
                .to_vec(),
            response: b"data: not json".to_vec(),
            response_truncated: true,
            ..Payload::default()
        }),
        ..entry_at(1_770_091_506_789_000)
    }
}

fn spool_rows(path: &Path) -> i64 {
    let file = rusqlite::Connection::open(path).unwrap();
    file.query_row("SELECT count(*) FROM request_logs", [], |row| row.get(0)).unwrap()
}

async fn poll(server: &Postgres, sql: &str, expected: i64) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let found = server.count(sql).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < limit, "{sql}: {found}, never {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A role that is not there yet holds nothing up, and may read once it is there and an edit is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_dashboards_reads_all_but_what_was_said() {
    let directory = TempDir::new().unwrap();
    let server = Postgres::running().await;
    let mut settings = settings(&directory, Some(server.url()));
    settings.reader_role = Some("the \"reader\"".to_owned());
    let journal = Journal::open(&settings, "test").unwrap();
    record(&journal.recorder(), 1);
    until_drained(&journal, 1).await;

    server.execute("CREATE ROLE \"the \"\"reader\"\"\"; CREATE ROLE other").await;
    let reads = |role: &'static str, table: &'static str| {
        let sql = format!(
            "SELECT has_table_privilege('{role}', 'tidegate.{table}', 'SELECT')::int::bigint"
        );
        let server = &server;
        async move { server.count(&sql).await == 1 }
    };
    for role in ["other", "the \"reader\""] {
        assert!(!reads(role, "request_logs").await);
        settings.reader_role = Some(role.to_owned());
        journal.retarget(&settings).unwrap();
        let end = Instant::now() + PATIENCE;
        while !reads(role, "audit_recent").await {
            assert!(Instant::now() < end, "{role} may not read");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for table in ["request_logs", "requests_recent", "tool_call_logs", "usage_daily"] {
            assert!(reads(role, table).await, "{table}");
        }
        for table in ["request_payloads", "litellm_logs", "migrations"] {
            assert!(!reads(role, table).await, "{table}");
        }
    }
    journal.close(PATIENCE).await;
}
