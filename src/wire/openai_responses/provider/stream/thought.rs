//! A thought of a stream: its summaries and its text grow as they come, its seal comes at the end.

use super::super::output;
use super::tracked::rest;
use super::{Teller, grow};
use crate::conversation::{Delta, Event, Part, Reasoning};

/// What of a thought has been told.
#[derive(Debug, Default)]
pub(super) struct Thought {
    block: Option<u32>,
    told: usize,
    /// The content part that spoke last.
    place: Option<u64>,
    /// Bytes told of each summary.
    summaries: Vec<usize>,
}

impl Thought {
    pub(super) fn block(&self) -> Option<u32> {
        self.block
    }

    /// Whether nothing of the content part has come.
    pub(super) fn is_new(&self, place: u64) -> bool {
        self.place.is_none_or(|last| last < place)
    }

    fn open(&mut self, id: Option<&str>, teller: &mut Teller, out: &mut Vec<Event>) -> u32 {
        if let Some(block) = self.block {
            return block;
        }
        let block = teller.block();
        self.block = Some(block);
        let reasoning = Reasoning { id: id.map(str::to_owned), ..Reasoning::default() };
        out.push(Event::Open { choice: 0, block, part: Part::reasoning(reasoning) });
        block
    }

    pub(super) fn summarised(&self, index: u32) -> usize {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.summaries.get(index).copied().unwrap_or_default()
    }

    pub(super) fn summarise(
        &mut self,
        index: u32,
        more: &str,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        // As many as a reply takes.
        let at = usize::try_from(index).unwrap_or(usize::MAX).min(255);
        if self.summaries.len() <= at {
            self.summaries.resize(at + 1, 0);
        }
        if let Some(told) = self.summaries.get_mut(at) {
            *told += more.len();
        }
        let block = self.open(id, teller, out);
        grow(block, Delta::Summary { index, text: more.to_owned() }, out);
    }

    pub(super) fn think(
        &mut self,
        place: u64,
        more: &str,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        if more.is_empty() {
            return;
        }
        let block = self.open(id, teller, out);
        let between = self.told > 0 && self.place != Some(place);
        let text = if between { format!("\n\n{more}") } else { more.to_owned() };
        self.place = Some(place);
        self.told += text.len();
        grow(block, Delta::Text(text), out);
    }

    pub(super) fn complete(
        &mut self,
        reasoning: Reasoning,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        if output::is_empty(&reasoning) && self.block.is_none() {
            return;
        }
        let id = reasoning.id.as_deref().or(id);
        let block = self.open(id, teller, out);
        for (index, text) in (0..).zip(&reasoning.summary) {
            let more = rest(text, self.summarised(index));
            let known = usize::try_from(index).is_ok_and(|at| at < self.summaries.len());
            if !known || !more.is_empty() {
                self.summarise(index, more, id, teller, out);
            }
        }
        let more = rest(&reasoning.text, self.told);
        if !more.is_empty() {
            self.told += more.len();
            grow(block, Delta::Text(more.to_owned()), out);
        }
        if let Some(seal) = reasoning.seal {
            grow(block, Delta::Seal(seal), out);
        }
    }
}
