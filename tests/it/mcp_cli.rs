//! `tidegate mcp`: the servers of a configuration, tried from the shell. What it prints for people and for programs, and
//! how it ends.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::command;
use crate::support::mcp::scripted;

/// A server that works, one that ends at once, one that is not there.
fn place() -> TempDir {
    let folder = TempDir::new().unwrap();
    let restart = "restart: {min_delay_seconds: 0.01, max_delay_seconds: 0.02}";
    let config = format!(
        "mcp_servers:\n{}  crashes:\n    command: sh\n    args: [\"-c\", \"echo oh no >&2; exit 3\"]\n    {restart}\n\
         \x20 dead:\n    url: http://user-canary.localhost:1/mcp?token=canary\n",
        scripted("works", &[], "alias: w\ndescription: It works.")
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    folder
}

struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

fn tidegate(folder: &Path, arguments: &[&str]) -> Said {
    with_input(folder, arguments, "")
}

fn with_input(folder: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = command(folder)
        .args(["--config", "config.yaml", "mcp"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_server_has_its_line() {
    let folder = place();
    let said = tidegate(folder.path(), &["list"]);
    assert_eq!(said.code, Some(0), "{}", said.error);
    for part in [
        "w  ",
        "scripted 1, revision 2025-11-25",
        "9 tools",
        "crashes",
        "FAILED",
        "status 3: oh no",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(!said.out.contains("token=canary"), "{}", said.out);
    let listed = lines(&tidegate(folder.path(), &["list", "--json"]).out);
    assert_eq!(listed.len(), 3);
    let of = |name: &str| listed.iter().find(|line| line["server"] == name).unwrap();
    assert_eq!((&of("w")["ok"], &of("w")["tools"]), (&json!(true), &json!(9)));
    assert_eq!(of("w")["protocol_version"], "2025-11-25");
    assert!(of("w")["connect_ms"].is_number());
    assert_eq!(of("dead")["ok"], false);
    assert!(of("dead")["error"].as_str().is_some_and(|text| !text.contains("canary=")));
}

#[test]
fn a_test_fails_with_its_servers() {
    let folder = place();
    assert_eq!(tidegate(folder.path(), &["test", "w"]).code, Some(0));
    let said = tidegate(folder.path(), &["test"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("2 of 3 servers failed"), "{}", said.error);
    let said = tidegate(folder.path(), &["test", "wrks"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("did you mean `works`?"), "{}", said.error);
}

#[test]
fn tools_are_told_with_their_parameters() {
    let folder = place();
    let said = tidegate(folder.path(), &["tools", "works"]);
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert!(said.out.starts_with("echo\n    Says it again.\n      text?  string"), "{}", said.out);
    let tools = lines(&tidegate(folder.path(), &["tools", "w", "--json"]).out);
    assert_eq!((tools.len(), &tools[0]["name"]), (9, &json!("echo")));
    for (server, error) in [("crashes", "oh no"), ("none", "there is no MCP server `none`")] {
        let said = tidegate(folder.path(), &["tools", server]);
        assert_eq!(said.code, Some(1));
        assert!(said.error.contains(error), "{server}: {}", said.error);
    }
}

#[test]
fn a_tool_is_called() {
    let folder = place();
    let call = |arguments: &[&str]| tidegate(folder.path(), &[&["call"], arguments].concat());
    let said = call(&["w", "echo", r#"{"text":"é"}"#]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "é\n"), "{}", said.error);
    let said = call(&["w", "shape", "--json"]);
    assert_eq!(lines(&said.out)[0]["structuredContent"], json!({ "n": 1.5 }));
    let said = with_input(folder.path(), &["call", "w", "echo", "-"], r#"{"text":"in"}"#);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"));
    for (arguments, out, error) in [
        (&["w", "fail"][..], "it failed\n", "the tool says that it failed"),
        (&["w", "refuse"], "", "not today"),
        (&["w", "echo", "[]"], "", "one JSON object"),
        (&["none", "echo"], "", "there is no MCP server `none`"),
        (&["crashes", "echo"], "", "oh no"),
    ] {
        let said = call(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(1), out), "{arguments:?}");
        assert!(said.error.contains(error), "{arguments:?}: {}", said.error);
    }
}

#[test]
fn a_configuration_without_servers_is_told() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "model_list: []\n").unwrap();
    let said = tidegate(folder.path(), &["list"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "no MCP servers are configured\n"));
    assert_eq!(tidegate(folder.path(), &["diff"]).code, Some(1));
    std::fs::write(folder.path().join("config.yaml"), "mcp_servers: {a: {}}\n").unwrap();
    let said = tidegate(folder.path(), &["list"]);
    assert_eq!(said.code, Some(78));
    assert!(said.error.contains("`url` is missing"), "{}", said.error);
}
