//! Tidegate: one gate for every model and every tool.
//!
//! Two corridors run through the house. **A request** goes from `http` (accept, route) through
//! `gateway` (identify, read, scope, plan, attempt, relay) and `provider` to a model and back, and ends
//! as a row in the `journal`. **An edit of config.yaml** goes through `config` (load, check, resolve,
//! snapshot) and `reload` into one swap. Modules stand in the order of the floors, from the roof down;
//! each knows only those below it. docs/ARCHITECTURE.md is the map.

pub mod app;
pub mod reload;
pub mod service;
pub mod cli;
pub mod http;
pub mod gateway;
pub mod provider;
pub mod journal;
pub mod mcp;
pub mod telemetry;
pub mod config;
pub mod entry;
pub mod prices;
pub mod wire;
pub mod conversation;
pub mod ground;
