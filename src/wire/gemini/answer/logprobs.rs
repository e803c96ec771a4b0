//! Log probabilities: Google's two lists of tokens as OpenAI's one
//! (<https://ai.google.dev/api/generate-content#LogprobsResult>).

use serde_json::{Value, json};

use crate::conversation::Json;
use crate::wire::fields::Fields;

/// OpenAI's `content` list; `None` where nothing is told.
pub(super) fn content(mut result: Fields<'_>) -> Option<Json> {
    let chosen = result.items("chosenCandidates");
    let mut tops = result.items("topCandidates").into_iter();
    let mut content = Vec::with_capacity(chosen.len());
    for raw in chosen {
        let top = tops.next();
        let Some(mut entry) = token(raw.get()) else { continue };
        let mut top = top.and_then(Fields::of);
        let alternatives = top.as_mut().map(|top| top.items("candidates")).unwrap_or_default();
        let alternatives: Vec<Value> =
            alternatives.into_iter().filter_map(|raw| token(raw.get())).collect();
        if let Value::Object(entry) = &mut entry {
            entry.insert("top_logprobs".to_owned(), Value::Array(alternatives));
        }
        content.push(entry);
    }
    (!content.is_empty()).then(|| Json::of(&content))
}

fn token(candidate: &str) -> Option<Value> {
    let mut candidate = Fields::read(candidate)?;
    let token = candidate.text("token")?;
    // A probability of 1 is left out, as protobuf leaves out zeros.
    let logprob = candidate.lenient::<f64>("logProbability").unwrap_or_default();
    Some(json!({ "token": token, "logprob": logprob, "bytes": token.as_bytes() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_become_one() {
        let text = r#"{"chosenCandidates":[{"token":"a","tokenId":1,"logProbability":-0.5},{"token":"é"},{}],
            "topCandidates":[{"candidates":[{"token":"a","logProbability":-0.5},{"token":"b","logProbability":-2}]}]}"#;
        let content = content(Fields::read(text).expect("an object")).expect("told");
        let expected = json!([
            {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
                {"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -2.0, "bytes": [98]}]},
            {"token": "é", "logprob": 0.0, "bytes": [195, 169], "top_logprobs": []},
        ]);
        assert_eq!(content.to_value(), expected);
        assert!(super::content(Fields::read("{}").expect("an object")).is_none());
    }
}
