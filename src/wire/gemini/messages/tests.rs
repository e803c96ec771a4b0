//! Turns, pairs of calls and results, and signatures: what a history becomes.

use super::*;
use crate::conversation::{Extras, Media, MediaKind, Role, Source, ToolResult};
use serde_json::{Value, json};

const BASE: &str = "https://generativelanguage.googleapis.com/v1beta";

fn ask(turns: Vec<Turn>) -> Ask {
    Ask { turns, ..Ask::new(Format::OpenAiChat) }
}

fn call(id: &str, name: &str) -> SaidPart {
    sealed_call(id, name, None)
}

fn sealed_call(id: &str, name: &str, seal: Option<Seal>) -> SaidPart {
    SaidPart::new(Said::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: r#"{"n":1.0}"#.into(),
        seal,
        ..ToolCall::default()
    }))
}

fn result(id: &str, text: &str) -> SaidPart {
    SaidPart::new(Said::ToolResult(ToolResult {
        call_id: id.into(),
        parts: vec![SaidPart::text(text)],
        ..ToolResult::default()
    }))
}

fn seal(data: &str) -> Option<Seal> {
    Some(Seal { format: Format::Gemini, data: data.into() })
}

fn thought(text: &str, seal: Option<Seal>) -> SaidPart {
    SaidPart::reasoning(Reasoning { text: text.into(), seal, ..Reasoning::default() })
}

fn picture(media_type: &str) -> SaidPart {
    let source = Source::Base64 { media_type: media_type.into(), data: "AAAA".into() };
    SaidPart::new(Said::Media(Media { kind: MediaKind::Image, source, name: None, detail: None }))
}

fn system(text: &str) -> Turn {
    Turn::new(Role::System, vec![SaidPart::text(text)])
}

fn user(parts: Vec<SaidPart>) -> Turn {
    Turn::new(Role::User, parts)
}

fn model(parts: Vec<SaidPart>) -> Turn {
    Turn::new(Role::Assistant, parts)
}

fn hello() -> Turn {
    user(vec![SaidPart::text("hi")])
}

fn scene(name: &str, vertex: bool) -> Scene<'static> {
    Scene { model: Model::named(name), store: Store { vertex, base: BASE }, mends: true }
}

/// The system's texts and the contents, roles as `u` and `m`, and what was lost.
#[track_caller]
fn check(name: &str, turns: Vec<Turn>, expected: Value, lost: &str) {
    let ask = ask(turns);
    let mut losses = Losses::default();
    let (system, contents) = write(&ask, scene(name, false), &mut losses).expect("written");
    let mut told: Vec<Value> = system.into_iter().map(|text| json!({ "s": text })).collect();
    for content in contents {
        let role = if content.role == Some(Speaker::User) { "u" } else { "m" };
        told.push(json!({ role: content.parts }));
    }
    assert_eq!(Value::Array(told), expected);
    assert_eq!(losses.paths(), lost);
}

fn called(id: &str, name: &str) -> Value {
    json!({"functionCall": {"id": id, "name": name, "args": {"n": 1.0}}})
}

fn answered(id: &str, name: &str, text: &str) -> Value {
    json!({"functionResponse": {"id": id, "name": name, "response": {"output": text}}})
}

#[test]
fn roles_alternate_and_empty_texts_are_left_out() {
    check(
        "gemini-2.5-pro",
        vec![
            system("one"),
            Turn::new(Role::Developer, vec![SaidPart::text("two"), SaidPart::text(" ")]),
            hello(),
            user(vec![SaidPart::text(""), SaidPart::text("there")]),
            model(vec![SaidPart::text("")]),
            model(vec![SaidPart::text("yes"), SaidPart::new(Said::Refusal("no".into()))]),
            system("mind"),
            hello(),
        ],
        json!([{"s": "one"}, {"s": "two"}, {"u": [{"text": "hi"}, {"text": "there"}]}, {"m": [{"text": "yes"}, {"text": "no"}]},
            {"u": [{"text": "<system>\nmind\n</system>"}, {"text": "hi"}]}]),
        "",
    );
    check("gemini-2.5-pro", vec![system("only")], json!([{"u": [{"text": "only"}]}]), "");
    check("gemini-2.5-pro", vec![], json!([]), "");
    check(
        "gemma-3-27b-it",
        vec![system("one"), hello()],
        json!([{"u": [{"text": "<system>\none\n</system>"}, {"text": "hi"}]}]),
        "",
    );
    check(
        "gemini-2.5-pro",
        vec![model(vec![SaidPart::text("first")])],
        json!([{"u": [{"text": "."}]}, {"m": [{"text": "first"}]}]),
        "",
    );
    check(
        "gemini-3.8-flash",
        vec![hello(), model(vec![SaidPart::text("{")])],
        json!([{"u": [{"text": "hi"}]}, {"m": [{"text": "{"}]}, {"u": [{"text": "Continue."}]}]),
        "messages",
    );
}

#[test]
fn calls_and_results_pair() {
    // Reversed, split over turns, with words between them.
    check(
        "gemini-2.5-pro",
        vec![
            hello(),
            model(vec![SaidPart::text("ok"), call("a", "f")]),
            model(vec![call("b", "g")]),
            user(vec![SaidPart::text("note"), result("b", "B")]),
            user(vec![result("a", "A")]),
        ],
        json!([{"u": [{"text": "hi"}]}, {"m": [{"text": "ok"}, called("a", "f"), called("b", "g")]},
            {"u": [answered("a", "f", "A"), answered("b", "g", "B"), {"text": "note"}]}]),
        "",
    );
    // One id in two turns: each call has the result that follows it.
    check(
        "gemini-2.5-pro",
        vec![
            hello(),
            model(vec![call("a", "f")]),
            user(vec![result("a", "1")]),
            model(vec![call("a", "f")]),
            user(vec![result("a", "2")]),
        ],
        json!([{"u": [{"text": "hi"}]}, {"m": [called("a", "f")]}, {"u": [answered("a", "f", "1")]},
            {"m": [called("a", "f")]}, {"u": [answered("a", "f", "2")]}]),
        "",
    );
    // No result, and no call.
    check(
        "gemini-2.5-pro",
        vec![user(vec![result("x", "X")]), model(vec![call("a", "f")])],
        json!([{"u": [{"text": "Result of a tool:\nX"}]}, {"m": [called("a", "f")]},
            {"u": [{"functionResponse": {"id": "a", "name": "f", "response": {"error": "No result of this call was recorded."}}}]}]),
        "messages[0].content[0], messages[1].tool_calls",
    );
}

#[test]
fn ids_go_where_they_are_taken() {
    let ask = ask(vec![hello(), model(vec![call("a", "f")]), user(vec![result("a", "A")])]);
    let count = |name: &str, vertex| {
        let (_, contents) =
            write(&ask, scene(name, vertex), &mut Losses::default()).expect("written");
        serde_json::to_string(&contents).expect("prints").matches(r#""id":"a""#).count()
    };
    assert_eq!(count("gemini-2.5-pro", false), 2);
    assert_eq!(count("gemini-2.5-pro", true), 0);
    assert_eq!(count("gemini-3-pro", true), 2);
}

#[test]
fn pictures_of_tools() {
    let parts = vec![SaidPart::text(""), picture("image/png"), picture("image/gif")];
    let shown = ToolResult { call_id: "a".into(), parts, ..ToolResult::default() };
    let turns = |shown: &ToolResult| {
        vec![
            hello(),
            model(vec![sealed_call("a", "f", seal("S"))]),
            user(vec![SaidPart::new(Said::ToolResult(shown.clone()))]),
        ]
    };
    let blob = |kind: &str| json!({"inlineData": {"mimeType": kind, "data": "AAAA"}});
    let mut signed = called("a", "f");
    signed["thoughtSignature"] = "S".into();
    let told = json!({"output": "See the attached file."});
    check(
        "gemini-2.5-pro",
        turns(&shown),
        json!([{"u": [{"text": "hi"}]}, {"m": [signed]},
            {"u": [{"functionResponse": {"id": "a", "name": "f", "response": told}}, blob("image/png"), blob("image/gif")]}]),
        "",
    );
    check(
        "gemini-3-pro",
        turns(&shown),
        json!([{"u": [{"text": "hi"}]}, {"m": [signed]},
            {"u": [{"functionResponse": {"id": "a", "name": "f", "response": told, "parts": [blob("image/png")]}}, blob("image/gif")]}]),
        "",
    );
}

#[test]
fn signatures_return_to_their_parts() {
    let with = |mut part: Value, signature: &str| {
        part["thoughtSignature"] = signature.into();
        part
    };
    let hi = json!({"u": [{"text": "hi"}]});
    let ok = |id: &str| json!({"u": [answered(id, "f", "r")]});
    // On a call itself; as reasoning before it; foreign or none at all.
    check(
        "gemini-3-pro",
        vec![
            hello(),
            model(vec![thought("hm", None), sealed_call("a", "f", seal("A"))]),
            user(vec![result("a", "r")]),
            model(vec![thought("hm", seal("B")), call("b", "f")]),
            user(vec![result("b", "r")]),
            model(vec![
                thought("hm", Some(Seal { format: Format::Anthropic, data: "X".into() })),
                call("c", "f"),
            ]),
            user(vec![result("c", "r")]),
        ],
        json!([hi, {"m": [with(called("a", "f"), "A")]}, ok("a"), {"m": [with(called("b", "f"), "B")]}, ok("b"),
            {"m": [with(called("c", "f"), NO_SIGNATURE)]}, ok("c")]),
        "messages[5].content[0]",
    );
    // After a text; by itself; with its thoughts.
    check(
        "gemini-3-pro",
        vec![
            hello(),
            model(vec![SaidPart::text("t"), thought("", seal("T"))]),
            hello(),
            model(vec![thought("", seal("E"))]),
            hello(),
            model(vec![thought("why", seal("W")), SaidPart::text("t")]),
            hello(),
        ],
        json!([hi, {"m": [{"text": "t", "thoughtSignature": "T"}]}, hi, {"m": [{"text": "", "thoughtSignature": "E"}]}, hi,
            {"m": [{"text": "why", "thought": true, "thoughtSignature": "W"}, {"text": "t"}]}, hi]),
        "",
    );
    // Only the first of parallel calls is signed; older models need no stand-in.
    let parallel = || {
        vec![
            hello(),
            model(vec![call("a", "f"), call("b", "f")]),
            user(vec![result("a", "r"), result("b", "r")]),
        ]
    };
    let both = json!({"u": [answered("a", "f", "r"), answered("b", "f", "r")]});
    check(
        "gemini-3-pro",
        parallel(),
        json!([hi, {"m": [with(called("a", "f"), NO_SIGNATURE), called("b", "f")]}, both]),
        "",
    );
    check(
        "gemini-2.5-pro",
        parallel(),
        json!([hi, {"m": [called("a", "f"), called("b", "f")]}, both]),
        "",
    );
}

#[test]
fn what_gemini_made_goes_back_as_it_was() {
    let own = r#"{"toolCall":{"id":"x", "n":1.0},"thoughtSignature":"S"}"#;
    let foreign = |format| Said::Foreign {
        format,
        value: crate::conversation::Json::parse(own).expect("valid"),
    };
    let parts = vec![
        SaidPart::new(foreign(Format::Gemini)),
        SaidPart::new(foreign(Format::Anthropic)),
        SaidPart { extras: Extras::default(), ..SaidPart::text("t") },
    ];
    let ask = ask(vec![hello(), model(parts)]);
    let mut losses = Losses::default();
    let (_, contents) = write(&ask, scene("gemini-3-pro", false), &mut losses).expect("written");
    let text = serde_json::to_string(&contents).expect("prints");
    assert!(text.contains(&format!("[{own},{{\"text\":\"t\"}}]")), "{text}");
    assert_eq!(losses.paths(), "messages[1].content[1]");
}

/// An answer that was read comes back out as the parts it was made of.
#[test]
fn an_answer_returns_as_it_came() {
    let parts = json!([
        {"text": "plan"},
        {"functionCall": {"id": "1", "name": "f", "args": {"a": [1.0, "é"]}}, "thoughtSignature": "S1"},
        {"functionCall": {"id": "2", "name": "g", "args": {}}},
    ]);
    let body = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    let reply = super::super::reply::read(
        body.to_string().as_bytes(),
        &mut crate::wire::codec::ReplyContext::default(),
    );
    let said = reply.expect("an answer").choices.remove(0).parts;
    let ask = ask(vec![hello(), model(said), user(vec![result("1", "r"), result("2", "r")])]);
    let (_, contents) =
        write(&ask, scene("gemini-3-pro", false), &mut Losses::default()).expect("written");
    assert_eq!(serde_json::to_value(&contents[1].parts).expect("prints"), parts);
}

#[test]
fn files_out_of_reach_are_told() {
    let source = Source::FileId { format: Format::OpenAiChat, id: "file-1".into() };
    let media = Media { kind: MediaKind::Document, source, name: None, detail: None };
    let ask = ask(vec![user(vec![SaidPart::text("x"), SaidPart::new(Said::Media(media))])]);
    let fault = write(&ask, scene("gemini-3-pro", false), &mut Losses::default());
    assert_eq!(
        fault.err().and_then(|fault| fault.param).as_deref(),
        Some("messages[0].content[1]")
    );
}
