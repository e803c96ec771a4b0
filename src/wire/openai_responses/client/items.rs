//! The items of `input`, in the order of the conversation, made into turns: thoughts, messages and calls in a row
//! are one turn of the assistant, results in a row one turn of the user. Knows nothing of the rest of the request.
//! Items: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>.

use serde_json::value::RawValue;

use super::super::super::fields::{Fields, as_string, elements, wrong};
use super::super::super::seal;
use super::{FORMAT, compact, content, output, served, tools};
use crate::conversation::{
    CallKind, Content, Extras, Json, Part, Reasoning, Role, Seal, Tool, ToolCall, ToolResult, Turn,
};
use crate::ground::fault::Fault;

/// What the items come to.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub turns: Vec<Turn>,
    /// Tools that items brought: `additional_tools`, and what a search for tools found.
    pub tools: Vec<Tool>,
    /// Which kind of turn the last item belongs to, so that the next may join it.
    open: Open,
    /// Seals of calls, by the id of the call.
    seals: Vec<(String, Seal)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Assistant,
    Results,
}

/// Reads a list of items.
///
/// # Errors
/// `InvalidRequest` with the path of the item and what it must be.
pub(super) fn read(raw: &RawValue, path: &str) -> Result<Read, Fault> {
    let mut read = Read::default();
    for (path, raw) in elements(raw, path)? {
        read.item(raw, path)?;
    }
    read.seal_calls();
    Ok(read)
}

impl Read {
    fn item(&mut self, raw: &RawValue, path: String) -> Result<(), Fault> {
        let mut fields = Fields::within(raw, path)?;
        let kind = fields.word("type")?;
        let kind = match &kind {
            Some(kind) => &**kind,
            // Both may leave their type out.
            None if fields.has("role") => "message",
            None if fields.has("id") => "item_reference",
            None => return fields.required("type", None),
        };
        match kind {
            "message" => self.message(fields),
            "reasoning" => self.reasoning(fields),
            "function_call" => self.call(fields, CallKind::Function),
            "custom_tool_call" => self.call(fields, CallKind::Custom),
            "local_shell_call" | "shell_call" => {
                self.shaped_call(fields, CallKind::LocalShell, kind.trim_end_matches("_call"))
            }
            "apply_patch_call" => self.shaped_call(fields, CallKind::ApplyPatch, "apply_patch"),
            "tool_search_call" if is_clients(&fields) => {
                self.shaped_call(fields, CallKind::ToolSearch, "tool_search")
            }
            "function_call_output" => self.result(fields, CallKind::Function),
            "custom_tool_call_output" => self.result(fields, CallKind::Custom),
            "local_shell_call_output" | "shell_call_output" => {
                self.result(fields, CallKind::LocalShell)
            }
            "apply_patch_call_output" => self.result(fields, CallKind::ApplyPatch),
            "tool_search_output" => self.found_tools(raw, fields),
            "additional_tools" => self.lift(&fields),
            "compaction" | "compaction_summary" => self.compaction(raw, fields),
            "item_reference" => Err(unresolved(&mut fields)),
            _ => {
                match served::read(kind, &mut fields) {
                    Some(part) if kind == "mcp_approval_response" => self.answer(part),
                    Some(part) => self.say(part),
                    None => self.foreign(raw, kind),
                }
                Ok(())
            }
        }
    }

    fn message(&mut self, mut fields: Fields<'_>) -> Result<(), Fault> {
        let role = fields.word("role")?;
        let role = match &*fields.required("role", role)? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => return Err(fields.wrong("role", "user, assistant, system or developer")),
        };
        let parts = match fields.take("content") {
            Some(raw) => content::read(raw, &fields.path("content"))?,
            None => Vec::new(),
        };
        let extras = fields.rest(FORMAT);
        if role == Role::Assistant {
            for mut part in parts {
                let mut kept = extras.of(FORMAT).to_vec();
                kept.extend_from_slice(part.extras.of(FORMAT));
                part.extras = Extras::new(FORMAT, kept);
                self.say(part);
            }
        } else {
            self.open = Open::Nothing;
            self.turns.push(Turn { extras, ..Turn::new(role, parts) });
        }
        Ok(())
    }

    fn reasoning(&mut self, mut fields: Fields<'_>) -> Result<(), Fault> {
        let id = fields.string("id")?;
        let summary = texts(&mut fields, "summary")?;
        let shown = texts(&mut fields, "content")?.join("\n\n");
        let sealed = fields.string("encrypted_content")?.unwrap_or_default();
        if let Some((call_id, seal)) = output::call_seal(&sealed) {
            self.seals.push((call_id, seal));
            return Ok(());
        }
        let mut reasoning = seal::unwrap(&sealed, FORMAT);
        if reasoning.text.is_empty() {
            reasoning.text = shown;
        }
        // Thoughts that were shown in the place of a summary are no summary.
        let is_own = summary.len() == 1 && summary.first() == Some(&reasoning.text);
        if !is_own {
            reasoning.summary = summary;
        }
        let part = Part::reasoning(Reasoning { id, ..reasoning });
        self.say(Part { extras: fields.rest(FORMAT), ..part });
        Ok(())
    }

    /// A call with a name, and text for arguments.
    fn call(&mut self, mut fields: Fields<'_>, kind: CallKind) -> Result<(), Fault> {
        let (name, id) = (fields.string("name")?, fields.string("call_id")?);
        let field = if kind == CallKind::Custom { "input" } else { "arguments" };
        let arguments = fields.string(field)?;
        let call = ToolCall {
            id: fields.required("call_id", id)?,
            item_id: fields.string("id")?,
            name: fields.required("name", name)?,
            namespace: fields.string("namespace")?,
            kind,
            arguments: fields.required(field, arguments)?,
            seal: None,
        };
        let part = Part::new(Content::ToolCall(call));
        self.say(Part { extras: fields.rest(FORMAT), ..part });
        Ok(())
    }

    /// A call whose kind has one tool only, with an object for arguments.
    fn shaped_call(
        &mut self,
        mut fields: Fields<'_>,
        kind: CallKind,
        name: &str,
    ) -> Result<(), Fault> {
        let item_id = fields.string("id")?;
        // A local shell's call was once paired by its own id.
        let id = fields.string("call_id")?.or_else(|| item_id.clone());
        let id = fields.required("call_id", id)?;
        let field = match kind {
            CallKind::ApplyPatch => "operation",
            CallKind::ToolSearch => "arguments",
            _ => "action",
        };
        let raw = fields.take(field);
        let raw = fields.required(field, raw)?;
        let arguments = as_string(raw).unwrap_or_else(|| raw.get().to_owned());
        let name = name.to_owned();
        let call = ToolCall { id, item_id, name, kind, arguments, ..ToolCall::default() };
        let part = Part::new(Content::ToolCall(call));
        self.say(Part { extras: fields.rest(FORMAT), ..part });
        Ok(())
    }

    fn result(&mut self, mut fields: Fields<'_>, kind: CallKind) -> Result<(), Fault> {
        let call_id = match fields.string("call_id")? {
            // The local shell's output has the id of its call for an id of its own.
            None if kind == CallKind::LocalShell => fields.peek("id").and_then(as_string),
            given => given,
        };
        let call_id = fields.required("call_id", call_id)?;
        let parts = match fields.take("output") {
            Some(raw) => result_content(raw, &fields.path("output"))?,
            None => Vec::new(),
        };
        let is_error = kind == CallKind::ApplyPatch
            && fields.string("status")?.is_some_and(|status| status == "failed");
        let name = if kind == CallKind::Function { fields.string("name")? } else { None };
        let result = ToolResult { call_id, name, kind, parts, is_error };
        let part = Part::new(Content::ToolResult(result));
        self.answer(Part { extras: fields.rest(FORMAT), ..part });
        Ok(())
    }

    /// What a search for tools found: they can be called from now on, and the model sees them as the result.
    fn found_tools(&mut self, raw: &RawValue, mut fields: Fields<'_>) -> Result<(), Fault> {
        // What OpenAI's own search found stands among the request's tools already.
        if !is_clients(&fields) {
            self.foreign(raw, "tool_search_output");
            return Ok(());
        }
        let list = fields.take("tools");
        let list = fields.required("tools", list)?;
        self.tools.extend(tools::lift(list, &fields.path("tools"))?);
        let call_id = fields.string("call_id")?;
        let call_id = fields.required("call_id", call_id)?;
        let parts = vec![Part::text(list.get())];
        let kind = CallKind::ToolSearch;
        let result = ToolResult { call_id, kind, parts, ..ToolResult::default() };
        let part = Part::new(Content::ToolResult(result));
        self.answer(Part { extras: fields.rest(FORMAT), ..part });
        Ok(())
    }

    /// Tools that came as an item rather than in `tools`, as the newest models of Codex have it.
    fn lift(&mut self, fields: &Fields<'_>) -> Result<(), Fault> {
        if let Some(list) = fields.peek("tools") {
            self.tools.extend(tools::lift(list, &fields.path("tools"))?);
        }
        Ok(())
    }

    fn compaction(&mut self, raw: &RawValue, mut fields: Fields<'_>) -> Result<(), Fault> {
        let sealed = fields.string("encrypted_content")?;
        let sealed = fields.required("encrypted_content", sealed)?;
        match compact::opened(&sealed) {
            Some(summary) => {
                self.open = Open::Nothing;
                self.turns.push(Turn::new(Role::User, vec![Part::text(summary)]));
            }
            None => self.foreign(raw, "compaction"),
        }
        Ok(())
    }

    /// An item that only OpenAI can make sense of.
    fn foreign(&mut self, raw: &RawValue, kind: &str) {
        let part = Part::new(Content::Foreign { format: FORMAT, value: Json::of_raw(raw) });
        if kind.ends_with("_output") || kind == "mcp_approval_response" {
            self.answer(part);
        } else {
            self.say(part);
        }
    }

    fn say(&mut self, part: Part) {
        self.add(part, Role::Assistant, Open::Assistant);
    }

    fn answer(&mut self, part: Part) {
        self.add(part, Role::User, Open::Results);
    }

    fn add(&mut self, part: Part, role: Role, open: Open) {
        match self.turns.last_mut() {
            Some(turn) if self.open == open => turn.parts.push(part),
            _ => self.turns.push(Turn::new(role, vec![part])),
        }
        self.open = open;
    }

    /// Gives calls back the seals that travelled beside them.
    fn seal_calls(&mut self) {
        let seals = &self.seals;
        for part in self.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            if let Content::ToolCall(call) = &mut part.content
                && call.seal.is_none()
            {
                let found = seals.iter().find(|(id, _)| *id == call.id);
                call.seal = found.map(|(_, seal)| seal.clone());
            }
        }
    }
}

/// Whether the client runs the search for tools itself.
fn is_clients(fields: &Fields<'_>) -> bool {
    fields.peek("execution").is_some_and(|execution| execution.get() == "\"client\"")
}

fn unresolved(fields: &mut Fields<'_>) -> Fault {
    let id = fields.text("id").unwrap_or_default();
    let path = fields.at().to_owned();
    let why = format!(
        "`{path}` refers to the item `{id}`, which is not kept here. Send the item itself in its place."
    );
    Fault::invalid(why).with_param(path)
}

/// The texts of a list of `summary_text` or `reasoning_text` parts; `null` is none.
fn texts(fields: &mut Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    let mut texts = Vec::new();
    for (path, raw) in fields.list(name)?.unwrap_or_default() {
        let mut part = Fields::within(raw, path)?;
        let text = part.string("text")?;
        texts.push(part.required("text", text)?);
    }
    Ok(texts)
}

/// A string, a list of content parts, or a list of another shape (a shell's outcomes), kept as JSON.
fn result_content(raw: &RawValue, path: &str) -> Result<Vec<Part>, Fault> {
    let is_content = |raw: &RawValue| Fields::of(raw).is_none_or(|part| part.has("type"));
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            let text = as_string(raw).unwrap_or_default();
            Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] })
        }
        Some(b'[') if !elements(raw, path)?.iter().all(|(_, raw)| is_content(raw)) => {
            Ok(vec![Part::text(raw.get())])
        }
        Some(b'[') => content::read(raw, path),
        _ => Err(wrong(path, "a string or a list of content parts")),
    }
}
