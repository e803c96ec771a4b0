//! The README and the guide, followed: every shell block of a page is run in its order, as a reader would, beside a gateway that
//! serves a house's configuration. A block that cannot be run says why in a comment above it, which no reader sees:
//!
//! - `<!-- not followed: REASON -->`
//! - `<!-- followed until: TEXT -->`: it runs until it has said that, as it would not end by itself
//! - `<!-- followed to exit code 1 -->`
//! - `<!-- followed as: FILE -->`: a block of any kind becomes that file; a configuration is in force before the next step

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::docs::{Block, blocks, pages, root};
use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, one_model};
use crate::support::mcp;
use crate::support::postgres::Postgres;

/// Where the program looks for its configuration by itself.
const CONFIG: &str = "config/config.yaml";

/// What pages speak of: models, keys and servers by the names that they have there.
const HOUSE: &str = "\
general_settings: {master_key: \"${LITELLM_MASTER_KEY}\"}
model_list:
- {model_name: gpt-4o-mock, litellm_params: {model: mock-response}}
- {model_name: gpt, litellm_params: {model: mock-response}}
- {model_name: house-gpt, litellm_params: {model: mock-response}}
- {model_name: local, litellm_params: {model: mock-response}}
- model_name: on-azure
  litellm_params: {model: azure/own, api_base: 'https://azure.invalid', api_key: none, api_version: '2024-10-21'}
  model_info: {base_model: azure/gpt-4o}
virtual_keys:
- {api_key: \"${TIDEGATE_KEY}\", key_alias: me, models: ['*'], mcp_servers: ['*']}
- {api_key: sk-tidegate-quickstart-change-me-0001, key_alias: quickstart, models: ['*']}
";

/// Tools that pages call, beside those of `time`.
const TOOLS: &str = r#"[
    {"name": "describe", "description": "Describes a table.", "inputSchema": {"type": "object", "properties": {"table": {"type": "string"}}}},
    {"name": "query", "description": "Runs a query.", "inputSchema": {"type": "object"}},
    {"name": "search", "description": "Finds tickets.", "inputSchema": {"type": "object"}}
]"#;

/// What stands above a block.
#[derive(Debug, PartialEq)]
enum Mark {
    Run,
    /// Why not.
    Skip(String),
    Until(String),
    ExitCode(i32),
    File(String),
}

impl Mark {
    fn of(block: &Block) -> Option<Self> {
        let note = block.note.as_deref().unwrap_or_default();
        let after = |word: &str| note.strip_prefix(word).map(|rest| rest.trim().to_owned());
        if let Some(reason) = after("not followed:") {
            assert!(reason.len() > 10, "{}: what is the reason?", block.place);
            return Some(Self::Skip(reason));
        }
        let until = after("followed until:").map(Self::Until);
        let code = after("followed to exit code").map(|code| Self::ExitCode(code.parse().unwrap()));
        let file = after("followed as:").map(Self::File);
        until.or(code).or(file).or((block.kind == "sh").then_some(Self::Run))
    }
}

/// Someone who reads a page.
struct Reader {
    gateway: Gateway,
    environment: Vec<(&'static str, String)>,
}

impl Reader {
    /// `more`: variables of the environment. `instead`: addresses of the page, and what stands for them here.
    async fn follow(page: &str, more: &[(&'static str, &str)], instead: &[(&str, &str)]) {
        let mut steps = steps(page);
        for (block, _) in &mut steps {
            for (from, to) in instead {
                block.text = block.text.replace(from, to);
            }
        }
        let mut environment = vec![
            ("LITELLM_MASTER_KEY", MASTER.to_owned()),
            ("TIDEGATE_KEY", KEY.to_owned()),
            ("KEY", KEY.to_owned()),
            ("VIRTUAL_KEY_TEST", KEY.to_owned()),
        ];
        environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let directory = TempDir::new().unwrap();
        let mut house = HOUSE.to_owned();
        if let Some(time) = mcp::official("time", &[]) {
            let tools = directory.path().join("tools.json");
            write(directory.path(), "tools.json", TOOLS);
            house.push_str(&format!("mcp_servers:\n  time: {{{}}}\n", time.entry()));
            for (name, more) in [("db", ""), ("tickets", "pin: warn")] {
                house.push_str(&mcp::scripted(name, &[&tools], more));
            }
        }
        write(directory.path(), CONFIG, &house);
        // What a page begins with is there when the gateway starts.
        let mut steps = steps.into_iter().peekable();
        while let Some((block, mark)) = steps.next_if(|(_, mark)| matches!(mark, Mark::File(_))) {
            let Mark::File(name) = mark else { continue };
            write(directory.path(), &name, &block.text);
        }
        let given: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = Gateway::start_in(directory, CONFIG, &given);
        let reader = Self { gateway, environment };
        reader.servers_are_there().await;
        for (block, mark) in steps {
            reader.step(&block, mark).await;
        }
    }

    /// A reader is slower than a server's first list, which is fetched when someone asks for it.
    async fn servers_are_there(&self) {
        self.gateway.get("/mcp-rest/tools/list").send().await.unwrap();
        let is_there = |it: &serde_json::Value| it["tools"].is_u64();
        self.gateway
            .health_until(|it| it["mcp_servers"].as_array().unwrap().iter().all(is_there))
            .await;
    }

    async fn step(&self, block: &Block, mark: Mark) {
        match mark {
            Mark::Skip(_) => {}
            Mark::File(name) => {
                let before = self.gateway.health().await["config"]["generation"].clone();
                write(self.gateway.directory.path(), &name, &block.text);
                if name == CONFIG {
                    self.gateway.health_until(|it| it["config"]["generation"] != before).await;
                }
            }
            Mark::Run => self.ends_with(block, 0),
            Mark::ExitCode(code) => self.ends_with(block, code),
            Mark::Until(text) => self.says(block, &text),
        }
    }

    /// A shell that stops at the first failure, for which an HTTP error is one.
    fn shell(&self, block: &Block) -> Command {
        let address = self.gateway.address.to_string();
        let text =
            block.text.replace("127.0.0.1:4000", &address).replace("127.0.0.1:4001", &address);
        let process = self.gateway.process();
        let script = format!(
            "set -euo pipefail\ncurl() {{ command curl --silent --show-error --fail-with-body --max-time 30 \"$@\"; }}\n\
             pidof() {{ echo {process}; }}\n{text}"
        );
        let binary = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let path = std::env::var_os("PATH").unwrap();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &script])
            .current_dir(self.gateway.directory.path())
            .env_clear()
            .env("PATH", format!("{}:{}", binary.parent().unwrap().display(), path.display()))
            .env("TIDEGATE_LISTEN", &address)
            .env("HOME", self.gateway.directory.path())
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null());
        shell
    }

    fn ends_with(&self, block: &Block, code: i32) {
        let done = self.shell(block).output().unwrap();
        let said =
            [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert_eq!(
            done.status.code(),
            Some(code),
            "{}\n{}\n{}\n{}",
            block.place,
            block.text,
            said.join("\n"),
            self.gateway.log()
        );
    }

    fn says(&self, block: &Block, wanted: &str) {
        let mut child = self.shell(block).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, said) = mpsc::sync_channel(1024);
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        let mut all = Vec::new();
        while let Ok(line) = said.recv_timeout(PATIENCE) {
            all.push(line);
            if all.last().is_some_and(|line| line.contains(wanted)) {
                break;
            }
        }
        let has_said = all.last().is_some_and(|line| line.contains(wanted));
        // The shell's own children too: what holds the pipe ends with it.
        let children = format!("pkill -P {}; kill {}", child.id(), child.id());
        let _gone = Command::new("bash").args(["-c", &children]).status();
        child.wait().unwrap();
        assert!(has_said, "{}: never said {wanted:?}: {all:#?}", block.place);
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The blocks of a page that something is done with.
fn steps(page: &str) -> Vec<(Block, Mark)> {
    let folder = if page == "README.md" { root().to_owned() } else { root().join("docs/guide") };
    let path = folder.join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let blocks = blocks(&path, &text).into_iter();
    blocks.filter_map(|block| Mark::of(&block).map(|mark| (block, mark))).collect()
}

/// A test for each page that has something to be followed.
macro_rules! followed {
    ($($name:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                Reader::follow($page, &[], &[]).await;
            }
        )*
    };
}

followed! {
    claude_code: "claude-code.md",
    codex: "codex.md",
    configuration: "configuration.md",
    costs: "costs.md",
    keys: "keys.md",
    logs: "logs.md",
    mcp_servers: "mcp.md",
    open_webui: "open-webui.md",
    performance: "performance.md",
    providers: "providers.md",
    quickstart: "quickstart.md",
    readme: "README.md",
    reload: "reload.md",
    runbook: "runbook.md",
    tools: "tools.md",
}

/// Pages that need more around them than a house.
const OTHERS: [&str; 3] = ["backup.md", "deploy.md", "postgres-tools.md"];

/// Pages whose printed answers are compared too, in `cli_guide.rs`.
const COMPARED: [&str; 2] = ["cli.md", "migrate-from-litellm.md"];

#[tokio::test(flavor = "multi_thread")]
async fn backup() {
    let database = Postgres::running().await;
    let scripts = format!("{}/", root().join("compose").display());
    let instead = [
        ("postgresql://tidegate:password@127.0.0.1:5432/tidegate", &*database.url()),
        ("compose/", &*scripts),
        ("backups/tidegate-postgres-20261101T031700Z.dump", "backups/tidegate-postgres-*.dump"),
    ];
    let more = [("DATABASE_URL", &*database.url())];
    // A gateway that was here before has made the tables.
    let before = Gateway::start_with(&one_model("http://127.0.0.1:9/v1"), &[], &more);
    let made = "SELECT count(*) FROM pg_tables WHERE schemaname = 'tidegate' AND tablename = 'tool_call_logs'";
    let end = Instant::now() + PATIENCE;
    while database.count(made).await == 0 {
        assert!(Instant::now() < end, "{}", before.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(before);
    Reader::follow("backup.md", &more, &instead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy() {
    // The reader's folder is the repository's `compose`.
    let copy = format!("cp -r {}/. .\n", root().join("compose").display());
    Reader::follow("deploy.md", &[], &[("cd compose\n", &*copy)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_tools() {
    let database = Postgres::running().await;
    let Some(server) = mcp::postgres(&database.url()) else { return };
    let more = [("DATABASE_URL", &*database.url())];
    let instead = [("http://mcp-postgres:8686", &*server.url)];
    Reader::follow("postgres-tools.md", &more, &instead).await;
}

#[test]
fn every_page_with_commands_is_followed() {
    for (path, _) in pages() {
        let is_guide = path.parent().unwrap().ends_with("guide") || path.ends_with("README.md");
        let page = path.file_name().unwrap().to_str().unwrap();
        if is_guide && steps(page).iter().any(|(block, _)| block.kind == "sh") {
            assert!(
                PAGES.iter().chain(&OTHERS).chain(&COMPARED).any(|it| *it == page),
                "follow {page} in tests/it/guides.rs"
            );
        }
    }
}
