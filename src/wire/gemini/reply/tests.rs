//! Whole answers, case by case.

use super::*;
use crate::conversation::{Annotation, Content, Finish, Format, MediaKind, Part, Source, Usage};
use crate::wire::codec::Ids;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/answers/gemini/", $name)).as_slice()
    };
}

fn answer(body: &[u8]) -> Result<Reply, Fault> {
    read(
        body,
        &mut ReplyContext {
            ids: Ids::new("0123456789"),
            json_tool: None,
            ..ReplyContext::default()
        },
    )
}

#[track_caller]
fn good(body: &[u8]) -> Reply {
    answer(body).expect("an answer")
}

/// Each part in a line: what a reader of a test needs to see of it.
fn told(reply: &Reply) -> Vec<String> {
    let parts = reply.choices.iter().flat_map(|choice| &choice.parts);
    parts.map(told_part).collect()
}

fn told_part(part: &Part) -> String {
    match &part.content {
        Content::Text { text, .. } => format!("text {text}"),
        Content::Reasoning(reasoning) => format!(
            "thought {} [{}]",
            reasoning.text,
            reasoning.seal.as_ref().map_or("", |seal| &seal.data)
        ),
        Content::ToolCall(call) => format!(
            "call {} {} {} [{}]",
            call.id,
            call.name,
            call.arguments,
            call.seal.as_ref().map_or("", |seal| &seal.data)
        ),
        Content::Media(media) => match &media.source {
            Source::Base64 { media_type, data } => {
                format!("{:?} {media_type} {}", media.kind, data.len())
            }
            other => format!("{:?} {other:?}", media.kind),
        },
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn check(body: &[u8], parts: &[&str], finish: Finish) -> Reply {
    let reply = good(body);
    assert_eq!(told(&reply), parts);
    assert_eq!(reply.choices.first().and_then(|choice| choice.finish.clone()), Some(finish));
    reply
}

#[test]
fn texts_and_thoughts() {
    let reply = check(
        golden!("plain.json"),
        &["text Künstliche Intelligenz lernt aus Daten 🙂\u{2028}und Mustern."],
        Finish::Stop,
    );
    assert_eq!(reply.head.id.as_deref(), Some("mAitaLmkHPPlz7IPvtfUqQ4"));
    assert_eq!(reply.head.model.as_deref(), Some("gemini-2.5-flash"));
    assert_eq!(reply.usage, Some(Usage { input: Some(8), output: Some(12), ..Usage::default() }));
    let reply = check(
        golden!("thoughts.json"),
        &[
            "thought **Comparing the two**\n\nI weigh 9.11 against 9.9. []",
            "text 9.9 is greater than 9.11.",
            "thought  [EpYECpMEAVSoXO6XrKo2Yw==]",
        ],
        Finish::Stop,
    );
    let usage = reply.usage.expect("told");
    assert_eq!((usage.output, usage.reasoning), (Some(98), Some(87)));
}

#[test]
fn calls_keep_their_arguments_and_seals() {
    check(
        golden!("tool.json"),
        &[
            r#"call fc_x7k2m9 get_current_temperature {"location":"Paris","days":1.0} [CrICAdHtim827fQ=]"#,
        ],
        Finish::ToolCalls,
    );
    check(
        golden!("parallel_tools.json"),
        &[
            "text I look it up.",
            r#"call call_01234567890 check_flight {"flight":"AA100"} [Es8ECswEAQw=]"#,
            "call call_01234567891 list_alarms {} []",
            "call call_01234567892 now {} []",
        ],
        Finish::ToolCalls,
    );
}

#[test]
fn endings() {
    let reply = check(golden!("length_without_parts.json"), &[], Finish::Length);
    assert_eq!(reply.usage.and_then(|usage| usage.output), Some(64));
    check(golden!("blocked_prompt.json"), &[], Finish::Filtered(Some("PROHIBITED_CONTENT".into())));
    check(golden!("safety.json"), &["text First, "], Finish::Filtered(Some("SAFETY".into())));
    check(golden!("malformed_call.json"), &[], Finish::Fault("MALFORMED_FUNCTION_CALL".into()));
    let reply = good(golden!("candidates.json"));
    let finishes: Vec<_> = reply.choices.iter().map(|choice| choice.finish.clone()).collect();
    assert_eq!(finishes, [Some(Finish::Stop), Some(Finish::Length)]);
    assert_eq!(told(&reply), ["text One.", "text Two, longer."]);
}

#[test]
fn pictures_code_and_googles_tools() {
    let reply = check(
        golden!("image.json"),
        &["text Here it is:", "Image image/png 96", "thought  [EskICsYIAb4=]"],
        Finish::Stop,
    );
    assert!(matches!(
        reply.choices[0].parts[1].content,
        Content::Media(crate::conversation::Media { kind: MediaKind::Image, .. })
    ));
    let code =
        "text I compute it.\n```python\nprint(sum([2, 3, 5]))\n```\n\n```\n10\n```\nThe sum is 10.";
    check(golden!("code.json"), &[code], Finish::Stop);
    let reply = good(golden!("server_tool.json"));
    let kinds = reply.choices[0].parts.iter().map(|part| match &part.content {
        Content::Foreign { format: Format::Gemini, value } => {
            value.as_str().contains("thoughtSignature")
        }
        _ => false,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn sources_and_probabilities() {
    let reply = good(golden!("grounding.json"));
    let Content::Text { annotations, .. } = &reply.choices[0].parts[0].content else {
        panic!("a text")
    };
    let told: Vec<_> = annotations
        .iter()
        .map(|annotation| match annotation {
            Annotation::Url { url, title, start, end } => {
                (url.chars().last(), title.as_deref(), *start, *end)
            }
            Annotation::Foreign { .. } => panic!("a page"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some('A'), Some("aljazeera.com"), Some(0), Some(19)),
            (Some('A'), Some("aljazeera.com"), Some(22), Some(55)),
            (Some('B'), Some("uefa.com"), Some(22), Some(55)),
            (Some('C'), Some("bbc.com"), None, None),
        ]
    );
    assert_eq!(reply.usage.and_then(|usage| usage.input), Some(65));
    let reply = good(golden!("logprobs.json"));
    let Content::Text { logprobs: Some(logprobs), .. } = &reply.choices[0].parts[0].content else {
        panic!("probabilities")
    };
    assert_eq!(logprobs.to_value()[0]["top_logprobs"][1]["token"], "Hi");
}

#[test]
fn errors_and_garbage() {
    for body in [golden!("error.json"), golden!("error_list.json")] {
        let fault = answer(body).expect_err("an error");
        assert_eq!((fault.status(), fault.retry_after()), (429, Some("17")));
    }
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        "[1]",
        "null",
        r#"{"candidates":[]}"#,
        r#"{"candidates":7}"#,
        r#"{"candidates":[7]}"#,
    ] {
        assert_eq!(answer(body.as_bytes()).expect_err(body).status(), 502, "{body}");
    }
}

#[test]
fn odd_parts_do_no_harm() {
    let body = r#"{"candidates":[{"index":4000000000,"content":{"parts":[7,{},{"text":9},{"functionCall":{}},
        {"functionCall":{"name":""},"thoughtSignature":"s"},{"inlineData":{}},{"thought":true},{"text":"","thought":true},
        {"function_call":{"name":"f","args":null},"thought_signature":"t"},{"text":"x","thoughtSignature":"u"},
        {"text":"y","thoughtSignature":"v"}]}}]}"#;
    let reply = good(body.as_bytes());
    assert_eq!(reply.choices.len(), 64);
    assert_eq!(
        told(&reply),
        [
            "thought  [s]",
            "call call_01234567890 f {} [t]",
            "text xy",
            "thought  [u]",
            "thought  [v]",
        ]
    );
}
