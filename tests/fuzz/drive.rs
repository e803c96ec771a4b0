//! What is done with hostile bytes, by every reader of the wire: it must not panic, not run on, not grow out of
//! all proportion, and keep the laws that hold for good bytes too. The fuzz targets feed it, and on the stable
//! toolchain a test with mutations of the recorded bodies.

use bytes::Bytes;
use serde_json::{Map, Value};
use tidegate::conversation::{
    Ask, Event, Fold, Format, Losses, Reply, estimate, repair, stand_in, think,
};
use tidegate::wire::codec::{ClientHalf, Echo, Ids, Options, ReplyContext, Stamp, Target};
use tidegate::wire::framing::Frames;
use tidegate::wire::rerank::Dialect;
use tidegate::wire::tap::{Family, Tap};
use tidegate::wire::{
    catalogue, drop_params, embeddings, envelope, formats, multipart, ollama, provider_error,
    rerank,
};

use super::{order, pairs};

/// Every format, with a model to write requests for.
const FORMATS: [(Format, &str); 7] = [
    (Format::OpenAiChat, "openai/gpt-5.1"),
    (Format::OpenAiResponses, "openai/gpt-5.1"),
    (Format::Anthropic, "anthropic/claude-sonnet-4-5"),
    (Format::Gemini, "gemini/gemini-2.0-flash"),
    (Format::Bedrock, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Format::Ollama, "ollama/qwen3:8b"),
    (Format::Cohere, "cohere/command-a-03-2025"),
];

static CLIENTS: [&ClientHalf; 5] = [
    &formats::CHAT,
    &formats::COMPLETIONS,
    &formats::RESPONSES,
    &formats::MESSAGES,
    &formats::COMPACTION,
];

/// What a byte of input may become: every word is told several times over (as a delta, as a whole, in the
/// end), escaped, in events with names.
const GROWTH: usize = 512;
const BASE: usize = 64 * 1024;

fn bounded(what: &str, length: usize, input: usize) {
    assert!(length <= BASE + GROWTH * input, "{what} of {length} bytes from {input}");
}

fn context() -> ReplyContext {
    ReplyContext { ids: Ids::new("fedcba9876543210fedcba9876543210"), ..ReplyContext::default() }
}

fn echo() -> Echo {
    Echo { include_usage: true, ..Echo::default() }
}

fn stamp() -> Stamp {
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    Stamp { id, created: 1_790_000_000, model: "m".to_owned() }
}

/// The first byte picks the format, the second how the rest is cut; the rest is a provider's stream.
pub fn stream(input: &[u8]) {
    let [format, cut, body @ ..] = input else { return };
    let (format, _) = FORMATS[usize::from(*format) % FORMATS.len()];
    let events = decode(format, body, body.len().max(1));
    let again = decode(format, body, usize::from(*cut).max(1));
    assert_eq!(format!("{events:?}"), format!("{again:?}"), "cut into {cut} bytes each");
    order::check(&events).unwrap_or_else(|why| panic!("{why}: {events:?}"));
    tell(&events, body.len());
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    if let Ok(reply) = fold.finish() {
        whole(&reply, body.len());
    }
}

fn decode(format: Format, body: &[u8], size: usize) -> Vec<Event> {
    let half = formats::provider(format).unwrap();
    let mut frames = Frames::new(half.framing);
    let mut decoder = (half.stream)(context());
    let mut events = Vec::new();
    for piece in body.chunks(size) {
        let piece = Bytes::copy_from_slice(piece);
        if frames.push(piece, |frame| decoder.frame(frame, &mut events)).is_err() {
            // The gateway gives up here. Where it does depends on how much it has seen.
            return vec![Event::Fail(tidegate::wire::codec::broke_off())];
        }
    }
    frames.end(|frame| decoder.frame(frame, &mut events));
    decoder.end(&mut events);
    bounded("events", events.len(), body.len());
    events
}

/// Tells events to every client.
fn tell(events: &[Event], length: usize) {
    for client in CLIENTS {
        let mut encoder = (client.stream)(echo(), stamp());
        let mut out = Vec::new();
        events.iter().for_each(|event| encoder.event(event.clone(), &mut out));
        encoder.end(1_790_000_001, &mut out);
        bounded("a stream", out.len(), length);
        assert!(std::str::from_utf8(&out).is_ok(), "a stream is text");
    }
}

/// Tells a whole answer to every client, and as a stream.
fn whole(reply: &Reply, length: usize) {
    for client in CLIENTS {
        if let Ok(told) = (client.reply)(reply, &echo(), &stamp()) {
            bounded("an answer", told.len(), length);
            assert!(is_json(&told), "an answer is JSON");
        }
    }
    tell(&reply.clone().into_events(), length);
    drop(think::merge_reply(reply.clone()));
}

/// The first byte picks the format; the rest is a provider's whole answer.
pub fn reply(input: &[u8]) {
    let [format, body @ ..] = input else { return };
    let (format, _) = FORMATS[usize::from(*format) % FORMATS.len()];
    let half = formats::provider(format).unwrap();
    match (half.reply)(body, &mut context()) {
        Ok(reply) => {
            let events = reply.clone().into_events();
            bounded("events", events.len(), body.len());
            whole(&reply, body.len());
        }
        Err(fault) => errors(&fault),
    }
}

/// By its grammar: a number may be larger than any that can be counted with.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

fn errors(fault: &tidegate::ground::fault::Fault) {
    for client in CLIENTS {
        let told = (client.error)(fault);
        assert!(is_json(&told), "an error is JSON");
        assert!((400..600).contains(&formats::status(client, fault)), "an error has its status");
    }
}

/// The first byte picks the client; the rest is its request, which is written for every provider.
pub fn request(input: &[u8]) {
    let [client, body @ ..] = input else { return };
    let client = CLIENTS[usize::from(*client) % CLIENTS.len()];
    match (client.request)(body) {
        Ok((ask, _)) => write(&ask, body.len()),
        Err(fault) => errors(&fault),
    }
}

fn write(ask: &Ask, length: usize) {
    let (info, options) = (Map::new(), Options::default());
    let _ = estimate::estimate_tokens(ask);
    for (format, model) in FORMATS {
        let (provider, model) = catalogue::find(model, false).unwrap();
        let base = provider.base.unwrap_or("http://127.0.0.1:8000/v1");
        let (info, options, stream) = (&info, &options, ask.stream);
        let target = Target { model, provider, base, info, options, stream };
        let mut ask = ask.clone();
        let mut losses = Losses::default();
        repair::pair_results(&mut ask);
        stand_in::stand_in(&mut ask, &formats::abilities(format, &target), &mut losses);
        match (formats::provider(format).unwrap().request)(&ask, &target, &mut losses) {
            Ok(outbound) => {
                bounded("a request", outbound.body.len(), length);
                assert!(is_json(&outbound.body), "a request is JSON");
                if let Ok(body) = serde_json::from_slice(&outbound.body) {
                    let checked = pairs::check(format, &body);
                    checked.unwrap_or_else(|why| panic!("{model}: {why}: {body}"));
                }
            }
            Err(fault) => errors(&fault),
        }
    }
}

/// The rest of what is read on the wire: errors, embeddings, rankings, the envelope of a body, forms.
pub fn others(input: &[u8]) {
    let [kind, body @ ..] = input else { return };
    let text = String::from_utf8_lossy(body);
    match kind % 6 {
        0 => {
            let status = u16::from(body.first().copied().unwrap_or_default()) + 399;
            let headers = [("retry-after".to_owned(), text.chars().take(20).collect())];
            errors(&provider_error::read(status, &headers, body, Some("sk-secret")));
            errors(&provider_error::in_stream(&text));
            let _ = provider_error::is_error(&text);
        }
        1 => {
            for (format, _) in FORMATS {
                drop(embeddings::request(format, body, "m"));
                drop(embeddings::reply(format, body, "m", body.len() % 2 == 0));
            }
            drop(ollama::models(body));
        }
        2 => {
            for dialect in [Dialect::Cohere, Dialect::Tei] {
                drop(rerank::request(dialect, body, "m").map(|(_, kept)| {
                    drop(rerank::reply(dialect, body, "m", &kept));
                }));
            }
        }
        3 => {
            drop(envelope::Envelope::read(body));
            let paths = ["a", "b.c", "tools[*].strict", "messages[0].content[*].x"];
            let without = drop_params::without(body, &paths.map(str::to_owned));
            bounded("a body", without.len(), body.len());
            if serde_json::from_slice::<Map<String, Value>>(body).is_ok_and(|body| !body.is_empty())
            {
                let mut extra = Map::new();
                extra.insert("model".to_owned(), "x".into());
                let laid = envelope::overlay(&Bytes::copy_from_slice(body), &extra).concat();
                let laid: Value = serde_json::from_slice(&laid).expect("JSON stays JSON");
                assert_eq!(laid["model"], "x");
            }
        }
        4 => {
            let [first, rest @ ..] = body else { return };
            if let Ok(mut form) = multipart::Follower::new("multipart/form-data; boundary=b") {
                for piece in rest.chunks(usize::from(*first).max(1)) {
                    if form.push(piece).is_err() {
                        break;
                    }
                }
                let _ = form.model();
            }
        }
        _ => {
            let mut tap = Tap::new(Family::Other);
            let _ = tap.event(body);
            tap.reply(body);
            tap.tail(body);
            drop(tap.missing_end());
        }
    }
}
