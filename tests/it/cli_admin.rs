//! The operator's commands through the real binary: what an edit does, how a gateway is, what was done to it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, command};

/// Every secret in it has `canary` in it.
const CONFIG: &str = "\
general_settings: {master_key: sk-master-canary-0123456789}
model_list:
- {model_name: gpt, litellm_params: {model: mock-response, api_key: sk-provider-canary}}
- {model_name: claude, litellm_params: {model: mock-response}}
mcp_servers:
  db: {url: 'http://127.0.0.1:1/mcp?key=canary', auth_type: bearer_token, auth_value: canary-token}
virtual_keys:
- {api_key: sk-webui-canary-0123456789, key_alias: webui, models: [gpt], mcp_servers: [db]}
- {api_key: sk-codex-canary-0123456789, key_alias: codex, models: ['*']}
";

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains("canary"), "a secret is shown:\n{all}");
    text(&output.stdout)
}

/// Runs the binary in a gateway's directory, as its operator would.
async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = command(gateway.directory.path());
    command.args(["--listen", &gateway.address.to_string()]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let told = text(output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}{errors}");
    told
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

#[tokio::test]
async fn an_edit_is_compared_and_planned_before_it_goes_live() {
    let gateway = Gateway::start(CONFIG);
    let directory = gateway.directory.path();
    let same = run(&gateway, &["-c", "config.yaml", "config", "diff"]).await;
    assert_eq!(ended(&same, 0), "no difference\n");
    let same = run(&gateway, &["plan", "config.yaml"]).await;
    assert_eq!(ended(&same, 0), "nobody gains or loses anything\n");

    // A narrower edit.
    write(directory, "narrow.yaml", &CONFIG.replace("models: ['*']", "models: [claude]"));
    let narrow = ended(&run(&gateway, &["plan", "narrow.yaml"]).await, 0);
    assert!(narrow.contains("- model gpt"), "{narrow}");
    assert!(narrow.ends_with("access does not widen\n"), "{narrow}");

    // One that gives a key a model, changes a provider's key and a server's address.
    let wide = CONFIG
        .replace("models: [gpt]", "models: [gpt, claude]")
        .replace("sk-provider-canary", "sk-provider-canary-2")
        .replace("127.0.0.1:1/mcp", "127.0.0.1:2/mcp");
    write(directory, "wide.yaml", &wide);
    let plan = ended(&run(&gateway, &["plan", "wide.yaml"]).await, 2);
    // With which key a provider is asked is nobody's access; another server behind a name may be.
    let server =
        "the gateway\n  + db: is http://127.0.0.1:2/mcp (was http://127.0.0.1:1/mcp)\nkey webui (";
    assert!(plan.starts_with(server), "{plan}");
    assert!(plan.contains("changed\n  + model claude\naccess widens\n"), "{plan}");
    // Against a file it says the same, without a gateway.
    let against =
        ended(&run(&gateway, &["plan", "wide.yaml", "--against", "config.yaml"]).await, 2);
    assert_eq!(against, plan);
    let json = run(&gateway, &["plan", "wide.yaml", "--json"]).await;
    let json: Value = serde_json::from_str(&ended(&json, 2)).unwrap();
    assert_eq!(json["widens"], true);
    assert_eq!(json["keys"][0]["gains"], json!(["model claude"]));

    let diff = ended(&run(&gateway, &["-c", "wide.yaml", "config", "diff"]).await, 1);
    for line in [
        "litellm_params.api_key: (secret) changed\n",
        "      models: [\"gpt\"] → [\"gpt\",\"claude\"]\n",
        "      url: http://127.0.0.1:1/mcp → http://127.0.0.1:2/mcp\n",
        "      → connected to anew\n",
    ] {
        assert!(diff.contains(line), "{line}{diff}");
    }
    let files =
        ended(&run(&gateway, &["-c", "wide.yaml", "config", "diff", "config.yaml"]).await, 1);
    assert_eq!(files, diff);

    // What cannot be asked, and what cannot be read.
    let gone = ["-c", "config.yaml", "config", "diff", "--url", "http://127.0.0.1:1"];
    ended(&run(&gateway, &gone).await, 1);
    write(directory, "other", "sk-another-0123456789");
    let refused = ["-c", "config.yaml", "config", "diff", "--master-key-file", "other"];
    let refused = run(&gateway, &refused).await;
    ended(&refused, 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another master key"));
    write(directory, "broken.yaml", "model_list: [");
    ended(&run(&gateway, &["plan", "broken.yaml"]).await, 78);
    ended(&run(&gateway, &["-c", "broken.yaml", "config", "diff"]).await, 78);
    ended(&run(&gateway, &["-c", "broken.yaml", "config", "show"]).await, 78);
}

#[tokio::test]
async fn what_is_in_force_is_shown_with_its_origin() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), "config.yaml", &format!("include: more.yaml\n{CONFIG}"));
    write(
        directory.path(),
        "more.yaml",
        "router_settings: {num_retries: 7, timeout: '${PATIENCE}'}\n",
    );
    let show = |arguments: &[&str]| {
        let mut command = command(directory.path());
        command.env("PATIENCE", "33").args(["-c", "config.yaml", "config", "show"]).args(arguments);
        command.output().unwrap()
    };
    let shown = ended(&show(&[]), 0);
    let line = |start: &str| {
        let line = shown.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in {shown}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("num_retries"), "num_retries: 7 # more.yaml:1");
    assert_eq!(line("timeout: 33"), "timeout: 33 # more.yaml:1, ${PATIENCE}");
    assert_eq!(line("cooldown_time"), "cooldown_time: 5 # default");
    assert_eq!(line("url: "), "url: http://127.0.0.1:1/mcp # config.yaml:7");
    assert_eq!(line("authorization"), "authorization: (secret) # config.yaml:7");
    assert_eq!(line("- model_name: gpt"), "- model_name: gpt # config.yaml:4");
    // It is YAML.
    let tree: Value = serde_yaml::from_str(&shown).unwrap();
    assert_eq!(tree["model_list"][1]["litellm_params"]["weight"], 1.0);
    assert_eq!(tree["virtual_keys"][1]["key_alias"], "webui");
    let json: Value =
        serde_json::from_str(&ended(&show(&["--json", "router_settings"]), 0)).unwrap();
    let settings = json["settings"].as_array().unwrap();
    assert!(settings.iter().all(|setting| setting["path"][0] == "router_settings"), "{json}");
    assert_eq!(settings[0]["origin"], "more.yaml:1");
    let own = ended(&show(&["--no-defaults"]), 0);
    assert!(!own.contains("# default") && own.contains("num_retries"), "{own}");
}

#[tokio::test]
async fn status_tells_how_a_gateway_is() {
    let gateway = Gateway::start(CONFIG);
    let status = ["-c", "config.yaml", "status"];
    let well = ended(&run(&gateway, &status).await, 0);
    for part in [
        "healthy, version",
        "generation 1",
        "PostgreSQL off",
        "model        gpt",
        "mcp server   db",
    ] {
        assert!(well.contains(part), "{part} in {well}");
    }
    std::fs::write(gateway.path("config.yaml"), "model_list: {").unwrap();
    gateway.health_until(|health| !health["config"]["last_error"].is_null()).await;
    // The file can no longer be read: the gateway is found by what the command line says, and asked with the key in the environment.
    let mut child = command(gateway.directory.path());
    child.args(["--listen", &gateway.address.to_string()]).args(status);
    child.env("LITELLM_MASTER_KEY", "sk-master-canary-0123456789");
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let ill = ended(&output, 1);
    assert!(ill.contains("config.yaml:1:"), "{ill}");
    assert!(ill.contains("model        gpt"), "{ill}");
    let without_key = ended(&run(&gateway, &status).await, 1);
    assert!(without_key.contains("set LITELLM_MASTER_KEY"), "{without_key}");
    ended(&run(&gateway, &["status", "--url", "http://127.0.0.1:1"]).await, 1);
    let json = run(&gateway, &["status", "--json"]).await;
    let json: Value = serde_json::from_str(&ended(&json, 1)).unwrap();
    assert_eq!(json["health"]["config"]["failed_reloads"], 1);
}

/// What was done is written down in order, and no entry can be changed or taken out unseen.
#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let mut gateway = Gateway::start(CONFIG);
    let path = gateway.path("config.yaml");
    std::fs::write(&path, CONFIG.replace("[gpt]", "[claude]")).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    std::fs::write(&path, CONFIG.replace("[gpt]", "[gtp]")).unwrap();
    gateway.health_until(|health| health["config"]["failed_reloads"] == 1).await;
    std::fs::write(&path, CONFIG).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 3).await;
    let asked = gateway.client.post(gateway.url("/admin/reload"));
    let asked = asked.bearer_auth("sk-master-canary-0123456789").send().await.unwrap();
    assert_eq!(asked.status(), 202);
    // Whoever may not, leaves no entry: a stranger could fill the log.
    let denied = gateway.client.post(gateway.url("/admin/reload")).bearer_auth(KEY).send().await;
    assert_eq!(denied.unwrap().status(), 401);
    gateway.signal("-TERM");
    assert!(gateway.ended().await.success());

    let audit = run(&gateway, &["-c", "config.yaml", "audit", "--json"]).await;
    let entries: Vec<Value> =
        ended(&audit, 0).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<[&str; 4]> = entries
        .iter()
        .map(|entry| {
            ["action", "outcome", "actor", "source"].map(|name| entry[name].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["start", "done", "gateway", "gateway"],
            ["reload", "done", "operator", "file"],
            ["reload", "refused", "operator", "file"],
            ["reload", "done", "operator", "file"],
            ["reload_request", "done", "master key", "admin_api"],
            ["stop", "done", "operator", "signal"],
        ]
    );
    assert!(entries[2]["after"].as_str().unwrap().contains("config.yaml:8:"), "{}", entries[2]);
    let shown =
        ended(&run(&gateway, &["-c", "config.yaml", "audit", "--action", "reload"]).await, 0);
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.lines().next().unwrap().ends_with("generation 2 ~keys/webui"), "{shown}");

    let verify = ["-c", "config.yaml", "audit", "verify"];
    let whole = ended(&run(&gateway, &verify).await, 0);
    assert!(whole.starts_with("the file: 6 entries, whole\nlast: 6 "), "{whole}");
    let noted = whole.trim().rsplit(' ').next().unwrap().to_owned();

    // By mistake nothing changes; on purpose it shows.
    let file = rusqlite::Connection::open(gateway.path("data/tidegate.db")).unwrap();
    let change = "UPDATE audit_log SET outcome = 'done' WHERE seq = 3";
    assert!(file.execute(change, []).unwrap_err().to_string().contains("not changed"));
    let remove = "DELETE FROM audit_log WHERE seq = 6";
    assert!(file.execute(remove, []).unwrap_err().to_string().contains("not deleted"));
    file.execute_batch("DROP TRIGGER audit_log_keeps_the_newest").unwrap();
    file.execute(remove, []).unwrap();
    ended(&run(&gateway, &verify).await, 0);
    let expected = run(&gateway, &[&verify[..], &["--expect", &noted]].concat()).await;
    assert!(ended(&expected, 1).contains("lost its end"));
    file.execute_batch("DROP TRIGGER audit_log_is_not_changed").unwrap();
    file.execute(change, []).unwrap();
    assert!(ended(&run(&gateway, &verify).await, 1).contains("entry 3 of chain"));
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_how_to_mend_it() {
    let directory = TempDir::new().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap();
    // A program that is no gateway: it hangs up on whoever connects.
    std::thread::spawn(move || while held.accept().is_ok() {});
    let config = CONFIG
        .replace("{master_key:", &format!("{{listen: '{port}', master_key:"))
        .replace("127.0.0.1:1/mcp", "name.invalid:1/mcp");
    let config = config
        .replace("virtual_keys:", "  gone: {command: no-such-program-anywhere}\nvirtual_keys:");
    write(directory.path(), "config.yaml", &config);
    let doctor = |arguments: &[&str]| {
        let mut command = command(directory.path());
        command.args(["-c", "config.yaml", "doctor"]).args(arguments).output().unwrap()
    };
    let set = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path().join("config.yaml"), mode).unwrap();
    };
    set(0o644);
    let ill = ended(&doctor(&[]), 1);
    for part in [
        "FAIL  files      config.yaml holds secrets and can be read by everybody (mode 644)",
        &format!("FAIL  ports      {port} is held by another program"),
        "FAIL  mcp        gone: there is no program `no-such-program-anywhere`",
        "FAIL  dns        name.invalid:1 (MCP server db): ",
    ] {
        assert!(ill.contains(part), "{part}\n{ill}");
    }
    // The command that it tells mends it.
    let fix = ill.lines().find_map(|line| line.trim_start().strip_prefix("→ chmod ")).unwrap();
    let mended = std::process::Command::new("sh")
        .args(["-c", &format!("chmod {fix}")])
        .current_dir(directory.path())
        .status();
    assert!(mended.unwrap().success());
    assert!(!ended(&doctor(&[]), 1).contains("FAIL  files"));
    set(0o602);
    assert!(ended(&doctor(&[]), 1).contains("chmod o-w config.yaml"));
    set(0o600);
    let json = ended(&doctor(&["--json"]), 1);
    let findings: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(findings.iter().any(|it| it["level"] == "fail" && it["about"] == "dns"));

    // With nothing wrong, all is well.
    write(
        directory.path(),
        "config.yaml",
        &CONFIG.replace("{master_key:", "{listen: '127.0.0.1:0', master_key:"),
    );
    ended(&doctor(&[]), 0);
    // What is only seen by connecting.
    let live = ended(&doctor(&["--live"]), 1);
    assert!(live.contains("FAIL  reach      127.0.0.1:1 (MCP server db): "), "{live}");
}

/// A proxy that passes everything on but streams, which it would hand over when they end.
#[tokio::test]
async fn doctor_sees_a_proxy_that_holds_streams_back() {
    let gateway = Gateway::start(CONFIG);
    let doctor = |url: String| {
        let gateway = &gateway;
        async move { run(gateway, &["-c", "config.yaml", "doctor", "--proxy", &url]).await }
    };
    let direct = doctor(gateway.url("")).await;
    assert!(text(&direct).contains("passes streams on as they come"), "{}", text(&direct));
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut waiting = Vec::new();
        for mut client in proxy.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let read = client.read(&mut head).unwrap_or(0);
            if head[..read].starts_with(b"GET /sse") {
                waiting.push(client);
                continue;
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            let _gone = client.write_all(answer.as_bytes());
        }
    });
    let behind = doctor(url).await;
    assert!(ended(&behind, 1).contains("holds streams back"), "{}", text(&behind));
}

#[test]
fn a_litellm_configuration_becomes_one_that_loads() {
    let directory = TempDir::new().unwrap();
    let litellm = "\
model_list:
- model_name: gpt
  litellm_params: {model: openai/gpt-4o, api_key: sk-canary-of-a-provider, mock_response: hi, temperature: 0.2}
litellm_settings: {callbacks: [sentry]}
general_settings: {master_key: sk-master-canary-0123456789}
";
    write(directory.path(), "litellm.yaml", litellm);
    let run = |arguments: &[&str]| command(directory.path()).args(arguments).output().unwrap();
    let converted = run(&["config", "convert", "litellm.yaml", "--output", "config.yaml"]);
    let report = ended(&converted, 1);
    assert!(
        report.contains("litellm.yaml:3: approximate: model_list[0].litellm_params.temperature"),
        "{report}"
    );
    assert!(
        report.contains("litellm.yaml:4: unsupported: litellm_settings.callbacks.sentry"),
        "{report}"
    );
    assert!(report.contains("5 exact, 1 approximate, 1 manual, 1 unsupported"), "{report}");
    let checked = run(&["-c", "config.yaml", "check", "--strict"]);
    assert!(checked.status.success(), "{}", text(&checked));
    // A file that is there is not written over.
    ended(&run(&["config", "convert", "litellm.yaml", "-o", "config.yaml"]), 1);
    let json = run(&["config", "convert", "litellm.yaml", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["items"].as_array().unwrap().len() >= 8, "{json}");
    ended(&run(&["config", "convert", "gone.yaml"]), 78);
    write(
        directory.path(),
        "plain.yaml",
        "virtual_keys: [{api_key: sk-0123456789-0123456789-01, models: [m]}]\nmodel_list: [{model_name: m, litellm_params: {model: gpt-4o}}]\n",
    );
    ended(&run(&["config", "convert", "plain.yaml", "--output", "plain.out"]), 0);
}

#[test]
fn manual_pages_tell_of_every_command() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str]| command(directory.path()).args(arguments).output().unwrap();
    let page = ended(&run(&["man"]), 0);
    assert!(page.starts_with(".ie") || page.contains(".TH tidegate 1"), "{page}");
    ended(&run(&["man", "--directory", "."]), 0);
    for name in [
        "tidegate",
        "tidegate-config-diff",
        "tidegate-logs-export",
        "tidegate-plan",
        "tidegate-doctor",
    ] {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH"), "{name}");
    }
}

#[tokio::test]
async fn a_password_in_an_address_is_not_repeated() {
    let gateway = Gateway::start(CONFIG);
    let url = "http://admin:canary@127.0.0.1:1";
    for arguments in [
        &["status", "--url", url][..],
        &["plan", "--against", url],
        &["config", "diff", url],
        &["config", "diff", "--url", url],
    ] {
        let said = run(&gateway, &[&["-c", "config.yaml"], arguments].concat()).await;
        let errors = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{errors}");
        assert!(errors.contains("no gateway answers at http://127.0.0.1:1:"), "{errors}");
        assert!(!errors.contains("canary"), "{errors}");
    }
    // At its own address it is compared with.
    let url = format!("http://{}", gateway.address);
    let same = run(&gateway, &["-c", "config.yaml", "config", "diff", &url]).await;
    assert_eq!(ended(&same, 0), "no difference\n");
}

#[test]
fn a_configuration_that_cannot_be_used_ends_every_command_alike() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "model_list: {").unwrap();
    for arguments in [
        &["config", "show"][..],
        &["config", "diff"],
        &["plan"],
        &["usage"],
        &["audit"],
        &["logs", "query"],
        &["logs", "export"],
        &["logs", "import", "/dev/null"],
        &["mcp", "list"],
        &["chat", "m", "hi"],
    ] {
        let mut command = command(folder.path());
        let said = command.args(["-c", "config.yaml"]).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(78), "{arguments:?}: {errors}");
        assert!(errors.contains("config.yaml:1:"), "{arguments:?}: {errors}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_printed_is_a_failure_unless_nobody_reads() {
    let folder = tempfile::TempDir::new().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let said = command(folder.path()).arg("schema").stdout(full).output().unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{errors}");
    assert!(errors.contains("not all of it could be printed"), "{errors}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = command(folder.path()).arg("schema").stdout(writer).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
}
