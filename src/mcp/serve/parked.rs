//! Calls that wait for a client without a session: its server asked something, the client was told by an answer, and will
//! come again. A state is good once, for the same key and the same call, and for a while.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr>

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::OwnedSemaphorePermit;

use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::mcp::connection::Exchange;
use crate::wire::mcp::message::Request;

/// How long a client may take to come again.
const TTL: Duration = Duration::from_secs(600);
/// Calls that wait at once; the oldest goes for a new one.
const MAX: usize = 1024;
/// The same of one key, so that none pushes out those of others.
const MAX_OF_ONE: usize = 256;

/// All of them.
#[derive(Default)]
pub struct ParkingLot(Mutex<HashMap<String, Place>>);

struct Place {
    binding: Binding,
    until: Instant,
    parked: Parked,
}

/// Whose call it is, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub key: Option<KeyHash>,
    pub server: String,
    pub method: String,
    pub name: String,
}

/// What waits.
pub enum Parked {
    /// A call to a server with a session, which asked something.
    Asked { exchange: Exchange, question: Question, room: Option<OwnedSemaphorePermit> },
    /// What the gateway answered itself of what a server without sessions asked, and that server's own state.
    Partly { answers: BTreeMap<String, Json>, state: Option<String> },
}

/// What was asked.
pub struct Question {
    pub request: Request,
}

impl ParkingLot {
    /// Keeps a call; gives the state under which it is found again.
    pub fn keep(&self, binding: Binding, parked: Parked) -> String {
        let state = token();
        let mut places = self.places();
        let of_one = places.values().filter(|place| place.binding.key == binding.key).count();
        let goes = |place: &Place| of_one < MAX_OF_ONE || place.binding.key == binding.key;
        let mut dropped = None;
        if of_one >= MAX_OF_ONE || places.len() >= MAX {
            let oldest = places.iter().filter(|(_, place)| goes(place));
            let oldest = oldest.min_by_key(|(_, place)| place.until);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                dropped = places.remove(&oldest);
            }
        }
        places.insert(state.clone(), Place { binding, until: Instant::now() + TTL, parked });
        drop(places);
        // Which cancels a call: not under the lock.
        drop(dropped);
        state
    }

    /// Takes a call out, for the one it belongs to.
    pub fn take(&self, state: &str, binding: &Binding) -> Option<Parked> {
        let mut places = self.places();
        let is_theirs = places
            .get(state)
            .is_some_and(|place| place.binding == *binding && place.until > Instant::now());
        if is_theirs { places.remove(state).map(|place| place.parked) } else { None }
    }

    /// Drops what waited too long, which cancels it.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.places().retain(|_, place| place.until > now);
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 bits by chance, as text.
pub fn token() -> String {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes");
        fastrand::fill(&mut bytes);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(key: &str, name: &str) -> Binding {
        let key = Some(KeyHash::of(key));
        Binding { key, server: "s".into(), method: "tools/call".into(), name: name.into() }
    }

    fn parked() -> Parked {
        Parked::Partly { answers: BTreeMap::new(), state: None }
    }

    #[test]
    fn a_state_is_good_once_and_for_the_same_call() {
        let lot = ParkingLot::default();
        let state = lot.keep(binding("a", "x"), parked());
        assert_eq!(state.len(), 43);
        assert!(lot.take(&state, &binding("b", "x")).is_none());
        assert!(lot.take(&state, &binding("a", "y")).is_none());
        assert!(lot.take("other", &binding("a", "x")).is_none());
        assert!(lot.take(&state, &binding("a", "x")).is_some(), "no other try spoilt it");
        assert!(lot.take(&state, &binding("a", "x")).is_none());
    }

    #[test]
    fn one_key_pushes_out_its_own_only() {
        let lot = ParkingLot::default();
        let other = lot.keep(binding("b", "x"), parked());
        let states: Vec<_> = (0..MAX).map(|_| lot.keep(binding("a", "x"), parked())).collect();
        assert_eq!(lot.places().len(), MAX_OF_ONE + 1);
        assert!(lot.take(&other, &binding("b", "x")).is_some());
        assert!(lot.take(&states[0], &binding("a", "x")).is_none(), "the oldest gave way");
        assert!(lot.take(&states[MAX - 1], &binding("a", "x")).is_some());
    }

    #[test]
    fn what_waited_too_long_is_dropped() {
        let lot = ParkingLot::default();
        let state = lot.keep(binding("a", "x"), parked());
        if let Some(place) = lot.places().get_mut(&state) {
            place.until = Instant::now();
        }
        assert!(lot.take(&state, &binding("a", "x")).is_none());
        lot.sweep();
        assert!(lot.places().is_empty());
    }
}
