//! Who may do what: keys in every header, models by name and pattern, the operator's paths, browsers.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};

const MOCKS: &str = "\
general_settings:
  master_key: sk-master-0123456789abcdefghij
model_list:
- {model_name: house-small, litellm_params: {model: mock-response}}
- {model_name: house-big, litellm_params: {model: mock-response, mock_response: big}}
- {model_name: private, litellm_params: {model: mock-response}}
- {model_name: 'wild/*', litellm_params: {model: mock-response}}
virtual_keys:
- {api_key: sk-test-0123456789abcdefghij, key_alias: tester, models: ['house-*', 'wild/*']}
- {api_key: sk-none-0123456789abcdefghij, key_alias: none, models: []}
- {api_key: sk-late-0123456789abcdefghij, key_alias: late, models: ['*'], expires: '2020-01-01'}
- {api_key: 'sha256:1f2b8d4f2a3cb2d4a1fbf2b10e1d97d4ef1c0a9d5cdd4f56c29d8aa60ffe1234', key_alias: hashed, models: ['*']}
";

async fn chat(gateway: &Gateway, key: &str, model: &str) -> (u16, Value) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    let request = gateway.client.post(gateway.url("/v1/chat/completions"));
    let answer = request
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn keys_open_what_they_name_and_nothing_else() {
    let gateway = Gateway::start(MOCKS);
    let cases = [
        (KEY, "house-small", 200, ""),
        (KEY, "wild/anything", 200, ""),
        (KEY, "private", 403, "model_access_denied"),
        (KEY, "house-none", 404, "model_not_found"),
        (KEY, "", 400, ""),
        (MASTER, "private", 200, ""),
        ("sk-none-0123456789abcdefghij", "house-small", 403, "model_access_denied"),
        ("sk-late-0123456789abcdefghij", "house-small", 401, "expired_key"),
        ("sk-wrong", "house-small", 401, "invalid_api_key"),
        ("", "house-small", 401, "invalid_api_key"),
        (&KEY[..KEY.len() - 1], "house-small", 401, "invalid_api_key"),
    ];
    for (key, model, status, code) in cases {
        let (got, body) = chat(&gateway, key, model).await;
        assert_eq!(got, status, "{key} {model}: {body}");
        if !code.is_empty() {
            assert_eq!(body["error"]["code"], code);
            assert!(body["error"]["message"].as_str().is_some_and(|text| text.len() > 20));
        }
    }
    // Every request left a row, refused ones too, and no row holds a key.
    let rows = gateway.rows("status, http_status, key_id, key_alias, model_requested", 11).await;
    assert_eq!(rows.len(), 11);
    assert!(!format!("{rows:?}").contains(KEY));
    assert!(!gateway.log().contains(KEY) && !gateway.log().contains(MASTER));
}

#[tokio::test]
async fn every_header_carries_a_key() {
    let gateway = Gateway::start(MOCKS);
    for (name, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("bearer {KEY}")),
        ("x-api-key", KEY.to_owned()),
        ("api-key", KEY.to_owned()),
        ("x-litellm-api-key", KEY.to_owned()),
        ("x-litellm-api-key", format!("Bearer {KEY}")),
    ] {
        let request = gateway.client.get(gateway.url("/v1/models")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 200, "{name}");
    }
    let answer = gateway.client.get(gateway.url("/v1/models")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn models_are_listed_as_far_as_the_key_goes() {
    let gateway = Gateway::start(MOCKS);
    let list = |path: &'static str, key: &'static str| {
        let request = gateway.client.get(gateway.url(path)).bearer_auth(key);
        async move {
            let text = request.send().await.unwrap().bytes().await.unwrap();
            serde_json::from_slice::<Value>(&text).unwrap()
        }
    };
    let models = list("/v1/models", KEY).await;
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["house-big", "house-small"]);
    assert_eq!(models, list("/models", KEY).await, "nothing in the list changes by itself");
    assert_eq!(models["data"][0]["object"], "model");
    assert!(models["data"][0]["created"].is_i64() && models["data"][0]["owned_by"].is_string());
    assert_eq!(list("/v1/models", MASTER).await["data"].as_array().unwrap().len(), 3);
    assert_eq!(list("/v1/models/house-big", KEY).await["id"], "house-big");
    assert_eq!(list("/v1/models/wild%2Fx", KEY).await["id"], "wild/x");
    assert_eq!(list("/v1/models/private", KEY).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn the_operators_paths_need_the_master_key() {
    let gateway = Gateway::start(MOCKS);
    let ask = |key: &str| gateway.client.get(gateway.url("/admin/config")).bearer_auth(key).send();
    assert_eq!(ask(KEY).await.unwrap().status(), 403);
    assert_eq!(ask("sk-wrong").await.unwrap().status(), 401);
    let answer = ask(MASTER).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    for part in ["\"generation\":1", "\"hash\":", "tester", "house-small", "\"last_error\":null"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(KEY) && !text.contains(MASTER));
}

#[tokio::test]
async fn the_operators_paths_can_have_a_listener_of_their_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config =
        MOCKS.replace("general_settings:", &format!("general_settings:\n  admin_listen: {free}"));
    let gateway = Gateway::start(&config);
    let here = gateway.client.get(gateway.url("/admin/config")).bearer_auth(MASTER);
    assert_eq!(here.send().await.unwrap().status(), 404);
    let there = gateway.client.get(format!("http://{free}/admin/config")).bearer_auth(MASTER);
    assert_eq!(there.send().await.unwrap().status(), 200);
    let model = gateway.client.get(format!("http://{free}/v1/models")).bearer_auth(KEY);
    assert_eq!(model.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told() {
    let gateway = Gateway::start(MOCKS);
    let answer = gateway.get("/v1/nothing").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "unknown_url");
    let answer = gateway.get("/v1/chat/completions").send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "POST");
    let answer = gateway.get("/").send().await.unwrap();
    assert!(answer.text().await.unwrap().starts_with("Tidegate"));
    for path in ["/health/live", "/health/liveliness", "/health/ready", "/health/readiness"] {
        let answer = gateway.client.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn browsers_get_permission() {
    let gateway = Gateway::start(MOCKS);
    let preflight = gateway
        .client
        .request(reqwest::Method::OPTIONS, gateway.url("/v1/chat/completions"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization, content-type");
    let answer =
        gateway.get("/v1/models").header("origin", "https://app.example").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn without_keys_only_this_machine_is_served() {
    let config = "model_list:\n- {model_name: m, litellm_params: {model: mock-response}}\n";
    let gateway = Gateway::start(config);
    let ask = |host: &'static str| {
        let request = gateway.client.get(gateway.url("/v1/models")).header("host", host);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask("localhost:4000").await, 200);
    assert_eq!(ask("rebound.example:4000").await, 403);
    let page = gateway.get("/v1/models").header("origin", "https://evil.example");
    let answer = page.send().await.unwrap();
    assert!(answer.headers().get("access-control-allow-origin").is_none());
}
