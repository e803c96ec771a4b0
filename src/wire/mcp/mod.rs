//! The Model Context Protocol as bytes and values: JSON-RPC envelopes whose bodies stay raw, edits that change
//! one member and leave every other byte, and what the revisions name differently. Nothing here knows of
//! sessions, servers or transports. <https://modelcontextprotocol.io/specification/2026-07-28>

pub mod arguments;
pub mod canonical;
pub mod edit;
pub mod error;
pub mod header;
pub mod hidden;
pub mod lock;
pub mod message;
pub mod names;
pub mod openapi;
pub mod param_header;
pub mod pin;
pub mod revision;
pub mod sampling;
pub mod search;
pub mod template;
