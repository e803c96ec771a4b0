//! MCP servers that are children of the real binary's supervisor: nothing of them is left, whoever is killed and
//! whatever they start; and with `allowed_paths` they reach those alone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tidegate::config::snapshot::{McpServer, McpTransport};
use tidegate::config::{LoadOptions, ProcessEnvironment, load};
use tidegate::mcp::transport::stdio::{Child, supervisor};
use tidegate::mcp::transport::{Failure, FailureKind, Incoming, Outgoing};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep, timeout};

use crate::support::gateway::PATIENCE;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A server as an entry has it, but for its name.
fn server(entry: &str) -> Arc<McpServer> {
    supervisor::use_program(TIDEGATE.into());
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.yaml");
    let indented = entry.trim_end().replace('\n', "\n    ");
    std::fs::write(&file, format!("model_list: []\nmcp_servers:\n  db:\n    {indented}\n"))
        .unwrap();
    let loaded = load(&file, &ProcessEnvironment, &LoadOptions::default());
    let snapshot = loaded.snapshot.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    snapshot.mcp_servers["db"].clone()
}

/// A server that is a script, with more lines of its entry.
fn script(script: &str, more: &str) -> Arc<McpServer> {
    let script = serde_json::to_string(script).unwrap();
    server(&format!("transport: stdio\ncommand: sh\nargs: [\"-c\", {script}]\n{more}"))
}

fn start(server: &McpServer) -> (Child, mpsc::Receiver<Incoming>) {
    let McpTransport::Stdio(command) = &server.transport else { panic!("no child") };
    let (incoming, received) = mpsc::channel(16);
    (Child::start(server, command, incoming).unwrap(), received)
}

async fn value(received: &mut mpsc::Receiver<Incoming>) -> Value {
    match timeout(PATIENCE, received.recv()).await.unwrap() {
        Some(Incoming::Message { text, .. }) => serde_json::from_slice(&text).unwrap(),
        other => panic!("no message but {other:?}"),
    }
}

async fn over(received: &mut mpsc::Receiver<Incoming>) -> Failure {
    loop {
        match timeout(PATIENCE, received.recv()).await.unwrap() {
            Some(Incoming::Closed(failure)) => return failure,
            Some(_) => {}
            None => panic!("no end"),
        }
    }
}

/// The processes, zombies aside, that have this among their arguments.
fn processes(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
        // Of a zombie there is no command line.
        let line = read("cmdline");
        if line.split('\0').any(|argument| argument == mark) {
            found.push(format!("{} {}", process.file_name().display(), line.replace('\0', " ")));
        }
    }
    found
}

async fn count(mark: &str, count: usize) {
    let reached = timeout(PATIENCE, async {
        while processes(mark).len() != count {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "not {count} but {:#?}", processes(mark));
}

/// Three that are hard to get at: one in the background that ignores SIGTERM, one in a session of its own, and one whose
/// parent, in that session, is gone.
fn brood(mark: &str) -> String {
    format!(
        "trap '' TERM; sleep {mark} & setsid sleep {mark} & setsid sh -c 'sleep {mark} & exit' & \
         echo '{{\"ready\":1}}'; "
    )
}

async fn pid(child: &Child) -> u32 {
    timeout(PATIENCE, async {
        loop {
            match child.pid() {
                Some(pid) => return pid,
                None => sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_closed_server_leaves_nothing_behind() {
    let server = script(&format!("{} exec cat", brood("700001")), "");
    let (child, mut received) = start(&server);
    assert_eq!(value(&mut received).await["ready"], 1);
    count("700001", 3).await;
    let text = r#"{"a":1}"#.to_owned();
    child.send(Outgoing { text, request: None, headers: HeaderMap::new() }).await.unwrap();
    assert_eq!(value(&mut received).await["a"], 1);
    // The server itself, alone in its session.
    let stat = format!("/proc/{}/stat", pid(&child).await);
    let stat = std::fs::read_to_string(stat).unwrap();
    assert!(stat.contains("(cat)"), "{stat}");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let own = pid(&child).await.to_string();
    assert_eq!(fields[2..4], [own.as_str(); 2], "group and session in {stat}");

    timeout(PATIENCE, child.close()).await.unwrap();
    assert_eq!(processes("700001"), [""; 0]);
    assert_eq!(over(&mut received).await.kind, FailureKind::Closed);
}

#[tokio::test]
async fn a_server_that_does_not_end_is_killed_with_all_it_started() {
    let server = script(&format!("{} while :; do sleep 700002; done", brood("700002")), "");
    let (child, mut received) = start(&server);
    assert_eq!(value(&mut received).await["ready"], 1);
    count("700002", 4).await;
    timeout(PATIENCE, child.close()).await.unwrap();
    assert_eq!(processes("700002"), [""; 0]);
}

#[tokio::test]
async fn what_a_server_leaves_when_it_ends_is_killed() {
    let ends = format!("{} echo why >&2; read line; exit 3", brood("700003"));
    let (child, mut received) = start(&script(&ends, ""));
    assert_eq!(value(&mut received).await["ready"], 1);
    count("700003", 3).await;
    let text = "{}".to_owned();
    child.send(Outgoing { text, request: None, headers: HeaderMap::new() }).await.unwrap();
    let end = over(&mut received).await;
    assert_eq!(end, Failure::new(FailureKind::Lost, "`db` exited with status 3: why"));
    assert_eq!(processes("700003"), [""; 0]);

    let (_child, mut received) = start(&script("kill -9 $$", ""));
    assert_eq!(over(&mut received).await.text, "`db` was ended by signal 9");
}

#[tokio::test]
async fn a_killed_gateway_leaves_nothing_behind() {
    // A gateway of which nothing is there but its number and its hold on the pipes.
    let gateway = r#"
        "$0" __mcp-supervise "{\"parent\":$$,\"grace_milliseconds\":200,\"sandbox\":null}" sh -c "$1" <&0 &
        wait
    "#;
    let server = format!("{} while :; do sleep 700004; done", brood("700004"));
    let mut gateway = Command::new("sh")
        .args(["-c", gateway, TIDEGATE, &server])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    count("700004", 4).await;
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    count("700004", 0).await;
    // The supervisor is the last to go: the script is its argument too.
    count(&server, 0).await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_server_with_it() {
    let server = script("trap '' TERM; sleep 700005 & echo '{\"ready\":1}'; wait", "");
    let (child, mut received) = start(&server);
    assert_eq!(value(&mut received).await["ready"], 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&child).await)).unwrap();
    let supervisor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let name = std::fs::read_to_string(format!("/proc/{supervisor}/comm")).unwrap();
    assert_eq!(name, "mcp-supervisor\n");
    assert!(Command::new("kill").args(["-9", supervisor]).status().unwrap().success());
    assert_eq!(over(&mut received).await.text, "`db` was ended by signal 9");
    count("700005", 0).await;
}

#[tokio::test]
async fn a_servers_environment_is_its_own() {
    let print = r#"printf '{"a":"%s","b":"%s"}\n' "$TIDEGATE_LISTEN" "$CARGO_MANIFEST_DIR"; cat"#;
    let server = script(print, "env: { TIDEGATE_LISTEN: nonsense }");
    let (_child, mut received) = start(&server);
    // The supervisor does not take it for its own option.
    assert_eq!(value(&mut received).await, serde_json::json!({ "a": "nonsense", "b": "" }));
}

#[tokio::test]
async fn what_becomes_no_server_says_so() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("server");
    std::fs::write(&file, "#!/nowhere/interpreter\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&file).status().unwrap().success());
    let server = server(&format!("transport: stdio\ncommand: {}\n", file.display()));
    let (_child, mut received) = start(&server);
    let end = over(&mut received).await;
    assert!(end.text.contains("server cannot be started: No such file"), "{end}");
}

#[tokio::test]
async fn allowed_paths_are_all_that_a_server_reaches() {
    if !has_landlock() {
        eprintln!("skipped: the kernel has no Landlock");
        return;
    }
    let directory = TempDir::new().unwrap();
    let [allowed, other] = ["allowed", "other"].map(|name| directory.path().join(name));
    for path in [&allowed, &other] {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("file"), "text").unwrap();
    }
    let tried = |name: &str, command: String| {
        format!(
            "if ({command}) >/dev/null 2>/dev/null; then echo '{{\"{name}\":true}}'; else echo '{{\"{name}\":false}}'; fi; "
        )
    };
    let [allowed, other] = [allowed, other].map(|path| path.display().to_string());
    let gateway = std::process::id();
    let attempts = [
        (true, format!("cat {allowed}/file")),
        (
            true,
            format!(
                "echo x > {allowed}/new && mkdir {allowed}/dir && mv {allowed}/new {allowed}/dir && rm -r {allowed}/dir"
            ),
        ),
        (true, "echo x > $TMPDIR/a && cat $TMPDIR/a".to_owned()),
        (true, "echo x > /dev/null && cat /etc/passwd /proc/self/status".to_owned()),
        (false, format!("cat {other}/file")),
        (false, format!("ls {other}")),
        (false, format!("echo x > {other}/new")),
        (false, format!("rm {other}/file")),
        (false, format!("mv {allowed}/file {other}/moved")),
        (false, format!("ln -s {other}/file {allowed}/link && cat {allowed}/link")),
        (false, format!("cat {allowed}/../other/file")),
        (false, "echo x > /tmp/tidegate-test".to_owned()),
        (false, "ls /".to_owned()),
        (false, "ls $HOME".to_owned()),
        (false, format!("cat {}/Cargo.toml", env!("CARGO_MANIFEST_DIR"))),
        (false, format!("cat /proc/{gateway}/environ")),
        (false, format!("cat /proc/{gateway}/root/etc/passwd")),
    ];
    let mut text = String::new();
    for (at, (_, command)) in attempts.iter().enumerate() {
        text += &tried(&at.to_string(), command.clone());
    }
    text += "echo \"{\\\"temporary\\\":\\\"$TMPDIR\\\"}\"; cat";
    let (child, mut received) = start(&script(&text, &format!("allowed_paths: [{allowed:?}]")));
    for (at, (expected, command)) in attempts.iter().enumerate() {
        assert_eq!(value(&mut received).await[at.to_string()], *expected, "{command}");
    }
    let told = value(&mut received).await;
    let temporary = Path::new(told["temporary"].as_str().unwrap());
    assert!(temporary.join("a").exists(), "{}", temporary.display());
    timeout(PATIENCE, child.close()).await.unwrap();
    assert!(!temporary.exists());
}

fn has_landlock() -> bool {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
