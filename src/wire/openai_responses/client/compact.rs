//! Compaction: a long conversation made into a summary that stands in its place. OpenAI gives back an item that only
//! OpenAI can read; ours holds the summary that the model wrote, as an opaque text, so that any provider can go on
//! from it. Knows nothing of how the model is called.
//! Endpoint: <https://platform.openai.com/docs/api-reference/responses/compact>.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::super::codec::{Asked, Echo, Stamp};
use super::super::super::fields::Fields;
use super::super::object::Object;
use super::{listing, reply, request};
use crate::conversation::{Content, Json, Part, Reply, Role, Turn};
use crate::ground::fault::Fault;

/// Begins the opaque text of a compaction that was made here.
const MARK: &str = "tidegate1.compaction.";

/// The field of the echo that holds the user's own messages: they are kept as they are.
const KEPT: &str = "kept";

const TASK: &str = "This conversation is about to be cut short: everything above will be gone, and only what you \
                    write now will be left to go on from. Write down what is needed to carry on without loss: what \
                    was asked for and why, what has been decided and done so far, exact names, paths, numbers and \
                    code that matter, what was tried and failed, and what is to be done next. Leave nothing out that \
                    would have to be found out again. Write the summary only, and call no tools.";

const OPENING: &str = "Summary of the conversation so far, which stands in its place:\n\n";

/// What `POST /v1/responses/compact` asks: the conversation, and the wish for a summary of it.
///
/// # Errors
/// As for a request for a response.
pub(super) fn compaction_ask(body: &[u8]) -> Result<Asked, Fault> {
    let (mut ask, mut echo) = request::read(body)?;
    ask.turns.push(Turn::new(Role::User, vec![Part::text(TASK)]));
    // Nothing is called any more; tools would only invite it.
    ask.tools = Vec::new();
    ask.tool_choice = None;
    ask.parallel_tool_calls = None;
    ask.text_format = None;
    ask.stream = false;
    let kept = listing::items(&mut request::whole(body)?, "");
    let kept: Vec<Json> = kept.into_iter().filter(is_users).collect();
    echo.fields.push((KEPT.to_owned(), Json::of(&kept)));
    Ok((ask, echo))
}

/// The compacted conversation: what the user said, and an item that holds the summary.
///
/// # Errors
/// The model wrote nothing.
pub(super) fn compaction_reply(
    reply: &Reply,
    echo: &Echo,
    stamp: &Stamp,
) -> Result<Vec<u8>, Fault> {
    let texts = reply.choices.first().into_iter().flat_map(|choice| &choice.parts);
    let texts = texts.filter_map(|part| match &part.content {
        Content::Text { text, .. } if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    });
    let summary = texts.collect::<Vec<_>>().join("\n\n");
    if summary.is_empty() {
        return Err(super::super::super::codec::garbage(
            "The model wrote no summary of the conversation. Try again, or compact with another model.",
        ));
    }
    let kept: Vec<Json> = echo.get(KEPT).and_then(Json::read).unwrap_or_default();
    let mut output: Vec<Json> = kept
        .iter()
        .enumerate()
        .map(|(at, item)| listing::identified(item, &format!("{}{at:04x}", stamp.id)))
        .collect();
    let item = Object::of_type("compaction")
        .with("id", format!("cmp_{}", stamp.id))
        .with("encrypted_content", sealed(&summary));
    output.push(item.into_json());
    let object = Object::default()
        .with("id", format!("resp_{}", stamp.id))
        .with("object", "response.compaction")
        .with("created_at", stamp.created)
        .with("output", &output)
        .with("usage", reply::usage_object(reply.usage.unwrap_or_default()));
    Ok(object.into_json().as_str().as_bytes().to_vec())
}

/// A summary as the opaque text of a compaction item.
fn sealed(summary: &str) -> String {
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(summary))
}

/// What a compaction item that was made here says to the model; none for one that OpenAI made.
pub(super) fn opened(sealed: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(MARK)?).ok()?;
    Some(format!("{OPENING}{}", String::from_utf8(bytes).ok()?))
}

/// A message of the user.
fn is_users(item: &Json) -> bool {
    Fields::of(item.as_raw()).is_some_and(|item| {
        let is = |name, value| item.peek(name).is_some_and(|found| found.get() == value);
        is("type", "\"message\"") && is("role", "\"user\"")
    })
}
