//! The request log through the public door: whatever is done to PostgreSQL or to the gateway, the store
//! holds each request that clients saw, once. The journal's own side of this is tested in `journal.rs`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::SimpleQueryMessage;

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, command};
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::upstream::{
    DONE, FINISH, Step, USAGE, Upstream, chat, chunk, delta, events_head, last_chunk,
};

/// Clients at once, beside the one that hangs up before its answer begins.
const CLIENTS: usize = 8;

/// One priced and one unpriced model, a key, and this among the general settings.
fn config(base: &str, database_url: Option<&str>, settings: &str) -> String {
    let database_url = database_url.map(|url| format!("  database_url: {url}\n"));
    format!(
        "general_settings:\n  master_key: {MASTER}\n{}{settings}\
         model_list:\n\
         - {{model_name: m, litellm_params: {{model: openai/up, api_base: '{base}', api_key: k, \
            input_cost_per_token: 0.001, output_cost_per_token: 0.002}}}}\n\
         - {{model_name: gift, litellm_params: {{model: openai/up, api_base: '{base}', api_key: k}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: ['*']}}\n",
        database_url.unwrap_or_default(),
    )
}

/// Answers by the client's `idempotency-key`; a permit of the semaphore says that one hangs.
async fn provider() -> (Upstream, Arc<Semaphore>) {
    let held = Arc::new(Semaphore::new(0));
    let permits = held.clone();
    let upstream = Upstream::start(move |seen| match seen.header("idempotency-key") {
        Some("stream") => {
            let all = [delta("a").as_slice(), &delta("b"), FINISH, USAGE, DONE].concat();
            vec![events_head(), chunk(&all), last_chunk()]
        }
        Some("linger") => vec![events_head(), chunk(&delta("a")), Step::Hang],
        Some("hang") => {
            permits.add_permits(1);
            vec![Step::Hang]
        }
        _ => chat("hello"),
    })
    .await;
    (upstream, held)
}

/// What clients saw.
#[derive(Clone, Debug, Default)]
struct Told {
    /// The `x-request-id` of each answer that came to its end, or was given up by the client.
    ids: Vec<String>,
    answered: i64,
    refused: i64,
    cancelled: i64,
    /// Requests that the gateway left without an answer.
    failed: i64,
}

/// Many clients that ask without a pause, each kind of request in turn.
struct Load {
    going: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    told: Arc<Mutex<Told>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &Gateway, held: &Arc<Semaphore>) -> Self {
        let (going, done) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicUsize>::default());
        let told = Arc::<Mutex<Told>>::default();
        let client = |index: usize| {
            let (going, done, told) = (going.clone(), done.clone(), told.clone());
            let (http, held) = (gateway.client.clone(), held.clone());
            let url = gateway.url("/v1/chat/completions");
            tokio::spawn(async move {
                let mut turn = index;
                while going.load(Ordering::Relaxed) {
                    let ended = if index == 0 {
                        hang_up_early(&http, &url, &held, &told).await
                    } else {
                        ask(&http, &url, turn, &told).await
                    };
                    if ended.is_err() {
                        told.lock().unwrap().failed += 1;
                        return;
                    }
                    turn += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = (0..=CLIENTS).map(client).collect();
        Self { going, done, told, clients }
    }

    /// Waits for so many more requests.
    async fn go_on(&self, requests: usize) {
        let (target, end) =
            (self.done.load(Ordering::Relaxed) + requests, Instant::now() + PATIENCE);
        while self.done.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < end, "the load stands still: {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// Lets each client finish the request it is at.
    async fn stop(self) -> Told {
        self.going.store(false, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.told.lock().unwrap().clone()
    }
}

fn request(http: &reqwest::Client, url: &str, kind: &'static str) -> reqwest::RequestBuilder {
    let body = json!({
        "model": if kind == "unknown" { "nobody" } else { "m" },
        "stream": matches!(kind, "stream" | "linger"),
        "messages": [{ "role": "user", "content": "hi" }],
    });
    http.post(url)
        .bearer_auth(if kind == "stranger" { "sk-nobody" } else { KEY })
        .header("content-type", "application/json")
        .header("idempotency-key", kind)
        .body(body.to_string())
}

/// One request of the kind whose turn it is, as far as its client wants to go.
async fn ask(
    http: &reqwest::Client,
    url: &str,
    turn: usize,
    told: &Mutex<Told>,
) -> reqwest::Result<()> {
    let kind = ["whole", "stream", "stranger", "whole", "linger", "stream", "unknown"][turn % 7];
    let answer = request(http, url, kind).send().await?;
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let status = match kind {
        "stranger" => 401,
        "unknown" => 404,
        _ => 200,
    };
    assert_eq!(answer.status(), status, "{kind}");
    let mut body = answer.bytes_stream();
    while let Some(piece) = body.next().await {
        piece?;
        if kind == "linger" {
            break;
        }
    }
    drop(body);
    let mut told = told.lock().unwrap();
    told.ids.push(id);
    match kind {
        "stranger" | "unknown" => told.refused += 1,
        "linger" => told.cancelled += 1,
        _ => told.answered += 1,
    }
    Ok(())
}

/// Gives up a request that the provider has and does not answer: its client never learns an id.
async fn hang_up_early(
    http: &reqwest::Client,
    url: &str,
    held: &Semaphore,
    told: &Mutex<Told>,
) -> reqwest::Result<()> {
    tokio::select! {
        permit = held.acquire() => permit.unwrap().forget(),
        answer = request(http, url, "hang").send() => {
            panic!("an answer to a request that hangs: {:?}", answer?.status());
        }
    }
    told.lock().unwrap().cancelled += 1;
    Ok(())
}

/// Whole answers, one after the other.
async fn serve(gateway: &Gateway, requests: usize) {
    for _ in 0..requests {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
}

/// Waits until the gateway has written `rows` since its start and none waits any more.
async fn drained(gateway: &Gateway, rows: i64) {
    let health = gateway
        .health_until(|health| {
            let log = &health["request_log"];
            log["rows_total"] == rows && log["spool_rows"] == 0 && log["postgres"] == "connected"
        })
        .await;
    assert_eq!(health["request_log"]["dropped_total"], 0);
}

/// A fault of PostgreSQL as `/health` tells it.
async fn trouble(gateway: &Gateway) -> String {
    let health =
        gateway.health_until(|health| health["request_log"]["postgres"]["error"].is_string()).await;
    health["request_log"]["postgres"]["error"].as_str().unwrap().to_owned()
}

/// Ends the process at once and starts another one in the same directory.
async fn start_again(mut gateway: Gateway) -> Gateway {
    gateway.signal("-KILL");
    gateway.ended().await;
    restart(&mut gateway)
}

/// Starts another process in the directory of one that has ended.
fn restart(gateway: &mut Gateway) -> Gateway {
    let directory = std::mem::replace(&mut gateway.directory, TempDir::new().unwrap());
    Gateway::start_in(directory, "config.yaml", &[])
}

/// Where rows are, read with the same SQL.
enum Store<'s> {
    File(PathBuf),
    Server(&'s Postgres),
}

impl Store<'_> {
    /// Every row, each value as text; null is empty.
    async fn texts(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::File(path) => {
                let file = rusqlite::Connection::open(path).unwrap();
                file.busy_timeout(PATIENCE).unwrap();
                let mut statement = file.prepare(sql).unwrap();
                let width = statement.column_count();
                let text = |value| match value {
                    rusqlite::types::Value::Null => String::new(),
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Real(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    rusqlite::types::Value::Blob(bytes) => panic!("a blob: {bytes:?}"),
                };
                let row = |row: &rusqlite::Row<'_>| {
                    (0..width).map(|at| row.get(at).map(text)).collect::<rusqlite::Result<_>>()
                };
                statement.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
            Self::Server(server) => {
                let client = server.connect().await;
                client.batch_execute("SET search_path = tidegate").await.unwrap();
                let rows = client.simple_query(sql).await.unwrap();
                rows.iter()
                    .filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(row),
                        _ => None,
                    })
                    .map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or("").into()).collect())
                    .collect()
            }
        }
    }

    /// Polls until the answer is as wanted.
    async fn until(&self, sql: &str, wanted: &[&[&str]]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let rows = self.texts(sql).await;
            if rows == wanted {
                return;
            }
            assert!(Instant::now() < end, "{sql}: {rows:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every id in the store, once each.
    async fn ids(&self) -> std::collections::HashSet<String> {
        let rows = self.texts("SELECT request_id FROM request_logs").await;
        let count = rows.len();
        let ids: std::collections::HashSet<_> = rows.into_iter().flatten().collect();
        assert_eq!(ids.len(), count, "an id has two rows");
        ids
    }

    /// The store holds exactly what clients were told.
    async fn matches(&self, told: &Told) {
        assert_eq!(told.failed, 0);
        let ids = self.ids().await;
        let lost: Vec<_> = told.ids.iter().filter(|id| !ids.contains(*id)).collect();
        assert!(lost.is_empty(), "clients saw these, the store did not: {lost:?}");
        let (answered, refused) = (told.answered.to_string(), told.refused.to_string());
        let cancelled = told.cancelled.to_string();
        let sql = "SELECT status, count(*) FROM request_logs GROUP BY status ORDER BY status";
        assert_eq!(
            self.texts(sql).await,
            [["cancelled", &cancelled], ["denied", &refused], ["ok", &answered]]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_under_load_loses_and_repeats_nothing() {
    let (upstream, held) = provider().await;
    let mut server = Postgres::running().await;
    let gateway = Gateway::start(&config(&upstream.base(), Some(&server.url()), ""));
    let load = Load::start(&gateway, &held);
    for _ in 0..2 {
        load.go_on(100).await;
        gateway.health_until(|health| health["request_log"]["postgres"] == "connected").await;
        server.kill().await;
        trouble(&gateway).await;
        load.go_on(150).await;
        server.start().await;
    }
    load.go_on(50).await;
    let told = load.stop().await;
    drained(&gateway, told.answered + told.refused + told.cancelled).await;
    Store::Server(&server).matches(&told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_keeps_nobody_waiting() {
    let (upstream, held) = provider().await;
    let mut server = Postgres::new();
    let gateway = Gateway::start(&config(&upstream.base(), Some(&server.url()), ""));
    // The first thing anybody asks: it does not wait for a database.
    assert_eq!(gateway.get("/health/ready").send().await.unwrap().status(), 200);
    let load = Load::start(&gateway, &held);
    load.go_on(60).await;
    let told = load.stop().await;
    assert!(!trouble(&gateway).await.contains(PASSWORD));
    let rows = told.answered + told.refused + told.cancelled;
    gateway.health_until(|health| health["request_log"]["spool_rows"] == rows).await;
    server.start().await;
    drained(&gateway, rows).await;
    Store::Server(&server).matches(&told).await;

    // A silence in which the server is replaced: the connection that was kept leads nowhere.
    server.kill().await;
    server.start().await;
    serve(&gateway, 1).await;
    drained(&gateway, rows + 1).await;
    // And one in which it stands still, with its connections open.
    server.freeze();
    serve(&gateway, 5).await;
    gateway.health_until(|health| health["request_log"]["rows_total"] == rows + 6).await;
    server.thaw();
    drained(&gateway, rows + 6).await;
    assert_eq!(Store::Server(&server).ids().await.len(), told.ids.len() + 6 + early(&told));
}

/// Requests whose clients went before they saw an id.
fn early(told: &Told) -> usize {
    let rows = told.answered + told.refused + told.cancelled;
    usize::try_from(rows).unwrap() - told.ids.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_mended_by_an_edit() {
    const WRONG: &str = "wrong-canary-of-the-database";
    let (upstream, _) = provider().await;
    let server = Postgres::running().await;
    let gateway = Gateway::start(&config(&upstream.base(), Some(&server.url_with(WRONG)), ""));
    serve(&gateway, 20).await;
    let why = trouble(&gateway).await;
    assert!(why.contains("28P01"), "{why}");

    let told = async || {
        let admin = gateway.client.get(gateway.url("/admin/config")).bearer_auth(MASTER);
        let admin = admin.send().await.unwrap().text().await.unwrap();
        assert!(admin.contains("generation"), "{admin}");
        format!("{admin}\n{}\n{}", gateway.health().await, gateway.log())
    };
    assert!(!told().await.contains(WRONG));
    let right = config(&upstream.base(), Some(&server.url()), "");
    std::fs::write(gateway.path("config.yaml"), right).unwrap();
    drained(&gateway, 20).await;
    serve(&gateway, 5).await;
    drained(&gateway, 25).await;
    assert_eq!(Store::Server(&server).ids().await.len(), 25);
    let told = told().await;
    assert!(!told.contains(WRONG) && !told.contains(PASSWORD), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_at_the_end_go_with_the_next_start() {
    let (upstream, _) = provider().await;
    let mut server = Postgres::new();
    let mut gateway = Gateway::start(&config(&upstream.base(), Some(&server.url()), ""));
    serve(&gateway, 30).await;
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let file = Store::File(gateway.path("data/tidegate.db"));
    assert_eq!(file.ids().await.len(), 30);
    server.start().await;
    let gateway = restart(&mut gateway);
    gateway.health_until(|health| health["request_log"]["drained_total"] == 30).await;
    drained(&gateway, 0).await;
    assert_eq!(Store::Server(&server).ids().await.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_load_keeps_what_was_written() {
    let (upstream, held) = provider().await;
    let gateway = Gateway::start(&config(&upstream.base(), None, ""));
    let load = Load::start(&gateway, &held);
    load.go_on(200).await;
    let seen = load.told().ids;
    // What was answered by then is in the file in a moment, with more requests coming in all the while.
    let file = Store::File(gateway.path("data/tidegate.db"));
    let end = Instant::now() + PATIENCE;
    loop {
        let ids = file.ids().await;
        if seen.iter().all(|id| ids.contains(id)) {
            break;
        }
        assert!(Instant::now() < end, "rows of answered requests are not written");
    }
    let gateway = start_again(gateway).await;
    let told = load.stop().await;
    let file = Store::File(gateway.path("data/tidegate.db"));
    assert_eq!(file.texts("PRAGMA integrity_check").await, [["ok"]]);
    let ids = file.ids().await;
    assert!(seen.iter().all(|id| ids.contains(id)), "written rows are lost");
    assert!(ids.len() <= told.ids.len() + early(&told) + CLIENTS + 1);
    let before = ids.len();
    serve(&gateway, 10).await;
    gateway.rows("request_id", before + 10).await;
    assert!(!gateway.log().contains("damaged"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_while_rows_move_repeats_none() {
    let (upstream, held) = provider().await;
    let server = Postgres::running().await;
    let mut gateway = Gateway::start(&config(&upstream.base(), Some(&server.url()), ""));
    gateway.health_until(|health| health["request_log"]["postgres"] == "connected").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let load = Load::start(&gateway, &held);
        load.go_on(100).await;
        let ids = load.told().ids;
        let file = Store::File(gateway.path("data/tidegate.db"));
        let end = Instant::now() + PATIENCE;
        loop {
            // In this order: a row that leaves the file meanwhile is in the server already.
            let mut kept = file.ids().await;
            kept.extend(Store::Server(&server).ids().await);
            if ids.iter().all(|id| kept.contains(id)) {
                break;
            }
            assert!(Instant::now() < end, "rows of answered requests are in no store");
        }
        // The kill falls anywhere between COMMIT over there and deletion over here.
        gateway = start_again(gateway).await;
        load.stop().await;
        seen.extend(ids);
    }
    gateway.health_until(|health| health["request_log"]["postgres"] == "connected").await;
    serve(&gateway, 10).await;
    drained(&gateway, 10).await;
    let file = Store::File(gateway.path("data/tidegate.db"));
    assert_eq!(file.texts("PRAGMA integrity_check").await, [["ok"]]);
    let ids = Store::Server(&server).ids().await;
    assert!(seen.iter().all(|id| ids.contains(id)), "written rows are lost");
}

/// A prompt and its answer, whole and streamed.
async fn converse(gateway: &Gateway, prompt: &str) {
    for stream in [false, true] {
        let body = json!({
            "model": "m", "stream": stream, "messages": [{ "role": "user", "content": prompt }],
        });
        let answer = gateway
            .post("/v1/chat/completions", &body)
            .header("idempotency-key", if stream { "stream" } else { "whole" })
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
}

async fn prompts_are_stored_only_when_asked_for(url: Option<&str>, server: Option<&Postgres>) {
    let (upstream, _) = provider().await;
    let settings = |on: bool| {
        let line = format!("  store_prompts_in_spend_logs: {on}\n");
        config(&upstream.base(), url, &line)
    };
    let gateway = Gateway::start(&config(&upstream.base(), url, ""));
    let store = match server {
        Some(server) => Store::Server(server),
        None => Store::File(gateway.path("data/tidegate.db")),
    };
    let edit = async |text: String, generation: u64| {
        std::fs::write(gateway.path("config.yaml"), text).unwrap();
        gateway.health_until(|health| health["config"]["generation"] == generation).await;
    };
    let rows = "SELECT count(*) FROM request_logs";
    let bodies = "SELECT kind, count(*) FROM request_payloads GROUP BY kind ORDER BY kind";
    // The tables are made with the first connection.
    if url.is_some() {
        gateway.health_until(|health| health["request_log"]["postgres"] == "connected").await;
    }
    converse(&gateway, "first canary").await;
    store.until(rows, &[&["2"]]).await;
    store.until(bodies, &[]).await;

    edit(settings(true), 2).await;
    converse(&gateway, "second canary").await;
    store.until(rows, &[&["4"]]).await;
    store.until(bodies, &[&["request", "2"], &["response", "2"]]).await;
    let kept = "SELECT body FROM request_payloads ORDER BY kind, started_at";
    let kept: Vec<String> = store.texts(kept).await.into_iter().flatten().collect();
    assert!(kept[..2].iter().all(|body| body.contains("second canary")), "{kept:?}");
    assert!(kept[2].contains("hello"), "{kept:?}");
    // The stream as the client saw it: without the usage that only the gateway asked for.
    let stream = [delta("a").as_slice(), &delta("b"), FINISH, DONE].concat();
    assert_eq!(kept[3], String::from_utf8(stream).unwrap());
    let shown = "SELECT messages, response FROM litellm_logs ORDER BY \"startTime\", request_id";
    let shown = store.texts(shown).await;
    assert_eq!(shown[0], ["{}", "{}"]);
    let messages: Value = serde_json::from_str(&shown[2][0]).unwrap();
    assert_eq!(messages[0]["content"], "second canary");

    edit(settings(false), 3).await;
    converse(&gateway, "third canary").await;
    store.until(rows, &[&["6"]]).await;
    store.until(bodies, &[&["request", "2"], &["response", "2"]]).await;
    assert!(!gateway.log().contains("canary"));

    // The same rows under LiteLLM's names, with what they cost.
    let body = json!({ "model": "gift", "messages": [] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    answer.bytes().await.unwrap();
    store.until(rows, &[&["7"]]).await;
    let spent = store
        .texts(
            "SELECT spend, prompt_tokens, completion_tokens, total_tokens, model_group, model,
               call_type, status, custom_llm_provider FROM litellm_logs
             ORDER BY \"startTime\", request_id",
        )
        .await;
    for (index, row) in spent.iter().enumerate() {
        let is_gift = index == 6;
        let spend: f64 = row[0].parse().unwrap();
        let expected = if is_gift { 0.0 } else { 11.0 * 0.001 + 7.0 * 0.002 };
        assert!((spend - expected).abs() < 1e-9, "{row:?}");
        let group = if is_gift { "gift" } else { "m" };
        assert_eq!(
            row[1..],
            ["11", "7", "18", group, "up", "acompletion", "success", "openai"],
            "{row:?}"
        );
    }
    let unpriced = "SELECT model_group FROM request_logs WHERE cost_usd IS NULL";
    assert_eq!(store.texts(unpriced).await, [["gift"]]);
    // And on a terminal.
    let output = command(gateway.directory.path())
        .args(["--config", "config.yaml", "logs", "query", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|row| row["key_alias"] == "tester" && row["http_status"] == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_prices_and_views_in_sqlite() {
    prompts_are_stored_only_when_asked_for(None, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_prices_and_views_in_postgres() {
    let server = Postgres::running().await;
    let url = server.url();
    prompts_are_stored_only_when_asked_for(Some(&url), Some(&server)).await;
}
