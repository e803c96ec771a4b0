//! Streams through the public door: byte for byte, as they come, to their proper end or to an error that
//! says so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, KEY, one_model};
use crate::support::upstream::{
    DONE, FINISH, Step, USAGE, Upstream, chunk, delta, events_head, last_chunk, whole,
};

fn ask(with_usage: bool) -> Value {
    let mut body = json!({
        "model": "m", "stream": true, "messages": [{ "role": "user", "content": "hi" }],
    });
    if with_usage {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// A stream whose events use every line end, comments, names, no space behind the colon, and text that
/// must not be read as a line end.
fn awkward() -> Vec<u8> {
    [
        ": a comment\n\n".as_bytes(),
        &delta("héllo wörld \u{2028} \u{1F600}"),
        b"event: message\r\nid: 7\r\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\r\n\r\n",
        b"data: {\"choices\":\rdata: []}\r\r",
        FINISH,
        USAGE,
        DONE,
    ]
    .concat()
}

#[tokio::test]
async fn bytes_pass_unchanged_wherever_the_network_cuts() {
    let text = awkward();
    let cuts: Vec<usize> = (1..text.len()).step_by(3).chain([text.len()]).collect();
    let upstream = Upstream::start({
        let text = text.clone();
        move |seen| {
            let cut: usize = seen.header("idempotency-key").unwrap().parse().unwrap();
            let (left, right) = text.split_at(cut);
            let mut steps = vec![events_head(), chunk(left)];
            if !right.is_empty() {
                steps.push(chunk(right));
            }
            steps.push(last_chunk());
            steps
        }
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    for cut in cuts {
        let answer = gateway
            .post("/v1/chat/completions", &ask(true))
            .header("idempotency-key", cut.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
        let got = answer.bytes().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&text), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_byte_at_a_time_comes_out_whole() {
    let text = awkward();
    let upstream = Upstream::start({
        let text = text.clone();
        move |_| {
            let mut steps = vec![events_head()];
            steps.extend(text.iter().map(|byte| chunk(&[*byte])));
            steps.push(last_chunk());
            steps
        }
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway.post("/v1/chat/completions", &ask(true)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), text);
}

#[tokio::test]
async fn usage_is_asked_for_counted_and_taken_out_again() {
    let upstream = Upstream::start(|_| {
        let all = [delta("a").as_slice(), FINISH, USAGE, DONE].concat();
        vec![events_head(), chunk(&all), last_chunk()]
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway.post("/v1/chat/completions", &ask(false)).send().await.unwrap();
    let got = answer.bytes().await.unwrap();
    assert_eq!(got, [delta("a").as_slice(), FINISH, DONE].concat());
    let sent = &upstream.seen()[0];
    assert_eq!(sent.json()["stream_options"], json!({ "include_usage": true }));
    assert_eq!(sent.json()["model"], "up");
    let rows = gateway.rows("input_tokens, output_tokens, finish_reason, stream, status", 1).await;
    assert_eq!(rows[0][0], 11.into());
    assert_eq!(rows[0][1], 7.into());
    assert_eq!(rows[0][2], "stop".to_owned().into());
    assert_eq!(rows[0][4], "ok".to_owned().into());
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |_| {
            let mut steps = vec![events_head(), chunk(&delta("0"))];
            for index in 1..5 {
                steps.extend([Step::Await(permits.clone()), chunk(&delta(&index.to_string()))]);
            }
            steps.extend([chunk(FINISH), chunk(DONE), last_chunk()]);
            steps
        }
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway.post("/v1/chat/completions", &ask(true)).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    for index in 0..5 {
        // The next one is only released once this one is here: a buffering gateway would hang.
        let mut event = Vec::new();
        while !event.ends_with(b"\n\n") {
            event.extend_from_slice(&stream.next().await.unwrap().unwrap());
        }
        if index < 4 {
            assert_eq!(event, delta(&index.to_string()));
        }
        permits.add_permits(1);
    }
}

#[tokio::test]
async fn a_broken_stream_ends_with_an_error_and_never_as_if_complete() {
    let breaks: [fn() -> Vec<Step>; 4] = [
        || vec![events_head(), chunk(&delta("a")), Step::Close],
        || vec![events_head(), chunk(&delta("a")), last_chunk()],
        || vec![events_head(), chunk(&delta("a")), chunk(b"data: {\"cho"), last_chunk()],
        || vec![events_head(), chunk(&delta("a")), Step::Write(b"zz\r\n".to_vec()), Step::Close],
    ];
    let upstream = Upstream::start(move |seen| {
        let index: usize = seen.header("idempotency-key").unwrap().parse().unwrap();
        breaks[index]()
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    for index in 0..4 {
        let answer = gateway
            .post("/v1/chat/completions", &ask(true))
            .header("idempotency-key", index.to_string())
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        let rest = text.strip_prefix(std::str::from_utf8(&delta("a")).unwrap()).unwrap();
        let error: Value =
            serde_json::from_str(rest.strip_prefix("data: ").unwrap().trim()).unwrap();
        assert_eq!(error["error"]["code"], "upstream_invalid_response", "case {index}: {text}");
        assert!(!text.contains("[DONE]") && !text.contains("finish_reason\":\"stop"));
    }
    let rows = gateway.rows("status, error_type, http_status", 4).await;
    for row in rows {
        assert_eq!(row[0], "error".to_owned().into());
        assert_eq!(row[2], 200.into());
    }
}

#[tokio::test]
async fn a_broken_responses_stream_ends_with_response_failed() {
    let upstream = Upstream::start(|_| {
        let opened = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\
            \"response\":{\"id\":\"resp_9\",\"object\":\"response\",\"status\":\"in_progress\"}}\n\n";
        vec![events_head(), chunk(opened.as_bytes()), Step::Close]
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": true, "input": "hi" });
    let answer = gateway.post("/v1/responses", &body).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last.strip_prefix("event: response.failed\ndata: ").unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["response"]["id"], "resp_9");
    assert_eq!(event["sequence_number"], 1);
    assert_eq!(event["response"]["status"], "failed");
}

#[tokio::test]
async fn a_missing_last_line_is_added_after_a_finished_answer() {
    let upstream = Upstream::start(|_| {
        vec![events_head(), chunk(&[delta("a").as_slice(), FINISH].concat()), last_chunk()]
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway.post("/v1/chat/completions", &ask(true)).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), [delta("a").as_slice(), FINISH, DONE].concat());
}

#[tokio::test]
async fn when_the_client_goes_the_provider_is_told() {
    let upstream = Upstream::start(|_| vec![events_head(), chunk(&delta("a")), Step::Hang]).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway.post("/v1/chat/completions", &ask(true)).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), delta("a"));
    drop(stream);
    upstream.abandoned(1).await;
    let rows = gateway.rows("status, client_closed, http_status", 1).await;
    assert_eq!(rows[0][0], "cancelled".to_owned().into());
    assert_eq!(rows[0][2], 499.into());
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_noticed() {
    let upstream = Upstream::start(|_| vec![Step::Hang]).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let request = gateway.post("/v1/chat/completions", &ask(false)).send();
    let waiting = tokio::spawn(request);
    upstream.arrived(1).await;
    waiting.abort();
    upstream.abandoned(1).await;
    let rows = gateway.rows("status, http_status", 1).await;
    assert_eq!(rows[0], ["cancelled".to_owned().into(), 499.into()]);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_with_comments() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |_| {
            let end = [FINISH, DONE].concat();
            vec![events_head(), Step::Await(permits.clone()), chunk(&end), last_chunk()]
        }
    })
    .await;
    let config = format!(
        "{}litellm_settings:\n  sse_keepalive_ping_interval_seconds: 1\n",
        one_model(&upstream.base())
    );
    let gateway = Gateway::start(&config);
    let answer = gateway.post("/v1/chat/completions", &ask(true)).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    for _ in 0..2 {
        assert_eq!(stream.next().await.unwrap().unwrap(), ": ping\n\n");
    }
    permits.add_permits(1);
    let mut rest = Vec::new();
    while let Some(piece) = stream.next().await {
        rest.extend_from_slice(&piece.unwrap());
    }
    let text = String::from_utf8(rest).unwrap().replace(": ping\n\n", "");
    assert_eq!(text.as_bytes(), [FINISH, DONE].concat());
}

#[tokio::test]
async fn sixty_streams_and_forty_hanging_requests_delay_nobody() {
    let upstream = Upstream::start(|seen| match seen.header("idempotency-key") {
        Some("hang") => vec![Step::Hang],
        Some("stream") => vec![events_head(), chunk(&delta("a")), Step::Hang],
        _ => crate::support::upstream::chat("quick"),
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let mut kept = Vec::new();
    for _ in 0..60 {
        let request = gateway.post("/v1/chat/completions", &ask(true));
        let answer = request.header("idempotency-key", "stream").send().await.unwrap();
        kept.push(answer.bytes_stream());
    }
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let request = gateway.post("/v1/chat/completions", &ask(false));
        hanging.spawn(request.header("idempotency-key", "hang").send());
    }
    upstream.arrived(100).await;
    // All hundred are held open by the provider; the quick one must pass them.
    let quick = gateway.post("/v1/chat/completions", &ask(false)).send();
    let answer = tokio::time::timeout(Duration::from_secs(10), quick).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(gateway.health().await["in_flight"], 100);
    drop(kept);
    hanging.abort_all();
    upstream.abandoned(100).await;
    gateway.health_until(|health| health["in_flight"] == 0).await;
}

#[tokio::test]
async fn binary_answers_pass_unchanged_and_a_broken_one_is_cut() {
    let sound: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
    let upstream = Upstream::start({
        let sound = sound.clone();
        move |seen| {
            if seen.json()["voice"] == "broken" {
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 9\r\n\r\nabc";
                return vec![Step::Write(head.into()), Step::Close];
            }
            whole(200, "content-type: audio/mpeg\r\nset-cookie: a=b\r\n", &sound)
        }
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "input": "hi", "voice": "alloy" });
    let answer = gateway.post("/v1/audio/speech", &body).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "audio/mpeg");
    assert_eq!(answer.headers()["content-length"], sound.len().to_string());
    assert!(answer.headers().get("set-cookie").is_none());
    assert_eq!(answer.bytes().await.unwrap(), sound);
    let body = json!({ "model": "m", "input": "hi", "voice": "broken" });
    let answer = gateway.post("/v1/audio/speech", &body).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "a cut answer must not look whole");
    let rows = gateway.rows("status, http_status", 2).await;
    assert_eq!(rows[0], ["ok".to_owned().into(), 200.into()]);
    assert_eq!(rows[1], ["error".to_owned().into(), 200.into()]);
}

#[tokio::test]
async fn neither_sides_secrets_cross() {
    let upstream = Upstream::start(|_| {
        crate::support::upstream::json(
            200,
            "set-cookie: up=1\r\nserver: up\r\nopenai-organization: org\r\nx-ratelimit-limit-requests: 9\r\n",
            r#"{"object":"list","data":[],"usage":{"prompt_tokens":2,"total_tokens":2}}"#,
        )
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let answer = gateway
        .post("/v1/embeddings", &json!({ "model": "m", "input": "a" }))
        .header("cookie", "client=1")
        .header("x-mcp-servers", "db")
        .header("x-api-key", KEY)
        .header("openai-beta", "x=v1")
        .send()
        .await
        .unwrap();
    let headers = answer.headers().clone();
    assert_eq!(headers["x-ratelimit-limit-requests"], "9");
    for name in ["set-cookie", "server", "openai-organization"] {
        assert!(headers.get(name).is_none(), "{name}");
    }
    for name in ["x-request-id", "x-litellm-call-id", "x-litellm-model-id"] {
        assert!(headers.get(name).is_some(), "{name}");
    }
    for name in ["x-litellm-response-duration-ms", "x-litellm-overhead-duration-ms"] {
        assert!(headers[name].to_str().unwrap().parse::<f64>().unwrap() >= 0.0);
    }
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header("authorization"), Some("Bearer sk-upstream-secret"));
    assert_eq!(seen.header("openai-beta"), Some("x=v1"));
    for name in ["cookie", "x-mcp-servers", "x-api-key"] {
        assert!(seen.header(name).is_none(), "{name}");
    }
    assert!(!format!("{:?}", seen.headers).contains(KEY));
}

#[tokio::test]
async fn a_request_body_passes_byte_for_byte_but_for_the_model() {
    let upstream = Upstream::start(|_| crate::support::upstream::chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = "{ \"x_future\" : 1.00e0,\n\"model\":\"m\", \"seed\":18446744073709551616, \"messages\":[ ] }";
    let answer = gateway
        .client
        .post(gateway.url("/chat/completions"))
        .bearer_auth(KEY)
        .header("content-type", "application/json; charset=utf-8")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let expected = body.replace("\"m\"", "\"up\"");
    assert_eq!(String::from_utf8_lossy(&upstream.seen()[0].body), expected);
    let columns = "input_tokens, cache_read_tokens, reasoning_tokens, key_alias, lane, surface";
    let rows = gateway.rows(columns, 1).await;
    assert_eq!(rows[0][..3], [11.into(), 5.into(), 3.into()]);
    assert_eq!(rows[0][3], "tester".to_owned().into());
    assert_eq!(rows[0][5], "/v1/chat/completions".to_owned().into());
}

/// The mock is a provider like any other: its row has what was used, and who did not ask is not told.
#[tokio::test]
async fn streams_of_the_mock_count_in_their_rows() {
    let gateway = Gateway::start(&format!(
        "model_list:\n- {{model_name: m, litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    ));
    let mut completion = json!({ "model": "m", "stream": true, "prompt": "hi" });
    for asks in [false, true] {
        if asks {
            completion["stream_options"] = json!({ "include_usage": true });
        }
        for (path, body) in [("/v1/chat/completions", &ask(asks)), ("/v1/completions", &completion)]
        {
            let said = gateway.post(path, body).send().await.unwrap().text().await.unwrap();
            assert_eq!(said.contains("\"usage\":{"), asks, "{path}: {said}");
            assert!(said.ends_with("data: [DONE]\n\n"), "{path}: {said}");
        }
    }
    let rows = gateway.rows("input_tokens, output_tokens, usage_source", 4).await;
    for row in rows {
        let row: Vec<String> = row.iter().map(|value| format!("{value:?}")).collect();
        assert_eq!(row, ["Integer(1)", "Integer(10)", "Text(\"provider\")"]);
    }
}
