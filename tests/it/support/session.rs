//! A client of `/mcp` with a session, as thin as can be: it posts, reads JSON or an event stream, and shows everything
//! that came. What is said in it is the test's matter.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::gateway::{Gateway, PATIENCE};

pub(crate) struct Session<'g> {
    gateway: &'g Gateway,
    key: String,
    path: String,
    headers: Vec<(String, String)>,
    pub(crate) id: String,
    requests: AtomicU64,
}

/// What came of a request: the messages before the answer, and the answer.
pub(crate) struct Came {
    pub(crate) before: Vec<Value>,
    pub(crate) answer: Value,
}

/// The common stream of a session.
pub(crate) struct Common {
    bytes: futures_util::stream::BoxStream<'static, Vec<u8>>,
    said: String,
}

impl<'g> Session<'g> {
    pub(crate) async fn open(gateway: &'g Gateway, key: &str, path: &str) -> Self {
        Self::open_with(gateway, key, path, &[], json!({})).await
    }

    pub(crate) async fn open_with(
        gateway: &'g Gateway,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        capabilities: Value,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let mut session = Self {
            gateway,
            key: key.into(),
            path: path.into(),
            headers: headers.collect(),
            id: String::new(),
            requests: AtomicU64::new(0),
        };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "t", "version": "1" },
        });
        let answer = session.post(&message(json!(0), "initialize", params)).await;
        assert_eq!(answer.status(), 200, "{}", gateway.log());
        session.id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        session.notify("notifications/initialized", json!({})).await;
        session
    }

    pub(crate) fn prepare(&self, method: Method) -> RequestBuilder {
        let mut request = self
            .gateway
            .client
            .request(method, self.gateway.url(&self.path))
            .bearer_auth(&self.key)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !self.id.is_empty() {
            request = request.header("mcp-session-id", &self.id);
        }
        request
    }

    pub(crate) async fn post(&self, message: &Value) -> Response {
        self.prepare(Method::POST).body(message.to_string()).send().await.unwrap()
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) {
        let notification = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        assert_eq!(self.post(&notification).await.status(), 202);
    }

    /// Makes a request under an id of the test's own, and waits for its end.
    pub(crate) async fn request_as(&self, id: Value, method: &str, params: Value) -> Came {
        let response = self.post(&message(id.clone(), method, params)).await;
        let text = timeout(PATIENCE, response.text()).await;
        let text = text.unwrap_or_else(|_| panic!("no end\n{}", self.gateway.log())).unwrap();
        let mut came = messages(&text);
        let at = came.iter().position(|it| it["id"] == id && it.get("method").is_none());
        let Some(at) = at else { panic!("no answer to {id} in {text}") };
        let answer = came.remove(at);
        Came { before: came, answer }
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Value {
        let id = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.request_as(json!(id), method, params).await.answer
    }

    /// Calls a tool; gives the whole answer.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Calls a tool that answers with a text.
    pub(crate) async fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        match answer["result"]["content"][0]["text"].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("{tool}: {answer}\n{}", self.gateway.log()),
        }
    }

    /// Calls a tool that answers with JSON as a text.
    pub(crate) async fn said(&self, tool: &str, arguments: Value) -> Value {
        serde_json::from_str(&self.text(tool, arguments).await).unwrap()
    }

    /// The names of all tools, and which servers are said to be missing.
    pub(crate) async fn tools(&self) -> (Vec<String>, Vec<String>) {
        let answer = self.request("tools/list", json!({})).await;
        let names = |list: &Value, key: &str| -> Vec<String> {
            let all = list.as_array().into_iter().flatten();
            all.map(|it| it[key].as_str().unwrap().to_owned()).collect()
        };
        assert!(answer["result"]["tools"].is_array(), "{answer}");
        let missing = &answer["result"]["_meta"]["tidegate/unavailable"];
        (names(&answer["result"]["tools"], "name"), names(missing, "server"))
    }

    /// Asks for the tools until the list is as it should be.
    pub(crate) async fn tools_until(&self, fit: impl Fn(&[String], &[String]) -> bool) {
        let reached = timeout(PATIENCE, async {
            loop {
                let (tools, missing) = self.tools().await;
                if fit(&tools, &missing) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        assert!(reached.await.is_ok(), "{:?}\n{}", self.tools().await, self.gateway.log());
    }

    /// Opens the common stream.
    pub(crate) async fn common(&self) -> Common {
        let response = self.prepare(Method::GET).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = response.bytes_stream().map(|piece| piece.unwrap_or_default().to_vec());
        Common { bytes: bytes.boxed(), said: String::new() }
    }

    pub(crate) async fn end(&self) {
        let answer = self.prepare(Method::DELETE).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

impl Common {
    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.said.find("\n\n") {
                let event: String = self.said.drain(..end + 2).collect();
                if let Some(message) = messages(&event).into_iter().next() {
                    return message;
                }
                continue;
            }
            let piece = timeout(PATIENCE, self.bytes.next()).await.expect("nothing came");
            self.said.push_str(std::str::from_utf8(&piece.expect("the stream ended")).unwrap());
        }
    }

    /// Waits for a message with this method.
    pub(crate) async fn until(&mut self, method: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["method"] == method {
                return message;
            }
        }
    }
}

pub(crate) fn message(id: Value, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Asserts that an answer is the gateway's own error for a server.
#[track_caller]
pub(crate) fn unavailable(answer: &Value, server: &str, code: i64) {
    let error = &answer["error"];
    assert_eq!(
        (&error["code"], &error["data"]["server"]),
        (&json!(code), &json!(server)),
        "{answer}"
    );
}

/// The messages in a body: JSON, or an event stream.
fn messages(text: &str) -> Vec<Value> {
    if text.starts_with('{') {
        return vec![serde_json::from_str(text).unwrap()];
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}
