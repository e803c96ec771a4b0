//! What the gateway did itself, as Anthropic's own MCP connector tells it: a call and its result are two blocks.
//! <https://docs.anthropic.com/en/docs/agents-and-tools/mcp-connector>

use super::super::types::{self, Node, Object};
use crate::conversation::served::{Served, ServedCall, ServedOutcome};
use crate::conversation::{Content, Part, ToolCall};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// The blocks; none for what this format has no block for.
pub(super) fn blocks(served: &Served) -> Vec<Object<'_>> {
    match served {
        Served::Call(call) => [Some(used(call)), result(call)].into_iter().flatten().collect(),
        Served::Tools(_) | Served::Approval(_) | Served::Answer(_) => Vec::new(),
    }
}

/// Reads the call of a history. Its result is a block of its own, and read like any other.
pub(super) fn read_use(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let (id, name) = (fields.string("id")?, fields.string("name")?);
    let call_id: String = fields.required("id", id)?;
    let input = fields.json("input").map_or_else(|| "{}".to_owned(), |it| it.as_str().to_owned());
    Ok(Content::Served(Box::new(Served::Call(ServedCall {
        id: call_id.clone(),
        call_id,
        server: fields.string("server_name")?.unwrap_or_default(),
        name: fields.required("name", name)?,
        arguments: input,
        ..ServedCall::default()
    }))))
}

/// `mcp_tool_use`.
pub(super) fn used(call: &ServedCall) -> Object<'_> {
    let input = ToolCall { arguments: call.arguments.clone(), ..ToolCall::default() };
    Object::of("mcp_tool_use")
        .with("id", types::legal_id(&call.call_id))
        .with("name", call.name.as_str())
        .with("server_name", call.server.as_str())
        .with("input", input.object())
}

/// `mcp_tool_result`; `None` where none has come.
pub(super) fn result(call: &ServedCall) -> Option<Object<'_>> {
    let ServedOutcome { parts, is_error } = call.outcome.as_ref()?;
    let text = |part: &Part| {
        let text = part.as_text()?.to_owned();
        Some(Node::from(Object::of("text").with("text", text)))
    };
    let content: Vec<Node<'_>> = parts.iter().filter_map(text).collect();
    let block = Object::of("mcp_tool_result").with("tool_use_id", types::legal_id(&call.call_id));
    Some(block.with("is_error", *is_error).with("content", content))
}
