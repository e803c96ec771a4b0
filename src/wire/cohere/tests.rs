//! Golden answers and the laws of streams; what becomes of requests.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::provider::PROVIDER;
use crate::conversation::*;
use crate::ground::fault::{Fault, Kind};
use crate::wire::catalogue::PROVIDERS;
use crate::wire::codec::{Ids, Options, ReplyContext, Target};
use crate::wire::framing::Frames;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/golden/answers/cohere/", $name)).as_slice()
    };
}

fn context() -> ReplyContext {
    ReplyContext {
        ids: Ids::new("0123456789abcdef0123456789abcdef"),
        json_tool: None,
        ..ReplyContext::default()
    }
}

/// The events of a stream that comes in these pieces.
fn events<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Event> {
    let mut frames = Frames::new(PROVIDER.framing);
    let mut decoder = (PROVIDER.stream)(context());
    let mut out = Vec::new();
    for piece in pieces {
        let bytes = Bytes::copy_from_slice(piece);
        frames.push(bytes, |frame| decoder.frame(frame, &mut out)).expect("frames");
    }
    frames.end(|frame| decoder.frame(frame, &mut out));
    decoder.end(&mut out);
    out
}

fn folded(events: Vec<Event>) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

fn whole(body: &[u8]) -> Result<Reply, Fault> {
    (PROVIDER.reply)(body, &mut context())
}

#[track_caller]
fn check_law(whole_answer: &[u8], streamed: &[u8]) -> Reply {
    let reply = whole(whole_answer).expect("an answer");
    let events = events([streamed]);
    let opened = events.iter().filter(|event| matches!(event, Event::Open { .. })).count();
    let closed = events.iter().filter(|event| matches!(event, Event::Close { .. })).count();
    assert_eq!(opened, closed);
    assert_eq!(folded(events).expect("an answer"), reply);
    reply
}

fn thoughts(text: &str) -> Part {
    Part::reasoning(Reasoning { text: text.into(), ..Reasoning::default() })
}

#[test]
fn folding_the_stream_gives_the_whole_answer() {
    let reply = check_law(golden!("plain_streamed.json"), golden!("plain_streamed.sse"));
    assert!(reply.choices[0].parts[0].as_text().expect("a text").starts_with("LLMs stand for"));
    assert_eq!(reply.choices[0].finish, Some(Finish::Stop));
    assert_eq!(reply.head.id.as_deref(), Some("29f14a5a-11de-4cae-9800-25e4747408ea"));

    let reply = check_law(golden!("thinking.json"), golden!("thinking.sse"));
    let text = "Alice's brother has **3**\u{2028} sisters.";
    let parts = [thoughts("Alice has 2 sisters and she is one herself: 3. 🙂"), Part::text(text)];
    assert_eq!(reply.choices[0].parts, parts);
    let usage =
        Usage { input: Some(96), output: Some(60), cache_read: Some(64), ..Usage::default() };
    assert_eq!(reply.usage, Some(usage));

    let reply = check_law(golden!("length.json"), golden!("length.sse"));
    assert_eq!(reply.choices[0].finish, Some(Finish::Length));

    let reply = check_law(golden!("tools_streamed.json"), golden!("tools_streamed.sse"));
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));

    let reply = check_law(golden!("parallel.json"), golden!("parallel.sse"));
    let parts = &reply.choices[0].parts;
    assert_eq!(parts[0], thoughts("I will search for the weather in Madrid and Brasilia."));
    let ids: Vec<_> = parts.iter().filter_map(Part::as_call).map(|call| &*call.id).collect();
    assert_eq!(ids, ["get_weather_p1t92w7gfgq7", "get_weather_ay6nmvjgp9vn"]);
    let usage = Usage { input: Some(913), output: Some(83), ..Usage::default() };
    assert_eq!(reply.usage, Some(usage));
}

#[test]
fn whole_answers_are_read() {
    let reply = whole(golden!("plain.json")).expect("an answer");
    assert!(reply.choices[0].parts[0].as_text().is_some());
    let reply = whole(golden!("thinking_tools.json")).expect("an answer");
    let parts = &reply.choices[0].parts;
    assert!(matches!(parts[0].content, Content::Reasoning(_)));
    assert_eq!(parts[2].as_call().expect("a call").arguments, r#"{"category": "Electronics"}"#);
    let reply = whole(golden!("citations.json")).expect("an answer");
    let Content::Text { annotations, .. } = &reply.choices[0].parts[0].content else {
        panic!("a text")
    };
    assert!(matches!(annotations[0], Annotation::Foreign { format: Format::Cohere, .. }));
}

#[test]
fn citations_stand_in_their_text() {
    let reply = check_law(golden!("citations_streamed.json"), golden!("citations_streamed.sse"));
    let Content::Text { annotations, .. } = &reply.choices[0].parts[0].content else {
        panic!("a text")
    };
    assert_eq!(annotations.len(), 1);
    let body =
        br#"{"finish_reason":"COMPLETE","message":{"content":[{"type":"thinking","thinking":"t"},
        {"type":"text","text":"a b"}],"citations":[
        {"start":0,"end":1,"text":"a","type":"TEXT_CONTENT","content_index":1,"sources":[
            {"type":"document","id":"1","document":{"url":"https://x.org","title":"X"}},
            {"type":"tool","id":"2","tool_output":{"content":"y"}}]},
        {"start":0,"end":1,"type":"THINKING_CONTENT","content_index":0,"sources":[]}]}}"#;
    let reply = whole(body).expect("an answer");
    let Content::Text { annotations, .. } = &reply.choices[0].parts[1].content else {
        panic!("a text")
    };
    let url = Annotation::Url {
        url: "https://x.org".into(),
        title: Some("X".into()),
        start: Some(0),
        end: Some(1),
    };
    assert_eq!(annotations, &[url]);
}

#[test]
fn log_probabilities_become_openais() {
    let reply = check_law(golden!("logprobs.json"), golden!("logprobs.sse"));
    assert_eq!(reply.choices[0].finish, Some(Finish::StopSequence(None)));
    // Billed units stand in where tokens are not said.
    assert_eq!(reply.usage.expect("usage").input, Some(2));
    let Content::Text { logprobs, .. } = &reply.choices[0].parts[0].content else {
        panic!("a text")
    };
    let expected = json!([
        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []},
        {"token": " you", "logprob": -0.75, "bytes": [32, 121, 111, 117], "top_logprobs": []}]);
    assert_eq!(logprobs.as_ref().expect("logprobs").to_value(), expected);
}

#[test]
fn calls_may_overlap_and_be_empty() {
    let stream = br#"data: {"type":"message-start","id":"x"}

data: {"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c0","function":{"name":"a","arguments":""}}}}}

data: {"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":[{"id":"c1","function":{"name":"b","arguments":"{"}}]}}}

data: {"type":"tool-call-start","index":2,"delta":{"message":{"tool_calls":{"function":{"name":""}}}}}

data: {"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":{"function":{"arguments":"}"}}}}}

data: {"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":"x"}}}}}

data: {"type":"tool-call-end","index":0}

data: {"type":"something-new"}

data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}

data: [DONE]

"#;
    let reply = folded(events([&stream[..]])).expect("an answer");
    let calls: Vec<_> = reply.choices[0].parts.iter().filter_map(Part::as_call).collect();
    let calls: Vec<_> = calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
    assert_eq!(calls, [("c0", "{}"), ("c1", "{}")]);
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));
}

#[test]
fn errors_and_breaks_are_no_answers() {
    let fault = folded(events([golden!("error.sse")])).expect_err("an error");
    assert_eq!((&*fault.message, fault.status()), ("internal error", 502));
    let fault = folded(events([golden!("truncated.sse")])).expect_err("a break");
    assert_eq!(fault.kind, Kind::UpstreamGarbage);
    let fault = whole(br#"{"message":"invalid request"}"#).expect_err("an error");
    assert_eq!(&*fault.message, "invalid request");
    let fault = whole(br#"{"message":{},"finish_reason":"TIMEOUT"}"#).expect_err("an error");
    assert_eq!(fault.kind, Kind::UpstreamTimeout);
    let late = b"data: {\"message\":\"overloaded\"}\n\n";
    assert_eq!(&*folded(events([&late[..]])).expect_err("an error").message, "overloaded");
    for body in [&b"<html>"[..], b"", b"[]", b"{}", b"null", b"\xff\xfe"] {
        assert_eq!(whole(body).expect_err("no answer").kind, Kind::UpstreamGarbage);
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(cuts in prop::collection::vec(0_usize..5000, 0..12)) {
        for stream in [golden!("thinking.sse"), golden!("parallel.sse"), golden!("error.sse")] {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut from = 0;
            let mut pieces = Vec::new();
            for cut in cuts.into_iter().chain([stream.len()]) {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            prop_assert_eq!(format!("{:?}", events(pieces)), format!("{:?}", events([stream])));
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = events([&b"data: "[..], &bytes[..]]);
        let _ = whole(&bytes);
    }
}

// Requests.

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
