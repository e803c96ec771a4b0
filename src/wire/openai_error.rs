//! OpenAI's error object, both ways: shaping a fault for a client, and reading what a provider said
//! (<https://platform.openai.com/docs/guides/error-codes>).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::ground::fault::{Fault, Kind};

/// `{"error":{"message","type","param","code"}}`, or the provider's own body where it has that shape.
pub fn body(fault: &Fault) -> Bytes {
    if let Some(verbatim) = fault.details().and_then(|details| details.verbatim.as_ref()) {
        return verbatim.clone();
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

/// Reads a provider's error answer. Its message, type and code survive; a body that already has
/// OpenAI's shape is kept byte for byte; anything else (an HTML page, plain text) is told in words.
/// `secret` is the key that was shown to the provider: should the body repeat it, it is struck out.
pub fn read(status: u16, body: &Bytes, secret: Option<&str>) -> Fault {
    let text = String::from_utf8_lossy(body);
    let struck = match secret {
        Some(secret) if secret.len() >= 4 && text.contains(secret) => {
            Some(text.replace(secret, "[key]"))
        }
        _ => None,
    };
    let text = struck.as_deref().unwrap_or(&text);
    let mut fault = Fault::new(Kind::Upstream(status), "");
    let parsed = serde_json::from_str::<Map<String, Value>>(text).ok();
    match parsed.as_ref().and_then(|body| body.get("error")) {
        Some(Value::Object(error)) => {
            let details = fault.details_mut();
            details.verbatim = Some(match &struck {
                Some(text) => Bytes::from(text.clone()),
                None => body.clone(),
            });
            details.class = string(error.get("type"));
            details.code = string(error.get("code"));
            fault.message = string(error.get("message")).unwrap_or_default().into();
            fault.param = string(error.get("param")).map(Into::into);
        }
        // Ollama, TGI and llama.cpp in some versions.
        Some(Value::String(message)) => fault.message = message.clone().into(),
        _ => {
            let told = parsed.as_ref().and_then(|body| {
                // FastAPI's `detail`, AWS's and vLLM's `message`.
                string(body.get("message")).or_else(|| Some(body.get("detail")?.to_string()))
            });
            fault.message = told.map(Into::into).unwrap_or_default();
        }
    }
    if fault.message.is_empty() {
        fault.message = format!("The provider answered with HTTP status {status}.").into();
        if parsed.is_none() && !looks_like_markup(text) {
            let words: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
            if !words.trim().is_empty() {
                fault.message =
                    format!("The provider answered with HTTP status {status}: {}", words.trim())
                        .into();
            }
        }
    }
    fault
}

fn string(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn looks_like_markup(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

#[cfg(test)]
mod tests {
    use super::*;

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
        check(422, r#"{"detail":[{"loc":["x"]}]}"#, r#"[{"loc":["x"]}]"#, None);
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
