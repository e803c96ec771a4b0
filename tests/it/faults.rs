//! Providers that fail, and what clients are told: the provider's own words and status, or the next
//! deployment's answer.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, one_model};
use crate::support::upstream::{self, Step, Upstream, chat, events_head, whole};

fn ask(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
}

async fn answer(gateway: &Gateway, model: &str) -> (u16, reqwest::header::HeaderMap, Value) {
    let answer = gateway.post("/v1/chat/completions", &ask(model)).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.text().await.unwrap();
    (status, headers, serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
}

/// A group of two deployments (the first tried first), and a fallback group.
fn group(first: &str, second: &str, third: &str) -> String {
    format!(
        "model_list:\n\
         - model_name: m\n  litellm_params: {{model: openai/a, api_base: {first}, order: 1}}\n\
         - model_name: m\n  litellm_params: {{model: openai/b, api_base: {second}, order: 2}}\n\
         - model_name: spare\n  litellm_params: {{model: openai/c, api_base: {third}}}\n\
         router_settings:\n  fallbacks:\n  - m: [spare]\n\
         virtual_keys:\n- api_key: {KEY}\n  models: [\"*\"]\n"
    )
}

#[tokio::test]
async fn the_providers_error_survives() {
    let body = r#"{"error":{"message":"Slow down.","type":"tokens","param":null,"code":"rate_limit_exceeded","extra":1}}"#;
    let upstream = Upstream::start(move |_| {
        upstream::json(429, "retry-after: 17\r\nx-ratelimit-remaining-requests: 0\r\n", body)
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    // Twice: the only deployment is never put aside.
    for round in 1..=2 {
        let (status, headers, got) = answer(&gateway, "m").await;
        assert_eq!(status, 429);
        assert_eq!(headers["retry-after"], "17");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
        assert_eq!(got, serde_json::from_str::<Value>(body).unwrap());
        assert_eq!(upstream.seen().len(), round);
    }
    let rows = gateway.rows("status, http_status, error_type, error_message", 2).await;
    assert_eq!(rows[0][1], 429.into());
    assert_eq!(rows[0][2], "rate_limit_exceeded".to_owned().into());
    assert_eq!(rows[0][3], "Slow down.".to_owned().into());
}

#[tokio::test]
async fn every_kind_of_failure_is_told_in_openais_shape() {
    struct Case {
        name: &'static str,
        steps: fn() -> Vec<Step>,
        status: u16,
        code: &'static str,
    }
    let cases = [
        Case {
            name: "html",
            steps: || whole(502, "content-type: text/html\r\n", b"<h1>Bad</h1>"),
            status: 502,
            code: "",
        },
        Case { name: "plain", steps: || whole(500, "", b"boom"), status: 500, code: "" },
        Case {
            name: "400",
            steps: || {
                upstream::json(
                    400,
                    "",
                    r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
                )
            },
            status: 400,
            code: "context_length_exceeded",
        },
        Case {
            name: "key",
            steps: || {
                upstream::json(
                    401,
                    "",
                    r#"{"error":{"message":"bad key sk-upstream-secret","code":"invalid_api_key"}}"#,
                )
            },
            status: 401,
            code: "invalid_api_key",
        },
        Case {
            name: "web page",
            steps: || whole(200, "content-type: text/html\r\n", b"<html>login</html>"),
            status: 502,
            code: "upstream_invalid_response",
        },
        Case {
            name: "cut json",
            steps: || upstream::json(200, "", r#"{"choices":["#),
            status: 502,
            code: "upstream_invalid_response",
        },
        Case {
            name: "garbage",
            steps: || vec![Step::Write(b"SSH-2.0-OpenSSH_9\r\n\r\n".to_vec()), Step::Close],
            status: 502,
            code: "upstream_invalid_response",
        },
        Case {
            name: "reset",
            steps: || vec![Step::Reset],
            status: 502,
            code: "upstream_unreachable",
        },
        Case {
            name: "reset in body",
            steps: || {
                vec![Step::Write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{".to_vec()), Step::Reset]
            },
            status: 502,
            code: "upstream_invalid_response",
        },
        Case {
            name: "empty stream",
            steps: || vec![events_head(), upstream::last_chunk()],
            status: 502,
            code: "upstream_invalid_response",
        },
        Case {
            name: "redirect",
            steps: || whole(302, "location: http://127.0.0.1:1/\r\n", b""),
            status: 502,
            code: "upstream_invalid_response",
        },
    ];
    let answers: Vec<_> = cases.iter().map(|case| case.steps).collect();
    let upstream = Upstream::start(move |seen| {
        let index: usize = seen.header("idempotency-key").unwrap().parse().unwrap();
        answers[index]()
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    for (index, case) in cases.iter().enumerate() {
        let request = gateway.post("/v1/chat/completions", &ask("m"));
        let answer = request.header("idempotency-key", index.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).expect(case.name);
        assert_eq!(status, case.status, "{}: {text}", case.name);
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        if !case.code.is_empty() {
            assert_eq!(body["error"]["code"], case.code, "{}", case.name);
        }
        assert!(!text.contains("sk-upstream-secret"), "{}", case.name);
        assert!(!text.contains('<'), "{}: no markup reaches a client", case.name);
    }
}

#[tokio::test]
async fn the_next_deployment_answers_for_one_that_fails() {
    let failing: [fn() -> Vec<Step>; 4] = [
        || upstream::json(500, "", r#"{"error":{"message":"no"}}"#),
        || upstream::json(429, "", r#"{"error":{"message":"no"}}"#),
        || vec![Step::Reset],
        || upstream::json(200, "", "{"),
    ];
    for (index, steps) in failing.into_iter().enumerate() {
        // A lost connection is made once more before the next deployment is asked.
        let calls = if index == 2 { 2 } else { 1 };
        let bad = Upstream::start(move |_| steps()).await;
        let good = Upstream::start(|_| chat("from b")).await;
        let spare = Upstream::start(|_| chat("from spare")).await;
        let gateway = Gateway::start(&group(&bad.base(), &good.base(), &spare.base()));
        let (status, headers, body) = answer(&gateway, "m").await;
        assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("from b")));
        let first = headers["x-litellm-model-id"].clone();
        assert_eq!(bad.seen().len(), calls);
        assert_eq!(good.seen()[0].json()["model"], "b");
        // The one that failed is passed over now.
        let (_, headers, _) = answer(&gateway, "m").await;
        assert_eq!(headers["x-litellm-model-id"], first);
        assert_eq!(bad.seen().len(), calls);
        let rows = gateway.rows("attempts, attempt_trail, fallback_from", 2).await;
        assert_eq!(rows[0][0], 2.into());
        assert_eq!(rows[1][0], 1.into());
        assert_eq!(rows[0][2], rusqlite::types::Value::Null);
        assert!(spare.seen().is_empty());
    }
}

#[tokio::test]
async fn fallbacks_answer_when_the_whole_group_fails() {
    let bad = Upstream::start(|_| upstream::json(503, "", r#"{"error":{"message":"no"}}"#)).await;
    let nobody = "http://127.0.0.1:9/v1";
    let spare = Upstream::start(|_| chat("from spare")).await;
    let gateway = Gateway::start(&group(&bad.base(), nobody, &spare.base()));
    let (status, _, body) = answer(&gateway, "m").await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("from spare")));
    let rows = gateway.rows("attempts, fallback_from, model_group", 1).await;
    assert_eq!(rows[0], [3.into(), "m".to_owned().into(), "spare".to_owned().into()]);
}

#[tokio::test]
async fn the_callers_own_mistake_is_not_tried_elsewhere() {
    let bad =
        Upstream::start(|_| upstream::json(400, "", r#"{"error":{"message":"your fault"}}"#)).await;
    let good = Upstream::start(|_| chat("never")).await;
    let gateway = Gateway::start(&group(&bad.base(), &good.base(), &good.base()));
    let (status, _, body) = answer(&gateway, "m").await;
    assert_eq!((status, &body["error"]["message"]), (400, &json!("your fault")));
    assert!(good.seen().is_empty());
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up() {
    let upstream = Upstream::start(|_| vec![Step::Hang]).await;
    let config =
        one_model(&upstream.base()).replace("api_key: sk-up", "timeout: 0.2\n      api_key: sk-up");
    let gateway = Gateway::start(&config);
    let (status, _, body) = answer(&gateway, "m").await;
    assert_eq!((status, &body["error"]["code"]), (408, &json!("upstream_timeout")));
    upstream.abandoned(1).await;
}

#[tokio::test]
async fn connections_to_a_provider_are_kept() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    for _ in 0..20 {
        assert_eq!(answer(&gateway, "m").await.0, 200);
    }
    assert_eq!(upstream.connections(), 1);
}
