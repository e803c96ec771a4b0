//! What becomes of a request's body on its way to one deployment: one ordered table, the first match wins,
//! and the row says which lane was taken. Where client and provider speak the same format and nothing must
//! look inside, bytes pass as they are; else the request is translated. Nothing here reads or writes a format.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::attempt::Miss;
use super::begin::Begun;
use super::endpoint::Work;
use super::{Asked, hub};
use crate::config::snapshot::Deployment;
use crate::conversation::Format;
use crate::wire::codec::ClientHalf;
use crate::wire::openai_chat::quirks;
use crate::wire::rerank::Dialect;

/// The way a request goes.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// Tidegate's own model answers, in the client's format.
    Mock,
    /// The same format on both sides: the body stays bytes.
    Verbatim,
    /// Read in the client's format, written in the provider's.
    Hub { client: &'static ClientHalf, format: Format },
    /// Embeddings for a provider with a format of its own.
    Embeddings(Format),
    /// The same for rerank.
    Rerank(Dialect),
    /// Tokens are counted here: the provider has no endpoint for it.
    Count { client: &'static ClientHalf },
}

/// Texts that only a gateway puts into a conversation. A provider that gets them back would refuse them, so
/// the request has to be read: a conversation may move from one model to another.
static SEALED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"tidegate1."));
/// Only chat has fields for them that are left out when it is read; in other formats they would ride along.
static IN_CHAT: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| {
    [Finder::new(b"\"provider_specific_fields\""), Finder::new(b"\"thinking_blocks\"")]
});

impl Lane {
    /// The word in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Mock => "mock",
            Self::Verbatim => "verbatim",
            Self::Hub { .. } | Self::Embeddings(_) | Self::Rerank(_) => "hub",
            Self::Count { .. } => "count",
        }
    }
}

/// Chooses the lane to one deployment.
///
/// `is_chat_only`: the deployment's server was found to have no responses.
pub(super) fn choose(
    asked: &Asked<'_>,
    deployment: &Deployment,
    model: &str,
    is_chat_only: bool,
) -> Lane {
    let own = deployment.formats.first().copied();
    let is_mock = asked.mock(deployment).is_some();
    let client = match asked.endpoint.work {
        Work::Conversation(client) => client,
        Work::Count(client) => {
            let same_address = deployment.provider.formats.contains(&client.format);
            let asks = same_address && speaks(deployment, client.format, is_chat_only) && !is_mock;
            return if asks { Lane::Verbatim } else { Lane::Count { client } };
        }
        Work::Embeddings if !is_mock => return own.map_or(Lane::Verbatim, embeddings),
        Work::Rerank if !is_mock => {
            // Behind Hugging Face's name are its own inference servers.
            return match (own, deployment.provider.name) {
                (Some(Format::Cohere), _) => Lane::Rerank(Dialect::Cohere),
                (_, "huggingface") => Lane::Rerank(Dialect::Tei),
                _ => Lane::Verbatim,
            };
        }
        Work::Embeddings | Work::Rerank | Work::Other => {
            return if is_mock { Lane::Mock } else { Lane::Verbatim };
        }
    };
    let hub = |format| Lane::Hub { client, format };
    if is_mock {
        // For what the mock does not answer itself it is a provider of chat.
        let answers = asked.endpoint.mocked && asked.served.toolset.is_none();
        return if answers { Lane::Mock } else { hub(Format::OpenAiChat) };
    }
    let same = speaks(deployment, client.format, is_chat_only);
    // Claude on Vertex AI is spoken to in Anthropic's format, but not at Anthropic's address.
    let same_address = deployment.provider.formats.contains(&client.format);
    if same
        && same_address
        && asked.endpoint.verbatim
        && !must_look_inside(asked, deployment, client, model)
    {
        return Lane::Verbatim;
    }
    hub(if same { client.format } else { own.unwrap_or(Format::OpenAiChat) })
}

/// Whether the deployment is spoken to in a format, for all that is known of its server.
fn speaks(deployment: &Deployment, format: Format, is_chat_only: bool) -> bool {
    let is_missing = is_chat_only && format == Format::OpenAiResponses;
    deployment.formats.contains(&format) && !is_missing
}

fn embeddings(format: Format) -> Lane {
    match format {
        Format::Ollama | Format::Cohere | Format::Gemini => Lane::Embeddings(format),
        _ => Lane::Verbatim,
    }
}

/// Whether something in the body has to be read, though both sides speak one format.
fn must_look_inside(
    asked: &Asked<'_>,
    deployment: &Deployment,
    client: &ClientHalf,
    model: &str,
) -> bool {
    asked.needs_hub
        || asked.served.toolset.is_some()
        || deployment.options.merge_reasoning_content_in_choices
        || (client.format == Format::OpenAiChat
            && (quirks::wants_mending(&hub::target(asked, deployment, model), &asked.body)
                || IN_CHAT.iter().any(|mark| mark.find(&asked.body).is_some())))
        || SEALED.find(&asked.body).is_some()
        || client.format == Format::Anthropic && has_unsigned_thoughts(&asked.body)
}

/// Whether a thinking block has an empty signature: what Tidegate tells Anthropic's clients of another provider's
/// thoughts, and what Anthropic refuses.
fn has_unsigned_thoughts(body: &[u8]) -> bool {
    let name = b"\"signature\"";
    memchr::memmem::find_iter(body, name).any(|at| {
        let rest = body.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
        let value = rest.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        value.starts_with(b"\"\"")
    })
}

/// The half to count with, where a server of somebody else turned out to have no endpoint for that.
pub(super) fn without_count(
    asked: &Asked<'_>,
    deployment: &Deployment,
    outcome: &Result<Begun, Miss>,
) -> Option<&'static ClientHalf> {
    let Work::Count(client) = asked.endpoint.work else { return None };
    let missing = outcome.as_ref().is_err_and(Miss::is_no_such_path);
    (missing && !is_own_address(deployment)).then_some(client)
}

/// Whether requests go to the provider's own address, not to a server of somebody else.
pub(super) fn is_own_address(deployment: &Deployment) -> bool {
    let own = deployment.provider.base.and_then(|base| url::Url::parse(base).ok());
    own.is_some_and(|own| own.host_str() == deployment.base.host_str())
}

/// The half to translate with, where a server behind OpenAI's format turned out to have no responses: many
/// have only chat (litellm#13130).
pub(super) fn without_responses(
    asked: &Asked<'_>,
    deployment: &Deployment,
    lane: Lane,
    outcome: &Result<Begun, Miss>,
) -> Option<&'static ClientHalf> {
    let Work::Conversation(client) = asked.endpoint.work else { return None };
    let missing = outcome.as_ref().is_err_and(Miss::is_no_such_path);
    let has_chat = deployment.formats.contains(&Format::OpenAiChat);
    let asked_for = match lane {
        Lane::Verbatim => client.format == Format::OpenAiResponses,
        Lane::Hub { format, .. } => format == Format::OpenAiResponses,
        _ => false,
    };
    (missing && has_chat && asked_for && !is_own_address(deployment)).then_some(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_signature_is_found_however_it_is_spaced() {
        for body in [r#"{"signature":""}"#, "{\"signature\"\n:\t\"\",\"signature\":\"x\"}"] {
            assert!(has_unsigned_thoughts(body.as_bytes()), "{body}");
        }
        for body in [r#"{"signature":"x"}"#, r#"{"text":"\"signature\":\"\""}"#, r#"{"signature"#] {
            assert!(!has_unsigned_thoughts(body.as_bytes()), "{body}");
        }
    }
}
