//! Mending a history that providers would refuse: results apart from their calls, doubled, lost, or of calls
//! nobody made. What is well-formed stays as it is. Nothing here knows a format; formats in which roles
//! alternate merge what they write.

use std::collections::{HashMap, HashSet};

use super::{Ask, CallKind, Content, Part, Role, ToolCall, ToolResult, Turn};

/// What a call whose result is lost is answered with.
const NO_RESULT: &str = "(no result)";

/// Puts all results of a turn's calls directly behind it, in the order of the calls, first in a user's turn.
/// Of doubled results the first counts; a result without a call becomes a user's text; a call without a
/// result gets "(no result)", unless the conversation ends with it. Ids used again, or empty ones, are made
/// unique at both ends, as Anthropic wants them.
pub fn pair_results(ask: &mut Ask) {
    if !ask.has_tool_history() {
        return;
    }
    let mut pairs = Pairs::default();
    let turns = std::mem::take(&mut ask.turns);
    let turns: Vec<Walked> = turns.into_iter().map(|turn| pairs.walk(turn)).collect();
    pairs.settle();
    ask.turns = pairs.rebuild(turns);
}

/// A turn whose results have been taken out.
struct Walked {
    turn: Turn,
    had_results: bool,
    /// Its calls, by their number in the whole conversation.
    calls: Vec<usize>,
    /// Where results stood whose call has not been met: position among the parts, number of the result.
    early: Vec<(usize, usize)>,
}

/// A call that has been met.
struct Met {
    /// The id it has from now on.
    id: String,
    kind: CallKind,
    result: Option<Part>,
}

#[derive(Default)]
struct Pairs {
    /// Every call of the conversation.
    calls: Vec<Met>,
    /// The calls of an id, in order.
    known: HashMap<String, Vec<usize>>,
    /// Results that came before any open call of their id; `None`: placed after all.
    early: Vec<Option<Part>>,
    taken: HashSet<String>,
}

impl Pairs {
    fn walk(&mut self, mut turn: Turn) -> Walked {
        let mut walked = Walked {
            had_results: false,
            calls: Vec::new(),
            early: Vec::new(),
            turn: Turn::new(turn.role, Vec::new()),
        };
        for mut part in std::mem::take(&mut turn.parts) {
            match &mut part.content {
                Content::ToolCall(call) => {
                    walked.calls.push(self.call(call));
                    walked.turn.parts.push(part);
                }
                Content::ToolResult(result) => {
                    walked.had_results = true;
                    let id = result.call_id.clone();
                    match self.open_call(&id) {
                        Some(answer) => *answer = Some(part),
                        None => {
                            walked.early.push((walked.turn.parts.len(), self.early.len()));
                            self.early.push(Some(part));
                        }
                    }
                }
                _ => walked.turn.parts.push(part),
            }
        }
        turn.parts = std::mem::take(&mut walked.turn.parts);
        Walked { turn, ..walked }
    }

    /// Numbers a call, and makes its id one that no call before has.
    fn call(&mut self, call: &mut ToolCall) -> usize {
        let number = self.calls.len();
        self.known.entry(call.id.clone()).or_default().push(number);
        if call.id.is_empty() {
            call.id = format!("call_{number}");
        }
        let mut unique = call.id.clone();
        let mut round = 2_u32;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{}_{round}", call.id);
            round += 1;
        }
        call.id.clone_from(&unique);
        self.calls.push(Met { id: unique, kind: call.kind, result: None });
        number
    }

    /// The first call of an id that has no result yet.
    fn open_call(&mut self, id: &str) -> Option<&mut Option<Part>> {
        let numbers = self.known.get(id)?;
        let is_open = |at: &&usize| self.calls.get(**at).is_some_and(|call| call.result.is_none());
        let open = *numbers.iter().find(is_open)?;
        self.calls.get_mut(open).map(|call| &mut call.result)
    }

    /// Gives early results to calls that came after them; drops what only repeats another.
    fn settle(&mut self) {
        for at in 0..self.early.len() {
            let Some(early) = self.early.get_mut(at) else { continue };
            let Some(part) = early.take() else { continue };
            let id = part.as_result().map(|result| result.call_id.clone()).unwrap_or_default();
            if let Some(answer) = self.open_call(&id) {
                *answer = Some(part);
            } else if !self.known.contains_key(&id)
                && let Some(early) = self.early.get_mut(at)
            {
                *early = Some(part);
            }
        }
    }

    fn rebuild(mut self, walked: Vec<Walked>) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::with_capacity(walked.len());
        let mut owed: Vec<usize> = Vec::new();
        for Walked { mut turn, had_results, calls, early } in walked {
            for (at, number) in early.into_iter().rev() {
                let orphan = self.early.get_mut(number).and_then(Option::take);
                let texts = orphan.map(orphaned).unwrap_or_default();
                let at = at.min(turn.parts.len());
                turn.parts.splice(at..at, texts);
            }
            let emptied = had_results && turn.parts.is_empty();
            // Assistant's turns in a row are one voice: the results wait for the last of them.
            if turn.role != Role::Assistant {
                let results = self.results(&mut owed);
                if turn.role == Role::User && had_results && !results.is_empty() {
                    turn.parts.splice(0..0, results);
                    turns.push(turn);
                    continue;
                }
                if !results.is_empty() {
                    turns.push(Turn::new(Role::User, results));
                }
            }
            owed.extend(calls);
            if !emptied {
                turns.push(turn);
            }
        }
        // The conversation ends with calls: what is known of their results, and nothing made up.
        let answered = |at: &usize| self.calls.get(*at).is_some_and(|call| call.result.is_some());
        if owed.iter().any(answered) {
            let results = self.results(&mut owed);
            turns.push(Turn::new(Role::User, results));
        }
        turns
    }

    /// The results of the calls that wait for theirs.
    fn results(&mut self, owed: &mut Vec<usize>) -> Vec<Part> {
        let mut results = Vec::with_capacity(owed.len());
        for number in owed.drain(..) {
            let Some(call) = self.calls.get_mut(number) else { continue };
            let mut part = call.result.take().unwrap_or_else(|| {
                let (kind, parts) = (call.kind, vec![Part::text(NO_RESULT)]);
                Part::new(Content::ToolResult(ToolResult { kind, parts, ..ToolResult::default() }))
            });
            if let Content::ToolResult(result) = &mut part.content {
                result.call_id.clone_from(&call.id);
            }
            results.push(part);
        }
        results
    }
}

/// What is left of a result without a call: its text, and the pictures with it.
fn orphaned(part: Part) -> Vec<Part> {
    let Content::ToolResult(result) = part.content else { return Vec::new() };
    let name = result.name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let mut parts = vec![Part::text(format!("Result of an earlier call of a tool{name}:"))];
    parts.extend(result.parts);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Format;

    fn call(id: &str) -> Part {
        Part::new(Content::ToolCall(ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            ..ToolCall::default()
        }))
    }

    fn result(id: &str, text: &str) -> Part {
        Part::new(Content::ToolResult(ToolResult {
            call_id: id.to_owned(),
            parts: vec![Part::text(text)],
            ..ToolResult::default()
        }))
    }

    /// `a:c1 u:r1=x u:hello`: a letter for the role, then its parts.
    fn told(turns: &[Turn]) -> String {
        let part = |part: &Part| match &part.content {
            Content::ToolCall(call) => format!("+{}", call.id),
            Content::ToolResult(result) => format!("-{}={}", result.call_id, result.text()),
            _ => part.as_text().unwrap_or_default().to_owned(),
        };
        let turn = |turn: &Turn| {
            let parts: Vec<String> = turn.parts.iter().map(part).collect();
            format!("{:?}: {}", turn.role, parts.join(", "))
        };
        turns.iter().map(turn).collect::<Vec<_>>().join("\n")
    }

    fn user(parts: Vec<Part>) -> Turn {
        Turn::new(Role::User, parts)
    }

    fn model(parts: Vec<Part>) -> Turn {
        Turn::new(Role::Assistant, parts)
    }

    #[track_caller]
    fn check(turns: Vec<Turn>, expected: &str) {
        let mut ask = Ask::new(Format::OpenAiChat);
        ask.turns = turns;
        pair_results(&mut ask);
        assert_eq!(told(&ask.turns), expected);
        let once = ask.clone();
        pair_results(&mut ask);
        assert_eq!(ask, once, "pairing twice changes nothing");
    }

    #[test]
    fn what_is_well_formed_stays() {
        check(
            vec![
                user(vec![Part::text("go")]),
                model(vec![call("1"), call("2")]),
                user(vec![result("1", "x"), result("2", "y"), Part::text("and")]),
                model(vec![Part::text("done")]),
            ],
            "User: go\nAssistant: +1, +2\nUser: -1=x, -2=y, and\nAssistant: done",
        );
        check(vec![model(vec![call("1")])], "Assistant: +1");
    }

    #[test]
    fn results_are_gathered_behind_their_calls() {
        check(
            vec![
                model(vec![call("1")]),
                model(vec![call("2")]),
                user(vec![result("2", "y")]),
                Turn::new(Role::Developer, vec![Part::text("note")]),
                user(vec![Part::text("hi"), result("1", "x")]),
            ],
            "Assistant: +1\nAssistant: +2\nUser: -1=x, -2=y\nDeveloper: note\nUser: hi",
        );
        check(
            vec![user(vec![result("1", "early")]), model(vec![call("1")])],
            "Assistant: +1\nUser: -1=early",
        );
    }

    #[test]
    fn lost_doubled_and_orphaned_results() {
        check(
            vec![
                model(vec![call("1"), call("2")]),
                user(vec![result("2", "y"), result("2", "again"), result("9", "whose")]),
                model(vec![call("3")]),
                user(vec![Part::text("next")]),
            ],
            "Assistant: +1, +2\n\
             User: -1=(no result), -2=y, Result of an earlier call of a tool:, whose\n\
             Assistant: +3\nUser: -3=(no result)\nUser: next",
        );
    }

    #[test]
    fn ids_used_again_are_told_apart() {
        check(
            vec![
                model(vec![call("0"), call("")]),
                user(vec![result("0", "a"), result("", "b")]),
                model(vec![call("0")]),
                user(vec![result("0", "c")]),
            ],
            "Assistant: +0, +call_1\nUser: -0=a, -call_1=b\nAssistant: +0_2\nUser: -0_2=c",
        );
    }
}
