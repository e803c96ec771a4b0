//! One message answered: it goes through the corridor like any request, and what comes back leaves event by event,
//! each a message with the name of its lane. What is refused is an event of the type `error`.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Sender;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::super::Door;
use super::lanes::Lane;
use super::memory::Memory;
use super::message::{self, Create, Read};
use crate::conversation::{Event, Finish, Head, Json};
use crate::wire::codec::{self, Echo, Stamp};
use crate::wire::fields::Fields;
use crate::wire::openai_responses::client::no_call;
use crate::wire::sse::{self, Cutter};
use crate::wire::{envelope, formats};

/// Who asks, and through which door.
pub(super) struct Client<'d> {
    pub(super) door: &'d Door,
    /// What the handshake said of the client: key, labels, betas.
    pub(super) headers: HeaderMap,
    pub(super) peer: IpAddr,
}

/// Where events go.
struct Way<'l> {
    lane: &'l Lane,
    events: Sender<Message>,
}

/// Nobody takes events any more.
struct Gone;

impl Client<'_> {
    /// Answers one message to the end; gives back its lane.
    pub(super) async fn answer(
        &self,
        lane: Lane,
        text: Utf8Bytes,
        memory: &Mutex<Memory>,
        events: Sender<Message>,
    ) -> Lane {
        let way = Way { lane: &lane, events };
        let read = message::read(&text, &lock(memory));
        drop(text);
        let _gone = match read {
            Read::Create(create) if create.only_warm => warm(*create, memory, &way).await,
            Read::Create(create) => self.create(*create, memory, &way).await,
            Read::Nothing => Ok(()),
            Read::Wrong(why) => {
                let error = json!({ "type": "invalid_request_error", "code": null,
                    "message": why, "param": null });
                way.refuse(400, error, &HeaderMap::new()).await
            }
        };
        drop(way);
        lane
    }

    async fn create(
        &self,
        create: Create,
        memory: &Mutex<Memory>,
        way: &Way<'_>,
    ) -> Result<(), Gone> {
        let Create { body, mut said, previous, is_recalled, missing_call, .. } = create;
        let forget = || previous.iter().for_each(|previous| lock(memory).forget(previous));
        if let Some(call_id) = missing_call {
            forget();
            let error = json!({ "type": "invalid_request_error", "code": null,
                "message": no_call(&call_id), "param": "input" });
            return way.refuse(400, error, &HeaderMap::new()).await;
        }
        let mut body = Some(Full::new(Bytes::from(body)));
        let request = self.door.ask_responses(&self.headers, &mut body, self.peer);
        let (head, mut answer) = request.await.into_parts();
        if head.status != StatusCode::OK {
            forget();
            let whole = answer.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
            let body: Value = serde_json::from_slice(&whole).unwrap_or_default();
            let error = body.get("error").cloned().unwrap_or(Value::Null);
            return way.refuse(head.status.as_u16(), error, &head.headers).await;
        }
        let recalled = previous.as_deref().filter(|_| is_recalled);
        let mut cutter = Cutter::default();
        let mut has_ended = false;
        while let Some(frame) = answer.frame().await {
            let Some(bytes) = frame.ok().and_then(|frame| frame.into_data().ok()) else { break };
            let Some(events) = cut(&mut cutter, bytes) else { break };
            for event in events {
                let end = End::of(&event);
                has_ended |= end.is_some();
                // Before the event leaves: the client may go on from it at once, in any lane.
                if end == Some(End::Whole)
                    && let Some(said) = said.take()
                {
                    lock(memory).keep(&event, said);
                }
                way.send(with_previous(event, recalled)).await?;
            }
        }
        if has_ended {
            return Ok(());
        }
        // On a socket nothing else tells that no more will come.
        let fault = codec::garbage("The provider's answer is no stream of events.");
        let body: Value =
            serde_json::from_slice(&(formats::RESPONSES.error)(&fault)).unwrap_or_default();
        let error = body.get("error").cloned().unwrap_or_default();
        way.refuse(fault.status(), error, &HeaderMap::new()).await
    }
}

/// Nothing is generated: the client wants its beginning remembered.
async fn warm(create: Create, memory: &Mutex<Memory>, way: &Way<'_>) -> Result<(), Gone> {
    let now = jiff::Timestamp::now().as_second();
    let id = uuid::Uuid::now_v7().simple().to_string();
    let stamp = Stamp { id, created: now, model: create.model };
    let mut encoder = (formats::RESPONSES.stream)(Echo::default(), stamp);
    let mut out = Vec::new();
    encoder.event(Event::Begin(Head::default()), &mut out);
    encoder.event(Event::Finish { choice: 0, finish: Finish::Stop }, &mut out);
    encoder.end(now, &mut out);
    let events = cut(&mut Cutter::default(), Bytes::from(out)).unwrap_or_default();
    if let (Some(completed), Some(said)) = (events.last(), create.said) {
        lock(memory).keep(completed, said);
    }
    for event in events {
        way.send(event).await?;
    }
    Ok(())
}

impl Way<'_> {
    async fn send(&self, event: Vec<u8>) -> Result<(), Gone> {
        let event = match self.lane {
            None => event,
            Some(lane) => envelope::replace(&event.into(), "stream_id", lane.as_str()).concat(),
        };
        let text = Utf8Bytes::try_from(Bytes::from(event)).map_err(|_| Gone)?;
        self.events.send(Message::Text(text)).await.map_err(|_| Gone)
    }

    async fn refuse(&self, status: u16, body: Value, headers: &HeaderMap) -> Result<(), Gone> {
        let error = error(status, body, headers, self.lane.as_ref());
        self.events.send(error).await.map_err(|_| Gone)
    }
}

/// What is said where HTTP would have a status: that status, the error, and the headers that say when to try again.
pub(super) fn error(
    status: u16,
    error: Value,
    headers: &HeaderMap,
    lane: Option<&Json>,
) -> Message {
    let tells = |name: &str| name.starts_with("retry-after") || name.starts_with("x-ratelimit-");
    let told: Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| tells(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
        .collect();
    let mut event = json!({ "type": "error", "status": status, "error": error });
    if let Some(event) = event.as_object_mut() {
        if !told.is_empty() {
            event.insert("headers".to_owned(), Value::Object(told));
        }
        if let Some(lane) = lane.and_then(Json::read) {
            event.insert("stream_id".to_owned(), lane);
        }
    }
    Message::Text(event.to_string().into())
}

/// The data of the events that are whole now; `None` where one is too long to be one.
fn cut(cutter: &mut Cutter, bytes: Bytes) -> Option<Vec<Vec<u8>>> {
    let mut events = Vec::new();
    let cut = cutter.push(bytes, |event| {
        let data = sse::data(event).map(|data| data.into_owned());
        events.extend(data.filter(|data| data.trim_ascii() != b"[DONE]"));
        false
    });
    cut.is_ok().then_some(events)
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

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It can be gone on from.
    Whole,
    Failed,
}

impl End {
    /// What an event ends, if it ends anything.
    fn of(event: &[u8]) -> Option<Self> {
        // Most events are read no further.
        let words: [&[u8]; 4] =
            [b"response.completed", b"response.incomplete", b"response.failed", b"\"error\""];
        words.iter().find(|word| memchr::memmem::find(event, word).is_some())?;
        match Fields::of_bytes(event)?.text("type")?.as_str() {
            "response.completed" | "response.incomplete" => Some(Self::Whole),
            "response.failed" | "error" => Some(Self::Failed),
            _ => None,
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
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
        let created = r#"{"response":{"id":"r","previous_response_id":null,"n":1.0}}"#;
        assert_eq!(with(created), created.replace("null", r#""resp_1""#));
        let absent = r#"{"response":{"id":"r"},"n":2}"#;
        let told = r#"{"response":{"id":"r","previous_response_id":"resp_1"},"n":2}"#;
        assert_eq!(with(absent), told);
        let delta = r#"{"type":"response.output_text.delta","delta":"a"}"#;
        assert_eq!(with(delta), delta);
        assert_eq!(with_previous(b"[]".to_vec(), Some("r")), b"[]");
        assert_eq!(with_previous(created.into(), None), created.as_bytes());
    }
}
