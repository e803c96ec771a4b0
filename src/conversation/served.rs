//! What the gateway did itself within an answer: tools of MCP servers that it listed and ran for the model. A client is
//! told of it in its format's own words; a model that goes on sees ordinary calls and results.

use super::{Ask, Content, Delta, Json, Part, Role, ToolCall, ToolResult, Turn};

/// In the ids of all that the gateway did: providers that run tools themselves have other ids.
pub const OWN_ID: &str = "tidegate1.";

/// An id that pairs a call with its result, for providers, which bound its length: made of an item's id.
pub fn call_id(id: &str) -> String {
    let plain: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail = plain.iter().skip(plain.len().saturating_sub(32));
    format!("call_{}", tail.collect::<String>())
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Served {
    Tools(ServedTools),
    Call(ServedCall),
    Approval(ServedApproval),
    /// The client's answer to an approval that was asked for.
    Answer(ServedAnswer),
}

/// The tools of one server, as the model got them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedTools {
    pub id: String,
    /// `server_label`.
    pub server: String,
    /// A list of `{name, description, input_schema, annotations}`.
    pub tools: Option<Json>,
    pub error: Option<String>,
}

/// A call of a tool that the gateway runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedCall {
    /// The item's id.
    pub id: String,
    /// The model's own id of the call.
    pub call_id: String,
    /// `server_label`.
    pub server: String,
    /// The server's name for the tool.
    pub name: String,
    /// The function's name that the model called; empty where only the client's words are known.
    pub function: String,
    /// JSON text, as the model wrote it.
    pub arguments: String,
    /// The approval that let it run.
    pub approval: Option<String>,
    /// Absent while it runs.
    pub outcome: Option<ServedOutcome>,
}

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedOutcome {
    pub parts: Vec<Part>,
    pub is_error: bool,
}

/// A call that waits for the client's word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedApproval {
    pub id: String,
    pub server: String,
    pub name: String,
    pub arguments: String,
}

/// The client's word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedAnswer {
    /// Which approval it answers.
    pub id: String,
    pub approve: bool,
    pub reason: Option<String>,
}

impl Served {
    /// Adds what came; only a call grows.
    pub(super) fn grow(&mut self, delta: Delta) {
        match (self, delta) {
            (Self::Call(call), Delta::Arguments(more)) => call.arguments.push_str(&more),
            (Self::Call(call), Delta::Outcome(outcome)) => call.outcome = Some(*outcome),
            _ => {}
        }
    }

    /// Takes out what would have come as deltas; nothing of a call that has only begun.
    pub(super) fn split(&mut self) -> Vec<Delta> {
        let Self::Call(call) = self else { return Vec::new() };
        if call.arguments.is_empty() && call.outcome.is_none() {
            return Vec::new();
        }
        let arguments = Some(std::mem::take(&mut call.arguments));
        let arguments = arguments.filter(|text| !text.is_empty()).map(Delta::Arguments);
        let outcome = call.outcome.take().map(|outcome| Delta::Outcome(Box::new(outcome)));
        arguments.into_iter().chain([Delta::Called]).chain(outcome).collect()
    }
}

impl ServedOutcome {
    /// All texts, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}

impl Part {
    pub fn served(served: Served) -> Self {
        Self::new(Content::Served(Box::new(served)))
    }

    pub fn as_served(&self) -> Option<&Served> {
        match &self.content {
            Content::Served(served) => Some(served),
            _ => None,
        }
    }
}

/// Writes what the gateway did in the history as the model knows it: a call, and its result behind it. What was listed or
/// asked of the client is nothing to a model. `function`: the name under which the model knows a tool of a server.
pub fn expand(ask: &mut Ask, function: impl Fn(&str, &str) -> String) {
    let has_any = |turn: &Turn| turn.parts.iter().any(|part| part.as_served().is_some());
    if !ask.turns.iter().any(has_any) {
        return;
    }
    let mut turns: Vec<Turn> = Vec::with_capacity(ask.turns.len());
    for turn in std::mem::take(&mut ask.turns) {
        if !has_any(&turn) {
            turns.push(turn);
            continue;
        }
        let Turn { role, parts, name, extras } = turn;
        let mut rest = Turn { role, parts: Vec::new(), name, extras };
        let mut results: Vec<Part> = Vec::new();
        for part in parts {
            // Some formats have the result as a part of its own, behind the call.
            if let Content::ToolResult(_) = &part.content {
                results.push(part);
                continue;
            }
            let Content::Served(served) = part.content else {
                // What the model said after a result is another turn.
                if !results.is_empty() && !matches!(part.content, Content::ToolCall(_)) {
                    close(&mut turns, &mut rest, &mut results);
                }
                rest.parts.push(part);
                continue;
            };
            if let Served::Call(call) = *served {
                let called = if call.function.is_empty() {
                    function(&call.server, &call.name)
                } else {
                    call.function
                };
                rest.parts.push(Part::new(Content::ToolCall(ToolCall {
                    id: call.call_id.clone(),
                    name: called.clone(),
                    arguments: call.arguments,
                    ..ToolCall::default()
                })));
                let Some(outcome) = call.outcome else { continue };
                results.push(Part::new(Content::ToolResult(ToolResult {
                    call_id: call.call_id,
                    name: Some(called),
                    parts: outcome.parts,
                    is_error: outcome.is_error,
                    ..ToolResult::default()
                })));
            }
        }
        close(&mut turns, &mut rest, &mut results);
    }
    ask.turns = turns;
}

/// Ends a turn of the model and puts the results behind it.
fn close(turns: &mut Vec<Turn>, rest: &mut Turn, results: &mut Vec<Part>) {
    let next = Turn { role: rest.role, parts: Vec::new(), name: None, extras: Default::default() };
    let ended = std::mem::replace(rest, next);
    if !ended.parts.is_empty() {
        turns.push(ended);
    }
    if !results.is_empty() {
        turns.push(Turn::new(Role::User, std::mem::take(results)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Format;

    #[test]
    fn what_was_run_becomes_a_call_and_its_result() {
        let call = |id: &str| {
            Part::served(Served::Call(ServedCall {
                call_id: id.into(),
                server: "db".into(),
                name: "list".into(),
                arguments: "{}".into(),
                outcome: Some(ServedOutcome { parts: vec![Part::text("r")], is_error: false }),
                ..ServedCall::default()
            }))
        };
        let mut ask = Ask::new(Format::OpenAiResponses);
        let tools = Part::served(Served::Tools(ServedTools::default()));
        let parted = ServedCall { call_id: "3".into(), function: "f".into(), ..<_>::default() };
        let parted = Part::served(Served::Call(parted));
        let result = ToolResult { call_id: "3".into(), ..ToolResult::default() };
        let result = Part::new(Content::ToolResult(result));
        let (a, b, c) = (Part::text("a"), Part::text("b"), Part::text("c"));
        let parts = vec![tools, a, call("1"), call("2"), b, parted, result, c];
        ask.turns = vec![Turn::new(Role::User, vec![]), Turn::new(Role::Assistant, parts)];
        expand(&mut ask, |server, name| format!("{server}-{name}"));
        let told: Vec<String> = ask
            .turns
            .iter()
            .map(|turn| {
                let parts = turn.parts.iter().map(|part| match &part.content {
                    Content::Text { text, .. } => text.clone(),
                    Content::ToolCall(call) => format!("{}:{}", call.name, call.id),
                    Content::ToolResult(result) => format!("={}", result.call_id),
                    _ => "?".into(),
                });
                parts.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(told, ["", "a db-list:1 db-list:2", "=1 =2", "b f:3", "=3", "c"]);
    }
}
