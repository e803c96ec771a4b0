//! Ollama's `POST /api/embed` (<https://docs.ollama.com/api/embed>).

use serde_json::value::RawValue;

use crate::conversation::Json;
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, garbage};
use crate::wire::embeddings::{Vectors, Wanted};
use crate::wire::fields::Fields;
use crate::wire::members::Members;

/// Parameters of Ollama's own that pass.
const OWN: &[&str] = &["keep_alive", "options", "truncate"];

/// Writes an OpenAI embeddings request for Ollama.
///
/// # Errors
/// `InvalidRequest`: what is wrong with the request.
pub fn request(body: &[u8], model: &str) -> Result<Outbound, Fault> {
    let wanted = Wanted::read(body)?;
    let mut members = Members::default();
    members.set("model", Json::of(&model));
    members.set("input", Json::of(&wanted.texts()?));
    members.set("dimensions", wanted.dimensions.map(|number| Json::of(&number)));
    wanted.own(OWN, &mut members);
    let body = members.into_body();
    Ok(Outbound { path: "/api/embed".into(), body, ..Outbound::default() })
}

/// Reads Ollama's answer and writes OpenAI's.
///
/// # Errors
/// `UpstreamGarbage`: it holds no vectors.
pub fn reply(body: &[u8], model: &str, base64: bool) -> Result<Vec<u8>, Fault> {
    const NONE: &str = "Ollama's answer holds no embeddings.";
    let mut fields = Fields::of_bytes(body).ok_or_else(|| garbage(NONE))?;
    let list: Vec<&RawValue> = fields.items("embeddings");
    if list.is_empty() {
        return Err(garbage(NONE));
    }
    Vectors { list, tokens: fields.whole("prompt_eval_count") }.write(model, base64)
}
