//! What is read: answers whole and streamed, broken and careless ones.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::PROVIDER;
use crate::conversation::{Annotation, Content, Delta, Event, Finish, Fold, Part, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::ReplyContext;
use crate::wire::framing::{Frames, Framing};

fn context(json_tool: Option<&str>) -> ReplyContext {
    ReplyContext { json_tool: json_tool.map(str::to_owned), ..ReplyContext::default() }
}

/// Reads a stream that the network cut in pieces of these lengths.
fn events(stream: &[u8], cuts: &[usize], json_tool: Option<&str>) -> Vec<Event> {
    let mut decoder = (PROVIDER.stream)(context(json_tool));
    let mut frames = Frames::new(Framing::Events);
    let (mut events, mut rest) = (Vec::new(), stream);
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        rest = later;
        let now = Bytes::copy_from_slice(now);
        frames.push(now, |frame| decoder.frame(frame, &mut events)).expect("short frames");
    }
    frames.end(|frame| decoder.frame(frame, &mut events));
    decoder.end(&mut events);
    events
}

fn folded(events: Vec<Event>) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

#[track_caller]
fn check_answer(whole: &[u8], stream: &[u8], json_tool: Option<&str>) -> Reply {
    let reply = (PROVIDER.reply)(whole, &mut context(json_tool)).expect("an answer");
    let events = events(stream, &[], json_tool);
    let mut open = Vec::new();
    for event in &events {
        match event {
            Event::Open { block, .. } => open.push(*block),
            Event::Close { block, .. } => open.retain(|each| each != block),
            Event::Delta { block, .. } => assert!(open.contains(block), "{event:?}"),
            Event::Finish { .. } => assert!(open.is_empty(), "{open:?}"),
            _ => {}
        }
    }
    assert_eq!(folded(events).expect("complete"), reply);
    reply
}

macro_rules! check_answer {
    ($name:literal) => {
        check_answer!($name, None)
    };
    ($name:literal, $json_tool:expr) => {
        check_answer(
            golden!(concat!("answers/anthropic/", $name, ".json")),
            golden!(concat!("answers/anthropic/", $name, ".sse")),
            $json_tool,
        )
    };
}

#[test]
fn streams_come_to_the_same_as_whole_answers() {
    let reply = check_answer!("text");
    assert_eq!(reply.choices[0].parts, [Part::text("Hello, wörld \u{2028} 👋")]);
    assert_eq!(reply.head.service_tier.as_deref(), Some("default"));
    let usage = reply.usage.expect("told");
    assert_eq!((usage.input, usage.cache_read, usage.output), (Some(125), Some(100), Some(15)));

    let reply = check_answer!("parallel_tools");
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));
    assert_eq!(reply.choices[0].parts.len(), 5);
    let now = reply.choices[0].parts[4].as_call().expect("a call");
    assert_eq!((now.name.as_str(), now.arguments.as_str()), ("now", "{}"));
    assert_eq!(reply.usage.expect("told").reasoning, Some(30));

    check_answer!("redacted_thinking");
    let reply = check_answer!("web_search");
    assert_eq!(reply.choices[0].finish, Some(Finish::Pause));
    let Content::Text { annotations, .. } = &reply.choices[0].parts[3].content else {
        panic!("a text")
    };
    assert!(matches!(&annotations[1], Annotation::Url { url, .. } if url.ends_with("/nyc")));
    assert_eq!(annotations.len(), 3);

    let reply = check_answer!("refusal");
    let why = Some("This could enable harm.".to_owned());
    assert_eq!(reply.choices[0].finish, Some(Finish::Filtered(why)));
    assert!(reply.choices[0].parts.is_empty());
    assert_eq!(check_answer!("length").choices[0].finish, Some(Finish::Length));
    let reply = check_answer!("stop_sequence");
    assert_eq!(reply.choices[0].finish, Some(Finish::StopSequence(Some("###".into()))));
    let reply = check_answer!("json_tool", Some("json_answer"));
    assert_eq!(reply.choices[0].parts, [Part::text(r#"{"city":"Bern"}"#)]);
    assert_eq!(reply.choices[0].finish, Some(Finish::Stop));
}

#[test]
fn what_breaks_is_an_error() {
    let fault = folded(events(golden!("answers/anthropic/error.sse"), &[], None));
    assert_eq!(fault.expect_err("overloaded").status(), 503);
    let fault = folded(events(golden!("answers/anthropic/truncated.sse"), &[], None));
    assert_eq!(fault.expect_err("cut off").status(), 502);
    let fault = (PROVIDER.reply)(golden!("answers/anthropic/error.json"), &mut context(None));
    assert_eq!(fault.expect_err("not found").status(), 404);
    for body in ["", "[]", "{}", "<html>", "{\"content\":"] {
        assert!((PROVIDER.reply)(body.as_bytes(), &mut context(None)).is_err(), "{body}");
    }
    for stream in ["data: x\n\n", "data: {\"type\":\"message_start\"}\n\n", ""] {
        assert!(folded(events(stream.as_bytes(), &[], None)).is_err(), "{stream}");
    }
}

/// Other servers with this format leave things out.
#[test]
fn careless_servers_are_forgiven() {
    let stream = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":null}}\n\n",
        ": ping\n\nid: 4\n\ndata:\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{\"x\":1}}}\n\n",
        "data: {\"type\":\"news\"}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\ndata: [DONE]\n\n",
    );
    let reply = folded(events(stream.as_bytes(), &[], None)).expect("complete");
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));
    assert_eq!(reply.choices[0].parts[0], Part::text("Hi"));
    assert_eq!(reply.choices[0].parts[1].as_call().expect("a call").arguments, "{\"x\":1}");
}

proptest! {
    #[test]
    fn cuts_change_nothing(cuts in proptest::collection::vec(0_usize..40, 0..80)) {
        for stream in [
            golden!("answers/anthropic/text.sse"),
            golden!("answers/anthropic/parallel_tools.sse"),
            golden!("answers/anthropic/web_search.sse"),
            golden!("answers/anthropic/truncated.sse"),
        ] {
            let whole = format!("{:?}", events(stream, &[], None));
            prop_assert_eq!(format!("{:?}", events(stream, &cuts, None)), whole);
        }
    }

    #[test]
    fn nonsense_does_no_harm(kind in "(content_block_(start|delta|stop)|message_(start|delta|stop)|error|x)", index in -2_i64..3, rest in "[\"{}\\[\\]:,a-z_0-9]{0,40}") {
        let good = format!(r#"{{"type":"{kind}","index":{index},"delta":{{"type":"text_delta","text":"{index}"}},"content_block":{{"type":"text"}}}}"#);
        let stream = format!("data: {good}\n\ndata: {kind}{rest}\n\n");
        let _ = folded(events(stream.as_bytes(), &[], None));
        let _ = (PROVIDER.reply)(rest.as_bytes(), &mut context(None));
    }
}

#[test]
fn an_annotation_is_a_delta() {
    let events = events(golden!("answers/anthropic/web_search.sse"), &[], None);
    let cited = events
        .iter()
        .filter(|event| matches!(event, Event::Delta { delta: Delta::Annotation(_), .. }));
    assert_eq!(cited.count(), 3);
}
