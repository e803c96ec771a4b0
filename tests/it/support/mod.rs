//! What the tests share: real servers and scripted peers on loopback.

pub(crate) mod clients;
pub(crate) mod collector;
pub(crate) mod dialect;
pub(crate) mod folded;
pub(crate) mod gateway;
pub(crate) mod mcp;
pub(crate) mod mcp_script;
pub(crate) mod page;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod providers;
pub(crate) mod session;
pub(crate) mod upstream;
pub(crate) mod websocket;
