//! MCP servers for tests: the fixtures under `tests/mcp`, and official servers from the registries, as a URL or as the
//! command line of a child. What they offer stands in the fixtures; nothing here knows the gateway.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

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

/// A server that listens; it ends with this value.
pub(crate) struct Listening {
    pub(crate) url: String,
    child: Child,
    // Closed, it tells the server to end, even when this process was killed.
    _input: ChildStdin,
}

impl Listening {
    fn start(line: &CommandLine) -> Self {
        let mut child = line
            .command()
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
