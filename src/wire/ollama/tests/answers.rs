//! Golden answers, whole and streamed, and what holds for every stream.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::super::provider::PROVIDER;
use crate::conversation::*;
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::{Ids, ReplyContext};
use crate::wire::framing::Frames;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/answers/ollama/", $name)).as_slice()
    };
}

fn context() -> ReplyContext {
    ReplyContext { ids: Ids::new("0123456789abcdef0123456789abcdef"), ..ReplyContext::default() }
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

#[test]
fn folding_the_stream_gives_the_whole_answer() {
    let reply = check_law(golden!("plain.json"), golden!("plain.jsonl"));
    let choice = &reply.choices[0];
    assert_eq!(choice.parts, [Part::text("The sky\u{2028}is blue 🌤.")]);
    assert_eq!(choice.finish, Some(Finish::Stop));
    assert_eq!(reply.head.model.as_deref(), Some("llama3.2"));
    assert_eq!(reply.head.created, Some(1_751_919_739));
    let usage = Usage { input: Some(169), output: Some(15), ..Usage::default() };
    assert_eq!(reply.usage, Some(usage));

    let reply = check_law(golden!("thinking.json"), golden!("thinking.jsonl"));
    let thoughts = Reasoning { text: "Okay, 17 × 23".into(), ..Reasoning::default() };
    assert_eq!(reply.choices[0].parts, [Part::reasoning(thoughts), Part::text("391.")]);

    let reply = check_law(golden!("length.json"), golden!("length.jsonl"));
    assert_eq!(reply.choices[0].finish, Some(Finish::Length));

    let reply = check_law(golden!("load.json"), golden!("load.jsonl"));
    assert_eq!(reply.choices[0].finish, Some(Finish::Stop));
    assert!(reply.choices[0].parts.is_empty());
}

#[test]
fn calls_come_whole_with_ids() {
    let reply = check_law(golden!("tools.json"), golden!("tools.jsonl"));
    let choice = &reply.choices[0];
    assert_eq!(choice.finish, Some(Finish::ToolCalls));
    let call = choice.parts[0].as_call().expect("a call");
    assert!(call.id.starts_with("call_"));
    assert_eq!((&*call.name, &*call.arguments), ("get_weather", r#"{"city": "Tokyo"}"#));

    let reply = check_law(golden!("parallel.json"), golden!("parallel.jsonl"));
    let calls = reply.choices[0].parts.iter().filter_map(Part::as_call);
    let calls: Vec<_> = calls.map(|call| (&*call.id, &*call.arguments)).collect();
    let big = r#"{"city": "London", "big": 12345678901234567890123}"#;
    let expected = [("call_a1", r#"{"city": "New York"}"#), ("call_a2", "{}"), ("call_a3", big)];
    assert_eq!(calls, expected);
}

#[test]
fn odd_calls_are_mended() {
    let body = br#"{"message":{"role":"assistant","content":"","tool_calls":[
        {"function":{"name":"a"}},{"function":{"name":""}},{},7,
        {"function":{"name":"b","arguments":"{\"x\":1}"}},{"function":{"name":"c","arguments":null}},
        {"function":{"name":"d","arguments":""}}]},"done":true,"done_reason":"stop"}"#;
    let reply = whole(body).expect("an answer");
    let calls: Vec<_> = reply.choices[0].parts.iter().filter_map(Part::as_call).collect();
    let arguments: Vec<_> = calls.iter().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!(arguments, [("a", "{}"), ("b", r#"{"x":1}"#), ("c", "{}"), ("d", "{}")]);
    assert_ne!(calls[0].id, calls[1].id);
}

#[test]
fn log_probabilities_become_openais() {
    let reply = check_law(golden!("logprobs.json"), golden!("logprobs.jsonl"));
    let Content::Text { text, logprobs, .. } = &reply.choices[0].parts[0].content else {
        panic!("a text")
    };
    assert_eq!(text, "Hi!");
    let expected = json!([
        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [
            {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
            {"token": "Hello", "logprob": -1.5, "bytes": [72, 101, 108, 108, 111]}]},
        {"token": "!", "logprob": -0.5, "bytes": [33], "top_logprobs": []}]);
    assert_eq!(logprobs.as_ref().expect("logprobs").to_value(), expected);
}

#[test]
fn errors_and_breaks_are_no_answers() {
    let fault = folded(events([golden!("error.jsonl")])).expect_err("an error");
    assert_eq!(fault.message, "an error was encountered while running the model");
    assert_eq!(fault.status(), 502);
    let fault = whole(golden!("error.json")).expect_err("an error");
    assert_eq!(fault.message, "the model failed to generate a response");
    let fault = folded(events([golden!("truncated.jsonl")])).expect_err("a break");
    assert_eq!(fault.kind, Kind::UpstreamGarbage);
    let long =
        br#"{"error":"request (9000 tokens) exceeds the available context size (8192 tokens)"}"#;
    let fault = folded(events([&long[..]])).expect_err("an error");
    assert_eq!((fault.status(), fault.code()), (400, Some("context_length_exceeded")));
    for body in [&b"<html>"[..], b"", b"[]", b"{}", b"null", b"\xff\xfe"] {
        assert_eq!(whole(body).expect_err("no answer").kind, Kind::UpstreamGarbage);
    }
    // Nothing follows the end.
    let after = [golden!("length.jsonl"), b"{\"message\":{\"content\":\"more\"}}\n<html>\n"];
    assert_eq!(
        folded(events(after)).expect("an answer"),
        whole(golden!("length.json")).expect("one")
    );
}

proptest! {
    #[test]
    fn cuts_change_nothing(cuts in prop::collection::vec(0_usize..1300, 0..12)) {
        for stream in [golden!("plain.jsonl"), golden!("parallel.jsonl"), golden!("error.jsonl")] {
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
        let _ = events([&bytes[..]]);
        let _ = whole(&bytes);
    }
}
