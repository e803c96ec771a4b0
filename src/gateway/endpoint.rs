//! The endpoints that lead to a model: one row each, what the client calls, what the provider is
//! called with, how an answer is told apart from a broken one.

use crate::wire::codec::ClientHalf;
use crate::wire::formats;
use crate::wire::tap::Family;

/// One endpoint.
pub struct Endpoint {
    /// The path clients call; also without `/v1`.
    pub surface: &'static str,
    /// Below a provider's base URL, where the provider speaks the client's format.
    pub path: &'static str,
    /// OpenTelemetry's `gen_ai.operation.name`, where it has one.
    pub operation: &'static str,
    pub body: BodyKind,
    pub family: Family,
    pub work: Work,
    /// Whether streams have `stream_options.include_usage`.
    pub stream_usage: bool,
    /// Whether a body may pass unread to a provider of the same format.
    pub verbatim: bool,
    /// Whether the mock answers in the client's own format.
    pub mocked: bool,
    /// Whether the same is served over a WebSocket.
    pub has_websocket: bool,
    /// Whether answers are kept for requests that go on from them.
    pub stores: bool,
}

/// What clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    /// A form with a file, streamed through.
    Multipart,
}

/// What is asked of the model.
#[derive(Clone, Copy)]
pub enum Work {
    /// To go on with a conversation; this half faces the client.
    Conversation(&'static ClientHalf),
    /// To count the tokens of one.
    Count(&'static ClientHalf),
    Embeddings,
    Rerank,
    /// Anything that is only passed on.
    Other,
}

impl Endpoint {
    /// The half that faces the client, where tools may run inside the answer: not where tokens are counted or a
    /// conversation is made shorter, nor in the legacy completions, which know no tools.
    pub fn runs_tools(&self) -> Option<&'static ClientHalf> {
        let paths = ["/chat/completions", "/responses", "/messages"];
        let has_tools = paths.iter().any(|path| self.surface.strip_prefix("/v1") == Some(path));
        self.client().filter(|_| has_tools)
    }

    /// The half that faces the clients of this endpoint, where it speaks a format of conversations.
    pub fn client(&self) -> Option<&'static ClientHalf> {
        match self.work {
            Work::Conversation(client) | Work::Count(client) => Some(client),
            Work::Embeddings | Work::Rerank | Work::Other => None,
        }
    }
}

const fn json(surface: &'static str, path: &'static str, operation: &'static str) -> Endpoint {
    Endpoint {
        surface,
        path,
        operation,
        body: BodyKind::Json,
        family: Family::Other,
        work: Work::Other,
        stream_usage: false,
        verbatim: true,
        mocked: true,
        has_websocket: false,
        stores: false,
    }
}

const fn chat(
    surface: &'static str,
    path: &'static str,
    operation: &'static str,
    client: &'static ClientHalf,
) -> Endpoint {
    let work = Work::Conversation(client);
    Endpoint { family: Family::Chat, stream_usage: true, work, ..json(surface, path, operation) }
}

const fn responses(surface: &'static str, path: &'static str) -> Endpoint {
    let work = Work::Conversation(&formats::RESPONSES);
    Endpoint { family: Family::Responses, work, mocked: false, ..json(surface, path, "chat") }
}

const fn form(surface: &'static str, path: &'static str, operation: &'static str) -> Endpoint {
    Endpoint { body: BodyKind::Multipart, ..json(surface, path, operation) }
}

/// The table (<https://platform.openai.com/docs/api-reference>, <https://docs.anthropic.com/en/api>; rerank is
/// Cohere's and Jina's, as vLLM and LiteLLM serve it).
pub static ENDPOINTS: &[Endpoint] = &[
    chat("/v1/chat/completions", "/chat/completions", "chat", &formats::CHAT),
    chat("/v1/completions", "/completions", "text_completion", &formats::COMPLETIONS),
    Endpoint { has_websocket: true, stores: true, ..responses("/v1/responses", "/responses") },
    Endpoint {
        work: Work::Conversation(&formats::COMPACTION),
        ..responses("/v1/responses/compact", "/responses/compact")
    },
    Endpoint {
        work: Work::Count(&formats::RESPONSES),
        family: Family::Other,
        ..responses("/v1/responses/input_tokens", "/responses/input_tokens")
    },
    Endpoint {
        family: Family::Messages,
        work: Work::Conversation(&formats::MESSAGES),
        mocked: false,
        ..json("/v1/messages", "/v1/messages", "chat")
    },
    Endpoint {
        work: Work::Count(&formats::COUNTING),
        mocked: false,
        ..json("/v1/messages/count_tokens", "/v1/messages/count_tokens", "count_tokens")
    },
    Endpoint { work: Work::Embeddings, ..json("/v1/embeddings", "/embeddings", "embeddings") },
    json("/v1/moderations", "/moderations", "moderation"),
    json("/v1/images/generations", "/images/generations", "image_generation"),
    form("/v1/images/edits", "/images/edits", "image_edit"),
    json("/v1/audio/speech", "/audio/speech", "speech"),
    form("/v1/audio/transcriptions", "/audio/transcriptions", "transcription"),
    form("/v1/audio/translations", "/audio/translations", "translation"),
    Endpoint { work: Work::Rerank, ..json("/v1/rerank", "/rerank", "rerank") },
];
