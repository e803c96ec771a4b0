//! Clients that share MCP servers see nothing of each other: ids, progress, log messages, credentials, state where the
//! entry says so; and their own children end with them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::rogue;
use crate::support::session::Session;

const OTHER: &str = "sk-othr-0123456789abcdefghij";

fn config(settings: &str, servers: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}{settings}}}\nvirtual_keys:\n\
         - {{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}\n\
         - {{api_key: {OTHER}, models: ['*'], mcp_servers: ['*']}}\nmcp_servers:\n{servers}"
    )
}

fn child(name: &str, more: &str) -> String {
    format!("  {name}: {{{}{more}}}\n", rogue("stdio", &[]).unwrap().entry())
}

async fn ends(pid: &Value) {
    let end = Instant::now() + PATIENCE;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < end, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_never_cross() {
    let Some(http) = rogue("http", &[]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let (http, sse) = (http.listen(), rogue("sse", &[]).unwrap().listen());
    let servers = format!(
        "{}  http: {{url: '{url}', extra_headers: [x-cred]}}\n  sse: {{transport: sse, url: '{}', extra_headers: \
         [x-cred]}}\n  bare: {{url: '{url}'}}\n",
        child("stdio", ""),
        sse.url,
        url = http.url,
    );
    let gateway = Gateway::start(&config("", &servers));
    let clients = join_all((0..16).map(|number| {
        let gateway = &gateway;
        async move {
            let key = if number % 2 == 0 { KEY } else { OTHER };
            let word = format!("canary-{number}-");
            // One credential for all servers, or one for each alone.
            let for_all = [("x-cred", &*word), ("cookie", &*word)];
            let (http, sse) = (format!("{word}http"), format!("{word}sse"));
            let for_each = [("x-mcp-http-x-cred", &*http), ("x-mcp-sse-x-cred", &*sse)];
            let headers = if number % 4 < 2 { &for_all } else { &for_each };
            let session = Session::open_with(gateway, key, "/mcp", headers, json!({})).await;
            for round in 0..4 {
                for server in ["stdio", "http", "sse", "bare"] {
                    // The same ids and tokens at all of them.
                    let params = json!({
                        "name": format!("{server}-steps"), "_meta": { "progressToken": round },
                        "arguments": { "count": 3, "pause": 0.01, "word": word },
                    });
                    let came = session.request_as(json!(round), "tools/call", params).await;
                    assert_eq!(came.answer["result"]["content"][0]["text"], "done");
                    let text = json!(came.before).to_string();
                    let words = text.matches("canary-").count();
                    assert_eq!(words, text.matches(&word).count(), "{server}: {text}");
                    let steps = came.before.iter();
                    let steps = steps.filter(|it| it["method"] == "notifications/progress");
                    let tokens: Vec<&Value> =
                        steps.map(|it| &it["params"]["progressToken"]).collect();
                    assert_eq!(tokens, [&json!(round); 3], "{server}");

                    let about = session.said(&format!("{server}-about"), json!({})).await;
                    let seen: HashMap<String, String> =
                        serde_json::from_value(about["headers"].clone()).unwrap_or_default();
                    let expected = match (server, number % 4 < 2) {
                        ("stdio" | "bare", _) => None,
                        (_, true) => Some(word.clone()),
                        (server, false) => Some(format!("{word}{server}")),
                    };
                    assert_eq!(seen.get("x-cred"), expected.as_ref(), "{server}");
                    let all = about.to_string();
                    assert!(
                        !all.contains(KEY) && !all.contains(OTHER) && !all.contains(MASTER),
                        "{all}"
                    );
                    let names = ["authorization", "cookie", "x-mcp-http-x-cred", "x-api-key"];
                    assert!(names.iter().all(|name| !seen.contains_key(*name)), "{seen:?}");
                }
            }
        }
    }));
    clients.await;
}

#[tokio::test]
async fn who_shares_a_child_is_up_to_its_entry() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let servers = child("all", "")
        + &child("key", ", sharing: per_key")
        + &child("session", ", sharing: per_session");
    let gateway = Gateway::start(&config(", mcp_max_sessions: 4", &servers));
    let one = Session::open(&gateway, KEY, "/mcp").await;
    let two = Session::open(&gateway, KEY, "/mcp").await;
    let three = Session::open(&gateway, OTHER, "/mcp").await;
    let count = async |session: &Session<'_>, server: &str| -> u32 {
        session.text(&format!("{server}-count"), json!({})).await.parse().unwrap()
    };
    for (server, expected) in [("all", [1, 2, 3]), ("key", [1, 2, 1]), ("session", [1, 1, 1])] {
        let counted =
            [count(&one, server).await, count(&two, server).await, count(&three, server).await];
        assert_eq!(counted, expected, "{server}");
    }
    let pid =
        async |session: &Session<'_>| session.said("session-about", json!({})).await["pid"].clone();
    let (first, second) = (pid(&one).await, pid(&two).await);
    one.end().await;
    ends(&first).await;
    assert_eq!(pid(&two).await, second);
    // As many sessions as may be, and with them children.
    let _four = Session::open(&gateway, KEY, "/mcp").await;
    let _five = Session::open(&gateway, KEY, "/mcp").await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
    }});
    let refused =
        gateway.post("/mcp", &body).header("accept", "application/json, text/event-stream");
    assert_eq!(refused.send().await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_silent_session_takes_its_child_with_it() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let settings = ", mcp_session_idle_timeout_seconds: 1";
    let gateway = Gateway::start(&config(settings, &child("session", ", sharing: per_session")));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let about = session.said("session-about", json!({})).await;
    ends(&about["pid"]).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 9, "method": "ping" });
    assert_eq!(session.post(&ping).await.status(), 404);
}
