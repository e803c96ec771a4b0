//! What servers ask that the gateway answers itself: sampling by one of its models, where the client has none, and roots.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::{Session, scripted};

fn config(models: &str, entry: &str) -> String {
    format!(
        "model_list:\n- {{model_name: small, litellm_params: {{model: mock, mock_response: pong}}}}\n\
         - {{model_name: broken, litellm_params: {{model: mock, mock_response: litellm.RateLimitError}}}}\n\
         virtual_keys: [{{api_key: {KEY}, key_alias: asker, models: {models}, mcp_servers: ['*']}}]\n\
         mcp_servers:\n{}",
        scripted("db", &[], entry)
    )
}

/// What the server was answered, as it tells.
async fn asked(gateway: &Gateway, tool: &str) -> Value {
    let session = Session::open(gateway, "/db/mcp", json!({})).await;
    let answer = session.call(tool, json!({})).await;
    let text = answer["result"]["content"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap()
}

#[tokio::test]
async fn a_model_of_the_gateway_answers_for_clients_that_have_none() {
    let gateway = Gateway::start(&config("[small]", "sampling_model: small"));
    let said = asked(&gateway, "ask").await;
    assert_eq!(said["content"]["text"], "pong", "{said}");
    assert_eq!(said["role"], "assistant");
    assert_eq!(said["model"], "small");
    let rows = gateway.rows("model_requested, key_alias, status", 1).await;
    let row: Vec<String> = rows[0].iter().map(|value| format!("{value:?}")).collect();
    let row = row.join(" ");
    assert!(row.contains("small") && row.contains("asker") && row.contains("ok"), "{row}");
    // Over REST, too.
    let answer = gateway.post("/mcp-openapi/db/ask", &json!({})).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("pong"));
}

#[tokio::test]
async fn a_key_without_the_model_gets_no_answer_from_it() {
    let gateway = Gateway::start(&config("[broken]", "sampling_model: small"));
    let said = asked(&gateway, "ask").await;
    assert!(said["error"]["message"].as_str().unwrap().contains("small"), "{said}");
    let rows = gateway.rows("model_requested, http_status", 1).await;
    assert!(format!("{rows:?}").contains("403"), "{rows:?}");
}

#[tokio::test]
async fn a_model_that_fails_is_an_error_to_the_server() {
    let gateway = Gateway::start(&config("['*']", "sampling_model: broken"));
    let said = asked(&gateway, "ask").await;
    assert!(said["error"]["code"].is_i64(), "{said}");
}

#[tokio::test]
async fn without_a_model_nobody_answers() {
    let gateway = Gateway::start(&config("['*']", ""));
    let said = asked(&gateway, "ask").await;
    assert_eq!(said["error"]["code"], -32601, "{said}");
}

#[tokio::test]
async fn allowed_paths_are_the_roots() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let gateway = Gateway::start(&config("['*']", &format!("allowed_paths: [{path:?}]")));
    let said = asked(&gateway, "where").await;
    let uri = format!("file://{}", path.display());
    assert_eq!(said["roots"][0]["uri"], uri, "{said}");
    assert_eq!(said["roots"].as_array().unwrap().len(), 1);
}
