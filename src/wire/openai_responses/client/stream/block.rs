//! One block of the answer and the events of its content: what is written when it begins, grows and is complete.
//! Knows nothing of items beside its own.

use super::super::super::citation;
use super::super::events::{Payload, Writer};
use super::super::output::{self, View};
use super::served;
use super::thoughts::Thoughts;
use super::told::Told;
use crate::conversation::{CallKind, Content, Delta, Part};

/// A part that grows.
pub(super) struct Block {
    pub part: Part,
    /// Where it stands, once anything of it is to be seen.
    pub place: Option<Place>,
    thoughts: Thoughts,
}

/// The place of a part among the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `output_index`.
    pub item: usize,
    /// `content_index`.
    pub content: usize,
}

impl Block {
    pub(super) fn new(part: Part) -> Self {
        Self { part, place: None, thoughts: Thoughts::default() }
    }

    /// Something of it can be shown already.
    pub(super) fn can_begin(&self) -> bool {
        output::is_shown(&self.part) && !self.is_told_whole()
    }

    /// Calls of these tools have no events but the two that tell the whole item, so nothing is told of them before
    /// all of it has come.
    pub(super) fn is_told_whole(&self) -> bool {
        let call = self.part.as_call();
        call.is_some_and(|call| matches!(call.kind, CallKind::LocalShell | CallKind::ApplyPatch))
    }

    /// The item has been announced.
    pub(super) fn begin(&self, id: &str, writer: &mut Writer, out: &mut Vec<u8>) {
        if let (Content::Served(served), Some(place)) = (&self.part.content, self.place) {
            served::begun(served, &mut Told { id, place, writer, out });
        }
        if output::is_text(&self.part)
            && let Some(place) = self.place
        {
            let part = output::content_part(&self.part);
            let mut told = Told { id, place, writer, out };
            told.content(Payload {
                part: Some(&part),
                ..Payload::of("response.content_part.added")
            });
        }
    }

    pub(super) fn grow(
        &mut self,
        delta: Delta,
        id: &str,
        view: View,
        writer: &mut Writer,
        out: &mut Vec<u8>,
    ) {
        if let Some(place) = self.place {
            let mut told = Told { id, place, writer, out };
            self.tell(&delta, view, &mut told);
        }
        self.part.grow(delta);
    }

    fn tell(&mut self, delta: &Delta, view: View, told: &mut Told<'_>) {
        match (&self.part.content, delta) {
            (Content::Text { .. }, Delta::Text(text)) => told.text(text, &output::empty_list()),
            (Content::Text { .. }, Delta::Logprobs(logprobs)) => told.text("", logprobs),
            (Content::Text { annotations, .. }, Delta::Annotation(annotation)) => {
                let Some(annotation) = citation::write(annotation) else { return };
                let before = annotations.iter().filter_map(citation::write).count();
                told.content(Payload {
                    annotation_index: Some(before),
                    annotation: Some(&annotation),
                    ..Payload::of("response.output_text.annotation.added")
                });
            }
            (Content::Refusal(_), Delta::Text(text)) => {
                let kind = "response.refusal.delta";
                told.content(Payload { delta: Some(text), ..Payload::of(kind) });
            }
            (Content::Reasoning(thought), Delta::Text(text)) => {
                let is_first = thought.text.is_empty() && thought.summary.is_empty();
                self.thoughts.text(text, is_first && view.summary, told);
            }
            (Content::Reasoning(_), Delta::Summary { index, text }) => {
                self.thoughts.summary(usize::try_from(*index).unwrap_or_default(), text, told);
            }
            (Content::ToolCall(call), Delta::Arguments(more)) => told.arguments(call, more),
            (Content::Served(served), Delta::Called) => served::called(served, told),
            (Content::Served(served), Delta::Arguments(more)) => served::grown(served, more, told),
            _ => {}
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, id: &str, writer: &mut Writer, out: &mut Vec<u8>) {
        let Some(place) = self.place else { return };
        let mut told = Told { id, place, writer, out };
        match &self.part.content {
            Content::Text { text, logprobs, .. } => {
                let logprobs = logprobs.clone().unwrap_or_else(output::empty_list);
                told.content(Payload {
                    text: Some(text),
                    logprobs: Some(&logprobs),
                    ..Payload::of("response.output_text.done")
                });
            }
            Content::Refusal(text) => {
                let kind = "response.refusal.done";
                told.content(Payload { refusal: Some(text), ..Payload::of(kind) });
            }
            Content::Reasoning(_) => self.thoughts.finish(&mut told),
            Content::ToolCall(call) => told.call_done(call),
            Content::Served(served) => served::done(served, &mut told),
            Content::Media(_) | Content::ToolResult(_) | Content::Foreign { .. } => {}
        }
        if output::is_text(&self.part) {
            let part = output::content_part(&self.part);
            told.content(Payload {
                part: Some(&part),
                ..Payload::of("response.content_part.done")
            });
        }
    }
}
