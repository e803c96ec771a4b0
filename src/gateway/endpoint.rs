//! The endpoints that lead to a model: one row each, what the client calls, what the provider is
//! called with, how an answer is told apart from a broken one.

use crate::wire::tap::Family;

/// One endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The path clients call; also without `/v1`.
    pub surface: &'static str,
    /// Below a provider's base URL.
    pub path: &'static str,
    /// OpenTelemetry's `gen_ai.operation.name`, where it has one.
    pub operation: &'static str,
    pub body: BodyKind,
    pub family: Family,
    /// Whether streams have `stream_options.include_usage`.
    pub stream_usage: bool,
}

/// What clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    /// A form with a file, streamed through.
    Multipart,
}

const fn json(surface: &'static str, path: &'static str, operation: &'static str) -> Endpoint {
    let (body, family) = (BodyKind::Json, Family::Other);
    Endpoint { surface, path, operation, body, family, stream_usage: false }
}

const fn chat(surface: &'static str, path: &'static str, operation: &'static str) -> Endpoint {
    Endpoint { family: Family::Chat, stream_usage: true, ..json(surface, path, operation) }
}

const fn form(surface: &'static str, path: &'static str, operation: &'static str) -> Endpoint {
    Endpoint { body: BodyKind::Multipart, ..json(surface, path, operation) }
}

/// The table (<https://platform.openai.com/docs/api-reference>; rerank is Cohere's and Jina's, as
/// vLLM and LiteLLM serve it).
pub static ENDPOINTS: &[Endpoint] = &[
    chat("/v1/chat/completions", "/chat/completions", "chat"),
    chat("/v1/completions", "/completions", "text_completion"),
    Endpoint { family: Family::Responses, ..json("/v1/responses", "/responses", "chat") },
    json("/v1/embeddings", "/embeddings", "embeddings"),
    json("/v1/moderations", "/moderations", "moderation"),
    json("/v1/images/generations", "/images/generations", "image_generation"),
    form("/v1/images/edits", "/images/edits", "image_edit"),
    json("/v1/audio/speech", "/audio/speech", "speech"),
    form("/v1/audio/transcriptions", "/audio/transcriptions", "transcription"),
    form("/v1/audio/translations", "/audio/translations", "translation"),
    json("/v1/rerank", "/rerank", "rerank"),
];
