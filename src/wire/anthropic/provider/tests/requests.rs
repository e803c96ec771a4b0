//! What is sent: conversations of every kind, fitted to the model.

use serde_json::{Map, Value, json};

use super::super::PROVIDER;
use crate::conversation::{
    Ask, CallKind, Content, Effort, Extras, Format, Json, Losses, Media, MediaKind, Part, Reasoned,
    Reasoning, Role, Seal, Source, TextFormat, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
    Turn,
};
use crate::ground::fault::Fault;
use crate::wire::anthropic::client::CLIENT;
use crate::wire::catalogue::{self, Provider};
use crate::wire::codec::{Options, Outbound, Target};

fn anthropic() -> &'static Provider {
    catalogue::find("anthropic/x", false).expect("in the table").0
}

fn sent(ask: &Ask, model: &str, info: Value) -> (Result<Outbound, Fault>, Losses) {
    let (info, options) = (info.as_object().cloned().unwrap_or_default(), Options::default());
    let target = Target {
        model,
        provider: anthropic(),
        base: "https://api.anthropic.com",
        info: &info,
        options: &options,
        stream: ask.stream,
    };
    let mut losses = Losses::default();
    ((PROVIDER.request)(ask, &target, &mut losses), losses)
}

fn body(ask: &Ask, model: &str) -> (Value, Losses) {
    let (outbound, losses) = sent(ask, model, Value::Null);
    let outbound = outbound.expect("can be sent");
    (serde_json::from_slice(&outbound.body).expect("valid"), losses)
}

fn chat(turns: Vec<Turn>) -> Ask {
    Ask { turns, ..Ask::new(Format::OpenAiChat) }
}

fn user(text: &str) -> Turn {
    Turn::new(Role::User, vec![Part::text(text)])
}

fn call(id: &str, name: &str) -> Part {
    let (id, name) = (id.to_owned(), name.to_owned());
    Part::new(Content::ToolCall(ToolCall { id, name, ..ToolCall::default() }))
}

fn result(id: &str, text: &str) -> Part {
    let (call_id, parts) = (id.to_owned(), vec![Part::text(text)]);
    Part::new(Content::ToolResult(ToolResult { call_id, parts, ..ToolResult::default() }))
}

fn function(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        namespace: None,
        description: None,
        kind: ToolKind::Function { schema: None, strict: None },
        cache_control: None,
        extras: <_>::default(),
    }
}

#[test]
fn a_chat_becomes_messages() {
    let mut ask = chat(vec![
        Turn::new(Role::System, vec![Part::text("Be brief."), Part::text("  ")]),
        user("Hi"),
        Turn::new(Role::Assistant, vec![Part::text(""), call("a.1", "f"), call("b", "f")]),
        Turn::new(Role::User, vec![result("b", "2")]),
        Turn::new(Role::Developer, vec![Part::text("Hurry.")]),
        Turn::new(Role::User, vec![result("a.1", "1")]),
        user("So?"),
    ]);
    ask.tools = vec![function("f")];
    ask.sampling.temperature = Json::parse("1.5");
    ask.sampling.stop = vec!["\n".into(), "END".into()];
    ask.user = Some("u1".into());
    let (body, losses) = body(&ask, "claude-3-5-haiku-20241022");
    assert_eq!(
        body,
        json!({
            "model": "claude-3-5-haiku-20241022",
            "max_tokens": 8192,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "a_1", "name": "f", "input": {}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a_1", "content": [{"type": "text", "text": "1"}]},
                    {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}]},
                    {"type": "text", "text": "<system>\nHurry.\n</system>"},
                    {"type": "text", "text": "So?"},
                ]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
            "temperature": 1,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u1"},
        })
    );
    assert_eq!(losses.paths(), "temperature, stop");
}

#[test]
fn a_conversation_is_mended() {
    let ask = chat(vec![
        Turn::new(Role::Assistant, vec![Part::text("Hello")]),
        user("Hi"),
        Turn::new(Role::Assistant, vec![call("x", "f")]),
        user("Never mind"),
        Turn::new(Role::Assistant, vec![call("x", "f")]),
        Turn::new(Role::User, vec![result("x", "late"), result("gone", "lost words")]),
        Turn::new(Role::Assistant, vec![Part::text("The answer is \n")]),
    ]);
    let (sent, _) = body(&ask, "claude-sonnet-4-5");
    let messages = sent["messages"].as_array().expect("a list");
    let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "user", "assistant", "user", "assistant", "user", "assistant"]
    );
    assert_eq!(messages[4]["content"][0]["tool_use_id"], "x");
    assert_eq!(messages[5]["content"][0]["id"], "x_2");
    assert_eq!(messages[6]["content"][1], json!({"type": "text", "text": "lost words"}));
    assert_eq!(messages[7]["content"][0]["text"], "The answer is");
    assert_eq!(sent["tools"][0]["name"], "f");
    assert_eq!(sent["tool_choice"], json!({"type": "none"}));
    let (sent, losses) = body(&ask, "claude-opus-4-6");
    let messages = sent["messages"].as_array().expect("a list");
    assert_eq!(messages.last().expect("some")["role"], "user");
    assert_eq!(losses.paths(), "messages");
    // A conversation of a system prompt alone still has a user.
    let alone = chat(vec![Turn::new(Role::System, vec![Part::text("Write.")])]);
    assert_eq!(body(&alone, "claude-opus-4-6").0["messages"][0]["role"], "user");
}

#[test]
fn each_model_thinks_its_own_way() {
    let mut ask = chat(vec![user("Hi")]);
    ask.max_tokens = Some(1000);
    ask.sampling.temperature = Json::parse("0.2");
    ask.reasoning = Some(Reasoned { effort: Some(Effort::Medium), ..Reasoned::default() });
    let (sent, losses) = body(&ask, "claude-sonnet-4-5");
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
    assert_eq!((&sent["max_tokens"], &sent["temperature"]), (&json!(3048), &Value::Null));
    assert_eq!(losses.paths(), "temperature");
    let (sent, _) = body(&ask, "claude-opus-4-6");
    assert_eq!(sent["thinking"], json!({"type": "adaptive"}));
    assert_eq!(sent["output_config"], json!({"effort": "medium"}));
    let (sent, losses) = body(&ask, "claude-opus-5-5");
    assert_eq!(sent["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(losses.paths(), "temperature");
    let (sent, losses) = body(&ask, "claude-3-haiku-20240307");
    assert_eq!((&sent["thinking"], &sent["temperature"]), (&Value::Null, &json!(0.2)));
    assert_eq!(losses.paths(), "reasoning_effort");
    let none = Some(Reasoned { effort: Some(Effort::None), ..Reasoned::default() });
    let ask = Ask { reasoning: none, ..ask };
    assert_eq!(body(&ask, "claude-opus-5").0["thinking"], json!({"type": "disabled"}));
    assert_eq!(body(&ask, "claude-sonnet-4-5").0["thinking"], Value::Null);
    let (sent, losses) = body(&ask, "claude-fable-5-1");
    assert_eq!(sent["thinking"], Value::Null);
    assert_eq!(losses.paths(), "reasoning_effort, temperature");
}

#[test]
fn lost_thoughts_switch_thinking_off() {
    let seal = |format| Some(Seal { format, data: "S".into() });
    let with = |format| {
        let reasoning = Reasoning { text: "hm".into(), seal: seal(format), ..<_>::default() };
        let mut ask = chat(vec![
            user("Hi"),
            Turn::new(Role::Assistant, vec![Part::reasoning(reasoning), call("x", "f")]),
            Turn::new(Role::User, vec![result("x", "1")]),
        ]);
        ask.tools = vec![function("f")];
        ask.reasoning = Some(Reasoned { effort: Some(Effort::High), ..Reasoned::default() });
        ask
    };
    let (sent, losses) = body(&with(Format::Anthropic), "claude-sonnet-4-5");
    assert_eq!(sent["thinking"]["type"], "enabled");
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "S"});
    assert_eq!(sent["messages"][1]["content"][0], thought);
    assert!(losses.is_empty(), "{losses:?}");
    let (sent, losses) = body(&with(Format::OpenAiResponses), "claude-sonnet-4-5");
    assert_eq!(sent["thinking"], Value::Null);
    assert_eq!(sent["messages"][1]["content"][0]["type"], "tool_use");
    assert_eq!(losses.paths(), "messages[1].content[0], reasoning_effort");
}

#[test]
fn tools_are_chosen() {
    let mut ask = chat(vec![user("Hi")]);
    ask.tools = vec![function("a"), function("b")];
    ask.parallel_tool_calls = Some(false);
    let choice = |ask: &Ask| body(ask, "claude-opus-4-6").0["tool_choice"].clone();
    assert_eq!(choice(&ask), json!({"type": "auto", "disable_parallel_tool_use": true}));
    ask.tool_choice = Some(ToolChoice::None);
    assert_eq!(choice(&ask), json!({"type": "none"}));
    ask.parallel_tool_calls = None;
    ask.tool_choice = Some(ToolChoice::Required);
    assert_eq!(choice(&ask), json!({"type": "any"}));
    ask.tool_choice = Some(ToolChoice::Allowed { names: vec!["b".into()], required: true });
    let (sent, _) = body(&ask, "claude-opus-4-6");
    assert_eq!(sent["tools"].as_array().expect("a list").len(), 1);
    assert_eq!(sent["tool_choice"], json!({"type": "any"}));
    let kind = CallKind::Function;
    ask.tool_choice = Some(ToolChoice::Named { name: "a".into(), namespace: None, kind });
    assert_eq!(choice(&ask), json!({"type": "tool", "name": "a"}));
    // Opus 5.5 always thinks and cannot be forced: only the one tool is left to choose.
    let (sent, losses) = body(&ask, "claude-opus-5-5");
    assert_eq!(sent["tool_choice"], json!({"type": "auto"}));
    assert_eq!(sent["tools"].as_array().expect("a list").len(), 1);
    assert_eq!(losses.paths(), "tool_choice");
    // A hosted tool of another vendor is a loss, and then there is nothing to choose.
    let value = Json::parse(r#"{"type":"web_search"}"#).expect("valid");
    let format = Format::OpenAiResponses;
    ask.tools = vec![Tool { kind: ToolKind::Hosted { format, value }, ..function("web_search") }];
    ask.tool_choice = Some(ToolChoice::Auto);
    let (sent, losses) = body(&ask, "claude-opus-4-6");
    assert_eq!((&sent["tools"], &sent["tool_choice"]), (&Value::Null, &Value::Null));
    assert_eq!(losses.paths(), "tools[0], tool_choice");
}

#[test]
fn answers_are_shaped() {
    let mut ask = chat(vec![user("A city.")]);
    let schema = r#"{"type":"object","properties":{"city":{"type":"string","maxLength":9}}}"#;
    ask.text_format = Some(TextFormat::JsonSchema {
        name: "city".into(),
        description: None,
        schema: Json::parse(schema).expect("valid"),
        strict: Some(true),
    });
    let (sent, _) = body(&ask, "claude-sonnet-4-5");
    let format = &sent["output_config"]["format"];
    assert_eq!(format["schema"]["additionalProperties"], json!(false));
    assert_eq!(format["schema"]["properties"]["city"]["description"], "{\"maxLength\":9}");
    let (outbound, _) = sent_to_old(&ask);
    assert_eq!(outbound.json_tool.as_deref(), Some("json_answer"));
    let sent: Value = serde_json::from_slice(&outbound.body).expect("valid");
    assert_eq!(sent["tool_choice"]["name"], "json_answer");
    assert_eq!(sent["tools"][0]["input_schema"]["properties"]["city"]["maxLength"], 9);
    ask.text_format = Some(TextFormat::JsonObject);
    let (sent, _) = body(&ask, "claude-sonnet-4-5");
    assert!(sent["system"][0]["text"].as_str().is_some_and(|text| text.contains("JSON object")));
}

fn sent_to_old(ask: &Ask) -> (Outbound, Losses) {
    let (outbound, losses) = sent(ask, "claude-3-7-sonnet-20250219", Value::Null);
    (outbound.expect("can be sent"), losses)
}

#[test]
fn what_cannot_be_said_is_told() {
    let mut ask = chat(vec![user("Hi")]);
    ask.sampling.seed = Json::parse("1");
    ask.sampling.logit_bias = Json::parse("{}");
    ask.user = Some("a@b.example".into());
    ask.service_tier = Some("flex".into());
    ask.extras = Extras::new(
        Format::OpenAiChat,
        vec![("store".into(), Json::of(&true)), ("speed".into(), Json::of(&"fast"))],
    );
    let (sent, losses) = body(&ask, "claude-opus-4-8");
    assert_eq!(losses.paths(), "seed, logit_bias, user, service_tier, store");
    assert_eq!(sent["speed"], "fast");
    ask.sampling.n = Some(2);
    let (outbound, _) = self::sent(&ask, "claude-opus-4-8", Value::Null);
    assert_eq!(outbound.expect_err("two answers").param.as_deref(), Some("n"));
}

#[test]
fn media_are_fitted() {
    let media =
        |kind, source| Part::new(Content::Media(Media { kind, source, name: None, detail: None }));
    let base64 = |media_type: &str, data: &str| Source::Base64 {
        media_type: media_type.into(),
        data: data.into(),
    };
    let block = |part: Part| {
        let ask = chat(vec![Turn::new(Role::User, vec![part])]);
        let (outbound, _) = sent(&ask, "claude-opus-4-8", Value::Null);
        outbound.map(|outbound| {
            let body: Value = serde_json::from_slice(&outbound.body).expect("valid");
            body["messages"][0]["content"][0].clone()
        })
    };
    let image = block(media(MediaKind::Image, base64("image/jpg", "AA=="))).expect("an image");
    assert_eq!(image["source"]["media_type"], "image/jpeg");
    let text = block(media(MediaKind::Document, base64("text/csv", "YSxi"))).expect("a text");
    assert_eq!(text["source"], json!({"type": "text", "media_type": "text/plain", "data": "a,b"}));
    for part in [
        media(MediaKind::Audio, base64("audio/wav", "AA==")),
        media(MediaKind::Image, base64("image/tiff", "AA==")),
        media(MediaKind::Document, base64("application/zip", "AAEC/w==")),
        media(MediaKind::Image, Source::FileId { format: Format::OpenAiChat, id: "f".into() }),
    ] {
        let fault = block(part).expect_err("not taken");
        assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"));
    }
}

#[test]
fn at_most_four_cache_controls() {
    let cached = |text| Part { cache_control: Json::parse("{}"), ..Part::text(text) };
    let ask = chat(vec![
        Turn::new(Role::System, vec![cached("s")]),
        Turn::new(Role::User, (0..5).map(|_| cached("u")).collect()),
    ]);
    let (sent, losses) = body(&ask, "claude-opus-4-8");
    assert_eq!(sent.to_string().matches("cache_control").count(), 4);
    assert_eq!(sent["system"][0]["cache_control"], Value::Null);
    assert_eq!(losses.paths(), "cache_control");
}

#[test]
fn the_operator_knows_better() {
    let ask = chat(vec![user("Hi")]);
    let (outbound, _) = sent(&ask, "my-model", json!({"max_output_tokens": 777}));
    let outbound = outbound.expect("can be sent");
    let body: Value = serde_json::from_slice(&outbound.body).expect("valid");
    assert_eq!(body["max_tokens"], 777);
    assert_eq!(outbound.path, "/v1/messages");
    let info = json!({
        "max_output_tokens": 1500,
        "supports_reasoning": true,
        "supports_adaptive_thinking": false,
        "supports_sampling_params": false,
    });
    let mut eager = Ask { max_tokens: Some(9000), ..ask };
    eager.sampling.top_p = Json::parse("0.5");
    eager.reasoning = Some(Reasoned { effort: Some(Effort::Max), ..Reasoned::default() });
    let (tight, losses) = self::sent(&eager, "my-model", info);
    let tight: Value = serde_json::from_slice(&tight.expect("sent").body).expect("valid");
    assert_eq!(tight["max_tokens"], 1500);
    assert_eq!(tight["thinking"], json!({"type": "enabled", "budget_tokens": 1499}));
    assert_eq!(losses.paths(), "max_tokens, top_p");
    assert_eq!(outbound.headers, [("anthropic-version", "2023-06-01".to_owned())]);
}

#[test]
fn vertex_has_the_model_in_the_path() {
    static VERTEX: Provider = Provider { name: "vertex_ai", ..*FIRST };
    const FIRST: &Provider = match catalogue::PROVIDERS.first() {
        Some(first) => first,
        None => panic!("the table is empty"),
    };
    let (info, options) = (Map::new(), Options::default());
    let target = Target {
        model: "claude-sonnet-4-5@20250929",
        provider: &VERTEX,
        base: "https://x/v1/projects/p/locations/l",
        info: &info,
        options: &options,
        stream: true,
    };
    let ask = chat(vec![user("Hi")]);
    let outbound = (PROVIDER.request)(&ask, &target, &mut Losses::default()).expect("sent");
    let path = "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict";
    assert_eq!(outbound.path, path);
    let sent: Value = serde_json::from_slice(&outbound.body).expect("valid");
    assert_eq!((&sent["model"], &sent["stream"]), (&Value::Null, &json!(true)));
    assert_eq!(sent["anthropic_version"], "vertex-2023-10-16");
}

/// What an Anthropic client says comes out for Anthropic again.
#[track_caller]
fn check_round_trip(request: &[u8], betas: Option<&str>) {
    let (ask, _) = (CLIENT.request)(request).expect("a request");
    let (outbound, losses) = sent(&ask, "claude-opus-4-8", Value::Null);
    let outbound = outbound.expect("can be sent");
    assert!(losses.is_empty(), "{losses:?}");
    let (again, _) = (CLIENT.request)(&outbound.body).expect("a request again");
    assert_eq!(again, ask);
    let header = outbound.headers.iter().find(|(name, _)| *name == "anthropic-beta");
    assert_eq!(header.map(|(_, betas)| betas.as_str()), betas);
}

#[test]
fn nothing_is_lost_between_client_and_provider() {
    check_round_trip(golden!("requests/anthropic/plain.json"), None);
    check_round_trip(golden!("requests/anthropic/tools.json"), None);
    let betas = Some("task-budgets-2026-03-13");
    check_round_trip(golden!("requests/anthropic/tool_results.json"), betas);
    check_round_trip(golden!("requests/anthropic/structured.json"), None);
    let betas = Some("files-api-2025-04-14");
    check_round_trip(golden!("requests/anthropic/files.json"), betas);
    let betas = Some("mcp-client-2025-11-20");
    check_round_trip(golden!("requests/anthropic/foreign_blocks.json"), betas);
    let betas = Some("context-management-2025-06-27,mid-conversation-tool-changes-2026-07-01");
    check_round_trip(golden!("requests/anthropic/claude_code.json"), betas);
}
