//! What it costs that the gateway runs tools inside an answer: a whole turn through it, beside the same turn by a client that asks
//! the same model and calls the same MCP server itself, one after the other. In a round both stand side by side in time. Then
//! many turns at once. A gateway of its own, with one server and a model that works with it.

mod model;
mod results;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::model::Model;
use self::results::Figure;
pub(crate) use self::results::LoopResults;
use crate::Outcome;
use crate::load::{self, percentile};
use crate::mcp::client::{Caller, Place, Posts, paced};
use crate::mcp::replies::TOOL;
use crate::mcp::servers::Servers;
use crate::target::Target;
use crate::wire::{self, Rendered};

/// No new round begins after this time.
const BUDGET: Duration = Duration::from_secs(60);
const KEY: &str = "sk-bench-loops-0123456789abcdef";
/// What the model calls.
const FUNCTION: &str = "tide-echo";
const LAST_WORD: &str = "The tide is in.";
/// Bytes that a call has, and its result.
const TEXT: usize = 1024;
/// Calls of a turn, each in a round of the model's.
const CALLS: [usize; 2] = [1, model::MOST];
pub(crate) const AT_ONCE: usize = 100;
/// Of the time of load: turns one after the other, and many at once.
pub(crate) const SHARE: f64 = 0.5;
const SHARE_AT_ONCE: f64 = 0.3;
/// A call is due this often where its time is taken.
const EVERY: Duration = Duration::from_millis(4);
const WARM_UP: usize = 20;
/// How long the first answers may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a client asks, and whether it is answered in a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Surface {
    Chat,
    ChatStreamed,
    ResponsesStreamed,
    MessagesStreamed,
}

impl Surface {
    const ALL: [Self; 4] =
        [Self::Chat, Self::ChatStreamed, Self::ResponsesStreamed, Self::MessagesStreamed];

    fn title(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::ChatStreamed => "chat, streamed",
            Self::ResponsesStreamed => "responses, streamed",
            Self::MessagesStreamed => "messages, streamed",
        }
    }

    fn streams(self) -> bool {
        self != Self::Chat
    }

    fn request(self, gateway: SocketAddr, calls: usize, headers: &str) -> Rendered {
        let (path, mut body) = match self {
            Self::Chat | Self::ChatStreamed => {
                ("/v1/chat/completions", json!({ "messages": asked() }))
            }
            Self::ResponsesStreamed => ("/v1/responses", json!({ "input": asked() })),
            Self::MessagesStreamed => {
                ("/v1/messages", json!({ "messages": asked(), "max_tokens": 1000 }))
            }
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("model".into(), format!("bench-{calls}").into());
            body.insert("stream".into(), self.streams().into());
        }
        let headers = format!(
            "host: {gateway}\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             x-mcp-servers: tide\r\n{headers}"
        );
        wire::request("POST", path, &headers, &body.to_string())
    }
}

/// Everything that runs.
struct Bench {
    servers: Servers,
    model: Model,
    gateway: Target,
}

/// A turn through the gateway: one exchange.
struct Through(Posts);

/// The same turn by a client that does it all itself.
struct Alone {
    model: Posts,
    server: Posts,
    calls: usize,
}

impl Caller for Through {
    fn call(&mut self) -> Outcome<()> {
        self.0.call()
    }
}

impl Caller for Alone {
    fn call(&mut self) -> Outcome<()> {
        for _ in 0..self.calls {
            self.model.call()?;
            self.server.call()?;
        }
        self.model.call()
    }
}

/// Runs the rounds.
pub(crate) fn run(rounds: usize, seconds: f64) -> Outcome<LoopResults> {
    let time = Duration::try_from_secs_f64(seconds)?;
    let bench = Bench::start()?;
    let mut results = LoopResults::default();
    let mut order: VecDeque<Surface> = Surface::ALL.into();
    let started = Instant::now();
    for round in 0..rounds {
        if started.elapsed() > BUDGET {
            eprintln!("loops: out of time after {round} rounds");
            break;
        }
        for surface in &order {
            for calls in CALLS {
                bench.round(*surface, calls, time, &mut results)?;
            }
        }
        order.rotate_left(1);
        eprintln!("loops: round {} of {rounds}", round + 1);
    }
    results.peak = bench.gateway.memory("VmHWM");
    Ok(results)
}

impl Bench {
    fn start() -> Outcome<Self> {
        let (servers, model) = (Servers::start()?, Model::start()?);
        let models: String = CALLS
            .iter()
            .map(|calls| {
                format!(
                    "  - model_name: bench-{calls}\n    litellm_params:\n      model: groq/upstream\n\
                     \x20     api_key: none\n      api_base: http://{}/{calls}\n",
                    model.address
                )
            })
            .collect();
        let gateway = Target::with_config(&format!(
            "model_list:\n{models}virtual_keys:\n\
             \x20 - {{api_key: {KEY}, key_alias: bench, models: ['*'], mcp_servers: ['*']}}\n\
             mcp_servers:\n  tide: {{transport: http, url: 'http://{}/session/mcp', allowed_tools: [{TOOL}]}}\n",
            servers.address
        ))?;
        let bench = Self { servers, model, gateway };
        for surface in Surface::ALL {
            for calls in CALLS {
                bench.probe(surface, calls)?;
            }
        }
        Ok(bench)
    }

    /// A gateway that gives the calls back, or makes fewer of them, would be fast and useless: the last word is said to as
    /// many results only.
    fn probe(&self, surface: Surface, calls: usize) -> Outcome<()> {
        let address = self.gateway.address;
        let request = surface.request(address, calls, "connection: close\r\n");
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(&request)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        if answer.contains(LAST_WORD) {
            return Ok(());
        }
        Err(format!("{}: no last word: {answer}", surface.title()).into())
    }

    fn through(&self, surface: Surface, calls: usize) -> Outcome<Through> {
        let request = surface.request(self.gateway.address, calls, "");
        Ok(Through(Posts::new(self.gateway.address, vec![request], LAST_WORD.len())?))
    }

    fn alone(&self, surface: Surface, calls: usize) -> Outcome<Alone> {
        let asks = (0..=calls).map(|results| self.ask(surface.streams(), calls, results)).collect();
        let place = Place { address: self.servers.address, path: "/session/mcp".into(), key: None };
        let name = format!("\"{TOOL}\"");
        let params = [("name", &*name), ("arguments", &*arguments())];
        let call = place.in_session("bench-session", "tools/call", &params);
        Ok(Alone {
            model: Posts::new(self.model.address, asks, LAST_WORD.len())?,
            server: Posts::new(self.servers.address, vec![call], TEXT)?,
            calls,
        })
    }

    /// What a client asks the model itself, after so many results.
    fn ask(&self, streams: bool, calls: usize, results: usize) -> Rendered {
        let mut messages = asked();
        if let Some(messages) = messages.as_array_mut() {
            for at in 0..results {
                let function = json!({ "name": FUNCTION, "arguments": arguments() });
                let call =
                    json!({ "id": model::call_id(at), "type": "function", "function": function });
                messages
                    .push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
                let text = text();
                messages.push(
                    json!({ "role": "tool", "tool_call_id": model::call_id(at), "content": text }),
                );
            }
        }
        let parameters =
            json!({ "type": "object", "properties": { "text": { "type": "string" } } });
        let function = json!({ "name": FUNCTION, "description": "Echo", "parameters": parameters });
        let body = json!({
            "model": "upstream", "messages": messages, "stream": streams,
            "tools": [{ "type": "function", "function": function }],
        });
        let path = format!("/{calls}/chat/completions");
        wire::post(&path, &self.model.address.to_string(), "none", &body.to_string())
    }

    fn round(
        &self,
        surface: Surface,
        calls: usize,
        time: Duration,
        results: &mut LoopResults,
    ) -> Outcome<()> {
        let mut alone = self.alone(surface, calls)?;
        let mut through = self.through(surface, calls)?;
        let ways: [(&mut dyn Caller, _, _); 2] = [
            (&mut alone, Figure::DirectP50, Figure::DirectP99),
            (&mut through, Figure::P50, Figure::P99),
        ];
        for (caller, p50, p99) in ways {
            for _ in 0..WARM_UP {
                caller.call().map_err(|error| format!("{}: {error}", surface.title()))?;
            }
            let every = EVERY * u32::try_from(calls)?.min(4);
            let times = paced(caller, every, time.mul_f64(SHARE))?;
            for (figure, share) in [(p50, 0.5), (p99, 0.99)] {
                let value = percentile(times.clone(), share)?.as_secs_f64() * 1e6;
                results.add(surface, calls, figure, value);
            }
        }
        let request = surface.request(self.gateway.address, calls, "");
        let before = self.gateway.settled_cpu();
        let duration = time.mul_f64(SHARE_AT_ONCE);
        let address = self.gateway.address;
        let done = load::closed(address, &request, AT_ONCE, duration, LAST_WORD.len())?;
        let turns = done.requests as f64;
        results.add(surface, calls, Figure::Rate, turns / done.elapsed.as_secs_f64());
        if let (Some(before), Some(after)) = (before, self.gateway.settled_cpu()) {
            let cpu = (after - before).as_secs_f64() * 1e3;
            results.add(surface, calls, Figure::Cpu, cpu / (turns * calls as f64 / 1e3));
        }
        Ok(())
    }
}

fn asked() -> Value {
    json!([{ "role": "user", "content": "When is high water?" }])
}

fn text() -> String {
    let text = "The tide turns twice a day. ".repeat(TEXT / 28 + 1);
    text.get(..TEXT).unwrap_or_default().to_owned()
}

/// The arguments of each call, as the model writes them.
fn arguments() -> String {
    json!({ "text": text() }).to_string()
}
