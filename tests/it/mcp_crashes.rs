//! MCP servers that crash, hang and never come up: what may be repeated is, everything else fails at once and in the
//! gateway's own words; nothing is left of any of them.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::rogue;
use crate::support::session::{Session, message, unavailable};

fn config(servers: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n- {{api_key: {KEY}, models: ['*'], mcp_servers: \
         ['*']}}\nmcp_servers:\n{servers}"
    )
}

fn child(name: &str, options: &[&str], more: &str) -> String {
    format!("  {name}: {{{}{more}}}\n", rogue("stdio", options).unwrap().entry())
}

/// The processes that have this among their arguments, and the dead children of a process that nobody has waited for.
fn processes(mark: &str, parent: u32) -> (Vec<String>, Vec<String>) {
    let (mut found, mut zombies) = (Vec::new(), Vec::new());
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
        if read("cmdline").split('\0').any(|argument| argument == mark) {
            found.push(process.file_name().to_string_lossy().into_owned());
        }
        let stat = read("stat");
        let Some((name, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields[0] == "Z" && fields[1] == parent.to_string() {
            zombies.push(name.to_owned());
        }
    }
    (found, zombies)
}

async fn until(what: &str, fit: impl Fn() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !fit() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "never came true: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_crash_at_every_fifth_call() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    for end in ["-TERM", "-KILL"] {
        let files = tempfile::tempdir().unwrap();
        let mark = format!("label={}", files.path().display());
        let servers = (0..10).map(|number| {
            let counter = format!("counter={}/{number}", files.path().display());
            child(&format!("c{number}"), &[&mark, &counter, "every=5"], "")
        });
        let mut gateway = Gateway::start(&config(&servers.collect::<String>()));
        let session = Session::open(&gateway, KEY, "/mcp").await;
        let calling = join_all((0..10).map(|number| {
            let session = &session;
            async move {
                for _ in 0..12 {
                    session.text(&format!("c{number}-flaky"), json!({})).await;
                }
                // What may not be repeated fails at once when the child falls, and the next call finds it up.
                let mut failed = 0;
                for _ in 0..10 {
                    let answer = session.call(&format!("c{number}-flaky_write"), json!({})).await;
                    if answer.get("error").is_some() {
                        unavailable(&answer, &format!("c{number}"), 50201);
                        failed += 1;
                    }
                }
                failed
            }
        }));
        let failed = calling.await;
        assert!(failed.iter().all(|failed| *failed == 2), "{failed:?}");
        let process = gateway.process();
        until("ten children and no zombie", || {
            let (found, zombies) = processes(&mark, process);
            found.len() >= 10 && zombies.is_empty()
        })
        .await;
        gateway.signal(end);
        let status = gateway.ended().await;
        assert_eq!(status.code(), (end == "-TERM").then_some(0));
        until("nothing is left", || processes(&mark, process).0.is_empty()).await;
    }
}

#[tokio::test]
async fn a_server_that_never_comes_up_is_given_up_quickly() {
    let servers = "  gone: {command: /no/such/program}\n  falls: {command: sh, args: ['-c', 'echo ouch >&2; exit 1']}\n";
    let gateway = Gateway::start(&config(servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    for server in ["gone", "falls"] {
        unavailable(&session.call(&format!("{server}-x"), json!({})).await, server, 50201);
        let began = Instant::now();
        for _ in 0..20 {
            let answer = session.call(&format!("{server}-x"), json!({})).await;
            unavailable(&answer, server, 50201);
            assert!(
                server == "gone" || answer["error"]["message"].as_str().unwrap().contains("ouch")
            );
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // Not for every call a start.
    let starts = gateway.log().matches("MCP server is down").count();
    assert!(starts < 20, "{starts} starts");
}

#[tokio::test]
async fn calls_in_flight_fail_when_their_child_dies() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let gateway = Gateway::start(&config(&child("a", &[], "")));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let calls = join_all((0..8).map(|number| {
        let arguments = json!({ "begun": file(&number.to_string()), "last": file("last") });
        session.call("a-hang", arguments)
    }));
    let killing = async {
        until("all have begun", || (0..8).all(|n| Path::new(&file(&n.to_string())).exists())).await;
        std::fs::write(file("last"), "").unwrap();
    };
    let (answers, ()) = tokio::join!(calls, killing);
    for answer in answers {
        unavailable(&answer, "a", 50201);
        assert!(answer["error"]["message"].as_str().unwrap().contains("exited with status 4"));
    }
}

#[tokio::test]
async fn silence_ends_a_call_and_progress_prolongs_it() {
    let Some(http) = rogue("http", &[]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let (http, sse) = (http.listen(), rogue("sse", &[]).unwrap().listen());
    let servers = format!(
        "{}  http: {{url: '{}', timeout: 1}}\n  sse: {{transport: sse, url: '{}', timeout: 1}}\n",
        child("stdio", &[], ", timeout: 1"),
        http.url,
        sse.url
    );
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    for server in ["stdio", "http", "sse"] {
        unavailable(&session.call(&format!("{server}-hang"), json!({})).await, server, 50401);
        let told = format!("{server}-told");
        let end = Instant::now() + PATIENCE;
        while session.said(&told, json!({})).await["cancelled"] == json!([]) {
            assert!(Instant::now() < end, "{server} was not told that the call is cancelled");
        }
        let params = json!({
            "name": format!("{server}-steps"), "arguments": { "count": 8, "pause": 0.25 },
            "_meta": { "progressToken": "mine" },
        });
        let came = session.request_as(json!("x"), "tools/call", params).await;
        assert_eq!(came.answer["result"]["content"][0]["text"], "done", "{}", came.answer);
        let steps = came.before.iter().filter(|it| it["params"]["progressToken"] == "mine");
        assert_eq!(steps.count(), 8);
    }
}

#[tokio::test]
async fn calls_at_one_time_are_bounded_over_sessions() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let gateway = Gateway::start(&config(&child("a", &[], ", max_concurrent_requests: 3")));
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(Session::open(&gateway, KEY, "/mcp").await);
    }
    let calls = join_all((0..12).map(|number| {
        let arguments = json!({ "begun": file(&number.to_string()), "until": file("finish") });
        sessions[number % 4].said("a-hold", arguments)
    }));
    let begun = || (0..12).filter(|n| Path::new(&file(&n.to_string())).exists()).count();
    let finishing = async {
        until("three have begun", || begun() >= 3).await;
        // Another session's plain requests pass by those that wait.
        sessions[0].tools().await;
        assert_eq!(begun(), 3);
        std::fs::write(file("finish"), "").unwrap();
    };
    let (answers, ()) = tokio::join!(calls, finishing);
    let most = answers.iter().filter_map(|answer| answer["most"].as_u64()).max();
    assert_eq!(most, Some(3));
}

#[tokio::test]
async fn a_client_that_gives_up_cancels_the_call() {
    let Some(http) = rogue("http", &[]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let http = http.listen();
    let files = tempfile::tempdir().unwrap();
    let servers = format!("{}  http: {{url: '{}'}}\n", child("stdio", &[], ""), http.url);
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let cancelled = async |server: &str| {
        let told: Value = session.said(&format!("{server}-told"), json!({})).await;
        told["cancelled"].as_array().unwrap().len()
    };
    for server in ["stdio", "http"] {
        let tool = format!("{server}-hang");
        let begun = |what: &str| files.path().join(format!("{server}-{what}"));
        // In a session, by a notification.
        let arguments = json!({ "begun": begun("session") });
        let call =
            message(json!("c"), "tools/call", json!({ "name": tool, "arguments": arguments }));
        let call = session.post(&call);
        let giving_up = async {
            until("the call has begun", || begun("session").exists()).await;
            session.notify("notifications/cancelled", json!({ "requestId": "c" })).await;
        };
        let (answer, ()) = tokio::join!(call, giving_up);
        assert!(answer.status().is_success());
        assert!(answer.bytes_stream().all(async |piece| piece.is_ok()).await);
        let end = Instant::now() + PATIENCE;
        while cancelled(server).await < 1 {
            assert!(Instant::now() < end, "{server}: the call goes on");
        }
        // Without one, by going away.
        let params = json!({
            "name": tool, "arguments": { "begun": begun("modern") },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        });
        let call = gateway
            .post("/mcp", &message(json!("c"), "tools/call", params))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", &tool)
            .send();
        tokio::select! {
            answer = call => panic!("{:?}", answer.unwrap().text().await),
            () = until("the call has begun", || begun("modern").exists()) => {}
        }
        while cancelled(server).await < 2 {
            assert!(Instant::now() < end, "{server}: the call goes on");
        }
    }
}
