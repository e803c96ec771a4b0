//! The catalogue that Codex CLI reads from `GET /v1/models?client_version=…`: what it must know of a model to
//! work with it without a warning. Facts come from `model_info`, in LiteLLM's words where LiteLLM has them;
//! a mapping `codex` there is laid over the entry (codex-rs/protocol/src/openai_models.rs has the fields).

use serde_json::{Map, Value, json};

use crate::config::snapshot::Deployment;

/// Tokens of context where nobody says how many: most models of today have at least these.
const CONTEXT_WINDOW: u64 = 128_000;
/// Bytes of a tool's output that Codex keeps.
const OUTPUT_BYTES: u64 = 10_000;

/// What the model is told when it works for Codex, where the operator says nothing else.
const INSTRUCTIONS: &str = "\
You are a coding agent in Codex CLI, a terminal program on the user's machine. You and the user share one \
workspace and work together until the user's request is met.

- Find out how things are before you change them: read the files that matter, follow the project's own \
conventions, and look at AGENTS.md files where there are some.
- Use the shell tool for commands; prefer `rg` for searching. Change files with the apply_patch tool where it is \
offered. Keep changes small and to the point, and mend causes rather than symptoms.
- Say in a sentence what you are about to do before a group of tool calls. Never invent the output of a command.
- Verify your work with the project's own tests or build where you can.
- Leave alone what the user has changed, and do not commit or push unless you are asked to.
- When you are done, say briefly what you changed and where, what you verified, and what is left.";

/// One entry.
pub(super) fn entry(name: &str, deployment: &Deployment, priority: usize) -> Value {
    let info = &deployment.info;
    let number = |key: &str| info.get(key).and_then(Value::as_u64);
    let fact = |key: &str| info.get(key).and_then(Value::as_bool);
    let text = |key: &str| info.get(key).and_then(Value::as_str);
    let window = number("max_input_tokens").or_else(|| number("context_window"));
    let sees = fact("supports_vision") != Some(false);
    let thinks = fact("supports_reasoning") == Some(true);
    let mut entry = json!({
        "slug": name,
        "display_name": text("display_name").unwrap_or(name),
        "description": text("description"),
        "supported_reasoning_levels": if thinks { levels() } else { json!([]) },
        "default_reasoning_level": thinks.then_some("medium"),
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": true,
        "priority": priority,
        "upgrade": null,
        "availability_nux": null,
        "base_instructions": INSTRUCTIONS,
        "supports_reasoning_summaries": thinks,
        "support_verbosity": fact("supports_verbosity") == Some(true),
        "default_verbosity": null,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": { "mode": "bytes", "limit": OUTPUT_BYTES },
        "supports_parallel_tool_calls":
            fact("supports_parallel_function_calling") != Some(false),
        "context_window": window.unwrap_or(CONTEXT_WINDOW),
        "experimental_supported_tools": [],
        "input_modalities": if sees { json!(["text", "image"]) } else { json!(["text"]) },
    });
    if let (Some(entry), Some(over)) =
        (entry.as_object_mut(), info.get("codex").and_then(Value::as_object))
    {
        lay_over(entry, over);
    }
    entry
}

fn levels() -> Value {
    let level =
        |effort: &str, description: &str| json!({ "effort": effort, "description": description });
    json!([
        level("low", "Quick answers with little thought"),
        level("medium", "Thought and speed in balance"),
        level("high", "Deep thought for hard problems"),
    ])
}

fn lay_over(entry: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        entry.insert(key.clone(), value.clone());
    }
}
