//! The official SDKs as clients, run as the programs under `tests/sdk` against the real
//! binary, in front of an OpenAI-like provider and of a provider of every format. What they check stands there; this file only starts them. `tests/run` installs the SDKs
//! and sets `TIDEGATE_TEST_SDKS=required`; without that, a missing SDK leaves the test out.

use std::path::PathBuf;
use std::process::Command;

use crate::support::programs::{cached, succeeds, tests};

#[test]
fn the_openai_python_sdk_is_served() {
    let Some(python) = interpreter("python") else {
        return eprintln!("left out: tests/run installs the SDKs");
    };
    succeeds(Command::new(python).arg("-B").arg(client("openai_client.py")).arg(GATEWAY));
}

#[test]
fn the_openai_node_sdk_is_served() {
    let (Some(python), Some(node)) = (interpreter("python"), interpreter("node")) else {
        return eprintln!("left out: tests/run installs the SDKs");
    };
    let lend = client("gateway.py");
    let program = client("openai_client.mjs");
    succeeds(Command::new(python).arg("-B").arg(lend).arg(GATEWAY).arg(node).arg(program));
}

#[test]
fn the_python_sdks_are_served_by_every_provider() {
    let Some(python) = interpreter("python") else {
        return eprintln!("left out: tests/run installs the SDKs");
    };
    succeeds(Command::new(python).arg("-B").arg(client("translation.py")).arg(GATEWAY));
}

#[test]
fn the_openai_node_sdk_is_served_by_every_provider() {
    let (Some(python), Some(node)) = (interpreter("python"), interpreter("node")) else {
        return eprintln!("left out: tests/run installs the SDKs");
    };
    let mut command = Command::new(python);
    command.arg("-B").arg(client("upstreams.py")).arg(GATEWAY).arg(node);
    command.arg(client("translation.mjs"));
    succeeds(command.args(["{base}", "{key}", "{model}", "{said}"]));
}

#[test]
fn the_sdks_take_answers_with_tools_that_run_inside() {
    let names = ["venv/bin/python", "mcp-venv/bin/python", "venv/bin/node"];
    let [Some(python), Some(mcp), Some(node)] = names.map(cached) else {
        return eprintln!("left out: tests/run installs the SDKs");
    };
    let mut command = Command::new(python);
    command.arg("-B").arg(client("tools.py")).arg(GATEWAY).arg(mcp).arg(node);
    succeeds(&mut command);
}

/// The binary that Cargo built for these tests.
const GATEWAY: &str = env!("CARGO_BIN_EXE_tidegate");

fn client(name: &str) -> PathBuf {
    tests("sdk").join(name)
}

/// An interpreter of the environment that `tests/run` made, or `None` where it may be missing.
fn interpreter(name: &str) -> Option<PathBuf> {
    cached(&format!("venv/bin/{name}"))
}
