//! The envelope of a JSON request body: the few top-level fields the gateway must see to route and
//! account for it, as byte ranges, and the splices that change them. Every other byte, key order and
//! number spelling is left alone, so that tomorrow's fields work today.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::json::{self, Member};
use crate::ground::fault::Fault;

/// What was found in the body.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub model: String,
    model_at: Range<usize>,
    pub stream: bool,
    stream_options: Option<(Range<usize>, Map<String, Value>)>,
    /// The body's `user`, where it is a string.
    pub user: Option<String>,
    /// `mock_response`, LiteLLM's switch for a canned answer.
    pub mock_response: Option<String>,
    /// Offset of the closing brace, and whether any member stands before it.
    end: usize,
}

/// Longest name of a model, in bytes.
pub const MAX_MODEL: usize = 256;

/// A field is authorised here and read again by the provider; were it there twice, the two could
/// pick different ones (RFC 8259 section 4 leaves the choice open).
const WATCHED: [&str; 5] = ["model", "stream", "stream_options", "user", "mock_response"];

impl Envelope {
    /// Reads the watched fields of a JSON body.
    ///
    /// # Errors
    /// An `InvalidRequest` that says what to mend: the body is not one JSON object, `model` is absent
    /// or not a string, a watched field has the wrong type or stands twice.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        Self::read_telling(body, |_, _| {})
    }

    /// The same, and tells of every member that is not watched: its key as it is spelled, and its value.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_telling(body: &[u8], mut tell: impl FnMut(&[u8], &[u8])) -> Result<Self, Fault> {
        let mut found: [Option<Range<usize>>; WATCHED.len()] = Default::default();
        let mut repeated = None;
        json::scan_object(body, |Member { key, value }| {
            let key = body.get(key).unwrap_or_default();
            let index = WATCHED.iter().position(|name| is_key(key, name));
            if index.is_none() {
                tell(key, body.get(value.clone()).unwrap_or_default());
            }
            if let Some((slot, name)) =
                index.and_then(|index| Some((found.get_mut(index)?, WATCHED.get(index)?)))
                && slot.replace(value).is_some()
            {
                repeated = Some(*name);
            }
        })
        .map_err(|error| {
            Fault::invalid(format!(
                "The request body could not be read as a JSON object: {error}. Send a JSON object \
                 with content-type application/json."
            ))
        })?;
        if let Some(name) = repeated {
            return Err(Fault::invalid(format!(
                "`{name}` stands more than once in the request body. Send it once."
            ))
            .with_param(name));
        }
        let [model, stream, stream_options, user, mock_response] = found;
        let model_at = model.ok_or_else(|| {
            Fault::invalid("You must provide a `model` parameter: a string, one of GET /v1/models.")
                .with_param("model")
        })?;
        let model: String = typed(body, &model_at, "model", "a string")?;
        if model.is_empty() {
            return Err(Fault::invalid("`model` is empty. Send one of the ids of GET /v1/models.")
                .with_param("model"));
        }
        if model.len() > MAX_MODEL {
            return Err(Fault::invalid("`model` is longer than 256 bytes.").with_param("model"));
        }
        let stream = match stream {
            Some(at) => typed::<Option<bool>>(body, &at, "stream", "true or false")?,
            None => None,
        };
        let stream_options = match stream_options {
            Some(at) => {
                let options: Option<_> = typed(body, &at, "stream_options", "an object or null")?;
                Some((at, options.unwrap_or_default()))
            }
            None => None,
        };
        let lenient = |at: Option<Range<usize>>| {
            at.and_then(|at| serde_json::from_slice::<String>(body.get(at)?).ok())
        };
        Ok(Self {
            model,
            model_at,
            stream: stream.unwrap_or(false),
            stream_options,
            user: lenient(user),
            mock_response: lenient(mock_response),
            end: body.iter().rposition(|&byte| byte == b'}').unwrap_or_default(),
        })
    }

    /// Whether the client itself asked for a usage chunk at the end of a chat stream.
    pub fn asks_for_stream_usage(&self) -> bool {
        let options = self.stream_options.as_ref().map(|(_, options)| options);
        options.and_then(|options| options.get("include_usage")) == Some(&Value::Bool(true))
    }

    /// The body as one provider is to get it, in pieces: with its own name for the model, with a usage
    /// chunk asked for where `ask_for_usage`, with `extra` fields over the client's.
    pub fn rewrite(
        &self,
        body: &Bytes,
        model: &str,
        ask_for_usage: bool,
        extra: &Map<String, Value>,
    ) -> Vec<Bytes> {
        let mut splices = Splices::default();
        if model != self.model {
            splices.replace(self.model_at.clone(), Value::from(model).to_string());
        }
        if ask_for_usage && !self.asks_for_stream_usage() {
            match &self.stream_options {
                Some((at, options)) => {
                    let mut options = options.clone();
                    options.insert("include_usage".to_owned(), Value::Bool(true));
                    splices.replace(at.clone(), Value::Object(options).to_string());
                }
                None => splices.append("stream_options", r#"{"include_usage":true}"#),
            }
        }
        if !extra.is_empty() || self.mock_response.is_some() {
            return self.rewrite_members(body, splices, extra);
        }
        splices.apply(body, self.end)
    }

    /// The rare way: fields of the configuration go over the client's, so each member's place is needed.
    fn rewrite_members(
        &self,
        body: &Bytes,
        mut splices: Splices,
        extra: &Map<String, Value>,
    ) -> Vec<Bytes> {
        splices.overlay(body, extra, Some("mock_response"));
        splices.apply(body, self.end)
    }
}

/// A JSON object that is not empty, with fields laid over its own, in pieces.
pub fn overlay(body: &Bytes, extra: &Map<String, Value>) -> Vec<Bytes> {
    if extra.is_empty() {
        return vec![body.clone()];
    }
    let mut splices = Splices::default();
    splices.overlay(body, extra, None);
    let end = body.iter().rposition(|&byte| byte == b'}').unwrap_or_default();
    splices.apply(body, end)
}

/// A JSON object that is not empty, with the value of one member replaced, or the member added.
pub fn replace(body: &Bytes, name: &str, value: &str) -> Vec<Bytes> {
    let mut splices = Splices::default();
    let mut found = false;
    let _checked = json::scan_object(body, |member| {
        if is_key(body.get(member.key).unwrap_or_default(), name) {
            found = true;
            splices.replace(member.value, value.to_owned());
        }
    });
    if !found {
        splices.append(name, value);
    }
    let end = body.iter().rposition(|&byte| byte == b'}').unwrap_or_default();
    splices.apply(body, end)
}

/// A value as the operator wants it: within an object, what he does not name stays.
fn laid_over(text: &Bytes, wanted: &Value) -> String {
    let mut is_empty = true;
    let is_object = json::scan_object(text, |_| is_empty = false).is_ok();
    match wanted {
        Value::Object(members) if is_object && !is_empty => {
            String::from_utf8_lossy(&overlay(text, members).concat()).into_owned()
        }
        _ => wanted.to_string(),
    }
}

/// Reads the value of a watched field as what it must be.
fn typed<T: serde::de::DeserializeOwned>(
    body: &[u8],
    at: &Range<usize>,
    name: &'static str,
    wanted: &str,
) -> Result<T, Fault> {
    serde_json::from_slice(body.get(at.clone()).unwrap_or_default()).map_err(|_| {
        Fault::invalid(format!("`{name}` must be {wanted}, and it is not.")).with_param(name)
    })
}

/// Whether the raw key spells `name`, escapes included: `"mod\u0065l"` is `model` to every parser.
fn is_key(raw: &[u8], name: &str) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name.as_bytes();
    }
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).is_ok_and(|key| key == name)
}

/// Changes to a text, collected first and made without copying what stays.
#[derive(Debug, Default)]
struct Splices {
    replacements: Vec<(Range<usize>, String)>,
    appended: String,
}

impl Splices {
    /// A later replacement of the same range wins.
    fn replace(&mut self, at: Range<usize>, text: String) {
        self.replacements.retain(|(other, _)| *other != at);
        self.replacements.push((at, text));
    }

    /// Replaces the members that `extra` has too and appends the others; `hidden` becomes null.
    fn overlay(&mut self, body: &Bytes, extra: &Map<String, Value>, hidden: Option<&str>) {
        let mut present = Vec::new();
        let _checked = json::scan_object(body, |Member { key, value }| {
            let key = body.get(key).unwrap_or_default();
            if let Some((name, wanted)) = extra.iter().find(|(name, _)| is_key(key, name)) {
                present.push(name.as_str());
                let text = laid_over(&body.slice(value.clone()), wanted);
                self.replace(value, text);
            } else if hidden.is_some_and(|hidden| is_key(key, hidden)) {
                self.replace(value, "null".to_owned());
            }
        });
        for (name, value) in extra {
            if !present.contains(&name.as_str()) {
                self.append(name, &value.to_string());
            }
        }
    }

    fn append(&mut self, name: &str, value: &str) {
        self.appended.push(',');
        self.appended.push_str(&Value::from(name).to_string());
        self.appended.push(':');
        self.appended.push_str(value);
    }

    /// The text in pieces, nothing of it copied. `end` is the offset of the closing brace. The object is
    /// never empty: it holds `model`.
    fn apply(mut self, body: &Bytes, end: usize) -> Vec<Bytes> {
        if self.replacements.is_empty() && self.appended.is_empty() {
            return vec![body.clone()];
        }
        self.replacements.sort_by_key(|(at, _)| at.start);
        let mut pieces = Vec::with_capacity(2 * self.replacements.len() + 3);
        let mut passed = 0;
        for (at, text) in self.replacements {
            pieces.push(body.slice(passed..at.start));
            pieces.push(Bytes::from(text));
            passed = at.end;
        }
        if self.appended.is_empty() {
            pieces.push(body.slice(passed..));
        } else {
            pieces.extend([body.slice(passed..end), Bytes::from(self.appended), body.slice(end..)]);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn rewrite(body: &'static str, model: &str, usage: bool, fields: Value, expected: &str) {
        let envelope = Envelope::read(body.as_bytes()).expect(body);
        let out = envelope.rewrite(&Bytes::from(body), model, usage, &extra(fields)).concat();
        assert_eq!(String::from_utf8_lossy(&out), expected);
        serde_json::from_slice::<Value>(&out).expect("still JSON");
    }

    #[test]
    fn objects_are_laid_over_objects() {
        let body = r#"{"model":"m","o":{ "a":1.0, "b":{"c":[1]}},"e":{},"s":"x"}"#;
        let fields = serde_json::json!({ "o": { "b": { "d": 2 }, "n": 3 }, "e": { "a": 1 }, "s": { "t": 1 } });
        let expected =
            r#"{"model":"m","o":{ "a":1.0, "b":{"c":[1],"d":2},"n":3},"e":{"a":1},"s":{"t":1}}"#;
        rewrite(body, "m", false, fields, expected);
    }

    #[track_caller]
    fn refuse(body: &[u8], text: &str, param: Option<&str>) {
        let fault = Envelope::read(body).expect_err(text);
        assert!(fault.message.contains(text), "{}", fault.message);
        assert_eq!(fault.param.as_deref(), param);
        assert_eq!(fault.status(), 400);
    }

    #[test]
    fn only_the_model_changes() {
        let none = Value::Null;
        rewrite(
            r#"{"temperature":1.0e0, "model" : "a","x":{"model":"inner"}}"#,
            "b\"",
            false,
            none.clone(),
            r#"{"temperature":1.0e0, "model" : "b\"","x":{"model":"inner"}}"#,
        );
        rewrite(r#"{"mod\u0065l":"a"}"#, "b", false, none.clone(), r#"{"mod\u0065l":"b"}"#);
        rewrite(r#"{"model":"a"} "#, "a", false, none, r#"{"model":"a"} "#);
    }

    #[test]
    fn usage_is_asked_for_once() {
        let none = Value::Null;
        rewrite(
            r#"{"model":"a","stream":true}"#,
            "a",
            true,
            none.clone(),
            r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#,
        );
        rewrite(
            r#"{"model":"a","stream_options":{"x":1,"include_usage":false},"stream":true}"#,
            "a",
            true,
            none.clone(),
            r#"{"model":"a","stream_options":{"x":1,"include_usage":true},"stream":true}"#,
        );
        rewrite(
            r#"{"model":"a","stream_options":null}"#,
            "a",
            true,
            none.clone(),
            r#"{"model":"a","stream_options":{"include_usage":true}}"#,
        );
        rewrite(
            r#"{"stream_options":{"include_usage": true},"model":"a"}"#,
            "a",
            true,
            none,
            r#"{"stream_options":{"include_usage": true},"model":"a"}"#,
        );
    }

    #[test]
    fn configured_fields_go_over_the_clients() {
        rewrite(
            r#"{"model":"a","seed":1,"mock_response":"x"}"#,
            "b",
            false,
            serde_json::json!({"seed": 7, "top_k": [1]}),
            r#"{"model":"b","seed":7,"mock_response":null,"top_k":[1]}"#,
        );
    }

    #[test]
    fn faults_say_what_to_mend() {
        refuse(b"{", "ends too early", None);
        refuse(b"[]", "expected a JSON object", None);
        refuse(b"{}", "must provide a `model`", Some("model"));
        refuse(br#"{"model":7}"#, "`model` must be a string", Some("model"));
        let long = format!("{{\"model\":\"{}\"}}", "m".repeat(257));
        refuse(long.as_bytes(), "longer than 256 bytes", Some("model"));
        refuse(br#"{"model":""}"#, "`model` is empty", Some("model"));
        refuse(br#"{"model":"a","model":"b"}"#, "more than once", Some("model"));
        refuse(br#"{"model":"a","m\u006fdel":"b"}"#, "more than once", Some("model"));
        refuse(br#"{"model":"a","stream":"yes"}"#, "`stream` must be", Some("stream"));
        refuse(
            br#"{"model":"a","stream_options":[]}"#,
            "must be an object",
            Some("stream_options"),
        );
    }

    #[test]
    fn fields_are_read() {
        let body = br#"{"model":"a","stream":null,"user":"ann","mock_response":"hi"}"#;
        let envelope = Envelope::read(body).expect("valid");
        assert!(!envelope.stream && !envelope.asks_for_stream_usage());
        assert_eq!(envelope.user.as_deref(), Some("ann"));
        assert_eq!(envelope.mock_response.as_deref(), Some("hi"));
    }
}
