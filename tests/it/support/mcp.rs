//! MCP servers for tests: the fixtures under `tests/mcp`, and official servers from the registries, as a URL or as the
//! command line of a child. What they offer stands in the fixtures; nothing here knows the gateway.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::gateway::{Gateway, KEY, PATIENCE};
use super::programs::{cached, tests};

/// A server of `tests/mcp`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fixture {
    /// The session era only: the TypeScript SDK v1. Speaks http, sse and stdio.
    Legacy,
    /// The stateless era only: the TypeScript SDK v2. Speaks http and stdio.
    Modern,
    /// Both: FastMCP, whose tools behave well and badly. Speaks http, sse and stdio.
    Python,
    /// The session era, with the manners of the Python SDK 1.x. Speaks http, sse and stdio.
    Python1,
}

/// How a child that is an MCP server is started.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
}

impl CommandLine {
    fn new(parts: Option<Vec<String>>) -> Option<Self> {
        let mut parts = parts?.into_iter();
        Some(Self { program: parts.next()?, args: parts.collect() })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

impl Fixture {
    /// The command line for a transport (`http`, `sse`, `stdio`); `None` where the packages may be missing.
    pub(crate) fn command(self, transport: &str) -> Option<CommandLine> {
        let (interpreter, program) = match self {
            Self::Legacy => ("venv/bin/node", "mcp/legacy.mjs"),
            Self::Modern => ("venv/bin/node", "mcp/modern.mjs"),
            Self::Python => ("mcp-venv/bin/python", "mcp/fixture.py"),
            Self::Python1 => ("mcp-venv-1/bin/python", "mcp/fixture_1.py"),
        };
        cached("mcp/node_modules")?;
        CommandLine::new(Some(vec![
            text(cached(interpreter)?),
            text(tests(program)),
            transport.to_owned(),
        ]))
    }

    /// Starts it on a free port of loopback, for `http` or `sse`.
    pub(crate) fn listen(self, transport: &str) -> Option<Listening> {
        self.command(transport).map(|line| Listening::start(&line))
    }
}

/// An official server from a registry, over stdio, with further arguments: `everything`, `filesystem`, `memory` (npm),
/// `git`, `time` (PyPI).
pub(crate) fn official(name: &str, arguments: &[&str]) -> Option<CommandLine> {
    let mut parts = match name {
        "git" | "time" => {
            let module = format!("mcp_server_{name}");
            vec![text(cached("mcp-venv/bin/python")?), "-m".to_owned(), module]
        }
        _ => {
            let main =
                format!("mcp/node_modules/@modelcontextprotocol/server-{name}/dist/index.js");
            vec![text(cached("venv/bin/node")?), text(cached(&main)?)]
        }
    };
    parts.extend(arguments.iter().map(ToString::to_string));
    CommandLine::new(Some(parts))
}

fn text(path: std::path::PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

/// The names of the model's tools, when the server has told them.
pub(crate) async fn tools_once_there(gateway: &Gateway) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let listed = gateway.get("/v1/models").send().await.unwrap().text().await.unwrap();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let tools = listed["data"][0]["tools"].as_array();
        if let Some(tools) = tools.filter(|tools| !tools.is_empty()) {
            return tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        }
        assert!(Instant::now() < end, "{listed}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that listens; it ends with this value.
pub(crate) struct Listening {
    pub(crate) url: String,
    child: Child,
    // Closed, it tells the server to end, even when this process was killed.
    _input: ChildStdin,
}

/// `tests/mcp/rogue.py`, which fails and misbehaves on demand: `transport`, and what it is told. `None` where Python may be
/// missing.
pub(crate) fn rogue(transport: &str, options: &[&str]) -> Option<CommandLine> {
    // Without its packages it starts at once.
    let mut parts = vec![text(cached("mcp-venv/bin/python")?)];
    parts.extend(["-E", "-S"].map(str::to_owned));
    parts.extend([text(tests("mcp/rogue.py")), transport.to_owned()]);
    parts.extend(options.iter().map(ToString::to_string));
    CommandLine::new(Some(parts))
}

/// `tests/mcp/postgres.py`: the tools of this database, over SSE. Its URL has no path, as operators write it.
pub(crate) fn postgres(database: &str) -> Option<Listening> {
    let program = cached("mcp-venv/bin/python")?;
    let line = CommandLine { program: text(program), args: vec![text(tests("mcp/postgres.py"))] };
    Some(Listening::start_in(&line, &[("DATABASE_URL", database)]))
}

impl CommandLine {
    /// The entry of a child, but for its name: `command: …, args: […]`.
    pub(crate) fn entry(&self) -> String {
        format!("command: {:?}, args: {:?}", self.program, self.args)
    }

    /// Starts it, where it listens.
    pub(crate) fn listen(&self) -> Listening {
        Listening::start(self)
    }
}

impl Listening {
    fn start(line: &CommandLine) -> Self {
        Self::start_in(line, &[])
    }

    fn start_in(line: &CommandLine, environment: &[(&str, &str)]) -> Self {
        let mut child = line
            .command()
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        output.read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{line:?} said {url:?}");
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { url: url.trim().to_owned(), child, _input: input }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreter itself, which starts without any environment.
static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let mut command = Command::new("python3");
    let said = command.args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
});

/// The lines of an entry for `tests/mcp/scripted.py`, which needs no packages; below it, `more` lines.
pub(crate) fn scripted(name: &str, files: &[&Path], more: &str) -> String {
    let program = tests("mcp/scripted.py");
    let args: Vec<Value> =
        [program.as_path()].iter().chain(files).map(|path| json!(path)).collect();
    let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
    let (python, args) = (json!(*PYTHON), json!(args));
    format!("  {name}:\n    command: {python}\n    args: {args}\n{more}")
}

/// A client of `/mcp` with a session.
pub(crate) struct Session<'g> {
    gateway: &'g Gateway,
    path: String,
    id: String,
    next: std::cell::Cell<u64>,
}

impl<'g> Session<'g> {
    /// Opens a session that can do what `capabilities` says.
    pub(crate) async fn open(gateway: &'g Gateway, path: &str, capabilities: Value) -> Self {
        let mut session = Self { gateway, path: path.into(), id: String::new(), next: 0.into() };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": { "name": "t", "version": "1" },
        });
        let answer = session.post("initialize", &params).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        session.id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        session
    }

    fn post(&self, method: &str, params: &Value) -> reqwest::RequestBuilder {
        self.next.set(self.next.get() + 1);
        let id = self.next.get();
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.request(reqwest::Method::POST).body(body.to_string())
    }

    fn request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let client = &self.gateway.client;
        let request = client
            .request(method, self.gateway.url(&self.path))
            .bearer_auth(KEY)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if self.id.is_empty() { request } else { request.header("mcp-session-id", &self.id) }
    }

    /// The whole answer to one request, whether it came as JSON or as the last event of a stream.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.post(method, &params).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        serde_json::from_str(last.unwrap_or(&text)).unwrap()
    }

    /// Calls a tool; gives the answer.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The names of all tools.
    pub(crate) async fn tools(&self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({})).await;
        let tools = answer["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What comes without being asked for.
    pub(crate) async fn listen(&self) -> Heard {
        let answer = self.request(reqwest::Method::GET).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Heard { stream: answer.bytes_stream().boxed(), text: String::new() }
    }
}

/// The common stream of a session.
pub(crate) struct Heard {
    stream: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Heard {
    /// Reads until this was said; what came before it is forgotten with it.
    pub(crate) async fn until(&mut self, said: &str) {
        while !self.text.contains(said) {
            let next = tokio::time::timeout(super::gateway::PATIENCE, self.stream.next()).await;
            let piece = next.unwrap_or_else(|_| panic!("not {said} but {}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&piece.unwrap().unwrap()));
        }
        self.text.clear();
    }
}
