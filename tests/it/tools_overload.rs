//! Two thousand tools behind two functions, streamed from end to end: over every format of provider and every surface the model
//! searches and calls by name, and the client is told of the tools themselves. And listings are the same bytes each time, also
//! after an edit of the configuration that changes nothing of them.

use serde_json::{Value, json};

use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{result, serve, unknown};
use crate::support::upstream::{Seen, Upstream};

const TOOLS: usize = 2000;
const DIALECTS: [Dialect; 5] =
    [Dialect::Chat, Dialect::Responses, Dialect::Anthropic, Dialect::Gemini, Dialect::Ollama];

async fn server() -> Upstream {
    let list = |at: usize| {
        let about = if at == 1234 { "Waters the tulips." } else { "One of many." };
        json!({ "name": format!("tool_{at}"), "description": about, "inputSchema": { "type": "object",
            "properties": { "litres": { "type": "integer" } } } })
    };
    let list = json!({ "tools": (0..TOOLS).map(list).collect::<Vec<_>>() }).to_string();
    let script = move |method: &str, params: &Value| match method {
        "tools/list" => result(&list),
        "tools/call" => {
            let text = format!("{} got {}", params["name"].as_str().unwrap(), params["arguments"]);
            result(&json!({ "content": [{ "type": "text", "text": text }] }).to_string())
        }
        _ => unknown(),
    };
    serve(script, Vec::new()).await
}

/// It searches, calls what it found, and is done.
fn says(dialect: Dialect, seen: &Seen) -> &'static [Say] {
    match dialect.heard(seen).iter().filter(|it| it.starts_with("result ")).count() {
        0 => &[
            Say::Text("I search. "),
            Say::Call("search_tools", r#"{"query":"water tulips","limit":1}"#),
        ],
        1 => &[Say::Call("call_tool", r#"{"name":"db-tool_1234","arguments":{"litres":3}}"#)],
        _ => &[Say::Text("Watered.")],
    }
}

fn config(dialect: Dialect, model: &Upstream, server: &Upstream, budget: u64) -> String {
    format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [db], tool_token_budget: {budget}}}\nmcp_servers:\n  db: {{url: 'http://{}/mcp'}}\n",
        dialect.params(model.address),
        server.address
    )
}

async fn streamed(gateway: &Gateway, surface: &str, body: &Value) -> Value {
    let answer = gateway.post(surface, body).header("x-mcp-servers", "db").send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    folded(surface, &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tools_are_found_and_called_in_streams_of_every_kind() {
    let server = server().await;
    for dialect in DIALECTS {
        let model = Upstream::start(move |seen| dialect.answer(seen, says(dialect, seen))).await;
        let gateway = Gateway::start(&config(dialect, &model, &server, 1000));
        tools_once_there(&gateway).await;
        let ran = r#"tool_1234 got {"litres":3}"#;

        let block = json!({ "type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/db",
            "require_approval": "never" });
        let body = json!({ "model": "m", "input": "Go.", "stream": true, "tools": [block] });
        let answer = streamed(&gateway, "/v1/responses", &body).await;
        let items = answer["output"].as_array().unwrap();
        let kinds: Vec<_> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["mcp_list_tools", "message", "mcp_call", "mcp_call", "message"],
            "{dialect:?}"
        );
        // Those that calls are told of, and that `allowed_tools` may name: not what the model has in their place.
        let listed = items[0]["tools"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[1234]["name"]), (TOOLS, &json!("tool_1234")));
        assert_eq!(listed[1234]["input_schema"]["properties"]["litres"]["type"], "integer");
        let told = |item: &Value| {
            let text = |name: &str| item[name].as_str().unwrap().to_owned();
            (
                text("server_label"),
                text("name"),
                serde_json::from_str::<Value>(&text("arguments")).unwrap(),
            )
        };
        let search = json!({ "query": "water tulips", "limit": 1 });
        assert_eq!(told(&items[2]), ("tidegate".into(), "search_tools".into(), search));
        assert!(items[2]["output"].as_str().unwrap().contains("db-tool_1234"), "{}", items[2]);
        assert_eq!(told(&items[3]), ("house".into(), "tool_1234".into(), json!({ "litres": 3 })));
        assert_eq!(items[3]["output"], ran);

        // What is listed can be asked for: then there are few, and they are offered as they are.
        let mut few = body.clone();
        few["tools"][0]["allowed_tools"] = json!(["tool_1234", "tool_7"]);
        let before = model.seen().len();
        let request = gateway.post("/v1/responses", &few).send().await.unwrap();
        let few = folded("/v1/responses", &request.text().await.unwrap());
        assert_eq!(few["output"][0]["tools"].as_array().unwrap().len(), 2);
        let offered = String::from_utf8_lossy(&model.seen()[before].body).into_owned();
        assert!(
            offered.contains("db-tool_7") && !offered.contains("\"search_tools\""),
            "{offered}"
        );

        let messages = json!({ "model": "m", "max_tokens": 99, "stream": true,
            "messages": [{ "role": "user", "content": "Go." }] });
        let answer = streamed(&gateway, "/v1/messages", &messages).await;
        let blocks = answer["content"].as_array().unwrap();
        let called: Vec<_> =
            blocks.iter().filter(|it| it["type"] == "mcp_tool_use").map(|it| &it["name"]).collect();
        assert_eq!(called, ["search_tools", "tool_1234"], "{answer}");
        assert_eq!(blocks[4]["content"][0]["text"], ran, "{answer}");
        assert_eq!(blocks[5]["text"], "Watered.");

        let answer = streamed(&gateway, "/v1/chat/completions", &messages).await;
        let message = &answer["choices"][0]["message"];
        let results = message["provider_specific_fields"]["mcp_call_results"].as_array().unwrap();
        assert_eq!((results.len(), &results[1]["result"]), (2, &json!(ran)), "{answer}");
        assert_eq!(
            (&message["content"], &message["tool_calls"]),
            (&json!("I search. Watered."), &Value::Null)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_the_same_bytes_after_an_edit_that_changes_nothing() {
    let server = server().await;
    let dialect = Dialect::Chat;
    let model = Upstream::start(move |seen| dialect.answer(seen, &[Say::Text("ok")])).await;
    for budget in [1000, 10_000_000] {
        let config = config(dialect, &model, &server, budget);
        let gateway = Gateway::start(&config);
        tools_once_there(&gateway).await;
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Go." }], "stream": true });
        let before = model.seen().len();
        for round in 0..3 {
            streamed(&gateway, "/v1/chat/completions", &body).await;
            let listed = gateway.get("/v1/models").send().await.unwrap().bytes().await.unwrap();
            assert!(!listed.is_empty());
            let generation = gateway.health().await["config"]["generation"].clone();
            std::fs::write(gateway.path("config.yaml"), format!("{config}# {round}\n")).unwrap();
            gateway.health_until(|health| health["config"]["generation"] != generation).await;
            let again = gateway.get("/v1/models").send().await.unwrap().bytes().await.unwrap();
            assert!(listed == again, "{budget}: the list of models is another one");
        }
        let bodies: Vec<_> = model.seen().drain(before..).map(|seen| seen.body).collect();
        assert_eq!(bodies.len(), 3);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{budget}: a request is another one");
    }
}
