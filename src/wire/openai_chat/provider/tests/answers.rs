//! What every server's answer comes to, whole and streamed.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::PROVIDER;
use crate::conversation::{Annotation, Choice, Content, Event, Finish, Fold, Reply, Source};
use crate::ground::fault::Fault;
use crate::wire::codec::{Ids, ReplyContext};
use crate::wire::framing::Frames;

macro_rules! golden {
    ($($name:literal),+) => {
        include_bytes!(concat!("../../../../../tests/golden/answers/openai_chat/", $($name),+))
    };
}

macro_rules! pairs {
    ($($name:literal),* $(,)?) => {
        [$(($name, &golden!($name, ".json")[..], &golden!($name, ".sse")[..])),*]
    };
}

fn context() -> ReplyContext {
    ReplyContext { ids: Ids::new("00"), ..ReplyContext::default() }
}

fn events(pieces: &[&[u8]]) -> Vec<Event> {
    let mut decoder = (PROVIDER.stream)(context());
    let mut frames = Frames::new(PROVIDER.framing);
    let mut out = Vec::new();
    for piece in pieces {
        let pushed =
            frames.push(Bytes::copy_from_slice(piece), |frame| decoder.frame(frame, &mut out));
        assert!(pushed.is_ok());
    }
    frames.end(|frame| decoder.frame(frame, &mut out));
    decoder.end(&mut out);
    out
}

fn folded(stream: &[u8]) -> Result<Reply, Fault> {
    let events = events(&[stream]);
    well_formed(&events);
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

fn whole(body: &[u8]) -> Result<Reply, Fault> {
    (PROVIDER.reply)(body, &mut context())
}

/// Blocks are opened in order, each is closed before its choice ends, and the end comes once.
#[track_caller]
fn well_formed(events: &[Event]) {
    let mut next = std::collections::HashMap::<u32, u32>::new();
    let mut open = std::collections::HashSet::new();
    let mut finished = std::collections::HashSet::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Open { choice, block, .. } => {
                let next = next.entry(*choice).or_default();
                assert_eq!(block, next, "{events:?}");
                *next += 1;
                assert!(open.insert((*choice, *block)));
            }
            Event::Delta { choice, block, .. } => assert!(open.contains(&(*choice, *block))),
            Event::Close { choice, block } => assert!(open.remove(&(*choice, *block))),
            Event::Finish { choice, .. } => {
                assert!(finished.insert(*choice) && open.iter().all(|(of, _)| of != choice));
            }
            Event::Begin(_) | Event::Usage(_) => {}
            Event::Fail(_) => assert_eq!(at, events.len() - 1),
        }
    }
}

/// A reply on one line.
fn shown(reply: &Reply) -> String {
    let choices: Vec<String> = reply.choices.iter().map(shown_choice).collect();
    choices.join(" || ")
}

fn shown_choice(choice: &Choice) -> String {
    let mut words: Vec<String> = choice
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::Text { text, annotations, logprobs } => {
                let urls = annotations.iter().map(|annotation| match annotation {
                    Annotation::Url { url, .. } => format!(" <{url}>"),
                    Annotation::Foreign { .. } => " <?>".to_owned(),
                });
                let cited: String = urls.collect();
                let logprobs = if logprobs.is_some() { " logprobs" } else { "" };
                format!("text {text:?}{cited}{logprobs}")
            }
            Content::Refusal(text) => format!("refusal {text:?}"),
            Content::Reasoning(thoughts) => {
                let seal = thoughts.seal.as_ref().map(|seal| format!(" sealed {}", seal.data));
                format!("thoughts {:?}{}", thoughts.text, seal.unwrap_or_default())
            }
            Content::ToolCall(call) => {
                let seal = call.seal.as_ref().map(|seal| format!(" sealed {}", seal.data));
                let seal = seal.unwrap_or_default();
                format!("call {} {}({}){seal}", call.id, call.name, call.arguments)
            }
            Content::Media(media) => match &media.source {
                Source::Base64 { media_type, data } => format!("{media_type} {data}"),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        })
        .collect();
    words.push(format!("{:?}", choice.finish));
    words.join(" | ")
}

#[track_caller]
fn check(reply: Result<Reply, Fault>, expected: &str) -> Reply {
    let reply = reply.expect("an answer");
    assert_eq!(shown(&reply), expected);
    reply
}

#[test]
fn whole_and_streamed_answers_are_the_same() {
    let pairs = pairs![
        "openai_plain",
        "openai_parallel_tools",
        "openai_refusal",
        "openai_logprobs",
        "openai_audio",
        "openai_custom_tool",
        "openai_web_search",
        "azure_plain",
        "deepseek_reasoning",
        "mistral_thinking",
        "openrouter_reasoning",
        "openrouter_image",
        "groq_reasoning",
        "xai_plain",
        "perplexity_sources",
        "gemini_signature",
        "vllm_stop_sequence",
    ];
    for (name, body, stream) in pairs {
        let reply = whole(body).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let streamed = folded(stream).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(streamed, reply, "{name}");
        assert!(reply.head.id.is_some() && reply.usage.is_some(), "{name}");
    }
}

#[test]
fn answers_come_to_what_they_mean() {
    let reply =
        check(whole(golden!("openai_plain.json")), r#"text "Hello! How can I help?" | Some(Stop)"#);
    let usage = reply.usage.expect("told");
    assert_eq!((usage.input, usage.output, usage.cache_read), (Some(19), Some(10), Some(4)));
    assert_eq!(reply.head.service_tier.as_deref(), Some("default"));
    check(
        whole(golden!("openai_parallel_tools.json")),
        r#"call call_DdmO9pD3xa get_weather({"city":"Paris"}) | call call_a9Yq1 get_time({}) | Some(ToolCalls)"#,
    );
    check(
        whole(golden!("openai_refusal.json")),
        r#"refusal "I can't help with that." | Some(Stop)"#,
    );
    check(
        whole(golden!("openai_logprobs.json")),
        r#"text "Hello there" logprobs | Some(Length) || text "Hi" logprobs | Some(Stop)"#,
    );
    check(whole(golden!("openai_audio.json")), "audio/wav UklGRgAA | Some(Stop)");
    check(
        whole(golden!("openai_custom_tool.json")),
        "call call_c1 apply_patch(*** Begin Patch\n) | Some(ToolCalls)",
    );
    check(
        whole(golden!("openai_web_search.json")),
        r#"text "It won [1]." <https://example.com/a> | Some(Stop)"#,
    );
    check(
        whole(golden!("deepseek_reasoning.json")),
        r#"thoughts "Compare 0.8 and 0.11." | text "9.8 is greater." | call call_0_x get_date({}) | Some(ToolCalls)"#,
    );
    check(
        whole(golden!("mistral_thinking.json")),
        r#"thoughts "Let me think." | text "It is 4." | Some(Stop)"#,
    );
    check(
        whole(golden!("openrouter_reasoning.json")),
        r#"thoughts "First, look." sealed [{"format":"anthropic-claude-v1","index":0,"signature":"EqQB","text":"First, look.","type":"reasoning.text"}] | text "On it." | call toolu_1 look({"at": "x"}) | Some(ToolCalls)"#,
    );
    check(
        whole(golden!("openrouter_image.json")),
        r#"text "Here it is." | image/png iVBORw0KGgo= | Some(Stop)"#,
    );
    check(
        whole(golden!("gemini_signature.json")),
        r#"call function-call-1 check({"a":1}) sealed CtQB== | Some(ToolCalls)"#,
    );
    check(
        whole(golden!("perplexity_sources.json")),
        r#"text "Stars[1]." <https://a.example> | Some(Stop)"#,
    );
    check(
        whole(golden!("vllm_stop_sequence.json")),
        r#"text "One, two" | Some(StopSequence(Some("three")))"#,
    );
    let usage = whole(golden!("xai_plain.json")).expect("an answer").usage.expect("told");
    assert_eq!((usage.output, usage.reasoning), (Some(9), Some(7)));
    let usage = folded(golden!("groq_reasoning.sse")).expect("an answer").usage.expect("told");
    assert_eq!((usage.input, usage.output), (Some(18), Some(5)));
    let usage = whole(golden!("deepseek_reasoning.json")).expect("an answer").usage;
    assert_eq!(usage.expect("told").cache_read, Some(16));
}

#[test]
fn what_servers_do_to_calls_is_mended() {
    check(
        folded(golden!("ollama_same_index.sse")),
        r#"call call_a f({"n":1}) | call call_b f({"n":2}) | Some(ToolCalls)"#,
    );
    check(
        folded(golden!("ollama_no_index.sse")),
        r#"call call_000 f({"n":1}) | call call_001 f({"n":2}) | Some(ToolCalls)"#,
    );
    check(folded(golden!("repeated_names.sse")), r#"call c1 f({"a":1}) | Some(ToolCalls)"#);
    check(
        folded(golden!("interleaved_calls.sse")),
        r#"call c1 f({"a":1}) | call c2 g({"b":2}) | Some(ToolCalls)"#,
    );
    check(folded(golden!("call_stubs.sse")), r#"text "Hm." | Some(Stop)"#);
    check(
        folded(golden!("mistral_tools.sse")),
        r#"call D681PevKs a({"x": 1}) | call E792QfwLt b({}) | Some(ToolCalls)"#,
    );
    check(
        whole(golden!("legacy_function_call.json")),
        r#"call call_000 f({"a":1}) | Some(ToolCalls)"#,
    );
    check(whole(golden!("tgi_object_arguments.json")), r#"call 0 f({"a":1.0}) | Some(ToolCalls)"#);
}

#[test]
fn streams_end_as_they_should() {
    check(folded(golden!("no_done.sse")), r#"text "All." | Some(Stop)"#);
    check(folded(golden!("separators.sse")), "text \"a\\u{2028}b\\u{85}c 🌊\" | Some(Stop)");
    check(folded(golden!("legacy_completion.sse")), r#"text "This is a test" | Some(Length)"#);
    let broken: [&[u8]; 3] =
        [golden!("truncated.sse"), golden!("done_without_reason.sse"), golden!("empty.sse")];
    for stream in broken {
        let fault = folded(stream).expect_err("broken");
        assert_eq!(fault.code(), Some("upstream_invalid_response"));
    }
}

#[test]
fn errors_are_found_wherever_they_are() {
    let fault = folded(golden!("openrouter_error.sse")).expect_err("failed");
    assert_eq!(fault.message, "Provider disconnected unexpectedly");
    assert_eq!(fault.status(), 502);
    let fault = whole(golden!("openrouter_error.json")).expect_err("failed");
    assert_eq!((fault.status(), fault.code()), (429, Some("rate_limit_exceeded")));
    assert_eq!(fault.retry_after(), Some("3"));
    let fault = folded(golden!("vllm_error.sse")).expect_err("failed");
    assert_eq!(fault.message, "EngineCore encountered an issue.");
    let cases: [(&[u8], u16); 9] = [
        (b"data: {\"detail\":\"gone\"}\n\n", 502),
        (b"event: error\ndata: {\"message\":\"no\",\"code\":\"500\"}\n\n", 500),
        (b"data: {\"error\":\"model is overloaded\"}\n\n", 502),
        (b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"abort\"}]}\n\n", 502),
        (
            b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"insufficient_system_resource\"}]}\n\n",
            503,
        ),
        (b"data: {\"choices\":\n\n", 502),
        (b"data: <html>\n\n", 502),
        (b"data: null\n\ndata: {}\n\ndata: 7\n\n", 502),
        (b"data: {\"choices\":[{\"index\":4294967295,\"delta\":{\"content\":\"x\"}}]}\n\n", 502),
    ];
    for (stream, status) in cases {
        let fault = folded(stream).expect_err("failed");
        assert_eq!(fault.status(), status, "{}", String::from_utf8_lossy(stream));
    }
    let bodies: [&[u8]; 6] = [b"", b"{}", b"<html>", b"{\"choices\":[]}", b"[1]", b"\xff\xfe"];
    for body in bodies {
        assert!(whole(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_stream_in_place_of_a_body_is_read() {
    let streamed = whole(golden!("openai_plain.sse")).expect("an answer");
    assert_eq!(streamed, whole(golden!("openai_plain.json")).expect("an answer"));
}

#[test]
fn usage_is_told_once_for_each_change() {
    let count = |stream: &[u8]| {
        events(&[stream]).iter().filter(|event| matches!(event, Event::Usage(_))).count()
    };
    assert_eq!(count(golden!("xai_plain.sse")), 2);
    assert_eq!(count(golden!("openai_plain.sse")), 1);
}

#[test]
fn reasons_of_every_server_are_known() {
    let cases = [
        ("stop", Finish::Stop),
        ("eos", Finish::Stop),
        ("COMPLETE", Finish::Stop),
        ("never heard of", Finish::Stop),
        ("MAX_TOKENS", Finish::Length),
        ("model_length", Finish::ContextWindow),
        ("content_filter", Finish::Filtered(None)),
        ("tool_calls", Finish::Stop),
    ];
    for (word, expected) in cases {
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"{word}"}}]}}"#);
        let reply = whole(body.as_bytes()).expect("an answer");
        assert_eq!(reply.choices[0].finish, Some(expected), "{word}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_change_nothing(
        which in 0usize..6,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let streams: [&[u8]; 6] = [
            golden!("separators.sse"),
            golden!("openai_parallel_tools.sse"),
            golden!("openrouter_reasoning.sse"),
            golden!("azure_plain.sse"),
            golden!("vllm_error.sse"),
            golden!("truncated.sse"),
        ];
        let stream = streams[which];
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(format!("{:?}", events(&pieces)), format!("{:?}", events(&[stream])));
    }

    #[test]
    fn no_answer_makes_it_stumble(text in "[\\[\\]{}:,\"a-f0-9 \\\\]{0,60}") {
        let frame = format!("data: {text}\n\n");
        well_formed(&events(&[frame.as_bytes()]));
        let _ = whole(text.as_bytes());
    }
}
