//! A model that works with a tool: it calls it as often as the path says, then says a last word. It speaks OpenAI's chat, whole
//! or streamed, has every answer rendered beforehand, and counts the results in the conversation to know where it stands.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{FUNCTION, LAST_WORD, arguments};
use crate::Outcome;

/// The most results that it waits for.
pub(super) const MOST: usize = 8;

/// A running model; it lives as long as the program.
pub(super) struct Model {
    pub(super) address: SocketAddr,
}

/// Its answers: a call for each number of results so far, and the last word.
struct Answers {
    calls: Vec<Answer>,
    last: Answer,
}

struct Answer {
    whole: Bytes,
    streamed: Bytes,
}

impl Model {
    /// Starts it on a free loopback port, on a thread of its own: `/ROUNDS/chat/completions`.
    pub(super) fn start() -> Outcome<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("model".into()).spawn(move || {
            runtime.block_on(async move {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    accept(listener, Arc::new(Answers::render())).await;
                }
            });
        })?;
        Ok(Self { address })
    }
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let answers = answers.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, answers.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let rounds = head.uri.path().trim_start_matches('/').split('/').next();
    let rounds: usize = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let results = memmem::find_iter(&body, br#""role":"tool""#).count();
    let answer = match answers.calls.get(results) {
        Some(call) if results < rounds => call,
        _ => &answers.last,
    };
    let streams = memmem::find(&body, br#""stream":true"#).is_some();
    let (bytes, kind) = match streams {
        true => (&answer.streamed, "text/event-stream"),
        false => (&answer.whole, "application/json"),
    };
    let mut response = Response::new(Full::new(bytes.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

impl Answers {
    fn render() -> Self {
        let call = |at: usize| {
            let function = json!({ "name": FUNCTION, "arguments": arguments() });
            let call =
                json!({ "index": 0, "id": call_id(at), "type": "function", "function": function });
            Answer::render(&json!({ "content": null, "tool_calls": [call] }), "tool_calls")
        };
        Self {
            calls: (0..MOST).map(call).collect(),
            last: Answer::render(&json!({ "content": LAST_WORD }), "stop"),
        }
    }
}

pub(super) fn call_id(at: usize) -> String {
    format!("call_bench_{at}")
}

impl Answer {
    fn render(said: &Value, finish: &str) -> Self {
        let envelope = |object: &str, choice: Value| {
            json!({
                "id": "chatcmpl-bench", "object": object, "created": 1_763_683_200, "model": "upstream",
                "choices": [choice],
            })
        };
        let mut message = said.clone();
        if let Some(message) = message.as_object_mut() {
            message.insert("role".into(), "assistant".into());
        }
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
        let mut whole = envelope("chat.completion", choice);
        let usage = json!({ "prompt_tokens": 9, "completion_tokens": 10, "total_tokens": 19 });
        if let Some(whole) = whole.as_object_mut() {
            whole.insert("usage".into(), usage.clone());
        }
        let chunk = |delta: &Value, finish: Option<&str>| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            format!("data: {}\n\n", envelope("chat.completion.chunk", choice))
        };
        let last = json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_763_683_200,
            "model": "upstream", "choices": [], "usage": usage,
        });
        let streamed = format!(
            "{}{}{}data: {last}\n\ndata: [DONE]\n\n",
            chunk(&json!({ "role": "assistant" }), None),
            chunk(said, None),
            chunk(&json!({}), Some(finish)),
        );
        Self { whole: Bytes::from(whole.to_string()), streamed: Bytes::from(streamed) }
    }
}
