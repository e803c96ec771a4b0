//! A scripted provider: real HTTP/1.1 on loopback, written by hand so that it can also misbehave: cut a
//! stream anywhere, reset, hang, answer with garbage. Every request it saw is kept.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// One step of an answer.
#[derive(Clone)]
pub(crate) enum Step {
    Write(Vec<u8>),
    /// Go on when a permit is there.
    Await(Arc<Semaphore>),
    /// Wait until the gateway closes the connection.
    Hang,
    /// Close properly.
    Close,
    /// Close with a TCP reset.
    Reset,
}

type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// The provider.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
    /// How many connections the gateway closed while an answer was not finished.
    abandoned: watch::Receiver<usize>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let arrived: Arc<Notify> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (abandon, abandoned) = watch::channel(0);
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn({
            let (seen, arrived, connections) = (seen.clone(), arrived.clone(), connections.clone());
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, arrived) = (seen.clone(), arrived.clone());
                    let (script, abandon) = (script.clone(), abandon.clone());
                    tokio::spawn(async move {
                        let _gone = converse(stream, &seen, &arrived, &*script, &abandon).await;
                    });
                }
            }
        });
        Self { address, seen, arrived, abandoned, connections, task }
    }

    /// `http://127.0.0.1:PORT/v1`
    pub(crate) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        loop {
            let notified = self.arrived.notified();
            if self.seen.lock().unwrap().len() >= count {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the gateway gave up `count` answers.
    pub(crate) async fn abandoned(&self, count: usize) {
        let mut abandoned = self.abandoned.clone();
        abandoned.wait_for(|now| *now >= count).await.unwrap();
    }
}

async fn converse(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    arrived: &Notify,
    script: &Script,
    abandon: &watch::Sender<usize>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let steps = script(&request);
        seen.lock().unwrap().push(request);
        arrived.notify_waiters();
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        abandon.send_modify(|count| *count += 1);
                        return Ok(());
                    }
                }
                Step::Await(permits) => {
                    // The gateway may give up in the meantime.
                    let mut byte = [0];
                    tokio::select! {
                        permit = permits.acquire() => permit.unwrap().forget(),
                        _closed = stream.read(&mut byte) => {
                            abandon.send_modify(|count| *count += 1);
                            return Ok(());
                        }
                    }
                }
                Step::Hang => {
                    let mut rest = [0; 64];
                    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
                    abandon.send_modify(|count| *count += 1);
                    return Ok(());
                }
                Step::Close => return stream.shutdown().await,
                Step::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Seen>> {
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end + 4);
    let mut lines = head.split("\r\n");
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Seen { path, headers, body: Vec::new() };
    if request.header("transfer-encoding").is_some() {
        loop {
            let line = read_until(stream, buffer, b"\r\n").await?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            let piece = read_exact(stream, buffer, size + 2).await?;
            request.body.extend_from_slice(&piece[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        request.body = read_exact(stream, buffer, length).await?;
    }
    Ok(Some(request))
}

async fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    end: &[u8],
) -> std::io::Result<Vec<u8>> {
    loop {
        if let Some(at) = memchr::memmem::find(buffer, end) {
            let line = buffer[..at].to_vec();
            buffer.drain(..at + end.len());
            return Ok(line);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn read_exact(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> std::io::Result<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..length).collect())
}

/// A whole JSON answer.
pub(crate) fn json(status: u16, headers: &str, body: &str) -> Vec<Step> {
    whole(status, &format!("content-type: application/json\r\n{headers}"), body.as_bytes())
}

/// A whole answer with a length.
pub(crate) fn whole(status: u16, headers: &str, body: &[u8]) -> Vec<Step> {
    let head =
        format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len());
    vec![Step::Write([head.as_bytes(), body].concat())]
}

/// A chat completion that says `text`.
pub(crate) fn chat(text: &str) -> Vec<Step> {
    let body = serde_json::json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": text },
        }],
        "usage": {
            "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
            "prompt_tokens_details": { "cached_tokens": 5 },
            "completion_tokens_details": { "reasoning_tokens": 3 },
        },
    });
    json(200, "", &body.to_string())
}

/// The head of an event stream.
pub(crate) fn events_head() -> Step {
    Step::Write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
          transfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// Bytes of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Step {
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    Step::Write(framed)
}

/// The end of a chunked body.
pub(crate) fn last_chunk() -> Step {
    Step::Write(b"0\r\n\r\n".to_vec())
}

/// One chat chunk with a piece of text, as an event.
pub(crate) fn delta(text: &str) -> Vec<u8> {
    let chunk = serde_json::json!({
        "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up",
        "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
    });
    format!("data: {chunk}\n\n").into_bytes()
}

pub(crate) const FINISH: &[u8] = b"data: {\"id\":\"chatcmpl-up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &[u8] = b"data: {\"id\":\"chatcmpl-up\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}\n\n";
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";
