//! A whole answer: one `GenerateContentResponse`, or the list of them that streaming without events gives.

use super::answer::Answer;
use crate::conversation::{Event, Fold, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::{ReplyContext, garbage};
use crate::wire::fields::Fields;

pub(super) fn read(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let mut answer = Answer::new(std::mem::take(&mut context.ids));
    let mut events: Vec<Event> = Vec::new();
    let chunks = chunks(body).ok_or_else(|| garbage("The provider's answer is not JSON."))?;
    for chunk in chunks {
        if !answer.failed {
            answer.chunk(chunk, &mut events);
        }
    }
    if !answer.failed && !answer.has_candidates() {
        return Err(garbage("The provider's answer holds no candidates."));
    }
    answer.end(&mut events);
    context.ids = answer.ids;
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// The chunks that a text holds: itself, or, of a list, each element.
pub(super) fn chunks(text: &[u8]) -> Option<Vec<Fields<'_>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if !text.starts_with('[') {
        return Fields::read(text).map(|chunk| vec![chunk]);
    }
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).ok()?;
    items.into_iter().map(Fields::of).collect()
}

#[cfg(test)]
mod tests;
