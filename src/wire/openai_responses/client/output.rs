//! What the model said as output items, in the exact shape of each kind. The whole answer and the stream both make
//! their items here, so that what was streamed is what stands in the response object. Knows nothing of events.
//! Items: <https://platform.openai.com/docs/api-reference/responses/object#responses-object-output>.

use super::super::super::codec::{Echo, Stamp};
use super::super::super::fields::Fields;
use super::super::super::seal;
use super::super::citation;
use super::super::object::Object;
use super::{FORMAT, served};
use crate::conversation::served::Served;
use crate::conversation::{
    CallKind, Content, Finish, Json, Media, MediaKind, Part, Reasoning, Reply, Seal, Source,
    ToolCall,
};

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    InProgress,
    Completed,
    Incomplete,
}

/// What the request says about how an answer is to be shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// A summary of the thoughts is wanted: thoughts that have none are shown in its place. Codex shows summaries
    /// only, and echoes nothing of `content`; who did not ask for a summary finds thoughts in `content`, where
    /// OpenAI's own open models have them.
    pub summary: bool,
    /// `include: ["reasoning.encrypted_content"]`: thoughts without a seal are carried too, for providers that want
    /// them back (DeepSeek) from clients that echo nothing else.
    pub encrypted: bool,
}

/// The items of an answer, as the response object has them.
pub fn output_items(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Vec<Json> {
    let Some(choice) = reply.choices.first() else { return Vec::new() };
    let view = View::of(echo);
    let parts: Vec<Part> = choice.parts.iter().cloned().map(told).filter(is_shown).collect();
    let is_cut = choice.finish.as_ref().is_none_or(is_cut);
    let mut items = Vec::with_capacity(parts.len());
    let mut rest = parts.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let more = others.iter().take_while(|part| is_same_message(first, part)).count();
        let (parts, left) = rest.split_at_checked(more + 1).unwrap_or((rest, &[]));
        rest = left;
        let state = if rest.is_empty() && is_cut { State::Incomplete } else { State::Completed };
        let id = id_of(first, stamp, items.len());
        items.push(item(&id, parts, state, view));
        items.extend(seal_item(first, stamp, items.len()));
    }
    items
}

/// The answer ended before the model had said all.
pub(super) fn is_cut(finish: &Finish) -> bool {
    matches!(finish, Finish::Length | Finish::ContextWindow | Finish::Filtered(_))
}

/// The part as this format can tell it: where there is only an address, the address.
pub(super) fn told(part: Part) -> Part {
    match &part.content {
        Content::Media(Media { kind, source: Source::Url(url), .. }) => match kind {
            MediaKind::Image => Part::text(format!("![image]({url})")),
            _ => Part::text(url.as_str()),
        },
        _ => part,
    }
}

/// Whether anything of the part is to be seen: an empty text is no message.
pub(super) fn is_shown(part: &Part) -> bool {
    match &part.content {
        Content::Text { text, annotations, .. } => !text.is_empty() || !annotations.is_empty(),
        Content::Refusal(text) => !text.is_empty(),
        Content::Reasoning(Reasoning { text, summary, seal, redacted, id }) => {
            !text.is_empty() || !summary.is_empty() || seal.is_some() || *redacted || id.is_some()
        }
        Content::ToolCall(_) => true,
        Content::Served(served) => !matches!(**served, Served::Answer(_)),
        Content::Media(media) => {
            media.kind == MediaKind::Image && matches!(media.source, Source::Base64 { .. })
        }
        Content::Foreign { format, .. } => *format == FORMAT,
        Content::ToolResult(_) => false,
    }
}

/// Whether a part goes on with the message that another one is in: texts in a row are one message, unless the
/// provider says that they are two.
pub(super) fn is_same_message(first: &Part, next: &Part) -> bool {
    is_text(first) && is_text(next) && own(first, "id") == own(next, "id")
}

pub(super) fn is_text(part: &Part) -> bool {
    matches!(part.content, Content::Text { .. } | Content::Refusal(_))
}

/// The id of the item that begins with a part: its own where the provider gave one, as OpenAI ties encrypted thoughts
/// to their id; else made of the answer's.
pub(super) fn id_of(part: &Part, stamp: &Stamp, index: usize) -> String {
    let given = match &part.content {
        Content::Reasoning(reasoning) => reasoning.id.clone(),
        Content::ToolCall(call) => call.item_id.clone(),
        Content::Served(served) => Some(served::id(served).to_owned()),
        Content::Foreign { value, .. } => {
            Fields::of(value.as_raw()).and_then(|mut item| item.text("id"))
        }
        _ => own(part, "id").and_then(Json::read),
    };
    given.filter(|id| !id.is_empty()).unwrap_or_else(|| made(prefix(part), stamp, index))
}

/// The item that parts make up: the parts of one message, or one part of another kind.
pub(super) fn item(id: &str, parts: &[Part], state: State, view: View) -> Json {
    let Some(part) = parts.first() else { return Object::default().into_json() };
    let object = match &part.content {
        Content::Text { .. } | Content::Refusal(_) => {
            let content: Vec<Json> = parts.iter().map(content_part).collect();
            message(id, &content, state)
        }
        Content::Reasoning(thought) => reasoning(id, thought, state, view),
        Content::ToolCall(call) => call_item(id, call, state),
        Content::Media(media) => drawing(id, media, state),
        Content::Served(served) => served::item(id, served, state),
        Content::Foreign { value, .. } => return value.clone(),
        Content::ToolResult(_) => Object::default(),
    };
    object.with_extras(&part.extras, FORMAT, &[]).into_json()
}

/// The item that begins with a part, before anything of it has come.
pub(super) fn opening(id: &str, part: &Part, view: View) -> Json {
    if is_text(part) {
        return message(id, &[], State::InProgress)
            .with_extras(&part.extras, FORMAT, &[])
            .into_json();
    }
    item(id, std::slice::from_ref(part), State::InProgress, view)
}

/// The item that carries the seal of a call (Gemini's signature), which clients echo only as reasoning.
pub(super) fn seal_item(part: &Part, stamp: &Stamp, index: usize) -> Option<Json> {
    let call = part.as_call()?;
    let carrier =
        Reasoning { text: call.id.clone(), seal: call.seal.clone(), ..Reasoning::default() };
    let sealed = seal::wrap(&carrier, FORMAT)?;
    let object = Object::of_type("reasoning")
        .with("id", made("rs", stamp, index))
        .with("summary", [(); 0])
        .with("encrypted_content", sealed.replacen('.', CALL_MARK, 1));
    Some(object.into_json())
}

/// The call and its seal, where an `encrypted_content` carries one.
pub(super) fn call_seal(sealed: &str) -> Option<(String, Seal)> {
    // Base64 has no dots: the mark stands behind the first one or nowhere.
    let (head, _) = sealed.split_once(CALL_MARK).filter(|(head, _)| !head.contains('.'))?;
    let carried = seal::unwrap(&sealed.replacen(CALL_MARK, ".", 1), FORMAT);
    let seal = carried.seal.filter(|seal| seal.format != FORMAT && !head.is_empty())?;
    Some((carried.text, seal))
}

/// Stands in the wrapped seal of a call, behind the mark of all that is wrapped.
const CALL_MARK: &str = ".call.";

/// One content part of a message.
pub(super) fn content_part(part: &Part) -> Json {
    match &part.content {
        Content::Text { text, annotations, logprobs } => {
            let annotations: Vec<Json> = annotations.iter().filter_map(citation::write).collect();
            let object = Object::of_type("output_text").with("text", text);
            let object = object.with("annotations", &annotations);
            let logprobs = logprobs.clone().unwrap_or_else(empty_list);
            object.with("logprobs", &logprobs).into_json()
        }
        Content::Refusal(text) => Object::of_type("refusal").with("refusal", text).into_json(),
        _ => Object::default().into_json(),
    }
}

/// The arguments of a function's call: none are `{}`.
pub(super) fn arguments(call: &ToolCall) -> &str {
    let is_none = call.kind == CallKind::Function && call.arguments.trim().is_empty();
    if is_none { "{}" } else { &call.arguments }
}

pub(super) fn empty_list() -> Json {
    Json::of(&[(); 0])
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl View {
    pub(super) fn of(echo: &Echo) -> Self {
        let summary = echo.get("reasoning").and_then(|reasoning| {
            let mut reasoning = Fields::of(reasoning.as_raw())?;
            reasoning.text("summary").or_else(|| reasoning.text("generate_summary"))
        });
        let include: Vec<String> = echo.get("include").and_then(Json::read).unwrap_or_default();
        Self {
            summary: summary.is_some_and(|summary| summary != "none"),
            encrypted: include.iter().any(|name| name == "reasoning.encrypted_content"),
        }
    }
}

/// A field that this format's provider gave the part.
fn own<'p>(part: &'p Part, name: &str) -> Option<&'p Json> {
    part.extras.of(FORMAT).iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

/// `msg_`, the answer's own digits and the item's number.
fn made(prefix: &str, stamp: &Stamp, index: usize) -> String {
    format!("{prefix}_{}{index:04x}", stamp.id)
}

/// The answer's digits in the id of one of its items, where this made the id.
pub fn answer_of(item_id: &str) -> Option<&str> {
    let (_, digits) = item_id.split_once('_')?;
    digits.get(..digits.len().checked_sub(4)?)
}

fn prefix(part: &Part) -> &'static str {
    match &part.content {
        Content::Reasoning(_) => "rs",
        Content::ToolCall(call) => match call.kind {
            CallKind::Function => "fc",
            CallKind::Custom => "ctc",
            CallKind::ToolSearch => "tsc",
            CallKind::ApplyPatch => "apc",
            CallKind::LocalShell if is_shell(call) => "sh",
            CallKind::LocalShell => "lsh",
        },
        Content::Media(_) => "ig",
        Content::Served(_) => "mcp",
        _ => "msg",
    }
}

fn message(id: &str, content: &[Json], state: State) -> Object {
    let object = Object::of_type("message").with("id", id).with("status", state.as_str());
    object.with("role", "assistant").with("content", content)
}

fn reasoning(id: &str, thought: &Reasoning, state: State, view: View) -> Object {
    let mut summary: Vec<&str> = thought.summary.iter().map(String::as_str).collect();
    let mut content = Some(thought.text.as_str()).filter(|text| !text.is_empty());
    if summary.is_empty() && view.summary {
        summary.extend(content.take());
    }
    let of_type = |kind: &str, text: &str| Object::of_type(kind).with("text", text);
    let summary: Vec<Object> =
        summary.into_iter().map(|text| of_type("summary_text", text)).collect();
    let object = Object::of_type("reasoning").with("id", id).with("summary", &summary);
    let content = content.map(|text| [of_type("reasoning_text", text)]);
    let object = object.with_some("content", content.as_ref());
    let is_done = state != State::InProgress;
    object.with_some("encrypted_content", sealed(thought, view).filter(|_| is_done).as_ref())
}

fn sealed(thought: &Reasoning, view: View) -> Option<String> {
    if thought.seal.is_none() && view.encrypted && !thought.text.is_empty() {
        return Some(seal::wrap_text(&thought.text));
    }
    seal::wrap(thought, FORMAT)
}

fn call_item(id: &str, call: &ToolCall, state: State) -> Object {
    let object = |kind: &str| {
        let object = Object::of_type(kind).with("id", id).with("status", state.as_str());
        object.with("call_id", &call.id)
    };
    match call.kind {
        CallKind::Function => {
            let arguments = if state == State::InProgress { "" } else { arguments(call) };
            let object = object("function_call").with("name", &call.name);
            let object = object.with_some("namespace", call.namespace.as_ref());
            object.with("arguments", arguments)
        }
        CallKind::Custom => {
            let input = if state == State::InProgress { "" } else { &call.arguments };
            let object = object("custom_tool_call").with("name", &call.name);
            object.with_some("namespace", call.namespace.as_ref()).with("input", input)
        }
        CallKind::ToolSearch => {
            let object = object("tool_search_call").with("execution", "client");
            object.with("arguments", call.object())
        }
        CallKind::ApplyPatch => {
            // This kind knows no `incomplete`.
            let object = object("apply_patch_call").with("operation", call.object());
            match state {
                State::Incomplete => object.with("status", "in_progress"),
                _ => object,
            }
        }
        CallKind::LocalShell if is_shell(call) => {
            object("shell_call").with("action", shell_action(call))
        }
        CallKind::LocalShell => object("local_shell_call").with("action", local_shell_action(call)),
    }
}

/// The two shells share a kind; the name of the tool tells them apart.
fn is_shell(call: &ToolCall) -> bool {
    call.name == "shell"
}

/// An object of which every member but `commands` is optional.
fn shell_action(call: &ToolCall) -> Json {
    let mut action = members(call);
    if !action.has("commands") {
        action.put("commands", empty_list());
    }
    action.into_json()
}

/// Clients want `type`, `command` and `env`, which a model that was told of a plain function may leave out.
fn local_shell_action(call: &ToolCall) -> Json {
    let mut action = Object::of_type("exec");
    for (name, value) in members(call).into_members() {
        action.put(name, value);
    }
    if !action.has("command") {
        action.put("command", empty_list());
    }
    if !action.has("env") {
        action.put("env", Json::empty_object());
    }
    action.into_json()
}

/// The members of a call's arguments; none of arguments that cannot be read.
fn members(call: &ToolCall) -> Object {
    let mut object = Object::default();
    for (name, value) in Fields::read(&call.arguments).unwrap_or_default().iter() {
        object.put(name.to_owned(), Json::of_raw(value));
    }
    object
}

/// A picture is what OpenAI's own tool would have drawn.
fn drawing(id: &str, media: &Media, state: State) -> Object {
    let object = Object::of_type("image_generation_call").with("id", id);
    let Source::Base64 { media_type, data } = &media.source else { return object };
    let is_done = state != State::InProgress;
    let object = object.with("status", if is_done { "completed" } else { "in_progress" });
    let object = object.with("result", is_done.then_some(data));
    object.with_some("output_format", media_type.strip_prefix("image/").as_ref())
}
