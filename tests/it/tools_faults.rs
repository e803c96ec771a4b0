//! What goes wrong with tools inside answers: servers that die, hang, answer too much or offer too much, models that call what
//! is not there, in words that are none, or without end. The answer always ends as one of its format does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::mcp::{rogue, tools_once_there};
use crate::support::mcp_script::{Said, result, serve};
use crate::support::upstream::{Seen, Upstream, json as answer};

/// A model that does as the user says: a JSON list of rounds, each a list of calls, each a name and a text of arguments. When
/// there are no more rounds it says what it was told of all of them.
async fn model() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let body = seen.json();
        let messages = body["messages"].as_array().unwrap();
        let user =
            messages.iter().find(|it| it["role"] == "user").unwrap()["content"].as_str().unwrap();
        let rounds: Vec<Vec<(String, String)>> = serde_json::from_str(user).unwrap();
        let done = messages.iter().filter(|message| message["tool_calls"].is_array()).count();
        let call = |(at, (name, arguments)): (usize, &(String, String))| {
            json!({ "index": at, "id": format!("call_{done}_{at}"), "type": "function",
                "function": { "name": name, "arguments": arguments } })
        };
        let (finish, message) = match rounds.get(done) {
            Some(calls) => {
                let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
                ("tool_calls", json!({ "role": "assistant", "content": null, "tool_calls": calls }))
            }
            None => {
                let told = messages.iter().filter(|message| message["role"] == "tool");
                let told: Vec<&str> = told.map(|it| it["content"].as_str().unwrap()).collect();
                ("stop", json!({ "role": "assistant", "content": json!(told).to_string() }))
            }
        };
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
        let usage = json!({ "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 });
        let whole = json!({ "id": "up", "object": "chat.completion", "created": 1, "model": "up",
            "choices": [choice], "usage": usage });
        answer(200, "", &whole.to_string())
    })
    .await
}

fn config(model: &Upstream, server: &str, more: &str) -> String {
    format!(
        "general_settings: {{master_key: {MASTER}}}\nmcp_servers:\n  db: {{{server}}}\nmodel_list:\n\
         - {{model_name: m, litellm_params: {{model: hosted_vllm/up, api_base: '{}'}}}}\nvirtual_keys:\n\
         - {{api_key: {KEY}, models: ['*'], mcp_servers: ['*']{more}}}\n",
        model.base(),
    )
}

fn at(server: &Upstream) -> String {
    format!("transport: http, url: '{}/mcp'", server.base().trim_end_matches("/v1"))
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let request = gateway.post(path, body).header("x-mcp-servers", "db");
    let answered = request.send().await.unwrap();
    let (status, text) = (answered.status(), answered.text().await.unwrap());
    assert_eq!(status, 200, "{text}\n{}", gateway.log());
    serde_json::from_str(&text).unwrap()
}

fn chat(rounds: &Value) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": rounds.to_string() }] })
}

/// What the model was told of each call.
async fn told(gateway: &Gateway, rounds: Value) -> Vec<String> {
    let answer = post(gateway, "/v1/chat/completions", &chat(&rounds)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop", "{answer}");
    assert!(choice["message"]["tool_calls"].is_null(), "{answer}");
    let said = choice["message"]["content"].as_str().unwrap();
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

const COUNT: &str = r#"{"name":"count","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;

/// A server whose tool counts its calls.
async fn counting(calls: Arc<AtomicUsize>) -> Upstream {
    let script = move |method: &str, _: &Value| match method {
        "tools/list" => result(&format!("{{\"tools\":[{COUNT}]}}")),
        "tools/call" => {
            calls.fetch_add(1, Ordering::SeqCst);
            result(r#"{"content":[{"type":"text","text":"counted"}]}"#)
        }
        _ => Said::Rest(r#""error":{"code":-32601,"message":"no such method"}"#.to_owned()),
    };
    serve(script, Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_made_are_told_to_the_model() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (server, model) = (counting(calls.clone()).await, model().await);
    let gateway = Gateway::start(&config(&model, &at(&server), ""));
    let round = json!([[
        ["db-count", "{\"n\": 1}"],
        ["db-cuont", "{}"],
        ["db-count", "{\"n\": "],
        ["db-count", "[1]"],
        ["db-count", "{\"n\": \"one\"}"],
        ["db-count", ""],
    ]]);
    let told = told(&gateway, round).await;
    assert_eq!(told[0], "counted");
    assert!(told[1].contains("no tool `db-cuont`") && told[1].ends_with("db-count."), "{told:?}");
    assert!(told[2].contains("no JSON object") && told[3].contains("no JSON object"), "{told:?}");
    assert!(told[4].contains("do not fit") && told[4].contains('n'), "{told:?}");
    assert!(told[5].contains("do not fit") && told[5].contains('n'), "{told:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_calls_without_end_is_ended_in_each_format() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (server, model) = (counting(calls.clone()).await, model().await);
    let gateway = Gateway::start(&config(&model, &at(&server), ", max_tool_rounds: 4"));
    let rounds = json!(vec![json!([["db-count", "{\"n\": 1}"]]); 50]);

    let answer = post(&gateway, "/v1/chat/completions", &chat(&rounds)).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    assert!(answer["choices"][0]["message"]["tool_calls"].is_null(), "{answer}");
    let why = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(why.contains("in 4 rounds"), "{why}");
    assert_eq!(answer["usage"]["total_tokens"], 4 * 18);

    let input = json!({ "model": "m", "input": rounds.to_string() });
    let answer = post(&gateway, "/v1/responses", &input).await;
    assert_eq!(answer["status"], "incomplete", "{answer}");
    assert!(answer["incomplete_details"]["reason"].is_string(), "{answer}");
    let output = answer["output"].as_array().unwrap();
    assert!(output.iter().all(|item| item["type"] != "function_call"), "{answer}");

    let mut messages = chat(&rounds);
    messages["max_tokens"] = 100.into();
    let answer = post(&gateway, "/v1/messages", &messages).await;
    assert_eq!(answer["stop_reason"], "max_tokens", "{answer}");
    // The calls of the fourth round are not made.
    assert_eq!(calls.load(Ordering::SeqCst), 3 * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_many_megabytes_is_cut_for_the_model() {
    let script = |method: &str, _: &Value| match method {
        "tools/list" => result(r#"{"tools":[{"name":"dump","inputSchema":{"type":"object"}}]}"#),
        _ => {
            let text = "ä".repeat(5 << 19);
            result(&format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}"))
        }
    };
    let (server, model) = (serve(script, Vec::new()).await, model().await);
    let gateway = Gateway::start(&config(&model, &at(&server), ""));
    let told = told(&gateway, json!([[["db-dump", "{}"]]])).await;
    assert!(told[0].len() < 520 * 1024 && told[0].starts_with("ää"), "{}", told[0].len());
    let end: String =
        told[0].chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(!end.ends_with('ä'), "it does not say what was left out: {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tools_are_offered_and_can_be_called() {
    let script = |method: &str, params: &Value| match method {
        "tools/list" => {
            let tool = |at: usize| {
                json!({ "name": format!("tool_{at}"), "description": "One of many.",
                "inputSchema": { "type": "object" } })
            };
            result(&json!({ "tools": (0..2000).map(tool).collect::<Vec<_>>() }).to_string())
        }
        _ => {
            result(&json!({ "content": [{ "type": "text", "text": params["name"] }] }).to_string())
        }
    };
    let (server, model) = (serve(script, Vec::new()).await, model().await);
    let gateway = Gateway::start(&config(&model, &at(&server), ""));
    let calls: Vec<Value> =
        (0..40).map(|at| json!([format!("db-tool_{}", at * 50), "{}"])).collect();
    let told = told(&gateway, json!([calls])).await;
    let expected: Vec<String> = (0..40).map(|at| format!("tool_{}", at * 50)).collect();
    assert_eq!(told, expected);
    assert_eq!(model.seen()[0].json()["tools"].as_array().unwrap().len(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_or_hangs_in_a_call_does_not_end_the_answer() {
    let Some(line) = rogue("stdio", &[]) else { return };
    let model = model().await;
    let server = format!("{}, timeout: 1", line.entry());
    let gateway = Gateway::start(&config(&model, &server, ""));
    // It starts when it is first asked for.
    tools_once_there(&gateway).await;
    let told =
        told(&gateway, json!([[["db-crash", "{}"]], [["db-hang", "{}"]], [["db-about", "{}"]]]))
            .await;
    let failed = "The MCP server `db` did not answer the call: ";
    assert!(told[0].contains(&format!("{failed}`db` exited with status 3")), "{told:?}");
    assert!(told[1].contains(&format!("{failed}no answer within 1 s")), "{told:?}");
    // It was started again meanwhile.
    assert!(told[2].contains("pid"), "{told:?}");
}
