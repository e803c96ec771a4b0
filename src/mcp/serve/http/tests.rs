//! The door with something scripted behind it: what is asked decides what comes.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::conversation::Json;
use crate::mcp::serve::ask::{Ask, Out};
use crate::mcp::serve::sse;
use crate::mcp::serve::work::Work;
use crate::wire::mcp::error::{METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::answer as answer_text;

/// A configuration with nothing in it.
pub(super) fn snapshot() -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, "general_settings: {}\n").expect("a file");
    let environment = std::collections::BTreeMap::new();
    let loaded = crate::config::load(&path, &environment, &crate::config::LoadOptions::default());
    loaded.snapshot.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// Says in the session that it was dropped.
struct Dropped(Asker);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(session) = &self.0.session {
            session.set_log_level("dropped".into());
        }
        if let Some(name) = self.0.headers.get("x-test") {
            DROPPED.lock().expect("a lock").push(name.to_str().expect("text").into());
        }
    }
}

static DROPPED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

fn scripted(_mcp: Arc<Mcp>, ask: Ask) -> Work {
    Box::pin(async move {
        let Ask { request, asker, outbox } = ask;
        let note = |text: &str| Out::Message(format!(r#"{{"jsonrpc":"2.0","method":"{text}"}}"#));
        let outcome = match &*request.method {
            "initialize"
                if request.params.as_ref().is_some_and(|it| it.as_str().contains("no!")) =>
            {
                Err(RpcError::new(-32603, "no"))
            }
            "stream" => {
                for text in ["one", "two"] {
                    outbox.send(note(text)).await.expect("somebody waits");
                }
                Ok(Json::empty_object())
            }
            "ask" => {
                let session = asker.session.clone().expect("a session");
                let asked = session.ask("roots/list", None, None, Some(&outbox)).await;
                asked.expect("asked").1.await.expect("answered")
            }
            "hang" => {
                let _dropped = Dropped(asker.clone());
                outbox.send(note("hanging")).await.expect("somebody waits");
                std::future::pending().await
            }
            "silent" => std::future::pending().await,
            "forget" => return,
            "unknown" => Err(RpcError::new(METHOD_NOT_FOUND, "unknown")),
            _ => Ok(Json::of(&json!({ "revision": asker.revision.as_str() }))),
        };
        let text = answer_text(Some(&request.id), &outcome);
        let _gone = outbox.send(Out::Answer(text)).await;
    })
}

const BEHIND: Behind = Behind {
    answer: scripted,
    notified: |_, asker, notification| {
        Box::pin(async move {
            let session = asker.session.expect("a session");
            session.set_log_level(notification.method);
        })
    },
};

struct Client {
    mcp: Arc<Mcp>,
    snapshot: Arc<Snapshot>,
    headers: HeaderMap,
}

impl Client {
    fn new() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert("accept", accept);
        Self {
            mcp: Mcp::new(tokio::runtime::Handle::current()),
            snapshot: Arc::new(snapshot()),
            headers,
        }
    }

    /// With a session of that revision.
    async fn in_session(version: &str) -> Self {
        let mut client = Self::new();
        let answer = client.ask(json!(0), "initialize", initialize(version)).await;
        assert_eq!(answer.status, 200);
        let id = answer.headers.get(SESSION).expect("an id").clone();
        client.headers.insert(SESSION, id);
        client
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.insert(name, HeaderValue::try_from(value).expect("a value"));
        Self { mcp: self.mcp.clone(), snapshot: self.snapshot.clone(), headers }
    }

    fn request(&self, method: Method, body: &str) -> ClientRequest {
        ClientRequest {
            method,
            headers: Arc::new(self.headers.clone()),
            body: Bytes::from(body.to_owned()),
            scope: Scope::default(),
            key: None,
            snapshot: self.snapshot.clone(),
            trace: None,
        }
    }

    async fn send(&self, method: Method, body: &str) -> Answer {
        answer_by(BEHIND, &self.mcp, self.request(method, body)).await
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send(Method::POST, &body.to_string()).await
    }

    async fn ask(&self, id: Value, method: &str, params: Value) -> Answer {
        self.post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await
    }

    async fn note(&self, method: &str, params: Value) -> Answer {
        self.post(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await
    }

    fn log_level(&self) -> Option<String> {
        let id = self.headers.get(SESSION).expect("a session").to_str().expect("text");
        let line = self.mcp.sessions.find(id, None, Duration::MAX).expect("it lives");
        line.session.log_level()
    }
}

fn initialize(version: &str) -> Value {
    json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t" } })
}

/// The body as JSON.
#[track_caller]
fn body(answer: &Answer) -> Value {
    match &answer.body {
        Body::Whole(text) => serde_json::from_slice(text).expect("JSON"),
        Body::Empty | Body::Events(_) => panic!("no JSON under {}", answer.status),
    }
}

fn events(answer: Answer) -> Box<EventStream> {
    assert_eq!(answer.status, 200);
    match answer.body {
        Body::Events(events) => events,
        Body::Whole(text) => panic!("no events but {text:?}"),
        Body::Empty => panic!("no events but nothing"),
    }
}

async fn next(events: &mut EventStream) -> Option<String> {
    let bytes = poll_fn(|context| events.poll_next(context)).await?;
    Some(String::from_utf8(bytes.into()).expect("text"))
}

async fn rest(events: &mut EventStream) -> String {
    let mut all = String::new();
    while let Some(text) = next(events).await {
        all.push_str(&text);
    }
    all
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: i64) {
    assert_eq!((answer.status.as_u16(), &body(answer)["error"]["code"]), (status, &json!(code)));
}

#[tokio::test]
async fn a_session_is_opened_used_and_deleted() {
    let client = Client::in_session("2025-06-18").await;
    let answer = client.ask(json!("x"), "now", json!({})).await;
    let expected = json!({ "jsonrpc": "2.0", "id": "x", "result": { "revision": "2025-06-18" } });
    assert_eq!((answer.status.as_u16(), body(&answer)), (200, expected));
    assert_eq!(client.note("notifications/initialized", json!({})).await.status, 202);
    while client.log_level().as_deref() != Some("notifications/initialized") {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.send(Method::DELETE, "").await.status, 204);
    check(&client.ask(json!(1), "now", json!({})).await, 404, 40401);
    check(&client.send(Method::DELETE, "").await, 404, 40401);
    check(&client.send(Method::GET, "").await, 404, 40401);
}

#[tokio::test]
async fn a_refused_initialize_leaves_no_session() {
    let client = Client::new();
    let answer = client.ask(json!(0), "initialize", initialize("no!")).await;
    assert_eq!(body(&answer)["error"]["code"], -32603);
    assert!(!answer.headers.contains_key(SESSION));
    check(&client.ask(json!(0), "initialize", json!({})).await, 400, -32602);
    assert_eq!(client.mcp.sessions.count(), 0);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let client = Client::new();
    check(&client.send(Method::POST, "{").await, 400, -32700);
    check(&client.send(Method::POST, "3").await, 400, -32600);
    check(&client.send(Method::PUT, "").await, 405, 40501);
    check(&client.send(Method::GET, "").await, 405, 40501);
    check(&client.send(Method::DELETE, "").await, 405, 40501);
    let answer = client.ask(json!(7), "now", json!({})).await;
    check(&answer, 400, -32600);
    assert_eq!(body(&answer)["id"], 7, "the id is known");
    check(&client.note("notifications/initialized", json!({})).await, 400, -32600);
    check(&client.with("mcp-session-id", "x").ask(json!(1), "a", json!({})).await, 404, 40401);
    check(&client.with("content-type", "text/plain").send(Method::POST, "{}").await, 415, 41501);
    check(&client.with("accept", "text/html").send(Method::POST, "{}").await, 406, 40601);
    let client = Client::in_session("2025-06-18").await;
    let answer = client.with("mcp-protocol-version", "1999").ask(json!(1), "a", json!({})).await;
    check(&answer, 400, -32600);
    let fine =
        client.with("mcp-protocol-version", "2025-11-25").ask(json!(1), "a", json!({})).await;
    assert_eq!(fine.status, 200);
    check(&client.with("accept", "application/json").send(Method::GET, "").await, 406, 40601);
    check(&client.with("last-event-id", "77_1").send(Method::GET, "").await, 400, -32600);
    check(&client.with("last-event-id", "x").send(Method::GET, "").await, 400, -32600);
    check(&client.send(Method::POST, "[]").await, 400, -32600);
}

#[tokio::test]
async fn messages_before_the_answer_become_a_stream() {
    let client = Client::in_session("2025-11-25").await;
    let answer = client.ask(json!(1), "stream", json!({})).await;
    assert_eq!(answer.headers.get("content-type").expect("a type"), "text/event-stream");
    let all = rest(&mut events(answer)).await;
    let events_of = |all: &str| -> Vec<String> {
        all.split("\n\n").map(|it| it.lines().next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(events_of(&all), ["id: 2_0", "id: 2_1", "id: 2_2", "id: 2_3", ""], "{all}");
    assert!(all.ends_with("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"), "{all}");
    let client = Client::in_session("2025-06-18").await;
    let all = rest(&mut events(client.ask(json!(1), "stream", json!({})).await)).await;
    assert_eq!(events_of(&all), [":", "id: 2_1", "id: 2_2", "id: 2_3", ""], "{all}");
    let reads_events = client.with("accept", "text/event-stream");
    let all = rest(&mut events(reads_events.ask(json!(2), "now", json!({})).await)).await;
    assert!(all.contains("\"id\":2,\"result\""), "{all}");
}

#[tokio::test]
async fn a_stream_that_broke_off_is_resumed() {
    let client = Client::in_session("2025-11-25").await;
    let mut broken = events(client.ask(json!(1), "ask", json!({})).await);
    assert_eq!(next(&mut broken).await.as_deref(), Some("id: 2_0\nretry: 1000\ndata: \n\n"));
    let asked = next(&mut broken).await.expect("a request");
    let asked: Value =
        serde_json::from_str(asked.split_once("data: ").expect("data").1).expect("JSON");
    drop(broken);
    // The client answers on another connection; the work went on.
    let roots = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "roots": [] } });
    assert_eq!(client.post(&roots).await.status, 202);
    let resumed = client.with("last-event-id", "2_1");
    let all = rest(&mut events(resumed.send(Method::GET, "").await)).await;
    assert!(all.contains("id: 2_2\ndata: {") && all.contains("{\"roots\":[]}"), "{all}");
    let further_back = resumed.with("last-event-id", "2_0").send(Method::GET, "").await;
    assert!(
        rest(&mut events(further_back)).await.contains("roots/list"),
        "and again, from further back"
    );
    check(
        &Client { headers: Client::in_session("2025-11-25").await.headers, ..client }
            .with("last-event-id", "2_1")
            .send(Method::GET, "")
            .await,
        404,
        40401,
    );
}

#[tokio::test]
async fn a_cancelled_request_gets_no_answer() {
    let client = Client::in_session("2025-11-25").await;
    let mut hanging = events(client.ask(json!("1"), "hang", json!({})).await);
    let other = client.note("notifications/cancelled", json!({ "requestId": 1 })).await;
    assert_eq!((other.status.as_u16(), client.log_level()), (202, None), "another id");
    check(&client.ask(json!("1"), "now", json!({})).await, 400, -32600);
    client.note("notifications/cancelled", json!({ "requestId": "1" })).await;
    let all = rest(&mut hanging).await;
    assert!(all.ends_with("\"hanging\"}\n\n"), "{all}");
    assert_eq!(client.log_level().as_deref(), Some("dropped"));
    // Also where nothing has come yet.
    let silent = client.ask(json!(2), "silent", json!({}));
    let mut silent = std::pin::pin!(silent);
    assert!(silent.as_mut().now_or_never().is_none());
    client.note("notifications/cancelled", json!({ "requestId": 2 })).await;
    assert_eq!(silent.await.status, 202);
}

#[tokio::test]
async fn work_goes_on_without_its_client_and_ends_with_its_session() {
    let client = Client::in_session("2025-11-25").await;
    drop(events(client.ask(json!(1), "hang", json!({})).await));
    tokio::task::yield_now().await;
    assert_eq!(client.log_level(), None, "it hangs on");
    let id = client.headers.get(SESSION).expect("an id").to_str().expect("text");
    let line = client.mcp.sessions.find(id, None, Duration::MAX).expect("it lives");
    client.send(Method::DELETE, "").await;
    while line.session.log_level().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_common_stream_carries_what_belongs_to_no_request() {
    let client = Client::in_session("2025-06-18").await;
    let mut first = events(client.send(Method::GET, "").await);
    assert_eq!(next(&mut first).await.as_deref(), Some(":\n\n"));
    // A client that reads JSON only has no other way.
    let reads_json = client.with("accept", "application/json");
    let answer = reads_json.ask(json!(1), "stream", json!({})).await;
    assert_eq!(body(&answer)["id"], 1);
    assert!(next(&mut first).await.expect("an event").contains("\"one\""));
    let mut second = events(client.send(Method::GET, "").await);
    assert_eq!(next(&mut first).await, None, "the second took over");
    assert_eq!(next(&mut second).await.as_deref(), Some(":\n\n"));
    assert!(next(&mut second).await.expect("an event").starts_with("id: 0_2\n"));
    client.mcp.sessions.stop();
    assert_eq!(next(&mut second).await, None, "the gateway ends");
}

#[tokio::test]
async fn batches_are_of_one_revision_only() {
    let client = Client::in_session("2025-03-26").await;
    let request = |id: i32, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let answer = client.post(&json!([request(1, "now"), note, request(2, "unknown")])).await;
    let answers = body(&answer);
    let mut ids: Vec<&Value> =
        answers.as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    ids.sort_by_key(|id| id.as_i64());
    assert_eq!(ids, [1, 2]);
    assert_eq!(client.post(&json!([note])).await.status, 202);
    let all = client.post(&json!([request(1, "now"), request(2, "stream")])).await;
    let all = rest(&mut events(all)).await;
    assert!(
        all.contains("\"id\":1,") && all.contains("\"two\"") && all.contains("\"id\":2,"),
        "{all}"
    );
    check(&client.post(&json!([])).await, 400, -32600);
    check(&client.post(&json!([request(1, "initialize")])).await, 400, -32600);
    check(&client.post(&json!([request(1, "a"), request(1, "b")])).await, 400, -32600);
    let client = Client::in_session("2025-06-18").await;
    check(&client.post(&json!([request(1, "now")])).await, 400, -32600);
}

#[tokio::test]
async fn what_is_left_without_an_answer_is_answered() {
    let client = Client::in_session("2025-11-25").await;
    let answer = client.ask(json!(1), "forget", json!({})).await;
    assert_eq!(body(&answer)["error"]["code"], -32603);
}

/// A client of the era without sessions.
fn modern(method: &str, name: Option<&str>) -> Client {
    let client =
        Client::new().with("mcp-protocol-version", "2026-07-28").with("mcp-method", method);
    match name {
        Some(name) => client.with("mcp-name", name),
        None => client,
    }
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[tokio::test]
async fn a_request_without_a_session_says_all_by_itself() {
    let answer = modern("now", None).ask(json!(1), "now", json!({ "_meta": meta() })).await;
    assert_eq!(body(&answer)["result"]["revision"], "2026-07-28");
    let old_id = modern("now", None).with("mcp-session-id", "gone");
    assert_eq!(old_id.ask(json!(1), "now", json!({ "_meta": meta() })).await.status, 200);
    check(
        &modern("unknown", None).ask(json!(1), "unknown", json!({ "_meta": meta() })).await,
        404,
        -32601,
    );
    let all = modern("stream", None).ask(json!(1), "stream", json!({ "_meta": meta() })).await;
    let all = rest(&mut events(all)).await;
    assert!(all.starts_with(":\n\ndata: ") && !all.contains("id: "), "{all}");
    assert_eq!(modern("n", None).note("n", json!({})).await.status, 202);
    check(
        &modern("n", None).post(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).await,
        400,
        -32600,
    );
    let listens = modern("subscriptions/listen", None).with("accept", "application/json");
    check(
        &listens.ask(json!(1), "subscriptions/listen", json!({ "_meta": meta() })).await,
        406,
        40601,
    );
}

#[tokio::test]
async fn headers_and_body_have_to_agree() {
    let ask = async |client: Client, method: &str, params: Value| {
        let answer = client.ask(json!("id"), method, params).await;
        assert_eq!((answer.status.as_u16(), &body(&answer)["id"]), (400, &json!("id")));
        let error = body(&answer)["error"].clone();
        (error["code"].as_i64().expect("a code"), error["data"].clone())
    };
    let mut lacking = meta();
    lacking
        .as_object_mut()
        .expect("an object")
        .remove("io.modelcontextprotocol/clientCapabilities");
    for params in [json!({}), json!({ "_meta": {} }), json!({ "_meta": lacking })] {
        assert_eq!(ask(modern("a", None), "a", params).await.0, -32602);
    }
    let with_meta = json!({ "_meta": meta(), "name": "n" });
    assert_eq!(ask(Client::new(), "a", with_meta.clone()).await.0, -32020, "no headers at all");
    assert_eq!(ask(modern("b", None), "a", with_meta.clone()).await.0, -32020);
    assert_eq!(ask(modern("A", None), "a", with_meta.clone()).await.0, -32020);
    for (name, fits) in [
        (None, false),
        (Some("m"), false),
        (Some("=?base64?!?="), false),
        (Some("=?base64?bg==?="), true),
        (Some(" n "), true),
    ] {
        let client = modern("tools/call", name);
        if fits {
            assert_eq!(client.ask(json!(1), "tools/call", with_meta.clone()).await.status, 200);
        } else {
            assert_eq!(ask(client, "tools/call", with_meta.clone()).await.0, -32020, "{name:?}");
        }
    }
    let mut future = meta();
    future["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let params = json!({ "_meta": future });
    assert_eq!(ask(modern("a", None), "a", params.clone()).await.0, -32020, "they differ");
    let client = modern("a", None).with("mcp-protocol-version", "2099-01-01");
    let (code, data) = ask(client, "a", params).await;
    assert_eq!((code, &data["requested"]), (-32022, &json!("2099-01-01")));
    assert_eq!(data["supported"][0], "2026-07-28");
}

#[tokio::test]
async fn without_a_session_going_away_cancels() {
    let client = modern("hang", None).with("x-test", "going");
    let stream = events(client.ask(json!(1), "hang", json!({ "_meta": meta() })).await);
    let is_dropped = || DROPPED.lock().expect("a lock").contains(&"going".to_owned());
    tokio::task::yield_now().await;
    assert!(!is_dropped());
    drop(stream);
    while !is_dropped() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_older_transport_answers_on_its_stream() {
    let client = Client::new();
    let get = client.request(Method::GET, "");
    let mut stream = events(sse::open(&client.mcp, &get));
    let endpoint = next(&mut stream).await.expect("an event");
    let id =
        endpoint.strip_prefix("event: endpoint\ndata: /sse/messages?sessionId=").expect(&endpoint);
    let id = id.trim().to_owned();
    assert_eq!(next(&mut stream).await.as_deref(), Some(":\n\n"));
    let post = |text: Value| {
        let request = client.request(Method::POST, &text.to_string());
        sse::posted_to(BEHIND, &client.mcp, Some(&id), request)
    };
    let request = |id: i32, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    check(&post(request(1, "now", json!({}))), 400, -32600);
    assert_eq!(post(request(1, "initialize", initialize("2024-11-05"))).status, 202);
    let said = next(&mut stream).await.expect("an answer");
    assert!(said.starts_with("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,"), "{said}");
    check(&post(request(1, "initialize", initialize("2024-11-05"))), 400, -32600);
    post(request(2, "stream", json!({})));
    for expected in ["\"one\"", "\"two\"", "\"id\":2"] {
        let said = next(&mut stream).await.expect("a message");
        assert!(said.contains(expected), "{said}");
    }
    post(request(3, "hang", json!({})));
    assert!(next(&mut stream).await.expect("a message").contains("hanging"));
    let line = client.mcp.sessions.find_older(&id, None).expect("it lives");
    assert_eq!(client.mcp.sessions.count(), 1);
    check(&client.with("mcp-session-id", &id).ask(json!(1), "now", json!({})).await, 404, 40401);
    drop(stream);
    assert_eq!(client.mcp.sessions.count(), 0);
    check(&post(request(4, "now", json!({}))), 404, 40401);
    drop(line);
}
