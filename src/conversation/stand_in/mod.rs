//! Tools that a provider does not know, played by functions, and back again. What Codex sends beside plain
//! functions (free-text tools with a grammar, namespaces, shells, patches, tool search) becomes functions that
//! any provider takes, in the tools, in the choice among them and in the history alike; what the model then
//! answers is restored to what the client declared. Names and ids too long or too foreign for the provider
//! are rewritten on the same way.
//!
//! How calls of each kind stand in a [`ToolCall`](super::ToolCall): `arguments` holds a function's or a tool
//! search's arguments as JSON text, a custom tool's input as plain text, a shell's `action` and a patch's
//! `operation` as JSON text. The name of those last is their tool's type: `local_shell`, `shell`,
//! `apply_patch`, `tool_search`. Nothing here knows any provider, only what [`Abilities`] say of it.

mod custom_text;
mod names;
mod restore;
mod schema;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

pub use names::Names;
pub use restore::Restorer;

use super::{Ask, CallKind, Content, Format, Json, Losses, Part, Tool, ToolChoice, ToolKind};
use names::{Key, Register};

/// What a provider takes as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a provider")]
pub struct Abilities {
    /// Tools that take free text.
    pub custom_tools: bool,
    /// Functions in a namespace, called by both names.
    pub namespaces: bool,
    /// OpenAI's `local_shell` and `shell`.
    pub local_shell: bool,
    /// OpenAI's `apply_patch` as a type of tool.
    pub apply_patch: bool,
    /// OpenAI's `tool_search`.
    pub tool_search: bool,
    /// The formats whose hosted tools mean something to the provider. Its half says which of them it has.
    pub hosted: &'static [Format],
    /// The longest name a tool may have, in bytes.
    pub name_length: usize,
    /// Dots are allowed in names, beside letters, digits, `_` and `-`.
    pub dotted_names: bool,
    pub call_id: CallIds,
}

/// Which ids of calls a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIds {
    /// The longest, in bytes.
    pub length: usize,
    pub charset: IdCharset,
    /// No shorter either: Mistral wants exactly nine.
    pub exact: bool,
}

/// The characters an id may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCharset {
    Any,
    /// `[a-zA-Z0-9_-]`, as Anthropic has it.
    Word,
    /// `[a-zA-Z0-9]`, as Mistral has it.
    Alphanumeric,
}

impl Abilities {
    /// A provider that knows functions only, with the bounds of OpenAI's chat.
    pub const FUNCTIONS: Self = Self {
        custom_tools: false,
        namespaces: false,
        local_shell: false,
        apply_patch: false,
        tool_search: false,
        hosted: &[],
        name_length: 64,
        dotted_names: false,
        call_id: CallIds { length: 40, charset: IdCharset::Any, exact: false },
    };

    /// OpenAI's own responses: every kind, names and ids up to 64.
    pub const RESPONSES: Self = Self {
        custom_tools: true,
        namespaces: true,
        local_shell: true,
        apply_patch: true,
        tool_search: true,
        hosted: &[Format::OpenAiResponses],
        call_id: CallIds { length: 64, charset: IdCharset::Any, exact: false },
        ..Self::FUNCTIONS
    };
}

impl Abilities {
    /// Whether a tool may keep its name.
    fn takes_name(&self, name: &str) -> bool {
        let is_legal = |byte: u8| self.takes_char(char::from(byte));
        !name.is_empty() && name.len() <= self.name_length && name.bytes().all(is_legal)
    }

    fn takes_char(&self, c: char) -> bool {
        c.is_ascii_alphanumeric() || c == '_' || c == '-' || (self.dotted_names && c == '.')
    }
}

impl CallIds {
    /// The id, or one made of it that the provider takes: the same one each time, so that both ends of a
    /// pair agree, and turns of later requests with them.
    pub fn legal(&self, id: &str) -> String {
        if self.is_legal(id) {
            return id.to_owned();
        }
        self.made_of(id)
    }

    /// Puts a legal id in the place of one that is not.
    fn mend(&self, id: &mut String) {
        if !self.is_legal(id) {
            *id = self.made_of(id);
        }
    }

    fn made_of(&self, id: &str) -> String {
        const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let hash = Sha256::digest(id.as_bytes());
        let digits = hash.iter().filter_map(|byte| DIGITS.get(usize::from(*byte) % DIGITS.len()));
        let digits: String = digits.map(|digit| char::from(*digit)).collect();
        let prefixed = self.charset != IdCharset::Alphanumeric && self.length >= 21;
        let mut made = if prefixed { format!("call_{digits}") } else { digits };
        made.truncate(self.length.min(29));
        made
    }

    fn is_legal(&self, id: &str) -> bool {
        let fits = |c: char| match self.charset {
            IdCharset::Any => true,
            IdCharset::Word => c.is_ascii_alphanumeric() || c == '_' || c == '-',
            IdCharset::Alphanumeric => c.is_ascii_alphanumeric(),
        };
        let long_enough = if self.exact { id.len() == self.length } else { !id.is_empty() };
        long_enough && id.len() <= self.length && id.chars().all(fits)
    }
}

/// Rewrites the request so that a provider with these abilities can take it, and returns what brings its
/// answers back. Results must stand with their calls before this ([`super::repair::pair_results`]).
pub fn stand_in(ask: &mut Ask, abilities: &Abilities, losses: &mut Losses) -> Names {
    drop_hosted(ask, abilities, losses);
    drop_repeated(&mut ask.tools);
    if ask.tools.is_empty() && !ask.has_tool_history() {
        return Names::default();
    }
    if is_taken_as_it_is(ask, abilities) {
        mend_ids(ask, abilities);
        return Names::default();
    }
    let mut register = Register::new(abilities);
    register.declare(&ask.tools);
    rewrite_choice(ask, &mut register, abilities, losses);
    rewrite_history(ask, &mut register, abilities);
    for tool in &mut ask.tools {
        rewrite_tool(tool, &mut register, abilities);
    }
    register.into_names()
}

/// What most requests are: plain functions with names that any provider takes, and calls of such. Nothing
/// needs another name then, and no name has to be looked up.
fn is_taken_as_it_is(ask: &Ask, abilities: &Abilities) -> bool {
    let is_plain = |namespace: &Option<String>, name: &str, kind: CallKind| {
        namespace.is_none() && kind == CallKind::Function && abilities.takes_name(name)
    };
    let is_plain_tool = |tool: &Tool| {
        let is_function = matches!(tool.kind, ToolKind::Function { .. });
        is_function && is_plain(&tool.namespace, &tool.name, CallKind::Function)
    };
    let is_plain_part = |part: &Part| match &part.content {
        Content::ToolCall(call) => is_plain(&call.namespace, &call.name, call.kind),
        Content::ToolResult(result) => result.name.is_none() && result.kind == CallKind::Function,
        _ => true,
    };
    let is_plain_choice = match &ask.tool_choice {
        Some(ToolChoice::Named { name, namespace, kind }) => is_plain(namespace, name, *kind),
        Some(ToolChoice::Allowed { .. }) => false,
        _ => true,
    };
    is_plain_choice
        && ask.tools.iter().all(is_plain_tool)
        && ask.turns.iter().flat_map(|turn| &turn.parts).all(is_plain_part)
}

fn mend_ids(ask: &mut Ask, abilities: &Abilities) {
    for part in ask.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match &mut part.content {
            Content::ToolCall(call) => abilities.call_id.mend(&mut call.id),
            Content::ToolResult(result) => abilities.call_id.mend(&mut result.call_id),
            _ => {}
        }
    }
}

/// Whether calls of this kind are played by a function.
fn is_played(kind: CallKind, abilities: &Abilities) -> bool {
    match kind {
        CallKind::Function => false,
        CallKind::Custom => !abilities.custom_tools,
        CallKind::LocalShell => !abilities.local_shell,
        CallKind::ApplyPatch => !abilities.apply_patch,
        CallKind::ToolSearch => !abilities.tool_search,
    }
}

/// Removes the tools that nobody could run: hosted ones of another format, and those that only seem to be
/// the client's.
fn drop_hosted(ask: &mut Ask, abilities: &Abilities, losses: &mut Losses) {
    let mut gone = Vec::new();
    let mut at = ClientIndex::default();
    ask.tools.retain(|tool| {
        let index = at.next(tool);
        let kept = match &tool.kind {
            ToolKind::Hosted { format, .. } => abilities.hosted.contains(format),
            ToolKind::LocalShell { value } if !abilities.local_shell => {
                !schema::in_container(value)
            }
            // Without `execution: "client"` the provider searches.
            ToolKind::ToolSearch { value } if !abilities.tool_search => schema::by_client(value),
            _ => true,
        };
        if !kept {
            let name = label(tool);
            losses.add(
                format!("tools[{index}]"),
                format!("This provider does not run `{name}`, a tool that is hosted by another."),
            );
            gone.push(name);
        }
        kept
    });
    let lost = match &ask.tool_choice {
        Some(ToolChoice::Foreign { format, .. }) => !abilities.hosted.contains(format),
        Some(ToolChoice::Named { name, .. }) => {
            gone.contains(name) && !ask.tools.iter().any(|tool| tool.name == *name)
        }
        Some(ToolChoice::Required) => ask.tools.is_empty() && !gone.is_empty(),
        _ => false,
    };
    if lost {
        losses.add(
            "tool_choice",
            "The tool it names is hosted by another provider; the model chooses.",
        );
        ask.tool_choice = (!ask.tools.is_empty()).then_some(ToolChoice::Auto);
    }
}

/// What a tool is called in messages: its name, else its type.
fn label(tool: &Tool) -> String {
    let value = match &tool.kind {
        ToolKind::Hosted { value, .. }
        | ToolKind::LocalShell { value }
        | ToolKind::ApplyPatch { value }
        | ToolKind::ToolSearch { value } => Some(value),
        ToolKind::Function { .. } | ToolKind::Custom { .. } => None,
    };
    let named = Some(tool.name.clone()).filter(|name| !name.is_empty());
    named.or_else(|| schema::type_of(value?)).unwrap_or_else(|| "tool".to_owned())
}

/// Where a tool stood in the client's list, in which a namespace is one entry.
#[derive(Default)]
struct ClientIndex {
    next: usize,
    namespace: Option<String>,
}

impl ClientIndex {
    fn next(&mut self, tool: &Tool) -> usize {
        if self.next == 0 || tool.namespace.is_none() || tool.namespace != self.namespace {
            self.next += 1;
            self.namespace.clone_from(&tool.namespace);
        }
        self.next - 1
    }
}

/// A tool declared again (Codex repeats `additional_tools` in every turn) replaces what it was.
fn drop_repeated(tools: &mut Vec<Tool>) {
    let mut names = HashSet::with_capacity(tools.len());
    if tools.iter().all(|tool| !tool.name.is_empty() && names.insert((&tool.namespace, &tool.name)))
    {
        return;
    }
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let mut kept: Vec<Tool> = Vec::with_capacity(tools.len());
    for tool in std::mem::take(tools) {
        let known = Key::of_tool(&tool).map(|key| *seen.entry(key).or_insert(kept.len()));
        match known.and_then(|at| kept.get_mut(at)) {
            Some(first) => *first = tool,
            None => kept.push(tool),
        }
    }
    *tools = kept;
}

fn rewrite_tool(tool: &mut Tool, register: &mut Register<'_>, abilities: &Abilities) {
    let Some(key) = Key::of_tool(tool) else { return };
    let wire = register.wire(&key);
    if is_played(key.kind, abilities) {
        schema::play(tool);
    }
    tool.name = wire.name;
    tool.namespace = wire.namespace;
}

fn rewrite_choice(
    ask: &mut Ask,
    register: &mut Register<'_>,
    abilities: &Abilities,
    losses: &mut Losses,
) {
    let hosted = ask.tools.iter().filter(|tool| matches!(tool.kind, ToolKind::Hosted { .. }));
    let hosted: Vec<String> = hosted.map(label).collect();
    match &mut ask.tool_choice {
        Some(ToolChoice::Named { name, namespace, kind }) => {
            let key = Key { namespace: namespace.take(), name: std::mem::take(name), kind: *kind };
            let mut key = register.declared_like(&key);
            // OpenAI's choice has no place for a namespace.
            let named = register.declared(|declared| declared.name == key.name);
            if let (None, [only]) = (&key.namespace, named.as_slice()) {
                key = only.clone();
            }
            let wire = register.wire(&key);
            if register.is_played(&key) {
                *kind = CallKind::Function;
            }
            (*name, *namespace) = (wire.name, wire.namespace);
        }
        Some(ToolChoice::Allowed { names, .. }) => {
            let mut allowed: Vec<String> = Vec::with_capacity(names.len());
            let mut allow = |name: String| {
                if !allowed.contains(&name) {
                    allowed.push(name);
                }
            };
            for name in names.drain(..) {
                let meant = register.declared(|key| {
                    // A namespace may be named as a whole.
                    let namespace = key.namespace.as_ref();
                    key.name == name || namespace == Some(&name) || register.wire_is(key, &name)
                });
                meant.iter().for_each(|key| allow(register.wire(key).name));
                // What a provider's own search finds is declared nowhere.
                if hosted.contains(&name) || (meant.is_empty() && abilities.tool_search) {
                    allow(name);
                }
            }
            if allowed.is_empty() {
                losses.add("tool_choice", "None of the tools it allows can be called here.");
                ask.tool_choice = Some(ToolChoice::None);
            } else {
                *names = allowed;
            }
        }
        _ => {}
    }
}

fn rewrite_history(ask: &mut Ask, register: &mut Register<'_>, abilities: &Abilities) {
    let mut called: HashMap<String, String> = HashMap::new();
    let is_search =
        |part: &Part| part.as_result().is_some_and(|result| result.kind == CallKind::ToolSearch);
    let searched = ask.turns.iter().flat_map(|turn| &turn.parts).any(is_search);
    let found = if searched { found_tools(ask) } else { HashSet::new() };
    for part in ask.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match &mut part.content {
            Content::ToolCall(call) => {
                let key = Key {
                    namespace: call.namespace.take(),
                    name: std::mem::take(&mut call.name),
                    kind: call.kind,
                };
                let key = register.declared_like(&key);
                let wire = register.wire(&key);
                if is_played(call.kind, abilities) {
                    if call.kind == CallKind::Custom {
                        call.arguments = schema::custom_arguments(&call.arguments);
                    }
                    call.kind = CallKind::Function;
                }
                called.insert(call.id.clone(), wire.name.clone());
                (call.name, call.namespace) = (wire.name, wire.namespace);
                abilities.call_id.mend(&mut call.id);
            }
            Content::ToolResult(result) => {
                if let (Some(name), Some(wire)) = (&mut result.name, called.get(&result.call_id)) {
                    name.clone_from(wire);
                }
                if is_played(result.kind, abilities) {
                    if result.kind == CallKind::ToolSearch {
                        tell_found(&mut result.parts, &found, register);
                    }
                    result.kind = CallKind::Function;
                }
                abilities.call_id.mend(&mut result.call_id);
            }
            _ => {}
        }
    }
}

/// Every declared tool's key: what a tool search may have found.
fn found_tools(ask: &Ask) -> HashSet<Key> {
    ask.tools.iter().filter_map(Key::of_tool).collect()
}

/// A search's result, as its client has it a list of whole tools, becomes the names to call them by: the
/// tools themselves stand among the declared ones.
fn tell_found(parts: &mut Vec<Part>, declared: &HashSet<Key>, register: &mut Register<'_>) {
    let values = parts.iter().filter_map(|part| match &part.content {
        Content::Foreign { value, .. } => Some(value.clone()),
        Content::Text { text, .. } => Json::parse(text.as_str()),
        _ => None,
    });
    let found: Vec<Key> = values.flat_map(|value| schema::tools_in(&value)).collect();
    let mut names = Vec::with_capacity(found.len());
    for key in found.into_iter().filter(|key| declared.contains(key)) {
        names.push(register.wire(&key).name);
    }
    if !names.is_empty() {
        *parts = vec![Part::text(format!("These tools can be called now: {}", names.join(", ")))];
    } else if parts.iter().all(|part| part.as_text().is_none_or(|text| text.trim().is_empty())) {
        *parts = vec![Part::text("No tools were found.")];
    }
}
