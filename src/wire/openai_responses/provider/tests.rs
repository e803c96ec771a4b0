//! What this half promises: a stream folded is the answer whole, cuts make no difference, requests carry what
//! OpenAI takes and name what it does not, and what its own clients send comes out as it went in.

mod answers;
mod requests;
mod round_trips;

use super::super::super::catalogue::PROVIDERS;
use super::super::super::codec::{Options, Outbound, ReplyContext, Target};
use super::PROVIDER;
use crate::conversation::{Ask, Losses, Reply};
use crate::ground::fault::Fault;

macro_rules! golden {
    ($($name:tt)*) => {
        include_str!(concat!("../../../../tests/golden/answers/openai_responses/", $($name)*))
    };
}

macro_rules! pairs {
    ($($name:literal),* $(,)?) => {
        &[$(($name, golden!($name, ".sse"), golden!($name, ".json"))),*]
    };
}

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, golden!($name))),*] };
}

/// Streams with the same answers whole.
const BOTH: &[(&str, &str, &str)] = pairs![
    "text",
    "tool",
    "no_arguments",
    "parallel",
    "custom",
    "reasoning",
    "refusal",
    "length",
    "filtered",
    "citations",
    "image",
    "mcp",
    "client_tools",
    "sparse_deltas_only",
    "sparse_arguments_done",
    "sparse_last_event_only",
];

/// Streams that fail, or that no whole answer is equal to.
const ALONE: &[(&str, &str)] =
    files!["error.sse", "failed.sse", "failed.json", "truncated.sse", "sparse_empty_output.sse"];

/// A golden by its file's name.
fn golden(file: &str) -> &'static str {
    let (name, ending) = file.split_once('.').expect("an ending");
    let pair = BOTH.iter().find(|(known, ..)| *known == name);
    let pair = pair.map(|(_, stream, body)| if ending == "sse" { *stream } else { *body });
    let alone = ALONE.iter().find(|(known, _)| *known == file);
    pair.or_else(|| alone.map(|(_, text)| *text)).expect(file)
}

fn whole(body: &str) -> Result<Reply, Fault> {
    (PROVIDER.reply)(body.as_bytes(), &mut ReplyContext::default())
}

fn write(ask: &Ask, model: &str, losses: &mut Losses) -> Result<Outbound, Fault> {
    let provider = &PROVIDERS[0];
    let (info, options) = (serde_json::Map::new(), Options::default());
    let base = "https://api.openai.com/v1";
    let (info, options) = (&info, &options);
    let target = Target { model, provider, base, info, options, stream: ask.stream };
    (PROVIDER.request)(ask, &target, losses)
}
