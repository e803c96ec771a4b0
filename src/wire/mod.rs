//! Floor 2: the formats on the wire, as values: bytes in, values out. Nothing here knows of tokio,
//! reqwest, a clock, the environment or the file system, so all of it can be fuzzed and tested with
//! golden files.

pub mod anthropic;
mod anthropic_usage;
pub mod bedrock;
pub mod catalogue;
pub mod codec;
pub mod cohere;
pub mod drop_params;
pub mod embeddings;
pub mod envelope;
pub mod fields;
pub mod formats;
pub mod framing;
pub mod gemini;
pub mod json;
pub mod lacking;
pub mod mcp;
pub mod members;
pub mod model_list;
pub mod multipart;
pub mod ollama;
pub mod openai_chat;
pub mod openai_error;
pub mod openai_responses;
mod openai_usage;
pub mod provider_error;
pub mod rerank;
pub mod seal;
pub mod sse;
pub mod tap;
pub mod trace;
