//! Reranking: the request of Cohere and Jina, which clients send, and what Cohere's second version and Hugging
//! Face's text-embeddings-inference make of it. (<https://docs.cohere.com/reference/rerank>,
//! <https://jina.ai/reranker>, <https://huggingface.github.io/text-embeddings-inference>)

use serde::Serialize;
use serde_json::value::RawValue;

use super::codec::{Outbound, garbage};
use super::fields::{self, Fields};
use super::members::Members;
use crate::conversation::Json;
use crate::ground::fault::Fault;

/// Whose words a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Cohere's `/v2/rerank`.
    Cohere,
    /// `/rerank` of text-embeddings-inference.
    Tei,
}

/// What of the request shapes the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The documents, where they are wanted back.
    documents: Option<Vec<Json>>,
    top_n: Option<usize>,
}

/// Writes a client's request for a provider.
///
/// # Errors
/// `InvalidRequest`: which field is wrong.
pub fn request(dialect: Dialect, body: &[u8], model: &str) -> Result<(Outbound, Kept), Fault> {
    let mut fields = Fields::of_bytes(body)
        .ok_or_else(|| Fault::invalid("The body must be a JSON object, and it is not."))?;
    let query = fields.string("query")?;
    let query = fields.required("query", query)?;
    let documents = fields.list("documents")?;
    let documents = fields.required("documents", documents)?;
    if documents.is_empty() {
        let what = "`documents` is an empty list: there is nothing to rank.";
        return Err(Fault::invalid(what).with_param("documents"));
    }
    let top_n = fields.count("top_n")?;
    if top_n == Some(0) {
        return Err(fields.wrong("top_n", "a whole number from 1 up"));
    }
    let wanted_back = fields.boolean("return_documents")?.unwrap_or_default();
    let texts: Vec<String> =
        documents.iter().map(|(path, raw)| text(raw, path)).collect::<Result<_, _>>()?;
    let mut members = Members::default();
    let path = match dialect {
        Dialect::Cohere => {
            members.set("model", Json::of(&model));
            members.set("query", Json::of(&query));
            members.set("documents", Json::of(&texts));
            members.set("top_n", top_n.map(|number| Json::of(&number)));
            for name in ["max_tokens_per_doc", "priority"] {
                members.set(name, fields.json(name));
            }
            "/v2/rerank"
        }
        Dialect::Tei => {
            members.set("query", Json::of(&query));
            members.set("texts", Json::of(&texts));
            for name in ["raw_scores", "truncate", "truncation_direction"] {
                members.set(name, fields.json(name));
            }
            "/rerank"
        }
    };
    let kept = Kept {
        documents: wanted_back.then(|| documents.iter().map(|(_, raw)| shown(raw)).collect()),
        top_n: top_n.and_then(|number| usize::try_from(number).ok()),
    };
    Ok((Outbound { path: path.into(), body: members.into_body(), ..Outbound::default() }, kept))
}

/// Reads a provider's answer and writes the client's, best first. `model` is the name the client asked for.
///
/// # Errors
/// `UpstreamGarbage`: it is no answer.
pub fn reply(dialect: Dialect, body: &[u8], model: &str, kept: &Kept) -> Result<Vec<u8>, Fault> {
    const NONE: &str = "The provider's answer holds no ranking.";
    let mut fields = match dialect {
        Dialect::Cohere => Fields::of_bytes(body).ok_or_else(|| garbage(NONE))?,
        Dialect::Tei => Fields::default(),
    };
    let entries: Option<Vec<&RawValue>> = match dialect {
        Dialect::Cohere => fields.take("results").map(RawValue::get).map(serde_json::from_str),
        Dialect::Tei => Some(serde_json::from_slice(body)),
    }
    .and_then(Result::ok);
    let entries = entries.ok_or_else(|| garbage(NONE))?;
    let mut results = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut entry = Fields::of(entry).ok_or_else(|| garbage(NONE))?;
        let score = entry.json("relevance_score").or_else(|| entry.json("score"));
        let index = entry.whole("index").and_then(|index| usize::try_from(index).ok());
        let (Some(index), Some(relevance_score)) = (index, score) else {
            return Err(garbage(NONE));
        };
        let documents = kept.documents.as_ref();
        let document = documents.and_then(|documents| documents.get(index)).cloned();
        results.push(Ranked { index, relevance_score, document });
    }
    let order = |ranked: &Ranked| ranked.relevance_score.read::<f64>().unwrap_or_default();
    results.sort_by(|one, two| order(two).total_cmp(&order(one)));
    results.truncate(kept.top_n.unwrap_or(usize::MAX));
    let answer = Answer { id: fields.json("id"), model, results, meta: fields.json("meta") };
    serde_json::to_vec(&answer).map_err(|_| Fault::bug("an answer that has no JSON"))
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Json>,
    model: &'a str,
    results: Vec<Ranked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Json>,
}

#[derive(Serialize)]
struct Ranked {
    index: usize,
    relevance_score: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Json>,
}

/// A document as text: clients send strings, objects with `text`, or, for `rank_fields` of Cohere's first
/// version, any object, which goes as its JSON.
fn text(raw: &RawValue, path: &str) -> Result<String, Fault> {
    if let Some(text) = fields::as_string(raw) {
        return Ok(text);
    }
    let mut object = Fields::within(raw, path.to_owned())
        .map_err(|_| fields::wrong(path, "a string or an object with `text`"))?;
    Ok(object.text("text").unwrap_or_else(|| raw.get().to_owned()))
}

/// A document as answers show it.
fn shown(raw: &RawValue) -> Json {
    match fields::as_string(raw) {
        Some(text) => Json::of(&serde_json::json!({ "text": text })),
        None => Json::of_raw(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = r#"{"model":"x","query":"q","documents":["a",{"text":"b","k":1},{"title":"c"}],"top_n":2,
        "return_documents":true,"rank_fields":["title"]}"#;

    #[track_caller]
    fn check(dialect: Dialect, path: &str, body: &str) -> Kept {
        let (outbound, kept) = request(dialect, ASKED.as_bytes(), "m").expect("a request");
        assert_eq!((&*outbound.path, &*String::from_utf8_lossy(&outbound.body)), (path, body));
        kept
    }

    #[track_caller]
    fn check_fault(body: &str, expected: &str) {
        let fault = request(Dialect::Cohere, body.as_bytes(), "m").expect_err("a fault");
        assert_eq!(fault.status(), 400);
        assert!(fault.message.contains(expected), "{}", fault.message);
    }

    #[test]
    fn requests_and_answers_for_cohere() {
        let body =
            r#"{"model":"m","query":"q","documents":["a","b","{\"title\":\"c\"}"],"top_n":2}"#;
        let kept = check(Dialect::Cohere, "/v2/rerank", body);
        let answer = br#"{"id":"i","results":[{"index":2,"relevance_score":0.9},
            {"index":0,"relevance_score":0.10}],"meta":{"billed_units":{"search_units":1}}}"#;
        let answer = reply(Dialect::Cohere, answer, "mine", &kept).expect("an answer");
        assert_eq!(
            String::from_utf8_lossy(&answer),
            r#"{"id":"i","model":"mine","results":[{"index":2,"relevance_score":0.9,"document":{"title":"c"}},{"index":0,"relevance_score":0.10,"document":{"text":"a"}}],"meta":{"billed_units":{"search_units":1}}}"#
        );
        let documented = include_bytes!("../../tests/golden/answers/cohere/rerank.json");
        let answer = reply(Dialect::Cohere, documented, "m", &Kept::default()).expect("an answer");
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("json");
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(3));
        assert_eq!(answer["results"][0]["index"], 3);
    }

    #[test]
    fn requests_and_answers_for_text_embeddings_inference() {
        let body = r#"{"query":"q","texts":["a","b","{\"title\":\"c\"}"]}"#;
        let kept = check(Dialect::Tei, "/rerank", body);
        let answer =
            br#"[{"index":0,"score":-1.5},{"index":1,"score":0.99},{"index":2,"score":0.5}]"#;
        let answer = reply(Dialect::Tei, answer, "mine", &kept).expect("an answer");
        assert_eq!(
            String::from_utf8_lossy(&answer),
            r#"{"model":"mine","results":[{"index":1,"relevance_score":0.99,"document":{"text":"b","k":1}},{"index":2,"relevance_score":0.5,"document":{"title":"c"}}]}"#
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        check_fault("[]", "must be a JSON object");
        check_fault(r#"{"documents":["a"]}"#, "`query` is missing");
        check_fault(r#"{"query":"q"}"#, "`documents` is missing");
        check_fault(r#"{"query":"q","documents":[]}"#, "empty list");
        check_fault(r#"{"query":"q","documents":["a",7]}"#, "`documents[1]`");
        check_fault(r#"{"query":"q","documents":["a"],"top_n":0}"#, "`top_n`");
        for body in [&b""[..], b"{}", b"{\"results\":7}", b"{\"results\":[{}]}", b"7"] {
            for dialect in [Dialect::Cohere, Dialect::Tei] {
                let fault = reply(dialect, body, "m", &Kept::default()).expect_err("none");
                assert_eq!(fault.status(), 502);
            }
        }
    }
}
