//! The legacy completions, asked and answered.

use serde_json::{Value, json};

use super::super::{CHAT, COMPLETIONS};
use crate::conversation::{
    Choice, Content, Finish, Head, Json, Part, Reasoning, Reply, Role, Usage,
};
use crate::wire::codec::{Asked, Echo, Stamp};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../tests/golden/requests/openai_completions/",
            $name,
            ".json"
        ))
    };
}

fn read(text: &str) -> Asked {
    (COMPLETIONS.request)(text.as_bytes()).expect("a request that is taken")
}

fn reply() -> Reply {
    let list = r#"[{"token":" ti","logprob":-0.5,"top_logprobs":[{"token":" ti","logprob":-0.5}]},
        {"token":"me","logprob":-1,"top_logprobs":[]}]"#;
    let content = Content::Text {
        text: " time".into(),
        annotations: Vec::new(),
        logprobs: Json::parse(list),
    };
    let thoughts = Reasoning { text: "hm".into(), ..Reasoning::default() };
    let parts = vec![Part::reasoning(thoughts), Part::new(content)];
    let choice = Choice { parts, finish: Some(Finish::Length) };
    let usage = Usage { input: Some(3), output: Some(2), ..Usage::default() };
    Reply { head: Head::default(), choices: vec![choice], usage: Some(usage) }
}

fn stamp() -> Stamp {
    Stamp { id: "1f".into(), created: 7, model: "m".into() }
}

#[test]
fn a_prompt_is_a_message() {
    let (ask, echo) = read(fixture!("plain"));
    assert_eq!((ask.turns.len(), ask.turns[0].role), (1, Role::User));
    assert_eq!(ask.turns[0].text(), "Once upon a");
    assert_eq!(ask.max_tokens, Some(16));
    assert_eq!((ask.sampling.logprobs, ask.sampling.top_logprobs), (Some(true), Some(2)));
    let names: Vec<&str> = ask.extras.of(CHAT).iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["suffix"]);
    assert_eq!(echo.get("prompt").map(Json::as_str), Some("\"Once upon a\""));
    let (ask, echo) = read(fixture!("stream"));
    assert!(ask.stream && echo.include_usage && echo.fields.is_empty());
    assert_eq!((ask.sampling.n, ask.turns[0].text()), (Some(2), "Once upon a".into()));
}

#[test]
fn other_prompts_are_refused_with_advice() {
    for (prompt, words) in [
        (r#"["a","b"]"#, "one prompt per request"),
        ("[]", "empty list"),
        ("[1,2]", "as text"),
        ("[[1]]", "as text"),
        ("7", "must be a string"),
        ("null", "missing"),
    ] {
        let body = format!(r#"{{"prompt":{prompt}}}"#);
        let fault = (COMPLETIONS.request)(body.as_bytes()).expect_err("refused");
        assert_eq!(fault.param.as_deref(), Some("prompt"));
        assert!(fault.message.contains(words), "{}", fault.message);
    }
}

#[test]
fn a_whole_answer() {
    let (_, echo) = read(fixture!("plain"));
    let written: Value =
        serde_json::from_slice(&(COMPLETIONS.reply)(&reply(), &echo, &stamp()).expect("written"))
            .expect("JSON");
    assert_eq!(
        written,
        json!({
            "id": "cmpl-1f",
            "object": "text_completion",
            "created": 7,
            "model": "m",
            "choices": [{
                "text": "Once upon a time",
                "index": 0,
                "logprobs": {
                    "tokens": [" ti", "me"],
                    "token_logprobs": [-0.5, -1.0],
                    "top_logprobs": [{" ti": -0.5}, {}],
                    "text_offset": [11, 14],
                },
                "finish_reason": "length",
            }],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    );
}

#[test]
fn a_streamed_answer() {
    let (_, mut echo) = read(fixture!("plain"));
    echo.include_usage = true;
    let mut encoder = (COMPLETIONS.stream)(echo, stamp());
    let mut out = Vec::new();
    reply().into_events().into_iter().for_each(|event| encoder.event(event, &mut out));
    encoder.end(0, &mut out);
    let text = String::from_utf8(out).expect("text");
    let mut chunks: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(chunks.pop(), Some("data: [DONE]"));
    let chunks: Vec<Value> = chunks
        .into_iter()
        .map(|chunk| {
            serde_json::from_str(chunk.strip_prefix("data: ").expect("data")).expect("JSON")
        })
        .collect();
    let said: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(said, "Once upon a time");
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
    let offsets =
        chunks.iter().find_map(|chunk| chunk["choices"][0]["logprobs"]["text_offset"].as_array());
    assert_eq!(offsets, Some(&vec![json!(11), json!(14)]));
    let (usage, finish) = (&chunks[chunks.len() - 1], &chunks[chunks.len() - 2]);
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(5)));

    let mut out = Vec::new();
    (COMPLETIONS.stream)(Echo::default(), stamp()).end(0, &mut out);
    assert!(out.starts_with(b"data: {\"error\""));
}
