//! The page of metrics through the public door: what is on it is what happened, and nothing on it is a client's invention.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, PATIENCE, one_model};
use crate::support::mcp_script::{Client, result, serve};
use crate::support::page::Page;
use crate::support::upstream::{
    DONE, FINISH, Step, USAGE, Upstream, chat, chunk, delta, events_head, json as answer,
    last_chunk,
};

fn body(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "stream": stream, "max_tokens": 9, "input": "hi", "prompt": "hi",
        "messages": [{ "role": "user", "content": "hi" }],
    })
}

/// Asks, reads the whole answer, gives the status.
async fn ask(gateway: &Gateway, path: &str, body: &Value) -> u16 {
    let answer = gateway.post(path, body).send().await.unwrap();
    let status = answer.status().as_u16();
    let _read = answer.bytes().await;
    status
}

/// Waits until a page shows what is to come; the last byte of an answer leaves before its request is counted.
async fn until(gateway: &Gateway, holds: impl Fn(&Page) -> bool) -> Page {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let page = Page::of(gateway).await;
        if holds(&page) {
            return page;
        }
        assert!(std::time::Instant::now() < end, "never came true:\n{}", page.text);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn counted(page: &Page) -> f64 {
    page.sum("tidegate_requests_total", &[])
}

#[tokio::test]
async fn what_is_counted_is_what_was_asked() {
    let upstream = Upstream::start(|seen| {
        if seen.body.is_empty() {
            return answer(404, "", "{}");
        }
        if seen.path.contains("broken") {
            return answer(500, "", r#"{"error":{"message":"no","code":"made_up_by_a_provider"}}"#);
        }
        if seen.path.ends_with("/embeddings") {
            return answer(
                200,
                "",
                r#"{"object":"list","data":[],"model":"up","usage":{"prompt_tokens":3,"total_tokens":3}}"#,
            );
        }
        if seen.json()["stream"] == json!(true) {
            let all = [delta("a").as_slice(), FINISH, USAGE, DONE].concat();
            return vec![events_head(), chunk(&all), last_chunk()];
        }
        chat("hello")
    })
    .await;
    let (base, broken) = (upstream.base(), format!("http://{}/broken/v1", upstream.address));
    let config = format!(
        "general_settings: {{master_key: {MASTER}}}\n\
         router_settings: {{num_retries: 1, cooldown_time: 300, fallbacks: [{{down: [good]}}]}}\n\
         model_list:\n\
         - {{model_name: good, litellm_params: {{model: openai/up, api_base: '{base}', api_key: k, \
            input_cost_per_token: 0.001, output_cost_per_token: 0.002}}, model_info: {{id: good-1}}}}\n\
         - {{model_name: flaky, litellm_params: {{model: openai/up, api_base: '{broken}', api_key: k, \
            order: 1}}, model_info: {{id: flaky-1}}}}\n\
         - {{model_name: flaky, litellm_params: {{model: openai/up, api_base: '{base}', api_key: k, \
            order: 2}}, model_info: {{id: flaky-2}}}}\n\
         - {{model_name: down, litellm_params: {{model: openai/up, api_base: '{broken}', api_key: k}}, \
            model_info: {{id: down-1}}}}\n\
         - {{model_name: dead, litellm_params: {{model: openai/up, api_base: '{broken}', api_key: k}}, \
            model_info: {{id: dead-1}}}}\n\
         - {{model_name: 'wild/*', litellm_params: {{model: 'openai/*', api_base: '{base}', api_key: k}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n\
         - {{api_key: sk-blocked-0123456789abcdef, models: ['*'], blocked: true}}\n"
    );
    let gateway = Gateway::start(&config);
    let paths = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"];
    for path in paths {
        for stream in [false, true] {
            assert_eq!(ask(&gateway, path, &body("good", stream)).await, 200, "{path}");
        }
    }
    assert_eq!(ask(&gateway, "/v1/embeddings", &body("good", false)).await, 200);
    let chats = "/v1/chat/completions";
    assert_eq!(ask(&gateway, chats, &body("flaky", false)).await, 200);
    assert_eq!(ask(&gateway, chats, &body("down", false)).await, 200);
    assert_eq!(ask(&gateway, chats, &body("dead", false)).await, 500);
    assert_eq!(ask(&gateway, chats, &body("wild/one", false)).await, 200);
    assert_eq!(ask(&gateway, chats, &body("unheard-of", false)).await, 404);
    for (key, status) in [("sk-blocked-0123456789abcdef", 401), ("sk-unknown", 401)] {
        let asked = gateway.client.get(gateway.url("/v1/models")).bearer_auth(key);
        assert_eq!(asked.send().await.unwrap().status(), status);
    }
    let asked = gateway.client.post(gateway.url("/mcp")).body("{}");
    assert_eq!(asked.send().await.unwrap().status(), 401);
    let asked = gateway.client.post(gateway.url(chats)).body("{}");
    assert_eq!(asked.send().await.unwrap().status(), 401);

    let page = until(&gateway, |page| counted(page) >= 15.0).await;
    let requests = |labels: &[(&str, &str)]| page.sum("tidegate_requests_total", labels);
    assert_eq!(counted(&page), 15.0);
    for path in paths {
        let labels = [("surface", path), ("model_group", "good"), ("code", "200")];
        let more = f64::from(u8::from(path == chats));
        assert_eq!(requests(&labels), 2.0 + more, "{path}");
    }
    assert_eq!(requests(&[("model_group", "wild/*")]), 1.0, "the pattern, not the name");
    let dead = [("model_group", "dead"), ("code", "500"), ("error_type", "other")];
    assert_eq!(requests(&dead), 1.0, "a provider's own word is no label");
    let unknown = [("model_group", "other"), ("code", "404"), ("error_type", "model_not_found")];
    assert_eq!(requests(&unknown), 1.0);
    assert_eq!(page.sum("tidegate_request_duration_seconds_count", &[]), 15.0);
    assert_eq!(page.sum("tidegate_overhead_seconds_count", &[("surface", chats)]), 8.0);
    let first = page.sum("tidegate_time_to_first_token_seconds_count", &[("model_group", "good")]);
    assert!(first >= 3.0, "{first}");
    // Per answer 11 and 7, of eight requests and one that fell back to it; embeddings 3 and none.
    let tokens =
        |kind| page.sum("tidegate_tokens_total", &[("model_group", "good"), ("kind", kind)]);
    assert_eq!((tokens("input"), tokens("output")), (9.0 * 11.0 + 3.0, 9.0 * 7.0));
    let cost = page.sum("tidegate_cost_usd_total", &[("model_group", "good")]);
    assert!((cost - (9.0 * 0.025 + 0.003)).abs() < 1e-9, "{cost}");
    assert_eq!(page.count("tidegate_cost_usd_total", &[("model_group", "flaky")]), 0);
    let attempts = |id, outcome| {
        let labels = [("deployment", id), ("outcome", outcome)];
        page.sum("tidegate_upstream_attempts_total", &labels)
    };
    assert_eq!((attempts("flaky-1", "status"), attempts("flaky-2", "ok")), (1.0, 1.0));
    assert_eq!((attempts("down-1", "status"), attempts("dead-1", "status")), (1.0, 1.0));
    assert_eq!(attempts("good-1", "ok"), 10.0);
    let retries =
        |id| page.sum("tidegate_retries_total", &[("deployment", id), ("reason", "status")]);
    assert_eq!((retries("flaky-1"), retries("down-1"), retries("dead-1")), (1.0, 1.0, 0.0));
    assert_eq!(page.sum("tidegate_fallbacks_total", &[("from", "down"), ("to", "good")]), 1.0);
    let state = |id| page.sum("tidegate_deployment_state", &[("deployment", id)]);
    assert_eq!((state("good-1"), state("dead-1"), state("flaky-1")), (0.0, 1.0, 2.0));
    let infos = |labels: &[(&str, &str)]| page.count("tidegate_deployment_info", labels);
    assert_eq!(infos(&[]), 6);
    let flaky = [("deployment", "flaky-2"), ("model_group", "flaky"), ("provider", "openai")];
    assert_eq!(infos(&flaky), 1);
    assert_eq!(infos(&[("model_group", "wild/*"), ("model", "*")]), 1);
    let failures = |reason| page.sum("tidegate_auth_failures_total", &[("reason", reason)]);
    let all = ["missing", "unknown", "blocked", "expired"].map(failures);
    assert_eq!(all, [2.0, 1.0, 1.0, 0.0]);
    assert_eq!(page.sum("tidegate_inflight", &[]), 0.0);
    let written = until(&gateway, |page| page.sum("tidegate_log_rows_total", &[]) == 15.0).await;
    assert_eq!(written.sum("tidegate_log_spool_rows", &[]), 15.0);
    assert!(written.sum("tidegate_log_flush_seconds_count", &[]) >= 1.0);
    assert!(written.sum("tidegate_log_spool_bytes", &[]) > 4096.0);
    assert_eq!(page.sum("tidegate_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(!cfg!(target_os = "linux") || page.sum(name, &[]) > 1.0, "{name}");
    }
    for said in ["unheard-of", "made_up_by_a_provider", "wild/one", KEY, "sk-", "127.0.0.1"] {
        assert!(!page.text.contains(said), "{said} is on the page");
    }
}

#[tokio::test]
async fn what_is_in_progress_and_what_is_refused_is_seen() {
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let upstream = Upstream::start({
        let held = held.clone();
        move |_| {
            let end = [FINISH, DONE].concat();
            let wait = Step::Await(held.clone());
            vec![events_head(), chunk(&delta("a")), wait, chunk(&end), last_chunk()]
        }
    })
    .await;
    let settings = format!("  master_key: {MASTER}\n  global_max_parallel_requests: 1\n");
    let config =
        one_model(&upstream.base()).replace(&format!("  master_key: {MASTER}\n"), &settings);
    let gateway = Gateway::start(&config);
    let chats = "/v1/chat/completions";
    let streamed = gateway.post(chats, &body("m", true)).send().await.unwrap();
    assert_eq!(streamed.status(), 200);
    assert_eq!(ask(&gateway, chats, &body("m", false)).await, 503);
    let page = until(&gateway, |page| counted(page) == 1.0).await;
    assert_eq!(page.sum("tidegate_inflight", &[("surface", chats)]), 1.0);
    assert_eq!(page.sum("tidegate_streams", &[]), 1.0);
    assert_eq!(page.sum("tidegate_shed_total", &[("reason", "in_flight")]), 1.0);
    held.add_permits(1);
    assert!(streamed.text().await.unwrap().contains("[DONE]"));
    let page = until(&gateway, |page| counted(page) == 2.0).await;
    assert_eq!(page.sum("tidegate_inflight", &[]), 0.0);
    assert_eq!(page.sum("tidegate_streams", &[]), 0.0);
}

#[tokio::test]
async fn strangers_make_no_series() {
    let config = format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n\
         - {{model_name: m, litellm_params: {{model: mock-response}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    );
    let gateway = Gateway::start(&config);
    let chats = "/v1/chat/completions";
    let send = async |from: usize, to: usize| {
        for number in from..to {
            let body = body(&format!("invented-{number}"), false);
            assert_eq!(ask(&gateway, chats, &body).await, 404);
            let key = format!("sk-invented-{number}");
            let asked = gateway.client.get(gateway.url("/v1/models")).bearer_auth(key);
            assert_eq!(asked.send().await.unwrap().status(), 401);
            let path = format!("/invented-{number}/mcp-rest?invented={number}");
            let asked = gateway.client.get(gateway.url(&path)).bearer_auth(KEY);
            assert_eq!(asked.send().await.unwrap().status(), 404);
        }
    };
    send(0, 1).await;
    let before = until(&gateway, |page| counted(page) == 1.0).await;
    let parts = (0..8).map(|part| send(1 + part * 1250, 1 + (part + 1) * 1250));
    futures_util::future::join_all(parts).await;
    let after = until(&gateway, |page| counted(page) == 10_001.0).await;
    assert_eq!(before.len(), after.len(), "{}", after.text);
    assert!(!after.text.contains("invented"));
    assert_eq!(after.sum("tidegate_auth_failures_total", &[("reason", "unknown")]), 10_001.0);
    // The only model of the configuration, and whatever was asked for.
    assert_eq!(after.values("model_group").into_iter().collect::<Vec<_>>(), ["m", "other"]);
}

#[tokio::test]
async fn an_edit_takes_series_away_and_is_counted() {
    let model = |name: &str| {
        format!(
            "- {{model_name: {name}, litellm_params: {{model: mock-response}}, \
             model_info: {{id: id-{name}}}}}\n"
        )
    };
    let config = |models: &[&str]| {
        let models: String = models.iter().map(|name| model(name)).collect();
        format!(
            "general_settings: {{master_key: {MASTER}}}\n\
             litellm_settings: {{callbacks: [prometheus]}}\n\
             model_list:\n{models}virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
        )
    };
    let gateway = Gateway::start(&config(&["stays", "goes"]));
    for name in ["stays", "goes"] {
        assert_eq!(ask(&gateway, "/v1/chat/completions", &body(name, false)).await, 200);
    }
    let page = until(&gateway, |page| counted(page) == 2.0).await;
    assert_eq!(page.sum("tidegate_config_generation", &[]), 1.0);
    assert_eq!(page.sum("tidegate_config_reloads_total", &[]), 0.0);
    assert_eq!(page.sum("tidegate_config_last_reload_successful", &[]), 1.0);
    let loaded =
        |page: &Page| page.sum("tidegate_config_last_reload_success_timestamp_seconds", &[]);
    assert!(loaded(&page) > 1.7e9);
    let first = page.values("sha256").into_iter().next().unwrap().to_owned();
    // LiteLLM's names beside ours.
    for name in ["stays", "goes"] {
        let labels = [("requested_model", name), ("status_code", "200")];
        assert_eq!(page.sum("litellm_proxy_total_requests_metric_total", &labels), 1.0);
        let labels = [("model", name)];
        assert_eq!(page.sum("litellm_request_total_latency_metric_count", &labels), 1.0);
        assert!(page.sum("litellm_total_tokens_metric_total", &labels) > 0.0);
    }
    assert_eq!(page.count("litellm_deployment_state", &[]), 2);

    let file = gateway.path("config.yaml");
    std::fs::write(&file, "model_list: [").unwrap();
    let failed = [("result", "failure")];
    let bad = until(&gateway, |page| page.sum("tidegate_config_reloads_total", &failed) >= 1.0);
    let bad = bad.await;
    assert_eq!(bad.sum("tidegate_config_last_reload_successful", &[]), 0.0);
    assert_eq!(bad.sum("tidegate_config_generation", &[]), 1.0);
    assert_eq!(loaded(&bad), loaded(&page));
    std::fs::write(&file, config(&["stays"])).unwrap();
    let taken_up = [("result", "success")];
    until(&gateway, |page| page.sum("tidegate_config_reloads_total", &taken_up) == 1.0).await;
    // That page may have been begun before the edit was in force.
    let good = Page::of(&gateway).await;
    assert_eq!(good.sum("tidegate_config_generation", &[]), 2.0);
    assert_eq!(good.sum("tidegate_config_last_reload_successful", &[]), 1.0);
    assert!(loaded(&good) > loaded(&page));
    assert!(!good.values("sha256").contains(first.as_str()));
    assert!(!good.text.contains("goes"), "{}", good.text);
    assert_eq!(good.sum("tidegate_requests_total", &[("model_group", "stays")]), 1.0);
}

#[tokio::test]
async fn calls_of_mcp_tools_are_counted_whoever_makes_them() {
    let server = serve(
        |method, params| match method {
            "tools/list" => result(
                r#"{"tools":[{"name":"good","inputSchema":{}},{"name":"bad","inputSchema":{}}]}"#,
            ),
            _ => result(&format!(r#"{{"content":[],"isError":{}}}"#, params["name"] == "bad")),
        },
        vec![],
    )
    .await;
    let config = format!(
        "general_settings: {{master_key: {MASTER}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n\
         mcp_servers:\n  up: {{url: 'http://{}/mcp', transport: http, allow_all_keys: true}}\n  \
         child: {{command: /bin/false, allow_all_keys: true, \
         restart: {{min_delay_seconds: 0.01, max_delay_seconds: 0.02}}}}\n",
        server.address
    );
    let gateway = Gateway::start(&config);
    let page = Page::of(&gateway).await;
    assert_eq!(page.sum("tidegate_mcp_stdio_restarts_total", &[("server", "child")]), 0.0);
    assert_eq!(page.count("tidegate_mcp_stdio_restarts_total", &[("server", "up")]), 0);
    let call = async |server: &str, tool: &str| {
        let body = json!({ "server_id": server, "name": tool, "arguments": {} });
        ask(&gateway, "/mcp-rest/tools/call", &body).await
    };
    assert_eq!(call("up", "good").await, 200);
    assert_eq!(call("up", "good").await, 200);
    assert_eq!(call("up", "bad").await, 200);
    // What is not listed goes to the server all the same, but no client makes a label.
    assert_eq!(call("up", "invented").await, 200);
    let _no_such_tool = call("child", "x").await;
    // A client of the endpoint names a tool with its server's prefix, and counts all the same.
    let client = Client::open(&gateway, KEY, "/mcp", None).await.ok().unwrap();
    client.call("tools/call", r#"{"name":"up-good","arguments":{}}"#).await;
    let restarts =
        |page: &Page| page.sum("tidegate_mcp_stdio_restarts_total", &[("server", "child")]);
    let page = until(&gateway, |page| restarts(page) >= 1.0).await;
    let calls = |tool, status| {
        let labels = [("server", "up"), ("tool", tool), ("status", status)];
        page.sum("tidegate_mcp_calls_total", &labels)
    };
    assert_eq!((calls("good", "ok"), calls("bad", "error")), (3.0, 1.0));
    assert_eq!(calls("other", "ok"), 1.0);
    assert_eq!(page.sum("tidegate_mcp_calls_total", &[("server", "up")]), 5.0);
    let took = page.sum("tidegate_mcp_call_duration_seconds_count", &[("server", "up")]);
    assert_eq!(took, 5.0);
    let up = |server| page.sum("tidegate_mcp_server_up", &[("server", server)]);
    assert_eq!((up("up"), up("child")), (1.0, 0.0));
    assert_eq!(page.sum("tidegate_inflight", &[("surface", "/mcp-rest")]), 0.0);
    assert!(!page.text.contains("invented"));
}

#[tokio::test]
async fn the_page_is_for_the_operator() {
    let config = |more: &str| {
        format!(
            "general_settings: {{master_key: {MASTER}{more}}}\nmodel_list:\n\
             - {{model_name: m, litellm_params: {{model: mock-response}}}}\n\
             virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
        )
    };
    let status = async |gateway: &Gateway, key: Option<&str>| {
        let asked = gateway.client.get(gateway.url("/metrics"));
        let asked = if let Some(key) = key { asked.bearer_auth(key) } else { asked };
        asked.send().await.unwrap().status().as_u16()
    };
    let gateway = Gateway::start(&config(""));
    assert_eq!(status(&gateway, None).await, 401);
    assert_eq!(status(&gateway, Some(KEY)).await, 403);
    assert_eq!(status(&gateway, Some(MASTER)).await, 200);
    let asked = gateway.client.head(gateway.url("/metrics/")).bearer_auth(MASTER);
    let head = asked.send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.text().await.unwrap().is_empty());
    let asked = gateway.client.get(gateway.url("/metrics")).bearer_auth(MASTER);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = asked.header("accept", accept).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert!(text.contains("# TYPE tidegate_build info\n"), "{text}");

    let open = config("") + "litellm_settings: {require_auth_for_metrics_endpoint: false}\n";
    assert_eq!(status(&Gateway::start(&open), None).await, 200);

    // Beside a listener of the operator's own the clients' has none.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = format!(", admin_listen: '127.0.0.1:{port}'");
    let gateway = Gateway::start(&config(&own));
    assert_eq!(status(&gateway, Some(MASTER)).await, 404);
    let admin = async || {
        let answer = gateway.client.get(format!("http://127.0.0.1:{port}/metrics"));
        answer.send().await.unwrap().status().as_u16()
    };
    assert_eq!(admin().await, 200);
    let closed = config(&own) + "litellm_settings: {require_auth_for_metrics_endpoint: true}\n";
    std::fs::write(gateway.path("config.yaml"), closed).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    assert_eq!(admin().await, 401);
}
