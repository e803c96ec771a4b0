//! Cohere's citations and log probabilities in the conversation's words.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::conversation::{Annotation, Format, Json};
use crate::wire::fields::Fields;

/// A citation and the content block it stands in, where the provider says.
#[derive(Debug, PartialEq)]
pub(super) struct Cited {
    pub(super) content: Option<u64>,
    pub(super) annotations: Vec<Annotation>,
}

/// Reads a citation of the answer's text; `None` for one of thoughts or of a plan, which nobody can show.
/// Sources with an address become OpenAI's `url_citation`; a citation without any stays as it is.
pub(super) fn read(raw: &RawValue) -> Option<Cited> {
    let mut fields = Fields::of(raw)?;
    if fields.text("type").is_some_and(|kind| kind != "TEXT_CONTENT") {
        return None;
    }
    let content = fields.whole("content_index");
    let (start, end) = (fields.whole("start"), fields.whole("end"));
    let sources = fields.items("sources").into_iter();
    let mut annotations: Vec<Annotation> = sources
        .filter_map(|source| {
            let mut source = Fields::of(source)?;
            let mut shown = source.inner("document").or_else(|| source.inner("tool_output"))?;
            let url = shown.text("url").filter(|url| url.starts_with("http"))?;
            Some(Annotation::Url { url, title: shown.text("title"), start, end })
        })
        .collect();
    if annotations.is_empty() {
        annotations.push(Annotation::Foreign { format: Format::Cohere, value: Json::of_raw(raw) });
    }
    Some(Cited { content, annotations })
}

/// One entry of log probabilities as OpenAI has it.
#[derive(Serialize)]
struct Entry {
    token: String,
    logprob: Json,
    bytes: Vec<u8>,
    top_logprobs: [(); 0],
}

/// Reads an entry. It is of a piece of text, which may be more than one token: then their logarithms add up.
pub(super) fn logprob(raw: &RawValue) -> Option<Json> {
    let mut fields = Fields::of(raw)?;
    let token = fields.text("text")?;
    let each: Vec<Json> = fields.lenient("logprobs")?;
    let logprob = match each.as_slice() {
        [one] => one.clone(),
        several => Json::of(&several.iter().filter_map(Json::read::<f64>).sum::<f64>()),
    };
    let bytes = token.clone().into_bytes();
    Some(Json::of(&Entry { token, logprob, bytes, top_logprobs: [] }))
}
