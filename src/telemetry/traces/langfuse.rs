//! Langfuse's own attributes: they win over the others there.
//! <https://langfuse.com/integrations/native/opentelemetry#property-mapping>

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::openinference::parameters;
use super::request::Try;
use crate::config::telemetry::Capture;
use crate::entry::{CallStatus, Entry, Traced};

const KIND: &str = "langfuse.observation.type";
const LEVEL: &str = "langfuse.observation.level";
const MESSAGE: &str = "langfuse.observation.status_message";
const INPUT: &str = "langfuse.observation.input";
const OUTPUT: &str = "langfuse.observation.output";

pub(super) fn server(entry: &Entry, traced: &Traced, capture: Capture, span: &mut Draft) {
    span.put(KIND, "span");
    span.put("langfuse.trace.name", format!("{} {}", entry.operation, entry.model_requested));
    span.texts("langfuse.trace.tags", &entry.tags);
    span.text("langfuse.user.id", entry.end_user.as_deref().or(entry.user_id.as_deref()));
    span.text("langfuse.session.id", entry.session_id.as_deref());
    span.put("langfuse.trace.metadata.request_id", entry.request_id.to_string());
    span.text("langfuse.trace.metadata.key", entry.key_alias.as_deref());
    if let Some(message) = &entry.error_message {
        span.put(LEVEL, "ERROR");
        span.text(MESSAGE, Some(message));
    }
    if let Some(content) = traced.content.as_ref().filter(|_| capture != Capture::None) {
        span.whole("langfuse.trace.input", &content.input);
        span.whole("langfuse.trace.output", &content.output);
    }
}

pub(super) fn attempt(
    entry: &Entry,
    traced: &Traced,
    it: &Try<'_>,
    capture: Capture,
    span: &mut Draft,
) {
    let is_embedding = entry.operation == "embeddings";
    span.put(KIND, if is_embedding { "embedding" } else { "generation" });
    let answered = traced.response_model.as_deref().filter(|_| it.is_last);
    span.text("langfuse.observation.model.name", Some(answered.unwrap_or(&it.detail.model)));
    let parameters = parameters(&traced.parameters, entry.stream);
    span.whole("langfuse.observation.model.parameters", &parameters);
    if let Some(usage) = it.usage.filter(|usage| !usage.is_empty()) {
        let mut counts = Map::new();
        // Langfuse adds them up, so each token counts in one of them only.
        let cached = usage.cache_read.unwrap_or_default() + usage.cache_write.unwrap_or_default();
        let input = usage.input.map(|input| input.saturating_sub(cached));
        let thought = usage.reasoning.unwrap_or_default();
        let output = usage.output.map(|output| output.saturating_sub(thought));
        for (name, count) in [
            ("input", input),
            ("output", output),
            ("cache_read_input_tokens", usage.cache_read),
            ("cache_creation_input_tokens", usage.cache_write),
            ("output_reasoning_tokens", usage.reasoning),
        ] {
            if let Some(count) = count {
                counts.insert(name.to_owned(), count.into());
            }
        }
        span.put("langfuse.observation.usage_details", Value::Object(counts).to_string());
    }
    if let Some(cost) = it.cost_usd {
        span.put("langfuse.observation.cost_details", json!({ "total": cost }).to_string());
    }
    if let Some(first) = entry.ttft_us.filter(|_| it.is_last && entry.stream) {
        let at = entry.started_at_us.saturating_add_unsigned(first);
        let at = jiff::Timestamp::from_microsecond(at).ok();
        // A JSON text, as its SDKs send it.
        let name = "langfuse.observation.completion_start_time";
        span.some(name, at.map(|at| format!("\"{at:.6}\"")));
    }
    if let Some(error) = it.attempt.error {
        span.put(LEVEL, "ERROR");
        span.put(MESSAGE, error);
    }
    let content = traced.content.as_ref().filter(|_| it.is_last && capture != Capture::None);
    if let Some(content) = content {
        span.whole(INPUT, &content.input);
        span.whole(OUTPUT, &content.output);
    }
}

pub(super) fn tool(
    content: Option<&(String, Option<String>)>,
    status: CallStatus,
    span: &mut Draft,
) {
    span.put(KIND, "tool");
    if status != CallStatus::Ok {
        span.put(LEVEL, "ERROR");
        span.put(MESSAGE, status.as_str());
    }
    if let Some((arguments, result)) = content {
        span.whole(INPUT, arguments);
        span.whole(OUTPUT, result.as_deref().unwrap_or_default());
    }
}
