//! A glance at what came: whether it is the answer to a request, for then no more will come, and a list of messages
//! taken apart, which only revision 2025-03-26 has. Bodies are passed over, never read.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json;
use crate::wire::mcp::message::Id;

/// What one text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request or a notification of the server.
    Other,
    /// An answer, with its id where it has one.
    Answer(Option<Id>),
    /// No JSON-RPC message.
    None,
}

/// The messages in a text: itself, or the elements of the list that it is.
pub(super) fn messages(text: Bytes) -> Vec<Bytes> {
    if first(&text) != Some(&b'[') {
        return vec![text];
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(&text).unwrap_or_default();
    elements.iter().map(|element| text.slice_ref(element.get().as_bytes())).collect()
}

/// What one message is.
pub(super) fn kind(text: &[u8]) -> Kind {
    let Ok(text) = std::str::from_utf8(text) else { return Kind::None };
    let (mut is_rpc, mut has_method, mut is_answer, mut id) = (false, false, false, None);
    let scanned = json::scan_members(text, |member| {
        let value = text.get(member.value.clone()).unwrap_or_default();
        match text.get(member.key) {
            Some("jsonrpc") => is_rpc = value == "\"2.0\"",
            Some("method") => has_method = true,
            Some("result") => is_answer = true,
            Some("error") => is_answer |= value.starts_with('{'),
            Some("id") => id = Id::of_json(value),
            _ => {}
        }
    });
    match (scanned.is_ok() && is_rpc, has_method, is_answer) {
        (true, true, _) => Kind::Other,
        (true, false, true) => Kind::Answer(id),
        _ => Kind::None,
    }
}

/// The same answer with another id; every other byte stays.
pub(super) fn with_id(answer: &Bytes, id: &Id) -> Bytes {
    let text = String::from_utf8_lossy(answer);
    let mut found = None;
    let mut start = None;
    let scanned = json::scan_members(&text, |member| {
        start.get_or_insert(member.key.start.saturating_sub(1));
        if text.get(member.key.clone()) == Some("id") {
            found = Some(member.value);
        }
    });
    if scanned.is_err() {
        return answer.clone();
    }
    let piece = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let id = id.as_json();
    match (found, start) {
        (Some(value), _) => {
            Bytes::from([piece(0..value.start), id, piece(value.end..text.len())].concat())
        }
        (None, Some(start)) => {
            Bytes::from([piece(0..start), "\"id\":", id, ",", piece(start..text.len())].concat())
        }
        (None, None) => answer.clone(),
    }
}

/// Whether two ids differ in their quotes only: some servers answer `1` with `"1"`.
pub(super) fn is_same_but_for_quotes(one: &Id, other: &Id) -> bool {
    one.as_json().trim_matches('"') == other.as_json().trim_matches('"')
}

/// Whether a refusal means that the session, which the message was sent in, is no more. 404 says so by the protocol, unless
/// the server speaks of something else; and there are servers that say it otherwise:
/// - 404 with -32001 (TypeScript SDK) or -32600 (Python SDK), or in plain words (Go and Rust SDKs);
/// - 400 `Bad Request: No valid session ID provided`, with -32000 or in plain words (the TypeScript SDK's examples, which most
///   servers in that language are made from), and `Server not initialized` after a restart;
/// - 401 `Unauthorized: Session not found` (older Rust SDK).
pub(super) fn tells_of_a_lost_session(status: StatusCode, body: &[u8]) -> bool {
    let error = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.error);
    let words = error.as_ref().map_or_else(
        || String::from_utf8_lossy(body),
        |error| Cow::Borrowed(error.message.as_str()),
    );
    let words = words.to_ascii_lowercase();
    let is_of_sessions = words.contains("session");
    let may_be = error.is_none_or(|error| matches!(error.code, -32000 | -32001 | -32600));
    match status.as_u16() {
        404 | 410 => may_be || is_of_sessions,
        400 => may_be && (is_of_sessions || words.contains("not initialized")),
        401 => words.contains("session not found"),
        _ => false,
    }
}

/// An error in the body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RefusalError {
    code: i64,
    message: String,
}

fn first(text: &[u8]) -> Option<&u8> {
    text.iter().find(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Kind) {
        assert_eq!(kind(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn answers_are_told_from_the_rest() {
        let one = || Some(Id::number(1));
        check(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Kind::Answer(one()));
        check(r#" {"error":{"code":1},"id":1,"jsonrpc":"2.0"} "#, Kind::Answer(one()));
        check(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Kind::Answer(None));
        check(r#"{"jsonrpc":"2.0","error":{}}"#, Kind::Answer(None));
        check(r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#, Kind::Other);
        check(r#"{"jsonrpc":"2.0","method":"x"}"#, Kind::Other);
        check(r#"{"id":1,"result":{}}"#, Kind::None);
        check(r#"{"jsonrpc":"2.0","id":1}"#, Kind::None);
        check(r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#, Kind::None);
        check("{}", Kind::None);
        check("<html>", Kind::None);
        assert_eq!(kind(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}"), Kind::None);
    }

    #[test]
    fn an_id_is_put_in_without_touching_the_rest() {
        let check = |text: &'static str, expected: &str| {
            let changed = with_id(&Bytes::from_static(text.as_bytes()), &Id::number(7));
            assert_eq!(changed, expected);
        };
        check(
            r#"{"jsonrpc":"2.0", "id" : null ,"error":{}}"#,
            r#"{"jsonrpc":"2.0", "id" : 7 ,"error":{}}"#,
        );
        check(r#" { "error":{"a":1.0}}"#, r#" { "id":7,"error":{"a":1.0}}"#);
    }

    #[test]
    fn lists_are_taken_apart() {
        let text = Bytes::from_static(b" [ {\"a\":1.0} , 2 ]");
        assert_eq!(messages(text), [&b"{\"a\":1.0}"[..], b"2"]);
        assert_eq!(messages(Bytes::from_static(b"{}")), [&b"{}"[..]]);
        assert!(messages(Bytes::from_static(b"[")).is_empty());
    }

    #[test]
    fn a_lost_session_is_known_in_every_servers_words() {
        let check = |status: u16, body: &str, expected: bool| {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                tells_of_a_lost_session(status, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        };
        let rpc = |code: i64, message: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":"{message}"}}}}"#
            )
        };
        check(404, &rpc(-32001, "Session not found"), true);
        check(404, &rpc(-32600, "Not Found: Session has been terminated"), true);
        check(404, "Not Found: Session not found", true);
        check(404, "", true);
        check(404, "<html>", true);
        check(404, &rpc(-32601, "Method not found"), false);
        check(404, &rpc(-32002, "Resource not found"), false);
        check(400, &rpc(-32000, "Bad Request: No valid session ID provided"), true);
        check(400, &rpc(-32000, "Bad Request: Server not initialized"), true);
        check(400, "Invalid or missing session ID", true);
        check(400, &rpc(-32602, "no such session"), false);
        check(400, &rpc(-32000, "Bad Request: Unsupported protocol version: x"), false);
        check(401, "Unauthorized: Session not found", true);
        check(401, "your session has ended, log in", false);
        check(500, "session", false);
    }

    #[test]
    fn quotes_alone_make_no_other_id() {
        assert!(is_same_but_for_quotes(&Id::number(1), &Id::text("1")));
        assert!(!is_same_but_for_quotes(&Id::number(1), &Id::number(2)));
    }
}
