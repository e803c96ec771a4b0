//! Ollama's own /api/chat and /api/embed (<https://docs.ollama.com/api>).

pub mod provider;
