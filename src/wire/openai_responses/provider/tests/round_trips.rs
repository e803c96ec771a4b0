//! The same format on both sides: nothing of a request or an answer is lost on the way through a conversation.

use serde_json::Value;

use super::super::super::super::codec::{Echo, Stamp};
use super::super::super::client::CLIENT;
use super::*;
use crate::conversation::{Extras, Format, Json};

macro_rules! asked {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(
            "../../../../../tests/golden/requests/openai_responses/", $name, ".json"
        )))),*]
    };
}

const ASKED: &[(&str, &str)] = asked![
    "codex_compaction",
    "codex_lite",
    "codex_tool_search",
    "codex_tools",
    "codex_turns",
    "hosted",
    "media",
    "messages",
    "parameters",
    "shells",
    "text",
];

/// Without what is added on the way, and without the order of fields that ride along.
fn settled(mut ask: Ask) -> Ask {
    let format = Format::OpenAiResponses;
    let sorted = |extras: &Extras| {
        let mut kept = extras.of(format).to_vec();
        kept.sort_by(|one, other| one.0.cmp(&other.0));
        kept
    };
    let mut kept = sorted(&ask.extras);
    kept.retain(|(name, _)| name != "store" && name != "include");
    ask.extras = Extras::new(format, kept);
    for part in ask.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        part.extras = Extras::new(format, sorted(&part.extras));
    }
    ask
}

#[test]
fn what_a_client_asks_comes_out_as_it_went_in() {
    for (name, body) in ASKED {
        let (ask, _) = (CLIENT.request)(body.as_bytes()).expect(name);
        let mut losses = Losses::default();
        let outbound = write(&ask, "gpt-5", &mut losses).expect(name);
        let (again, _) = (CLIENT.request)(&outbound.body).expect(name);
        let (mut ask, mut again) = (settled(ask), settled(again));
        // Field by field, for a message that can be read.
        let turns = (std::mem::take(&mut ask.turns), std::mem::take(&mut again.turns));
        for (turn, came) in turns.0.iter().zip(&turns.1) {
            for (part, came) in turn.parts.iter().zip(&came.parts) {
                assert_eq!(came, part, "{name}");
            }
        }
        assert_eq!(turns.1, turns.0, "{name}");
        assert_eq!(again.tools, ask.tools, "{name}");
        assert_eq!(again, ask, "{name}");
        assert!(losses.is_empty(), "{name}: {}", losses.paths());
    }
}

#[test]
fn what_a_provider_answers_comes_out_as_it_went_in() {
    for (name, _, body) in BOTH.iter().filter(|(name, ..)| !name.starts_with("sparse")) {
        let reply = whole(body).expect(name);
        let echo = Echo {
            fields: vec![(
                "reasoning".into(),
                Json::parse(r#"{"summary":"auto"}"#).expect("valid"),
            )],
            ..Echo::default()
        };
        let stamp = Stamp { id: "0".repeat(32), created: 0, model: "m".into() };
        let written = (CLIENT.reply)(&reply, &echo, &stamp).expect(name);
        let written: Value = serde_json::from_slice(&written).expect(name);
        let sent: Value = serde_json::from_str(body).expect(name);
        for field in ["status", "incomplete_details", "usage"] {
            assert_eq!(written[field], sent[field], "{name}: {field}");
        }
        let (written, sent) = (written["output"].as_array(), sent["output"].as_array());
        for (written, sent) in written.into_iter().flatten().zip(sent.into_iter().flatten()) {
            assert_eq!(told(written), told(sent), "{name}");
        }
        assert_eq!(written.map(Vec::len), sent.map(Vec::len), "{name}");
    }
}

/// An item without fields of value null, which say nothing, and without what marks a thought as done.
fn told(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(object) = item.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        if object.get("type").and_then(Value::as_str) == Some("reasoning") {
            object.remove("status");
            // Several parts of a thought are one here.
            object.remove("content");
        }
    }
    item
}
