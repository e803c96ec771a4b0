//! `GET /v1/models` in three views, what stands behind a `*`, and errors and counts in Anthropic's words.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::dialect::{ALL, Dialect, Say};
use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::upstream::{Step, Upstream, json as whole};

const MODELS: &str = "\
general_settings: {master_key: sk-master-0123456789abcdefghij, max_request_size_mb: 1}
model_list:
- {model_name: house-b, litellm_params: {model: mock}, model_info: {created: 1700000000, owned_by: us, display_name: 'House B',
   supports_reasoning: true, supports_vision: false, max_input_tokens: 64000, codex: {priority: 7, x_new: true}}}
- {model_name: house-a, litellm_params: {model: mock}}
- {model_name: private, litellm_params: {model: mock}}
- {model_name: org/house-c, litellm_params: {model: mock}}
virtual_keys:
- {api_key: sk-test-0123456789abcdefghij, key_alias: tester, models: ['house-*', org/house-c], aliases: {mine: private, ours: house-a}}
- {api_key: sk-none-0123456789abcdefghij, key_alias: none, models: []}
";

async fn get(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_list_has_the_shape_of_who_asks() {
    let gateway = Gateway::start(MODELS);
    let all = ["house-a", "house-b", "org/house-c", "ours"];
    let (status, list) = get(gateway.get("/v1/models")).await;
    assert_eq!((status, &list["object"]), (200, &"list".into()));
    assert_eq!(ids(&list), all);
    assert_eq!(
        list["data"][1],
        json!({ "id": "house-b", "object": "model", "created": 1_700_000_000, "owned_by": "us" })
    );
    for query in ["?limit=1000", "?limit=1&after_id=house-a&before_id=x", "?limit=none&beta=true"] {
        let request = gateway.get(&format!("/v1/models{query}"));
        let (status, list) = get(request.header("anthropic-version", "2023-06-01")).await;
        assert_eq!((status, ids(&list)), (200, all.to_vec()), "{query}");
        assert_eq!(
            (&list["has_more"], &list["first_id"], &list["last_id"]),
            (&false.into(), &"house-a".into(), &"ours".into())
        );
        assert_eq!(
            list["data"][1],
            json!({ "type": "model", "id": "house-b", "display_name": "House B",
                "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active" })
        );
    }
    let (_, list) = get(gateway.get("/v1/models?client_version=0.169.0")).await;
    assert_eq!(ids(&list), all);
    let models = list["models"].as_array().unwrap();
    let wanted = [
        "slug",
        "display_name",
        "supported_reasoning_levels",
        "shell_type",
        "visibility",
        "supported_in_api",
        "priority",
        "support_verbosity",
        "truncation_policy",
        "experimental_supported_tools",
        "base_instructions",
    ];
    for model in models {
        assert!(wanted.iter().all(|name| model.get(name).is_some()), "{model}");
    }
    let house_b = &models[1];
    assert_eq!((&house_b["slug"], &house_b["priority"]), (&"house-b".into(), &7.into()));
    assert_eq!((&house_b["context_window"], &house_b["x_new"]), (&64000.into(), &true.into()));
    assert_eq!(house_b["input_modalities"], json!(["text"]));
    assert_eq!(house_b["supported_reasoning_levels"].as_array().unwrap().len(), 3);
    // Who may use nothing sees nothing, properly.
    let none = || {
        gateway.client.get(gateway.url("/v1/models")).bearer_auth("sk-none-0123456789abcdefghij")
    };
    assert_eq!(get(none()).await, (200, json!({ "object": "list", "data": [] })));
    let (_, list) = get(none().header("anthropic-version", "2023-06-01")).await;
    assert_eq!(list, json!({ "data": [], "has_more": false, "first_id": null, "last_id": null }));
}

#[tokio::test]
async fn one_model_and_its_absence_have_the_shape_of_who_asks() {
    let gateway = Gateway::start(MODELS);
    for name in ["house-a", "org/house-c", "org%2Fhouse-c", "ours", "house%2Da"] {
        let (status, model) = get(gateway.get(&format!("/v1/models/{name}"))).await;
        assert_eq!((status, &model["object"]), (200, &"model".into()), "{name}: {model}");
        let request = gateway.get(&format!("/v1/models/{name}"));
        let (status, model) = get(request.header("anthropic-version", "2023-06-01")).await;
        assert_eq!((status, &model["type"]), (200, &"model".into()), "{name}: {model}");
    }
    for name in ["private", "mine", "none", "house-", "%00", "%ff"] {
        let (status, body) = get(gateway.get(&format!("/v1/models/{name}"))).await;
        assert_eq!((status, &body["error"]["code"]), (404, &"model_not_found".into()), "{name}");
        let request = gateway.get(&format!("/v1/models/{name}"));
        let (status, body) = get(request.header("anthropic-version", "2023-06-01")).await;
        assert_eq!((status, &body["type"]), (404, &"error".into()), "{name}: {body}");
        assert_eq!(body["error"]["type"], "not_found_error");
    }
    let stranger = || gateway.client.get(gateway.url("/v1/models"));
    let (status, body) = get(stranger()).await;
    assert_eq!((status, &body["error"]["code"]), (401, &"invalid_api_key".into()));
    let (status, body) = get(stranger().header("anthropic-version", "2023-06-01")).await;
    assert_eq!((status, &body["error"]["type"]), (401, &"authentication_error".into()));
    let post = gateway.post("/v1/models", &json!({}));
    let (status, body) = get(post.header("anthropic-version", "2023-06-01")).await;
    assert_eq!((status, &body["type"]), (405, &"error".into()));
}

#[tokio::test]
async fn below_messages_the_router_speaks_anthropics_words_too() {
    let gateway = Gateway::start(MODELS);
    let post = |path: &str| {
        gateway.client.post(gateway.url(path)).header("content-type", "application/json")
    };
    let body = json!({ "model": "house-a", "max_tokens": 9, "messages": [{ "role": "user", "content": "a" }] });
    let body = body.to_string();
    let large = format!("{{\"x\":\"{}\",{}", "x".repeat(1 << 20), &body[1..]);
    for path in ["/v1/messages", "/messages", "/v1/messages/count_tokens"] {
        let cases: Vec<(reqwest::RequestBuilder, u16, &str)> = vec![
            (post(path).body(body.clone()), 401, "authentication_error"),
            (
                post(path).header("x-api-key", "sk-wrong").body(body.clone()),
                401,
                "authentication_error",
            ),
            (post(path).header("x-api-key", KEY).body("{"), 400, "invalid_request_error"),
            (post(path).header("x-api-key", KEY).body("[]"), 400, "invalid_request_error"),
            (post(path).header("x-api-key", KEY).body(large.clone()), 413, "request_too_large"),
            (
                gateway
                    .client
                    .post(gateway.url(path))
                    .header("x-api-key", KEY)
                    .header("content-type", "text/plain")
                    .body(body.clone()),
                415,
                "invalid_request_error",
            ),
            (
                post(path).header("x-api-key", KEY).body(body.replace("house-a", "none")),
                404,
                "not_found_error",
            ),
            (
                post(path).header("x-api-key", KEY).body(body.replace("house-a", "private")),
                403,
                "permission_error",
            ),
            (gateway.get(path), 405, "invalid_request_error"),
            (
                gateway.client.delete(gateway.url(path)).bearer_auth(KEY),
                405,
                "invalid_request_error",
            ),
            (gateway.get(path).header("upgrade", "websocket"), 426, "invalid_request_error"),
            (post(&format!("{path}/batches/x")), 404, "not_found_error"),
            (gateway.get(&format!("{path}/x")), 404, "not_found_error"),
        ];
        for (number, (request, status, kind)) in cases.into_iter().enumerate() {
            let (got, body) = get(request).await;
            assert_eq!((got, &body["type"]), (status, &"error".into()), "{path} {number}: {body}");
            assert_eq!(body["error"]["type"], kind, "{path} {number}: {body}");
            assert!(body["error"]["message"].as_str().unwrap().len() > 10);
        }
    }
    // What only begins alike is OpenAI's.
    let (status, body) = get(post("/v1/messages_of_mine")).await;
    assert_eq!((status, &body["error"]["code"]), (404, &"unknown_url".into()));
}

#[tokio::test]
async fn tokens_are_counted_by_who_can_and_estimated_elsewhere() {
    let body = json!({ "model": "m", "system": "Be brief.", "messages": [{ "role": "user", "content": "Hello there" }],
        "tools": [{ "name": "look", "input_schema": { "type": "object" } }] });
    for dialect in ALL {
        let upstream = Upstream::start(|_| whole(200, "", r#"{"input_tokens":4711}"#)).await;
        let config = format!(
            "model_list: [{{model_name: m, litellm_params: {}}}]\nvirtual_keys: [{{api_key: {KEY}, models: ['*']}}]\n",
            dialect.params(upstream.address)
        );
        let gateway = Gateway::start(&config);
        let (status, count) = get(gateway.post("/v1/messages/count_tokens?beta=true", &body)).await;
        assert_eq!(status, 200, "{dialect:?}: {count}");
        let tokens = count["input_tokens"].as_u64().unwrap();
        assert_eq!(count, json!({ "input_tokens": tokens }));
        if dialect == Dialect::Anthropic {
            assert_eq!(tokens, 4711);
            let seen = &upstream.seen()[0];
            assert_eq!(seen.path, "/v1/messages/count_tokens");
            assert_eq!(seen.json()["model"], "claude-sonnet-4-5");
            assert!(seen.header("anthropic-version").is_some());
            continue;
        }
        assert!((10..1000).contains(&tokens), "{dialect:?}: {tokens}");
        assert!(upstream.seen().is_empty());
        for broken in [
            json!({ "model": "m" }),
            json!({ "model": "m", "messages": [] }),
            json!({ "model": "m", "messages": [{ "role": "user" }] }),
        ] {
            let (status, body) = get(gateway.post("/v1/messages/count_tokens", &broken)).await;
            assert_eq!(
                (status, &body["error"]["type"]),
                (400, &"invalid_request_error".into()),
                "{body}"
            );
        }
    }
}

/// Not every server that speaks Anthropic's format, or has responses, counts.
#[tokio::test]
async fn what_a_server_cannot_count_is_estimated() {
    let upstream = Upstream::start(|_| whole(404, "", r#"{"detail":"Not Found"}"#)).await;
    let config = format!(
        "model_list:\n- {{model_name: claude, litellm_params: {}}}\n\
         - {{model_name: gpt, litellm_params: {{model: openai/up, api_base: '{}', api_key: sk-up}}}}\n\
         virtual_keys: [{{api_key: {KEY}, models: ['*']}}]\n",
        Dialect::Anthropic.params(upstream.address),
        upstream.base(),
    );
    let gateway = Gateway::start(&config);
    let body =
        json!({ "model": "claude", "messages": [{ "role": "user", "content": "Hello there" }] });
    let (status, count) = get(gateway.post("/v1/messages/count_tokens", &body)).await;
    assert_eq!(
        (status, count["input_tokens"].as_u64().is_some_and(|count| count > 1)),
        (200, true),
        "{count}"
    );
    let body = json!({ "model": "gpt", "input": "Hello there" });
    let (status, count) = get(gateway.post("/v1/responses/input_tokens", &body)).await;
    assert_eq!(
        (status, count["input_tokens"].as_u64().is_some_and(|count| count > 1)),
        (200, true),
        "{count}"
    );
    assert_eq!(upstream.seen().len(), 2);
    let rows = gateway.rows("lane, status", 2).await;
    assert!(
        rows.iter().all(|row| row[..] == ["count".to_owned().into(), "ok".to_owned().into()]),
        "{rows:?}"
    );
}

/// A server whose list can be changed, or taken away.
struct Shelf {
    upstream: Upstream,
    list: Arc<Mutex<Option<Vec<String>>>>,
}

impl Shelf {
    async fn start(path: &'static str, models: &[&str]) -> Self {
        let list = Arc::new(Mutex::new(Some(owned(models))));
        let upstream = Upstream::start({
            let list = list.clone();
            move |seen| {
                if seen.path == "/api/chat" {
                    return Dialect::Ollama.answer(seen, &[Say::Text("one")]);
                }
                assert_eq!(seen.path, path);
                match &*list.lock().unwrap() {
                    None => vec![Step::Close],
                    Some(models) => {
                        let tags: Vec<Value> = models
                            .iter()
                            .map(|name| json!({ "model": name, "name": name }))
                            .collect();
                        let data: Vec<Value> = models
                            .iter()
                            .map(|name| json!({ "id": name, "object": "model" }))
                            .collect();
                        whole(
                            200,
                            "",
                            &json!({ "models": tags, "object": "list", "data": data }).to_string(),
                        )
                    }
                }
            }
        })
        .await;
        Self { upstream, list }
    }

    fn put(&self, models: Option<&[&str]>) {
        *self.list.lock().unwrap() = models.map(owned);
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn wild(entries: &str, allowed: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n- {{model_name: plain, litellm_params: {{model: mock}}}}\n\
         {entries}virtual_keys:\n- {{api_key: {KEY}, models: [{allowed}]}}\n"
    )
}

/// Waits until the list shows just these.
async fn listed(gateway: &Gateway, expected: &[&str]) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let (_, list) = get(gateway.get("/v1/models")).await;
        if ids(&list) == expected {
            return;
        }
        assert!(
            std::time::Instant::now() < end,
            "{:?}, not {expected:?}\n{}",
            ids(&list),
            gateway.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// An edit that changes nothing of the models: the servers are asked again.
async fn edit(gateway: &Gateway, config: &str, generation: u64) {
    std::fs::write(gateway.path("config.yaml"), format!("{config}# {generation}\n")).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == generation).await;
}

#[tokio::test]
async fn the_models_behind_a_star_are_listed() {
    let ollama =
        Shelf::start("/api/tags", &["qwen3:8b", "llama3.2:latest", "org/deep", "bad\u{1}name"])
            .await;
    let vllm = Shelf::start("/v1/models", &["qwen3", "other"]).await;
    let hanging = Upstream::start(|_| vec![Step::Hang]).await;
    let entries = format!(
        "- {{model_name: 'ollama/*', litellm_params: {{model: 'ollama_chat/*', api_base: 'http://{}', api_key: sk-up}}}}\n\
         - {{model_name: 'vllm-*', litellm_params: {{model: 'openai/qwen*', api_base: '{}', api_key: sk-up}}}}\n\
         - {{model_name: 'hang/*', litellm_params: {{model: 'openai/*', api_base: '{}', api_key: sk-up}}}}\n",
        ollama.upstream.address,
        vllm.upstream.base(),
        hanging.base(),
    );
    let config = wild(&entries, "'*'");
    let gateway = Gateway::start(&config);
    let all = ["ollama/llama3.2:latest", "ollama/org/deep", "ollama/qwen3:8b", "plain", "vllm-3"];
    listed(&gateway, &all).await;
    assert_eq!(ollama.upstream.seen()[0].header("authorization"), Some("Bearer sk-up"));
    // In every view, and by itself; what is listed can be asked for.
    let anthropic = gateway.get("/v1/models").header("anthropic-version", "2023-06-01");
    assert_eq!(ids(&get(anthropic).await.1), all);
    let (_, codex) = get(gateway.get("/v1/models?client_version=1")).await;
    assert_eq!(codex["models"][1]["slug"], "ollama/org/deep");
    let (status, model) = get(gateway.get("/v1/models/ollama/qwen3:8b")).await;
    assert_eq!((status, &model["owned_by"]), (200, &"ollama".into()));
    let body =
        json!({ "model": "ollama/qwen3:8b", "messages": [{ "role": "user", "content": "a" }] });
    assert_eq!(get(gateway.post("/v1/chat/completions", &body)).await.0, 200);
    assert_eq!(ollama.upstream.seen().pop().unwrap().json()["model"], "qwen3:8b");
    // What is not listed, too: the list is no fence.
    let body = json!({ "model": "ollama/new", "messages": [{ "role": "user", "content": "a" }] });
    assert_eq!(get(gateway.post("/v1/chat/completions", &body)).await.0, 200);
}

#[tokio::test]
async fn the_list_follows_edits_and_stays_while_a_server_is_away() {
    let shelf = Shelf::start("/api/tags", &["a"]).await;
    let entry = |name: &str, model: &str| {
        format!(
            "- {{model_name: '{name}', litellm_params: {{model: 'ollama_chat/{model}', api_base: 'http://{}'}}}}\n",
            shelf.upstream.address
        )
    };
    let config = wild(&entry("ollama/*", "*"), "'*'");
    let gateway = Gateway::start(&config);
    listed(&gateway, &["ollama/a", "plain"]).await;
    // Each edit has the servers asked again.
    shelf.put(Some(&["b", "c"]));
    edit(&gateway, &config, 2).await;
    listed(&gateway, &["ollama/b", "ollama/c", "plain"]).await;
    // Away, or talking nonsense: what it last said stays.
    shelf.put(None);
    let asked = shelf.upstream.seen().len();
    edit(&gateway, &config, 3).await;
    shelf.upstream.arrived(asked + 1).await;
    let config = wild(&(entry("ollama/*", "*") + &entry("exact", "x")), "'*'");
    edit(&gateway, &config, 4).await;
    listed(&gateway, &["exact", "ollama/b", "ollama/c", "plain"]).await;
    // Back, with nothing at all.
    shelf.put(Some(&[]));
    edit(&gateway, &config, 5).await;
    listed(&gateway, &["exact", "plain"]).await;
    // Under another name.
    shelf.put(Some(&["a", "b:7b"]));
    let config = wild(&entry("here-*", "*"), "'here-a', plain");
    edit(&gateway, &config, 6).await;
    listed(&gateway, &["here-a", "plain"]).await;
    let (_, all) = get(gateway.client.get(gateway.url("/v1/models")).bearer_auth(MASTER)).await;
    assert_eq!(ids(&all), ["here-a", "here-b:7b", "plain"]);
    // Away with the entry, away with its models.
    edit(&gateway, &wild("", "'*'"), 7).await;
    listed(&gateway, &["plain"]).await;
}

#[tokio::test]
async fn two_servers_of_a_group_are_one_list_and_exact_names_win() {
    let one = Shelf::start("/api/tags", &["a", "b"]).await;
    let two = Shelf::start("/api/tags", &["b", "special/c"]).await;
    let entry = |name: &str, model: &str, shelf: &Shelf| {
        format!(
            "- {{model_name: '{name}', litellm_params: {{model: 'ollama_chat/{model}', api_base: 'http://{}'}}}}\n",
            shelf.upstream.address
        )
    };
    // `x/special/*` is the more specific group, and leads to one model only: there is nothing to list.
    let entries = [
        entry("x/*", "*", &one),
        entry("x/*", "*", &two),
        entry("x/special/*", "only", &two),
        entry("x/a", "a", &one),
    ];
    let gateway = Gateway::start(&wild(&entries.concat(), "'*'"));
    listed(&gateway, &["plain", "x/a", "x/b"]).await;
}

/// Neither a list without end nor a slow one costs more than its bound.
#[tokio::test]
async fn a_list_is_bounded() {
    let names: Vec<String> = (0..5000).map(|number| format!("m{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shelf = Shelf::start("/api/tags", &names).await;
    let config = format!(
        "- {{model_name: 'o/*', litellm_params: {{model: 'ollama_chat/*', api_base: 'http://{}'}}}}\n",
        shelf.upstream.address
    );
    let gateway = Gateway::start(&wild(&config, "'*'"));
    let expected: Vec<String> =
        names[..1000].iter().map(|name| format!("o/{name}")).chain(["plain".to_owned()]).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    listed(&gateway, &expected).await;
    let long = "x".repeat(5 * 1024 * 1024);
    shelf.put(Some(&[&long]));
    let asked = shelf.upstream.seen().len();
    edit(&gateway, &wild(&config, "'*'"), 2).await;
    shelf.upstream.arrived(asked + 1).await;
    listed(&gateway, &expected).await;
}
