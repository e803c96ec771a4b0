//! Floor 6, the door: connections are accepted and bounded, paths become endpoints, and whatever is not
//! a request to a model (health, administration, CORS, the front page) is answered here.

mod cors;
mod router;
mod server;
pub mod status;

pub use router::{Door, Side};
pub use server::serve;
