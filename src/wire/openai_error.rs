//! OpenAI's error object, both ways: shaping a fault for a client, and reading what a provider said
//! (<https://platform.openai.com/docs/guides/error-codes>).

use bytes::Bytes;
use serde_json::{Value, json};

use super::fields::Fields;
use super::provider_error;
use crate::ground::fault::Fault;

/// `{"error":{"message","type","param","code"}}`, or the provider's own body where it has that shape.
pub fn body(fault: &Fault) -> Bytes {
    let verbatim = fault.details().and_then(|details| details.verbatim.as_ref());
    if let Some(own) = verbatim.filter(|body| !is_anthropics(body)) {
        return own.clone();
    }
    Bytes::from(object(fault).to_string())
}

/// The same as a value, for error events inside a stream.
pub fn object(fault: &Fault) -> Value {
    json!({ "error": {
        "message": fault.message,
        "type": fault.class(),
        "param": fault.param,
        "code": fault.code(),
    } })
}

/// Anthropic's errors say so at their top: `{"type":"error","error":{…}}`.
fn is_anthropics(body: &[u8]) -> bool {
    let kind = Fields::of_bytes(body).and_then(|mut fields| fields.text("type"));
    kind.as_deref() == Some("error")
}

/// Reads a provider's error answer without its headers, as [`provider_error::read`] does.
pub fn read(status: u16, body: &Bytes, secret: Option<&str>) -> Fault {
    provider_error::read(status, &[], body, secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::fault::Kind;

    #[track_caller]
    fn check(status: u16, text: &'static str, message: &str, code: Option<&str>) -> Fault {
        let fault = read(status, &Bytes::from(text), Some("sk-upstream-secret"));
        assert_eq!(fault.message, message);
        assert_eq!(fault.code(), code);
        assert_eq!(fault.status(), status);
        fault
    }

    #[test]
    fn the_providers_words_survive() {
        let text = r#"{"error":{"message":"No.","type":"insufficient_quota","code":"insufficient_quota","x":1}}"#;
        let fault = check(429, text, "No.", Some("insufficient_quota"));
        assert_eq!(body(&fault), text);
        check(400, r#"{"error":"model is loading"}"#, "model is loading", None);
        check(429, r#"{"message":"slow"}"#, "slow", Some("rate_limit_exceeded"));
        check(422, r#"{"detail":[{"loc":["x"]}]}"#, r#"{"loc":["x"]}"#, None);
        check(502, "<html>bad</html>", "The provider answered with HTTP status 502.", None);
        check(500, "boom\x07", "The provider answered with HTTP status 500: boom", None);
        check(503, "", "The provider answered with HTTP status 503.", None);
    }

    #[test]
    fn a_key_in_the_answer_is_struck_out() {
        let text = r#"{"error":{"message":"Incorrect API key: sk-upstream-secret","code":"x"}}"#;
        let fault = check(401, text, "Incorrect API key: [key]", Some("x"));
        assert!(!String::from_utf8_lossy(&body(&fault)).contains("secret"));
    }

    #[test]
    fn a_fault_of_ours_has_all_four_fields() {
        let fault = Fault::new(Kind::ModelNotFound, "No `x`.").with_param("model");
        assert_eq!(
            body(&fault),
            r#"{"error":{"message":"No `x`.","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
    }
}
