//! What becomes of requests.

use serde_json::{Map, Value, json};

use super::super::provider::PROVIDER;
use crate::conversation::*;
use crate::ground::fault::Fault;
use crate::wire::catalogue::PROVIDERS;
use crate::wire::codec::{Options, Target};

fn thoughts(text: &str) -> Part {
    Part::reasoning(Reasoning { text: text.into(), ..Reasoning::default() })
}

fn write(ask: &Ask, model: &str, info: Value) -> (Result<Value, Fault>, String) {
    let info: Map<String, Value> = info.as_object().expect("an object").clone();
    let options = Options { allowed_openai_params: vec!["new".into()], ..Options::default() };
    let target = Target {
        model,
        provider: &PROVIDERS[0],
        base: "https://api.cohere.com",
        info: &info,
        options: &options,
        stream: ask.stream,
    };
    let mut losses = Losses::default();
    let outbound = (PROVIDER.request)(ask, &target, &mut losses);
    let body = outbound.map(|outbound| {
        assert_eq!(outbound.path, "/v2/chat");
        serde_json::from_slice(&outbound.body).expect("json")
    });
    (body, losses.paths())
}

/// Compares all but the model and `stream`; the messages only where they are expected.
#[track_caller]
fn check(ask: &Ask, expected: Value, losses: &str) {
    let (body, found) = write(ask, "command-a-03-2025", json!({}));
    let mut body = body.expect("a request");
    let body = body.as_object_mut().expect("an object");
    body.remove("model").expect("there");
    body.remove("stream").expect("there");
    if expected.get("messages").is_none() {
        body.remove("messages");
    }
    assert_eq!(Value::Object(body.clone()), expected);
    assert_eq!(found, losses);
}

fn hello() -> Ask {
    let turns = vec![Turn::new(Role::User, vec![Part::text("hi")])];
    Ask { turns, ..Ask::new(Format::OpenAiChat) }
}

fn function(name: &str) -> Tool {
    Tool {
        name: name.into(),
        namespace: None,
        description: None,
        kind: ToolKind::Function { schema: None, strict: None },
        cache_control: None,
        extras: Extras::default(),
    }
}

fn tool(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {}});
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

#[test]
fn choices_are_said_or_kept_by_what_is_offered() {
    let chosen = |choice| Ask {
        tools: vec![function("a"), function("b")],
        tool_choice: Some(choice),
        ..hello()
    };
    let both = json!([tool("a"), tool("b")]);
    check(&chosen(ToolChoice::Auto), json!({"tools": both}), "");
    check(&chosen(ToolChoice::None), json!({"tools": both, "tool_choice": "NONE"}), "");
    check(&chosen(ToolChoice::Required), json!({"tools": both, "tool_choice": "REQUIRED"}), "");
    let named = ToolChoice::Named { name: "b".into(), namespace: None, kind: CallKind::Function };
    check(&chosen(named), json!({"tools": [tool("b")], "tool_choice": "REQUIRED"}), "");
    let bare = Ask { tool_choice: Some(ToolChoice::Required), ..hello() };
    check(&bare, json!({}), "tool_choice");
}

#[test]
fn knobs_have_coheres_names_and_bounds() {
    let number = |text: &str| Json::parse(text);
    let fields =
        [("safety_mode", "\"OFF\""), ("documents", "[\"d\"]"), ("store", "true"), ("new", "1")];
    let fields = fields.map(|(name, value)| (name.to_owned(), number(value).expect("json")));
    let sampling = Sampling {
        temperature: number("1.5"),
        top_p: number("1"),
        top_k: number("-1"),
        min_p: number("0.1"),
        seed: number("7"),
        presence_penalty: number("0.50"),
        frequency_penalty: number("-1"),
        stop: ["1", "", "2", "3", "4", "5", "6"].map(Into::into).into(),
        logprobs: Some(true),
        top_logprobs: Some(2),
        ..Sampling::default()
    };
    let ask = Ask {
        sampling,
        max_tokens: Some(64),
        extras: Extras::new(Format::OpenAiChat, fields.into()),
        ..hello()
    };
    let expected = json!({
        "max_tokens": 64, "temperature": 1.0, "p": 0.99, "presence_penalty": 0.50, "frequency_penalty": 0.0,
        "seed": 7, "logprobs": true, "stop_sequences": ["1", "2", "3", "4", "5"],
        "safety_mode": "OFF", "documents": ["d"], "new": 1
    });
    let losses = "temperature, top_p, frequency_penalty, min_p, top_logprobs, stop, store";
    check(&ask, expected, losses);
}

#[test]
fn formats_are_held_or_asked_for() {
    let schema = json!({"type": "object"});
    let text_format = TextFormat::JsonSchema {
        name: "x".into(),
        description: None,
        schema: Json::of(&schema),
        strict: None,
    };
    let ask = Ask { text_format: Some(text_format), ..hello() };
    let format = json!({"type": "json_object", "json_schema": schema});
    check(&ask, json!({"response_format": format}), "");
    let ask = Ask { tools: vec![function("a")], ..ask };
    let words = "Your final answer must be one JSON object and nothing else. It must match this JSON Schema: \
                 {\"type\":\"object\"}";
    let expected = json!({
        "tools": [tool("a")],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": words}]},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    });
    check(&ask, expected, "response_format");
}

#[test]
fn thinking_is_switched_where_the_model_has_it() {
    let thinking = |model: &str, info: Value, reasoned: Reasoned| {
        let ask = Ask { reasoning: Some(reasoned), ..hello() };
        let (body, losses) = write(&ask, model, info);
        (body.expect("a request").get("thinking").cloned().unwrap_or_default(), losses)
    };
    let effort = |effort| Reasoned { effort: Some(effort), ..Reasoned::default() };
    let kept = |value: Value| (value, String::new());
    let model = "command-a-reasoning-08-2025";
    let on = json!({"type": "enabled"});
    assert_eq!(thinking(model, json!({}), Reasoned::default()), kept(Value::Null));
    assert_eq!(thinking(model, json!({}), effort(Effort::High)), kept(on));
    let off = json!({"type": "disabled"});
    assert_eq!(thinking(model, json!({}), effort(Effort::None)), kept(off));
    let little = json!({"type": "enabled", "token_budget": 1024});
    assert_eq!(thinking(model, json!({}), effort(Effort::Low)), kept(little));
    let budget = Reasoned { budget_tokens: Some(500), ..Reasoned::default() };
    let own = json!({"type": "enabled", "token_budget": 500});
    assert_eq!(thinking("x", json!({"supports_reasoning": true}), budget), kept(own));
    let lost = (Value::Null, "reasoning_effort".to_owned());
    assert_eq!(thinking("command-r", json!({}), effort(Effort::High)), lost);
    assert_eq!(thinking("command-r", json!({}), effort(Effort::None)), kept(Value::Null));
}

#[test]
fn turns_become_messages() {
    let call = |id: &str, arguments: &str| {
        Part::new(Content::ToolCall(ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
            ..ToolCall::default()
        }))
    };
    let result = |id: &str, parts: Vec<Part>, is_error: bool| {
        let result = ToolResult { call_id: id.into(), parts, is_error, ..ToolResult::default() };
        Part::new(Content::ToolResult(result))
    };
    let picture = || {
        let source = Source::Base64 { media_type: "image/png".into(), data: "AA".into() };
        let detail = Some("low".into());
        Part::new(Content::Media(Media { kind: MediaKind::Image, source, name: None, detail }))
    };
    let calls = vec![thoughts("plan"), Part::text("so"), call("c1", ""), call("c2", "{\"a\":1}")];
    let results = vec![
        Part::text("next"),
        result("c2", vec![Part::text("{\"t\":24}"), picture()], false),
        result("c1", vec![Part::text("no")], true),
    ];
    let turns = vec![
        Turn::new(Role::Developer, vec![Part::text("be brief")]),
        Turn::new(Role::User, vec![Part::text("see"), picture()]),
        Turn::new(Role::Assistant, calls),
        Turn::new(Role::User, results),
        Turn::new(Role::Assistant, vec![thoughts("done"), Part::text("ok")]),
    ];
    let ask = Ask { turns, ..hello() };
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}});
    let document = |data: Value| json!([{"type": "document", "document": {"data": data}}]);
    let tool_calls = json!([
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
    let user = |content: Value| json!({"role": "user", "content": content});
    let tool =
        |id: &str, content: Value| json!({"role": "tool", "tool_call_id": id, "content": content});
    let mut messages = vec![
        json!({"role": "system", "content": [text("be brief")]}),
        user(json!([text("see"), image])),
        json!({"role": "assistant", "tool_plan": "plan\nso", "tool_calls": tool_calls}),
        tool("c2", document(json!({"t": 24}))),
        tool("c1", document(json!({"error": "no"}))),
        user(json!([text("next"), text("(A picture that f returned:)"), image])),
        json!({"role": "assistant", "content": [text("ok")]}),
    ];
    check(&ask, json!({"messages": messages}), "");

    // A model that thinks gets its thoughts back as it gave them.
    let thinking = |text: &str| json!({"type": "thinking", "thinking": text});
    let content = json!([thinking("plan"), text("so")]);
    messages[2] = json!({"role": "assistant", "tool_calls": tool_calls, "content": content});
    messages[6] = json!({"role": "assistant", "content": [thinking("done"), text("ok")]});
    let (body, _) = write(&ask, "command-a-reasoning-08-2025", json!({}));
    assert_eq!(body.expect("a request")["messages"], Value::Array(messages));
}

#[test]
fn what_cannot_go_is_refused() {
    let source = Source::Base64 { media_type: "application/pdf".into(), data: "AA".into() };
    let media = Media { kind: MediaKind::Document, source, name: None, detail: None };
    let turns = vec![Turn::new(Role::User, vec![Part::new(Content::Media(media))])];
    let (body, _) = write(&Ask { turns, ..hello() }, "m", json!({}));
    let fault = body.expect_err("a fault");
    assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"));
    assert!(fault.message.contains("no files"));
}

#[test]
fn results_split_over_turns_come_behind_their_calls() {
    let call = ToolCall { id: "c1".into(), name: "f".into(), ..ToolCall::default() };
    let result = ToolResult { call_id: "c1".into(), ..ToolResult::default() };
    let turns = vec![
        Turn::new(Role::Assistant, vec![Part::new(Content::ToolCall(call))]),
        Turn::new(Role::User, vec![Part::text("wait")]),
        Turn::new(Role::User, vec![Part::new(Content::ToolResult(result))]),
    ];
    let (body, _) = write(&Ask { turns, ..hello() }, "m", json!({}));
    let body = body.expect("a request");
    let messages = body["messages"].as_array().expect("a list");
    let roles: Vec<_> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["assistant", "tool", "user"]);
}
