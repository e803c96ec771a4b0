//! The events of one reasoning item: parts of a summary one after the other, and the thoughts themselves, which are
//! shown in the place of a summary where one was asked for and none comes first. Knows nothing of seals.

use super::super::super::object::Object;
use super::super::events::Payload;
use super::told::Told;
use crate::conversation::Json;

/// What is open of a reasoning item.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    summary: Option<(usize, String)>,
    content: Option<String>,
    /// The thoughts themselves are the first part of the summary.
    instead: bool,
}

impl Thoughts {
    /// More of the thoughts themselves; `instead`: to be shown in the place of a summary.
    pub(super) fn text(&mut self, text: &str, instead: bool, told: &mut Told<'_>) {
        self.instead |= instead;
        if self.instead {
            self.grow_summary(0, text, told);
            return;
        }
        let so_far = self.content.get_or_insert_with(|| {
            let part = part("reasoning_text", "");
            told.content(Payload {
                part: Some(&part),
                ..Payload::of("response.content_part.added")
            });
            String::new()
        });
        so_far.push_str(text);
        told.content(Payload { delta: Some(text), ..Payload::of("response.reasoning_text.delta") });
    }

    /// More of a part of the summary.
    pub(super) fn summary(&mut self, index: usize, text: &str, told: &mut Told<'_>) {
        self.grow_summary(index + usize::from(self.instead), text, told);
    }

    fn grow_summary(&mut self, index: usize, text: &str, told: &mut Told<'_>) {
        if self.summary.as_ref().is_none_or(|(open, _)| *open != index) {
            self.finish_summary(told);
            let part = part("summary_text", "");
            let kind = "response.reasoning_summary_part.added";
            told.item(Payload {
                summary_index: Some(index),
                part: Some(&part),
                ..Payload::of(kind)
            });
        }
        let (_, so_far) = self.summary.get_or_insert_with(|| (index, String::new()));
        so_far.push_str(text);
        let kind = "response.reasoning_summary_text.delta";
        told.item(Payload { summary_index: Some(index), delta: Some(text), ..Payload::of(kind) });
    }

    pub(super) fn finish(&mut self, told: &mut Told<'_>) {
        self.finish_summary(told);
        let Some(text) = self.content.take() else { return };
        told.content(Payload { text: Some(&text), ..Payload::of("response.reasoning_text.done") });
        let part = part("reasoning_text", &text);
        told.content(Payload { part: Some(&part), ..Payload::of("response.content_part.done") });
    }

    fn finish_summary(&mut self, told: &mut Told<'_>) {
        let Some((index, text)) = self.summary.take() else { return };
        let kind = "response.reasoning_summary_text.done";
        let summary_index = Some(index);
        told.item(Payload { summary_index, text: Some(&text), ..Payload::of(kind) });
        let part = part("summary_text", &text);
        let kind = "response.reasoning_summary_part.done";
        told.item(Payload { summary_index, part: Some(&part), ..Payload::of(kind) });
    }
}

fn part(kind: &str, text: &str) -> Json {
    Object::of_type(kind).with("text", text).into_json()
}
