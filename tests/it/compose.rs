//! What stands in `compose/`: judged by the schemas and linters of its formats, and against the program and the repository:
//! every path, secret, variable, port, service and command that one file names is one that another has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::gateway::command;
use crate::support::programs::{cached, installed, succeeds, tests};

/// In the order in which they are laid over one another.
const FILES: [&str; 3] = ["compose.yaml", "compose.postgres.yaml", "compose.lan.yaml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("compose")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file that the repository has or is about to have.
fn repository() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir()
                && ![".git", ".cache", "target", "data", "node_modules"].contains(&name)
            {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    found.sort();
    found
}

/// The three files over one another, as far as it matters here: maps are merged, lists joined, all else replaced.
fn merged() -> Value {
    fn over(below: &mut Value, above: Value) {
        match (below, above) {
            (Value::Object(below), Value::Object(above)) => {
                for (key, value) in above {
                    over(below.entry(key).or_insert(Value::Null), value);
                }
            }
            (Value::Array(below), Value::Array(above)) => below.extend(above),
            (below, above) => *below = above,
        }
    }
    let mut all = Value::Null;
    for file in FILES {
        over(&mut all, yaml(file));
    }
    all
}

fn services(all: &Value) -> impl Iterator<Item = (&String, &Value)> {
    all["services"].as_object().unwrap().iter()
}

fn words(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

#[test]
fn the_files_fit_the_schemas_of_their_formats() {
    let Some(check) = cached("lint/bin/check-jsonschema") else { return };
    let files = FILES.map(|file| folder().join(file));
    succeeds(Command::new(&check).args(["--builtin-schema", "vendor.compose-spec"]).args(files));
    let validate = cached("lint/bin/kubernetes-validate").unwrap();
    let manifests =
        repository().into_iter().filter(|path| path.starts_with(folder().join("kubernetes")));
    let manifests: Vec<PathBuf> = manifests.collect();
    assert!(!manifests.is_empty());
    succeeds(Command::new(validate).args(["--strict", "--quiet"]).args(manifests));
}

#[test]
fn the_linters_find_nothing() {
    let Some(hadolint) = cached("lint/bin/hadolint") else { return };
    succeeds(
        Command::new(hadolint).arg("--failure-threshold=style").arg(folder().join("Dockerfile")),
    );
    let shellcheck = cached("lint/bin/shellcheck").unwrap();
    let is_script = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        first.starts_with(b"#!") && (first.ends_with(b"sh") || first.ends_with(b"sh -e"))
    };
    let scripts: Vec<PathBuf> = repository().into_iter().filter(is_script).collect();
    assert!(scripts.len() >= 6, "{scripts:?}");
    succeeds(Command::new(shellcheck).args(scripts));
    let yamllint = cached("lint/bin/yamllint").unwrap();
    let is_yaml = |path: &PathBuf| {
        let is_own = [folder(), root().join("config"), root().join("dashboards")]
            .iter()
            .any(|folder| path.starts_with(folder));
        is_own
            && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let files = repository().into_iter().filter(is_yaml);
    succeeds(
        Command::new(yamllint)
            .arg("--strict")
            .arg("-c")
            .arg(tests("lint/yamllint.yaml"))
            .args(files),
    );
}

#[test]
fn systemd_understands_the_units() {
    let Some(analyze) = installed("systemd-analyze") else { return };
    let directory = TempDir::new().unwrap();
    let mut units = Vec::new();
    for path in repository().into_iter().filter(|path| path.starts_with(folder().join("systemd"))) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let unit = std::fs::read_to_string(&path).unwrap();
        // It wants programs that are there.
        let unit = unit
            .replace("/usr/local/bin/tidegate-backup", folder().join("backup.sh").to_str().unwrap())
            .replace("/usr/local/bin/tidegate", env!("CARGO_BIN_EXE_tidegate"));
        if name.ends_with(".conf") {
            // What is laid over a unit needs a newer systemd, or is checked together with it.
            assert!(unit.contains("[Service]"));
            continue;
        }
        let own = directory.path().join(name);
        std::fs::write(&own, unit).unwrap();
        units.push(own);
    }
    assert_eq!(units.len(), 3);
    let stdio = text("systemd/stdio-servers.conf");
    let with_stdio = std::fs::read_to_string(directory.path().join("tidegate.service")).unwrap();
    let own = directory.path().join("tidegate-stdio.service");
    std::fs::write(&own, format!("{with_stdio}\n{stdio}")).unwrap();
    units.push(own);
    let output = Command::new(&analyze).args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // Others' units may be at fault on any machine.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tidegate")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    let output = Command::new(&analyze)
        .args(["security", "--offline=yes", "--no-pager", "--threshold=20"])
        .arg(directory.path().join("tidegate.service"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A configuration as a container has it: `/etc/tidegate` and `/run/secrets` are folders of the test's own.
fn checks(name: &str, files: &[(String, String)]) {
    let directory = TempDir::new().unwrap();
    let secrets = directory.path().join("secrets");
    std::fs::create_dir_all(secrets.join("tidegate")).unwrap();
    for (secret, value) in [
        ("master_key", "sk-0123456789abcdefghijklmnop"),
        ("postgres_password", "p%40ss"),
        ("tidegate/master_key", "sk-0123456789abcdefghijklmnop"),
        ("tidegate/database_url", "postgresql://user:password@host/database"),
    ] {
        std::fs::write(secrets.join(secret), format!("{value}\n")).unwrap();
    }
    for (file, text) in files {
        let text = text.replace("/run/secrets", secrets.to_str().unwrap());
        std::fs::write(directory.path().join(file), text).unwrap();
    }
    // As the images listen: a weak key would be an error.
    let mut check = command(directory.path());
    check.args(["check", "--strict", "--config", name]).env("TIDEGATE_LISTEN", "0.0.0.0:4000");
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {said}");
    assert!(!said.contains("unknown"), "{said}");
}

#[test]
fn every_configuration_passes_the_check() {
    let own = std::fs::read_dir(folder().join("config")).unwrap();
    let files: Vec<(String, String)> = own
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(files.len() >= 3);
    for (name, _) in &files {
        checks(name, &files);
    }
    let manifests = text("kubernetes/tidegate.yaml");
    let maps = manifests.split("\n---\n").map(|manifest| -> Value {
        serde_yaml::from_str(manifest).unwrap_or_else(|error| panic!("{error}"))
    });
    let configuration = maps
        .filter(|manifest| manifest["kind"] == "ConfigMap")
        .map(|map| map["data"]["config.yaml"].as_str().unwrap().to_owned());
    for text in configuration {
        checks("config.yaml", &[("config.yaml".to_owned(), text)]);
    }
}

#[test]
fn every_service_is_hardened() {
    let all = merged();
    let mut seen = 0;
    for (name, service) in services(&all) {
        seen += 1;
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert!(words(&service["security_opt"]).contains(&"no-new-privileges:true"), "{name}");
        assert!(
            service["logging"]["options"]["max-size"].is_string(),
            "{name}: logs grow without end"
        );
        assert!(service["mem_limit"].is_string(), "{name}");
        assert_eq!(service["labels"]["logging"], "enabled", "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(service["privileged"].is_null() && service["network_mode"].is_null(), "{name}");
        // Nothing makes the gateway wait for another's health.
        for (other, condition) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(!all["services"][other].is_null(), "{name} depends on {other}");
            assert_eq!(condition["condition"], "service_started", "{name} waits for {other}");
        }
        for address in words(&service["ports"]) {
            assert!(address.starts_with("${TIDEGATE_BIND:-127.0.0.1}:"), "{name}: {address}");
        }
        // The socket is one container's, and that one has no way out.
        if words(&service["volumes"]).iter().any(|volume| volume.contains("docker.sock")) {
            assert_eq!(name, "alloy");
            for network in words(&service["networks"]) {
                assert_eq!(all["networks"][network]["internal"], true, "{network}");
            }
        }
    }
    assert_eq!(seen, 9);
    let gateway = &all["services"]["tidegate"];
    assert_eq!(gateway["stop_grace_period"], "150s");
    assert_eq!(gateway["ulimits"]["nofile"]["soft"], 65536);
}

#[test]
fn what_the_services_mount_and_read_is_there() {
    let all = merged();
    let mut mounted = 0;
    for (name, service) in services(&all) {
        for volume in words(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            if let Some(path) =
                source.strip_prefix("./").or(source.starts_with("../").then_some(source))
            {
                assert!(folder().join(path).is_dir(), "{name} mounts {source}: directories only");
                mounted += 1;
            } else if !source.starts_with(['/', '$']) {
                assert!(
                    all["volumes"].as_object().unwrap().contains_key(source),
                    "{name}: {source}"
                );
            }
        }
        for secret in words(&service["secrets"]) {
            assert_eq!(all["secrets"][secret]["file"], format!("secrets/{secret}"), "{name}");
        }
        for network in words(&service["networks"]) {
            let known = all["networks"].as_object().unwrap().contains_key(network);
            assert!(known || network == "default", "{name}: {network}");
        }
        if let Some(dockerfile) = service["build"]["dockerfile"].as_str() {
            assert_eq!(service["build"]["context"], "..");
            assert!(root().join(dockerfile).is_file());
        }
    }
    assert!(mounted >= 7, "{mounted}");
    // Every secret that a configuration reads is one that the gateway is given, and each is somebody's.
    let given: BTreeSet<&str> = services(&all).flat_map(|(_, it)| words(&it["secrets"])).collect();
    let defined: BTreeSet<&str> =
        all["secrets"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(given, defined);
    let mut below = Value::Null;
    for (file, config) in FILES.iter().zip(["config.yaml", "postgres.yaml", "lan.yaml"]) {
        let service = yaml(file)["services"]["tidegate"].clone();
        assert_eq!(service["environment"]["TIDEGATE_CONFIG"], format!("/etc/tidegate/{config}"));
        let secrets = [words(&below), words(&service["secrets"])].concat();
        below = serde_json::json!(secrets);
        let named = text(&format!("config/{config}"));
        for rest in named.split("${file:/run/secrets/").skip(1) {
            let secret = rest.split('}').next().unwrap();
            assert!(
                words(&below).contains(&secret),
                "{config} reads {secret}, which {file} does not give"
            );
        }
    }
}

/// The variables that a text takes from its environment.
fn variables(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect()
    };
    text.split("${").skip(1).map(name).collect()
}

#[test]
fn every_variable_is_in_the_example_and_none_besides() {
    let used: BTreeSet<String> = FILES.iter().flat_map(|file| variables(&text(file))).collect();
    let example = text(".env.example");
    let lines = example.lines().map(|line| line.trim_start_matches('#'));
    let named: BTreeSet<String> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let compose_own = BTreeSet::from(["COMPOSE_FILE", "COMPOSE_PROFILES"].map(str::to_owned));
    assert_eq!(named.difference(&compose_own).cloned().collect::<BTreeSet<_>>(), used);
    for line in example.lines().filter(|line| line.contains("COMPOSE_FILE=")) {
        for file in line.split('=').nth(1).unwrap().split(':') {
            assert!(FILES.contains(&file), "{line}");
        }
    }
}

/// The services that a network has.
fn members<'v>(all: &'v Value, network: &str) -> BTreeSet<&'v str> {
    services(all)
        .filter(|(_, service)| words(&service["networks"]).contains(&network))
        .map(|(name, _)| name.as_str())
        .collect()
}

#[test]
fn who_is_asked_by_name_and_port_listens_there() {
    let all = merged();
    let shared = |asks: &str, other: &str| {
        let of = |name: &str| words(&all["services"][name]["networks"]);
        assert!(of(asks).iter().any(|network| of(other).contains(network)), "{asks} → {other}");
    };
    let lan = yaml("config/lan.yaml");
    let ports = [("mcp_postgres", "--sse-port=8686"), ("mcp_filesystem", "8690")];
    for (server, argument) in ports {
        let url = lan["mcp_servers"][server]["url"].as_str().unwrap();
        let (host, port) = url.strip_prefix("http://").unwrap().split_once(':').unwrap();
        assert_eq!(words(&lan["mcp_servers"][server]["allowed_hosts"]), [host]);
        assert!(argument.ends_with(port), "{url}");
        assert!(words(&all["services"][host]["command"]).contains(&argument), "{url}");
        shared("tidegate", host);
    }
    let health = lan["mcp_servers"]["mcp_filesystem"]["health_check"].as_str().unwrap();
    assert!(words(&all["services"]["mcp-filesystem"]["command"]).contains(&health));
    let database = yaml("config/postgres.yaml")["general_settings"]["database_url"].to_string();
    let service = &all["services"]["postgres"]["environment"];
    let (user, name) =
        (service["POSTGRES_USER"].as_str().unwrap(), service["POSTGRES_DB"].as_str().unwrap());
    assert!(database.contains(&format!("postgresql://{user}:")));
    assert!(database.contains(&format!("@postgres:5432/{name}?")));
    shared("tidegate", "postgres");
    shared("mcp-postgres", "postgres");
    let prometheus = yaml("prometheus/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    let job = jobs.iter().find(|job| job["job_name"] == "tidegate").unwrap();
    let (_, admin) =
        lan["general_settings"]["admin_listen"].as_str().unwrap().rsplit_once(':').unwrap();
    assert_eq!(words(&job["static_configs"][0]["targets"]), [format!("tidegate:{admin}")]);
    let rules = prometheus["rule_files"][0].as_str().unwrap();
    let (mounted, file) = rules.rsplit_once('/').unwrap();
    let volumes = words(&all["services"]["prometheus"]["volumes"]);
    let source =
        volumes.iter().find_map(|volume| volume.split_once(&format!(":{mounted}:"))).unwrap().0;
    assert!(folder().join(source).join(file).is_file(), "{rules}");
    shared("prometheus", "tidegate");
    let loki = &yaml("loki/loki.yaml")["server"]["http_listen_port"];
    assert!(text("alloy/config.alloy").contains(&format!("http://loki:{loki}/")));
    shared("alloy", "loki");
    shared("grafana", "loki");
    // Traces: where the example sends them, and where Grafana looks for them.
    let tempo = yaml("tempo/tempo.yaml");
    let receiver =
        tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"].clone();
    let (_, receives) = receiver.as_str().unwrap().rsplit_once(':').unwrap();
    let endpoint = format!("#OTEL_EXPORTER_OTLP_ENDPOINT=http://tempo:{receives}\n");
    assert!(text(".env.example").contains(&endpoint), "{endpoint}");
    let answers = format!("http://tempo:{}", tempo["server"]["http_listen_port"]);
    assert_eq!(all["services"]["grafana"]["environment"]["TIDEGATE_TEMPO_URL"], answers);
    assert_eq!(words(&all["services"]["tempo"]["profiles"]), ["traces"]);
    shared("tidegate", "tempo");
    shared("grafana", "tempo");
    shared("grafana", "prometheus");
    shared("grafana", "postgres");
    // MCP servers see nobody but the gateway and what they are for.
    assert_eq!(
        members(&all, "mcp-gateway-net"),
        BTreeSet::from(["tidegate", "mcp-postgres", "mcp-filesystem"])
    );
    assert_eq!(all["networks"]["mcp-gateway-net"]["internal"], true);
}

#[test]
fn the_images_are_what_the_program_is() {
    let dockerfile = text("Dockerfile");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let field = |name: &str| {
        let line = manifest.lines().find(|line| line.starts_with(name)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    assert_eq!(dockerfile.matches(&format!("ARG VERSION={}\n", field("version"))).count(), 2);
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={}\n", field("rust-version"))));
    assert_eq!(dockerfile.matches("TIDEGATE_LISTEN=0.0.0.0:4000").count(), 2);
    assert_eq!(dockerfile.matches("EXPOSE 4000").count(), 2);
    assert_eq!(dockerfile.matches("USER 10001:10001").count(), 3);
    assert!(dockerfile.contains("cargo build --release --locked --target"));
    assert!(
        dockerfile.trim_end().ends_with("ENTRYPOINT [\"tidegate\"]"),
        "the last is the default"
    );
    // The image's own health check, and the versions that the tests run.
    assert_eq!(dockerfile.matches("CMD [\"tidegate\", \"healthcheck\"]").count(), 2);
    let packages = std::fs::read_to_string(tests("mcp/package.json")).unwrap();
    let packages: Value = serde_json::from_str(&packages).unwrap();
    let filesystem = "@modelcontextprotocol/server-filesystem";
    let version = packages["dependencies"][filesystem].as_str().unwrap();
    assert!(dockerfile.contains(&format!("{filesystem}@{version}")));
    // Only what is copied is sent, and all of that is.
    let sent = text("Dockerfile.dockerignore");
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        for source in
            line.split_whitespace().filter(|word| !word.starts_with("--") && !word.starts_with('/'))
        {
            let is_from_the_context =
                !line.contains("--from=") && !source.starts_with('.') || source == ".cargo";
            if is_from_the_context {
                assert!(sent.lines().any(|line| line == format!("!{source}")), "{source}");
                assert!(root().join(source).exists());
            }
        }
    }
    let manifests = text("kubernetes/tidegate.yaml");
    assert!(manifests.contains(&format!("image: tidegate:{}", field("version"))));
}

#[test]
fn every_command_is_one() {
    let mut seen = 0;
    let mut understood = |line: &str| {
        seen += 1;
        let words = line.split_whitespace();
        tidegate::cli::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    };
    for line in text("systemd/tidegate.service").lines() {
        if let Some((_, call)) = line.split_once("/usr/local/bin/")
            && line.starts_with("Exec")
        {
            understood(call);
        }
    }
    understood("tidegate healthcheck");
    for file in ["config/config.yaml", "Dockerfile", ".env.example"] {
        for rest in text(file).split("run --rm tidegate ").skip(1) {
            let call = rest.split(['`', '\n']).next().unwrap().replace('\'', "");
            understood(&format!("tidegate {call}"));
        }
    }
    assert!(seen >= 4, "{seen}");
    // What units name of the environment is what the program reads.
    let known: BTreeMap<&str, &str> =
        [("TIDEGATE_CONFIG", "--config"), ("TIDEGATE_LISTEN", "--listen")].into();
    for file in
        ["systemd/tidegate.service", "Dockerfile", "kubernetes/tidegate.yaml", "compose.yaml"]
    {
        for rest in text(file).split("TIDEGATE_").skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let name = format!("TIDEGATE_{name}");
            let is_compose = variables(&text("compose.yaml")).contains(&name);
            assert!(is_compose || known.contains_key(name.as_str()), "{file}: {name}");
        }
    }
}
