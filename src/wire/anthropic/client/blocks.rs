//! One content block of a request. A block that only Anthropic has is carried whole; one that others can at
//! least read as text is read as text, with the block itself beside it.

use serde_json::value::RawValue;

use super::super::types::OWN_BLOCK;
use super::served;
use crate::conversation::{
    Annotation, Content, Extras, Format, Json, Media, MediaKind, Part, Reasoning, Role, Source,
    ToolCall, ToolResult,
};
use crate::ground::fault::Fault;
use crate::wire::fields::{self, Fields};
use crate::wire::seal;

/// Reads a block of a message, of the system prompt or of a tool's result.
pub(super) fn block(raw: &RawValue, path: String, role: Role) -> Result<Part, Fault> {
    let mut fields = Fields::within(raw, path)?;
    let kind = fields.word("type")?;
    let kind = fields.required("type", kind)?;
    let whole = || Part::new(foreign(raw));
    // A block may come without what its type asks for where a newer version of it has something else
    // instead; then it is opaque as well.
    let content = match &*kind {
        "text" => text(&mut fields)?,
        "image" => match media(&mut fields, MediaKind::Image)? {
            Some(media) => media,
            None => return Ok(whole()),
        },
        "document" => match document(&mut fields)? {
            Some(Document { content, source }) => {
                let mut part = finish(content, &mut fields);
                part.extras = keep(source, fields);
                return Ok(part);
            }
            None => return Ok(whole()),
        },
        // A provider that runs such tools itself wants its own blocks back.
        "mcp_tool_use" if !is_anthropics(&fields, "id") => served::read_use(&mut fields)?,
        "mcp_tool_result" if is_anthropics(&fields, "tool_use_id") => return Ok(whole()),
        "tool_use" => call(&mut fields)?,
        "tool_result" | "mcp_tool_result" => result(&mut fields, role)?,
        "thinking" => thinking(&mut fields)?,
        "redacted_thinking" => redacted(&mut fields)?,
        "search_result" => return Ok(stand_in(raw, search_result(&mut fields)?, &mut fields)),
        "tool_reference" => {
            let name = fields.string("tool_name")?.unwrap_or_default();
            let text = format!("The tool `{name}` is available.");
            return Ok(stand_in(raw, text, &mut fields));
        }
        _ => return Ok(whole()),
    };
    let mut part = finish(content, &mut fields);
    part.extras = fields.rest(Format::Anthropic);
    Ok(part)
}

/// Anthropic's own ids of calls that it runs.
fn is_anthropics(fields: &Fields<'_>, name: &str) -> bool {
    let id = fields.peek(name).and_then(fields::as_string);
    id.is_none_or(|id| id.starts_with("mcptoolu_"))
}

fn finish(content: Content, fields: &mut Fields<'_>) -> Part {
    Part { cache_control: fields.json("cache_control"), ..Part::new(content) }
}

fn foreign(raw: &RawValue) -> Content {
    Content::Foreign { format: Format::Anthropic, value: Json::of_raw(raw) }
}

/// A text for other formats, with Anthropic's own block beside it.
fn stand_in(raw: &RawValue, text: String, fields: &mut Fields<'_>) -> Part {
    let own = vec![(OWN_BLOCK.to_owned(), Json::of_raw(raw))];
    let mut part = finish(Part::text(text).content, fields);
    part.extras = Extras::new(Format::Anthropic, own);
    part
}

fn text(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let text = fields.string("text")?;
    let text = fields.required("text", text)?;
    let citations = fields.list("citations")?.unwrap_or_default();
    let own = |raw| Annotation::Foreign { format: Format::Anthropic, value: Json::of_raw(raw) };
    let annotations = citations.into_iter().map(|(_, raw)| own(raw)).collect();
    Ok(Content::Text { text, annotations, logprobs: None })
}

/// An image or a document by its `source`; `None` for a kind of source that is not known.
fn media(fields: &mut Fields<'_>, kind: MediaKind) -> Result<Option<Content>, Fault> {
    let source = fields.object("source")?;
    let mut source = fields.required("source", source)?;
    let word = source.word("type")?;
    let source = match &*source.required("type", word)? {
        "base64" => {
            let media_type = source.string("media_type")?;
            let data = source.string("data")?;
            Source::Base64 {
                media_type: source.required("media_type", media_type)?,
                data: source.required("data", data)?,
            }
        }
        "text" => {
            let data = source.string("data")?;
            Source::Text(source.required("data", data)?)
        }
        "url" => {
            let url = source.string("url")?;
            Source::Url(source.required("url", url)?)
        }
        "file" => {
            let id = source.string("file_id")?;
            Source::FileId { format: Format::Anthropic, id: source.required("file_id", id)? }
        }
        _ => return Ok(None),
    };
    let name = if kind == MediaKind::Document { fields.string("title")? } else { None };
    Ok(Some(Content::Media(Media { kind, source, name, detail: None })))
}

/// A document, and its `source` where that says more than the content does.
struct Document {
    content: Content,
    source: Option<Json>,
}

fn document(fields: &mut Fields<'_>) -> Result<Option<Document>, Fault> {
    let Some(raw) = fields.peek("source") else {
        return fields.required("source", None).map(Some);
    };
    let mut source = Fields::within(raw, fields.path("source"))?;
    if source.word("type")?.as_deref() != Some("content") {
        let content = media(fields, MediaKind::Document)?;
        return Ok(content.map(|content| Document { content, source: None }));
    }
    // Its own chunks of text, or pictures among them: these no other format can hold.
    let content = source.take("content");
    let Some(text) = content.and_then(texts) else { return Ok(None) };
    let source = fields.json("source");
    let name = fields.string("title")?;
    let media = Media { kind: MediaKind::Document, source: Source::Text(text), name, detail: None };
    Ok(Some(Document { content: Content::Media(media), source }))
}

/// The text of a string or of a list of text blocks; `None` where there is more than text.
fn texts(raw: &RawValue) -> Option<String> {
    if let Some(text) = fields::as_string(raw) {
        return Some(text);
    }
    let blocks: Vec<Json> = serde_json::from_str(raw.get()).ok()?;
    let texts: Option<Vec<String>> =
        blocks.iter().map(|block| Fields::of(block.as_raw())?.text("text")).collect();
    Some(texts?.join("\n"))
}

fn keep(source: Option<Json>, fields: Fields<'_>) -> Extras {
    let rest = fields.rest(Format::Anthropic);
    let Some(source) = source else { return rest };
    let mut all = vec![("source".to_owned(), source)];
    all.extend(rest.of(Format::Anthropic).iter().cloned());
    Extras::new(Format::Anthropic, all)
}

fn call(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let id = fields.string("id")?;
    let name = fields.string("name")?;
    let input = fields.json("input");
    if input.as_ref().is_some_and(|input| !input.is_object()) {
        return Err(fields.wrong("input", "an object"));
    }
    Ok(Content::ToolCall(ToolCall {
        id: fields.required("id", id)?,
        name: fields.required("name", name)?,
        arguments: input.map_or_else(|| "{}".to_owned(), |input| input.as_str().to_owned()),
        ..ToolCall::default()
    }))
}

fn result(fields: &mut Fields<'_>, role: Role) -> Result<Content, Fault> {
    let call_id = fields.string("tool_use_id")?;
    let call_id = fields.required("tool_use_id", call_id)?;
    let path = fields.path("content");
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(raw) => match fields::as_string(raw) {
            Some(text) => vec![Part::text(text)],
            None => {
                let blocks = fields::elements(raw, &path)?;
                let blocks = blocks.into_iter();
                blocks.map(|(path, raw)| block(raw, path, role)).collect::<Result<_, _>>()?
            }
        },
    };
    let is_error = fields.boolean("is_error")?.unwrap_or_default();
    Ok(Content::ToolResult(ToolResult { call_id, parts, is_error, ..ToolResult::default() }))
}

/// The signature is Anthropic's own, or it is what another vendor's reasoning was wrapped in.
fn thinking(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let text = fields.string("thinking")?.unwrap_or_default();
    let signature = fields.string("signature")?.unwrap_or_default();
    let mut reasoning = seal::unwrap(&signature, Format::Anthropic);
    let is_openai =
        reasoning.seal.as_ref().is_some_and(|seal| seal.format == Format::OpenAiResponses);
    if reasoning.text.is_empty() && is_openai {
        // OpenAI shows summaries only, and refuses its thoughts as a text.
        reasoning.summary = vec![text].into_iter().filter(|text| !text.is_empty()).collect();
    } else if reasoning.text.is_empty() {
        reasoning.text = text;
    }
    Ok(Content::Reasoning(reasoning))
}

fn redacted(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let data = fields.string("data")?;
    let data = fields.required("data", data)?;
    let reasoning = seal::unwrap(&data, Format::Anthropic);
    Ok(Content::Reasoning(Reasoning { redacted: true, ..reasoning }))
}

/// What a search found, as text: title, source, contents.
fn search_result(fields: &mut Fields<'_>) -> Result<String, Fault> {
    let title = fields.string("title")?.unwrap_or_default();
    let source = fields.string("source")?.unwrap_or_default();
    let content = fields.take("content").and_then(texts).unwrap_or_default();
    let lines = [title, source, content];
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|l| !l.is_empty()).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Seal;

    #[track_caller]
    fn check(json: &str, expected: Content) -> Part {
        let raw: &RawValue = serde_json::from_str(json).expect("valid");
        let part = block(raw, "x".into(), Role::User).expect("a block");
        assert_eq!(part.content, expected, "{json}");
        part
    }

    #[test]
    fn every_kind_is_read() {
        let part = check(
            r#"{"type":"text","text":"a","cache_control":{"type":"ephemeral"},"new":1}"#,
            Part::text("a").content,
        );
        assert_eq!(part.cache_control.expect("kept").as_str(), r#"{"type":"ephemeral"}"#);
        assert!(part.extras.get("new").is_some());
        let image = |source| {
            Content::Media(Media { kind: MediaKind::Image, source, name: None, detail: None })
        };
        check(
            r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"}}"#,
            image(Source::Url("https://x/y.png".into())),
        );
        check(
            r#"{"type":"image","source":{"type":"file","file_id":"file_1"}}"#,
            image(Source::FileId { format: Format::Anthropic, id: "file_1".into() }),
        );
        let document = r#"{"type":"document","title":"T","source":{"type":"content","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#;
        let part = check(
            document,
            Content::Media(Media {
                kind: MediaKind::Document,
                source: Source::Text("a\nb".into()),
                name: Some("T".into()),
                detail: None,
            }),
        );
        assert!(part.extras.get("source").is_some());
        check(
            r#"{"type":"tool_use","id":"t","name":"f","input":{"a": 1.0}}"#,
            Content::ToolCall(ToolCall {
                id: "t".into(),
                name: "f".into(),
                arguments: r#"{"a": 1.0}"#.into(),
                ..ToolCall::default()
            }),
        );
    }

    #[test]
    fn what_only_anthropic_has_is_opaque() {
        let opaque = [
            r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{}}"#,
            r#"{"type":"container_upload","file_id":"f"}"#,
            r#"{"type":"tool_addition","tool":{"type":"tool_reference","tool_name":"x"}}"#,
            r#"{"type":"image","source":{"type":"hologram"}}"#,
            r#"{"type":"document","source":{"type":"content","content":[{"type":"image"}]}}"#,
        ];
        for json in opaque {
            let value = Json::parse(json).expect("valid");
            check(json, Content::Foreign { format: Format::Anthropic, value });
        }
        let found = r#"{"type":"search_result","title":"T","source":"u","content":[{"type":"text","text":"c"}]}"#;
        let part = check(found, Part::text("T\nu\nc").content);
        assert_eq!(part.extras.get(OWN_BLOCK).map(Json::as_str), Some(found));
    }

    #[test]
    fn thoughts_find_their_maker() {
        let own = |data: &str| Some(Seal { format: Format::Anthropic, data: data.into() });
        check(
            r#"{"type":"thinking","thinking":"hm","signature":"Eq=="}"#,
            Content::Reasoning(Reasoning {
                text: "hm".into(),
                seal: own("Eq=="),
                ..Reasoning::default()
            }),
        );
        check(
            r#"{"type":"thinking","thinking":"hm","signature":""}"#,
            Content::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() }),
        );
        let seal = Some(Seal { format: Format::OpenAiResponses, data: "gAAA".into() });
        let foreign = Reasoning { text: "s".into(), seal, ..Reasoning::default() };
        let signature = seal::wrap(&foreign, Format::Anthropic).expect("sealed");
        let json = format!(r#"{{"type":"thinking","thinking":"shown","signature":"{signature}"}}"#);
        check(&json, Content::Reasoning(foreign));
        check(
            r#"{"type":"redacted_thinking","data":"R"}"#,
            Content::Reasoning(Reasoning {
                seal: own("R"),
                redacted: true,
                ..Reasoning::default()
            }),
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#"{"type":"text"}"#, "x.text"),
            (r#"{"text":"a"}"#, "x.type"),
            (r#"{"type":"image","source":{"type":"base64","data":"x"}}"#, "x.source.media_type"),
            (r#"{"type":"tool_use","id":"a","name":"f","input":"x"}"#, "x.input"),
            (r#"{"type":"tool_result","tool_use_id":"a","content":[5]}"#, "x.content[0]"),
        ];
        for (json, param) in cases {
            let raw: &RawValue = serde_json::from_str(json).expect("valid");
            let fault = block(raw, "x".into(), Role::User).expect_err("wrong");
            assert_eq!(fault.param.as_deref(), Some(param), "{json}");
        }
    }
}
