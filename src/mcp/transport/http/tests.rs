//! Streamable HTTP against scripted servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::mcp::transport::MAX_MESSAGE;
use crate::mcp::transport::tests::server::{
    Seen, Server, Step, answer, chunked_events, events, json, result,
};
use crate::mcp::transport::tests::{CREDENTIAL, ask, came, check_text, entry, headers, tell};

type Came = mpsc::Receiver<Incoming>;

fn connect_to(url: &str, allowed_hosts: &[&str]) -> (Endpoint, Came) {
    let (server, url) = entry(url, allowed_hosts);
    let (sender, incoming) = mpsc::channel(64);
    let endpoint = Endpoint::new(&server, &url, headers(), sender).expect("a client");
    (endpoint, incoming)
}

async fn connect(
    script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
) -> (Server, Endpoint, Came) {
    let server = Server::start(script).await;
    let (endpoint, incoming) = connect_to(&server.url("/mcp"), &[]);
    (server, endpoint, incoming)
}

/// One request, answered so: what comes of it.
async fn outcome(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> String {
    let (_server, endpoint, mut incoming) = connect(move |_| steps()).await;
    endpoint.send(ask(1, "tools/list")).await.expect("sent");
    came(&mut incoming).await
}

const INITIALIZED: &str = "content-type: application/json\r\nmcp-session-id: session-1\r\n";

/// A server with sessions: `script` answers all but the opening of one.
async fn session(
    script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
) -> (Server, Endpoint, Came) {
    let (mut server, endpoint, mut incoming) = connect(move |seen| {
        if seen.asks("initialize") {
            return answer(200, INITIALIZED, &result(0));
        }
        script(seen)
    })
    .await;
    endpoint.send(ask(0, "initialize")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, format!("0: {}", result(0)));
    assert_eq!(server.next().await.header("mcp-session-id"), "");
    endpoint.agreed(Revision::V2025_11_25);
    (server, endpoint, incoming)
}

#[tokio::test]
async fn a_json_body_is_the_answer_and_the_headers_are_right() {
    let (mut server, endpoint, mut incoming) = connect(|_| json(200, &result(1))).await;
    let mut message = ask(1, "tools/list");
    message.headers.insert("mcp-method", HeaderValue::from_static("tools/list"));
    message.headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    message.headers.insert("host", HeaderValue::from_static("elsewhere"));
    endpoint.send(message).await.expect("sent");
    assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    let seen = server.next().await;
    assert_eq!(seen.line, "POST /mcp");
    assert_eq!(seen.header("accept"), "application/json, text/event-stream");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
    assert_eq!(seen.header("mcp-method"), "tools/list");
    assert_eq!(seen.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(seen.header("host"), server.url("").trim_start_matches("http://"));
    assert_eq!(seen.header("accept-encoding"), "identity");
    assert!(seen.asks("tools/list"));
}

#[tokio::test]
async fn a_stream_brings_what_belongs_to_the_request() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
    let text = format!(
        ": hello\n\nevent: message\ndata: {note}\n\nevent: other\ndata: x\n\ndata: {}\n\n",
        result(1)
    );
    let (mut server, endpoint, mut incoming) = connect(move |_| chunked_events(&text)).await;
    for id in [1, 1] {
        endpoint.send(ask(id, "tools/call")).await.expect("sent");
        assert_eq!(came(&mut incoming).await, format!("1: {note}"));
        assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    }
    assert_eq!(server.rest().len(), 2);
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_whole_or_lost() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: ";
    let stream = format!("{head}text/event-stream\r\n\r\ndata: {}\n\n", result(1));
    let body = result(1);
    let plain = format!("{head}application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for text in [stream, plain] {
        let at = AtomicUsize::new(0);
        let length = text.len();
        let (_server, endpoint, mut incoming) = connect(move |_| {
            let at = at.fetch_add(1, Ordering::SeqCst);
            vec![Step::Write(text.as_bytes()[..at].to_vec()), Step::Close]
        })
        .await;
        let mut whole = 0;
        for _ in 0..=length {
            endpoint.send(ask(1, "tools/call")).await.expect("sent");
            match came(&mut incoming).await.as_str() {
                "1 lost: Lost" | "1 lost: Garbage" => assert_eq!(whole, 0),
                answer => {
                    assert_eq!(answer, format!("1: {}", result(1)));
                    whole += 1;
                }
            }
        }
        assert_eq!(whole, 1);
    }
}

#[tokio::test]
async fn errors_are_answers_whatever_their_status_and_id() {
    let error = |id: &str, code: i64| {
        format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":"m"}}}}"#)
    };
    for (status, id, code) in [
        (400, "\"id\":1,", -32022),
        (400, "\"id\":null,", -32020),
        (404, "\"id\":\"server-error\",", -32601),
        (404, "\"id\":1,", -32601),
        (500, "\"id\":\"1\",", -32603),
        (200, "\"id\":null,", -32700),
    ] {
        let body = error(id, code);
        let came = outcome(move || json(status, &body)).await;
        assert_eq!(came, format!("1: {}", error("\"id\":1,", code)));
    }
    let came = outcome(move || json(403, &error("", -32000))).await;
    assert_eq!(came, r#"1: {"id":1,"jsonrpc":"2.0","error":{"code":-32000,"message":"m"}}"#);
}

#[tokio::test]
async fn what_is_no_answer_loses_the_request() {
    let check = async |steps: fn() -> Vec<Step>, expected: &str| {
        assert_eq!(outcome(steps).await, expected);
    };
    check(|| answer(202, "", ""), "1 lost: Garbage").await;
    check(|| answer(204, "", ""), "1 lost: Garbage").await;
    check(|| answer(200, "content-type: text/html\r\n", "<p>hi"), "1 lost: Garbage").await;
    check(|| json(200, r#"{"jsonrpc":"2.0","method":"n"}"#), "1 lost: Garbage").await;
    check(|| json(200, "[]"), "1 lost: Garbage").await;
    check(|| json(500, "oops"), "1 lost: Refused(500)").await;
    check(|| json(404, ""), "1 lost: Refused(404)").await;
    check(|| events("data: {}\n\n", Step::Close), "1 lost: Garbage").await;
    check(|| events("", Step::Close), "1 lost: Lost").await;
    check(|| vec![Step::Close], "1 lost: Lost").await;
    check(|| vec![Step::Reset], "1 lost: Lost").await;
    check(|| vec![Step::Write(b"SSH-2.0-x\r\n\r\n".to_vec()), Step::Close], "1 lost: Garbage")
        .await;
    let invalid = || {
        let body = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}";
        let mut all = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec();
        all.extend_from_slice(body);
        vec![Step::Write(all), Step::Close]
    };
    check(invalid, "1 lost: Garbage").await;
    // The wrong type, but what it should be.
    let came = outcome(|| answer(200, "content-type: text/plain\r\n", &result(1))).await;
    assert_eq!(came, format!("1: {}", result(1)));
}

#[tokio::test]
async fn lists_of_the_one_revision_that_has_them_are_taken_apart() {
    let body = format!(r#"[{{"jsonrpc":"2.0","method":"n"}}, {}]"#, result(1));
    let (_server, endpoint, mut incoming) = connect(move |_| json(200, &body)).await;
    endpoint.send(ask(1, "tools/call")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, r#"1: {"jsonrpc":"2.0","method":"n"}"#);
    assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
}

#[tokio::test]
async fn refusals_are_told_without_what_was_sent_in_confidence() {
    let (server, endpoint, mut incoming) = connect(|_| {
        let challenge = "www-authenticate: Bearer error=\"invalid_token\"\r\n";
        answer(401, challenge, &format!(r#"{{"error":{{"message":"bad key {CREDENTIAL}"}}}}"#))
    })
    .await;
    endpoint.send(ask(1, "x")).await.expect("sent");
    let Some(Incoming::Lost { failure, .. }) = incoming.recv().await else { panic!("lost") };
    assert_eq!(failure.kind, FailureKind::Refused(StatusCode::UNAUTHORIZED));
    let expected = format!(
        r#"{} answered 401 Unauthorized: bad key ***: Bearer error="invalid_token""#,
        server.url("")
    );
    assert_eq!(failure.text, expected);
}

#[tokio::test]
async fn a_url_keeps_its_user_and_query_to_itself() {
    let mut server = Server::start(|_| json(403, r#"{"detail":"q-secret is wrong"}"#)).await;
    let url = server.url("/mcp?key=q-secret").replace("http://", "http://me:p%40ss@");
    let (server_entry, url) = entry(&url, &[]);
    let (sender, mut incoming) = mpsc::channel(64);
    let endpoint = Endpoint::new(&server_entry, &url, HeaderMap::new(), sender).expect("made");
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Refused(403)");
    let seen = server.next().await;
    assert_eq!(seen.line, "POST /mcp?key=q-secret");
    // me:p@ss
    assert_eq!(seen.header("authorization"), "Basic bWU6cEBzcw==");
}

#[tokio::test]
async fn nothing_listens_or_the_connection_breaks() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", gone.local_addr().expect("bound"));
    drop(gone);
    let (endpoint, mut incoming) = connect_to(&url, &[]);
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Unreachable");
    let failure = endpoint.send(tell("n")).await.expect_err("nobody there");
    assert!(failure.is_unprocessed());
    assert!(failure.text.contains("refused"), "{failure}");
}

#[tokio::test]
async fn what_wants_no_answer_is_accepted_or_refused() {
    for status in [200, 202, 204] {
        let (_server, endpoint, _incoming) = connect(move |_| answer(status, "", "")).await;
        endpoint.send(tell("notifications/x")).await.expect("accepted");
    }
    let (_server, endpoint, _incoming) = connect(|_| events("", Step::Hang)).await;
    endpoint.send(tell("notifications/x")).await.expect("accepted");
    let (_server, endpoint, _incoming) = connect(|_| answer(400, "", "no")).await;
    let failure = endpoint.send(tell("notifications/x")).await.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Refused(StatusCode::BAD_REQUEST));
}

#[tokio::test]
async fn a_session_is_carried_listened_to_and_ended() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let (mut server, endpoint, mut incoming) = session(move |seen| {
        if seen.is("GET") {
            return events(&format!("data: {note}\n\n"), Step::Hang);
        }
        answer(202, "", "")
    })
    .await;
    endpoint.send(tell("notifications/initialized")).await.expect("accepted");
    assert_eq!(came(&mut incoming).await, format!("-: {note}"));
    endpoint.send(tell("notifications/x")).await.expect("accepted");
    let (first, second, third) = (server.next().await, server.next().await, server.next().await);
    assert!(first.asks("notifications/initialized"));
    assert_eq!(second.line, "GET /mcp");
    assert_eq!(second.header("accept"), "text/event-stream");
    assert!(third.is("POST"));
    endpoint.close().await;
    server.abandoned(1).await;
    let last = server.next().await;
    assert_eq!(last.line, "DELETE /mcp");
    for seen in [first, second, third, last] {
        assert_eq!(seen.header("mcp-session-id"), "session-1");
        assert_eq!(seen.header("mcp-protocol-version"), "2025-11-25");
        assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
    }
    let failure = endpoint.send(ask(1, "x")).await.expect_err("closed");
    assert_eq!(failure.kind, FailureKind::Closed);
    assert!(server.rest().is_empty());
}

#[tokio::test]
async fn what_comes_before_the_agreement_is_in_no_session() {
    // A server that opens one for anything that it is asked.
    let (mut server, endpoint, mut incoming) = connect(|seen| {
        let session = if seen.asks("initialize") { "session-1" } else { "session-0" };
        answer(200, &format!("mcp-session-id: {session}\r\n"), &result(0))
    })
    .await;
    for method in ["server/discover", "initialize"] {
        endpoint.send(ask(0, method)).await.expect("sent");
        came(&mut incoming).await;
        assert_eq!(server.next().await.header("mcp-session-id"), "");
    }
    endpoint.agreed(Revision::V2025_06_18);
    endpoint.send(tell("notifications/initialized")).await.expect("accepted");
    let seen = server.next().await;
    assert_eq!(seen.header("mcp-session-id"), "session-1");
    assert_eq!(seen.header("mcp-protocol-version"), "2025-06-18");
}

#[tokio::test]
async fn the_modern_era_has_no_session() {
    let (mut server, endpoint, mut incoming) =
        connect(|_| answer(200, INITIALIZED, &result(1))).await;
    for _ in 0..2 {
        endpoint.send(ask(1, "server/discover")).await.expect("sent");
        came(&mut incoming).await;
        assert_eq!(server.next().await.header("mcp-session-id"), "");
        endpoint.agreed(Revision::V2026_07_28);
    }
    endpoint.close().await;
    assert!(server.rest().is_empty());
}

#[tokio::test]
async fn a_lost_session_is_told_so() {
    for (status, body) in [
        (404, ""),
        (404, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"session-1"}}"#),
        (
            400,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"No valid session ID"}}"#,
        ),
    ] {
        let (_server, endpoint, mut incoming) = session(move |_| json(status, body)).await;
        endpoint.send(ask(1, "tools/call")).await.expect("sent");
        // The request, and the common stream behind it, in whichever order.
        let mut both = [came(&mut incoming).await, came(&mut incoming).await];
        both.sort();
        assert_eq!(both, ["1 lost: SessionExpired", "closed: SessionExpired"]);
        let failure = endpoint.send(tell("n")).await.expect_err("lost");
        assert!(failure.is_unprocessed());
        assert!(!failure.text.contains("session-1"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_without_a_common_stream_is_asked_for_it_once() {
    for status in [405, 400, 403, 501] {
        let (mut server, endpoint, mut incoming) =
            session(
                move |seen| {
                    if seen.is("GET") { answer(status, "", "") } else { json(200, &result(1)) }
                },
            )
            .await;
        endpoint.send(ask(1, "x")).await.expect("sent");
        came(&mut incoming).await;
        let mut first = [server.next().await.line, server.next().await.line];
        first.sort();
        assert_eq!(first, ["GET /mcp", "POST /mcp"]);
        for _ in 0..3 {
            endpoint.send(ask(1, "x")).await.expect("sent");
            came(&mut incoming).await;
        }
        assert_eq!(server.rest(), ["POST /mcp"; 3], "{status}");
    }
}

#[tokio::test]
async fn the_common_stream_is_taken_up_again_where_it_ended() {
    let (mut server, endpoint, mut incoming) = session(|seen| {
        if seen.is("POST") {
            return answer(202, "", "");
        }
        match seen.header("last-event-id") {
            "" => events("id: a\nretry: 1\ndata: {\"n\":1}\n\n", Step::Close),
            "a" => events("id: b\ndata: [{\"n\":2},{\"n\":3}]\n\n", Step::Reset),
            _ => events("data: {\"n\":4}\n\n", Step::Hang),
        }
    })
    .await;
    endpoint.send(tell("notifications/initialized")).await.expect("accepted");
    for n in 1..=4 {
        assert_eq!(came(&mut incoming).await, format!("-: {{\"n\":{n}}}"));
    }
    assert_eq!(server.rest(), ["POST /mcp", "GET /mcp", "GET /mcp", "GET /mcp"]);
}

#[tokio::test]
async fn a_requests_stream_is_taken_up_again_where_it_ended() {
    let (mut server, endpoint, mut incoming) = session(|seen| {
        if seen.is("POST") {
            // Primed, and closed on purpose.
            return events("id: p0\nretry: 1\ndata: \n\n", Step::Close);
        }
        match seen.header("last-event-id") {
            "" => answer(405, "", ""),
            "p0" => events("id: p1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n", Step::Reset),
            _ => events(&format!("id: p2\ndata: {}\n\n", result(1)), Step::Hang),
        }
    })
    .await;
    endpoint.send(ask(1, "tools/call")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, r#"1: {"jsonrpc":"2.0","method":"n"}"#);
    assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    let mut last = Vec::new();
    for _ in 0..4 {
        let seen = server.next().await;
        assert_eq!(seen.header("mcp-session-id"), "session-1");
        last.push(seen.header("last-event-id").to_owned());
    }
    last.sort();
    assert_eq!(last, ["", "", "p0", "p1"]);
}

#[tokio::test]
async fn a_stream_that_cannot_be_taken_up_is_lost() {
    // Attempts are bounded.
    let (mut server, endpoint, mut incoming) = connect(|seen| {
        if seen.is("GET") {
            answer(503, "", "")
        } else {
            events("id: 1\nretry: 1\n\n", Step::Close)
        }
    })
    .await;
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Lost");
    assert_eq!(server.rest().len(), 1 + 4);
    // A refusal ends them; a session that is gone by then means no repetition.
    for status in [404, 405, 400] {
        let (_server, endpoint, mut incoming) =
            session(move |seen| match (seen.is("GET"), seen.header("last-event-id")) {
                (true, "") => answer(405, "", ""),
                (true, _) => answer(status, "", ""),
                _ => events("id: 1\nretry: 1\n\n", Step::Close),
            })
            .await;
        endpoint.send(ask(1, "x")).await.expect("sent");
        assert_eq!(came(&mut incoming).await, "1 lost: Lost");
    }
    // The modern era does not know of it.
    let (mut server, endpoint, mut incoming) =
        connect(|_| events("id: 1\nretry: 1\ndata: \n\n", Step::Close)).await;
    endpoint.agreed(Revision::V2026_07_28);
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Lost");
    assert_eq!(server.rest().len(), 1);
}

#[tokio::test]
async fn a_request_given_up_closes_its_stream() {
    let (mut server, endpoint, mut incoming) = connect(|seen| {
        if seen.asks("silent") {
            return vec![Step::Hang];
        }
        events("data: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n", Step::Hang)
    })
    .await;
    endpoint.send(ask(1, "x")).await.expect("sent");
    came(&mut incoming).await;
    endpoint.abandon(&Id::number(2));
    endpoint.abandon(&Id::number(1));
    server.abandoned(1).await;
    endpoint.send(ask(1, "silent")).await.expect("sent");
    let _first = (server.next().await, server.next().await);
    endpoint.abandon(&Id::number(1));
    server.abandoned(2).await;
    endpoint.send(ask(3, "silent")).await.expect("sent");
    endpoint.send(ask(4, "x")).await.expect("sent");
    came(&mut incoming).await;
    server.next().await;
    server.next().await;
    drop(endpoint);
    server.abandoned(4).await;
    assert!(incoming.recv().await.is_none());
}

#[tokio::test]
async fn redirects_within_the_origin_are_followed_and_known() {
    let (mut server, endpoint, mut incoming) = connect(|seen| {
        if seen.line == "POST /mcp" {
            return answer(307, "location: /mcp/\r\n", "");
        }
        json(200, &result(1))
    })
    .await;
    for _ in 0..2 {
        endpoint.send(ask(1, "x")).await.expect("sent");
        assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    }
    let seen = [server.next().await, server.next().await, server.next().await];
    let lines = seen.each_ref().map(|seen| seen.line.as_str());
    assert_eq!(lines, ["POST /mcp", "POST /mcp/", "POST /mcp/"]);
    assert!(seen.iter().all(|seen| seen.asks("x") && !seen.header("authorization").is_empty()));
}

#[tokio::test]
async fn other_redirects_are_not() {
    let came_of = async |status: u16, location: &'static str| {
        outcome(move || answer(status, &format!("location: {location}\r\n"), "")).await
    };
    // Without end.
    assert_eq!(came_of(308, "/mcp").await, "1 lost: Garbage");
    // To another host, another port, another scheme.
    assert_eq!(came_of(307, "http://example.invalid/mcp").await, "1 lost: Garbage");
    assert_eq!(came_of(307, "http://127.0.0.1:9/mcp").await, "1 lost: Garbage");
    assert_eq!(came_of(307, "ftp://127.0.0.1/mcp").await, "1 lost: Garbage");
    assert_eq!(came_of(307, "file:///etc/passwd").await, "1 lost: Refused(307)");
    // With another method.
    assert_eq!(came_of(302, "/mcp/").await, "1 lost: Refused(302)");
    assert_eq!(came_of(303, "/mcp/").await, "1 lost: Refused(303)");
    assert_eq!(came_of(307, "").await, "1 lost: Garbage");
}

#[tokio::test]
async fn an_allowed_host_gets_no_credential() {
    let mut other = Server::start(|_| json(200, &result(1))).await;
    let location = format!("location: http://u:p@localhost:{}/mcp\r\n", other.port());
    let mut server = Server::start(move |_| answer(307, &location, "")).await;
    let (endpoint, mut incoming) = connect_to(&server.url("/mcp"), &["127.0.0.1", "local*"]);
    for _ in 0..2 {
        endpoint.send(ask(1, "x")).await.expect("sent");
        assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
        assert_eq!(server.next().await.header("authorization"), format!("Bearer {CREDENTIAL}"));
        let seen = other.next().await;
        assert_eq!(seen.header("authorization"), "");
        assert!(seen.asks("x"));
    }
}

#[tokio::test]
async fn tls_is_not_given_up() {
    let (server, url) = entry("https://h/mcp", &["h", "other"]);
    let site = Site::new(&server, &url, headers()).expect("made");
    let may = |to: &str| {
        let admitted = site.admits(&url, &to.parse().expect("a URL"));
        admitted.inspect_err(check_text).is_ok()
    };
    assert!(may("https://h/x") && may("https://other:8443/"));
    assert!(!may("http://h/mcp") && !may("https://more/") && !may("ftp://h/"));
    let (server, url) = entry("http://h/mcp", &[]);
    let site = Site::new(&server, &url, headers()).expect("made");
    let trusts = |to: &str| site.is_trusted(&to.parse().expect("a URL"));
    assert!(trusts("https://h/mcp") && trusts("http://H:80/x"));
    assert!(!trusts("https://h:8443/mcp") && !trusts("http://h:81/") && !trusts("https://g/"));
}

#[tokio::test]
async fn a_url_without_a_path_is_tried_with_the_customary_one() {
    let nothing: [fn() -> Vec<Step>; 3] = [
        || answer(404, "", "Cannot POST /"),
        || answer(405, "", ""),
        || answer(200, "content-type: text/html; charset=utf-8\r\n", "<h1>Welcome</h1>"),
    ];
    for front in nothing {
        let mut server =
            Server::start(
                move |seen| {
                    if seen.line == "POST /" { front() } else { json(200, &result(1)) }
                },
            )
            .await;
        let (endpoint, mut incoming) = connect_to(&server.url(""), &[]);
        for _ in 0..2 {
            endpoint.send(ask(1, "x")).await.expect("sent");
            assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
        }
        assert_eq!(server.rest(), ["POST /", "POST /mcp", "POST /mcp"]);
    }
    // An MCP server that does not know a method is one all the same.
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"m"}}"#;
    let mut server = Server::start(move |_| json(404, error)).await;
    let (endpoint, mut incoming) = connect_to(&server.url("/"), &[]);
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, format!("1: {error}"));
    assert_eq!(server.rest(), ["POST /"]);
    // A server that is just down is not settled on.
    let starts = AtomicUsize::new(0);
    let mut server = Server::start(move |seen| match seen.line.as_str() {
        "POST /" if starts.fetch_add(1, Ordering::SeqCst) == 0 => answer(503, "", ""),
        "POST /" => answer(404, "", ""),
        _ => json(200, &result(1)),
    })
    .await;
    let (endpoint, mut incoming) = connect_to(&server.url(""), &[]);
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Refused(503)");
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, format!("1: {}", result(1)));
    assert_eq!(server.rest(), ["POST /", "POST /", "POST /mcp"]);
    // Nothing anywhere.
    let mut server = Server::start(|_| answer(404, "", "")).await;
    let (endpoint, mut incoming) = connect_to(&server.url(""), &[]);
    endpoint.send(ask(1, "x")).await.expect("sent");
    assert_eq!(came(&mut incoming).await, "1 lost: Refused(404)");
    assert_eq!(server.rest(), ["POST /", "POST /mcp"]);
}

#[tokio::test]
async fn hostile_sizes_are_bounded() {
    let declared = format!("content-length: {}\r\n", MAX_MESSAGE + 1);
    let huge = move || {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{declared}\r\n{{");
        vec![Step::Write(head.into_bytes()), Step::Hang]
    };
    assert_eq!(outcome(huge).await, "1 lost: Garbage");
    let endless = || {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[";
        vec![Step::Write(head.into()), Step::Flood(vec![b' '; 1 << 20])]
    };
    assert_eq!(outcome(endless).await, "1 lost: Garbage");
    let event = || events("data: ", Step::Flood(vec![b'x'; 1 << 20]));
    assert_eq!(outcome(event).await, "1 lost: Garbage");
    let headers = || {
        vec![Step::Write(b"HTTP/1.1 200 OK\r\n".to_vec()), Step::Flood(b"x-more: 1\r\n".repeat(99))]
    };
    assert_eq!(outcome(headers).await, "1 lost: Garbage");
    let header =
        || vec![Step::Write(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), Step::Flood(vec![b'x'; 1 << 20])];
    assert_eq!(outcome(header).await, "1 lost: Garbage");
    let refusal =
        || vec![Step::Write(b"HTTP/1.1 500 X\r\n\r\n".to_vec()), Step::Flood(vec![b'x'; 1 << 20])];
    assert_eq!(outcome(refusal).await, "1 lost: Refused(500)");
}
