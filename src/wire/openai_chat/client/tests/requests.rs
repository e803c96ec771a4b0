//! Every fixture of `tests/golden/requests/openai_chat`, and what each must be read as.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{CHAT, CLIENT};
use crate::conversation::{
    Ask, CallKind, Content, Effort, Format, MediaKind, Part, Reasoned, Reasoning, Role, Seal,
    Source, TextFormat, ToolCall, ToolChoice, ToolKind, Turn,
};
use crate::ground::fault::Kind;
use crate::wire::codec::Echo;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/golden/requests/openai_chat/", $name, ".json"))
    };
}

#[track_caller]
fn read(text: &str) -> (Ask, Echo) {
    (CLIENT.request)(text.as_bytes()).expect("a request that is taken")
}

#[track_caller]
fn ask(text: &str) -> Ask {
    read(text).0
}

/// A request around some fields.
#[track_caller]
fn with(fields: &str) -> Ask {
    ask(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{fields}}}"#))
}

#[track_caller]
fn refused(body: &str, path: &str, words: &str) {
    let fault = (CLIENT.request)(body.as_bytes()).expect_err("refused");
    assert_eq!(fault.kind, Kind::InvalidRequest);
    assert_eq!(fault.param.as_deref().unwrap_or_default(), path, "{}", fault.message);
    assert!(fault.message.contains(words), "{}", fault.message);
}

fn call(turn: &Turn, at: usize) -> &ToolCall {
    turn.parts.iter().filter_map(Part::as_call).nth(at).expect("a call")
}

fn thoughts(turn: &Turn) -> Vec<&Reasoning> {
    let parts = turn.parts.iter();
    let reasoning = parts.filter_map(|part| match &part.content {
        Content::Reasoning(reasoning) => Some(reasoning),
        _ => None,
    });
    reasoning.collect()
}

fn source(part: &Part) -> (MediaKind, &Source) {
    match &part.content {
        Content::Media(media) => (media.kind, &media.source),
        other => panic!("no media: {other:?}"),
    }
}

#[test]
fn texts_in_every_form() {
    let plain = ask(fixture!("plain"));
    assert_eq!(plain.turns[0], Turn::new(Role::System, vec![Part::text("Be brief.")]));
    assert_eq!(plain.turns[1].text(), "Say hello in German, with an emoji. é 🎉");
    assert!(plain.extras.is_empty() && !plain.stream);
    let parts = ask(fixture!("parts"));
    let roles: Vec<Role> = parts.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::Developer, Role::User, Role::Assistant, Role::User]);
    assert_eq!(parts.turns[1].name.as_deref(), Some("ann"));
    assert_eq!(parts.turns[1].text(), "one\ntwo");
    assert_eq!(parts.turns[2].parts[1].content, Content::Refusal("not four".into()));
}

#[test]
fn tools_and_the_choice_among_them() {
    let tools = ask(fixture!("tools"));
    let ToolKind::Function { schema, strict } = &tools.tools[0].kind else { panic!("a function") };
    assert_eq!(*strict, Some(true));
    assert!(schema.as_ref().is_some_and(|schema| schema.as_str().contains("\"enum\"")));
    assert_eq!(tools.tools[1].kind, ToolKind::Function { schema: None, strict: None });
    assert_eq!(tools.tool_choice, Some(ToolChoice::Auto));
    assert_eq!(tools.parallel_tool_calls, Some(false));

    let named = |kind| ToolChoice::Named { name: "get_weather".into(), namespace: None, kind };
    let function = named(CallKind::Function);
    assert_eq!(ask(fixture!("tool_choice_named")).tool_choice, Some(function.clone()));
    let allowed = ToolChoice::Allowed { names: vec!["get_weather".into()], required: true };
    assert_eq!(ask(fixture!("tool_choice_allowed")).tool_choice, Some(allowed));
    for (text, choice) in [
        ("\"any\"", ToolChoice::Required),
        ("\"none\"", ToolChoice::None),
        (r#"{"type":"auto"}"#, ToolChoice::Auto),
        (r#"{"type":"tool","name":"get_weather"}"#, function.clone()),
        (r#"{"type":"function","name":"get_weather"}"#, function),
    ] {
        assert_eq!(with(&format!("\"tool_choice\":{text}")).tool_choice, Some(choice), "{text}");
    }
    let hosted = ask(fixture!("hosted_tools"));
    let formats = hosted.tools.iter().map(|tool| match &tool.kind {
        ToolKind::Hosted { format, .. } => *format,
        other => panic!("no hosted tool: {other:?}"),
    });
    let formats = formats.collect::<Vec<_>>();
    let responses = Format::OpenAiResponses;
    assert_eq!(formats, [Format::Anthropic, Format::Gemini, responses, responses, CHAT]);
    let names: Vec<&str> = hosted.tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["web_search", "googleSearch", "web_search", "mcp", "openrouter:datetime"]);
}

#[test]
fn custom_tools_are_read_in_the_form_of_responses() {
    let custom = ask(fixture!("custom_tools"));
    let ToolKind::Custom { format: Some(format) } = &custom.tools[0].kind else { panic!("custom") };
    let flat = json!({"type": "grammar", "syntax": "lark", "definition": "start: \"x\""});
    assert_eq!(format.to_value(), flat);
    let called = call(&custom.turns[1], 0);
    assert_eq!((called.kind, &*called.name), (CallKind::Custom, "apply_patch"));
    assert_eq!(called.arguments, "*** Begin Patch\n*** End Patch");
    let result = custom.turns[2].parts[0].as_result().expect("a result");
    assert_eq!(result.kind, CallKind::Custom);
}

#[test]
fn results_of_a_run_of_tool_messages_are_one_turn() {
    let ask = ask(fixture!("tool_results"));
    let roles: Vec<Role> = ask.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User, Role::User]);
    assert_eq!(call(&ask.turns[1], 1).arguments, "{\"city\": \"Rome\"}");
    let results: Vec<_> = ask.turns[2].parts.iter().filter_map(Part::as_result).collect();
    let ids: Vec<&str> = results.iter().map(|result| &*result.call_id).collect();
    assert_eq!(ids, ["call_b", "call_a"]);
    assert_eq!(results[1].name.as_deref(), Some("get_weather"));
    assert_eq!(results[1].text(), "17 C");
    assert_eq!(ask.turns[3].text(), "And in Oslo?");
}

#[test]
fn pictures_of_tools_and_damage_of_old_are_kept() {
    let picture = ask(fixture!("tool_result_image"));
    assert!(picture.turns[1].parts.iter().all(|part| part.as_call().is_some()));
    let result = picture.turns[2].parts[0].as_result().expect("a result");
    assert_eq!(source(&result.parts[1]).0, MediaKind::Image);
    let damaged = ask(fixture!("damaged_arguments"));
    assert_eq!(call(&damaged.turns[1], 0).arguments, "{\"a\":1}{\"b\":2}");
    assert!(damaged.turns[2].parts[0].as_result().expect("a result").parts.is_empty());
}

#[test]
fn pictures_sounds_and_files() {
    let images = ask(fixture!("images"));
    let parts = &images.turns[0].parts;
    assert!(
        matches!(source(&parts[1]).1, Source::Base64 { media_type, .. } if media_type == "image/png")
    );
    assert!(matches!(&parts[1].content, Content::Media(m) if m.detail.as_deref() == Some("low")));
    let url = Source::Url("https://example.com/cat.jpg".into());
    assert_eq!(source(&parts[2]), (MediaKind::Image, &url));
    let files = ask(fixture!("files"));
    let parts = &files.turns[0].parts;
    assert!(
        matches!(source(&parts[0]).1, Source::Base64 { media_type, .. } if media_type == "application/pdf")
    );
    let id = Source::FileId { format: CHAT, id: "file-abc123".into() };
    assert_eq!(source(&parts[1]), (MediaKind::Document, &id));
    assert!(
        matches!(source(&parts[2]).1, Source::Base64 { media_type, .. } if media_type == "text/csv")
    );
    let audio = ask(fixture!("audio"));
    let parts = &audio.turns[0].parts;
    assert!(
        matches!(source(&parts[0]), (MediaKind::Audio, Source::Base64 { media_type, .. }) if media_type == "audio/wav")
    );
    assert_eq!(source(&parts[1]).0, MediaKind::Video);
    assert!(audio.extras.get("modalities").is_some() && audio.extras.get("audio").is_some());
}

#[test]
fn what_the_text_must_be() {
    let structured = ask(fixture!("structured_output")).text_format;
    let Some(TextFormat::JsonSchema { name, description, schema, strict }) = structured else {
        panic!("a schema")
    };
    assert_eq!((&*name, description.as_deref(), strict), ("person", Some("A person"), Some(true)));
    assert!(schema.as_str().contains("\"minimum\": 0"));
    assert_eq!(ask(fixture!("json_object")).text_format, Some(TextFormat::JsonObject));
    assert_eq!(with(r#""response_format":{"type":"text"}"#).text_format, None);
    let gemini = with(r#""response_format":{"type":"json_object","response_schema":{"a":1}}"#);
    assert!(matches!(gemini.text_format, Some(TextFormat::JsonSchema { .. })));
    let grammar = with(r#""response_format":{"type":"grammar","value":"x"}"#);
    assert!(matches!(grammar.text_format, Some(TextFormat::Foreign { format: CHAT, .. })));
}

#[test]
fn how_much_to_think() {
    let effort = ask(fixture!("reasoning_effort"));
    let high = Reasoned { effort: Some(Effort::High), ..Reasoned::default() };
    assert_eq!(effort.reasoning, Some(high));
    assert_eq!((effort.verbosity.as_deref(), effort.max_tokens), (Some("low"), Some(4096)));
    let budget =
        |budget, show| Reasoned { budget_tokens: Some(budget), show, ..Reasoned::default() };
    assert_eq!(ask(fixture!("reasoning_openrouter")).reasoning, Some(budget(2000, Some(false))));
    assert_eq!(ask(fixture!("thinking")).reasoning, Some(budget(2048, None)));
    let disabled = with(r#""thinking":{"type":"disabled"}"#).reasoning;
    assert!(disabled.is_some_and(|reasoned| reasoned.disabled));
    let unknown = with(r#""reasoning_effort":"default""#);
    assert_eq!(unknown.reasoning, None);
    assert!(unknown.extras.get("reasoning_effort").is_some());
}

#[test]
fn thoughts_come_back_with_their_seals() {
    let blocks = ask(fixture!("thinking_blocks"));
    let seal = |data: &str| Some(Seal { format: Format::Anthropic, data: data.into() });
    let turn = &blocks.turns[1];
    assert_eq!(thoughts(turn).len(), 2);
    assert_eq!(thoughts(turn)[0].text, "The user wants weather.");
    assert_eq!(thoughts(turn)[0].seal, seal("EqQBCgIYAhIM"));
    assert!(thoughts(turn)[1].redacted);
    assert_eq!(thoughts(turn)[1].seal, seal("EmwKAhgB"));
    assert!(turn.extras.is_empty() && turn.parts.iter().all(|part| part.extras.is_empty()));

    let details = ask(fixture!("reasoning_details"));
    assert_eq!(thoughts(&details.turns[1])[0].seal, seal("EqQB"));
    let gemini = |data: &str| Some(Seal { format: Format::Gemini, data: data.into() });
    assert_eq!(call(&details.turns[1], 0).seal, gemini("CoAB"));
    assert!(details.turns[1].extras.is_empty());

    let openrouter = ask(fixture!("reasoning_details_openrouter"));
    assert_eq!(thoughts(&openrouter.turns[1])[0].text, "A summary.");
    let own = thoughts(&openrouter.turns[1])[0].seal.as_ref().expect("sealed");
    assert!(own.format == CHAT && own.data.contains("gAAAA"));
    assert!(openrouter.turns[1].extras.is_empty());

    let signed = ask(fixture!("gemini_signatures"));
    assert_eq!(call(&signed.turns[1], 0).seal, gemini("CoYBAfKpE"));
    assert_eq!(call(&signed.turns[1], 1).seal, gemini("Zm9v"));
    assert_eq!(call(&signed.turns[1], 1).id, "call_2");
    let result = signed.turns[2].parts[1].as_result().expect("a result");
    assert_eq!(result.call_id, "call_2");

    let plain = ask(fixture!("reasoning_content"));
    assert_eq!(thoughts(&plain.turns[1]).len(), 1);
    assert_eq!(thoughts(&plain.turns[1])[0].text, "I must call the tool.");
}

#[test]
fn an_answer_sent_back_is_taken() {
    let echoed = ask(fixture!("echoed_answer"));
    let turn = &echoed.turns[1];
    assert_eq!(turn.text(), "Here.");
    assert_eq!(source(&turn.parts[1]).0, MediaKind::Image);
    assert!(turn.extras.is_empty());
    let spoken = ask(
        r#"{"messages":[{"role":"assistant","audio":{"id":"audio_1","data":"xx","transcript":"t"}}]}"#,
    );
    let audio = spoken.turns[0].extras.get("audio").expect("kept");
    assert_eq!(audio.to_value(), json!({"id": "audio_1"}));
    let webui = ask(fixture!("open_webui"));
    assert!(webui.turns[2].parts[0].extras.is_empty(), "the index is gone");
}

#[test]
fn tuning_is_read_as_it_is_spelled() {
    let sampling = ask(fixture!("sampling")).sampling;
    assert_eq!(sampling.temperature.expect("there").as_str(), "1.0e0");
    assert_eq!(sampling.seed.expect("there").as_str(), "12345678901234567890");
    assert_eq!(sampling.presence_penalty.expect("there").as_str(), "-0.5");
    assert_eq!(
        (sampling.n, sampling.logprobs, sampling.top_logprobs),
        (Some(2), Some(true), Some(3))
    );
    assert!(sampling.logit_bias.is_some() && sampling.top_k.is_some() && sampling.min_p.is_some());
    assert_eq!(ask(fixture!("stop")).sampling.stop, ["five"]);
    assert_eq!(ask(fixture!("stop_list")).sampling.stop, ["\n\n", "END", "a", "b"]);
    assert_eq!(ask(fixture!("length")).max_tokens, Some(4));
    let (stream, echo) = read(fixture!("stream"));
    assert!(stream.stream && echo.include_usage && stream.extras.is_empty());
}

#[test]
fn who_asks_and_what_rides_along() {
    let identity = ask(fixture!("identity"));
    assert_eq!(identity.user.as_deref(), Some("hash-1"));
    assert_eq!(identity.service_tier.as_deref(), Some("flex"));
    assert_eq!(identity.metadata.expect("there").to_value(), json!({"team": "a"}));
    let names: Vec<&str> = identity.extras.of(CHAT).iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["user", "prompt_cache_key", "store", "prediction"]);
    let cached = ask(fixture!("cache_control"));
    assert!(cached.turns.iter().all(|turn| turn.parts[0].cache_control.is_some()));
    assert!(cached.tools[0].cache_control.is_some() && cached.tools[0].extras.is_empty());
    let unknown = ask(r#"{"messages":[{"role":"user","content":[{"type":"new","x":1}],"y":2}]}"#);
    assert!(matches!(&unknown.turns[0].parts[0].content, Content::Foreign { format: CHAT, .. }));
    assert!(unknown.turns[0].extras.get("y").is_some());
}

#[test]
fn the_older_functions_are_calls_too() {
    let (ask, echo) = read(fixture!("legacy_functions"));
    assert!(echo.get("functions").is_some());
    assert_eq!(ask.tools.len(), 1);
    let kind = CallKind::Function;
    let named = ToolChoice::Named { name: "get_weather".into(), namespace: None, kind };
    assert_eq!(ask.tool_choice, Some(named));
    let id = &call(&ask.turns[1], 0).id;
    let result = ask.turns[2].parts[0].as_result().expect("a result");
    assert_eq!(&result.call_id, id);
    assert_eq!(result.name.as_deref(), Some("get_weather"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for body in ["", "{", "[]", "null", "7", "\"x\"", "{}x"] {
        refused(body, "", "not a JSON object");
    }
    let at = |message: &str| format!(r#"{{"messages":[{message}]}}"#);
    refused("{}", "messages", "missing");
    refused(r#"{"messages":[]}"#, "messages", "at least one");
    refused(r#"{"messages":{}}"#, "messages", "a list");
    refused(&at("7"), "messages[0]", "an object");
    refused(&at(r#"{"content":"x"}"#), "messages[0].role", "missing");
    refused(&at(r#"{"role":"bot","content":"x"}"#), "messages[0].role", "one of system");
    refused(&at(r#"{"role":"user"}"#), "messages[0].content", "missing");
    refused(&at(r#"{"role":"user","content":7}"#), "messages[0].content", "a list of parts");
    let part = |part: &str| at(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    refused(&part("{}"), "messages[0].content[0].type", "missing");
    refused(&part(r#"{"type":"text"}"#), "messages[0].content[0].text", "missing");
    let broken = r#"{"type":"image_url","image_url":{"url":"data:image/png,"}}"#;
    refused(&part(broken), "messages[0].content[0].image_url.url", "data:image/png;base64");
    let file = r#"{"type":"file","file":{}}"#;
    refused(&part(file), "messages[0].content[0].file", "`file_data`");
    refused(&at(r#"{"role":"tool","content":"x"}"#), "messages[0].tool_call_id", "missing");
    let call = |call: &str| at(&format!(r#"{{"role":"assistant","tool_calls":[{call}]}}"#));
    refused(&call("{}"), "messages[0].tool_calls[0].id", "missing");
    refused(&call(r#"{"id":"a"}"#), "messages[0].tool_calls[0].function", "missing");
    let other = r#"{"id":"a","type":"other"}"#;
    refused(&call(other), "messages[0].tool_calls[0].type", "`function` or `custom`");
    let field =
        |field: &str| at(r#"{"role":"user","content":"x"}"#).replace("]}", &format!("],{field}}}"));
    refused(&field(r#""tools":[{"type":"function"}]"#), "tools[0].function", "missing");
    refused(&field(r#""tools":[{"function":{}}]"#), "tools[0].type", "`function`");
    refused(&field(r#""tool_choice":"maybe""#), "tool_choice", "required");
    refused(&field(r#""temperature":"hot""#), "temperature", "a number");
    refused(&field(r#""n":0"#), "n", "1 to 128");
    refused(&field(r#""max_tokens":-1"#), "max_tokens", "whole number");
    refused(&field(r#""stop":7"#), "stop", "a list of strings");
    refused(&field(r#""stream":"yes""#), "stream", "true or false");
    refused(
        &field(r#""response_format":{"type":"json_schema"}"#),
        "response_format.json_schema",
        "missing",
    );
    refused(&field(r#""reasoning":{"effort":"very"}"#), "reasoning.effort", "xhigh");
}

const ALL: [&str; 8] = [
    fixture!("parts"),
    fixture!("tool_results"),
    fixture!("thinking_blocks"),
    fixture!("reasoning_details"),
    fixture!("files"),
    fixture!("custom_tools"),
    fixture!("legacy_functions"),
    fixture!("sampling"),
];

/// Puts `new` in the place of the `at`th value below the top.
fn damage(value: &mut Value, at: &mut usize, new: &Value) {
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        if *at == 0 {
            *child = new.clone();
            *at = usize::MAX;
            return;
        }
        *at -= 1;
        damage(child, at, new);
        if *at == usize::MAX {
            return;
        }
    }
}

proptest! {
    #[test]
    fn no_damage_does_harm(which in 0..ALL.len(), mut at in 0..60usize, kind in 0..8usize) {
        let new = [json!(null), json!(true), json!(-1.5), json!("é"), json!([]), json!({}),
            json!([[]]), json!({"type": "text"})][kind].clone();
        let mut value: Value = serde_json::from_str(ALL[which]).expect("JSON");
        damage(&mut value, &mut at, &new);
        if let Err(fault) = (CLIENT.request)(value.to_string().as_bytes()) {
            prop_assert_eq!(fault.kind, Kind::InvalidRequest);
            prop_assert!(fault.param.is_some());
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = (CLIENT.request)(&bytes);
    }
}
