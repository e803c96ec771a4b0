//! Embeddings: OpenAI's request as `batchEmbedContents` and its answer back
//! (<https://ai.google.dev/api/embeddings>), on AI Studio. Vertex AI has `predict` instead, which is not this.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::request::resource;
use super::types::Object;
use crate::conversation::Json;
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, garbage};
use crate::wire::fields::{Fields, as_string, elements, wrong};
use crate::wire::provider_error;

/// Writes the request of an OpenAI client. `task_type` and `title`, which are Gemini's own, go along.
///
/// # Errors
/// `InvalidRequest`: no texts, or tokens instead of texts.
pub fn request(body: &[u8], model: &str) -> Result<Outbound, Fault> {
    let mut fields = Fields::of_bytes(body)
        .ok_or_else(|| Fault::invalid("The request's body must be a JSON object."))?;
    let input = fields.take("input");
    let input = fields.required("input", input)?;
    let dimensions = fields.count("dimensions")?;
    let task = fields.string("task_type")?.or(fields.string("taskType")?);
    let title = fields.string("title")?;
    let resource = resource(model, false);
    let name = resource.trim_start_matches('/').to_owned();
    let requests: Vec<Object> = texts(input)?
        .into_iter()
        .map(|text| {
            let mut request = Object::default();
            request.set("model", &name);
            request.set("content", &json!({ "parts": [{ "text": text }] }));
            request.put_some("outputDimensionality", dimensions.map(|count| Json::of(&count)));
            request.put_some("taskType", task.as_ref().map(Json::of));
            request.put_some("title", title.as_ref().map(Json::of));
            request
        })
        .collect();
    let mut body = Object::default();
    body.set("requests", &requests);
    let body = serde_json::to_vec(&body).map_err(|_| Fault::bug("a request that is no JSON"))?;
    Ok(Outbound { path: format!("{resource}:batchEmbedContents"), body, ..Outbound::default() })
}

/// Writes the answer for an OpenAI client. `base64`: numbers as base64 of little-endian `f32`, as the official
/// clients ask for.
///
/// # Errors
/// `UpstreamGarbage` for what holds no embeddings; the provider's own error, should there be one.
pub fn reply(body: &[u8], model: &str, base64: bool) -> Result<Vec<u8>, Fault> {
    let mut fields =
        Fields::of_bytes(body).ok_or_else(|| garbage("The provider's answer is not JSON."))?;
    if let Some(error) = fields.take("error") {
        return Err(provider_error::in_stream(error.get()));
    }
    let mut embeddings = fields.items("embeddings");
    embeddings.extend(fields.take("embedding"));
    if embeddings.is_empty() {
        return Err(garbage("The provider's answer holds no embeddings."));
    }
    let mut list = Vec::with_capacity(embeddings.len());
    for (index, raw) in embeddings.into_iter().enumerate() {
        let embedding = numbers(raw.get(), base64)
            .ok_or_else(|| garbage("The provider's answer holds an embedding without numbers."))?;
        list.push(Embedding { object: "embedding", index, embedding });
    }
    let usage = fields.inner("usageMetadata");
    let tokens = usage.and_then(|mut usage| usage.whole("promptTokenCount")).unwrap_or_default();
    let mut answer = Object::default();
    answer.set("object", &"list");
    answer.set("data", &list);
    answer.set("model", &model);
    answer.set("usage", &json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
    serde_json::to_vec(&answer).map_err(|_| Fault::bug("an answer that is no JSON"))
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Json,
}

/// The texts of `input`: one, or a list of them.
fn texts(input: &RawValue) -> Result<Vec<String>, Fault> {
    if let Some(text) = as_string(input) {
        return Ok(vec![text]);
    }
    let wanted = "a string or a list of strings (Gemini takes no tokens)";
    let items = elements(input, "input").map_err(|_| wrong("input", wanted))?;
    if items.is_empty() {
        return Err(Fault::invalid("`input` must hold at least one text.").with_param("input"));
    }
    let text = |(_, raw): (String, &RawValue)| as_string(raw).ok_or_else(|| wrong("input", wanted));
    items.into_iter().map(text).collect()
}

/// The numbers as they are spelled, or packed.
fn numbers(embedding: &str, base64: bool) -> Option<Json> {
    let values = Fields::read(embedding)?.take("values")?;
    let numbers: Vec<f32> = serde_json::from_str(values.get()).ok()?;
    if !base64 {
        return Some(Json::of_raw(values));
    }
    let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    Some(Json::of(&STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_requests() {
        let body =
            br#"{"model":"x","input":["a","b"],"dimensions":256,"encoding_format":"base64"}"#;
        let outbound = request(body, "gemini-embedding-001").expect("valid");
        assert_eq!(outbound.path, "/models/gemini-embedding-001:batchEmbedContents");
        let expected = json!({"requests": [
            {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 256},
            {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 256},
        ]});
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&outbound.body).expect("valid"),
            expected
        );
        let one = request(br#"{"input":"a","task_type":"RETRIEVAL_QUERY"}"#, "m").expect("valid");
        assert_eq!(
            String::from_utf8(one.body).expect("text"),
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"taskType":"RETRIEVAL_QUERY"}]}"#
        );
    }

    #[test]
    fn tokens_are_refused() {
        for body in [
            r#"{"input":[1,2]}"#,
            r#"{"input":[[1],[2]]}"#,
            r#"{"input":[]}"#,
            r#"{"input":{}}"#,
            r#"{"input":null}"#,
            "{}",
        ] {
            let fault = request(body.as_bytes(), "m").expect_err(body);
            assert_eq!(fault.param.as_deref(), Some("input"), "{body}");
        }
        assert!(request(b"[]", "m").is_err());
    }

    #[test]
    fn numbers_keep_their_spelling_or_are_packed() {
        let body = br#"{"embeddings":[{"values":[1.0,-2e0]},{"values":[0.5]}],"usageMetadata":{"promptTokenCount":7}}"#;
        let plain = reply(body, "m", false).expect("an answer");
        assert_eq!(
            String::from_utf8(plain).expect("text"),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-2e0]},{"object":"embedding","index":1,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        let packed = reply(body, "m", true).expect("an answer");
        let packed: serde_json::Value = serde_json::from_slice(&packed).expect("valid");
        assert_eq!(packed["data"][0]["embedding"], "AACAPwAAAMA=");
        for body in [
            "",
            "{}",
            r#"{"embeddings":[{}]}"#,
            r#"{"embeddings":[{"values":["x"]}]}"#,
            r#"{"error":{"code":429,"message":"slow"}}"#,
        ] {
            assert!(reply(body.as_bytes(), "m", false).is_err(), "{body}");
        }
    }
}
