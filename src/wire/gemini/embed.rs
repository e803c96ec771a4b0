//! Gemini's embeddings (<https://ai.google.dev/api/embeddings>): the place for them, with the shapes that
//! `wire::embeddings` calls.

use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::Outbound;

/// Writes an OpenAI embeddings request for Gemini.
///
/// # Errors
/// `Unsupported`, for now.
pub fn request(_body: &[u8], _model: &str) -> Result<Outbound, Fault> {
    Err(not_yet())
}

/// Reads Gemini's answer and writes OpenAI's.
///
/// # Errors
/// `Unsupported`, for now.
pub fn reply(_body: &[u8], _model: &str, _base64: bool) -> Result<Vec<u8>, Fault> {
    Err(not_yet())
}

fn not_yet() -> Fault {
    Fault::new(Kind::Unsupported, "Embeddings of Gemini are not translated yet.")
}
