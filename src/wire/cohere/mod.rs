//! Cohere's chat and embeddings, version 2 (<https://docs.cohere.com/reference/chat>).

mod citation;
pub mod embed;
mod messages;
pub mod provider;
mod reply;
mod request;
mod stream;

#[cfg(test)]
mod tests;
