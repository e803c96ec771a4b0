//! Floor 4, telemetry: what the gateway tells monitoring systems of its requests, and its own log. It learns of a request
//! once, when the request is over and known as an `Entry`; nothing on the request path waits for anything here. It knows
//! neither requests nor the journal, and what other rooms count themselves is handed in where a page is made.

pub mod log;
pub mod metrics;
pub mod traces;
