//! Floors 0 to 2 of the gateway as a library of their own: what the fuzz targets feed.
#![allow(dead_code, missing_docs, reason = "the floors above are not here")]

#[path = "../../src/conversation/mod.rs"]
pub mod conversation;
#[path = "../../src/ground/mod.rs"]
pub mod ground;
#[path = "../../src/wire/mod.rs"]
pub mod wire;
