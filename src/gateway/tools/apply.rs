//! The gateway's tools in a request: offered as functions in place of the blocks that asked for them, with what was run so
//! far behind the client's own words.

use http::HeaderMap;

use super::pending::Pending;
use super::toolset::Toolset;
use super::{connector, run, wanted};
use crate::conversation::served::{ServedAnswer, ServedApproval, ServedCall};
use crate::conversation::{Ask, Extras, Format, Losses, Part, ToolChoice, ToolKind, Turn, served};
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
    losses: &mut Losses,
) -> Result<(), Fault> {
    let foreign = wanted::foreign(ask, provider, served.headers);
    if let Some(fault) = foreign.or_else(|| wanted::foreign_word(ask, provider)) {
        return Err(fault);
    }
    served.pending.restore(ask, served.owner);
    let toolset = served.toolset;
    let unheard = if toolset.is_none() { unheard(ask) } else { Vec::new() };
    for part in ask.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        let Some(served::Served::Approval(asked)) = part.as_served() else { continue };
        let word = unheard.iter().find(|word| word.id == asked.id);
        let call = match toolset.and_then(|set| set.decided_on(&asked.id)) {
            Some(decided) => Some(decided.call.clone()),
            None => word.map(|word| left_out(asked, word)),
        };
        if let Some(call) = call {
            *part = Part::served(served::Served::Call(call));
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
    connector::keep(ask, |url| !wanted::is_own_url(url, served.headers));
    // Each round would be kept by itself, and then wants all that was thought before it. The whole is kept here.
    if provider == Format::OpenAiResponses {
        ask.extras.take("store");
    }
    // With calls between, several answers would be as many conversations.
    if ask.sampling.n.take().is_some_and(|n| n > 1) {
        losses.add("n", "with tools that the gateway runs there is one answer");
    }
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

/// Words on calls, in a request that has none of the gateway's tools; those calls that were run stand in the history.
fn unheard(ask: &Ask) -> Vec<ServedAnswer> {
    let parts = || ask.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_served);
    let is_done = |id: &String| {
        parts().any(
            |it| matches!(it, served::Served::Call(call) if call.approval.as_ref() == Some(id)),
        )
    };
    let words = parts().filter_map(|it| match it {
        served::Served::Answer(word) if !is_done(&word.id) => Some(word.clone()),
        _ => None,
    });
    words.collect()
}

/// The call that such a word is on, as one that was not run.
fn left_out(asked: &ServedApproval, word: &ServedAnswer) -> ServedCall {
    let why = match word.approve {
        true => "Not run: this request has no such tool.",
        false => "The user did not approve this call.",
    };
    ServedCall {
        call_id: served::call_id(&asked.id),
        server: asked.server.clone(),
        name: asked.name.clone(),
        arguments: asked.arguments.clone(),
        outcome: Some(run::failed(why)),
        ..ServedCall::default()
    }
}
