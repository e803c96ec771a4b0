//! The fast upstream behind every target: OpenAI-shaped answers, rendered once, served from its own
//! thread. The path says which answer is wanted, so that no request body is parsed on the shared
//! cores. It must not know which target is asking.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tidegate::conversation::Format;
use tokio::net::TcpListener;

use crate::Outcome;
use crate::answers::{self, PROVIDERS};

/// Chunks in one burst stream, without the closing usage chunk.
pub(crate) const BURST_CHUNKS: usize = 1_000;
/// Chunks in one paced stream; each is a write of its own.
pub(crate) const PACED_CHUNKS: usize = 100;
/// The pause before each chunk of a paced stream.
pub(crate) const PACED_PAUSE: Duration = Duration::from_millis(5);
/// How long a `token` stream thinks before its first token.
const THINKING: Duration = Duration::from_millis(2);
/// Size of the `large` answer.
const LARGE: usize = 128 * 1024;
/// Stands before the nanoseconds which the upstream itself spent before its first token.
pub(crate) const WAITED: &str = "waited=";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running upstream; it lives as long as the program.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// The last request body and credential, kept only while a probe asks for them.
#[derive(Default)]
struct Seen {
    armed: std::sync::atomic::AtomicBool,
    last: Mutex<Option<(String, Bytes)>>,
}

/// Every answer, rendered once.
struct Answers {
    small: Bytes,
    large: Bytes,
    chunk: Bytes,
    usage: Bytes,
    done: Bytes,
    /// The same answer in every provider's format, by the first segment of the path.
    others: HashMap<String, Other>,
}

/// An answer in a provider's format: whole, or frame by frame.
struct Other {
    content_type: &'static str,
    frames: Vec<Bytes>,
}

/// The first path segment under which a provider of a format answers.
pub(crate) fn segment(format: Format, streamed: bool) -> String {
    format!("{}-{}", format.as_str(), if streamed { "stream" } else { "whole" })
}

impl Upstream {
    /// Starts the upstream on a free loopback port, on a thread of its own.
    pub(crate) fn start() -> Outcome<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let watched = seen.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("upstream".into()).spawn(move || {
            runtime.block_on(async move {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    accept(listener, Arc::new(Answers::render()), watched).await;
                }
            });
        })?;
        Ok(Self { address, seen })
    }

    /// Runs `request` and returns the `authorization` header and body that arrived here meanwhile.
    pub(crate) fn observe(
        &self,
        request: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<(String, Bytes)> {
        use std::sync::atomic::Ordering::SeqCst;
        self.seen.armed.store(true, SeqCst);
        let result = request();
        self.seen.armed.store(false, SeqCst);
        result?;
        let mut last = self.seen.last.lock().map_err(|_| "the upstream's thread failed")?;
        last.take().ok_or_else(|| "no request reached the upstream".into())
    }
}

async fn accept(listener: TcpListener, answers: Arc<Answers>, seen: Arc<Seen>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let (answers, seen) = (answers.clone(), seen.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, answers.clone(), seen.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
    seen: Arc<Seen>,
) -> Result<Response<Body>, hyper::Error> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let other = answers.others.get(first_segment(head.uri.path()));
    let streamed = other.is_none() && !matches!(first_segment(head.uri.path()), "plain" | "large");
    let armed = seen.armed.load(std::sync::atomic::Ordering::Relaxed);
    let body =
        if streamed || armed { body.collect().await?.to_bytes() } else { drain(body).await? };
    // Only a client that asked for usage gets the chunk; a gateway asks on its client's behalf.
    let usage = streamed && memchr::memmem::find(&body, b"include_usage").is_some();
    if armed && let Ok(mut last) = seen.last.lock() {
        let key = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        *last = Some((key.unwrap_or_default().to_owned(), body));
    }
    if let Some(other) = other {
        return Ok(translatable(other));
    }
    Ok(match first_segment(head.uri.path()) {
        "large" => whole(&answers.large),
        "burst" => events(Pace::Burst, answers, usage, arrived),
        "paced" => events(Pace::Paced, answers, usage, arrived),
        "token" => events(Pace::Token, answers, usage, arrived),
        _ => whole(&answers.small),
    })
}

fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// Reads a body to its end without keeping it.
async fn drain(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Bytes::new())
}

fn whole(answer: &Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(answer.clone()).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn translatable(other: &Other) -> Response<Body> {
    let frames = stream::iter(other.frames.clone()).map(|bytes| Ok(Frame::data(bytes)));
    let body = match other.frames.as_slice() {
        [whole] => Full::new(whole.clone()).boxed_unsync(),
        _ => BodyExt::boxed_unsync(StreamBody::new(frames)),
    };
    let mut response = Response::new(body);
    let content_type = http::HeaderValue::from_static(other.content_type);
    response.headers_mut().insert("content-type", content_type);
    response
}

#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Burst,
    Paced,
    Token,
}

/// One SSE stream: `count` chunks in their pace, the usage chunk if wanted, `[DONE]`.
fn events(pace: Pace, answers: Arc<Answers>, usage: bool, arrived: Instant) -> Response<Body> {
    let count = match pace {
        Pace::Burst => BURST_CHUNKS,
        Pace::Paced => PACED_CHUNKS,
        Pace::Token => 8,
    };
    let mut tail = Vec::with_capacity(2);
    if usage {
        tail.push(answers.usage.clone());
    }
    tail.push(answers.done.clone());
    let chunks = stream::iter(0..count).then(move |index| {
        let chunk = answers.chunk.clone();
        async move {
            match pace {
                Pace::Burst => chunk,
                Pace::Paced => {
                    tokio::time::sleep(PACED_PAUSE).await;
                    chunk
                }
                Pace::Token if index == 0 => {
                    tokio::time::sleep(THINKING).await;
                    render_chunk(&format!("{WAITED}{};", arrived.elapsed().as_nanos()))
                }
                Pace::Token => chunk,
            }
        }
    });
    let frames = chunks.chain(stream::iter(tail)).map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

impl Answers {
    fn render() -> Self {
        Self {
            small: render_answer("Hello! How can I help you today?"),
            large: render_answer(&"The tide turns twice a day. ".repeat(LARGE / 28)),
            chunk: render_chunk(" word"),
            usage: Bytes::from_static(
                b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                  \"created\":1763683200,\"model\":\"upstream\",\"choices\":[],\"usage\":\
                  {\"prompt_tokens\":9,\"completion_tokens\":1000,\"total_tokens\":1009}}\n\n",
            ),
            done: Bytes::from_static(b"data: [DONE]\n\n"),
            others: PROVIDERS
                .iter()
                .flat_map(|(format, _)| [(*format, false), (*format, true)])
                .map(|(format, streamed)| {
                    let frames = match streamed {
                        true => answers::stream(format),
                        false => vec![answers::whole(format)],
                    };
                    let content_type = answers::content_type(format, streamed);
                    (segment(format, streamed), Other { content_type, frames })
                })
                .collect(),
        }
    }
}

fn render_answer(text: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1763683200,\
         \"model\":\"upstream\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{text}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":10,\"total_tokens\":19}}}}"
    ))
}

fn render_chunk(text: &str) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
         \"created\":1763683200,\"model\":\"upstream\",\"choices\":[{{\"index\":0,\"delta\":\
         {{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    ))
}
