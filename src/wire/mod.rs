//! Floor 2: the formats on the wire, as values: bytes in, values out. Nothing here knows of tokio,
//! reqwest, a clock, the environment or the file system, so all of it can be fuzzed and tested with
//! golden files.

pub mod catalogue;
pub mod envelope;
pub mod json;
pub mod multipart;
pub mod openai_error;
mod openai_usage;
pub mod sse;
pub mod tap;
