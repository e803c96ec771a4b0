//! `GET /v1/responses` as a WebSocket: the handshake, answers as messages, what a connection remembers, what goes
//! wrong, and how it ends (<https://developers.openai.com/api/docs/guides/websocket-mode>).

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

use crate::support::dialect::{ALL, Dialect, Say};
use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::upstream::{
    DONE, FINISH, Step, Upstream, chunk, delta, events_head, json as whole, last_chunk,
};
use crate::support::websocket::Socket;

fn config(params: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}, max_request_size_mb: 1}}\nmodel_list:\n\
         - {{model_name: m, litellm_params: {params}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, models: [m]}}\n"
    )
}

/// A chat provider that answers by what the last message says, and the gateway before it.
async fn chat(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> (Upstream, Gateway) {
    let upstream = Upstream::start(move |seen| {
        let body = seen.json();
        let last = body["messages"].as_array().unwrap().last().unwrap();
        script(last["content"].as_str().unwrap())
    })
    .await;
    let gateway = Gateway::start(&config(&Dialect::Chat.params(upstream.address)));
    (upstream, gateway)
}

/// A streamed chat answer.
fn says(text: &str) -> Vec<Step> {
    vec![events_head(), chunk(&[delta(text).as_slice(), FINISH, DONE].concat()), last_chunk()]
}

/// A streamed chat answer that waits for a permit behind its first word.
fn says_later(first: &str, permits: &Arc<Semaphore>, then: &str) -> Vec<Step> {
    let rest = [delta(then).as_slice(), FINISH, DONE].concat();
    vec![
        events_head(),
        chunk(&delta(first)),
        Step::Await(permits.clone()),
        chunk(&rest),
        last_chunk(),
    ]
}

fn create(input: &str) -> Value {
    json!({ "type": "response.create", "model": "m", "store": false, "input": input })
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn the_handshake_wants_a_key_a_version_and_the_right_path() {
    let (_upstream, gateway) = chat(says).await;
    let bearer = format!("Bearer {KEY}");
    for path in ["/v1/responses", "/responses", "/v1/responses/", "/v1/responses?client=x"] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("openai-beta", "responses_websockets=2026-02-06"),
        ];
        assert!(Socket::try_open(&gateway, path, &headers).await.is_ok(), "{path}");
    }
    let headers = [("x-api-key", KEY), ("origin", "https://app.example")];
    assert!(Socket::try_open(&gateway, "/v1/responses", &headers).await.is_ok());
    let refused = async |path: &str, headers: &[(&str, &str)]| {
        let answer = Socket::try_open(&gateway, path, headers).await.err().expect(path);
        let body = answer.body().clone().unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        (answer.status().as_u16(), body["error"]["code"].clone(), answer)
    };
    let (status, code, _) = refused("/v1/responses", &[]).await;
    assert_eq!((status, code), (401, "invalid_api_key".into()));
    let (status, code, _) = refused("/v1/responses", &[("authorization", "Bearer sk-wrong")]).await;
    assert_eq!((status, code), (401, "invalid_api_key".into()));
    for version in ["12", "8", "x"] {
        let headers = [("authorization", bearer.as_str()), ("sec-websocket-version", version)];
        let (status, _, answer) = refused("/v1/responses", &headers).await;
        assert_eq!(status, 426, "{version}");
        assert_eq!(answer.headers()["sec-websocket-version"], "13");
    }
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses/compact", "/v1/embeddings"]
    {
        let (status, ..) = refused(path, &[("authorization", &bearer)]).await;
        assert_eq!(status, 426, "{path}");
    }
    assert_eq!(refused("/v1/nothing", &[("authorization", &bearer)]).await.0, 404);
    // Without an upgrade it is no WebSocket.
    let answer = gateway.get("/v1/responses").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

/// Browsers open WebSockets to anywhere without asking, so a gateway without keys looks at who opens one.
#[tokio::test]
async fn a_gateway_without_keys_opens_to_pages_of_this_machine_only() {
    let gateway = Gateway::start("model_list: [{model_name: m, litellm_params: {model: mock}}]\n");
    for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
        let refused = Socket::try_open(&gateway, "/v1/responses", &[("origin", origin)]).await;
        assert_eq!(refused.err().expect(origin).status().as_u16(), 403, "{origin}");
    }
    let refused = Socket::try_open(&gateway, "/v1/responses", &[("host", "evil.example")]).await;
    assert_eq!(refused.err().unwrap().status().as_u16(), 403);
    for headers in [&[("origin", "http://localhost:3000")][..], &[]] {
        let mut socket = Socket::try_open(&gateway, "/v1/responses", headers).await.unwrap();
        socket.ask(&create("hi")).await;
    }
}

#[tokio::test]
async fn each_event_is_a_message() {
    for dialect in ALL {
        let upstream = Upstream::start(move |seen| dialect.answer(seen, &[Say::Text("one")])).await;
        let gateway = Gateway::start(&config(&dialect.params(upstream.address)));
        let mut socket = Socket::open(&gateway, KEY).await;
        for _ in 0..2 {
            // How the answer travels is no matter of the message's.
            let mut message = create("a");
            message["stream"] = false.into();
            message["background"] = true.into();
            socket.send(&message).await;
            let events = socket.answer().await;
            assert_eq!(
                kinds(&events)[..2],
                ["response.created", "response.in_progress"],
                "{dialect:?}"
            );
            for (number, event) in events.iter().enumerate() {
                assert_eq!(event["sequence_number"], number, "{dialect:?}: {event}");
                assert!(event.get("stream_id").is_none());
            }
            let last = events.last().unwrap();
            assert_eq!(last["type"], "response.completed");
            assert_eq!(text(&last["response"]), "one");
            assert_eq!(last["response"]["background"], false);
        }
        let rows = gateway.rows("surface, status, stream, key_alias", 2).await;
        assert!(rows.iter().all(|row| row[0] == "/v1/responses".to_owned().into()
            && row[1] == "ok".to_owned().into()
            && row[3] == "tester".to_owned().into()));
    }
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_the_connection_remembers() {
    for dialect in ALL {
        let upstream = Upstream::start(move |seen| dialect.answer(seen, &[Say::Text("one")])).await;
        let gateway = Gateway::start(&config(&dialect.params(upstream.address)));
        let mut socket = Socket::open(&gateway, KEY).await;
        let first = socket.ask(&create("a")).await;
        let mut message = create("b");
        message["previous_response_id"] = first["id"].clone();
        let second = socket.ask(&message).await;
        message["previous_response_id"] = second["id"].clone();
        message["input"] = json!([{ "role": "user", "content": "c" }]);
        // From here on it is stored, with all that was only remembered.
        message["store"] = true.into();
        let third = socket.ask(&message).await;
        let heard = dialect.heard(&upstream.seen()[2]);
        let all = ["user: a", "assistant: one", "user: b", "assistant: one", "user: c"];
        assert_eq!(heard, all, "{dialect:?}");
        // Another connection knows what is stored, and what is not it does not.
        let mut other = Socket::open(&gateway, KEY).await;
        message["previous_response_id"] = third["id"].clone();
        other.ask(&message).await;
        assert_eq!(dialect.heard(&upstream.seen()[3])[..5], all, "{dialect:?}");
        message["previous_response_id"] = second["id"].clone();
        other.send(&message).await;
        let refused = other.answer().await.pop().unwrap();
        assert_eq!((&refused["type"], &refused["status"]), (&"error".into(), &400.into()));
        assert_eq!(refused["error"]["code"], "previous_response_not_found");
        assert_eq!(refused["error"]["param"], "previous_response_id");
    }
}

/// Tools and seals go through memory as through the store.
#[tokio::test]
async fn a_tool_loop_needs_nothing_stored() {
    let upstream = Upstream::start(|seen| {
        let results =
            Dialect::Anthropic.heard(seen).iter().filter(|said| said.starts_with("result")).count();
        let looks: &[Say] = &[Say::Thought("Hm.", "c2VhbA=="), Say::Look(r#"{"q":"x"}"#)];
        Dialect::Anthropic.answer(seen, if results < 3 { looks } else { &[Say::Text("Done.")] })
    })
    .await;
    let gateway = Gateway::start(&config(&Dialect::Anthropic.params(upstream.address)));
    let mut socket = Socket::open(&gateway, KEY).await;
    let mut message = create("a");
    message["tools"] =
        json!([{ "type": "function", "name": "look", "parameters": { "type": "object" } }]);
    message["reasoning"] = json!({ "effort": "medium" });
    for _ in 0..3 {
        let response = socket.ask(&message).await;
        let output = response["output"].as_array().unwrap();
        let call = output.iter().find(|item| item["type"] == "function_call").unwrap();
        message["previous_response_id"] = response["id"].clone();
        message["input"] = json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "blue" }]);
    }
    assert_eq!(text(&socket.ask(&message).await), "Done.");
    let heard = Dialect::Anthropic.heard(upstream.seen().last().unwrap());
    let turn =
        ["assistant thinks Hm. (c2VhbA==)", r#"assistant calls look {"q":"x"}"#, "result blue"];
    assert_eq!(heard, [&["user: a"][..], &turn, &turn, &turn].concat());
}

#[tokio::test]
async fn a_warm_up_asks_nobody_and_can_be_gone_on_from() {
    let (upstream, gateway) = chat(says).await;
    let mut socket = Socket::open(&gateway, KEY).await;
    let stored =
        gateway.post("/v1/responses", &json!({ "model": "m", "input": "0", "stream": true }));
    let stored = stored.send().await.unwrap().text().await.unwrap();
    let stored: Value =
        serde_json::from_str(stored.trim_end().rsplit("data: ").next().unwrap()).unwrap();
    for (previous, before) in [
        (Value::Null, vec![]),
        (stored["response"]["id"].clone(), vec!["user: 0".to_owned(), "assistant: 0".to_owned()]),
    ] {
        for store in [false, true] {
            let asked = upstream.seen().len();
            let mut warm = create("a");
            warm["generate"] = false.into();
            warm["store"] = store.into();
            warm["previous_response_id"] = previous.clone();
            let warmed = socket.ask(&warm).await;
            assert_eq!((&warmed["output"], &warmed["status"]), (&json!([]), &"completed".into()));
            assert_eq!(upstream.seen().len(), asked, "nothing is generated");
            let mut message = create("b");
            message["previous_response_id"] = warmed["id"].clone();
            message["generate"] = true.into();
            let answer = socket.ask(&message).await;
            assert_eq!(text(&answer), "b");
            let heard = Dialect::Chat.heard(upstream.seen().last().unwrap());
            assert_eq!(
                heard,
                [&before[..], &["user: a".to_owned(), "user: b".to_owned()]].concat()
            );
            assert!(
                !String::from_utf8_lossy(&upstream.seen().last().unwrap().body)
                    .contains("generate")
            );
        }
    }
}

#[tokio::test]
async fn lanes_run_beside_one_another_and_each_in_its_order() {
    let permits = Arc::new(Semaphore::new(0));
    let (upstream, gateway) = chat({
        let permits = permits.clone();
        move |last| match last {
            "slow" => says_later("x", &permits, "y"),
            last => says(last),
        }
    })
    .await;
    let mut socket = Socket::open(&gateway, KEY).await;
    let lane = |lane: Option<&str>, input: &str| {
        let mut message = create(input);
        if let Some(lane) = lane {
            message["stream_id"] = lane.into();
        }
        message
    };
    socket.send(&lane(Some("a"), "slow")).await;
    for number in 0..4 {
        socket.send(&lane(Some("a"), &format!("a{number}"))).await;
    }
    socket.send(&lane(Some("b\u{2028}\""), "b0")).await;
    socket.send(&lane(None, "c0")).await;
    // Lane `a` is held up by its first answer; the others are not.
    let mut ended = Vec::new();
    let mut orders: std::collections::HashMap<String, Vec<String>> = Default::default();
    while ended.len() < 7 {
        let event = socket.event().await;
        let lane = event["stream_id"].as_str().unwrap_or("none").to_owned();
        let id = event["response"]["id"].as_str().map(str::to_owned);
        if let Some(id) = id.filter(|_| event["type"] == "response.created") {
            orders.entry(lane.clone()).or_default().push(id);
        }
        if event["type"] == "response.completed" {
            ended.push((lane, text(&event["response"]).to_owned()));
        }
        if ended.len() == 2 {
            let others: HashSet<&str> = ended.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(others, HashSet::from(["b0", "c0"]));
            permits.add_permits(1);
        }
    }
    let of_a: Vec<&str> =
        ended.iter().filter(|(lane, _)| lane == "a").map(|(_, text)| text.as_str()).collect();
    assert_eq!(of_a, ["xy", "a0", "a1", "a2", "a3"]);
    assert_eq!(orders["a"].len(), 5);
    assert_eq!(upstream.seen().len(), 7);
    // A lane forks from what was said in another.
    let first = socket.ask(&lane(Some("a"), "first")).await;
    let mut fork = lane(Some("d"), "fork");
    fork["previous_response_id"] = first["id"].clone();
    socket.ask(&fork).await;
    let heard = Dialect::Chat.heard(upstream.seen().last().unwrap());
    assert_eq!(heard, ["user: first", "assistant: first", "user: fork"]);
}

#[tokio::test]
async fn errors_are_events_and_the_connection_goes_on() {
    let upstream = Upstream::start(|seen| {
        let body = seen.json();
        match body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap() {
            "busy" => {
                let error = r#"{"error":{"message":"Slow down.","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#;
                whole(429, "retry-after: 7\r\nset-cookie: a=b\r\n", error)
            }
            "broken" => vec![events_head(), chunk(&delta("x")), Step::Close],
            "gone" => vec![Step::Close],
            _ => says("fine"),
        }
    })
    .await;
    let gateway = Gateway::start(&config(&Dialect::Chat.params(upstream.address)));
    let mut socket = Socket::open(&gateway, KEY).await;
    let with = |name: &str, value: Value| {
        let mut message = create("a");
        message[name] = value;
        message.to_string()
    };
    for (message, status, code) in [
        ("{".to_owned(), 400, Value::Null),
        ("[]".to_owned(), 400, Value::Null),
        ("null".to_owned(), 400, Value::Null),
        (String::new(), 400, Value::Null),
        ("{}".to_owned(), 400, Value::Null),
        (r#"{"type":"response.cancel"}"#.to_owned(), 400, Value::Null),
        (r#"{"type":"response.create"}"#.to_owned(), 400, Value::Null),
        (with("model", "none".into()), 404, "model_not_found".into()),
        (with("model", 7.into()), 400, Value::Null),
        (with("input", 7.into()), 400, Value::Null),
        (with("stream_id", 7.into()), 400, Value::Null),
        (with("temperature", "warm".into()), 400, Value::Null),
        (with("conversation", "conv_1".into()), 400, "unsupported_operation".into()),
        (
            with("previous_response_id", "resp_none".into()),
            400,
            "previous_response_not_found".into(),
        ),
        (with("input", "busy".into()), 429, "rate_limit_exceeded".into()),
        (with("input", "gone".into()), 502, "upstream_unreachable".into()),
    ] {
        socket.0.send(Message::Text(message.clone().into())).await.unwrap();
        let event = socket.event().await;
        assert_eq!(
            (&event["type"], &event["status"]),
            (&"error".into(), &json!(status)),
            "{message}: {event}"
        );
        assert_eq!(event["error"]["code"], code, "{message}: {event}");
        assert!(
            event["error"]["message"].as_str().unwrap().len() > 8
                && event["error"]["type"].is_string()
        );
        if status == 429 {
            assert_eq!(event["headers"], json!({ "retry-after": "7" }));
        }
    }
    // In its own lane.
    let mut busy = create("busy");
    busy["stream_id"] = "a".into();
    socket.send(&busy).await;
    assert_eq!(socket.event().await["stream_id"], "a");
    // A broken answer ends with an event, and cannot be gone on from.
    socket.send(&create("broken")).await;
    let events = socket.answer().await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    let mut message = create("a");
    message["previous_response_id"] = last["response"]["id"].clone();
    socket.send(&message).await;
    assert_eq!(socket.event().await["error"]["code"], "previous_response_not_found");
    // Codex says so of each response that it has dealt with, and wants no answer.
    socket.send(&json!({ "type": "response.processed", "response_id": "resp_1" })).await;
    assert_eq!(text(&socket.ask(&create("a")).await), "fine");
}

/// What a request could not go on from is not offered again: the client sends all of it anew.
#[tokio::test]
async fn a_failed_turn_forgets_what_it_went_on_from() {
    let upstream = Upstream::start(|seen| {
        let heard = Dialect::Chat.heard(seen);
        if heard.last().unwrap() == "user: busy" {
            return whole(429, "", r#"{"error":{"message":"Slow down."}}"#);
        }
        Dialect::Chat.answer(seen, &[Say::Text("one")])
    })
    .await;
    let gateway = Gateway::start(&config(&Dialect::Chat.params(upstream.address)));
    let mut socket = Socket::open(&gateway, KEY).await;
    let first = socket.ask(&create("a")).await;
    let mut message = create("busy");
    message["previous_response_id"] = first["id"].clone();
    socket.send(&message).await;
    assert_eq!(socket.event().await["status"], 429);
    message["input"] = "b".into();
    socket.send(&message).await;
    assert_eq!(socket.event().await["error"]["code"], "previous_response_not_found");
}

/// A provider that answers whole where a stream was asked for: on a socket, silence would last for ever.
#[tokio::test]
async fn an_answer_that_is_no_stream_ends_with_an_error() {
    let upstream = Upstream::start(|_| {
        let response =
            json!({ "id": "resp_1", "object": "response", "status": "completed", "output": [] });
        whole(200, "", &response.to_string())
    })
    .await;
    let params = format!("{{model: openai/up, api_base: '{}', api_key: sk-up}}", upstream.base());
    let gateway = Gateway::start(&config(&params));
    let mut socket = Socket::open(&gateway, KEY).await;
    socket.send(&create("a")).await;
    let event = socket.event().await;
    assert_eq!((&event["type"], &event["status"]), (&"error".into(), &502.into()));
}

#[tokio::test]
async fn a_client_that_closes_stops_the_provider() {
    type Leave = fn(Socket) -> std::pin::Pin<Box<dyn Future<Output = Option<Socket>> + Send>>;
    let ways: [Leave; 3] = [
        |socket| {
            Box::pin(async move {
                drop(socket);
                None
            })
        },
        |mut socket| {
            Box::pin(async move {
                let frame = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
                socket.0.close(Some(frame)).await.unwrap();
                Some(socket)
            })
        },
        |mut socket| {
            Box::pin(async move {
                // No close, but the end of what can be read.
                tokio::io::AsyncWriteExt::shutdown(socket.0.get_mut()).await.unwrap();
                Some(socket)
            })
        },
    ];
    for begun in [true, false] {
        let upstream = Upstream::start(move |_| {
            if begun {
                vec![events_head(), chunk(&delta("x")), Step::Hang]
            } else {
                vec![Step::Hang]
            }
        })
        .await;
        let gateway = Gateway::start(&config(&Dialect::Chat.params(upstream.address)));
        for (number, leave) in ways.iter().enumerate() {
            let mut socket = Socket::open(&gateway, KEY).await;
            for lane in ["a", "b"] {
                let mut message = create("a");
                message["stream_id"] = lane.into();
                socket.send(&message).await;
            }
            upstream.arrived(number * 2 + 2).await;
            if begun {
                while socket.event().await["type"] != "response.output_text.delta" {}
            }
            let kept = leave(socket).await;
            upstream.abandoned(number * 2 + 2).await;
            drop(kept);
        }
        gateway.health_until(|health| health["in_flight"] == 0).await;
        let rows = gateway.rows("status, http_status", 6).await;
        assert!(
            rows.iter().all(|row| row[..] == ["cancelled".to_owned().into(), 499.into()]),
            "{rows:?}"
        );
    }
}

#[tokio::test]
async fn pings_are_answered_also_inside_an_answer() {
    let permits = Arc::new(Semaphore::new(0));
    let (_upstream, gateway) = chat({
        let permits = permits.clone();
        move |_| says_later("x", &permits, "y")
    })
    .await;
    let mut socket = Socket::open(&gateway, KEY).await;
    socket.send(&create("a")).await;
    while socket.event().await["type"] != "response.output_text.delta" {}
    socket.0.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(socket.message().await, Message::Pong("are you there".into()));
    socket.0.send(Message::Pong("nobody asked".into())).await.unwrap();
    permits.add_permits(1);
    assert_eq!(socket.answer().await.last().unwrap()["type"], "response.completed");
}

#[tokio::test]
async fn messages_of_the_wrong_kind_close_with_their_code() {
    let (_upstream, gateway) = chat(says).await;
    let large = "x".repeat(2 * 1024 * 1024);
    let frame = |bytes: &[u8], code| {
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(code), true))
    };
    for (message, code) in [
        (Message::Binary(b"{}".to_vec().into()), 1003),
        (Message::Text(create(&large).to_string().into()), 1009),
        (frame(b"\"\xff\xfe\"", Data::Text), 1007),
        (frame(b"", Data::Reserved(5)), 1002),
    ] {
        let mut socket = Socket::open(&gateway, KEY).await;
        assert_eq!(text(&socket.ask(&create("hi")).await), "hi");
        socket.0.send(message).await.unwrap();
        let (got, reason) = socket.closed().await;
        assert_eq!(got, code, "{reason}");
        assert!(!reason.is_empty());
        socket.ended().await;
    }
    // A large message in many frames is no smaller.
    let mut socket = Socket::open(&gateway, KEY).await;
    let piece = vec![b' '; 64 * 1024];
    for number in 0..32 {
        let kind = if number == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(piece.clone(), OpCode::Data(kind), false);
        if socket.0.send(Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.closed().await.0, 1009);
    // One below the bound passes.
    let mut socket = Socket::open(&gateway, KEY).await;
    let fits = "x".repeat(900 * 1024);
    assert_eq!(text(&socket.ask(&create(&fits)).await), fits);
}

#[tokio::test]
async fn too_many_messages_are_refused_and_none_is_lost() {
    let permits = Arc::new(Semaphore::new(0));
    let (upstream, gateway) = chat({
        let permits = permits.clone();
        move |last| if last == "slow" { says_later("x", &permits, "y") } else { says(last) }
    })
    .await;
    let mut socket = Socket::open(&gateway, KEY).await;
    socket.send(&create("slow")).await;
    upstream.arrived(1).await;
    for number in 0..100 {
        socket.send(&create(&number.to_string())).await;
    }
    let (mut refused, mut answered) = (0, Vec::new());
    while refused + answered.len() < 101 {
        let event = socket.event().await;
        match event["type"].as_str().unwrap() {
            "error" => {
                assert_eq!(
                    (&event["status"], &event["error"]["code"]),
                    (&429.into(), &"too_many_messages".into())
                );
                refused += 1;
                if refused == 36 {
                    permits.add_permits(1);
                }
            }
            "response.completed" => answered.push(text(&event["response"]).to_owned()),
            _ => {}
        }
    }
    let expected: Vec<String> =
        std::iter::once("xy".to_owned()).chain((0..64).map(|number| number.to_string())).collect();
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn a_stopping_gateway_ends_its_answers_first() {
    let permits = Arc::new(Semaphore::new(0));
    let (_upstream, mut gateway) = chat({
        let permits = permits.clone();
        move |_| says_later("x", &permits, "y")
    })
    .await;
    let mut idle = Socket::open(&gateway, KEY).await;
    let mut busy = Socket::open(&gateway, KEY).await;
    busy.send(&create("a")).await;
    while busy.event().await["type"] != "response.output_text.delta" {}
    gateway.signal("-TERM");
    let (code, reason) = idle.closed().await;
    assert_eq!((code, reason.as_str()), (1001, "the gateway is shutting down"));
    idle.ended().await;
    permits.add_permits(1);
    let last = busy.answer().await.pop().unwrap();
    assert_eq!((&last["type"], text(&last["response"])), (&"response.completed".into(), "xy"));
    assert_eq!(busy.closed().await.0, 1001);
    busy.ended().await;
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let rows = gateway.rows("status", 1).await;
    assert_eq!(rows[0][0], "ok".to_owned().into());
}

/// Keys and models are looked up anew for each message: a connection lasts an hour.
#[tokio::test]
async fn an_edit_counts_for_the_next_message() {
    let (upstream, gateway) = chat(says).await;
    let mut socket = Socket::open(&gateway, KEY).await;
    socket.ask(&create("a")).await;
    let changed =
        config(&Dialect::Chat.params(upstream.address)).replace("models: [m]", "models: []");
    std::fs::write(gateway.path("config.yaml"), changed).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    socket.send(&create("a")).await;
    let event = socket.event().await;
    assert_eq!(
        (&event["status"], &event["error"]["code"]),
        (&403.into(), &"model_access_denied".into())
    );
    let changed = config("{model: mock}").replace(KEY, "sk-new-0123456789abcdefghij");
    std::fs::write(gateway.path("config.yaml"), changed).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 3).await;
    socket.send(&create("a")).await;
    assert_eq!(socket.event().await["status"], 401);
}

#[tokio::test]
async fn many_sockets_delay_nobody() {
    let permits = Arc::new(Semaphore::new(0));
    let (upstream, gateway) = chat({
        let permits = permits.clone();
        move |last| if last == "slow" { says_later("x", &permits, "y") } else { says(last) }
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = Socket::open(&gateway, KEY).await;
        socket.send(&create("slow")).await;
        sockets.push(socket);
    }
    upstream.arrived(100).await;
    let mut quick = Socket::open(&gateway, KEY).await;
    assert_eq!(text(&quick.ask(&create("quick")).await), "quick");
    assert_eq!(gateway.health().await["in_flight"], 100);
    permits.add_permits(100);
    for socket in &mut sockets {
        assert_eq!(text(&socket.answer().await.pop().unwrap()["response"]), "xy");
    }
    drop(sockets);
    gateway.health_until(|health| health["in_flight"] == 0).await;
}

/// A connection that is open is no request: idle ones do not count as work in progress.
#[tokio::test]
async fn a_native_provider_is_spoken_to_by_its_own_ids() {
    let upstream = Upstream::start(|seen| {
        let previous = seen.json()["previous_response_id"].clone();
        let reasoning = json!({ "type": "reasoning", "id": "rs_1", "summary": [] });
        let message = json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": "one", "annotations": [] }] });
        let response = json!({ "id": "resp_native", "object": "response", "status": "completed",
            "previous_response_id": previous, "output": [reasoning, message] });
        let event = |kind: &str| {
            let data = json!({ "type": kind, "sequence_number": 0, "response": response });
            chunk(format!("event: {kind}\ndata: {data}\n\n").as_bytes())
        };
        vec![events_head(), event("response.created"), event("response.completed"), last_chunk()]
    })
    .await;
    let params = format!("{{model: openai/up, api_base: '{}', api_key: sk-up}}", upstream.base());
    let gateway = Gateway::start(&config(&params));
    let mut socket = Socket::open(&gateway, KEY).await;
    // What the provider stores goes on there.
    let mut stored = create("a");
    stored["store"] = true.into();
    let first = socket.ask(&stored).await;
    stored["previous_response_id"] = first["id"].clone();
    socket.ask(&stored).await;
    let sent = upstream.seen().pop().unwrap().json();
    assert_eq!(
        (&sent["previous_response_id"], &sent["input"]),
        (&"resp_native".into(), &"a".into())
    );
    assert_eq!(sent["stream"], true);
    assert!(sent.get("type").is_none(), "the message's type is no field of a request: {sent}");
    // What it does not is sent again, without thoughts that only it could have kept.
    let mut socket = Socket::open(&gateway, KEY).await;
    let first = socket.ask(&create("a")).await;
    let mut message = create("b");
    message["previous_response_id"] = first["id"].clone();
    socket.ask(&message).await;
    let sent = upstream.seen().pop().unwrap().json();
    assert!(sent["previous_response_id"].is_null());
    let items: Vec<&str> = sent["input"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(items, ["message", "message", "message"]);
    assert_eq!(sent["store"], false);
}
