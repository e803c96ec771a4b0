//! Floor 0: what every other floor may lean on. Nothing here knows of tokio, reqwest, a clock, the
//! environment or the file system.

pub mod fault;
pub mod names;
pub mod secret;
pub mod series;
pub mod span;
pub mod trace;
pub mod usd;
