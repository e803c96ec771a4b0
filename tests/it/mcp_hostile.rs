//! Hostile MCP servers, over every transport: whatever one does, other servers and their clients notice nothing, and the
//! gateway's memory stays bounded.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::mcp::rogue;
use crate::support::session::{Session, unavailable};

/// The most memory that the gateway may ever have had, in KiB.
const MEMORY: u64 = 200 * 1024;

fn config(servers: &str) -> String {
    let good = rogue("stdio", &[]).unwrap().entry();
    format!(
        "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n- {{api_key: {KEY}, models: ['*'], mcp_servers: \
         ['*']}}\nmcp_servers:\n  good: {{{good}}}\n{servers}"
    )
}

fn child(name: &str, options: &[&str], more: &str) -> String {
    format!("  {name}: {{{}{more}}}\n", rogue("stdio", options).unwrap().entry())
}

/// The most memory that the gateway had so far, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Does something while another client calls another server; gives its outcome and the longest of those calls.
async fn beside<T>(gateway: &Gateway, what: impl Future<Output = T>) -> (T, Duration) {
    let other = Session::open(gateway, KEY, "/good/mcp").await;
    other.text("about", json!({})).await;
    let is_over = AtomicBool::new(false);
    let calling = async {
        let mut longest = Duration::ZERO;
        while !is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            other.text("about", json!({})).await;
            longest = longest.max(began.elapsed());
        }
        longest
    };
    tokio::join!(what.inspect(|_| is_over.store(true, Ordering::Relaxed)), calling)
}

#[tokio::test]
async fn messages_without_end_are_cut_off() {
    let Some(http) = rogue("http", &[]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let (http, sse) = (http.listen(), rogue("sse", &[]).unwrap().listen());
    let servers = format!(
        "{}  http: {{url: '{}'}}\n  sse: {{transport: sse, url: '{}'}}\n",
        child("stdio", &[], ""),
        http.url,
        sse.url
    );
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    for server in ["stdio", "http", "sse"] {
        for (tool, arguments) in [("endless", json!({})), ("frame", json!({ "megabytes": 100 }))] {
            let name = format!("{server}-{tool}");
            let call = session.call(&name, arguments);
            let (answer, longest) = beside(&gateway, call).await;
            unavailable(&answer, server, 50201);
            assert!(longest < Duration::from_secs(5), "{server} {tool}: {longest:?}");
            session.text(&format!("{server}-about"), json!({})).await;
        }
    }
    let peak = peak(&gateway);
    assert!(peak < MEMORY, "{peak} KiB");
    // What is long but within bounds passes.
    let long = session.text("stdio-frame", json!({ "megabytes": 20 })).await;
    assert_eq!(long.len(), 20 * 1024 * 1024);
}

#[tokio::test]
async fn a_storm_of_changes_is_gathered() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let gateway = Gateway::start(&config(&child("bad", &[], "")));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    session.text("bad-about", json!({})).await;
    let mut common = session.common().await;
    let told = AtomicUsize::new(0);
    let listening = async {
        loop {
            common.until("notifications/tools/list_changed").await;
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    let storm = session.text("bad-storm", json!({ "seconds": 3 }));
    let ((), longest) = beside(&gateway, async {
        tokio::select! {
            text = storm => assert_eq!(text, "calm"),
            () = listening => {}
        }
    })
    .await;
    let told = told.load(Ordering::Relaxed);
    assert!((1..=15).contains(&told), "told {told} times");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    let peak = peak(&gateway);
    assert!(peak < MEMORY, "{peak} KiB");
}

#[tokio::test]
async fn what_is_no_answer_is_none() {
    let Some(http) = rogue("http", &["odd="]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let (http, sse) = (http.listen(), rogue("sse", &["odd="]).unwrap().listen());
    let servers = format!(
        "{}{}  http: {{url: '{}'}}\n  sse: {{transport: sse, url: '{}'}}\n",
        child("stdio", &["odd="], ""),
        child("early", &["early=", "odd="], ", protocol_version: '2025-11-25'"),
        http.url,
        sse.url
    );
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let (tools, missing) = session.tools().await;
    assert_eq!(missing, [""; 0]);
    for server in ["stdio", "early", "http", "sse"] {
        let own: Vec<&String> = tools.iter().filter(|tool| tool.starts_with(server)).collect();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(own.iter().all(|tool| tool.len() <= 64 && tool.chars().all(is_plain)), "{own:?}");
        let different: std::collections::HashSet<&&String> = own.iter().collect();
        assert_eq!(different.len(), own.len());
        assert!(own.contains(&&format!("{server}-bare")));
        // They can be called: what they are for the server is in the table.
        let odd = own.iter().find(|tool| tool.starts_with(&format!("{server}-longlong"))).unwrap();
        assert_eq!(session.text(odd, json!({})).await.len(), 10_000);

        let twice = session.text(&format!("{server}-twice"), json!({})).await;
        assert_eq!(twice, "first");
        if server != "http" && server != "sse" {
            for _ in 0..100 {
                assert_eq!(session.text(&format!("{server}-rubbish"), json!({})).await, "well");
            }
        }
        assert_eq!(session.text(&format!("{server}-twice"), json!({})).await, "first");
    }
}

#[tokio::test]
async fn questions_without_end_are_refused() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let servers = child("bad", &[], "") + &child("own", &[], ", sharing: per_session");
    let gateway = Gateway::start(&config(&servers));
    let able = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
    let unable = Session::open(&gateway, KEY, "/mcp").await;
    let able = Session::open_with(&gateway, KEY, "/mcp", &[], able).await;
    for server in ["bad", "own"] {
        for session in [&unable, &able] {
            for method in
                ["elicitation/create", "sampling/createMessage", "roots/list", "ping", "x/y"]
            {
                let arguments = json!({ "count": 3000, "method": method });
                let name = format!("{server}-ask");
                let call = session.text(&name, arguments);
                let (_, longest) = beside(&gateway, call).await;
                assert!(longest < Duration::from_secs(5), "{method}: {longest:?}");
            }
        }
    }
    let peak = peak(&gateway);
    assert!(peak < MEMORY, "{peak} KiB");
}

#[tokio::test]
async fn lists_without_end_are_cut() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let servers = child("many", &["tools=21000"], "")
        + &child("pages", &["pages=10"], "")
        + &child("heavy", &["pages=100000"], "");
    let gateway = Gateway::start(&config(&servers));
    for (server, shown) in
        [("many", 20_000..=20_000), ("pages", 10_000..=10_000), ("heavy", 50..=200)]
    {
        let session = Session::open(&gateway, KEY, &format!("/mcp/{server}")).await;
        // The calls of another are answered meanwhile.
        let listing = session.tools_until(|_, missing| missing.is_empty());
        beside(&gateway, listing).await;
        let (tools, _) = session.tools().await;
        assert!(shown.contains(&tools.len()), "{server}: {}", tools.len());
    }
    let session = Session::open(&gateway, KEY, "/mcp").await;
    assert!(session.said("many-about", json!({})).await["pid"].is_u64());
    let peak = peak(&gateway);
    assert!(peak < MEMORY, "{peak} KiB");
}

#[tokio::test]
async fn those_that_never_get_going_hurt_nobody() {
    let Some(silent) = rogue("sse", &["deny="]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let silent = silent.listen();
    let servers = child("never", &["never=initialize"], "")
        + &child("leaves", &["leave="], "")
        + &child("deaf", &["deaf="], ", timeout: 1")
        + &child("chatty", &["chatty=5000000"], "")
        + &format!("  silent: {{transport: sse, url: '{}'}}\n", silent.url);
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let ((tools, missing), longest) = beside(&gateway, session.tools()).await;
    assert!(tools.iter().all(|tool| tool.starts_with("good-")), "{tools:?}");
    assert_eq!(missing, ["chatty", "deaf", "leaves", "never", "silent"]);
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    for server in ["leaves", "chatty"] {
        let answer = session.call(&format!("{server}-x"), json!({})).await;
        unavailable(&answer, server, 50201);
    }
    let deaf = session.call("deaf-x", json!({ "long": "x".repeat(1_000_000) })).await;
    assert!(deaf["error"]["code"].is_i64(), "{deaf}");
    let again = Session::open(&gateway, KEY, "/mcp").await;
    let described: Value = again.request("prompts/list", json!({})).await;
    assert_eq!(described["result"]["prompts"], json!([]));
}
