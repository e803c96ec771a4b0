//! Anthropic's messages (<https://docs.anthropic.com/en/api/messages>): what Claude Code speaks. Clients of any
//! provider may use it, and Anthropic's models are reached by it; `types` holds what both halves write alike.

pub mod client;
pub mod provider;
mod types;
