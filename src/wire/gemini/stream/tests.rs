//! Streamed answers: the laws, and what breaks a stream.

use super::super::reply;
use super::*;
use crate::conversation::{Fold, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::Ids;
use crate::wire::framing::{Frames, Framing};

macro_rules! pair {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../tests/golden/answers/gemini/", $name, ".json")),
            include_str!(concat!("../../../../tests/golden/answers/gemini/", $name, ".sse")),
        )
    };
}

const PAIRS: [(&str, &str, &str); 13] = [
    pair!("plain"),
    pair!("thoughts"),
    pair!("tool"),
    pair!("parallel_tools"),
    pair!("length_without_parts"),
    pair!("blocked_prompt"),
    pair!("safety"),
    pair!("malformed_call"),
    pair!("grounding"),
    pair!("image"),
    pair!("code"),
    pair!("logprobs"),
    pair!("candidates"),
];

const STOPS: &str = include_str!("../../../../tests/golden/answers/gemini/stop_on_every_chunk.sse");
const TRUNCATED: &str = include_str!("../../../../tests/golden/answers/gemini/truncated.sse");
const ERROR: &str = include_str!("../../../../tests/golden/answers/gemini/error.sse");
const SERVER_TOOL: &str = include_str!("../../../../tests/golden/answers/gemini/server_tool.sse");

fn context() -> ReplyContext {
    ReplyContext { ids: Ids::new("0123456789"), json_tool: None, ..ReplyContext::default() }
}

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let mut stream = begin(context());
    let mut frames = Frames::new(Framing::Events);
    let mut out = Vec::new();
    for piece in pieces {
        let bytes = bytes::Bytes::copy_from_slice(piece);
        frames.push(bytes, |frame| stream.frame(frame, &mut out)).expect("readable");
    }
    frames.end(|frame| stream.frame(frame, &mut out));
    stream.end(&mut out);
    stream.end(&mut out);
    out
}

fn fold(events: Vec<Event>) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

#[test]
fn a_stream_folds_to_the_whole_answer() {
    for (name, whole, stream) in PAIRS {
        let whole = reply::read(whole.as_bytes(), &mut context()).expect(name);
        let folded = fold(events(&[stream.as_bytes()])).expect(name);
        assert_eq!(folded, whole, "{name}");
    }
}

#[test]
fn blocks_are_closed_in_order_before_the_finish() {
    let all = PAIRS.iter().map(|(_, _, stream)| *stream).chain([STOPS, SERVER_TOOL]);
    for stream in all {
        let (mut open, mut next, mut done) = ([None; 4], [0; 4], [0; 4]);
        for (at, event) in events(&[stream.as_bytes()]).into_iter().enumerate() {
            assert_eq!(at == 0, matches!(event, Event::Begin(_)), "{stream}");
            match event {
                Event::Open { choice, block, .. } => {
                    let choice = choice as usize;
                    assert_eq!((open[choice], block), (None, next[choice]), "{stream}");
                    (open[choice], next[choice]) = (Some(block), block + 1);
                }
                Event::Delta { choice, block, .. } => {
                    assert_eq!(open[choice as usize], Some(block))
                }
                Event::Close { choice, block } => {
                    assert_eq!(open[choice as usize].take(), Some(block), "{stream}");
                }
                Event::Finish { choice, .. } => {
                    assert_eq!(open[choice as usize], None, "{stream}");
                    done[choice as usize] += 1;
                }
                Event::Fail(fault) => panic!("{fault}: {stream}"),
                Event::Begin(_) | Event::Usage(_) => {}
            }
        }
        assert!(done[0] == 1 && done.iter().all(|count| *count <= 1), "{stream}");
    }
}

#[test]
fn what_follows_a_finish_still_counts() {
    let reply = fold(events(&[STOPS.as_bytes()])).expect("complete");
    assert_eq!(reply.choices[0].parts[0].as_text(), Some("AB"));
    assert_eq!(reply.usage.and_then(|usage| usage.output), Some(3));
}

#[test]
fn broken_streams_are_no_answers() {
    let broken = |text: &str| fold(events(&[text.as_bytes()])).expect_err("broken");
    assert_eq!(broken(TRUNCATED).message, broke_off().message);
    assert_eq!(broken("").message, broke_off().message);
    assert_eq!(broken("data: [DONE]\n\n").message, broke_off().message);
    let fault = broken(ERROR);
    assert_eq!(
        (fault.status(), &*fault.message),
        (503, "The model is overloaded. Please try again later.")
    );
    assert_eq!(broken("data: <html>\n\n").status(), 502);
    let listed = r#"data: [{"error":{"code":500,"message":"Internal","status":"INTERNAL"}}]"#;
    assert_eq!(broken(listed).message, "Internal");
    let failing = events(&[ERROR.as_bytes()]);
    assert!(matches!(failing.last(), Some(Event::Fail(_))));
    let two = PAIRS[12].2.replace("MAX_TOKENS", "");
    assert_eq!(broken(&two).message, broke_off().message, "one of two candidates never stopped");
}

#[test]
fn only_the_connections_end_is_the_end() {
    let mut stream = begin(context());
    let mut out = Vec::new();
    let frame = |data| Frame { name: "", data };
    stream.frame(frame(br#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#), &mut out);
    assert!(!stream.is_terminated());
    stream.frame(frame(br#"{"candidates":[{"finishReason":"STOP"}]}"#), &mut out);
    assert!(!stream.is_terminated(), "older models say STOP on every chunk");
    stream.end(&mut out);
    assert!(stream.is_terminated());
    assert!(matches!(out.last(), Some(Event::Finish { .. } | Event::Usage(_))));
}

proptest::proptest! {
    #[test]
    fn where_the_network_cuts_changes_nothing(which in 0usize..13, cuts in proptest::collection::vec(0usize..4000, 0..12)) {
        let bytes = PAIRS[which].2.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let cut = format!("{:?}", events(&pieces));
        proptest::prop_assert_eq!(cut, format!("{:?}", events(&[bytes])));
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,80}", part in "[a-zA-Z]{0,12}") {
        let _ = events(&[format!("data: {text}\n\n").as_bytes()]);
        let body = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"{part}":{}}}]}},"finishReason":"STOP"}}]}}"#,
            serde_json::Value::from(text));
        let _ = reply::read(body.as_bytes(), &mut context());
        let _ = events(&[format!("data: {body}\n\n").as_bytes()]);
    }
}
