//! Answers in which the gateway runs tools, from its door to the last event: for each surface, whole and streamed, a turn in
//! which the model calls two of the gateway's tools, of which one fails, and one of the client's, and the turn behind it; and
//! an answer that asks for approval. What differs from run to run is written the same: ids, times, ports.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Page, pretty};
use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{Said, result, serve, unknown};
use crate::support::upstream::{Seen, Upstream};

/// The format in which the model is asked; it has every part in a block of its own.
const DIALECT: Dialect = Dialect::Anthropic;
const SURFACES: [(&str, &str); 3] = [
    ("chat", "/v1/chat/completions"),
    ("messages", "/v1/messages"),
    ("responses", "/v1/responses"),
];
const TOOLS: &str = r#"{"tools":[
    {"name":"look","description":"Looks something up.","annotations":{"readOnlyHint":true},
     "inputSchema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}},
    {"name":"fail","inputSchema":{"type":"object"}}]}"#;

pub(super) async fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for stream in [false, true] {
        for (name, path) in SURFACES {
            pages.push(World::start().await.page(name, path, stream, mixed).await);
        }
        pages.push(World::start().await.page("approval", "/v1/responses", stream, approved).await);
    }
    pages
}

/// What the model says, by how many results it has heard.
fn says(seen: &Seen) -> &'static [Say] {
    let heard = DIALECT.heard(seen);
    let asks = heard[0].contains("approve");
    match (asks, heard.iter().filter(|it| it.starts_with("result ")).count()) {
        (true, 0) => &[Say::Text("May I? "), Say::Call("db-look", r#"{"q":"x"}"#)],
        (false, 0) => &[
            Say::Text("Let me look. "),
            Say::Call("db-look", r#"{"q":"x"}"#),
            Say::Call("db-fail", "{}"),
            Say::Call("own", r#"{"n":1}"#),
        ],
        (false, 3) => &[Say::Call("db-look", r#"{"q":"y"}"#)],
        _ => &[Say::Text("All is known.")],
    }
}

/// What a request asks, with the answer to the one before.
type Asks = fn(gateway: &Gateway, path: &str, before: Option<&Value>) -> Value;

struct World {
    model: Upstream,
    gateway: Gateway,
    /// Each lets a call of the slower tool end.
    permits: Arc<Semaphore>,
    _server: Upstream,
}

impl World {
    async fn start() -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let held = permits.clone();
        let script = move |method: &str, params: &Value| match (method, params["name"].as_str()) {
            ("tools/list", _) => result(&TOOLS.replace('\n', "")),
            (_, Some("look")) => {
                let text = format!("found {}", params["arguments"]["q"].as_str().unwrap());
                let answer = json!({ "content": [{ "type": "text", "text": text }] });
                Said::Held(Vec::new(), held.clone(), format!("\"result\":{answer}"))
            }
            (_, Some(_)) => {
                result(r#"{"content":[{"type":"text","text":"it is broken"}],"isError":true}"#)
            }
            _ => unknown(),
        };
        let server = serve(script, Vec::new()).await;
        let model = Upstream::start(|seen| DIALECT.answer(seen, says(seen))).await;
        let gateway = Gateway::start(&format!(
            "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
             mcp_servers: [db]}}\nmcp_servers:\n  db: {{transport: http, url: 'http://{}/mcp'}}\n",
            DIALECT.params(model.address),
            server.address,
        ));
        tools_once_there(&gateway).await;
        Self { model, gateway, permits, _server: server }
    }

    /// Two requests, the second with what came of the first.
    async fn page(&self, name: &str, path: &str, stream: bool, asks: Asks) -> Page {
        let how = if stream { "streamed" } else { "whole" };
        let mut text = format!("# tools/{name}, {how}\n");
        let mut before = None;
        for _ in 0..2 {
            let mut body = asks(&self.gateway, path, before.as_ref());
            body["stream"] = stream.into();
            let told = self.told(path, &body).await;
            let shown = if stream { pretty::events(&told) } else { pretty::json(&told) + "\n" };
            let body = pretty::json(&body.to_string());
            text.push_str(&format!("\n## POST {path}\n\n{body}\n\n## told\n\n{shown}"));
            let whole = || serde_json::from_str(&told).unwrap();
            before = Some(if stream { folded(path, &told) } else { whole() });
        }
        let heard = DIALECT.heard(self.model.seen().last().unwrap()).join("\n");
        text.push_str(&format!("\n## heard by the model at last\n\n{heard}\n"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tools");
        let text = steady(&text, &self.gateway);
        Page { path: root.join(format!("{name}.{how}.golden")), text }
    }

    /// The text of an answer. Where its client is told while tools run, the slower one ends when the client has heard that the
    /// other one has failed.
    async fn told(&self, path: &str, body: &Value) -> String {
        let is_first = self.model.seen().is_empty();
        let mut waits = is_first && path == "/v1/responses" && body["stream"] == true;
        waits &= body.to_string().contains("Go.");
        if !waits {
            self.permits.add_permits(1);
        }
        let answer = self.gateway.post(path, body).send().await.unwrap();
        let status = answer.status();
        let (mut pieces, mut text) = (answer.bytes_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.unwrap());
            if waits && memchr::memmem::find(&text, b"mcp_call.failed").is_some() {
                waits = false;
                self.permits.add_permits(1);
            }
        }
        let text = String::from_utf8(text).unwrap();
        assert_eq!(status, 200, "{text}\n{}", self.gateway.log());
        text
    }
}

/// A turn with tools of both kinds; then the client's result, behind all of the answer.
fn mixed(gateway: &Gateway, path: &str, before: Option<&Value>) -> Value {
    let user = json!({ "role": "user", "content": "Go." });
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let block = json!({ "type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/db",
        "require_approval": "never" });
    let mut history = vec![user];
    match path {
        "/v1/responses" => {
            let own =
                json!({ "type": "function", "name": "own", "parameters": schema, "strict": false });
            if let Some(answer) = before {
                let items = answer["output"].as_array().unwrap();
                let call = items.iter().find(|item| item["type"] == "function_call").unwrap();
                history.extend(items.iter().cloned());
                history.push(json!({ "type": "function_call_output", "call_id": call["call_id"],
                    "output": "mine" }));
            }
            json!({ "model": "m", "input": history, "store": false, "tools": [block, own] })
        }
        "/v1/messages" => {
            let own = json!({ "name": "own", "input_schema": schema });
            if let Some(answer) = before {
                let blocks = answer["content"].as_array().unwrap();
                let call = blocks.iter().find(|block| block["type"] == "tool_use").unwrap();
                let result =
                    json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "mine" });
                history.push(json!({ "role": "assistant", "content": blocks }));
                history.push(json!({ "role": "user", "content": [result] }));
            }
            let server = json!({ "type": "url", "name": "house", "url": gateway.url("/db/mcp") });
            json!({ "model": "m", "max_tokens": 100, "messages": history, "tools": [own],
                "mcp_servers": [server] })
        }
        _ => {
            let own =
                json!({ "type": "function", "function": { "name": "own", "parameters": schema } });
            if let Some(answer) = before {
                let message = answer["choices"][0]["message"].clone();
                let id = message["tool_calls"][0]["id"].clone();
                history.push(message);
                history.push(json!({ "role": "tool", "tool_call_id": id, "content": "mine" }));
            }
            json!({ "model": "m", "messages": history, "tools": [block, own] })
        }
    }
}

/// A turn that asks; then the client's word.
fn approved(_: &Gateway, _: &str, before: Option<&Value>) -> Value {
    let block = json!({ "type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/db",
        "require_approval": "always", "allowed_tools": ["look"] });
    let Some(answer) = before else {
        return json!({ "model": "m", "input": "You may ask me to approve.", "tools": [block] });
    };
    let items = answer["output"].as_array().unwrap();
    let asked = items.iter().find(|item| item["type"] == "mcp_approval_request").unwrap();
    let word = json!({ "type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": true });
    json!({ "model": "m", "previous_response_id": answer["id"], "input": [word], "tools": [block] })
}

/// The text with ids, times and addresses that are the same in each run.
fn steady(text: &str, gateway: &Gateway) -> String {
    let mut text = text.replace(&gateway.address.to_string(), "gateway");
    // Ids are made of the request's, 32 digits, each request with one of its own.
    let mut known: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(|c: char| c.is_ascii_hexdigit()).map(|start| at + start)
    {
        let run =
            text[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len() - start);
        at = start + run;
        if run < 32 {
            continue;
        }
        let id = text[start..start + 32].to_owned();
        if !known.contains(&id) {
            known.push(id);
        }
    }
    for (number, id) in known.iter().enumerate() {
        text = text.replace(id, &format!("<id {}>", number + 1));
    }
    for name in ["created", "created_at", "completed_at"] {
        let mark = format!("\"{name}\": 1");
        while let Some(start) = text.find(&mark) {
            let digits = start + mark.len() - 1;
            let end = text[digits..].find(|c: char| !c.is_ascii_digit()).unwrap() + digits;
            text.replace_range(digits..end, "<now>");
        }
    }
    text
}
