//! Anthropic's error object and the types it knows (<https://docs.anthropic.com/en/api/errors>). Claude Code
//! looks for `prompt is too long` in the message to compact a conversation, so it is there whenever the context
//! window is too small, whichever provider said it and in whichever words.

use std::borrow::Cow;

use bytes::Bytes;

use super::super::types::{Node, Object};
use crate::conversation::Json;
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// The status that an Anthropic client expects: 529 where others say 503.
pub fn status(fault: &Fault) -> u16 {
    match fault.status() {
        503 => 529,
        status => status,
    }
}

/// `{"type":"error","error":{"type","message"},"request_id":null}`, or the provider's own body where it has
/// that shape.
pub(super) fn error(fault: &Fault) -> Bytes {
    let verbatim = fault.details().and_then(|details| details.verbatim.as_ref());
    if let Some(own) = verbatim.filter(|body| is_own(body)) {
        return own.clone();
    }
    Bytes::from(event(fault).with("request_id", Node::Null).bytes())
}

/// The same inside a stream.
pub(super) fn event(fault: &Fault) -> Object<'_> {
    let error = Object::of(class(fault)).with("message", message(fault));
    Object::of("error").with("error", error)
}

fn is_own(body: &[u8]) -> bool {
    Fields::of_bytes(body).is_some_and(|mut fields| {
        let is_error = fields.text("type").as_deref() == Some("error");
        is_error && fields.json("error").as_ref().is_some_and(Json::is_object)
    })
}

fn class(fault: &Fault) -> &'static str {
    // What only Anthropic's own words say; OpenAI's types would mislead here.
    let own = fault.details().and_then(|details| details.class.as_deref());
    match own {
        Some("overloaded_error") => return "overloaded_error",
        Some("billing_error") => return "billing_error",
        Some("timeout_error") => return "timeout_error",
        _ => {}
    }
    match fault.status() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=498 => "invalid_request_error",
        _ => "api_error",
    }
}

fn message(fault: &Fault) -> Cow<'_, str> {
    let overflows = fault.code() == Some("context_length_exceeded");
    let in_its_words = ["prompt is too long", "exceed context limit"];
    if overflows && !in_its_words.iter().any(|words| fault.message.contains(words)) {
        return Cow::Owned(format!("prompt is too long: {}", fault.message));
    }
    Cow::Borrowed(&fault.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::fault::Kind;

    #[track_caller]
    fn check(fault: &Fault, expected: &str) {
        let body = error(fault);
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }

    #[test]
    fn types_follow_the_status() {
        check(
            &Fault::new(Kind::InvalidKey, "No."),
            r#"{"type":"error","error":{"type":"authentication_error","message":"No."},"request_id":null}"#,
        );
        let cases = [
            (Kind::InvalidRequest, "invalid_request_error", 400),
            (Kind::ModelNotFound, "not_found_error", 404),
            (Kind::ModelDenied, "permission_error", 403),
            (Kind::TooLarge, "request_too_large", 413),
            (Kind::Overloaded, "overloaded_error", 529),
            (Kind::Upstream(429), "rate_limit_error", 429),
            (Kind::Upstream(529), "overloaded_error", 529),
            (Kind::Unreachable, "api_error", 502),
            (Kind::UpstreamTimeout, "timeout_error", 408),
        ];
        for (kind, expected, code) in cases {
            let fault = Fault::new(kind, "x");
            assert_eq!((class(&fault), status(&fault)), (expected, code), "{kind:?}");
        }
    }

    #[test]
    fn overflow_is_told_in_claudes_words() {
        let mut fault = Fault::new(Kind::Upstream(400), "maximum context length is 10");
        fault.details_mut().code = Some("context_length_exceeded".into());
        assert_eq!(message(&fault), "prompt is too long: maximum context length is 10");
        fault.message = "prompt is too long: 3 tokens > 2 maximum".into();
        assert_eq!(message(&fault), "prompt is too long: 3 tokens > 2 maximum");
    }

    #[test]
    fn only_its_own_shape_is_passed_on() {
        let mut fault = Fault::new(Kind::Upstream(400), "x");
        let own =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"y","z":1}}"#;
        fault.details_mut().verbatim = Some(Bytes::from(own));
        check(&fault, own);
        fault.details_mut().verbatim = Some(Bytes::from(r#"{"error":{"message":"y"}}"#));
        let body = error(&fault);
        assert!(String::from_utf8_lossy(&body).contains(r#""message":"x""#));
    }
}
