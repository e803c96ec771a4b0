//! One answer in which the gateway ran tools, as the model said it: how a client's echo of it is known, and how it is written
//! in that echo's place. Where answers are found is no matter here.

use std::collections::HashSet;

use crate::conversation::served::Served;
use crate::conversation::{Content, Part, Role, Source, ToolCall, Turn};

pub(super) struct Kept {
    /// What the model said in each round, and what the gateway's tools answered.
    turns: Vec<Turn>,
    /// The client's calls, by their ids: all are in the last round.
    clients: HashSet<String>,
    /// The gateway's, by id and name: some providers give the same ids in each round.
    own: HashSet<(String, String)>,
}

impl Kept {
    /// The answer that these rounds are; `None` where nothing was run in them.
    pub(super) fn of(turns: Vec<Turn>) -> Option<Self> {
        let last = turns.iter().rposition(|turn| turn.role == Role::Assistant)?;
        let results = turns.iter().skip(last).flat_map(|turn| &turn.parts);
        let answered: HashSet<&String> =
            results.filter_map(Part::as_result).map(|result| &result.call_id).collect();
        let (mut clients, mut own) = (HashSet::new(), HashSet::new());
        for (at, turn) in turns.iter().enumerate() {
            for call in turn.parts.iter().filter_map(Part::as_call) {
                if at == last && !answered.contains(&call.id) {
                    clients.insert(call.id.clone());
                } else {
                    own.insert((call.id.clone(), call.name.clone()));
                }
            }
        }
        (!own.is_empty()).then_some(Self { turns, clients, own })
    }

    /// The ids that a client may send back.
    pub(super) fn ids(&self) -> impl Iterator<Item = String> {
        let items = self.said().filter_map(Part::item_id);
        self.clients.iter().cloned().chain(items)
    }

    pub(super) fn size(&self) -> usize {
        self.turns.iter().flat_map(|turn| &turn.parts).map(size).sum()
    }

    /// Whether calls of the gateway stand among those of a history, each an id and a name.
    pub(super) fn is_among(&self, calls: &HashSet<(String, String)>) -> bool {
        !self.own.is_disjoint(calls)
    }

    /// Whether a turn says the same: its calls, and its text unless the client leaves that out. Providers that count their
    /// calls give the same ids again and again.
    pub(super) fn is_said_by(&self, turn: &Turn) -> bool {
        let is_same = |call: &ToolCall| {
            self.said().filter_map(Part::as_call).any(|said| {
                (&said.id, &said.name) == (&call.id, &call.name)
                    && said.object().to_value() == call.object().to_value()
            })
        };
        let text = letters(turn.parts.iter());
        turn.parts.iter().filter_map(Part::as_call).all(is_same)
            && (text.is_empty() || text == letters(self.said()))
    }

    /// Writes the answer in the place of what its client knows of it. Calls that the client has taken out stay out; a text
    /// that it has changed counts.
    pub(super) fn restored(&self, theirs: Turn, turns: &mut Vec<Turn>) {
        let (text, said) = (letters(theirs.parts.iter()), letters(self.said()));
        // Of a round that broke off nothing counts.
        let is_said = text == said || self.is_unfinished() && text.starts_with(&said);
        let is_edited = !text.is_empty() && !is_said;
        let calls = theirs.parts.iter().filter_map(Part::as_call);
        let calls: HashSet<String> = calls.map(|call| call.id.clone()).collect();
        let is_left_out =
            |call: &ToolCall| self.clients.contains(&call.id) && !calls.contains(&call.id);
        // Calls that the client had to approve were run before the answer began.
        let mut before = Vec::new();
        let mut restored = self.turns.clone();
        let mut rounds = restored.iter_mut().rev().filter(|turn| turn.role == Role::Assistant);
        if let Some(last) = rounds.next() {
            last.parts.retain(|part| match &part.content {
                Content::ToolCall(call) => !is_left_out(call),
                Content::Text { .. } => !is_edited,
                _ => true,
            });
            for part in theirs.parts {
                match &part.content {
                    Content::Text { .. } if is_edited => {
                        let calls = last.parts.iter().position(|part| part.as_call().is_some());
                        last.parts.insert(calls.unwrap_or(last.parts.len()), part);
                    }
                    Content::ToolCall(call) if !self.clients.contains(&call.id) => {
                        last.parts.push(part);
                    }
                    // What was run stands here as the model knows it, whatever the client makes of it.
                    Content::Served(served) => match &**served {
                        Served::Call(call) if call.approval.is_some() => before.push(part),
                        Served::Call(_) => {}
                        _ => last.parts.push(part),
                    },
                    _ => {}
                }
            }
            (last.name, last.extras) = (theirs.name, theirs.extras);
        }
        if is_edited {
            rounds.for_each(|turn| turn.parts.retain(|part| part.as_text().is_none()));
        }
        let before = Turn::new(Role::Assistant, before);
        turns.extend([before].into_iter().chain(restored).filter(|turn| !turn.parts.is_empty()));
    }

    fn said(&self) -> impl Iterator<Item = &Part> {
        let turns = self.turns.iter().filter(|turn| turn.role == Role::Assistant);
        turns.flat_map(|turn| &turn.parts)
    }

    /// Whether it broke off: the model has not said anything to the last results.
    fn is_unfinished(&self) -> bool {
        self.clients.is_empty() && self.turns.last().is_some_and(|turn| turn.role == Role::User)
    }
}

/// All that is said, without white space: clients trim and join texts.
fn letters<'p>(parts: impl Iterator<Item = &'p Part>) -> String {
    let texts = parts.filter_map(Part::as_text);
    texts.flat_map(str::chars).filter(|letter| !letter.is_whitespace()).collect()
}

pub(super) fn size(part: &Part) -> usize {
    let text = match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => text.len(),
        Content::Reasoning(reasoning) => {
            let seal = reasoning.seal.as_ref().map_or(0, |seal| seal.data.len());
            reasoning.text.len() + reasoning.summary.iter().map(String::len).sum::<usize>() + seal
        }
        Content::ToolCall(call) => {
            let seal = call.seal.as_ref().map_or(0, |seal| seal.data.len());
            call.arguments.len() + call.name.len() + seal
        }
        Content::ToolResult(result) => result.parts.iter().map(size).sum(),
        // Pictures are counted by what they are.
        Content::Media(media) => match &media.source {
            Source::Base64 { data, .. } => data.len(),
            _ => 0,
        },
        Content::Foreign { value, .. } => value.as_str().len(),
        Content::Served(_) => 0,
    };
    64 + text
}
