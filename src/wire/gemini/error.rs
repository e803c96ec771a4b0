//! Google's error object inside an answer: `{"error":{"code","message","status","details"}}`
//! (<https://cloud.google.com/apis/design/errors>), which may come in a stream after a status of 200.

use crate::ground::fault::{Fault, Kind};
use crate::wire::fields::Fields;

/// The fault that an `error` object tells of.
pub(super) fn fault(mut error: Fields<'_>) -> Fault {
    let status = error.text("status").unwrap_or_default();
    let code = error.whole("code").and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or_else(|| of_status(&status));
    let message = error.text("message").filter(|message| !message.is_empty());
    let message = message.unwrap_or_else(|| format!("The provider reported an error: {status}."));
    let mut fault = Fault::new(Kind::Upstream(code), message);
    if code == 400 && is_overflow(&fault.message) {
        fault.details_mut().code = Some("context_length_exceeded".to_owned());
    }
    if let Some(seconds) = retry_after(&mut error) {
        fault = fault.with_retry_after(seconds);
    }
    fault
}

fn of_status(status: &str) -> u16 {
    match status {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => 500,
    }
}

/// "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
fn is_overflow(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("token count") && message.contains("exceeds")
}

/// `RetryInfo`: `"retryDelay": "17s"`, or with a fraction; rounded up, so that nobody comes too early.
fn retry_after(error: &mut Fields<'_>) -> Option<u64> {
    error.items("details").into_iter().find_map(|detail| {
        let delay = Fields::read(detail.get())?.text("retryDelay")?;
        let (whole, fraction) =
            delay.strip_suffix('s')?.split_once('.').unwrap_or((delay.strip_suffix('s')?, ""));
        let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
        Some(whole.parse::<u64>().ok()?.saturating_add(more))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, status: u16, code: Option<&str>, retry_after: Option<&str>) {
        let fault = fault(Fields::read(text).expect("an object"));
        assert_eq!(
            (fault.status(), fault.code(), fault.retry_after()),
            (status, code, retry_after)
        );
        assert!(!fault.message.is_empty());
    }

    #[test]
    fn googles_words_become_ours() {
        let exhausted = r#"{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.2s"}]}"#;
        check(exhausted, 429, Some("rate_limit_exceeded"), Some("18"));
        check(r#"{"status":"UNAVAILABLE","message":"The model is overloaded."}"#, 503, None, None);
        check(
            r#"{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}"#,
            400,
            Some("context_length_exceeded"),
            None,
        );
        check(r#"{"code":200}"#, 500, None, None);
        check(r#"{"code":"x","details":[{"retryDelay":"soon"},3]}"#, 500, None, None);
    }
}
