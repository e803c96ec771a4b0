//! Laws of answers: of every recorded one, and of made-up ones.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use tidegate::conversation::{
    CallKind, Content, Event, Finish, Fold, Format, Part, Reply, ToolCall,
};
use tidegate::ground::fault::Fault;
use tidegate::wire::codec::{ClientHalf, Echo, Ids, ProviderHalf, ReplyContext, Stamp};
use tidegate::wire::formats;
use tidegate::wire::framing::{Frames, Framing};

use super::{generate, gist, order, wellformed};

/// A client's half, the check of its streams, and the provider's half that reads them.
type Client = (&'static ClientHalf, fn(&str, wellformed::End) -> Result<(), String>, Format);

static CLIENTS: [Client; 3] = [
    (&formats::CHAT, wellformed::chat, Format::OpenAiChat),
    (&formats::RESPONSES, wellformed::responses, Format::OpenAiResponses),
    (&formats::MESSAGES, wellformed::messages, Format::Anthropic),
];

fn context() -> ReplyContext {
    ReplyContext { ids: Ids::new("fedcba9876543210fedcba9876543210"), ..ReplyContext::default() }
}

fn stamp() -> Stamp {
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    Stamp { id, created: 1_790_000_000, model: "m".to_owned() }
}

fn echo() -> Echo {
    Echo { include_usage: true, ..Echo::default() }
}

/// The recorded answers with these endings.
fn recorded(endings: &[&str]) -> Vec<(Format, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answers");
    let mut found = Vec::new();
    for folder in fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        let Some(format) = Format::parse(folder.file_name().unwrap().to_str().unwrap()) else {
            continue;
        };
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            // Bedrock's `.jsonl` is what its `.bin` was made of.
            let fits = endings.contains(&ending) && (format, ending) != (Format::Bedrock, "jsonl");
            if fits {
                found.push((format, path));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn streams() -> Vec<(Format, PathBuf)> {
    recorded(&["sse", "jsonl", "bin"])
}

fn half(format: Format) -> &'static ProviderHalf {
    formats::provider(format).unwrap()
}

/// What a stream comes to, cut at these places.
fn decode(half: &ProviderHalf, body: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut frames = Frames::new(half.framing);
    let mut decoder = (half.stream)(context());
    let mut events = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([body.len()]) {
        let cut = cut.clamp(from, body.len());
        let piece = Bytes::copy_from_slice(&body[from..cut]);
        frames.push(piece, |frame| decoder.frame(frame, &mut events)).unwrap();
        from = cut;
    }
    frames.end(|frame| decoder.frame(frame, &mut events));
    decoder.end(&mut events);
    events
}

fn encode(client: &ClientHalf, events: &[Event]) -> String {
    let mut encoder = (client.stream)(echo(), stamp());
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.event(event.clone(), &mut out));
    encoder.end(1_790_000_001, &mut out);
    String::from_utf8(out).unwrap()
}

fn fold(events: &[Event]) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.iter().for_each(|event| fold.push(event.clone()));
    fold.finish()
}

fn has_failed(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Fail(_)))
}

#[test]
fn recorded_streams_are_told_in_order() {
    let mut wrong = Vec::new();
    for (format, path) in streams() {
        let events = decode(half(format), &fs::read(&path).unwrap(), &[]);
        if let Err(why) = order::check(&events) {
            wrong.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn recorded_streams_fold_to_their_whole_answers() {
    let mut wrong = Vec::new();
    for (format, path) in streams() {
        let Ok(body) = fs::read(path.with_extension("json")) else { continue };
        let whole = (half(format).reply)(&body, &mut context());
        let folded = fold(&decode(half(format), &fs::read(&path).unwrap(), &[]));
        match (whole, folded) {
            (Ok(whole), Ok(folded)) if gist::of(&whole) == gist::of(&folded) => {}
            (Err(_), Err(_)) => {}
            (whole, folded) => wrong.push(format!("{}: {whole:?}\n{folded:?}", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Checks what clients get of these events, and that it says the same when it is read again.
fn check_clients(events: &[Event]) -> Result<(), String> {
    let usage = events.iter().any(|event| matches!(event, Event::Usage(_)));
    let end = wellformed::End { failed: has_failed(events), usage };
    for (client, check, format) in &CLIENTS {
        // Its clients declare no tools of free text.
        if *format == Format::Anthropic && has_custom_call(events) {
            continue;
        }
        let name = format.as_str();
        let stream = encode(client, events);
        check(&stream, end).map_err(|why| format!("{name}: {why}"))?;
        let Ok(reply) = fold(events) else { continue };
        let expected = as_told(&reply, *format);
        let again = fold(&decode(half(*format), stream.as_bytes(), &[]));
        let mut again = again.map(|reply| gist::of(&reply));
        if let (Ok(again), true) = (&mut again, has_details(&reply)) {
            // OpenRouter's details come once more, whole, at the end.
            again.thoughts.clone_from(&expected.thoughts);
        }
        if again.as_ref().ok() != Some(&expected) && !is_failure(&reply, *format) {
            return Err(format!("{name}, streamed: {again:#?} is not {expected:#?}\n{stream}"));
        }
        let Ok(whole) = (client.reply)(&reply, &echo(), &stamp()) else { continue };
        let again = (half(*format).reply)(&whole, &mut context()).map(|reply| gist::of(&reply));
        if again.as_ref().ok() != Some(&expected) && !is_failure(&reply, *format) {
            let whole = String::from_utf8_lossy(&whole);
            return Err(format!("{name}, whole: {again:#?} is not {expected:#?}\n{whole}"));
        }
    }
    Ok(())
}

fn has_details(reply: &Reply) -> bool {
    let parts = reply.choices.iter().flat_map(|choice| &choice.parts);
    let mut seals = parts.filter_map(|part| match &part.content {
        Content::Reasoning(reasoning) => reasoning.seal.as_ref(),
        _ => None,
    });
    seals.any(|seal| seal.format == Format::OpenAiChat)
}

fn has_custom_call(events: &[Event]) -> bool {
    let is_custom = |call: &ToolCall| call.kind == CallKind::Custom;
    events.iter().any(|event| match event {
        Event::Open { part, .. } => part.as_call().is_some_and(is_custom),
        _ => false,
    })
}

/// What a format makes of an answer where it has no words of its own.
fn as_told(reply: &Reply, format: Format) -> gist::Gist {
    let mut reply = reply.clone();
    let Some(choice) = reply.choices.first_mut() else { return gist::Gist::default() };
    if let Some(Finish::Filtered(Some(why))) = &choice.finish
        && format == Format::OpenAiChat
        && !choice.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)))
    {
        // The explanation is what the model says of its refusal.
        choice.parts.push(Part::new(Content::Refusal(why.clone())));
    }
    if format == Format::Anthropic {
        // A refusal is a text and a reason to stop.
        let mut refused = false;
        for part in &mut choice.parts {
            if let Content::Refusal(text) = &part.content {
                refused = true;
                part.content = Part::text(text.as_str()).content;
            }
        }
        let calls = choice.parts.iter().any(|part| part.as_call().is_some());
        if refused && !calls && choice.finish == Some(Finish::Stop) {
            return gist::Gist { finish: "filtered", ..gist::of(&reply) };
        }
    }
    gist::of(&reply)
}

/// Whether the format tells this answer as a failure of the model.
fn is_failure(reply: &Reply, format: Format) -> bool {
    let Some(choice) = reply.choices.first() else { return true };
    let fault = matches!(choice.finish, Some(Finish::Fault(_)));
    let media = choice.parts.iter().any(|part| matches!(part.content, Content::Media(_)));
    (fault && format == Format::OpenAiResponses) || (media && format == Format::Anthropic)
}

#[test]
fn recorded_streams_are_well_formed_for_every_client() {
    let mut wrong = Vec::new();
    for (format, path) in streams() {
        let events = decode(half(format), &fs::read(&path).unwrap(), &[]);
        if let Err(why) = check_clients(&events) {
            wrong.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn recorded_answers_told_as_streams_are_well_formed_for_every_client() {
    let mut wrong = Vec::new();
    for (format, path) in recorded(&["json"]) {
        let Ok(reply) = (half(format).reply)(&fs::read(&path).unwrap(), &mut context()) else {
            continue;
        };
        if let Err(why) = check_clients(&reply.into_events()) {
            wrong.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn where_the_network_cuts_changes_nothing() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut wrong = Vec::new();
    for (format, path) in streams() {
        let body = fs::read(&path).unwrap();
        let whole = format!("{:?}", decode(half(format), &body, &[]));
        let every: Vec<usize> = (0..body.len()).collect();
        if format!("{:?}", decode(half(format), &body, &every)) != whole {
            wrong.push(format!("{}: byte by byte", path.display()));
        }
        let cuts = proptest::collection::vec(0..=body.len(), 0..8);
        for _ in 0..8 {
            let mut cuts = cuts.new_tree(&mut runner).unwrap().current();
            cuts.sort_unstable();
            if format!("{:?}", decode(half(format), &body, &cuts)) != whole {
                wrong.push(format!("{}: {cuts:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_stream_cut_short_is_never_complete() {
    let mut wrong = Vec::new();
    for (format, path) in streams() {
        let body = fs::read(&path).unwrap();
        for length in (0..body.len()).step_by(7) {
            let half = half(format);
            let events = decode(half, &body[..length], &[]);
            let checked = order::check(&events);
            // What ends inside the last frames may be complete: the answer itself has ended.
            let lines = half.framing == Framing::Lines;
            if let Err(why) = checked {
                wrong.push(format!("{} at {length} ({lines}): {why}", path.display()));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn made_up_answers_are_well_formed_for_every_client(reply in generate::reply()) {
        let events = reply.clone().into_events();
        order::check(&events).map_err(TestCaseError::fail)?;
        check_clients(&events).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn events_in_any_order_that_blocks_may_come_are_well_formed(
        reply in generate::reply(),
        order in proptest::collection::vec(any::<u8>(), 64),
        broken in proptest::option::of(0_usize..40),
    ) {
        let mut events = generate::interleaved(reply, &order);
        if let Some(at) = broken.filter(|at| *at < events.len()) {
            events.truncate(at);
            events.push(Event::Fail(tidegate::wire::codec::broke_off()));
        }
        check_clients(&events).map_err(TestCaseError::fail)?;
    }
}
