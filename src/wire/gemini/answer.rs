//! An answer as it is read, whole or in pieces: the same steps for both, so that both come to the same. A whole
//! answer is a stream of one chunk. What is read is forgiving: a wrong type counts as absent.

mod finish;
mod logprobs;

use serde_json::value::RawValue;

use super::grounding;
use crate::conversation::{
    Content, Delta, Event, Finish, Format, Head, Json, Media, MediaKind, Part, Reasoning, Seal,
    Source, ToolCall, Usage,
};
use crate::wire::codec::Ids;
use crate::wire::fields::{Fields, as_string};
use crate::wire::provider_error;

/// An answer being read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) ids: Ids,
    begun: bool,
    /// An error was reported: nothing follows.
    pub(super) failed: bool,
    candidates: Vec<Candidate>,
}

/// One of the answers.
#[derive(Debug, Default)]
struct Candidate {
    seen: bool,
    /// Blocks opened so far; the last of them is open while `open` says so.
    blocks: u32,
    open: Option<Kind>,
    /// The signature of the open text, which becomes a block of its own after it.
    signature: Option<String>,
    /// The open text, which sources point into.
    text: String,
    sources: Vec<Json>,
    has_calls: bool,
    finish: Option<Finish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
}

/// No answer has more candidates or more lists of sources.
const MOST: usize = 64;

impl Answer {
    pub(super) fn new(ids: Ids) -> Self {
        Self { ids, ..Self::default() }
    }

    /// Takes one `GenerateContentResponse`.
    pub(super) fn chunk(&mut self, mut chunk: Fields<'_>, out: &mut Vec<Event>) {
        if let Some(error) = chunk.take("error") {
            self.failed = true;
            return out.push(Event::Fail(provider_error::in_stream(error.get())));
        }
        self.begin(&mut chunk, out);
        for (at, raw) in chunk.items("candidates").into_iter().enumerate() {
            let Some(mut fields) = Fields::of(raw) else { continue };
            let index = fields.whole("index").and_then(|index| usize::try_from(index).ok());
            let index = index.unwrap_or(at).min(MOST - 1);
            if self.candidates.len() <= index {
                self.candidates.resize_with(index + 1, Candidate::default);
            }
            if let Some(candidate) = self.candidates.get_mut(index) {
                let choice = u32::try_from(index).unwrap_or_default();
                Reader { choice, candidate, ids: &mut self.ids, out }.read(&mut fields);
            }
        }
        let feedback = chunk.inner("promptFeedback");
        let blocked = feedback.and_then(finish::of_prompt);
        if let Some(finish) = blocked.filter(|_| self.candidates.is_empty()) {
            let blocked = Candidate { seen: true, finish: Some(finish), ..Candidate::default() };
            self.candidates.push(blocked);
        }
        // Vertex AI's first chunks may say nothing but how the request was billed.
        let usage = chunk.inner("usageMetadata").map(finish::usage);
        let usage = usage.filter(|usage| !usage.is_empty());
        let searches = self.candidates.iter().map(|it| grounding::searches(&it.sources)).sum();
        let searches = (searches > 0).then_some(searches);
        out.extend(usage.map(|usage| Event::Usage(Usage { searches, ..usage })));
    }

    fn begin(&mut self, chunk: &mut Fields<'_>, out: &mut Vec<Event>) {
        let created = chunk.text("createTime");
        let created = created.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let head = Head {
            id: chunk.text("responseId"),
            model: chunk.text("modelVersion"),
            created: created.map(jiff::Timestamp::as_second),
            ..Head::default()
        };
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Event::Begin(head));
        }
    }

    /// Something of an answer has come.
    pub(super) fn has_candidates(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.seen)
    }

    /// Every candidate has said why it stopped.
    pub(super) fn is_complete(&self) -> bool {
        let mut seen = self.candidates.iter().filter(|candidate| candidate.seen);
        self.has_candidates() && seen.all(|candidate| candidate.finish.is_some())
    }

    /// Closes what is open and tells why each candidate stopped. This waits for the end: older models say `STOP` on
    /// every chunk, and sources and signatures come last.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        for (at, candidate) in self.candidates.iter_mut().enumerate() {
            let choice = u32::try_from(at).unwrap_or_default();
            if !candidate.seen {
                continue;
            }
            let finish = candidate.finish.take().unwrap_or(Finish::Stop);
            let has_calls = candidate.has_calls;
            Reader { choice, candidate, ids: &mut self.ids, out }.close();
            out.push(Event::Finish { choice, finish: finish.with_calls(has_calls) });
        }
    }
}

/// A candidate together with what reading it needs.
struct Reader<'r> {
    choice: u32,
    candidate: &'r mut Candidate,
    ids: &'r mut Ids,
    out: &'r mut Vec<Event>,
}

impl Reader<'_> {
    fn read(&mut self, fields: &mut Fields<'_>) {
        self.candidate.seen = true;
        for name in ["groundingMetadata", "citationMetadata"] {
            let sources = &mut self.candidate.sources;
            sources.extend(fields.json(name).filter(|_| sources.len() < MOST));
        }
        let mut content = fields.inner("content").unwrap_or_default();
        for raw in content.items("parts") {
            if let Some(part) = Fields::of(raw) {
                self.part(part, raw);
            }
        }
        if let Some(logprobs) = fields.inner("logprobsResult").and_then(logprobs::content)
            && self.candidate.open == Some(Kind::Text)
        {
            self.delta(Delta::Logprobs(logprobs));
        }
        let finish = fields.text("finishReason");
        let message = fields.text("finishMessage");
        if let Some(finish) = finish.and_then(|word| finish::of_word(&word, message)) {
            self.candidate.finish = Some(finish);
        }
    }

    fn part(&mut self, mut part: Fields<'_>, raw: &RawValue) {
        let signature = either(&mut part, "thoughtSignature", "thought_signature");
        let signature = signature.and_then(as_string);
        let signature = signature.filter(|signature| !signature.is_empty());
        let thought = part.lenient::<bool>("thought").unwrap_or_default();
        if let Some(text) = part.text("text") {
            return if thought {
                self.thought(text, signature)
            } else {
                self.text(&text, signature)
            };
        }
        if let Some(call) = inner(&mut part, "functionCall", "function_call") {
            return self.call(call, signature);
        }
        if let Some(media) = media(&mut part) {
            self.whole(Content::Media(media));
            return self.sealed(signature);
        }
        if let Some(text) = code(&mut part) {
            return self.text(&text, signature);
        }
        if part.iter().next().is_none() {
            return if thought {
                self.thought(String::new(), signature)
            } else {
                self.text("", signature)
            };
        }
        // A call of Google's own tools, and what is not known yet: whole, with its signature.
        self.whole(Content::Foreign { format: Format::Gemini, value: Json::of_raw(raw) });
    }

    /// A signature alone does not make a thought of a text; it proves what was thought before.
    fn text(&mut self, text: &str, signature: Option<String>) {
        if !text.is_empty() {
            if self.candidate.open != Some(Kind::Text) {
                self.open(Kind::Text, Part::text(""));
                self.candidate.text.clear();
            }
            self.candidate.text.push_str(text);
            self.delta(Delta::Text(text.to_owned()));
        }
        let Some(signature) = signature else { return };
        if self.candidate.open == Some(Kind::Text) && self.candidate.signature.is_none() {
            self.candidate.signature = Some(signature);
        } else {
            self.sealed(Some(signature));
        }
    }

    fn thought(&mut self, text: String, signature: Option<String>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        if self.candidate.open != Some(Kind::Thought) {
            self.open(Kind::Thought, Part::reasoning(Reasoning::default()));
        }
        if !text.is_empty() {
            self.delta(Delta::Text(text));
        }
        if let Some(signature) = signature {
            self.delta(Delta::Seal(seal(signature)));
            self.close();
        }
    }

    /// A block of nothing but a seal.
    fn sealed(&mut self, signature: Option<String>) {
        if let Some(signature) = signature {
            self.close();
            self.open(Kind::Thought, Part::reasoning(Reasoning::default()));
            self.delta(Delta::Seal(seal(signature)));
            self.close();
        }
    }

    /// Calls come whole, with arguments as an object.
    fn call(&mut self, mut call: Fields<'_>, signature: Option<String>) {
        let Some(name) = call.text("name").filter(|name| !name.is_empty()) else {
            return self.sealed(signature);
        };
        let id = call.text("id").filter(|id| !id.is_empty());
        let arguments = call.take("args").map_or_else(|| "{}".to_owned(), |raw| dense(raw.get()));
        let id = id.unwrap_or_else(|| self.ids.call());
        let call = ToolCall { id, name, ..ToolCall::default() };
        self.close();
        self.candidate.has_calls = true;
        let (choice, block) = self.next();
        let part = Part::new(Content::ToolCall(call));
        self.out.push(Event::Open { choice, block, part });
        if let Some(signature) = signature {
            self.delta(Delta::Seal(seal(signature)));
        }
        self.delta(Delta::Arguments(arguments));
        self.out.push(Event::Close { choice, block });
    }

    fn whole(&mut self, content: Content) {
        self.close();
        let (choice, block) = self.next();
        self.out.push(Event::Open { choice, block, part: Part::new(content) });
        self.out.push(Event::Close { choice, block });
    }

    fn open(&mut self, kind: Kind, part: Part) {
        self.close();
        let (choice, block) = self.next();
        self.out.push(Event::Open { choice, block, part });
        self.candidate.open = Some(kind);
    }

    fn next(&mut self) -> (u32, u32) {
        let block = self.candidate.blocks;
        self.candidate.blocks = block.saturating_add(1);
        (self.choice, block)
    }

    /// To the last block.
    fn delta(&mut self, delta: Delta) {
        let block = self.candidate.blocks.saturating_sub(1);
        self.out.push(Event::Delta { choice: self.choice, block, delta });
    }

    fn close(&mut self) {
        let Some(kind) = self.candidate.open.take() else { return };
        if kind == Kind::Text && !self.candidate.sources.is_empty() {
            let sources = std::mem::take(&mut self.candidate.sources);
            for annotation in grounding::annotations(&sources, &self.candidate.text) {
                self.delta(Delta::Annotation(annotation));
            }
        }
        let block = self.candidate.blocks.saturating_sub(1);
        self.out.push(Event::Close { choice: self.choice, block });
        let signature = self.candidate.signature.take();
        self.sealed(signature);
    }
}

/// JSON without the white space between its tokens, which Google writes into whole answers and not into streams.
/// Numbers keep their spelling.
fn dense(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if c.is_ascii_whitespace() {
            continue;
        }
        out.push(c);
    }
    out
}

fn seal(data: String) -> Seal {
    Seal { format: Format::Gemini, data }
}

/// A picture or a sound that the model made, or the address of one.
fn media(part: &mut Fields<'_>) -> Option<Media> {
    let (mut data, is_inline) = match inner(part, "inlineData", "inline_data") {
        Some(data) => (data, true),
        None => (inner(part, "fileData", "file_data")?, false),
    };
    let media_type = data.text("mimeType").or_else(|| data.text("mime_type")).unwrap_or_default();
    let kind = match media_type.split('/').next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some("image" | "") => MediaKind::Image,
        _ => MediaKind::Document,
    };
    let source = if is_inline {
        Source::Base64 { media_type, data: data.text("data")? }
    } else {
        Source::Url(data.text("fileUri").or_else(|| data.text("file_uri"))?)
    };
    Some(Media { kind, source, name: data.text("displayName"), detail: None })
}

/// Code that Google ran, and what came of it, as a reader would write them.
fn code(part: &mut Fields<'_>) -> Option<String> {
    if let Some(mut code) = inner(part, "executableCode", "executable_code") {
        let language = code.text("language").unwrap_or_default().to_ascii_lowercase();
        let language = if language == "language_unspecified" { String::new() } else { language };
        let text = code.text("code").unwrap_or_default();
        return Some(format!("\n```{language}\n{}\n```\n", text.trim_end()));
    }
    let mut result = inner(part, "codeExecutionResult", "code_execution_result")?;
    let output = result.text("output").unwrap_or_default();
    Some(format!("\n```\n{}\n```\n", output.trim_end()))
}

/// Protobuf's JSON has both spellings; some proxies send the second.
fn either<'t>(fields: &mut Fields<'t>, camel: &str, snake: &str) -> Option<&'t RawValue> {
    fields.take(camel).or_else(|| fields.take(snake))
}

fn inner<'t>(fields: &mut Fields<'t>, camel: &str, snake: &str) -> Option<Fields<'t>> {
    Fields::read(either(fields, camel, snake)?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        let check = |json: &str, expected: &str| assert_eq!(dense(json), expected);
        check(
            "{\n \"a b\": [1.0e2, \t2],\r\n\"\\\" x\": null}",
            "{\"a b\":[1.0e2,2],\"\\\" x\":null}",
        );
        check("{\"a\": \"x\\\\\" }", "{\"a\":\"x\\\\\"}");
    }
}
