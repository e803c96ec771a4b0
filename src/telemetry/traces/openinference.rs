//! OpenInference's attributes, which Arize Phoenix reads and others understand.
//! <https://arize-ai.github.io/openinference/spec/>

use serde_json::{Map, Value};

use super::draft::Draft;
use super::names;
use super::request::Try;
use crate::config::telemetry::Capture;
use crate::entry::{Entry, Parameters, ToolCall, Traced};

const KIND: &str = "openinference.span.kind";
const INPUT: &str = "input.value";
const INPUT_TYPE: &str = "input.mime_type";
const OUTPUT: &str = "output.value";
const OUTPUT_TYPE: &str = "output.mime_type";
const JSON: &str = "application/json";

pub(super) fn server(entry: &Entry, span: &mut Draft) {
    span.put(KIND, "CHAIN");
    span.texts("tag.tags", &entry.tags);
}

pub(super) fn attempt(
    entry: &Entry,
    traced: &Traced,
    it: &Try<'_>,
    capture: Capture,
    span: &mut Draft,
) {
    span.put(
        KIND,
        match entry.operation {
            "embeddings" => "EMBEDDING",
            "rerank" => "RERANKER",
            _ => "LLM",
        },
    );
    let model = match entry.operation {
        "embeddings" => "embedding.model_name",
        "rerank" => "reranker.model_name",
        _ => "llm.model_name",
    };
    let answered = traced.response_model.as_deref().filter(|_| it.is_last);
    span.text(model, Some(answered.unwrap_or(&it.detail.model)));
    span.put("llm.provider", names::provider(it.detail.provider));
    span.put("llm.system", names::provider(it.detail.provider));
    span.text(names::SESSION_ID, entry.session_id.as_deref());
    span.text(names::USER_ID, entry.end_user.as_deref().or(entry.user_id.as_deref()));
    let parameters = parameters(&traced.parameters, entry.stream);
    span.whole("llm.invocation_parameters", &parameters);
    if let Some(usage) = it.usage {
        span.count("llm.token_count.prompt", usage.input);
        span.count("llm.token_count.completion", usage.output);
        let total = (!usage.is_empty()).then(|| usage.total());
        span.count("llm.token_count.total", total);
        span.count("llm.token_count.prompt_details.cache_read", usage.cache_read);
        span.count("llm.token_count.prompt_details.cache_write", usage.cache_write);
        span.count("llm.token_count.completion_details.reasoning", usage.reasoning);
    }
    span.some("llm.cost.total", it.cost_usd);
    let content = traced.content.as_ref().filter(|_| it.is_last && capture != Capture::None);
    if let Some(content) = content {
        said(INPUT, INPUT_TYPE, &content.input, span);
        said(OUTPUT, OUTPUT_TYPE, &content.output, span);
    }
}

pub(super) fn tool(call: &ToolCall, content: Option<&(String, Option<String>)>, span: &mut Draft) {
    span.put(KIND, "TOOL");
    span.text("tool.name", Some(&call.tool));
    if let Some((arguments, result)) = content {
        said(INPUT, INPUT_TYPE, arguments, span);
        said(OUTPUT, OUTPUT_TYPE, result.as_deref().unwrap_or_default(), span);
    }
}

fn said(name: &'static str, kind: &'static str, json: &str, span: &mut Draft) {
    if !json.is_empty() {
        span.whole(name, json);
        span.put(kind, JSON);
    }
}

/// What was asked beside the content, as JSON; empty where nothing was.
pub(super) fn parameters(asked: &Parameters, stream: bool) -> String {
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    put("temperature", asked.temperature.map(Value::from));
    put("top_p", asked.top_p.map(Value::from));
    put("top_k", asked.top_k.map(Value::from));
    put("max_tokens", asked.max_tokens.map(Value::from));
    put("frequency_penalty", asked.frequency_penalty.map(Value::from));
    put("presence_penalty", asked.presence_penalty.map(Value::from));
    put("seed", asked.seed.map(Value::from));
    put("n", asked.choices.map(Value::from));
    put("stop", (!asked.stop.is_empty()).then(|| Value::from(asked.stop.clone())));
    put("stream", stream.then_some(Value::Bool(true)));
    if all.is_empty() { String::new() } else { Value::Object(all).to_string() }
}
