//! What the gateway did itself, in the field where LiteLLM has it: never as `tool_calls`, which a client would try to run.
//! <https://docs.litellm.ai/docs/mcp>

use serde_json::{Map, Value, json};

use crate::conversation::served::{Served, ServedCall, ServedTools};
use crate::conversation::{Json, Part};

/// `provider_specific_fields`; `None` where the gateway did nothing.
pub(super) fn fields<'p>(parts: impl Iterator<Item = &'p Part>) -> Option<Json> {
    let mut lists: Map<String, Value> = Map::new();
    let mut add = |name: &str, value: Value| {
        if let Some(list) = lists.entry(name).or_insert_with(|| json!([])).as_array_mut() {
            list.push(value);
        }
    };
    for served in parts.filter_map(Part::as_served) {
        match served {
            Served::Tools(ServedTools { server, tools, error, .. }) => {
                add(
                    "mcp_list_tools",
                    json!({ "server_label": server, "tools": tools, "error": error }),
                );
            }
            Served::Call(ServedCall { call_id, server, name, arguments, outcome, .. }) => {
                add(
                    "mcp_tool_calls",
                    json!({
                        "id": call_id, "type": "function", "server_label": server,
                        "function": { "name": name, "arguments": arguments },
                    }),
                );
                let outcome = outcome.as_ref();
                add(
                    "mcp_call_results",
                    json!({
                        "tool_call_id": call_id,
                        "name": name,
                        "result": outcome.map(|outcome| outcome.text()),
                        "is_error": outcome.is_none_or(|outcome| outcome.is_error),
                    }),
                );
            }
            Served::Approval(_) | Served::Answer(_) => {}
        }
    }
    (!lists.is_empty()).then(|| Json::of(&lists))
}
