//! A request in a few lines, for tests to compare.

use crate::conversation::{Ask, Content, Media, Part, Role, Source, Tool, ToolKind};

/// One line a turn.
pub(super) fn outline(ask: &Ask) -> Vec<String> {
    let role = |role| match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let turns = ask.turns.iter().map(|turn| {
        let parts: Vec<String> = turn.parts.iter().map(part).collect();
        format!("{}: {}", role(turn.role), parts.join(" | "))
    });
    turns.collect()
}

pub(super) fn part(part: &Part) -> String {
    match &part.content {
        Content::Served(served) => format!("{served:?}"),
        Content::Text { text, .. } => text.clone(),
        Content::Refusal(text) => format!("refusal {text}"),
        Content::Media(media) => self::media(media),
        Content::Reasoning(thought) => {
            let seal = thought.seal.as_ref();
            let seal = seal.map(|seal| format!("{}:{}", seal.format.as_str(), seal.data));
            let id = thought.id.as_deref().unwrap_or("-");
            format!("thought {id} {:?} {:?} {seal:?}", thought.text, thought.summary)
        }
        Content::ToolCall(call) => {
            let namespace = call.namespace.as_deref().unwrap_or("-");
            let seal = if call.seal.is_some() { " sealed" } else { "" };
            format!(
                "{:?} {} {} {namespace}/{} {}{seal}",
                call.kind,
                call.item_id.as_deref().unwrap_or("-"),
                call.id,
                call.name,
                call.arguments
            )
        }
        Content::ToolResult(result) => {
            let parts: Vec<String> = result.parts.iter().map(self::part).collect();
            let error = if result.is_error { " error" } else { "" };
            format!("{:?} result {}{error} [{}]", result.kind, result.call_id, parts.join(", "))
        }
        Content::Foreign { value, .. } => {
            format!("foreign {}", value.to_value()["type"].as_str().unwrap_or_default())
        }
    }
}

pub(super) fn media(media: &Media) -> String {
    let source = match &media.source {
        Source::Base64 { media_type, data } => format!("{media_type} {data}"),
        Source::Url(url) => url.clone(),
        Source::FileId { id, .. } => format!("file {id}"),
        Source::Text(text) => text.clone(),
    };
    format!("{:?} {source} {:?} {:?}", media.kind, media.name, media.detail)
}

pub(super) fn tool(tool: &Tool) -> String {
    let namespace = tool.namespace.as_deref().unwrap_or("-");
    let kind = match &tool.kind {
        ToolKind::Function { strict, .. } => format!("function {strict:?}"),
        ToolKind::Custom { .. } => "custom".into(),
        ToolKind::LocalShell { .. } => "local shell".into(),
        ToolKind::ApplyPatch { .. } => "apply patch".into(),
        ToolKind::ToolSearch { .. } => "tool search".into(),
        ToolKind::Hosted { .. } => "hosted".into(),
    };
    format!("{namespace}/{} {kind}", tool.name)
}

pub(super) fn tools(ask: &Ask) -> Vec<String> {
    ask.tools.iter().map(tool).collect()
}
