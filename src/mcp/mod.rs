//! Floor 4: every MCP server behind one endpoint. `transport` carries messages to one server; `connection` is one
//! session with one, whatever its era; `pool` keeps those alive, one slot for each server and credential; `view` is what
//! one caller sees of it all; `serve` answers the clients of `/mcp`. Nothing here knows of models or of the gate.

pub mod serve;
pub mod transport;

use std::sync::Arc;

use self::serve::sessions::Sessions;

/// All that lives of MCP between requests.
#[derive(Default)]
pub struct Mcp {
    /// Those of clients.
    pub sessions: Arc<Sessions>,
}

impl Mcp {
    pub fn new() -> Self {
        Self::default()
    }
}
