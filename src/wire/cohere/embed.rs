//! Cohere's `POST /v2/embed` (<https://docs.cohere.com/reference/embed>).

use crate::conversation::Json;
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, garbage};
use crate::wire::embeddings::{Vectors, Wanted};
use crate::wire::fields::Fields;
use crate::wire::members::Members;

/// Parameters of Cohere's own that pass.
const OWN: &[&str] = &["input_type", "max_tokens", "priority", "truncate"];

/// Writes an OpenAI embeddings request for Cohere.
///
/// # Errors
/// `InvalidRequest`: what is wrong with the request.
pub fn request(body: &[u8], model: &str) -> Result<Outbound, Fault> {
    let wanted = Wanted::read(body)?;
    let mut members = Members::default();
    members.set("model", Json::of(&model));
    members.set("texts", Json::of(&wanted.texts()?));
    // Must be said, and OpenAI has no word for it; LiteLLM takes the same where none is given.
    members.set("input_type", Json::of(&"search_document"));
    members.set("embedding_types", Json::of(&["float"]));
    members.set("output_dimension", wanted.dimensions.map(|number| Json::of(&number)));
    wanted.own(OWN, &mut members);
    Ok(Outbound { path: "/v2/embed".into(), body: members.into_body(), ..Outbound::default() })
}

/// Reads Cohere's answer and writes OpenAI's.
///
/// # Errors
/// `UpstreamGarbage`: it holds no vectors.
pub fn reply(body: &[u8], model: &str, base64: bool) -> Result<Vec<u8>, Fault> {
    const NONE: &str = "Cohere's answer holds no embeddings.";
    let mut fields = Fields::of_bytes(body).ok_or_else(|| garbage(NONE))?;
    let mut embeddings = fields.inner("embeddings").ok_or_else(|| garbage(NONE))?;
    let list = embeddings.items("float");
    if list.is_empty() {
        return Err(garbage(NONE));
    }
    let units = fields.inner("meta").and_then(|mut meta| meta.inner("billed_units"));
    let tokens = units.and_then(|mut units| units.whole("input_tokens"));
    Vectors { list, tokens }.write(model, base64)
}
