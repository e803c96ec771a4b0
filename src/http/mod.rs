//! Floor 6, the door: connections are accepted, dealt to worker threads and bounded; paths become
//! endpoints; and whatever is not a request to a model (health, administration, CORS, the front page) is
//! answered here.

mod cors;
mod mcp;
mod mcp_rest;
mod metrics;
mod reply;
mod router;
pub mod server;
pub mod status;
mod traced;
mod websocket;
mod workers;

pub use mcp::sweep as sweep_mcp_sessions;
pub use router::{Door, Side};
pub use workers::Workers;
