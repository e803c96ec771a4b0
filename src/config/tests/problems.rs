//! What is wrong with configurations: every problem with its place, within bounds, without a secret; and
//! files that name files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::ground::secret::KeyHash;

/// Each file under `tests/config/problems` ends with the problems that it has, one a line after `#:`.
#[test]
fn every_problem_is_told_with_its_place() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/problems"));
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
        let loaded = load_text(&text);
        let found: Vec<String> = lines(&loaded.problems)
            .iter()
            .map(|line| line.trim_start_matches("config.yaml:").to_owned())
            .collect();
        let all: String = found.iter().map(|line| format!("#: {line}\n")).collect();
        assert_eq!(found, expected, "{}\n{all}", path.display());
        assert!(!all.contains("canary"), "{all}");
    }
}

#[test]
fn faults_of_syntax_have_a_place() {
    let tag = "a tag (`!…`) that means nothing here";
    check("a: !env X\n", &[&format!("1:4: error: {tag}")]);
    check("a: !include {b: c}\n", &[&format!("1:4: error: {tag}")]);
    check("a: &b [*b]\n", &["1:8: error: an alias inside the value that it stands for"]);
    check("? [a]\n: b\n", &["1:3: error: a key must be a text"]);
    check("a: {<<: 1}\n", &["1:9: error: `<<` wants a mapping, or a list of them"]);
    check("- a\n", &["1:1: error: a configuration is a mapping of keys, not a list"]);
    check("text", &["1:1: error: a configuration is a mapping of keys, not a text"]);
    check("", &["1:1: error: the file is empty"]);
    check("# nothing\n", &["1:1: error: the file is empty"]);
    check("~\n", &["1:1: error: the file is empty"]);
    let second = "2:1: error: a second document: only one is read (remove the `---`)";
    check("a: 1\n---\nb: 2\n", &[second]);
    check("a: 1\0\n", &["1:5: error: a NUL byte: the file is not text, or not UTF-8"]);
    check(b"a: 1\nb: \xff\n", &["2:4: error: the file is not UTF-8 from here on"]);
    // The parser's own words may change; the place must be there.
    for (text, place) in [
        ("model_list:\n  - model_name: a\n   x: 1\n", "3:4: error: not YAML: "),
        ("a:\n\tb: 1\n", "2:2: error: not YAML: "),
        ("a: [1, 2\nb: 3\n", "2:2: error: not YAML: "),
        ("a: *nowhere\n", "1:4: error: not YAML: "),
        ("}", "1:1: error: not YAML: "),
    ] {
        let found = lines(&load_text(text).problems);
        assert!(found.len() == 1 && found[0].contains(place), "{text:?}: {found:?}");
    }
}

#[test]
fn what_would_take_too_much_is_refused() {
    let refused = |text: String, part: &str| {
        let loaded = load_text(&text);
        let found = lines(&loaded.problems);
        assert!(found.len() == 1 && found[0].contains(part), "{:.200}: {found:?}", text);
        assert!(loaded.snapshot.is_none());
    };
    // A billion laughs: nine levels of nine aliases.
    let mut bomb = "x-0: &a0 [ha, ha, ha]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x-{level}: &a{level} [{aliases}]\n"));
    }
    refused(bomb, "takes more than 64 MiB");
    // The same with one large text.
    let text = "x".repeat(1_000_000);
    refused(format!("x-a: &a {text}\nx-b: [{}]\n", vec!["*a"; 200].join(", ")), "64 MiB");
    // Depth, written out and by aliases of aliases.
    refused("[".repeat(10_000), "");
    refused(format!("a: {}1{}\n", "[".repeat(10_000), "]".repeat(10_000)), "");
    refused((0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(), "");
    let mut chain = "x-0: &a0 [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n".to_owned();
    for level in 1..50 {
        chain.push_str(&format!("x-{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1));
    }
    refused(chain, "more than 64 levels");
    refused(format!("a: {}\n", "x".repeat(10_000_000)), "one text of more than 1 MiB");
    refused("# padding\n".repeat(1_700_000), "is larger than 16384 KiB");
    let long_key = format!("{}: 1\n", "k".repeat(2_000_000));
    assert!(load_text(long_key).snapshot.is_none());
}

#[test]
fn there_may_be_any_number_of_problems() {
    let entries: String = (0..2_000).map(|_| "  - model_name: [x]\n").collect();
    let loaded = load_text(format!("model_list:\n{entries}"));
    assert!(loaded.snapshot.is_none());
    assert!((200..=600).contains(&loaded.problems.len()), "{}", loaded.problems.len());
}

/// Wherever a file full of secrets is broken, no message tells one of them.
#[test]
fn no_message_holds_a_secret() {
    let text = "\
general_settings: {master_key: canary-master-0123456789, database_url: 'postgres://u:canary@h/d'}
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_key: canary-a7, extra_headers: {x-k: canary-b7}}
virtual_keys:
  - {api_key: canary-key-0123456789, models: [a], key_alias: one}
  - {api_key: '${SECRET}', models: ['${SECRET}'], key_alias: '${SECRET}', tags: ['${SECRET}']}
mcp_servers:
  m: {url: 'http://h', auth_type: basic, auth_value: canary-d7, api_keys: [canary-e7]}
  n: {command: x, args: ['${SECRET}'], env: {A: canary-f7}}
";
    let breakers =
        [":", "[", "{", "}", "\"", "'", "\n", "- ", "&a ", "*a ", "!x ", "\t", "#", "$", "${"];
    for (at, _) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let breaker = breakers[at % breakers.len()];
        for line in lines(&load_text(format!("{before}{breaker}{after}")).problems) {
            assert!(!line.contains("canary"), "{at} {breaker:?}: {line}");
        }
    }
}

#[test]
fn included_files_are_merged() {
    let files = Files::new(&[
        ("config.yaml", b"include: [models.yaml, settings.yaml]\nmodel_list:\n  - {model_name: a, litellm_params: {model: mock}}\ngeneral_settings: {detailed_debug: true}\n"),
        ("models.yaml", b"include: more.yaml\nmodel_list:\n  - {model_name: b, litellm_params: {model: mock}}\n"),
        ("more.yaml", b"model_list: [{model_name: c, litellm_params: {model: mock}}]\n"),
        ("settings.yaml", b"general_settings: {detailed_debug: true, master_key: '${file:secret}'}\n"),
        ("secret", b"sk-canary-0123456789-0123456789\r\n"),
    ]);
    let loaded = files.load(&[], &LoadOptions { strict: true, listen: None });
    assert_eq!(lines(&loaded.problems), Vec::<String>::new());
    let names = ["config.yaml", "models.yaml", "more.yaml", "settings.yaml", "secret"];
    assert_eq!(loaded.sources, names.map(|name| files.path(name)));
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(snapshot.models.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(snapshot.keys.master, Some(KeyHash::of("sk-canary-0123456789-0123456789")));

    std::fs::write(files.path("secret"), "sk-another-0123456789-0123456789").unwrap();
    let changed = files.load(&[], &LoadOptions::default()).snapshot.unwrap();
    assert_ne!(changed.hash, snapshot.hash);
}

#[test]
fn includes_go_wrong_with_a_place() {
    let files = Files::new(&[
        ("config.yaml", b"include:\n  - b.yaml\n  - gone.yaml\ngeneral_settings: {master_key: sk-canary-0123456789-0}\nrequest_log: {retention: 1d}\n"),
        ("b.yaml", b"include: config.yaml\nmodel_list:\n  - {model_name: a, litellm_params: {model: mock}}\nrequest_log: {retention: 2d}\nlitellm_settings: {num_retries: x}\n"),
    ]);
    let loaded = files.load(&[], &LoadOptions::default());
    assert_eq!(
        lines(&loaded.problems),
        [
            "config.yaml:3:5: error: there is no file `gone.yaml`",
            "b.yaml:1:10: error: `config.yaml` is included more than once, or by itself",
            "b.yaml:4:15: error: `retention` has another value in `config.yaml`, line 5",
            "b.yaml:5:33: error: `num_retries`: expected a whole number, found a text",
        ]
    );
    assert_eq!(loaded.sources.len(), 3);
    let loaded = load(Path::new("/nowhere/config.yaml"), &BTreeMap::new(), &LoadOptions::default());
    let found: Vec<String> = loaded.problems.iter().map(Problem::to_string).collect();
    let missing = "/nowhere/config.yaml:1:1: error: there is no file `/nowhere/config.yaml`";
    assert_eq!(found, [missing]);
    assert_eq!(loaded.sources, [PathBuf::from("/nowhere/config.yaml")]);
}

proptest::proptest! {
    /// Whatever the file holds, loading it ends, and without a snapshot there is an error.
    #[test]
    fn any_text_is_loaded_or_refused(
        text in "(model_list|virtual_keys|mcp_servers|[a-z&*!${}:?<> \n\t\\[\\],'\"|-]|- |: |\n  ){0,60}"
    ) {
        let loaded = load_text(&text);
        let refused = loaded.problems.iter().any(Problem::is_error);
        proptest::prop_assert_eq!(loaded.snapshot.is_none(), refused);
    }
}
