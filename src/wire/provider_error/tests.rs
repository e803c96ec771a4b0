//! What providers say when they fail, and what becomes of it.

use super::*;

struct Expected {
    status: u16,
    class: &'static str,
    code: Option<&'static str>,
    retry_after: Option<&'static str>,
    verbatim: bool,
    message: &'static str,
}

#[track_caller]
fn check(status: u16, header: &str, body: &str, expected: Expected) -> Fault {
    let header = header.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = header.into_iter().collect();
    let fault = read(status, &headers, body.as_bytes(), Some("sk-secret"));
    assert_eq!(fault.message, expected.message);
    assert_eq!(fault.status(), expected.status, "{body}");
    assert_eq!(fault.class(), expected.class, "{body}");
    assert_eq!(fault.code(), expected.code, "{body}");
    assert_eq!(fault.retry_after(), expected.retry_after, "{body}");
    let details = fault.details().expect("details");
    assert_eq!(details.verbatim.is_some(), expected.verbatim, "{body}");
    fault
}

const LONG: Option<&str> = Some("context_length_exceeded");

#[test]
fn openai_is_read_as_it_is() {
    let body = r#"{"error":{"message":"Slow down. Please try again in 1m2.5s.","type":"tokens","param":null,"code":"rate_limit_exceeded","extra":1}}"#;
    let expected = Expected {
        status: 429,
        class: "tokens",
        code: Some("rate_limit_exceeded"),
        retry_after: Some("63"),
        verbatim: true,
        message: "Slow down. Please try again in 1m2.5s.",
    };
    let fault = check(429, "x-ratelimit-remaining-tokens: 0", body, expected);
    let details = fault.details().expect("details");
    assert_eq!(details.headers, [("x-ratelimit-remaining-tokens".to_owned(), "0".to_owned())]);
    assert_eq!(details.verbatim.as_deref(), Some(body.as_bytes()));
    let body = r#"{"error":{"message":"Invalid 'user': string too long. Expected a string with maximum length 64.","type":"invalid_request_error","param":"user","code":"string_above_max_length"}}"#;
    let fault = read(400, &[], body.as_bytes(), None);
    assert_eq!(fault.code(), Some("string_above_max_length"));
    assert_eq!(fault.param.as_deref(), Some("user"));
}

#[test]
fn anthropic_is_told_in_openais_words() {
    let body = |class: &str, message: &str| {
        format!(
            r#"{{"type":"error","error":{{"type":"{class}","message":"{message}"}},"request_id":"req_1"}}"#
        )
    };
    let expected = |status, class, code, message| Expected {
        status,
        class,
        code,
        retry_after: None,
        verbatim: true,
        message,
    };
    let long = "prompt is too long: 200001 tokens > 200000 maximum";
    let row = expected(400, "invalid_request_error", LONG, long);
    check(400, "", &body("invalid_request_error", long), row);
    let row = expected(503, "server_error", Some("overloaded"), "Overloaded");
    check(529, "", &body("overloaded_error", "Overloaded"), row);
    let row = expected(404, "not_found_error", Some("model_not_found"), "model: x");
    check(404, "", &body("not_found_error", "model: x"), row);
    let row = expected(413, "invalid_request_error", None, "Too big");
    check(413, "", &body("request_too_large", "Too big"), row);
    let row = expected(500, "server_error", None, "Oops");
    check(500, "", &body("api_error", "Oops"), row);
    let row = Expected {
        retry_after: Some("12"),
        ..expected(429, "rate_limit_error", Some("rate_limit_exceeded"), "Wait")
    };
    check(429, "retry-after: 12", &body("rate_limit_error", "Wait"), row);
}

#[test]
fn google_is_read_from_an_object_or_a_list() {
    let body = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.2s"}]}}"#;
    let expected = || Expected {
        status: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        retry_after: Some("18"),
        verbatim: false,
        message: "You exceeded your current quota, please check your plan and billing details.",
    };
    check(429, "", body, expected());
    check(429, "", &format!("[{body}]"), expected());
    let body = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let expected = Expected {
        status: 401,
        class: "authentication_error",
        code: Some("invalid_api_key"),
        retry_after: None,
        verbatim: false,
        message: "API key not valid. Please pass a valid API key.",
    };
    check(400, "", body, expected);
}

#[test]
fn every_other_shape_has_a_message() {
    let cases = [
        (
            404,
            r#"{"error":"model \"x\" not found, try pulling it first"}"#,
            "model \"x\" not found, try pulling it first",
            404,
            Some("model_not_found"),
        ),
        (
            422,
            r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens.","error_type":"validation"}"#,
            "Input validation error: `inputs` must have less than 1024 tokens.",
            400,
            LONG,
        ),
        (
            400,
            r#"{"message":"Input is too long for requested model."}"#,
            "Input is too long for requested model.",
            400,
            LONG,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            "This model's maximum context length is 4096 tokens.",
            400,
            LONG,
        ),
        (
            422,
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","store"],"msg":"Extra inputs are not permitted"}]}"#,
            "body.store: Extra inputs are not permitted",
            422,
            None,
        ),
        (
            422,
            r#"{"object":"error","message":{"detail":[{"loc":["body"],"msg":"no"}]},"type":"invalid_request_error"}"#,
            "body: no",
            422,
            None,
        ),
        (401, r#"{"detail":"Unauthorized"}"#, "Unauthorized", 401, Some("invalid_api_key")),
        (
            400,
            r#"{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081"}"#,
            "too many tokens: total number of tokens in the prompt cannot exceed 4081",
            400,
            LONG,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            "Insufficient Balance",
            402,
            Some("insufficient_quota"),
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":9}}"#,
            "the request exceeds the available context size",
            400,
            LONG,
        ),
        (
            400,
            r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"object\":\"error\",\"message\":\"prompt is too long\"}","provider_name":"x"}}}"#,
            "Provider returned error: prompt is too long",
            400,
            LONG,
        ),
        (
            400,
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            400,
            Some("content_policy_violation"),
        ),
        (502, "<html>bad</html>", "The provider answered with HTTP status 502.", 502, None),
        (
            522,
            "error code: 522",
            "The provider answered with HTTP status 502: error code: 522",
            502,
            None,
        ),
        (500, "boom\u{7}", "The provider answered with HTTP status 500: boom", 500, None),
        (503, "", "The provider answered with HTTP status 503.", 503, None),
        (
            400,
            r#"{"title":"Bad Request","status":400,"detail":"Unknown field"}"#,
            "Unknown field",
            400,
            None,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached for tokens per min: reduce the length of the messages","type":"tokens","code":null}}"#,
            "Rate limit reached for tokens per min: reduce the length of the messages",
            429,
            Some("rate_limit_exceeded"),
        ),
        (500, "[[[[[[[[[[{}]]]]]]]]]]", "The provider answered with HTTP status 500.", 500, None),
    ];
    for (status, body, message, out, code) in cases {
        let fault = read(status, &[], body.as_bytes(), None);
        assert_eq!(fault.message, message);
        assert_eq!((fault.status(), fault.code()), (out, code), "{body}");
    }
}

#[test]
fn amazon_says_it_in_a_header() {
    let expected = Expected {
        status: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        retry_after: None,
        verbatim: false,
        message: "Too many requests",
    };
    let header = "x-amzn-errortype: ThrottlingException:http://internal.amazon.com/";
    check(429, header, r#"{"message":"Too many requests"}"#, expected);
}

#[test]
fn keys_are_struck_out() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-pr***************cdef. Not sk-secret.","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let fault = read(401, &[], body.as_bytes(), Some("sk-secret"));
    assert_eq!(fault.message, "Incorrect API key provided: [key]. Not [key].");
    let verbatim = fault.details().and_then(|details| details.verbatim.clone()).expect("kept");
    assert!(!verbatim.windows(4).any(|word| word == b"cdef"));
}

#[test]
fn what_passes_is_text() {
    let body = b"{\"error\":{\"message\":\"\xff\",\"type\":\"server_error\",\"code\":null}}";
    let verbatim =
        read(500, &[], body, None).details().and_then(|details| details.verbatim.clone());
    assert!(verbatim.is_none_or(|verbatim| std::str::from_utf8(&verbatim).is_ok()));
}

#[test]
fn errors_in_streams_have_a_status_of_their_own() {
    let cases = [
        (r#"{"code":429,"message":"Rate limited"}"#, 429, Some("rate_limit_exceeded")),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            503,
            Some("overloaded"),
        ),
        (r#"{"error":{"message":"x","type":"server_error","code":null}}"#, 500, None),
        (
            r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#,
            503,
            Some("overloaded"),
        ),
        (r#""out of memory""#, 502, None),
        (r#"{"error":"an error was encountered while running the model"}"#, 502, None),
        (r#"{"message":"prompt is too long","type":"invalid_request_error"}"#, 400, LONG),
        ("not json", 502, None),
    ];
    for (text, status, code) in cases {
        let fault = in_stream(text);
        assert_eq!((fault.status(), fault.code()), (status, code), "{text}");
        assert!(!fault.message.is_empty());
        assert!(fault.details().is_none_or(|details| details.verbatim.is_none()));
    }
    assert!(is_error(r#"{"detail":"x"}"#) && is_error(r#"{"message":"x","type":"y"}"#));
    assert!(!is_error(r#"{"id":"x"}"#) && !is_error("[]") && !is_error(r#"{"error":null}"#));
}

#[test]
fn waits_are_read_from_words() {
    let cases = [
        ("Please try again in 7.66s. Visit", Some("8")),
        ("try again in 20ms", Some("1")),
        ("Please retry after 20 seconds.", Some("20")),
        ("try again in 1h2m3s", Some("3723")),
        ("try again in a while", None),
        ("nothing", None),
    ];
    for (words, expected) in cases {
        assert_eq!(retry::of_words(words).as_deref(), expected, "{words}");
    }
    assert_eq!(retry::of_milliseconds("1500").as_deref(), Some("2"));
    assert_eq!(retry::of_delay("-3s"), None);
}
