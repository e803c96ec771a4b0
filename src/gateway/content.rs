//! What was said in a request, for spans that are to hold it: the bodies that were kept, read in the client's format and told
//! in the words of OpenTelemetry's conventions. Bounded part by part, so that what is cut is still JSON.
//! <https://github.com/open-telemetry/semantic-conventions-genai>

use bytes::Bytes;
use serde_json::{Value, json};

use super::endpoint::ENDPOINTS;
use crate::conversation::{
    Ask, Content as Said, Fold, MediaKind, Part, Reply, Role, Source, Tool, ToolKind,
};
use crate::entry::{Content, Entry, Payload};
use crate::wire::codec::{ClientHalf, ReplyContext};
use crate::wire::formats;
use crate::wire::framing::Frames;

/// The longest text of one part, in bytes.
const MAX_PART: usize = 8 * 1024;
/// The most of one request.
const MAX_ALL: usize = 64 * 1024;

/// What the kept bodies say; `None` where they are of no conversation, or were too long to be kept.
pub(super) fn of(entry: &Entry) -> Option<Content> {
    let payload = entry.payload.as_ref()?;
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.surface == entry.surface)?;
    let client = endpoint.client()?;
    let reply = reply(client, payload, entry.stream);
    let ask = (client.request)(&Bytes::copy_from_slice(&payload.request)).ok();
    Some(told(ask.as_ref().map(|(ask, _)| ask), reply.as_ref()))
}

/// The answer as it went out: the client's format is one that providers speak, too.
fn reply(client: &ClientHalf, payload: &Payload, stream: bool) -> Option<Reply> {
    let half = formats::provider(client.format)?;
    let mut context = ReplyContext::default();
    if !stream {
        return (half.reply)(&payload.response, &mut context).ok();
    }
    let mut decoder = (half.stream)(context);
    let (mut events, mut frames) = (Vec::new(), Frames::new(half.framing));
    let bytes = Bytes::copy_from_slice(&payload.response);
    let _what_is_cut_short = frames.push(bytes, |frame| decoder.frame(frame, &mut events));
    decoder.end(&mut events);
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish().ok()
}

fn told(ask: Option<&Ask>, reply: Option<&Reply>) -> Content {
    let mut room = MAX_ALL;
    let output = reply.map(|reply| answers(reply, &mut room)).unwrap_or_default();
    let Some(ask) = ask else { return Content { output, ..Content::default() } };
    let is_system = |role| matches!(role, Role::System | Role::Developer);
    let (system, others): (Vec<_>, Vec<_>) = ask.turns.iter().partition(|it| is_system(it.role));
    let system = list(system.iter().flat_map(|turn| parts(&turn.parts, &mut room)).collect());
    // What was said last matters most.
    let mut turns: Vec<Value> = Vec::new();
    for turn in others.iter().rev() {
        let parts = parts(&turn.parts, &mut room);
        if parts.is_empty() && !turn.parts.is_empty() {
            break;
        }
        let role = match turn.role {
            Role::Assistant => "assistant",
            _ if turn.parts.iter().all(|it| matches!(it.content, Said::ToolResult(_))) => "tool",
            _ => "user",
        };
        turns.push(json!({ "role": role, "parts": parts }));
    }
    turns.reverse();
    let tools = ask.tools.iter().filter_map(|tool| definition(tool, &mut room)).collect();
    Content { system, input: list(turns), output, tools: list(tools) }
}

fn list(values: Vec<Value>) -> String {
    if values.is_empty() { String::new() } else { Value::Array(values).to_string() }
}

fn answers(reply: &Reply, room: &mut usize) -> String {
    let answers = reply.choices.iter().map(|choice| {
        let finish = choice.finish.as_ref().map(crate::wire::tap::finish_word);
        let finish = finish.unwrap_or_else(|| "error".to_owned());
        json!({ "role": "assistant", "parts": parts(&choice.parts, room), "finish_reason": finish })
    });
    list(answers.collect())
}

/// As many parts as there is room for.
fn parts(parts: &[Part], room: &mut usize) -> Vec<Value> {
    parts.iter().filter_map(|part| told_part(part, room)).collect()
}

fn told_part(part: &Part, room: &mut usize) -> Option<Value> {
    Some(match &part.content {
        Said::Text { text, .. } | Said::Refusal(text) => {
            json!({ "type": "text", "content": cut(text, room)? })
        }
        Said::Reasoning(thought) => {
            let text = if thought.text.is_empty() {
                thought.summary.join("\n")
            } else {
                thought.text.clone()
            };
            if text.is_empty() {
                return None;
            }
            json!({ "type": "reasoning", "content": cut(&text, room)? })
        }
        Said::ToolCall(call) => {
            let arguments = cut(&call.arguments, room)?;
            let arguments = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments })
        }
        Said::ToolResult(result) => {
            let texts: Vec<&str> = result.parts.iter().filter_map(Part::as_text).collect();
            let text = cut(&texts.join("\n"), room)?;
            json!({ "type": "tool_call_response", "id": result.call_id, "response": text })
        }
        // The bytes themselves stay here.
        Said::Media(media) => {
            let modality = match media.kind {
                MediaKind::Image => "image",
                MediaKind::Audio => "audio",
                MediaKind::Video => "video",
                MediaKind::Document => "document",
            };
            match &media.source {
                Source::Url(url) => {
                    json!({ "type": "uri", "modality": modality, "uri": cut(url, room)? })
                }
                Source::FileId { id, .. } => {
                    json!({ "type": "file", "modality": modality, "file_id": id })
                }
                Source::Base64 { media_type, .. } => {
                    json!({ "type": "blob", "modality": modality, "mime_type": media_type })
                }
                Source::Text(text) => json!({ "type": "text", "content": cut(text, room)? }),
            }
        }
        Said::Served(_) | Said::Foreign { .. } => return None,
    })
}

fn definition(tool: &Tool, room: &mut usize) -> Option<Value> {
    let ToolKind::Function { schema, .. } = &tool.kind else {
        return Some(json!({ "type": "function", "name": tool.name }));
    };
    let schema = schema.as_ref().map(|schema| cut(schema.as_str(), room)).unwrap_or_default();
    let schema: Option<Value> = schema.and_then(|text| serde_json::from_str(&text).ok());
    let description = tool.description.as_deref().and_then(|text| cut(text, room));
    Some(json!({
        "type": "function", "name": tool.name, "description": description, "parameters": schema,
    }))
}

/// As much of a text as one part may have; `None` where all room is used up.
fn cut(text: &str, room: &mut usize) -> Option<String> {
    if *room == 0 {
        return None;
    }
    let most = MAX_PART.min(*room);
    let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    *room = if text.len() > *room { 0 } else { *room - kept.len() };
    Some(if kept.len() < text.len() { format!("{kept}…") } else { kept.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: &Value, response: &[u8], surface: &'static str, stream: bool) -> Content {
        let payload = Payload {
            request: request.to_string().into_bytes(),
            response: response.to_vec(),
            ..Payload::default()
        };
        let entry = Entry { payload: Some(payload), surface, stream, ..Entry::default() };
        of(&entry).expect("a conversation")
    }

    #[test]
    fn every_format_is_told_alike() {
        let answer = json!({ "id": "a", "model": "m", "choices": [{ "index": 0,
            "message": { "role": "assistant", "content": "Hi." }, "finish_reason": "stop" }] });
        let chat = read(
            &json!({ "model": "m", "messages": [
                { "role": "system", "content": "Be kind." }, { "role": "user", "content": "Hello" }] }),
            answer.to_string().as_bytes(),
            "/v1/chat/completions",
            false,
        );
        assert_eq!(chat.system, r#"[{"type":"text","content":"Be kind."}]"#);
        assert_eq!(chat.input, r#"[{"role":"user","parts":[{"type":"text","content":"Hello"}]}]"#);
        assert_eq!(
            chat.output,
            r#"[{"role":"assistant","parts":[{"type":"text","content":"Hi."}],"finish_reason":"stop"}]"#
        );
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":\
             {\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
             {\"type\":\"text_delta\",\"text\":\"Hi.\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
             \"usage\":{\"output_tokens\":2}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        let messages = read(
            &json!({ "model": "m", "max_tokens": 9, "stream": true, "system": "Be kind.",
                "messages": [{ "role": "user", "content": "Hello" }] }),
            stream.as_bytes(),
            "/v1/messages",
            true,
        );
        assert_eq!(messages, chat);
    }

    #[test]
    fn what_is_too_long_is_cut_and_still_json() {
        let long = "é\"".repeat(MAX_PART);
        let turn = json!({ "role": "user", "content": long });
        let messages: Vec<Value> = (0..40).map(|_| turn.clone()).collect();
        let request = json!({ "model": "m", "messages": messages });
        let content = read(&request, b"{}", "/v1/chat/completions", false);
        let turns: Value = serde_json::from_str(&content.input).expect("JSON");
        let turns = turns.as_array().expect("a list");
        assert!((7..=9).contains(&turns.len()), "{}", turns.len());
        for turn in turns {
            let text = turn["parts"][0]["content"].as_str().expect("text");
            assert!(text.len() <= MAX_PART + 3 && text.ends_with('…'));
        }
    }
}
