//! What a model thought, in the fields that chat clients carry it in. OpenAI has none; these grew wild:
//! `reasoning_content` (DeepSeek, vLLM), `reasoning` (OpenRouter, Groq), LiteLLM's `thinking_blocks` and
//! OpenRouter's `reasoning_details` (<https://openrouter.ai/docs/use-cases/reasoning-tokens>). A client that
//! echoes its messages returns `thinking_blocks`; Open WebUI, in its tool loops, returns `reasoning_details`
//! alone. So what a provider sealed goes out in both, and is read back from either.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::CHAT;
use crate::conversation::{Content, Format, Json, Part, Reasoning, Seal};
use crate::wire::fields::Fields;
use crate::wire::seal;

/// Says of an entry of `reasoning_details` that it is ours, and not OpenRouter's to have back.
const ORIGIN: &str = "tidegate";
const ANTHROPIC: &str = "anthropic-claude-v1";
const GEMINI: &str = "google-gemini-v1";

/// One of LiteLLM's `thinking_blocks`: Anthropic's blocks as they are.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ThinkingBlock {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// One of OpenRouter's `reasoning_details`.
#[derive(Clone, Debug, Serialize)]
struct Detail<'d> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'d str>,
    format: &'static str,
    index: usize,
    origin: &'static str,
}

/// What was sealed in an answer, for the client to send back.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    pub thinking_blocks: Vec<ThinkingBlock>,
    pub reasoning_details: Vec<Json>,
}

/// All the thoughts, as text: summaries and thoughts, a blank line between them.
pub(super) fn text<'p>(parts: impl Iterator<Item = &'p Part>) -> String {
    let mut text = String::new();
    for part in parts {
        let Content::Reasoning(reasoning) = &part.content else { continue };
        for piece in reasoning.summary.iter().chain([&reasoning.text]) {
            if !text.is_empty() && !piece.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(piece);
        }
    }
    text
}

/// The seals of an answer's reasoning and calls.
pub(super) fn sealed<'p>(parts: impl Iterator<Item = &'p Part>) -> Sealed {
    let mut sealed = Sealed::default();
    for part in parts {
        match &part.content {
            Content::Reasoning(reasoning) => sealed.add(reasoning),
            // As OpenRouter has it: encrypted reasoning with the id of the call that it belongs to.
            Content::ToolCall(call) => {
                let Some(seal) = call.seal.as_ref() else { continue };
                if seal.format == Format::Gemini {
                    let data = Some(&*seal.data);
                    let detail = Detail { data, id: Some(&call.id), ..sealed.detail(GEMINI) };
                    sealed.reasoning_details.push(Json::of(&detail));
                }
            }
            _ => {}
        }
    }
    sealed
}

/// A part `{"type":"thinking","thinking","signature"}`, Anthropic's, or Mistral's, whose `thinking` is a list
/// of text parts.
pub(super) fn thinking(fields: &mut Fields<'_>) -> Part {
    let plain = fields.peek("thinking").is_some_and(|raw| raw.get().starts_with('"'));
    let text = if plain {
        fields.text("thinking").unwrap_or_default()
    } else {
        let parts = fields.items("thinking").into_iter().map(Fields::of);
        parts.filter_map(|part| part?.text("text")).collect()
    };
    let signature = fields.text("signature").unwrap_or_default();
    Part::reasoning(signed(text, &signature))
}

/// A part `{"type":"redacted_thinking","data"}`.
pub(super) fn redacted(fields: &mut Fields<'_>) -> Part {
    Part::reasoning(hidden(&fields.text("data").unwrap_or_default()))
}

/// What an assistant's message in a history says of reasoning, and the seals of its calls by their ids. What
/// is no reasoning is passed over: it is an echo, and nobody can mend it any more.
pub(super) fn of_history(fields: &mut Fields<'_>) -> (Vec<Part>, HashMap<String, Seal>) {
    let mut blocks = Vec::new();
    for block in fields.items("thinking_blocks") {
        let Some(mut block) = Fields::of(block) else { continue };
        match block.text("type").as_deref() {
            Some("redacted_thinking") => blocks.push(redacted(&mut block)),
            _ => blocks.push(thinking(&mut block)),
        }
    }
    let details = Details::read(fields);
    if blocks.is_empty() {
        blocks = details.blocks;
    }
    // Each of these holds the same thoughts again, in plain text.
    let names = ["reasoning_content", "reasoning", "thinking"];
    let plain = names.map(|name| fields.text(name).unwrap_or_default());
    let text = plain.into_iter().find(|text| !text.is_empty()).unwrap_or(details.text);
    let text = if blocks.is_empty() { text } else { String::new() };
    if !text.is_empty() || details.foreign.is_some() {
        let seal = details.foreign;
        blocks.push(Part::reasoning(Reasoning { text, seal, ..Reasoning::default() }));
    }
    (blocks, details.calls)
}

/// What `reasoning_details` in a history hold.
#[derive(Default)]
struct Details {
    /// Anthropic's blocks, where they are ours.
    blocks: Vec<Part>,
    /// The seals of calls.
    calls: HashMap<String, Seal>,
    /// All of the list as it came, where it is not ours: it goes back to where it came from.
    foreign: Option<Seal>,
    /// Its thoughts.
    text: String,
}

impl Details {
    fn read(fields: &mut Fields<'_>) -> Self {
        let mut details = Self::default();
        let Some(raw) = fields.take("reasoning_details") else { return details };
        let list: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        for detail in list {
            let Some(mut detail) = Fields::of(detail) else { continue };
            if detail.text("origin").as_deref() != Some(ORIGIN) {
                let seal = || Seal { format: CHAT, data: raw.get().to_owned() };
                details.foreign.get_or_insert_with(seal);
            }
            details.add(&mut detail);
        }
        if details.foreign.is_some() {
            details.blocks.clear();
        }
        details
    }

    fn add(&mut self, detail: &mut Fields<'_>) {
        let format = detail.text("format").unwrap_or_default();
        let text = detail.text("text").or(detail.text("summary")).unwrap_or_default();
        self.text.push_str(&text);
        let signature = detail.text("signature").unwrap_or_default();
        match (&*format, detail.text("data"), detail.text("id")) {
            (GEMINI, Some(data), Some(id)) => {
                self.calls.insert(id, Seal { format: Format::Gemini, data });
            }
            (ANTHROPIC, Some(data), _) => self.blocks.push(Part::reasoning(hidden(&data))),
            (ANTHROPIC, None, _) if !signature.is_empty() => {
                self.blocks.push(Part::reasoning(signed(text, &signature)));
            }
            _ => {}
        }
    }
}

impl Sealed {
    fn add(&mut self, reasoning: &Reasoning) {
        let Some(seal) = &reasoning.seal else { return };
        if seal.format == CHAT {
            // OpenRouter's own details, as they came.
            let own: Option<Vec<Json>> = serde_json::from_str(&seal.data).ok();
            return self.reasoning_details.extend(own.unwrap_or_default());
        }
        let Some(wrapped) = seal::wrap(reasoning, Format::Anthropic) else { return };
        let shown = shown(reasoning);
        let (block, detail) = if reasoning.redacted {
            let detail = Detail { data: Some(&wrapped), ..self.detail(ANTHROPIC) };
            (ThinkingBlock::hidden(wrapped.clone()), Json::of(&detail))
        } else {
            let (text, signature) = (Some(&*shown), Some(&*wrapped));
            let kind = "reasoning.text";
            let detail = Detail { kind, text, signature, ..self.detail(ANTHROPIC) };
            (ThinkingBlock::signed(shown.clone(), wrapped.clone()), Json::of(&detail))
        };
        self.thinking_blocks.push(block);
        self.reasoning_details.push(detail);
    }

    /// The next entry, yet empty.
    fn detail<'d>(&self, format: &'static str) -> Detail<'d> {
        Detail {
            kind: "reasoning.encrypted",
            text: None,
            signature: None,
            data: None,
            id: None,
            format,
            index: self.reasoning_details.len(),
            origin: ORIGIN,
        }
    }
}

impl ThinkingBlock {
    fn signed(thinking: String, signature: String) -> Self {
        let (thinking, signature) = (Some(thinking), Some(signature));
        Self { index: None, kind: "thinking", thinking, signature, data: None }
    }

    fn hidden(data: String) -> Self {
        let kind = "redacted_thinking";
        Self { index: None, kind, thinking: None, signature: None, data: Some(data) }
    }
}

/// The thoughts of one block: themselves, else their summaries.
fn shown(reasoning: &Reasoning) -> String {
    if reasoning.text.is_empty() {
        return reasoning.summary.join("\n\n");
    }
    reasoning.text.clone()
}

/// Thoughts with what proves them. A foreign seal that is wrapped in it brings its own thoughts; OpenAI's has
/// none, so what was shown was its summary.
fn signed(text: String, signature: &str) -> Reasoning {
    let reasoning = seal::unwrap(signature, Format::Anthropic);
    let maker = reasoning.seal.as_ref().map(|seal| seal.format);
    match maker {
        Some(Format::OpenAiResponses) if reasoning.text.is_empty() && !text.is_empty() => {
            Reasoning { summary: vec![text], ..reasoning }
        }
        _ if reasoning.text.is_empty() => Reasoning { text, ..reasoning },
        _ => reasoning,
    }
}

fn hidden(data: &str) -> Reasoning {
    Reasoning { redacted: true, ..seal::unwrap(data, Format::Anthropic) }
}
