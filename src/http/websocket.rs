//! `GET /v1/responses` as a WebSocket (<https://developers.openai.com/api/docs/guides/websocket-mode>): each
//! message is a request like one over HTTP and goes through the same corridor, over any provider; each event of
//! the answer is a message. Between messages the connection remembers the last response, so that a client that
//! has nothing stored can go on by `previous_response_id`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::conversation::{Event, Finish, Head, Json};
use crate::gateway::relay::Outgoing;
use crate::wire::codec::{Echo, Stamp};
use crate::wire::envelope;
use crate::wire::fields::Fields;
use crate::wire::formats;
use crate::wire::openai_responses::client::{input_items, missing_call, no_call};
use crate::wire::sse::{self, Cutter};

/// As OpenAI's: then the client connects anew.
const LONGEST: Duration = Duration::from_secs(3600);
/// A client that is gone without a word is found out by this.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Largest remembered conversation of one connection.
const MOST_REMEMBERED: usize = 64 * 1024 * 1024;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the request asks for a WebSocket.
pub(super) fn is_asked_for(request: &Parts) -> bool {
    let has = |name, word: &str| {
        let values = request.headers.get_all(name).into_iter();
        let mut words = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        words.any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
        && request.headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// The answer that makes it one.
pub(super) fn welcome(request: &Parts) -> Response<Outgoing> {
    let key = request.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes());
    let accept = derive_accept_key(key.unwrap_or_default());
    let mut response = Response::new(Outgoing::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Serves a WebSocket to its end; after `stop`, to the end of its current response.
pub(super) async fn converse(
    upgraded: Upgraded,
    handshake: HeaderMap,
    door: &Door,
    peer: IpAddr,
    stop: &CancellationToken,
) {
    let most = door.gate().live().snapshot.limits.max_body;
    let config = WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most));
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let headers = request_headers(handshake);
    let mut session = Session { socket, headers, door, peer, remembered: None };
    let until = Instant::now() + LONGEST;
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let close = loop {
        tokio::select! {
            message = session.socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if session.answer(text.as_str()).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Binary(_))) => break (CloseCode::Unsupported, "send text"),
                Some(Ok(Message::Close(_))) | None => return,
                Some(Ok(_)) => {}
                Some(Err(_)) => break (CloseCode::Size, "a message is broken or too large"),
            },
            _ = ping.tick() => {
                if session.socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(until) => {
                let code = "websocket_connection_limit_reached";
                let message = "A connection lasts 60 minutes. Connect again to go on.";
                let error = json!({ "type": "invalid_request_error", "code": code,
                    "message": message, "param": null });
                let _gone = session.refuse(400, error, None).await;
                break (CloseCode::Policy, "60 minutes are over");
            }
            () = stop.cancelled() => break (CloseCode::Away, "the gateway is shutting down"),
        }
    };
    let (code, reason) = close;
    let _gone = session.socket.close(Some(CloseFrame { code, reason: reason.into() })).await;
}

/// The client has gone.
struct Gone;

struct Session<'d> {
    socket: Socket,
    /// What the handshake said of the client: key, labels, betas.
    headers: HeaderMap,
    door: &'d Door,
    peer: IpAddr,
    remembered: Option<Remembered>,
}

/// The last response, and all that was said up to it.
struct Remembered {
    response_id: String,
    items: Vec<Json>,
}

/// One message, taken apart.
struct Create {
    /// The request as it would have come over HTTP.
    body: String,
    /// All of the conversation that it goes on with, its own items included; `None` where a stored response
    /// is meant.
    items: Option<Vec<Json>>,
    /// The previous response that these items stand for.
    replaced: Option<String>,
    stream_id: Option<Json>,
    /// `generate: false`: nothing is asked of the model yet.
    only_warm: bool,
    model: String,
}

impl Session<'_> {
    async fn answer(&mut self, text: &str) -> Result<(), Gone> {
        let create = match self.read(text) {
            Ok(create) => create,
            Err(message) => {
                let error = json!({ "type": "invalid_request_error", "code": null,
                    "message": message, "param": null });
                return self.refuse(400, error, None).await;
            }
        };
        if let Some(call_id) = create.items.as_deref().and_then(missing_call) {
            // What a turn failed to go on from is not remembered any longer.
            self.remembered = None;
            let error = json!({ "type": "invalid_request_error", "code": null,
                "message": no_call(&call_id), "param": "input" });
            return self.refuse(400, error, create.stream_id).await;
        }
        if create.only_warm {
            return self.warm(create).await;
        }
        let mut body = Some(Full::new(Bytes::from(create.body.clone())));
        let door = self.door;
        let request = door.ask_responses(&self.headers, &mut body, self.peer);
        let (head, mut answer) = request.await.into_parts();
        if head.status != StatusCode::OK {
            self.remembered = None;
            let whole = answer.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
            let body: Value = serde_json::from_slice(&whole).unwrap_or_default();
            let error = body.get("error").cloned().unwrap_or(Value::Null);
            return self.refuse(head.status.as_u16(), error, create.stream_id).await;
        }
        let mut cutter = Cutter::default();
        let mut completed = None;
        while let Some(frame) = answer.frame().await {
            let Some(bytes) = frame.ok().and_then(|frame| frame.into_data().ok()) else { break };
            let mut events = Vec::new();
            let cut = cutter.push(bytes, |event| {
                events.extend(sse::data(event).map(|data| data.into_owned()));
                false
            });
            if cut.is_err() {
                break;
            }
            for event in events {
                if is_completed(&event) {
                    completed = Some(event.clone());
                }
                let event = with_previous(event, create.replaced.as_deref());
                self.send(event, create.stream_id.as_ref()).await?;
            }
        }
        self.remembered = completed.and_then(|event| remember(&event, create.items));
        Ok(())
    }

    /// Takes a message apart.
    fn read(&self, text: &str) -> Result<Create, String> {
        let mut fields = Fields::read(text).ok_or("Send one JSON object a message.")?;
        match fields.text("type").as_deref() {
            Some("response.create") => {}
            _ => return Err("The only message understood has the type `response.create`.".into()),
        }
        let stream_id = fields.json("stream_id");
        let only_warm = fields.lenient::<bool>("generate") == Some(false);
        let _transport = (fields.take("stream"), fields.take("background"));
        let model = fields.peek("model").and_then(crate::wire::fields::as_string);
        let previous = fields.peek("previous_response_id").and_then(crate::wire::fields::as_string);
        let seed = uuid::Uuid::now_v7().simple().to_string();
        let own = input_items(text.as_bytes(), &seed);
        let before = match (&previous, &self.remembered) {
            (None, _) => Some(Vec::new()),
            (Some(id), Some(last)) if last.response_id == *id => Some(last.items.clone()),
            _ => None,
        };
        let items = before.map(|mut items| {
            items.extend(own);
            items
        });
        let mut body = String::from("{\"stream\":true");
        let mut add = |name: &str, value: &str| {
            body.push(',');
            body.push_str(&Value::from(name).to_string());
            body.push(':');
            body.push_str(value);
        };
        let replaced = previous.filter(|_| items.is_some());
        for (name, value) in fields.iter() {
            if !(replaced.is_some() && matches!(name, "input" | "previous_response_id")) {
                add(name, value.get());
            }
        }
        if let Some(items) = items.as_ref().filter(|_| replaced.is_some()) {
            add("input", Json::of(items).as_str());
        }
        body.push('}');
        let model = model.unwrap_or_default();
        Ok(Create { body, items, replaced, stream_id, only_warm, model })
    }

    /// Nothing is generated: the client wants its beginning remembered.
    async fn warm(&mut self, create: Create) -> Result<(), Gone> {
        let now = jiff::Timestamp::now().as_second();
        let id = uuid::Uuid::now_v7().simple().to_string();
        let stamp = Stamp { id, created: now, model: create.model };
        let mut encoder = (formats::RESPONSES.stream)(Echo::default(), stamp);
        let mut out = Vec::new();
        encoder.event(Event::Begin(Head::default()), &mut out);
        encoder.event(Event::Finish { choice: 0, finish: Finish::Stop }, &mut out);
        encoder.end(now, &mut out);
        let mut events = Vec::new();
        let _whole = Cutter::default().push(Bytes::from(out), |event| {
            events.extend(sse::data(event).map(|data| data.into_owned()));
            false
        });
        let completed = events.iter().find(|event| is_completed(event)).cloned();
        for event in events {
            self.send(event, create.stream_id.as_ref()).await?;
        }
        self.remembered = completed.and_then(|event| remember(&event, create.items));
        Ok(())
    }

    /// Sends one event, with the name of its lane where the client named one.
    async fn send(&mut self, event: Vec<u8>, stream_id: Option<&Json>) -> Result<(), Gone> {
        if event.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let event = match stream_id {
            None => event,
            Some(id) => {
                let body = Bytes::from(event);
                envelope::replace(&body, "stream_id", id.as_str()).concat()
            }
        };
        let text = String::from_utf8(event).map_err(|_| Gone)?;
        self.socket.send(Message::Text(text.into())).await.map_err(|_| Gone)
    }

    async fn refuse(
        &mut self,
        status: u16,
        error: Value,
        stream_id: Option<Json>,
    ) -> Result<(), Gone> {
        let event = json!({ "type": "error", "status": status, "error": error });
        self.send(event.to_string().into_bytes(), stream_id.as_ref()).await
    }
}

/// The headers of the requests that messages become: the handshake's, without what made it one.
fn request_headers(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::ACCEPT,
    ] {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// The event, with the name of the response that was gone on from in the response object that it holds.
fn with_previous(event: Vec<u8>, previous: Option<&str>) -> Vec<u8> {
    let Some(previous) = previous else { return event };
    let response = Fields::of_bytes(&event).and_then(|fields| {
        let response = Bytes::copy_from_slice(fields.peek("response")?.get().as_bytes());
        let name = Value::from(previous).to_string();
        Some(envelope::replace(&response, "previous_response_id", &name).concat())
    });
    match response.and_then(|response| String::from_utf8(response).ok()) {
        Some(response) => envelope::replace(&Bytes::from(event), "response", &response).concat(),
        None => event,
    }
}

fn is_completed(event: &[u8]) -> bool {
    let head = event.get(..event.len().min(96)).unwrap_or_default();
    ["\"response.completed\"", "\"response.incomplete\""]
        .iter()
        .any(|word| memchr::memmem::find(head, word.as_bytes()).is_some())
}

/// What the next message may go on from.
fn remember(event: &[u8], items: Option<Vec<Json>>) -> Option<Remembered> {
    let mut event = Fields::of_bytes(event)?;
    let mut response = event.inner("response")?;
    let response_id = response.text("id")?;
    let mut items = items?;
    items.extend(response.items("output").into_iter().map(Json::of_raw));
    let size: usize = items.iter().map(|item| item.as_str().len()).sum();
    (size <= MOST_REMEMBERED).then_some(Remembered { response_id, items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_gone_on_from_stands_in_the_response_of_an_event() {
        let with = |event: &str| {
            let event = with_previous(event.as_bytes().to_vec(), Some("resp_1"));
            String::from_utf8(event).expect("text")
        };
        let created = r#"{"type":"response.created","response":{"id":"r","previous_response_id":null,"n":1.0}}"#;
        assert_eq!(with(created), created.replace("null", r#""resp_1""#));
        let absent = r#"{"response":{"id":"r"},"n":2}"#;
        assert_eq!(
            with(absent),
            r#"{"response":{"id":"r","previous_response_id":"resp_1"},"n":2}"#
        );
        let delta = r#"{"type":"response.output_text.delta","delta":"a"}"#;
        assert_eq!(with(delta), delta);
        assert_eq!(with_previous(b"[DONE]".to_vec(), Some("r")), b"[DONE]");
        assert_eq!(with_previous(created.into(), None), created.as_bytes());
    }
}
