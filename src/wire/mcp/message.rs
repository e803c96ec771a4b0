//! One JSON-RPC 2.0 message: what kind it is and the few members that matter, each still the text it came in.
//! <https://www.jsonrpc.org/specification>

use std::fmt::{self, Write};

use super::error::RpcError;
use crate::conversation::Json;
use crate::wire::fields::Fields;

/// An id as it is spelled: `1` is not `"1"`, and `0` and `""` are ids.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

/// What one message is.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Request(Request),
    Notification(Notification),
    Answer(Answer),
}

/// What wants an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub id: Id,
    pub method: String,
    pub params: Option<Json>,
}

/// What wants none.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub method: String,
    pub params: Option<Json>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `None`: the request could not be read, so its id is unknown.
    pub id: Option<Id>,
    pub outcome: Outcome,
}

/// A result, or why there is none.
pub type Outcome = Result<Json, RpcError>;

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not one JSON value: `-32700`.
    NotJson,
    /// A list of messages, which only revision 2025-03-26 has.
    Batch,
    /// JSON, but no message: `-32600`. With the id, where there is one to be read.
    NotAMessage(Option<Id>),
}

impl Id {
    pub fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    pub fn text(text: &str) -> Self {
        Self(Json::of(&text).as_str().to_owned())
    }

    /// A JSON string or number.
    pub fn of_json(json: &str) -> Option<Self> {
        json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
            .then(|| Self(json.to_owned()))
    }

    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Message {
    /// Reads one message. Members that no kind of message has are passed over.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(text).map_err(|_| Unreadable::NotJson)?.trim();
        let Some(mut fields) = Fields::read(text) else {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            return Err(match is_json {
                true if text.starts_with('[') => Unreadable::Batch,
                true => Unreadable::NotAMessage(None),
                false => Unreadable::NotJson,
            });
        };
        let version = fields.text("jsonrpc");
        let raw_id = fields.take("id");
        let id = raw_id.and_then(|raw| Id::of_json(raw.get()));
        let wrong = |id: Option<Id>| Err(Unreadable::NotAMessage(id));
        if version.as_deref() != Some("2.0") || raw_id.is_some() != id.is_some() {
            return wrong(id);
        }
        let params = fields.json("params");
        if let Some(method) = fields.take("method") {
            let method = serde_json::from_str::<String>(method.get());
            let fits = params
                .as_ref()
                .is_none_or(|params| params.is_object() || params.as_str().starts_with('['));
            return match (method, id) {
                (Ok(method), Some(id)) if fits => Ok(Self::Request(Request { id, method, params })),
                (Ok(method), None) if fits => {
                    Ok(Self::Notification(Notification { method, params }))
                }
                (_, id) => wrong(id),
            };
        }
        // A result may be null, and `take` holds null for absent.
        let result = fields.iter().find(|(name, _)| *name == "result");
        let result = result.map(|(_, raw)| Json::of_raw(raw));
        match (fields.json("error"), result) {
            (Some(error), _) => {
                Ok(Self::Answer(Answer { id, outcome: Err(RpcError::of_json(error)) }))
            }
            (None, Some(result)) if id.is_some() => {
                Ok(Self::Answer(Answer { id, outcome: Ok(result) }))
            }
            _ => wrong(id),
        }
    }

    /// Reads a batch of revision 2025-03-26; `None` where the text is no list.
    pub fn read_batch(text: &[u8]) -> Option<Vec<Result<Self, Unreadable>>> {
        let list: Vec<Json> = serde_json::from_slice(text).ok()?;
        Some(list.iter().map(|one| Self::read(one.as_str().as_bytes())).collect())
    }
}

/// A request as text.
pub fn request(id: &Id, method: &str, params: Option<&Json>) -> String {
    let mut text = begin(params.map_or(0, |params| params.as_str().len()));
    let _never_fails = write!(text, ",\"id\":{},\"method\":{}", id.0, Json::of(&method).as_str());
    with_params(text, params)
}

/// A notification as text.
pub fn notification(method: &str, params: Option<&Json>) -> String {
    let mut text = begin(params.map_or(0, |params| params.as_str().len()));
    let _never_fails = write!(text, ",\"method\":{}", Json::of(&method).as_str());
    with_params(text, params)
}

/// An answer as text.
pub fn answer(id: Option<&Id>, outcome: &Outcome) -> String {
    let (name, body) = match outcome {
        Ok(result) => ("result", result.as_str()),
        Err(error) => ("error", error.as_json().as_str()),
    };
    let mut text = begin(body.len());
    let id = id.map_or("null", Id::as_json);
    let _never_fails = write!(text, ",\"id\":{id},\"{name}\":{body}}}");
    text
}

fn begin(room: usize) -> String {
    let mut text = String::with_capacity(room + 96);
    text.push_str("{\"jsonrpc\":\"2.0\"");
    text
}

fn with_params(mut text: String, params: Option<&Json>) -> String {
    if let Some(params) = params {
        let _never_fails = write!(text, ",\"params\":{}", params.as_str());
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Unreadable>) {
        let read = Message::read(text.as_bytes());
        let shown = read.map(|message| match message {
            Message::Request(Request { id, method, params }) => {
                format!("request {id:?} {method} {params:?}")
            }
            Message::Notification(it) => format!("notification {} {:?}", it.method, it.params),
            Message::Answer(Answer { id, outcome: Ok(result) }) => format!("{id:?} {result:?}"),
            Message::Answer(Answer { id, outcome: Err(error) }) => {
                format!("{id:?} error {}", error.code())
            }
        });
        assert_eq!(shown.as_deref().map_err(Clone::clone), expected, "{text}");
    }

    #[test]
    fn each_kind_is_told_and_ids_keep_their_spelling() {
        check(r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#, Ok("request 0 ping None"));
        check(
            r#" {"jsonrpc":"2.0","id":"","method":"a","params":{"b":1.0e2}} "#,
            Ok(r#"request "" a Some({"b":1.0e2})"#),
        );
        check(r#"{"jsonrpc":"2.0","method":"n"}"#, Ok("notification n None"));
        check(r#"{"jsonrpc":"2.0","id":"1","result":null}"#, Ok(r#"Some("1") null"#));
        check(
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#,
            Ok("None error -32700"),
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        check("{", Err(Unreadable::NotJson));
        check("[]", Err(Unreadable::Batch));
        check("3", Err(Unreadable::NotAMessage(None)));
        check(r#"{"id":1,"method":"x"}"#, Err(Unreadable::NotAMessage(Some(Id::number(1)))));
        check(r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, Err(Unreadable::NotAMessage(None)));
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":3}"#,
            Err(Unreadable::NotAMessage(Some(Id::number(1)))),
        );
        check(r#"{"jsonrpc":"2.0","id":1}"#, Err(Unreadable::NotAMessage(Some(Id::number(1)))));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let params = Json::parse(r#"{"a": 1.50}"#);
        let text = request(&Id::text("a\"b"), "m", params.as_ref());
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":"a\"b","method":"m","params":{"a": 1.50}}"#);
        check(&notification("n", None), Ok("notification n None"));
        check(&answer(Some(&Id::number(7)), &Ok(Json::empty_object())), Ok("Some(7) {}"));
    }
}
