//! The rules for Prometheus: promtool takes them, and for each there is a case in `tests/ops/alerts_test.yml` in which it speaks
//! and one in which it is silent.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::board::{Board, folder, promql};
use crate::support::programs::{prometheus, succeeds, tests};

fn rules() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("prometheus/alerts.yml")).unwrap();
    let file: Value = serde_yaml::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn alerts_speak_and_are_silent_when_they_should() {
    let Some(promtool) = prometheus("promtool") else {
        return eprintln!("left out: tests/run installs Prometheus");
    };
    let alerts = folder().join("prometheus/alerts.yml");
    succeeds(Command::new(&promtool).args(["check", "rules", "--lint-fatal"]).arg(&alerts));
    let cases = tests("ops/alerts_test.yml");
    succeeds(Command::new(&promtool).args(["test", "rules"]).arg(&cases));

    let cases: Value = serde_yaml::from_str(&std::fs::read_to_string(cases).unwrap()).unwrap();
    let mut speaks = BTreeSet::new();
    let mut is_silent = BTreeSet::new();
    for case in cases["tests"].as_array().unwrap() {
        for check in case["alert_rule_test"].as_array().unwrap() {
            let name = check["alertname"].as_str().unwrap().to_owned();
            let expected = check["exp_alerts"].as_array().unwrap();
            if expected.is_empty() {
                is_silent.insert(name)
            } else {
                speaks.insert(name)
            };
        }
    }
    let all: BTreeSet<String> =
        rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    assert_eq!((&speaks, &is_silent), (&all, &all));
}

/// Who is woken at night is told what to do.
#[test]
fn alerts_lead_to_the_runbook() {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/runbook.md");
    let page = std::fs::read_to_string(runbook).unwrap();
    for rule in rules() {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let anchor = url.strip_prefix("docs/guide/runbook.md#").unwrap_or_default();
        assert!(!anchor.is_empty(), "{rule}");
        assert!(crate::docs::anchors(&page).contains(anchor), "the runbook has no {anchor}");
        for label in ["summary", "description"] {
            assert!(rule["annotations"][label].is_string(), "{rule}");
        }
    }
}

#[test]
fn promtool_reads_every_expression_and_the_shipped_configuration() {
    let Some(promtool) = prometheus("promtool") else {
        return eprintln!("left out: tests/run installs Prometheus");
    };
    let directory = TempDir::new().unwrap();
    let mut text = "groups:\n- name: panels\n  rules:\n".to_owned();
    let boards = Board::all();
    for (at, query) in boards.iter().flat_map(|board| board.queries("prometheus")).enumerate() {
        let expression = Value::from(promql(query.target["expr"].as_str().unwrap(), "1m"));
        text += &format!("  - {{record: 'panel:{at}', expr: {expression}}}\n");
    }
    let file = directory.path().join("panels.yml");
    std::fs::write(&file, text).unwrap();
    succeeds(Command::new(&promtool).args(["check", "rules"]).arg(&file));

    for name in ["prometheus.yml", "alerts.yml"] {
        std::fs::copy(folder().join("prometheus").join(name), directory.path().join(name)).unwrap();
    }
    std::fs::write(directory.path().join("tidegate.key"), "sk-any").unwrap();
    let shipped = directory.path().join("prometheus.yml");
    succeeds(Command::new(&promtool).args(["check", "config"]).arg(shipped));
}
