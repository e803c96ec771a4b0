//! Answers, whole and streamed: the fields themselves, and what the rules by which the official SDKs add up
//! chunks make of a stream, which must be the answer that would have come whole.

use serde_json::{Map, Value, json};

use super::super::{CHAT, CLIENT};
use crate::conversation::{
    Annotation, CallKind, Choice, Content, Event, Finish, Format, Head, Json, Media, MediaKind,
    Part, Reasoning, Reply, Seal, Source, ToolCall, Usage,
};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::{Echo, Stamp};

fn stamp() -> Stamp {
    Stamp {
        id: "0af7651916cd43dd8448eb211c80319c".into(),
        created: 1_764_000_000,
        model: "m".into(),
    }
}

fn reply(choices: Vec<(Vec<Part>, Finish)>) -> Reply {
    let choices =
        choices.into_iter().map(|(parts, finish)| Choice { parts, finish: Some(finish) }).collect();
    let usage = Usage {
        input: Some(12),
        output: Some(7),
        cache_read: Some(4),
        reasoning: Some(3),
        ..Usage::default()
    };
    Reply { head: Head::default(), choices, usage: Some(usage) }
}

fn one(parts: Vec<Part>, finish: Finish) -> Reply {
    reply(vec![(parts, finish)])
}

fn seal(format: Format, data: &str) -> Option<Seal> {
    Some(Seal { format, data: data.into() })
}

fn thought(text: &str, seal: Option<Seal>) -> Part {
    Part::reasoning(Reasoning { text: text.into(), seal, ..Reasoning::default() })
}

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into(), ..ToolCall::default() }
}

fn called(call: ToolCall) -> Part {
    Part::new(Content::ToolCall(call))
}

fn whole(reply: &Reply, echo: &Echo) -> Value {
    serde_json::from_slice(&(CLIENT.reply)(reply, echo, &stamp()).expect("written")).expect("JSON")
}

fn message(reply: &Reply) -> Value {
    whole(reply, &Echo::default())["choices"][0]["message"].clone()
}

/// The data of every event of the stream.
fn streamed(events: Vec<Event>, echo: Echo) -> Vec<Value> {
    let mut encoder = (CLIENT.stream)(echo, stamp());
    let mut out = Vec::new();
    events.into_iter().for_each(|event| encoder.event(event, &mut out));
    encoder.end(0, &mut out);
    encoder.end(0, &mut out);
    encoder.event(Event::Usage(Usage::default()), &mut out);
    let text = String::from_utf8(out).expect("text");
    let events = text.split_terminator("\n\n").map(|event| {
        let data = event.strip_prefix("data: ").expect("data only");
        serde_json::from_str(data).unwrap_or_else(|_| data.into())
    });
    events.collect()
}

/// The Python SDK's rule (`accumulate_delta`).
fn add(into: &mut Map<String, Value>, delta: &Map<String, Value>) {
    for (name, new) in delta {
        let old = into.entry(name.clone()).or_insert(Value::Null);
        if old.is_null() && new.is_array() {
            *old = json!([]);
        }
        match (old, new) {
            (old, _) if name == "index" || name == "type" || old.is_null() => *old = new.clone(),
            (Value::String(old), Value::String(new)) => old.push_str(new),
            (Value::Object(old), Value::Object(new)) => add(old, new),
            (Value::Array(old), Value::Array(new)) => {
                for entry in new {
                    let at = entry["index"].as_u64().expect("an index in every entry of a list");
                    match old.get_mut(usize::try_from(at).expect("small")) {
                        Some(known) => {
                            add(
                                known.as_object_mut().expect("object"),
                                entry.as_object().expect("object"),
                            );
                        }
                        None => {
                            assert_eq!(old.len() as u64, at, "indexes are contiguous");
                            old.push(entry.clone());
                        }
                    }
                }
            }
            (_, Value::Null) => {}
            (old, new) => panic!("{name}: {old} and {new}"),
        }
    }
}

/// The Python SDK asserts it of every piece of a call.
fn has_a_function(piece: &Value) -> bool {
    let calls = piece["delta"]["tool_calls"].as_array();
    calls.into_iter().flatten().all(|call| {
        call.get("function").is_some_and(Value::is_object) || call.get("custom").is_some()
    })
}

/// What an SDK makes of a stream.
fn accumulated(chunks: &[Value]) -> Value {
    assert_eq!(chunks.last(), Some(&Value::from("[DONE]")));
    let mut choices: Vec<Value> = Vec::new();
    for chunk in &chunks[..chunks.len() - 1] {
        assert_eq!(chunk["id"], "chatcmpl-0af7651916cd43dd8448eb211c80319c");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["created"], 1_764_000_000);
        for piece in chunk["choices"].as_array().expect("a list") {
            let at = usize::try_from(piece["index"].as_u64().expect("a number")).expect("small");
            if at == choices.len() {
                assert_eq!(piece["delta"]["role"], "assistant", "the role comes first");
                choices.push(json!({"message": {}, "finish_reason": null, "logprobs": null}));
            }
            assert!(has_a_function(piece));
            let choice = &mut choices[at];
            assert!(choice["finish_reason"].is_null(), "nothing follows the finish");
            let message = choice["message"].as_object_mut().expect("object");
            add(message, piece["delta"].as_object().expect("object"));
            choice["finish_reason"] = piece["finish_reason"].clone();
            if let Some(list) = piece["logprobs"]["content"].as_array() {
                let mut all = choice["logprobs"]["content"].as_array().cloned().unwrap_or_default();
                all.extend(list.iter().cloned());
                choice["logprobs"] = json!({"content": all, "refusal": null});
            }
        }
    }
    json!(choices)
}

/// What whole and streamed answers may differ in: an index that only streams need, an empty text for none.
fn normal(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "index" && !value.is_null() && *value != "");
            fields.values_mut().for_each(|value| *value = normal(value.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| *value = normal(value.take())),
        _ => {}
    }
    value
}

#[track_caller]
fn check(reply: Reply) {
    let expected = whole(&reply, &Echo::default())["choices"].clone();
    let chunks = streamed(reply.into_events(), Echo::default());
    assert_eq!(normal(accumulated(&chunks)), normal(expected), "{chunks:#?}");
}

#[test]
fn a_plain_answer() {
    let plain = one(vec![Part::text("Hallo 👋")], Finish::Stop);
    assert_eq!(
        whole(&plain, &Echo::default()),
        json!({
            "id": "chatcmpl-0af7651916cd43dd8448eb211c80319c",
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": "m",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Hallo 👋", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 7,
                "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        })
    );
    check(plain);
}

#[test]
fn a_stream_chunk_by_chunk() {
    let parts = vec![
        thought("hm", None),
        Part::text("Hi"),
        called(call("c1", "")),
        called(call("c2", "{}")),
    ];
    let echo = Echo { include_usage: true, ..Echo::default() };
    let mut reply = one(parts, Finish::Stop);
    reply.head.system_fingerprint = Some("fp".into());
    let chunks = streamed(reply.into_events(), echo);
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let opening = |index: u64, id: &str| {
        let function = json!({"name": "f", "arguments": ""});
        json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
    };
    let arguments =
        |index: u64| json!({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]});
    assert_eq!(*deltas[0], json!({"role": "assistant", "content": ""}));
    assert_eq!(*deltas[1], json!({"reasoning_content": "hm", "reasoning": "hm"}));
    assert_eq!(*deltas[2], json!({"content": "Hi"}));
    assert_eq!(*deltas[3], opening(0, "c1"));
    assert_eq!(*deltas[4], arguments(0), "no arguments are an empty object");
    assert_eq!(*deltas[5], opening(1, "c2"));
    assert_eq!(*deltas[6], arguments(1));
    assert_eq!(*deltas[7], json!({}));
    assert_eq!(chunks[7]["choices"][0]["finish_reason"], "tool_calls", "whatever was said");
    assert!(chunks[..8].iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert!(chunks[..9].iter().all(|chunk| chunk["system_fingerprint"] == "fp"));
    assert_eq!(
        (&chunks[8]["choices"], &chunks[8]["usage"]["total_tokens"]),
        (&json!([]), &json!(19))
    );
    assert_eq!(chunks[9], "[DONE]");
    assert_eq!(chunks.len(), 10);
}

#[test]
fn usage_is_told_only_to_those_who_asked() {
    let chunks = streamed(one(vec![Part::text("x")], Finish::Stop).into_events(), Echo::default());
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn content_is_null_where_something_else_is_said() {
    let content = |parts: Vec<Part>| message(&one(parts, Finish::Length))["content"].clone();
    assert_eq!(content(vec![]), "");
    assert_eq!(content(vec![thought("hm", None)]), "");
    assert_eq!(content(vec![called(call("c", ""))]), Value::Null);
    assert_eq!(content(vec![Part::new(Content::Refusal("no".into()))]), Value::Null);
    check(one(vec![], Finish::Length));
}

#[test]
fn sealed_thoughts_come_back_as_they_were() {
    let hidden =
        Reasoning { seal: seal(Format::Anthropic, "hid"), redacted: true, ..Reasoning::default() };
    let summarised = Reasoning {
        summary: vec!["a".into()],
        seal: seal(Format::OpenAiResponses, "gAAAA"),
        ..Reasoning::default()
    };
    let foreign = thought("bed", seal(Format::Bedrock, "sig"));
    let mut last = call("c1", "{}");
    last.seal = seal(Format::Gemini, "Cg==");
    let parts = vec![
        thought("one", seal(Format::Anthropic, "sig")),
        Part::reasoning(hidden),
        Part::reasoning(summarised),
        foreign,
        Part::text("x"),
        called(last),
    ];
    let reply = one(parts.clone(), Finish::ToolCalls);
    let said = message(&reply);
    let first = json!({"type": "thinking", "thinking": "one", "signature": "sig"});
    assert_eq!(said["thinking_blocks"][0], first);
    assert_eq!(said["thinking_blocks"][1], json!({"type": "redacted_thinking", "data": "hid"}));
    assert_eq!(said["reasoning_content"], "one\n\na\n\nbed");
    let signature = json!({"google": {"thought_signature": "Cg=="}});
    assert_eq!(said["tool_calls"][0]["extra_content"], signature);

    // Both carriers, whole or added up from a stream, bring back what the provider gave.
    let streamed = accumulated(&streamed(reply.clone().into_events(), Echo::default()));
    for mut said in [said, streamed[0]["message"].clone()] {
        check_return(&said, &parts);
        let fields = said.as_object_mut().expect("an object");
        fields.remove("thinking_blocks");
        fields["tool_calls"][0].as_object_mut().expect("a call").remove("extra_content");
        check_return(&said, &parts);
    }
    check(reply);
}

#[track_caller]
fn check_return(said: &Value, parts: &[Part]) {
    let body = json!({"messages": [said]}).to_string();
    let (ask, _) = (CLIENT.request)(body.as_bytes()).expect("taken back");
    assert_eq!(ask.turns[0].parts, parts);
    assert!(ask.turns[0].extras.is_empty());
}

#[test]
fn openrouters_own_details_pass() {
    let details = r#"[{"type":"reasoning.encrypted","data":"x","index":0}]"#;
    let reply = one(vec![thought("hm", seal(CHAT, details))], Finish::Stop);
    let said = message(&reply);
    assert_eq!(said["reasoning_details"].to_string(), details);
    assert!(said.get("thinking_blocks").is_none());
    check_return(&said, &reply.choices[0].parts);
    check(reply);
}

#[test]
fn custom_calls_and_the_older_form() {
    let mut custom = call("c1", "*** Begin Patch");
    custom.kind = CallKind::Custom;
    let reply = one(vec![called(custom)], Finish::ToolCalls);
    let expected = json!([{"id": "c1", "type": "custom", "custom": {"name": "f", "input": "*** Begin Patch"}}]);
    assert_eq!(message(&reply)["tool_calls"], expected);
    check(reply);

    let fields = vec![("functions".to_owned(), Json::of(&true))];
    let legacy = Echo { fields, ..Echo::default() };
    let reply = one(vec![called(call("c1", "{}")), called(call("c2", "{}"))], Finish::ToolCalls);
    let old = whole(&reply, &legacy)["choices"][0].clone();
    assert_eq!(old["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(old["finish_reason"], "function_call");
    let chunks = accumulated(&streamed(reply.into_events(), legacy));
    assert_eq!(normal(chunks[0].clone()), normal(old));
}

#[test]
fn several_answers_keep_their_roles_and_ends() {
    let second = vec![called(call("c1", "{}"))];
    check(reply(vec![(vec![Part::text("a")], Finish::Stop), (second, Finish::ToolCalls)]));
    // A provider that begins with the second one.
    let part = Part::text("x");
    let stop = |choice| Event::Finish { choice, finish: Finish::Stop };
    let events = vec![Event::Open { choice: 1, block: 0, part }, stop(1), stop(0)];
    let chunks = streamed(events, Echo::default());
    assert_eq!(accumulated(&chunks)[1]["message"]["content"], "x");
}

#[test]
fn blocks_may_overlap() {
    let open = |block, id| Event::Open { choice: 0, block, part: called(call(id, "")) };
    let grow = |block, text: &str| {
        let delta = crate::conversation::Delta::Arguments(text.into());
        Event::Delta { choice: 0, block, delta }
    };
    let events = vec![
        Event::Open { choice: 0, block: 0, part: thought("", None) },
        open(1, "c1"),
        open(2, "c2"),
        grow(2, "{\"b\""),
        grow(1, "{\"a\""),
        grow(2, ":2}"),
        grow(1, ":1}"),
        Event::Finish { choice: 0, finish: Finish::ToolCalls },
    ];
    let calls = accumulated(&streamed(events, Echo::default()))[0]["message"]["tool_calls"].clone();
    assert_eq!(calls[0]["function"]["arguments"], "{\"a\":1}");
    assert_eq!(calls[1]["function"]["arguments"], "{\"b\":2}");
}

#[test]
fn citations_refusals_pictures_and_sounds() {
    let cited = |text: &str, url: &str| {
        let title = Some("T".into());
        let annotation = Annotation::Url { url: url.into(), title, start: Some(0), end: Some(2) };
        let annotations = vec![annotation];
        let logprobs =
            Json::parse(r#"[{"token":"é","logprob":-0.1,"bytes":null,"top_logprobs":[]}]"#);
        Part::new(Content::Text { text: text.into(), annotations, logprobs })
    };
    let media = |kind, media_type: &str| {
        let source = Source::Base64 { media_type: media_type.into(), data: "AAAA".into() };
        Part::new(Content::Media(Media { kind, source, name: None, detail: None }))
    };
    let parts = vec![
        cited("éé", "https://a"),
        cited("bb", "https://b"),
        media(MediaKind::Image, "image/png"),
        media(MediaKind::Image, "image/png"),
        media(MediaKind::Audio, "audio/wav"),
    ];
    let reply = one(parts, Finish::Stop);
    let said = message(&reply);
    assert_eq!(said["content"], "éébb");
    assert_eq!(said["annotations"][1]["url_citation"]["start_index"], 2);
    assert_eq!(said["images"][1]["image_url"]["url"], "data:image/png;base64,AAAA");
    assert_eq!(said["images"][1]["index"], 1);
    assert_eq!(said["audio"]["data"], "AAAA");
    check(reply);

    let refused =
        one(vec![Part::new(Content::Refusal("no".into()))], Finish::Filtered(Some("why".into())));
    assert_eq!(message(&refused)["refusal"], "no");
    check(refused);
    let withheld = one(vec![Part::text("a")], Finish::Filtered(Some("why".into())));
    assert_eq!(message(&withheld)["refusal"], "why");
    check(withheld);
}

#[test]
fn why_an_answer_ended() {
    let word = |finish| {
        whole(&one(vec![], finish), &Echo::default())["choices"][0]["finish_reason"].clone()
    };
    assert_eq!(word(Finish::StopSequence(Some("x".into()))), "stop");
    assert_eq!(word(Finish::ContextWindow), "length");
    assert_eq!(word(Finish::ToolCalls), "stop");
    assert_eq!(word(Finish::Filtered(None)), "content_filter");
    assert_eq!(word(Finish::Pause), "stop");
    assert_eq!(word(Finish::Fault("MALFORMED_FUNCTION_CALL".into())), "stop");
    let long = one(vec![called(call("c", "{\"a"))], Finish::Length);
    assert_eq!(whole(&long, &Echo::default())["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_broken_stream_never_looks_complete() {
    let open = Event::Open { choice: 0, block: 0, part: Part::text("a") };
    let fault = Fault::new(Kind::Upstream(529), "Overloaded.");
    let chunks = streamed(vec![open.clone(), Event::Fail(fault), open.clone()], Echo::default());
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[2]["error"]["message"], "Overloaded.");
    for events in [vec![], vec![open]] {
        let chunks = streamed(events, Echo::default());
        let last = chunks.last().expect("something");
        assert_eq!(last["error"]["code"], "upstream_invalid_response");
    }
}
