//! Where an answer's claims come from: `groundingMetadata` of Google Search
//! (<https://ai.google.dev/gemini-api/docs/google-search>) and `citationMetadata`, as annotations of the text.
//! Google counts bytes, annotations count characters.

use std::collections::HashSet;

use crate::conversation::{Annotation, Json};
use crate::wire::fields::Fields;

/// The annotations of `text`, each once: what supports a segment, then the sources that support no segment.
pub(super) fn annotations(metadata: &[Json], text: &str) -> Vec<Annotation> {
    let mut found: Vec<Annotation> = Vec::new();
    for json in metadata {
        let Some(mut fields) = Fields::of(json.as_raw()) else { continue };
        let all: Vec<Annotation> = if fields.has("groundingChunks") {
            grounded(&mut fields, text)
        } else {
            let mut citations = fields.items("citations");
            citations.extend(fields.items("citationSources"));
            citations.into_iter().filter_map(|raw| cited(raw.get(), text)).collect()
        };
        for annotation in all {
            if found.len() < MOST && !found.contains(&annotation) {
                found.push(annotation);
            }
        }
    }
    found
}

/// How often was searched for an answer: each chunk tells all so far.
pub(super) fn searches(metadata: &[Json]) -> u64 {
    let count = |json: &Json| {
        let queries = Fields::of(json.as_raw()).map(|mut fields| fields.items("webSearchQueries"));
        queries.map_or(0, |queries| queries.len() as u64)
    };
    metadata.iter().map(count).max().unwrap_or_default()
}

/// More than these no answer has.
const MOST: usize = 512;

fn grounded(fields: &mut Fields<'_>, text: &str) -> Vec<Annotation> {
    let chunks = fields.items("groundingChunks");
    let sources: Vec<_> = chunks.into_iter().map(|raw| source(raw.get())).collect();
    let mut used = HashSet::new();
    let mut found = Vec::new();
    for raw in fields.items("groundingSupports") {
        let Some(mut support) = Fields::of(raw) else { continue };
        let segment = support.inner("segment");
        let range = segment.and_then(|segment| range(segment, text));
        let indices = support.lenient::<Vec<usize>>("groundingChunkIndices").unwrap_or_default();
        for index in indices {
            if let Some(Some((url, title))) = sources.get(index) {
                used.insert(index);
                found.push(annotation(url.clone(), title.clone(), range));
            }
        }
    }
    let rest = sources.into_iter().enumerate().filter(|(at, _)| !used.contains(at));
    found.extend(
        rest.filter_map(|(_, source)| source).map(|(url, title)| annotation(url, title, None)),
    );
    found
}

/// The address and the title of a page, a place or a document.
fn source(chunk: &str) -> Option<(String, Option<String>)> {
    let mut chunk = Fields::read(chunk)?;
    let mut inner =
        ["web", "maps", "retrievedContext"].into_iter().find_map(|kind| chunk.inner(kind))?;
    Some((inner.text("uri")?, inner.text("title")))
}

fn cited(citation: &str, text: &str) -> Option<Annotation> {
    let mut citation = Fields::read(citation)?;
    let url = citation.text("uri").filter(|url| !url.is_empty())?;
    let title = citation.text("title");
    Some(annotation(url, title, range(citation, text)))
}

/// A segment in characters. Its bytes count from the beginning of a part, which need not be the beginning of this
/// text, so a segment that says its words is looked for by them.
fn range(mut segment: Fields<'_>, text: &str) -> Option<(u64, u64)> {
    let position = |at: Option<u64>| usize::try_from(at.unwrap_or_default()).ok();
    let start = position(segment.whole("startIndex"))?;
    let end = position(Some(segment.whole("endIndex")?))?;
    let words = segment.text("text").filter(|words| !words.is_empty());
    let (start, end) = match (text.get(start..end), words) {
        (Some(there), Some(words)) if there == words => (start, end),
        (Some(_), None) => (start, end),
        (_, Some(words)) => text.find(&words).map(|at| (at, at + words.len()))?,
        (None, None) => return None,
    };
    let count = |end: usize| text.get(..end).map(|before| before.chars().count() as u64);
    Some((count(start)?, count(end)?))
}

fn annotation(url: String, title: Option<String>, range: Option<(u64, u64)>) -> Annotation {
    let (start, end) = range.unzip();
    Annotation::Url { url, title, start, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metadata: &str, text: &str, expected: &[(&str, Option<u64>, Option<u64>)]) {
        let found = annotations(&[Json::parse(metadata).expect("valid")], text);
        let found: Vec<_> = found
            .iter()
            .map(|annotation| match annotation {
                Annotation::Url { url, start, end, .. } => (url.as_str(), *start, *end),
                Annotation::Foreign { .. } => ("", None, None),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn bytes_become_characters() {
        let metadata = r#"{"groundingChunks":[{"web":{"uri":"u0","title":"t"}},{"web":{"uri":"u1"}},{"maps":{"uri":"u2"}},{"x":1}],
            "groundingSupports":[{"segment":{"startIndex":3,"endIndex":6,"text":"abc"},"groundingChunkIndices":[1,0,9]},
            {"segment":{"startIndex":0,"endIndex":4,"text":"gone"},"groundingChunkIndices":[1]},
            {"segment":{"endIndex":2,"text":"é"},"groundingChunkIndices":[1]}]}"#;
        check(
            metadata,
            "é abc",
            &[
                ("u1", Some(2), Some(5)),
                ("u0", Some(2), Some(5)),
                ("u1", None, None),
                ("u1", Some(0), Some(1)),
                ("u2", None, None),
            ],
        );
        check(
            r#"{"citationSources":[{"startIndex":0,"endIndex":2,"uri":"u"},{"endIndex":1,"uri":"v"},{"license":"mit"}]}"#,
            "éx",
            &[("u", Some(0), Some(1)), ("v", None, None)],
        );
        check(r#"{"groundingChunks":7,"groundingSupports":[1]}"#, "", &[]);
    }
}
