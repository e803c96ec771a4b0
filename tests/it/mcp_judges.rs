//! The outside judges of MCP: the official conformance suites and the official clients, each against the gateway with
//! every kind of server behind it. Before that the fixture servers pass the suites themselves, and every server starts and
//! answers. What is asked stands in `tests/mcp`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::mcp::{CommandLine, Fixture, official};
use crate::support::programs::{cached, succeeds, tests};

#[test]
fn the_fixtures_pass_the_conformance_suites() {
    let (Some(python), Some(_)) = (cached("venv/bin/python"), cached("mcp/node_modules")) else {
        return eprintln!("left out: tests/run installs the suites");
    };
    succeeds(Command::new(python).arg("-B").arg(tests("mcp/conformance.py")).arg("--direct"));
}

#[test]
fn the_gateway_passes_the_conformance_suites() {
    let (Some(python), Some(_)) = (cached("venv/bin/python"), cached("mcp/node_modules")) else {
        return eprintln!("left out: tests/run installs the suites");
    };
    let script = tests("mcp/conformance.py");
    succeeds(Command::new(python).arg("-B").arg(script).arg(env!("CARGO_BIN_EXE_tidegate")));
}

#[test]
fn official_clients_use_every_server_through_the_gateway() {
    let (Some(python), Some(_)) = (cached("mcp-venv/bin/python"), cached("mcp/node_modules"))
    else {
        return eprintln!("left out: tests/run installs the clients");
    };
    let script = tests("mcp/gateway.py");
    succeeds(Command::new(python).arg("-B").arg(script).arg(env!("CARGO_BIN_EXE_tidegate")));
}

#[test]
fn every_fixture_listens() {
    for (fixture, transports) in [
        (Fixture::Legacy, &["http", "sse"][..]),
        (Fixture::Modern, &["http"]),
        (Fixture::Python, &["http", "sse"]),
        (Fixture::Python1, &["http", "sse"]),
    ] {
        for transport in transports {
            let Some(server) = fixture.listen(transport) else {
                return eprintln!("left out: tests/run installs the servers");
            };
            let address = server.url.trim_start_matches("http://").split('/').next().unwrap();
            assert!(std::net::TcpStream::connect(address).is_ok(), "{fixture:?} {transport}");
        }
    }
}

#[test]
fn every_child_answers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    assert!(Command::new("git").args(["init", "--quiet", folder]).status().unwrap().success());
    let lines = [
        Fixture::Legacy.command("stdio"),
        Fixture::Python.command("stdio"),
        Fixture::Python1.command("stdio"),
        official("everything", &["stdio"]),
        official("filesystem", &[folder]),
        official("memory", &[]),
        official("git", &["--repository", folder]),
        official("time", &[]),
    ];
    for line in lines {
        let Some(line) = line else {
            return eprintln!("left out: tests/run installs the servers");
        };
        let said = exchange(
            &line,
            "initialize",
            json!({
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
            }),
        );
        assert!(said["result"]["serverInfo"]["name"].is_string(), "{line:?}: {said}");
    }
    let modern = Fixture::Modern.command("stdio").unwrap();
    let said = exchange(
        &modern,
        "server/discover",
        json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }}),
    );
    assert_eq!(said["result"]["supportedVersions"], json!(["2026-07-28"]));
}

/// Starts a child, sends one request, and returns the first line that it writes.
fn exchange(line: &CommandLine, method: &str, params: Value) -> Value {
    let mut child = line
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(input, "{request}").unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    serde_json::from_str(&said).unwrap()
}
