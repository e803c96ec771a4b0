//! One choice of an answer as it comes: which block is open, which calls, and what is held until its place is
//! known.

use serde_json::value::RawValue;

use super::calls::{Calls, Sink};
use super::chunk::{Call, Choice, Content as Written, Message, Piece};
use super::details::Details;
use super::{CHAT, finish, media};
use crate::conversation::{
    Annotation, Content, Delta, Event, Extras, Finish, Json, Media, MediaKind, Part, Reasoning,
    Source,
};
use crate::ground::fault::Fault;
use crate::wire::codec::Ids;
use crate::wire::fields::Fields;

/// The state of one choice.
#[derive(Debug, Default)]
pub(super) struct Voice {
    /// The number of its next block.
    next: u32,
    /// The block that texts go into.
    open: Option<(Prose, u32)>,
    calls: Calls,
    details: Details,
    /// Citations that came before the text they belong to.
    citations: Vec<Annotation>,
    cited: bool,
    sound: Sound,
    finish: Option<Finish>,
    used: bool,
}

/// What a block of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prose {
    Thoughts,
    Text,
    Refusal,
}

/// Spoken words, which come in pieces and are one part.
#[derive(Debug, Default)]
struct Sound {
    data: String,
    transcript: String,
    /// The id, and when the provider forgets it.
    fields: Vec<(String, Json)>,
}

impl Voice {
    /// Takes what a chunk says of this choice. In a whole answer every call stands by itself.
    ///
    /// Errors: the choice says that it broke off.
    pub(super) fn hear(
        &mut self,
        number: u32,
        choice: &Choice<'_>,
        whole: bool,
        ids: &mut Ids,
        out: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        self.used = true;
        let mut next = self.next;
        let mut sink = Sink { choice: number, next: &mut next, out };
        // Perplexity sends both, and repeats in one what the other tells.
        let (delta, message) = (choice.delta.as_ref(), choice.message.as_ref());
        if let Some(message) = if whole { message.or(delta) } else { delta.or(message) } {
            self.prose(message, &mut sink);
            self.call(message, whole, ids, &mut sink);
            self.media(message, &mut sink);
        }
        if let Some(text) = &choice.text {
            self.say(Prose::Text, text, &mut sink);
        }
        if let Some(list) = choice.logprobs.as_ref().and_then(|logprobs| logprobs.content) {
            self.logprobs(list, &mut sink);
        }
        self.next = next;
        if let Some(finish) = finish::read(choice)? {
            self.finish = Some(finish);
        }
        Ok(())
    }

    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Sources of the whole answer, for a text that has no citations of its own.
    pub(super) fn cite(&mut self, sources: &[Annotation]) {
        if !self.cited {
            self.citations.extend_from_slice(sources);
        }
    }

    /// Nothing more comes: closes what is open, and tells why it ended.
    pub(super) fn end(&mut self, number: u32, out: &mut Vec<Event>) {
        let mut next = self.next;
        let mut sink = Sink { choice: number, next: &mut next, out };
        self.annotate(&mut sink);
        self.leave(&mut sink);
        self.calls.close(&mut sink);
        // What proves thoughts may come after all else.
        if let Some(seal) = self.details.seal() {
            let seal = Some(seal);
            let block = sink.open(Part::reasoning(Reasoning { seal, ..Reasoning::default() }));
            sink.close(block);
        }
        if let Some(part) = std::mem::take(&mut self.sound).part() {
            let block = sink.open(part);
            sink.close(block);
        }
        let finish = self.finish.take().unwrap_or(Finish::Stop).with_calls(self.calls.any());
        out.push(Event::Finish { choice: number, finish });
    }

    fn prose(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        let texts = [&message.reasoning_content, &message.reasoning];
        let thoughts = texts.into_iter().flatten().find(|text| !text.is_empty());
        let shown = message.reasoning_details.map(|raw| self.details.take(raw));
        if let Some(thoughts) = thoughts {
            self.say(Prose::Thoughts, thoughts, sink);
        } else if let Some(shown) = shown {
            self.say(Prose::Thoughts, &shown, sink);
        }
        match &message.content {
            Some(Written::Text(text)) => self.say(Prose::Text, text, sink),
            Some(Written::Pieces(pieces)) => {
                pieces.iter().for_each(|piece| self.piece(piece, sink));
            }
            None => {}
        }
        if let Some(refusal) = &message.refusal {
            self.say(Prose::Refusal, refusal, sink);
        }
        if let Some(raw) = message.annotations {
            let found = annotations(raw);
            self.cited |= !found.is_empty();
            self.citations.extend(found);
        }
        self.annotate(sink);
    }

    /// One piece of Mistral's lists (<https://docs.mistral.ai/capabilities/reasoning>).
    fn piece(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        if let Some(thinking) = &piece.thinking {
            self.say(Prose::Thoughts, &thinking.text(), sink);
        }
        if let Some(text) = &piece.text {
            self.say(Prose::Text, text, sink);
        }
        if let Some(refusal) = &piece.refusal {
            self.say(Prose::Refusal, refusal, sink);
        }
        if let Some(raw) = piece.image_url {
            let wrapped = format!("{{\"image_url\":{}}}", raw.get());
            let part = RawValue::from_string(wrapped).ok().and_then(|raw| media::drawn(&raw));
            self.show(part, sink);
        }
    }

    fn call(&mut self, message: &Message<'_>, whole: bool, ids: &mut Ids, sink: &mut Sink<'_>) {
        let calls = message.tool_calls.iter().flatten();
        for (position, call) in (0..).zip(calls) {
            self.begin_call(call, whole.then_some(position), ids, sink);
        }
        if let Some(function) = &message.function_call {
            // Of the days before there were several.
            let function = super::chunk::Function {
                name: function.name.clone(),
                arguments: function.arguments,
            };
            let call = Call { index: Some(0), function: Some(function), ..Call::default() };
            self.begin_call(&call, None, ids, sink);
        }
    }

    fn begin_call(
        &mut self,
        call: &Call<'_>,
        position: Option<u64>,
        ids: &mut Ids,
        sink: &mut Sink<'_>,
    ) {
        if call.function.is_some() || call.custom.is_some() {
            self.annotate(sink);
            self.leave(sink);
        }
        self.calls.take(call, position, ids, sink);
    }

    fn media(&mut self, message: &Message<'_>, sink: &mut Sink<'_>) {
        if let Some(raw) = message.images {
            let images: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            for image in images {
                self.show(media::drawn(image), sink);
            }
        }
        if let Some(raw) = message.audio {
            self.sound.take(raw);
        }
    }

    fn show(&mut self, part: Option<Part>, sink: &mut Sink<'_>) {
        let Some(part) = part else { return };
        self.leave(sink);
        let block = sink.open(part);
        sink.close(block);
    }

    fn say(&mut self, prose: Prose, text: &str, sink: &mut Sink<'_>) {
        if text.is_empty() {
            return;
        }
        let block = match self.open {
            Some((open, block)) if open == prose => block,
            _ => {
                self.leave(sink);
                let block = sink.open(match prose {
                    Prose::Thoughts => Part::reasoning(Reasoning::default()),
                    Prose::Text => Part::text(""),
                    Prose::Refusal => Part::new(Content::Refusal(String::new())),
                });
                self.open = Some((prose, block));
                block
            }
        };
        sink.delta(block, Delta::Text(text.to_owned()));
    }

    /// Closes the block that texts go into. What proves thoughts belongs to them.
    fn leave(&mut self, sink: &mut Sink<'_>) {
        let Some((prose, block)) = self.open.take() else { return };
        if prose == Prose::Thoughts
            && let Some(seal) = self.details.seal()
        {
            sink.delta(block, Delta::Seal(seal));
        }
        sink.close(block);
    }

    fn annotate(&mut self, sink: &mut Sink<'_>) {
        if let Some((Prose::Text, block)) = self.open {
            for annotation in self.citations.drain(..) {
                sink.delta(block, Delta::Annotation(annotation));
            }
        }
    }

    fn logprobs(&mut self, list: &RawValue, sink: &mut Sink<'_>) {
        let Some((Prose::Text, block)) = self.open else { return };
        let entries: Vec<Json> = serde_json::from_str(list.get()).unwrap_or_default();
        if !entries.is_empty() {
            sink.delta(block, Delta::Logprobs(Json::of(&entries)));
        }
    }
}

impl Sound {
    fn take(&mut self, raw: &RawValue) {
        let Some(mut fields) = Fields::of(raw) else { return };
        self.data.push_str(&fields.text("data").unwrap_or_default());
        self.transcript.push_str(&fields.text("transcript").unwrap_or_default());
        for name in ["id", "expires_at"] {
            if let Some(value) = fields.json(name) {
                self.fields.retain(|(known, _)| known != name);
                self.fields.push((name.to_owned(), value));
            }
        }
    }

    fn part(mut self) -> Option<Part> {
        if self.data.is_empty() && self.fields.is_empty() {
            return None;
        }
        if !self.transcript.is_empty() {
            self.fields.push(("transcript".to_owned(), Json::of(&self.transcript)));
        }
        let source = Source::Base64 { media_type: media::sound_type(&self.data), data: self.data };
        let media = Media { kind: MediaKind::Audio, source, name: None, detail: None };
        let extras = Extras::new(CHAT, self.fields);
        Some(Part { extras, ..Part::new(Content::Media(media)) })
    }
}

/// OpenAI's `url_citation`s; any other kind as it is.
fn annotations(raw: &RawValue) -> Vec<Annotation> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let read = |raw: &&RawValue| {
        let mut fields = Fields::of(raw)?;
        let cited = fields.inner("url_citation");
        let url = cited.and_then(|mut cited| {
            Some(Annotation::Url {
                url: cited.text("url")?,
                title: cited.text("title"),
                start: cited.whole("start_index"),
                end: cited.whole("end_index"),
            })
        });
        Some(url.unwrap_or_else(|| Annotation::Foreign { format: CHAT, value: Json::of_raw(raw) }))
    };
    list.iter().filter_map(read).collect()
}

/// Perplexity's sources: results with titles, else bare URLs
/// (<https://docs.perplexity.ai/api-reference/chat-completions-post>).
pub(super) fn sources(results: Option<&RawValue>, urls: Option<&RawValue>) -> Vec<Annotation> {
    let url = |url: String, title| Annotation::Url { url, title, start: None, end: None };
    let list =
        |raw: &'_ RawValue| -> Vec<Json> { serde_json::from_str(raw.get()).unwrap_or_default() };
    let results = results.map(list).unwrap_or_default();
    let read = |json: &Json| {
        let mut fields = Fields::of(json.as_raw())?;
        Some(url(fields.text("url")?, fields.text("title")))
    };
    let found: Vec<_> = results.iter().filter_map(read).collect();
    if !found.is_empty() {
        return found;
    }
    let urls = urls.map(list).unwrap_or_default();
    urls.iter().filter_map(|json| Some(url(json.read()?, None))).collect()
}
