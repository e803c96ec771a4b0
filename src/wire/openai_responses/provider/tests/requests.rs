//! Requests, compared in full, with what is lost of them.

use serde_json::{Value, json};

use super::*;
use crate::conversation::stand_in::Abilities;
use crate::conversation::{
    CallKind, Content, Effort, Extras, Format, Json, Media, MediaKind, Part, Reasoned, Reasoning,
    Role, Seal, Source, TextFormat, Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn,
};

#[track_caller]
fn check_request(ask: &Ask, model: &str, expected: Value, losses: &str) {
    let mut lost = Losses::default();
    let outbound = write(ask, model, &mut lost).expect("writable");
    assert_eq!(outbound.path, "/responses");
    let body: Value = serde_json::from_slice(&outbound.body).expect("JSON");
    assert_eq!(body, expected, "{}", String::from_utf8_lossy(&outbound.body));
    assert_eq!(lost.paths(), losses);
}

fn user(text: &str) -> Turn {
    Turn::new(Role::User, vec![Part::text(text)])
}

fn call(id: &str, kind: CallKind, name: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        kind,
        arguments: arguments.into(),
        ..ToolCall::default()
    }))
}

fn result(id: &str, kind: CallKind, parts: Vec<Part>) -> Part {
    let call_id = id.into();
    Part::new(Content::ToolResult(ToolResult { call_id, kind, parts, ..ToolResult::default() }))
}

fn picture() -> Part {
    let source = Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() };
    let kind = MediaKind::Image;
    Part::new(Content::Media(Media { kind, source, name: None, detail: None }))
}

#[test]
fn a_chat_becomes_items() {
    let mut ask = Ask::new(Format::OpenAiChat);
    let foreign = Seal { format: Format::Anthropic, data: "sig".into() };
    let thought = Reasoning { text: "hm".into(), seal: Some(foreign), ..Reasoning::default() };
    ask.turns = vec![
        Turn::new(Role::System, vec![Part::text("Be brief."), Part::text("Be kind.")]),
        Turn {
            name: Some("ann".into()),
            ..Turn::new(Role::User, vec![Part::text("Look"), picture()])
        },
        Turn::new(
            Role::Assistant,
            vec![
                Part::reasoning(thought),
                Part::text(""),
                Part::text("Yes"),
                call("call_1", CallKind::Function, "f", ""),
                call(&"x".repeat(300), CallKind::Function, "f", "{\"a\":1.50}"),
            ],
        ),
        Turn::new(
            Role::User,
            vec![
                result("call_1", CallKind::Function, vec![Part::text("3 < 4")]),
                result(&"x".repeat(300), CallKind::Function, vec![Part::text("see"), picture()]),
                Part::text("So?"),
            ],
        ),
        Turn::new(Role::Developer, vec![Part::text("Now in French.")]),
    ];
    ask.sampling.stop = vec!["\n".into()];
    ask.sampling.n = Some(2);
    ask.sampling.seed = Json::parse("7");
    ask.sampling.logit_bias = Json::parse("{}");
    ask.sampling.temperature = Json::parse("0.70");
    ask.max_tokens = Some(4);
    ask.user = Some("u".repeat(150));
    ask.stream = true;
    ask.parallel_tool_calls = Some(true);
    ask.tool_choice = Some(ToolChoice::Auto);
    ask.extras = Extras::new(
        Format::OpenAiChat,
        vec![
            ("stream_options".into(), Json::parse("{}").expect("valid")),
            ("prompt_cache_key".into(), Json::parse("\"k\"").expect("valid")),
            ("modalities".into(), Json::parse("[]").expect("valid")),
        ],
    );
    let long = Abilities::RESPONSES.call_id.legal(&"x".repeat(300));
    let image = json!({"type":"input_image","image_url":"data:image/png;base64,AAAA"});
    let mut lost = Losses::default();
    let outbound = write(&ask, "gpt-4.1", &mut lost).expect("writable");
    let body = String::from_utf8(outbound.body).expect("text");
    assert!(body.contains("\"temperature\":0.70"), "numbers keep their spelling: {body}");
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    let user = body["safety_identifier"].take();
    assert_eq!(user.as_str().map(str::len), Some(64));
    assert_eq!(
        body,
        json!({
            "model": "gpt-4.1",
            "instructions": "Be brief.\n\nBe kind.",
            "input": [
                {"type":"message","role":"user","content":[{"type":"input_text","text":"Look"}, image]},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes","annotations":[]}]},
                {"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},
                {"type":"function_call","call_id":long,"name":"f","arguments":"{\"a\":1.50}"},
                {"type":"function_call_output","call_id":"call_1","output":"3 < 4"},
                {"type":"function_call_output","call_id":long,"output":[{"type":"input_text","text":"see"}, image]},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"So?"}]},
                {"type":"message","role":"developer","content":[{"type":"input_text","text":"Now in French."}]},
            ],
            "max_output_tokens": 16,
            "temperature": 0.7,
            "safety_identifier": null,
            "store": false,
            "stream": true,
            "prompt_cache_key": "k",
        })
    );
    assert_eq!(
        lost.paths(),
        "messages[1].name, messages[2].content[0], seed, logit_bias, stop, n, modalities"
    );
}

#[test]
fn codex_items_go_as_they_are() {
    let own = |fields: &[(&str, &str)]| {
        let field = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), Json::parse(*value).expect("valid"))
        };
        Extras::new(Format::OpenAiResponses, fields.iter().map(field).collect())
    };
    let seal = Seal { format: Format::OpenAiResponses, data: "gAAA".into() };
    let thought = Reasoning {
        text: "must not go back".into(),
        summary: vec!["s".into()],
        seal: Some(seal),
        id: Some("rs_1".into()),
        ..Reasoning::default()
    };
    let message = |text: &str, id: &str| Part {
        extras: own(&[("id", id), ("status", "\"completed\"")]),
        ..Part::text(text)
    };
    let mut patch = call("call_p", CallKind::Custom, "apply_patch", "*** Begin");
    patch.extras = own(&[("status", "\"completed\"")]);
    if let Content::ToolCall(call) = &mut patch.content {
        (call.item_id, call.namespace) = (Some("ctc_1".into()), Some("functions".into()));
    }
    let found = r#"[{"type":"namespace","name":"crm","description":"d","tools":[{"type":"function","name":"found","parameters":{}}]}]"#;
    let searched = json!({"type":"web_search_call","id":"ws_1","status":"completed"});
    let kinds =
        ["local_shell", "shell"].map(|name| call(name, CallKind::LocalShell, name, r#"{"x":1.0}"#));
    let mut ask = Ask::new(Format::OpenAiResponses);
    let mut said = vec![
        Part::reasoning(Reasoning { text: "unsealed".into(), ..Reasoning::default() }),
        Part::reasoning(thought),
        message("one", "\"msg_1\""),
        message("two", "\"019f-foreign\""),
        Part::new(Content::Foreign { format: Format::OpenAiResponses, value: Json::of(&searched) }),
        patch,
        call("ts", CallKind::ToolSearch, "tool_search", r#"{"q":"x"}"#),
        call("ap", CallKind::ApplyPatch, "apply_patch", r#"{"type":"delete_file","path":"a"}"#),
    ];
    said.extend(kinds);
    let mut failed = result("ap", CallKind::ApplyPatch, vec![Part::text("no")]);
    if let Content::ToolResult(result) = &mut failed.content {
        result.is_error = true;
    }
    ask.turns = vec![
        Turn::new(Role::Developer, vec![Part::text("Rules")]),
        Turn::new(Role::Assistant, said),
        Turn::new(
            Role::User,
            vec![
                result("call_p", CallKind::Custom, vec![Part::text("Done")]),
                result("ts", CallKind::ToolSearch, vec![Part::text(found)]),
                failed,
                result("local_shell", CallKind::LocalShell, vec![Part::text("a.txt")]),
                result("shell", CallKind::LocalShell, vec![Part::text(r#"[{"stdout":"a"}]"#)]),
            ],
        ),
    ];
    let tool = |name: &str, namespace: Option<&str>, kind: ToolKind| Tool {
        name: name.into(),
        namespace: namespace.map(Into::into),
        description: None,
        kind,
        cache_control: None,
        extras: Extras::default(),
    };
    let value = |value: Value| Json::of(&value);
    let grammar = value(json!({"type":"grammar","syntax":"lark","definition":"start: x"}));
    let mut described =
        tool("wait", Some("functions"), ToolKind::Function { schema: None, strict: None });
    described.extras =
        own(&[("namespace_description", "\"All of them\""), ("defer_loading", "true")]);
    ask.tools = vec![
        described,
        tool("apply_patch", Some("functions"), ToolKind::Custom { format: Some(grammar) }),
        tool(
            "shell",
            None,
            ToolKind::LocalShell {
                value: value(json!({"type":"shell","environment":{"type":"local"}})),
            },
        ),
        tool(
            "web_search",
            None,
            ToolKind::Hosted {
                format: Format::OpenAiResponses,
                value: value(json!({"type":"web_search"})),
            },
        ),
        tool("found", Some("crm"), ToolKind::Function { schema: None, strict: None }),
    ];
    ask.tool_choice = Some(ToolChoice::Allowed {
        names: vec!["apply_patch".into(), "web_search".into()],
        required: true,
    });
    ask.parallel_tool_calls = Some(false);
    ask.reasoning = Some(Reasoned {
        effort: Some(Effort::Max),
        summary: Some("auto".into()),
        ..Reasoned::default()
    });
    ask.verbosity = Some("low".into());
    ask.sampling.temperature = Json::parse("1");
    ask.max_tokens = Some(3);
    ask.extras = own(&[
        ("text", r#"{"later":1}"#),
        ("reasoning", r#"{"context":"auto"}"#),
        ("include", r#"["reasoning.encrypted_content"]"#),
        ("prompt_cache_key", "\"k\""),
        ("client_metadata", "{}"),
    ]);
    check_request(
        &ask,
        "gpt-5.2-codex",
        json!({
            "model": "gpt-5.2-codex",
            "input": [
                {"type":"message","role":"developer","content":[{"type":"input_text","text":"Rules"}]},
                {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"gAAA"},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"one","annotations":[]}],"id":"msg_1","status":"completed"},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"two","annotations":[]}],"status":"completed"},
                searched,
                {"type":"custom_tool_call","id":"ctc_1","call_id":"call_p","name":"apply_patch","namespace":"functions","input":"*** Begin","status":"completed"},
                {"type":"tool_search_call","call_id":"ts","execution":"client","arguments":{"q":"x"},"status":"completed"},
                {"type":"apply_patch_call","call_id":"ap","operation":{"type":"delete_file","path":"a"},"status":"completed"},
                {"type":"local_shell_call","call_id":"local_shell","action":{"x":1.0},"status":"completed"},
                {"type":"shell_call","call_id":"shell","action":{"x":1.0},"status":"completed"},
                {"type":"custom_tool_call_output","call_id":"call_p","output":"Done"},
                {"type":"tool_search_output","call_id":"ts","execution":"client","status":"completed","tools":serde_json::from_str::<Value>(found).expect("valid")},
                {"type":"apply_patch_call_output","call_id":"ap","status":"failed","output":"no"},
                {"type":"local_shell_call_output","call_id":"local_shell","output":"a.txt"},
                {"type":"shell_call_output","call_id":"shell","output":[{"stdout":"a"}]},
            ],
            "tools": [
                {"type":"namespace","name":"functions","description":"All of them","tools":[
                    {"type":"function","name":"wait","parameters":{"type":"object","properties":{}},"defer_loading":true},
                    {"type":"custom","name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
                ]},
                {"type":"shell","environment":{"type":"local"}},
                {"type":"web_search"},
            ],
            "tool_choice": {"type":"allowed_tools","mode":"required","tools":[{"type":"custom","name":"apply_patch"},{"type":"web_search"}]},
            "parallel_tool_calls": false,
            "max_output_tokens": 3,
            "temperature": 1,
            "text": {"verbosity":"low","later":1},
            "reasoning": {"effort":"max","summary":"auto","context":"auto"},
            "include": ["reasoning.encrypted_content"],
            "store": false,
            "prompt_cache_key": "k",
            "client_metadata": {},
        }),
        "input[1].content[0]",
    );
}

#[test]
fn items_that_are_parted_from_their_thoughts_go_without_their_ids() {
    let thought = |number: u32, seal: Option<&str>| {
        let seal = seal.map(|data| Seal { format: Format::OpenAiResponses, data: data.into() });
        Part::reasoning(Reasoning { id: Some(format!("rs_{number}")), seal, ..<_>::default() })
    };
    let said = |number: u32| Part {
        extras: Extras::new(
            Format::OpenAiResponses,
            vec![("id".to_owned(), Json::of(&format!("msg_{number}")))],
        ),
        ..Part::text("said")
    };
    let mut ask = Ask::new(Format::OpenAiResponses);
    let parts = vec![thought(1, None), said(1), thought(2, Some("gAAA")), said(2)];
    ask.turns = vec![user("Hi"), Turn::new(Role::Assistant, parts), user("And?")];
    let outbound = write(&ask, "gpt-5.1", &mut Losses::default()).expect("writable");
    let body: Value = serde_json::from_slice(&outbound.body).expect("JSON");
    let items = body["input"].as_array().expect("items").iter();
    let ids: Vec<&Value> = items.map(|item| &item["id"]).collect();
    let none = Value::Null;
    assert_eq!(ids, [&none, &none, &json!("rs_2"), &json!("msg_2"), &none], "{body}");
}

#[test]
fn messages_of_anthropic_lose_what_is_only_theirs() {
    let mut ask = Ask::new(Format::Anthropic);
    let hosted = Content::Foreign { format: Format::Anthropic, value: Json::empty_object() };
    ask.turns =
        vec![user("Hi"), Turn::new(Role::Assistant, vec![Part::new(hosted), Part::text("x")])];
    ask.turns[0].parts[0].cache_control = Some(Json::empty_object());
    ask.tools = vec![Tool {
        name: "web_search".into(),
        namespace: None,
        description: None,
        kind: ToolKind::Hosted { format: Format::Anthropic, value: Json::empty_object() },
        cache_control: None,
        extras: Extras::default(),
    }];
    ask.tool_choice = Some(ToolChoice::Auto);
    ask.sampling.top_k = Json::parse("5");
    ask.sampling.temperature = Json::parse("1");
    ask.sampling.stop = vec!["x".into()];
    ask.reasoning = Some(Reasoned { budget_tokens: Some(4000), ..Reasoned::default() });
    ask.text_format = Some(TextFormat::JsonSchema {
        name: "answer".into(),
        description: None,
        schema: Json::parse(r#"{"const":1.0}"#).expect("valid"),
        strict: Some(true),
    });
    ask.extras =
        Extras::new(Format::Anthropic, vec![("context_management".into(), Json::empty_object())]);
    let body = |reasoning: Value, include: Option<&str>, temperature: Option<u8>, model: &str| {
        let mut body = json!({
            "model": model,
            "input": [
                {"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[]}]},
            ],
            "text": {"format":{"type":"json_schema","name":"answer","schema":{"const":1.0},"strict":true}},
            "store": false,
        });
        if !reasoning.is_null() {
            body["reasoning"] = reasoning;
        }
        if let Some(include) = include {
            body["include"] = json!([include]);
        }
        if let Some(temperature) = temperature {
            body["temperature"] = json!(temperature);
        }
        body
    };
    check_request(
        &ask,
        "o4-mini",
        body(
            json!({"effort":"medium","summary":"auto"}),
            Some("reasoning.encrypted_content"),
            None,
            "o4-mini",
        ),
        "messages[1].content[0], tools[0], temperature, top_k, stop_sequences, context_management, cache_control",
    );
    check_request(
        &ask,
        "gpt-4o",
        body(Value::Null, None, Some(1), "gpt-4o"),
        "messages[1].content[0], tools[0], top_k, stop_sequences, reasoning_effort, context_management, cache_control",
    );
}

#[test]
fn what_cannot_be_carried_is_refused_with_the_fix() {
    let media = |kind, source| {
        let mut ask = Ask::new(Format::Anthropic);
        let media = Media { kind, source, name: None, detail: None };
        ask.turns = vec![Turn::new(Role::User, vec![Part::new(Content::Media(media))])];
        write(&ask, "gpt-5", &mut Losses::default())
    };
    let foreign = Source::FileId { format: Format::Anthropic, id: "file_1".into() };
    let fault = media(MediaKind::Image, foreign).expect_err("another's file");
    assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"));
    media(MediaKind::Audio, Source::Url("https://x/y.mp3".into())).expect_err("no address");
    let text = Source::Text("plain".into());
    let outbound = media(MediaKind::Document, text).expect("text is text");
    assert!(String::from_utf8_lossy(&outbound.body).contains(r#""input_text","text":"plain""#));
}
