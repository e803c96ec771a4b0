//! Which name a tool has on the wire. Names that are legal stay; the others are joined, cleaned or shortened
//! so that no two tools meet, and so that the same tools get the same names in every request: a provider's
//! prompt cache and the model's own memory of its calls depend on it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::restore::Restorer;
use super::{Abilities, is_played};
use crate::conversation::{CallKind, Content, Reply, Tool, ToolKind};

/// What brings a provider's answers back to the names and kinds the client knows. The default has nothing to
/// restore; clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Names(Option<Arc<HashMap<Wire, Original>>>);

/// A tool as the provider sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wire {
    pub namespace: Option<String>,
    pub name: String,
}

/// A tool as the client knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub namespace: Option<String>,
    pub name: String,
    pub kind: CallKind,
}

/// What a name on the wire stands for.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub key: Key,
    /// A function plays it.
    pub played: bool,
}

/// The names that are taken while a request is rewritten.
pub(super) struct Register<'a> {
    abilities: &'a Abilities,
    wires: HashMap<Key, Wire>,
    taken: HashMap<Wire, Key>,
    /// In the order of the client's list.
    declared: Vec<Key>,
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What restores one streamed answer.
    pub fn restorer(&self) -> Restorer {
        Restorer::new(self.clone())
    }

    /// Restores a whole answer.
    pub fn restore_reply(&self, reply: &mut Reply) {
        if self.is_empty() {
            return;
        }
        let parts = reply.choices.iter_mut().flat_map(|choice| &mut choice.parts);
        for part in parts {
            if let Content::ToolCall(call) = &mut part.content {
                super::restore::restore_call(self, call);
            }
        }
    }

    /// The tool that the model means. Models drop namespaces now and then, or write the original name, which
    /// they have read somewhere: taken for what it means, where it can mean one tool only.
    pub(super) fn original(&self, namespace: Option<&str>, name: &str) -> Option<&Original> {
        let known = self.0.as_deref()?;
        let wire = Wire { namespace: namespace.map(str::to_owned), name: name.to_owned() };
        if let Some(original) = known.get(&wire) {
            return Some(original);
        }
        if namespace.is_some() {
            return None;
        }
        let mut meant = known.values().filter(|original| original.key.name == name);
        meant.next().filter(|_| meant.next().is_none())
    }
}

impl Key {
    /// `None` for a hosted tool: its calls are the provider's own.
    pub(super) fn of_tool(tool: &Tool) -> Option<Self> {
        let kind = match &tool.kind {
            ToolKind::Function { .. } => CallKind::Function,
            ToolKind::Custom { .. } => CallKind::Custom,
            ToolKind::LocalShell { .. } => CallKind::LocalShell,
            ToolKind::ApplyPatch { .. } => CallKind::ApplyPatch,
            ToolKind::ToolSearch { .. } => CallKind::ToolSearch,
            ToolKind::Hosted { .. } => return None,
        };
        // Those last three have a type only; some clients' halves may leave the name empty.
        let name = if tool.name.is_empty() { super::label(tool) } else { tool.name.clone() };
        Some(Self { namespace: tool.namespace.clone(), name, kind })
    }
}

impl<'a> Register<'a> {
    pub(super) fn new(abilities: &'a Abilities) -> Self {
        Self { abilities, wires: HashMap::new(), taken: HashMap::new(), declared: Vec::new() }
    }

    /// Gives every tool its name: first to those that can keep theirs, then to the others in order.
    pub(super) fn declare(&mut self, tools: &[Tool]) {
        for tool in tools.iter().filter(|tool| matches!(tool.kind, ToolKind::Hosted { .. })) {
            let wire = Wire { namespace: None, name: tool.name.clone() };
            let key = Key { namespace: None, name: tool.name.clone(), kind: CallKind::Function };
            self.taken.insert(wire, key);
        }
        self.declared = tools.iter().filter_map(Key::of_tool).collect();
        let keys = self.declared.clone();
        let (legal, others): (Vec<_>, Vec<_>) =
            keys.iter().partition(|key| self.keeps_its_name(key));
        for key in legal.into_iter().chain(others) {
            self.wire(key);
        }
    }

    /// The declared tools that a name may mean.
    pub(super) fn declared(&self, is_meant: impl Fn(&Key) -> bool) -> Vec<Key> {
        self.declared.iter().filter(|key| is_meant(key)).cloned().collect()
    }

    /// The key itself where that tool is declared, or one that differs in its kind only (a client changed its
    /// mind about `apply_patch` between turns); else the key, as a tool that was.
    pub(super) fn declared_like(&self, key: &Key) -> Key {
        if self.wires.contains_key(key) {
            return key.clone();
        }
        let like = self
            .declared
            .iter()
            .find(|declared| declared.namespace == key.namespace && declared.name == key.name);
        like.unwrap_or(key).clone()
    }

    pub(super) fn is_played(&self, key: &Key) -> bool {
        is_played(key.kind, self.abilities)
    }

    pub(super) fn wire_is(&self, key: &Key, name: &str) -> bool {
        self.wires.get(key).is_some_and(|wire| wire.name == name)
    }

    /// The tool's name on the wire.
    pub(super) fn wire(&mut self, key: &Key) -> Wire {
        if let Some(wire) = self.wires.get(key) {
            return wire.clone();
        }
        let has_type_only = !matches!(key.kind, CallKind::Function | CallKind::Custom);
        if has_type_only && !self.is_played(key) {
            // No name of it is ever sent, so none can be in its way.
            let wire = Wire { namespace: None, name: key.name.clone() };
            self.wires.insert(key.clone(), wire.clone());
            return wire;
        }
        let joined = self.joined(key);
        let clean = self.cleaned(&joined.name);
        let namespace = joined.namespace.map(|name| {
            let clean = self.cleaned(&name);
            // Of the namespace alone: all its tools stay together.
            self.shortened(&clean, &Key { namespace: None, name, kind: CallKind::Function })
        });
        let mut wire = Wire { namespace, name: self.shortened(&clean, key) };
        let mut round = 0;
        while self.taken.contains_key(&wire) {
            round += 1;
            wire.name = self.hashed(&clean, key, round);
        }
        self.taken.insert(wire.clone(), key.clone());
        self.wires.insert(key.clone(), wire.clone());
        wire
    }

    pub(super) fn into_names(self) -> Names {
        let abilities = self.abilities;
        let restores = |(key, wire): (&Key, &Wire)| {
            is_played(key.kind, abilities)
                || key.name != wire.name
                || key.namespace != wire.namespace
        };
        if !self.wires.iter().any(restores) {
            return Names::default();
        }
        let known = self.wires.into_iter().map(|(key, wire)| {
            let played = is_played(key.kind, abilities);
            (wire, Original { key, played })
        });
        Names(Some(Arc::new(known.collect())))
    }

    fn keeps_its_name(&self, key: &Key) -> bool {
        let joined = self.joined(key);
        joined.namespace == key.namespace
            && self.cleaned(&key.name) == key.name
            && key.name.len() <= self.abilities.name_length
    }

    /// One name where the provider has no namespaces.
    fn joined(&self, key: &Key) -> Wire {
        match &key.namespace {
            Some(namespace) if !self.abilities.namespaces => {
                Wire { namespace: None, name: format!("{namespace}__{}", key.name) }
            }
            namespace => Wire { namespace: namespace.clone(), name: key.name.clone() },
        }
    }

    fn cleaned(&self, name: &str) -> String {
        let is_legal = |c: char| self.abilities.takes_char(c);
        let clean: String = name.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
        if clean.is_empty() { "tool".to_owned() } else { clean }
    }

    fn shortened(&self, clean: &str, key: &Key) -> String {
        if clean.len() <= self.abilities.name_length {
            return clean.to_owned();
        }
        self.hashed(clean, key, 0)
    }

    /// As much of the name as there is room for, and what no other tool has.
    fn hashed(&self, clean: &str, key: &Key, round: u32) -> String {
        let what = format!("{:?} {round}", (&key.namespace, &key.name, key.kind));
        let mut mark = String::with_capacity(9);
        for byte in Sha256::digest(what.as_bytes()).iter().take(4) {
            let _ = write!(mark, "{byte:02x}");
        }
        let room = self.abilities.name_length.saturating_sub(mark.len() + 1);
        // Clean names are ASCII.
        let head = clean.get(..clean.len().min(room)).unwrap_or_default();
        format!("{head}_{mark}")
    }
}
