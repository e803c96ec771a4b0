//! OpenAI's responses (<https://platform.openai.com/docs/api-reference/responses>): what Codex CLI speaks.

pub mod client;
pub mod provider;
