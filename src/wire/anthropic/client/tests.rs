//! The client's half held against fixtures: what is read of requests, and what goes out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CLIENT, count_request};
use crate::conversation::{
    Annotation, Choice, Content, Delta, Effort, Event, Finish, Format, Head, Part, Reasoning,
    Reply, Role, Seal, ToolCall, Usage, estimate,
};
use crate::ground::fault::{Fault, Kind};
use crate::wire::anthropic::provider::PROVIDER;
use crate::wire::codec::{Echo, Frame, ReplyContext, Stamp};
use crate::wire::framing::{Frames, Framing};

macro_rules! golden {
    ($name:expr) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/", $name)).as_slice()
    };
}

fn stamp() -> Stamp {
    Stamp { id: "0123".into(), created: 0, model: "fast".into() }
}

fn whole(reply: &Reply) -> Value {
    let bytes = (CLIENT.reply)(reply, &Echo::default(), &stamp()).expect("written");
    serde_json::from_slice(&bytes).expect("valid")
}

/// The events that were written, each name equal to its type.
fn written(events: Vec<Event>) -> Vec<Value> {
    let mut encoder = (CLIENT.stream)(Echo::default(), stamp());
    let mut out = Vec::new();
    events.into_iter().for_each(|event| encoder.event(event, &mut out));
    encoder.end(0, &mut out);
    encoder.end(0, &mut out);
    let mut all = Vec::new();
    let mut frames = Frames::new(Framing::Events);
    let mut take = |frame: Frame<'_>| {
        let event: Value = serde_json::from_slice(frame.data).expect("valid");
        assert_eq!(event["type"], frame.name);
        all.push(event);
    };
    frames.push(out.into(), &mut take).expect("short");
    frames.end(&mut take);
    all
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// Puts a stream together the way Anthropic's library does, and checks its order.
fn assembled(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events.last().expect("some")["type"], "message_stop");
    let (mut open, mut input) = (None, String::new());
    for event in events {
        let blocks = message["content"].as_array_mut().expect("a list");
        match event["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert_eq!((&open, event["index"].as_u64()), (&None, Some(blocks.len() as u64)));
                open = event["index"].as_u64();
                blocks.push(event["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64());
                let (block, delta) = (blocks.last_mut().expect("open"), &event["delta"]);
                let grow = |block: &mut Value, name: &str| {
                    let before = block[name].as_str().unwrap_or_default();
                    let more = delta[name].as_str().unwrap_or_default();
                    block[name] = json!(format!("{before}{more}"));
                };
                match delta["type"].as_str().expect("a type") {
                    "text_delta" => grow(block, "text"),
                    "thinking_delta" => grow(block, "thinking"),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "input_json_delta" => {
                        let piece = delta["partial_json"].as_str().expect("a text");
                        assert_ne!(piece, "");
                        input.push_str(piece);
                        if let Ok(whole) = serde_json::from_str(&input) {
                            block["input"] = whole;
                        }
                    }
                    "citations_delta" => {
                        let citations = &mut block["citations"];
                        if citations.is_null() {
                            *citations = json!([]);
                        }
                        citations.as_array_mut().expect("a list").push(delta["citation"].clone());
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64()),
            "message_delta" => {
                assert_eq!(open, None);
                for (name, value) in event["delta"].as_object().expect("an object") {
                    message[name] = value.clone();
                }
                for (name, value) in event["usage"].as_object().expect("an object") {
                    message["usage"][name] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

#[track_caller]
fn check(reply: Reply) -> Value {
    let whole = whole(&reply);
    assert_eq!(assembled(&written(reply.into_events())), whole);
    whole
}

fn answer(parts: Vec<Part>, finish: Finish) -> Reply {
    let usage = Usage {
        input: Some(110),
        output: Some(7),
        cache_read: Some(100),
        cache_write: Some(4),
        reasoning: Some(3),
        ..Usage::default()
    };
    let choices = vec![Choice { parts, finish: Some(finish) }];
    Reply { head: Head::default(), choices, usage: Some(usage) }
}

fn call(id: &str, arguments: &str) -> Part {
    let (id, arguments) = (id.to_owned(), arguments.to_owned());
    Part::new(Content::ToolCall(ToolCall { id, name: "f".into(), arguments, ..<_>::default() }))
}

#[test]
fn an_answer_is_a_message() {
    let seal = Some(Seal { format: Format::Anthropic, data: "S".into() });
    let message = check(answer(
        vec![
            Part::reasoning(Reasoning { text: "hm".into(), seal, ..Reasoning::default() }),
            Part::text(""),
            Part::text("Hi"),
            call("call.1", "{\"a\": 1}"),
            call("b", ""),
        ],
        Finish::ToolCalls,
    ));
    assert_eq!(
        message,
        json!({
            "id": "msg_0123",
            "type": "message",
            "role": "assistant",
            "model": "fast",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "S"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ],
            "stop_reason": "tool_use",
            "stop_sequence": null,
            "usage": {
                "input_tokens": 6,
                "cache_creation_input_tokens": 4,
                "cache_read_input_tokens": 100,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        })
    );
}

#[test]
fn it_tells_why_it_stopped() {
    let reason = |finish| check(answer(vec![Part::text("x")], finish));
    assert_eq!(reason(Finish::Stop)["stop_reason"], "end_turn");
    assert_eq!(reason(Finish::Length)["stop_reason"], "max_tokens");
    assert_eq!(reason(Finish::Pause)["stop_reason"], "pause_turn");
    assert_eq!(reason(Finish::Fault("MALFORMED".into()))["stop_reason"], "end_turn");
    assert_eq!(reason(Finish::ContextWindow)["stop_reason"], "model_context_window_exceeded");
    let stopped = reason(Finish::StopSequence(Some("###".into())));
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!("###"))
    );
    let refused = reason(Finish::Filtered(Some("no".into())));
    let details = json!({"type": "refusal", "category": null, "explanation": "no"});
    assert_eq!((&refused["stop_reason"], &refused["stop_details"]), (&json!("refusal"), &details));
    let refusal = vec![Part::new(Content::Refusal("I won't.".into()))];
    let refused = check(answer(refusal, Finish::Stop));
    assert_eq!(
        (&refused["stop_reason"], &refused["content"][0]["text"]),
        (&json!("refusal"), &json!("I won't."))
    );
}

#[test]
fn foreign_thoughts_come_back() {
    let seal = |format| Some(Seal { format, data: "gAAA".into() });
    let summary = vec!["One.".to_owned(), "Two.".to_owned()];
    let openai = Reasoning { summary, seal: seal(Format::OpenAiResponses), ..<_>::default() };
    let redacted = Reasoning { redacted: true, seal: seal(Format::Bedrock), ..<_>::default() };
    let bare = Reasoning { text: "hm".into(), ..Reasoning::default() };
    let mut sealed = call("c1", "{}");
    if let Content::ToolCall(call) = &mut sealed.content {
        call.seal = seal(Format::Gemini);
    }
    let mut parts: Vec<Part> = [openai, redacted, bare].map(Part::reasoning).into();
    parts.push(sealed.clone());
    // In a stream the seal of a call comes last, and then its carrier does too.
    let reply = answer(parts, Finish::ToolCalls);
    for message in [whole(&reply), assembled(&written(reply.into_events()))] {
        check_thoughts(&message, &sealed);
    }
}

#[track_caller]
fn check_thoughts(message: &Value, sealed: &Part) {
    let seal = |format| Some(Seal { format, data: "gAAA".into() });
    assert_eq!(message["content"][0]["thinking"], "One.\n\nTwo.");
    assert_eq!(message["content"][1]["type"], "redacted_thinking");
    assert_eq!(message["content"][2]["signature"], "");
    let request = json!({
        "max_tokens": 1,
        "messages": [{"role": "assistant", "content": message["content"]}],
    });
    let (ask, _) = (CLIENT.request)(request.to_string().as_bytes()).expect("a request");
    let parts = &ask.turns[0].parts;
    assert_eq!(parts.len(), 4);
    let Content::Reasoning(openai) = &parts[0].content else { panic!("reasoning") };
    assert_eq!(
        (openai.text.as_str(), openai.summary.as_slice()),
        ("", ["One.\n\nTwo.".to_owned()].as_slice())
    );
    assert_eq!(openai.seal, seal(Format::OpenAiResponses));
    let Content::Reasoning(redacted) = &parts[1].content else { panic!("reasoning") };
    assert!(redacted.redacted && redacted.seal == seal(Format::Bedrock));
    assert_eq!(parts[3], *sealed);
}

/// What Anthropic answers reaches its client as it was.
#[test]
fn anthropics_answers_pass() {
    for (body, stream) in [
        (golden!("answers/anthropic/text.json"), golden!("answers/anthropic/text.sse")),
        (
            golden!("answers/anthropic/parallel_tools.json"),
            golden!("answers/anthropic/parallel_tools.sse"),
        ),
        (
            golden!("answers/anthropic/redacted_thinking.json"),
            golden!("answers/anthropic/redacted_thinking.sse"),
        ),
        (golden!("answers/anthropic/web_search.json"), golden!("answers/anthropic/web_search.sse")),
        (golden!("answers/anthropic/length.json"), golden!("answers/anthropic/length.sse")),
    ] {
        let expected: Value = serde_json::from_slice(body).expect("valid");
        let reply = (PROVIDER.reply)(body, &mut ReplyContext::default()).expect("an answer");
        assert_eq!(whole(&reply)["content"], expected["content"]);
        let mut decoder = (PROVIDER.stream)(ReplyContext::default());
        let (mut frames, mut events) = (Frames::new(Framing::Events), Vec::new());
        let bytes = bytes::Bytes::copy_from_slice(stream);
        frames.push(bytes, |frame| decoder.frame(frame, &mut events)).expect("short");
        decoder.end(&mut events);
        let written = written(events);
        // Who asks Anthropic knows the input from the start.
        let input = &written[0]["message"]["usage"]["input_tokens"];
        assert_eq!(*input, expected["usage"]["input_tokens"]);
        let message = assembled(&written);
        for field in ["content", "stop_reason", "stop_sequence"] {
            let citations = |value: &Value| value.to_string().replace(",\"citations\":[]", "");
            assert_eq!(citations(&message[field]), citations(&expected[field]), "{field}");
        }
        assert_eq!(message["usage"]["output_tokens"], expected["usage"]["output_tokens"]);
    }
}

#[test]
fn blocks_do_not_overlap() {
    let open = |block, part| Event::Open { choice: 0, block, part };
    let text =
        |block, text: &str| Event::Delta { choice: 0, block, delta: Delta::Text(text.into()) };
    let more =
        |block, text: &str| Event::Delta { choice: 0, block, delta: Delta::Arguments(text.into()) };
    let close = |block| Event::Close { choice: 0, block };
    let events = written(vec![
        Event::Begin(Head::default()),
        open(0, Part::text("")),
        open(1, call("a", "")),
        more(1, "{\"a\""),
        open(2, call("b", "")),
        more(2, "{\"b\":2}"),
        more(1, ":1}"),
        text(0, "late"),
        close(2),
        close(0),
        open(3, Part::text("")),
        close(3),
        close(1),
        open(4, call("c", "")),
        more(4, " "),
        Event::Finish { choice: 0, finish: Finish::ToolCalls },
    ]);
    let message = assembled(&events);
    let blocks = json!([
        {"type": "text", "text": "late"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"b": 2}},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]);
    assert_eq!(message["content"], blocks);
}

/// Events in any order, also ones that make no sense.
fn any_event() -> impl Strategy<Value = Event> {
    let block = 0_u32..5;
    let piece = "[a-zé ]{0,3}";
    let part = prop_oneof![
        Just(Part::text("")),
        Just(Part::text("x")),
        Just(Part::reasoning(Reasoning::default())),
        Just(call("a.b", "")),
        Just(Part::new(Content::Refusal(String::new()))),
    ];
    let choice = 0;
    prop_oneof![
        (block.clone(), part).prop_map(move |(block, part)| Event::Open { choice, block, part }),
        (block.clone(), piece).prop_map(move |(block, text)| {
            Event::Delta { choice, block, delta: Delta::Text(text) }
        }),
        block.clone().prop_map(move |block| {
            let seal = Seal { format: Format::Gemini, data: "S".into() };
            Event::Delta { choice, block, delta: Delta::Seal(seal) }
        }),
        (block.clone(), piece).prop_map(move |(block, text)| {
            Event::Delta { choice, block, delta: Delta::Arguments(text) }
        }),
        block.prop_map(move |block| Event::Close { choice, block }),
        Just(Event::Usage(Usage { output: Some(1), ..Usage::default() })),
    ]
}

proptest! {
    #[test]
    fn every_stream_is_well_formed(mut events in proptest::collection::vec(any_event(), 0..40)) {
        events.push(Event::Finish { choice: 0, finish: Finish::Stop });
        assembled(&written(events));
    }

    #[test]
    fn damaged_requests_are_refused(at in 0_usize..4000, with in "[\"{}\\[\\],:0a]{0,3}") {
        let request = golden!("requests/anthropic/claude_code.json");
        let (before, after) = request.split_at(at.min(request.len()));
        let damaged = [before, with.as_bytes(), after.get(1..).unwrap_or_default()].concat();
        if let Err(fault) = (CLIENT.request)(&damaged) {
            prop_assert_eq!(fault.status(), 400);
        }
    }
}

#[test]
fn a_tool_alone_has_no_text_block() {
    let events = written(answer(vec![call("a", "{}")], Finish::ToolCalls).into_events());
    assert_eq!(
        types(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let nothing = written(answer(Vec::new(), Finish::Stop).into_events());
    assert_eq!(types(&nothing), ["message_start", "message_delta", "message_stop"]);
}

#[test]
fn broken_streams_never_look_complete() {
    let begun = || {
        vec![
            Event::Begin(Head::default()),
            Event::Open { choice: 0, block: 0, part: Part::text("Hel") },
        ]
    };
    let mut failed = begun();
    failed.push(Event::Fail(Fault::new(Kind::Upstream(429), "Slow down.")));
    failed.push(Event::Finish { choice: 0, finish: Finish::Stop });
    let events = written(failed);
    let error =
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}});
    assert_eq!(events.last(), Some(&error));
    let events = written(begun());
    assert_eq!(types(&events).last(), Some(&"error"));
    assert!(!types(&events).contains(&"message_stop"));
}

#[test]
fn citations_of_others_are_given() {
    let url = Annotation::Url { url: "https://a".into(), title: None, start: None, end: None };
    let content = Content::Text { text: "x".into(), annotations: vec![url], logprobs: None };
    let message = check(answer(vec![Part::new(content)], Finish::Stop));
    let citation = &message["content"][0]["citations"][0];
    assert_eq!(
        (&citation["type"], &citation["url"]),
        (&json!("web_search_result_location"), &json!("https://a"))
    );
}

// Requests.

#[test]
fn claude_codes_request_is_read() {
    let (ask, _) = (CLIENT.request)(golden!("requests/anthropic/claude_code.json")).expect("read");
    assert!(ask.stream);
    assert_eq!(ask.max_tokens, Some(32_000));
    let roles: Vec<Role> = ask.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User, Role::System]);
    let reasoning = ask.reasoning.as_ref().expect("asked for");
    assert!(reasoning.adaptive && reasoning.show == Some(false));
    assert_eq!(reasoning.effort, Some(Effort::Medium));
    assert!(ask.user.as_deref().is_some_and(|user| user.starts_with("{\"device_id\"")));
    assert!(ask.extras.get("context_management").is_some());
    assert!(ask.extras.get("thinking").is_none() && ask.extras.get("output_config").is_none());
    assert!(ask.tools[1].extras.get("defer_loading").is_some());
    assert_eq!(ask.called("toolu_01A09q90qw90lq917835lq9"), Some("Read"));
}

#[test]
fn unknown_settings_stay_whole() {
    let body = json!({
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "between_tools"},
        "service_tier": "new",
        "output_config": {"effort": "heroic", "format": {"type": "grammar"}},
        "metadata": {"user_id": null, "x": 1},
        "betas": ["b"],
    });
    let (ask, _) = (CLIENT.request)(body.to_string().as_bytes()).expect("a request");
    for name in ["thinking", "service_tier", "output_config", "metadata", "betas"] {
        assert!(ask.extras.get(name).is_some(), "{name}");
    }
    assert_eq!((ask.reasoning, ask.user), (None, None));
}

#[track_caller]
fn check_refused(body: &str, message: &str) {
    let fault = (CLIENT.request)(body.as_bytes()).expect_err("refused");
    assert_eq!((fault.status(), &*fault.message), (400, message));
}

#[test]
fn what_is_wrong_is_told() {
    check_refused("{", "The body is not valid JSON, or not a JSON object. Send one JSON object.");
    check_refused("[]", "The body is not valid JSON, or not a JSON object. Send one JSON object.");
    check_refused(r#"{"messages":[]}"#, "max_tokens: Field required");
    check_refused(r#"{"max_tokens":1}"#, "messages: Field required");
    check_refused(
        r#"{"max_tokens":1,"messages":[]}"#,
        "messages: at least one message is required",
    );
    check_refused(
        r#"{"max_tokens":1,"messages":[{"role":"tool","content":"x"}]}"#,
        "`messages[0].role` must be `user`, `assistant` or `system`, and it is not.",
    );
    check_refused(
        r#"{"max_tokens":1,"messages":[{"role":"user","content":5}]}"#,
        "`messages[0].content` must be a string or a list of blocks, and it is not.",
    );
    check_refused(
        r#"{"max_tokens":1,"messages":[{"role":"user"}]}"#,
        "`messages[0].content` is missing.",
    );
    check_refused(
        r#"{"max_tokens":1,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f"}]}"#,
        "`tools[0].input_schema` is missing.",
    );
    check_refused(
        r#"{"max_tokens":1,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled"}}"#,
        "`thinking.budget_tokens` is missing.",
    );
}

#[test]
fn tokens_are_counted_without_max_tokens() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello there"}]}"#;
    let ask = count_request(body.as_bytes()).expect("a request");
    assert_eq!(super::count_reply(estimate::estimate_tokens(&ask)), b"{\"input_tokens\":7}");
}
