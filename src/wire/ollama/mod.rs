//! Ollama's own /api/chat, /api/embed and /api/tags (<https://docs.ollama.com/api>). The server also speaks
//! OpenAI's chat format below /v1, but only its own has the context length, thinking and images in full.

pub mod embed;
mod messages;
pub mod provider;
mod request;
mod stream;
mod tags;

pub use tags::models;

#[cfg(test)]
mod tests;
