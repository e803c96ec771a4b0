//! What became of calls that waited for their client's word. Each is decided once, for its key, however often the word is
//! sent: a client that lost an answer asks again, and one that sends whole histories says its words with each of them. Kept in
//! memory for a while: a second replica does not see them, and neither does the gateway after a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::kept::size;
use crate::conversation::served::ServedOutcome;

/// How long a word may be said again.
const TTL: Duration = Duration::from_secs(3600);
/// Decisions that are kept at once; the oldest goes for a new one.
const MAX: usize = 4096;
/// Bytes of outcomes that are kept at once.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What was said first, and what came of it; filled by the first who says it.
pub(super) type Decision = OnceCell<(bool, ServedOutcome)>;

/// Whose key, and which approval.
type Name = (String, String);

/// All of them.
#[derive(Default)]
pub(super) struct Decisions(Mutex<State>);

#[derive(Default)]
struct State {
    known: HashMap<Name, Kept>,
    order: VecDeque<Name>,
    bytes: usize,
}

struct Kept {
    decision: Arc<Decision>,
    until: Instant,
    bytes: usize,
}

impl Decisions {
    /// The decision on an approval, made or to be made.
    pub(super) fn on(&self, owner: &str, approval: &str) -> Arc<Decision> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.order.len() >= MAX || state.oldest_is_over() {
            state.drop_oldest();
        }
        let name = (owner.to_owned(), approval.to_owned());
        if let Some(kept) = state.known.get(&name) {
            return kept.decision.clone();
        }
        let decision = Arc::<Decision>::default();
        let until = Instant::now() + TTL;
        state.order.push_back(name.clone());
        state.known.insert(name, Kept { decision: decision.clone(), until, bytes: 0 });
        decision
    }

    /// Counts what one came to.
    pub(super) fn weigh(&self, owner: &str, approval: &str, outcome: &ServedOutcome) {
        let weight: usize = outcome.parts.iter().map(size).sum();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { known, bytes, .. } = &mut *state;
        let Some(kept) = known.get_mut(&(owner.to_owned(), approval.to_owned())) else { return };
        *bytes = (*bytes + weight).saturating_sub(kept.bytes);
        kept.bytes = weight;
        while state.bytes > MAX_BYTES && !state.order.is_empty() {
            state.drop_oldest();
        }
    }
}

impl State {
    fn oldest_is_over(&self) -> bool {
        let oldest = self.order.front().and_then(|name| self.known.get(name));
        oldest.is_some_and(|kept| kept.until <= Instant::now())
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|name| self.known.remove(&name));
        self.bytes -= oldest.map_or(0, |kept| kept.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Part;

    fn outcome(text: String) -> ServedOutcome {
        ServedOutcome { parts: vec![Part::text(text)], is_error: false }
    }

    #[test]
    fn a_decision_is_its_keys_and_the_store_is_bounded() {
        let decisions = Decisions::default();
        let first = decisions.on("a", "1");
        first.set((true, outcome("ran".into()))).expect("the first");
        assert!(decisions.on("a", "1").initialized());
        assert!(!decisions.on("b", "1").initialized());
        for number in 0..MAX + 10 {
            decisions.on("c", &number.to_string());
        }
        assert!(!decisions.on("a", "1").initialized(), "the oldest is gone");
        let state = decisions.0.lock().expect("a lock");
        assert_eq!((state.known.len(), state.order.len()), (MAX, MAX));
    }

    #[test]
    fn large_outcomes_push_older_ones_out() {
        let decisions = Decisions::default();
        for name in ["1", "2", "3"] {
            let large = outcome("x".repeat(MAX_BYTES / 2));
            decisions.on("a", name);
            decisions.weigh("a", name, &large);
            decisions.weigh("a", name, &large);
        }
        let state = decisions.0.lock().expect("a lock");
        assert_eq!(state.known.len(), 1);
        assert!(state.bytes <= MAX_BYTES);
    }
}
