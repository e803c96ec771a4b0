//! OpenAI's error object: a fault, shaped for a client (<https://platform.openai.com/docs/guides/error-codes>).

use bytes::Bytes;
use serde_json::{Value, json};

use super::fields::Fields;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::fault::Kind;
    use crate::wire::provider_error;

    #[test]
    fn a_body_of_openais_shape_passes_byte_for_byte() {
        let text = r#"{"error":{"message":"No.","type":"insufficient_quota","code":"insufficient_quota","x":1}}"#;
        let fault = provider_error::read(429, &[], text.as_bytes(), None);
        assert_eq!(
            (body(&fault).as_ref(), fault.code()),
            (text.as_bytes(), Some("insufficient_quota"))
        );
    }

    #[test]
    fn a_key_in_the_answer_is_struck_out() {
        let text = r#"{"error":{"message":"Incorrect API key: sk-upstream-secret","code":"x"}}"#;
        let fault = provider_error::read(401, &[], text.as_bytes(), Some("sk-upstream-secret"));
        assert_eq!(fault.message, "Incorrect API key: [key]");
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
