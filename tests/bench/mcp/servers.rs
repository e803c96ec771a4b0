//! The MCP servers behind the gateway: streamable HTTP in both eras and the older transport with events, all on one
//! listener with a thread of its own; and the server that is a child process, which is this program itself, started with
//! a hidden flag. The first segment of the path says which server is meant. They answer at once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::replies::{self, Era};
use crate::Outcome;

/// The header that names a session.
pub(super) const SESSION: &str = "mcp-session-id";
/// Events that wait for one stream.
const MAX_EVENTS: usize = 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The servers that speak HTTP; they live as long as the program.
pub(crate) struct Servers {
    pub(crate) address: SocketAddr,
}

/// Streams of the older transport, by the id of their session.
#[derive(Default)]
struct Streams {
    last: u64,
    open: HashMap<String, mpsc::Sender<Bytes>>,
}

impl Servers {
    /// Starts them on a free loopback port: `/session/…`, `/modern/…` and `/sse`.
    pub(crate) fn start() -> Outcome<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("mcp-servers".into()).spawn(move || {
            runtime.block_on(async move {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    accept(listener).await;
                }
            });
        })?;
        Ok(Self { address })
    }
}

async fn accept(listener: TcpListener) {
    let streams = Arc::new(Mutex::new(Streams::default()));
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let streams = streams.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, streams.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    streams: Arc<Mutex<Streams>>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let segment = head.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    Ok(match (segment, head.method) {
        ("sse", Method::GET) => events(&streams),
        ("messages", Method::POST) => {
            push(&streams, head.uri.query().unwrap_or_default(), &body);
            empty(StatusCode::ACCEPTED)
        }
        ("session", Method::POST) => posted(&body, Era::Sessions),
        ("modern", Method::POST) => posted(&body, Era::Stateless),
        ("session", Method::DELETE) => empty(StatusCode::OK),
        // No stream beside the answers.
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    })
}

fn posted(body: &Bytes, era: Era) -> Response<Body> {
    let Some(answer) = replies::answer(body, era) else { return empty(StatusCode::ACCEPTED) };
    let mut response = Response::new(Full::new(Bytes::from(answer.text)).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if answer.opens {
        headers.insert(SESSION, HeaderValue::from_static("bench-session"));
    }
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Opens a stream, which begins with the place that its messages go to.
fn events(streams: &Mutex<Streams>) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(MAX_EVENTS);
    if let Ok(mut streams) = streams.lock() {
        streams.last += 1;
        let id = format!("sessionId={}", streams.last);
        let _ = sender.try_send(Bytes::from(format!("event: endpoint\ndata: /messages?{id}\n\n")));
        streams.open.insert(id, sender);
    }
    let frames = stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers a message on its session's stream.
fn push(streams: &Mutex<Streams>, session: &str, body: &Bytes) {
    let Some(answer) = replies::answer(body, Era::Sessions) else { return };
    if let Ok(mut streams) = streams.lock() {
        let event = Bytes::from(format!("event: message\ndata: {}\n\n", answer.text));
        let is_open = streams.open.get(session).is_some_and(|to| to.try_send(event).is_ok());
        if !is_open {
            streams.open.remove(session);
        }
    }
}

/// The server that is a child: a message a line, until its input ends.
pub(crate) fn child() -> Outcome<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        if let Some(answer) = replies::answer(&line, Era::Sessions) {
            let mut text = answer.text.into_bytes();
            text.push(b'\n');
            output.write_all(&text)?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
}
