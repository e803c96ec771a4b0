//! Results of turns in which the model called the client's tools and the gateway's at once. The client runs its own and
//! comes again; what the gateway ran is kept by the ids of the client's calls, for its key, for a while, because clients
//! send back only what they know. On one machine: a second replica does not see them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::decisions::Decisions;
use crate::conversation::served::Served;
use crate::conversation::{Ask, Part, Role, Turn};

/// How long a client may take.
const TTL: Duration = Duration::from_secs(3600);
/// Turns that are kept at once; the oldest goes for a new one.
const MAX: usize = 4096;
/// Bytes that are kept at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// All of them, and what became of calls that waited for a word.
#[derive(Default)]
pub(in crate::gateway) struct Pending {
    turns: Mutex<State>,
    pub(super) decisions: Decisions,
}

#[derive(Default)]
struct State {
    turns: HashMap<u64, Kept>,
    by_call: HashMap<(String, String), u64>,
    order: VecDeque<u64>,
    bytes: usize,
    next: u64,
}

struct Kept {
    keys: Vec<(String, String)>,
    until: Instant,
    /// The gateway's calls of that turn, and their results.
    calls: Vec<Part>,
    results: Vec<Part>,
    bytes: usize,
}

impl Pending {
    /// Keeps what the gateway ran in a turn, by the ids of the client's calls in it.
    pub(super) fn keep(
        &self,
        owner: &str,
        client_calls: impl Iterator<Item = String>,
        calls: Vec<Part>,
        results: Vec<Part>,
    ) {
        let keys: Vec<_> = client_calls.map(|id| (owner.to_owned(), id)).collect();
        let bytes = calls.iter().chain(&results).map(size).sum();
        if keys.is_empty() || calls.is_empty() || bytes > MAX_BYTES {
            return;
        }
        let mut state = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        while state.turns.len() >= MAX || state.bytes + bytes > MAX_BYTES {
            if !state.drop_oldest() {
                break;
            }
        }
        let number = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.order.push_back(number);
        for key in &keys {
            state.by_call.insert(key.clone(), number);
        }
        let until = Instant::now() + TTL;
        state.turns.insert(number, Kept { keys, until, calls, results, bytes });
    }

    /// Puts back into a history what its client left out.
    pub(super) fn restore(&self, ask: &mut Ask, owner: &str) {
        let mut state = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        while state.oldest_is_over() {
            state.drop_oldest();
        }
        if state.turns.is_empty() {
            return;
        }
        let calls = ask.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_call);
        let known: Vec<String> = calls.map(|call| call.id.clone()).collect();
        let mut at = 0;
        while let Some(turn) = ask.turns.get_mut(at) {
            at += 1;
            let found = turn.parts.iter().filter_map(Part::as_call).find_map(|call| {
                let number = state.by_call.get(&(owner.to_owned(), call.id.clone()))?;
                state.turns.get(number)
            });
            let Some(kept) = found.filter(|_| turn.role == Role::Assistant) else { continue };
            let is_there =
                |part: &Part| part.as_call().is_some_and(|call| known.contains(&call.id));
            // A client that echoes all of the answer has them in its own words.
            let is_told =
                turn.parts.iter().any(|part| matches!(part.as_served(), Some(Served::Call(_))));
            if is_told || kept.calls.iter().any(is_there) {
                continue;
            }
            turn.parts.extend(kept.calls.iter().cloned());
            ask.turns.insert(at, Turn::new(Role::User, kept.results.clone()));
            at += 1;
        }
    }
}

impl State {
    fn oldest_is_over(&self) -> bool {
        let oldest = self.order.front().and_then(|number| self.turns.get(number));
        oldest.is_some_and(|kept| kept.until <= Instant::now())
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(number) = self.order.pop_front() else { return false };
        if let Some(kept) = self.turns.remove(&number) {
            self.bytes -= kept.bytes;
            for key in kept.keys {
                if self.by_call.get(&key) == Some(&number) {
                    self.by_call.remove(&key);
                }
            }
        }
        true
    }
}

/// About how many bytes a part keeps.
pub(super) fn size(part: &Part) -> usize {
    let text = part.as_text().map_or(0, str::len);
    let call = part.as_call().map_or(0, |call| call.arguments.len() + call.name.len());
    let result = part.as_result().map_or(0, |result| result.parts.iter().map(size).sum());
    // Pictures are counted by what they are.
    let media = match &part.content {
        crate::conversation::Content::Media(media) => match &media.source {
            crate::conversation::Source::Base64 { data, .. } => data.len(),
            _ => 64,
        },
        _ => 0,
    };
    64 + text + call + result + media
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Content, Format, ToolCall, ToolResult};

    fn call(id: &str) -> Part {
        Part::new(Content::ToolCall(ToolCall { id: id.into(), ..ToolCall::default() }))
    }

    fn result(id: &str) -> Part {
        Part::new(Content::ToolResult(ToolResult { call_id: id.into(), ..ToolResult::default() }))
    }

    #[test]
    fn what_a_client_left_out_is_put_back_for_its_own_key() {
        let pending = Pending::default();
        pending.keep("a", ["c1".to_owned()].into_iter(), vec![call("g1")], vec![result("g1")]);
        let history = || {
            let mut ask = Ask::new(Format::OpenAiChat);
            ask.turns = vec![
                Turn::new(Role::Assistant, vec![call("c1")]),
                Turn::new(Role::User, vec![result("c1")]),
            ];
            ask
        };
        let mut ask = history();
        pending.restore(&mut ask, "b");
        assert_eq!(ask, history());
        pending.restore(&mut ask, "a");
        assert_eq!(ask.turns[0].parts, [call("c1"), call("g1")]);
        assert_eq!(ask.turns[1].parts, [result("g1")]);
        let once = ask.clone();
        pending.restore(&mut ask, "a");
        assert_eq!(ask, once, "and only once");
    }

    #[test]
    fn the_store_is_bounded() {
        let pending = Pending::default();
        for number in 0..MAX + 10 {
            let id = format!("c{number}");
            pending.keep("a", [id].into_iter(), vec![call("g")], vec![result("g")]);
        }
        let state = pending.turns.lock().unwrap();
        assert_eq!((state.turns.len(), state.by_call.len(), state.order.len()), (MAX, MAX, MAX));
    }
}
