//! One connection: whose message is whose.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::mcp::connection::{
    Connection, Event, Exchange, Introduction, News, Opened, Owner, establish,
};
use crate::mcp::transport::FailureKind;
use crate::mcp::transport::memory::{Listener, Peer, listen};

/// A connection to a server of the older era.
async fn connected(listener: &mut Listener) -> (Arc<Connection>, mpsc::Receiver<News>, Peer) {
    let (news, heard) = mpsc::channel(8);
    let introduction = Introduction {
        capabilities: Json::empty_object(),
        client_info: Json::empty_object(),
        known: None,
    };
    let (entry, headers, opened) = (listener.entry(), HeaderMap::new(), Opened::default());
    let established = establish(&entry, &headers, &introduction, news, &opened);
    let (connection, peer) = tokio::join!(established, listener.accept_legacy(json!({})));
    (connection.expect("a connection"), heard, peer)
}

async fn call(connection: &Arc<Connection>, owner: Owner, params: Value) -> Exchange {
    let params = Some(Json::of(&params));
    connection.call("tools/call", params, owner, HeaderMap::new()).await.expect("sent")
}

fn of_session(id: &str) -> Owner {
    Owner::Session(id.into())
}

fn key(name: &str) -> Owner {
    Owner::Key(Some(KeyHash::of(name)))
}

/// The method of the next thing that comes.
async fn next(exchange: &mut Exchange) -> String {
    match exchange.next().await {
        Event::Notification(it) => it.method,
        Event::Request { request, .. } => request.method,
        Event::Answer(outcome) => format!("{outcome:?}"),
        Event::Lost(failure) => format!("{:?}", failure.kind),
    }
}

#[tokio::test]
async fn a_clients_own_progress_token_comes_back_and_no_others() {
    let mut listener = listen("connection-progress");
    let (connection, _news, mut peer) = connected(&mut listener).await;
    let params = json!({ "name": "x", "_meta": { "progressToken": "mine" } });
    let mut one = call(&connection, of_session("a"), params).await;
    let mut other = call(&connection, of_session("b"), json!({ "name": "y" })).await;
    let (asked, also) = (peer.next().await, peer.next().await);
    let token = &asked["params"]["_meta"]["progressToken"];
    assert_eq!(*token, asked["id"], "a token of ours");
    let progress = |token: &Value| {
        json!({
            "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": 1 },
        })
    };
    for foreign in [json!("mine"), also["id"].clone(), json!(999)] {
        peer.say(progress(&foreign)).await;
    }
    peer.say(progress(token)).await;
    peer.answer(&also, json!({ "content": [] })).await;
    let Event::Notification(it) = one.next().await else { panic!("progress") };
    assert_eq!(
        it.params.expect("params").to_value(),
        json!({ "progressToken": "mine", "progress": 1 })
    );
    assert!(next(&mut other).await.starts_with("Ok"), "nothing came before its answer");
}

#[tokio::test]
async fn what_names_nobody_is_given_to_the_only_client_or_is_news() {
    let mut listener = listen("connection-attribution");
    let (connection, mut news, mut peer) = connected(&mut listener).await;
    let log = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info" } });
    let question =
        json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {} });
    let mut one = call(&connection, key("one"), json!({})).await;
    peer.next().await;
    peer.say(log.clone()).await;
    assert_eq!(next(&mut one).await, "notifications/message");
    // Two requests of one key may be two clients'.
    let _two = call(&connection, key("one"), json!({})).await;
    let asked = peer.next().await;
    peer.say(question.clone()).await;
    assert!(matches!(news.recv().await, Some(News::Request(_))));
    // What came on the way of a request is about that.
    peer.say_of(&asked, log.clone()).await;
    // One that waits for its client does not ask.
    one.park(true);
    peer.say(question.clone()).await;
    let mut two = _two;
    assert_eq!(next(&mut two).await, "notifications/message");
    assert_eq!(next(&mut two).await, "elicitation/create");
    let _other = call(&connection, key("other"), json!({})).await;
    peer.say(question).await;
    peer.say(log).await;
    assert!(matches!(news.recv().await, Some(News::Request(_))));
    assert!(matches!(news.recv().await, Some(News::Other(_))));
}

#[tokio::test]
async fn what_the_gateways_own_request_causes_is_asked_of_no_client() {
    let mut listener = listen("connection-own");
    let (connection, mut news, mut peer) = connected(&mut listener).await;
    let mut client = call(&connection, key("one"), json!({})).await;
    let asked = peer.next().await;
    let _own = connection.call("tools/list", None, Owner::Gateway, HeaderMap::new()).await;
    let own = peer.next().await;
    let question = json!({ "jsonrpc": "2.0", "id": 7, "method": "roots/list" });
    peer.say_of(&own, question).await;
    assert!(matches!(news.recv().await, Some(News::Request(it)) if it.method == "roots/list"));
    peer.answer(&asked, json!({})).await;
    assert!(next(&mut client).await.starts_with("Ok"));
    assert_eq!(connection.running(), 0, "the gateway's own do not count");
}

#[tokio::test]
async fn a_dropped_request_is_cancelled_and_its_late_answer_too() {
    let mut listener = listen("connection-cancel");
    let (connection, _news, mut peer) = connected(&mut listener).await;
    let dropped = call(&connection, key("one"), json!({})).await;
    let asked = peer.next().await;
    drop(dropped);
    let told = peer.next_of("notifications/cancelled").await;
    assert_eq!(told["params"]["requestId"], asked["id"]);
    peer.answer(&asked, json!({})).await;
    let mut other = call(&connection, key("one"), json!({})).await;
    let asked = peer.next().await;
    peer.answer(&asked, json!({ "x": 1 })).await;
    assert_eq!(next(&mut other).await, r#"Ok({"x":1})"#);
    connection.close("over").await;
    peer.closed().await;
    let refused = connection.call("x", None, key("one"), HeaderMap::new()).await;
    assert_eq!(refused.err().map(|failure| failure.kind), Some(FailureKind::Unreachable));
}

#[tokio::test]
async fn a_server_that_is_silent_before_it_knows_its_client_hears_nothing_but_introductions() {
    let mut listener = listen("connection-silent");
    let (news, _heard) = mpsc::channel(8);
    let introduction = Introduction {
        capabilities: Json::empty_object(),
        client_info: Json::empty_object(),
        known: None,
    };
    let (entry, headers, opened) = (listener.entry(), HeaderMap::new(), Opened::default());
    let silent = async {
        let mut peer = listener.accept().await;
        assert_eq!(peer.next().await["method"], "server/discover");
        let asked = peer.next().await;
        assert_eq!(asked["method"], "initialize", "and no cancellation");
        let result =
            json!({ "protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {} });
        peer.answer(&asked, result).await;
        peer
    };
    let established = establish(&entry, &headers, &introduction, news, &opened);
    let (connection, _peer) = tokio::join!(established, silent);
    assert_eq!(connection.expect("a connection").peer().revision.as_str(), "2024-11-05");
}

#[tokio::test]
async fn lines_that_are_none_end_a_connection_only_where_nothing_else_comes() {
    let mut listener = listen("connection-garbage");
    let (connection, _news, mut peer) = connected(&mut listener).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for _ in 0..3 {
        for _ in 0..900 {
            peer.say(json!({ "level": "info" })).await;
        }
        peer.say(ping.clone()).await;
        assert_eq!(peer.next().await["result"], json!({}));
    }
    assert!(!connection.is_closed());
    for _ in 0..1001 {
        peer.say(json!({ "level": "info" })).await;
    }
    peer.closed().await;
}

#[tokio::test]
async fn a_forgotten_session_lets_others_come_back_before_it_is_closed() {
    let mut listener = listen("connection-expired");
    let (connection, _news, mut peer) = connected(&mut listener).await;
    let mut one = call(&connection, of_session("a"), json!({})).await;
    let mut two = call(&connection, of_session("b"), json!({})).await;
    let (first, second) = (peer.next().await, peer.next().await);
    peer.lose(&first, FailureKind::SessionExpired).await;
    assert_eq!(next(&mut one).await, "SessionExpired");
    connection.expire("forgotten".into());
    assert!(connection.is_over());
    let refused = connection.call("x", None, key("one"), HeaderMap::new()).await;
    assert_eq!(refused.err().map(|failure| failure.kind), Some(FailureKind::Unreachable));
    peer.lose(&second, FailureKind::SessionExpired).await;
    assert_eq!(next(&mut two).await, "SessionExpired", "and may be repeated");
    peer.closed().await;
}
