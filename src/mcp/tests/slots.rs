//! The pool: connections that are made, kept, and ended, and the lists that are known meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{configured, gateway, operator, reload, session, tools, until};
use crate::config::snapshot::{McpTransport, Sharing};
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::pool::slot::State;
use crate::mcp::pool::{Changed, slot_key};
use crate::mcp::transport::memory::listen;

#[tokio::test]
async fn what_was_opened_for_a_server_that_never_introduces_itself_is_closed() {
    let mut listener = listen("slot-hangs");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    let mut hung = listener.accept().await;
    hung.next_of("initialize").await;
    // Given up, and called again.
    hung.closed().await;
    assert!(hung.is_closed());
    let mut again = listener.accept().await;
    reload(&mcp, Arc::new(configured([])));
    again.closed().await;
    assert!(again.is_closed(), "retired while it was connecting");
    until("retired", || matches!(slot.state(), State::Retired)).await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_ended_and_not_made_again() {
    let mut listener = listen("slot-idle");
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerKey;
    let mut snapshot = configured([entry]);
    snapshot.mcp.session_idle_timeout = Duration::from_millis(300);
    let (mcp, snapshot) = gateway(snapshot);
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    let mut peer = listener.accept_legacy(json!({})).await;
    // Each rings for a connection.
    slot.want();
    peer.closed().await;
    until("idle", || matches!(slot.state(), State::Idle)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!listener.is_called(), "nobody wanted it");
    slot.want();
    let _peer = listener.accept_legacy(json!({})).await;
    assert!(slot.connection().await.is_ok());
}

#[tokio::test]
async fn unused_slots_are_forgotten_unless_somebody_holds_them() {
    let listener = listen("slot-sweep");
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerKey;
    let (mcp, snapshot) = gateway(configured([entry]));
    let held = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    mcp.pool.sweep();
    assert_eq!(mcp.pool.all().len(), 1);
    drop(held);
    // Its own task may not have begun.
    until("forgotten", || {
        mcp.pool.sweep();
        mcp.pool.all().is_empty()
    })
    .await;
}

#[tokio::test]
async fn one_slow_list_is_waited_for_once_and_fetched_once() {
    let mut listener = listen("slot-list");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    let mut peer = listener.accept_legacy(json!({ "tools": { "listChanged": true } })).await;
    let asked = peer.next_of("tools/list").await;
    // Who comes while it is being fetched does not make it old.
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let slot = slot.clone();
            tokio::spawn(async move { slot.listing(Kind::Tools).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(30)).await;
    peer.answer(&asked, tools(&["a"])).await;
    for one in waiting {
        let listed = one.await.expect("an end");
        assert_eq!(listed.listing.map(|list| list.entries.len()), Some(1));
        assert_eq!(listed.failure, None);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let again = peer.rest().iter().filter(|it| it["method"] == "tools/list").count();
    assert_eq!(again, 0, "once is enough");
}

#[tokio::test]
async fn a_server_that_does_not_list_is_waited_for_by_the_first_only() {
    let mut listener = listen("slot-list-hangs");
    let mut entry = listener.entry();
    entry.timeout = Duration::from_secs(6);
    let (mcp, snapshot) = gateway(configured([entry]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    let mut peer = listener.accept_legacy(json!({ "tools": {} })).await;
    peer.next_of("tools/list").await;
    let first = slot.listing(Kind::Tools).await;
    assert!(first.listing.is_none() && first.failure.is_some());
    for _ in 0..20 {
        let began = Instant::now();
        let later = slot.listing(Kind::Tools).await;
        assert!(later.failure.is_some());
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn changes_are_told_where_the_server_says_so_or_something_differs() {
    let mut listener = listen("slot-changes");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    let mut changes = mcp.pool.changes();
    slot.want();
    let capabilities = json!({ "tools": { "listChanged": true } });
    let mut peer = listener.accept_legacy(capabilities.clone()).await;
    let (listed, ()) = tokio::join!(slot.listing(Kind::Tools), async {
        let asked = peer.next_of("tools/list").await;
        peer.answer(&asked, tools(&["a"])).await;
    });
    assert_eq!(listed.failure, None, "nobody was given less");
    // It says so, though it is the same.
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    peer.say(changed).await;
    let asked = peer.next_of("tools/list").await;
    peer.answer(&asked, tools(&["a"])).await;
    assert_eq!(changes.recv().await.expect("a change").what, Changed::Tools);
    assert!(changes.is_empty());
    // It comes back with the same, and then with another.
    for (name, is_told) in [("a", false), ("b", true)] {
        slot.current().expect("up").close("broken").await;
        peer = listener.accept_legacy(capabilities.clone()).await;
        let asked = peer.next_of("tools/list").await;
        peer.answer(&asked, tools(&[name])).await;
        let known = || slot.known_listing(Kind::Tools).map(|list| list.entries[0].name.clone());
        until("fetched", || known().as_deref() == Some(name)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let heard: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok())
            .filter(|change| change.what != Changed::Health)
            .collect();
        assert_eq!(heard.len(), usize::from(is_told), "{name}: {heard:?}");
    }
}

#[tokio::test]
async fn an_old_request_brings_no_old_server_back() {
    let (one, two) = (listen("slot-reload"), listen("slot-reload-other"));
    let (mcp, old) = gateway(configured([one.entry(), two.entry()]));
    assert_eq!(mcp.view(&operator(&old)).expect("seen").seen.len(), 2);
    let mut changed = one.entry();
    changed.transport = McpTransport::Http("http://127.0.0.1:9/".parse().expect("a URL"));
    let now = Arc::new(configured([changed]));
    reload(&mcp, now.clone());
    let seen = mcp.view(&operator(&old)).expect("seen").seen;
    assert_eq!(seen.len(), 1, "the removed one is not there any more");
    assert_eq!(seen[0].slot.server().transport, now.mcp_servers["slot-reload"].transport);
}

#[tokio::test]
async fn a_session_that_is_over_gets_no_connection() {
    let listener = listen("slot-session");
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerSession;
    let (mcp, snapshot) = gateway(configured([entry]));
    let (asker, _told) = session(&snapshot, "s1", "sk-one", json!({}));
    assert_eq!(mcp.view(&asker).expect("seen").seen.len(), 1);
    asker.session.as_ref().expect("a session").ended.cancel();
    mcp.pool.end_session("s1");
    assert!(mcp.view(&asker).expect("seen").seen.is_empty());
    assert!(mcp.pool.all().is_empty());
}

#[tokio::test]
async fn a_key_that_is_gone_keeps_no_connection() {
    let listener = listen("slot-key-gone");
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerKey;
    let (mcp, snapshot) = gateway(configured([entry]));
    let one = crate::mcp::serve::ask::Asker {
        key: Some(super::key(&snapshot, "sk-one")),
        ..operator(&snapshot)
    };
    for asker in [&one, &operator(&snapshot)] {
        mcp.view(asker).expect("seen");
    }
    assert_eq!(mcp.pool.all().len(), 2);
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerKey;
    let mut without = configured([entry]);
    without.keys.virtual_keys.clear();
    reload(&mcp, Arc::new(without));
    assert_eq!(mcp.pool.all().len(), 1, "the operator's");
}

#[tokio::test]
async fn credentials_of_clients_make_slots_of_their_own() {
    let mut entry = listen("slot-credential").entry();
    entry.transport = McpTransport::Http("http://127.0.0.1:9/".parse().expect("a URL"));
    entry.forwarded_headers = vec!["x-token".parse().expect("a name")];
    let asker = |headers: &[(&'static str, &'static str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        let mut asker = operator(&Arc::new(configured([])));
        asker.headers = Arc::new(headers);
        asker
    };
    let key = |headers| slot_key(&entry, &asker(headers));
    assert_eq!(key(&[]), key(&[("x-other", "1")]));
    assert_eq!(key(&[("x-token", "1")]), key(&[("x-token", "1"), ("x-other", "2")]));
    assert_ne!(key(&[("x-token", "1")]), key(&[("x-token", "2")]));
    assert_ne!(key(&[("x-token", "1")]), key(&[]));
    assert_eq!(key(&[("x-mcp-slot-credential-x-token", "1")]), key(&[("x-token", "1")]));
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_not_waited_for() {
    let mut listener = listen("slot-breaker");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    for _ in 0..4 {
        let peer = listener.accept().await;
        drop(peer);
    }
    until("down", || matches!(slot.state(), State::Down { failures: 4.., .. })).await;
    // The next try hangs: it has failed too often to be waited for.
    let _hung = listener.accept().await;
    let began = Instant::now();
    assert!(slot.connection().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_stream_of_changes_keeps_no_connection_from_ending() {
    let mut listener = listen("slot-drain");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let slot = mcp.view(&operator(&snapshot)).expect("seen").seen.remove(0).slot;
    slot.want();
    let mut peer = listener.accept_modern(json!({ "tools": { "listChanged": true } })).await;
    peer.next_of("subscriptions/listen").await;
    let began = Instant::now();
    reload(&mcp, Arc::new(configured([])));
    peer.closed().await;
    assert!(began.elapsed() < Duration::from_secs(5), "nothing of a client runs");
}
