//! The mock's embeddings: vectors of unit length made from the text's digest, so that equal texts are
//! equal and others are not (<https://platform.openai.com/docs/api-reference/embeddings>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Reply, json_reply};
use crate::ground::fault::Fault;

const DEFAULT_DIMENSIONS: u64 = 1536;
const MAX_DIMENSIONS: u64 = 4096;
const MAX_INPUTS: usize = 2048;

pub(super) fn answer(request: &Map<String, Value>, model: &str) -> Result<Reply, Fault> {
    let inputs = inputs(request.get("input"))?;
    let dimensions =
        request.get("dimensions").and_then(Value::as_u64).unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(Fault::invalid("`dimensions` must be from 1 to 4096.").with_param("dimensions"));
    }
    let as_text = request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = if as_text {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Value::from(STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens: usize = inputs.iter().map(|input| input.len().div_ceil(4)).sum();
    Ok(json_reply(&json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

/// One text for each vector that is wanted: a string or a list of token numbers gives one, a list of
/// those gives many.
fn inputs(input: Option<&Value>) -> Result<Vec<String>, Fault> {
    let many = match input {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Value::from(items.clone()).to_string()]
        }
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    if many.is_empty() || many.len() > MAX_INPUTS {
        return Err(Fault::invalid(
            "`input` must be a string, a list of tokens, or a list of up to 2048 of these.",
        )
        .with_param("input"));
    }
    Ok(many)
}

fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let mut raw: Vec<f32> = (0..dimensions)
        .map(|index| {
            let digest =
                Sha256::new().chain_update(text).chain_update(index.to_le_bytes()).finalize();
            let byte = digest.first().copied().unwrap_or_default();
            f32::from(byte) - 127.5
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.iter_mut().for_each(|x| *x /= length);
    raw
}
