//! Turns as Anthropic's messages: the system text apart, roles in turns, a user first. What a chat would
//! allow and Anthropic refuses is mended here, unless the operator wants it refused (`modify_params: false`).

use super::super::types::{Node, Object};
use super::blocks::{self, Block, Place};
use super::facts::Facts;
use super::pairing;
use crate::conversation::{Ask, Extras, Format, Losses, Role, Turn};
use crate::ground::fault::Fault;

/// Stands where a conversation must begin with a user and does not.
const NO_USER: &str = "(The conversation begins here.)";
/// Ends a conversation that ended with the model, for models that take no beginning of their answer.
const GO_ON: &str = "Go on from where you stopped.";

/// A conversation as Anthropic has it.
pub(super) struct Conversation<'a> {
    pub system: Vec<Object<'a>>,
    pub messages: Vec<Message<'a>>,
}

/// One message.
pub(super) struct Message<'a> {
    pub role: &'static str,
    pub blocks: Vec<Block<'a>>,
    /// What an entry with `role: "system"` says beside its content.
    pub extras: Option<&'a Extras>,
}

impl<'a> Message<'a> {
    pub(super) fn new(role: &'static str, blocks: Vec<Block<'a>>) -> Self {
        Self { role, blocks, extras: None }
    }

    pub(super) fn text(role: &'static str, text: &'a str) -> Self {
        Self::new(role, vec![Block::Made(Object::of("text").with("text", text))])
    }

    fn write(self) -> Object<'a> {
        let blocks: Vec<Node<'_>> = self.blocks.into_iter().map(Node::from).collect();
        let is_settings = self.role == "system" && blocks.is_empty();
        let message = Object::default().with("role", self.role);
        let message = message.some("content", (!is_settings).then_some(blocks));
        match self.extras {
            Some(extras) => message.extras(extras),
            None => message,
        }
    }
}

impl<'a> Conversation<'a> {
    /// Whether the tool loop under way lost the signed thoughts that it must begin with.
    pub(super) fn lost_thoughts(&self) -> bool {
        let last = self.messages.iter().rfind(|message| message.role == "assistant");
        last.is_some_and(|message| {
            let thinks = |block: &Block<'_>| block.is("thinking") || block.is("redacted_thinking");
            let calls = message.blocks.iter().any(|block| block.is("tool_use"));
            calls && !message.blocks.first().is_some_and(thinks)
        })
    }

    /// Whether it ends with the beginning of the answer.
    pub(super) fn is_prefilled(&self) -> bool {
        self.messages.last().is_some_and(|message| message.role == "assistant")
    }

    /// `system` and `messages`.
    pub(super) fn write(self) -> (Vec<Object<'a>>, Vec<Object<'a>>) {
        (self.system, self.messages.into_iter().map(Message::write).collect())
    }
}

/// Writes every turn.
///
/// # Errors
/// `InvalidRequest`: a turn holds what Anthropic cannot take; or, where nothing is to be mended, the conversation
/// does not begin with a user.
pub(super) fn conversation<'a>(
    ask: &'a Ask,
    facts: &Facts,
    mend: bool,
    losses: &mut Losses,
) -> Result<Conversation<'a>, Fault> {
    let leading = ask.turns.iter().take_while(|turn| turn.is_system()).count();
    let mut system = Vec::new();
    let mut messages = Vec::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        let path = ask.turn_path(at);
        if turn.name.is_some() {
            losses.add(format!("{path}.name"), "Anthropic has no names of participants");
        }
        let blocks = turn_blocks(ask, turn, &path, losses)?;
        if turn.is_system() && at < leading {
            system.extend(blocks.into_iter().filter_map(|block| text_only(block, &path, losses)));
            continue;
        }
        messages.push(match turn.role {
            Role::Assistant => Message::new("assistant", blocks),
            Role::User => Message::new("user", blocks),
            // The client knows these entries and their rules; from others they would come in the wrong places.
            _ if facts.mid_system && ask.format == Format::Anthropic => {
                Message { extras: Some(&turn.extras), ..Message::new("system", blocks) }
            }
            _ => Message::new("user", tagged(turn, &path, losses)),
        });
    }
    let messages = pairing::pair(merged(messages), mend, losses);
    let mut conversation = Conversation { system, messages: merged(messages) };
    begin(&mut conversation.messages, mend)?;
    finish(&mut conversation.messages, facts, mend, losses);
    Ok(conversation)
}

fn turn_blocks<'a>(
    ask: &'a Ask,
    turn: &'a Turn,
    path: &str,
    losses: &mut Losses,
) -> Result<Vec<Block<'a>>, Fault> {
    let mut all = Vec::new();
    for (at, part) in turn.parts.iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        let in_answer = turn.role == Role::Assistant;
        all.extend(blocks::blocks(part, &Place { ask, path, in_answer }, losses)?);
    }
    Ok(all)
}

fn text_only<'a>(block: Block<'a>, path: &str, losses: &mut Losses) -> Option<Object<'a>> {
    match block {
        Block::Made(object) if object.text("type") == Some("text") => Some(object),
        _ => {
            losses.add(path.to_owned(), "Anthropic's system prompt is text alone");
            None
        }
    }
}

/// System text in mid-conversation, as words of the user that say what they are.
fn tagged<'a>(turn: &'a Turn, path: &str, losses: &mut Losses) -> Vec<Block<'a>> {
    let own = turn.extras.of(Format::Anthropic);
    if turn.parts.iter().any(|part| part.as_text().is_none()) || !own.is_empty() {
        losses
            .add(path.to_owned(), "only the text of a system message in mid-conversation is kept");
    }
    let text = turn.text();
    if text.trim().is_empty() {
        return Vec::new();
    }
    vec![Block::Made(Object::of("text").with("text", format!("<system>\n{text}\n</system>")))]
}

/// Leaves out what is empty, and makes one of neighbours with the same role.
fn merged(messages: Vec<Message<'_>>) -> Vec<Message<'_>> {
    let mut all: Vec<Message<'_>> = Vec::with_capacity(messages.len());
    for message in messages {
        let is_settings = message.extras.is_some_and(|extras| !extras.is_empty());
        if message.blocks.is_empty() && !is_settings {
            continue;
        }
        match all.last_mut() {
            Some(last) if last.role == message.role && message.role != "system" => {
                last.blocks.extend(message.blocks);
            }
            _ => all.push(message),
        }
    }
    all
}

fn begin(messages: &mut Vec<Message<'_>>, mend: bool) -> Result<(), Fault> {
    if messages.first().is_some_and(|message| message.role == "user") {
        return Ok(());
    }
    if !mend {
        return Err(Fault::invalid(
            "Anthropic wants a conversation to begin with a user. Put a user's message first.",
        ));
    }
    messages.insert(0, Message::text("user", NO_USER));
    Ok(())
}

/// Settles how the conversation ends. A prefilled text may not end in blanks.
fn finish(messages: &mut Vec<Message<'_>>, facts: &Facts, mend: bool, losses: &mut Losses) {
    if let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") {
        let text = last.blocks.last_mut().and_then(Block::object_mut);
        if let Some(text) = text.and_then(|block| block.text_mut("text")) {
            let end = text.trim_end().len();
            text.to_mut().truncate(end);
        }
        if !facts.prefill && mend {
            losses.add(
                "messages",
                "this model takes no beginning of its answer; it is asked to go on",
            );
            messages.push(Message::text("user", GO_ON));
        }
    }
}
