//! Input of every bad kind: a clear answer in bounded memory, and the gateway goes on.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, KEY, one_model};
use crate::support::upstream::{Upstream, chat};

const MIB: usize = 1024 * 1024;

async fn post(gateway: &Gateway, kind: &str, body: Vec<u8>) -> (u16, Value) {
    let answer = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(KEY)
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn bad_bodies_get_a_clear_400() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let deep = format!("{{\"model\":\"m\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(&[u8], &str); 16] = [
        (b"", "ends too early"),
        (b"{", "ends too early"),
        (b"[]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b"\"x\"", "expected a JSON object"),
        (b"{}", "`model`"),
        (b"{\"model\":null}", "`model` must be a string"),
        (b"{\"model\":[\"m\"]}", "`model` must be a string"),
        (b"{\"model\":\"m\",\"model\":\"m\"}", "more than once"),
        (b"{\"model\":\"m\",\"stream\":\"yes\"}", "`stream` must be true or false"),
        (b"{\"model\":\"m\"}\0", "end of the text"),
        (b"\0{\"model\":\"m\"}", "expected a JSON object"),
        (b"{\"model\":\"m\",\"x\":\"\xff\"}", "not UTF-8"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        (b"{\"model\":\"m\",}", "expected a quoted key"),
        (deep.as_bytes(), "nested too deeply"),
    ];
    for (body, text) in cases {
        let (status, answer) = post(&gateway, "application/json", body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(status, 400, "{shown}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(text), "{shown}: {message}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(post(&gateway, kind, b"{\"model\":\"m\"}".to_vec()).await.0, 415);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn large_bodies_pass_up_to_the_bound() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let frame = br#"{"model":"m","x":""}"#.len();
    let body =
        |size: usize| format!(r#"{{"model":"m","x":"{}"}}"#, "a".repeat(size - frame)).into_bytes();
    assert_eq!(post(&gateway, "application/json", body(32 * MIB)).await.0, 200);
    assert_eq!(upstream.seen()[0].body.len(), 32 * MIB + 1);
    let (status, answer) = post(&gateway, "application/json", body(33 * MIB)).await;
    assert_eq!(status, 413);
    assert!(answer["error"]["message"].as_str().unwrap().contains("32 MiB"));
    // Without a declared length, too.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body(33 * MIB).chunks(MIB).map(|piece| Ok(piece.to_vec())).collect();
    let answer = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(KEY)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body(2 * MIB).chunks(1000).map(|piece| Ok(piece.to_vec())).collect();
    let answer = gateway
        .client
        .post(gateway.url("/v1/chat/completions"))
        .bearer_auth(KEY)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

/// Sends raw bytes and reads until the gateway closes or the answer's head is there.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let _cut_off = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count) = stream.read(&mut piece).await {
        answer.extend_from_slice(&piece[..count]);
        if count == 0 || answer.windows(4).any(|window| window == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_that_are_not_http_are_refused_and_nothing_is_smuggled() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let auth = format!("authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n");
    let post = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
    let refused = [
        "NONSENSE\r\n\r\n".to_owned(),
        format!("{post}{auth}content-length: 5\r\ncontent-length: 6\r\n\r\n"),
        format!("{post}{auth}content-length: -1\r\n\r\n"),
        format!("{post}{auth}transfer-encoding: chunked, identity\r\n\r\n"),
        format!("{post}{auth}content-length : 5\r\n\r\nhello"),
        format!("{post}x: {}\r\n\r\n", "y".repeat(70_000)),
        format!("{post}{}\r\n", "x-flood: 1\r\n".repeat(200)),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)),
    ];
    for request in refused {
        let answer = raw(&gateway, request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
        assert!(
            matches!(status.as_str(), "400" | "414" | "431" | "closed"),
            "{}: {answer}",
            &request[..request.len().min(80)]
        );
    }
    // A declared five gibibytes are refused before they are sent.
    let answer =
        raw(&gateway, format!("{post}{auth}content-length: 5368709120\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // A wrong key is refused without its body being read.
    let answer = raw(&gateway, format!("{post}authorization: Bearer sk-no\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{{").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.health().await["status"], "healthy");
}

#[tokio::test]
async fn memory_stays_bounded_under_refused_floods() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let resident = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", gateway.process())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    let before = resident();
    let body = vec![b'['; 33 * MIB];
    for _ in 0..8 {
        assert_eq!(post(&gateway, "application/json", body.clone()).await.0, 413);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 * MIB, "grown by {} KiB", grown / 1024);
}

#[tokio::test]
async fn many_requests_at_once_are_shed_not_queued() {
    let upstream = Upstream::start(|_| vec![crate::support::upstream::Step::Hang]).await;
    let config = one_model(&upstream.base())
        .replace("general_settings:", "general_settings:\n  global_max_parallel_requests: 3");
    let gateway = Gateway::start(&config);
    let body = json!({ "model": "m", "messages": [] });
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..3 {
        hanging.spawn(gateway.post("/v1/chat/completions", &body).send());
    }
    upstream.arrived(3).await;
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    hanging.abort_all();
    upstream.abandoned(3).await;
    gateway.health_until(|health| health["in_flight"] == 0).await;
    let rows = gateway.rows("status", 4).await;
    let shed = rows.iter().filter(|row| row[0] == "shed".to_owned().into()).count();
    assert_eq!(shed, 1);
}
