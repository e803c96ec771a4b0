//! What a call costs through the gateway's MCP endpoint, beside the same call made to the server itself, for each way to a
//! server and each kind of client; what a long list costs; and the memory that clients' sessions take. In a round all
//! that is compared stands side by side in time. A gateway of its own, with a configuration of its own.

pub(crate) mod client;
mod many;
pub(crate) mod replies;
mod results;
pub(crate) mod servers;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::client::{Caller, Older, Pipes, Place, Posts, paced};
pub(crate) use self::results::McpResults;
use self::results::{Figure, Way};
use self::servers::Servers;
use crate::Outcome;
use crate::load::{self, percentile};
use crate::target::Target;
use crate::wire::Rendered;

/// Starts this program as an MCP server that is a child.
pub(crate) const CHILD_FLAG: &str = "--mcp-stdio";

/// No new round begins after this time.
const BUDGET: Duration = Duration::from_secs(45);
const KEY: &str = "sk-bench-mcp-0123456789abcdef01";
/// Bytes that are called with, and answered.
const TEXT: usize = 1024;
/// Of the time of load for each phase: calls whose time is taken, and calls as fast as they go.
pub(crate) const SHARE: f64 = 0.5;
const SHARE_FAST: f64 = 0.2;
/// A call is due this often where its time is taken.
const EVERY: Duration = Duration::from_millis(1);
const WARM_UP: usize = 30;
const CONNECTIONS: usize = 64;

/// One server behind the gateway, each reached in another way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Server {
    Sessions,
    Stateless,
    Older,
    Child,
}

impl Server {
    const ALL: [Self; 4] = [Self::Sessions, Self::Stateless, Self::Older, Self::Child];

    /// Its name in the configuration.
    fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Stateless => "stateless",
            Self::Older => "older",
            Self::Child => "child",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Sessions | Self::Child => "/session/mcp",
            Self::Stateless => "/modern/mcp",
            Self::Older => "/sse",
        }
    }
}

/// Everything that runs.
struct Bench {
    servers: Servers,
    gateway: Target,
    /// The text that is called with, as JSON.
    arguments: String,
    /// A session for each connection.
    sessions: Vec<String>,
}

/// Runs the rounds, then the long list and the sessions.
pub(crate) fn run(rounds: usize, seconds: f64) -> Outcome<McpResults> {
    let time = Duration::try_from_secs_f64(seconds)?;
    let bench = Bench::start()?;
    let mut results = McpResults::default();
    let mut order: VecDeque<Server> = Server::ALL.into();
    let started = Instant::now();
    for round in 0..rounds {
        if started.elapsed() > BUDGET {
            eprintln!("MCP: out of time after {round} rounds");
            break;
        }
        for server in &order {
            bench.round(*server, time, &mut results)?;
        }
        order.rotate_left(1);
        eprintln!("MCP: round {} of {rounds}", round + 1);
    }
    many::run(&bench.servers, &mut results)?;
    Ok(results)
}

impl Bench {
    fn start() -> Outcome<Self> {
        let servers = Servers::start()?;
        let program = std::env::current_exe()?;
        let entries: String = Server::ALL
            .iter()
            .map(|server| {
                let (name, path) = (server.name(), server.path());
                let url = format!("'http://{}{path}'", servers.address);
                match server {
                    Server::Sessions | Server::Stateless => {
                        format!("  {name}: {{transport: http, url: {url}}}\n")
                    }
                    Server::Older => format!("  {name}: {{transport: sse, url: {url}}}\n"),
                    Server::Child => format!(
                        "  {name}: {{command: '{}', args: ['{CHILD_FLAG}']}}\n",
                        program.display()
                    ),
                }
            })
            .collect();
        let gateway = Target::with_config(&config(&entries))?;
        let text = "The tide turns twice a day. ".repeat(TEXT / 28 + 1);
        let arguments = format!(r#"{{"text":"{}"}}"#, text.get(..TEXT).unwrap_or_default());
        let mut bench = Self { servers, gateway, arguments, sessions: Vec::new() };
        let place = bench.gateway();
        for _ in 0..CONNECTIONS {
            bench.sessions.push(place.open_session()?);
        }
        for server in Server::ALL {
            bench.probe(server).map_err(|error| format!("{server:?}: {error}"))?;
        }
        Ok(bench)
    }

    fn gateway(&self) -> Place {
        Place { address: self.gateway.address, path: "/mcp".into(), key: Some(KEY) }
    }

    fn direct(&self, server: Server) -> Place {
        Place { address: self.servers.address, path: server.path().into(), key: None }
    }

    /// The call of one kind of client, in one session where it needs one.
    fn request(&self, server: Server, way: Way, session: &str) -> Rendered {
        let name = match way {
            Way::Direct => format!("\"{}\"", replies::TOOL),
            Way::Modern | Way::Session => format!("\"{}-{}\"", server.name(), replies::TOOL),
        };
        let params = [("name", &*name), ("arguments", &*self.arguments)];
        match way {
            Way::Direct if server == Server::Stateless => {
                self.direct(server).modern("tools/call", &params)
            }
            Way::Direct => self.direct(server).in_session(session, "tools/call", &params),
            Way::Modern => self.gateway().modern("tools/call", &params),
            Way::Session => self.gateway().in_session(session, "tools/call", &params),
        }
    }

    fn requests(&self, server: Server, way: Way) -> Vec<Rendered> {
        self.sessions.iter().map(|session| self.request(server, way, session)).collect()
    }

    /// A gateway that answers something else would be fast and useless.
    fn probe(&self, server: Server) -> Outcome<()> {
        for request in [Way::Modern, Way::Session].map(|way| self.requests(server, way)) {
            let request = request.first().ok_or("no session")?;
            let (_, body) = client::ask(self.gateway.address, request)?;
            let body: serde_json::Value = serde_json::from_str(&body)?;
            let sent: serde_json::Value = serde_json::from_str(&self.arguments)?;
            if body.pointer("/result/content/0/text") != sent.get("text") {
                return Err(format!("another answer than the call's text: {body}").into());
            }
        }
        Ok(())
    }

    fn caller(&self, server: Server, way: Way) -> Outcome<Box<dyn Caller>> {
        let name = format!("\"{}\"", replies::TOOL);
        let params = [("name", &*name), ("arguments", &*self.arguments)];
        let is_http = matches!(server, Server::Sessions | Server::Stateless);
        Ok(match (way, server) {
            (Way::Direct, Server::Older) => {
                Box::new(Older::open(&self.direct(server), &params, TEXT)?)
            }
            (Way::Direct, Server::Child) => Box::new(Pipes::start(&params, TEXT)?),
            _ => {
                let is_direct = way == Way::Direct && is_http;
                let address = if is_direct { self.servers.address } else { self.gateway.address };
                let session = self.sessions.first().map_or("", String::as_str);
                Box::new(Posts::new(address, vec![self.request(server, way, session)], TEXT)?)
            }
        })
    }

    fn round(&self, server: Server, time: Duration, results: &mut McpResults) -> Outcome<()> {
        for way in Way::ALL {
            let mut caller = self.caller(server, way)?;
            for _ in 0..WARM_UP {
                caller.call().map_err(|error| format!("{server:?}, {way:?}: {error}"))?;
            }
            let times = paced(&mut *caller, EVERY, time.mul_f64(SHARE))?;
            let microseconds =
                |share| Outcome::Ok(percentile(times.clone(), share)?.as_secs_f64() * 1e6);
            results.add(server, way, Figure::P50, microseconds(0.5)?);
            results.add(server, way, Figure::P99, microseconds(0.99)?);
        }
        for way in Way::ALL {
            let is_http = matches!(server, Server::Sessions | Server::Stateless);
            let address = match way {
                Way::Direct if is_http => self.servers.address,
                // Each connection would be a stream or a child of its own.
                Way::Direct => continue,
                Way::Modern | Way::Session => self.gateway.address,
            };
            let requests = self.requests(server, way);
            let before = self.gateway.settled_cpu();
            let done = load::closed_each(address, &requests, time.mul_f64(SHARE_FAST), TEXT)?;
            let calls = done.requests as f64;
            results.add(server, way, Figure::Rate, calls / done.elapsed.as_secs_f64());
            if let (Some(before), Some(after)) = (before, self.gateway.settled_cpu())
                && way != Way::Direct
            {
                let cpu = (after - before).as_secs_f64() * 1e3;
                results.add(server, way, Figure::Cpu, cpu / (calls / 1e3));
            }
        }
        Ok(())
    }
}

/// A configuration with one key that sees every one of the servers.
fn config(entries: &str) -> String {
    format!(
        "virtual_keys:\n  - {{api_key: {KEY}, key_alias: bench, mcp_servers: ['*']}}\n\
         mcp_servers:\n{entries}"
    )
}
