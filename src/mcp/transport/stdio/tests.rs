//! Children as they come, good and bad, started without a supervisor; with one: `tests/it/mcp_stdio.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config::snapshot::McpTransport;
use crate::ground::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(20);
const LIMITS: Limits = Limits { message: 16 << 20, grace: Duration::from_millis(200) };

fn command(program: &str, args: &[&str]) -> McpCommand {
    let args = args.iter().copied().map(Secret::new).collect();
    McpCommand { program: program.into(), args, ..McpCommand::default() }
}

fn start_within(
    limits: Limits,
    command: &McpCommand,
    waiting: usize,
) -> (Child, mpsc::Receiver<Incoming>) {
    let server = McpServer::sample("db", McpTransport::Stdio(McpCommand::default()));
    let (incoming, received) = mpsc::channel(waiting);
    let child = Child::start_within(limits, &server, command, incoming).expect("a child");
    (child, received)
}

fn start(command: &McpCommand) -> (Child, mpsc::Receiver<Incoming>) {
    start_within(LIMITS, command, 16)
}

fn shell(script: &str) -> (Child, mpsc::Receiver<Incoming>) {
    start(&command("sh", &["-c", script]))
}

fn message(text: impl Into<String>) -> Outgoing {
    Outgoing { text: text.into(), request: None, headers: http::HeaderMap::new() }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

async fn text(received: &mut mpsc::Receiver<Incoming>) -> String {
    match within(received.recv()).await {
        Some(Incoming::Message { of: None, text }) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("no message but {other:?}"),
    }
}

/// The end, which is the last that comes.
async fn over(received: &mut mpsc::Receiver<Incoming>) -> Failure {
    let end = loop {
        match within(received.recv()).await {
            Some(Incoming::Closed(failure)) => break failure,
            Some(_) => {}
            None => panic!("no end"),
        }
    };
    assert!(within(received.recv()).await.is_none());
    end
}

fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn dies(pid: Pid) {
    within(async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits for the line `{"pid":…}`.
async fn told_pid(received: &mut mpsc::Receiver<Incoming>) -> Pid {
    let told: BTreeMap<String, Pid> = serde_json::from_str(&text(received).await).unwrap();
    told["pid"]
}

#[tokio::test]
async fn messages_go_and_come() {
    let (child, mut received) = start(&command("cat", &[]));
    assert!(lives(child.pid().unwrap()));
    within(child.send(message(r#"{"a":1}"#))).await.unwrap();
    assert_eq!(text(&mut received).await, r#"{"a":1}"#);
    within(child.send(message("{\"a\":\n2}\r\n"))).await.unwrap();
    assert_eq!(text(&mut received).await, "{\"a\": 2}");
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(10 << 20));
    within(child.send(message(large.clone()))).await.unwrap();
    assert!(text(&mut received).await == large);
    within(child.close()).await;
    assert!(!lives(child.pid().unwrap()));
    assert_eq!(over(&mut received).await.kind, FailureKind::Closed);
    assert!(child.send(message("{}")).await.unwrap_err().is_unprocessed());
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept() {
    let limits = Limits { message: 1000, ..LIMITS };
    let endless = command("sh", &["-c", "echo '{}'; while :; do printf aaaaaaaaaa; done"]);
    let (child, mut received) = start_within(limits, &endless, 16);
    assert_eq!(text(&mut received).await, "{}");
    let end = over(&mut received).await;
    assert_eq!(end.kind, FailureKind::Garbage, "{end}");
    assert!(!lives(child.pid().unwrap()));

    let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(1000 - 8));
    let script = format!("echo '{fits}'; echo '{fits}x'; cat");
    let (_child, mut received) = start_within(limits, &command("sh", &["-c", &script]), 16);
    assert_eq!(text(&mut received).await, fits);
    assert_eq!(over(&mut received).await.kind, FailureKind::Garbage);
}

#[tokio::test]
async fn lines_that_are_no_messages_are_passed_over() {
    let script = r#"
        echo hello; echo; echo '[INFO] ready [1]'; echo '"a"'; printf ' {"a":1} \r\n'; echo '[{}]'; printf '{"cut'
    "#;
    let (_child, mut received) = shell(script);
    assert_eq!(text(&mut received).await, r#"{"a":1}"#);
    assert_eq!(text(&mut received).await, "[{}]");
    let end = over(&mut received).await;
    assert_eq!(end, Failure::new(FailureKind::Lost, "`db` exited with status 0"));
}

#[tokio::test]
async fn all_that_was_written_arrives_however_slowly_it_is_taken() {
    let lines = command("sh", &["-c", "for i in 1 2 3 4 5 6 7 8 9; do echo \"{$i}\"; done"]);
    let (child, mut received) = start_within(LIMITS, &lines, 1);
    dies(child.pid().unwrap()).await;
    for i in 1..=9 {
        assert_eq!(text(&mut received).await, format!("{{{i}}}"));
    }
    assert_eq!(over(&mut received).await.kind, FailureKind::Lost);
}

#[tokio::test]
async fn a_flood_on_standard_error_holds_up_nothing() {
    let (_child, mut received) = shell("yes error | head -c 5000000 >&2; echo '{}'; cat");
    assert_eq!(text(&mut received).await, "{}");
}

#[tokio::test]
async fn the_end_says_why_without_secrets() {
    let script = r#"
        printf 'first\n\033[31mbad token %s, %s\n    at main (x.js:1)\n' "$TOKEN" "$1" >&2
        exit 3
    "#;
    let mut command = command("sh", &["-c", script, "sh", "pg://me:canary@db"]);
    command.env.insert("TOKEN".into(), Secret::new("sk-canary"));
    let (child, mut received) = start(&command);
    let end = over(&mut received).await;
    let expected = "`db` exited with status 3: first | bad token [key], [key]";
    assert_eq!(end, Failure::new(FailureKind::Lost, expected));
    let refused = child.send(message("{}")).await.unwrap_err();
    assert_eq!(refused, Failure::new(FailureKind::Unreachable, expected));

    let (_child, mut received) = shell("kill -9 $$");
    assert_eq!(over(&mut received).await.text, "`db` was ended by signal 9");
}

#[tokio::test]
async fn nothing_of_the_group_outlives_its_leader() {
    let (_child, mut received) = shell("sleep 1000 & echo \"{\\\"pid\\\":$!}\"");
    let grandchild = told_pid(&mut received).await;
    assert_eq!(over(&mut received).await.kind, FailureKind::Lost);
    dies(grandchild).await;
}

#[tokio::test]
async fn a_child_may_end_by_itself_when_its_input_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("end");
    let script = format!("trap '' TERM; echo '{{}}'; cat; echo done > {}", file.display());
    let limits = Limits { grace: PATIENCE, ..LIMITS };
    let (child, mut received) = start_within(limits, &command("sh", &["-c", &script]), 16);
    assert_eq!(text(&mut received).await, "{}");
    within(child.close()).await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "done\n");
}

#[tokio::test]
async fn a_child_that_goes_on_is_terminated_then_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("end");
    let script = format!(
        "trap 'echo term > {}' TERM; echo '{{}}'; while :; do sleep 0.01; done",
        file.display()
    );
    let (child, mut received) = shell(&script);
    assert_eq!(text(&mut received).await, "{}");
    within(child.close()).await;
    assert!(!lives(child.pid().unwrap()));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "term\n");
    assert_eq!(over(&mut received).await.kind, FailureKind::Closed);
}

#[tokio::test]
async fn a_dropped_child_ends() {
    let (child, mut received) = shell("trap '' TERM; sleep 1000 & echo \"{\\\"pid\\\":$!}\"; wait");
    let (pid, grandchild) = (child.pid().unwrap(), told_pid(&mut received).await);
    drop(child);
    assert_eq!(over(&mut received).await.kind, FailureKind::Closed);
    assert!(!lives(pid));
    dies(grandchild).await;
}

#[test]
fn a_child_does_not_outlive_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (child, _received) = runtime.block_on(async { shell("trap '' TERM; sleep 1000") });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        within(child.close()).await;
        dies(child.pid().unwrap()).await;
    });
}

#[tokio::test]
async fn a_child_that_does_not_read_holds_up_its_senders_only() {
    let (child, mut received) = shell("echo '{}'; exec sleep 1000");
    let child = Arc::new(child);
    let send = |text: String| {
        let child = child.clone();
        tokio::spawn(async move { child.send(message(text)).await })
    };
    let first = send("x".repeat(1 << 20));
    assert_eq!(text(&mut received).await, "{}");
    let gave_up = child.send(message("{}"));
    assert!(tokio::time::timeout(Duration::from_millis(50), gave_up).await.is_err());
    let later = [send("{}".into()), send("{}".into())];
    within(child.close()).await;
    assert_eq!(within(first).await.unwrap().unwrap_err().kind, FailureKind::Lost);
    for send in later {
        assert!(within(send).await.unwrap().unwrap_err().is_unprocessed());
    }
}

#[tokio::test]
async fn a_child_without_its_pipes_is_ended() {
    let (child, mut received) = shell("exec >&-; trap '' TERM; sleep 1000");
    let end = over(&mut received).await;
    assert_eq!(end, Failure::new(FailureKind::Lost, "`db` closed its standard output"));
    assert!(!lives(child.pid().unwrap()));

    let (child, mut received) = shell("exec <&-; echo '{}'; sleep 1000");
    assert_eq!(text(&mut received).await, "{}");
    let refused = within(child.send(message("{}"))).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::Unreachable, "{refused}");
    assert_eq!(over(&mut received).await.text, "`db` closed its standard input");
}

#[tokio::test]
async fn the_environment_is_clean() {
    let names = r#"printf '{"names":"%s"}\n' "$(env | cut -d= -f1 | sort | tr '\n' ' ')""#;
    let mut command = command("/bin/sh", &["-c", names]);
    command.env.insert("OWN".into(), Secret::new("x"));
    command.env.insert("HOME".into(), Secret::new("/"));
    command.cwd = Some("/usr".into());
    let (_child, mut received) = start(&command);
    let told: BTreeMap<String, String> = serde_json::from_str(&text(&mut received).await).unwrap();
    let known = |name: &&str| {
        let own = ["OWN", "HOME", "PATH", "PWD", "_", "SHLVL", "USER", "LOGNAME", "TZ", "TMPDIR"];
        own.contains(name) || name.starts_with("LC_") || name.starts_with("LANG")
    };
    let foreign: Vec<&str> = told["names"].split(' ').filter(|name| !name.is_empty()).collect();
    assert!(foreign.contains(&"OWN") && foreign.contains(&"HOME"));
    assert!(foreign.iter().all(known), "{foreign:?}");
}

#[tokio::test]
async fn what_cannot_be_started_is_told_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.py");
    std::fs::write(&file, "print(1)").unwrap();
    let check = |program: &str, cwd: Option<&Path>, expected: &str| {
        let mut command = command(program, &["sk-canary"]);
        command.env.insert("PATH".into(), Secret::new("/usr/bin:/nowhere"));
        command.cwd = cwd.map(Path::to_owned);
        let server = McpServer::sample("db", McpTransport::Stdio(McpCommand::default()));
        let failure = Child::start(&server, &command, mpsc::channel(1).0).err().expect("an error");
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(failure.text.contains(expected), "{failure}");
        assert!(!failure.text.contains("canary"), "{failure}");
    };
    check(
        "nothing-here",
        None,
        "`nothing-here` was not found in PATH (/usr/bin:/nowhere): install",
    );
    check("npx -y server", None, "its arguments stand in `args`");
    check("~/server", None, "write out `~`");
    check("/nowhere/server", None, "`/nowhere/server` does not exist");
    check("./server.py", Some(directory.path()), "`./server.py` is not executable: `chmod +x` it");
    check("/usr", None, "`/usr` is a directory, not a program");
    check("cat", Some(Path::new("/nowhere")), "`cwd: /nowhere` does not exist");
    check("cat", Some(&file), "is not a directory");
}
