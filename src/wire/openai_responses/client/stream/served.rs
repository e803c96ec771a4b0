//! The events of what the gateway did itself, between the two that tell the whole item.
//! <https://platform.openai.com/docs/api-reference/responses-streaming/response/mcp_call>

use super::super::events::Payload;
use super::told::Told;
use crate::conversation::served::Served;

/// The item has been announced.
pub(super) fn begun(served: &Served, told: &mut Told<'_>) {
    match served {
        Served::Tools(_) => told.item(Payload::of("response.mcp_list_tools.in_progress")),
        Served::Call(_) => told.item(Payload::of("response.mcp_call.in_progress")),
        Served::Approval(_) | Served::Answer(_) => {}
    }
}

/// More of a call's arguments.
pub(super) fn grown(served: &Served, more: &str, told: &mut Told<'_>) {
    if matches!(served, Served::Call(_)) && !more.is_empty() {
        let kind = "response.mcp_call_arguments.delta";
        told.item(Payload { delta: Some(more), ..Payload::of(kind) });
    }
}

/// A call has all its arguments.
pub(super) fn called(served: &Served, told: &mut Told<'_>) {
    if let Served::Call(call) = served {
        let kind = "response.mcp_call_arguments.done";
        told.item(Payload { arguments: Some(&call.arguments), ..Payload::of(kind) });
    }
}

/// Nothing more comes.
pub(super) fn done(served: &Served, told: &mut Told<'_>) {
    match served {
        Served::Tools(tools) => told.item(Payload::of(match tools.error {
            None => "response.mcp_list_tools.completed",
            Some(_) => "response.mcp_list_tools.failed",
        })),
        Served::Call(call) => {
            let is_well = call.outcome.as_ref().is_some_and(|outcome| !outcome.is_error);
            told.item(Payload::of(match is_well {
                true => "response.mcp_call.completed",
                false => "response.mcp_call.failed",
            }));
        }
        Served::Approval(_) | Served::Answer(_) => {}
    }
}
