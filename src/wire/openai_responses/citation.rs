//! A citation in OpenAI's shape, which both halves read and write.
//! <https://platform.openai.com/docs/api-reference/responses/object>

use serde_json::value::RawValue;

use super::object::Object;
use crate::conversation::{Annotation, Format, Json};
use crate::wire::fields::Fields;

const FORMAT: Format = Format::OpenAiResponses;

/// Reads one; one without what a citation needs is carried as it is.
pub(super) fn read(raw: &RawValue) -> Annotation {
    let foreign = || Annotation::Foreign { format: FORMAT, value: Json::of_raw(raw) };
    let Some(mut fields) = Fields::of(raw) else { return foreign() };
    if fields.text("type").as_deref() != Some("url_citation") {
        return foreign();
    }
    match fields.text("url") {
        Some(url) => Annotation::Url {
            url,
            title: fields.text("title").filter(|title| !title.is_empty()),
            start: fields.whole("start_index"),
            end: fields.whole("end_index"),
        },
        None => foreign(),
    }
}

/// Writes one; none for a kind that only another format has.
pub(super) fn write(annotation: &Annotation) -> Option<Json> {
    match annotation {
        Annotation::Url { url, title, start, end } => {
            let object = Object::of_type("url_citation").with("url", url);
            let object = object.with("title", title.as_deref().unwrap_or_default());
            let object = object.with("start_index", start.unwrap_or_default());
            Some(object.with("end_index", end.unwrap_or_default()).into_json())
        }
        Annotation::Foreign { format, value } => (*format == FORMAT).then(|| value.clone()),
    }
}
