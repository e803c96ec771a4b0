//! Streams against the same answers whole, cut anywhere, broken off and hostile.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::conversation::{Fold, Format, Reply};
use crate::ground::fault::{Fault, Kind};
use crate::wire::bedrock::provider::PROVIDER;
use crate::wire::framing::{Frames, Framing};

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/answers/bedrock/", $name))
    };
}

fn context() -> ReplyContext {
    let json_tool = Some("json_tool_call".to_owned());
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned();
    ReplyContext { json_tool, model, ..ReplyContext::default() }
}

/// The events of a stream that came in these pieces.
fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let (mut frames, mut out) = (Frames::new(Framing::Amazon), Vec::new());
    let mut decoder = begin(context());
    for piece in pieces {
        let piece = Bytes::copy_from_slice(piece);
        frames.push(piece, |frame| decoder.frame(frame, &mut out)).expect("undamaged");
    }
    frames.end(|frame| decoder.frame(frame, &mut out));
    decoder.end(&mut out);
    out
}

fn fold(pieces: &[&[u8]]) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events(pieces).into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// That a stream comes to what the whole answer is, and obeys the rules of events; returns it.
#[track_caller]
fn check(stream: &[u8], whole: &[u8]) -> Reply {
    let reply = (PROVIDER.reply)(whole, &mut context()).expect("an answer");
    assert_eq!(fold(&[stream]).expect("no failure"), reply);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(fold(&bytes).expect("no failure"), reply);
    let (mut open, mut next) = (Vec::new(), 0);
    for event in events(&[stream]) {
        match event {
            Event::Open { block, .. } => {
                assert_eq!(block, next);
                next += 1;
                open.push(block);
            }
            Event::Delta { block, .. } => assert!(open.contains(&block)),
            Event::Close { block, .. } => open.retain(|known| *known != block),
            Event::Finish { .. } => assert!(open.is_empty()),
            Event::Begin(_) | Event::Usage(_) => {}
            Event::Fail(fault) => panic!("{fault}"),
        }
    }
    reply
}

fn finish_of(reply: &Reply) -> Option<&Finish> {
    reply.choices[0].finish.as_ref()
}

#[test]
fn text_comes_whole() {
    let reply = check(golden!("plain.bin"), golden!("plain.json"));
    assert_eq!(reply.choices[0].parts[0].as_text(), Some("Grüße aus Berlin 👋\u{2028}ok"));
    assert_eq!(finish_of(&reply), Some(&Finish::Stop));
    assert_eq!(reply.head.service_tier.as_deref(), Some("default"));
}

#[test]
fn calls_and_cached_tokens() {
    let reply = check(golden!("tools.bin"), golden!("tools.json"));
    let call = reply.choices[0].parts[1].as_call().expect("a call");
    assert_eq!(call.arguments, r#"{"sign": "WZPZ", "n": 1.5}"#);
    assert_eq!(finish_of(&reply), Some(&Finish::ToolCalls));
    let usage = reply.usage.expect("usage");
    assert_eq!(
        (usage.input, usage.cache_read, usage.cache_write),
        (Some(1696), Some(1024), Some(200))
    );
}

#[test]
fn parallel_calls_without_arguments() {
    let reply = check(golden!("parallel_tools.bin"), golden!("parallel_tools.json"));
    let calls: Vec<_> = reply.choices[0].parts.iter().filter_map(Part::as_call).collect();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.arguments == "{}"));
}

#[test]
fn thoughts_carry_the_seals_of_their_maker() {
    let reply = check(golden!("reasoning.bin"), golden!("reasoning.json"));
    let seals = reply.choices[0].parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(reasoning) => reasoning.seal.clone(),
        _ => None,
    });
    let seals: Vec<_> = seals.collect();
    assert_eq!(seals[0], Seal { format: Format::Anthropic, data: "EqQBCkYIBxgCKkA=".into() });
    assert_eq!(seals[1], Seal { format: Format::Anthropic, data: "EqkECkYIBxgCKkA8AZ4=".into() });
    let hidden = check(golden!("reasoning_hidden.bin"), golden!("reasoning_hidden.json"));
    assert_eq!(hidden.choices[0].parts.len(), 2);
}

#[test]
fn the_structured_answer_is_text_again() {
    let reply = check(golden!("structured.bin"), golden!("structured.json"));
    assert_eq!(reply.choices[0].parts[0].as_text(), Some(r#"{"city": "Kyiv"}"#));
    assert_eq!(finish_of(&reply), Some(&Finish::Stop));
}

#[test]
fn reasons_to_stop() {
    let reply = check(golden!("length.bin"), golden!("length.json"));
    assert_eq!(finish_of(&reply), Some(&Finish::Length));
    let reply = check(golden!("stop_sequence.bin"), golden!("stop_sequence.json"));
    assert_eq!(finish_of(&reply), Some(&Finish::StopSequence(Some("two".into()))));
    let reply = check(golden!("guardrail.bin"), golden!("guardrail.json"));
    assert_eq!(finish_of(&reply), Some(&Finish::Filtered(None)));
}

#[test]
fn citations_and_pictures() {
    let reply = check(golden!("citations.bin"), golden!("citations.json"));
    let Content::Text { annotations, .. } = &reply.choices[0].parts[0].content else {
        panic!("text");
    };
    assert_eq!(annotations.len(), 2);
    let reply = check(golden!("image.bin"), golden!("image.json"));
    assert!(matches!(reply.choices[0].parts[0].content, Content::Media(_)));
}

#[test]
fn errors_inside_a_stream_are_errors() {
    let fault = |stream: &[u8]| fold(&[stream]).expect_err("a failure");
    let throttled = fault(golden!("throttled.bin"));
    assert_eq!(throttled.kind, Kind::Upstream(429));
    assert_eq!(throttled.message, "Too many requests, please wait before trying again.");
    assert_eq!(fault(golden!("model_error.bin")).kind, Kind::Upstream(529));
    let unmodelled = fault(golden!("unmodelled_error.bin"));
    assert_eq!(
        (unmodelled.kind, &*unmodelled.message),
        (Kind::Upstream(500), "The service broke off.")
    );
}

#[test]
fn a_stream_that_breaks_off_is_never_complete() {
    let broken = fold(&[golden!("truncated.bin")]).expect_err("a failure");
    assert_eq!(broken.kind, Kind::UpstreamGarbage);
    assert_eq!(fold(&[]).expect_err("a failure").kind, Kind::UpstreamGarbage);
    let plain = golden!("plain.bin");
    // Without the counts after it the answer is complete all the same.
    let stop = plain.windows(11).rposition(|name| name == b"messageStop").expect("there");
    assert!(fold(&[&plain[..stop]]).is_err());
}

#[test]
fn after_a_failure_nothing_follows() {
    let joined = [&golden!("throttled.bin")[..], golden!("plain.bin")].concat();
    let last = events(&[&joined]).pop();
    assert!(matches!(last, Some(Event::Fail(_))));
}

#[test]
fn hostile_frames_do_no_harm() {
    let mut out = Vec::new();
    let mut decoder = begin(context());
    let frames = [
        ("contentBlockStop", "{\"contentBlockIndex\":7}"),
        ("contentBlockStart", "{\"contentBlockIndex\":-1,\"start\":{\"toolUse\":3}}"),
        (
            "contentBlockStart",
            "{\"contentBlockIndex\":18446744073709551615,\"start\":{\"toolUse\":{}}}",
        ),
        ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":[]}}"),
        (
            "contentBlockDelta",
            "{\"contentBlockIndex\":1,\"delta\":{\"toolUse\":{\"input\":\"x\"}}}",
        ),
        ("contentBlockDelta", "{\"delta\":{\"somethingNew\":{}}}"),
        ("somethingNew", "{}"),
        ("", "nothing"),
        ("messageStop", "{}"),
        ("contentBlockDelta", "{\"delta\":{\"text\":\"late\"}}"),
        ("metadata", "{\"usage\":{\"inputTokens\":\"many\"}}"),
    ];
    for (name, data) in frames {
        decoder.frame(Frame { name, data: data.as_bytes() }, &mut out);
    }
    assert!(decoder.is_terminated());
    decoder.end(&mut out);
    let opened = out.iter().filter(|event| matches!(event, Event::Open { .. })).count();
    let closed = out.iter().filter(|event| matches!(event, Event::Close { .. })).count();
    assert_eq!((opened, closed), (1, 1));
}

#[test]
fn what_is_no_answer_is_garbage_or_the_error_it_says() {
    let read = |body: &str| (PROVIDER.reply)(body.as_bytes(), &mut context()).expect_err("none");
    assert_eq!(read("<html>").kind, Kind::UpstreamGarbage);
    assert_eq!(read("{}").kind, Kind::UpstreamGarbage);
    let body = r#"{"__type":"com.amazon.coral#ThrottlingException","message":"slow"}"#;
    assert_eq!(read(body).kind, Kind::Upstream(429));
}

proptest! {
    #[test]
    fn cuts_change_nothing(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let stream = golden!("reasoning.bin");
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let whole = fold(&[stream]).expect("no failure");
        prop_assert_eq!(fold(&pieces).expect("no failure"), whole);
    }

    #[test]
    fn no_frame_does_harm(
        frames in prop::collection::vec(
            (
                "(messageStart|contentBlockStart|contentBlockDelta|contentBlockStop|messageStop|metadata|x)",
                0_u64..3,
                prop::sample::select(&[
                    r#""start":{"toolUse":{"name":"f","toolUseId":"t"}}"#,
                    r#""start":{"image":{"format":"png"}}"#,
                    r#""delta":{"text":"a"}"#,
                    r#""delta":{"toolUse":{"input":"{}"}}"#,
                    r#""delta":{"reasoningContent":{"text":"hm"}}"#,
                    r#""delta":{"reasoningContent":{"signature":"s"}}"#,
                    r#""delta":{"reasoningContent":{"redactedContent":"%"}}"#,
                    r#""delta":{"image":{"source":{"bytes":"aGk="}}}"#,
                    r#""stopReason":"tool_use""#,
                ][..]),
            ),
            0..24,
        ),
    ) {
        let (mut decoder, mut out) = (begin(context()), Vec::new());
        for (name, index, member) in &frames {
            let data = format!("{{\"contentBlockIndex\":{index},{member}}}");
            decoder.frame(Frame { name, data: data.as_bytes() }, &mut out);
        }
        decoder.end(&mut out);
        let (mut opened, mut closed, mut finished) = (0, 0, 0);
        for event in &out {
            match event {
                Event::Open { block, .. } => {
                    prop_assert_eq!(*block, opened);
                    opened += 1;
                }
                Event::Close { .. } => closed += 1,
                Event::Finish { .. } => finished += 1,
                _ => {}
            }
        }
        // The counts, which come behind the finish, are the last.
        prop_assert!(finished == 1 || !decoder.is_terminated());
        prop_assert!(finished == 0 || opened == closed);
        prop_assert_eq!(finished == 0, matches!(out.last(), Some(Event::Fail(_))));
    }
}
