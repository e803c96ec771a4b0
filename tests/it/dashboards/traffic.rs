//! A gateway with something of everything that the dashboards show: models that answer, that are down and that others stand in
//! for; an MCP server; and clients with and without manners.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::mcp::{Session, scripted, tools_once_there};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9/v1";

/// Starts it, and waits for its MCP server.
pub(super) async fn gateway(database_url: Option<&str>) -> Gateway {
    let database =
        |url| format!("  database_url: '{url}'\nrequest_log: {{reader_role: tidegate_ro}}\n");
    let database = database_url.map(database).unwrap_or_default();
    let dead = |name: &str| {
        format!(
            "- {{model_name: {name}, litellm_params: {{model: hosted_vllm/up, api_base: '{NOWHERE}', api_key: k}}}}\n"
        )
    };
    let config = format!(
        "general_settings:\n  master_key: {MASTER}\n{database}\
         model_list:\n\
         - {{model_name: mock, litellm_params: {{model: mock, input_cost_per_token: 0.001, output_cost_per_token: 0.002}}}}\n\
         {}{}\
         router_settings: {{num_retries: 1, fallbacks: [{{replaced: [mock]}}]}}\n\
         virtual_keys:\n- {{api_key: {KEY}, key_alias: tester, team_id: testers, user_id: someone, models: ['*'], mcp_servers: ['*']}}\n\
         mcp_servers:\n{}",
        dead("dead"),
        dead("replaced"),
        // Nothing is pinned yet: that is told, and counted.
        scripted("db", &[], "pin: warn"),
    );
    let gateway = Gateway::start(&config);
    let tools = tools_once_there(&gateway).await;
    assert!(tools.contains(&"db-echo".to_owned()), "{tools:?}");
    gateway
}

/// One request of each kind.
pub(super) async fn round(gateway: &Gateway) {
    let chat = |model: &str, text: &str, stream: bool| json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": text }] });
    let path = "/v1/chat/completions";
    for stream in [false, true] {
        let request = gateway.post(path, &chat("mock", "hello", stream));
        let named =
            request.header("x-openwebui-user-id", "ada").header("x-openwebui-chat-id", "chat-1");
        assert_eq!(status(named).await, 200);
    }
    let embed = json!({ "model": "mock", "input": "hello" });
    assert_eq!(status(gateway.post("/v1/embeddings", &embed)).await, 200);
    let tools = gateway.post(path, &chat("mock", "Please echo this", false));
    assert_eq!(status(tools.header("x-mcp-servers", "db")).await, 200);
    assert_eq!(status(gateway.post(path, &chat("replaced", "hello", false))).await, 200);
    assert!(status(gateway.post(path, &chat("dead", "hello", false))).await >= 500);
    assert_eq!(status(gateway.post(path, &chat("nobody", "hello", false))).await, 404);
    let stranger = gateway.client.post(gateway.url(path)).bearer_auth("sk-nobody");
    assert_eq!(status(stranger.body(chat("mock", "hello", false).to_string())).await, 401);

    let session = Session::open(gateway, "/mcp", json!({})).await;
    let said: Value = session.call("db-echo", json!({ "text": "hello" })).await;
    assert!(said["result"].is_object(), "{said}");
    let said = session.call("db-fail", json!({})).await;
    assert_eq!(said["result"]["isError"], true, "{said}");
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    // To its end, so that the request has one.
    answer.bytes().await.unwrap();
    status
}
