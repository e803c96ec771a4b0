//! What can be said of a dashboard by reading it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::board::{Board, folder};
use crate::support::programs::{cached, succeeds, tests};

/// A dashboard's faults, each with its place.
fn faults(board: &Board) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in board.panels() {
        let mut fault =
            |what: &str| faults.push(format!("{}: {} {what}", board.name, panel["title"]));
        if !ids.insert(panel["id"].as_i64()) {
            fault("has another panel's id");
        }
        if panel["title"].as_str().is_none_or(str::is_empty) {
            fault("has no title");
        }
        if panel["type"] == "row" {
            continue;
        }
        if !panel["description"].as_str().is_some_and(|text| text.len() > 20 && text.ends_with('.'))
        {
            fault("does not say in a sentence what it shows");
        }
        if panel["fieldConfig"]["defaults"]["unit"].as_str().is_none_or(str::is_empty) {
            fault("has no unit");
        }
        let targets = panel["targets"].as_array();
        if targets.is_none_or(Vec::is_empty) {
            fault("asks for nothing");
        }
        let mut refs = BTreeSet::new();
        for target in targets.into_iter().flatten() {
            if !refs.insert(target["refId"].as_str()) {
                fault("has the same refId twice");
            }
            let text = target["rawSql"].as_str().or(target["expr"].as_str());
            if text.is_none_or(str::is_empty) {
                fault("has an empty query");
            }
            if target["datasource"] != panel["datasource"] {
                fault("asks another source than its panel's");
            }
        }
    }
    faults.extend(overlaps(board));
    faults.extend(sources(board));
    faults
}

/// Panels that stand on each other, or over the edge; those that a collapsed row holds stand below it.
fn overlaps(board: &Board) -> Vec<String> {
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    for panel in board.panels() {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap_or(u64::MAX);
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        if w == 0 || h == 0 || h > 100 || x.saturating_add(w) > 24 {
            faults.push(format!("{}: {} is over the edge", board.name, panel["title"]));
            continue;
        }
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        if cells.filter(|cell| !taken.insert(*cell)).count() > 0 {
            faults.push(format!("{}: {} stands on another", board.name, panel["title"]));
        }
    }
    faults
}

/// Data sources that are not asked for by a variable of the dashboard.
fn sources(board: &Board) -> Vec<String> {
    let list = board.json["templating"]["list"].as_array().unwrap();
    let offered: Vec<String> = list
        .iter()
        .filter(|variable| variable["type"] == "datasource")
        .map(|variable| {
            format!("${{{}}} {}", variable["name"].as_str().unwrap(), variable["query"])
        })
        .collect();
    let mut used = Vec::new();
    walk(&board.json, &mut |value| {
        if let Some(source) = value.get("datasource") {
            used.push(format!("{} {}", source["uid"].as_str().unwrap_or("?"), source["type"]));
        }
    });
    let wrong = used.iter().filter(|source| !offered.contains(source));
    let mut faults: Vec<String> = wrong
        .map(|source| format!("{}: the source {source} is no variable's", board.name))
        .collect();
    let idle = offered.iter().filter(|source| !used.contains(source));
    faults.extend(idle.map(|source| format!("{}: nothing uses {source}", board.name)));
    faults
}

fn walk(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Object(members) => members.values().for_each(|value| walk(value, see)),
        Value::Array(items) => items.iter().for_each(|value| walk(value, see)),
        _ => {}
    }
}

#[test]
fn dashboards_are_in_order() {
    let boards = Board::all();
    let faults: Vec<String> = boards.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let unique = |key: &str| {
        let all: BTreeSet<&str> =
            boards.iter().map(|board| board.json[key].as_str().unwrap()).collect();
        assert_eq!(all.len(), boards.len(), "two dashboards have the same {key}");
    };
    unique("uid");
    unique("title");
    // From one to the other: by their tag, and by links to their uid.
    for board in &boards {
        assert_eq!(board.json["tags"], serde_json::json!(["tidegate"]), "{}", board.name);
        for link in board.json.to_string().split("\"/d/").skip(1) {
            let uid = link.split(['?', '"']).next().unwrap();
            assert!(boards.iter().any(|other| other.json["uid"] == uid), "{}: {uid}", board.name);
        }
    }
}

#[test]
fn faults_of_dashboards_are_found() {
    let spoil = |what: &str, spoil: &dyn Fn(&mut Value)| {
        let mut board = Board::all().remove(0);
        spoil(&mut board.json);
        let faults = faults(&board);
        assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
    };
    spoil("another panel's id", &|board| {
        board["panels"][2]["id"] = board["panels"][1]["id"].clone()
    });
    spoil("no title", &|board| board["panels"][1]["title"] = "".into());
    spoil("in a sentence", &|board| board["panels"][1]["description"] = "Requests".into());
    spoil("no unit", &|board| drop(board["panels"][1]["fieldConfig"]["defaults"]["unit"].take()));
    spoil("asks for nothing", &|board| drop(board["panels"][1]["targets"].take()));
    spoil("empty query", &|board| board["panels"][1]["targets"][0]["expr"] = "".into());
    spoil("same refId", &|board| {
        let target = board["panels"][1]["targets"][0].clone();
        board["panels"][1]["targets"].as_array_mut().unwrap().push(target);
    });
    spoil("stands on another", &|board| board["panels"][2]["gridPos"]["x"] = 1.into());
    spoil("over the edge", &|board| board["panels"][2]["gridPos"]["w"] = 13.into());
    spoil("another source", &|board| board["panels"][1]["datasource"]["uid"] = "x".into());
    spoil("no variable's", &|board| board["panels"][1]["datasource"]["uid"] = "x".into());
    spoil("nothing uses", &|board| board["templating"]["list"][0]["name"] = "DS_OTHER".into());
}

#[test]
fn dashboards_are_what_grafanas_types_say() {
    let (Some(node), Some(modules)) = (cached("venv/bin/node"), cached("ops")) else {
        return eprintln!("left out: tests/run installs Grafana's types");
    };
    succeeds(Command::new(node).arg(tests("ops/check.mjs")).arg(folder()).arg(modules));
}

#[test]
fn the_provisioning_files_lead_to_the_dashboards_sources() {
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder().join("provisioning").join(name)).unwrap();
        serde_yaml::from_str(&text).unwrap()
    };
    let sources = read("datasources/tidegate.yaml");
    let provided: BTreeSet<&str> = sources["datasources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    for board in Board::all() {
        for variable in board.json["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "datasource" {
                assert!(provided.contains(variable["query"].as_str().unwrap()), "{variable}");
            }
        }
    }
    // Passwords and addresses come from Grafana's environment.
    for source in sources["datasources"].as_array().unwrap() {
        for value in [&source["url"], &source["secureJsonData"]["password"]] {
            assert!(
                value.is_null() || value.as_str().unwrap().starts_with("${TIDEGATE_"),
                "{source}"
            );
        }
    }
    // What leads from one to another leads to one of these, and Grafana's environment has no part in it.
    let uids: BTreeSet<&str> = sources["datasources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["uid"].as_str().unwrap())
        .collect();
    let text = std::fs::read_to_string(folder().join("provisioning/datasources/tidegate.yaml"));
    let text = text.unwrap();
    let links: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("datasourceUid: "))
        .inspect(|uid| assert!(uids.contains(uid), "{uid}"))
        .collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for (at, _) in
        text.match_indices("${").filter(|(at, _)| !text[*at..].starts_with("${TIDEGATE_"))
    {
        assert!(text[..at].ends_with('$'), "{}", &text[at..at + 20]);
    }
    let providers = read("dashboards/tidegate.yaml");
    assert_eq!(providers["providers"][0]["type"], "file");
}
