//! No secret comes out anywhere. Every place of a configuration that can hold one, and every header of a client, has one that
//! is found nowhere else; then everything is driven, at the most verbose level and against peers that repeat what they were
//! sent, and every sink is searched.

use std::path::Path;

use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;

use crate::support::gateway::{Gateway, PATIENCE, command};
use crate::support::mcp_script::{result, serve};
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::upstream::{
    DONE, FINISH, Seen, Step, Upstream, chunk, delta, events_head, json as answer, last_chunk,
};

/// Stands in every secret, and in nothing else.
const CANARY: &str = "canary";
const MASTER: &str = "sk-canary-master-0123456789";
const KEY: &str = "sk-canary-virtual-0123456789";
const BLOCKED: &str = "sk-canary-blocked-0123456789";

/// Answers well where the model says so, else repeats everything it was sent: as an error, as a page, as a broken stream.
fn provider(seen: &Seen) -> Vec<Step> {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let wants = |word: &str| body.contains(word) || seen.path.contains(word);
    let all: Vec<String> =
        seen.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let repeated = format!("{} was sent {}", seen.path, all.join(", "));
    if wants("up-well") && wants("\"stream\":true") {
        return vec![events_head(), chunk(&[&delta("a"), FINISH, DONE].concat()), last_chunk()];
    }
    if wants("up-well") {
        return crate::support::upstream::chat("hello");
    }
    let error = json!({ "error": { "message": repeated, "type": repeated, "code": repeated } });
    if wants("up-page") {
        let page = format!("<html>{repeated}</html>");
        return crate::support::upstream::whole(
            502,
            "content-type: text/html\r\n",
            page.as_bytes(),
        );
    }
    if wants("\"stream\":true") {
        let event = format!("data: {error}\n\n");
        return vec![events_head(), chunk(&delta("a")), chunk(event.as_bytes()), last_chunk()];
    }
    answer(401, &format!("x-request-id: {}\r\n", "r-1"), &error.to_string())
}

fn config(base: &str, mcp: &str, database: &str) -> String {
    let model = |name: &str, params: &str| {
        format!("- {{model_name: {name}, litellm_params: {{{params}, api_base: '{base}'}}}}\n")
    };
    let models = [
        model("well", "model: openai/up-well, api_key: sk-canary-provider-1"),
        model(
            "echo",
            "model: openai/up-echo, api_key: sk-canary-provider-2, \
             extra_headers: {x-auth-token: canary-extra-header-1, x-api-secret: canary-extra-header-2}",
        ),
        model("page", "model: openai/up-page, api_key: sk-canary-provider-3"),
        model("claude", "model: anthropic/up-echo, api_key: sk-ant-canary-4"),
        model("gemini", "model: gemini/up-echo, api_key: AIza-canary-5"),
        model("azure", "model: azure/up-echo, api_key: canary-azure-6, api_version: preview"),
        model("ollama", "model: ollama/up-echo, api_key: canary-ollama-7"),
        model("cohere", "model: cohere/up-echo, api_key: canary-cohere-8"),
        model(
            "bedrock",
            "model: bedrock/up-echo, aws_region_name: eu-north-1, \
             aws_access_key_id: AKIAcanary9, aws_secret_access_key: canary-amazon-10, \
             aws_session_token: canary-amazon-11",
        ),
    ];
    format!(
        "general_settings:\n  master_key: {MASTER}\n  database_url: {database}\n  log_level: trace\n\
         litellm_settings: {{json_logs: true, callbacks: [prometheus]}}\n\
         model_list:\n{}\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: ['*'], mcp_servers: ['*']}}\n\
         - {{api_key: {BLOCKED}, models: ['*'], blocked: true}}\n\
         mcp_servers:\n\
         \x20 good: {{url: 'http://{mcp}/mcp?token=canary-url-1', transport: http, auth_type: bearer_token, \
            auth_value: canary-mcp-1, static_headers: {{x-secret: canary-mcp-2}}, extra_headers: [x-own]}}\n\
         \x20 bad: {{url: '{base}/mcp?token=canary-url-2', transport: http, auth_type: api_key, \
            auth_value: canary-mcp-3, static_headers: {{x-secret: canary-mcp-4}}}}\n\
         \x20 older: {{url: '{base}/sse?token=canary-url-3', transport: sse, auth_type: bearer_token, \
            auth_value: canary-mcp-5}}\n\
         \x20 child: {{command: /bin/sh, args: ['-c', 'echo \"$TOKEN $0\" >&2; echo \"$TOKEN $0\"; exit 1', \
            'canary-argument'], env: {{TOKEN: canary-environment}}, \
            restart: {{min_delay_seconds: 0.05, max_delay_seconds: 0.1}}}}\n",
        models.concat()
    )
}

/// Edits with something wrong beside, or within, a secret.
const BAD_EDITS: &[&str] = &[
    "general_settings: {master_key: [sk-canary-list]}\n",
    "general_settings:\n  master_key: \"sk-canary-unclosed\n",
    "general_settings: {master_key: sk-canary-m-0123456789, database_url: 'postgres://u:canary-pw@:bad:port/x'}\n",
    "mcp_servers: {x: {url: 'http://user:canary-pw@host:99999/', static_headers: {'bad header': canary-h}}}\n",
    "virtual_keys: [sk-canary-as-entry]\n",
    "virtual_keys: [{api_key: {sk-canary-as-key: 1}}]\n",
    "model_list: [{model_name: m, litellm_params: {model: openai/x, api_base: 'http://u:canary@[bad', api_key: [canary]}}]\n",
    "model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: canary-k, extra_headers: {x: \"canary\\n\"}}}]\n",
    "mcp_servers: {x: {command: /bin/x, env: {TOKEN: [canary-e]}, args: canary-args}}\n",
];

/// What was said to anybody, by where it was said.
#[derive(Default)]
struct Sinks(Vec<(String, Vec<u8>)>);

impl Sinks {
    fn add(&mut self, place: impl Into<String>, said: impl Into<Vec<u8>>) {
        self.0.push((place.into(), said.into()));
    }

    fn check(&self) {
        let mut found = Vec::new();
        for (place, said) in &self.0 {
            let text = String::from_utf8_lossy(said).into_owned();
            for (at, _) in text.to_lowercase().match_indices(CANARY) {
                let from = text.floor_char_boundary(at.saturating_sub(120));
                let to = text.floor_char_boundary((at + 60).min(text.len()));
                found.push(format!("{place}: …{}…", &text[from..to]));
            }
        }
        found.sort();
        found.dedup();
        assert!(found.is_empty(), "{} hits:\n{}", found.len(), found.join("\n"));
    }
}

/// A client that has secrets of its own in its headers.
fn with_secrets(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("cookie", "session=canary-cookie")
        .header("proxy-authorization", "Basic canary-proxy")
        .header("x-own", "canary-forwarded")
        .header("x-mcp-good-x-own", "canary-forwarded-2")
}

async fn send(gateway: &Gateway, sinks: &mut Sinks, method: &str, path: &str, body: Option<Value>) {
    for key in [KEY, MASTER, BLOCKED, "sk-canary-unknown"] {
        let method = method.parse().unwrap();
        let request = gateway.client.request(method, gateway.url(path)).bearer_auth(key);
        let mut request = with_secrets(request);
        if let Some(body) = &body {
            let accept = "application/json, text/event-stream";
            request = request.header("content-type", "application/json").header("accept", accept);
            request = request.body(body.to_string());
        }
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect(path).unwrap();
        let place = format!("answer {} to {path}", answer.status());
        sinks.add(format!("{place}, head"), format!("{:?}", answer.headers()));
        sinks.add(place, answer.bytes().await.unwrap_or_default());
    }
}

async fn drive(gateway: &Gateway, sinks: &mut Sinks) {
    let models =
        ["well", "echo", "page", "claude", "gemini", "azure", "ollama", "cohere", "bedrock"];
    for model in models.into_iter().chain(["unknown"]) {
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
            for stream in [false, true] {
                let body = json!({
                    "model": model, "stream": stream, "max_tokens": 9, "input": "hi",
                    "messages": [{ "role": "user", "content": "hi" }],
                });
                send(gateway, sinks, "POST", path, Some(body)).await;
            }
        }
        let body = json!({ "model": model, "input": "hi", "prompt": "hi" });
        send(gateway, sinks, "POST", "/v1/embeddings", Some(body.clone())).await;
        send(gateway, sinks, "POST", "/v1/completions", Some(body)).await;
    }
    send(gateway, sinks, "POST", "/v1/chat/completions", Some(json!("not what it takes"))).await;
    let call = |server: &str| json!({ "server_id": server, "name": "t", "arguments": {} });
    for server in ["good", "bad", "older", "child"] {
        send(gateway, sinks, "POST", "/mcp-rest/tools/call", Some(call(server))).await;
        send(gateway, sinks, "GET", &format!("/mcp-rest/tools/list?server_id={server}"), None)
            .await;
    }
    let hello = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "t", "version": "1" },
        },
    });
    send(gateway, sinks, "POST", "/mcp", Some(hello)).await;
    let paths = [
        "/v1/models",
        "/health",
        "/health/ready",
        "/admin/config",
        "/metrics",
        "/",
        "/v1/mcp/server",
        "/v1/mcp/tools",
        "/mcp-openapi/good",
        "/nowhere?key=none",
    ];
    for path in paths {
        send(gateway, sinks, "GET", path, None).await;
    }
}

/// Everything in a directory but the configuration itself.
fn files(folder: &Path, sinks: &mut Sinks) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, sinks);
        } else if path.file_name().is_some_and(|name| name != "config.yaml") {
            sinks.add(format!("file {}", path.display()), std::fs::read(&path).unwrap_or_default());
        }
    }
}

fn run(folder: &Path, arguments: &[&str], sinks: &mut Sinks) {
    let output = command(folder).args(arguments).output().unwrap();
    let place = format!("tidegate {}", arguments.join(" "));
    sinks.add(place.clone(), output.stdout);
    sinks.add(place, output.stderr);
}

async fn rows(postgres: &Postgres, sinks: &mut Sinks) {
    let client = postgres.connect().await;
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'tidegate'";
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let sql = format!("SELECT t::text FROM tidegate.{table} t");
        for message in client.simple_query(&sql).await.unwrap() {
            if let SimpleQueryMessage::Row(row) = message {
                sinks.add(format!("table {table}"), row.get(0).unwrap_or_default());
            }
        }
    }
}

#[tokio::test]
async fn no_secret_comes_out_anywhere() {
    assert!(PASSWORD.contains(CANARY));
    let postgres = Postgres::running().await;
    let upstream = Upstream::start(provider).await;
    let mcp = serve(
        |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}"#),
            _ => result(r#"{"content":[]}"#),
        },
        vec![],
    )
    .await;
    let mut sinks = Sinks::default();
    let text = config(&upstream.base(), &mcp.address.to_string(), &postgres.url());
    let mut gateway = Gateway::start(&text);
    drive(&gateway, &mut sinks).await;
    // Secrets did arrive where they belong: what is searched for was there to be found.
    let sent = |value: &str| {
        let seen = upstream.seen().into_iter().chain(mcp.seen());
        seen.flat_map(|seen| seen.headers).any(|(_, said)| said.contains(value))
    };
    for value in ["sk-canary-provider-2", "canary-extra-header-1", "canary-mcp-1", "canary-mcp-3"] {
        assert!(sent(value), "{value} was not sent");
    }
    assert!(!sent("canary-cookie") && !sent("canary-proxy") && !sent(KEY));

    let file = gateway.path("config.yaml");
    for (number, edit) in BAD_EDITS.iter().enumerate() {
        std::fs::write(&file, edit).unwrap();
        let failed = |health: &Value| {
            health["config"]["failed_reloads"].as_u64().is_some_and(|count| count > number as u64)
        };
        let health = gateway.health_until(failed).await;
        sinks.add("health", health.to_string());
        send(&gateway, &mut sinks, "GET", "/admin/config", None).await;
        run(gateway.directory.path(), &["check", "--config", "config.yaml"], &mut sinks);
    }
    std::fs::write(&file, text.replace("tester", "other")).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    drive(&gateway, &mut sinks).await;
    let drained = |health: &Value| health["request_log"]["spool_rows"] == 0;
    gateway.health_until(drained).await;
    let folder = gateway.directory.path().to_owned();
    for arguments in [
        &["check", "--config", "config.yaml"][..],
        &["logs", "query", "--config", "config.yaml", "--json", "--limit", "1000"],
        &["logs", "query", "--config", "config.yaml", "--limit", "1000"],
        &["mcp", "list", "--config", "config.yaml"],
        &["mcp", "tools", "--config", "config.yaml"],
        &["mcp", "test", "--config", "config.yaml"],
    ] {
        run(&folder, arguments, &mut sinks);
    }
    rows(&postgres, &mut sinks).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    sinks.add("standard error", gateway.log());
    files(&folder, &mut sinks);
    assert!(gateway.log().lines().any(|line| line.contains("\"level\":\"debug\"")), "verbose");
    sinks.check();
}
