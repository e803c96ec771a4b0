//! Edits of the configuration while the gateway serves: taken over whole, or refused whole, and never
//! felt by a request that is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, KEY, MASTER, one_model};
use crate::support::upstream::{
    DONE, FINISH, Step, Upstream, chat, chunk, delta, events_head, last_chunk,
};

/// A configuration whose only model has this name.
fn named(model: &str) -> String {
    format!(
        "general_settings:\n  master_key: {MASTER}\nmodel_list:\n\
         - {{model_name: '{model}', litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    )
}

async fn models(gateway: &Gateway) -> Vec<String> {
    let answer = gateway.get("/v1/models").send().await.unwrap().bytes().await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let data = list["data"].as_array().unwrap();
    data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Writes beside the file and renames over it, as editors do.
fn rename_over(gateway: &Gateway, text: &str) {
    let draft = gateway.path(".config.yaml.swp");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, gateway.path("config.yaml")).unwrap();
}

async fn generation(gateway: &Gateway, wanted: u64) {
    gateway.health_until(|health| health["config"]["generation"] == wanted).await;
}

#[tokio::test]
async fn edits_take_effect_however_they_are_made() {
    let gateway = Gateway::start(&named("one"));
    let hash = gateway.health().await["config"]["hash"].clone();
    std::fs::write(gateway.path("config.yaml"), named("two")).unwrap();
    generation(&gateway, 2).await;
    assert_eq!(models(&gateway).await, ["two"]);
    assert_ne!(gateway.health().await["config"]["hash"], hash);
    rename_over(&gateway, &named("three"));
    generation(&gateway, 3).await;
    assert_eq!(models(&gateway).await, ["three"]);
    // Gone and back again: the last good configuration serves in between.
    std::fs::remove_file(gateway.path("config.yaml")).unwrap();
    gateway.health_until(|health| !health["config"]["last_error"].is_null()).await;
    assert_eq!(models(&gateway).await, ["three"]);
    std::fs::write(gateway.path("config.yaml"), named("four")).unwrap();
    generation(&gateway, 4).await;
    assert!(gateway.health().await["config"]["last_error"].is_null());
    assert_eq!(models(&gateway).await, ["four"]);
}

#[tokio::test]
async fn a_swapped_symlink_is_an_edit() {
    // The way Kubernetes mounts a ConfigMap: config.yaml → ..data/config.yaml, ..data → a directory.
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, model) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(path(name).join("config.yaml"), named(model)).unwrap();
    }
    std::os::unix::fs::symlink("v1", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/config.yaml", path("config.yaml")).unwrap();
    let gateway = Gateway::start_in(directory, "config.yaml", &[]);
    assert_eq!(models(&gateway).await, ["one"]);
    std::os::unix::fs::symlink("v2", gateway.path("..tmp")).unwrap();
    std::fs::rename(gateway.path("..tmp"), gateway.path("..data")).unwrap();
    generation(&gateway, 2).await;
    assert_eq!(models(&gateway).await, ["two"]);
}

#[tokio::test]
async fn included_and_secret_files_are_watched_and_our_own_files_are_not() {
    let config = "include: [models.yaml]\ngeneral_settings:\n  master_key: ${file:secret}\n";
    let mock = |name: &str| {
        format!("model_list:\n- {{model_name: {name}, litellm_params: {{model: mock-response}}}}\n")
    };
    let files = [("models.yaml", mock("one")), ("secret", format!("{MASTER}\n"))];
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    // The request log lies in the same directory, and writing it is no edit.
    let config = format!("{config}request_log:\n  path: log.db\n");
    let gateway = Gateway::start_with(&config, &files, &[]);
    let ask =
        |key: &'static str| gateway.client.get(gateway.url("/v1/models")).bearer_auth(key).send();
    assert_eq!(ask(MASTER).await.unwrap().status(), 200);
    let body = json!({ "model": "one", "messages": [{ "role": "user", "content": "x" }] });
    for _ in 0..20 {
        let request = gateway.post("/v1/chat/completions", &body).bearer_auth(MASTER);
        request.send().await.unwrap();
    }
    // In one step: a look at a file that is half written is an edit that fails, for a moment.
    let replace = |name: &str, text: &str| {
        let new = gateway.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, gateway.path(name)).unwrap();
    };
    replace("models.yaml", &mock("two"));
    generation(&gateway, 2).await;
    replace("secret", "sk-another-0123456789abcdefghij");
    generation(&gateway, 3).await;
    assert_eq!(ask(MASTER).await.unwrap().status(), 401);
    assert_eq!(ask("sk-another-0123456789abcdefghij").await.unwrap().status(), 200);
    let health = gateway.health().await;
    assert_eq!(
        (&health["config"]["reloads"], &health["config"]["failed_reloads"]),
        (&json!(2), &json!(0))
    );
}

#[tokio::test]
async fn fifty_broken_edits_change_nothing() {
    let gateway = Gateway::start(&named("good"));
    let broken = [
        "model_list: [",
        "model_list:\n- model_name: x\n  litellm_params: {model: 7x/y}\n",
        "",
        "\0",
        "virtual_keys:\n- api_key: ${NOT_THERE}\n",
        "model_list: 5\n",
        "a: b\na: c\n",
        "model_list:\n- {model_name: open, litellm_params: {model: mock-response}}\n",
        "include: [nowhere.yaml]\n",
        "\t- x",
    ];
    for round in 0..50u64 {
        let text = broken[round as usize % broken.len()];
        let before = gateway.health().await["config"]["failed_reloads"].as_u64().unwrap();
        rename_over(&gateway, &format!("{text}# {round}\n"));
        let health = gateway
            .health_until(|health| health["config"]["failed_reloads"].as_u64().unwrap() > before)
            .await;
        let problems = health["config"]["last_error"]["problems"].as_array().unwrap();
        let first = problems[0].as_str().unwrap();
        let place: Vec<&str> = first.split(':').take(3).collect();
        assert!(place[0].ends_with(".yaml"), "{first}");
        assert!(place[1].parse::<u32>().is_ok() && place[2].parse::<u32>().is_ok(), "{first}");
        assert_eq!(health["config"]["generation"], 1);
        assert_eq!(models(&gateway).await, ["good"]);
    }
    rename_over(&gateway, &named("better"));
    generation(&gateway, 2).await;
    assert_eq!(models(&gateway).await, ["better"]);
}

#[tokio::test]
async fn an_edit_that_removes_the_last_key_is_refused() {
    let gateway = Gateway::start(&named("one"));
    let open = "model_list:\n- {model_name: open, litellm_params: {model: mock-response}}\n";
    rename_over(&gateway, open);
    let health = gateway.health_until(|health| !health["config"]["last_error"].is_null()).await;
    assert!(health["config"]["last_error"].to_string().contains("removes the last key"));
    let stranger = gateway.client.get(gateway.url("/v1/models")).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
}

#[tokio::test]
async fn a_signal_and_the_operator_can_ask_for_a_reload() {
    let gateway = Gateway::start_with(&named("${NAME}"), &[], &[("NAME", "one")]);
    let reload = gateway.client.post(gateway.url("/admin/reload"));
    assert_eq!(reload.bearer_auth(KEY).send().await.unwrap().status(), 403);
    let reload = gateway.client.post(gateway.url("/admin/reload"));
    assert_eq!(reload.bearer_auth(MASTER).send().await.unwrap().status(), 202);
    gateway.signal("-HUP");
    std::fs::write(gateway.path("config.yaml"), named("two")).unwrap();
    gateway.signal("-HUP");
    generation(&gateway, 2).await;
    assert_eq!(models(&gateway).await, ["two"]);
}

#[tokio::test]
async fn two_hundred_reloads_break_none_of_a_hundred_streams() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |seen| {
            if seen.json()["stream"] != true {
                return chat("ok");
            }
            let mut steps = vec![events_head()];
            for index in 0..20 {
                steps.extend([Step::Await(permits.clone()), chunk(&delta(&index.to_string()))]);
            }
            steps.extend([chunk(FINISH), chunk(DONE), last_chunk()]);
            steps
        }
    })
    .await;
    let config = |round: usize| {
        let config = one_model(&upstream.base());
        format!("{config}  - {{api_key: sk-round-{round}-0123456789abcdef, models: [m]}}\n")
    };
    let gateway = Arc::new(Gateway::start(&config(0)));
    let mut expected: Vec<u8> = (0..20).flat_map(|index| delta(&index.to_string())).collect();
    expected.extend_from_slice(FINISH);
    expected.extend_from_slice(DONE);
    let expected = Arc::new(expected);
    let whole = Arc::new(AtomicUsize::new(0));
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (gateway, expected, whole) = (gateway.clone(), expected.clone(), whole.clone());
        streams.spawn(async move {
            let body = json!({ "model": "m", "stream": true, "messages": [],
                "stream_options": { "include_usage": true } });
            let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
            let mut stream = answer.bytes_stream();
            let mut got = Vec::new();
            while let Some(piece) = stream.next().await {
                got.extend_from_slice(&piece.unwrap());
            }
            let text = String::from_utf8(got).unwrap().replace(": ping\n\n", "");
            assert_eq!(text.as_bytes(), expected.as_slice());
            whole.fetch_add(1, Ordering::SeqCst);
        });
    }
    upstream.arrived(100).await;
    for round in 1..=200usize {
        rename_over(&gateway, &config(round));
        gateway.signal("-HUP");
        generation(&gateway, round as u64 + 1).await;
        // The streams go on while the configuration changes, ten events a round; new requests pass.
        permits.add_permits(10);
        let key = format!("sk-round-{round}-0123456789abcdef");
        let fresh = gateway
            .post("/v1/chat/completions", &json!({ "model": "m", "messages": [] }))
            .header("x-litellm-api-key", key);
        assert_eq!(fresh.send().await.unwrap().status(), 200, "round {round}");
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    assert_eq!(whole.load(Ordering::SeqCst), 100);
    assert_eq!(gateway.health().await["config"]["reloads"], 200);
}
