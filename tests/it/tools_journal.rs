//! What the request log says of tools that ran inside answers: one row for the request, with what each round used, and one
//! for each call, whatever became of it, of the client, of PostgreSQL or of the gateway.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, command};
use crate::support::mcp::Fixture;
use crate::support::postgres::Postgres;
use crate::support::upstream::{Seen, Step, Upstream, json as answer};

const HASTY: &str = "sk-hasty-0123456789abcdefghij";
const FRUGAL: &str = "sk-frugal-0123456789abcdefghi";

/// An MCP server with a tool that answers, one that fails and one that hangs; a permit says that it does.
async fn server() -> (Upstream, Arc<Semaphore>) {
    let hangs = Arc::new(Semaphore::new(0));
    let permits = hangs.clone();
    let server = Upstream::start(move |seen| {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let result = match message["method"].as_str() {
            None => return answer(405, "", ""),
            Some("initialize") => json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "scripted", "version": "1" } }),
            Some("tools/list") => {
                let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
                json!({ "tools": [tool("look"), tool("fail"), tool("hang")] })
            }
            Some("tools/call") => match message["params"]["name"].as_str() {
                Some("hang") => {
                    permits.add_permits(1);
                    return vec![Step::Hang];
                }
                name => json!({ "content": [{ "type": "text", "text": "seen" }], "isError": name == Some("fail") }),
            },
            Some(method) if method.starts_with("notifications/") => return answer(202, "", ""),
            Some(_) => {
                let error = json!({ "code": -32601, "message": "no such method" });
                let text = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                return answer(200, "", &text.to_string());
            }
        };
        let text = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        answer(200, "", &text.to_string())
    })
    .await;
    (server, hangs)
}

/// A model that calls the tools that the user names and then says that it is done; `up-tired` breaks down after its calls, `up-mute`
/// does not say what it used then.
async fn model() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let body = seen.json();
        let messages = body["messages"].as_array().unwrap();
        let answered = messages.iter().any(|message| message["role"] == "tool");
        if answered && body["model"] == "up-tired" {
            return answer(503, "", "{}");
        }
        let user = messages.iter().find(|message| message["role"] == "user").unwrap();
        let user = user["content"].as_str().unwrap_or_else(|| user["content"][0]["text"].as_str().unwrap());
        let calls: Vec<Value> = user
            .split(' ')
            .filter(|_| !answered)
            .filter_map(|word| word.strip_prefix("db-"))
            .enumerate()
            .map(|(at, tool)| {
                let function = json!({ "name": format!("db-{tool}"), "arguments": "{}" });
                json!({ "index": at, "id": format!("call_{at}"), "type": "function", "function": function })
            })
            .collect();
        let (finish, message) = if calls.is_empty() {
            ("stop", json!({ "role": "assistant", "content": "Done." }))
        } else {
            ("tool_calls", json!({ "role": "assistant", "content": null, "tool_calls": calls }))
        };
        let mut usage = json!({ "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 });
        if answered && body["model"] == "up-mute" {
            usage = Value::Null;
        }
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
        let whole = json!({ "id": "up", "object": "chat.completion", "created": 1, "model": "up",
            "choices": [choice], "usage": usage });
        answer(200, "", &whole.to_string())
    })
    .await
}

fn config(model: &Upstream, server: &Upstream) -> String {
    let base = model.base();
    let params = |model: &str, price: &str| {
        format!(
            "{{model: hosted_vllm/{model}, api_base: '{base}', input_cost_per_token: {price}, output_cost_per_token: 0}}"
        )
    };
    format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n- {{model_name: m, litellm_params: {}}}\n\
         - {{model_name: tired, litellm_params: {}}}\n- {{model_name: mute, litellm_params: {}}}\nrouter_settings: {{num_retries: 0, fallbacks: [{{tired: [m]}}]}}\n\
         mcp_servers:\n  db: {{transport: http, url: '{}/mcp', \
         mcp_info: {{mcp_server_cost_info: {{tool_name_to_cost_per_query: {{fail: 0.25}}}}}}}}\nvirtual_keys:\n\
         - {{api_key: {KEY}, key_alias: tester, models: ['*'], mcp_servers: ['*']}}\n\
         - {{api_key: {HASTY}, models: ['*'], mcp_servers: ['*'], max_tool_seconds: 1}}\n\
         - {{api_key: {FRUGAL}, models: ['*'], mcp_servers: ['*'], max_tool_calls: 1}}\n",
        params("up", "0.001"),
        params("up-tired", "0.01"),
        params("up-mute", "0.01"),
        server.base().trim_end_matches("/v1"),
    )
}

fn chat(model: &str, text: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": text }] })
}

async fn ask(gateway: &Gateway, key: &str, path: &str, body: &Value) {
    let request = gateway.client.post(gateway.url(path)).bearer_auth(key);
    // What names its tools itself needs no header.
    let request =
        if body["tools"].is_null() { request.header("x-mcp-servers", "db") } else { request };
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answered = request.send().await.unwrap();
    let (status, text) = (answered.status(), answered.text().await.unwrap());
    assert_eq!(status, 200, "{text}\n{}", gateway.log());
}

/// The calls in the file, in order, once their request's row is there: what of them is the same each time.
fn calls(gateway: &Gateway) -> Vec<String> {
    let path = gateway.path("data/tidegate.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let sql = "SELECT c.round || ' ' || server || '/' || tool || ' ' || c.status || ' ' || arguments_bytes || ' ' ||
                 coalesce(result_bytes > 20, '-') || ' ' || (c.started_at BETWEEN r.started_at AND r.ended_at
                   AND c.duration_us <= r.duration_us AND c.key_id = r.key_id)
               FROM tool_call_logs c JOIN request_logs r USING (request_id) ORDER BY c.id";
    let mut select = file.prepare(sql).unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    let mut rows: Vec<String> = rows.map(Result::unwrap).collect();
    // Calls of one turn begin at once.
    rows.sort();
    rows
}

fn texts(row: &[Sql]) -> Vec<String> {
    let text = |value: &Sql| match value {
        Sql::Null => "-".to_owned(),
        Sql::Integer(number) => number.to_string(),
        Sql::Real(number) => number.to_string(),
        Sql::Text(text) => text.clone(),
        Sql::Blob(_) => "blob".to_owned(),
    };
    row.iter().map(text).collect()
}

const COLUMNS: &str = "status, tool_calls, tool_rounds, mcp_servers, attempts, input_tokens, output_tokens, cost_usd, rounds, \
                       attempt_trail, upstream_us <= duration_us";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_two_rounds_is_one_row_with_all_tries_and_prices() {
    let ((server, _hangs), model) = (server().await, model().await);
    let gateway = Gateway::start(&config(&model, &server));
    for stream in [false, true] {
        let mut body = chat("tired", "db-look and db-fail");
        body["stream"] = stream.into();
        ask(&gateway, KEY, "/v1/chat/completions", &body).await;
    }
    for row in gateway.rows(COLUMNS, 2).await {
        let row = texts(&row);
        assert_eq!(row[..7], ["ok", "2", "2", r#"["db"]"#, "3", "22", "14"], "{row:?}");
        // The first round at its deployment's price, the second at that of the one that took over, and the call that has one:
        // 11 × 0.01 + 11 × 0.001 + 0.25.
        assert_eq!(row[7], "0.371");
        let rounds: Value = serde_json::from_str(&row[8]).unwrap();
        assert_eq!((&rounds[0]["model"], &rounds[1]["model"]), (&json!("up-tired"), &json!("up")));
        for round in rounds.as_array().unwrap() {
            assert_eq!(round["status"], "ok");
            assert_eq!((&round["input_tokens"], &round["output_tokens"]), (&json!(11), &json!(7)));
        }
        let trail: Value = serde_json::from_str(&row[9]).unwrap();
        assert_eq!((&trail[0]["round"], &trail[1]["round"]), (&Value::Null, &json!(2)));
        assert_eq!((&trail[1]["status"], &trail[2]["status"]), (&json!(503), &json!(200)));
        assert_eq!(row[10], "1");
    }
    let expected = ["1 db/fail error 2 1 1", "1 db/look ok 2 1 1"];
    assert_eq!(calls(&gateway), [expected[0], expected[0], expected[1], expected[1]]);
    let output = command(gateway.directory.path())
        .args(["--config", "config.yaml", "logs", "query"])
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.lines().all(|line| line.contains(" attempts=3 rounds=2 tools=2 ")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_come_to_their_end_say_why() {
    let ((server, _hangs), model) = (server().await, model().await);
    let gateway = Gateway::start(&config(&model, &server));
    ask(&gateway, HASTY, "/v1/chat/completions", &chat("m", "db-hang")).await;
    ask(&gateway, FRUGAL, "/v1/chat/completions", &chat("m", "db-look and db-fail")).await;
    let approval = json!({ "type": "mcp_approval_request", "id": "tidegate1.mcpr_1", "server_label": "label", "name": "look",
        "arguments": "{\"a\":1}" });
    let block = json!({ "type": "mcp", "server_label": "label", "server_url": "litellm_proxy", "require_approval": "always" });
    let denied = json!({ "model": "m", "store": false, "tools": [block], "input": [
        { "role": "user", "content": "Well?" }, approval,
        { "type": "mcp_approval_response", "approval_request_id": "tidegate1.mcpr_1", "approve": false },
    ] });
    ask(&gateway, KEY, "/v1/responses", &denied).await;
    // What was not run is an answer all the same.
    let rows = gateway.rows("status, tool_calls, tool_rounds, rounds IS NULL", 3).await;
    let rows: Vec<_> = rows.iter().map(|row| texts(row)).collect();
    assert_eq!(rows, [["ok", "1", "2", "0"], ["ok", "2", "1", "1"], ["ok", "1", "1", "1"]]);
    assert_eq!(
        calls(&gateway),
        [
            "0 db/look denied 7 - 1",
            "1 db/fail not_run 2 - 1",
            "1 db/hang timeout 2 - 1",
            "1 db/look not_run 2 - 1",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_does_not_say_what_it_used_makes_the_cost_unknown() {
    let ((server, _hangs), model) = (server().await, model().await);
    let gateway = Gateway::start(&config(&model, &server));
    for stream in [false, true] {
        let mut body = chat("mute", "db-look");
        body["stream"] = stream.into();
        ask(&gateway, KEY, "/v1/chat/completions", &body).await;
    }
    for row in gateway.rows("status, tool_rounds, input_tokens, cost_usd, price_version", 2).await {
        assert_eq!(texts(&row), ["ok", "2", "11", "-", "-"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_what_was_done_so_far() {
    let ((server, hangs), model) = (server().await, model().await);
    let gateway = Gateway::start(&config(&model, &server));
    for stream in [true, false] {
        let mut body = chat("m", "db-look and db-hang");
        body["stream"] = stream.into();
        let request = gateway.post("/v1/chat/completions", &body).header("x-mcp-servers", "db");
        let asking = tokio::spawn(async move {
            let answer = request.send().await.unwrap();
            let mut bytes = answer.bytes_stream();
            while bytes.next().await.is_some() {}
        });
        // It runs: now the client goes.
        hangs.acquire().await.unwrap().forget();
        asking.abort();
        server.abandoned(usize::from(!stream) + 1).await;
    }
    let columns = "status, http_status, tool_calls, tool_rounds, input_tokens, output_tokens, cost_usd, usage_source";
    for row in gateway.rows(columns, 2).await {
        assert_eq!(texts(&row), ["cancelled", "499", "2", "1", "11", "7", "0.011", "provider"]);
    }
    let calls = calls(&gateway);
    assert_eq!(calls[..2], ["1 db/hang cancelled 2 - 1", "1 db/hang cancelled 2 - 1"]);
    // Whether it was quick enough is not said.
    assert!(calls[2..].iter().all(|call| call.starts_with("1 db/look ")), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_calls_outlive_the_database_and_the_gateway() {
    let Some(line) = Fixture::Python.command("stdio") else { return };
    let mut database = Postgres::new();
    let config = format!(
        "general_settings: {{master_key: {MASTER}, database_url: '{}'}}\n\
         model_list:\n- {{model_name: mock, litellm_params: {{model: mock}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: ['*'], mcp_servers: ['*'], default_tools: true}}\n\
         mcp_servers:\n  py: {}\n",
        database.url(),
        json!({ "command": line.program, "args": line.args }),
    );
    let mut gateway = Gateway::start(&config);
    let end = Instant::now() + PATIENCE;
    let mut asked = 0;
    loop {
        let body = chat("mock", "Please measure how long this text is.");
        let answered = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        let text = answered.text().await.unwrap();
        asked += 1;
        if text.contains("The tool py-measure answered") {
            break;
        }
        // The server has not started yet.
        assert!(Instant::now() < end, "{text}\n{}", gateway.log());
    }
    // In the file, and nowhere else.
    gateway.rows("1", asked).await;
    gateway.signal("-KILL");
    gateway.ended().await;
    let directory = std::mem::replace(&mut gateway.directory, tempfile::TempDir::new().unwrap());
    drop(gateway);
    database.start().await;
    let _again = Gateway::start_in(directory, "config.yaml", &[]);
    let both = "SELECT count(*) FROM tidegate.tool_call_logs c JOIN tidegate.request_logs r USING (request_id)
                WHERE c.server = 'py' AND c.tool = 'measure' AND c.function = 'py-measure' AND c.status = 'ok'
                  AND c.round = 1 AND c.key_alias = 'tester' AND length(c.arguments_digest) = 32 AND c.result_bytes > 0
                  AND r.tool_calls = 1 AND r.tool_rounds = 2 AND r.mcp_servers = '{py}' AND r.attempt_trail IS NULL
                  AND jsonb_array_length(r.rounds) = 2 AND r.input_tokens =
                    (r.rounds -> 0 -> 'input_tokens')::bigint + (r.rounds -> 1 -> 'input_tokens')::bigint";
    let end = Instant::now() + PATIENCE;
    // The schema is made by the gateway.
    let there = "SELECT count(to_regclass('tidegate.tool_call_logs'))";
    while database.count(there).await == 0 || database.count(both).await == 0 {
        assert!(Instant::now() < end, "the rows never arrive");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(database.count(both).await, 1);
    let shown =
        "SELECT count(*) FROM litellm_logs WHERE status = 'success' AND call_type = 'acompletion'";
    assert_eq!(usize::try_from(database.count(shown).await).unwrap(), asked);
}
