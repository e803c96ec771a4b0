//! Answers in which the gateway ran tools. A client sends back only what it knows of one: its own calls, texts, thoughts. By
//! the ids of these the whole is found again, for its key, for a while, and stands in the history as the model said it: what
//! was run is neither lost nor run again. On one machine: a second replica does not see them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::decisions::Decisions;
use super::kept::Kept;
use crate::conversation::{Ask, Part, Role, Turn};
use crate::wire::openai_responses::client::answer_of;

/// How long a client may take.
const TTL: Duration = Duration::from_secs(3600);
/// Answers that are kept at once; the oldest goes for a new one.
const MAX: usize = 4096;
/// Bytes that are kept at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// All of them, and what became of calls that waited for a word.
#[derive(Default)]
pub(in crate::gateway) struct Pending {
    answers: Mutex<State>,
    pub(super) decisions: Decisions,
}

#[derive(Default)]
struct State {
    answers: HashMap<u64, Entry>,
    /// By whose it is, and an id in it that a client may send back.
    by_id: HashMap<(String, String), u64>,
    order: VecDeque<u64>,
    bytes: usize,
    next: u64,
}

struct Entry {
    ids: Vec<(String, String)>,
    until: Instant,
    kept: Kept,
    bytes: usize,
}

impl Pending {
    /// Keeps an answer in which something was run, or what there is of it so far, in the place of what was kept of it before:
    /// its rounds, each with the results of the gateway's calls behind it. `seed` is in the ids of its items.
    pub(super) fn keep(&self, owner: &str, seed: &str, turns: Vec<Turn>) {
        let Some(kept) = Kept::of(turns) else { return };
        let bytes = kept.size();
        if bytes > MAX_BYTES {
            return;
        }
        let ids = kept.ids().chain([seed.to_owned()]);
        let ids: Vec<_> = ids.map(|id| (owner.to_owned(), id)).collect();
        let mut state = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = state.find(owner, seed) {
            state.order.retain(|kept| *kept != number);
            state.forget(number);
        }
        while state.answers.len() >= MAX || state.bytes + bytes > MAX_BYTES {
            if !state.drop_oldest() {
                break;
            }
        }
        let number = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.order.push_back(number);
        for id in &ids {
            state.by_id.insert(id.clone(), number);
        }
        let until = Instant::now() + TTL;
        state.answers.insert(number, Entry { ids, until, kept, bytes });
    }

    /// Puts back into a history what its client left out.
    pub(super) fn restore(&self, ask: &mut Ask, owner: &str) {
        let mut state = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        while state.oldest_is_over() {
            state.drop_oldest();
        }
        if state.answers.is_empty() {
            return;
        }
        let calls = ask.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_call);
        let known: HashSet<_> = calls.map(|call| (call.id.clone(), call.name.clone())).collect();
        let mut turns = Vec::with_capacity(ask.turns.len());
        for turn in std::mem::take(&mut ask.turns) {
            if turn.role != Role::Assistant {
                turns.push(turn);
                continue;
            }
            for (kept, turn) in state.answers_in(owner, turn) {
                match kept.filter(|kept| !kept.is_among(&known)) {
                    Some(kept) => kept.restored(turn, &mut turns),
                    None => turns.push(turn),
                }
            }
        }
        ask.turns = turns;
    }
}

impl State {
    /// The answers in a turn: where one broke off, the next follows it without a word of the user. Each with what is kept of
    /// it.
    fn answers_in(&self, owner: &str, turn: Turn) -> Vec<(Option<&Kept>, Turn)> {
        let Turn { role, parts, name, extras } = turn;
        let mut found: Vec<(Option<Option<u64>>, Turn)> = Vec::new();
        for part in parts {
            let number = self.by_item(owner, &part).or_else(|| self.by_call(owner, &part));
            // What says nothing of where it comes from goes with what is beside it.
            let of = (number.is_some() || part.item_id().is_some()).then_some(number);
            match found.last_mut() {
                Some((known, turn)) if known.is_none() || of.is_none() || *known == of => {
                    *known = known.or(of);
                    turn.parts.push(part);
                }
                _ => {
                    let (name, extras) = (name.clone(), extras.clone());
                    found.push((of, Turn { role, parts: vec![part], name, extras }));
                }
            }
        }
        let kept = |number: Option<u64>, turn: &Turn| {
            let kept = &self.answers.get(&number?)?.kept;
            let is_sure = turn.parts.iter().any(|part| self.by_item(owner, part) == number);
            (is_sure || kept.is_said_by(turn)).then_some(kept)
        };
        found.into_iter().map(|(number, turn)| (kept(number.flatten(), &turn), turn)).collect()
    }

    fn by_item(&self, owner: &str, part: &Part) -> Option<u64> {
        let id = part.item_id()?;
        self.find(owner, &id).or_else(|| self.find(owner, answer_of(&id)?))
    }

    fn by_call(&self, owner: &str, part: &Part) -> Option<u64> {
        self.find(owner, &part.as_call()?.id)
    }

    fn find(&self, owner: &str, id: &str) -> Option<u64> {
        self.by_id.get(&(owner.to_owned(), id.to_owned())).copied()
    }

    fn oldest_is_over(&self) -> bool {
        let oldest = self.order.front().and_then(|number| self.answers.get(number));
        oldest.is_some_and(|kept| kept.until <= Instant::now())
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(number) = self.order.pop_front() else { return false };
        self.forget(number);
        true
    }

    fn forget(&mut self, number: u64) {
        let Some(kept) = self.answers.remove(&number) else { return };
        self.bytes -= kept.bytes;
        for id in kept.ids {
            if self.by_id.get(&id) == Some(&number) {
                self.by_id.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Content, Extras, Format, Json, ToolCall, ToolResult};

    fn call(id: &str) -> Part {
        let arguments = format!("{{\"of\": \"{id}\"}}");
        Part::new(Content::ToolCall(ToolCall { id: id.into(), arguments, ..ToolCall::default() }))
    }

    fn result(id: &str) -> Part {
        Part::new(Content::ToolResult(ToolResult { call_id: id.into(), ..ToolResult::default() }))
    }

    fn said(parts: Vec<Part>) -> Turn {
        Turn::new(Role::Assistant, parts)
    }

    fn heard(parts: Vec<Part>) -> Turn {
        Turn::new(Role::User, parts)
    }

    /// Two rounds: the gateway's alone, then one of each kind.
    fn answer() -> Vec<Turn> {
        vec![
            said(vec![Part::text("a "), call("g1")]),
            heard(vec![result("g1")]),
            said(vec![Part::text("b"), call("g2"), call("c1")]),
            heard(vec![result("g2")]),
        ]
    }

    fn restored(pending: &Pending, owner: &str, turns: Vec<Turn>) -> Vec<Turn> {
        let mut ask = Ask::new(Format::OpenAiChat);
        ask.turns = turns;
        pending.restore(&mut ask, owner);
        let once = ask.clone();
        pending.restore(&mut ask, owner);
        assert_eq!(ask, once, "and only once");
        ask.turns
    }

    #[test]
    fn what_a_client_left_out_is_put_back_for_its_own_key() {
        let pending = Pending::default();
        pending.keep("a", "seed", answer());
        for text in ["a b", "a\nb", ""] {
            let texts = (!text.is_empty()).then(|| Part::text(text));
            let theirs = said(texts.into_iter().chain([call("c1")]).collect());
            let history = vec![theirs, heard(vec![result("c1")])];
            assert_eq!(restored(&pending, "b", history.clone()), history);
            let mut expected = answer();
            expected.push(heard(vec![result("c1")]));
            assert_eq!(restored(&pending, "a", history), expected);
        }
    }

    #[test]
    fn a_call_of_the_same_id_in_another_answer_is_another() {
        let pending = Pending::default();
        pending.keep("a", "seed", answer());
        let mut other = call("c1");
        if let Content::ToolCall(call) = &mut other.content {
            call.arguments = "{}".into();
        }
        for parts in [vec![other], vec![Part::text("something else"), call("c1")]] {
            let history = vec![said(parts), heard(vec![result("c1")])];
            assert_eq!(restored(&pending, "a", history.clone()), history);
        }
    }

    #[test]
    fn an_answer_that_ended_with_words_is_known_by_the_ids_of_its_items() {
        let seed = "0123456789abcdef0123456789abcdef";
        let pending = Pending::default();
        let ended = |text: &str| {
            vec![said(vec![call("g")]), heard(vec![result("g")]), said(vec![Part::text(text)])]
        };
        pending.keep("a", seed, ended("Done."));
        let item = |text: &str| {
            let id = ("id".to_owned(), Json::of(&format!("msg_{seed}0003")));
            let extras = Extras::new(Format::OpenAiResponses, vec![id]);
            Part { extras, ..Part::text(text) }
        };
        let next = heard(vec![Part::text("And now?")]);
        let mut expected = ended("Done.");
        expected.push(next.clone());
        let history = vec![said(vec![item("Done.")]), next.clone()];
        assert_eq!(restored(&pending, "a", history), expected);
        // What the client has changed is what was said.
        expected[2] = said(vec![item("Not done.")]);
        let history = vec![said(vec![item("Not done.")]), next];
        assert_eq!(restored(&pending, "a", history), expected);
    }

    #[test]
    fn the_store_is_bounded() {
        let pending = Pending::default();
        for number in 0..MAX + 10 {
            let turns = vec![said(vec![call("g")]), heard(vec![result("g")])];
            pending.keep("a", &format!("seed{number}"), turns);
        }
        let state = pending.answers.lock().unwrap();
        assert_eq!((state.answers.len(), state.by_id.len(), state.order.len()), (MAX, MAX, MAX));
    }
}
