//! A whole answer (<https://docs.cohere.com/reference/chat>), read by the steps a stream is read by, so the
//! two cannot come to differ.

use serde_json::value::RawValue;

use super::citation::{self, Cited};
use super::stream::{self, Events, Grows};
use crate::conversation::{Annotation, Event, Fold, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::{ReplyContext, garbage};
use crate::wire::fields::Fields;

/// Reads an answer.
///
/// # Errors
/// `UpstreamGarbage`: it is none; the error it tells of instead.
pub(super) fn read(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    const NONE: &str = "Cohere's answer holds no message.";
    let mut fields = Fields::of_bytes(body).ok_or_else(|| garbage(NONE))?;
    let message = fields.peek("message").and_then(Fields::of);
    let Some(message) = message else {
        return Err(stream::reported(&mut fields).unwrap_or_else(|| garbage(NONE)));
    };
    let mut events = Events::new(std::mem::take(context));
    let mut out = Vec::new();
    let read = steps(fields, message, &mut events, &mut out);
    *context = events.into_context();
    read?;
    let mut fold = Fold::default();
    out.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

fn steps(
    mut fields: Fields<'_>,
    mut message: Fields<'_>,
    events: &mut Events,
    out: &mut Vec<Event>,
) -> Result<(), Fault> {
    events.begin(fields.text("id"), out);
    events.grow(Grows::Thoughts, message.text("tool_plan"), out);
    let cited: Vec<Cited> =
        message.items("citations").into_iter().filter_map(citation::read).collect();
    content(&message.items("content"), cited, &fields.items("logprobs"), events, out);
    for (index, call) in (0..).zip(message.items("tool_calls")) {
        if let Some(mut call) = Fields::of(call) {
            events.call(index, &mut call, out);
            events.end_call(index, out);
        }
    }
    let usage = fields.inner("usage").map(stream::usage).unwrap_or_default();
    // What `error` and `message` hold is read there; the message proper is no error.
    let reason = fields.text("finish_reason");
    fields.take("message");
    events.finish(reason.as_deref(), &mut fields, usage, out)
}

/// Citations go to the block they name, those that name none to the last text.
fn content(
    blocks: &[&RawValue],
    mut cited: Vec<Cited>,
    logprobs: &[&RawValue],
    events: &mut Events,
    out: &mut Vec<Event>,
) {
    let is_text = |raw: &&RawValue| Fields::of(raw).is_some_and(|block| block.has("text"));
    let last = blocks.iter().rposition(is_text);
    let mut logprobs = Some(logprobs.to_vec());
    for (at, block) in blocks.iter().enumerate() {
        let Some(mut block) = Fields::of(block) else { continue };
        events.border();
        events.grow(Grows::Thoughts, block.text("thinking"), out);
        if !block.has("text") {
            continue;
        }
        events.grow(Grows::Text, block.text("text"), out);
        events.more_logprobs(logprobs.take().unwrap_or_default(), out);
        let here = |cited: &mut Cited| match cited.content {
            Some(index) => usize::try_from(index) == Ok(at),
            None => last == Some(at),
        };
        let here: Vec<Annotation> =
            cited.extract_if(.., here).flat_map(|cited| cited.annotations).collect();
        events.cite(here, out);
    }
}
