//! Calls that wait for a client without a session: its server asked something, the client was told by an answer, and will
//! come again. A state is good once, for the same key and the same call, and for a while.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/mrtr>

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use crate::ground::secret::KeyHash;
use crate::mcp::connection::Exchange;
use crate::wire::mcp::message::Request;

/// How long a client may take to come again.
const TTL: Duration = Duration::from_secs(600);
/// Calls that wait at once; the oldest goes for a new one.
const MAX: usize = 1024;

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
    Partly { answers: Map<String, Value>, state: Option<String> },
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
        if places.len() >= MAX {
            let oldest = places.iter().min_by_key(|(_, place)| place.until);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                places.remove(&oldest);
            }
        }
        places.insert(state.clone(), Place { binding, until: Instant::now() + TTL, parked });
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
