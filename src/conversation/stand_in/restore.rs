//! Bringing answers back: what the model calls by the names and in the shapes it was shown, the client gets
//! by the names and in the shapes it declared. A whole answer and the same answer streamed come to the same.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::custom_text::CustomText;
use super::names::{Names, Original};
use crate::conversation::{CallKind, Content, Delta, Event, ToolCall};

/// Restores one streamed answer, event by event.
#[derive(Debug, Default)]
pub struct Restorer {
    names: Names,
    open: HashMap<(u32, u32), Shape>,
}

/// How the arguments of an open call are brought back.
#[derive(Debug)]
enum Shape {
    Custom(CustomText),
    /// Shapes that show only when they are complete.
    Whole {
        kind: CallKind,
        name: String,
        arguments: String,
    },
}

impl Restorer {
    pub(super) fn new(names: Names) -> Self {
        Self { names, open: HashMap::new() }
    }

    /// Takes one event and adds what it becomes.
    pub fn restore(&mut self, event: Event, out: &mut Vec<Event>) {
        if self.names.is_empty() {
            out.push(event);
            return;
        }
        match event {
            Event::Open { choice, block, mut part } => {
                let mut begun = String::new();
                if let Content::ToolCall(call) = &mut part.content
                    && let Some(shape) = rename(&self.names, call)
                {
                    begun = std::mem::take(&mut call.arguments);
                    self.open.insert((choice, block), shape);
                }
                out.push(Event::Open { choice, block, part });
                if !begun.is_empty() {
                    self.grow(choice, block, begun, out);
                }
            }
            Event::Delta { choice, block, delta: Delta::Arguments(more) } => {
                self.grow(choice, block, more, out);
            }
            Event::Close { choice, block } => {
                if let Some(shape) = self.open.remove(&(choice, block)) {
                    tell(choice, block, shape.finish(), out);
                }
                out.push(Event::Close { choice, block });
            }
            other => out.push(other),
        }
    }

    fn grow(&mut self, choice: u32, block: u32, more: String, out: &mut Vec<Event>) {
        let told = match self.open.get_mut(&(choice, block)) {
            Some(shape) => shape.push(&more),
            None => more,
        };
        tell(choice, block, told, out);
    }
}

/// Restores one call of a whole answer.
pub(super) fn restore_call(names: &Names, call: &mut ToolCall) {
    if let Some(mut shape) = rename(names, call) {
        let arguments = std::mem::take(&mut call.arguments);
        call.arguments = shape.push(&arguments);
        call.arguments.push_str(&shape.finish());
    }
}

/// Gives the call its tool's own name and kind; `Some` where the arguments have another shape too.
fn rename(names: &Names, call: &mut ToolCall) -> Option<Shape> {
    let Original { key, played } = names.original(call.namespace.as_deref(), &call.name)?;
    call.name.clone_from(&key.name);
    call.namespace.clone_from(&key.namespace);
    if !played {
        return None;
    }
    call.kind = key.kind;
    match key.kind {
        CallKind::Function => None,
        CallKind::Custom => Some(Shape::Custom(CustomText::default())),
        CallKind::LocalShell | CallKind::ApplyPatch | CallKind::ToolSearch => {
            Some(Shape::Whole { kind: key.kind, name: key.name.clone(), arguments: String::new() })
        }
    }
}

fn tell(choice: u32, block: u32, arguments: String, out: &mut Vec<Event>) {
    if !arguments.is_empty() {
        out.push(Event::Delta { choice, block, delta: Delta::Arguments(arguments) });
    }
}

impl Shape {
    fn push(&mut self, more: &str) -> String {
        let mut told = String::new();
        match self {
            Self::Custom(text) => text.push(more, &mut told),
            Self::Whole { arguments, .. } => arguments.push_str(more),
        }
        told
    }

    fn finish(self) -> String {
        match self {
            Self::Custom(mut text) => {
                let mut told = String::new();
                text.finish(&mut told);
                told
            }
            Self::Whole { kind, name, arguments } => {
                let Ok(Value::Object(object)) = serde_json::from_str(&arguments) else {
                    return if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
                };
                let mended = match kind {
                    CallKind::LocalShell if name == "shell" => shell(object),
                    CallKind::LocalShell => local_shell(object),
                    CallKind::ApplyPatch => patch(object),
                    _ => None,
                };
                // What needs no mending keeps its spelling.
                mended.map_or(arguments, |object| Value::Object(object).to_string())
            }
        }
    }
}

/// `local_shell_call`'s action: `{"type":"exec","command":[…],"env":{}}` and what else there is.
fn local_shell(object: Map<String, Value>) -> Option<Map<String, Value>> {
    let (mut object, moved) = inner(object, "action");
    let listed = object.get("command").is_some_and(Value::is_array);
    if listed && object.contains_key("type") && object.contains_key("env") {
        return moved.then_some(object);
    }
    if let Some(line) = object.get("command").and_then(Value::as_str) {
        let command = json!(["bash", "-lc", line]);
        object.insert("command".to_owned(), command);
    }
    let mut action = Map::new();
    action.insert("type".to_owned(), json!("exec"));
    action.extend(object);
    action.entry("env").or_insert_with(|| json!({}));
    Some(action)
}

/// `shell_call`'s action: `{"commands":[…]}` and what else there is.
fn shell(object: Map<String, Value>) -> Option<Map<String, Value>> {
    let (mut object, moved) = inner(object, "action");
    let said = object.get("commands").or_else(|| object.get("command"));
    let commands = match said {
        Some(Value::String(line)) => json!([line]),
        Some(list) if !object.contains_key("commands") => list.clone(),
        _ => return moved.then_some(object),
    };
    object.remove("command");
    object.insert("commands".to_owned(), commands);
    Some(object)
}

/// `apply_patch_call`'s operation: `{"type","path","diff"}`.
fn patch(object: Map<String, Value>) -> Option<Map<String, Value>> {
    let (object, moved) = inner(object, "operation");
    moved.then_some(object)
}

/// The object, or the one within it, where a model puts it into a member of that name.
fn inner(mut object: Map<String, Value>, name: &str) -> (Map<String, Value>, bool) {
    match object.get_mut(name) {
        Some(Value::Object(inner)) => (std::mem::take(inner), true),
        _ => (object, false),
    }
}
