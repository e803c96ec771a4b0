//! Anthropic's messages (<https://docs.anthropic.com/en/api/messages>): what Claude Code speaks.

pub mod client;
pub mod provider;
