//! What Anthropic answers, whole; and of a stream what both have: how a block begins, what stopped the model.
//! Types that are wrong count as absent, blocks that are unknown are carried whole.

use serde_json::value::RawValue;

use super::super::types;
use crate::conversation::{
    Annotation, Choice, Content, Finish, Format, Head, Json, Part, Reasoning, Reply, Seal, ToolCall,
};
use crate::ground::fault::Fault;
use crate::wire::anthropic_usage::Counts;
use crate::wire::codec::{self, ReplyContext};
use crate::wire::fields::{Fields, as_string};

/// Reads an answer.
pub(super) fn reply(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let Some(mut fields) = Fields::of_bytes(body) else {
        return Err(codec::garbage("The provider's answer is not the JSON object it should be."));
    };
    let is_error = fields.text("type").as_deref() == Some("error");
    if is_error || fields.has("error") {
        return Err(types::told(fields.take("error")));
    }
    if !fields.has("content") {
        return Err(codec::garbage("The provider's answer has no content."));
    }
    let json_tool = context.json_tool.as_deref();
    let blocks = fields.items("content").into_iter();
    let parts: Vec<Part> = blocks.filter_map(|raw| part(raw, json_tool)).collect();
    let (head, counts) = head(&mut fields);
    let mut choice = Choice { parts, finish: None };
    let finish = finish(&mut fields).unwrap_or(Finish::Stop);
    choice.finish = Some(finish.with_calls(choice.has_calls()));
    let usage = Some(counts.usage()).filter(|usage| !usage.is_empty());
    Ok(Reply { head, choices: vec![choice], usage })
}

/// The head and the counts of a message object.
pub(super) fn head(message: &mut Fields<'_>) -> (Head, Counts) {
    let mut counts = Counts::default();
    let mut service_tier = None;
    if let Some(usage) = message.inner("usage") {
        // Only looked at: the counts want it, too.
        let tier = usage.peek("service_tier").and_then(as_string);
        service_tier = tier.map(|tier| match tier.as_str() {
            "standard" => "default".to_owned(),
            _ => tier,
        });
        counts.learn(usage);
    }
    let (id, model) = (message.text("id"), message.text("model"));
    (Head { id, model, service_tier, ..Head::default() }, counts)
}

/// Why the model stopped: of a message, or of the `delta` of a `message_delta`.
pub(super) fn finish(fields: &mut Fields<'_>) -> Option<Finish> {
    let reason = fields.text("stop_reason")?;
    Some(match reason.as_str() {
        "max_tokens" => Finish::Length,
        "stop_sequence" => Finish::StopSequence(fields.text("stop_sequence")),
        "tool_use" => Finish::ToolCalls,
        "pause_turn" => Finish::Pause,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "refusal" => {
            let details = fields.inner("stop_details");
            Finish::Filtered(details.and_then(|mut details| details.text("explanation")))
        }
        // `end_turn`, and what is newer than this.
        _ => Finish::Stop,
    })
}

/// How a block begins: what it is, with what is known of it, and the rest of its fields.
pub(super) fn begun(raw: &RawValue) -> Option<(Part, Begun)> {
    let mut fields = Fields::of(raw)?;
    let kind = fields.text("type").unwrap_or_default();
    let seal = |data: String| Seal { format: Format::Anthropic, data };
    let (content, begun) = match kind.as_str() {
        "text" => {
            let text = fields.text("text").unwrap_or_default();
            let cited = fields.items("citations").into_iter().map(Json::of_raw);
            let annotations: Vec<Annotation> =
                cited.flat_map(|json| types::citation(&json)).collect();
            (Content::Text { text, annotations, logprobs: None }, Begun::Text)
        }
        "thinking" => {
            let text = fields.text("thinking").unwrap_or_default();
            let signature = fields.text("signature").filter(|signature| !signature.is_empty());
            let reasoning = Reasoning { text, seal: signature.map(seal), ..Reasoning::default() };
            (Content::Reasoning(reasoning), Begun::Thinking)
        }
        "redacted_thinking" => {
            let seal = fields.text("data").map(seal);
            let reasoning = Reasoning { seal, redacted: true, ..Reasoning::default() };
            (Content::Reasoning(reasoning), Begun::Whole)
        }
        "tool_use" => {
            let input = fields.json("input").map(|input| input.as_str().to_owned());
            let call = ToolCall {
                id: fields.text("id").unwrap_or_default(),
                name: fields.text("name").unwrap_or_default(),
                arguments: input.unwrap_or_else(|| "{}".to_owned()),
                ..ToolCall::default()
            };
            (Content::ToolCall(call), Begun::Call)
        }
        _ => {
            let value = Json::of_raw(raw);
            return Some((
                Part::new(Content::Foreign { format: Format::Anthropic, value }),
                Begun::Foreign,
            ));
        }
    };
    let extras = fields.rest(Format::Anthropic);
    Some((Part { extras, ..Part::new(content) }, begun))
}

/// Which kind of block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Text,
    Thinking,
    Call,
    /// All of it is there.
    Whole,
    Foreign,
}

/// A block of a whole answer; none for one that says nothing.
fn part(raw: &RawValue, json_tool: Option<&str>) -> Option<Part> {
    let (part, _) = begun(raw)?;
    let part = match part.content {
        Content::ToolCall(call) if Some(call.name.as_str()) == json_tool => {
            Part::text(call.arguments)
        }
        _ => part,
    };
    (!says_nothing(&part)).then_some(part)
}

/// Whether a block is empty, as Anthropic's compatible servers send them.
pub(super) fn says_nothing(part: &Part) -> bool {
    match &part.content {
        Content::Text { text, annotations, .. } => text.is_empty() && annotations.is_empty(),
        Content::Reasoning(reasoning) => reasoning.text.is_empty() && reasoning.seal.is_none(),
        _ => false,
    }
}
