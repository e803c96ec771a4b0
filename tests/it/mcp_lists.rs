//! Lists over many MCP servers: one that hangs delays nobody for long and only once, is named, and comes in when it is
//! there; one that falls keeps its tools listed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::mcp::rogue;
use crate::support::session::Session;

/// How long the first list waits for a server that is coming up.
const PATIENCE: Duration = Duration::from_secs(5);

fn config(servers: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n- {{api_key: {KEY}, models: ['*'], mcp_servers: \
         ['*']}}\nmcp_servers:\n{servers}"
    )
}

#[tokio::test]
async fn one_of_fifty_servers_hangs() {
    let Some(many) = rogue("http", &[]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let many = many.listen();
    let files = tempfile::tempdir().unwrap();
    let gate = files.path().join("gate");
    let hung = rogue("stdio", &[&format!("gate={}", gate.display())]).unwrap().entry();
    let others = (0..49).map(|number| format!("  n{number:02}: {{url: '{}'}}\n", many.url));
    let servers = format!("{}  hung: {{{hung}}}\n", others.collect::<String>());
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let mut common = session.common().await;
    let fits = |tools: &[String], missing: &[String]| {
        let servers = (0..49).filter(|number| tools.contains(&format!("n{number:02}-about")));
        (servers.count(), missing.to_vec())
    };

    let began = Instant::now();
    let (tools, missing) = session.tools().await;
    let first = began.elapsed();
    assert_eq!(fits(&tools, &missing), (49, vec!["hung".to_owned()]));
    assert!(first < PATIENCE + Duration::from_secs(3), "the first list took {first:?}");
    let began = Instant::now();
    for _ in 0..10 {
        let (tools, missing) = session.tools().await;
        assert_eq!(fits(&tools, &missing), (49, vec!["hung".to_owned()]));
    }
    let later = began.elapsed();
    assert!(later < PATIENCE, "ten later lists took {later:?}");
    // Nor does a list without it wait, nor another client.
    let other = Session::open(&gateway, KEY, "/mcp/n00,n48").await;
    assert_eq!(other.tools().await.1, [""; 0]);

    std::fs::write(&gate, "").unwrap();
    common.until("notifications/tools/list_changed").await;
    session
        .tools_until(|tools, missing| {
            tools.contains(&"hung-about".to_owned()) && missing.is_empty()
        })
        .await;
    // Down again, and not back soon.
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(session.call("hung-crash", json!({})).await["error"]["code"], 50201);
    for _ in 0..3 {
        let (tools, missing) = session.tools().await;
        assert!(tools.contains(&"hung-about".to_owned()), "its last known tools stay");
        assert_eq!(missing, ["hung"]);
    }
    std::fs::write(&gate, "").unwrap();
    session.text("hung-about", json!({})).await;
    session.tools_until(|_, missing| missing.is_empty()).await;
}

#[tokio::test]
async fn a_list_that_is_not_answered_holds_up_no_other() {
    let Some(hung) = rogue("stdio", &["never=tools/list,prompts/list"]) else {
        return eprintln!("left out: tests/run installs Python");
    };
    let half = rogue("stdio", &["never=prompts/list,resources/list"]).unwrap().entry();
    let servers = format!("  hung: {{{}}}\n  half: {{{half}}}\n", hung.entry());
    let gateway = Gateway::start(&config(&servers));
    let session = Session::open(&gateway, KEY, "/mcp").await;
    let (tools, missing) = session.tools().await;
    assert!(tools.contains(&"half-about".to_owned()), "{tools:?}");
    assert_eq!(missing, ["hung"]);
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(session.tools().await.1, ["hung"]);
    }
    assert!(began.elapsed() < PATIENCE, "later lists wait again: {:?}", began.elapsed());
    // The list may go on hanging; a change of another is heard of all the same.
    let mut common = session.common().await;
    session.text("half-grow", json!({})).await;
    common.until("notifications/tools/list_changed").await;
    session.tools_until(|tools, _| tools.contains(&"half-more-0".to_owned())).await;
}
