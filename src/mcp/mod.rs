//! Floor 4: every MCP server behind one endpoint. `transport` carries messages to one server; `connection` is one
//! session with one, whatever its era; `pool` keeps those alive, one slot for each server and credential; `view` is what
//! one caller sees of it all; `serve` answers the clients of `/mcp`. Nothing here knows of models or of the gate.

pub mod serve;
pub mod transport;

/// All that lives of MCP between requests.
pub struct Mcp {}
