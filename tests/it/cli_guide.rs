//! The guide's pages on the command line, followed: every command is run, and prints what the page says that it prints.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::postgres::Postgres;

const VARIABLES: [(&str, &str); 4] = [
    ("LITELLM_MASTER_KEY", "sk-master-0123456789abcdefghij"),
    ("WEBUI_KEY", "sk-webui-0123456789abcdefghij"),
    ("CODEX_KEY", "sk-codex-0123456789abcdefghij"),
    ("OPENAI_API_KEY", "sk-openai-0123456789"),
];

/// The fenced blocks of a page: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// A line without what differs from run to run: digests, numbers, widths.
fn normalised(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let end = |word: &mut String, out: &mut String| {
        let is_digest = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        if is_digest {
            out.push('H');
        } else {
            for c in word.chars() {
                match c {
                    '0'..='9' if out.ends_with('N') => {}
                    '0'..='9' => out.push('N'),
                    c => out.push(c),
                }
            }
        }
        word.clear();
    };
    for c in line.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        end(&mut word, &mut out);
        if !(c.is_whitespace() && out.ends_with(' ')) {
            out.push(c);
        }
    }
    end(&mut word, &mut out);
    // Fractions have as many digits as they need.
    out.replace("N.N", "N").trim().to_owned()
}

fn all_normalised(text: &str) -> Vec<String> {
    text.lines().map(normalised).collect()
}

/// Runs a line of the page in the directory, with the binary on the path.
fn shell(directory: &Path, line: &str, variables: &[(&str, &str)]) -> (String, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var_os("PATH").unwrap().display());
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

fn write(directory: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn ask(gateway: &Gateway, key: &str, model: &str) -> Value {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    let request = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn the_page_on_the_command_line_shows_what_is_printed() {
    let blocks = blocks("cli.md");
    let directory = TempDir::new().unwrap();
    let mut files = ["config/config.yaml", "edited.yaml"].into_iter();
    for (_, text) in blocks.iter().filter(|(kind, _)| kind == "yaml") {
        write(directory.path(), files.next().unwrap(), text);
    }
    let gateway = Gateway::start_in(directory, "config/config.yaml", &VARIABLES);
    for (key, model) in [("WEBUI_KEY", "gpt"), ("CODEX_KEY", "gpt"), ("CODEX_KEY", "local")] {
        let (_, key) = VARIABLES.iter().find(|(name, _)| *name == key).unwrap();
        ask(&gateway, key, model).await;
    }
    gateway.rows("request_id", 3).await;
    let directory = gateway.directory.path().to_owned();
    write(&directory, "rows.jsonl", "");
    let address = gateway.address.to_string();
    let variables = [&VARIABLES[..], &[("TIDEGATE_LISTEN", address.as_str())]].concat();
    let mut seen = 0;
    for (at, (kind, text)) in blocks.iter().enumerate() {
        let after_commands = at > 0 && blocks[at - 1].0 == "sh";
        match kind.as_str() {
            "text" if !after_commands => write(&directory, "litellm.yaml", text),
            "sh" => {
                let mut printed = String::new();
                for line in text.lines() {
                    let (out, error) = shell(&directory, line, &variables);
                    assert!(!error.contains("panicked"), "{line}\n{error}");
                    let failed = out.is_empty()
                        && error.starts_with("tidegate: ")
                        && !error.contains("rows read in");
                    assert!(!failed, "{line}\n{error}");
                    printed.push_str(&out);
                }
                let Some((_, shown)) = blocks.get(at + 1).filter(|(kind, _)| kind == "text") else {
                    continue;
                };
                if text.contains("doctor") {
                    // What this machine is like differs; what is looked at does not.
                    let about = |text: &str| -> Vec<String> {
                        let word = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
                        text.lines().filter(|line| !line.starts_with(' ')).map(word).collect()
                    };
                    assert_eq!(about(&printed), about(shown), "{text}\n{printed}");
                } else {
                    assert_eq!(
                        all_normalised(&printed),
                        all_normalised(shown),
                        "{text}\n{printed}"
                    );
                }
                seen += 1;
            }
            _ => {}
        }
    }
    assert!(seen >= 11, "{seen} commands");
}

/// The way from LiteLLM, step by step: its file, its database's keys, its clients.
#[tokio::test]
async fn the_page_on_moving_from_litellm_is_followed() {
    let page = blocks("migrate-from-litellm.md");
    let of = |kind: &str| -> Vec<String> {
        page.iter().filter(|(own, _)| own == kind).map(|(_, text)| text.clone()).collect()
    };
    let steps = of("sh");
    let old_key = "sk-of-litellm-0123456789";
    let postgres = Postgres::running().await;
    // The table as LiteLLM's schema.prisma has it.
    postgres
        .execute(
            "CREATE TABLE \"LiteLLM_VerificationToken\" (token text PRIMARY KEY, key_alias text, models text[], \
               aliases jsonb DEFAULT '{}', user_id text, team_id text, expires timestamp(3), blocked boolean, rpm_limit bigint, \
               tpm_limit bigint, max_parallel_requests integer, max_budget double precision, budget_duration text, \
               created_at timestamp(3) DEFAULT now())",
        )
        .await;
    let insert = |key: &str, rest: &str| {
        format!(
            "INSERT INTO \"LiteLLM_VerificationToken\" (token, key_alias, models, blocked, expires, max_budget, budget_duration, team_id) \
             VALUES (encode(sha256('{key}'), 'hex'), {rest})"
        )
    };
    postgres
        .execute(&insert(old_key, "'web \"ui\"', '{mock}', NULL, NULL, 12.5, '30d', 'red'"))
        .await;
    postgres
        .execute(&insert("sk-all", "'all', '{}', NULL, '2099-01-02 03:04:05', NULL, NULL, NULL"))
        .await;
    postgres
        .execute(&insert("sk-blocked", "NULL, '{gpt-4o,mock}', true, NULL, NULL, NULL, NULL"))
        .await;
    postgres
        .execute(&insert("sk-ui", "NULL, '{}', NULL, NULL, NULL, NULL, 'litellm-dashboard'"))
        .await;

    let folder = TempDir::new().unwrap();
    let directory = folder.path();
    write(directory, "litellm.yaml", &of("text")[0]);
    write(directory, "keys.sql", &of("sql")[0]);
    write(directory, "config/empty.yaml", &of("yaml")[0]);
    let url = postgres.url();
    let database_url = [("DATABASE_URL", url.as_str()), ("LITELLM_DATABASE_URL", url.as_str())];
    let variables = [&VARIABLES[..], &database_url].concat();
    let run = |line: &str| {
        let line = line.replace("--output config", "--output ./config");
        shell(directory, &line, &variables)
    };
    let (report, error) = run(&steps[0]);
    assert!(report.contains("written to"), "{report}{error}");
    for said in [
        "approximate: router_settings.routing_strategy",
        "manual: litellm_settings.success_callback.langfuse",
        "manual: general_settings.store_model_in_db",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    let (checked, _) = run(&steps[1]);
    assert!(checked.contains("ok: 2 models, 0 keys"), "{checked}");
    let (_, error) = run(&steps[2]);
    assert_eq!(error, "");
    let keys = std::fs::read_to_string(directory.join("config/keys.yaml")).unwrap();
    assert_eq!(keys.matches("api_key: sha256:").count(), 3, "{keys}");
    assert!(
        keys.contains("key_alias: \"web \\\"ui\\\"\"\n") && keys.contains("models: [\"*\"]"),
        "{keys}"
    );
    assert!(keys.contains("    expires: 2099-01-02T03:04:05Z\n"), "{keys}");
    let (planned, error) = run(&steps[3]);
    assert!(planned.contains("ok: 2 models, 3 keys"), "{planned}{error}");
    assert!(
        planned.contains("key web \"ui\" (") && planned.contains("  + model mock\n"),
        "{planned}{error}"
    );
    // The blocked key gains nothing.
    assert!(!planned.contains("gains"), "{planned}");

    let mut gateway = Gateway::start_in(folder, "config/config.yaml", &variables);
    let answer = ask(&gateway, old_key, "mock").await;
    assert_eq!(answer["choices"][0]["message"]["content"], "hello from the mock");
    // What a key might not use, it may not use.
    assert!(ask(&gateway, old_key, "gpt-4o").await["error"].is_object());
    assert!(ask(&gateway, "sk-blocked", "mock").await["error"].is_object());
    gateway.signal("-TERM");
    gateway.ended().await;
    assert!(postgres.count("SELECT count(*) FROM litellm_logs").await >= 1);
}
