//! MCP under edits of the configuration: what is unchanged is not touched, a changed server drains, a removed one ends,
//! and no session and no call is lost.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::rogue;
use crate::support::session::Session;

const SESSIONS: usize = 100;
const CHILDREN: usize = 10;
const RELOADS: u64 = 200;

fn config(servers: &[String]) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n- {{api_key: {KEY}, key_alias: k, models: ['*'], \
         mcp_servers: ['*']}}\nmcp_servers:\n{}",
        servers.concat()
    )
}

fn server(name: &str, label: &str, more: &str) -> String {
    let label = format!("label={label}");
    let entry = rogue("stdio", &[&label]).unwrap().entry();
    format!("  {name}: {{{entry}{more}}}\n")
}

/// Puts a configuration in force, as an editor would: whole.
async fn edit(gateway: &Gateway, config: &str) {
    let generation = gateway.health().await["config"]["generation"].as_u64().unwrap();
    std::fs::write(gateway.path("next.yaml"), config).unwrap();
    std::fs::rename(gateway.path("next.yaml"), gateway.path("config.yaml")).unwrap();
    let answer = gateway.client.post(gateway.url("/admin/reload")).bearer_auth(MASTER);
    assert!(answer.send().await.unwrap().status().is_success());
    gateway.health_until(|health| health["config"]["generation"] == generation + 1).await;
}

async fn until(what: &str, fit: impl Fn() -> bool) {
    let reached = tokio::time::timeout(PATIENCE, async {
        while !fit() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "never came true: {what}");
}

fn lives(pid: &Value) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_lose_nothing() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    // What of an entry is edited; the last server's label changes now and then, too.
    let at = |edits: u64| {
        let more = match edits % 5 {
            0 => format!(", description: edit {edits}"),
            1 => format!(", allowed_tools: [about, 'x{edits}']"),
            2 => ", api_keys: [k]".to_owned(),
            3 => ", timeout: 299".to_owned(),
            _ => String::new(),
        };
        let servers = (0..CHILDREN).map(|number| {
            let changes = if number == CHILDREN - 1 { edits / 10 } else { 0 };
            server(&format!("s{number}"), &format!("{changes}"), &more)
        });
        config(&servers.collect::<Vec<_>>())
    };
    let gateway = Gateway::start(&at(0));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::open(&gateway, KEY, "/mcp").await);
    }
    let pid = async |session: &Session<'_>, number: usize| {
        session.said(&format!("s{number}-about"), json!({})).await["pid"].clone()
    };
    let pids = join_all((0..CHILDREN).map(|number| pid(&sessions[number], number))).await;

    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let callers = (0..CHILDREN).map(|caller| {
        let (sessions, pids, pid, is_over, calls) = (&sessions, &pids, &pid, &is_over, &calls);
        async move {
            let mut turn = caller;
            while !is_over.load(Ordering::Relaxed) {
                turn += 1;
                let found = pid(&sessions[(turn * 7) % SESSIONS], turn % CHILDREN).await;
                if turn % CHILDREN < CHILDREN - 1 {
                    assert_eq!(found, pids[turn % CHILDREN], "server {}", turn % CHILDREN);
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let editing = async {
        for edits in 1..=RELOADS {
            edit(&gateway, &at(edits)).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(editing, join_all(callers));
    println!("{} calls during {RELOADS} reloads", calls.load(Ordering::Relaxed));
    let again = join_all(sessions.iter().enumerate().map(|(number, session)| {
        let server = number % (CHILDREN - 1);
        async move { (server, pid(session, server).await) }
    }));
    for (server, found) in again.await {
        assert_eq!(found, pids[server]);
    }
    until("the first of the changed children is gone", || !lives(&pids[CHILDREN - 1])).await;
    let ups = gateway.log().matches("MCP server is up").count();
    assert!(ups <= CHILDREN - 1 + 1 + 20, "{ups} starts");
}

#[tokio::test]
async fn a_changed_server_drains_and_a_removed_one_ends() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let gateway = Gateway::start(&config(&[server("a", "1", ""), server("b", "b", "")]));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let about = async |tool: &str| session.said(tool, json!({})).await;
    let (old, other) = (about("a-about").await, about("b-about").await);

    let (begun, finish) = (file("begun"), file("finish"));
    let held = session.said("a-hold", json!({ "begun": begun, "until": finish }));
    let editing = async {
        until("the call has begun", || Path::new(&begun).exists()).await;
        edit(&gateway, &config(&[server("a", "2", ""), server("b", "b", "")])).await;
        let new = about("a-about").await;
        assert_eq!((&old["label"], &new["label"]), (&json!("1"), &json!("2")));
        assert!(old["pid"] != new["pid"] && lives(&old["pid"]));
        std::fs::write(&finish, "").unwrap();
        new
    };
    let (held, new) = tokio::join!(held, editing);
    assert_eq!(held["pid"], old["pid"], "it ended where it began");
    until("the old child is gone", || !lives(&old["pid"])).await;

    // A name is no part of the connection; the client is told that the tools are called otherwise.
    let mut common = session.common().await;
    let renamed = config(&[server("a", "2", ", alias: c"), server("b", "b", "")]);
    edit(&gateway, &renamed).await;
    common.until("notifications/tools/list_changed").await;
    assert_eq!(about("c-about").await["pid"], new["pid"]);

    edit(&gateway, &config(&[server("b", "b", "")])).await;
    common.until("notifications/tools/list_changed").await;
    until("the removed child is gone", || !lives(&new["pid"])).await;
    let (tools, missing) = session.tools().await;
    assert!(tools.iter().all(|tool| tool.starts_with("b-")) && missing.is_empty(), "{tools:?}");
    assert_eq!(session.call("c-about", json!({})).await["error"]["code"], -32602);
    assert_eq!(about("b-about").await["pid"], other["pid"]);
}

#[tokio::test]
async fn a_call_that_waits_for_its_server_follows_an_edit() {
    if rogue("stdio", &[]).is_none() {
        return eprintln!("left out: tests/run installs Python");
    }
    // This one would come up only when it is too late.
    let slow = rogue("stdio", &["gate=/no/such/file"]).unwrap().entry();
    let slow = format!("  a: {{{slow}, protocol_version: '2025-11-25'}}\n");
    let gateway = Gateway::start(&config(&[slow]));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let waiting = session.said("a-about", json!({}));
    let editing = async {
        // The child is there, so the call waits for it.
        until("a child", || !children(gateway.process()).is_empty()).await;
        edit(&gateway, &config(&[server("a", "quick", "")])).await;
    };
    let (about, ()) = tokio::join!(waiting, editing);
    assert_eq!(about["label"], "quick");
}

fn children(parent: u32) -> Vec<String> {
    let path = format!("/proc/{parent}/task");
    let tasks = std::fs::read_dir(path).unwrap().flatten();
    let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
    let all: Vec<String> = tasks.filter_map(|task| read(task).ok()).collect();
    all.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}
