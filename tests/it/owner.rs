//! The check that this gateway was asked for: a LAN's configuration as LiteLLM's users write it, an MCP server over SSE in front
//! of a real PostgreSQL, and a client that knows nothing of MCP. It is told in docs/guide/postgres-tools.md.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, PATIENCE};
use crate::support::mcp;
use crate::support::postgres::Postgres;

const CONFIG: &str = "\
litellm_settings:
  master_key: ${LITELLM_MASTER_KEY}
  database_url: ${DATABASE_URL}
  mcp_aliases:
    db: mcp_postgres
model_list:
  - model_name: gpt-4o-mock
    litellm_params:
      model: mock-response
      api_key: dummy
virtual_keys:
  - api_key: ${VIRTUAL_KEY_TEST}
    models: [\"gpt-4o-mock\"]
    mcp_servers: [\"db\"]
mcp_servers:
  mcp_postgres:
    transport: sse
    url: ${MCP_POSTGRES_URL}
    api_keys: [\"${VIRTUAL_KEY_TEST}\"]
    description: \"PostgreSQL read tooling\"
    health_check: /health
";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_nothing_of_mcp_lists_the_schemas_of_a_database() {
    let database = Postgres::running().await;
    database.execute("CREATE SCHEMA harbour; CREATE SCHEMA lighthouse").await;
    let Some(server) = mcp::postgres(&database.url()) else { return };
    let environment = [
        ("LITELLM_MASTER_KEY", "sk-master-of-the-lan-0123456789"),
        ("DATABASE_URL", &database.url()),
        ("VIRTUAL_KEY_TEST", KEY),
        ("MCP_POSTGRES_URL", &server.url),
    ];
    let gateway = Gateway::start_with(CONFIG, &[], &environment);

    let names = mcp::tools_once_there(&gateway).await;
    assert_eq!(names, ["db-list_schemas", "db-list_tables", "db-query"]);

    let body = json!({ "model": "gpt-4o-mock",
        "input": [{ "role": "user", "content": [{ "type": "text", "text": "List schemas" }] }] });
    let request = gateway.post("/v1/responses", &body).header("x-mcp-servers", "db");
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"], "completed", "{answer}");
    let output = answer["output"].as_array().unwrap();
    let call = output.iter().find(|item| item["type"] == "mcp_call").expect("a call");
    assert_eq!(
        (&call["server_label"], &call["name"]),
        (&json!("db"), &json!("list_schemas")),
        "{answer}"
    );
    let said = output.last().unwrap()["content"][0]["text"].as_str().unwrap();
    for text in [said, call["output"].as_str().unwrap()] {
        assert!(text.contains("harbour") && text.contains("lighthouse"), "{text}");
    }

    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let request = gateway.post("/v1/responses", &streamed).header("x-mcp-servers", "DB");
    let events = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(events.matches("event: response.mcp_call.completed").count(), 1, "{events}");
    assert_eq!(events.matches("event: response.completed").count(), 1, "{events}");

    let rows = "SELECT count(*) FROM litellm_logs WHERE status = 'success' AND model_group = 'gpt-4o-mock'";
    let calls = "SELECT count(*) FROM tidegate.tool_call_logs WHERE tool = 'list_schemas' AND status = 'ok'";
    let end = Instant::now() + PATIENCE;
    // The schema is made by the gateway.
    let there = "SELECT count(to_regclass('tidegate.tool_call_logs'))";
    while database.count(there).await == 0 || database.count(rows).await < 2 {
        assert!(Instant::now() < end, "the rows never arrive");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((database.count(rows).await, database.count(calls).await), (2, 2));
}
