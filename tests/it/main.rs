//! The integration tests: one binary, so that it links once and shares its scripted parts.

mod journal;
mod support;
