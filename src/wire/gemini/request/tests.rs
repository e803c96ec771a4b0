//! Whole requests: paths, bodies, and what stands beside what.

use super::*;
use crate::conversation::{Extras, Format, Json, Part as Said, Role, Tool, ToolKind, Turn};
use crate::wire::catalogue::{self, Provider};
use crate::wire::codec::Options;
use serde_json::{Map, Value, json};

fn provider(name: &'static str) -> &'static Provider {
    let row = catalogue::find("gemini/x", false).expect("a row").0;
    Box::leak(Box::new(Provider {
        name,
        prefixes: row.prefixes,
        formats: row.formats,
        auth: row.auth,
        layout: row.layout,
        base: row.base,
        key_variable: row.key_variable,
        base_suffix: row.base_suffix,
        beside: row.beside,
        stream_usage: row.stream_usage,
    }))
}

fn outbound(
    ask: &Ask,
    name: &'static str,
    model: &str,
    stream: bool,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    let options = Options::default();
    let info = Map::new();
    let target = Target {
        model,
        provider: provider(name),
        base: "https://x/v1beta",
        info: &info,
        options: &options,
        stream,
    };
    write(ask, &target, losses)
}

fn ask() -> Ask {
    let turns = vec![
        Turn::new(Role::System, vec![Said::text("be brief")]),
        Turn::new(Role::User, vec![Said::text("hi")]),
    ];
    Ask { turns, max_tokens: Some(5), ..Ask::new(Format::OpenAiChat) }
}

fn function() -> Tool {
    Tool {
        name: "f".into(),
        namespace: None,
        description: None,
        kind: ToolKind::Function { schema: None, strict: None },
        cache_control: None,
        extras: Extras::default(),
    }
}

#[test]
fn paths() {
    let check = |name, model: &str, stream, expected: &str| {
        let outbound = outbound(&ask(), name, model, stream, &mut Losses::default());
        assert_eq!(outbound.expect("written").path, expected);
    };
    check("gemini", "gemini-2.5-pro", false, "/models/gemini-2.5-pro:generateContent");
    check(
        "gemini",
        "models/gemini-2.5-pro",
        true,
        "/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    );
    check("gemini", "tunedModels/x-1", false, "/tunedModels/x-1:generateContent");
    check("gemini", "a/../../b?c#d", false, "/models/a/././b%3Fc%23d:generateContent");
    check(
        "vertex_ai",
        "gemini-2.5-pro",
        true,
        "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    );
    check("vertex_ai", "123456", false, "/endpoints/123456:generateContent");
    check(
        "vertex_ai",
        "publishers/google/models/x",
        false,
        "/publishers/google/models/x:generateContent",
    );
}

#[test]
fn a_body_whole() {
    let outbound = outbound(&ask(), "gemini", "gemini-2.5-pro", false, &mut Losses::default());
    let body = String::from_utf8(outbound.expect("written").body).expect("text");
    assert_eq!(
        body,
        r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":5}}"#
    );
}

#[test]
fn nothing_said_is_refused() {
    let empty = Ask::new(Format::OpenAiChat);
    let fault = outbound(&empty, "gemini", "gemini-2.5-pro", false, &mut Losses::default());
    assert_eq!(fault.expect_err("refused").param.as_deref(), Some("messages"));
}

#[test]
fn a_format_beside_functions_is_asked_for_in_words() {
    let mut ask = ask();
    ask.tools = vec![function()];
    ask.text_format = Some(crate::conversation::TextFormat::JsonObject);
    let mut losses = Losses::default();
    let old = outbound(&ask, "gemini", "gemini-2.5-pro", false, &mut losses).expect("written");
    let body: Value = serde_json::from_slice(&old.body).expect("valid");
    assert_eq!(body["systemInstruction"]["parts"].as_array().map(Vec::len), Some(2));
    assert_eq!(losses.paths(), "response_format");
    let new = outbound(&ask, "gemini", "gemini-3-pro", false, &mut Losses::default());
    let body: Value = serde_json::from_slice(&new.expect("written").body).expect("valid");
    assert_eq!(body["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn a_cached_content_stands_alone() {
    let mut ask = ask();
    ask.tools = vec![function()];
    ask.tool_choice = Some(crate::conversation::ToolChoice::Auto);
    let cached = Json::parse(r#""cachedContents/1""#).expect("valid");
    ask.extras = Extras::new(Format::OpenAiChat, vec![("cached_content".into(), cached)]);
    let mut losses = Losses::default();
    let outbound = outbound(&ask, "gemini", "gemini-2.5-pro", false, &mut losses).expect("written");
    let body: Value = serde_json::from_slice(&outbound.body).expect("valid");
    assert_eq!(
        body,
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "cachedContent": "cachedContents/1", "generationConfig": {"maxOutputTokens": 5}})
    );
    assert_eq!(losses.paths(), "messages[0], tools, tool_choice");
}

#[test]
fn vertex_takes_labels() {
    let mut ask = ask();
    ask.metadata = Json::parse(r#"{"team":"a"}"#);
    let mut losses = Losses::default();
    let outbound =
        outbound(&ask, "vertex_ai", "gemini-2.5-pro", false, &mut losses).expect("written");
    let body: Value = serde_json::from_slice(&outbound.body).expect("valid");
    assert_eq!((body["labels"].clone(), losses.is_empty()), (json!({"team": "a"}), true));
}
