//! The door of MCP: what it decides before any server is asked. Keys, sessions, statuses, origins, both transports, the
//! end. What servers answer is tested elsewhere.

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};

const OTHER: &str = "sk-othr-0123456789abcdefghij";

fn config() -> String {
    format!(
        "general_settings:\n  master_key: {MASTER}\n  mcp_allowed_origins: [app.example]\nvirtual_keys:\n\
         - {{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}\n\
         - {{api_key: {OTHER}, models: ['*'], mcp_servers: ['*']}}\n\
         mcp_servers:\n  db: {{url: 'http://127.0.0.1:1/mcp'}}\n"
    )
}

fn request(gateway: &Gateway, method: Method, path: &str, key: &str) -> RequestBuilder {
    gateway
        .client
        .request(method, gateway.url(path))
        .bearer_auth(key)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
}

fn message(id: i32, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn initialize(version: &str) -> String {
    let params = json!({
        "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
    });
    message(0, "initialize", &params)
}

async fn post(gateway: &Gateway, path: &str, text: String) -> Response {
    request(gateway, Method::POST, path, KEY).body(text).send().await.unwrap()
}

async fn in_session(
    gateway: &Gateway,
    method: Method,
    key: &str,
    session: &str,
    text: String,
) -> Response {
    let request = request(gateway, method, "/mcp", key).header("mcp-session-id", session);
    request.body(text).send().await.unwrap()
}

async fn open(gateway: &Gateway, version: &str) -> String {
    let answer = post(gateway, "/mcp", initialize(version)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    assert_eq!(json_of(answer).await["result"]["protocolVersion"], version);
    session
}

async fn json_of(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[track_caller]
fn check(status: u16, body: &Value, expected: u16, code: i64) {
    assert_eq!((status, &body["error"]["code"]), (expected, &json!(code)), "{body}");
    assert_eq!(body["jsonrpc"], "2.0");
}

#[tokio::test]
async fn a_stranger_is_told_before_anything_is_read() {
    let gateway = Gateway::start(&config());
    for (method, path) in [
        (Method::POST, "/mcp"),
        (Method::GET, "/mcp/a,b"),
        (Method::DELETE, "/a/mcp"),
        (Method::GET, "/sse"),
        (Method::GET, "/a/sse"),
        (Method::POST, "/sse/messages?sessionId=x"),
    ] {
        let request = request(&gateway, method, path, "sk-wrong");
        let answer = request.body("{".to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        let body = json_of(answer).await;
        check(401, &body, 401, 40101);
        assert!(body["id"].is_null() && !body.to_string().contains("sk-wrong"));
    }
}

#[tokio::test]
async fn a_session_belongs_to_its_key_and_survives_an_edit() {
    let gateway = Gateway::start(&config());
    let session = open(&gateway, "2025-06-18").await;
    assert!(session.len() >= 43 && session.bytes().all(|byte| byte.is_ascii_graphic()));
    let ping = || message(1, "ping", &json!({}));
    let answer = in_session(&gateway, Method::POST, KEY, &session, ping()).await;
    assert_eq!(json_of(answer).await["result"], json!({}));
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let answer = in_session(&gateway, Method::POST, KEY, &session, initialized.to_string()).await;
    assert_eq!(answer.status(), 202);
    assert!(answer.bytes().await.unwrap().is_empty());

    for method in [Method::POST, Method::GET, Method::DELETE] {
        for key in [OTHER, MASTER] {
            let answer = in_session(&gateway, method.clone(), key, &session, ping()).await;
            check(answer.status().as_u16(), &json_of(answer).await, 404, 40401);
        }
    }

    let edited = config() + "  late: {transport: http, url: 'http://127.0.0.1:9/mcp'}\n";
    std::fs::write(gateway.path("config.yaml"), edited).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    let answer = in_session(&gateway, Method::POST, KEY, &session, ping()).await;
    assert_eq!(answer.status(), 200);

    let answer = in_session(&gateway, Method::DELETE, KEY, &session, String::new()).await;
    assert_eq!(answer.status(), 204);
    let answer = in_session(&gateway, Method::POST, KEY, &session, ping()).await;
    check(answer.status().as_u16(), &json_of(answer).await, 404, 40401);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_right_status() {
    let gateway = Gateway::start(&config());
    let unknown = || message(1, "x", &json!({}));
    let big = format!("\"{}\"", "x".repeat(40 * 1024 * 1024));
    for (text, status, code) in [
        ("{\"jsonrpc\"".to_owned(), 400, -32700),
        ("[]".to_owned(), 400, -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}".to_owned(), 400, -32600),
        (unknown(), 400, -32600),
        ("[".repeat(100_000), 400, -32700),
        (big, 413, 41301),
    ] {
        let answer = post(&gateway, "/mcp", text).await;
        let got = answer.status().as_u16();
        check(got, &json_of(answer).await, status, code);
    }
    for (name, value, status) in [("content-type", "text/plain", 415), ("accept", "text/html", 406)]
    {
        let url = gateway.url("/mcp");
        let request = gateway.client.post(url).bearer_auth(KEY).header(name, value);
        let request = match name {
            "accept" => request.header("content-type", "application/json"),
            _ => request,
        };
        let answer = request.body(unknown()).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    for (method, allow) in [(Method::PUT, "GET, POST, DELETE"), (Method::GET, "POST")] {
        let answer = request(&gateway, method, "/mcp", KEY).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &allow.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn pages_and_names_of_others_are_refused() {
    let gateway = Gateway::start(&config());
    let own = gateway.address.to_string();
    let cases = [
        (own.as_str(), None, 200),
        (own.as_str(), Some(format!("http://{own}")), 200),
        ("localhost", Some("http://localhost:6274".to_owned()), 200),
        ("app.example", Some("https://app.example".to_owned()), 200),
        ("evil.example", None, 403),
        ("evil.example", Some("http://evil.example".to_owned()), 403),
        (own.as_str(), Some("https://evil.example".to_owned()), 403),
        (own.as_str(), Some("null".to_owned()), 403),
    ];
    for (host, origin, status) in cases {
        let mut asked = request(&gateway, Method::POST, "/mcp", KEY).header("host", host);
        if let Some(origin) = &origin {
            asked = asked.header("origin", origin);
        }
        let answer = asked.body(initialize("2025-11-25")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host} {origin:?}");
        if origin.is_some() && status == 200 {
            let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
            assert!(exposed.contains("mcp-session-id"));
        }
    }
    for method in [Method::GET, Method::DELETE] {
        let asked = request(&gateway, method, "/mcp", KEY).header("origin", "https://evil.example");
        assert_eq!(asked.send().await.unwrap().status(), 403);
    }
}

#[tokio::test]
async fn without_a_session_headers_have_to_match() {
    let gateway = Gateway::start(&config());
    let ask = async |version: &str, method: &str| {
        let params = json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }});
        let asked = request(&gateway, Method::POST, "/mcp", KEY)
            .header("mcp-protocol-version", version)
            .header("mcp-method", method);
        let answer = asked.body(message(5, "no/such", &params)).send().await.unwrap();
        assert!(!answer.headers().contains_key("mcp-session-id"));
        let status = answer.status().as_u16();
        let body = json_of(answer).await;
        assert_eq!(body["id"], 5);
        (status, body)
    };
    let (status, body) = ask("2026-07-28", "no/such").await;
    check(status, &body, 404, -32601);
    let (status, body) = ask("2026-07-28", "another").await;
    check(status, &body, 400, -32020);
    let (status, body) = ask("2025-11-25", "no/such").await;
    check(status, &body, 400, -32020);
}

#[tokio::test]
async fn the_older_transport_shakes_hands() {
    let gateway = Gateway::start(&config());
    for path in ["/sse", "/db/sse", "/mcp/sse"] {
        let answer = request(&gateway, Method::GET, path, KEY).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.bytes_stream();
        let mut said = String::new();
        while !said.contains("\n\n") {
            said.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        let data = said.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
        assert!(said.starts_with("event: endpoint\n") && data.starts_with("/sse/messages?"));
        let foreign = request(&gateway, Method::POST, &data, OTHER);
        let answer = foreign.body(initialize("2024-11-05")).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(post(&gateway, &data, initialize("2024-11-05")).await.status(), 202);
        while !said.contains("\"protocolVersion\":\"2024-11-05\"") {
            said.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        assert!(said.contains("event: message\ndata: {"));
        drop(stream);
        // The session ends with its stream.
        let end = std::time::Instant::now() + crate::support::gateway::PATIENCE;
        while post(&gateway, &data, message(1, "ping", &json!({}))).await.status() != 404 {
            assert!(std::time::Instant::now() < end, "the session lives on");
        }
    }
}

#[tokio::test]
async fn waiting_streams_end_when_the_gateway_does() {
    let mut gateway = Gateway::start(&config());
    let session = open(&gateway, "2025-11-25").await;
    let answer = in_session(&gateway, Method::GET, KEY, &session, String::new()).await;
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let mut common = answer.bytes_stream();
    let first = common.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: 0_0\n"), "{first:?}");
    let older = request(&gateway, Method::GET, "/sse", KEY).send().await.unwrap();
    let mut older = older.bytes_stream();
    assert!(older.next().await.unwrap().unwrap().starts_with(b"event: endpoint\n"));
    gateway.signal("-TERM");
    while let Some(piece) = common.next().await {
        piece.expect("a proper end");
    }
    while let Some(piece) = older.next().await {
        piece.expect("a proper end");
    }
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
}
