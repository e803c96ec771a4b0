//! One call of a tool, made for the model: checked against the tool's schema, made, and turned into what the model is told.
//! Whatever goes wrong is told to the model; it is no failure of the request.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::overload;
use super::toolset::{GatewayTool, Toolset};
use crate::conversation::served::ServedOutcome;
use crate::conversation::{Content, Json, Media, MediaKind, Part, Source, ToolCall};
use crate::entry::CallStatus;
use crate::gateway::notes::Running;
use crate::ground::names;
use crate::mcp::traced::Within;
use crate::wire::json::{self, Member};
use crate::wire::mcp::error::SERVER_TIMEOUT;
use crate::wire::mcp::{arguments, edit, search};

/// The longest text of one result that a model is given.
const MAX_TEXT: usize = 512 * 1024;
/// Names that are told where one is unknown.
const CLOSEST: usize = 3;
/// The longest picture or sound, in base64.
const MAX_MEDIA: usize = 8 * 1024 * 1024;

/// What a call came to: for the model, and for the journal.
struct Ran {
    outcome: ServedOutcome,
    status: CallStatus,
    /// Of the result as the server sent it.
    bytes: Option<u64>,
}

/// Makes a call of the model.
pub(super) async fn one(set: &Toolset, call: &ToolCall, deadline: Instant) -> ServedOutcome {
    let Some(tool) = set.find(&call.name) else {
        return unknown(set, &call.name);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    run(set, tool, &call.arguments, left).await
}

/// What the model is told where it calls a tool that does not exist.
pub(super) fn unknown(set: &Toolset, name: &str) -> ServedOutcome {
    let known = set.tools().iter().map(|tool| tool.function.as_str());
    let closest = search::closest(name, known, CLOSEST);
    let hint = match (closest.is_empty(), &set.overload) {
        (false, _) => format!("The closest names are: {}.", closest.join(", ")),
        (true, Some(_)) => "Search for tools first.".to_owned(),
        (true, None) => "Call one of those that you were told of.".to_owned(),
    };
    failed(&format!("There is no tool `{}`. {hint}", names::shown(name)))
}

/// Notes a call that is not made.
pub(super) fn pass_over(set: &Toolset, call: &ToolCall) {
    if let Some(tool) = set.find(&call.name) {
        let noted =
            set.notes.begin_call(&tool.server, &tool.own, &call.name, &call.arguments, None);
        noted.end(CallStatus::NotRun, None);
    }
}

/// Makes a call that may take so long, and notes it. Dropped, it cancels it.
pub(super) async fn run(
    set: &Toolset,
    tool: &GatewayTool,
    text: &str,
    left: Duration,
) -> ServedOutcome {
    let servers = set.asker(tool).map(|asker| &asker.snapshot.mcp_servers);
    let server = servers.and_then(|servers| servers.get(&tool.server));
    let price = server.and_then(|server| server.tool_prices.of(&tool.own));
    let running = set.notes.begin_call(&tool.server, &tool.own, &tool.function, text, price);
    let Ok(ran) = tokio::time::timeout(left, make(set, tool, text, &running)).await else {
        running.end(CallStatus::Timeout, None);
        return failed("The tool was cancelled: the time for tools is used up.");
    };
    running.end(ran.status, ran.bytes);
    ran.outcome
}

async fn make(set: &Toolset, tool: &GatewayTool, text: &str, running: &Running) -> Ran {
    let wrong = |text: &str| Ran { outcome: failed(text), status: CallStatus::Error, bytes: None };
    let text = if text.trim().is_empty() { "{}" } else { text };
    let Some(given) = Json::parse(text).filter(Json::is_object) else {
        return wrong("The arguments are no JSON object. Call the tool again with one.");
    };
    if let Some(name) = repeated(&given) {
        // The check and the server might each take another one.
        let name = names::shown(&name);
        return wrong(&format!("The arguments have `{name}` twice. Call the tool again with one."));
    }
    if let Err(faults) = arguments::check(&tool.schema, &given) {
        let text = format!("The arguments do not fit the tool's schema: {}", faults.join("; "));
        return wrong(&text);
    }
    if let Some(outcome) = overload::answer(set, tool, &given) {
        return Ran { outcome, status: CallStatus::Ok, bytes: None };
    }
    let Some(asker) = set.asker(tool) else { return wrong("There is no such tool.") };
    let mut asker = Cow::Borrowed(asker);
    if let Some(span) = running.span() {
        asker.to_mut().trace = Some(Within::Tool(span));
    }
    match set.mcp.call_tool(&asker, &tool.function, Some(&given)).await {
        Ok(result) => {
            running.note_result(result.as_str());
            let outcome = outcome(&result);
            let status = if outcome.is_error { CallStatus::Error } else { CallStatus::Ok };
            Ran { outcome, status, bytes: Some(result.as_str().len() as u64) }
        }
        Err(error) if error.code() == SERVER_TIMEOUT => {
            Ran { status: CallStatus::Timeout, ..wrong(&error.message()) }
        }
        Err(error) => wrong(&error.message()),
    }
}

/// A name that an object has more than once.
fn repeated(object: &Json) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    let visit = |member: Member| {
        let quoted = object.as_str().get(member.key).map(|key| format!("\"{key}\""));
        names.extend(quoted.and_then(|quoted| serde_json::from_str::<String>(&quoted).ok()));
    };
    json::members_of(object.as_raw(), visit).ok()?;
    let mut seen = HashSet::new();
    names.iter().find(|name| !seen.insert(name.as_str())).cloned()
}

pub(super) fn failed(text: &str) -> ServedOutcome {
    ServedOutcome { parts: vec![Part::text(text)], is_error: true }
}

/// What the model is told of a result: texts and media; structured content where there is no text that says it.
fn outcome(result: &Json) -> ServedOutcome {
    let result = &*result.mended();
    let content: Vec<Value> = edit::read(result, &["content"]).unwrap_or_default();
    let mut room = MAX_TEXT;
    let mut parts: Vec<Part> = content.iter().filter_map(|part| told(part, &mut room)).collect();
    let structured = edit::get(result, &["structuredContent"]);
    if let Some(structured) = structured.filter(|_| parts.iter().all(|it| it.as_text().is_none())) {
        parts.push(Part::text(cut(structured.get(), &mut room)));
    }
    if parts.is_empty() {
        parts.push(Part::text("(the tool answered with nothing)"));
    }
    let is_error = edit::read::<bool>(result, &["isError"]).unwrap_or_default();
    ServedOutcome { parts, is_error }
}

fn told(part: &Value, room: &mut usize) -> Option<Part> {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    match text("type")? {
        "text" => Some(Part::text(cut(text("text")?, room))),
        kind @ ("image" | "audio") => {
            let (data, media_type) = (text("data")?, text("mimeType")?);
            if data.len() > MAX_MEDIA {
                let note =
                    format!("({kind} of {} bytes left out: it is too large)", data.len() / 4 * 3);
                return Some(Part::text(note));
            }
            let source =
                Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() };
            let kind = if kind == "image" { MediaKind::Image } else { MediaKind::Audio };
            Some(Part::new(Content::Media(Media { kind, source, name: None, detail: None })))
        }
        "resource" => {
            let resource = part.get("resource")?;
            let field = |name: &str| resource.get(name).and_then(Value::as_str);
            let uri = field("uri").unwrap_or_default();
            let said = match field("text") {
                Some(text) => format!("{uri}\n{text}"),
                None => format!("({uri}: {}, not shown)", field("mimeType").unwrap_or("a file")),
            };
            Some(Part::text(cut(&said, room)))
        }
        "resource_link" => {
            let named = text("title").or(text("name")).unwrap_or_default();
            Some(Part::text(cut(&format!("{named} <{}>", text("uri")?), room)))
        }
        _ => Some(Part::text(cut(&part.to_string(), room))),
    }
}

/// The text as far as there is room, and how much was left out.
fn cut(text: &str, room: &mut usize) -> String {
    if text.len() <= *room {
        *room -= text.len();
        return text.to_owned();
    }
    let mut end = *room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    *room = 0;
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}\n(cut here: {} more bytes are left out)", text.len() - end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(result: &Value) -> Vec<String> {
        let told = outcome(&Json::of(result)).parts;
        told.iter().map(|part| part.as_text().unwrap_or("media").to_owned()).collect()
    }

    #[test]
    fn results_become_what_a_model_reads() {
        let content = json!([
            { "type": "text", "text": "a" },
            { "type": "image", "data": "AA==", "mimeType": "image/png" },
            { "type": "resource", "resource": { "uri": "x:1", "text": "b" } },
            { "type": "resource_link", "uri": "x:2", "name": "c" },
            { "type": "strange", "n": 1 },
        ]);
        let told = texts(&json!({ "content": content, "structuredContent": { "n": 1 } }));
        assert_eq!(told, ["a", "media", "x:1\nb", "c <x:2>", r#"{"type":"strange","n":1}"#]);
        assert_eq!(
            texts(&json!({ "content": [], "structuredContent": { "n": 1 } })),
            [r#"{"n":1}"#]
        );
        assert_eq!(texts(&json!({})), ["(the tool answered with nothing)"]);
        assert!(outcome(&Json::of(&json!({ "isError": true }))).is_error);
        let long = texts(&json!({ "content": [{ "type": "text", "text": "é".repeat(MAX_TEXT) }] }));
        assert!(long[0].len() < MAX_TEXT + 100 && long[0].ends_with("more bytes are left out)"));
    }
}
