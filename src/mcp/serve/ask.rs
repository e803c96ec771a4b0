//! One request of a client and everything that is known of who asks: handed from the HTTP side to `dispatch`, which
//! answers through the outbox. Neither side knows more of the other than this.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::mpsc;

use super::session::Session;
use crate::config::snapshot::{Key, Snapshot};
use crate::conversation::Json;
use crate::mcp::traced::Within;
use crate::wire::mcp::message::Request;
use crate::wire::mcp::revision::Revision;

/// One request on its way.
pub struct Ask {
    pub request: Request,
    pub asker: Asker,
    pub outbox: Outbox,
}

/// Who asks.
#[derive(Clone)]
pub struct Asker {
    /// The configuration that the request came under.
    pub snapshot: Arc<Snapshot>,
    /// `None`: the master key, or no keys are configured.
    pub key: Option<Arc<Key>>,
    /// What the path and the header `x-mcp-servers` say of which servers.
    pub scope: Scope,
    /// The client's headers.
    pub headers: Arc<HeaderMap>,
    /// The revision that the client speaks.
    pub revision: Revision,
    /// What the client can do: `{}`, or its `capabilities`.
    pub capabilities: Json,
    /// The client's session, in the era that has them.
    pub session: Option<Arc<Session>>,
    /// What the request is part of; absent where there are no traces.
    pub trace: Option<Within>,
}

/// Which servers a request is about: of those that the key may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// What the path names: `/mcp/{a,b}`. Empty: all.
    pub path: Vec<String>,
    /// What the header names. Empty: all.
    pub header: Vec<String>,
    /// `/{server}/mcp`: names without a prefix.
    pub single: Option<String>,
}

/// Where messages for the client go: those that belong to the request, and its answer at the end. Full, it holds the
/// server back; closed, nobody waits any more.
pub type Outbox = mpsc::Sender<Out>;

/// Messages that may wait for a client that does not read.
pub const MAX_WAITING: usize = 64;

#[derive(Debug)]
pub enum Out {
    /// A notification or a request of the server, as a whole message.
    Message(String),
    /// The answer: the last that comes.
    Answer(String),
}
