//! Turns as Converse wants them: system texts apart, user and assistant in alternation from a user on,
//! the results of tools first in the turn after their calls, each call with its result, no blank text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::media::{self, Names};
use super::model::Model;
use super::types::{Block, CachePoint, Message, Reasoning, ToolResult, ToolUse};
use crate::conversation::{Ask, Content, Format, Json, Losses, Part, Role, Seal, Turn};
use crate::ground::fault::Fault;

/// What the conversation came to.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) messages: Vec<Message<'a>>,
    /// The model called a tool in the turn before the last, and what it thought before it is lost: Claude
    /// refuses to think on with a budget
    /// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).
    pub(super) lost_thinking: bool,
}

/// The cache points that may still be set: at most 4 in a request.
#[derive(Debug)]
pub(super) struct CachePoints {
    left: usize,
}

/// Writes all turns. `mend`: what Bedrock would refuse is put right.
///
/// # Errors
/// `InvalidRequest`: a picture or file that cannot be carried.
pub(super) fn write<'a>(
    ask: &'a Ask,
    model: &Model<'_>,
    mend: bool,
    points: &mut CachePoints,
    losses: &mut Losses,
) -> Result<Written<'a>, Fault> {
    let (system, drafts) = (Vec::new(), Vec::new());
    let mut writer = Writer { ask, model, points, losses, names: Names::default(), system, drafts };
    let leading = ask.turns.iter().take_while(|turn| turn.is_system()).count();
    for (at, turn) in ask.turns.iter().enumerate() {
        writer.turn(at, turn, at < leading && model.takes_system())?;
    }
    if mend {
        writer.mend();
    }
    let Writer { system, drafts, .. } = writer;
    let lost_thinking = lost_thinking(&drafts);
    let messages = drafts.into_iter().map(Draft::finish).collect();
    Ok(Written { system, messages, lost_thinking })
}

impl CachePoints {
    /// `taken`: points that are set elsewhere.
    pub(super) fn new(taken: usize) -> Self {
        Self { left: 4_usize.saturating_sub(taken) }
    }

    fn next(&mut self, control: &Json) -> Option<CachePoint> {
        self.left = self.left.checked_sub(1)?;
        Some(point(control))
    }
}

/// Anthropic's `cache_control` in Amazon's words; five minutes go without saying.
pub(super) fn point(control: &Json) -> CachePoint {
    let is_hour = control.to_value().get("ttl").and_then(serde_json::Value::as_str) == Some("1h");
    CachePoint { kind: "default", ttl: is_hour.then_some("1h") }
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";
/// LiteLLM's words for a user who has said nothing.
const CONTINUE: &str = "Please continue.";
/// What stands for a result that is not there: Bedrock refuses a blank one, and none at all.
const NO_RESULT: &str = "(no output)";

/// A message in the making.
#[derive(Debug)]
struct Draft<'a> {
    role: &'static str,
    /// Results of tools: they come first.
    results: Vec<Block<'a>>,
    rest: Vec<Block<'a>>,
}

struct Writer<'a, 'w> {
    ask: &'a Ask,
    model: &'w Model<'w>,
    points: &'w mut CachePoints,
    losses: &'w mut Losses,
    names: Names,
    system: Vec<Block<'a>>,
    drafts: Vec<Draft<'a>>,
}

impl<'a> Writer<'a, '_> {
    fn turn(&mut self, at: usize, turn: &'a Turn, leads: bool) -> Result<(), Fault> {
        if turn.is_system() {
            self.system(at, turn, leads);
            return Ok(());
        }
        let role = if turn.role == Role::Assistant { ASSISTANT } else { USER };
        for (number, part) in turn.parts.iter().enumerate() {
            let path = || self.ask.part_path(at, number);
            let is_result = part.as_result().is_some();
            let block = match self.part(role, part, &path())? {
                Some(block) => block,
                None => continue,
            };
            let point = self.cache_point(cache_control(part));
            let draft = self.draft(role);
            let blocks = if is_result { &mut draft.results } else { &mut draft.rest };
            blocks.push(block);
            blocks.extend(point);
        }
        Ok(())
    }

    /// Instructions at the beginning have their own place; later ones are kept where they stand, marked, for
    /// the role `system` is refused there by most models.
    fn system(&mut self, at: usize, turn: &'a Turn, leads: bool) {
        for (number, part) in turn.parts.iter().enumerate() {
            let Some(text) = part.as_text() else {
                self.losses.add(self.ask.part_path(at, number), "a system message is text only");
                continue;
            };
            if is_blank(text) {
                continue;
            }
            let point = self.cache_point(part.cache_control.as_ref());
            let (blocks, text) = if leads {
                (&mut self.system, Cow::Borrowed(text))
            } else {
                let marked = format!("<system>\n{text}\n</system>");
                (&mut self.draft(USER).rest, marked.into())
            };
            blocks.push(Block::Text(text));
            blocks.extend(point);
        }
    }

    /// The message to write to: the last one, where it is of the same role.
    fn draft(&mut self, role: &'static str) -> &mut Draft<'a> {
        if self.drafts.last().is_none_or(|draft| draft.role != role) {
            self.drafts.push(Draft::new(role));
        }
        let last = self.drafts.len().saturating_sub(1);
        // A message was just made sure of.
        #[expect(clippy::indexing_slicing, reason = "never empty here")]
        &mut self.drafts[last]
    }

    fn cache_point(&mut self, control: Option<&Json>) -> Option<Block<'a>> {
        let control = control?;
        if !self.model.caches() {
            self.losses.add("cache_control", "the model has no prompt cache");
            return None;
        }
        let point = self.points.next(control);
        if point.is_none() {
            self.losses.add("cache_control", "Bedrock takes four cache points");
        }
        point.map(Block::CachePoint)
    }

    fn part(
        &mut self,
        role: &'static str,
        part: &'a Part,
        path: &str,
    ) -> Result<Option<Block<'a>>, Fault> {
        Ok(match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => text_block(text),
            Content::Media(_) if role == ASSISTANT => {
                self.losses.add(path.to_owned(), "Bedrock takes no media of the assistant");
                None
            }
            Content::Media(media) => Some(media::block(part, media, path, &mut self.names)?),
            Content::Reasoning(reasoning) => {
                let seal = reasoning.seal.as_ref();
                let seal = seal.filter(|seal| self.model.takes_seals_of(seal.format));
                // Without its seal a thought is refused by Claude, and of use to nobody else.
                seal.map(|seal| reasoning_block(&reasoning.text, seal, reasoning.redacted))
            }
            Content::ToolCall(call) => Some(Block::ToolUse(ToolUse {
                tool_use_id: &call.id,
                name: &call.name,
                input: call.object(),
            })),
            Content::ToolResult(result) => {
                let mut content = Vec::with_capacity(result.parts.len());
                for (number, inner) in result.parts.iter().enumerate() {
                    let path = format!("{path}.content[{number}]");
                    let block = self.part(USER, inner, &path)?;
                    if matches!(block, Some(Block::Audio(_))) {
                        return Err(Fault::invalid(format!(
                            "`{path}` is a sound, and Amazon Bedrock takes none from a tool. Leave it out."
                        ))
                        .with_param(path));
                    }
                    content.extend(block);
                }
                if content.is_empty() {
                    content.push(Block::Text(NO_RESULT.into()));
                }
                let status = (result.is_error && self.model.takes_status()).then_some("error");
                let tool_use_id = &result.call_id;
                Some(Block::ToolResult(ToolResult { tool_use_id, content, status }))
            }
            Content::Served(_) => None,
            Content::Foreign { format: Format::Bedrock, value } => Some(Block::Own(value)),
            Content::Foreign { format, .. } => {
                let why = format!("a block that only {} has", format.as_str());
                self.losses.add(path.to_owned(), why);
                None
            }
        })
    }

    /// Puts right what Bedrock refuses.
    fn mend(&mut self) {
        self.pair();
        if self.drafts.first().is_none_or(|draft| draft.role == ASSISTANT) {
            let mut draft = Draft::new(USER);
            draft.rest.push(Block::Text(CONTINUE.into()));
            self.drafts.insert(0, draft);
        }
        for draft in &mut self.drafts {
            draft.introduce_documents();
        }
        self.end_with_user();
    }

    /// Gives every call a result in the turn after it, and makes what is a result of no call there plain
    /// content.
    fn pair(&mut self) {
        let mut open = Vec::new();
        for draft in &mut self.drafts {
            if draft.role == ASSISTANT {
                open = draft.calls();
            } else {
                draft.settle(std::mem::take(&mut open));
            }
        }
        if !open.is_empty() {
            self.draft(USER).settle(open);
        }
    }

    /// The assistant's last words are continued by some models; the others get a user after them.
    fn end_with_user(&mut self) {
        let takes_prefill = self.model.takes_prefill();
        let Some(last) = self.drafts.last_mut().filter(|last| last.role == ASSISTANT) else {
            return;
        };
        if !takes_prefill {
            let path = self.ask.turn_path(self.ask.turns.len().saturating_sub(1));
            self.losses.add(path, "the model does not continue the assistant's words");
            self.draft(USER).rest.push(Block::Text(CONTINUE.into()));
        } else if let Some(Block::Text(text)) = last.rest.last_mut() {
            // "final assistant content cannot end with trailing whitespace".
            *text = text.trim_end().to_owned().into();
        }
    }
}

impl<'a> Draft<'a> {
    fn new(role: &'static str) -> Self {
        Self { role, results: Vec::new(), rest: Vec::new() }
    }

    fn finish(self) -> Message<'a> {
        let mut content = self.results;
        content.extend(self.rest);
        Message { role: self.role, content }
    }

    /// The ids of its calls.
    fn calls(&self) -> Vec<&'a str> {
        let id = |block: &Block<'a>| match block {
            Block::ToolUse(call) => Some(call.tool_use_id),
            _ => None,
        };
        self.rest.iter().filter_map(id).collect()
    }

    /// Matches its results with the calls before it.
    fn settle(&mut self, mut calls: Vec<&'a str>) {
        let mut orphans = Vec::new();
        for block in std::mem::take(&mut self.results) {
            match block {
                Block::ToolResult(result) => {
                    match calls.iter().position(|id| *id == result.tool_use_id) {
                        Some(at) => {
                            calls.remove(at);
                            self.results.push(Block::ToolResult(result));
                        }
                        None => orphans.extend(result.content),
                    }
                }
                // A cache point has something before it.
                other if !self.results.is_empty() => self.results.push(other),
                _ => {}
            }
        }
        self.results.extend(calls.into_iter().map(|tool_use_id| {
            let content = vec![Block::Text(NO_RESULT.into())];
            Block::ToolResult(ToolResult { tool_use_id, content, status: None })
        }));
        self.rest.splice(0..0, orphans);
    }

    /// "A text block must be included when using documents"
    /// (<https://github.com/maximhq/bifrost/pull/5817>).
    fn introduce_documents(&mut self) {
        let has_text = self.rest.iter().any(|block| matches!(block, Block::Text(_)));
        let is_document = |block: &Block<'_>| matches!(block, Block::Document(_));
        if !has_text && self.rest.iter().any(is_document) {
            self.rest.push(Block::Text(".".into()));
        }
    }
}

/// Of a part, or of what is in it: Bedrock has no cache points inside a result.
fn cache_control(part: &Part) -> Option<&Json> {
    let inner =
        || part.as_result()?.parts.iter().rev().find_map(|part| part.cache_control.as_ref());
    part.cache_control.as_ref().or_else(inner)
}

/// Whether the calls that were just answered come without the thoughts before them.
fn lost_thinking(drafts: &[Draft<'_>]) -> bool {
    let [.., asked, answered] = drafts else { return false };
    !answered.results.is_empty() && !matches!(asked.rest.first(), Some(Block::ReasoningContent(_)))
}

fn text_block(text: &str) -> Option<Block<'_>> {
    (!is_blank(text)).then_some(Block::Text(Cow::Borrowed(text)))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Bytes travel in base64; the seal of a redacted thought of Claude's is text and becomes bytes here.
fn reasoning_block<'a>(text: &'a str, seal: &'a Seal, redacted: bool) -> Block<'a> {
    let signature = seal.data.as_str();
    Block::ReasoningContent(match (redacted, seal.format) {
        (false, _) => Reasoning::ReasoningText { text, signature },
        (true, Format::Anthropic) => Reasoning::RedactedContent(STANDARD.encode(signature).into()),
        (true, _) => Reasoning::RedactedContent(signature.into()),
    })
}
