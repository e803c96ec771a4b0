//! Requests of clients, through dispatch to a server and back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ask, configured, gateway, modern, operator, reload, session, told, tools, until};
use crate::config::snapshot::Sharing;
use crate::mcp::transport::memory::{Listener, Peer, listen};
use crate::wire::mcp::error::{INVALID_PARAMS, SERVER_UNAVAILABLE};

/// A server of the older era that lists one tool.
async fn with_tool(listener: &mut Listener, capabilities: Value) -> Peer {
    let mut peer = listener.accept_legacy(capabilities).await;
    let asked = peer.next_of("tools/list").await;
    peer.answer(&asked, tools(&["a"])).await;
    peer
}

fn question(id: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": { "n": 1 } })
}

#[tokio::test]
async fn arguments_pass_as_they_are_spelled() {
    let mut listener = listen("request-spelling");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let arguments = crate::conversation::Json::parse(r#"{"n":1.0,"big":12345678901234567890123}"#);
    let asker = operator(&snapshot);
    let name = "request-spelling-a";
    let (called, heard) = tokio::join!(mcp.call_tool(&asker, name, arguments.as_ref()), async {
        let mut peer = with_tool(&mut listener, json!({ "tools": {} })).await;
        let text = loop {
            let text = peer.next_text().await;
            if text.contains("tools/call") {
                break text;
            }
        };
        peer.answer(&serde_json::from_str(&text).expect("JSON"), json!({ "content": [] })).await;
        text
    });
    assert!(called.is_ok());
    assert!(heard.contains(r#"{"n":1.0,"big":12345678901234567890123}"#), "{heard}");
    assert!(heard.contains(r#""name":"a""#), "{heard}");
}

#[tokio::test]
async fn a_call_with_a_known_name_does_not_wait_for_the_list() {
    let mut listener = listen("request-known");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let asker = operator(&snapshot);
    let mut listed = ask(&mcp, &asker, "tools/list", json!({}));
    let mut peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    listed.answer().await;
    peer.say(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })).await;
    peer.next_of("tools/list").await;
    // Which is not answered.
    let mut called = ask(&mcp, &asker, "tools/call", json!({ "name": "request-known-a" }));
    let asked = peer.next_of("tools/call").await;
    peer.answer(&asked, json!({ "content": [] })).await;
    assert_eq!(called.answer().await["result"]["content"], json!([]));
}

#[tokio::test]
async fn a_server_that_does_not_read_is_given_up() {
    let mut listener = listen("request-deaf");
    let mut entry = listener.entry();
    entry.timeout = Duration::from_millis(200);
    let (mcp, snapshot) = gateway(configured([entry]));
    let asker = operator(&snapshot);
    let mut listed = ask(&mcp, &asker, "tools/list", json!({}));
    let peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    listed.answer().await;
    peer.go_deaf();
    let mut called = ask(&mcp, &asker, "tools/call", json!({ "name": "request-deaf-a" }));
    let error = called.answer().await["error"].clone();
    assert_eq!(error["code"], 50401, "{error}");
}

#[tokio::test]
async fn a_modern_client_is_asked_by_an_answer_and_comes_again() {
    let mut listener = listen("request-parked");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let one = modern(&snapshot, "sk-one", json!({ "elicitation": {} }));
    let call = json!({ "name": "request-parked-a" });
    let mut called = ask(&mcp, &one, "tools/call", call.clone());
    let mut peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    let asked = peer.next_of("tools/call").await;
    peer.say(question("q")).await;
    let result = called.answer().await["result"].clone();
    assert_eq!(result["resultType"], "input_required");
    let (key, request) =
        result["inputRequests"].as_object().expect("one").iter().next().expect("one");
    assert_eq!(*request, json!({ "method": "elicitation/create", "params": { "n": 1 } }));
    let mut again = call.clone();
    again["requestState"] = result["requestState"].clone();
    again["inputResponses"] = json!({ key: { "action": "accept" } });
    // Another key cannot go on with it, nor spoil it.
    let two = modern(&snapshot, "sk-two", json!({ "elicitation": {} }));
    let error = ask(&mcp, &two, "tools/call", again.clone()).answer().await["error"].clone();
    assert_eq!(error["code"], INVALID_PARAMS);
    let mut resumed = ask(&mcp, &one, "tools/call", again.clone());
    let answered = loop {
        let next = peer.next().await;
        if next["id"] == "q" {
            break next;
        }
    };
    assert_eq!(answered["result"], json!({ "action": "accept" }));
    peer.answer(&asked, json!({ "content": [] })).await;
    assert_eq!(resumed.answer().await["result"]["content"], json!([]));
    // A state is good once.
    let error = ask(&mcp, &one, "tools/call", again).answer().await["error"].clone();
    assert_eq!(error["code"], INVALID_PARAMS);
    assert!(!peer.rest().iter().any(|it| it["method"] == "tools/call"));
}

#[tokio::test]
async fn a_server_may_take_its_question_back() {
    let mut listener = listen("request-taken-back");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let (asker, _common) = session(&snapshot, "s", "sk-one", json!({ "elicitation": {} }));
    let mut called = ask(&mcp, &asker, "tools/call", json!({ "name": "request-taken-back-a" }));
    let mut peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    peer.next_of("tools/call").await;
    peer.say(question("q")).await;
    let asked = called.next().await;
    assert_eq!(asked["method"], "elicitation/create");
    peer.say(json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "q" },
    }))
    .await;
    let cancelled = called.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked["id"], "by the client's id for it");
}

#[tokio::test]
async fn questions_in_one_call_are_bounded() {
    let mut listener = listen("request-questions");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let (asker, _common) = session(&snapshot, "s", "sk-one", json!({}));
    let _called = ask(&mcp, &asker, "tools/call", json!({ "name": "request-questions-a" }));
    let mut peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    peer.next_of("tools/call").await;
    for (at, code) in (0..1001).map(|at| (at, if at < 1000 { -32601 } else { -32603 })) {
        let id = format!("q{at}");
        peer.say(question(&id)).await;
        loop {
            let next = peer.next().await;
            if next["id"] == id {
                assert_eq!(next["error"]["code"], code);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_clients_own_connection_tells_it_what_no_request_caused() {
    let mut listener = listen("request-private");
    let mut entry = listener.entry();
    entry.sharing = Sharing::PerSession;
    let (mcp, snapshot) = gateway(configured([entry]));
    let (asker, mut common) = session(&snapshot, "s", "sk-one", json!({}));
    let mut listed = ask(&mcp, &asker, "tools/list", json!({}));
    let mut peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    listed.answer().await;
    peer.say(json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "a": 1 } })).await;
    assert_eq!(told(&mut common).await["method"], "notifications/x");
    // And asks it nothing that it cannot answer.
    peer.say(question("q")).await;
    loop {
        let next = peer.next().await;
        if next["id"] == "q" {
            assert_eq!(next["error"]["code"], -32601);
            break;
        }
    }
}

#[tokio::test]
async fn a_subscription_goes_on_when_the_servers_entry_changes() {
    let mut listener = listen("request-subscribed");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let (mut asker, mut common) = session(&snapshot, "s", "sk-one", json!({}));
    asker.scope.single = Some("request-subscribed".into());
    ask(&mcp, &asker, "initialize", json!({})).answer().await;
    let capabilities = json!({ "resources": { "subscribe": true, "listChanged": true } });
    let mut subscribed = ask(&mcp, &asker, "resources/subscribe", json!({ "uri": "x:y" }));
    assert_eq!(subscribed.answer().await["result"], json!({}));
    let mut peer = listener.accept_legacy(capabilities.clone()).await;
    let asked = peer.next_of("resources/subscribe").await;
    peer.answer(&asked, json!({})).await;
    let updated = |uri: &str| {
        json!({
            "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri },
        })
    };
    peer.say(updated("not:subscribed")).await;
    peer.say(updated("x:y")).await;
    assert_eq!(told(&mut common).await["params"], json!({ "uri": "x:y" }));

    let mut entry = listener.entry();
    entry.restart.first = Duration::from_millis(11);
    reload(&mcp, Arc::new(configured([entry])));
    let mut now = listener.accept_legacy(capabilities).await;
    let asked = now.next_of("resources/subscribe").await;
    assert_eq!(asked["params"]["uri"], "x:y");
    now.answer(&asked, json!({})).await;
    now.say(updated("x:y")).await;
    loop {
        let next = told(&mut common).await;
        if next["method"] == "notifications/resources/updated" {
            break;
        }
        assert!(next["method"].as_str().is_some_and(|it| it.ends_with("list_changed")), "{next}");
    }
}

#[tokio::test]
async fn a_session_whose_key_is_gone_hears_nothing_more() {
    let listener = listen("request-revoked");
    let (mcp, snapshot) = gateway(configured([listener.entry()]));
    let (asker, _common) = session(&snapshot, "s", "sk-one", json!({}));
    let (other, _others) = session(&snapshot, "t", "sk-two", json!({}));
    for asker in [&asker, &other] {
        ask(&mcp, asker, "initialize", json!({})).answer().await;
    }
    // As the door has it.
    let settings = &snapshot.mcp;
    let opening = crate::mcp::serve::sessions::Opening {
        key: asker.key.as_ref().map(|key| key.hash),
        revision: asker.revision,
        capabilities: asker.capabilities.clone(),
        client_info: crate::conversation::Json::empty_object(),
    };
    let Ok((line, unsettled)) = mcp.sessions.open(settings, opening) else { panic!("room") };
    unsettled.settle();
    let opened = crate::mcp::serve::ask::Asker { session: Some(line.session.clone()), ..asker };
    ask(&mcp, &opened, "initialize", json!({})).answer().await;
    let mut without = configured([listener.entry()]);
    without.keys.virtual_keys.remove(&super::key(&snapshot, "sk-one").hash);
    reload(&mcp, Arc::new(without));
    until("ended", || line.session.ended.is_cancelled() && mcp.sessions.count() == 0).await;
    assert!(!other.session.expect("a session").ended.is_cancelled());
}

#[tokio::test]
async fn a_modern_stream_of_changes_follows_reloads() {
    let listener = listen("request-listen");
    let (mcp, snapshot) = gateway(configured([]));
    let asker = modern(&snapshot, "sk-one", json!({}));
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let mut stream = ask(&mcp, &asker, "subscriptions/listen", params);
    assert_eq!(stream.next().await["method"], "notifications/subscriptions/acknowledged");
    reload(&mcp, Arc::new(configured([listener.entry()])));
    assert_eq!(stream.next().await["method"], "notifications/tools/list_changed");
    let mut without = configured([listener.entry()]);
    without.keys.virtual_keys.clear();
    reload(&mcp, Arc::new(without));
    assert_eq!(stream.next().await["result"]["resultType"], "complete", "the key is gone");
}

#[tokio::test]
async fn a_tool_of_a_server_that_does_not_list_is_not_called_unknown() {
    let mut listener = listen("request-unlisted");
    let mut entry = listener.entry();
    entry.timeout = Duration::from_millis(300);
    let (mcp, snapshot) = gateway(configured([entry]));
    let mut called =
        ask(&mcp, &operator(&snapshot), "tools/call", json!({ "name": "request-unlisted-a" }));
    let mut peer = listener.accept_legacy(json!({ "tools": {} })).await;
    peer.next_of("tools/list").await;
    let error = called.answer().await["error"].clone();
    assert_eq!(error["code"], SERVER_UNAVAILABLE, "{error}");
}

#[tokio::test]
async fn what_is_accepted_of_tools_is_a_change() {
    let mut listener = listen("request-pinned");
    let pinned = || {
        let mut entry = listener.entry();
        entry.pin = crate::config::snapshot::Pin::Enforce;
        configured([entry])
    };
    let (snapshot, mut accepted) = (pinned(), pinned());
    let definition = crate::conversation::Json::of(&tools(&["a"])["tools"][0]);
    let mut lock = crate::wire::mcp::lock::Lock::default();
    lock.accept_one("request-pinned", &definition);
    accepted.mcp.lock = Arc::new(lock);
    let (mcp, snapshot) = gateway(snapshot);
    let (asker, mut common) = session(&snapshot, "s", "sk-one", json!({}));
    ask(&mcp, &asker, "initialize", json!({})).answer().await;
    let mut listed = ask(&mcp, &asker, "tools/list", json!({}));
    let _peer = with_tool(&mut listener, json!({ "tools": { "listChanged": true } })).await;
    assert_eq!(listed.answer().await["result"]["tools"], json!([]), "held back");
    reload(&mcp, Arc::new(accepted));
    assert_eq!(told(&mut common).await["method"], "notifications/tools/list_changed");
}
