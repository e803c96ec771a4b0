//! MCP for those who do not speak it: LiteLLM's REST paths, the read-only lists, the OpenAPI face of each server; and what
//! `/health` and `/admin/config` say of servers.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE};
use crate::support::mcp::{Fixture, scripted};
use crate::support::upstream::{self, Upstream, whole};

const OTHER: &str = "sk-othr-0123456789abcdefghij";
const NOBODY: &str = "sk-none-0123456789abcdefghij";

/// Two servers for one key, one of them for another, none for a third.
fn config() -> String {
    let keys = format!(
        "general_settings:\n  master_key: {MASTER}\nvirtual_keys:\n\
         - {{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}\n\
         - {{api_key: {OTHER}, models: ['*'], mcp_servers: [second]}}\n\
         - {{api_key: {NOBODY}, models: ['*']}}\nmcp_servers:\n"
    );
    let first =
        "alias: one\ndescription: The first.\nserver_id: id-1\nmcp_info: {logo_url: 'http://l'}";
    let second =
        "disallowed_tools: [wait]\ntool_names: {echo: say}\ntool_descriptions: {echo: Speaks.}";
    keys + &scripted("first", &[], first) + &scripted("second", &[], second)
}

struct Answered {
    status: u16,
    body: Value,
}

async fn answered(answer: Response) -> Answered {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let bytes = answer.bytes().await.unwrap();
    Answered { status, body: serde_json::from_slice(&bytes).unwrap() }
}

async fn get(gateway: &Gateway, key: &str, path: &str) -> Answered {
    let request = gateway.client.get(gateway.url(path)).bearer_auth(key);
    answered(request.send().await.unwrap()).await
}

async fn post(gateway: &Gateway, key: &str, path: &str, body: &str) -> Answered {
    let request = gateway.client.post(gateway.url(path)).bearer_auth(key);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    answered(request.send().await.unwrap()).await
}

async fn call(gateway: &Gateway, key: &str, body: Value) -> Answered {
    post(gateway, key, "/mcp-rest/tools/call", &body.to_string()).await
}

fn names(tools: &Value) -> Vec<String> {
    let tools = tools["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tools_are_listed_as_litellm_lists_them() {
    let gateway = Gateway::start(&config());
    let Answered { status, body } = get(&gateway, KEY, "/mcp-rest/tools/list?server_id=id-1").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["error"], Value::Null);
    assert_eq!(body["message"], "Successfully retrieved tools");
    assert_eq!(body["server_outcomes"], json!({}));
    let expected = json!({
        "name": "echo",
        "description": "Says it again.",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        "mcp_info": {
            "server_name": "first", "server_id": "id-1", "alias": "one", "logo_url": "http://l",
        },
    });
    assert_eq!(body["tools"][0], expected);
    // By name, by alias, in any case; all of both; what its entry hides and renames.
    for path in ["?mcp_server_name=First", "?server_id=ONE"] {
        let other = get(&gateway, KEY, &format!("/mcp-rest/tools/list{path}")).await;
        assert_eq!(other.body, body);
    }
    let all = names(&get(&gateway, KEY, "/mcp-rest/tools/list").await.body);
    assert_eq!(all.len(), 17);
    assert_eq!(all.iter().filter(|name| *name == "json").count(), 2);
    let second = get(&gateway, KEY, "/mcp-rest/tools/list?server_id=second").await.body;
    assert_eq!(
        (&second["tools"][0]["name"], &second["tools"][0]["description"]),
        (&json!("say"), &json!("Speaks."))
    );
    assert!(!names(&second).contains(&"wait".to_owned()));
    // The list under the names of `/mcp`.
    let listed = names(&get(&gateway, KEY, "/v1/mcp/tools").await.body);
    assert!(listed.contains(&"one-echo".to_owned()) && listed.contains(&"second-say".to_owned()));
}

#[tokio::test]
async fn tools_are_called_as_litellm_calls_them() {
    let gateway = Gateway::start(&config());
    let echo = json!({ "server_id": "id-1", "name": "echo", "arguments": { "text": "é" } });
    let Answered { status, body } = call(&gateway, KEY, echo).await;
    assert_eq!((status, &body), (200, &json!({ "content": [{ "type": "text", "text": "é" }] })));
    for (asked, text) in [
        (json!({ "server_name": "second", "name": "say", "arguments": { "text": "a" } }), "a"),
        (json!({ "name": "second-say", "arguments": { "text": "b" } }), "b"),
        (json!({ "mcp_server_name": "one", "name": "echo" }), "None"),
    ] {
        let Answered { status, body } = call(&gateway, KEY, asked).await;
        assert_eq!((status, &body["content"][0]["text"]), (200, &json!(text)));
    }
    let shape = call(&gateway, KEY, json!({ "server_id": "one", "name": "shape" })).await.body;
    assert_eq!(shape["structuredContent"], json!({ "n": 1.5 }));
    let failed = call(&gateway, KEY, json!({ "server_id": "one", "name": "fail" })).await;
    assert_eq!((failed.status, &failed.body["isError"]), (200, &json!(true)));

    for (asked, expected, error) in [
        ("{", 400, "missing_parameter"),
        ("[]", 400, "missing_parameter"),
        ("{\"server_id\":\"one\"}", 400, "missing_parameter"),
        ("{\"server_id\":\"none\",\"name\":\"echo\"}", 403, "access_denied"),
        ("{\"server_id\":\"second\",\"name\":\"echo\"}", 400, "invalid_parameters"),
        ("{\"server_id\":\"second\",\"name\":\"wait\"}", 400, "invalid_parameters"),
        ("{\"name\":\"echo\"}", 400, "invalid_parameters"),
        ("{\"server_id\":\"one\",\"name\":\"refuse\"}", 500, "server_error"),
    ] {
        let Answered { status, body } = post(&gateway, KEY, "/mcp-rest/tools/call", asked).await;
        assert_eq!((status, &body["detail"]["error"]), (expected, &json!(error)), "{asked} {body}");
        assert!(body["detail"]["message"].as_str().is_some_and(|text| text.len() > 8));
    }
    let refused = call(&gateway, KEY, json!({ "server_id": "one", "name": "refuse" })).await.body;
    let error = json!({ "code": -32050, "message": "not today", "data": { "why": "rain" } });
    assert_eq!(refused["detail"]["rpc_error"], error);
}

#[tokio::test]
async fn a_key_reaches_its_servers_alone() {
    let gateway = Gateway::start(&config());
    let servers = get(&gateway, OTHER, "/v1/mcp/server").await.body;
    assert_eq!(servers.as_array().unwrap().len(), 1);
    let all = get(&gateway, OTHER, "/mcp-rest/tools/list").await.body;
    assert!(
        all["tools"]
            .as_array()
            .unwrap()
            .iter()
            .all(|tool| tool["mcp_info"]["server_name"] == "second")
    );
    let paths = [
        "/mcp-rest/tools/list?server_id=id-1",
        "/mcp-openapi/one/openapi.json",
        "/mcp-openapi/first",
        "/mcp-openapi/none",
    ];
    for path in paths {
        let Answered { status, body } = get(&gateway, OTHER, path).await;
        assert_eq!((status, &body["detail"]["error"]), (403, &json!("access_denied")), "{path}");
    }
    // The same words for what is not theirs and for what is not there.
    let [theirs, none] =
        ["first", "nonee"].map(|name| json!({ "server_id": name, "name": "echo" }));
    let (theirs, none) = (call(&gateway, OTHER, theirs).await, call(&gateway, OTHER, none).await);
    assert_eq!((theirs.status, none.status), (403, 403));
    let told = |answered: &Answered| answered.body.to_string().replace("nonee", "first");
    assert_eq!(told(&theirs), told(&none));
    assert_eq!(post(&gateway, OTHER, "/mcp-openapi/one/echo", "").await.status, 422);
    assert_eq!(call(&gateway, OTHER, json!({ "name": "one-echo" })).await.status, 400);
    // Who has no list has no servers; the header narrows, and never widens.
    assert_eq!(get(&gateway, NOBODY, "/v1/mcp/server").await.body, json!([]));
    assert_eq!(get(&gateway, MASTER, "/v1/mcp/server").await.body.as_array().unwrap().len(), 2);
    let narrowed = async |key: &str, servers: &str, path: &str| {
        let request = gateway.client.get(gateway.url(path)).bearer_auth(key);
        let answer = request.header("x-mcp-servers", servers).send().await.unwrap();
        answered(answer).await
    };
    let one = narrowed(KEY, "one", "/mcp-rest/tools/list").await.body;
    assert_eq!(names(&one).len(), 9);
    assert_eq!(narrowed(OTHER, "one", "/v1/mcp/tools").await.status, 403);
    assert_eq!(narrowed(KEY, "one", "/mcp-rest/tools/list?server_id=second").await.status, 403);

    for (method, path) in [
        (Method::GET, "/mcp-rest/tools/list"),
        (Method::POST, "/mcp-rest/tools/call"),
        (Method::GET, "/v1/mcp/server"),
        (Method::GET, "/v1/mcp/tools"),
        (Method::GET, "/mcp-openapi/one/openapi.json"),
        (Method::POST, "/mcp-openapi/one/echo"),
    ] {
        let request = gateway.client.request(method, gateway.url(path)).bearer_auth("sk-wrong");
        let Answered { status, body } = answered(request.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")), "{path}");
    }
}

#[tokio::test]
async fn servers_come_from_the_file_alone() {
    let gateway = Gateway::start(&config());
    let servers = get(&gateway, KEY, "/v1/mcp/server").await.body;
    let first = json!({
        "server_id": "id-1", "server_name": "first", "alias": "one", "aliases": ["one"],
        "description": "The first.", "transport": "stdio", "mcp_access_groups": [],
        "mcp_info": {"logo_url": "http://l"}, "status": "idle",
    });
    assert_eq!(servers[0], first);
    assert!(!servers.to_string().contains("scripted.py"), "a command is nobody's business");
    let new = json!({ "server_name": "evil", "transport": "stdio", "command": "sh" }).to_string();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for path in ["/v1/mcp/server", "/v1/mcp/tools", "/mcp-rest/tools/list", "/mcp-openapi/one"]
        {
            let request = gateway.client.request(method.clone(), gateway.url(path));
            let request = request.bearer_auth(MASTER).header("content-type", "application/json");
            let answer = request.body(new.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
        }
    }
    let answer = gateway.get("/mcp-rest/tools/call").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test]
async fn every_server_has_a_document_and_a_path_for_each_tool() {
    let gateway = Gateway::start(&config());
    let document = get(&gateway, KEY, "/mcp-openapi/one/openapi.json").await.body;
    assert_eq!(document, get(&gateway, KEY, "/mcp-openapi/one").await.body);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "one");
    assert_eq!(document["info"]["description"], "The first.");
    assert_eq!(document["servers"][0]["url"], "/mcp-openapi/one");
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["post"];
        assert!(operation["operationId"].as_str().is_some_and(|id| id.starts_with("tool_")));
        assert!(operation["responses"]["200"].is_object(), "{path}");
    }
    let shape = &document["paths"]["/shape"]["post"];
    assert_eq!(shape["summary"], "A shape");
    assert!(shape["requestBody"].is_null());
    let body = &document["paths"]["/echo"]["post"]["requestBody"];
    let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
    let component = document.pointer(reference.trim_start_matches('#')).unwrap();
    assert_eq!(component["properties"]["text"]["type"], "string");

    for (tool, body, status, expected) in [
        ("echo", "{\"text\":\"é\"}", 200, json!("é")),
        ("json", "", 200, json!({ "a": 1 })),
        ("json", " \n", 200, json!({ "a": 1 })),
        ("parts", "{}", 200, json!(["one", 2])),
        ("shape", "", 200, json!({ "n": 1.5 })),
        ("fail", "", 500, json!({ "detail": { "message": "it failed" } })),
        (
            "refuse",
            "",
            500,
            json!({ "detail": { "message": "not today", "data": { "why": "rain" } } }),
        ),
        ("e%63ho", "{\"text\":\"x\"}", 200, json!("x")),
    ] {
        let answer = post(&gateway, KEY, &format!("/mcp-openapi/one/{tool}"), body).await;
        assert_eq!((answer.status, &answer.body), (status, &expected), "{tool}");
    }
    for (tool, body) in [("echo", "[]"), ("echo", "{"), ("echo", "\u{0}")] {
        let answer = post(&gateway, KEY, &format!("/mcp-openapi/one/{tool}"), body).await;
        assert_eq!(answer.status, 422, "{body:?}");
        assert!(answer.body["detail"]["message"].is_string());
    }
    let hidden = post(&gateway, KEY, "/mcp-openapi/second/wait", "").await;
    assert_eq!(hidden.status, 422, "{}", hidden.body);
    let form = gateway.client.post(gateway.url("/mcp-openapi/one/echo")).bearer_auth(KEY);
    let form = form.header("content-type", "text/plain").body("{}");
    assert_eq!(answered(form.send().await.unwrap()).await.status, 415);
    let big = format!("{{\"text\":\"{}\"}}", "x".repeat(40 * 1024 * 1024));
    assert_eq!(post(&gateway, KEY, "/mcp-openapi/one/echo", &big).await.status, 413);
}

#[tokio::test]
async fn a_server_of_another_make_fits_its_document() {
    let Some(fixture) = Fixture::Python.listen("http") else {
        return eprintln!("left out: tests/run installs the servers");
    };
    let config = format!(
        "virtual_keys: [{{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}]\n\
         mcp_servers: {{py: {{url: '{}'}}}}\n",
        fixture.url
    );
    let gateway = Gateway::start(&config);
    let document = get(&gateway, KEY, "/mcp-openapi/py/openapi.json").await.body;
    // Its list has several pages.
    assert!(document["paths"].as_object().unwrap().len() > 20);
    let answer = post(&gateway, KEY, "/mcp-openapi/py/structured", "{\"city\":\"Ulm\"}").await;
    assert_eq!(answer.body, json!({ "city": "Ulm", "degrees": 1.0, "tags": ["é", "✓"] }));
    let answer = post(&gateway, KEY, "/mcp-openapi/py/fail", "").await;
    assert_eq!(answer.status, 500);
    assert!(answer.body["detail"]["message"].as_str().unwrap().contains("always fails"));
    // Numbers keep their spelling, both ways.
    let ask = async |path: &str, body: &'static str| {
        let request = gateway.client.post(gateway.url(path)).bearer_auth(KEY);
        let request = request.header("content-type", "application/json").body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    let big = "123456789012345678901234567890";
    assert!(ask("/mcp-openapi/py/integers", "").await.contains(big));
    let body = "{\"server_id\":\"py\",\"name\":\"integers\"}";
    assert!(ask("/mcp-rest/tools/call", body).await.contains(big));
    let said = ask("/mcp-openapi/py/measure", "{\"text\":123456789012345678901234567890}").await;
    assert!(said.contains(big) || said.contains("valid string"), "{said}");
}

#[tokio::test]
async fn pages_may_call_where_there_are_keys() {
    let gateway = Gateway::start(&config());
    for path in ["/mcp-openapi/one/openapi.json", "/mcp-openapi/one/echo", "/mcp-rest/tools/call"] {
        let preflight = gateway
            .client
            .request(Method::OPTIONS, gateway.url(path))
            .header("origin", "https://webui.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .send()
            .await
            .unwrap();
        assert_eq!(preflight.status(), 204);
        assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    }
    let answer = gateway
        .post("/mcp-openapi/one/echo", &json!({ "text": "x" }))
        .header("origin", "https://webui.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");

    // Without keys a page of anybody's must not call tools of this machine.
    let open = Gateway::start(&format!("mcp_servers:\n{}", scripted("first", &[], "")));
    let ask = async |origin: &'static str| {
        let request =
            open.client.post(open.url("/mcp-openapi/first/echo")).header("origin", origin);
        answered(request.send().await.unwrap()).await
    };
    assert_eq!(ask("https://evil.example").await.status, 403);
    assert_eq!(ask("null").await.status, 403);
    assert_eq!(ask("http://localhost:3000").await.body, json!("None"));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let folder = TempDir::new().unwrap();
    let [more, notes] = ["more.json", "notes"].map(|name| folder.path().join(name));
    std::fs::write(&more, "[]").unwrap();
    std::fs::write(&notes, "").unwrap();
    let config = format!(
        "virtual_keys: [{{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}]\nmcp_servers:\n{}",
        scripted("first", &[&more, &notes], "")
    );
    let gateway = Gateway::start(&config);
    let noted = async |expected: &str| {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&notes).unwrap();
            if said == expected {
                return;
            }
            assert!(std::time::Instant::now() < end, "not {expected:?} but {said:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let mut expected = String::new();
    for path in ["/mcp-openapi/first/wait", "/mcp-rest/tools/call"] {
        let body = json!({ "server_id": "first", "name": "wait" });
        let running = tokio::spawn(gateway.post(path, &body).send());
        expected += "called\n";
        noted(&expected).await;
        running.abort();
        expected += "cancelled\n";
        noted(&expected).await;
        gateway.health_until(|health| health["in_flight"] == 0).await;
    }
}

#[tokio::test]
async fn the_state_of_servers_is_told() {
    let config = config()
        + "  dead:\n    url: http://127.0.0.1:1/mcp?token=canary\n    static_headers: {x-key: canary}\n";
    let gateway = Gateway::start(&config);
    let health = gateway.health().await;
    let idle = |name: &str, transport: &str| json!({ "name": name, "transport": transport, "status": "idle", "tools": null, "last_error": null });
    let expected = json!([idle("dead", "http"), idle("first", "stdio"), idle("second", "stdio")]);
    assert_eq!(health["mcp_servers"], expected);
    let listed = get(&gateway, KEY, "/mcp-rest/tools/list").await.body;
    assert_eq!(names(&listed).len(), 17);
    assert!(listed["server_outcomes"]["dead"]["error"].is_string(), "{listed}");
    let health = gateway
        .health_until(|health| {
            let servers = &health["mcp_servers"];
            servers[0]["last_error"].is_object() && servers[1]["status"] == "healthy"
        })
        .await;
    assert_eq!(health["mcp_servers"][1]["tools"], 9);
    let ready = gateway.client.get(gateway.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);

    let config = get(&gateway, MASTER, "/admin/config").await.body;
    let connection = &config["mcp_servers"][1]["connections"][0];
    assert_eq!(connection["status"], "healthy");
    assert_eq!(connection["shared_by"], "all");
    assert_eq!(connection["protocol_version"], "2025-11-25");
    assert!(connection["pid"].is_u64());
    let dead = &config["mcp_servers"][0]["connections"][0];
    assert!(dead["restarts"].as_u64().unwrap() >= 1 && dead["last_error"]["text"].is_string());
    for told in [health.to_string(), config.to_string(), gateway.log()] {
        assert!(!told.contains("canary") && !told.contains(KEY), "{told}");
    }
}

/// A server over HTTP that answers JSON to each message, and has nothing at other paths.
async fn small_server() -> Upstream {
    Upstream::start(|seen| {
        if seen.path != "/mcp" || seen.body.is_empty() {
            return whole(404, "", b"");
        }
        let message = seen.json();
        let result = match message["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "small", "version": "1" },
            }),
            "tools/list" => {
                json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }] })
            }
            "tools/call" => json!({ "content": [] }),
            _ if message["id"].is_null() => return whole(202, "", b""),
            _ => {
                let error = json!({ "code": -32601, "message": "none" });
                let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                return upstream::json(200, "", &body.to_string());
            }
        };
        let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        upstream::json(200, "", &body.to_string())
    })
    .await
}

#[tokio::test]
async fn a_server_without_its_health_path_is_shown_so_and_keeps_its_tools() {
    let server = small_server().await;
    let config = format!(
        "virtual_keys: [{{api_key: {KEY}, models: ['*'], mcp_servers: ['*']}}]\n\
         mcp_servers: {{small: {{url: 'http://{}/mcp', health_check: /health}}}}\n",
        server.address
    );
    let gateway = Gateway::start(&config);
    assert_eq!(names(&get(&gateway, KEY, "/mcp-rest/tools/list").await.body), ["t"]);
    let shown = json!({ "path": "/health", "status": 404 });
    let health =
        gateway.health_until(|health| health["mcp_servers"][0]["health_check"] == shown).await;
    assert_eq!(health["mcp_servers"][0]["status"], "healthy");
    let called = call(&gateway, KEY, json!({ "server_id": "small", "name": "t" })).await;
    assert_eq!(called.status, 200, "{}", called.body);
}
