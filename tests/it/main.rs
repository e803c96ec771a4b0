//! The integration tests: one binary, so that it links once and shares its scripted parts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod cli;
mod database;
mod docs;
mod faults;
mod golden;
mod hostile;
mod journal;
mod laws;
mod reload;
mod scope;
mod sdk;
mod shutdown;
mod stream;
mod support;
mod tidy;
mod translation;
mod upload;
mod wild;
