//! Cohere's chat, version 2 (<https://docs.cohere.com/reference/chat>).

pub mod provider;
