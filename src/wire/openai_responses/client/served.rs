//! What the gateway did itself, as OpenAI's own MCP tool tells it: items, and the same items read again from a history.
//! <https://platform.openai.com/docs/api-reference/responses/object>

use super::super::object::Object;
use super::output::State;
use crate::conversation::served::{
    Served, ServedAnswer, ServedApproval, ServedCall, ServedOutcome, ServedTools,
};
use crate::conversation::{Json, Part, served};
use crate::wire::fields::{Fields, as_string};

pub(super) fn id(served: &Served) -> &str {
    match served {
        Served::Tools(tools) => &tools.id,
        Served::Call(call) => &call.id,
        Served::Approval(approval) => &approval.id,
        Served::Answer(_) => "",
    }
}

/// The item, as far as it has come.
pub(super) fn item(id: &str, served: &Served, state: State) -> Object {
    match served {
        Served::Tools(ServedTools { server, tools, error, .. }) => {
            let is_begun = state == State::InProgress;
            let tools = tools.clone().filter(|_| !is_begun);
            Object::of_type("mcp_list_tools")
                .with("id", id)
                .with("server_label", server)
                .with("tools", tools.unwrap_or_else(super::output::empty_list))
                .with("error", error.as_ref().filter(|_| !is_begun))
        }
        Served::Call(call) => {
            let ServedCall { server, name, arguments, approval, outcome, .. } = call;
            let outcome = outcome.as_ref();
            let (output, error) = match outcome {
                Some(outcome) if outcome.is_error => (None, Some(error(outcome))),
                Some(outcome) => (Some(outcome.text()), None),
                None => (None, None),
            };
            let status = match (state, outcome) {
                (State::InProgress, _) => "in_progress",
                (_, None) => "incomplete",
                (_, Some(outcome)) if outcome.is_error => "failed",
                (_, Some(_)) => "completed",
            };
            let arguments = if state == State::InProgress { "" } else { arguments };
            Object::of_type("mcp_call")
                .with("id", id)
                .with("status", status)
                .with("approval_request_id", approval)
                .with("server_label", server)
                .with("name", name)
                .with("arguments", arguments)
                .with("output", output)
                .with("error", error)
        }
        Served::Approval(ServedApproval { server, name, arguments, .. }) => {
            Object::of_type("mcp_approval_request")
                .with("id", id)
                .with("server_label", server)
                .with("name", name)
                .with("arguments", arguments)
        }
        Served::Answer(_) => Object::default(),
    }
}

/// What a tool that failed said, in the shape of OpenAI's `mcp_tool_execution_error`.
fn error(outcome: &ServedOutcome) -> Json {
    let texts = outcome.parts.iter().filter_map(Part::as_text);
    let content: Vec<Object> =
        texts.map(|text| Object::of_type("text").with("text", text)).collect();
    Object::of_type("mcp_tool_execution_error").with("content", content).into_json()
}

/// The text of an error: of OpenAI's three shapes, or a string, as older clients have it.
fn error_text(error: Json) -> String {
    if let Some(text) = error.read::<String>() {
        return text;
    }
    let mut fields = Fields::of(error.as_raw()).unwrap_or_default();
    let content = fields.items("content").into_iter();
    let texts = content.filter_map(|part| Fields::of(part)?.text("text"));
    let texts: Vec<String> = texts.chain(fields.text("message")).collect();
    if texts.is_empty() { error.as_str().to_owned() } else { texts.join("\n") }
}

/// Reads an item of a history; `None` where it is of another kind, or not the gateway's own: a provider that runs such
/// tools itself wants its items back.
pub(super) fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Part> {
    let is_own = |name: &str| {
        let id = fields.peek(name).and_then(as_string);
        id.is_some_and(|id| id.contains(served::OWN_ID))
    };
    let named = if kind == "mcp_approval_response" { "approval_request_id" } else { "id" };
    if !is_own(named) {
        return None;
    }
    let served = match kind {
        "mcp_call" => {
            let id = fields.text("id")?;
            let error = fields.json("error");
            let is_error = error.is_some();
            let text = error.map(error_text).or_else(|| fields.text("output"));
            let text = text.unwrap_or_default();
            let outcome = ServedOutcome { parts: vec![Part::text(text)], is_error };
            Served::Call(ServedCall {
                call_id: served::call_id(&id),
                id,
                server: fields.text("server_label")?,
                name: fields.text("name")?,
                function: String::new(),
                arguments: fields.text("arguments").unwrap_or_default(),
                approval: fields.text("approval_request_id"),
                outcome: Some(outcome),
            })
        }
        "mcp_list_tools" => Served::Tools(ServedTools {
            id: fields.text("id")?,
            server: fields.text("server_label")?,
            tools: fields.json("tools"),
            error: fields.text("error"),
        }),
        "mcp_approval_request" => Served::Approval(ServedApproval {
            id: fields.text("id")?,
            server: fields.text("server_label")?,
            name: fields.text("name")?,
            arguments: fields.text("arguments").unwrap_or_default(),
        }),
        "mcp_approval_response" => Served::Answer(ServedAnswer {
            id: fields.text("approval_request_id")?,
            approve: fields.lenient("approve")?,
            reason: fields.text("reason"),
        }),
        _ => return None,
    };
    Some(Part::served(served))
}
