//! What a provider reports of a failure inside an answer that began with status 200: the `error` of a failed
//! response, or an `error` event. Its words and its code survive; the code says which status it comes to.
//! Codes: <https://platform.openai.com/docs/api-reference/responses/object#responses-object-error>.

use super::super::super::fields::Fields;
use crate::ground::fault::{Fault, Kind};

/// Reads an error object: `{"code","message","param","type"}`, all optional.
pub(super) fn read(mut error: Fields<'_>) -> Fault {
    let message = error.text("message");
    // OpenAI's codes are words; some servers give the status as a number.
    let code = error.json("code").and_then(|code| {
        code.read::<String>().or_else(|| code.read::<u64>().map(|code| code.to_string()))
    });
    let class = error.text("type").filter(|class| class != "error");
    let status = status_of(code.as_deref(), class.as_deref());
    let message = message.filter(|message| !message.trim().is_empty());
    let message = message
        .unwrap_or_else(|| "The provider's answer failed, and it does not say why.".to_owned());
    let mut fault = Fault::new(Kind::Upstream(status), message);
    fault.param = error.text("param").map(Into::into);
    let details = fault.details_mut();
    (details.code, details.class) = (code, class);
    fault
}

/// Why an answer failed that says nothing of it.
pub(super) fn unexplained() -> Fault {
    read(Fields::default())
}

fn status_of(code: Option<&str>, class: Option<&str>) -> u16 {
    match code.unwrap_or_default() {
        "rate_limit_exceeded" | "insufficient_quota" | "usage_not_included" => return 429,
        "server_is_overloaded" | "slow_down" | "overloaded" => return 503,
        "context_length_exceeded"
        | "invalid_prompt"
        | "bio_policy"
        | "cyber_policy"
        | "misalignment_policy_violation"
        | "data_residency_mismatch"
        | "content_policy_violation" => return 400,
        "model_not_found" | "previous_response_not_found" => return 404,
        code if code.contains("image") => return 400,
        code => {
            if let Some(status) = code.parse().ok().filter(|status| (400..600).contains(status)) {
                return status;
            }
        }
    }
    match class.unwrap_or_default() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "rate_limit_error" | "too_many_requests" => 429,
        _ => 500,
    }
}
