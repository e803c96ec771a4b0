//! The codes that clients act on, from what providers say: Codex compacts its history at
//! `context_length_exceeded`, waits at `rate_limit_exceeded`, and gives up at `insufficient_quota`.

use super::said::Said;

/// What vendors say when a prompt does not fit, in lower case.
const TOO_LONG: [&str; 25] = [
    // OpenAI, and those that copied it.
    "maximum context length",
    "exceeds the context window",
    "context_length_exceeded",
    // Anthropic.
    "prompt is too long",
    "exceed context limit",
    // Google.
    "input token count",
    "exceeds the maximum number of tokens allowed",
    // Amazon.
    "input is too long for requested model",
    "too many input tokens",
    // llama.cpp, LM Studio, Ollama.
    "exceeds the available context size",
    "greater than the context length",
    "the context overflows",
    "exceeds the context length",
    // Mistral, vLLM, SGLang.
    "maximum model length",
    "longer than the model's context length",
    "too large for model with",
    // xAI, GitHub.
    "maximum prompt length",
    "prompt token count of",
    // TGI, Together.
    "`inputs` must have less than",
    "`inputs` tokens + `max_new_tokens` must be",
    // Cohere, Moonshot, MiniMax, Z.ai.
    "number of tokens in the prompt cannot exceed",
    "exceeded model token limit",
    "context window exceeds limit",
    "prompt exceeds max length",
    // Groq, Cerebras.
    "reduce the length of the messages",
];

/// The code; the provider's own where it is one that clients know, or there is no better.
pub(super) fn of(status: u16, said: &Said) -> Option<String> {
    let own = said.code.as_deref();
    let known = recognised(status, said, own.unwrap_or_default());
    if let Some(code) = known {
        return Some(code.to_owned());
    }
    // A bare number says what the status says.
    own.filter(|code| code.parse::<f64>().is_err()).map(str::to_owned)
}

fn recognised(status: u16, said: &Said, own: &str) -> Option<&'static str> {
    let message = said.message.to_ascii_lowercase();
    let class = said.class.as_deref().unwrap_or_default();
    let says = |words: &str| message.contains(words);
    let reason = |word: &str| said.reasons.iter().any(|reason| reason == word);
    if is_too_long(status, said, &message) {
        return Some("context_length_exceeded");
    }
    if matches!("insufficient_quota", word if own == word || class == word)
        || status == 402
        || class == "billing_error"
        || says("credit balance is too low")
        || says("insufficient balance")
        // Google says the same of a quota by the minute.
        || says("exceeded your current quota") && class != "RESOURCE_EXHAUSTED"
    {
        return Some("insufficient_quota");
    }
    if matches!(own, "content_filter" | "content_policy_violation")
        || says("content management policy")
        || says("violates our content policy")
        || says("violates our usage policies")
    {
        return Some("content_policy_violation");
    }
    if reason("API_KEY_INVALID") || status == 401 && own.is_empty() {
        return Some("invalid_api_key");
    }
    let not_found = status == 404 || matches!(class, "not_found_error" | "NOT_FOUND");
    if not_found && (own == "DeploymentNotFound" || says("model")) {
        return Some("model_not_found");
    }
    if status == 429 || matches!(class, "rate_limit_error" | "RESOURCE_EXHAUSTED") {
        // Codex knows these words and no other; `slow_down` is OpenAI's too.
        let kept = matches!(own, "slow_down" | "rate_limit_exceeded");
        return (!kept).then_some("rate_limit_exceeded");
    }
    let overloaded = status == 529 || matches!(class, "overloaded_error" | "UNAVAILABLE");
    (overloaded || status == 503 && says("overloaded")).then_some("overloaded")
}

/// A prompt that does not fit, but not a field that is too long
/// (<https://github.com/BerriAI/litellm/issues/8932>), nor too much within one minute.
fn is_too_long(status: u16, said: &Said, message: &str) -> bool {
    let own = said.code.as_deref().unwrap_or_default();
    let class = said.class.as_deref().unwrap_or_default();
    if own == "context_length_exceeded" || class == "exceed_context_size_error" {
        return true;
    }
    let other = status == 429
        || own.contains("above_max_length")
        || message.contains("string too long")
        || message.contains("per min");
    !other && TOO_LONG.iter().any(|words| message.contains(words))
}

/// A provider's word for the class of a failure, in OpenAI's words; `None` leaves it to the status.
pub(super) fn class(word: &str, said: &Said, status: u16) -> Option<String> {
    let mapped = match word {
        "request_too_large" => "invalid_request_error",
        "api_error" | "overloaded_error" => "server_error",
        "billing_error" => "insufficient_quota",
        "timeout_error" => "timeout_error",
        // OpenAI's own words, and what its clients see from compatible servers.
        _ if said.is_openai => word,
        "invalid_request_error"
        | "authentication_error"
        | "permission_error"
        | "not_found_error"
        | "rate_limit_error"
        | "server_error"
        | "insufficient_quota" => word,
        _ => return None,
    };
    // A status that was mended brings its own.
    let mended = status == 400 && mapped == "server_error";
    (!mended).then(|| mapped.to_owned())
}
