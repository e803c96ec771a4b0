//! What providers answer: one answer of text and a call, whole, and as a stream of 500 chunks, in each format
//! that providers speak, with the fields that they send beside the answer itself. It must not know clients.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate::conversation::Format;

/// Formats that providers speak, with the prefix of a model behind each.
pub(crate) const PROVIDERS: [(Format, &str); 7] = [
    (Format::OpenAiChat, "hosted_vllm"),
    (Format::OpenAiResponses, "openai"),
    (Format::Anthropic, "anthropic"),
    (Format::Gemini, "gemini"),
    (Format::Bedrock, "bedrock"),
    (Format::Ollama, "ollama_chat"),
    (Format::Cohere, "cohere"),
];

/// The provider's name for its model, which some formats judge its abilities by.
pub(crate) fn model(format: Format) -> &'static str {
    match format {
        Format::Anthropic => "claude-sonnet-4-5",
        Format::Gemini => "gemini-2.5-pro",
        Format::Bedrock => "anthropic.claude-sonnet-4-5-20250929-v1:0",
        _ => "upstream",
    }
}

/// Chunks of text in a stream; what stands around them is told apart, and not counted.
pub(crate) const CHUNKS: usize = 500;

const ID: &str = "0f9c1d27b4e58a3c";
const WORD: &str = " harbour’s \"depth\"";
const TOOL: &str = "tool_3";
const CALL: &str = "call_55a9f3c1d27b4e58";
const ARGUMENTS: &str = "{\"path\":\"src/lib.rs\",\"line\":7}";

/// What a provider calls its answer.
pub(crate) fn content_type(format: Format, streamed: bool) -> &'static str {
    match (format, streamed) {
        (_, false) => "application/json",
        (Format::Bedrock, true) => "application/vnd.amazon.eventstream",
        (Format::Ollama, true) => "application/x-ndjson",
        (_, true) => "text/event-stream",
    }
}

/// A whole answer: two KiB of text and a call.
pub(crate) fn whole(format: Format) -> Bytes {
    let text = WORD.repeat(100);
    let input: Value = serde_json::from_str(ARGUMENTS).unwrap_or_default();
    let value = match format {
        Format::OpenAiChat => json!({ "id": ID, "object": "chat.completion", "created": 1763683200,
            "model": "upstream", "choices": [{ "index": 0, "message": { "role": "assistant",
                "content": text, "refusal": null, "tool_calls": [{ "id": CALL, "type": "function",
                "function": { "name": TOOL, "arguments": ARGUMENTS } }] }, "logprobs": null,
                "finish_reason": "tool_calls" }],
            "usage": { "prompt_tokens": 4000, "completion_tokens": 520, "total_tokens": 4520 } }),
        Format::OpenAiResponses => response("completed", &items(&text)),
        Format::Anthropic => json!({ "id": ID, "type": "message", "role": "assistant",
            "model": "upstream", "content": [{ "type": "text", "text": text },
                { "type": "tool_use", "id": CALL, "name": TOOL, "input": input }],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": { "input_tokens": 4000, "output_tokens": 520 } }),
        Format::Gemini => json!({ "candidates": [{ "content": { "role": "model", "parts": [
                { "text": text }, { "functionCall": { "name": TOOL, "args": input } }] },
                "finishReason": "STOP", "index": 0 }],
            "usageMetadata": { "promptTokenCount": 4000, "candidatesTokenCount": 520,
                "totalTokenCount": 4520 }, "modelVersion": "upstream", "responseId": ID }),
        Format::Bedrock => json!({ "output": { "message": { "role": "assistant", "content": [
                { "text": text }, { "toolUse": { "toolUseId": CALL, "name": TOOL, "input": input } }
            ] } }, "stopReason": "tool_use", "metrics": { "latencyMs": 551 },
            "usage": { "inputTokens": 4000, "outputTokens": 520, "totalTokens": 4520 } }),
        Format::Ollama => json!({ "model": "upstream", "created_at": "2026-11-21T00:00:00.1Z",
            "message": { "role": "assistant", "content": text, "tool_calls": [
                { "id": CALL, "function": { "name": TOOL, "arguments": input } }] },
            "done": true, "done_reason": "stop", "total_duration": 551_000_000_u64,
            "prompt_eval_count": 4000, "eval_count": 520 }),
        Format::Cohere => json!({ "id": ID, "finish_reason": "TOOL_CALL", "message": {
                "role": "assistant", "content": [{ "type": "text", "text": text }],
                "tool_calls": [{ "id": CALL, "type": "function",
                    "function": { "name": TOOL, "arguments": ARGUMENTS } }] },
            "usage": { "billed_units": { "input_tokens": 4000, "output_tokens": 520 },
                "tokens": { "input_tokens": 4000, "output_tokens": 520 } } }),
    };
    Bytes::from(value.to_string())
}

/// A stream, frame by frame: [`CHUNKS`] chunks of text, a call, and what ends it.
pub(crate) fn stream(format: Format) -> Vec<Bytes> {
    match format {
        Format::OpenAiChat => chat(),
        Format::OpenAiResponses => responses(),
        Format::Anthropic => anthropic(),
        Format::Gemini => gemini(),
        Format::Bedrock => bedrock(),
        Format::Ollama => ollama(),
        Format::Cohere => cohere(),
    }
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn event(value: &Value) -> Bytes {
    let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}

fn repeated(head: Vec<Bytes>, chunk: &Bytes, tail: Vec<Bytes>) -> Vec<Bytes> {
    head.into_iter().chain(std::iter::repeat_n(chunk.clone(), CHUNKS)).chain(tail).collect()
}

fn chat() -> Vec<Bytes> {
    let chunk = |delta: Value, finish: Value| {
        data(&json!({ "id": ID, "object": "chat.completion.chunk", "created": 1763683200,
            "model": "upstream", "choices": [{ "index": 0, "delta": delta, "logprobs": null,
                "finish_reason": finish }] }))
    };
    let call = json!({ "tool_calls": [{ "index": 0, "id": CALL, "type": "function",
        "function": { "name": TOOL, "arguments": ARGUMENTS } }] });
    let usage = json!({ "id": ID, "object": "chat.completion.chunk", "created": 1763683200,
        "model": "upstream", "choices": [],
        "usage": { "prompt_tokens": 4000, "completion_tokens": 520, "total_tokens": 4520 } });
    repeated(
        vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)],
        &chunk(json!({ "content": WORD }), Value::Null),
        vec![
            chunk(call, Value::Null),
            chunk(json!({}), json!("tool_calls")),
            data(&usage),
            Bytes::from_static(b"data: [DONE]\n\n"),
        ],
    )
}

fn items(text: &str) -> [Value; 2] {
    [
        json!({ "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }] }),
        json!({ "id": "fc_1", "type": "function_call", "status": "completed", "call_id": CALL,
            "name": TOOL, "arguments": ARGUMENTS }),
    ]
}

fn response(status: &str, output: &[Value]) -> Value {
    json!({ "id": format!("resp_{ID}"), "object": "response", "created_at": 1763683200,
        "status": status, "error": null, "incomplete_details": null, "model": "upstream",
        "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": { "input_tokens": 4000, "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": 520, "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": 4520 } })
}

fn responses() -> Vec<Bytes> {
    let text = WORD.repeat(CHUNKS);
    let done = items(&text);
    let [message, call] = &done;
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    let delta = json!({ "type": "response.output_text.delta", "sequence_number": 4,
        "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": WORD, "logprobs": [] });
    repeated(
        vec![
            event(&json!({ "type": "response.created", "sequence_number": 0,
                "response": response("in_progress", &[]) })),
            event(&json!({ "type": "response.output_item.added", "sequence_number": 1,
                "output_index": 0, "item": { "id": "msg_1", "type": "message",
                    "status": "in_progress", "role": "assistant", "content": [] } })),
            event(&json!({ "type": "response.content_part.added", "sequence_number": 2,
                "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part("") })),
        ],
        &event(&delta),
        vec![
            event(&json!({ "type": "response.output_text.done", "sequence_number": 504,
                "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text,
                "logprobs": [] })),
            event(&json!({ "type": "response.content_part.done", "sequence_number": 505,
                "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part(&text) })),
            event(&json!({ "type": "response.output_item.done", "sequence_number": 506,
                "output_index": 0, "item": message })),
            event(&json!({ "type": "response.output_item.added", "sequence_number": 507,
                "output_index": 1, "item": { "id": "fc_1", "type": "function_call",
                    "status": "in_progress", "call_id": CALL, "name": TOOL, "arguments": "" } })),
            event(&json!({ "type": "response.function_call_arguments.delta",
                "sequence_number": 508, "item_id": "fc_1", "output_index": 1, "delta": ARGUMENTS })),
            event(&json!({ "type": "response.function_call_arguments.done",
                "sequence_number": 509, "item_id": "fc_1", "output_index": 1,
                "arguments": ARGUMENTS })),
            event(&json!({ "type": "response.output_item.done", "sequence_number": 510,
                "output_index": 1, "item": call })),
            event(&json!({ "type": "response.completed", "sequence_number": 511,
                "response": response("completed", &done) })),
        ],
    )
}

fn anthropic() -> Vec<Bytes> {
    let delta = |index: u8, delta: Value| {
        event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
    };
    let start = |index: u8, block: Value| {
        event(&json!({ "type": "content_block_start", "index": index, "content_block": block }))
    };
    let stop = |index: u8| event(&json!({ "type": "content_block_stop", "index": index }));
    repeated(
        vec![
            event(&json!({ "type": "message_start", "message": { "id": ID, "type": "message",
                "role": "assistant", "model": "upstream", "content": [], "stop_reason": null,
                "stop_sequence": null, "usage": { "input_tokens": 4000, "output_tokens": 1 } } })),
            start(0, json!({ "type": "text", "text": "" })),
        ],
        &delta(0, json!({ "type": "text_delta", "text": WORD })),
        vec![
            stop(0),
            start(1, json!({ "type": "tool_use", "id": CALL, "name": TOOL, "input": {} })),
            delta(1, json!({ "type": "input_json_delta", "partial_json": ARGUMENTS })),
            stop(1),
            event(&json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use",
                "stop_sequence": null }, "usage": { "output_tokens": 520 } })),
            event(&json!({ "type": "message_stop" })),
        ],
    )
}

fn gemini() -> Vec<Bytes> {
    let input: Value = serde_json::from_str(ARGUMENTS).unwrap_or_default();
    let chunk = |part: Value, finish: Option<&str>| {
        let mut candidate = json!({ "content": { "role": "model", "parts": [part] }, "index": 0 });
        if let (Some(finish), Some(candidate)) = (finish, candidate.as_object_mut()) {
            candidate.insert("finishReason".into(), json!(finish));
        }
        data(&json!({ "candidates": [candidate], "usageMetadata": { "promptTokenCount": 4000,
            "candidatesTokenCount": 520, "totalTokenCount": 4520 }, "modelVersion": "upstream",
            "responseId": ID }))
    };
    repeated(
        Vec::new(),
        &chunk(json!({ "text": WORD }), None),
        vec![chunk(json!({ "functionCall": { "name": TOOL, "args": input } }), Some("STOP"))],
    )
}

/// A message of Amazon's framing (<https://smithy.io/2.0/aws/amazon-eventstream.html>).
fn amazon(name: &str, value: &Value) -> Bytes {
    let mut headers = Vec::new();
    let all =
        [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    for (name, value) in all {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = value.to_string();
    let total = (12 + headers.len() + payload.len() + 4) as u32;
    let mut message = total.to_be_bytes().to_vec();
    message.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    Bytes::from(message)
}

fn bedrock() -> Vec<Bytes> {
    // Amazon pads its events so that their length says nothing of the text.
    const PADDING: &str = "abcdefghijklmnopqrstu";
    let delta = |index: u8, delta: Value| {
        amazon(
            "contentBlockDelta",
            &json!({ "contentBlockIndex": index, "delta": delta, "p": PADDING }),
        )
    };
    let stop = |index: u8| {
        amazon("contentBlockStop", &json!({ "contentBlockIndex": index, "p": PADDING }))
    };
    let call = json!({ "contentBlockIndex": 1, "p": PADDING,
        "start": { "toolUse": { "toolUseId": CALL, "name": TOOL } } });
    repeated(
        vec![amazon("messageStart", &json!({ "role": "assistant", "p": PADDING }))],
        &delta(0, json!({ "text": WORD })),
        vec![
            stop(0),
            amazon("contentBlockStart", &call),
            delta(1, json!({ "toolUse": { "input": ARGUMENTS } })),
            stop(1),
            amazon("messageStop", &json!({ "stopReason": "tool_use", "p": PADDING })),
            amazon(
                "metadata",
                &json!({ "usage": { "inputTokens": 4000, "outputTokens": 520, "totalTokens": 4520 },
                    "metrics": { "latencyMs": 551 }, "p": PADDING }),
            ),
        ],
    )
}

fn ollama() -> Vec<Bytes> {
    let input: Value = serde_json::from_str(ARGUMENTS).unwrap_or_default();
    let line = |value: Value| Bytes::from(format!("{value}\n"));
    let chunk = |message: Value| {
        line(json!({ "model": "upstream", "created_at": "2026-11-21T00:00:00.123456789Z",
            "message": message, "done": false }))
    };
    repeated(
        Vec::new(),
        &chunk(json!({ "role": "assistant", "content": WORD })),
        vec![
            chunk(json!({ "role": "assistant", "content": "", "tool_calls": [
                { "id": CALL, "function": { "name": TOOL, "arguments": input } }] })),
            line(json!({ "model": "upstream", "created_at": "2026-11-21T00:00:01.1Z",
                "message": { "role": "assistant", "content": "" }, "done": true,
                "done_reason": "stop", "total_duration": 551_000_000_u64,
                "prompt_eval_count": 4000, "eval_count": 520 })),
        ],
    )
}

fn cohere() -> Vec<Bytes> {
    let content = |kind: &str, text: &str| {
        event(&json!({ "type": kind, "index": 0, "delta": { "message": { "content":
            { "type": "text", "text": text } } } }))
    };
    let call = |kind: &str, call: Value| {
        event(&json!({ "type": kind, "index": 0, "delta": { "message": { "tool_calls": call } } }))
    };
    repeated(
        vec![
            event(&json!({ "type": "message-start", "id": ID, "delta": { "message": {
                "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                "citations": [] } } })),
            content("content-start", ""),
        ],
        &content("content-delta", WORD),
        vec![
            event(&json!({ "type": "content-end", "index": 0 })),
            call(
                "tool-call-start",
                json!({ "id": CALL, "type": "function",
                "function": { "name": TOOL, "arguments": "" } }),
            ),
            call("tool-call-delta", json!({ "function": { "arguments": ARGUMENTS } })),
            event(&json!({ "type": "tool-call-end", "index": 0 })),
            event(&json!({ "type": "message-end", "delta": { "finish_reason": "TOOL_CALL",
                "usage": { "billed_units": { "input_tokens": 4000, "output_tokens": 520 },
                    "tokens": { "input_tokens": 4000, "output_tokens": 520 } } } })),
        ],
    )
}
