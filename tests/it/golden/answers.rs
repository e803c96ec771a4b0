//! Answers of providers, told to clients: a whole one whole, a streamed one as a stream.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tidegate::conversation::{Event, Format, Json};
use tidegate::wire::codec::{ClientHalf, Echo, Frame, Ids, ReplyContext, Stamp};
use tidegate::wire::formats;
use tidegate::wire::framing::Frames;

use super::{Page, inputs, pretty, title};

/// What providers say that is no answer of a conversation, by the beginning of its name.
const OTHERS: &[&str] = &["embed", "rerank", "tags", "models", "count", "compact"];

static CLIENTS: [(&str, &ClientHalf); 4] = [
    ("openai_chat", &formats::CHAT),
    ("openai_completions", &formats::COMPLETIONS),
    ("openai_responses", &formats::RESPONSES),
    ("anthropic", &formats::MESSAGES),
];

/// When every answer was given, and its end.
const NOW: i64 = 1_790_000_000;

pub(super) fn pages() -> Vec<Page> {
    let inputs = inputs("answers", &["json", "jsonl", "sse", "bin"]);
    inputs.iter().filter_map(|(folder, path)| page(folder, path)).collect()
}

fn page(folder: &str, path: &Path) -> Option<Page> {
    let name = path.file_stem()?.to_str()?;
    let extension = path.extension()?.to_str()?;
    // What Bedrock sends is binary; beside it lies what it was made of, to be read.
    let is_readable_twin = folder == "bedrock" && extension == "jsonl";
    if OTHERS.iter().any(|other| name.starts_with(other)) || is_readable_twin {
        return None;
    }
    let body = fs::read(path).unwrap();
    let title = title("answers", folder, path);
    let format = Format::parse(folder).unwrap();
    let (shown, told) = match extension {
        "json" => (pretty::json(&String::from_utf8_lossy(&body)), whole(format, name, &body)),
        "bin" => (read(&path.with_extension("jsonl")), streamed(format, name, &body)),
        _ => (read(path), streamed(format, name, &body)),
    };
    let text = format!("# {title}\n\n{}\n{told}", shown.trim_end());
    Some(Page { path: path.with_extension(format!("{extension}.golden")), text })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn stamp() -> Stamp {
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    Stamp { id, created: NOW, model: "house-model".to_owned() }
}

/// Answers named for it are to a request whose structured answer a tool stands in for.
fn context(name: &str) -> ReplyContext {
    let json_tool = name.starts_with("json_tool").then(|| "json_answer".to_owned());
    let ids = Ids::new("fedcba9876543210fedcba9876543210");
    ReplyContext { ids, json_tool, ..ReplyContext::default() }
}

/// A request that says little, and asks a stream for its usage.
fn echo() -> Echo {
    let tool = r#"[{"type":"function","name":"get_weather","parameters":{},"strict":false}]"#;
    let fields = vec![("tools".to_owned(), Json::parse(tool).unwrap())];
    Echo { fields, include_usage: true }
}

/// The legacy completions are shown for their own family only.
fn clients(format: Format) -> impl Iterator<Item = (&'static str, &'static ClientHalf)> {
    let all = CLIENTS.into_iter();
    all.filter(move |(name, _)| *name != "openai_completions" || format == Format::OpenAiChat)
}

fn whole(format: Format, name: &str, body: &[u8]) -> String {
    let half = formats::provider(format).unwrap();
    let reply = (half.reply)(body, &mut context(name));
    let mut text = String::new();
    for (name, client) in clients(format) {
        text.push_str(&format!("\n## {name}\n\n"));
        let told = reply.clone().and_then(|reply| (client.reply)(&reply, &echo(), &stamp()));
        let told = told.unwrap_or_else(|fault| {
            text.push_str(&format!("status {}\n", formats::status(client, &fault)));
            (client.error)(&fault).to_vec()
        });
        text.push_str(&pretty::json(&String::from_utf8(told).unwrap()));
        text.push('\n');
    }
    text
}

fn streamed(format: Format, name: &str, body: &[u8]) -> String {
    let events = events(format, name, body);
    let mut text = String::new();
    for (name, client) in clients(format) {
        let mut encoder = (client.stream)(echo(), stamp());
        let mut out = Vec::new();
        events.iter().for_each(|event| encoder.event(event.clone(), &mut out));
        encoder.end(NOW + 1, &mut out);
        let told = pretty::events(&String::from_utf8(out).unwrap());
        text.push_str(&format!("\n## {name}\n\n{told}"));
    }
    text
}

fn events(format: Format, name: &str, body: &[u8]) -> Vec<Event> {
    let half = formats::provider(format).unwrap();
    let mut decoder = (half.stream)(context(name));
    let mut frames = Frames::new(half.framing);
    let mut events = Vec::new();
    let read = frames.push(Bytes::copy_from_slice(body), |frame: Frame<'_>| {
        decoder.frame(frame, &mut events);
    });
    read.unwrap();
    frames.end(|frame| decoder.frame(frame, &mut events));
    decoder.end(&mut events);
    events
}
