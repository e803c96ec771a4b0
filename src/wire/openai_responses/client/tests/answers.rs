//! Whole answers: each kind of item in its shape, and the response object around them.

use serde_json::{Value, json};

use super::super::*;
use super::{call, called, codex, echo, reply, stamp, thought};
use crate::conversation::{
    Annotation, CallKind, Content, Extras, Finish, Json, Media, MediaKind, Part, Reply, Seal,
    Source,
};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::Echo;

fn body(reply: &Reply, echo: &Echo) -> Value {
    serde_json::from_slice(&(CLIENT.reply)(reply, echo, &stamp()).expect("written")).expect("JSON")
}

/// The items that parts make, without what all of them have.
#[track_caller]
fn check(parts: Vec<Part>, echo: &Echo, expected: Value) {
    let items = output_items(&reply(parts, Finish::Stop), echo, &stamp());
    let items: Vec<Value> = items.iter().map(Json::to_value).collect();
    assert_eq!(Value::from(items), expected);
}

const ID: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn texts_in_a_row_are_one_message() {
    let url = Annotation::Url {
        url: "https://example.com".into(),
        title: None,
        start: Some(1),
        end: Some(2),
    };
    let mut cited = Part::text("b");
    if let Content::Text { annotations, .. } = &mut cited.content {
        annotations.push(url);
        annotations
            .push(Annotation::Foreign { format: Format::Anthropic, value: json!({}).into() });
    }
    let refusal = Part::new(Content::Refusal("no".into()));
    check(
        vec![Part::text("a"), Part::text(""), cited, refusal],
        &Echo::default(),
        json!([{"type": "message", "id": format!("msg_{ID}0000"), "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
            {"type": "output_text", "text": "b", "logprobs": [], "annotations": [
                {"type": "url_citation", "url": "https://example.com", "title": "", "start_index": 1, "end_index": 2}]},
            {"type": "refusal", "refusal": "no"},
        ]}]),
    );
}

#[test]
fn messages_that_openai_tells_apart_stay_apart() {
    let said = |text: &str, id: &str, phase: &str| {
        let fields = vec![("id".to_owned(), Json::of(&id)), ("phase".to_owned(), Json::of(&phase))];
        Part { extras: Extras::new(FORMAT, fields), ..Part::text(text) }
    };
    let text = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    check(
        vec![said("a", "msg_a", "commentary"), said("b", "msg_b", "final_answer")],
        &Echo::default(),
        json!([
            {"type": "message", "id": "msg_a", "status": "completed", "role": "assistant", "content": [text("a")], "phase": "commentary"},
            {"type": "message", "id": "msg_b", "status": "completed", "role": "assistant", "content": [text("b")], "phase": "final_answer"},
        ]),
    );
}

#[test]
fn calls_of_every_kind() {
    let mut namespaced = call(CallKind::Function, "search", r#"{"q":1}"#);
    namespaced.namespace = Some("mcp__docs".into());
    let shell =
        called(call(CallKind::LocalShell, "shell", r#"{"commands":["ls"],"timeout_ms":5}"#));
    let local = called(call(CallKind::LocalShell, "local_shell", r#"{"command":["ls"]}"#));
    let patch = r#"{"type":"delete_file","path":"a"}"#;
    check(
        vec![
            called(namespaced),
            called(call(CallKind::Function, "now", "")),
            called(call(CallKind::Custom, "apply_patch", "*** Begin")),
            called(call(CallKind::ToolSearch, "tool_search", r#"{"query":"x"}"#)),
            local,
            shell,
            called(call(CallKind::ApplyPatch, "apply_patch", patch)),
        ],
        &codex(),
        json!([
            {"type": "function_call", "id": format!("fc_{ID}0000"), "status": "completed", "call_id": "call_search", "name": "search", "namespace": "mcp__docs", "arguments": "{\"q\":1}"},
            {"type": "function_call", "id": format!("fc_{ID}0001"), "status": "completed", "call_id": "call_now", "name": "now", "arguments": "{}"},
            {"type": "custom_tool_call", "id": format!("ctc_{ID}0002"), "status": "completed", "call_id": "call_apply_patch", "name": "apply_patch", "input": "*** Begin"},
            {"type": "tool_search_call", "id": format!("tsc_{ID}0003"), "status": "completed", "call_id": "call_tool_search", "execution": "client", "arguments": {"query": "x"}},
            {"type": "local_shell_call", "id": format!("lsh_{ID}0004"), "status": "completed", "call_id": "call_local_shell", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            {"type": "shell_call", "id": format!("sh_{ID}0005"), "status": "completed", "call_id": "call_shell", "action": {"commands": ["ls"], "timeout_ms": 5}},
            {"type": "apply_patch_call", "id": format!("apc_{ID}0006"), "status": "completed", "call_id": "call_apply_patch", "operation": {"type": "delete_file", "path": "a"}},
        ]),
    );
    let broken = call(CallKind::LocalShell, "local_shell", "rm -rf");
    let items = output_items(&reply(vec![called(broken)], Finish::Stop), &codex(), &stamp());
    assert_eq!(items[0].to_value()["action"]["command"], json!([]));
}

#[test]
fn thoughts_are_shown_where_the_client_looks() {
    let item = |echo: &Echo, part: Part| {
        let items = output_items(&reply(vec![part], Finish::Stop), echo, &stamp());
        items[0].to_value()
    };
    // Not asked for a summary: where open models have their thoughts.
    let plain = item(&Echo::default(), thought("hm", None));
    assert_eq!(plain["content"], json!([{"type": "reasoning_text", "text": "hm"}]));
    assert_eq!(plain["summary"], json!([]));
    assert!(plain.get("encrypted_content").is_none());
    // Codex: as a summary, and carried, as it echoes nothing else.
    let shown = item(&codex(), thought("hm", None));
    assert_eq!(shown["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    assert!(shown.get("content").is_none());
    assert!(shown["encrypted_content"].as_str().expect("carried").starts_with("tidegate1."));
    // OpenAI's own.
    let seal = Seal { format: FORMAT, data: "gAAAA".into() };
    let own = item(&codex(), thought("", Some(seal)));
    assert_eq!(own["encrypted_content"], "gAAAA");
    assert_eq!(own["summary"], json!([]));
}

/// The conversation as a client that echoes what it got sends it back.
fn echoed(parts: Vec<Part>, echo: &Echo) -> Vec<Part> {
    let mut items: Vec<Value> = output_items(&reply(parts, Finish::Stop), echo, &stamp())
        .iter()
        .map(Json::to_value)
        .collect();
    for item in items.iter_mut().filter(|item| item["type"] == "reasoning") {
        // Codex.
        item["content"] = Value::Null;
    }
    let body = json!({ "input": items }).to_string();
    let (ask, _) = (CLIENT.request)(body.as_bytes()).expect("a request");
    ask.turns.into_iter().flat_map(|turn| turn.parts).collect()
}

#[test]
fn an_echo_brings_back_seals_thoughts_and_calls() {
    let seal = |format, data: &str| Some(Seal { format, data: data.into() });
    let mut signed = call(CallKind::Function, "f", "{}");
    signed.seal = seal(Format::Gemini, "sig==");
    let back = echoed(
        vec![
            thought("why", seal(Format::Anthropic, "EqQB")),
            thought("raw", None),
            Part::text("so"),
            called(signed.clone()),
            called(call(CallKind::Custom, "exec", "x()")),
        ],
        &codex(),
    );
    assert_eq!(back.len(), 5);
    let Content::Reasoning(first) = &back[0].content else { panic!("a thought") };
    assert_eq!(first.seal, seal(Format::Anthropic, "EqQB"));
    assert_eq!((first.text.as_str(), first.summary.len()), ("why", 0));
    let Content::Reasoning(second) = &back[1].content else { panic!("a thought") };
    assert_eq!((second.text.as_str(), &second.seal, second.summary.len()), ("raw", &None, 0));
    assert_eq!(back[2].as_text(), Some("so"));
    let call = back[3].as_call().expect("a call");
    assert_eq!((&call.seal, &call.id), (&signed.seal, &signed.id));
    assert_eq!(back[4].as_call().expect("a call").arguments, "x()");
}

#[test]
fn pictures_and_what_only_openai_has() {
    let image = |source| {
        Part::new(Content::Media(Media {
            kind: MediaKind::Image,
            source,
            name: None,
            detail: None,
        }))
    };
    let foreign = |format| {
        let value = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"}).into();
        Part::new(Content::Foreign { format, value })
    };
    let drawn = Source::Base64 { media_type: "image/png".into(), data: "AA==".into() };
    check(
        vec![
            image(drawn),
            foreign(FORMAT),
            foreign(Format::Anthropic),
            image(Source::Url("https://x/a.png".into())),
        ],
        &Echo::default(),
        json!([
            {"type": "image_generation_call", "id": format!("ig_{ID}0000"), "status": "completed", "result": "AA==", "output_format": "png"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "message", "id": format!("msg_{ID}0002"), "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "![image](https://x/a.png)", "annotations": [], "logprobs": []}]},
        ]),
    );
}

#[test]
fn the_object_has_every_field() {
    let body = body(&reply(vec![Part::text("hi")], Finish::Stop), &Echo::default());
    let mut rest = body.as_object().expect("an object").clone();
    rest.remove("output");
    let expected = json!({
        "id": format!("resp_{ID}"), "object": "response", "created_at": 1700, "status": "completed",
        "completed_at": 1700, "error": null, "incomplete_details": null, "model": "m",
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                  "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 15},
        "service_tier": "default", "previous_response_id": null, "instructions": null, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": true, "text": {"format": {"type": "text"}},
        "reasoning": {"effort": null, "summary": null}, "temperature": 1.0, "top_p": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0, "max_output_tokens": null,
        "max_tool_calls": null, "truncation": "disabled", "store": true, "background": false, "metadata": {},
        "safety_identifier": null, "prompt_cache_key": null, "user": null,
    });
    assert_eq!(Value::from(rest), expected);
}

#[test]
fn the_request_is_repeated() {
    let sent = r#"{"tools":[{"type":"function","name":"f"},{"type":"web_search"}],"tool_choice":"required","temperature":0.5,
        "text":{"format":{"type":"json_schema","name":"n","schema":{}},"verbosity":"low"},"reasoning":{"effort":"low"},
        "conversation":"conv_1","service_tier":"auto","store":false,"metadata":{"a":"b"},"instructions":"x"}"#;
    let body = body(&reply(vec![], Finish::Stop), &echo(sent));
    assert_eq!(
        body["tools"],
        json!([{"type": "function", "name": "f", "description": null, "parameters": null, "strict": null}, {"type": "web_search"}])
    );
    let format = json!({"type": "json_schema", "name": "n", "schema": {}, "description": null, "strict": false});
    assert_eq!(body["text"], json!({"format": format, "verbosity": "low"}));
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": null}));
    assert_eq!(body["conversation"], json!({"id": "conv_1"}));
    assert_eq!(body["service_tier"], "default");
    assert_eq!((&body["temperature"], &body["store"]), (&json!(0.5), &json!(false)));
    assert_eq!((&body["instructions"], &body["output"]), (&json!("x"), &json!([])));
}

#[test]
fn ends_of_every_kind() {
    let end = |finish: Option<Finish>| {
        let mut reply = reply(vec![Part::text("x")], Finish::Stop);
        reply.choices[0].finish = finish;
        let body = body(&reply, &Echo::default());
        let reason = body["incomplete_details"]["reason"].as_str().unwrap_or_default().to_owned();
        let error = body["error"]["code"].as_str().unwrap_or_default().to_owned();
        let item = body["output"][0]["status"].as_str().unwrap_or_default().to_owned();
        format!("{} {reason}{error} {item}", body["status"].as_str().unwrap_or_default())
    };
    assert_eq!(end(Some(Finish::Stop)), "completed  completed");
    assert_eq!(end(Some(Finish::ToolCalls)), "completed  completed");
    assert_eq!(end(Some(Finish::StopSequence(None))), "completed  completed");
    assert_eq!(end(Some(Finish::Pause)), "completed  completed");
    assert_eq!(end(Some(Finish::Length)), "incomplete max_output_tokens incomplete");
    assert_eq!(end(Some(Finish::ContextWindow)), "incomplete max_output_tokens incomplete");
    assert_eq!(end(Some(Finish::Filtered(None))), "incomplete content_filter incomplete");
    assert_eq!(end(Some(Finish::Fault("MALFORMED".into()))), "failed server_error completed");
    assert_eq!(end(None), "failed server_error incomplete");
}

#[test]
fn codes_tell_codex_whether_to_try_again() {
    let code = |fault: &Fault| reply::error_object(fault).into_json().to_value();
    let upstream = |status, own: Option<&str>| {
        let mut fault = Fault::new(Kind::Upstream(status), "why");
        fault.details_mut().code = own.map(str::to_owned);
        fault
    };
    let of =
        |status, own| code(&upstream(status, own))["code"].as_str().unwrap_or_default().to_owned();
    assert_eq!(of(400, Some("context_length_exceeded")), "context_length_exceeded");
    assert_eq!(of(429, Some("insufficient_quota")), "insufficient_quota");
    assert_eq!(of(400, None), "invalid_prompt");
    assert_eq!(of(400, Some("400")), "invalid_prompt");
    assert_eq!(of(429, None), "rate_limit_exceeded");
    assert_eq!(of(529, None), "slow_down");
    assert_eq!(of(503, Some("overloaded")), "slow_down");
    assert_eq!(of(500, None), "server_error");
    for kind in [Kind::Unreachable, Kind::UpstreamTimeout, Kind::UpstreamGarbage, Kind::Bug] {
        assert_eq!(code(&Fault::new(kind, "why"))["code"], "server_error", "{kind:?}");
    }
    assert_eq!(code(&Fault::new(Kind::Overloaded, "why"))["code"], "slow_down");
    let wait = code(&upstream(429, None).with_retry_after(3));
    assert_eq!(wait["message"], "why Please try again in 3s.");
}
