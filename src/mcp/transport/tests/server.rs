//! A scripted MCP server: HTTP/1.1 on loopback, written by hand so that it can also misbehave: cut an answer anywhere,
//! reset, hang, never end. Every request that it saw is told.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(in super::super) struct Seen {
    /// `POST /mcp`
    pub(in super::super) line: String,
    headers: Vec<(String, String)>,
    pub(in super::super) body: String,
}

impl Seen {
    /// Empty where there is none.
    pub(in super::super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(in super::super) fn is(&self, method: &str) -> bool {
        self.line.starts_with(method)
    }

    /// Whether it is a POST of this method of MCP.
    pub(in super::super) fn asks(&self, method: &str) -> bool {
        self.body.contains(&format!("\"method\":\"{method}\""))
    }
}

/// One step of an answer.
pub(in super::super) enum Step {
    Write(Vec<u8>),
    /// Again and again, until the client has gone.
    Flood(Vec<u8>),
    /// Wait until the client has gone.
    Hang,
    Close,
    Reset,
}

pub(in super::super) struct Server {
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    /// Answers that the client gave up.
    abandoned: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(in super::super) async fn start(
        script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, seen) = mpsc::channel(1024);
        let (abandon, abandoned) = watch::channel(0);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, told, abandon) = (script.clone(), told.clone(), abandon.clone());
                tokio::spawn(async move {
                    if converse(stream, &*script, &told).await.is_err() {
                        abandon.send_modify(|count| *count += 1);
                    }
                });
            }
        });
        Self { address, seen, abandoned, task }
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub(in super::super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(in super::super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(in super::super) async fn next(&mut self) -> Seen {
        let within = std::time::Duration::from_secs(20);
        let next = tokio::time::timeout(within, self.seen.recv()).await;
        next.expect("a request comes").expect("the server lives")
    }

    /// The lines of all requests that came and were not looked at.
    pub(in super::super) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).map(|seen| seen.line).collect()
    }

    /// Waits until the client gave up `count` answers.
    pub(in super::super) async fn abandoned(&mut self, count: usize) {
        let within = std::time::Duration::from_secs(20);
        let gone = self.abandoned.wait_for(|now| *now >= count);
        tokio::time::timeout(within, gone).await.expect("the client gives up").unwrap();
    }
}

/// Ends well, or with an error when the client went while it was being answered.
async fn converse(
    mut stream: TcpStream,
    script: &(dyn Fn(&Seen) -> Vec<Step> + Send + Sync),
    told: &mpsc::Sender<Seen>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        let steps = script(&seen);
        told.send(seen).await.ok();
        for step in steps {
            match step {
                Step::Write(bytes) => stream.write_all(&bytes).await?,
                Step::Flood(bytes) => loop {
                    stream.write_all(&bytes).await?;
                },
                Step::Hang => {
                    let _gone = stream.read(&mut [0]).await?;
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
                Step::Close => return Ok(()),
                Step::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
            let split = |line: &str| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_ascii_lowercase(), value.to_owned())
            };
            let mut seen = Seen { line, headers: lines.map(split).collect(), body: String::new() };
            let length: usize = seen.header("content-length").parse().unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                seen.body = String::from_utf8(body).unwrap();
                buffer.drain(..end + 4 + length);
                return Some(seen);
            }
        }
        let count = stream.read_buf(buffer).await.ok()?;
        if count == 0 {
            return None;
        }
    }
}

/// An answer with headers, each ending its line, and a body.
pub(in super::super) fn answer(status: u16, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
    vec![Step::Write(head.into_bytes())]
}

pub(in super::super) fn json(status: u16, body: &str) -> Vec<Step> {
    answer(status, "content-type: application/json\r\n", body)
}

/// A stream of events that goes on as the last step says.
pub(in super::super) fn events(text: &str, end: Step) -> Vec<Step> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";
    vec![Step::Write(format!("{head}{text}").into_bytes()), end]
}

/// The same as chunks, so that the connection serves on.
pub(in super::super) fn chunked_events(text: &str) -> Vec<Step> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let length = text.len();
    vec![Step::Write(format!("{head}{length:x}\r\n{text}\r\n0\r\n\r\n").into_bytes())]
}

pub(in super::super) fn result(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}
