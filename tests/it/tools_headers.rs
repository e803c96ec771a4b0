//! What a client sends for an MCP server along with a request for an answer: as headers for one server, or in the block that
//! asks for its tools. It reaches that server alone, and only what its entry lists; keys of the gateway reach none, and
//! neither answers nor providers repeat any of it.

use serde_json::{Value, json};

use crate::support::dialect::{Dialect, Say};
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{result, serve, unknown};
use crate::support::upstream::{Seen, Upstream};

const SURFACES: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];

async fn server() -> Upstream {
    let script = |method: &str, _: &Value| match method {
        "tools/list" => result(r#"{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}"#),
        "tools/call" => result(r#"{"content":[{"type":"text","text":"seen"}]}"#),
        _ => unknown(),
    };
    serve(script, Vec::new()).await
}

/// A model that calls the tool of both servers.
async fn model() -> Upstream {
    Upstream::start(|seen| {
        let heard = Dialect::Chat.heard(seen);
        let says: &[Say] = match heard.iter().any(|it| it.starts_with("result ")) {
            false => &[Say::Call("one-look", "{}"), Say::Call("two-look", "{}")],
            true => &[Say::Text("done")],
        };
        Dialect::Chat.answer(seen, says)
    })
    .await
}

struct World {
    one: Upstream,
    two: Upstream,
    model: Upstream,
    gateway: Gateway,
}

async fn world() -> World {
    let (one, two, model) = (server().await, server().await, model().await);
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [one, two]}}\nmcp_servers:\n  \
         eins: {{url: 'http://{}/mcp', alias: one, extra_headers: [x-who, authorization, x-api-key]}}\n  \
         two: {{url: 'http://{}/mcp', extra_headers: [x-other, authorization]}}\n",
        Dialect::Chat.params(model.address),
        one.address,
        two.address
    ));
    tools_once_there(&gateway).await;
    World { one, two, model, gateway }
}

/// A header of every call that a server got.
fn of_calls(server: &Upstream, name: &str) -> Vec<Option<String>> {
    let is_call = |seen: &&Seen| memchr::memmem::find(&seen.body, b"tools/call").is_some();
    let seen = server.seen();
    let calls = seen.iter().filter(is_call);
    calls.map(|seen| seen.header(name).map(str::to_owned)).collect()
}

fn body(surface: &str) -> Value {
    match surface {
        "/v1/responses" => json!({ "model": "m", "input": "Go.", "store": false }),
        _ => {
            json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "Go." }] })
        }
    }
}

async fn ok(request: reqwest::RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_for_one_server_reach_it_alone_where_it_lists_them() {
    let world = world().await;
    let mut expected = Vec::new();
    for (round, surface) in SURFACES.iter().enumerate() {
        let value = format!("canary-{round}");
        let request =
            world.gateway.post(surface, &body(surface)).header("x-mcp-servers", "one,two");
        let request = request
            .header("x-mcp-eins-x-who", &value)
            .header("x-mcp-one-x-other", "canary-unlisted")
            .header("x-mcp-two-x-who", "canary-unlisted");
        ok(request).await;
        expected.push(Some(value));
        assert_eq!(of_calls(&world.one, "x-who"), expected, "{surface}");
        assert_eq!(of_calls(&world.two, "x-who"), vec![None; round + 1], "{surface}");
        let all = [world.one.seen(), world.two.seen()].concat();
        assert!(all.iter().all(|seen| seen.header("x-other").is_none()), "{surface}");
        assert!(!format!("{all:?}").contains("unlisted"), "{surface}");
    }
    let told = format!("{:?}", world.model.seen());
    assert!(!told.contains("canary-"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_gateway_reach_no_server() {
    let world = world().await;
    for surface in SURFACES {
        let request =
            world.gateway.post(surface, &body(surface)).header("x-mcp-servers", "one,two");
        ok(request.header("x-api-key", KEY).header("x-mcp-two-authorization", KEY)).await;
    }
    let all = [world.one.seen(), world.two.seen()].concat();
    assert!(all.len() > 6 && !format!("{all:?}").contains(KEY), "{all:?}");
    // With its own header for the key, `authorization` is free for the server.
    let url = world.gateway.url("/v1/chat/completions");
    let request = world.gateway.client.post(url).header("x-litellm-api-key", KEY);
    let request = request.header("authorization", "Bearer mine").header("x-mcp-servers", "one");
    let request = request.header("content-type", "application/json");
    ok(request.body(body("/v1/chat/completions").to_string())).await;
    let last = of_calls(&world.one, "authorization").pop().unwrap();
    assert_eq!(last.as_deref(), Some("Bearer mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_block_reach_its_servers_alone_and_are_not_repeated() {
    let world = world().await;
    for (round, surface) in SURFACES.into_iter().enumerate() {
        let mut body = body(surface);
        if surface == "/v1/messages" {
            let server = |name: &str| json!({ "type": "url", "name": name, "url": world.gateway.url(&format!("/{name}/mcp")) });
            let mut first = server("one");
            first["authorization_token"] = "canary-token".into();
            body["mcp_servers"] = json!([first, server("two")]);
        } else {
            let block = |name: &str| {
                json!({ "type": "mcp", "server_label": name, "require_approval": "never",
                    "server_url": format!("litellm_proxy/mcp/{name}") })
            };
            let mut first = block("one");
            first["authorization"] = "canary-token".into();
            first["headers"] = json!({ "X-Who": "canary-who", "x-other": "canary-unlisted" });
            body["tools"] = json!([first, block("two")]);
        }
        let said = ok(world.gateway.post(surface, &body)).await;
        assert!(!said.contains("canary-"), "{surface}: {said}");
        let token = Some("Bearer canary-token".to_owned());
        assert_eq!(of_calls(&world.one, "authorization"), vec![token; round + 1], "{surface}");
        assert_eq!(of_calls(&world.two, "authorization"), vec![None; round + 1], "{surface}");
    }
    let all = [world.one.seen(), world.two.seen(), world.model.seen()].concat();
    let who = all.iter().filter(|seen| seen.header("x-who") == Some("canary-who")).count();
    assert!(who > 0 && !format!("{all:?}").contains("unlisted"));
    assert!(!format!("{:?}", world.model.seen()).contains("canary-"));
    assert!(!world.gateway.log().contains("canary-"), "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_none_are_refused() {
    let world = world().await;
    for headers in [json!({ "a b": "c" }), json!({ "x-who": "a\nb" })] {
        let block = json!({ "type": "mcp", "server_label": "one", "server_url": "litellm_proxy/mcp/one",
            "headers": headers });
        let body = json!({ "model": "m", "input": "Go.", "tools": [block] });
        let answer = world.gateway.post("/v1/responses", &body).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("`headers` of a tool"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_others_go_to_a_provider_that_runs_them_or_are_refused() {
    let world = world().await;
    let own = json!({ "type": "url", "name": "one", "url": world.gateway.url("/one/mcp") });
    let other = json!({ "type": "url", "name": "far", "url": "https://mcp.example.com/mcp" });
    let mut body = body("/v1/messages");
    body["mcp_servers"] = json!([own, other]);
    let refused = world.gateway.post("/v1/messages", &body).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let said = refused.text().await.unwrap();
    assert!(
        said.contains("https://mcp.example.com/mcp") && said.contains("none of this gateway's"),
        "{said}"
    );

    let anthropic =
        Upstream::start(|seen| Dialect::Anthropic.answer(seen, &[Say::Text("ok")])).await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [one]}}\nmcp_servers:\n  one: {{url: 'http://{}/mcp'}}\n",
        Dialect::Anthropic.params(anthropic.address),
        world.one.address,
    ));
    body["mcp_servers"][0]["url"] = gateway.url("/one/mcp").into();
    let toolset = |name: &str| json!({ "type": "mcp_toolset", "mcp_server_name": name });
    body["tools"] = json!([toolset("one"), toolset("far")]);
    ok(gateway.post("/v1/messages", &body)).await;
    let heard = anthropic.seen()[0].json();
    assert_eq!(heard["mcp_servers"], json!([body["mcp_servers"][1]]), "{heard}");
    assert_eq!(heard["tools"][0], toolset("far"), "{heard}");
    assert_eq!(heard["tools"][1]["name"], "one-look", "{heard}");
    assert_eq!(heard["tools"].as_array().unwrap().len(), 2, "{heard}");
}

/// What a program asks on its own account, as Open WebUI does for titles: it says so, and gets no tools and runs none, by the header
/// or by the key.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_in_the_background_have_no_tools() {
    let world = world().await;
    let path = world.gateway.directory.path().join("config.yaml");
    let config = std::fs::read_to_string(path).unwrap();
    let rights = "mcp_servers: [one, two]";
    let always = config.replace(rights, "mcp_servers: [one, two], default_tools: true");
    assert_ne!(config, always);
    for (gateway, listed) in [(&world.gateway, "one,two"), (&Gateway::start(&always), "")] {
        tools_once_there(gateway).await;
        for surface in SURFACES {
            for (task, offered) in [("title_generation", false), ("", true), (" ", true)] {
                let request = gateway.post(surface, &body(surface)).header("x-tidegate-task", task);
                ok(request.header("x-mcp-servers", listed)).await;
                let seen = world.model.seen();
                let last = seen.last().unwrap();
                let has_tools = memchr::memmem::find(&last.body, b"\"tools\"").is_some();
                assert_eq!(has_tools, offered, "{surface} {task:?}");
            }
        }
    }
    let (ones, twos) = (of_calls(&world.one, "x-who"), of_calls(&world.two, "x-who"));
    assert_eq!((ones.len(), twos.len()), (12, 12));
}

/// Labels of the client's own users and chats: what is said for the gateway comes before what a program says to everybody.
#[tokio::test(flavor = "multi_thread")]
async fn rows_know_the_user_and_the_chat() {
    let gateway = Gateway::start(&format!(
        "model_list: [{{model_name: m, litellm_params: {{model: mock-response}}}}]\n\
         virtual_keys: [{{api_key: {KEY}, models: [m]}}]\n"
    ));
    let request =
        gateway.post("/v1/chat/completions", &body("")).header("x-openwebui-user-id", "ann");
    ok(request.header("x-openwebui-chat-id", "c1")).await;
    let request =
        gateway.post("/v1/chat/completions", &body("")).header("x-openwebui-user-id", "ann");
    ok(request.header("x-litellm-end-user-id", "ann@example.com").header("session-id", "s1")).await;
    let rows = gateway.rows("end_user || ' ' || session_id", 2).await;
    let told: Vec<_> = rows.into_iter().flatten().map(|value| format!("{value:?}")).collect();
    assert_eq!(told, [r#"Text("ann c1")"#, r#"Text("ann@example.com s1")"#]);
}
