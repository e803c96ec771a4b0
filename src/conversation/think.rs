//! LiteLLM's `merge_reasoning_content_in_choices`: thoughts go into the text, between `<think>` and
//! `</think>`, for clients that know no other place (<https://docs.litellm.ai/docs/reasoning_content>). The
//! thoughts stand at the head of the text that follows them, in one block with it.

use std::collections::HashMap;

use super::{Annotation, Content, Delta, Event, Fold, Part, Reply};

const BEGIN: &str = "<think>";
const END: &str = "</think>";

/// Turns reasoning into text, event by event.
#[derive(Debug, Default)]
pub struct Think {
    choices: HashMap<u32, Choice>,
}

/// One answer of several.
#[derive(Debug, Default)]
struct Choice {
    /// Blocks opened so far, by our count.
    opened: u32,
    /// Our number of each open block, by the number it came with.
    blocks: HashMap<u32, Place>,
    /// A text block of thoughts that waits for the text.
    thoughts: Option<Thoughts>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    block: u32,
    is_reasoning: bool,
    /// Characters of thoughts before the text: annotations count from there.
    shift: u64,
}

#[derive(Debug)]
struct Thoughts {
    /// The block that thinks, by the number it came with.
    source: u32,
    block: u32,
    length: u64,
    /// The last summary that came, where summaries are what comes.
    summary: Option<u32>,
}

/// The same for a whole answer.
pub fn merge_reply(reply: Reply) -> Reply {
    let (mut think, mut fold, mut out) = (Think::default(), Fold::default(), Vec::new());
    for event in reply.into_events() {
        think.event(event, &mut out);
        out.drain(..).for_each(|event| fold.push(event));
    }
    fold.reply().clone()
}

impl Think {
    /// Takes one event and adds what it becomes.
    pub fn event(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            Event::Open { choice, block, part } => {
                self.choices.entry(choice).or_default().open(choice, block, part, out);
            }
            Event::Delta { choice, block, delta } => {
                self.choices.entry(choice).or_default().grow(choice, block, delta, out);
            }
            Event::Close { choice, block } => {
                self.choices.entry(choice).or_default().close(choice, block, out);
            }
            Event::Finish { choice, finish } => {
                self.choices.entry(choice).or_default().leave(choice, out);
                out.push(Event::Finish { choice, finish });
            }
            other => out.push(other),
        }
    }
}

impl Choice {
    fn open(&mut self, choice: u32, source: u32, mut part: Part, out: &mut Vec<Event>) {
        match &mut part.content {
            Content::Reasoning(reasoning) => {
                let place = Place { block: 0, is_reasoning: true, shift: 0 };
                self.blocks.insert(source, place);
                for (index, text) in std::mem::take(&mut reasoning.summary).into_iter().enumerate()
                {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    self.think(choice, source, &text, Some(index), out);
                }
                let text = std::mem::take(&mut reasoning.text);
                self.think(choice, source, &text, None, out);
            }
            Content::Text { text, annotations, logprobs } if self.thoughts.is_some() => {
                let mut deltas = Vec::new();
                if !text.is_empty() {
                    deltas.push(Delta::Text(std::mem::take(text)));
                }
                deltas.extend(logprobs.take().map(Delta::Logprobs));
                deltas.extend(std::mem::take(annotations).into_iter().map(Delta::Annotation));
                self.follow(choice, source, out);
                for delta in deltas {
                    self.grow(choice, source, delta, out);
                }
            }
            _ => {
                self.leave(choice, out);
                let block = self.next();
                self.blocks.insert(source, Place { block, is_reasoning: false, shift: 0 });
                out.push(Event::Open { choice, block, part });
            }
        }
    }

    fn grow(&mut self, choice: u32, source: u32, delta: Delta, out: &mut Vec<Event>) {
        let Some(place) = self.blocks.get(&source).copied() else { return };
        if !place.is_reasoning {
            let delta = shifted(delta, place.shift);
            out.push(Event::Delta { choice, block: place.block, delta });
            return;
        }
        match delta {
            Delta::Text(text) => self.think(choice, source, &text, None, out),
            Delta::Summary { index, text } => self.think(choice, source, &text, Some(index), out),
            // Nobody could bring a seal back out of a text.
            _ => {}
        }
    }

    fn close(&mut self, choice: u32, source: u32, out: &mut Vec<Event>) {
        match self.blocks.remove(&source) {
            Some(place) if !place.is_reasoning => {
                out.push(Event::Close { choice, block: place.block });
            }
            // The block stays open for the text.
            _ => {}
        }
    }

    /// Thoughts have come.
    fn think(
        &mut self,
        choice: u32,
        source: u32,
        text: &str,
        summary: Option<u32>,
        out: &mut Vec<Event>,
    ) {
        if text.is_empty() {
            return;
        }
        let mut before = "";
        if self.thoughts.is_none() {
            let block = self.next();
            out.push(Event::Open { choice, block, part: Part::text("") });
            self.thoughts = Some(Thoughts { source, block, length: 0, summary });
            before = BEGIN;
        }
        let Some(thoughts) = &mut self.thoughts else { return };
        if before.is_empty() && (thoughts.summary != summary || thoughts.source != source) {
            before = "\n\n";
        }
        (thoughts.summary, thoughts.source) = (summary, source);
        thoughts.say(choice, format!("{before}{text}"), out);
    }

    /// The text that the thoughts led to begins, in their block.
    fn follow(&mut self, choice: u32, source: u32, out: &mut Vec<Event>) {
        let Some(mut thoughts) = self.thoughts.take() else { return };
        thoughts.say(choice, END.to_owned(), out);
        let place = Place { block: thoughts.block, is_reasoning: false, shift: thoughts.length };
        self.blocks.insert(source, place);
    }

    /// Something else follows the thoughts, or nothing.
    fn leave(&mut self, choice: u32, out: &mut Vec<Event>) {
        let Some(mut thoughts) = self.thoughts.take() else { return };
        thoughts.say(choice, END.to_owned(), out);
        out.push(Event::Close { choice, block: thoughts.block });
    }

    fn next(&mut self) -> u32 {
        let block = self.opened;
        self.opened = self.opened.saturating_add(1);
        block
    }
}

impl Thoughts {
    fn say(&mut self, choice: u32, text: String, out: &mut Vec<Event>) {
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(length);
        out.push(Event::Delta { choice, block: self.block, delta: Delta::Text(text) });
    }
}

/// An annotation counts characters of its text, which has thoughts before it now.
fn shifted(delta: Delta, shift: u64) -> Delta {
    match delta {
        Delta::Annotation(Annotation::Url { url, title, start, end }) => {
            let add = |at: u64| at.saturating_add(shift);
            Delta::Annotation(Annotation::Url {
                url,
                title,
                start: start.map(add),
                end: end.map(add),
            })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Choice, Finish, Format, Reasoning, Seal, ToolCall};

    fn thought(text: &str) -> Part {
        let seal = Seal { format: Format::Anthropic, data: "s".into() };
        Part::reasoning(Reasoning { text: text.into(), seal: Some(seal), ..Reasoning::default() })
    }

    fn call() -> Part {
        Part::new(Content::ToolCall(ToolCall { id: "1".into(), ..ToolCall::default() }))
    }

    #[track_caller]
    fn check(parts: Vec<Part>, expected: Vec<Part>) {
        let choice = |parts| Choice { parts, finish: Some(Finish::Stop) };
        let reply = Reply { choices: vec![choice(parts)], ..Reply::default() };
        let expected = Reply { choices: vec![choice(expected)], ..Reply::default() };
        assert_eq!(merge_reply(reply), expected);
    }

    #[test]
    fn thoughts_stand_at_the_head_of_their_text() {
        check(vec![thought("hm"), Part::text("yes")], vec![Part::text("<think>hm</think>yes")]);
        check(
            vec![thought("a"), thought("b"), Part::text("c"), thought("d"), call()],
            vec![Part::text("<think>a\n\nb</think>c"), Part::text("<think>d</think>"), call()],
        );
        check(vec![thought(""), Part::text("x")], vec![Part::text("x")]);
        let summary = vec!["one".to_owned(), "two".to_owned()];
        let summary = Part::reasoning(Reasoning { summary, ..Reasoning::default() });
        check(vec![summary, call()], vec![Part::text("<think>one\n\ntwo</think>"), call()]);
    }

    #[test]
    fn citations_still_point_at_their_words() {
        let cited = |start| {
            let mut part = Part::text("word");
            part.grow(Delta::Annotation(Annotation::Url {
                url: "u".into(),
                title: None,
                start: Some(start),
                end: Some(start + 4),
            }));
            part
        };
        let mut expected = cited(17);
        expected.content = match expected.content {
            Content::Text { annotations, logprobs, .. } => {
                Content::Text { text: "<think>hé</think>word".into(), annotations, logprobs }
            }
            other => other,
        };
        check(vec![thought("hé"), cited(0)], vec![expected]);
    }

    #[test]
    fn a_stream_is_told_at_once_and_every_block_is_closed() {
        let (mut think, mut out) = (Think::default(), Vec::new());
        let open = |block, part| Event::Open { choice: 0, block, part };
        think.event(open(0, thought("")), &mut out);
        let delta = Delta::Text("hm".into());
        think.event(Event::Delta { choice: 0, block: 0, delta }, &mut out);
        assert_eq!(out.len(), 2, "open and delta: {out:?}");
        think.event(Event::Close { choice: 0, block: 0 }, &mut out);
        think.event(Event::Finish { choice: 0, finish: Finish::Length }, &mut out);
        let told: Vec<String> = out.iter().skip(2).map(|event| format!("{event:?}")).collect();
        assert!(
            matches!(&out[2], Event::Delta { delta: Delta::Text(end), .. } if end == "</think>"),
            "{told:?}"
        );
        assert!(matches!(out[3], Event::Close { block: 0, .. }), "{told:?}");
        assert!(matches!(out[4], Event::Finish { .. }), "{told:?}");
    }
}
