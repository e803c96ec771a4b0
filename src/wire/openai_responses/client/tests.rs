//! Requests read from files, answers written whole and as streams, and the law that both hold the same.

mod answers;
mod listing;
mod outline;
mod requests;
mod streams;

use serde_json::Value;

use crate::conversation::{
    CallKind, Choice, Content, Finish, Head, Json, Part, Reasoning, Reply, Seal, ToolCall, Usage,
};
use crate::wire::codec::{Echo, Stamp};

fn stamp() -> Stamp {
    Stamp { id: "0123456789abcdef0123456789abcdef".into(), created: 1700, model: "m".into() }
}

/// The echo of a request with these fields.
fn echo(fields: &str) -> Echo {
    let fields: Vec<(String, Json)> =
        serde_json::from_str::<serde_json::Map<String, Value>>(fields)
            .expect("an object")
            .into_iter()
            .map(|(name, value)| (name, Json::from(value)))
            .collect();
    Echo { fields, include_usage: false }
}

/// What Codex asks of thoughts.
fn codex() -> Echo {
    echo(
        r#"{"reasoning":{"effort":"medium","summary":"auto"},"include":["reasoning.encrypted_content"]}"#,
    )
}

fn reply(parts: Vec<Part>, finish: Finish) -> Reply {
    let usage = Usage {
        input: Some(10),
        output: Some(5),
        cache_read: Some(4),
        reasoning: Some(2),
        cache_write: None,
        ..Usage::default()
    };
    Reply {
        head: Head::default(),
        choices: vec![Choice { parts, finish: Some(finish) }],
        usage: Some(usage),
    }
}

fn call(kind: CallKind, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: format!("call_{name}"),
        name: name.into(),
        kind,
        arguments: arguments.into(),
        ..ToolCall::default()
    }
}

fn called(call: ToolCall) -> Part {
    Part::new(Content::ToolCall(call))
}

fn thought(text: &str, seal: Option<Seal>) -> Part {
    Part::reasoning(Reasoning { text: text.into(), seal, ..Reasoning::default() })
}
