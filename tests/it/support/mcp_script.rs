//! A scripted MCP server of the session era over HTTP, which answers with texts, not with values: so a test sees whether
//! each sign passes. And a client as plain: messages go out as they are written, and come back as they came.

use std::sync::Arc;

use futures_util::StreamExt;
use reqwest::Response;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::gateway::{Gateway, PATIENCE};
use super::upstream::{Seen, Step, Upstream, chunk, events_head, json, last_chunk};

/// What a request is answered with.
pub(crate) enum Said {
    /// The rest of the answer: `"result":{…}` or `"error":{…}`.
    Rest(String),
    /// Whole messages on an event stream, and then the rest of the answer.
    Stream(Vec<String>, String),
    /// The same, but the answer waits for a permit.
    Held(Vec<String>, Arc<Semaphore>, String),
}

pub(crate) fn result(text: &str) -> Said {
    Said::Rest(format!("\"result\":{text}"))
}

/// Says that there is no such method.
pub(crate) fn unknown() -> Said {
    Said::Rest(r#""error":{"code":-32601,"message":"no such method"}"#.to_owned())
}

/// The script gets the method and the params.
type Script = dyn Fn(&str, &Value) -> Said + Send + Sync;

/// Starts a server. Messages given to the GET stream wait for a permit each.
pub(crate) async fn serve(
    script: impl Fn(&str, &Value) -> Said + Send + Sync + 'static,
    common: Vec<(Arc<Semaphore>, String)>,
) -> Upstream {
    let script: Arc<Script> = Arc::new(script);
    Upstream::start(move |seen| answer(&*script, &common, seen)).await
}

fn answer(script: &Script, common: &[(Arc<Semaphore>, String)], seen: &Seen) -> Vec<Step> {
    if seen.body.is_empty() {
        if common.is_empty() || seen.header("accept") != Some("text/event-stream") {
            return json(405, "", "{}");
        }
        let mut steps = vec![events_head()];
        for (permits, message) in common {
            steps.extend([Step::Await(permits.clone()), event(message)]);
        }
        return [steps, vec![Step::Hang]].concat();
    }
    let message = seen.json();
    let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else {
        return json(202, "", "");
    };
    let whole = |rest: &str| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{rest}}}");
    let said = match method {
        "server/discover" => return json(400, "", ""),
        "initialize" => result(
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"prompts":{},"completions":{},"logging":{}},"serverInfo":{"name":"s","version":"1"}}"#,
        ),
        "ping" | "logging/setLevel" | "resources/subscribe" => result("{}"),
        method => script(method, &message["params"]),
    };
    let (messages, held, rest) = match said {
        Said::Rest(rest) => {
            return json(200, "mcp-session-id: up\r\n", &whole(&rest));
        }
        Said::Stream(messages, rest) => (messages, None, rest),
        Said::Held(messages, permits, rest) => (messages, Some(permits), rest),
    };
    let mut steps = vec![events_head()];
    steps.extend(messages.iter().map(|message| event(message)));
    steps.extend(held.map(Step::Await));
    steps.extend([event(&whole(&rest)), last_chunk()]);
    steps
}

fn event(message: &str) -> Step {
    chunk(format!("data: {message}\n\n").as_bytes())
}

/// A client's session with the gateway.
pub(crate) struct Client<'g> {
    gateway: &'g Gateway,
    pub(crate) key: String,
    path: String,
    servers: Option<String>,
    session: String,
}

impl<'g> Client<'g> {
    /// Opens a session at a path; `servers`: the header that narrows.
    pub(crate) async fn open(
        gateway: &'g Gateway,
        key: &str,
        path: &str,
        servers: Option<&str>,
    ) -> Result<Self, (u16, String)> {
        let (key, path) = (key.to_owned(), path.to_owned());
        let servers = servers.map(ToOwned::to_owned);
        let mut client = Self { gateway, key, path, servers, session: String::new() };
        let params = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}"#;
        let answer = client.post(&request("0", "initialize", params)).await;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err((status, answer.text().await.unwrap()));
        }
        client.session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        Ok(client)
    }

    pub(crate) async fn post(&self, text: &str) -> Response {
        let request = self.gateway.client.post(self.gateway.url(&self.path)).body(text.to_owned());
        self.with_headers(request).send().await.unwrap()
    }

    /// The common stream.
    pub(crate) async fn listen(&self) -> Response {
        let request = self.gateway.client.get(self.gateway.url(&self.path));
        self.with_headers(request).send().await.unwrap()
    }

    /// The text of a JSON answer.
    pub(crate) async fn text(&self, id: &str, method: &str, params: &str) -> String {
        self.post(&request(id, method, params)).await.text().await.unwrap()
    }

    pub(crate) async fn call(&self, method: &str, params: &str) -> Value {
        let text = self.text("1", method, params).await;
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn with_headers(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let mut request = request
            .bearer_auth(&self.key)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(servers) = &self.servers {
            request = request.header("x-mcp-servers", servers);
        }
        match self.session.is_empty() {
            true => request,
            false => request.header("mcp-session-id", &self.session),
        }
    }
}

pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// Reads an event stream up to a message that holds a text; gives all messages so far, or `None` if it ends before.
pub(crate) struct Reading {
    stream: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    pub(crate) text: String,
}

impl Reading {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { stream: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The message that holds a text.
    pub(crate) async fn until(&mut self, holds: &str) -> Value {
        let found = timeout(PATIENCE, async {
            loop {
                let messages = self.text.split("\n\n").filter(|event| event.contains("data: {"));
                let complete = self.text.ends_with("\n\n");
                if let Some(event) = messages.clone().find(|event| event.contains(holds))
                    && complete
                {
                    let data = event.split_once("data: ").unwrap().1;
                    return serde_json::from_str(data).unwrap();
                }
                let more = self.stream.next().await.expect("the stream goes on").unwrap();
                self.text.push_str(std::str::from_utf8(&more).unwrap());
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {holds} in {}", self.text))
    }
}
