//! OpenAI's chat completions (<https://platform.openai.com/docs/api-reference/chat>), and the legacy
//! completions: the format that most clients and most servers speak, each with quirks of its own.

pub mod client;
pub mod provider;
pub mod quirks;
