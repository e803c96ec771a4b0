//! A provider's stream, chunk by chunk, told as events. An answer is complete with its `finish_reason`; what
//! comes after that still counts, until `[DONE]` or the end of the connection, as some servers send usage, a
//! filter's verdict or a second reason late.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::chunk::{Choice, Chunk};
use super::voice::{Voice, sources};
use crate::conversation::usage::Tier;
use crate::conversation::{Annotation, Event, Head, Usage};
use crate::ground::fault::Fault;
use crate::wire::codec::{Decode, Frame, ReplyContext, broke_off, garbage};
use crate::wire::openai_usage::RawUsage;
use crate::wire::provider_error;

/// More answers than anyone asks for; a wild number must not make a wild list.
const MOST_CHOICES: usize = 128;

/// Reads a stream, or a whole answer as a stream of one chunk.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    context: ReplyContext,
    whole: bool,
    begun: bool,
    head: Head,
    voices: Vec<Voice>,
    usage: Usage,
    sources: Vec<Annotation>,
    /// Nothing more is told: the answer is complete, or it failed.
    over: bool,
    terminated: bool,
}

impl Decoder {
    pub(super) fn new(context: ReplyContext) -> Self {
        Self { context, ..Self::default() }
    }

    /// For an answer that comes at once: one without a `finish_reason` is complete all the same.
    pub(super) fn of_whole(context: ReplyContext) -> Self {
        Self { whole: true, ..Self::new(context) }
    }

    pub(super) fn into_context(self) -> ReplyContext {
        self.context
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, text: &str, out: &mut Vec<Event>) {
        if let Some(fault) = failure(chunk, text) {
            return self.fail(fault, out);
        }
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let usage = chunk.usage().and_then(|raw| usage(raw, chunk.service_tier.as_deref()));
        // Azure's first chunk says nothing but that the prompt was let through.
        if choices.is_empty() && usage.is_none() {
            return;
        }
        self.begin(chunk, out);
        if (chunk.search_results.is_some() || chunk.citations.is_some())
            && (self.sources.is_empty() || choices.iter().any(|one| one.finish_reason.is_some()))
        {
            self.sources = sources(chunk.search_results, chunk.citations);
        }
        for (position, choice) in choices.iter().enumerate() {
            if let Err(fault) = self.choice(position, choice, out) {
                self.told(usage, out);
                return self.fail(fault, out);
            }
        }
        self.told(usage, out);
    }

    /// Tells what is known of the answer as a whole, and again where more is known.
    fn begin(&mut self, chunk: &Chunk<'_>, out: &mut Vec<Event>) {
        let known = self.head.id.is_some() && self.head.model.is_some();
        if self.begun && known {
            return;
        }
        let text = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let head = Head {
            id: text(&chunk.id),
            model: text(&chunk.model),
            created: chunk.created.and_then(|created| i64::try_from(created).ok()),
            system_fingerprint: text(&chunk.system_fingerprint),
            service_tier: text(&chunk.service_tier),
        };
        let news = self.head.id.is_none() && head.id.is_some()
            || self.head.model.is_none() && head.model.is_some();
        if !self.begun || news {
            self.begun = true;
            self.head.id = self.head.id.take().or_else(|| head.id.clone());
            self.head.model = self.head.model.take().or_else(|| head.model.clone());
            out.push(Event::Begin(head));
        }
    }

    fn choice(
        &mut self,
        position: usize,
        choice: &Choice<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        let number = choice.index.map_or(Some(position), |index| usize::try_from(index).ok());
        let Some(at) = number.filter(|at| *at < MOST_CHOICES) else { return Ok(()) };
        if self.voices.len() <= at {
            self.voices.resize_with(at + 1, Voice::default);
        }
        let Some(voice) = self.voices.get_mut(at) else { return Ok(()) };
        let number = u32::try_from(at).unwrap_or_default();
        voice.hear(number, choice, self.whole, &mut self.context.ids, out)
    }

    fn told(&mut self, usage: Option<Usage>, out: &mut Vec<Event>) {
        if let Some(usage) = usage.filter(|usage| *usage != self.usage) {
            self.usage = usage;
            out.push(Event::Usage(usage));
        }
    }

    fn is_complete(&self) -> bool {
        let mut used = self.voices.iter().filter(|voice| voice.is_used()).peekable();
        used.peek().is_some() && (self.whole || used.all(Voice::is_finished))
    }

    /// Nothing more comes.
    fn finish(&mut self, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if !self.is_complete() {
            let fault = if self.whole {
                garbage("The provider's answer has no choices in it.")
            } else {
                broke_off()
            };
            return self.fail(fault, out);
        }
        let sources = std::mem::take(&mut self.sources);
        for (number, voice) in (0..).zip(&mut self.voices) {
            if voice.is_used() {
                voice.cite(&sources);
                voice.end(number, out);
            }
        }
        self.over = true;
        self.terminated = true;
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<Event>) {
        self.over = true;
        out.push(Event::Fail(fault));
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        let data = frame.data.trim_ascii();
        if self.over || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            return self.finish(out);
        }
        // Damaged characters are no reason to lose the rest.
        let text = String::from_utf8_lossy(data);
        if frame.name == "error" {
            return self.fail(provider_error::in_stream(&text), out);
        }
        match serde_json::from_str::<Chunk<'_>>(&text) {
            Ok(chunk) => self.chunk(&chunk, &text, out),
            // Some other JSON: nothing that is known.
            Err(_)
                if !text.starts_with('{') && serde_json::from_str::<IgnoredAny>(&text).is_ok() => {}
            Err(_) => {
                let fault = garbage("The provider sent something in its stream that is not JSON.");
                self.fail(fault, out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        self.finish(out);
    }

    fn is_terminated(&self) -> bool {
        self.terminated
    }
}

/// What a chunk says of a failure, in any of the places where servers say it.
fn failure(chunk: &Chunk<'_>, text: &str) -> Option<Fault> {
    if let Some(error) = chunk.error.filter(|error| says_something(error)) {
        return Some(provider_error::in_stream(error.get()));
    }
    let bare = chunk.choices.is_none() && chunk.usage.is_none();
    let is_error =
        chunk.object.as_deref() == Some("error") || bare && provider_error::is_error(text);
    is_error.then(|| provider_error::in_stream(text))
}

/// Some servers send an empty error beside the answer.
fn says_something(error: &RawValue) -> bool {
    !matches!(error.get(), "{}" | "\"\"" | "false" | "0" | "[]")
}

fn usage(raw: &RawValue, tier: Option<&str>) -> Option<Usage> {
    let raw: RawUsage = serde_json::from_str(raw.get()).ok()?;
    let mut usage = raw.read();
    usage.service.tier = tier.and_then(Tier::read).or(usage.service.tier);
    Some(usage).filter(|usage| !usage.is_empty())
}
