//! MCP servers over HTTP that are restarted behind the gateway's back: sessions with them are opened anew, and a call
//! that surely was not processed is made again.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::{Listening, rogue};
use crate::support::session::{Session, unavailable};

/// The same server at the same place.
fn again(transport: &str, before: Listening) -> Listening {
    let port = before.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    drop(before);
    rogue(transport, &[&format!("port={port}")]).unwrap().listen()
}

async fn about(session: &Session<'_>) -> Value {
    session.said("web-about", json!({})).await
}

#[tokio::test]
async fn a_restarted_server_is_met_anew() {
    for transport in ["http", "sse"] {
        let Some(line) = rogue(transport, &[]) else {
            return eprintln!("left out: tests/run installs Python");
        };
        let server = line.listen();
        let gateway = Gateway::start(&format!(
            "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n- {{api_key: {KEY}, models: ['*'], mcp_servers: \
             ['*']}}\nmcp_servers:\n  web: {{transport: {transport}, url: '{}'}}\n",
            server.url
        ));
        let files = tempfile::tempdir().unwrap();
        let session = Session::open(&gateway, KEY, "/mcp").await;
        let mut common = session.common().await;
        let first = about(&session).await;
        assert_eq!(session.text("web-count", json!({})).await, "1");

        let server = again(transport, server);
        let second = about(&session).await;
        assert!(first["pid"] != second["pid"] && second["pid"].is_u64());
        // Not safe twice, but surely not processed.
        let server = again(transport, server);
        assert_eq!(session.text("web-count", json!({})).await, "1", "{transport}");
        let third = about(&session).await;
        assert!(
            second["pid"] != third["pid"] && second["session"] != third["session"]
                || transport == "sse"
        );

        // In flight, it is lost at once.
        let begun = files.path().join("begun");
        let call = session.call("web-hang", json!({ "begun": begun }));
        let restarting = async {
            let end = Instant::now() + PATIENCE;
            while !Path::new(&begun).exists() {
                assert!(Instant::now() < end, "the call never began");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            again(transport, server)
        };
        let (answer, _server) = tokio::join!(call, restarting);
        unavailable(&answer, "web", 50201);
        // What changes is heard of on the new session, too.
        session.text("web-grow", json!({})).await;
        common.until("notifications/tools/list_changed").await;
        session.tools_until(|tools, _| tools.contains(&"web-more-0".to_owned())).await;
    }
}
