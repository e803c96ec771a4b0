//! The turns of a conversation as a list of messages. Results stand directly behind the calls that they
//! answer, wherever the client had them; what an assistant says in one go is one message; and the few servers
//! that want users and assistants to take turns get that.

use std::collections::HashSet;

use super::content::Said;
use super::request::Writer;
use super::tree::{Node, Object};
use super::{CHAT, assistant, content, tools};
use crate::conversation::{Content, Part, Role, ToolCall, ToolResult, Turn};
use crate::ground::fault::Fault;

/// One message on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Message<'a> {
    pub role: &'static str,
    pub content: Said<'a>,
    /// What stands beside role and content.
    pub fields: Object<'a>,
}

/// Writes the messages.
///
/// Errors: media that the format or the server cannot carry.
pub(super) fn write<'a>(writer: &mut Writer<'a, '_>) -> Result<Vec<Node<'a>>, Fault> {
    let mut history = History::default();
    if let Some(instruction) = tools::instruction(writer) {
        history.push(writer, Message::said("system", instruction));
    }
    let turns = &writer.ask.turns;
    let mut at = 0;
    while let Some(turn) = turns.get(at) {
        let count = match turn.role {
            Role::Assistant => run(writer, turns.get(at..).unwrap_or_default()),
            _ => 1,
        };
        match turn.role {
            Role::System | Role::Developer => history.system(writer, turn, at)?,
            Role::User => history.user(writer, turn, at)?,
            Role::Assistant => history.assistant(writer, at, at + count)?,
        }
        at += count;
    }
    Ok(history.finish(writer))
}

/// How many turns make up one assistant's message. A chat client's own messages are kept apart, unless the
/// first one calls: its results could not follow it.
fn run(writer: &Writer<'_, '_>, turns: &[Turn]) -> usize {
    let apart = writer.ask.format == CHAT && !writer.quirks.alternating;
    let mut calls = false;
    let mut count = 0;
    for turn in turns.iter().take_while(|turn| turn.role == Role::Assistant) {
        if count > 0 && apart && !calls {
            break;
        }
        calls |= turn.parts.iter().any(|part| part.as_call().is_some());
        count += 1;
    }
    count
}

/// The messages so far.
#[derive(Default)]
struct History<'a> {
    messages: Vec<Message<'a>>,
    /// Results that were written, by turn and part.
    answered: HashSet<(usize, usize)>,
}

impl<'a> Message<'a> {
    fn said(role: &'static str, text: impl Into<std::borrow::Cow<'a, str>>) -> Self {
        let content = Said(vec![Node::text(text)]);
        Self { role, content, fields: Object::default() }
    }

    fn calls(&self) -> bool {
        self.fields.has("tool_calls")
    }
}

impl<'a> History<'a> {
    fn system(
        &mut self,
        writer: &mut Writer<'a, '_>,
        turn: &'a Turn,
        at: usize,
    ) -> Result<(), Fault> {
        let said = content::read(writer, turn.parts.iter(), at)?;
        if said.is_blank() && writer.mends {
            return Ok(());
        }
        let begun = self.messages.iter().any(|message| message.role != "system");
        // Strict templates know no system message but the first; Mistral takes none behind a result, and none
        // at the end.
        if begun && writer.mends && (writer.quirks.alternating || writer.mistral) {
            let marked = Message::said("user", format!("<system>\n{}\n</system>", turn.text()));
            self.push(writer, marked);
            return Ok(());
        }
        let developer =
            turn.role == Role::Developer && (writer.quirks.developer || writer.model.reasons());
        let role = match developer {
            true => "developer",
            false => "system",
        };
        self.say(writer, role, said, turn, at);
        Ok(())
    }

    /// What a user says. Results were written behind their calls; one that has no call is told in words.
    fn user(
        &mut self,
        writer: &mut Writer<'a, '_>,
        turn: &'a Turn,
        at: usize,
    ) -> Result<(), Fault> {
        let mut results = false;
        for (index, part) in turn.parts.iter().enumerate() {
            let Content::ToolResult(result) = &part.content else { continue };
            results = true;
            if self.answered.contains(&(at, index)) {
                continue;
            }
            if writer.mends {
                let path = writer.ask.turn_path(at);
                writer.losses.add(path, "a result without its call is told as a user's text");
                let said = content::orphan(writer, result, at)?;
                self.push(writer, Message { role: "user", content: said, ..Message::default() });
            } else {
                let media = self.result(writer, (part, result), &result.call_id, at)?;
                self.media(writer, media);
            }
        }
        let rest = turn.parts.iter().filter(|part| part.as_result().is_none());
        let said = content::read(writer, rest, at)?;
        // A user may say nothing, and it is still their turn; unless all they said is lost.
        let lost = turn.parts.iter().any(|part| matches!(part.content, Content::Foreign { .. }));
        if !((results || lost) && said.0.is_empty()) {
            self.say(writer, "user", said, turn, at);
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        writer: &mut Writer<'a, '_>,
        from: usize,
        to: usize,
    ) -> Result<(), Fault> {
        let turns = writer.ask.turns.get(from..to).unwrap_or_default();
        let Some(message) = assistant::write(writer, turns, from) else { return Ok(()) };
        self.push(writer, message);
        let calls = turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_call);
        let mut media = Said::default();
        for call in calls {
            media.0.extend(self.answer(writer, call, to)?.0);
        }
        self.media(writer, media);
        Ok(())
    }

    /// Writes the result of a call, which stands somewhere behind it; the pictures in it are returned.
    fn answer(
        &mut self,
        writer: &mut Writer<'a, '_>,
        call: &'a ToolCall,
        from: usize,
    ) -> Result<Said<'a>, Fault> {
        let turns = writer.ask.turns.iter().enumerate().skip(from);
        let mut results = turns.flat_map(|(at, turn)| {
            turn.parts.iter().enumerate().map(move |(index, part)| (at, index, part))
        });
        let found = results.find_map(|(at, index, part)| {
            let result = part.as_result().filter(|result| result.call_id == call.id)?;
            (!self.answered.contains(&(at, index))).then_some((at, index, part, result))
        });
        if let Some((at, index, part, result)) = found {
            self.answered.insert((at, index));
            return self.result(writer, (part, result), &call.id, at);
        }
        if from < writer.ask.turns.len() && writer.mends {
            // A call without a result is a 400: the client gave up waiting for it.
            let text = "This call was interrupted: it has no result.";
            let mut message = Message::said("tool", text);
            message.fields.put_text("tool_call_id", tools::call_id(writer, &call.id));
            self.push(writer, message);
        }
        Ok(Said::default())
    }

    fn result(
        &mut self,
        writer: &mut Writer<'a, '_>,
        (part, result): (&'a Part, &'a ToolResult),
        call_id: &'a str,
        at: usize,
    ) -> Result<Said<'a>, Fault> {
        let (content, media) = content::result(writer, part, result, at)?;
        let mut message = Message { role: "tool", content, ..Message::default() };
        message.fields.put_text("tool_call_id", tools::call_id(writer, call_id));
        assistant::put_extras(writer, &part.extras, at, &mut message.fields);
        self.push(writer, message);
        Ok(media)
    }

    /// Pictures that tools gave: only users show any.
    fn media(&mut self, writer: &Writer<'a, '_>, media: Said<'a>) {
        if !media.0.is_empty() {
            self.push(writer, Message { role: "user", content: media, ..Message::default() });
        }
    }

    fn say(
        &mut self,
        writer: &mut Writer<'a, '_>,
        role: &'static str,
        content: Said<'a>,
        turn: &'a Turn,
        at: usize,
    ) {
        let mut message = Message { role, content, ..Message::default() };
        assistant::put_name(writer, turn, at, &mut message.fields);
        assistant::put_extras(writer, &turn.extras, at, &mut message.fields);
        self.push(writer, message);
    }

    fn push(&mut self, writer: &Writer<'a, '_>, message: Message<'a>) {
        let Some(last) = self.messages.last_mut().filter(|_| writer.mends) else {
            return self.messages.push(message);
        };
        let joins = writer.quirks.alternating
            && last.role == message.role
            && matches!(last.role, "system" | "user" | "assistant")
            && !(last.calls() || message.calls());
        // Mistral wants an assistant between a tool and a user; what a user adds in text can as well stand
        // behind the result.
        let bridged = writer.mistral && last.role == "tool" && message.role == "user";
        if joins || bridged && message.content.is_text() {
            last.content.0.extend(message.content.0);
            return;
        }
        if bridged {
            self.messages.push(Message::said("assistant", "OK."));
        }
        self.messages.push(message);
    }

    fn finish(mut self, writer: &Writer<'a, '_>) -> Vec<Node<'a>> {
        // https://docs.mistral.ai/capabilities/completion/usage#prefixing
        if writer.quirks.name == "mistral"
            && let Some(last) = self.messages.last_mut().filter(|last| last.role == "assistant")
            && !last.fields.has("prefix")
        {
            last.fields.put("prefix", Node::Flag(true));
        }
        let messages = self.messages.into_iter();
        messages.map(|message| node(writer, message)).collect()
    }
}

fn node<'a>(writer: &Writer<'a, '_>, message: Message<'a>) -> Node<'a> {
    let mut object = Object::default().with("role", Node::text(message.role));
    let bare = message.content.0.is_empty();
    let content = if bare && message.role == "assistant" && writer.quirks.null_content {
        Node::Null
    } else {
        message.content.node(writer.quirks.text_lists)
    };
    object.put("content", content);
    object.append(message.fields);
    object.node()
}
