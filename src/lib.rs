//! Tidegate: one gate for every model and every tool.
//!
//! Modules stand in reading order, from the door inwards; each floor knows only those below it.

pub mod config;
pub mod conversation;
pub mod ground;
pub mod journal;
pub mod gateway;
pub mod provider;
pub mod wire;
