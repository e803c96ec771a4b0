//! The spans of MCP: the HTTP request that a client made, the request of the protocol in it, and what was asked of servers.
//! Tools' names are told, URIs of resources are not: there are without end of them.

use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;

use super::draft::Draft;
use super::names;
use super::request::Shape;
use crate::entry::{HttpRequest, McpCall, McpRequest, McpWay};
use crate::ground::trace::Trace;

const TOOLS_CALL: &str = "tools/call";

pub(super) fn http(request: &HttpRequest, shape: &Shape<'_>) -> Vec<SpanData> {
    let trace = &request.trace;
    let parent = trace.parent.map(|parent| (parent, true));
    let known = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"];
    let method = known.into_iter().find(|known| *known == request.method).unwrap_or("_OTHER");
    let name = match method {
        // The conventions' word for it in names.
        "_OTHER" => format!("HTTP {}", request.route),
        method => format!("{method} {}", request.route),
    };
    let span_id = trace.place.span_id;
    let mut span = Draft::new(trace, span_id, parent, SpanKind::Server, name, shape.scope)
        .lasting(request.started_at_us, request.duration_us);
    span.put(names::HTTP_METHOD, method);
    span.put(names::URL_SCHEME, "http");
    span.text(names::URL_PATH, Some(&request.path));
    span.put(names::HTTP_ROUTE, request.route);
    span.put(names::HTTP_STATUS, i64::from(request.status));
    span.text(names::PROTOCOL_VERSION, request.client.http_version);
    span.put(names::CLIENT_ADDRESS, request.client.ip.to_canonical().to_string());
    span.text("tidegate.key_id", request.key_id.as_deref());
    if request.status >= 400 {
        span.put(names::ERROR_TYPE, request.status.to_string());
    }
    if request.status >= 500 {
        span.fail(None);
    }
    if let Some(link) = trace.link {
        span.link(link);
    }
    if shape.mappers.openinference {
        span.put("openinference.span.kind", "CHAIN");
    }
    vec![span.finish()]
}

pub(super) fn request(request: &McpRequest, shape: &Shape<'_>) -> Vec<SpanData> {
    let mut spans = vec![server(request, shape)];
    spans.extend(request.calls.iter().map(|it| call(&request.trace, it, shape)));
    spans
}

fn server(request: &McpRequest, shape: &Shape<'_>) -> SpanData {
    let trace = &request.trace;
    let parent = trace.parent.map(|parent| (parent, request.is_parent_remote));
    let span_id = trace.place.span_id;
    let name = name(&request.method, request.target.as_deref());
    let mut span = Draft::new(trace, span_id, parent, SpanKind::Server, name, shape.scope)
        .lasting(request.started_at_us, request.duration_us);
    span.text(names::MCP_VERSION, Some(request.revision));
    span.text(names::MCP_SESSION, request.session_id.as_deref());
    span.text(names::JSONRPC_ID, Some(request.id.trim_matches('"')));
    span.put(names::TRANSPORT, "tcp");
    span.text("tidegate.key_id", request.key_id.as_deref());
    if request.was_cancelled {
        span.put(names::ERROR_TYPE, "cancelled");
    }
    common(&request.method, request.target.as_deref(), request.error_code, shape, &mut span);
    outcome(request.error_code, request.is_tool_error, false, &mut span);
    if let Some(link) = trace.link {
        span.link(link);
    }
    span.finish()
}

fn call(trace: &Trace, call: &McpCall, shape: &Shape<'_>) -> SpanData {
    let parent = Some((trace.place.span_id, false));
    let name = name(&call.method, call.target.as_deref());
    let mut span = Draft::new(trace, call.span_id, parent, SpanKind::Client, name, shape.scope)
        .lasting(call.started_at_us, call.duration_us);
    way(&call.way, &mut span);
    span.text("tidegate.mcp_server", Some(&call.server));
    if call.was_cancelled {
        span.put(names::ERROR_TYPE, "cancelled");
    }
    common(&call.method, call.target.as_deref(), call.error_code, shape, &mut span);
    outcome(call.error_code, call.is_tool_error, call.is_unanswered, &mut span);
    span.finish()
}

/// How a server was reached.
pub(super) fn way(way: &McpWay, span: &mut Draft) {
    span.text(names::MCP_VERSION, Some(way.revision));
    span.put(names::TRANSPORT, if way.is_pipe { "pipe" } else { "tcp" });
    span.text(names::SERVER_ADDRESS, way.address.as_deref());
    span.some(names::SERVER_PORT, way.port.map(i64::from));
}

fn name(method: &str, target: Option<&str>) -> String {
    match target {
        Some(target) => format!("{method} {target}"),
        None => method.to_owned(),
    }
}

fn common(
    method: &str,
    target: Option<&str>,
    error_code: Option<i64>,
    shape: &Shape<'_>,
    span: &mut Draft,
) {
    span.text(names::MCP_METHOD, Some(method));
    span.some(names::RPC_STATUS, error_code.map(|code| code.to_string()));
    let is_tool = method == TOOLS_CALL;
    if shape.mappers.gen_ai {
        if is_tool {
            span.put(names::OPERATION, "execute_tool");
            span.text(names::TOOL_NAME, target);
        } else if method == "prompts/get" {
            span.text(names::PROMPT_NAME, target);
        }
    }
    if shape.mappers.openinference {
        span.put("openinference.span.kind", if is_tool { "TOOL" } else { "CHAIN" });
        span.text("tool.name", target.filter(|_| is_tool));
    }
    if shape.mappers.langfuse {
        span.put("langfuse.observation.type", if is_tool { "tool" } else { "span" });
    }
}

fn outcome(code: Option<i64>, is_tool_error: bool, is_unanswered: bool, span: &mut Draft) {
    let error = match (code, is_tool_error, is_unanswered) {
        (Some(code), _, _) => code.to_string(),
        (None, true, _) => "tool_error".to_owned(),
        (None, false, true) => "unavailable".to_owned(),
        (None, false, false) => return,
    };
    span.put(names::ERROR_TYPE, error);
    span.fail(None);
}
