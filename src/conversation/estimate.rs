//! How many tokens a request is likely to be, where no provider can be asked. It is a guess and wants to be a
//! little high: Claude Code compacts a conversation by it, and too late is worse than too early.
//!
//! - Text: four ASCII characters a token, which is what English and code come to; of all other characters
//!   three in two tokens (most of Chinese and Japanese is one or less, accents and emoji are more).
//! - A picture: 1,600, the most that Anthropic counts for one; a file's pages cannot be told, so a token
//!   for every 30 bytes of it, and 1,500 at least; sound and film: a token for every 200 bytes.
//! - Each turn: 4 for its frame. Each tool: its name, description and schema, and 12; any tool at all: 300 more,
//!   for the instructions that providers add.

use super::served::Served;
use super::{Ask, Content, Json, Media, MediaKind, Part, Source, Tool, ToolKind};

/// The tokens of a request; at least 1.
pub fn estimate_tokens(ask: &Ask) -> u64 {
    let turns = ask.turns.iter().map(|turn| 4 + parts(&turn.parts)).sum::<u64>();
    let tools = ask.tools.iter().map(tool).sum::<u64>();
    let preamble = if ask.tools.is_empty() { 0 } else { 300 };
    (turns + tools + preamble).max(1)
}

fn parts(parts: &[Part]) -> u64 {
    parts.iter().map(part).sum()
}

fn part(part: &Part) -> u64 {
    match &part.content {
        Content::Text { text: words, .. } | Content::Refusal(words) => text(words),
        Content::Media(media) => medium(media),
        // A seal holds the thoughts themselves where they are not shown.
        Content::Reasoning(reasoning) => {
            let shown = text(&reasoning.text);
            let seal = reasoning.seal.as_ref().filter(|_| shown == 0);
            shown + seal.map_or(0, |seal| length(&seal.data) / 8)
        }
        Content::ToolCall(call) => 8 + text(&call.name) + text(&call.arguments),
        Content::ToolResult(result) => 8 + parts(&result.parts),
        Content::Served(served) => match &**served {
            Served::Call(call) => {
                let outcome = call.outcome.as_ref();
                16 + text(&call.name)
                    + text(&call.arguments)
                    + outcome.map_or(0, |outcome| parts(&outcome.parts))
            }
            Served::Tools(_) | Served::Approval(_) | Served::Answer(_) => 0,
        },
        Content::Foreign { value, .. } => json(value),
    }
}

/// The tokens of a function's definition.
pub fn function_tokens(name: &str, description: Option<&str>, schema: &Json) -> u64 {
    definition(name, description, json(schema))
}

fn definition(name: &str, description: Option<&str>, shape: u64) -> u64 {
    12 + text(name) + description.map_or(0, text) + shape
}

fn tool(tool: &Tool) -> u64 {
    let shape = match &tool.kind {
        ToolKind::Function { schema, .. } => schema.as_ref().map_or(0, json),
        ToolKind::Custom { format } => format.as_ref().map_or(0, json),
        ToolKind::LocalShell { value }
        | ToolKind::ApplyPatch { value }
        | ToolKind::ToolSearch { value }
        | ToolKind::Hosted { value, .. } => json(value),
    };
    definition(&tool.name, tool.description.as_deref(), shape)
}

fn medium(media: &Media) -> u64 {
    let bytes = match &media.source {
        Source::Text(words) => return text(words),
        Source::Base64 { data, .. } => length(data) / 4 * 3,
        Source::Url(_) | Source::FileId { .. } => 0,
    };
    match media.kind {
        MediaKind::Image => 1600,
        MediaKind::Document => (bytes / 30).max(1500),
        MediaKind::Audio | MediaKind::Video => (bytes / 200).max(100),
    }
}

fn json(json: &Json) -> u64 {
    text(json.as_str())
}

fn text(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().count().saturating_sub(ascii);
    let [ascii, others] = [ascii, others].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    ascii.div_ceil(4).saturating_add(others.saturating_mul(2).div_ceil(3))
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Role, Turn};
    use super::*;

    #[track_caller]
    fn check(parts: Vec<Part>, expected: u64) {
        let mut ask = Ask::new(Format::Anthropic);
        ask.turns.push(Turn::new(Role::User, parts));
        assert_eq!(estimate_tokens(&ask), expected);
    }

    #[test]
    fn guesses_are_near() {
        assert_eq!(estimate_tokens(&Ask::new(Format::Anthropic)), 1);
        check(vec![Part::text("The quick brown fox jumps over the lazy dog.")], 15);
        check(vec![Part::text("日本語の文章です")], 10);
        let source = Source::Base64 { media_type: "image/png".into(), data: "A".repeat(9000) };
        let media = Media { kind: MediaKind::Image, source, name: None, detail: None };
        check(vec![Part::new(Content::Media(media))], 1604);
    }
}
