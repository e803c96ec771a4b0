//! What becomes of requests.

use serde_json::{Map, Value, json};

use super::super::provider::PROVIDER;
use crate::conversation::*;
use crate::ground::fault::{Fault, Kind};
use crate::wire::catalogue::PROVIDERS;
use crate::wire::codec::{Options, Target};

struct Case {
    ask: Ask,
    model: &'static str,
    info: Value,
}

fn case(ask: Ask) -> Case {
    Case { ask, model: "qwen3", info: json!({}) }
}

impl Case {
    fn write(&self) -> (Result<Value, Fault>, String) {
        let info: Map<String, Value> = self.info.as_object().expect("an object").clone();
        let target = Target {
            model: self.model,
            provider: &PROVIDERS[0],
            base: "http://127.0.0.1:11434",
            info: &info,
            options: &Options::default(),
            stream: self.ask.stream,
        };
        let mut losses = Losses::default();
        let outbound = (PROVIDER.request)(&self.ask, &target, &mut losses);
        let body = outbound.map(|outbound| {
            assert_eq!(outbound.path, "/api/chat");
            serde_json::from_slice(&outbound.body).expect("json")
        });
        (body, losses.paths())
    }

    #[track_caller]
    fn check(&self, expected: Value, losses: &str) {
        let (body, found) = self.write();
        let mut body = body.expect("a request");
        let body = body.as_object_mut().expect("an object");
        for common in ["model", "stream", "messages"] {
            let value = body.remove(common).expect("there");
            if let Some(wanted) = expected.get(common) {
                assert_eq!(&value, wanted);
            }
        }
        for (name, value) in body.iter() {
            assert_eq!(Some(value), expected.get(name), "{name}");
        }
        for (name, value) in expected.as_object().expect("an object") {
            assert!(body.get(name) == Some(value) || name == "messages", "{name}");
        }
        assert_eq!(found, losses);
    }
}

fn ask(turns: Vec<Turn>) -> Ask {
    Ask { turns, ..Ask::new(Format::OpenAiChat) }
}

fn user(parts: Vec<Part>) -> Turn {
    Turn::new(Role::User, parts)
}

fn hello() -> Ask {
    ask(vec![user(vec![Part::text("hi")])])
}

fn media(kind: MediaKind, source: Source) -> Part {
    Part::new(Content::Media(Media { kind, source, name: None, detail: None }))
}

fn png(data: &str) -> Part {
    media(MediaKind::Image, Source::Base64 { media_type: "image/png".into(), data: data.into() })
}

fn function(name: &str) -> Tool {
    let schema = Json::parse(r#"{"type":"object","properties":{"x":{"type":"number"}}}"#);
    Tool {
        name: name.into(),
        namespace: None,
        description: Some("does".into()),
        kind: ToolKind::Function { schema, strict: None },
        cache_control: None,
        extras: Extras::default(),
    }
}

fn tool_turns() -> Vec<Turn> {
    let call = |id: &str, name: &str, arguments: &str| {
        Part::new(Content::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            ..ToolCall::default()
        }))
    };
    let result = |id: &str, parts: Vec<Part>, is_error: bool| {
        let result = ToolResult { call_id: id.into(), parts, is_error, ..ToolResult::default() };
        Part::new(Content::ToolResult(result))
    };
    let thoughts = Reasoning { text: "hm".into(), ..Reasoning::default() };
    let calls = vec![
        Part::reasoning(thoughts),
        Part::text("wait"),
        call("c1", "look", "{\"n\":1.0e2}"),
        call("c2", "ls", ""),
        call("c3", "rm", r#"{"a":1}{"b":2}"#),
    ];
    let results = vec![
        Part::text("and?"),
        result("c2", vec![Part::text("a"), Part::text("b")], false),
        result("c1", vec![png("AAAA")], false),
        result("c3", vec![Part::text("denied")], true),
    ];
    vec![user(vec![Part::text("go")]), Turn::new(Role::Assistant, calls), user(results)]
}

#[test]
fn tools_and_their_results_pair() {
    let asked = Ask { tools: vec![function("look")], ..ask(tool_turns()) };
    let expected = json!({
        "tools": [{"type": "function", "function": {"name": "look", "description": "does",
            "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}}],
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "wait", "thinking": "hm", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"index": 0, "name": "look", "arguments": {"n": 100.0}}},
                {"id": "c2", "type": "function", "function": {"index": 1, "name": "ls", "arguments": {}}},
                {"id": "c3", "type": "function", "function": {"index": 2, "name": "rm",
                    "arguments": {"arguments": "{\"a\":1}{\"b\":2}"}}}]},
            {"role": "tool", "content": "a\nb", "tool_name": "ls", "tool_call_id": "c2"},
            {"role": "tool", "content": "", "tool_name": "look", "tool_call_id": "c1"},
            {"role": "tool", "content": "Error: denied", "tool_name": "rm", "tool_call_id": "c3"},
            {"role": "user", "content": "and?\n(A picture that look returned.)", "images": ["AAAA"]}]
    });
    case(asked).check(expected, "");
}

#[test]
fn numbers_keep_their_spelling() {
    let (turns, sampling) =
        (tool_turns(), Sampling { temperature: Json::parse("0.70"), ..Sampling::default() });
    let target_info = Map::new();
    let target = Target {
        model: "m",
        provider: &PROVIDERS[0],
        base: "",
        info: &target_info,
        options: &Options::default(),
        stream: true,
    };
    let asked = Ask { sampling, ..ask(turns) };
    let outbound = (PROVIDER.request)(&asked, &target, &mut Losses::default()).expect("a request");
    let text = String::from_utf8(outbound.body).expect("text");
    assert!(text.contains(r#""arguments":{"n":1.0e2}"#) && text.contains(r#""temperature":0.70"#));
}

#[test]
fn choices_are_kept_by_what_is_offered() {
    let tools = || vec![function("a"), function("b")];
    let chosen = |choice| Ask { tools: tools(), tool_choice: Some(choice), ..hello() };
    let names = |ask: Ask| {
        let (body, losses) = case(ask).write();
        let body = body.expect("a request");
        let tools = body["tools"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> = tools
            .iter()
            .filter_map(|tool| tool["function"]["name"].as_str())
            .map(Into::into)
            .collect();
        (names.join(" "), losses)
    };
    let named = ToolChoice::Named { name: "b".into(), namespace: None, kind: CallKind::Function };
    assert_eq!(names(chosen(ToolChoice::Auto)), ("a b".into(), String::new()));
    assert_eq!(names(chosen(ToolChoice::None)), (String::new(), String::new()));
    assert_eq!(names(chosen(ToolChoice::Required)), ("a b".into(), "tool_choice".into()));
    assert_eq!(names(chosen(named)), ("b".into(), "tool_choice".into()));
}

#[test]
fn knobs_go_into_options() {
    let number = |text: &str| Json::parse(text);
    let sampling = Sampling {
        temperature: number("0.5"),
        top_p: number("0.9"),
        top_k: number("40"),
        min_p: number("0.05"),
        seed: number("7"),
        presence_penalty: number("1"),
        frequency_penalty: number("-1"),
        stop: vec!["END".into(), String::new()],
        n: Some(2),
        logit_bias: number(r#"{"1":2}"#),
        logprobs: Some(true),
        top_logprobs: Some(3),
    };
    let fields = [
        ("num_ctx", "8192"),
        ("mirostat", "1"),
        ("keep_alive", "\"10m\""),
        ("options", r#"{"num_gpu":1,"seed":8}"#),
        ("store", "true"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), number(value).expect("json")));
    let asked = Ask {
        sampling,
        max_tokens: Some(64),
        parallel_tool_calls: Some(false),
        user: Some("me".into()),
        verbosity: Some("low".into()),
        text_format: Some(TextFormat::JsonObject),
        extras: Extras::new(Format::OpenAiChat, fields.into()),
        ..hello()
    };
    let expected = json!({
        "format": "json", "logprobs": true, "top_logprobs": 3, "keep_alive": "10m",
        "options": {"num_ctx": 8192, "num_predict": 64, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
            "min_p": 0.05, "seed": 8, "presence_penalty": 1, "frequency_penalty": -1, "stop": ["END"],
            "mirostat": 1, "num_gpu": 1}
    });
    let losses = "n, logit_bias, parallel_tool_calls, verbosity, user, store";
    Case { info: json!({"num_ctx": 4096}), ..case(asked) }.check(expected, losses);

    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let text_format = TextFormat::JsonSchema {
        name: "x".into(),
        description: None,
        schema: Json::of(&schema),
        strict: Some(true),
    };
    let asked = Ask { text_format: Some(text_format), ..hello() };
    case(asked).check(json!({"format": schema}), "");
}

#[test]
fn thinking_is_asked_for_only_where_the_client_did() {
    let think = |model: &'static str, info: Value, reasoning: Reasoned| {
        let asked = Ask { reasoning: Some(reasoning), ..hello() };
        let (body, losses) = Case { ask: asked, model, info }.write();
        (body.expect("a request").get("think").cloned().unwrap_or_default(), losses)
    };
    let effort = |effort| Reasoned { effort: Some(effort), ..Reasoned::default() };
    let kept = |value: Value| (value, String::new());
    let lost = |value: Value| (value, "reasoning_effort".to_owned());
    assert_eq!(think("qwen3", json!({}), Reasoned::default()), kept(Value::Null));
    assert_eq!(think("qwen3", json!({}), effort(Effort::Medium)), kept(json!(true)));
    assert_eq!(think("qwen3", json!({}), effort(Effort::None)), kept(json!(false)));
    let adaptive = Reasoned { adaptive: true, ..effort(Effort::High) };
    assert_eq!(think("llama3.1", json!({}), adaptive.clone()), kept(Value::Null));
    assert_eq!(think("gpt-oss:20b", json!({}), adaptive.clone()), kept(json!("high")));
    let known = json!({"supports_reasoning": true});
    assert_eq!(think("qwen3", known, adaptive), kept(json!(true)));
    let off = Reasoned { disabled: true, ..Reasoned::default() };
    assert_eq!(think("qwen3", json!({}), off), kept(json!(false)));
    let budget = Reasoned { budget_tokens: Some(4096), ..Reasoned::default() };
    assert_eq!(think("gpt-oss:20b", json!({}), budget), kept(json!("medium")));
    assert_eq!(think("gpt-oss:20b", json!({}), effort(Effort::XHigh)), kept(json!("high")));
    assert_eq!(think("gpt-oss:20b", json!({}), effort(Effort::None)), lost(json!("low")));
    let none = json!({"supports_reasoning": false});
    assert_eq!(think("llama3", none.clone(), effort(Effort::High)), lost(Value::Null));
    assert_eq!(think("llama3", none, effort(Effort::None)), kept(Value::Null));
}

#[test]
fn pictures_go_bare_and_what_cannot_go_is_refused() {
    let parts = vec![
        Part::text("what?"),
        png("QUJD"),
        media(MediaKind::Image, Source::Url("data:image/png;base64,REVG".into())),
        media(MediaKind::Document, Source::Text("a note".into())),
    ];
    let message = json!({"role": "user", "content": "what?\na note", "images": ["QUJD", "REVG"]});
    case(ask(vec![user(parts)])).check(json!({"messages": [message]}), "");

    let refused = |part: Part| {
        let (body, _) = case(ask(vec![user(vec![Part::text("x"), part])])).write();
        let fault = body.expect_err("a fault");
        assert_eq!(fault.kind, Kind::InvalidRequest);
        assert_eq!(fault.param.as_deref(), Some("messages[0].content[1]"));
        fault.message.into_owned()
    };
    let address = media(MediaKind::Image, Source::Url("https://x/y.png".into()));
    assert!(refused(address).contains("data URL"));
    let pdf = Source::Base64 { media_type: "application/pdf".into(), data: "AA".into() };
    assert!(refused(media(MediaKind::Document, pdf)).contains("no files"));
    let wav = Source::Base64 { media_type: "audio/wav".into(), data: "AA".into() };
    assert!(refused(media(MediaKind::Audio, wav)).contains("no sound"));
    let id = Source::FileId { format: Format::OpenAiChat, id: "file-1".into() };
    assert!(refused(media(MediaKind::Image, id)).contains("file store"));
}

#[test]
fn systems_stay_in_place_and_empty_turns_go() {
    let redacted = Reasoning { redacted: true, ..Reasoning::default() };
    let turns = vec![
        Turn::new(Role::Developer, vec![Part::text("be"), Part::text("brief")]),
        user(vec![Part::text("hi")]),
        Turn::new(Role::Assistant, vec![Part::reasoning(redacted)]),
        Turn::new(Role::System, vec![Part::text("now in French")]),
        user(vec![Part::text("")]),
        user(vec![Part::text("go")]),
    ];
    let messages = json!([
        {"role": "system", "content": "be\nbrief"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "now in French"},
        {"role": "user", "content": "go"}]);
    case(ask(turns)).check(json!({"messages": messages}), "");
}

#[test]
fn nothing_said_is_not_a_load() {
    let messages = json!([{"role": "user", "content": ""}]);
    case(ask(vec![user(vec![Part::text("")])])).check(json!({"messages": messages}), "");
}

#[test]
fn results_split_over_turns_come_behind_their_calls() {
    let mut turns = tool_turns();
    let last = turns.pop().expect("results");
    for part in last.parts {
        turns.push(user(vec![part]));
    }
    turns.insert(2, Turn::new(Role::Developer, vec![Part::text("note")]));
    let (body, _) = case(ask(turns)).write();
    let body = body.expect("a request");
    let messages = body["messages"].as_array().expect("a list");
    let roles: Vec<_> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "tool", "system", "user", "user"]);
}
