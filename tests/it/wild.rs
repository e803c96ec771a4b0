//! The wild: clients and providers that bend HTTP. Each case was first tried by hand against the running
//! gateway; what is kept here is what must stay true of the bytes on the wire.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, KEY, one_model};
use crate::support::upstream::{
    DONE, FINISH, Step, Upstream, chat, chunk, delta, events_head, last_chunk, whole,
};

const HI: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// A request as bytes; `extra` are whole header lines.
fn request(path: &str, extra: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\n{extra}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status of each answer until the gateway closes the connection or has given `count` of them.
async fn answers(gateway: &Gateway, bytes: &[u8], count: usize) -> Vec<u16> {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let statuses: Vec<u16> = String::from_utf8_lossy(&text)
            .split("HTTP/1.")
            .skip(1)
            .filter_map(|answer| answer.get(2..5)?.parse().ok())
            .collect();
        let read = if statuses.len() < count { stream.read(&mut piece).await } else { Ok(0) };
        match read {
            Ok(0) | Err(_) => return statuses,
            Ok(more) => text.extend_from_slice(&piece[..more]),
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let good = request("/v1/chat/completions", "", HI);
    let wrong = good.replace(KEY, "sk-nobody");
    let elsewhere = request("/v1/nowhere", "", HI);
    let text = [good.as_str(), &wrong, &elsewhere, &good].concat();
    assert_eq!(answers(&gateway, text.as_bytes(), 4).await, [200, 401, 404, 200]);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_stands_behind_a_body_with_two_lengths_is_never_a_request() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let hidden = request("/v1/chat/completions", "", HI);
    // RFC 9112 section 6.3: transfer-encoding wins, and the connection ends after the answer.
    let text = request("/v1/chat/completions", "transfer-encoding: chunked\r\n", "");
    let text = text.replace("content-length: 0", &format!("content-length: {}", 5 + hidden.len()));
    let answered = answers(&gateway, format!("{text}0\r\n\r\n{hidden}").as_bytes(), 2).await;
    assert_eq!(answered, [400]);
    for line in [
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 5\r\n",
        "x: a\r\n b\r\n",
        "x: a\rb\r\n",
        "x: a\0b\r\n",
    ] {
        let text = request("/v1/chat/completions", line, &hidden);
        assert_eq!(answers(&gateway, text.as_bytes(), 2).await, [400], "{line:?}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_body_is_only_invited_when_it_is_wanted() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let expects = |path: &str, length: u64| {
        request(path, "expect: 100-continue\r\n", "")
            .replace("content-length: 0", &format!("content-length: {length}"))
    };
    let invited = expects("/v1/chat/completions", HI.len() as u64) + HI;
    assert_eq!(answers(&gateway, invited.as_bytes(), 2).await, [100, 200]);
    let stranger = expects("/v1/chat/completions", 100).replace(KEY, "sk-nobody");
    assert_eq!(answers(&gateway, stranger.as_bytes(), 1).await, [401]);
    assert_eq!(answers(&gateway, expects("/v1/nowhere", 100).as_bytes(), 1).await, [404]);
    let huge = expects("/v1/chat/completions", 5 << 30);
    assert_eq!(answers(&gateway, huge.as_bytes(), 1).await, [413]);
}

#[tokio::test]
async fn old_and_odd_requests_are_served() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let plain = request("/v1/chat/completions", "", HI);
    let chunked: String = HI.chars().map(|c| format!("1;x=y\r\n{c}\r\n")).collect();
    let chunked = request("/v1/chat/completions", "transfer-encoding: chunked\r\n", "")
        .replace("content-length: 0\r\n", "")
        + &chunked
        + "0\r\nx-trailer: 1\r\n\r\n";
    for text in [
        plain.replace("HTTP/1.1", "HTTP/1.0"),
        plain.replace("POST /", "POST http://elsewhere.example/"),
        plain.replace(" HTTP/1.1", "?api-version=2024-10-21 HTTP/1.1"),
        plain.replace(" HTTP/1.1", "/ HTTP/1.1"),
        plain.replace("POST /v1/", "POST /"),
        format!("\r\n\r\n{plain}"),
        chunked,
    ] {
        assert_eq!(answers(&gateway, text.as_bytes(), 1).await, [200], "{text}");
    }
    assert!(upstream.seen().iter().all(|seen| seen.path == "/v1/chat/completions"));
    assert!(upstream.seen().iter().all(|seen| seen.json()["model"] == "up"));
}

#[tokio::test]
async fn prior_knowledge_http2_is_served() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..150 {
        let post = client.post(gateway.url("/v1/chat/completions")).bearer_auth(KEY);
        together.spawn(post.header("content-type", "application/json").body(HI).send());
    }
    while let Some(answer) = together.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
        answer.bytes().await.unwrap();
    }
    assert_eq!(gateway.rows("status", 150).await.len(), 150);
}

/// What a client gets for a chat request while the provider answers with these bytes.
async fn answer_to(steps: Vec<Step>, stream: bool) -> (u16, http::HeaderMap, String) {
    let upstream = Upstream::start(move |_| steps.clone()).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": stream, "messages": [] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    gateway.health_until(|health| health["in_flight"] == 0).await;
    assert_eq!(gateway.rows("status", 1).await.len(), 1);
    (status, headers, text)
}

fn write(bytes: &[u8]) -> Step {
    Step::Write(bytes.to_vec())
}

#[tokio::test]
async fn interim_answers_and_trailers_of_a_provider_stay_there() {
    let Some(Step::Write(reply)) = chat("ok").pop() else { panic!("one write") };
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";
    let steps = vec![write(b"HTTP/1.1 100 Continue\r\n\r\n"), write(hint), write(&reply)];
    let (status, headers, _) = answer_to(steps, false).await;
    assert_eq!((status, headers.get("link")), (200, None));
    let end = write(b"0\r\nset-cookie: a=b\r\n\r\n");
    let steps = vec![events_head(), chunk(&delta("a")), chunk(FINISH), chunk(DONE), end];
    let (status, headers, text) = answer_to(steps, true).await;
    assert_eq!((status, headers.get("set-cookie")), (200, None));
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("set-cookie"));
}

#[tokio::test]
async fn a_providers_cookies_keys_and_framing_stay_there() {
    let headers = "set-cookie: a=b\r\nserver: up\r\nauthorization: Bearer sk-upstream-secret\r\n\
                   x-api-key: sk-upstream-secret\r\nx-request-id: theirs\r\n\
                   access-control-allow-origin: https://theirs.example\r\n\
                   x-ratelimit-limit-requests: 5\r\ncontent-type: application/json\r\n";
    let (status, headers, _) = answer_to(whole(200, headers, b"{\"choices\":[]}"), false).await;
    assert_eq!(status, 200);
    assert_eq!(headers["x-ratelimit-limit-requests"], "5");
    for name in
        ["set-cookie", "server", "authorization", "x-api-key", "access-control-allow-origin"]
    {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_ne!(headers["x-request-id"], "theirs");
}

#[tokio::test]
async fn answers_that_cannot_be_trusted_become_a_502() {
    let kind = "content-type: application/json\r\n";
    let head = |extra: &str| format!("HTTP/1.1 200 OK\r\n{kind}{extra}\r\n").into_bytes();
    let cases: [(&str, Vec<Step>); 9] = [
        (
            "two lengths",
            vec![write(&head("content-length: 2\r\ncontent-length: 3\r\n")), write(b"{}")],
        ),
        ("too many headers", vec![write(&head(&"x: y\r\n".repeat(200)))]),
        (
            "a chunk without a size",
            vec![write(&head("transfer-encoding: chunked\r\n")), write(b"ZZ\r\n")],
        ),
        (
            "less than its length",
            vec![write(&head("content-length: 9\r\n")), write(b"{}"), Step::Close],
        ),
        ("a control character", vec![write(&head("x: \0\r\ncontent-length: 2\r\n")), write(b"{}")]),
        ("another protocol", vec![write(b"SSH-2.0-OpenSSH_9.2\r\n"), Step::Close]),
        ("no JSON", whole(200, kind, b"{\"choices\":[")),
        ("nothing", whole(200, kind, b"")),
        ("compressed unasked", whole(200, kind, b"\x1f\x8b\x08\0\0\0\0\0\0\x03")),
    ];
    for (what, steps) in cases {
        let (status, _, text) = answer_to(steps, false).await;
        assert_eq!(status, 502, "{what}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["error"]["type"], "server_error", "{what}");
    }
}

#[tokio::test]
async fn every_line_end_and_a_byte_order_mark_pass_through_a_stream() {
    let whole = [delta("a"), FINISH.to_vec(), DONE.to_vec()].concat();
    let text = String::from_utf8(whole).unwrap();
    for sent in [text.replace('\n', "\r\n"), text.replace('\n', "\r"), format!("\u{feff}{text}")] {
        let steps = vec![events_head(), chunk(sent.as_bytes()), last_chunk()];
        let (status, _, got) = answer_to(steps, true).await;
        assert_eq!((status, got), (200, sent));
    }
    // A server of HTTP/1.0 ends its stream by closing.
    let head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let steps = vec![write(head), write(text.as_bytes()), Step::Close];
    assert_eq!(answer_to(steps, true).await.2, text);
}

#[tokio::test]
async fn two_hundred_clients_drop_their_streams_and_nothing_is_left() {
    let upstream = Upstream::start(|_| vec![events_head(), chunk(&delta("a")), Step::Hang]).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": true, "messages": [] });
    let count = 200;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..count {
        let answer = gateway.post("/v1/chat/completions", &body).send();
        streams.spawn(async move {
            let mut answer = answer.await.unwrap();
            assert!(answer.chunk().await.unwrap().is_some());
            answer
        });
    }
    let mut open = Vec::new();
    while let Some(answer) = streams.join_next().await {
        open.push(answer.unwrap());
    }
    assert_eq!(gateway.health().await["in_flight"], count);
    drop(open);
    upstream.abandoned(count).await;
    gateway.health_until(|health| health["in_flight"] == 0).await;
    let rows = gateway.rows("status, client_closed", count).await;
    assert_eq!(rows.len(), count);
    assert!(rows.iter().all(|row| row[0] == "cancelled".to_owned().into() && row[1] == 1.into()));
}

#[tokio::test]
async fn statuses_that_are_no_answer_become_a_502() {
    for line in
        ["101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x", "999 Odd", "204 None"]
    {
        let steps = vec![write(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes())];
        assert_eq!(answer_to(steps, false).await.0, 502, "{line}");
    }
}

#[tokio::test]
async fn a_stream_under_another_name_is_still_a_stream() {
    for kind in ["Text/Event-Stream", "text/plain", "application/octet-stream", ""] {
        let line =
            if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        let head = format!("HTTP/1.1 200 OK\r\n{line}transfer-encoding: chunked\r\n\r\n");
        let head = write(head.as_bytes());
        let cut = answer_to(vec![head.clone(), chunk(&delta("a")), last_chunk()], true).await.2;
        assert!(cut.contains("broke off"), "{kind}: {cut}");
        let usage = chunk(crate::support::upstream::USAGE);
        let whole = vec![head, chunk(FINISH), usage, chunk(DONE), last_chunk()];
        let (_, headers, text) = answer_to(whole, true).await;
        assert!(
            headers["content-type"].to_str().unwrap().eq_ignore_ascii_case("text/event-stream")
        );
        assert!(!text.contains("prompt_tokens") && text.ends_with("[DONE]\n\n"), "{kind}: {text}");
    }
}

#[tokio::test]
async fn compressed_answers_are_refused_by_name() {
    let kind = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let (status, _, text) = answer_to(whole(200, kind, b"\x1f\x8b\x08"), false).await;
    assert_eq!(status, 502);
    assert!(text.contains("compressed"), "{text}");
}

#[tokio::test]
async fn a_refused_upload_still_reads_its_refusal() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = "x".repeat(10 * 1024 * 1024);
    for (path, key, status) in [
        ("/v1/chat/completions", "sk-nobody", 401),
        ("/v1/nowhere", KEY, 404),
        ("/v1/audio/transcriptions", KEY, 415),
    ] {
        let request = request(path, "", &body).replace(KEY, key);
        // The refusal comes although the whole body had to be sent first, and the connection lives on.
        let again = request.clone() + &request;
        assert_eq!(answers(&gateway, again.as_bytes(), 2).await, [status, status], "{path}");
    }
}

#[tokio::test]
async fn a_provider_that_closes_after_each_answer_is_no_fault() {
    let upstream = Upstream::start(|_| {
        let mut steps = chat("ok");
        steps.push(Step::Close);
        steps
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let body = serde_json::from_str::<Value>(HI).unwrap();
        asking.spawn(gateway.post("/v1/chat/completions", &body).send());
    }
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_last_event_even_if_the_provider_stays() {
    let all = [delta("a").as_slice(), FINISH, DONE].concat();
    let upstream = Upstream::start({
        let all = all.clone();
        move |_| vec![events_head(), chunk(&all), Step::Hang]
    })
    .await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": true, "messages": [] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), all);
    upstream.abandoned(1).await;
    let rows = gateway.rows("status", 1).await;
    assert_eq!(rows[0][0], "ok".to_owned().into());
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let good = request("/v1/chat/completions", "", HI);
    let chunked =
        good.replace(&format!("content-length: {}", HI.len()), "transfer-encoding: chunked");
    let framed = chunked.replace(HI, "");
    for (bad, status) in [
        (good.replace("host: localhost\r\n", ""), 400),
        (good.replace("host: localhost\r\n", "host: a\r\nhost: b\r\n"), 400),
        (framed.replace("chunked", "gzip, chunked") + "0\r\n\r\n", 400),
        (framed.clone() + "FFFFFFFFFFFFFFFFFF\r\n", 400),
        (framed + "5\r\nhelloXX", 400),
        (
            good.replace("\"m\"", &format!("\"{}\"", "m".repeat(300))).replace(
                &format!("content-length: {}", HI.len()),
                &format!("content-length: {}", HI.len() + 299),
            ),
            400,
        ),
    ] {
        let got = answers(&gateway, bad.as_bytes(), 1).await;
        assert_eq!(got, [status], "{}", &bad[..bad.len().min(300)]);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn names_are_repeated_short_and_plain() {
    let upstream = Upstream::start(|_| chat("ok")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "evil\u{202E}\n\u{7}name", "messages": [] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("`evilname`"));
    let long = gateway.get(&format!("/v1/models/{}", "x".repeat(5_000))).send().await.unwrap();
    assert_eq!(long.status(), 404);
    assert!(long.bytes().await.unwrap().len() < 400);
}
