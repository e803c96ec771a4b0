//! The gateway's tools in a request: offered as functions in place of the blocks that asked for them, with what was run so
//! far behind the client's own words.

use http::HeaderMap;

use super::pending::Pending;
use super::toolset::Toolset;
use super::wanted;
use crate::conversation::{Ask, Extras, Format, Part, ToolChoice, ToolKind, Turn, served};
use crate::ground::fault::Fault;

/// What is put into each round's request.
pub(in crate::gateway) struct Served<'a> {
    pub(in crate::gateway) toolset: Option<&'a Toolset>,
    /// What came after the client's words: calls and their results.
    pub(in crate::gateway) turns: &'a [Turn],
    pub(in crate::gateway) pending: &'a Pending,
    pub(in crate::gateway) owner: &'a str,
    pub(in crate::gateway) headers: &'a HeaderMap,
}

/// Puts it into a request for a provider.
///
/// # Errors
/// The request wants tools of servers that are none of the gateway's, from a provider that runs none.
pub(in crate::gateway) fn apply(
    ask: &mut Ask,
    provider: Format,
    served: &Served<'_>,
) -> Result<(), Fault> {
    if let Some(fault) = wanted::foreign(ask, provider, served.headers) {
        return Err(fault);
    }
    served.pending.restore(ask, served.owner);
    let toolset = served.toolset;
    for part in ask.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        let asked = match part.as_served() {
            Some(served::Served::Approval(approval)) => &approval.id,
            _ => continue,
        };
        if let Some(decided) = toolset.and_then(|set| set.decided_on(asked)) {
            *part = Part::served(served::Served::Call(decided.call.clone()));
        }
    }
    let function = |label: &str, own: &str| match toolset {
        Some(toolset) => toolset.function(label, own),
        None => format!("{label}-{own}"),
    };
    served::expand(ask, function);
    let Some(toolset) = toolset else { return Ok(()) };
    ask.tools.retain(|tool| match &tool.kind {
        ToolKind::Hosted { value, .. } => {
            !(wanted::is_mcp(value) && wanted::is_ours(value, served.headers))
        }
        _ => true,
    });
    ask.extras.take("mcp_servers");
    let offered = toolset.offered(ask.tool_choice.as_ref());
    for tool in &offered {
        ask.tools.push(crate::conversation::Tool {
            name: tool.function.clone(),
            namespace: None,
            description: tool.description.clone(),
            kind: ToolKind::Function { schema: Some(tool.schema.clone()), strict: None },
            cache_control: None,
            extras: Extras::default(),
        });
    }
    if let Some(ToolChoice::Foreign { value, .. }) = &ask.tool_choice
        && wanted::is_mcp(value)
    {
        let names = offered.iter().map(|tool| tool.function.clone()).collect();
        ask.tool_choice = Some(ToolChoice::Allowed { names, required: true });
    }
    // A choice is made once: forced again and again, the model would never come to an answer.
    if !served.turns.is_empty() {
        ask.tool_choice = match ask.tool_choice.take() {
            Some(choice @ (ToolChoice::None | ToolChoice::Auto)) => Some(choice),
            Some(ToolChoice::Allowed { names, .. }) => {
                Some(ToolChoice::Allowed { names, required: false })
            }
            _ => None,
        };
    }
    ask.turns.extend(served.turns.iter().cloned());
    Ok(())
}
