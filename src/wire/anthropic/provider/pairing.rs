//! Calls and their results, paired as Anthropic wants them: the results of all calls of a message stand first in
//! the message after it, and every id is there once
//! (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use>). Clients of other formats
//! split them over messages, put words between them, or leave one out when the user broke off.

use std::borrow::Cow;
use std::collections::HashSet;
use std::mem;

use super::super::types::Object;
use super::blocks::Block;
use super::turns::Message;
use crate::conversation::Losses;

const NO_RESULT: &str = "There is no result: the call was not carried out.";

/// Moves every result to its place. `mend`: a call without one gets one that says so.
pub(super) fn pair<'a>(
    mut messages: Vec<Message<'a>>,
    mend: bool,
    losses: &mut Losses,
) -> Vec<Message<'a>> {
    let mut results = taken(&mut messages);
    let mut seen = HashSet::new();
    let mut paired = Vec::with_capacity(messages.len() + 1);
    for (at, mut message) in messages.into_iter().enumerate() {
        let own = match message.role {
            "assistant" => answers(&mut message, at, &mut results, &mut seen, mend),
            _ => Vec::new(),
        };
        // Results come first: the message before was the model's, so none of them are in this one yet.
        paired.push(message);
        if !own.is_empty() {
            paired.push(Message::new("user", own));
        }
    }
    if !results.is_empty() {
        losses.add("messages", "results of tools that stand before their calls are left out");
    }
    paired
}

/// A result that was taken out of its message.
struct Loose<'a> {
    at: usize,
    block: Block<'a>,
}

fn taken<'a>(messages: &mut [Message<'a>]) -> Vec<Loose<'a>> {
    let mut results = Vec::new();
    for (at, message) in messages.iter_mut().enumerate() {
        let (own, rest): (Vec<_>, Vec<_>) =
            mem::take(&mut message.blocks).into_iter().partition(|each| each.is("tool_result"));
        message.blocks = rest;
        results.extend(own.into_iter().map(|block| Loose { at, block }));
    }
    results
}

/// The results of a message's calls, in the order of the calls.
fn answers<'a>(
    message: &mut Message<'a>,
    at: usize,
    results: &mut Vec<Loose<'a>>,
    seen: &mut HashSet<String>,
    mend: bool,
) -> Vec<Block<'a>> {
    let mut own = Vec::new();
    for block in message.blocks.iter_mut().filter(|block| block.is("tool_use")) {
        let id = block.text("id").unwrap_or_default().to_owned();
        let found = results.iter().position(|result| {
            result.at > at && result.block.text("tool_use_id") == Some(id.as_str())
        });
        let mut result = match found {
            Some(found) => results.remove(found).block,
            None if mend => Block::Made(
                Object::of("tool_result")
                    .with("tool_use_id", id.clone())
                    .with("content", NO_RESULT)
                    .with("is_error", true),
            ),
            None => continue,
        };
        // Some providers count their calls anew in every answer.
        let unique = unique(&id, seen);
        if unique != id {
            rename(block, "id", &unique);
            rename(&mut result, "tool_use_id", &unique);
        }
        seen.insert(unique);
        own.push(result);
    }
    own
}

fn unique(id: &str, seen: &HashSet<String>) -> String {
    let mut unique = id.to_owned();
    let mut number = 2;
    while seen.contains(&unique) {
        unique = format!("{id}_{number}");
        number += 1;
    }
    unique
}

fn rename(block: &mut Block<'_>, name: &str, id: &str) {
    if let Some(text) = block.object_mut().and_then(|object| object.text_mut(name)) {
        *text = Cow::Owned(id.to_owned());
    }
}
