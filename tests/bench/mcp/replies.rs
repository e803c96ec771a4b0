//! What the benchmark's MCP servers say, in both eras of the protocol: who they are, a hundred tools of the usual size, and
//! the text that they were called with. Everything that can be is rendered once. It must not know how a message came.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// The tools of one server.
pub(crate) const TOOLS: usize = 100;
/// The tool that is called; the last of them.
pub(crate) const TOOL: &str = "echo";

/// How the protocol is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Until 2025-11-25.
    Sessions,
    /// From 2026-07-28 on.
    Stateless,
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow)]
    id: Option<&'m RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'m, str>>,
    #[serde(borrow)]
    params: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Called<'m> {
    #[serde(borrow)]
    arguments: Arguments<'m>,
}

#[derive(Deserialize)]
struct Arguments<'m> {
    #[serde(borrow)]
    text: &'m RawValue,
}

/// What an answer is to.
pub(crate) struct Answer {
    /// It begins a session, where the era has them.
    pub(crate) opens: bool,
    pub(crate) text: String,
}

/// Answers a message; `None` where it wants no answer, or is none.
pub(crate) fn answer(text: &[u8], era: Era) -> Option<Answer> {
    let message: Message<'_> = serde_json::from_slice(text).ok()?;
    let (id, method) = (message.id?.get(), message.method?);
    let is_stateless = era == Era::Stateless;
    let error = || {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
        )
    };
    let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    let text = match &*method {
        "tools/call" => match message.params.and_then(|it| serde_json::from_str(it.get()).ok()) {
            Some(Called { arguments: Arguments { text } }) => {
                let complete = if is_stateless { r#","resultType":"complete""# } else { "" };
                result(&format!(
                    r#"{{"content":[{{"type":"text","text":{}}}],"isError":false{complete}}}"#,
                    text.get()
                ))
            }
            None => error(),
        },
        "tools/list" => result(if is_stateless { &LISTS.1 } else { &LISTS.0 }),
        "initialize" if !is_stateless => result(INITIALIZED),
        "server/discover" if is_stateless => result(DISCOVERED),
        "ping" if !is_stateless => result("{}"),
        _ => error(),
    };
    Some(Answer { opens: method == "initialize", text })
}

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"bench","version":"1"}}"#;
const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":3600000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1"}}}"#;

/// The tools for each era.
static LISTS: LazyLock<(String, String)> = LazyLock::new(|| {
    let tools: Vec<_> = (1..=TOOLS).map(tool).collect();
    let older = json!({ "tools": tools });
    let newer = json!({ "resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public",
        "tools": tools });
    (older.to_string(), newer.to_string())
});

/// One tool, of about 700 bytes as those of real servers have.
fn tool(number: usize) -> serde_json::Value {
    let name = if number == TOOLS { TOOL.to_owned() } else { format!("search_issues_{number:02}") };
    json!({
        "name": name,
        "title": "Search the issues of a repository",
        "description": "Searches the issues of a repository by words, state and labels. Results come newest first, \
            at most fifty at a time; ask again with the cursor of the last answer for those behind them.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "text": { "type": "string", "description": "The words to look for, as a person would type them." },
                "state": { "type": "string", "enum": ["open", "closed", "all"], "default": "open",
                    "description": "Which issues: those that are open, those that are not, or all." },
                "limit": { "type": "integer", "minimum": 1, "maximum": 50, "default": 20 },
            },
            "required": ["text"],
        },
        "annotations": { "readOnlyHint": true, "openWorldHint": false },
    })
}
