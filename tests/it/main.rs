//! The integration tests: one binary, so that it links once and shares its scripted parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod backup;
mod broken;
mod canary;
mod cli;
mod cli_admin;
mod cli_guide;
mod cli_reports;
mod clouds;
mod compose;
mod costs;
mod costs_usage;
mod dashboards;
mod database;
mod docs;
mod embed;
mod faults;
mod golden;
mod guides;
mod hostile;
mod journal;
mod lanes;
mod laws;
mod logs;
mod losses;
mod mcp_cli;
mod mcp_crashes;
mod mcp_door;
mod mcp_hostile;
mod mcp_isolation;
mod mcp_judges;
mod mcp_lists;
mod mcp_pins;
mod mcp_questions;
mod mcp_reloads;
mod mcp_rest;
mod mcp_restarts;
mod provider_errors;
mod proxies;
#[cfg(target_os = "linux")]
mod mcp_scope;
mod mcp_stdio;
mod mcp_wire;
mod metrics;
mod models;
mod owner;
mod reload;
mod responses;
mod scope;
mod sdk;
#[cfg(target_os = "linux")]
mod service;
mod shutdown;
mod stream;
mod support;
mod tidy;
mod tools;
mod tools_approval;
mod tools_faults;
mod tools_headers;
mod tools_hostile;
mod tools_journal;
mod tools_models;
mod tools_overload;
mod tools_reasoning;
mod tools_websocket;
mod traces;
mod translate;
mod turns;
mod upgrade;
mod upload;
mod websocket;
mod wild;
