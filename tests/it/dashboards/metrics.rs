//! Every PromQL query of every dashboard and every alert, in a real Prometheus that reads a real gateway as the shipped
//! `prometheus.yml` says.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::board::{Board, folder, promql};
use super::traffic;
use crate::support::gateway::{Gateway, MASTER, PATIENCE, client};
use crate::support::postgres::free_port;
use crate::support::programs::prometheus;

struct Prometheus {
    base: String,
    client: reqwest::Client,
    child: Child,
    directory: TempDir,
}

impl Prometheus {
    /// Starts it on what is shipped, but for the gateway's address, its key, and a shorter time between scrapes.
    async fn start(program: &Path, gateway: &Gateway) -> Self {
        let directory = TempDir::new().unwrap();
        let shipped = folder().join("prometheus");
        let mut config = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        for (text, other) in [
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
            ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
            ("127.0.0.1:4000", gateway.address.to_string()),
        ] {
            assert!(config.contains(text), "the shipped file has no {text}");
            config = config.replace(text, &other);
        }
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(directory.path().join("tidegate.key"), MASTER).unwrap();
        std::fs::copy(shipped.join("alerts.yml"), directory.path().join("alerts.yml")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(program)
            .current_dir(directory.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut this =
            Self { base: format!("http://{address}"), client: client(), child, directory };
        let end = Instant::now() + PATIENCE;
        while !this.is_ready().await {
            let ended = this.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{}", this.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        this
    }

    async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/-/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Asks its API; a refusal is an error with its reason.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.base), query);
        let answer = self.client.get(url.unwrap()).send().await.unwrap();
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        if said["status"] == "success" { Ok(said["data"].clone()) } else { Err(said.to_string()) }
    }

    /// The series that an expression has now.
    async fn series(&self, expression: &str) -> Vec<Value> {
        let data = self.ask("query", &[("query", expression)]).await;
        let data = data.unwrap_or_else(|why| panic!("{expression}: {why}"));
        data["result"].as_array().unwrap().clone()
    }

    /// Waits until the gateway was read once more.
    async fn scrape(&self) {
        let scrapes = "sum(count_over_time(up{job=\"tidegate\"}[10m]))";
        let count = |series: Vec<Value>| -> u64 {
            let first = series.first().and_then(|it| it["value"][1].as_str()?.parse().ok());
            first.unwrap_or(0)
        };
        let before = count(self.series(scrapes).await);
        let end = Instant::now() + PATIENCE;
        while count(self.series(scrapes).await) <= before {
            assert!(Instant::now() < end, "the gateway is not read\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The metrics that a text names, as they are declared.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics =
        words.filter(|word| word.starts_with("tidegate_") || word.starts_with("process_"));
    metrics.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_finds_its_series_in_prometheus() {
    let (Some(program), Some(promtool)) = (prometheus("prometheus"), prometheus("promtool")) else {
        return eprintln!("left out: tests/run installs Prometheus");
    };
    let gateway = traffic::gateway(None).await;
    let prometheus = Prometheus::start(&program, &gateway).await;
    // Between two readings of a counter there is a rate.
    for _ in 0..3 {
        prometheus.scrape().await;
        traffic::round(&gateway).await;
    }
    prometheus.scrape().await;
    let up = prometheus.series("up{job=\"tidegate\"} == 1").await;
    assert_eq!(up.len(), 1, "{:?}", prometheus.ask("targets", &[]).await);

    let shown = gateway
        .client
        .get(gateway.url("/metrics"))
        .bearer_auth(MASTER)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let types = shown.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let declared: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let mut lint = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lint.stdin.take().unwrap().write_all(shown.as_bytes()).unwrap();
    let said = lint.wait_with_output().unwrap();
    assert!(said.status.success(), "{}\n{shown}", String::from_utf8_lossy(&said.stderr));

    let mut asked = 0;
    let mut nothing = Vec::new();
    for board in Board::all() {
        for variable in board.variables("prometheus") {
            let query = variable["query"]["query"].as_str().unwrap();
            let inside = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
            let (metric, label) = inside.unwrap().split_once(", ").unwrap();
            let path = format!("label/{label}/values");
            let values = prometheus.ask(&path, &[("match[]", metric)]).await.unwrap();
            assert!(
                !values.as_array().unwrap().is_empty(),
                "{}: nothing to choose: {query}",
                board.name
            );
        }
        for query in board.queries("prometheus") {
            let expression = promql(query.target["expr"].as_str().unwrap(), "1m");
            let unknown: Vec<String> = named(&expression)
                .into_iter()
                .filter(|it| !declared.contains(it.as_str()))
                .collect();
            assert!(unknown.is_empty(), "{}: the gateway has no {unknown:?}", query.place);
            asked += 1;
            let series = prometheus.series(&expression).await;
            let legend = query.target["legendFormat"].as_str().unwrap();
            let labels = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
            for (label, series) in labels.flat_map(|label| series.iter().map(move |it| (label, it)))
            {
                assert!(
                    series["metric"].get(label).is_some(),
                    "{}: {series} has no {label}",
                    query.place
                );
            }
            if series.is_empty() {
                nothing.push(format!("{}: {expression}", query.place));
            }
        }
    }
    assert!(
        nothing.is_empty() && asked >= 50,
        "{asked} asked; nothing found by {nothing:#?}\n{shown}"
    );

    let rules = prometheus.ask("rules", &[]).await.unwrap();
    let mut judged = 0;
    for rule in
        rules["groups"].as_array().unwrap().iter().flat_map(|it| it["rules"].as_array().unwrap())
    {
        assert_eq!(rule["health"], "ok", "{rule}");
        for metric in named(rule["query"].as_str().unwrap()) {
            assert!(
                declared.contains(metric.as_str()),
                "{}: the gateway has no {metric}",
                rule["name"]
            );
        }
        judged += 1;
    }
    assert!(judged >= 15, "{judged} rules");
}
