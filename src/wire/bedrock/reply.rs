//! Reading a whole answer, and what a streamed one has in common with it: why the model stopped, counts,
//! citations, seals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::exception;
use super::model::Model;
use crate::conversation::usage::{Service, Tier};
use crate::conversation::{
    Annotation, Choice, Content, Finish, Format, Head, Json, Media, MediaKind, Part, Reasoning,
    Reply, Seal, Source, ToolCall, Usage,
};
use crate::ground::fault::Fault;
use crate::wire::codec::{ReplyContext, garbage};
use crate::wire::fields::Fields;

/// Reads a whole answer.
///
/// # Errors
/// `UpstreamGarbage` for what is no answer; an error that came in place of one.
pub(super) fn read(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let mut fields = Fields::of_bytes(body)
        .ok_or_else(|| garbage("The provider's answer is not a JSON object."))?;
    let message = fields.inner("output").and_then(|mut output| output.inner("message"));
    let Some(mut message) = message else { return Err(no_answer(&mut fields, body)) };
    let model = Model::named(&context.model);
    let mut parts = Vec::new();
    for block in message.items("content") {
        parts.extend(part(block, &model, context));
    }
    let head = Head { service_tier: service_tier(&mut fields), ..Head::default() };
    let has_calls = parts.iter().any(|part| part.as_call().is_some());
    let finish = fields.text("stopReason").map(|reason| {
        let sequence = stop_sequence(&mut fields);
        finish(&reason, sequence).with_calls(has_calls)
    });
    // An answer without a reason to stop is whole all the same: it came with its closing brace.
    let finish = finish.or_else(|| Some(Finish::Stop.with_calls(has_calls)));
    let usage = usage(&mut fields, head.service_tier.as_deref());
    Ok(Reply { head, choices: vec![Choice { parts, finish }], usage })
}

/// Why the model stopped.
pub(super) fn finish(reason: &str, sequence: Option<String>) -> Finish {
    match reason {
        "stop_sequence" => Finish::StopSequence(sequence),
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "tool_use" => Finish::ToolCalls,
        "guardrail_intervened" | "content_filtered" | "refusal" => Finish::Filtered(None),
        "malformed_model_output" | "malformed_tool_use" => Finish::Fault(reason.to_owned()),
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    }
}

/// Which stop sequence it was, where the request had asked for it.
pub(super) fn stop_sequence(fields: &mut Fields<'_>) -> Option<String> {
    let sequence = fields.inner("additionalModelResponseFields")?.text("stop_sequence");
    sequence.filter(|sequence| !sequence.is_empty())
}

/// In OpenAI's words, which are Bedrock's.
pub(super) fn service_tier(fields: &mut Fields<'_>) -> Option<String> {
    fields.inner("serviceTier")?.text("type")
}

/// Amazon counts what went through the cache beside the input, not in it.
pub(super) fn usage(fields: &mut Fields<'_>, tier: Option<&str>) -> Option<Usage> {
    let mut usage = fields.inner("usage")?;
    let cache_read = usage.whole("cacheReadInputTokens");
    let cache_write = usage.whole("cacheWriteInputTokens");
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    let usage = Usage {
        input: usage.whole("inputTokens").map(|input| input.saturating_add(cached)),
        output: usage.whole("outputTokens"),
        cache_read,
        cache_write,
        cache_write_hour: for_an_hour(&mut usage),
        service: Service { tier: tier.and_then(Tier::read), ..Service::default() },
        ..Usage::default()
    };
    (!usage.is_empty()).then_some(usage)
}

/// What was written to the cache for an hour
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CacheDetail.html>).
fn for_an_hour(usage: &mut Fields<'_>) -> Option<u64> {
    let details = usage.items("cacheDetails").into_iter();
    let long = details.filter_map(|raw| {
        let mut detail = Fields::of(raw)?;
        let is_long = detail.text("ttl").as_deref() == Some("1h");
        is_long.then(|| detail.whole("inputTokens")).flatten()
    });
    long.reduce(u64::saturating_add)
}

/// A citation: OpenAI's kind where it has an address.
pub(super) fn citation(raw: &RawValue) -> Annotation {
    let mut fields = Fields::of(raw).unwrap_or_default();
    let title = fields.text("title");
    let web = fields.inner("location").and_then(|mut location| location.inner("web"));
    match web.and_then(|mut web| web.text("url")) {
        Some(url) => Annotation::Url { url, title, start: None, end: None },
        None => Annotation::Foreign { format: Format::Bedrock, value: Json::of_raw(raw) },
    }
}

/// A redacted thought. What travels is base64 of bytes, which with Claude are the text that Anthropic's
/// own API gives.
pub(super) fn redacted(data: String, model: &Model<'_>) -> Reasoning {
    let text = STANDARD.decode(&data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let seal = match text.filter(|_| model.is_claude()) {
        Some(data) => Seal { format: Format::Anthropic, data },
        None => Seal { format: Format::Bedrock, data },
    };
    Reasoning { seal: Some(seal), redacted: true, ..Reasoning::default() }
}

/// A picture or sound the model made.
pub(super) fn media(kind: MediaKind, format: &str, data: String) -> Part {
    let class = if kind == MediaKind::Image { "image" } else { "audio" };
    let media_type = format!("{class}/{format}");
    let source = Source::Base64 { media_type, data };
    Part::new(Content::Media(Media { kind, source, name: None, detail: None }))
}

/// A block that only Bedrock has.
pub(super) fn foreign(raw: &RawValue) -> Part {
    let value = Json::of_raw(raw);
    Part::new(Content::Foreign { format: Format::Bedrock, value })
}

fn part(raw: &RawValue, model: &Model<'_>, context: &mut ReplyContext) -> Option<Part> {
    let mut block = Fields::of(raw)?;
    if block.has("text") {
        return block.text("text").filter(|text| !text.is_empty()).map(Part::text);
    }
    if let Some(mut call) = block.inner("toolUse") {
        // The provider runs it itself.
        if call.has("type") {
            return Some(foreign(raw));
        }
        return Some(call_part(&mut call, context));
    }
    if let Some(mut reasoning) = block.inner("reasoningContent") {
        return reasoning_part(&mut reasoning, model);
    }
    if let Some(mut cited) = block.inner("citationsContent") {
        return cited_part(&mut cited);
    }
    for (name, kind) in [("image", MediaKind::Image), ("audio", MediaKind::Audio)] {
        if let Some(mut made) = block.inner(name) {
            let data = made.inner("source").and_then(|mut source| source.text("bytes"))?;
            return Some(media(kind, &made.text("format")?, data));
        }
    }
    Some(foreign(raw))
}

fn call_part(call: &mut Fields<'_>, context: &mut ReplyContext) -> Part {
    let name = call.text("name").unwrap_or_default();
    let input = call.take("input").map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
    if context.json_tool.as_deref() == Some(name.as_str()) {
        return Part::text(input);
    }
    let id = call.text("toolUseId").filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| context.ids.call());
    Part::new(Content::ToolCall(ToolCall { id, name, arguments: input, ..ToolCall::default() }))
}

fn reasoning_part(reasoning: &mut Fields<'_>, model: &Model<'_>) -> Option<Part> {
    if let Some(data) = reasoning.text("redactedContent") {
        return Some(Part::reasoning(redacted(data, model)));
    }
    let mut thought = reasoning.inner("reasoningText")?;
    let text = thought.text("text").unwrap_or_default();
    let signature = thought.text("signature").filter(|signature| !signature.is_empty());
    let seal = signature.map(|data| Seal { format: model.seals(), data });
    let is_empty = text.is_empty() && seal.is_none();
    (!is_empty).then(|| Part::reasoning(Reasoning { text, seal, ..Reasoning::default() }))
}

fn cited_part(cited: &mut Fields<'_>) -> Option<Part> {
    let pieces = cited.items("content");
    let pieces = pieces.into_iter().filter_map(|piece| Fields::of(piece)?.text("text"));
    let text: String = pieces.collect();
    let annotations: Vec<Annotation> = cited.items("citations").into_iter().map(citation).collect();
    let is_empty = text.is_empty() && annotations.is_empty();
    (!is_empty).then(|| Part::new(Content::Text { text, annotations, logprobs: None }))
}

/// What came in place of an answer.
fn no_answer(fields: &mut Fields<'_>, body: &[u8]) -> Fault {
    let name = fields.text("__type");
    if name.is_none() && !fields.has("message") && !fields.has("Message") {
        return garbage("The provider's answer has no message in it.");
    }
    let name = name.unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    exception::fault(name, body)
}
