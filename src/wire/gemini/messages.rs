//! Turns of a conversation as `contents`: `user` and `model` in turn, neighbours of one role merged, calls and
//! results paired, and each thought signature back on the part that it came on
//! (<https://ai.google.dev/gemini-api/docs/thought-signatures>).

use std::borrow::Cow;

use super::media::{self, Store};
use super::models::Model;
use super::results::{self, Place, Results, Style};
use super::types::{Content, FunctionCall, Part, Piece, Speaker};
use crate::conversation::{
    Ask, Content as Said, Format, Losses, Part as SaidPart, Reasoning, Seal, ToolCall, Turn,
};
use crate::ground::fault::Fault;

/// What a history is written for.
#[derive(Clone, Copy)]
pub(super) struct Scene<'t> {
    pub(super) model: Model,
    pub(super) store: Store<'t>,
    /// What Gemini would refuse is mended.
    pub(super) mends: bool,
}

/// What stands for a signature that a client lost. Google documents it for histories of other models.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The texts of the system, and the turns.
pub(super) fn write<'a>(
    ask: &'a Ask,
    scene: Scene<'_>,
    losses: &mut Losses,
) -> Result<(Vec<Cow<'a, str>>, Vec<Content<'a>>), Fault> {
    let style = Style {
        store: scene.store,
        media_inside: scene.model.sees_results(),
        ids: !scene.store.vertex || scene.model.pairs_by_id(),
    };
    let results = Results::of(ask);
    let mut history =
        History { ask, contents: Vec::new(), calls: Vec::new(), thought: None, results, style };
    let mut system: Vec<Cow<'a, str>> = Vec::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        if turn.name.is_some() {
            losses
                .add(format!("{}.name", ask.turn_path(at)), "Gemini has no names of participants");
        }
        match turn.role {
            crate::conversation::Role::Assistant => history.model(turn, at, losses)?,
            crate::conversation::Role::User => history.user(turn, at, losses)?,
            _ if history.contents.is_empty() && scene.model.takes_system() => {
                system.extend(texts(ask, turn, at, losses).map(Cow::Borrowed));
            }
            _ => history.system(turn, at, losses)?,
        }
    }
    history.answer_calls(losses)?;
    let mut contents = history.contents;
    if scene.model.wants_signatures() {
        contents.iter_mut().for_each(sign_first_call);
    }
    if scene.mends {
        mend(&mut contents, &mut system, scene.model, losses);
    }
    Ok((system, contents))
}

struct History<'a, 't> {
    ask: &'a Ask,
    contents: Vec<Content<'a>>,
    /// The calls of the last turn, where that is the model's, with the number of the turn each stood in.
    calls: Vec<(usize, &'a ToolCall)>,
    /// Sealed reasoning whose seal waits for the part it belongs to.
    thought: Option<(&'a Reasoning, &'a Seal)>,
    results: Results<'a>,
    style: Style<'t>,
}

impl<'a> History<'a, '_> {
    fn model(&mut self, turn: &'a Turn, at: usize, losses: &mut Losses) -> Result<(), Fault> {
        for (place, part) in turn.parts.iter().enumerate() {
            match &part.content {
                Said::Reasoning(reasoning) => {
                    let seal = reasoning.seal.as_ref().filter(|seal| is_own(seal));
                    if let Some(seal) = seal {
                        self.settle_thought();
                        self.thought = Some((reasoning, seal));
                    } else if reasoning.seal.is_some() {
                        let why = "only reasoning that Gemini signed returns to it";
                        losses.add(self.ask.part_path(at, place), why);
                    }
                }
                Said::ToolCall(call) => self.call(call, at),
                _ => {
                    if let Some(piece) = self.piece(part, at, place, losses)? {
                        self.settle_thought();
                        self.push(Speaker::Model, piece);
                    }
                }
            }
        }
        self.settle_thought();
        Ok(())
    }

    fn call(&mut self, call: &'a ToolCall, turn: usize) {
        let own = call.seal.as_ref().filter(|seal| is_own(seal));
        // Clients of formats without a place for it on the call carry it as reasoning directly before.
        let carried = if own.is_none() { self.thought.take().map(|(_, seal)| seal) } else { None };
        self.settle_thought();
        let function_call = FunctionCall {
            id: self.style.ids.then_some(&*call.id),
            name: &call.name,
            args: call.object(),
        };
        let part = Part {
            function_call: Some(function_call),
            thought_signature: own.or(carried).map(|seal| &*seal.data),
            ..Part::default()
        };
        self.push(Speaker::Model, part.into());
        self.calls.push((turn, call));
    }

    /// Gives a seal that no call took back to the text or picture before it; what was sealed by itself stands by
    /// itself. An empty text with a signature is how Gemini ends a stream.
    fn settle_thought(&mut self) {
        let Some((reasoning, seal)) = self.thought.take() else { return };
        let signature = Some(&*seal.data);
        if !reasoning.text.is_empty() {
            let thought = Part {
                thought: true,
                thought_signature: signature,
                ..Part::text(reasoning.text.as_str())
            };
            return self.push(Speaker::Model, thought.into());
        }
        let last = self.contents.last_mut().filter(|last| last.role == Some(Speaker::Model));
        match last.and_then(|last| last.parts.last_mut()) {
            Some(Piece::Part(part))
                if part.thought_signature.is_none() && part.function_call.is_none() =>
            {
                part.thought_signature = signature;
            }
            _ => {
                let part = Part { thought_signature: signature, ..Part::text("") };
                self.push(Speaker::Model, part.into());
            }
        }
    }

    fn user(&mut self, turn: &'a Turn, at: usize, losses: &mut Losses) -> Result<(), Fault> {
        if !turn.parts.is_empty() {
            self.answer_calls(losses)?;
        }
        for (place, part) in turn.parts.iter().enumerate() {
            if let Said::ToolResult(result) = &part.content {
                if !self.results.is_claimed(at, place) {
                    losses.add(
                        self.ask.part_path(at, place),
                        "no call has this id; its result is told as text",
                    );
                    let orphan = Place { ask: self.ask, turn: at, part: place, result };
                    for piece in results::orphan(orphan, self.style.store, losses)? {
                        self.push(Speaker::User, piece);
                    }
                }
            } else if let Some(piece) = self.piece(part, at, place, losses)? {
                self.push(Speaker::User, piece);
            }
        }
        Ok(())
    }

    /// A system turn in mid-conversation, or for a model that has none: the user's, and marked.
    fn system(&mut self, turn: &'a Turn, at: usize, losses: &mut Losses) -> Result<(), Fault> {
        let text: Vec<&str> = texts(self.ask, turn, at, losses).collect();
        if text.is_empty() {
            return Ok(());
        }
        self.answer_calls(losses)?;
        let text = format!("<system>\n{}\n</system>", text.join("\n"));
        self.push(Speaker::User, Part::text(text).into());
        Ok(())
    }

    /// Answers the calls of the turn that just ended, in their order, each once.
    fn answer_calls(&mut self, losses: &mut Losses) -> Result<(), Fault> {
        let mut media = Vec::new();
        for (turn, call) in std::mem::take(&mut self.calls) {
            let result = self.results.claim(call, turn);
            if result.is_none() {
                losses.add(
                    format!("{}.tool_calls", self.ask.turn_path(turn)),
                    "a call has no result; one that says so stands in for it",
                );
            }
            let (piece, after) = results::response(call, result, self.style, losses)?;
            self.push(Speaker::User, piece);
            media.extend(after);
        }
        for piece in media {
            self.push(Speaker::User, piece);
        }
        Ok(())
    }

    /// What needs no pairing. Empty texts are left out: Gemini refuses a part without data.
    fn piece(
        &self,
        part: &'a SaidPart,
        turn: usize,
        place: usize,
        losses: &mut Losses,
    ) -> Result<Option<Piece<'a>>, Fault> {
        let path = || self.ask.part_path(turn, place);
        Ok(match &part.content {
            Said::Text { text, .. } | Said::Refusal(text) => {
                (!text.is_empty()).then(|| Part::text(text.as_str()).into())
            }
            Said::Media(media) => {
                if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
                    losses.add(format!("{}.detail", path()), "Gemini has one resolution for all");
                }
                Some(media::part(media, &part.extras, &path(), self.style.store)?.into())
            }
            Said::Foreign { format: Format::Gemini, value } => Some(Piece::Raw(value.as_raw())),
            Said::Served(_) | Said::Foreign { .. } => {
                losses.add(path(), "only the provider that made this part knows it");
                None
            }
            Said::Reasoning(_) | Said::ToolCall(_) | Said::ToolResult(_) => {
                losses.add(path(), "it does not belong into a turn of this role");
                None
            }
        })
    }

    fn push(&mut self, role: Speaker, piece: Piece<'a>) {
        match self.contents.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.push(piece),
            _ => self.contents.push(Content { role: Some(role), parts: vec![piece] }),
        }
    }
}

/// Gemini 3 refuses a step of the model whose first call has no signature; the other calls of the step have none.
fn sign_first_call(content: &mut Content<'_>) {
    let mut parts = content.parts.iter_mut().filter_map(|piece| match piece {
        Piece::Part(part) if part.function_call.is_some() => Some(part),
        _ => None,
    });
    if let Some(first) = parts.next() {
        first.thought_signature.get_or_insert(NO_SIGNATURE);
    }
}

/// A conversation begins with the user, and, for the newest models, ends with the user too.
fn mend<'a>(
    contents: &mut Vec<Content<'a>>,
    system: &mut Vec<Cow<'a, str>>,
    model: Model,
    losses: &mut Losses,
) {
    let user = |text: Cow<'a, str>| Content {
        role: Some(Speaker::User),
        parts: vec![Part::text(text).into()],
    };
    if contents.is_empty() && !system.is_empty() {
        let text = std::mem::take(system).join("\n");
        contents.push(user(text.into()));
    }
    if contents.first().is_some_and(|first| first.role == Some(Speaker::Model)) {
        contents.insert(0, user(".".into()));
    }
    let ends_with_model = contents.last().is_some_and(|last| last.role == Some(Speaker::Model));
    if ends_with_model && !model.takes_sampling_and_prefill() {
        losses.add("messages", "this model does not go on where an assistant's message ends");
        contents.push(user("Continue.".into()));
    }
}

/// The texts of a system turn; it has no room for anything else.
fn texts<'a>(
    ask: &Ask,
    turn: &'a Turn,
    at: usize,
    losses: &mut Losses,
) -> impl Iterator<Item = &'a str> {
    for (place, part) in turn.parts.iter().enumerate() {
        if part.as_text().is_none() {
            losses.add(ask.part_path(at, place), "a system message is text only");
        }
    }
    turn.parts.iter().filter_map(SaidPart::as_text).filter(|text| !text.trim().is_empty())
}

fn is_own(seal: &Seal) -> bool {
    seal.format == Format::Gemini
}

#[cfg(test)]
mod tests;
