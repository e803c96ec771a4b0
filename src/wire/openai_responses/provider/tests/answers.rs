//! Answers, whole and streamed, and failures within them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::super::super::framing::Frames;
use super::*;
use crate::conversation::{Annotation, CallKind, Content, Event, Finish, Fold, Part, Source};

/// The events of a stream that comes in these pieces.
fn events(pieces: impl IntoIterator<Item = Bytes>) -> Vec<Event> {
    let (mut frames, mut out) = (Frames::new(PROVIDER.framing), Vec::new());
    let mut decode = (PROVIDER.stream)(ReplyContext::default());
    for piece in pieces {
        frames.push(piece, |frame| decode.frame(frame, &mut out)).expect("readable");
    }
    frames.end(|frame| decode.frame(frame, &mut out));
    decode.end(&mut out);
    out
}

fn streamed(text: &'static str) -> Vec<Event> {
    events([Bytes::from_static(text.as_bytes())])
}

fn fold(events: &[Event]) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.iter().cloned().for_each(|event| fold.push(event));
    fold.finish()
}

/// Every block is opened once, in order, and closed before the end.
fn assert_orderly(name: &str, events: &[Event]) {
    let mut open: BTreeMap<u32, bool> = BTreeMap::new();
    let mut finished = false;
    for event in events {
        match event {
            Event::Open { block, .. } => {
                assert_eq!(*block as usize, open.len(), "{name}");
                open.insert(*block, true);
            }
            Event::Delta { block, .. } => assert!(open[block], "{name}: grows when closed"),
            Event::Close { block, .. } => {
                assert_eq!(open.insert(*block, false), Some(true), "{name}");
            }
            Event::Finish { .. } => {
                assert!(!finished && open.values().all(|is_open| !is_open), "{name}");
                finished = true;
            }
            _ => {}
        }
    }
    assert!(matches!(events.first(), Some(Event::Begin(_))), "{name}");
    assert!(finished, "{name}");
}

#[test]
fn a_stream_folded_is_the_answer_whole() {
    for (name, stream, body) in BOTH {
        let events = streamed(stream);
        assert_orderly(name, &events);
        let expected = whole(body).expect(name);
        assert_eq!(fold(&events).expect(name), expected, "{name}");
        assert!(expected.usage.is_some(), "{name}");
    }
}

fn parts(body: &str) -> (Vec<Part>, Finish) {
    let mut reply = whole(body).expect("an answer");
    let choice = reply.choices.remove(0);
    (choice.parts, choice.finish.expect("a finish"))
}

#[test]
fn answers_are_read() {
    let reply = whole(golden("text.json")).expect("an answer");
    assert_eq!(reply.head.created, Some(1_741_290_958));
    let usage = reply.usage.expect("usage");
    assert_eq!(
        (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning),
        (Some(37), Some(11), Some(12), Some(0), Some(4))
    );
    let (texts, finish) = parts(golden("text.json"));
    assert_eq!(texts[0].as_text(), Some("Hi there! How can I assist you today? 👋\u{2028}"));
    assert_eq!(finish, Finish::Stop);
    let kept: Vec<&str> =
        texts[0].extras.of(PROVIDER.format).iter().map(|(name, _)| &**name).collect();
    assert_eq!(kept, ["id", "phase"]);

    let (tool, finish) = parts(golden("tool.json"));
    assert_eq!(finish, Finish::ToolCalls);
    let call = tool[1].as_call().expect("a call");
    assert_eq!(call.arguments, r#"{"location":"Boston, MA","unit":"celsius"}"#);
    assert_eq!(call.id, "call_unDCBxsFAKLoGlsp3xmYYDP1");
    let Content::Reasoning(reasoning) = &tool[0].content else { panic!("a thought") };
    assert_eq!(reasoning.summary, ["**Looking up** the weather"]);
    assert_eq!(reasoning.seal.as_ref().expect("sealed").data, "gAAAAABoiPbS");

    let (custom, _) = parts(golden("custom.json"));
    let call = custom[1].as_call().expect("a call");
    assert_eq!((call.kind, call.name.as_str()), (CallKind::Custom, "apply_patch"));
    assert!(call.arguments.starts_with("*** Begin Patch\n"));
    assert_eq!(custom[2].as_call().expect("a call").namespace.as_deref(), Some("mcp__docs"));

    let (tools, _) = parts(golden("client_tools.json"));
    let calls: Vec<(CallKind, &str, &str)> = tools
        .iter()
        .filter_map(Part::as_call)
        .map(|call| (call.kind, &*call.name, &*call.arguments))
        .collect();
    assert_eq!(
        calls[1],
        (
            CallKind::LocalShell,
            "shell",
            r#"{"commands":["ls -l"],"timeout_ms":120000,"max_output_length":4096}"#
        )
    );
    assert_eq!(calls[2].0, CallKind::ApplyPatch);
    assert_eq!(
        calls[3],
        (CallKind::ToolSearch, "tool_search", r#"{"goal":"Find the shipping tool"}"#)
    );
    assert_eq!(tools.len(), 6, "the provider's own calls are carried");

    let (cited, _) = parts(golden("citations.json"));
    assert!(matches!(cited[0].content, Content::Foreign { .. }));
    let Content::Text { annotations, .. } = &cited[1].content else { panic!("a text") };
    assert!(matches!(&annotations[0], Annotation::Url { start: Some(0), end: Some(15), .. }));
    assert!(matches!(&annotations[1], Annotation::Foreign { .. }));

    let (image, _) = parts(golden("image.json"));
    let Content::Media(media) = &image[0].content else { panic!("a picture") };
    let source = Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() };
    assert_eq!(media.source, source);

    assert_eq!(parts(golden("length.json")).1, Finish::Length);
    assert_eq!(parts(golden("filtered.json")).1, Finish::Filtered(None));
    assert!(matches!(&parts(golden("refusal.json")).0[0].content, Content::Refusal(_)));
    let (thought, _) = parts(golden("reasoning.json"));
    let Content::Reasoning(reasoning) = &thought[0].content else { panic!("a thought") };
    assert_eq!(reasoning.text, "We think.\n\nAnd think again.");
}

#[test]
fn an_empty_output_at_the_end_takes_nothing_away() {
    let events = streamed(golden("sparse_empty_output.sse"));
    assert_orderly("sparse_empty_output", &events);
    let reply = fold(&events).expect("an answer");
    let expected = parts(golden("sparse_last_event_only.json"));
    assert_eq!(reply.choices[0].parts, expected.0);
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));
}

#[track_caller]
fn check_failure(stream: &'static str, status: u16, code: Option<&str>) -> Fault {
    let events = streamed(stream);
    assert!(matches!(events.last(), Some(Event::Fail(_))), "nothing follows");
    let fault = fold(&events).expect_err("a failure");
    assert_eq!((fault.status(), fault.code()), (status, code));
    fault
}

#[test]
fn failures_are_told_as_such() {
    let fault = check_failure(golden("failed.sse"), 429, Some("rate_limit_exceeded"));
    assert_eq!(fault.message, "Rate limit reached. Please try again in 2.5s.");
    assert_eq!(whole(golden("failed.json")).expect_err("failed").message, fault.message);
    let fault = check_failure(golden("error.sse"), 400, Some("context_length_exceeded"));
    assert_eq!(fault.param.as_deref(), Some("input"));
    check_failure(golden("truncated.sse"), 502, Some("upstream_invalid_response"));
    check_failure("", 502, Some("upstream_invalid_response"));
    check_failure("data: [DONE]\n\n", 502, Some("upstream_invalid_response"));
    check_failure("data: {\"ty\n\n", 502, Some("upstream_invalid_response"));
    check_failure("data: {\"error\":{\"message\":\"x\",\"code\":503}}\n\n", 503, Some("503"));
    check_failure(
        "event: error\ndata: {\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\"}}\n\n",
        400,
        None,
    );
    let nameless = "data: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{}\"}\n\n\
                    data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n";
    check_failure(nameless, 502, Some("upstream_invalid_response"));
    for body in ["", "[]", "{", "{}", r#"{"status":"in_progress","output":[]}"#] {
        assert_eq!(whole(body).expect_err(body).status(), 502, "{body}");
    }
}

#[test]
fn wild_values_do_no_harm() {
    let wild = r#"{"output":[1,null,{"type":7},{"type":"message","content":"x"},{"type":"function_call","arguments":{"a":1},"name":"f"},{"type":"reasoning","summary":{},"content":[3]}],"usage":[],"id":4}"#;
    let (parts, finish) = parts(wild);
    let call = parts.iter().find_map(Part::as_call).expect("a call");
    assert_eq!(call.arguments, r#"{"a":1}"#);
    assert!(call.id.starts_with("call_"));
    assert_eq!(finish, Finish::ToolCalls);
    let stream = "data: {\"type\":\"response.output_text.delta\",\"output_index\":-1,\"delta\":7}\n\n\
        data: {\"type\":\"response.reasoning_summary_text.delta\",\"summary_index\":99999999999,\"delta\":\"x\"}\n\n\
        data: {\"type\":\"response.output_item.added\",\"item\":[]}\n\n\
        data: {\"type\":\"response.completed\",\"response\":7}\n\n";
    let events = streamed(stream);
    assert!(matches!(events.last(), Some(Event::Finish { .. })));
}

#[test]
fn names_without_types_are_read_by_the_events_name() {
    let stream = "event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\n\
                  event: response.completed\ndata: {}\n\n";
    let reply = fold(&streamed(stream)).expect("an answer");
    assert_eq!(reply.choices[0].parts[0].as_text(), Some("hi"));
}

proptest! {
    #[test]
    fn cuts_make_no_difference(which in 0..BOTH.len(), cuts in proptest::collection::vec(0_usize..8000, 0..6)) {
        let (_, stream, _) = BOTH[which];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let mut from = 0;
        let pieces: Vec<Bytes> = cuts
            .into_iter()
            .map(|to| {
                let piece = Bytes::from_static(&stream.as_bytes()[from..to]);
                from = to;
                piece
            })
            .collect();
        prop_assert_eq!(format!("{:?}", events(pieces)), format!("{:?}", streamed(stream)));
    }
    /// Events lost, doubled and out of order: the answer may be odd, its events are not.
    #[test]
    fn whatever_comes_is_told_in_order(picks in proptest::collection::vec((0..BOTH.len(), 0_usize..60), 0..40)) {
        let mut text = String::new();
        for (which, at) in picks {
            let (_, stream, _) = BOTH[which];
            let frames: Vec<&str> = stream.split_inclusive("\n\n").collect();
            text.push_str(frames[at % frames.len()]);
        }
        let events = events([Bytes::from(text)]);
        match events.last() {
            Some(Event::Fail(_)) => {}
            _ => assert_orderly("mixed", &events),
        }
        let fails = events.iter().filter(|event| matches!(event, Event::Fail(_))).count();
        prop_assert!(fails <= 1);
    }
}
