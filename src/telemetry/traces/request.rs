//! The spans of one request to a model: what the client asked of the gateway, each try at a provider, each tool that the
//! gateway ran. Made once, from the finished entry.

use opentelemetry::trace::SpanKind;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use super::draft::Draft;
use super::names::{self, Version};
use super::{langfuse, mcp, openinference};
use crate::config::telemetry::{Capture, Mappers};
use crate::conversation::Usage;
use crate::entry::{Attempt, AttemptDetail, CallStatus, Content, Entry, Status, ToolCall, Traced};
use crate::ground::trace::Trace;
use crate::ground::usd::Usd;

/// Tries and calls that get a span each.
const MAX_SPANS: usize = 128;

/// How spans are made for one exporter.
pub(super) struct Shape<'s> {
    pub(super) mappers: Mappers,
    pub(super) version: &'static Version,
    pub(super) capture: Capture,
    pub(super) scope: &'s InstrumentationScope,
}

/// A try that has a span, with what belongs to it alone.
pub(super) struct Try<'e> {
    pub(super) attempt: &'e Attempt,
    pub(super) detail: &'e AttemptDetail,
    /// From 1, over all rounds.
    pub(super) number: usize,
    /// It is the one that answered: of the whole request, or of its round.
    pub(super) usage: Option<Usage>,
    /// It gave the answer that the client got last.
    pub(super) is_last: bool,
    pub(super) duration_us: u64,
    pub(super) cost_usd: Option<f64>,
}

/// All spans of a request; none where it has no trace.
pub(super) fn spans(entry: &Entry, shape: &Shape<'_>) -> Vec<SpanData> {
    let Some(traced) = entry.traced.as_deref() else { return Vec::new() };
    let mut spans = vec![server(entry, traced, shape)];
    let tries = tries(entry, traced);
    spans.extend(tries.iter().map(|it| attempt(entry, traced, it, shape)));
    let calls = entry.tool_call_logs.iter().filter(|call| call.span_id != 0).take(MAX_SPANS);
    spans.extend(calls.map(|call| tool(entry, &traced.trace, call, shape)));
    spans
}

fn server(entry: &Entry, traced: &Traced, shape: &Shape<'_>) -> SpanData {
    let trace = &traced.trace;
    let parent = trace.parent.map(|parent| (parent, true));
    let name = format!("POST {}", entry.surface);
    let span_id = trace.place.span_id;
    let mut span = Draft::new(trace, span_id, parent, SpanKind::Server, name, shape.scope)
        .lasting(entry.started_at_us, entry.duration_us);
    span.put(names::HTTP_METHOD, "POST");
    span.put(names::URL_SCHEME, "http");
    span.put(names::URL_PATH, entry.surface);
    span.put(names::HTTP_ROUTE, entry.surface);
    span.put(names::HTTP_STATUS, i64::from(entry.http_status));
    span.text(names::PROTOCOL_VERSION, entry.http_version);
    span.some(names::CLIENT_ADDRESS, entry.client_ip.map(|ip| ip.to_canonical().to_string()));
    span.text(names::USER_AGENT, entry.user_agent.as_deref());
    span.text(names::USER_ID, entry.end_user.as_deref().or(entry.user_id.as_deref()));
    span.text(names::SESSION_ID, entry.session_id.as_deref());
    span.put("tidegate.request_id", entry.request_id.to_string());
    span.put("tidegate.status", entry.status.as_str());
    span.put("tidegate.lane", entry.lane);
    span.count("tidegate.config_generation", Some(entry.config_generation));
    span.text("tidegate.key_id", entry.key_id.as_deref());
    span.text("tidegate.key_alias", entry.key_alias.as_deref());
    span.text("tidegate.team_id", entry.team_id.as_deref());
    span.texts("tidegate.tags", &entry.tags);
    span.text("tidegate.model_requested", Some(&entry.model_requested));
    span.text("tidegate.model_group", entry.model_group.as_deref());
    span.text("tidegate.deployment", entry.deployment.as_deref());
    span.text("tidegate.fallback_from", entry.fallback_from.as_deref());
    span.some("tidegate.cost_usd", entry.cost_usd.map(Usd::to_stored));
    if entry.tool_calls > 0 {
        span.count("tidegate.tool_calls", Some(entry.tool_calls));
        span.count("tidegate.tool_rounds", Some(entry.rounds.len() as u64));
    }
    if entry.status != Status::Ok {
        span.text(names::ERROR_TYPE, Some(error_type(entry)));
    }
    // What a client did wrong is no error of the server.
    if entry.http_status >= 500 || entry.status == Status::Error {
        span.fail(entry.error_message.as_deref());
    }
    events(entry, traced, &mut span);
    if let Some(link) = trace.link {
        span.link(link);
    }
    if shape.mappers.openinference {
        openinference::server(entry, &mut span);
    }
    if shape.mappers.langfuse {
        langfuse::server(entry, traced, shape.capture, &mut span);
    }
    span.finish()
}

/// What happened on the way, each at its moment.
fn events(entry: &Entry, traced: &Traced, span: &mut Draft) {
    let at = |offset: u64| entry.started_at_us.saturating_add_unsigned(offset);
    if let Some(offset) = traced.admitted_us {
        let key = entry.key_id.clone().map(|id| KeyValue::new("tidegate.key_id", id));
        span.event("tidegate.admitted", at(offset), key.into_iter().collect());
    }
    if let Some(offset) = traced.routed_us {
        let group = entry.model_group.clone().map(|it| KeyValue::new("tidegate.model_group", it));
        span.event("tidegate.routed", at(offset), group.into_iter().collect());
    }
    if let Some(offset) = entry.ttfb_us {
        span.event("tidegate.first_byte", at(offset), Vec::new());
    }
    if let Some(offset) = entry.ttft_us.filter(|_| entry.stream) {
        span.event("tidegate.first_content", at(offset), Vec::new());
    }
    if !entry.losses.is_empty() {
        let count = i64::try_from(entry.losses.len()).unwrap_or(i64::MAX);
        let losses = vec![KeyValue::new("tidegate.losses", count)];
        span.event(
            "tidegate.lost_in_translation",
            at(traced.routed_us.unwrap_or_default()),
            losses,
        );
    }
}

fn error_type(entry: &Entry) -> &str {
    entry.error_type.as_deref().unwrap_or_else(|| entry.status.as_str())
}

/// The tries that have a span each. The one that answered lasts as long as its answer.
fn tries<'e>(entry: &'e Entry, traced: &'e Traced) -> Vec<Try<'e>> {
    let all = entry.attempts.iter().chain(&traced.unfinished);
    let last = entry.attempts.iter().rposition(|attempt| attempt.error.is_none());
    all.enumerate()
        .take(MAX_SPANS)
        .filter_map(|(index, attempt)| {
            let detail = attempt.detail.as_deref()?;
            let round = attempt.round.map_or(1, |round| round.max(1) as usize);
            let answered = attempt.error.is_none();
            let round = entry.rounds.get(round - 1).filter(|_| answered);
            let (usage, cost_usd, end_us) = match round {
                Some(round) => {
                    let end = round.began_us.saturating_add(round.duration_us);
                    (Some(round.tokens), round.cost_usd.map(Usd::to_stored), Some(end))
                }
                None if answered && entry.rounds.is_empty() => (
                    Some(entry.tokens),
                    entry.cost_usd.map(Usd::to_stored),
                    Some(entry.duration_us),
                ),
                None => (None, None, None),
            };
            let lasted = end_us.map(|end| end.saturating_sub(attempt.began_us));
            Some(Try {
                attempt,
                detail,
                number: index + 1,
                usage,
                is_last: answered && last == Some(index),
                duration_us: lasted.unwrap_or_default().max(attempt.duration_us),
                cost_usd,
            })
        })
        .collect()
}

fn attempt(entry: &Entry, traced: &Traced, it: &Try<'_>, shape: &Shape<'_>) -> SpanData {
    let Try { attempt, detail, .. } = it;
    let trace = &traced.trace;
    let name = format!("{} {}", entry.operation, detail.model);
    let parent = Some((trace.place.span_id, false));
    let mut span = Draft::new(trace, detail.span_id, parent, SpanKind::Client, name, shape.scope)
        .lasting(entry.started_at_us.saturating_add_unsigned(attempt.began_us), it.duration_us);
    span.whole(names::SERVER_ADDRESS, &detail.address);
    span.some(names::SERVER_PORT, detail.port.map(i64::from));
    span.some(names::HTTP_STATUS, attempt.status.map(i64::from));
    span.put("tidegate.attempt", i64::try_from(it.number).unwrap_or(i64::MAX));
    span.text("tidegate.deployment", Some(&attempt.deployment));
    span.text("tidegate.model_group", Some(&detail.group));
    span.some("tidegate.round", attempt.round.map(i64::from));
    if detail.is_fallback {
        let asked = entry.fallback_from.as_deref().unwrap_or(&entry.model_requested);
        span.text("tidegate.fallback_from", Some(asked));
    }
    span.some("tidegate.cost_usd", it.cost_usd);
    if it.is_last {
        span.text("tidegate.upstream_request_id", entry.upstream_request_id.as_deref());
    }
    let broke_off = it.is_last && entry.status == Status::Error;
    match (attempt.error, attempt.status) {
        (Some("status"), Some(status)) => span.put(names::ERROR_TYPE, status.to_string()),
        (Some(error), _) => span.put(names::ERROR_TYPE, error),
        (None, _) if broke_off => span.text(names::ERROR_TYPE, Some(error_type(entry))),
        (None, _) => {}
    }
    if attempt.error.is_some_and(|error| error != "cancelled") || broke_off {
        span.fail(None);
    }
    if shape.mappers.gen_ai {
        gen_ai(entry, traced, it, shape, &mut span);
    }
    if shape.mappers.openinference {
        openinference::attempt(entry, traced, it, shape.capture, &mut span);
    }
    if shape.mappers.langfuse {
        langfuse::attempt(entry, traced, it, shape.capture, &mut span);
    }
    span.finish()
}

/// The attributes of a call of a model, in OpenTelemetry's own words.
fn gen_ai(entry: &Entry, traced: &Traced, it: &Try<'_>, shape: &Shape<'_>, span: &mut Draft) {
    let Try { attempt, detail, .. } = it;
    let asked = &traced.parameters;
    span.put(names::OPERATION, entry.operation);
    span.put(names::PROVIDER, names::provider(detail.provider));
    span.text(names::REQUEST_MODEL, Some(&detail.model));
    span.text(names::CONVERSATION, entry.session_id.as_deref());
    if entry.stream {
        span.put(names::REQUEST_STREAM, true);
    }
    span.some(names::TEMPERATURE, asked.temperature);
    span.some(names::TOP_P, asked.top_p);
    match asked.top_k {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a small whole number, or one that is cut"
        )]
        Some(top_k) if shape.version.top_k_is_int => span.put(names::TOP_K, top_k as i64),
        top_k => span.some(names::TOP_K, top_k),
    }
    span.count(names::MAX_TOKENS, asked.max_tokens);
    span.some(names::FREQUENCY_PENALTY, asked.frequency_penalty);
    span.some(names::PRESENCE_PENALTY, asked.presence_penalty);
    span.some(names::SEED, asked.seed);
    span.count(names::CHOICES, asked.choices.filter(|choices| *choices != 1));
    span.texts(names::STOP, &asked.stop);
    if let Some(usage) = it.usage {
        span.count(names::INPUT_TOKENS, usage.input);
        span.count(names::OUTPUT_TOKENS, usage.output);
        span.count(names::CACHE_READ_TOKENS, usage.cache_read);
        for name in shape.version.cache_write_tokens {
            span.count(name, usage.cache_write);
        }
        span.count(names::REASONING_TOKENS, usage.reasoning);
    }
    if !it.is_last {
        return;
    }
    span.text(names::RESPONSE_ID, traced.response_id.as_deref());
    span.text(names::RESPONSE_MODEL, traced.response_model.as_deref());
    span.texts(names::FINISH_REASONS, entry.finish_reason.as_slice());
    if let Some(first) = entry.ttft_us.filter(|_| entry.stream) {
        span.put(names::FIRST_CHUNK, seconds(first.saturating_sub(attempt.began_us)));
    }
    if let Some(content) = &traced.content {
        said(content, entry, shape.capture, span);
    }
}

/// What was said, as JSON, where it is wanted.
fn said(content: &Content, entry: &Entry, capture: Capture, span: &mut Draft) {
    let parts = [
        (names::SYSTEM_INSTRUCTIONS, &content.system),
        (names::INPUT_MESSAGES, &content.input),
        (names::OUTPUT_MESSAGES, &content.output),
        (names::TOOL_DEFINITIONS, &content.tools),
    ];
    if matches!(capture, Capture::Span | Capture::Both) {
        for (name, text) in parts {
            span.whole(name, text);
        }
    }
    if matches!(capture, Capture::Event | Capture::Both) {
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        let attributes = parts.map(|(name, text)| KeyValue::new(name, text.clone())).collect();
        let end = entry.started_at_us.saturating_add_unsigned(entry.duration_us);
        span.event(names::DETAILS, end, attributes);
    }
}

/// A tool that the gateway ran for a model. The conventions of MCP enrich this span and want none beside it.
fn tool(entry: &Entry, trace: &Trace, call: &ToolCall, shape: &Shape<'_>) -> SpanData {
    let parent = Some((trace.place.span_id, false));
    let name = format!("execute_tool {}", call.tool);
    let mut span = Draft::new(trace, call.span_id, parent, SpanKind::Internal, name, shape.scope)
        .lasting(call.started_at_us, call.duration_us);
    span.put(names::MCP_METHOD, "tools/call");
    span.text("tidegate.mcp_server", Some(&call.server));
    span.text("tidegate.function", Some(&call.function));
    span.put("tidegate.round", i64::from(call.round));
    span.put("tidegate.tool_status", call.status.as_str());
    span.count("tidegate.arguments_bytes", Some(call.arguments_bytes));
    span.count("tidegate.result_bytes", call.result_bytes);
    match call.status {
        CallStatus::Ok => {}
        CallStatus::Error => {
            span.put(names::ERROR_TYPE, "tool_error");
            span.fail(None);
        }
        CallStatus::Timeout => {
            span.put(names::ERROR_TYPE, "timeout");
            span.fail(None);
        }
        status => span.put(names::ERROR_TYPE, status.as_str()),
    }
    if let Some(asked) = &call.asked {
        mcp::way(&asked.way, &mut span);
        span.some(names::RPC_STATUS, asked.error_code.map(|code| code.to_string()));
    }
    let said = call.said.as_deref().filter(|_| shape.capture != Capture::None);
    if shape.mappers.gen_ai {
        span.put(names::OPERATION, "execute_tool");
        span.text(names::TOOL_NAME, Some(&call.tool));
        span.put(names::TOOL_TYPE, "extension");
        span.put(names::TOOL_CALL_ID, call.id.to_string());
        span.text(names::CONVERSATION, entry.session_id.as_deref());
        if let Some((arguments, result)) = said {
            span.whole(names::TOOL_ARGUMENTS, arguments);
            span.whole(names::TOOL_RESULT, result.as_deref().unwrap_or_default());
        }
    }
    if shape.mappers.openinference {
        openinference::tool(call, said, &mut span);
    }
    if shape.mappers.langfuse {
        langfuse::tool(said, call.status, &mut span);
    }
    span.finish()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of hours are exact")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
