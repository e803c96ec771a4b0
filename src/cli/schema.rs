//! `tidegate schema`: the JSON Schema generated from the types that read the configuration.

use std::process::ExitCode;

use super::print;
use crate::config;

pub(super) fn run() -> ExitCode {
    print(&format!("{:#}\n", config::schema()));
    ExitCode::SUCCESS
}
