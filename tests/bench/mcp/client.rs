//! The benchmark's MCP clients: requests are rendered once, and answers are read to their end and held against the least
//! length that a good one has. The same callers go to the gateway and to the servers themselves, over HTTP, over the older
//! stream, or through a child's pipes. They must not know what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::CHILD_FLAG;
use super::servers::SESSION;
use crate::Outcome;
use crate::load::{self, Line};
use crate::wire::{self, Rendered};

/// The longest that a single read may take.
const PATIENCE: Duration = Duration::from_secs(10);
const NEWEST: &str = "2026-07-28";
const NEWEST_WITH_SESSIONS: &str = "2025-11-25";
const CLIENT: &str = r#"{"name":"bench","version":"1"}"#;

/// Where a client goes, and the key that it shows.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// `None`: the servers themselves want none.
    pub(crate) key: Option<&'static str>,
}

/// Makes one call after the other.
pub(crate) trait Caller: Send {
    /// One call, until its answer is whole.
    fn call(&mut self) -> Outcome<()>;
}

impl Place {
    /// A request of the newest era.
    pub(crate) fn modern(&self, method: &str, params: &[(&str, &str)]) -> Rendered {
        let name = params.iter().find(|(name, _)| *name == "name").map(|(_, value)| *value);
        let name =
            name.map_or(String::new(), |name| format!("mcp-name: {}\r\n", name.trim_matches('"')));
        let headers = format!("mcp-protocol-version: {NEWEST}\r\nmcp-method: {method}\r\n{name}");
        let meta = format!(
            r#"{{"io.modelcontextprotocol/protocolVersion":"{NEWEST}","io.modelcontextprotocol/clientInfo":{CLIENT},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        );
        let params = [params, &[("_meta", meta.as_str())]].concat();
        self.render("POST", &headers, &message(method, &params))
    }

    /// A request in a session.
    pub(crate) fn in_session(
        &self,
        session: &str,
        method: &str,
        params: &[(&str, &str)],
    ) -> Rendered {
        self.render("POST", &of_session(session), &message(method, params))
    }

    /// Opens a session, and gives its id.
    pub(crate) fn open_session(&self) -> Outcome<String> {
        let version = format!("\"{NEWEST_WITH_SESSIONS}\"");
        let params =
            [("protocolVersion", &*version), ("capabilities", "{}"), ("clientInfo", CLIENT)];
        let request = self.render("POST", "", &message("initialize", &params));
        let (head, _) = ask(self.address, &request)?;
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(SESSION).then(|| value.trim().to_owned())
        });
        let session = session.ok_or("no session was opened")?;
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        ask(self.address, &self.render("POST", &of_session(&session), ready))?;
        Ok(session)
    }

    /// Opens the common stream of a session, which stays open as long as its socket.
    pub(crate) fn open_stream(&self, session: &str) -> Outcome<BufReader<TcpStream>> {
        let mut socket = connect(self.address)?;
        socket.get_mut().write_all(&self.render("GET", &of_session(session), ""))?;
        let head = head(&mut socket)?;
        if head.starts_with("HTTP/1.1 200") {
            return Ok(socket);
        }
        Err(format!("no stream: {}", head.lines().next().unwrap_or_default()).into())
    }

    /// Ends a session.
    pub(crate) fn close_session(&self, session: &str) -> Outcome<()> {
        ask(self.address, &self.render("DELETE", &of_session(session), "")).map(|_| ())
    }

    fn render(&self, method: &str, headers: &str, body: &str) -> Rendered {
        let key = self.key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        let headers = format!(
            "host: {}\r\n{key}content-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n{headers}",
            self.address
        );
        wire::request(method, &self.path, &headers, body)
    }
}

fn of_session(session: &str) -> String {
    format!("{SESSION}: {session}\r\nmcp-protocol-version: {NEWEST_WITH_SESSIONS}\r\n")
}

/// A JSON-RPC request; the values of its params are JSON.
fn message(method: &str, params: &[(&str, &str)]) -> String {
    let params: Vec<String> =
        params.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{}}}}}"#, params.join(","))
}

/// One exchange on a connection of its own: head and body of the answer.
pub(crate) fn ask(address: SocketAddr, request: &Rendered) -> Outcome<(String, String)> {
    let mut socket = connect(address)?;
    socket.get_mut().write_all(request)?;
    let head = head(&mut socket)?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(format!("answered {}", head.lines().next().unwrap_or_default()).into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let mut body = String::new();
    socket.take(length.unwrap_or(0)).read_to_string(&mut body)?;
    Ok((head, body))
}

fn connect(address: SocketAddr) -> Outcome<BufReader<TcpStream>> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(socket))
}

/// Reads the head of an answer.
fn head(socket: &mut impl BufRead) -> Outcome<String> {
    let mut head = String::new();
    while socket.read_line(&mut head)? > 0 {
        if head.ends_with("\r\n\r\n") {
            return Ok(head);
        }
    }
    Err("the connection was closed before an answer".into())
}

/// Calls over one connection that is kept alive, with one request after the other.
pub(crate) struct Posts {
    line: Line,
    requests: Vec<Rendered>,
    next: usize,
    at_least: usize,
}

impl Posts {
    /// Answers with bodies shorter than `at_least` bytes are errors.
    pub(crate) fn new(
        address: SocketAddr,
        requests: Vec<Rendered>,
        at_least: usize,
    ) -> Outcome<Self> {
        Ok(Self { line: Line::connect(address)?, requests, next: 0, at_least })
    }

    /// The length of the last answer's body.
    pub(crate) fn length(&self) -> usize {
        self.line.reply.length
    }
}

impl Caller for Posts {
    fn call(&mut self) -> Outcome<()> {
        let request = self.requests.get(self.next).ok_or("nothing to be sent")?;
        self.next = (self.next + 1) % self.requests.len();
        self.line.exchange(request)?;
        long_enough(self.line.reply.length, self.at_least)
    }
}

/// Calls over the older transport: posted, and answered on the stream.
pub(crate) struct Older {
    line: Line,
    request: Rendered,
    stream: BufReader<TcpStream>,
    at_least: usize,
    text: Vec<u8>,
}

impl Older {
    /// Opens the stream of a server itself.
    pub(crate) fn open(place: &Place, params: &[(&str, &str)], at_least: usize) -> Outcome<Self> {
        let mut socket = connect(place.address)?;
        socket.get_mut().write_all(&place.render("GET", "", ""))?;
        head(&mut socket)?;
        let mut stream = Self {
            line: Line::connect(place.address)?,
            request: wire::request("GET", "/", "", ""),
            stream: socket,
            at_least: 0,
            text: Vec::new(),
        };
        let endpoint = stream.event()?;
        let path = endpoint.ok_or("no endpoint was named")?;
        let place = Place { path, ..place.clone() };
        stream.request = place.render("POST", "", &message("tools/call", params));
        stream.at_least = at_least;
        Ok(stream)
    }

    /// The data of the next event; `None` where it is not text.
    fn event(&mut self) -> Outcome<Option<String>> {
        loop {
            self.text.clear();
            if self.stream.read_until(b'\n', &mut self.text)? == 0 {
                return Err("the stream ended".into());
            }
            if let Some(data) = self.text.strip_prefix(b"data: ") {
                long_enough(data.len(), self.at_least)?;
                return Ok(std::str::from_utf8(data).ok().map(|data| data.trim().to_owned()));
            }
        }
    }
}

impl Caller for Older {
    fn call(&mut self) -> Outcome<()> {
        let request = self.request.clone();
        self.line.exchange(&request)?;
        self.event().map(|_| ())
    }
}

/// Calls through the pipes of a child.
pub(crate) struct Pipes {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    line: Vec<u8>,
    request: Vec<u8>,
    at_least: usize,
}

impl Pipes {
    pub(crate) fn start(params: &[(&str, &str)], at_least: usize) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD_FLAG).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        let request = (message("tools/call", params) + "\n").into_bytes();
        let output = BufReader::new(output);
        Ok(Self { child, input, output, line: Vec::new(), request, at_least })
    }
}

impl Caller for Pipes {
    fn call(&mut self) -> Outcome<()> {
        self.input.write_all(&self.request)?;
        self.line.clear();
        let length = self.output.read_until(b'\n', &mut self.line)?;
        long_enough(length, self.at_least)
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn long_enough(length: usize, at_least: usize) -> Outcome<()> {
    if length < at_least {
        return Err(format!("an answer of {length} bytes, too short").into());
    }
    Ok(())
}

/// One call after the other for a while, one due in each `every`. The time of each counts from when it was due.
pub(crate) fn paced(
    caller: &mut dyn Caller,
    every: Duration,
    duration: Duration,
) -> Outcome<Vec<Duration>> {
    let paced = || {
        load::sharpen_sleep();
        let mut times = Vec::new();
        let mut due = Instant::now() + every;
        let until = due + duration;
        while due < until {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            caller.call()?;
            times.push(due.elapsed());
            due += every;
        }
        Ok(times)
    };
    // In a thread of its own, which alone sleeps sharply.
    std::thread::scope(|scope| {
        scope.spawn(paced).join().unwrap_or_else(|_| Err("a load thread failed".into()))
    })
}
