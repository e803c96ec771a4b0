//! A client's message, taken apart: what it asks of the corridor, and what only the connection understands.

use serde_json::Value;

use super::memory::{Memory, Said};
use crate::conversation::Json;
use crate::wire::fields::{Fields, as_string};
use crate::wire::openai_responses::client::{input_items, missing_call};

/// What a message is.
pub(super) enum Read {
    Create(Box<Create>),
    /// It wants no answer.
    Nothing,
    /// It cannot be understood; why.
    Wrong(&'static str),
}

/// One `response.create`.
pub(super) struct Create {
    /// The request as it would have come over HTTP.
    pub(super) body: String,
    /// What the response answers, where it will be stored nowhere else.
    pub(super) said: Option<Said>,
    pub(super) previous: Option<String>,
    /// The previous response is one of the connection's own, and the body holds what it stands for.
    pub(super) is_recalled: bool,
    /// The call of a result that nobody made, where all that was said is known here.
    pub(super) missing_call: Option<String>,
    pub(super) model: String,
    /// `generate: false`: nothing is asked of the model yet.
    pub(super) only_warm: bool,
}

/// Takes a message apart; `memory` knows what the connection's own responses stand for.
pub(super) fn read(text: &str, memory: &Memory) -> Read {
    let Some(mut fields) = Fields::read(text) else {
        return Read::Wrong("Send one JSON object a message.");
    };
    match fields.text("type").as_deref() {
        Some("response.create") => {}
        // Codex CLI says so of each response it has dealt with.
        Some("response.processed") => return Read::Nothing,
        _ => return Read::Wrong("The only message understood has the type `response.create`."),
    }
    // How the answer travels is settled: it is a stream, now, on this connection.
    for transport in ["stream", "background", "stream_id"] {
        fields.take(transport);
    }
    let only_warm = fields.lenient::<bool>("generate") == Some(false);
    let text_of = |name: &str| fields.peek(name).and_then(as_string);
    let (model, previous) = (text_of("model"), text_of("previous_response_id"));
    let is_stored = fields.peek("store").is_none_or(|store| store.get() != "false");
    let recalled = previous.as_deref().and_then(|id| memory.recall(id));
    let is_recalled = recalled.is_some();
    // What is not remembered may be stored.
    let unknown = || Said { after: previous.clone(), items: Vec::new() };
    let mut said = recalled.unwrap_or_else(unknown);
    let seed = uuid::Uuid::now_v7().simple().to_string();
    said.items.extend(input_items(text.as_bytes(), &seed));
    let is_all = is_recalled && said.after.is_none();
    let missing_call = is_all.then(|| missing_call(&said.items)).flatten();
    let mut body = String::from("{\"stream\":true");
    let mut add = |name: &str, value: &str| {
        body.push(',');
        body.push_str(&Value::from(name).to_string());
        body.push(':');
        body.push_str(value);
    };
    for (name, value) in fields.iter() {
        if !(is_recalled && matches!(name, "input" | "previous_response_id")) {
            add(name, value.get());
        }
    }
    if is_recalled {
        add("input", Json::of(&said.items).as_str());
        if let Some(after) = &said.after {
            add("previous_response_id", Json::of(after).as_str());
        }
    }
    body.push('}');
    // A stored response is found in the store.
    let said = (!is_stored || only_warm).then_some(said);
    let model = model.unwrap_or_default();
    let create = Create { body, said, previous, is_recalled, missing_call, model, only_warm };
    Read::Create(Box::new(create))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(text: &str, memory: &Memory) -> Create {
        match read(text, memory) {
            Read::Create(create) => *create,
            Read::Nothing => panic!("nothing: {text}"),
            Read::Wrong(why) => panic!("{why}: {text}"),
        }
    }

    #[test]
    fn a_message_becomes_a_request() {
        let text = r#"{"type":"response.create","stream_id":"a","model":"m","background":false,"input":"hi","x":1.0}"#;
        let create = create(text, &Memory::default());
        assert_eq!(create.body, r#"{"stream":true,"model":"m","input":"hi","x":1.0}"#);
        assert_eq!((create.said, create.only_warm), (None, false));
        assert!(matches!(
            read(r#"{"type":"response.processed"}"#, &Memory::default()),
            Read::Nothing
        ));
        for text in ["", "[]", "{}", r#"{"type":"response.steer"}"#, "{\"type\":7}"] {
            assert!(matches!(read(text, &Memory::default()), Read::Wrong(_)), "{text}");
        }
    }

    #[test]
    fn what_is_remembered_takes_the_place_of_its_name() {
        let mut memory = Memory::default();
        let text = r#"{"type":"response.create","model":"m","store":false,"previous_response_id":"resp_0","input":"a"}"#;
        let first = create(text, &memory);
        assert!(first.body.contains(r#""previous_response_id":"resp_0""#), "{}", first.body);
        let completed = r#"{"type":"response.completed","response":{"id":"resp_1","output":[{"type":"message","id":"msg_1"}]}}"#;
        memory.keep(completed.as_bytes(), first.said.expect("nowhere else"));
        let text =
            r#"{"type":"response.create","model":"m","previous_response_id":"resp_1","input":"b"}"#;
        let second: Value = serde_json::from_str(&create(text, &memory).body).expect("valid");
        assert_eq!(second["previous_response_id"], "resp_0");
        let input = second["input"].as_array().expect("items");
        assert_eq!(input.len(), 3);
        assert_eq!(input[0]["content"][0]["text"], "a");
        assert_eq!(input[1]["id"], "msg_1");
        assert_eq!(input[2]["content"][0]["text"], "b");
    }
    #[test]
    fn a_result_of_a_call_that_nobody_made_is_seen() {
        let mut memory = Memory::default();
        let text = r#"{"type":"response.create","model":"m","store":false,"input":"a"}"#;
        let first = create(text, &memory);
        assert_eq!((first.missing_call, first.is_recalled), (None, false));
        let call = r#"{"type":"response.completed","response":{"id":"resp_1","output":[{"type":"function_call","call_id":"c"}]}}"#;
        memory.keep(call.as_bytes(), first.said.expect("nowhere else"));
        let missing = |call_id: &str| {
            let result =
                format!(r#"{{"type":"function_call_output","call_id":"{call_id}","output":""}}"#);
            let text = format!(
                r#"{{"type":"response.create","model":"m","store":false,"previous_response_id":"resp_1","input":[{result}]}}"#
            );
            create(&text, &memory).missing_call
        };
        assert_eq!(missing("c"), None);
        assert_eq!(missing("d").as_deref(), Some("d"));
    }
}
