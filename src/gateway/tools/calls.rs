//! Calls of one turn that are not the client's: what becomes of each, and which have to wait for one another.

use std::collections::HashMap;

use super::overload::Does;
use super::toolset::Toolset;
use crate::conversation::{Part, ToolCall};

/// A call that is not the client's.
pub(super) struct Captured {
    /// The part of the answer that tells of it, where one does: parts are counted without gaps.
    pub block: Option<u32>,
    /// What is run.
    pub call: ToolCall,
    /// What the model called: the tool, or the function that calls tools by their name.
    pub function: String,
    pub fate: Fate,
}

impl Captured {
    /// Whether a part of what the model said is this call.
    pub(super) fn is(&self, part: &Part) -> bool {
        part.as_call().is_some_and(|call| call.id == self.call.id)
    }
}

/// What becomes of a call that is not the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Run,
    /// The client is asked first.
    Ask,
    /// It names a tool: what becomes of it shows when all of it is there.
    ByName,
    /// There is no such tool: the model is told so, and nobody else.
    Invented,
}

impl Toolset {
    /// What becomes of a call; `None`: it is the client's.
    pub(super) fn fate(&self, call: &ToolCall) -> Option<Fate> {
        match self.find(&call.name) {
            Some(tool) if tool.needs_approval => Some(Fate::Ask),
            Some(tool) if tool.does == Does::Call => Some(Fate::ByName),
            Some(_) => Some(Fate::Run),
            None if self.is_invented(call) => Some(Fate::Invented),
            None => None,
        }
    }
}

/// The calls in rows that can be run side by side, each with its place: calls of a server that wants them in order are one
/// row.
pub(super) fn in_rows(set: &Toolset, calls: Vec<Captured>) -> Vec<Vec<(usize, Captured)>> {
    let mut rows: Vec<Vec<(usize, Captured)>> = Vec::new();
    let mut in_order: HashMap<String, usize> = HashMap::new();
    for (index, captured) in calls.into_iter().enumerate() {
        let tool = set.find(&captured.call.name);
        let server = tool.filter(|tool| tool.in_order).map(|tool| tool.server.clone());
        let row = server.as_ref().and_then(|server| in_order.get(server).copied());
        match row.and_then(|row| rows.get_mut(row)) {
            Some(row) => row.push((index, captured)),
            None => {
                if let Some(server) = server {
                    in_order.insert(server, rows.len());
                }
                rows.push(vec![(index, captured)]);
            }
        }
    }
    rows
}
