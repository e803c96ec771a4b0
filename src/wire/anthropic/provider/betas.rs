//! The `anthropic-beta` header: what of a request asks for which beta
//! (<https://docs.anthropic.com/en/api/beta-headers>). A client's own header is the gateway's to pass on; this is
//! what the body needs in any case.

use crate::conversation::{Ask, Content, Format, Part, Source, ToolKind};

/// A field of the body, or a piece of text in it, and the beta it needs.
const FIELDS: [(&str, &str, &str); 6] = [
    ("context_management", "compact_", "compact-2026-01-12"),
    ("context_management", "", "context-management-2025-06-27"),
    ("container", "\"skills\"", "skills-2025-10-02"),
    ("speed", "\"fast\"", "fast-mode-2026-02-01"),
    ("output_config", "task_budget", "task-budgets-2026-03-13"),
    ("mcp_servers", "", "mcp-client-2025-04-04"),
];

/// The beginning of a tool's type, and the beta it needs.
const TOOLS: [(&str, &str); 5] = [
    ("computer_20241022", "computer-use-2024-10-22"),
    ("computer_20250124", "computer-use-2025-01-24"),
    ("computer_20251124", "computer-use-2025-11-24"),
    ("code_execution_20250522", "code-execution-2025-05-22"),
    ("mcp_toolset", MCP_TOOLSET),
];

/// Replaces the older way to say which tools of an MCP server are wanted.
const MCP_TOOLSET: &str = "mcp-client-2025-11-20";

/// The value of the header; `None` where nothing needs it.
pub(super) fn header(ask: &Ask) -> Option<String> {
    let mut all: Vec<String> =
        ask.extras.get("betas").and_then(|betas| betas.read::<Vec<String>>()).unwrap_or_default();
    let mut add = |beta: &str| {
        if !all.iter().any(|known| known == beta) {
            all.push(beta.to_owned());
        }
    };
    let mut has_toolset = false;
    for tool in &ask.tools {
        let ToolKind::Hosted { format: Format::Anthropic, value } = &tool.kind else { continue };
        for (kind, beta) in TOOLS {
            if value.as_str().contains(kind) {
                add(beta);
                has_toolset |= beta == MCP_TOOLSET;
            }
        }
    }
    for (name, value) in ask.extras.of(Format::Anthropic) {
        for (field, piece, beta) in FIELDS {
            let is_replaced = has_toolset && field == "mcp_servers";
            if name == field && !is_replaced && value.as_str().contains(piece) {
                add(beta);
            }
        }
    }
    let mut parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    if parts.any(has_file) {
        add("files-api-2025-04-14");
    }
    for turn in ask.turns.iter().filter(|turn| turn.is_system()) {
        let changes = |part: &Part| matches!(part.content, Content::Foreign { .. });
        if turn.parts.iter().any(changes) {
            add("mid-conversation-tool-changes-2026-07-01");
        }
        for (name, _) in turn.extras.of(Format::Anthropic) {
            match name.as_str() {
                "clear_at" => add("mid-conversation-system-clear-at-2026-08-21"),
                "output_config" => add("mid-conversation-output-config-2026-07-01"),
                _ => {}
            }
        }
    }
    (!all.is_empty()).then(|| all.join(","))
}

fn has_file(part: &Part) -> bool {
    match &part.content {
        Content::Media(media) => matches!(media.source, Source::FileId { .. }),
        Content::Foreign { format: Format::Anthropic, value } => {
            value.as_str().contains("container_upload")
        }
        Content::ToolResult(result) => result.parts.iter().any(|part| match &part.content {
            Content::Media(media) => matches!(media.source, Source::FileId { .. }),
            _ => false,
        }),
        _ => false,
    }
}
