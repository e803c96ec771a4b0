//! Laws of requests: of every recorded one, and of made-up ones.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};
use tidegate::conversation::{Ask, Format, Losses, repair, stand_in};
use tidegate::ground::fault::{Fault, Kind};
use tidegate::wire::codec::{ClientHalf, Options, Outbound, Target};
use tidegate::wire::{catalogue, formats};

use super::{generate, pairs};

const GOALS: [(Format, &str); 15] = [
    (Format::OpenAiChat, "openai/gpt-4.1"),
    (Format::OpenAiChat, "openai/gpt-5.1"),
    (Format::OpenAiChat, "mistral/mistral-large-latest"),
    (Format::OpenAiChat, "deepseek/deepseek-chat"),
    (Format::OpenAiChat, "openrouter/x"),
    (Format::OpenAiChat, "llamafile/x"),
    (Format::OpenAiResponses, "openai/gpt-5.1"),
    (Format::Anthropic, "anthropic/claude-sonnet-4-5"),
    (Format::Anthropic, "anthropic/claude-opus-4-8"),
    (Format::Gemini, "gemini/gemini-3-pro-preview"),
    (Format::Gemini, "gemini/gemini-2.0-flash"),
    (Format::Bedrock, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Format::Bedrock, "bedrock/amazon.nova-pro-v1:0"),
    (Format::Ollama, "ollama/qwen3:8b"),
    (Format::Cohere, "cohere/command-a-03-2025"),
];

/// Writes a request as the gateway does.
fn write(ask: &Ask, format: Format, model: &str, losses: &mut Losses) -> Result<Outbound, Fault> {
    let (provider, model) = catalogue::find(model, false).unwrap();
    let (info, options): (Map<String, Value>, Options) = (Map::new(), Options::default());
    let base = provider.base.unwrap_or("http://127.0.0.1:8000/v1");
    let (info, options, stream) = (&info, &options, ask.stream);
    let target = Target { model, provider, base, info, options, stream };
    let mut ask = ask.clone();
    repair::pair_results(&mut ask);
    stand_in::stand_in(&mut ask, &formats::abilities(format, &target), losses);
    (formats::provider(format).unwrap().request)(&ask, &target, losses)
}

fn check(ask: &Ask) -> Result<(), String> {
    for (format, model) in GOALS {
        let written = match write(ask, format, model, &mut Losses::default()) {
            Ok(written) => written,
            Err(fault) if fault.kind == Kind::InvalidRequest => continue,
            Err(fault) => return Err(format!("{model}: {fault:?}")),
        };
        let body = String::from_utf8_lossy(&written.body);
        let value: Value = serde_json::from_slice(&written.body)
            .map_err(|why| format!("{model}: {why}: {body}"))?;
        pairs::check(format, &value).map_err(|why| format!("{model}: {why}: {body}"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn made_up_requests_are_written_with_results_behind_their_calls(ask in generate::ask()) {
        check(&ask).map_err(TestCaseError::fail)?;
    }
}

fn recorded(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/requests").join(folder);
    let files = fs::read_dir(root).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    files
}

#[test]
fn recorded_requests_are_written_with_results_behind_their_calls() {
    let halves = [
        ("openai_chat", &formats::CHAT),
        ("openai_responses", &formats::RESPONSES),
        ("anthropic", &formats::MESSAGES),
    ];
    let mut wrong = Vec::new();
    for (folder, client) in halves {
        for path in recorded(folder) {
            let (ask, _) = (client.request)(&fs::read(&path).unwrap()).unwrap();
            if let Err(why) = check(&ask) {
                wrong.push(format!("{}: {why}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every value of the client's body comes out again when it is read and written for the same format.
#[track_caller]
fn check_round_trip(folder: &str, client: &ClientHalf, format: Format, model: &str, but: &[&str]) {
    let mut wrong = Vec::new();
    for path in recorded(folder) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if but.contains(&name) {
            continue;
        }
        let body = fs::read(&path).unwrap();
        let (ask, _) = (client.request)(&body).unwrap();
        let mut losses = Losses::default();
        let written = write(&ask, format, model, &mut losses).unwrap();
        let mut left = values(&written.body);
        let mut lost = Vec::new();
        for value in values(&body) {
            match left.iter().position(|kept| *kept == value) {
                Some(at) => drop(left.swap_remove(at)),
                None => lost.push(value),
            }
        }
        if !lost.is_empty() || !losses.is_empty() {
            wrong.push(format!("{name} loses {lost:?}, {:?}", losses.paths()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Every value of a body that is no list and no object. Labels are left out: formats have two spellings of
/// many things, a bare text among them.
fn values(body: &[u8]) -> Vec<Value> {
    fn walk(name: &str, value: Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(members) => {
                members.into_iter().for_each(|(name, value)| walk(&name, value, found));
            }
            Value::Array(items) => items.into_iter().for_each(|item| walk(name, item, found)),
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            _ if matches!(name, "model" | "type" | "role" | "index") => {}
            value => found.push(value),
        }
    }
    let mut found = Vec::new();
    walk("", serde_json::from_slice(body).unwrap(), &mut found);
    found
}

#[test]
fn a_round_trip_through_messages_loses_nothing() {
    let model = "anthropic/claude-opus-4-8";
    check_round_trip("anthropic", &formats::MESSAGES, Format::Anthropic, model, &[]);
}

#[test]
fn a_round_trip_through_responses_loses_nothing() {
    let but = [
        // Tools that came as an item are tools like others; the item had an id of its own.
        "codex_lite",
        // What this gateway sealed for others is not OpenAI's to read.
        "compacted",
        "sealed",
        // Data URLs are spelled in one way.
        "media",
    ];
    let (client, format) = (&formats::RESPONSES, Format::OpenAiResponses);
    check_round_trip("openai_responses", client, format, "openai/gpt-5.1", &but);
}

#[test]
fn a_round_trip_through_chat_loses_nothing() {
    let but = [
        // What OpenAI's chat has no place for: its own clients do not send it.
        "audio",
        "cache_control",
        "echoed_answer",
        "gemini_signatures",
        "hosted_tools",
        "reasoning_content",
        "reasoning_details",
        "reasoning_details_openrouter",
        "reasoning_effort",
        "reasoning_openrouter",
        "sampling",
        "thinking",
        "thinking_blocks",
        // It is refused without `store: true`.
        "identity",
        // Spelled anew: data URLs, the older functions, an empty list of arguments, where a name is enough.
        "files",
        "legacy_functions",
        "tool_result_image",
        "tool_results",
        // The hub reads the stream itself.
        "stream",
    ];
    let (client, format) = (&formats::CHAT, Format::OpenAiChat);
    check_round_trip("openai_chat", client, format, "openai/gpt-4.1", &but);
}
