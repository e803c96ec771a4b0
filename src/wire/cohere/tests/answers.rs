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
        include_bytes!(concat!("../../../../tests/golden/answers/cohere/", $name)).as_slice()
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
