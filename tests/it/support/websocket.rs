//! A client's end of a WebSocket to the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::gateway::{Gateway, PATIENCE};

pub(crate) struct Socket(pub(crate) WebSocketStream<TcpStream>);

impl Socket {
    /// Opens `/v1/responses` with a key; panics if it is refused.
    pub(crate) async fn open(gateway: &Gateway, key: &str) -> Self {
        let key = format!("Bearer {key}");
        Self::try_open(gateway, "/v1/responses", &[("authorization", &key)]).await.unwrap()
    }

    /// Opens any path with any headers; else what the gateway answered.
    pub(crate) async fn try_open(
        gateway: &Gateway,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response<Option<Vec<u8>>>> {
        Self::try_open_at(gateway.address, path, headers).await
    }

    /// The same at another address, with a proxy there.
    pub(crate) async fn try_open_at(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response<Option<Vec<u8>>>> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, HeaderValue::try_from(*value).unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(*response),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.0.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    /// The next message that is no ping.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match next.expect("nothing came").expect("the connection ended").unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn event(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no event: {other:?}"),
        }
    }

    /// The events of one answer, to its last.
    pub(crate) async fn answer(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.event().await;
            let kind = event["type"].as_str().unwrap().to_owned();
            events.push(event);
            let is_last = ["response.completed", "response.incomplete", "response.failed", "error"];
            if is_last.contains(&kind.as_str()) {
                return events;
            }
        }
    }

    /// Asks, and gives back the response object of the answer.
    pub(crate) async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        let last = self.answer().await.pop().unwrap();
        assert_eq!(last["type"], "response.completed", "{last:#}");
        last["response"].clone()
    }

    /// How the gateway closes: the code and the words.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        match self.message().await {
            Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("not closed: {other:?}"),
        }
    }

    /// Nothing more comes, properly.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(PATIENCE + Duration::from_secs(1), self.0.next()).await;
        let rest = ended.expect("the connection stays open");
        assert!(matches!(rest, None | Some(Err(_))), "{rest:?}");
    }
}
