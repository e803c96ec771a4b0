//! Which status a client sees for what a provider did. Nothing below 400 and nothing unknown gets through, and
//! what is the client's to mend is a 400 whatever the provider called it.

use super::said::Said;

/// The status for a client.
pub(super) fn out(status: u16, said: &Said, code: Option<&str>) -> u16 {
    if code == Some("context_length_exceeded") {
        return 400;
    }
    // Google answers a wrong key with 400.
    if status == 400 && said.reasons.iter().any(|reason| reason == "API_KEY_INVALID") {
        return 401;
    }
    match status {
        // Anthropic's overload, and Groq's flex tier
        // (https://docs.anthropic.com/en/api/errors, https://console.groq.com/docs/errors).
        498 | 529 => 503,
        // Amazon's model errors, and what no client knows.
        424 | 499 => 502,
        400..=451 | 500..=504 => status,
        // With 200, or in a redirect.
        0..400 => self::said(said).unwrap_or(502),
        _ => 502,
    }
}

/// The status that a body speaks of: a number, or a word for one.
pub(super) fn said(said: &Said) -> Option<u16> {
    if let Some(status) = said.status {
        return Some(status);
    }
    let words = [said.class.as_deref(), said.code.as_deref()];
    words.into_iter().flatten().find_map(of_word)
}

fn of_word(word: &str) -> Option<u16> {
    Some(match word {
        // Anthropic and OpenAI.
        "invalid_request_error" | "context_length_exceeded" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_quota" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests" => 429,
        "api_error" | "server_error" | "internal_server_error" => 500,
        "overloaded_error" | "overloaded" | "service_unavailable" => 503,
        "timeout_error" => 504,
        // Google (https://cloud.google.com/apis/design/errors#handling_errors).
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "RESOURCE_EXHAUSTED" => 429,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        // Amazon; in streams with a small letter at first.
        "ValidationException" | "validationException" => 400,
        "UnrecognizedClientException" | "ExpiredTokenException" => 401,
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" => 404,
        "ThrottlingException" | "throttlingException" => 429,
        "InternalServerException" | "internalServerException" => 500,
        "ModelErrorException" | "ModelStreamErrorException" | "modelStreamErrorException" => 502,
        "ServiceUnavailableException"
        | "serviceUnavailableException"
        | "ModelNotReadyException" => 503,
        "ModelTimeoutException" | "modelTimeoutException" => 504,
        _ => return None,
    })
}
