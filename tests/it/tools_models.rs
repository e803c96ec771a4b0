//! What a caller's tools look like from outside: beside each model of the list, and, where there are too many for a request,
//! behind two functions that find and call them.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::{Fixture, tools_once_there};
use crate::support::upstream::{Upstream, json as whole};

const BARE: &str = "sk-bare-0123456789abcdefghij";
const TIGHT: &str = "sk-tigh-0123456789abcdefghij";

fn config(url: &str, model: &str) -> String {
    format!(
        "model_list:\n- {{model_name: m, litellm_params: {model}}}\n- {{model_name: n, litellm_params: {{model: mock}}}}\n\
         virtual_keys:\n\
         - {{api_key: {KEY}, models: ['*'], mcp_servers: [py, gone]}}\n\
         - {{api_key: {TIGHT}, models: ['*'], mcp_servers: [py], tool_token_budget: 50}}\n\
         - {{api_key: {BARE}, models: ['*']}}\n\
         mcp_servers:\n  py: {{url: '{url}', transport: http}}\n  \
         gone: {{url: 'http://127.0.0.1:1/mcp', transport: http}}\n  \
         other: {{url: 'http://127.0.0.1:1/mcp', transport: http}}\n"
    )
}

async fn get(gateway: &Gateway, path: &str, key: &str, servers: Option<&str>) -> (u16, Value) {
    let mut request = gateway.client.get(gateway.url(path)).bearer_auth(key);
    if let Some(servers) = servers {
        request = request.header("x-mcp-servers", servers);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn post(gateway: &Gateway, path: &str, key: &str, body: &Value) -> Value {
    let request = gateway.client.post(gateway.url(path)).bearer_auth(key);
    let request = request.header("x-mcp-servers", "py").header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(status, 200, "{}\n{}", String::from_utf8_lossy(&bytes), gateway.log());
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn models_are_listed_with_the_tools_of_the_key() {
    let Some(server) = Fixture::Python.listen("http") else { return };
    let gateway = Gateway::start(&config(&server.url, "{model: mock}"));
    let (status, list) = get(&gateway, "/v1/models", KEY, None).await;
    assert_eq!(status, 200);
    let models = list["data"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    for model in models {
        let tools = model["tools"].as_array().unwrap();
        let measure = tools.iter().find(|tool| tool["name"] == "py-measure").unwrap();
        assert_eq!(
            (&measure["server"], &measure["description"], &measure["input_schema"]["required"]),
            (&json!("py"), &json!("How long a text is."), &json!(["text"]))
        );
    }
    assert_eq!(models[0]["tools"], models[1]["tools"]);
    let (_, one) = get(&gateway, "/v1/models/m", KEY, Some("PY")).await;
    assert_eq!(one, models[0], "nothing is known of the other server");

    // A key without servers, and scopes without any, see the plain list.
    for (key, servers) in [(BARE, None), (KEY, Some("!py,!gone"))] {
        let (status, list) = get(&gateway, "/v1/models", key, servers).await;
        assert_eq!((status, list["data"][0].get("tools")), (200, None), "{list}");
    }
    let (_, list) = get(&gateway, "/v1/models", KEY, Some("gone")).await;
    assert_eq!(list["data"][0]["tools"], json!([]));
    let unknown = ["other", "none"].map(|name| (name, KEY));
    for (name, key) in unknown.into_iter().chain([("py", BARE)]) {
        let (status, refused) = get(&gateway, "/v1/models", key, Some(name)).await;
        assert_eq!(status, 403, "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("no MCP server `{name}`")), "{message}");
    }

    // Those that were there stay listed.
    drop(server);
    let (_, list) = get(&gateway, "/v1/models", KEY, None).await;
    assert_eq!(list["data"], json!(models));
}

#[tokio::test]
async fn the_mock_calls_two_tools_for_two_things() {
    let Some(server) = Fixture::Python.listen("http") else { return };
    let gateway = Gateway::start(&config(&server.url, "{model: mock}"));
    let text = "Measure the text \"four\"; then how often was a call cancelled, the cancellations?";
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    let answer = post(&gateway, "/v1/chat/completions", KEY, &body).await;
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(
        said, "The tool py-measure answered: 4\nThe tool py-cancellations answered: 0",
        "{answer}"
    );
}

/// A model that searches, calls what it found, calls what is not there, and is done.
async fn searching() -> Upstream {
    let round = AtomicUsize::new(0);
    let calls = |calls: &[(&str, Value)]| {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(at, (name, arguments))| {
                json!({ "id": format!("c{at}"), "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() } })
            })
            .collect();
        json!({ "role": "assistant", "content": null, "tool_calls": calls })
    };
    Upstream::start(move |_| {
        let message = match round.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => calls(&[("search_tools", json!({ "query": "how long a text is", "limit": 2 }))]),
            1 => calls(&[
                ("call_tool", json!({ "name": "py-measure", "arguments": { "text": "four" } })),
                ("call_tool", json!({ "name": "py-measures", "arguments": {} })),
                ("call_tool", json!({ "name": "py-measure", "arguments": { "text": 4 } })),
            ]),
            _ => json!({ "role": "assistant", "content": "done" }),
        };
        let finish = if message["content"].is_null() { "tool_calls" } else { "stop" };
        let answer = json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "up",
            "choices": [{ "index": 0, "finish_reason": finish, "message": message }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
        whole(200, "", &answer.to_string())
    })
    .await
}

#[tokio::test]
async fn too_many_tools_are_found_and_called_through_two() {
    let Some(server) = Fixture::Python.listen("http") else { return };
    let upstream = searching().await;
    let params =
        format!("{{model: hosted_vllm/up, api_base: '{}', api_key: sk-up}}", upstream.base());
    let gateway = Gateway::start(&config(&server.url, &params));
    tools_once_there(&gateway).await;
    let body = json!({ "model": "m", "input": "How long is four?" });
    let first = post(&gateway, "/v1/responses", TIGHT, &body).await;

    let told: Vec<String> = first["output"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["type"] == "mcp_call")
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            format!("{}/{} {}", text("server_label"), text("name"), text("arguments"))
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"tidegate/search_tools {"query":"how long a text is","limit":2}"#,
            r#"py/measure {"text":"four"}"#,
            r#"tidegate/call_tool {"name":"py-measures","arguments":{}}"#,
            r#"py/measure {"text":4}"#,
        ]
    );
    let seen = upstream.seen();
    let names: Vec<Value> = seen[0].json()["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].clone())
        .collect();
    assert_eq!(names, ["search_tools", "call_tool"]);
    let results = |body: &Value| -> Vec<String> {
        let messages = body["messages"].as_array().unwrap().iter();
        let results = messages.filter(|message| message["role"] == "tool");
        results.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let last = results(&seen[2].json());
    let found: Value = serde_json::from_str(&last[0]).unwrap();
    assert_eq!(
        (&found["tools"][0]["name"], &found["tools"][0]["input_schema"]["required"]),
        (&json!("py-measure"), &json!(["text"]))
    );
    assert_eq!(found["tools"].as_array().unwrap().len(), 2);
    assert_eq!(last[1], "4");
    assert!(
        last[2].contains("no tool `py-measures`. The closest names are: py-measure"),
        "{last:?}"
    );
    assert!(last[3].contains("do not fit the tool's schema"), "{last:?}");
    assert_eq!(seen[2].json()["messages"][3]["tool_calls"][0]["function"]["name"], "call_tool");

    // The same again, byte for byte.
    post(&gateway, "/v1/responses", TIGHT, &body).await;
    let again = upstream.seen();
    let bodies = |range: std::ops::Range<usize>| -> Vec<String> {
        again[range].iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
    };
    assert_eq!(bodies(0..3), bodies(3..6));
}

#[tokio::test]
async fn what_is_called_by_its_name_is_approved_like_any_tool() {
    let Some(server) = Fixture::Python.listen("http") else { return };
    let upstream = searching().await;
    let params =
        format!("{{model: hosted_vllm/up, api_base: '{}', api_key: sk-up}}", upstream.base());
    let gateway = Gateway::start(&config(&server.url, &params));
    tools_once_there(&gateway).await;
    let block =
        json!({ "type": "mcp", "server_label": "mine", "server_url": "litellm_proxy/mcp/py" });
    let body = json!({ "model": "m", "input": "How long is four?", "tools": [block] });
    let request = gateway.client.post(gateway.url("/v1/responses")).bearer_auth(TIGHT);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer: Value =
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let asked: Vec<(&Value, &Value, &Value)> = answer["output"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["type"] == "mcp_approval_request")
        .map(|item| (&item["server_label"], &item["name"], &item["arguments"]))
        .collect();
    let (label, name) = (json!("mine"), json!("measure"));
    let [first, second] = [r#"{"text":"four"}"#, r#"{"text":4}"#].map(Value::from);
    assert_eq!(asked, [(&label, &name, &first), (&label, &name, &second)], "{answer}");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn listings_of_tools_are_the_same_bytes_and_leave_the_clients_alone() {
    let Some(server) = Fixture::Python.listen("http") else { return };
    let upstream = Upstream::start(|_| {
        let message = json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": "c", "type": "function",
            "function": { "name": "py-measure", "arguments": "{}" } }] });
        let answer = json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "up",
            "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": message }] });
        whole(200, "", &answer.to_string())
    })
    .await;
    let params =
        format!("{{model: hosted_vllm/up, api_base: '{}', api_key: sk-up}}", upstream.base());
    let gateway = Gateway::start(&config(&server.url, &params));
    tools_once_there(&gateway).await;
    let own = json!([
        { "type": "function", "function": { "name": "py-measure", "parameters": { "type": "object" } } },
        { "type": "function", "function": { "name": "search_tools", "parameters": { "type": "object" } } },
    ]);
    let body =
        json!({ "model": "m", "tools": own, "messages": [{ "role": "user", "content": "hi" }] });
    for key in [KEY, KEY, TIGHT, TIGHT] {
        let answer = post(&gateway, "/v1/chat/completions", key, &body).await;
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "py-measure", "it is the client's: {answer}");
    }
    let seen = upstream.seen();
    let bodies: Vec<_> = seen.iter().map(|seen| String::from_utf8_lossy(&seen.body)).collect();
    assert_eq!(bodies.len(), 4);
    assert_eq!((&bodies[0], &bodies[2]), (&bodies[1], &bodies[3]));
    let tools = seen[2].json()["tools"].clone();
    let names: Vec<&Value> =
        tools.as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["py-measure", "search_tools", "tidegate_search_tools", "call_tool"]);
}
