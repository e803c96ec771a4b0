//! `tidegate chat MODEL "text"`: tries a model of the configuration from the shell. The request takes the same
//! corridor as one that came over HTTP; only the door is left out, and no row is written.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{complain, configured, done, print};
use crate::config::snapshot::{Keys, Snapshot};
use crate::entry::Client;
use crate::gateway::endpoint::ENDPOINTS;
use crate::gateway::observers::Observers;
use crate::gateway::{Gate, Live};
use crate::journal::Journal;
use crate::mcp::Mcp;
use crate::provider::auth::Authority;
use crate::provider::client::Upstreams;
use crate::wire::sse::{self, Cutter};

const SURFACE: &str = "/v1/chat/completions";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A model of the configuration.
    model: String,
    /// What to say to it; `-`, or nothing, reads standard input.
    text: Option<String>,
    /// A system message before it.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of the answer.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Print the events of the answer as they come, one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    match configured(config) {
        Ok(snapshot) => done(async { chat(snapshot, arguments).await.map_err(Some) }),
        Err(code) => code,
    }
}

async fn chat(mut snapshot: Snapshot, arguments: &Arguments) -> Result<(), String> {
    // Whoever may read the configuration may ask its models; no row is written.
    snapshot.keys = Keys::default();
    snapshot.request_log.disabled = true;
    snapshot.request_log.database_url = None;
    let journal =
        Journal::open(&snapshot.request_log, "chat").map_err(|error| error.to_string())?;
    let mcp = Mcp::new(tokio::runtime::Handle::current());
    let live = Live::build(snapshot, None);
    let gate = Gate::new(live, Observers::new(journal.recorder()), journal.responses(), mcp);
    let upstreams = Upstreams::build(Authority::default()).map_err(|error| error.to_string())?;
    let endpoint = ENDPOINTS
        .iter()
        .find(|endpoint| endpoint.surface == SURFACE)
        .ok_or("chat completions are not served")?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = request(arguments, text(arguments)?);
    let mut body = Some(Full::new(Bytes::from(body.to_string())));
    let (head, mut answer) = gate
        .handle(None, endpoint, &headers, &mut body, Client::HERE, &upstreams)
        .await
        .into_parts();
    if !head.status.is_success() {
        let whole = answer.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let error: Value = serde_json::from_slice(&whole).unwrap_or_default();
        return Err(message(&error).unwrap_or_else(|| format!("status {}", head.status)));
    }
    let mut cutter = Cutter::default();
    let mut shown = Shown { json: arguments.json, ..Shown::default() };
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(bytes) = frame.into_data() else { continue };
        let cut = cutter.push(bytes, |event| {
            if let Some(data) = sse::data(event) {
                shown.event(&data);
            }
            false
        });
        cut.map_err(|_| "an event is too long")?;
    }
    shown.end()
}

fn text(arguments: &Arguments) -> Result<String, String> {
    match arguments.text.as_deref() {
        Some(text) if text != "-" => Ok(text.to_owned()),
        None if std::io::stdin().is_terminal() => {
            Err("say something: tidegate chat MODEL \"text\"".to_owned())
        }
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok(text)
        }
    }
}

fn request(arguments: &Arguments, text: String) -> Value {
    let system = arguments.system.as_ref();
    let system = system.map(|text| json!({ "role": "system", "content": text }));
    let messages: Vec<Value> =
        system.into_iter().chain([json!({ "role": "user", "content": text })]).collect();
    json!({
        "model": arguments.model,
        "messages": messages,
        "max_tokens": arguments.max_tokens,
        "stream": true,
        "stream_options": { "include_usage": true },
    })
}

fn message(error: &Value) -> Option<String> {
    error.pointer("/error/message")?.as_str().map(str::to_owned)
}

/// What has been printed of an answer.
#[derive(Default)]
struct Shown {
    json: bool,
    is_thinking: bool,
    has_text: bool,
    error: Option<String>,
    usage: Option<Value>,
}

impl Shown {
    fn event(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
        if self.json {
            print(&format!("{event}\n"));
        }
        self.error = message(&event).or(self.error.take());
        if event.get("usage").is_some_and(Value::is_object) {
            self.usage = event.get("usage").cloned();
        }
        let Some(delta) = event.pointer("/choices/0/delta").filter(|_| !self.json) else { return };
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("reasoning_content").is_empty() {
            if !self.is_thinking {
                print("<think>\n");
            }
            self.is_thinking = true;
            print(text("reasoning_content"));
        }
        if !text("content").is_empty() {
            if std::mem::take(&mut self.is_thinking) {
                print("\n</think>\n");
            }
            self.has_text = true;
            print(text("content"));
        }
    }

    fn end(self) -> Result<(), String> {
        if self.has_text || self.is_thinking {
            print("\n");
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let count = |name: &str| self.usage.as_ref()?.get(name)?.as_u64();
        if let (Some(input), Some(output), false) =
            (count("prompt_tokens"), count("completion_tokens"), self.json)
        {
            complain(&format!("{input} tokens in, {output} out"));
        }
        Ok(())
    }
}
