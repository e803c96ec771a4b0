//! The errors that Bedrock puts inside a stream, in place of an event, or into a body that looked like an
//! answer. The status each would have had is in Amazon's service model.

use crate::ground::fault::{Fault, Kind};
use crate::wire::fields::Fields;

/// A fault of an exception by its name, in either spelling (`throttlingException`,
/// `ThrottlingException`), and its payload.
pub(super) fn fault(name: &str, payload: &[u8]) -> Fault {
    let mut fields = Fields::of_bytes(payload).unwrap_or_default();
    let original = fields.whole("originalStatusCode");
    let message = fields.text("message").or_else(|| fields.text("Message"));
    let message = fields.text("originalMessage").or(message);
    let message = message.filter(|message| !message.trim().is_empty());
    let message = message.unwrap_or_else(|| {
        format!("The provider reported `{name}` inside its answer and did not say why.")
    });
    let overflows = is_overflow(&message);
    let mut fault = Fault::new(kind(name, original), message);
    if overflows {
        fault.kind = Kind::Upstream(400);
        fault.details_mut().code = Some("context_length_exceeded".to_owned());
    }
    fault
}

/// Whether the name is one of an exception.
pub(super) fn is_exception(name: &str) -> bool {
    name.ends_with("Exception") || name.ends_with("Error")
}

fn kind(name: &str, original: Option<u64>) -> Kind {
    match name.to_ascii_lowercase().as_str() {
        "throttlingexception" | "modelnotreadyexception" | "servicequotaexceededexception" => {
            Kind::Upstream(429)
        }
        "validationexception" => Kind::Upstream(400),
        "accessdeniedexception" | "unrecognizedclientexception" | "expiredtokenexception" => {
            Kind::Upstream(403)
        }
        "resourcenotfoundexception" => Kind::Upstream(404),
        "modeltimeoutexception" => Kind::UpstreamTimeout,
        "serviceunavailableexception" => Kind::Upstream(503),
        // The model's own status, where it is told; "Retry your request", says Amazon of the rest.
        "modelstreamerrorexception" | "modelerrorexception" => {
            let original = original.and_then(|status| u16::try_from(status).ok());
            Kind::Upstream(original.filter(|status| (400..600).contains(status)).unwrap_or(500))
        }
        _ => Kind::Upstream(500),
    }
}

/// The words of Bedrock and of the vendors behind it for a request that does not fit the context window.
fn is_overflow(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "input is too long",
        "prompt is too long",
        "maximum context length",
        "exceeds the available context size",
        "exceed context limit",
        "number of input tokens exceeds maximum",
        "too many input tokens",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, payload: &str, status: u16, message: &str) {
        let fault = fault(name, payload.as_bytes());
        assert_eq!((fault.status(), &*fault.message), (status, message));
    }

    #[test]
    fn exceptions_have_their_status() {
        check(
            "throttlingException",
            r#"{"message":"Too many tokens, wait."}"#,
            429,
            "Too many tokens, wait.",
        );
        check("ValidationException", r#"{"Message":"bad"}"#, 400, "bad");
        check("serviceUnavailableException", r#"{"message":"later"}"#, 503, "later");
        let model = r#"{"message":"m","originalStatusCode":529,"originalMessage":"Overloaded"}"#;
        check("modelStreamErrorException", model, 529, "Overloaded");
        check("modelStreamErrorException", r#"{"message":"m"}"#, 500, "m");
        let silent = "The provider reported `error` inside its answer and did not say why.";
        check("error", "<html>", 500, silent);
    }

    #[test]
    fn overflow_is_known_by_its_words() {
        let fault = fault(
            "validationException",
            br#"{"message":"Input is too long for requested model."}"#,
        );
        assert_eq!(fault.code(), Some("context_length_exceeded"));
        let other = super::fault("validationException", br#"{"message":"string too long"}"#);
        assert_eq!(other.code(), None);
    }
}
