//! The command line through the real binary: what it prints, where, and with which exit code.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, command};
use crate::support::providers::{self, Provider, TEXT, THOUGHT};
use crate::support::upstream::{self, Upstream};

const QUICKSTART: &str = "sk-tidegate-quickstart-change-me-0001";

const MOCK: &str = "\
model_list:
- {model_name: m, litellm_params: {model: mock-response}}
virtual_keys:
- {api_key: sk-test-0123456789abcdefghij, key_alias: tester, models: ['*']}
";

/// Two unknown keys, a dangling name and a weak key.
const BROKEN: &str = "\
model_lst: []
model_list:
- {model_name: m, litellm_params: {model: mock-response}}
virtual_keys:
- {api_key: short, models: [nn]}
general_settings: {listn: x}
";

fn directory(config: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("config.yaml"), config).unwrap();
    directory
}

/// Runs the binary to its end.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", out(output), err(output));
    out(output)
}

/// A gateway whose banner is read; ended when the test ends.
struct Serving {
    child: Child,
    banner: String,
}

impl Serving {
    /// Starts it and reads the banner to its last line, the one to paste.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        for line in stdout.lines().map_while(Result::ok) {
            banner.push_str(&line);
            banner.push('\n');
            if line.starts_with("  try:") {
                return Self { child, banner };
            }
        }
        panic!("the gateway ended ({}):\n{banner}", child.wait().unwrap());
    }

    fn address(&self) -> &str {
        let first = self.banner.lines().next().unwrap();
        first.split_once("listening on http://").unwrap().1
    }

    fn line(&self, word: &str) -> &str {
        let line = self.banner.lines().find(|line| line.trim_start().starts_with(word)).unwrap();
        line.trim_start().trim_start_matches(word).trim()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn check_tells_every_problem_at_once() {
    let directory = directory(BROKEN);
    let checked = run(directory.path(), &["check", "--config", "config.yaml"]);
    let expected = [
        "config.yaml:1:1: warning: unknown key `model_lst` (did you mean `model_list`?)",
        "config.yaml:5:13: warning: the key has fewer than 20 characters and can be guessed \
         (`tidegate keys new` makes one that cannot)",
        "config.yaml:5:29: error: `nn` is neither a model in `model_list` nor an access group",
        "config.yaml:6:20: warning: unknown key `listn` in `general_settings` \
         (did you mean `listen`?)",
    ];
    assert_eq!(out(&checked).lines().collect::<Vec<_>>(), expected);
    assert_eq!(checked.status.code(), Some(1));

    let json = run(directory.path(), &["check", "-c", "config.yaml", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(report["ok"], false);
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4);
    assert_eq!(
        problems[0],
        json!({
            "file": "config.yaml", "line": 1, "column": 1, "severity": "warning",
            "message": "unknown key `model_lst`", "suggestion": "model_list",
        })
    );
}

#[test]
fn strictness_turns_unknown_keys_into_errors() {
    let directory = directory(&format!("{MOCK}model_lst: []\n"));
    let lenient = run(directory.path(), &["check", "--config", "config.yaml"]);
    let said = succeeded(&lenient);
    assert!(said.contains("config.yaml:5:1: warning: unknown key `model_lst`"), "{said}");
    assert!(said.ends_with("config.yaml: ok: 1 models, 1 keys, 0 MCP servers\n"), "{said}");
    let strict = run(directory.path(), &["check", "--config", "config.yaml", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(out(&strict).contains("config.yaml:5:1: error: unknown key `model_lst`"));
}

#[test]
fn exit_codes_tell_problems_from_wrong_calls() {
    let directory = directory(MOCK);
    for (arguments, code) in [
        (&["check", "--config", "config.yaml"][..], 0),
        (&["check"], 1),
        (&["check", "--nonsense"], 2),
        (&["nonsense"], 2),
        (&["--listen", "nowhere"], 2),
        (&["completion", "nosuchshell"], 2),
        (&["--config", "gone.yaml"], 78),
        (&["healthcheck", "--address", "127.0.0.1:1"], 1),
        (&["logs", "query", "--config", "config.yaml", "--since", "yesterdayish"], 1),
    ] {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
    }
}

/// The address of the command line, or of the environment, decides how a key is judged.
#[test]
fn check_judges_keys_for_the_address_that_is_served() {
    let directory = directory(&MOCK.replace(KEY, "short"));
    succeeded(&run(directory.path(), &["check", "--config", "config.yaml"]));
    let listen = ["--listen", "0.0.0.0:4000", "check", "--config", "config.yaml"];
    assert_eq!(run(directory.path(), &listen).status.code(), Some(1));
    let environment = command(directory.path())
        .args(["check", "--config", "config.yaml"])
        .env("TIDEGATE_LISTEN", "0.0.0.0:4000")
        .output()
        .unwrap();
    assert_eq!(environment.status.code(), Some(1));
}

#[test]
fn the_schema_is_the_one_in_the_documents() {
    let directory = TempDir::new().unwrap();
    let printed: Value =
        serde_json::from_str(&succeeded(&run(directory.path(), &["schema"]))).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.schema.json");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(printed, written);
    assert!(printed["properties"]["model_list"].is_object());
}

#[test]
fn version_help_and_completion() {
    let directory = TempDir::new().unwrap();
    let version = succeeded(&run(directory.path(), &["--version"]));
    assert_eq!(version, format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
    let help = succeeded(&run(directory.path(), &["--help"]));
    for word in ["serve", "check", "schema", "keys", "logs", "healthcheck", "completion"] {
        assert!(help.contains(&format!("\n  {word}")), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeeded(&run(directory.path(), &["completion", shell]));
        assert!(script.contains("healthcheck"), "{shell}");
    }
}

#[tokio::test]
async fn a_new_key_is_printed_once_and_its_entry_lets_it_in() {
    let directory = TempDir::new().unwrap();
    let made = run(directory.path(), &["keys", "new", "--alias", "a", "--models", "x,y"]);
    let said = succeeded(&made);
    let key = said.lines().find(|line| line.starts_with("sk-")).unwrap();
    assert_eq!(said.matches(key).count(), 1);
    let (_, entry) = said.split_once("# Its entry for the configuration:\n").unwrap();
    assert!(entry.contains("sha256:") && !entry.contains(key), "{entry}");
    let models: String = ["x", "y", "z"]
        .map(|name| format!("- {{model_name: {name}, litellm_params: {{model: mock}}}}\n"))
        .concat();
    let gateway = Gateway::start(&format!("model_list:\n{models}virtual_keys:\n{entry}"));
    let request = gateway.client.get(gateway.url("/v1/models")).bearer_auth(key);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let list: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["x", "y"]);

    let another = succeeded(&run(directory.path(), &["keys", "new"]));
    assert!(!another.contains(key));
    // Without models the key is of no use: the entry says so, and is still an entry.
    assert!(another.contains("models: []   # none yet"), "{another}");
}

#[test]
fn healthcheck_asks_the_address_that_is_served() {
    let directory = directory(MOCK);
    let gateway = Serving::start(command(directory.path()).args([
        "--config",
        "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]));
    let address = gateway.address();
    for arguments in [
        &["healthcheck", "--address", address][..],
        &["--listen", address, "healthcheck", "--config", "config.yaml"],
    ] {
        let asked = run(directory.path(), arguments);
        assert_eq!(succeeded(&asked), "ready\n");
    }
    let port = address.rsplit(':').next().unwrap();
    let everywhere = command(directory.path())
        .arg("healthcheck")
        .env("TIDEGATE_LISTEN", format!("0.0.0.0:{port}"))
        .output()
        .unwrap();
    assert_eq!(succeeded(&everywhere), "ready\n");
    let taken = run(directory.path(), &["--config", "config.yaml", "--listen", address]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(err(&taken).contains(&format!("cannot listen on {address}")), "{}", err(&taken));
}

#[test]
fn the_environment_names_the_file_and_the_address() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("other.yaml"), MOCK).unwrap();
    let mut by_environment = command(directory.path());
    by_environment.envs([("TIDEGATE_CONFIG", "other.yaml"), ("TIDEGATE_LISTEN", "127.0.0.1:0")]);
    let gateway = Serving::start(&mut by_environment);
    assert!(gateway.address().starts_with("127.0.0.1:"));
    assert_eq!(gateway.line("models:"), "m");
    // The command line wins over the environment.
    let mut other = command(directory.path());
    other.args(["serve", "--config", "other.yaml", "--host", "127.0.0.2", "--port", "0"]);
    other.envs([("TIDEGATE_CONFIG", "gone.yaml"), ("TIDEGATE_LISTEN", gateway.address())]);
    let other = Serving::start(&mut other);
    assert!(other.address().starts_with("127.0.0.2:"), "{}", other.banner);
}

#[test]
fn a_broken_configuration_is_not_served() {
    let directory = directory(BROKEN);
    let refused = run(directory.path(), &["--config", "config.yaml", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = out(&refused) + &err(&refused);
    for place in ["config.yaml:1:1: warning:", "config.yaml:5:29: error:"] {
        assert!(said.contains(place), "{said}");
    }
    assert!(!said.contains("listening on"), "{said}");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn an_open_gateway_listens_on_loopback_only() {
    let open = "model_list:\n- {model_name: m, litellm_params: {model: mock}}\n";
    let known = format!("{open}virtual_keys: [{{api_key: {QUICKSTART}, models: ['*']}}]\n");
    for (config, reason) in [
        (open.to_owned(), "refusing to listen on 0.0.0.0:0"),
        (known, "the key is the quick start's"),
    ] {
        let directory = directory(&config);
        let refused = run(directory.path(), &["--config", "config.yaml", "--listen", "0.0.0.0:0"]);
        assert_eq!(refused.status.code(), Some(78));
        let said = out(&refused) + &err(&refused);
        assert!(said.contains(reason), "{said}");
    }
}

/// The line that the banner offers, run by a shell as a person would, or sent without curl.
#[tokio::test]
async fn the_banners_curl_line_works() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.yaml");
    let text = std::fs::read_to_string(config).unwrap();
    let directory = directory(&text);
    let gateway = Serving::start(command(directory.path()).args([
        "--config",
        "config.yaml",
        "--listen",
        "127.0.0.1:0",
    ]));
    assert_eq!(gateway.line("models:"), "gpt-4o-mock");
    assert_eq!(gateway.line("keys:"), "quickstart");
    let line = gateway.line("try:");
    assert!(line.contains(QUICKSTART), "{line}");
    let answer = match Command::new("curl").arg("--version").output() {
        Ok(_) => {
            let quiet = line.replacen("curl ", "curl -sS --fail-with-body ", 1);
            Command::new("sh").args(["-c", &quiet]).output().unwrap().stdout
        }
        Err(_) => {
            let (_, body) = line.split_once("-d '").unwrap();
            let client = crate::support::gateway::client();
            let url = format!("http://{}/v1/chat/completions", gateway.address());
            let request = client.post(url).bearer_auth(QUICKSTART);
            let request = request.header("content-type", "application/json");
            let answer = request.body(body.trim_end_matches('\'').to_owned()).send().await;
            answer.unwrap().bytes().await.unwrap().to_vec()
        }
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.is_empty());
}

#[test]
fn the_banner_and_the_log_show_no_key() {
    let config = format!("general_settings: {{master_key: {MASTER}}}\n{MOCK}");
    let directory = directory(&config);
    let mut child = command(directory.path())
        .args(["--config", "config.yaml", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("try:") {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(said.contains("keys:   master, tester"), "{said}");
    assert!(said.contains("Bearer $KEY"), "{said}");
    let stopped = Command::new("kill").arg(child.id().to_string()).status();
    assert!(stopped.unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(log.contains("shutting down"), "{log}");
    said.push_str(&log);
    assert!(!said.contains(KEY) && !said.contains(MASTER), "{said}");
    assert!(!said.contains('\u{1b}'), "colours in a pipe: {said}");
}

#[tokio::test]
async fn logs_show_the_request_just_made() {
    let gateway = Gateway::start(MOCK);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let query = |arguments: &[&str]| {
        let whole = [&["logs", "query", "--config", "config.yaml"], arguments].concat();
        succeeded(&run(gateway.directory.path(), &whole))
    };
    let end = Instant::now() + PATIENCE;
    let row: Value = loop {
        let said = query(&["--json"]);
        if let Some(line) = said.lines().next() {
            assert_eq!(said.lines().count(), 1);
            break serde_json::from_str(line).unwrap();
        }
        assert!(Instant::now() < end, "no row\n{}", gateway.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(row["request_id"], id);
    assert_eq!(row["key_alias"], "tester");
    assert_eq!(row["model_requested"], "m");
    assert_eq!(row["http_status"], 200);
    assert_eq!(row["lane"], "mock");
    assert!(query(&["--key", "tester", "--model", "m", "--since", "1h"]).contains("tester"));
    for none in [&["--errors"][..], &["--key", "nobody"], &["--model", "n"], &["--status", "404"]] {
        assert_eq!(query(none), "", "{none:?}");
    }
}

/// The owner's own configuration, as it is, with its environment set.
#[tokio::test]
async fn the_lan_configuration_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/lan.yaml");
    let web = "sk-web-0123456789abcdefghijk";
    // No database at this address: that delays and refuses nothing.
    let environment = [
        ("LITELLM_MASTER_KEY", MASTER),
        ("DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none"),
        ("OPENAI_API_KEY", "sk-upstream-secret-1"),
        ("ANTHROPIC_API_KEY", "sk-upstream-secret-2"),
        ("MCP_MONITORING_TOKEN", "token-secret-3"),
        ("VIRTUAL_KEY_TEST", KEY),
        ("VIRTUAL_KEY_WEBUI", web),
    ];
    let config = std::fs::read_to_string(path).unwrap();
    let gateway = Gateway::start_with(&config, &[], &environment);
    let chat = async |key: &str, model: &str| {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
        let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key);
        let request = request.header("content-type", "application/json");
        request.body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(chat(KEY, "gpt-4o-mock").await, 200);
    for model in ["house-gpt", "house-claude", "house-local"] {
        assert_eq!(chat(KEY, model).await, 403, "{model}");
    }
    assert_eq!(chat(web, "gpt-4o-mock").await, 403);
    assert_eq!(chat(MASTER, "gpt-4o-mock").await, 200);
    let list = gateway.client.get(gateway.url("/v1/models")).bearer_auth(web).send().await.unwrap();
    let list: Value = serde_json::from_slice(&list.bytes().await.unwrap()).unwrap();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["house-claude", "house-gpt", "house-local"]);
    for secret in environment.map(|(_, value)| value) {
        assert!(!gateway.log().contains(secret), "a secret in the log");
    }
}

/// Runs `tidegate chat` with something on standard input, beside a runtime that serves.
async fn chat(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(directory)
        .args(["chat", "--config", "config.yaml"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    tokio::task::spawn_blocking(move || {
        // Who says everything on the command line does not read it.
        let _unread = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_asks_a_model_of_the_configuration() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let directory = directory(&providers::config(upstream.address));
    for (count, provider) in Provider::ALL.into_iter().enumerate() {
        let arguments = [provider.name(), "hi there", "--system", "be brief", "--max-tokens", "77"];
        let said = chat(directory.path(), &arguments, "").await;
        let expected = format!("<think>\n{THOUGHT}\n</think>\n{TEXT}\n");
        assert_eq!(succeeded(&said), expected, "{provider:?}");
        assert!(err(&said).contains("11 tokens in, 7 out"), "{}", err(&said));
        let sent = upstream.seen()[count].json().to_string();
        for word in ["hi there", "be brief", "77"] {
            assert!(sent.contains(word), "{provider:?}: {sent}");
        }
    }
    // No row, and no file, is left.
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, ["config.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_reads_what_to_say_and_prints_events() {
    let upstream = Upstream::start(|seen| providers::asked(seen).answer(true)).await;
    let directory = directory(&providers::config(upstream.address));
    for arguments in [&["gemini"][..], &["gemini", "-"]] {
        succeeded(&chat(directory.path(), arguments, "from a pipe \u{1F642}").await);
        let sent = upstream.seen().pop().unwrap().json().to_string();
        assert!(sent.contains("from a pipe \u{1F642}"), "{sent}");
    }
    let said = chat(directory.path(), &["gemini", "hi", "--json"], "").await;
    let events: Vec<Value> =
        succeeded(&said).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, TEXT);
    assert!(events.iter().any(|event| event["usage"]["prompt_tokens"] == 11));
    assert_eq!(err(&said), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_says_what_went_wrong() {
    let upstream = Upstream::start(|seen| match providers::asked(seen) {
        Provider::Gemini => upstream::json(
            429,
            "",
            r#"{"error":{"code":429,"message":"Too much.","status":"RESOURCE_EXHAUSTED"}}"#,
        ),
        provider => {
            let mut events = provider.events();
            events.truncate(events.len() - 1 - provider.complete_without());
            providers::streamed(provider, &events)
        }
    })
    .await;
    let directory = directory(&providers::config(upstream.address));
    let failed = async |arguments: &[&str]| {
        let said = chat(directory.path(), arguments, "").await;
        assert_eq!(said.status.code(), Some(1), "{}", out(&said));
        (out(&said), err(&said))
    };
    let (shown, why) = failed(&["gemini", "hi"]).await;
    assert!(shown.is_empty() && why.contains("Too much."), "{shown}{why}");
    // What has come is shown, and that it is not all.
    let (shown, why) = failed(&["anthropic", "hi"]).await;
    assert!(shown.contains("Hello") && why.contains("broke off"), "{shown}{why}");
    let (shown, why) = failed(&["anthropc", "hi"]).await;
    assert!(shown.is_empty() && why.contains("Did you mean `anthropic`?"), "{shown}{why}");
    std::fs::write(directory.path().join("config.yaml"), BROKEN).unwrap();
    let said = chat(directory.path(), &["m", "hi"], "").await;
    assert_eq!(said.status.code(), Some(78));
    assert!(err(&said).contains("config.yaml:5:29"), "{}", err(&said));
}
