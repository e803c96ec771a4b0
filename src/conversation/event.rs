//! What a model answers, as it comes. A block is one part of the answer: it is opened with what is known of
//! it, grows by deltas, and is closed. Blocks may overlap: calls that run side by side do. The law that holds
//! this together: folding the events of a stream gives the reply that the same answer would have been whole.

use super::served::ServedOutcome;
use super::{Annotation, Choice, Content, Finish, Head, Json, Part, Reply, Seal, Usage};
use crate::ground::fault::Fault;

/// One event.
#[derive(Clone, Debug)]
pub enum Event {
    /// Comes first, once; a second one only adds what the first did not know.
    Begin(Head),
    /// A block begins. `block` counts up from 0 within a choice, in the order in which blocks are opened;
    /// `part` holds what is known: the empty text, a call's id and name, a whole picture.
    Open {
        choice: u32,
        block: u32,
        part: Part,
    },
    Delta {
        choice: u32,
        block: u32,
        delta: Delta,
    },
    /// Nothing more comes for the block. A decoder closes each block it opened before `Finish`.
    Close {
        choice: u32,
        block: u32,
    },
    /// The choice is complete.
    Finish {
        choice: u32,
        finish: Finish,
    },
    /// May come at any time and more than once: what is known of each count replaces what was.
    Usage(Usage),
    /// The provider reported an error inside its stream, or broke off. Nothing follows.
    Fail(Fault),
}

/// What a block grows by.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// Of a text block, or a refusal, or the thoughts of a reasoning block.
    Text(String),
    /// Of a reasoning block's summary part `index`.
    Summary {
        index: u32,
        text: String,
    },
    /// Of a call's arguments or a custom tool's input.
    Arguments(String),
    /// The seal of a reasoning block or a call; it comes whole.
    Seal(Seal),
    Annotation(Annotation),
    /// All arguments of a call that the gateway runs are there: it runs now.
    Called,
    /// What a tool that the gateway ran has answered; it comes whole.
    Outcome(Box<ServedOutcome>),
    /// More log probabilities of a text block: a JSON list of OpenAI's entries.
    Logprobs(Json),
}

/// Puts events together again.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    reply: Reply,
    failed: Option<Fault>,
}

impl Fold {
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Begin(head) => self.reply.head.learn(head),
            Event::Open { choice, block, part } => {
                let parts = &mut self.choice(choice).parts;
                let at = usize::try_from(block).unwrap_or(usize::MAX).min(parts.len());
                parts.insert(at, part);
            }
            Event::Delta { choice, block, delta } => {
                let block = usize::try_from(block).unwrap_or(usize::MAX);
                if let Some(part) = self.choice(choice).parts.get_mut(block) {
                    part.grow(delta);
                }
            }
            Event::Close { .. } => {}
            Event::Finish { choice, finish } => self.choice(choice).finish = Some(finish),
            Event::Usage(usage) => {
                self.reply.usage.get_or_insert_default().learn(usage);
            }
            Event::Fail(fault) => self.failed = Some(fault),
        }
    }

    fn choice(&mut self, choice: u32) -> &mut Choice {
        // Providers give at most a few; a wild number must not make a wild list.
        let at = usize::try_from(choice).unwrap_or(usize::MAX).min(127);
        let choices = &mut self.reply.choices;
        if choices.len() <= at {
            choices.resize_with(at + 1, Choice::default);
        }
        // The list was just made long enough.
        #[expect(clippy::indexing_slicing, reason = "resized above")]
        &mut choices[at]
    }

    /// What the events so far come to.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The reply.
    ///
    /// # Errors
    /// What the provider reported inside its stream.
    pub fn finish(self) -> Result<Reply, Fault> {
        match self.failed {
            Some(fault) => Err(fault),
            None => Ok(self.reply),
        }
    }
}

impl Head {
    fn learn(&mut self, other: Self) {
        fn fill<T>(slot: &mut Option<T>, other: Option<T>) {
            if slot.is_none() {
                *slot = other;
            }
        }
        fill(&mut self.id, other.id);
        fill(&mut self.model, other.model);
        fill(&mut self.created, other.created);
        fill(&mut self.system_fingerprint, other.system_fingerprint);
        fill(&mut self.service_tier, other.service_tier);
    }
}

impl Part {
    /// Adds a delta; one that does not fit the part is passed over.
    pub fn grow(&mut self, delta: Delta) {
        match (&mut self.content, delta) {
            (Content::Text { text, .. } | Content::Refusal(text), Delta::Text(more)) => {
                text.push_str(&more);
            }
            (Content::Reasoning(reasoning), Delta::Text(more)) => reasoning.text.push_str(&more),
            (Content::Reasoning(reasoning), Delta::Summary { index, text }) => {
                let at = usize::try_from(index).unwrap_or(usize::MAX).min(255);
                if reasoning.summary.len() <= at {
                    reasoning.summary.resize(at + 1, String::new());
                }
                if let Some(part) = reasoning.summary.get_mut(at) {
                    part.push_str(&text);
                }
            }
            (Content::Reasoning(reasoning), Delta::Seal(seal)) => reasoning.seal = Some(seal),
            (Content::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(&more),
            (Content::ToolCall(call), Delta::Seal(seal)) => call.seal = Some(seal),
            (Content::Served(served), delta) => served.grow(delta),
            (Content::Text { annotations, .. }, Delta::Annotation(more)) => annotations.push(more),
            (Content::Text { logprobs, .. }, Delta::Logprobs(more)) => {
                *logprobs = Some(match logprobs.take() {
                    None => more,
                    Some(first) => joined(&first, more),
                });
            }
            _ => {}
        }
    }
}

/// Two JSON lists as one.
fn joined(first: &Json, second: Json) -> Json {
    let lists = [first.read::<Vec<Json>>(), second.read::<Vec<Json>>()];
    let all: Vec<Json> = lists.into_iter().flatten().flatten().collect();
    Json::of(&all)
}

impl Reply {
    /// The events that this reply would have been, streamed: for a client that wants a stream from a provider
    /// that did not send one.
    pub fn into_events(self) -> Vec<Event> {
        let mut events = vec![Event::Begin(self.head)];
        for (choice, Choice { parts, finish }) in self.choices.into_iter().enumerate() {
            let choice = u32::try_from(choice).unwrap_or(u32::MAX);
            for (block, mut part) in parts.into_iter().enumerate() {
                let block = u32::try_from(block).unwrap_or(u32::MAX);
                let deltas = part.split();
                events.push(Event::Open { choice, block, part });
                let deltas = deltas.into_iter();
                events.extend(deltas.map(|delta| Event::Delta { choice, block, delta }));
                events.push(Event::Close { choice, block });
            }
            if let Some(finish) = finish {
                events.push(Event::Finish { choice, finish });
            }
        }
        events.extend(self.usage.map(Event::Usage));
        events
    }
}

impl Part {
    /// Takes out what would have come as deltas.
    pub fn split(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        match &mut self.content {
            Content::Text { text, annotations, logprobs } => {
                deltas.extend(some_text(text).map(Delta::Text));
                deltas.extend(logprobs.take().map(Delta::Logprobs));
                deltas.extend(std::mem::take(annotations).into_iter().map(Delta::Annotation));
            }
            Content::Refusal(text) => deltas.extend(some_text(text).map(Delta::Text)),
            Content::Reasoning(reasoning) => {
                for (index, text) in std::mem::take(&mut reasoning.summary).into_iter().enumerate()
                {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    deltas.push(Delta::Summary { index, text });
                }
                deltas.extend(some_text(&mut reasoning.text).map(Delta::Text));
                if !reasoning.redacted {
                    deltas.extend(reasoning.seal.take().map(Delta::Seal));
                }
            }
            Content::ToolCall(call) => {
                deltas.extend(some_text(&mut call.arguments).map(Delta::Arguments));
                deltas.extend(call.seal.take().map(Delta::Seal));
            }
            Content::Served(served) => deltas.extend(served.split()),
            Content::Media(_) | Content::ToolResult(_) | Content::Foreign { .. } => {}
        }
        deltas
    }
}

fn some_text(text: &mut String) -> Option<String> {
    Some(std::mem::take(text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Reasoning, ToolCall};
    use super::*;

    #[test]
    fn folding_what_was_split_gives_the_same() {
        let seal = Seal { format: Format::Anthropic, data: "sig".into() };
        let reply = Reply {
            head: Head { id: Some("x".into()), ..Head::default() },
            choices: vec![Choice {
                parts: vec![
                    Part::reasoning(Reasoning {
                        text: "hm".into(),
                        summary: vec!["a".into(), "b".into()],
                        seal: Some(seal.clone()),
                        ..Reasoning::default()
                    }),
                    Part::text("hello"),
                    Part::new(Content::Refusal("no".into())),
                    Part::new(Content::ToolCall(ToolCall {
                        id: "c1".into(),
                        name: "f".into(),
                        arguments: "{\"a\":1}".into(),
                        seal: Some(seal),
                        ..ToolCall::default()
                    })),
                ],
                finish: Some(Finish::ToolCalls),
            }],
            usage: Some(Usage { input: Some(1), output: Some(2), ..Usage::default() }),
        };
        let mut fold = Fold::default();
        reply.clone().into_events().into_iter().for_each(|event| fold.push(event));
        assert_eq!(fold.finish().expect("no error"), reply);
    }

    #[test]
    fn wild_numbers_do_no_harm() {
        let mut fold = Fold::default();
        fold.push(Event::Open { choice: u32::MAX, block: u32::MAX, part: Part::text("") });
        fold.push(Event::Delta { choice: 0, block: 9, delta: Delta::Text("x".into()) });
        assert!(fold.reply().choices.len() <= 128);
    }
}
