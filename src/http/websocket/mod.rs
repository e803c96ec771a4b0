//! `GET /v1/responses` as a WebSocket (<https://developers.openai.com/api/docs/guides/websocket-mode>): each
//! message is a request like one over HTTP and goes through the same corridor, over any provider; each event of
//! the answer is a message. Messages of one lane (`stream_id`, or none) are answered in order, lanes beside one
//! another. The socket is read all the while: when the client goes, its answers are given up at once.

mod answer;
mod lanes;
mod memory;
mod message;

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use self::answer::Client;
use self::lanes::Lanes;
use self::memory::Memory;
use super::Door;
use crate::gateway::outgoing::Outgoing;

/// As OpenAI's: then the client connects anew.
const LONGEST: Duration = Duration::from_secs(3600);
/// A client that is gone without a word is found out by this.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Answers at once on one connection.
const MOST_ANSWERS: usize = 16;
/// Events that wait for the client to read.
const MOST_EVENTS: usize = 16;
/// For the client to read why the connection ends.
const FAREWELL: Duration = Duration::from_secs(5);

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

/// Why the gateway closes a connection: the code, and a few words.
type Close = (CloseCode, &'static str);

const OVER: Close = (CloseCode::Policy, "60 minutes are over");
const STOPPING: Close = (CloseCode::Away, "the gateway is shutting down");

/// Serves a WebSocket to its end; after `stop`, to the end of its current answers.
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
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let client = Client { door, headers: request_headers(handshake), peer };
    if let Some(close) = serve(&mut socket, &client, Lanes::new(most), stop).await {
        farewell(socket, close).await;
    }
}

/// Reads and writes until the end; how the gateway closes, where the client has not.
async fn serve(
    socket: &mut Socket,
    client: &Client<'_>,
    mut lanes: Lanes,
    stop: &CancellationToken,
) -> Option<Close> {
    let memory = Mutex::new(Memory::default());
    let (events, mut said) = mpsc::channel(MOST_EVENTS);
    let mut answers = FuturesUnordered::new();
    let mut ending = None;
    let until = Instant::now() + LONGEST;
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        while answers.len() < MOST_ANSWERS
            && let Some((lane, message)) = lanes.next()
        {
            answers.push(client.answer(lane, message, &memory, events.clone()));
        }
        if answers.is_empty() && said.is_empty() && ending.is_some() {
            break;
        }
        let write = tokio::select! {
            message = socket.next() => match message {
                // Whoever is told to go has been told in time.
                Some(Ok(Message::Text(_))) if ending.is_some() => continue,
                Some(Ok(Message::Text(text))) => match lanes.push(text) {
                    Ok(()) => continue,
                    Err(refusal) => refusal,
                },
                Some(Ok(Message::Binary(_))) => {
                    return Some((CloseCode::Unsupported, "send text messages"));
                }
                Some(Ok(Message::Close(_))) | None => return None,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return close_for(&error),
            },
            Some(event) = said.recv() => event,
            Some(lane) = answers.next(), if !answers.is_empty() => {
                lanes.free(&lane);
                continue;
            }
            _ = ping.tick() => Message::Ping(Bytes::new()),
            () = tokio::time::sleep_until(until), if ending.is_none() => {
                ending = Some(OVER);
                continue;
            }
            () = stop.cancelled(), if ending.is_none() => {
                ending = Some(STOPPING);
                continue;
            }
        };
        if socket.send(write).await.is_err() {
            return None;
        }
    }
    if ending == Some(OVER) {
        let error = json!({
            "type": "invalid_request_error", "code": "websocket_connection_limit_reached",
            "message": "A connection lasts 60 minutes. Connect again to go on.", "param": null,
        });
        let _gone = socket.send(answer::error(400, error, &HeaderMap::new(), None)).await;
    }
    ending
}

/// How a connection ends on which no further message can be read.
fn close_for(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(_) => {
            Some((CloseCode::Size, "the message is larger than this gateway takes"))
        }
        Error::Utf8(_) => Some((CloseCode::Invalid, "a text message must be UTF-8")),
        Error::Protocol(_) => Some((CloseCode::Protocol, "this is not the WebSocket protocol")),
        _ => None,
    }
}

/// Closes, and gives the client the time to see why: were its own last bytes left unread, the connection would be
/// reset and the reason lost.
async fn farewell(mut socket: Socket, (code, reason): Close) {
    let bye = async {
        socket.close(Some(CloseFrame { code, reason: reason.into() })).await?;
        while let Some(Ok(_)) = socket.next().await {}
        let io = socket.get_mut();
        io.shutdown().await?;
        // What is not read as messages any more is read all the same.
        let mut unread = [0; 8 * 1024];
        while io.read(&mut unread).await? > 0 {}
        Ok::<_, Error>(())
    };
    let _gone = tokio::time::timeout(FAREWELL, bye).await;
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
