//! Traces: what a collector gets of a request, whose trace it is, who is told of it, and that a collector that is slow, broken
//! or gone costs nothing but its spans. The collector is ours and decodes what a real one would.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::collector::{Collector, Span, tree};
use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::scripted;
use crate::support::postgres::Postgres;
use crate::support::upstream::{
    DONE, FINISH, Seen, USAGE, Upstream, chunk, delta, events_head, json as answer, last_chunk,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// What may be in no span.
const CANARY: &str = "sk-canary-0123456789abcdefghijkl";

/// A model that answers in chat's format, whole or streamed; `down` is out of order, and `tooled` calls the tool `look` once.
async fn model() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let body = seen.json();
        if seen.path.ends_with("/embeddings") {
            return answer(
                200,
                "",
                r#"{"object":"list","model":"e","data":[{"object":"embedding","index":0,"embedding":[0.5]}],
                    "usage":{"prompt_tokens":3,"total_tokens":3}}"#,
            );
        }
        if body["model"] == "down" {
            return answer(503, "", r#"{"error":{"message":"out of order","type":"server_error"}}"#);
        }
        if body["stream"] == true && body["model"] != "tooled" {
            let chunks = [delta("Hel"), delta("lo"), FINISH.to_vec(), USAGE.to_vec(), DONE.to_vec()];
            let mut steps = vec![events_head()];
            steps.extend(chunks.iter().map(|it| chunk(it)));
            steps.push(last_chunk());
            return steps;
        }
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let is_answered = messages.iter().any(|message| message["role"] == "tool");
        let call = json!([{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "db-look", "arguments": "{\"at\":\"it\"}" } }]);
        let (message, finish) = if body["model"] == "tooled" && !is_answered {
            (json!({ "role": "assistant", "content": null, "tool_calls": call }), "tool_calls")
        } else {
            (json!({ "role": "assistant", "content": "Hello" }), "stop")
        };
        let whole = json!({
            "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up-2026",
            "choices": [{ "index": 0, "finish_reason": finish, "message": message }],
            "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
                "prompt_tokens_details": { "cached_tokens": 5, "cache_write_tokens": 2 },
                "completion_tokens_details": { "reasoning_tokens": 3 } },
        });
        answer(200, "x-request-id: req-up\r\n", &whole.to_string())
    })
    .await
}

/// An MCP server with a tool that answers, one that fails, and one that the protocol refuses.
async fn server() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let result = match message["method"].as_str() {
            None => return answer(405, "", ""),
            Some("initialize") => {
                json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "scripted", "version": "1" } })
            }
            Some("tools/list") => {
                let tool =
                    |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
                json!({ "tools": [tool("look"), tool("fail"), tool("refuse")] })
            }
            Some("tools/call") if message["params"]["name"] != "refuse" => {
                let fails = message["params"]["name"] == "fail";
                json!({ "content": [{ "type": "text", "text": "seen" }], "isError": fails })
            }
            Some(method) if method.starts_with("notifications/") => return answer(202, "", ""),
            Some(_) => {
                let error = json!({ "code": -32602, "message": "no" });
                let text = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                return answer(200, "", &text.to_string());
            }
        };
        let text = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        answer(200, "", &text.to_string())
    })
    .await
}

fn config(model: &Upstream, telemetry: &str) -> String {
    let base = model.base();
    let params = |model: &str| {
        format!(
            "{{model: hosted_vllm/{model}, api_base: '{base}', api_key: {CANARY}, input_cost_per_token: 0.001, \
             output_cost_per_token: 0.002}}"
        )
    };
    let entry = |name: &str, model: &str| {
        format!("- {{model_name: {name}, litellm_params: {}}}\n", params(model))
    };
    format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n{}{}{}\
         router_settings: {{num_retries: 0, fallbacks: [{{tired: [m]}}]}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: ['*'], mcp_servers: ['*']}}\n\
         telemetry:\n{telemetry}\n",
        entry("m", "up"),
        entry("tired", "down"),
        entry("tooled", "tooled"),
    )
}

/// All traces to one collector.
fn to(collector: &Collector, more: &str) -> String {
    let endpoint = collector.endpoint();
    format!("  exporters: [{{endpoint: '{endpoint}'}}]\n  sampling_ratio: 1\n{more}")
}

fn ask(model: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "temperature": 0.5, "max_tokens": 64, "top_k": 4, "stop": ["x"],
        "messages": [{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Say hello" }] })
}

/// Asks, and gives the status, the trace that the answer names, and the body.
async fn post(
    gateway: &Gateway,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    let mut request = gateway.post(path, body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answered = request.send().await.unwrap();
    let status = answered.status().as_u16();
    let told = answered.headers().get("traceresponse").map(|it| it.to_str().unwrap().to_owned());
    let trace = told.as_deref().and_then(|it| it.split('-').nth(1)).unwrap_or_default().to_owned();
    (status, trace, answered.text().await.unwrap())
}

/// The traces that histograms lead to.
async fn exemplars(gateway: &Gateway) -> BTreeSet<String> {
    let page = gateway.client.get(gateway.url("/metrics")).bearer_auth(MASTER);
    let page = page.header("accept", "application/openmetrics-text; version=1.0.0");
    let page = page.send().await.unwrap().text().await.unwrap();
    let after = page.split("# {trace_id=\"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/traces").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "bless") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} (GOLDEN=bless writes it anew)");
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_in_the_words_of_each_version() {
    let (model, collector) = (model().await, Collector::start().await);
    for version in ["1.42", "latest", "both"] {
        let more = format!(
            "  semconv: '{version}'\n  resource_attributes: {{deployment.environment.name: lab}}\n"
        );
        let gateway = Gateway::start(&config(&model, &to(&collector, &more)));
        let headers = [("session-id", "chat-7")];
        let (status, trace, _) =
            post(&gateway, "/v1/chat/completions", &ask("m", false), &headers).await;
        assert_eq!(status, 200);
        let spans = collector.trace(&trace, 2).await;
        compare(&format!("request-{version}.txt"), &tree(&spans));
        let url =
            if version == "latest" { "" } else { "https://opentelemetry.io/schemas/gen-ai/1.42.0" };
        for span in &spans {
            assert_eq!((span.scope.as_str(), span.schema_url.as_str()), ("tidegate", url));
            assert_eq!(span.resource["service.name"], "tidegate");
            assert_eq!(span.resource["deployment.environment.name"], "lab");
        }
        // The row leads to the trace.
        let rows = gateway.rows("trace_id, span_id", 1).await;
        let server = named(&spans, "POST /v1/chat/completions");
        let ids =
            [server.trace_id.clone(), server.span_id.clone()].map(rusqlite::types::Value::Text);
        assert_eq!(rows[0], ids);
        // So does the line of the log, and the exemplar of a histogram.
        let log = gateway.log_until(&trace).await;
        assert!(log.contains(&server.span_id), "{log}");
        assert_eq!(exemplars(&gateway).await, BTreeSet::from([trace]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_has_the_trace_as_bytes() {
    let (model, collector, database) =
        (model().await, Collector::start().await, Postgres::running().await);
    let url = format!("database_url: '{}', master_key", database.url());
    let text = config(&model, &to(&collector, "")).replacen("master_key", &url, 1);
    let gateway = Gateway::start(&text);
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    let spans = collector.trace(&trace, 2).await;
    let server = named(&spans, "POST /v1/chat/completions");
    let sql = format!(
        "SELECT count(*) FROM tidegate.request_logs WHERE trace_id = decode('{}', 'hex') AND span_id = decode('{}', 'hex')",
        server.trace_id, server.span_id,
    );
    let end = Instant::now() + PATIENCE;
    while database.count(&sql).await != 1 {
        assert!(Instant::now() < end, "never came\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = crate::support::gateway::command(gateway.directory.path())
        .args(["--config", "config.yaml", "logs", "query", "--json"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("\"trace_id\":\"{trace}\"")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_fallbacks_and_other_surfaces_have_their_spans() {
    let (model, collector) = (model().await, Collector::start().await);
    let gateway = Gateway::start(&config(&model, &to(&collector, "")));
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("tired", true), &[]).await;
    let spans = collector.trace(&trace, 3).await;
    compare("stream-with-fallback.txt", &tree(&spans));
    let (failed, answered) = (named(&spans, "chat down"), named(&spans, "chat up"));
    let server = named(&spans, "POST /v1/chat/completions");
    assert!(failed.end <= answered.start && answered.end <= server.end);
    let messages =
        json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let input = json!({ "model": "m", "input": "hi", "stream": true });
    let embed = json!({ "model": "m", "input": "hi" });
    for (path, body, name, operation) in [
        ("/v1/messages", messages, "chat up", "chat"),
        ("/v1/responses", input, "chat up", "chat"),
        ("/v1/embeddings", embed, "embeddings up", "embeddings"),
    ] {
        let (status, trace, text) = post(&gateway, path, &body, &[]).await;
        assert_eq!(status, 200, "{text}");
        let spans = collector.trace(&trace, 2).await;
        let (server, client) = (named(&spans, &format!("POST {path}")), named(&spans, name));
        assert_eq!((client.parent_id.as_str(), client.kind), (server.span_id.as_str(), 3));
        assert_eq!(client.attributes["gen_ai.operation.name"], operation);
        assert_eq!(client.attributes["gen_ai.provider.name"], "vllm");
        assert!(client.attributes.contains_key("gen_ai.usage.input_tokens"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_kept_whatever_was_drawn() {
    let (model, collector) = (model().await, Collector::start().await);
    let endpoint = collector.endpoint();
    let telemetry = format!("  exporters: [{{endpoint: '{endpoint}'}}]\n  sampling_ratio: 0\n");
    let config = config(&model, &telemetry).replace("fallbacks: [{tired: [m]}]", "num_retries: 0");
    let config = config.replace("num_retries: 0, num_retries: 0", "num_retries: 0");
    let gateway = Gateway::start(&config);
    let (status, told, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    assert_eq!((status, told.as_str()), (200, ""), "not kept, not told");
    let (status, _, _) = post(&gateway, "/v1/chat/completions", &ask("nobody", false), &[]).await;
    assert_eq!(status, 404);
    let (status, _, _) = post(&gateway, "/v1/chat/completions", &ask("tired", false), &[]).await;
    assert_eq!(status, 503);
    let spans = collector.wait(2, |_| true).await;
    compare("failure.txt", &tree(&spans));
    assert_eq!(spans.len(), 2, "neither the success nor the client's mistake");
    // Nor do histograms lead to traces that are nowhere.
    assert_eq!(exemplars(&gateway).await, BTreeSet::from([spans[0].trace_id.clone()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_a_key_is_believed_and_others_get_a_link() {
    let (model, collector) = (model().await, Collector::start().await);
    let gateway = Gateway::start(&config(&model, &to(&collector, "")));
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=1"), ("baggage", "secret=1")];
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &headers).await;
    assert_eq!(trace, TRACE);
    let spans = collector.trace(TRACE, 2).await;
    let server = named(&spans, "POST /v1/chat/completions");
    assert_eq!((server.parent_id.as_str(), server.parent_is_remote), ("00f067aa0ba902b7", true));
    assert_eq!(server.state, "vendor=1");
    // The provider is on this machine, and is told under which span it works.
    let told = model.seen().pop().unwrap();
    let attempt = named(&spans, "chat up");
    assert_eq!(told.header("traceparent").unwrap(), format!("00-{TRACE}-{}-01", attempt.span_id));
    assert_eq!(
        (told.header("tracestate"), told.header("baggage")),
        (Some("vendor=1"), Some("secret=1"))
    );
    // A stranger's claim opens a trace of its own. 401s are no failures of ours: sampled by the draw, which is all here.
    let request =
        gateway.client.post(gateway.url("/v1/chat/completions")).header("traceparent", PARENT);
    let refused =
        request.header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let spans = collector.wait(1, |span| !span.links.is_empty()).await;
    let linked = spans.iter().find(|span| !span.links.is_empty()).unwrap();
    assert_ne!(linked.trace_id, TRACE);
    assert_eq!(linked.links, [(TRACE.to_owned(), "00f067aa0ba902b7".to_owned())]);
    assert_eq!(linked.attributes["http.response.status_code"], "401");
    // What is no traceparent is a new trace, and no error.
    for bad in ["", "00-0-0-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "é"] {
        let (status, trace, _) =
            post(&gateway, "/v1/chat/completions", &ask("m", false), &[("traceparent", bad)]).await;
        assert_eq!(status, 200);
        assert!(trace.len() == 32 && trace != TRACE);
    }
    // An unsampled parent is respected.
    let unsampled = PARENT.replace("-01", "-00").replace("4bf92f", "4bf93f");
    let (_, trace, _) =
        post(&gateway, "/v1/chat/completions", &ask("m", false), &[("traceparent", &unsampled)])
            .await;
    assert_eq!(trace, "");
    assert!(model.seen().pop().unwrap().header("traceparent").unwrap().ends_with("-00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_where_that_is_not_wanted() {
    let (model, collector) = (model().await, Collector::start().await);
    let more = "  propagate: never\n  trust_inbound: never\n";
    let gateway = Gateway::start(&config(&model, &to(&collector, more)));
    let headers = [("traceparent", PARENT)];
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &headers).await;
    assert!(trace != TRACE && !trace.is_empty());
    assert_eq!(model.seen().pop().unwrap().header("traceparent"), None);
    assert_eq!(
        collector.trace(&trace, 2).await.iter().filter(|it| !it.links.is_empty()).count(),
        1
    );
    // Without traces nothing of it is said at all.
    let off = Gateway::start(&config(&model, "  exporters: []"));
    let (_, trace, _) = post(&off, "/v1/chat/completions", &ask("m", false), &headers).await;
    assert_eq!((trace.as_str(), model.seen().pop().unwrap().header("traceparent")), ("", None));
    let rows = off.rows("trace_id IS NULL AND span_id IS NULL", 1).await;
    assert_eq!(rows[0], [rusqlite::types::Value::Integer(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_inside_an_answer_are_spans_beside_the_rounds() {
    let (model, server, collector) = (model().await, server().await, Collector::start().await);
    let mut text = config(
        &model,
        &to(&collector, "  capture: both\n  attributes: [gen_ai, openinference, langfuse]\n"),
    );
    let url = server.base().replace("/v1", "/mcp");
    text.push_str(&format!("mcp_servers:\n  db: {{transport: http, url: '{url}'}}\n"));
    let gateway = Gateway::start(&text);
    for stream in [false, true] {
        let headers = [("x-mcp-servers", "db")];
        let (status, trace, body) =
            post(&gateway, "/v1/chat/completions", &ask("tooled", stream), &headers).await;
        assert_eq!(status, 200, "{body}");
        let spans = collector.trace(&trace, 4).await;
        if !stream {
            compare("tools.txt", &tree(&spans));
        }
        let call = named(&spans, "execute_tool look");
        let told = server
            .seen()
            .into_iter()
            .rfind(|seen| seen.body.windows(10).any(|it| it == b"tools/call"));
        let told = told.unwrap();
        let expected = format!("00-{trace}-{}-01", call.span_id);
        assert_eq!(told.json()["params"]["_meta"]["traceparent"], expected.as_str());
        assert_eq!(told.header("traceparent"), Some(expected.as_str()));
        let mut rounds: Vec<&Span> = spans.iter().filter(|it| it.name == "chat tooled").collect();
        rounds.sort_by_key(|it| it.start);
        assert_eq!(rounds.len(), 2);
        assert!(rounds[0].end <= call.start && call.end <= rounds[1].start, "one after the other");
        assert_eq!(call.attributes["gen_ai.tool.call.arguments"], r#"{"at":"it"}"#);
        let bare = |it: &Span| it.attributes.contains_key("gen_ai.usage.input_tokens");
        assert!(rounds.iter().all(|it| bare(it)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_told_only_where_that_is_wanted() {
    let (model, collector) = (model().await, Collector::start().await);
    let gateway = Gateway::start(&config(&model, &to(&collector, "")));
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", true), &[]).await;
    collector.trace(&trace, 2).await;
    let raw = String::from_utf8_lossy(&collector.raw()).into_owned();
    assert!(!raw.contains("Say hello") && !raw.contains("Be kind") && !raw.contains("Hello"));
    let capturing = Gateway::start(&config(&model, &to(&collector, "  capture: span\n")));
    for (path, body) in [
        ("/v1/chat/completions", ask("m", true)),
        (
            "/v1/responses",
            json!({ "model": "m", "instructions": "Be kind.", "input": "Say hello" }),
        ),
    ] {
        let (_, trace, _) = post(&capturing, path, &body, &[]).await;
        let spans = collector.trace(&trace, 2).await;
        let said = &named(&spans, "chat up").attributes;
        let read = |name: &str| serde_json::from_str::<Value>(&said[name]).unwrap();
        assert_eq!(read("gen_ai.system_instructions")[0]["content"], "Be kind.", "{path}");
        assert_eq!(read("gen_ai.input.messages")[0]["parts"][0]["content"], "Say hello", "{path}");
        assert_eq!(read("gen_ai.output.messages")[0]["parts"][0]["content"], "Hello", "{path}");
        assert_eq!(read("gen_ai.output.messages")[0]["finish_reason"], "stop");
    }
    // It is not kept in rows for that.
    let database = capturing.path("data/tidegate.db");
    capturing.rows("1", 2).await;
    let database = rusqlite::Connection::open(database).unwrap();
    let kept: i64 =
        database.query_row("SELECT count(*) FROM request_payloads", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0);
}

/// Makes one request of MCP in a session, and gives the body of the answer.
async fn rpc(
    gateway: &Gateway,
    session: Option<&str>,
    message: &Value,
) -> (reqwest::header::HeaderMap, Value) {
    let mut request =
        gateway.post("/mcp", message).header("accept", "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let answered = request.send().await.unwrap();
    let headers = answered.headers().clone();
    let text = answered.text().await.unwrap();
    let data =
        text.lines().rev().find_map(|line| line.strip_prefix("data: ").filter(|it| !it.is_empty()));
    (headers, serde_json::from_str(data.unwrap_or(&text)).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_mcp_clients_have_spans_and_servers_are_told() {
    let (model, server, collector) = (model().await, server().await, Collector::start().await);
    let mut text = config(&model, &to(&collector, ""));
    let url = server.base().replace("/v1", "/mcp");
    text.push_str(&format!("mcp_servers:\n  db: {{transport: http, url: '{url}'}}\n"));
    let gateway = Gateway::start(&text);
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let (headers, _) = rpc(&gateway, None, &hello).await;
    let session = headers["mcp-session-id"].to_str().unwrap().to_owned();
    rpc(
        &gateway,
        Some(&session),
        &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
    )
    .await;
    let call = |id: u32, tool: &str, meta: Value| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": tool, "arguments": {}, "_meta": meta } })
    };
    let meta = json!({ "traceparent": PARENT, "tracestate": "v=1", "baggage": "k=v", "mine": 1.0 });
    let (headers, result) = rpc(&gateway, Some(&session), &call(2, "db-look", meta)).await;
    assert_eq!(result["result"]["content"][0]["text"], "seen", "{result}\n{}", gateway.log());
    let http = headers["traceresponse"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let spans = collector.trace(TRACE, 2).await;
    compare("mcp.txt", &tree(&spans));
    let (outer, inner) = (named(&spans, "tools/call db-look"), named(&spans, "tools/call look"));
    let request = collector.trace(&http, 1).await;
    let request = named(&request, "POST /mcp");
    assert_eq!(outer.links, [(http.clone(), request.span_id.clone())]);
    assert_eq!(
        (outer.parent_id.as_str(), inner.parent_id.as_str()),
        ("00f067aa0ba902b7", outer.span_id.as_str())
    );
    let told = server.seen().pop().unwrap();
    let (parent, meta) =
        (format!("00-{TRACE}-{}-01", inner.span_id), &told.json()["params"]["_meta"]);
    assert_eq!(told.header("traceparent"), Some(parent.as_str()));
    assert_eq!(
        (&meta["traceparent"], &meta["tracestate"], &meta["baggage"], &meta["mine"]),
        (&json!(parent), &json!("v=1"), &json!("k=v"), &json!(1.0))
    );
    // Without a claim the call belongs to its HTTP request.
    for (id, tool, error) in [(3, "db-fail", "tool_error"), (4, "db-refuse", "-32602")] {
        let (headers, _) = rpc(&gateway, Some(&session), &call(id, tool, json!({}))).await;
        let trace =
            headers["traceresponse"].to_str().unwrap().split('-').nth(1).unwrap().to_owned();
        let spans = collector.trace(&trace, 3).await;
        let outer = named(&spans, &format!("tools/call {tool}"));
        assert_eq!(outer.parent_id, named(&spans, "POST /mcp").span_id);
        assert_eq!((outer.attributes["error.type"].as_str(), outer.status), (error, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_of_a_model_belongs_to_the_call() {
    let (model, collector) = (model().await, Collector::start().await);
    let servers = scripted("db", &[], "sampling_model: m");
    let text = format!("{}mcp_servers:\n{servers}", config(&model, &to(&collector, "")));
    let gateway = Gateway::start(&text);
    let (status, trace, said) = post(&gateway, "/mcp-openapi/db/ask", &json!({}), &[]).await;
    assert_eq!(status, 200, "{said}");
    let spans = collector.trace(&trace, 5).await;
    // 2 is SERVER.
    let is_outer = |span: &&Span| span.name == "tools/call ask" && span.kind == 2;
    let outer = spans.iter().find(is_outer).unwrap();
    let sampled = named(&spans, "POST /v1/messages");
    assert_eq!(sampled.parent_id, outer.span_id);
    assert_eq!(named(&spans, "chat up").parent_id, sampled.span_id);
    assert!(outer.start <= sampled.start && sampled.end <= outer.end);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traces_what_mcp_clients_say_of_theirs_passes() {
    let (model, server) = (model().await, server().await);
    let mut text = config(&model, "  exporters: []");
    let url = server.base().replace("/v1", "/mcp");
    text.push_str(&format!("mcp_servers:\n  db: {{transport: http, url: '{url}'}}\n"));
    let gateway = Gateway::start(&text);
    let meta = json!({ "traceparent": PARENT, "tracestate": "v=1", "baggage": "k=v" });
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let (headers, _) = rpc(&gateway, None, &hello).await;
    assert!(!headers.contains_key("traceresponse"));
    let session = headers["mcp-session-id"].to_str().unwrap().to_owned();
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "db-look", "arguments": {}, "_meta": meta } });
    let (_, result) = rpc(&gateway, Some(&session), &call).await;
    assert_eq!(result["result"]["content"][0]["text"], "seen", "{result}");
    let told = server.seen().pop().unwrap();
    assert_eq!(told.json()["params"]["_meta"], meta);
    assert_eq!(told.header("traceparent"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_collector_and_loses_nothing() {
    let (model, first, second) =
        (model().await, Collector::start().await, Collector::start().await);
    let mut gateway = Gateway::start(&config(&model, &to(&first, "")));
    let mut traces = Vec::new();
    for round in 0..3 {
        for _ in 0..20 {
            let (status, trace, _) =
                post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
            assert_eq!(status, 200);
            traces.push(trace);
        }
        let next = if round % 2 == 0 { &second } else { &first };
        let more = format!("  service_name: round-{round}\n");
        std::fs::write(gateway.path("config.yaml"), config(&model, &to(next, &more))).unwrap();
        gateway.signal("-HUP");
        gateway.health_until(|it| it["config"]["generation"] == round + 2).await;
    }
    gateway.signal("-TERM");
    assert!(gateway.ended().await.success());
    let spans: Vec<Span> = first.spans().into_iter().chain(second.spans()).collect();
    for trace in &traces {
        let count = spans.iter().filter(|span| span.trace_id == *trace).count();
        assert_eq!(count, 2, "{trace}");
    }
    // The gateway's own work is told, too.
    let reload = named(&spans, "config.reload");
    let reconcile = spans.iter().filter(|span| span.name == "mcp.reconcile");
    assert!(
        reconcile.clone().any(|it| spans
            .iter()
            .any(|up| up.span_id == it.parent_id && up.name == "config.reload"))
    );
    assert_eq!(reload.scope, "tidegate.work");
    named(&spans, "shutdown.drain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_costs_only_spans() {
    let (model, good, broken) = (model().await, Collector::start().await, Collector::start().await);
    let silent = Collector::silent().await;
    broken.fail(true);
    // Nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = |address: &str| format!("{{endpoint: 'http://{address}', timeout_seconds: 1}}");
    let telemetry = format!(
        "  exporters: [{}, {}, {}, {}]\n  sampling_ratio: 1\n",
        exporter(&good.server.address.to_string()),
        exporter(&broken.server.address.to_string()),
        exporter(&silent.address.to_string()),
        exporter(&gone.to_string()),
    );
    let mut gateway = Gateway::start(&config(&model, &telemetry));
    for _ in 0..50 {
        let (status, _, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
        assert_eq!(status, 200);
    }
    good.wait(100, |span| span.scope == "tidegate").await;
    gateway.log_until("traces could not be exported").await;
    // The broken one recovers, and that is told.
    broken.fail(false);
    post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    broken.wait(2, |span| span.scope == "tidegate").await;
    gateway.log_until("traces are exported again").await;
    let log = gateway.log();
    assert!(log.matches("could not be exported").count() <= 3, "once for each that fails:\n{log}");
    let began = Instant::now();
    gateway.signal("-TERM");
    assert!(gateway.ended().await.success());
    // A bound for hanging: five seconds for traces, and what else has to end.
    assert!(began.elapsed() < PATIENCE.min(Duration::from_secs(20)), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_stand_for_what_the_file_does_not_say() {
    let (model, collector, other) =
        (model().await, Collector::start().await, Collector::start().await);
    let text = config(&model, "  service_name: from-the-file");
    let endpoint = collector.endpoint();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=canary%20one"),
        ("OTEL_SERVICE_NAME", "from-the-environment"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb,service.name=no"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
    ];
    let gateway = Gateway::start_with(&text, &[], &environment);
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    let spans = collector.trace(&trace, 2).await;
    assert_eq!(spans[0].resource["service.name"], "from-the-file");
    assert_eq!(spans[0].resource["team"], "a,b");
    collector.server.arrived(1).await;
    assert_eq!(collector.server.seen()[0].header("x-collector-key"), Some("canary one"));
    // What the file names gets the file's headers, and none that are meant for another.
    let gateway = Gateway::start_with(&config(&model, &to(&other, "")), &[], &environment);
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    other.trace(&trace, 2).await;
    other.server.arrived(1).await;
    assert_eq!(other.server.seen()[0].header("x-collector-key"), None);
    let off = [("OTEL_SDK_DISABLED", "true"), environment[0]];
    let gateway = Gateway::start_with(&text, &[], &off);
    let (_, trace, _) = post(&gateway, "/v1/chat/completions", &ask("m", false), &[]).await;
    assert_eq!(trace, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_span_holds_a_secret() {
    let (model, server, collector) = (model().await, server().await, Collector::start().await);
    let more = "  capture: both\n  attributes: [gen_ai, openinference, langfuse]\n";
    let exporter = format!("endpoint: '{}'", collector.endpoint());
    let with_key = format!("{exporter}, headers: {{authorization: 'Bearer {CANARY}-collector'}}");
    let mut text = config(&model, &to(&collector, more)).replace(&exporter, &with_key);
    let url = server.base().replace("/v1", "/mcp");
    text.push_str(&format!(
        "mcp_servers:\n  db: {{transport: http, url: '{url}', auth_type: bearer_token, auth_value: {CANARY}-mcp}}\n"
    ));
    let gateway = Gateway::start(&text);
    let path = format!("/v1/chat/completions?key={CANARY}-query");
    let headers = [("x-api-key", CANARY), ("cookie", CANARY), ("x-mcp-servers", "db")];
    let mut last = String::new();
    for (model, stream) in [("m", false), ("tooled", true), ("tired", false), ("nobody", false)] {
        (_, last, _) = post(&gateway, &path, &ask(model, stream), &headers).await;
    }
    assert!(
        collector
            .server
            .seen()
            .iter()
            .all(|it| it.header("authorization").unwrap().contains("-collector"))
    );
    collector.trace(&last, 1).await;
    collector.wait(1, |span| span.name == "execute_tool look").await;
    let raw = collector.raw();
    for secret in [CANARY, KEY, MASTER] {
        let found = memchr::memmem::find(&raw, secret.as_bytes());
        let around = found
            .map(|at| String::from_utf8_lossy(&raw[at.saturating_sub(200)..at + 20]).into_owned());
        assert_eq!(around, None, "{secret}");
    }
    assert!(!gateway.log().contains(CANARY));
}
