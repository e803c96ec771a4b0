//! Tries whose answer is translated: waiting until it is known to have begun, and turning it, whole or as
//! it comes, into the client's format. What comes from a provider is bounded before it is held.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use serde::de::IgnoredAny;

use super::attempt::Miss;
use super::begin::{Begun, Content, as_error};
use super::hub::Written;
use super::relay::Flow;
use super::translation::{Reading, Translation};
use crate::config::snapshot::Deployment;
use crate::conversation::think::{self, Think};
use crate::conversation::{Event, Fold, Reply};
use crate::ground::fault::Fault;
use crate::provider::{self, Failure, ReplyBody};
use crate::wire::codec::{ClientHalf, Echo, Frame, Stamp};
use crate::wire::framing::{Frames, Framing};
use crate::wire::tap::{Family, Tap};
use crate::wire::{formats, provider_error};

/// A whole reply of a provider is held to be translated; a larger one is refused.
pub(super) const MAX_REPLY: usize = 64 * 1024 * 1024;
pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What shapes the answer.
pub(super) struct Shape<'a> {
    pub(super) client: &'static ClientHalf,
    pub(super) stamp: Stamp,
    pub(super) deployment: &'a Arc<Deployment>,
    /// The client wants a stream.
    pub(super) stream: bool,
    /// The whole answer is wanted when it is there.
    pub(super) keep: bool,
}

impl Shape<'_> {
    /// Thoughts go into the text.
    fn merges_reasoning(&self) -> bool {
        self.deployment.options.merge_reasoning_content_in_choices
    }
}

/// How long may be waited.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For a whole answer, or the beginning of a streamed one.
    pub(super) timeout: Duration,
    /// A stream that stays silent this long is begun all the same.
    pub(super) ping_interval: Duration,
}

/// What comes of it, unless it takes too long.
async fn in_time<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Miss>>,
) -> Result<T, Miss> {
    let done = tokio::time::timeout(timeout, work).await;
    done.unwrap_or(Err(Miss::of_failure(Failure::Timeout)))
}

/// Waits until the answer is known to have begun.
pub(super) async fn begin(
    reply: provider::Reply,
    mut written: Written,
    shape: Shape<'_>,
    patience: Patience,
) -> Result<Begun, Miss> {
    let provider::Reply { headers, mut body, .. } = reply;
    let begun_at = Instant::now();
    let (said, first) = match said(&headers, written.provider.framing)? {
        Some(said) => (said, Bytes::new()),
        None => {
            let first = in_time(patience.timeout, first(&mut body)).await?;
            (looks(&first, written.provider.framing), first)
        }
    };
    let patience = Patience {
        timeout: patience.timeout.saturating_sub(begun_at.elapsed()),
        ping_interval: patience.ping_interval,
    };
    let mut begun = if shape.stream && said == Said::Streamed {
        streamed(first, body, &mut written, shape, patience).await?
    } else {
        let wait = whole(first, body, &mut written);
        told(in_time(patience.timeout, wait).await?, &mut written, shape)?
    };
    begun.losses = written.losses;
    for (name, value) in &headers {
        if name != header::CONTENT_TYPE {
            begun.headers.append(name, value.clone());
        }
    }
    Ok(begun)
}

/// How an answer is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Streamed,
    Whole,
}

/// How the provider answers, by what it calls its answer; `None` where it calls it nothing in particular.
fn said(headers: &HeaderMap, framing: Framing) -> Result<Option<Said>, Miss> {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let is = |name: &[u8]| kind.get(..name.len()).is_some_and(|k| k.eq_ignore_ascii_case(name));
    if is(b"text/html") {
        return Err(Miss::garbage("The provider answered with a web page, not with an answer."));
    }
    let streams: &[&[u8]] = match framing {
        Framing::Events => &[b"text/event-stream"],
        Framing::Lines => &[b"application/x-ndjson", b"application/ndjson"],
        Framing::Amazon => &[b"application/vnd.amazon.eventstream"],
    };
    Ok(if streams.iter().any(|name| is(name)) {
        Some(Said::Streamed)
    } else if is(b"application/json") {
        Some(Said::Whole)
    } else {
        None
    })
}

/// How the provider answers, by the beginning of its answer: proxies call everything `text/plain`.
fn looks(bytes: &[u8], framing: Framing) -> Said {
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    match framing {
        // Lines of JSON begin as a whole does; who reads a whole looks for further ones.
        Framing::Lines => Said::Streamed,
        Framing::Events | Framing::Amazon if is_object => Said::Whole,
        Framing::Events | Framing::Amazon => Said::Streamed,
    }
}

/// The first bytes that say something.
async fn first(body: &mut ReplyBody) -> Result<Bytes, Miss> {
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(Miss::of_failure)?;
        if !bytes.trim_ascii().is_empty() {
            return Ok(bytes);
        }
    }
    Ok(Bytes::new())
}

/// The beginning of a stream: something of the answer itself, or a first silence.
async fn streamed(
    first: Bytes,
    mut body: ReplyBody,
    written: &mut Written,
    shape: Shape<'_>,
    patience: Patience,
) -> Result<Begun, Miss> {
    let mut tap = Tap::new(Family::Other);
    let mut translation = translation(written, shape);
    let until = Instant::now() + patience.timeout.min(patience.ping_interval);
    translation.push(first, &mut tap).map_err(Miss::of_fault)?;
    while !translation.has_begun() {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, body.next()).await {
            Err(_silent) => break,
            Ok(Some(Ok(bytes))) => translation.push(bytes, &mut tap).map_err(Miss::of_fault)?,
            Ok(Some(Err(failure))) => return Err(Miss::of_failure(failure)),
            Ok(None) => {
                translation.end(&mut tap);
                body = ReplyBody::Local(VecDeque::new());
                break;
            }
        }
    }
    // Nothing has left for the client yet: another deployment may do better.
    if let Some(fault) = translation.failed() {
        return Err(Miss::of_fault(fault.clone()));
    }
    let flow = Flow::Translated(Box::new(translation));
    let first = VecDeque::new();
    let content = Content::Flowing { first, rest: body, flow };
    Ok(Begun::new(typed(EVENTS), content, tap))
}

fn translation(written: &mut Written, shape: Shape<'_>) -> Translation {
    let reading = reading(written, &shape);
    let encoder = (shape.client.stream)(std::mem::take(&mut written.echo), shape.stamp);
    Translation::new(Some(reading), encoder, shape.keep)
}

fn reading(written: &mut Written, shape: &Shape<'_>) -> Reading {
    let half = written.provider;
    Reading {
        frames: Frames::new(half.framing),
        decoder: (half.stream)(std::mem::take(&mut written.context)),
        restorer: written.names.restorer(),
        think: shape.merges_reasoning().then(Think::default),
        deployment: shape.deployment.clone(),
    }
}

/// One round of a conversation in which the gateway runs tools: the answer as events, of which the first are here.
pub(super) struct Round {
    pub(super) ready: Vec<Event>,
    pub(super) reading: Reading,
    /// Where the rest comes from; nothing more comes of an answer that was whole.
    pub(super) rest: Option<ReplyBody>,
    /// How the client is told.
    pub(super) echo: Echo,
    pub(super) stamp: Stamp,
    pub(super) keep: bool,
}

/// Waits until the answer is known to have begun, and leaves it to be read event by event.
pub(super) async fn begin_round(
    reply: provider::Reply,
    mut written: Written,
    shape: Shape<'_>,
    patience: Patience,
) -> Result<Begun, Miss> {
    let provider::Reply { headers, mut body, .. } = reply;
    let begun_at = Instant::now();
    let first = in_time(patience.timeout, first(&mut body)).await?;
    let framing = written.provider.framing;
    let said = said(&headers, framing)?.unwrap_or_else(|| looks(&first, framing));
    let timeout = patience.timeout.saturating_sub(begun_at.elapsed());
    let mut ready = Vec::new();
    let (reading, rest) = if shape.stream && said == Said::Streamed {
        let mut reading = reading(&mut written, &shape);
        reading.push(first, &mut ready).map_err(Miss::of_fault)?;
        let until = Instant::now() + timeout.min(patience.ping_interval);
        let says_something = |event: &Event| !matches!(event, Event::Begin(_) | Event::Usage(_));
        while !ready.iter().any(says_something) {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, body.next()).await {
                Err(_silent) => break,
                Ok(Some(Ok(bytes))) => {
                    reading.push(bytes, &mut ready).map_err(Miss::of_fault)?;
                }
                Ok(Some(Err(failure))) => return Err(Miss::of_failure(failure)),
                Ok(None) => {
                    reading.end(&mut ready);
                    body = ReplyBody::Local(VecDeque::new());
                    break;
                }
            }
        }
        (reading, Some(body))
    } else {
        let wait = whole(first, body, &mut written);
        let reply = in_time(timeout, wait).await?;
        let mut reading = reading(&mut written, &shape);
        reading.tell(reply, &mut ready);
        (reading, None)
    };
    if let Some(fault) = ready.iter().find_map(|event| match event {
        Event::Fail(fault) => Some(fault.clone()),
        _ => None,
    }) {
        return Err(Miss::of_fault(fault));
    }
    let round =
        Round { ready, reading, rest, echo: written.echo, stamp: shape.stamp, keep: shape.keep };
    let mut begun =
        Begun::new(typed(JSON), Content::Round(Box::new(round)), Tap::new(Family::Other));
    begun.losses = written.losses;
    Ok(begun)
}

/// A whole reply, whether it came as one or as a stream that nobody asked for.
async fn whole(first: Bytes, mut body: ReplyBody, written: &mut Written) -> Result<Reply, Miss> {
    let rest = read(&mut body, MAX_REPLY).await?;
    let bytes = if first.is_empty() { rest } else { Bytes::from([first, rest].concat()) };
    let half = written.provider;
    let mut context = std::mem::take(&mut written.context);
    if let Some(error) = as_error(&bytes) {
        return Err(Miss::of_fault(provider_error::in_stream(&error)));
    }
    let reply = if is_stream(&bytes, half.framing) {
        let mut fold = Fold::default();
        let mut events = Vec::new();
        let mut frames = Frames::new(half.framing);
        let mut decoder = (half.stream)(context);
        let read = frames.push(bytes, |frame: Frame<'_>| decoder.frame(frame, &mut events));
        read.map_err(|unreadable| Miss::garbage(unreadable.0))?;
        frames.end(|frame| decoder.frame(frame, &mut events));
        decoder.end(&mut events);
        events.into_iter().for_each(|event: Event| fold.push(event));
        fold.finish().map_err(Miss::of_fault)?
    } else {
        (half.reply)(&bytes, &mut context).map_err(Miss::of_fault)?
    };
    Ok(reply)
}

/// Whether an answer that is all here is a stream that nobody asked for; some servers send one under any name.
fn is_stream(bytes: &[u8], framing: Framing) -> bool {
    match framing {
        Framing::Events => {
            let text = bytes.trim_ascii_start();
            [&b"data:"[..], b"event:", b"id:", b"retry:", b":", b"\xEF\xBB\xBF"]
                .iter()
                .any(|begins| text.starts_with(begins))
        }
        // More than one value.
        Framing::Lines => {
            let values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
            values.take(2).filter(Result::is_ok).count() > 1
        }
        Framing::Amazon => bytes.starts_with(&[0]),
    }
}

/// A whole body, of `most` bytes at most.
pub(super) async fn read(body: &mut ReplyBody, most: usize) -> Result<Bytes, Miss> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = body.next().await {
        whole.extend_from_slice(&bytes.map_err(Miss::of_failure)?);
        if whole.len() > most {
            return Err(Miss::garbage("The provider's answer is too large to be held."));
        }
    }
    Ok(whole.freeze())
}

/// A whole reply, told as the client wants it.
fn told(mut reply: Reply, written: &mut Written, shape: Shape<'_>) -> Result<Begun, Miss> {
    let mut tap = Tap::new(Family::Other);
    if shape.stream {
        let mut translation = translation(written, shape);
        translation.tell(reply, &mut tap);
        let whole = translation.take().unwrap_or_default();
        let kept = translation.kept().map(Box::new);
        return Ok(Begun { kept, ..Begun::new(typed(EVENTS), Content::Whole(whole), tap) });
    }
    written.names.restore_reply(&mut reply);
    tap.observe_reply(&reply);
    if shape.merges_reasoning() {
        reply = think::merge_reply(reply);
    }
    let body = (shape.client.reply)(&reply, &written.echo, &shape.stamp).map_err(Miss::of_fault)?;
    let kept = shape.keep.then(|| Box::new(reply));
    let content = Content::Whole(Bytes::from(body));
    Ok(Begun { kept, ..Begun::new(typed(JSON), content, tap) })
}

/// Headers that say what an answer is.
pub(super) fn typed(kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers
}

/// A whole reply that becomes another.
pub(super) async fn convert(
    reply: provider::Reply,
    timeout: Duration,
    read_reply: impl FnOnce(&[u8]) -> Result<Vec<u8>, Fault>,
) -> Result<Begun, Miss> {
    let mut body = reply.body;
    let bytes = in_time(timeout, read(&mut body, MAX_REPLY)).await?;
    let body = Bytes::from(read_reply(&bytes).map_err(Miss::of_fault)?);
    let mut tap = Tap::new(Family::Other);
    tap.reply(&body);
    let mut headers = reply.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(Begun::new(headers, Content::Whole(body), tap))
}

/// How many tokens a request has, in the client's words.
pub(super) fn counted(client: &ClientHalf, tokens: u64) -> Begun {
    let body = Bytes::from(formats::counted(client, tokens));
    Begun::new(typed(JSON), Content::Whole(body), Tap::new(Family::Other))
}
