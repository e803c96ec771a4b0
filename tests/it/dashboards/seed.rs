//! Rows of two months, as a gateway on a LAN would have written them: through the journal, so that they are what it writes.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::config::snapshot::RequestLog;
use tidegate::conversation::usage::Usage;
use tidegate::entry::{Attempt, CallStatus, Entry, Status, ToolCall, UsageSource};
use tidegate::ground::secret::Secret;
use tidegate::journal::Journal;
use uuid::{NoContext, Timestamp, Uuid};

use crate::support::postgres::Postgres;

/// Over how many days the rows are spread, evenly.
pub(super) const DAYS: i64 = 60;
/// One that a client chose badly, or well.
pub(super) const ODD_USER: &str = "O'Hara\"; DROP TABLE users; --";
const PATIENCE: Duration = Duration::from_secs(120);

/// Row number `at` of `count`, the newest first. Of every person, in turn, there are rows of every kind.
pub(super) fn entry(at: i64, count: i64) -> Entry {
    let text = |text: &str| Some(text.to_owned());
    let age_us = DAYS * 24 * 3_600_000_000 / count * at + 1_000_000;
    let started_at_us = jiff::Timestamp::now().as_microsecond() - age_us;
    let id = || {
        let micros = started_at_us.unsigned_abs();
        let nanos = u32::try_from(micros % 1_000_000).unwrap() * 1000;
        Uuid::new_v7(Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
    };
    let one_of = |choices: &[&str], stride: i64| {
        choices[usize::try_from(at / stride).unwrap() % choices.len()].to_owned()
    };
    let (status, http_status, error) = match at % 20 {
        3 => (Status::Error, 502, text("upstream_error")),
        7 => (Status::Cancelled, 499, None),
        11 => (Status::Denied, 401, text("invalid_api_key")),
        13 => (Status::Shed, 503, text("overloaded")),
        _ => (Status::Ok, 200, None),
    };
    let is_known = status != Status::Denied;
    let is_answered = status == Status::Ok;
    let noise = u64::try_from(at * 7919 % 1000).unwrap();
    let key = one_of(&["open-webui", "codex", "batch", "ci"], 1);
    let model = one_of(&["gpt-5", "claude", "local"], 3);
    let runs_tools = is_answered && at % 7 == 0;
    let call = |round: u32| ToolCall {
        id: id(),
        started_at_us: started_at_us + 1000,
        duration_us: 900 + noise * 100,
        round,
        server: one_of(&["db", "files"], 7),
        tool: one_of(&["query", "list", "read"], 7),
        function: "db-query".to_owned(),
        status: if at % 5 == 0 { CallStatus::Error } else { CallStatus::Ok },
        arguments_bytes: 20,
        result_bytes: Some(512),
        arguments_digest: [7; 16],
        ..ToolCall::default()
    };
    let calls: Vec<ToolCall> = (1..=2).filter(|_| runs_tools).map(call).collect();
    let attempt = |error| Attempt {
        deployment: format!("{model}/0"),
        status: Some(200),
        error,
        duration_us: 5000,
        ..Attempt::default()
    };
    let attempts = match at % 20 {
        5 => vec![attempt(Some("timeout")), attempt(None)],
        _ if is_known => vec![attempt(None)],
        _ => Vec::new(),
    };
    let count_of = |tokens: u64| is_answered.then_some(tokens);
    Entry {
        request_id: id(),
        started_at_us,
        duration_us: 100_000 + noise * 3000,
        upstream_us: is_known.then_some(99_000 + noise * 3000),
        ttfb_us: Some(90_000),
        ttft_us: (at % 2 == 0).then_some(95_000),
        overhead_us: Some(100 + noise),
        surface: ["/v1/chat/completions", "/v1/responses"][usize::try_from(at % 2).unwrap()],
        operation: "chat",
        stream: at % 2 == 0,
        status,
        http_status,
        error_message: error.as_ref().map(|error| format!("it was {error}")),
        error_type: error,
        client_closed: status == Status::Cancelled,
        key_id: is_known.then(|| format!("id-of-{key}")),
        team_id: (is_known && key != "ci").then(|| format!("team-{}", &key[..1])),
        user_id: text("someone"),
        key_alias: is_known.then_some(key),
        end_user: match at / 20 % 6 {
            0 => None,
            1 => text(ODD_USER),
            other => Some(format!("user-{other}")),
        },
        session_id: (at % 3 == 0).then(|| format!("chat-{}", at / 30)),
        model_requested: model.clone(),
        deployment: is_known.then(|| format!("{model}/0")),
        provider: is_known.then_some("openai"),
        fallback_from: (at % 20 == 9).then(|| "big".to_owned()),
        model_group: is_known.then_some(model),
        lane: "verbatim",
        attempts,
        tool_calls: calls.len() as u64,
        tool_call_logs: calls,
        tokens: Usage {
            input: count_of(1000 + noise),
            output: count_of(100 + noise),
            cache_read: count_of(noise / 2),
            ..Usage::default()
        },
        usage_source: if is_answered { UsageSource::Provider } else { UsageSource::None },
        config_generation: 1,
        ..Entry::default()
    }
}

/// Has the journal write so many rows into the database, and waits until they are there.
pub(super) async fn write(database: &Postgres, count: i64) {
    let directory = TempDir::new().unwrap();
    let settings = RequestLog {
        reader_role: None,
        path: directory.path().join("tidegate.db"),
        database_url: Some(Secret::new(database.url())),
        store_prompts: false,
        retention: None,
        disabled: false,
    };
    let journal = Journal::open(&settings, "seed").unwrap();
    let recorder = journal.recorder();
    for at in 0..count {
        recorder.record(entry(at, count));
        if at % 5000 == 4999 {
            // The queue has a bound.
            assert!(journal.flush(PATIENCE).await);
        }
    }
    let end = Instant::now() + PATIENCE;
    while journal.status().drained_total < count.unsigned_abs() {
        assert!(Instant::now() < end, "{:?}", journal.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    journal.close(PATIENCE).await;
}

/// Gives two models a price after the fact, as somebody does who learns of it late.
pub(super) async fn price(database: &Postgres) {
    database
        .execute(
            "UPDATE tidegate.request_logs SET cost_usd = input_tokens * 0.000002 + output_tokens * 0.00001
             WHERE model_group <> 'local' AND input_tokens IS NOT NULL AND cost_usd IS NULL",
        )
        .await;
}
