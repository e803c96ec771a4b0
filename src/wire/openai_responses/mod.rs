//! OpenAI's responses (<https://platform.openai.com/docs/api-reference/responses>): what Codex CLI speaks.

mod citation;
pub mod client;
mod object;
pub mod provider;
