//! Why an answer ended, in the words of every server that speaks chat completions. Clients know five of them,
//! and their libraries refuse a sixth, so what is not known here counts as the natural end.

use super::chunk::Choice;
use crate::conversation::Finish;
use crate::ground::fault::{Fault, Kind};
use crate::wire::provider_error;

/// Reads the reason of a choice; `None` where it has none yet.
///
/// Errors: the reason says that the answer broke off, with what the provider says of it.
pub(super) fn read(choice: &Choice<'_>) -> Result<Option<Finish>, Fault> {
    let Some(word) = choice.finish_reason.as_deref().filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let finish = match word {
        "stop" => match choice.stop_reason.as_deref() {
            Some(sequence) if !sequence.is_empty() => {
                Finish::StopSequence(Some(sequence.to_owned()))
            }
            _ => Finish::Stop,
        },
        "stop_sequence" | "STOP_SEQUENCE" => Finish::StopSequence(None),
        "length" | "max_tokens" | "MAX_TOKENS" | "max_output_tokens" => Finish::Length,
        // Mistral's, and what some gateways pass on of Anthropic's.
        "model_length" | "model_context_window_exceeded" => Finish::ContextWindow,
        "tool_calls" | "function_call" | "tool_call" | "tool_use" | "TOOL_CALL" => {
            Finish::ToolCalls
        }
        // `sensitive` is Z.ai's.
        "content_filter" | "content_filtered" | "refusal" | "safety" | "SAFETY" | "RECITATION"
        | "PROHIBITED_CONTENT" | "BLOCKLIST" | "sensitive" => Finish::Filtered(None),
        // OpenRouter and Mistral; vLLM; Z.ai; DeepSeek.
        "error" | "ERROR" | "abort" | "network_error" | "insufficient_system_resource" => {
            return Err(broken(choice, word));
        }
        // `eos`, `eos_token`, `end_turn`, `COMPLETE`, …
        _ => Finish::Stop,
    };
    Ok(Some(finish))
}

fn broken(choice: &Choice<'_>, word: &str) -> Fault {
    if let Some(error) = choice.error {
        return provider_error::in_stream(error.get());
    }
    let status = if word == "insufficient_system_resource" { 503 } else { 502 };
    Fault::new(
        Kind::Upstream(status),
        format!("The provider ended its answer with `{word}`. What came so far may be cut short."),
    )
}
