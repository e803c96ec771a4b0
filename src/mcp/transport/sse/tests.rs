//! The older transport against scripted servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::mcp::transport::tests::server::{Seen, Server, Step, answer, events, json, result};
use crate::mcp::transport::tests::{CREDENTIAL, ask, came, check_text, entry, headers, tell};

type Came = mpsc::Receiver<Incoming>;

async fn open(url: &str, allowed_hosts: &[&str]) -> Result<(Stream, Came), Failure> {
    let (server, url) = entry(url, allowed_hosts);
    let (sender, incoming) = mpsc::channel(64);
    let stream = Stream::open(&server, &url, headers(), sender).await;
    Ok((stream.inspect_err(check_text)?, incoming))
}

/// A server that names this endpoint, says this on the stream and answers POSTs so.
async fn connect(
    stream: &'static str,
    post: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
) -> (Server, Stream, Came) {
    let server = Server::start(move |seen| {
        if !seen.is("GET") {
            return post(seen);
        }
        events(&format!("event: endpoint\r\ndata: /messages?s=1\r\n\r\n{stream}"), Step::Hang)
    })
    .await;
    let (stream, incoming) = open(&server.url("/sse"), &[]).await.expect("open");
    (server, stream, incoming)
}

#[tokio::test]
async fn messages_go_to_the_endpoint_and_come_on_the_stream() {
    let stream = ": ping\n\nevent: message\ndata: {\"n\":1}\n\nevent: ping\ndata: x\n\ndata: {\"n\":2}\n\n\
                  event: endpoint\ndata: /other\n\n";
    let (mut server, stream, mut incoming) = connect(stream, |_| answer(202, "", "Accepted")).await;
    assert_eq!(came(&mut incoming).await, r#"-: {"n":1}"#);
    assert_eq!(came(&mut incoming).await, r#"-: {"n":2}"#);
    stream.agreed(Revision::V2024_11_05);
    stream.send(tell("notifications/initialized")).await.expect("accepted");
    stream.send(ask(1, "tools/list")).await.expect("sent");
    let first = server.next().await;
    assert_eq!((first.line.as_str(), first.header("accept")), ("GET /sse", "text/event-stream"));
    for method in ["notifications/initialized", "tools/list"] {
        let seen = server.next().await;
        assert_eq!(seen.line, "POST /messages?s=1");
        assert!(seen.asks(method));
        assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!(seen.header("mcp-protocol-version"), "2024-11-05");
    }
    stream.close();
    server.abandoned(1).await;
    let failure = stream.send(ask(2, "x")).await.expect_err("closed");
    assert_eq!(failure.kind, FailureKind::Closed);
}

#[tokio::test]
async fn an_answer_may_come_in_the_post() {
    let (_server, stream, mut incoming) = connect("", |seen| {
        if seen.asks("bad") {
            let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"m"}}"#;
            return json(400, error);
        }
        json(200, &result(1))
    })
    .await;
    stream.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    stream.send(ask(2, "bad")).await.expect("sent");
    let error = r#"2: {"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"m"}}"#;
    assert_eq!(came(&mut incoming).await, error);
}

#[tokio::test]
async fn a_refused_post_loses_its_request_and_a_gone_session_all() {
    let (_server, stream, mut incoming) = connect("", |seen| {
        let status = if seen.asks("gone") { 404 } else { 500 };
        answer(status, "", "Could not find session")
    })
    .await;
    stream.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Refused(500)");
    let failure = stream.send(tell("n")).await.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Refused(StatusCode::INTERNAL_SERVER_ERROR));
    stream.send(ask(2, "gone")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "2 lost: SessionExpired");
    assert_eq!(came(&mut incoming).await, "closed: SessionExpired");
    stream.send(ask(3, "x")).await.expect_err("over");
}

#[tokio::test]
async fn the_end_of_the_stream_is_told_once() {
    let server = Server::start(|_| {
        events("event: endpoint\ndata: /m\n\ndata: {\"n\":1}\n\ndata: {\"n\":", Step::Close)
    })
    .await;
    let (stream, mut incoming) = open(&server.url("/sse"), &[]).await.expect("open");
    assert_eq!(came(&mut incoming).await, r#"-: {"n":1}"#);
    assert_eq!(came(&mut incoming).await, "closed: Lost");
    stream.send(ask(1, "x")).await.expect_err("over");
    drop(stream);
    assert!(incoming.recv().await.is_none());
}

#[tokio::test]
async fn a_stream_cut_anywhere_names_its_endpoint_or_is_not_opened() {
    let text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
                event: endpoint\ndata: /messages?s=1\n\n";
    let at = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let at = at.fetch_add(1, Ordering::SeqCst);
        vec![Step::Write(text.as_bytes()[..at].to_vec()), Step::Close]
    })
    .await;
    for at in 0..=text.len() {
        let opened = open(&server.url("/sse"), &[]).await;
        assert_eq!(opened.is_ok(), at == text.len(), "{at}");
    }
}

#[tokio::test]
async fn the_endpoint_stays_with_its_server() {
    let named = async |endpoint: String, allowed: &[&str]| {
        let text = format!("event: endpoint\ndata: {endpoint}\n\n");
        let mut server = Server::start(move |seen| {
            if seen.is("GET") { events(&text, Step::Hang) } else { answer(202, "", "") }
        })
        .await;
        let (stream, _incoming) = open(&server.url("/a/sse?q=q-secret"), allowed).await.ok()?;
        stream.send(tell("n")).await.expect("accepted");
        let _get = server.next().await;
        Some(server.next().await.line)
    };
    assert_eq!(named("messages/".into(), &[]).await.as_deref(), Some("POST /a/messages/"));
    assert_eq!(named("/m?s=1#x".into(), &[]).await.as_deref(), Some("POST /m?s=1"));
    for foreign in [
        "http://example.invalid/m",
        "//example.invalid/m",
        "http://127.0.0.1:9/m",
        "http://127.0.0.1@example.invalid/m",
        "https://127.0.0.1:9/m",
        "file:///etc/passwd",
        "http://[",
    ] {
        assert_eq!(named(foreign.into(), &[]).await, None, "{foreign}");
    }
    let mut other = Server::start(|_| answer(202, "", "")).await;
    let elsewhere = format!("event: endpoint\ndata: http://localhost:{}/m\n\n", other.port());
    let server = Server::start(move |_| events(&elsewhere, Step::Hang)).await;
    let allowed = ["127.0.0.1", "localhost"];
    let (stream, _incoming) = open(&server.url("/sse"), &allowed).await.expect("open");
    stream.send(tell("n")).await.expect("accepted");
    let seen = other.next().await;
    assert_eq!((seen.line.as_str(), seen.header("authorization")), ("POST /m", ""));
}

#[tokio::test]
async fn a_url_without_a_path_is_tried_with_the_customary_one() {
    let mut server = Server::start(|seen| match seen.line.as_str() {
        "GET /" => answer(200, "content-type: text/html\r\n", "<h1>Welcome</h1>"),
        "GET /sse" => answer(307, "location: /sse/\r\n", ""),
        "GET /sse/" => events("event: endpoint\ndata: ../m\n\n", Step::Hang),
        _ => answer(202, "", ""),
    })
    .await;
    let (stream, _incoming) = open(&server.url(""), &[]).await.expect("open");
    stream.send(tell("n")).await.expect("accepted");
    assert_eq!(server.rest(), ["GET /", "GET /sse", "GET /sse/", "POST /m"]);
    for (status, tries) in [(404, 2), (405, 2), (401, 1), (500, 1)] {
        let mut server = Server::start(move |_| answer(status, "", "")).await;
        let failure = open(&server.url(""), &[]).await.err().expect("refused");
        assert_eq!(failure.kind, FailureKind::Refused(StatusCode::from_u16(status).expect("one")));
        assert_eq!(server.rest().len(), tries);
    }
}

#[tokio::test]
async fn hostile_sizes_are_bounded() {
    let flood = || Step::Flood(vec![b'x'; 1 << 20]);
    let server = Server::start(move |_| events("event: endpoint\ndata: /", flood())).await;
    let failure = open(&server.url("/sse"), &[]).await.err().expect("refused");
    assert_eq!(failure.kind, FailureKind::Garbage);
    let text = "event: endpoint\ndata: /m\n\ndata: ";
    let server = Server::start(move |_| events(text, flood())).await;
    let (_stream, mut incoming) = open(&server.url("/sse"), &[]).await.expect("open");
    assert_eq!(came(&mut incoming).await, "closed: Garbage");
}

#[tokio::test]
async fn dropping_the_stream_ends_all() {
    let (mut server, stream, mut incoming) = connect("", |_| vec![Step::Hang]).await;
    stream.send(ask(1, "x")).await.expect("sent");
    stream.send(ask(2, "x")).await.expect("sent");
    for _ in 0..3 {
        server.next().await;
    }
    stream.abandon(&Id::number(1));
    server.abandoned(1).await;
    drop(stream);
    server.abandoned(3).await;
    assert!(incoming.recv().await.is_none());
}
