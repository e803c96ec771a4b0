//! Every provider's errors to every client: status, class, code, when to try again; and what clients
//! themselves write wrongly.

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider, SECRET};
use crate::support::upstream::{self, Upstream};

/// One failure of a provider, as it says it, and as clients are told.
struct Case {
    provider: Provider,
    status: u16,
    headers: &'static str,
    body: &'static str,
    out: u16,
    /// OpenAI's `type` and `code`.
    class: &'static str,
    code: Option<&'static str>,
    /// Anthropic's status and `type`.
    messages: (u16, &'static str),
    retry_after: Option<&'static str>,
    /// Words that reach the client.
    says: &'static str,
}

const CASES: &[Case] = &[
    Case {
        provider: Provider::Chat,
        status: 400,
        headers: "",
        body: r#"{"error":{"message":"Unsupported value: 'x'","type":"invalid_request_error","param":"x","code":"unsupported_value"}}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("unsupported_value"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "Unsupported value",
    },
    Case {
        provider: Provider::Chat,
        status: 400,
        headers: "",
        body: r#"{"error":{"message":"This model's maximum context length is 10 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "maximum context length",
    },
    Case {
        provider: Provider::Chat,
        status: 429,
        headers: "retry-after: 7\r\nx-ratelimit-remaining-tokens: 0\r\n",
        body: r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        out: 429,
        class: "insufficient_quota",
        code: Some("insufficient_quota"),
        messages: (429, "rate_limit_error"),
        retry_after: Some("7"),
        says: "current quota",
    },
    // Mistral and vLLM.
    Case {
        provider: Provider::Chat,
        status: 422,
        headers: "",
        body: r#"{"object":"error","message":"Extra inputs are not permitted","type":"invalid_request_error","param":null,"code":null}"#,
        out: 422,
        class: "invalid_request_error",
        code: None,
        messages: (422, "invalid_request_error"),
        retry_after: None,
        says: "Extra inputs",
    },
    // FastAPI.
    Case {
        provider: Provider::Chat,
        status: 422,
        headers: "",
        body: r#"{"detail":[{"loc":["body","x"],"msg":"field required","type":"value_error"}]}"#,
        out: 422,
        class: "invalid_request_error",
        code: None,
        messages: (422, "invalid_request_error"),
        retry_after: None,
        says: "field required",
    },
    // A proxy.
    Case {
        provider: Provider::Chat,
        status: 502,
        headers: "",
        body: "<html><h1>502 Bad Gateway</h1></html>",
        out: 502,
        class: "server_error",
        code: None,
        messages: (502, "api_error"),
        retry_after: None,
        says: "502",
    },
    // llama.cpp.
    Case {
        provider: Provider::Chat,
        status: 400,
        headers: "",
        body: r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":4096}}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "available context size",
    },
    Case {
        provider: Provider::Responses,
        status: 401,
        headers: "",
        body: r#"{"error":{"message":"Incorrect API key provided: sk-upstr**********6789.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        out: 401,
        class: "invalid_request_error",
        code: Some("invalid_api_key"),
        messages: (401, "authentication_error"),
        retry_after: None,
        says: "Incorrect API key",
    },
    Case {
        provider: Provider::Responses,
        status: 404,
        headers: "",
        body: r#"{"error":{"message":"The model `up` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        out: 404,
        class: "invalid_request_error",
        code: Some("model_not_found"),
        messages: (404, "not_found_error"),
        retry_after: None,
        says: "does not exist",
    },
    Case {
        provider: Provider::Anthropic,
        status: 400,
        headers: "",
        body: r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"},"request_id":"req_up"}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "prompt is too long",
    },
    Case {
        provider: Provider::Anthropic,
        status: 529,
        headers: "x-should-retry: true\r\n",
        body: r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_up"}"#,
        out: 503,
        class: "server_error",
        code: Some("overloaded"),
        messages: (529, "overloaded_error"),
        retry_after: None,
        says: "Overloaded",
    },
    Case {
        provider: Provider::Anthropic,
        status: 429,
        headers: "retry-after: 33\r\nanthropic-ratelimit-tokens-remaining: 0\r\n",
        body: r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#,
        out: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        messages: (429, "rate_limit_error"),
        retry_after: Some("33"),
        says: "Slow down",
    },
    Case {
        provider: Provider::Anthropic,
        status: 401,
        headers: "",
        body: r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        out: 401,
        class: "authentication_error",
        code: Some("invalid_api_key"),
        messages: (401, "authentication_error"),
        retry_after: None,
        says: "invalid x-api-key",
    },
    Case {
        provider: Provider::Anthropic,
        status: 413,
        headers: "",
        body: r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
        out: 413,
        class: "invalid_request_error",
        code: None,
        messages: (413, "request_too_large"),
        retry_after: None,
        says: "maximum size",
    },
    Case {
        provider: Provider::Gemini,
        status: 429,
        headers: "",
        body: r#"[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"16.4s"}]}}]"#,
        out: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        messages: (429, "rate_limit_error"),
        retry_after: Some("17"),
        says: "Quota exceeded",
    },
    Case {
        provider: Provider::Gemini,
        status: 400,
        headers: "",
        body: r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "input token count",
    },
    Case {
        provider: Provider::Gemini,
        status: 400,
        headers: "",
        body: r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
        out: 401,
        class: "authentication_error",
        code: Some("invalid_api_key"),
        messages: (401, "authentication_error"),
        retry_after: None,
        says: "API key not valid",
    },
    Case {
        provider: Provider::Gemini,
        status: 503,
        headers: "",
        body: r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#,
        out: 503,
        class: "server_error",
        code: Some("overloaded"),
        messages: (529, "overloaded_error"),
        retry_after: None,
        says: "overloaded",
    },
    Case {
        provider: Provider::Bedrock,
        status: 429,
        headers: "x-amzn-errortype: ThrottlingException:http://internal.amazon.com/coral/\r\n",
        body: r#"{"message":"Too many requests, please wait before trying again."}"#,
        out: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        messages: (429, "rate_limit_error"),
        retry_after: None,
        says: "Too many requests",
    },
    Case {
        provider: Provider::Bedrock,
        status: 400,
        headers: "x-amzn-errortype: ValidationException\r\n",
        body: r#"{"message":"Input is too long for requested model."}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "too long",
    },
    Case {
        provider: Provider::Bedrock,
        status: 403,
        headers: "x-amzn-errortype: AccessDeniedException\r\n",
        body: r#"{"Message":"User is not authorized to perform: bedrock:InvokeModel"}"#,
        out: 403,
        class: "permission_error",
        code: None,
        messages: (403, "permission_error"),
        retry_after: None,
        says: "not authorized",
    },
    Case {
        provider: Provider::Bedrock,
        status: 424,
        headers: "x-amzn-errortype: ModelErrorException\r\n",
        body: r#"{"message":"The model could not answer."}"#,
        out: 502,
        class: "server_error",
        code: None,
        messages: (502, "api_error"),
        retry_after: None,
        says: "could not answer",
    },
    Case {
        provider: Provider::Ollama,
        status: 404,
        headers: "",
        body: r#"{"error":"model \"qwen3:8b\" not found, try pulling it first"}"#,
        out: 404,
        class: "not_found_error",
        code: Some("model_not_found"),
        messages: (404, "not_found_error"),
        retry_after: None,
        says: "try pulling it first",
    },
    Case {
        provider: Provider::Ollama,
        status: 500,
        headers: "",
        body: r#"{"error":"llama runner process has terminated"}"#,
        out: 500,
        class: "server_error",
        code: None,
        messages: (500, "api_error"),
        retry_after: None,
        says: "llama runner",
    },
    Case {
        provider: Provider::Cohere,
        status: 400,
        headers: "",
        body: r#"{"id":"x","message":"too many tokens: total number of tokens in the prompt cannot exceed 128000"}"#,
        out: 400,
        class: "invalid_request_error",
        code: Some("context_length_exceeded"),
        messages: (400, "invalid_request_error"),
        retry_after: None,
        says: "too many tokens",
    },
    Case {
        provider: Provider::Cohere,
        status: 429,
        headers: "",
        body: r#"{"message":"You are using a Trial key, which is limited to 20 API calls / minute."}"#,
        out: 429,
        class: "rate_limit_error",
        code: Some("rate_limit_exceeded"),
        messages: (429, "rate_limit_error"),
        retry_after: None,
        says: "Trial key",
    },
];

#[tokio::test]
async fn every_providers_error_reaches_every_client_in_its_own_shape() {
    let upstream = Upstream::start(|seen| {
        let case = &CASES[seen.header("idempotency-key").unwrap().parse::<usize>().unwrap()];
        upstream::json(case.status, case.headers, case.body)
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let mut count = 0;
    for (at, case) in CASES.iter().enumerate() {
        for client in Client::ALL {
            for stream in [false, true] {
                let request =
                    gateway.post(client.path(), &client.body(case.provider.name(), stream));
                let answer =
                    request.header("idempotency-key", at.to_string()).send().await.unwrap();
                let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                let text = answer.text().await.unwrap();
                let what =
                    format!("{client:?} over {:?}, case {at}: {status} {text}", case.provider);
                let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}"));
                let error = &body["error"];
                let message = error["message"].as_str().unwrap_or_else(|| panic!("{what}"));
                let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
                if client == Client::Messages {
                    assert_eq!(status, case.messages.0, "{what}");
                    assert_eq!(body["type"], "error", "{what}");
                    assert_eq!(error["type"], case.messages.1, "{what}");
                    if case.code == Some("context_length_exceeded") {
                        assert!(message.contains("prompt is too long"), "{what}");
                    }
                } else {
                    assert_eq!(status, case.out, "{what}");
                    assert_eq!(error["type"], case.class, "{what}");
                    assert_eq!(error["code"].as_str(), case.code, "{what}");
                    assert!(error.get("param").is_some(), "{what}");
                }
                assert!(message.contains(case.says), "{what}");
                assert_eq!(header("retry-after"), case.retry_after, "{what}");
                for line in case
                    .headers
                    .lines()
                    .filter(|line| line.contains("ratelimit") || line.contains("should"))
                {
                    let (name, value) = line.split_once(": ").unwrap();
                    assert_eq!(header(name), Some(value), "{what}");
                }
                assert!(!text.contains(SECRET) && !text.contains("***"), "{what}");
                // Whose key was refused: the provider's answer names the deployment.
                assert!(header("x-litellm-model-id").is_some(), "{what}");
                assert!(!text.contains('<'), "{what}");
                count += 1;
            }
        }
    }
    let rows = gateway.rows("status, http_status, error_message, surface", count).await;
    assert_eq!(rows.len(), count);
    assert!(rows.iter().all(|row| row[0] == Cell::from("error".to_owned())), "{rows:?}");
}

/// Where both sides speak one format, the provider's own body comes through, fields nobody knows too.
#[tokio::test]
async fn an_error_of_the_clients_own_format_passes_byte_for_byte() {
    let bodies = [
        (
            Client::Chat,
            Provider::Chat,
            r#"{"error":{"message":"No.","type":"x","param":null,"code":"y","extra":{"a":1.0e0}}}"#,
        ),
        (
            Client::Responses,
            Provider::Responses,
            r#"{"error":{"message":"No.","type":"x","param":null,"code":"y","extra":{"a":1.0e0}}}"#,
        ),
        (
            Client::Messages,
            Provider::Anthropic,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"No.","details":{"a":1.0e0}},"request_id":"req_up"}"#,
        ),
    ];
    for (client, provider, said) in bodies {
        let upstream = Upstream::start(move |_| upstream::json(400, "", said)).await;
        let gateway = Gateway::start(&providers::config(upstream.address));
        let body = client.body(provider.name(), false);
        let answer = gateway.post(client.path(), &body).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.text().await.unwrap(), said, "{client:?}");
        // Not to clients of another format.
        for other in Client::ALL {
            if other == client || (other == Client::Completions && provider == Provider::Chat) {
                continue;
            }
            let (status, told) = other.tell(&gateway, &other.body(provider.name(), false)).await;
            assert_eq!(
                (status, told.error.as_deref()),
                (400, Some("No.")),
                "{other:?} {provider:?}"
            );
        }
    }
}

/// Keys in errors: the deployment's, and those in the operator's own headers.
#[tokio::test]
async fn no_secret_of_the_gateway_is_in_an_error() {
    let upstream = Upstream::start(|seen| {
        let shown: Vec<_> =
            seen.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let shown = shown.join(" ");
        upstream::json(
            401,
            "",
            &json!({ "error": { "message": format!("Bad: {shown}"), "type": "x" } }).to_string(),
        )
    })
    .await;
    let key = format!("api_key: {SECRET}");
    let headers = format!("{key}, extra_headers: {{x-own-secret: hush-0123456789}}");
    let config = providers::config(upstream.address).replace(&key, &headers);
    let gateway = Gateway::start(&config);
    let mut count = 0;
    for client in Client::ALL {
        for provider in Provider::ALL {
            for stream in [false, true] {
                let body = client.body(provider.name(), stream);
                let answer = gateway.post(client.path(), &body).send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert_eq!(status, 401, "{text}");
                for secret in [SECRET, "hush-0123456789", KEY] {
                    assert!(!text.contains(secret), "{client:?} {provider:?}: {text}");
                }
                count += 1;
            }
        }
    }
    let rows = gateway.rows("error_message", count).await;
    for row in rows {
        let Cell::Text(message) = &row[0] else { panic!("{row:?}") };
        assert!(!message.contains("hush-") && !message.contains(SECRET), "{message}");
    }
    assert!(!gateway.log().contains(SECRET) && !gateway.log().contains("hush-"));
}

/// What is wrong, in words and as a path, in the client's shape, on every lane that reads the body.
#[tokio::test]
async fn malformed_requests_are_told_where_they_are_wrong() {
    let upstream = Upstream::start(|seen| providers::asked(seen).answer(false)).await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let user = json!({ "role": "user", "content": "hi" });
    let cases = [
        (Client::Chat, json!({ "messages": "hi" }), "messages"),
        (Client::Chat, json!({}), "messages"),
        (Client::Chat, json!({ "messages": [user, 7] }), "messages[1]"),
        (
            Client::Chat,
            json!({ "messages": [{ "role": "user", "content": 7 }] }),
            "messages[0].content",
        ),
        (Client::Chat, json!({ "messages": [{ "role": 7, "content": "hi" }] }), "messages[0].role"),
        (
            Client::Chat,
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": {} }] }] }),
            "messages[0].content[0].text",
        ),
        (Client::Chat, json!({ "messages": [user], "tools": {} }), "tools"),
        (
            Client::Chat,
            json!({ "messages": [user], "tools": [{ "type": "function" }] }),
            "tools[0].function",
        ),
        (Client::Chat, json!({ "messages": [user], "temperature": "warm" }), "temperature"),
        (Client::Chat, json!({ "messages": [user], "max_tokens": -1 }), "max_tokens"),
        (Client::Chat, json!({ "messages": [user], "stop": 7 }), "stop"),
        (
            Client::Chat,
            json!({ "messages": [user], "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
        ),
        (Client::Completions, json!({ "prompt": { "a": 1 } }), "prompt"),
        (Client::Completions, json!({}), "prompt"),
        (Client::Responses, json!({ "input": 7 }), "input"),
        (Client::Responses, json!({}), "input"),
        (Client::Responses, json!({ "input": ["x"] }), "input[0]"),
        (
            Client::Responses,
            json!({ "input": [{ "type": "function_call_output", "output": "x" }] }),
            "input[0].call_id",
        ),
        (
            Client::Responses,
            json!({ "input": [{ "type": "function_call", "call_id": "c", "arguments": "{}" }] }),
            "input[0].name",
        ),
        (Client::Responses, json!({ "input": "hi", "tools": [7] }), "tools[0]"),
        (
            Client::Responses,
            json!({ "input": "hi", "max_output_tokens": "many" }),
            "max_output_tokens",
        ),
        (
            Client::Responses,
            json!({ "input": "hi", "previous_response_id": 7 }),
            "previous_response_id",
        ),
        (Client::Messages, json!({ "messages": [user], "max_tokens": "many" }), "max_tokens"),
        (Client::Messages, json!({ "max_tokens": 1 }), "messages"),
        (Client::Messages, json!({ "messages": {}, "max_tokens": 1 }), "messages"),
        (
            Client::Messages,
            json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result" }] }], "max_tokens": 1 }),
            "messages[0].content[0].tool_use_id",
        ),
        (Client::Messages, json!({ "messages": [user], "max_tokens": 1, "system": 7 }), "system"),
        (
            Client::Messages,
            json!({ "messages": [user], "max_tokens": 1, "tools": [{ "input_schema": {} }] }),
            "tools[0].name",
        ),
    ];
    for (client, body, path) in &cases {
        for stream in [false, true] {
            let mut body = body.clone();
            body["model"] = "gemini".into();
            body["stream"] = stream.into();
            let answer = gateway.post(client.path(), &body).send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let what = format!("{client:?}: {body}: {text}");
            assert_eq!(status, 400, "{what}");
            let said: Value = serde_json::from_str(&text).unwrap();
            let message = said["error"]["message"].as_str().unwrap();
            assert!(message.contains(path), "{what}");
            assert_eq!(said["error"]["type"], "invalid_request_error", "{what}");
            if *client == Client::Messages {
                assert_eq!(said["type"], "error", "{what}");
            } else {
                assert_eq!(
                    said["error"]["param"].as_str().map(|param| param.starts_with(path)),
                    Some(true),
                    "{what}"
                );
            }
        }
    }
    // No JSON at all, or another kind of it.
    for client in Client::ALL {
        for body in [
            "{",
            "[]",
            "null",
            "7",
            "\"x\"",
            "",
            "{}",
            "{\"model\":7}",
            "{\"model\":null}",
            "{\"model\":\"gemini\",\"model\":\"gemini\"}",
            "{\"model\":\"gemini\",\"stream\":\"yes\"}",
        ] {
            let request = gateway.client.post(gateway.url(client.path())).bearer_auth(KEY);
            let answer = request.body(body).header("content-type", "application/json").send();
            let answer = answer.await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            assert_eq!(status, 400, "{client:?}: {body}: {text}");
            let said: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                said["error"]["type"], "invalid_request_error",
                "{client:?}: {body}: {text}"
            );
            assert_eq!(
                said["type"] == "error",
                client == Client::Messages,
                "{client:?}: {body}: {text}"
            );
        }
    }
    assert!(upstream.seen().is_empty(), "nothing malformed was sent");
}

/// Depth and numbers that no reader should trip over.
#[tokio::test]
async fn hostile_bodies_are_refused_or_answered_but_never_a_500() {
    let upstream = Upstream::start(|seen| providers::asked(seen).answer(false)).await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_schema =
        format!("{}{{}}{}", r#"{"type":"object","properties":{"a":"#.repeat(60), "}}".repeat(60));
    let huge = "9".repeat(400);
    for provider in Provider::ALL {
        let model = provider.name();
        let bodies = [
            (Client::Chat, format!(r#"{{"model":"{model}","messages":{deep}}}"#)),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"x":{deep}}}"#
                ),
            ),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"temperature":{huge},"seed":{huge},"max_tokens":{huge}}}"#
                ),
            ),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{deep_schema}}}}}]}}"#
                ),
            ),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{{\"a\":1}}{{\"b\":2}}"}}}}]}},{{"role":"tool","tool_call_id":"nobody","content":"x"}}]}}"#
                ),
            ),
            (Client::Chat, format!(r#"{{"model":"{model}","messages":[]}}"#)),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"system","content":"only"}}]}}"#
                ),
            ),
            (
                Client::Chat,
                format!(
                    r#"{{"model":"{model}","messages":[{{"role":"user","content":"\ud800"}}]}}"#
                ),
            ),
            (Client::Responses, format!(r#"{{"model":"{model}","input":{deep}}}"#)),
            (
                Client::Responses,
                format!(r#"{{"model":"{model}","input":[{{"type":"item_reference","id":"x"}}]}}"#),
            ),
            (Client::Responses, format!(r#"{{"model":"{model}","input":[],"store":false}}"#)),
            (
                Client::Messages,
                format!(
                    r#"{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":{deep}}}]}}"#
                ),
            ),
            (
                Client::Messages,
                format!(
                    r#"{{"model":"{model}","max_tokens":1,"messages":[{{"role":"assistant","content":"first"}}]}}"#
                ),
            ),
            (
                Client::Messages,
                format!(
                    r#"{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":[]}}]}}"#
                ),
            ),
        ];
        for (client, body) in bodies {
            let request = gateway.client.post(gateway.url(client.path())).bearer_auth(KEY);
            let shown: String = body.chars().take(200).collect();
            let answer = request.body(body).header("content-type", "application/json").send();
            let answer = answer.await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            assert!(
                status == 200 || status == 400,
                "{client:?} over {provider:?}: {shown}: {status} {text}"
            );
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    }
    assert_eq!(gateway.health().await["in_flight"], 0);
}
