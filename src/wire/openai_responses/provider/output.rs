//! Output items, read into the parts of an answer. The whole answer and the stream both read their items here,
//! so that they come to the same. Lenient: a wrong type counts as absent.
//! Items: <https://platform.openai.com/docs/api-reference/responses/object#responses-object-output>.

use serde_json::value::RawValue;

use super::super::super::codec::Ids;
use super::super::super::fields::{Fields, as_string};
use super::super::super::openai_usage;
use super::super::citation;
use super::FORMAT;
use crate::conversation::usage::{Service, Tier};
use crate::conversation::{
    CallKind, Content, Extras, Finish, Head, Json, Media, MediaKind, Part, Reasoning, Seal, Source,
    ToolCall, Usage,
};

/// An item as far as it is told.
#[derive(Debug)]
pub(super) struct Item {
    pub id: Option<String>,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// Its texts and refusals, each with its place in the content.
    Message {
        parts: Vec<(u64, Part)>,
        extras: Extras,
    },
    Reasoning(Reasoning),
    /// `named`: the item says which tool is called, and may be shown.
    Call {
        call: ToolCall,
        named: bool,
    },
    /// Whole: a picture, or what only this format knows.
    Other(Box<Part>),
}

/// Reads an item.
pub(super) fn item(raw: &RawValue) -> Option<Item> {
    let mut fields = Fields::of(raw)?;
    let kind = fields.text("type").unwrap_or_default();
    let id = fields.text("id").filter(|id| !id.is_empty());
    let what = match kind.as_str() {
        "message" => message(fields, id.as_deref()),
        "reasoning" => What::Reasoning(reasoning(fields, id.clone())),
        "image_generation_call" => What::Other(Box::new(picture(raw, fields, id.as_deref()))),
        _ => match call_kind(&kind, &fields) {
            Some(call_kind) => call(fields, &kind, call_kind, id.clone()),
            None => {
                let content = Content::Foreign { format: FORMAT, value: Json::of_raw(raw) };
                What::Other(Box::new(Part::new(content)))
            }
        },
    };
    Some(Item { id, what })
}

/// The parts of an item in a whole answer.
pub(super) fn parts(item: Item, ids: &mut Ids) -> Vec<Part> {
    match item.what {
        What::Message { parts, .. } => parts.into_iter().map(|(_, part)| part).collect(),
        What::Reasoning(reasoning) if is_empty(&reasoning) => Vec::new(),
        What::Reasoning(reasoning) => vec![Part::reasoning(reasoning)],
        What::Call { mut call, .. } => {
            complete(&mut call, ids);
            vec![Part::new(Content::ToolCall(call))]
        }
        What::Other(part) => vec![*part],
    }
}

/// A call with what it must have: an id, and arguments that are none rather than nothing.
pub(super) fn complete(call: &mut ToolCall, ids: &mut Ids) {
    if call.id.is_empty() {
        call.id = ids.call();
    }
    if let Some(none) = no_arguments(call.kind, &call.arguments) {
        call.arguments = none.to_owned();
    }
}

/// What stands for arguments that are absent.
pub(super) fn no_arguments(kind: CallKind, arguments: &str) -> Option<&'static str> {
    (kind != CallKind::Custom && arguments.trim().is_empty()).then_some("{}")
}

/// A thought of which nothing is told.
pub(super) fn is_empty(reasoning: &Reasoning) -> bool {
    let told = reasoning.summary.iter().any(|summary| !summary.is_empty());
    !told && reasoning.text.is_empty() && reasoning.seal.is_none()
}

/// What is said of the answer as a whole.
pub(super) fn head(response: &mut Fields<'_>) -> Head {
    Head {
        id: response.text("id").filter(|id| !id.is_empty()),
        model: response.text("model").filter(|model| !model.is_empty()),
        created: response.whole("created_at").and_then(|at| i64::try_from(at).ok()),
        system_fingerprint: None,
        service_tier: response.text("service_tier"),
    }
}

/// Why the model stopped.
pub(super) fn finish(response: &mut Fields<'_>, is_incomplete: bool) -> Finish {
    let reason = response.inner("incomplete_details").and_then(|mut why| why.text("reason"));
    match reason.as_deref() {
        None if is_incomplete => Finish::Fault("incomplete".to_owned()),
        None => Finish::Stop,
        Some("max_output_tokens" | "max_tokens" | "length") => Finish::Length,
        Some("content_filter") => Finish::Filtered(None),
        Some(other) => Finish::Fault(other.to_owned()),
    }
}

/// How often the provider searched the web; to be asked before the output is read.
pub(super) fn searches(response: &Fields<'_>) -> u64 {
    let items = response.peek("output").map(RawValue::get).unwrap_or_default();
    openai_usage::searches(items.as_bytes())
}

pub(super) fn usage(response: &mut Fields<'_>, searches: u64) -> Option<Usage> {
    let word = response.peek("service_tier").and_then(as_string);
    let tier = word.as_deref().and_then(Tier::read);
    let mut usage = response.inner("usage")?;
    let mut input = usage.inner("input_tokens_details").unwrap_or_default();
    let mut output = usage.inner("output_tokens_details").unwrap_or_default();
    let usage = Usage {
        input: usage.whole("input_tokens"),
        output: usage.whole("output_tokens"),
        cache_read: input.whole("cached_tokens"),
        cache_write: input.whole("cache_write_tokens"),
        reasoning: output.whole("reasoning_tokens"),
        searches: (searches > 0).then_some(searches),
        service: Service { tier, ..Service::default() },
        ..Usage::default()
    };
    (!usage.is_empty()).then_some(usage)
}

/// Log probabilities, where there are any.
pub(super) fn logprobs(fields: &mut Fields<'_>) -> Option<Json> {
    let entries = fields.items("logprobs");
    (!entries.is_empty()).then(|| Json::of(&entries))
}

/// The text of an opaque field that may be a string or, of some servers, the JSON itself.
pub(super) fn json_text(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let raw = fields.take(name)?;
    let text = as_string(raw);
    Some(text.unwrap_or_else(|| raw.get().to_owned()))
}

/// The fields of a message that its parts carry along: `id` and `phase`, by which a client's own half makes
/// the same message of them. `status` differs between the beginning and the end of one.
fn message_extras(fields: &mut Fields<'_>, id: Option<&str>) -> Extras {
    let mut kept = Vec::new();
    kept.extend(id.map(|id| ("id".to_owned(), Json::of(&id))));
    kept.extend(fields.json("phase").map(|phase| ("phase".to_owned(), phase)));
    Extras::new(FORMAT, kept)
}

fn message(mut fields: Fields<'_>, id: Option<&str>) -> What {
    let extras = message_extras(&mut fields, id);
    let mut parts = Vec::new();
    for (place, raw) in (0..).zip(fields.items("content")) {
        if let Some(content) = content(raw) {
            parts.push((place, Part { extras: extras.clone(), ..Part::new(content) }));
        }
    }
    What::Message { parts, extras }
}

/// A part of a message; `None` for an empty one, and for kinds nobody knows.
fn content(raw: &RawValue) -> Option<Content> {
    let mut fields = Fields::of(raw)?;
    match fields.text("type").as_deref() {
        Some("refusal") => {
            fields.text("refusal").filter(|text| !text.is_empty()).map(Content::Refusal)
        }
        _ => {
            let text = fields.text("text").filter(|text| !text.is_empty())?;
            let annotations = fields.items("annotations").into_iter().map(citation::read).collect();
            Some(Content::Text { text, annotations, logprobs: logprobs(&mut fields) })
        }
    }
}

fn reasoning(mut fields: Fields<'_>, id: Option<String>) -> Reasoning {
    let texts = |items: Vec<&RawValue>| -> Vec<String> {
        let text = |raw: &RawValue| Fields::of(raw)?.text("text");
        items.into_iter().filter_map(text).collect()
    };
    let sealed = fields.text("encrypted_content").filter(|sealed| !sealed.is_empty());
    Reasoning {
        text: texts(fields.items("content")).join("\n\n"),
        summary: texts(fields.items("summary")),
        seal: sealed.map(|data| Seal { format: FORMAT, data }),
        redacted: false,
        id,
    }
}

/// Which calls the client answers; the others are the provider's own affair.
fn call_kind(kind: &str, fields: &Fields<'_>) -> Option<CallKind> {
    let is = |name: &str, value: &str| fields.peek(name).is_some_and(|raw| raw.get() == value);
    match kind {
        "function_call" => Some(CallKind::Function),
        "custom_tool_call" => Some(CallKind::Custom),
        "local_shell_call" => Some(CallKind::LocalShell),
        // In a container it is the provider that runs the commands.
        "shell_call" => {
            let place = fields.peek("environment").and_then(Fields::of);
            let place = place.and_then(|mut place| place.text("type"));
            place.is_none_or(|place| place == "local").then_some(CallKind::LocalShell)
        }
        "apply_patch_call" => Some(CallKind::ApplyPatch),
        "tool_search_call" => is("execution", "\"client\"").then_some(CallKind::ToolSearch),
        _ => None,
    }
}

fn call(mut fields: Fields<'_>, kind: &str, call_kind: CallKind, id: Option<String>) -> What {
    let only_name = kind.strip_suffix("_call").unwrap_or_default();
    let (field, name) = match call_kind {
        CallKind::Function => ("arguments", fields.text("name")),
        CallKind::Custom => ("input", fields.text("name")),
        CallKind::LocalShell => ("action", Some(only_name.to_owned())),
        CallKind::ApplyPatch => ("operation", Some(only_name.to_owned())),
        CallKind::ToolSearch => ("arguments", Some(only_name.to_owned())),
    };
    let name = name.filter(|name| !name.is_empty());
    let call = ToolCall {
        // Servers that know one id only give that.
        id: fields.text("call_id").or_else(|| id.clone()).unwrap_or_default(),
        item_id: id,
        namespace: fields.text("namespace").filter(|namespace| !namespace.is_empty()),
        kind: call_kind,
        arguments: json_text(&mut fields, field).unwrap_or_default(),
        seal: None,
        name: name.clone().unwrap_or_default(),
    };
    What::Call { call, named: name.is_some() }
}

/// A picture the model made, where it is there; else the call of the tool that failed to make one.
fn picture(raw: &RawValue, mut fields: Fields<'_>, id: Option<&str>) -> Part {
    let Some(data) = fields.text("result").filter(|data| !data.is_empty()) else {
        return Part::new(Content::Foreign { format: FORMAT, value: Json::of_raw(raw) });
    };
    let kind = fields.peek("output_format").and_then(as_string);
    let media_type = match kind.as_deref() {
        Some("svg") => "image/svg+xml".to_owned(),
        Some(kind) => format!("image/{kind}"),
        None => "image/png".to_owned(),
    };
    let source = Source::Base64 { media_type, data };
    let media = Media { kind: MediaKind::Image, source, name: None, detail: None };
    let mut kept = Vec::new();
    kept.extend(id.map(|id| ("id".to_owned(), Json::of(&id))));
    kept.extend_from_slice(fields.rest(FORMAT).of(FORMAT));
    Part { extras: Extras::new(FORMAT, kept), ..Part::new(Content::Media(media)) }
}
