//! What agents send: one conversation with a system prompt, tools, calls and their results, in each format
//! that clients speak, and a session of Codex with the kinds of tools that only Codex has. Texts have the
//! escapes and accents of real ones. It must not know providers or clocks.

use serde_json::{Value, json};
use tidegate::conversation::Format;

/// Formats that clients speak, and the path of each.
pub(crate) const CLIENTS: [(Format, &str); 3] = [
    (Format::OpenAiChat, "/v1/chat/completions"),
    (Format::OpenAiResponses, "/v1/responses"),
    (Format::Anthropic, "/v1/messages"),
];

/// About the size of an agent's request, in bytes.
const AGENT: usize = 16 * 1024;
/// About the size of one of Codex's.
const CODEX: usize = 40 * 1024;

const RULES: &str = "You are a careful engineer who works in the user's repository. Read before you write; \
    run the tests — “all of them” — before you say that something works. Prefer `rg` over `grep`.\n\
    \t- Never touch files outside of the workspace.\n\t- Café names stay as they are (naïve, façade).\n";
const SOURCE: &str = "fn depth(harbour: &Harbour) -> Option<f64> {\n\tlet name = \"l'été\";\n\
    \tharbour.charts.iter().find(|c| c.name == name).map(|c| c.depth)\n}\n";
const GRAMMAR: &str = "start: begin_patch hunk+ end_patch\nbegin_patch: \"*** Begin Patch\" LF\n\
    end_patch: \"*** End Patch\" LF?\n\nhunk: add_hunk | delete_hunk | update_hunk\n\
    add_hunk: \"*** Add File: \" filename LF add_line+\ndelete_hunk: \"*** Delete File: \" filename LF\n\
    update_hunk: \"*** Update File: \" filename LF change_move? change?\nfilename: /(.+)/\n";

/// One exchange with a tool.
struct Step {
    thought: String,
    call: String,
    tool: String,
    arguments: Value,
    result: String,
}

/// An agent's request of about 16 KiB: a system prompt, ten tools, and as many exchanges as fit.
pub(crate) fn agent(client: Format, model: &str, stream: bool) -> String {
    let mut steps = Vec::new();
    loop {
        steps.push(step(steps.len()));
        let body = agent_of(client, model, stream, &steps);
        if body.len() >= AGENT {
            return body;
        }
    }
}

/// A session of Codex of about 40 KiB, in OpenAI's responses.
pub(crate) fn codex(model: &str, stream: bool) -> String {
    let mut steps = Vec::new();
    loop {
        steps.push(step(steps.len()));
        let body = codex_of(model, stream, &steps);
        if body.len() >= CODEX {
            return body;
        }
    }
}

fn step(at: usize) -> Step {
    Step {
        thought: format!("I look at part {at} of the harbour's charts; \"depth\" comes next."),
        call: format!("call_{at:02}a9f3c1d27b4e58"),
        tool: format!("tool_{}", at % 10),
        arguments: json!({ "path": format!("src/harbour/{at}.rs"), "line": at, "lines": 40 }),
        result: SOURCE.repeat(5),
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "description": "A path below the workspace’s root." },
            "line": { "type": "integer", "minimum": 1, "description": "The first line, from 1." },
            "lines": { "type": "integer", "maximum": 2000 },
            "mode": { "type": "string", "enum": ["slice", "outline"] }
        },
        "required": ["path"],
        "additionalProperties": false
    })
}

/// Name and description of each tool.
fn tools() -> impl Iterator<Item = (String, String)> {
    (0..10).map(|at| {
        let what = format!(
            "Reads lines of a file (kind {at}). Lines are numbered from 1; a missing file is an error."
        );
        (format!("tool_{at}"), what)
    })
}

fn agent_of(client: Format, model: &str, stream: bool, steps: &[Step]) -> String {
    let system = RULES.repeat(6);
    let question = "Where is the depth of a harbour computed, and what is it for l’Étoile?";
    let arguments = |step: &Step| step.arguments.to_string();
    let body = match client {
        Format::OpenAiResponses => {
            let mut input = vec![message("user", "input_text", question)];
            for step in steps {
                input.push(message("assistant", "output_text", &step.thought));
                input.push(json!({ "type": "function_call", "call_id": step.call,
                    "name": step.tool, "arguments": arguments(step) }));
                input.push(json!({ "type": "function_call_output", "call_id": step.call,
                    "output": step.result }));
            }
            let tools = tools().map(|(name, what)| {
                json!({ "type": "function", "name": name, "description": what,
                    "parameters": schema() })
            });
            json!({ "model": model, "instructions": system, "input": input,
                "tools": tools.collect::<Vec<_>>(), "tool_choice": "auto", "store": false,
                "max_output_tokens": 4096, "stream": stream })
        }
        Format::Anthropic => {
            let mut messages = vec![json!({ "role": "user", "content": question })];
            for step in steps {
                messages.push(json!({ "role": "assistant", "content": [
                    { "type": "text", "text": step.thought },
                    { "type": "tool_use", "id": step.call, "name": step.tool,
                      "input": step.arguments }
                ] }));
                messages.push(json!({ "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": step.call, "content": step.result }
                ] }));
            }
            let tools = tools().map(|(name, what)| {
                json!({ "name": name, "description": what, "input_schema": schema() })
            });
            json!({ "model": model, "max_tokens": 4096, "system": [
                    { "type": "text", "text": system, "cache_control": { "type": "ephemeral" } }
                ], "messages": messages, "tools": tools.collect::<Vec<_>>(), "stream": stream })
        }
        _ => {
            let mut messages = vec![
                json!({ "role": "system", "content": system }),
                json!({ "role": "user", "content": question }),
            ];
            for step in steps {
                messages.push(json!({ "role": "assistant", "content": step.thought,
                    "tool_calls": [{ "id": step.call, "type": "function", "function":
                        { "name": step.tool, "arguments": arguments(step) } }] }));
                messages.push(json!({ "role": "tool", "tool_call_id": step.call,
                    "content": step.result }));
            }
            let tools = tools().map(|(name, what)| {
                json!({ "type": "function", "function":
                    { "name": name, "description": what, "parameters": schema() } })
            });
            let mut body = json!({ "model": model, "messages": messages,
                "tools": tools.collect::<Vec<_>>(), "tool_choice": "auto", "temperature": 0.7,
                "max_tokens": 4096, "stream": stream });
            if stream && let Some(body) = body.as_object_mut() {
                body.insert("stream_options".into(), json!({ "include_usage": true }));
            }
            body
        }
    };
    body.to_string()
}

fn message(role: &str, kind: &str, text: &str) -> Value {
    json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] })
}

fn codex_of(model: &str, stream: bool, steps: &[Step]) -> String {
    let mut input = vec![
        message("developer", "input_text", &RULES.repeat(4)),
        message(
            "user",
            "input_text",
            "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>",
        ),
        message("user", "input_text", "Make the tests pass."),
    ];
    for (at, step) in steps.iter().enumerate() {
        input.push(json!({ "type": "reasoning", "id": format!("rs_{at}"),
            "summary": [{ "type": "summary_text", "text": step.thought }],
            "encrypted_content": "gAAAAABo3vXq7Zk2".repeat(40) }));
        let (call, output) = if at % 4 == 3 {
            let patch =
                "*** Begin Patch\n*** Update File: a.rs\n@@\n-\told()\n+\tnew()\n*** End Patch\n";
            (
                json!({ "type": "custom_tool_call", "call_id": step.call, "name": "apply_patch",
                    "input": patch, "status": "completed" }),
                json!({ "type": "custom_tool_call_output", "call_id": step.call, "output": "Done!" }),
            )
        } else {
            (
                json!({ "type": "function_call", "call_id": step.call, "name": "shell",
                    "arguments": "{\"command\":[\"bash\",\"-lc\",\"cargo test\"]}" }),
                json!({ "type": "function_call_output", "call_id": step.call, "output": step.result }),
            )
        };
        input.extend([call, output]);
    }
    let mut tools: Vec<Value> = ["shell", "update_plan", "view_image", "write_stdin"]
        .into_iter()
        .map(|name| {
            json!({ "type": "function", "name": name, "description": RULES, "strict": false,
                "parameters": schema() })
        })
        .collect();
    tools.push(json!({ "type": "custom", "name": "apply_patch", "description": RULES,
        "format": { "type": "grammar", "syntax": "lark", "definition": GRAMMAR } }));
    let inner = self::tools().take(6).map(|(name, what)| {
        json!({ "type": "function", "name": name, "description": what, "strict": false,
            "parameters": schema() })
    });
    tools.push(json!({ "type": "namespace", "name": "mcp__harbour", "description": "Charts.",
        "tools": inner.collect::<Vec<_>>() }));
    json!({ "model": model, "instructions": RULES.repeat(20), "input": input, "tools": tools,
        "tool_choice": "auto", "parallel_tool_calls": false, "store": false, "stream": stream,
        "reasoning": { "effort": "medium", "summary": "auto" },
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0199-5fa2",
        "text": { "verbosity": "low" } })
    .to_string()
}
