//! Closed and open loops. The closed loop of many connections is one thread with an event loop; the
//! loops that measure time use blocking sockets, whose wake-up is shorter and steadier. Latency in
//! the open loop counts from the moment a request was due, not from when it could be sent, so a
//! stalled target cannot hide behind its own stall (coordinated omission).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Outcome;
use crate::upstream::WAITED;
use crate::wire::{Rendered, Reply};

/// No single read may take longer; a target that hangs ends the run instead of blocking it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a closed loop did.
pub(crate) struct Closed {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
}

/// `connections` connections, each sending its next request when the last reply is whole. Replies
/// with bodies shorter than `at_least` bytes fail the run: a cut stream is not a fast one.
pub(crate) fn closed(
    address: SocketAddr,
    request: &Rendered,
    connections: usize,
    duration: Duration,
    at_least: usize,
) -> Outcome<Closed> {
    closed_each(address, &vec![request.clone(); connections], duration, at_least)
}

/// The same, where each connection has a request of its own.
pub(crate) fn closed_each(
    address: SocketAddr,
    requests: &[Rendered],
    duration: Duration,
    at_least: usize,
) -> Outcome<Closed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::with_capacity(requests.len());
        for _ in requests {
            let socket = tokio::net::TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (socket, request) in sockets.into_iter().zip(requests) {
            tasks.spawn(turns(socket, request.clone(), started + duration, at_least));
        }
        let mut answered = 0;
        let all = async {
            while let Some(done) = tasks.join_next().await {
                answered += done??;
            }
            Outcome::Ok(())
        };
        tokio::time::timeout(duration + PATIENCE, all).await.map_err(|_| "the target hangs")??;
        Ok(Closed { requests: answered, elapsed: started.elapsed() })
    })
}

async fn turns(
    mut socket: tokio::net::TcpStream,
    request: Rendered,
    until: Instant,
    at_least: usize,
) -> Outcome<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut reply = Reply::new();
    let mut count = 0;
    while Instant::now() < until {
        socket.write_all(&request).await?;
        reply.clear();
        loop {
            let length = socket.read(&mut buffer).await?;
            if reply.feed(received(&buffer, length)?)? {
                break;
            }
        }
        if reply.length < at_least {
            return Err(format!("a reply of {} bytes, too short", reply.length).into());
        }
        count += 1;
    }
    Ok(count)
}

/// One connection, one request at a time: the time of each exchange.
pub(crate) fn single(
    address: SocketAddr,
    request: &Rendered,
    duration: Duration,
) -> Outcome<Vec<Duration>> {
    let mut line = Line::connect(address)?;
    let until = Instant::now() + duration;
    let mut times = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        line.exchange(request)?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// One connection, one stream at a time: from sending the request to the first token, less the time
/// that the upstream says it waited itself.
pub(crate) fn first_tokens(
    address: SocketAddr,
    request: &Rendered,
    duration: Duration,
) -> Outcome<Vec<Duration>> {
    let mut line = Line::connect(address)?;
    let until = Instant::now() + duration;
    let mut times = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        line.send(request)?;
        let mut first = None;
        let mut done = false;
        while !done {
            done = line.receive()?;
            if first.is_none() && waited(line.reply.start()).is_some() {
                first = Some(sent.elapsed());
            }
        }
        let waited = waited(line.reply.start()).ok_or("a stream without its first token")?;
        times.push(first.unwrap_or_default().saturating_sub(waited));
    }
    Ok(times)
}

/// `rate` requests a second at fixed intervals, dealt in turn to `lanes` connections.
pub(crate) fn open(
    address: SocketAddr,
    request: &Rendered,
    rate: u32,
    lanes: u32,
    duration: Duration,
) -> Outcome<Vec<Duration>> {
    let total = (f64::from(rate) * duration.as_secs_f64()) as u32;
    let mut connections = Vec::new();
    for _ in 0..lanes {
        connections.push(Line::connect(address)?);
    }
    let started = Instant::now() + Duration::from_millis(20);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (lane, mut line) in (0..lanes).zip(connections) {
            threads.push(scope.spawn(move || {
                sharpen_sleep();
                let mut times = Vec::new();
                for slot in (lane..total).step_by(lanes as usize) {
                    let due = started + Duration::from_secs(1) * slot / rate;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    line.exchange(request)?;
                    times.push(due.elapsed());
                }
                Outcome::Ok(times)
            }));
        }
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a load thread failed")??);
        }
        Ok(all)
    })
}

/// The value below which `share` (0 to 1) of the times lie.
pub(crate) fn percentile(mut times: Vec<Duration>, share: f64) -> Outcome<Duration> {
    times.sort_unstable();
    let rank = (times.len() as f64 * share) as usize;
    let last = times.len().saturating_sub(1);
    times.get(rank.min(last)).copied().ok_or_else(|| "no request was answered".into())
}

/// One blocking connection.
pub(crate) struct Line {
    socket: TcpStream,
    buffer: Vec<u8>,
    pub(crate) reply: Reply,
}

impl Line {
    pub(crate) fn connect(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, buffer: vec![0; 64 * 1024], reply: Reply::new() })
    }

    pub(crate) fn send(&mut self, request: &Rendered) -> Outcome<()> {
        self.reply.clear();
        Ok(self.socket.write_all(request)?)
    }

    /// One read; true once the reply is whole.
    pub(crate) fn receive(&mut self) -> Outcome<bool> {
        let length = self.socket.read(&mut self.buffer)?;
        self.reply.feed(received(&self.buffer, length)?)
    }

    pub(crate) fn exchange(&mut self, request: &Rendered) -> Outcome<()> {
        self.send(request)?;
        while !self.receive()? {}
        Ok(())
    }
}

/// One request on a connection of its own; used before anything is measured.
pub(crate) fn once(address: SocketAddr, request: &Rendered) -> Outcome<()> {
    Line::connect(address)?.exchange(request)
}

fn received(buffer: &[u8], length: usize) -> Outcome<&[u8]> {
    if length == 0 {
        return Err("the target closed the connection".into());
    }
    buffer.get(..length).ok_or_else(|| "a read beyond its buffer".into())
}

/// The upstream's own wait, once the first token has arrived whole.
fn waited(start: &[u8]) -> Option<Duration> {
    let at = memchr::memmem::find(start, WAITED.as_bytes())? + WAITED.len();
    let rest = start.get(at..)?;
    let digits = rest.get(..memchr::memchr(b';', rest)?)?;
    Some(Duration::from_nanos(std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// Asks Linux for exact sleeps in this thread (the default slack is 50 µs). Where it is refused, the
/// lateness is the same for every target and cancels out in the differences.
pub(crate) fn sharpen_sleep() {
    if let Ok(thread) = std::fs::read_link("/proc/thread-self")
        && let Some(id) = thread.file_name().and_then(|name| name.to_str())
    {
        let _ = std::fs::write(format!("/proc/{id}/timerslack_ns"), "1");
    }
}
