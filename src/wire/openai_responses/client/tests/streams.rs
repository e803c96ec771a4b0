//! Streams: the ladder rung by rung, its laws for any answer, and every way in which it ends.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{call, called, codex, reply, stamp, thought};
use crate::conversation::{
    Annotation, CallKind, Content, Delta, Event, Extras, Finish, Json, Part, Reasoning, Reply,
    Seal, ToolCall, Usage,
};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::Echo;
use crate::wire::sse;

/// The events of a stream that is given these.
fn stream(events: Vec<Event>, echo: &Echo) -> Vec<Value> {
    let mut encode = (CLIENT.stream)(echo.clone(), stamp());
    let mut out = Vec::new();
    for event in events {
        encode.event(event, &mut out);
    }
    encode.end(1800, &mut out);
    let before = out.len();
    encode.event(Event::Usage(Usage::default()), &mut out);
    encode.end(1900, &mut out);
    assert_eq!(out.len(), before, "nothing follows the end");
    let text = String::from_utf8(out).expect("UTF-8");
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| {
            let data = sse::data(event.as_bytes()).expect("data");
            let data: Value = serde_json::from_slice(&data).expect("JSON");
            assert_eq!(data["type"], *sse::name(event.as_bytes()));
            data
        })
        .collect();
    laws(&events);
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            kind.strip_prefix("response.").unwrap_or(kind)
        })
        .collect()
}

/// What holds of every stream.
fn laws(events: &[Value]) {
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(kinds(&events[..2]), ["created", "in_progress"]);
    let is_terminal = |event: &&Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        matches!(kind, "response.completed" | "response.incomplete" | "response.failed")
    };
    assert_eq!(events.iter().filter(is_terminal).count(), 1);
    let last = events.last().expect("events");
    assert!(is_terminal(&last));
    let output = last["response"]["output"].as_array().expect("a list");

    let mut ids: Vec<Option<String>> = Vec::new();
    let mut done = HashMap::new();
    let mut deltas: HashMap<(u64, String, u64), String> = HashMap::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        let Some(index) = event["output_index"].as_u64() else { continue };
        let at = usize::try_from(index).expect("small");
        let part = event["content_index"].as_u64().or(event["summary_index"].as_u64());
        let key = |suffix: &str| {
            let stem = kind.strip_suffix(suffix).unwrap_or_default().to_owned();
            (index, stem, part.unwrap_or_default())
        };
        match kind {
            "response.output_item.added" => {
                assert_eq!(at, ids.len(), "indices are contiguous");
                ids.push(event["item"]["id"].as_str().map(str::to_owned));
            }
            "response.output_item.done" => {
                assert_eq!(event["item"]["id"].as_str().map(str::to_owned), ids[at]);
                assert!(done.insert(index, event["item"].clone()).is_none(), "finished once");
            }
            _ => {
                assert_eq!(event["item_id"].as_str().map(str::to_owned), ids[at]);
                assert!(!done.contains_key(&index), "nothing follows an item's end");
                if let Some(delta) = event["delta"].as_str() {
                    deltas.entry(key(".delta")).or_default().push_str(delta);
                }
                let whole = ["text", "arguments", "input", "refusal"];
                if let Some(whole) = whole.iter().find_map(|name| event[*name].as_str()) {
                    let sum = deltas.remove(&key(".done")).unwrap_or_default();
                    assert_eq!(sum, whole, "deltas sum to the whole: {event}");
                }
            }
        }
    }
    for (index, item) in &done {
        let at = usize::try_from(*index).expect("small");
        assert_eq!(output[at], *item, "what was streamed is what the response holds");
    }
    if last["type"] != "response.failed" {
        assert!(deltas.is_empty(), "all that was begun is finished");
        assert_eq!(done.len(), output.len());
    }
}

fn whole(reply: &Reply, echo: &Echo) -> Vec<Value> {
    stream(reply.clone().into_events(), echo)
}

#[test]
fn a_text_climbs_every_rung() {
    let events = whole(&reply(vec![Part::text("hé")], Finish::Stop), &Echo::default());
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[2]["item"]["content"], json!([]));
    assert_eq!(events[4]["delta"], "hé");
    assert_eq!(events[4]["logprobs"], json!([]));
    let response = &events[8]["response"];
    assert_eq!(
        (&response["status"], &response["completed_at"]),
        (&json!("completed"), &json!(1800))
    );
    assert_eq!(response["usage"]["total_tokens"], 15);
}

#[test]
fn thoughts_and_calls_climb_their_own() {
    let parts = vec![
        thought("hm", None),
        called(call(CallKind::Function, "f", "")),
        called(call(CallKind::Custom, "exec", "x()")),
        called(call(CallKind::ToolSearch, "tool_search", "{\"query\":\"x\"}")),
        called(call(CallKind::LocalShell, "local_shell", "{\"command\":[\"ls\"]}")),
    ];
    let events = whole(&reply(parts.clone(), Finish::ToolCalls), &codex());
    assert_eq!(
        kinds(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done",
            "output_item.added",
            "output_item.done",
            "output_item.added",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(events[9]["delta"], "{}");
    let raw = whole(&reply(parts, Finish::ToolCalls), &Echo::default());
    assert_eq!(
        kinds(&raw)[2..8],
        [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done"
        ]
    );
}

#[test]
fn calls_side_by_side_keep_their_own_items() {
    let open = |block, part| Event::Open { choice: 0, block, part };
    let more = |block, text: &str| {
        let delta = Delta::Arguments(text.into());
        Event::Delta { choice: 0, block, delta }
    };
    let close = |block| Event::Close { choice: 0, block };
    let events = stream(
        vec![
            open(0, called(call(CallKind::Function, "a", ""))),
            open(1, called(call(CallKind::Function, "b", ""))),
            more(0, "{\"x\":"),
            more(1, "{\"y\""),
            more(0, "1}"),
            close(0),
            more(1, ":2}"),
            close(1),
            Event::Finish { choice: 0, finish: Finish::ToolCalls },
        ],
        &Echo::default(),
    );
    let output = &events.last().expect("events")["response"]["output"];
    assert_eq!(output[0]["arguments"], "{\"x\":1}");
    assert_eq!(output[1]["arguments"], "{\"y\":2}");
}

#[test]
fn an_empty_text_before_a_call_is_no_message() {
    let parts = vec![Part::text(""), called(call(CallKind::Function, "f", "{}"))];
    let events = whole(&reply(parts, Finish::ToolCalls), &Echo::default());
    assert_eq!(events[2]["item"]["type"], "function_call");
    assert_eq!(events[2]["output_index"], 0);
}

#[test]
fn a_cut_answer_ends_incomplete() {
    let events = whole(&reply(vec![Part::text("ab")], Finish::Length), &Echo::default());
    let last = events.last().expect("events");
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert_eq!(last["response"]["completed_at"], Value::Null);
}

#[test]
fn failures_are_told_and_end_the_stream() {
    let text = |text: &str| {
        vec![
            Event::Open { choice: 0, block: 0, part: Part::text("") },
            Event::Delta { choice: 0, block: 0, delta: Delta::Text(text.into()) },
        ]
    };
    let error = |events: Vec<Event>| {
        let events = stream(events, &Echo::default());
        let last = events.last().expect("events").clone();
        assert_eq!(last["type"], "response.failed");
        last["response"].clone()
    };
    let mut failing = text("ab");
    let mut fault = Fault::new(Kind::Upstream(400), "prompt is too long");
    fault.details_mut().code = Some("context_length_exceeded".into());
    failing.push(Event::Fail(fault));
    failing.push(Event::Finish { choice: 0, finish: Finish::Stop });
    let response = error(failing);
    assert_eq!(
        response["error"],
        json!({"code": "context_length_exceeded", "message": "prompt is too long"})
    );
    assert_eq!(response["output"][0]["content"][0]["text"], "ab");
    assert_eq!(response["output"][0]["status"], "incomplete");
    // Ends that nobody told of are never complete.
    error(text("ab"));
    error(vec![]);
    let fault = Finish::Fault("MALFORMED_FUNCTION_CALL".into());
    let response = error(vec![Event::Finish { choice: 0, finish: fault }]);
    assert_eq!(response["error"]["code"], "server_error");
}

#[test]
fn a_signature_on_a_call_follows_it() {
    let mut signed = call(CallKind::Function, "f", "{}");
    signed.seal = Some(Seal { format: Format::Gemini, data: "sig".into() });
    let reply =
        reply(vec![called(signed), called(call(CallKind::Function, "g", "{}"))], Finish::ToolCalls);
    let events = whole(&reply, &Echo::default());
    let output =
        events.last().expect("events")["response"]["output"].as_array().expect("list").clone();
    let kinds: Vec<&Value> = output.iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["function_call", "reasoning", "function_call"]);
}

#[test]
fn other_choices_and_wild_blocks_do_no_harm() {
    stream(
        vec![
            Event::Open { choice: 1, block: 0, part: Part::text("other") },
            Event::Close { choice: 0, block: 9 },
            Event::Delta { choice: 0, block: 7, delta: Delta::Text("x".into()) },
            Event::Open { choice: 0, block: u32::MAX, part: Part::text("a") },
            Event::Delta { choice: 0, block: u32::MAX, delta: Delta::Arguments("x".into()) },
            Event::Finish { choice: 0, finish: Finish::Stop },
            Event::Open { choice: 0, block: 3, part: Part::text("late") },
        ],
        &Echo::default(),
    );
}

#[test]
fn silence_is_broken_by_an_event() {
    let (mut encoder, mut out) = ((CLIENT.stream)(Echo::default(), stamp()), Vec::new());
    // The SDKs want `response.created` before all others.
    encoder.ping(&mut out);
    let text = String::from_utf8(std::mem::take(&mut out)).expect("text");
    assert!(text.starts_with("event: response.created\n"), "{text}");
    encoder.ping(&mut out);
    let expected = br#"{"type":"keepalive","sequence_number":2}"#;
    assert_eq!(sse::data(&out).as_deref(), Some(&expected[..]));
}

fn any_part() -> impl Strategy<Value = Part> {
    let seal = prop::option::of(
        prop::sample::select(vec![Format::Anthropic, Format::Gemini, FORMAT])
            .prop_map(|format| Seal { format, data: "s".into() }),
    );
    let kind = prop::sample::select(vec![
        CallKind::Function,
        CallKind::Custom,
        CallKind::LocalShell,
        CallKind::ApplyPatch,
        CallKind::ToolSearch,
    ]);
    let text = ("[a-c é]{0,3}", any::<bool>()).prop_map(|(text, own)| {
        let mut part = Part::text(text);
        if own {
            part.extras = Extras::new(FORMAT, vec![("id".into(), Json::of(&"msg_own"))]);
        }
        part
    });
    let cited = "[a-c]{1,3}".prop_map(|text| {
        let url = Annotation::Url { url: "u".into(), title: None, start: None, end: None };
        Part::new(Content::Text { text, annotations: vec![url], logprobs: Json::parse("[{}]") })
    });
    let thought = ("[a-c]{0,3}", seal.clone(), any::<bool>()).prop_map(|(text, seal, redacted)| {
        let redacted = redacted && seal.is_some();
        Part::reasoning(Reasoning { text, seal, redacted, ..Reasoning::default() })
    });
    let summary = prop::collection::vec("[a-c]{1,3}", 1..3)
        .prop_map(|summary| Part::reasoning(Reasoning { summary, ..Reasoning::default() }));
    let call = (kind, "[a-c {}]{0,4}", seal).prop_map(|(kind, arguments, seal)| {
        let seal = seal.filter(|seal| seal.format != FORMAT);
        called(ToolCall { seal, ..call(kind, "f", &arguments) })
    });
    prop_oneof![
        text,
        cited,
        thought,
        summary,
        call,
        "[a-c]{0,2}".prop_map(|text| Part::new(Content::Refusal(text))),
    ]
}

proptest! {
    #[test]
    fn a_stream_ends_in_what_the_answer_is_whole(
        parts in prop::collection::vec(any_part(), 0..7),
        cut in any::<bool>(),
        is_codex in any::<bool>(),
    ) {
        let finish = if cut { Finish::Length } else { Finish::Stop };
        let reply = reply(parts, finish);
        let echo = if is_codex { codex() } else { Echo::default() };
        let events = whole(&reply, &echo);
        let streamed = &events.last().expect("events")["response"];
        let object = response_object(&reply, &echo, &stamp(), 1800).to_value();
        prop_assert_eq!(streamed, &object);
    }
}
