//! The seven formats of providers as scripts: the same small answer in each, whole and streamed, so that one
//! test can go over all of them. What the answer says stands in `TEXT` and `THOUGHT`, what it cost in
//! `Provider::tokens`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::upstream::{self, Step, chunk, last_chunk};

pub(crate) const TEXT: &str = "Hello w\u{f6}rld \u{1F642}";
pub(crate) const THOUGHT: &str = "hm \u{e9}";
/// The key that every scripted provider is shown.
pub(crate) const SECRET: &str = "sk-upstream-0123456789";

const PARTS: [&str; 2] = ["Hello w", "\u{f6}rld \u{1F642}"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Chat,
    Responses,
    Anthropic,
    Gemini,
    Bedrock,
    Ollama,
    Cohere,
}

/// What a row should hold of the scripted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cache_read: Option<i64>,
    pub(crate) cache_write: Option<i64>,
    pub(crate) reasoning: Option<i64>,
}

impl Provider {
    pub(crate) const ALL: [Self; 7] = [
        Self::Chat,
        Self::Responses,
        Self::Anthropic,
        Self::Gemini,
        Self::Bedrock,
        Self::Ollama,
        Self::Cohere,
    ];

    /// The `model_name` in [`config`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
        }
    }

    /// The provider's own format as the row's lane says it of a client of that format.
    pub(crate) fn params(self, address: SocketAddr) -> String {
        let at = |model: &str, path: &str| {
            format!("model: {model}, api_base: \"http://{address}{path}\", api_key: {SECRET}")
        };
        match self {
            Self::Chat => at("openai/up", "/v1") + ", use_chat_completions_api: true",
            Self::Responses => at("openai/responses/up", "/v1"),
            Self::Anthropic => at("anthropic/claude-sonnet-4-5", ""),
            Self::Gemini => at("gemini/gemini-2.5-flash", ""),
            Self::Bedrock => format!(
                "model: \"bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0\", api_key: {SECRET}, \
                 aws_region_name: eu-central-1, aws_bedrock_runtime_endpoint: \"http://{address}\""
            ),
            Self::Ollama => at("\"ollama_chat/qwen3:8b\"", ""),
            Self::Cohere => at("cohere/command-a-03-2025", ""),
        }
    }

    pub(crate) fn tokens(self) -> Tokens {
        let none =
            Tokens { input: 11, output: 7, cache_read: None, cache_write: None, reasoning: None };
        match self {
            Self::Chat | Self::Responses | Self::Gemini => {
                Tokens { cache_read: Some(5), reasoning: Some(3), ..none }
            }
            Self::Anthropic | Self::Bedrock => {
                Tokens { cache_read: Some(5), cache_write: Some(2), ..none }
            }
            Self::Ollama | Self::Cohere => none,
        }
    }

    /// The whole answer.
    pub(crate) fn whole(self) -> String {
        let body = match self {
            Self::Chat => json!({
                "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
                "choices": [{ "index": 0, "finish_reason": "stop", "message": {
                    "role": "assistant", "content": TEXT, "reasoning_content": THOUGHT,
                } }],
                "usage": chat_usage(),
            }),
            Self::Responses => response("completed", json!([reasoning_item(), message_item()])),
            Self::Anthropic => json!({
                "id": "msg_up", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
                "content": [
                    { "type": "thinking", "thinking": THOUGHT, "signature": "c2lnbmVk" },
                    { "type": "text", "text": TEXT },
                ],
                "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {
                    "input_tokens": 4, "cache_read_input_tokens": 5,
                    "cache_creation_input_tokens": 2, "output_tokens": 7,
                },
            }),
            Self::Gemini => json!({
                "candidates": [{ "index": 0, "finishReason": "STOP", "content": {
                    "role": "model",
                    "parts": [{ "text": THOUGHT, "thought": true }, { "text": TEXT }],
                } }],
                "usageMetadata": gemini_usage(), "modelVersion": "gemini-2.5-flash",
                "responseId": "up",
            }),
            Self::Bedrock => json!({
                "output": { "message": { "role": "assistant", "content": [
                    { "reasoningContent": { "reasoningText": {
                        "text": THOUGHT, "signature": "c2lnbmVk",
                    } } },
                    { "text": TEXT },
                ] } },
                "stopReason": "end_turn", "usage": bedrock_usage(), "metrics": { "latencyMs": 1 },
            }),
            Self::Ollama => json!({
                "model": "qwen3:8b", "created_at": "2026-01-01T00:00:00Z",
                "message": { "role": "assistant", "content": TEXT, "thinking": THOUGHT },
                "done": true, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7,
            }),
            Self::Cohere => json!({
                "id": "up", "finish_reason": "COMPLETE",
                "message": { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": THOUGHT }, { "type": "text", "text": TEXT },
                ] },
                "usage": cohere_usage(),
            }),
        };
        body.to_string()
    }

    /// The streamed answer, event by event, each with its frame.
    pub(crate) fn events(self) -> Vec<Vec<u8>> {
        match self {
            Self::Chat => chat_events(),
            Self::Responses => responses_events(),
            Self::Anthropic => anthropic_events(),
            Self::Gemini => gemini_events(),
            Self::Bedrock => bedrock_events(),
            Self::Ollama => ollama_events(),
            Self::Cohere => cohere_events(),
        }
    }

    /// How many events may be missing at the end before the answer is no longer complete.
    pub(crate) fn complete_without(self) -> usize {
        match self {
            // `[DONE]` and the usage come after the chunk with the finish reason.
            Self::Chat => 2,
            // The counts come after `messageStop`.
            Self::Bedrock => 1,
            _ => 0,
        }
    }

    /// An error inside the stream.
    pub(crate) fn error_event(self, message: &str) -> Vec<u8> {
        match self {
            Self::Chat => data(
                &json!({ "error": { "message": message, "type": "server_error", "code": null } }),
            ),
            Self::Responses => named(&json!({
                "type": "response.failed", "sequence_number": 9,
                "response": {
                    "id": "resp_up", "object": "response", "status": "failed", "output": [],
                    "error": { "code": "server_error", "message": message },
                },
            })),
            Self::Anthropic => named(&json!({
                "type": "error", "error": { "type": "overloaded_error", "message": message },
            })),
            Self::Gemini => data(&json!({
                "error": { "code": 503, "message": message, "status": "UNAVAILABLE" },
            })),
            Self::Bedrock => amazon(
                &[(":message-type", "exception"), (":exception-type", "throttlingException")],
                &json!({ "message": message }),
            ),
            Self::Ollama => line(&json!({ "error": message })),
            Self::Cohere => named(&json!({
                "type": "message-end", "delta": { "error": message, "finish_reason": "ERROR" },
            })),
        }
    }

    pub(crate) fn stream_kind(self) -> &'static str {
        match self {
            Self::Bedrock => "application/vnd.amazon.eventstream",
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    pub(crate) fn stream_head(self) -> Step {
        head(self.stream_kind())
    }

    /// The answer as it was asked for.
    pub(crate) fn answer(self, stream: bool) -> Vec<Step> {
        if stream { streamed(self, &self.events()) } else { upstream::json(200, "", &self.whole()) }
    }

    /// Whether a request to this provider asks for a stream.
    pub(crate) fn wants_stream(self, seen: &upstream::Seen) -> bool {
        match self {
            Self::Gemini => seen.path.contains(":streamGenerateContent"),
            Self::Bedrock => seen.path.ends_with("/converse-stream"),
            _ => seen.json()["stream"] == true,
        }
    }
}

/// A configuration with one model for each provider, all at this address.
pub(crate) fn config(address: SocketAddr) -> String {
    let models = Provider::ALL.map(|provider| {
        let (name, params) = (provider.name(), provider.params(address));
        format!("- model_name: {name}\n  litellm_params: {{{params}}}\n")
    });
    let key = super::gateway::KEY;
    format!(
        "model_list:\n{}virtual_keys:\n- {{api_key: {key}, key_alias: tester, models: ['*']}}\n",
        models.concat()
    )
}

/// The provider that a request was sent to, by its path.
pub(crate) fn asked(seen: &upstream::Seen) -> Provider {
    let path = seen.path.as_str();
    if path.contains("/chat/completions") {
        Provider::Chat
    } else if path.contains("/responses") {
        Provider::Responses
    } else if path.contains("/v1/messages") {
        Provider::Anthropic
    } else if path.contains("enerateContent") {
        Provider::Gemini
    } else if path.contains("/model/") {
        Provider::Bedrock
    } else if path.contains("/api/chat") {
        Provider::Ollama
    } else if path.contains("/v2/chat") {
        Provider::Cohere
    } else {
        panic!("asked for {path}")
    }
}

/// Events as one streamed answer, to its proper end.
pub(crate) fn streamed(provider: Provider, events: &[Vec<u8>]) -> Vec<Step> {
    let mut steps = vec![provider.stream_head()];
    steps.extend(events.iter().map(|event| chunk(event)));
    steps.push(last_chunk());
    steps
}

pub(crate) fn head(kind: &str) -> Step {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    Step::Write(head.into_bytes())
}

fn chat_usage() -> Value {
    json!({
        "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
        "prompt_tokens_details": { "cached_tokens": 5 },
        "completion_tokens_details": { "reasoning_tokens": 3 },
    })
}

fn gemini_usage() -> Value {
    json!({
        "promptTokenCount": 11, "cachedContentTokenCount": 5, "candidatesTokenCount": 4,
        "thoughtsTokenCount": 3, "totalTokenCount": 18,
    })
}

fn bedrock_usage() -> Value {
    json!({
        "inputTokens": 4, "outputTokens": 7, "totalTokens": 18, "cacheReadInputTokens": 5,
        "cacheWriteInputTokens": 2,
    })
}

fn cohere_usage() -> Value {
    json!({ "tokens": { "input_tokens": 11.0, "output_tokens": 7.0 } })
}

fn reasoning_item() -> Value {
    json!({
        "id": "rs_up", "type": "reasoning", "status": "completed",
        "summary": [{ "type": "summary_text", "text": THOUGHT }], "encrypted_content": "gAAAA",
    })
}

fn message_item() -> Value {
    json!({
        "id": "msg_up", "type": "message", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": TEXT, "annotations": [], "logprobs": [] }],
    })
}

fn response(status: &str, output: Value) -> Value {
    let usage = json!({
        "input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
        "input_tokens_details": { "cached_tokens": 5 },
        "output_tokens_details": { "reasoning_tokens": 3 },
    });
    json!({
        "id": "resp_up", "object": "response", "created_at": 1, "model": "up", "status": status,
        "output": output, "usage": if status == "completed" { usage } else { Value::Null },
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {},
    })
}

fn chat_events() -> Vec<Vec<u8>> {
    let choice = |choices: Value| {
        json!({
            "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up",
            "choices": choices,
        })
    };
    let delta = |delta: Value| {
        data(&choice(json!([{ "index": 0, "delta": delta, "finish_reason": null }])))
    };
    let finish = choice(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]));
    let mut usage = choice(json!([]));
    usage["usage"] = chat_usage();
    vec![
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "reasoning_content": THOUGHT })),
        delta(json!({ "content": PARTS[0] })),
        delta(json!({ "content": PARTS[1] })),
        data(&finish),
        data(&usage),
        b"data: [DONE]\n\n".to_vec(),
    ]
}

fn responses_events() -> Vec<Vec<u8>> {
    let mut events = vec![
        json!({ "type": "response.created", "response": response("in_progress", json!([])) }),
        json!({ "type": "response.in_progress", "response": response("in_progress", json!([])) }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": {
            "id": "rs_up", "type": "reasoning", "summary": [],
        } }),
        json!({ "type": "response.reasoning_summary_part.added", "item_id": "rs_up",
            "output_index": 0, "summary_index": 0, "part": { "type": "summary_text", "text": "" } }),
        json!({ "type": "response.reasoning_summary_text.delta", "item_id": "rs_up",
            "output_index": 0, "summary_index": 0, "delta": THOUGHT }),
        json!({ "type": "response.reasoning_summary_text.done", "item_id": "rs_up",
            "output_index": 0, "summary_index": 0, "text": THOUGHT }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": reasoning_item() }),
        json!({ "type": "response.output_item.added", "output_index": 1, "item": {
            "id": "msg_up", "type": "message", "role": "assistant", "status": "in_progress",
            "content": [],
        } }),
        json!({ "type": "response.content_part.added", "item_id": "msg_up", "output_index": 1,
            "content_index": 0, "part": { "type": "output_text", "text": "", "annotations": [] } }),
    ];
    for part in PARTS {
        events.push(json!({ "type": "response.output_text.delta", "item_id": "msg_up",
            "output_index": 1, "content_index": 0, "delta": part, "logprobs": [] }));
    }
    events.extend([
        json!({ "type": "response.output_text.done", "item_id": "msg_up", "output_index": 1,
            "content_index": 0, "text": TEXT, "logprobs": [] }),
        json!({ "type": "response.output_item.done", "output_index": 1, "item": message_item() }),
        json!({ "type": "response.completed",
            "response": response("completed", json!([reasoning_item(), message_item()])) }),
    ]);
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        named(&event)
    });
    numbered.collect()
}

fn anthropic_events() -> Vec<Vec<u8>> {
    let delta = |index: u8, delta: Value| {
        named(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
    };
    let start = |index: u8, block: Value| {
        named(&json!({ "type": "content_block_start", "index": index, "content_block": block }))
    };
    let stop = |index: u8| named(&json!({ "type": "content_block_stop", "index": index }));
    vec![
        named(&json!({ "type": "message_start", "message": {
            "id": "msg_up", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {
                "input_tokens": 4, "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 2, "output_tokens": 1,
            },
        } })),
        start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": THOUGHT })),
        delta(0, json!({ "type": "signature_delta", "signature": "c2lnbmVk" })),
        stop(0),
        start(1, json!({ "type": "text", "text": "" })),
        delta(1, json!({ "type": "text_delta", "text": PARTS[0] })),
        delta(1, json!({ "type": "text_delta", "text": PARTS[1] })),
        stop(1),
        named(&json!({
            "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": 7 },
        })),
        named(&json!({ "type": "message_stop" })),
    ]
}

fn gemini_events() -> Vec<Vec<u8>> {
    let event = |part: Value, finish: Value| {
        data(&json!({
            "candidates": [{ "index": 0, "finishReason": finish, "content": {
                "role": "model", "parts": [part],
            } }],
            "usageMetadata": gemini_usage(), "modelVersion": "gemini-2.5-flash",
            "responseId": "up",
        }))
    };
    vec![
        event(json!({ "text": THOUGHT, "thought": true }), Value::Null),
        event(json!({ "text": PARTS[0] }), Value::Null),
        event(json!({ "text": PARTS[1] }), "STOP".into()),
    ]
}

fn bedrock_events() -> Vec<Vec<u8>> {
    let event = |kind: &str, payload: Value| {
        amazon(&[(":message-type", "event"), (":event-type", kind)], &payload)
    };
    let delta = |index: u8, delta: Value| {
        event("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta }))
    };
    let stop = |index: u8| event("contentBlockStop", json!({ "contentBlockIndex": index }));
    vec![
        event("messageStart", json!({ "role": "assistant" })),
        delta(0, json!({ "reasoningContent": { "text": THOUGHT } })),
        delta(0, json!({ "reasoningContent": { "signature": "c2lnbmVk" } })),
        stop(0),
        delta(1, json!({ "text": PARTS[0] })),
        delta(1, json!({ "text": PARTS[1] })),
        stop(1),
        event("messageStop", json!({ "stopReason": "end_turn" })),
        event("metadata", json!({ "usage": bedrock_usage(), "metrics": { "latencyMs": 1 } })),
    ]
}

fn ollama_events() -> Vec<Vec<u8>> {
    let event = |message: Value| {
        line(&json!({
            "model": "qwen3:8b", "created_at": "2026-01-01T00:00:00Z", "message": message,
            "done": false,
        }))
    };
    vec![
        event(json!({ "role": "assistant", "content": "", "thinking": THOUGHT })),
        event(json!({ "role": "assistant", "content": PARTS[0] })),
        event(json!({ "role": "assistant", "content": PARTS[1] })),
        line(&json!({
            "model": "qwen3:8b", "created_at": "2026-01-01T00:00:00Z",
            "message": { "role": "assistant", "content": "" }, "done": true,
            "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 7,
        })),
    ]
}

fn cohere_events() -> Vec<Vec<u8>> {
    let content = |kind: &str, index: u8, content: Value| {
        named(&json!({
            "type": kind, "index": index, "delta": { "message": { "content": content } },
        }))
    };
    let end = |index: u8| named(&json!({ "type": "content-end", "index": index }));
    vec![
        named(&json!({
            "type": "message-start", "id": "up", "delta": { "message": { "role": "assistant" } },
        })),
        content("content-start", 0, json!({ "type": "thinking", "thinking": "" })),
        content("content-delta", 0, json!({ "thinking": THOUGHT })),
        end(0),
        content("content-start", 1, json!({ "type": "text", "text": "" })),
        content("content-delta", 1, json!({ "text": PARTS[0] })),
        content("content-delta", 1, json!({ "text": PARTS[1] })),
        end(1),
        named(&json!({
            "type": "message-end",
            "delta": { "finish_reason": "COMPLETE", "usage": cohere_usage() },
        })),
    ]
}

/// A server-sent event without a name.
pub(crate) fn data(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// A server-sent event, named by its type.
pub(crate) fn named(data: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()).into_bytes()
}

fn line(data: &Value) -> Vec<u8> {
    format!("{data}\n").into_bytes()
}

/// A message of `application/vnd.amazon.eventstream` with headers that are strings.
pub(crate) fn amazon(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut out = total.to_be_bytes().to_vec();
    out.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}
