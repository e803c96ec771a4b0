//! Tools that run inside answers over the WebSocket of `/v1/responses`: turns that go on from one another on a connection that
//! stores nothing, calls of both kinds at once, a client's word on a call, and a client that goes while a tool runs.

use std::sync::Arc;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;

use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded_response;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{Said, result, serve, unknown};
use crate::support::upstream::Upstream;
use crate::support::websocket::Socket;

struct World {
    dialect: Dialect,
    model: Upstream,
    server: Upstream,
    gateway: Gateway,
}

/// A model that calls a tool of each kind, or what the user's last word says.
async fn world(dialect: Dialect) -> World {
    let never = Arc::new(Semaphore::new(0));
    let script = move |method: &str, params: &Value| match (method, params["name"].as_str()) {
        ("tools/list", _) => result(
            r#"{"tools":[{"name":"look","inputSchema":{"type":"object"}},{"name":"hang","inputSchema":{"type":"object"}}]}"#,
        ),
        (_, Some("hang")) => Said::Held(Vec::new(), never.clone(), "\"result\":{}".to_owned()),
        ("tools/call", _) => result(r#"{"content":[{"type":"text","text":"seen"}]}"#),
        _ => unknown(),
    };
    let server = serve(script, Vec::new()).await;
    let model = Upstream::start(move |seen| {
        let heard = dialect.heard(seen);
        let last = heard.iter().rev().find_map(|it| it.strip_prefix("user: ")).unwrap();
        let results = heard.iter().filter(|it| it.starts_with("result ")).count();
        let says: &[Say] = match (last, results) {
            ("hang", _) => &[Say::Text("Wait. "), Say::Call("db-hang", "{}")],
            ("look", 0) => &[Say::Text("I look. "), Say::Call("db-look", "{}")],
            ("both", 0) => &[Say::Call("db-look", "{}"), Say::Call("own", "{}")],
            _ => &[Say::Text("Seen it.")],
        };
        dialect.answer(seen, says)
    })
    .await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [db]}}\nmcp_servers:\n  db: {{url: 'http://{}/mcp'}}\n",
        dialect.params(model.address),
        server.address
    ));
    tools_once_there(&gateway).await;
    World { dialect, model, server, gateway }
}

impl World {
    fn heard(&self) -> Vec<String> {
        self.dialect.heard(self.model.seen().last().unwrap())
    }
}

async fn answer(socket: &mut Socket, message: &Value) -> Value {
    socket.send(message).await;
    folded_response(&socket.answer().await)
}

fn create(input: Value, approval: &str) -> Value {
    let own = json!({ "type": "function", "name": "own", "parameters": { "type": "object" }, "strict": false });
    let block = json!({ "type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/db",
        "require_approval": approval });
    json!({ "type": "response.create", "model": "m", "store": false, "input": input, "tools": [block, own] })
}

fn outline(answer: &Value) -> Vec<&str> {
    let items = answer["output"].as_array().unwrap().iter();
    items
        .map(|item| item["type"].as_str().unwrap())
        .filter(|kind| *kind != "mcp_list_tools")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_of_the_handshake_names_servers() {
    let world = world(Dialect::Chat).await;
    let key = format!("Bearer {KEY}");
    let headers = [("authorization", key.as_str()), ("x-mcp-servers", "DB")];
    let mut socket = Socket::try_open(&world.gateway, "/v1/responses", &headers).await.unwrap();
    let message =
        json!({ "type": "response.create", "model": "m", "store": false, "input": "look" });
    for _ in 0..2 {
        let answer = answer(&mut socket, &message).await;
        assert_eq!(outline(&answer), ["message", "mcp_call", "message"], "{answer}");
    }
    let headers = [("authorization", key.as_str()), ("x-mcp-servers", "none")];
    let mut socket = Socket::try_open(&world.gateway, "/v1/responses", &headers).await.unwrap();
    socket.send(&message).await;
    let refused = socket.answer().await.pop().unwrap();
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(403)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_of_both_kinds_go_on_from_one_another() {
    for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Anthropic] {
        let world = world(dialect).await;
        let mut socket = Socket::open(&world.gateway, KEY).await;
        let first = answer(&mut socket, &create("both".into(), "never")).await;
        assert_eq!(outline(&first), ["mcp_call", "function_call"], "{first}");
        let call = first["output"].as_array().unwrap().last().unwrap();
        let output =
            json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "mine" });
        let mut by_id = create(json!([output]), "never");
        by_id["previous_response_id"] = first["id"].clone();
        // Nothing is stored, so the connection remembers; and clients that send all themselves go on as well.
        let mut whole = create(json!([{ "role": "user", "content": "both" }]), "never");
        whole["input"]
            .as_array_mut()
            .unwrap()
            .extend(first["output"].as_array().unwrap().iter().cloned());
        whole["input"].as_array_mut().unwrap().push(output.clone());
        for message in [by_id, whole] {
            let second = answer(&mut socket, &message).await;
            assert_eq!(outline(&second), ["message"], "{second}");
            let heard = world.heard();
            let of = |what: &str| heard.iter().filter(|it| it.contains(what)).count();
            assert_eq!((of("calls db-look"), of("calls own")), (1, 1), "{dialect:?} {heard:?}");
            assert_eq!((of("result seen"), of("result mine")), (1, 1), "{dialect:?} {heard:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_on_a_call_is_said_on_the_same_connection() {
    let world = world(Dialect::Chat).await;
    let mut socket = Socket::open(&world.gateway, KEY).await;
    let first = answer(&mut socket, &create("look".into(), "always")).await;
    assert_eq!(outline(&first), ["message", "mcp_approval_request"], "{first}");
    let asked = first["output"].as_array().unwrap().last().unwrap();
    let word = json!({ "type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": true });
    let mut message = create(json!([word]), "always");
    message["previous_response_id"] = first["id"].clone();
    let second = answer(&mut socket, &message).await;
    assert_eq!(outline(&second), ["mcp_call", "message"], "{second}");
    assert_eq!(
        second["output"].as_array().unwrap().iter().find(|it| it["type"] == "mcp_call").unwrap()["output"],
        "seen"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_while_a_tool_runs_cancels_it() {
    let world = world(Dialect::Chat).await;
    let mut socket = Socket::open(&world.gateway, KEY).await;
    socket.send(&create("hang".into(), "never")).await;
    loop {
        if socket.event().await["type"] == "response.mcp_call_arguments.done" {
            break;
        }
    }
    let is_called = |world: &World| {
        world
            .server
            .seen()
            .iter()
            .any(|seen| String::from_utf8_lossy(&seen.body).contains("tools/call"))
    };
    let mut seen = world.server.seen().len();
    while !is_called(&world) {
        seen += 1;
        world.server.arrived(seen).await;
    }
    socket.0.send(Message::Close(None)).await.unwrap();
    drop(socket);
    world.server.abandoned(1).await;
    let told = |world: &World| {
        world
            .server
            .seen()
            .iter()
            .any(|seen| String::from_utf8_lossy(&seen.body).contains("notifications/cancelled"))
    };
    let mut seen = world.server.seen().len();
    while !told(&world) {
        seen += 1;
        world.server.arrived(seen).await;
    }
    assert_eq!(world.model.seen().len(), 1, "the model is not asked again");
}
