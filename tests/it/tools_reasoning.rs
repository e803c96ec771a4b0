//! Models of OpenAI's that reason, behind its responses, in rounds: what they thought goes back to them as OpenAI takes it. The
//! scripted provider refuses as OpenAI does: items that it did not store, and items that are parted from their thoughts.
//! <https://cookbook.openai.com/examples/responses_api/reasoning_items>

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::dialect::Dialect;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{result, serve, unknown};
use crate::support::upstream::{Step, Upstream, chunk, events_head, json as whole, last_chunk};

/// What OpenAI would refuse of a request; `stored`: its items, and the thoughts that each needs.
fn refusal(body: &Value, stored: &HashMap<String, String>) -> Option<String> {
    let items = body["input"].as_array().into_iter().flatten();
    let ids: Vec<&str> = items.clone().filter_map(|item| item["id"].as_str()).collect();
    for item in items {
        let id = item["id"].as_str().unwrap_or_default();
        if item["type"] == "reasoning" {
            if item["encrypted_content"].as_str().is_none_or(str::is_empty)
                && !stored.contains_key(id)
            {
                return Some(format!(
                    "Item with id '{id}' not found. Items are not persisted when `store` is set to false."
                ));
            }
        } else if let Some(thoughts) = stored.get(id)
            && !ids.contains(&thoughts.as_str())
        {
            return Some(format!(
                "Item '{id}' was provided without its required 'reasoning' item: '{thoughts}'."
            ));
        }
    }
    None
}

/// A model that thinks, says something and calls a tool in each of two rounds. Sealed thoughts are given to who asks for them.
async fn model() -> Upstream {
    let stored: Mutex<HashMap<String, String>> = Mutex::default();
    Upstream::start(move |seen| {
        let body = seen.json();
        let mut stored = stored.lock().unwrap();
        if let Some(message) = refusal(&body, &stored) {
            let error = json!({ "error": { "message": message, "type": "invalid_request_error", "param": "input", "code": null } });
            return whole(400, "", &error.to_string());
        }
        let heard = Dialect::Responses.heard(seen);
        let round = heard.iter().filter(|it| it.starts_with("result ")).count();
        let number = stored.len();
        let id = |kind: &str| format!("{kind}_{number:032}");
        let asks = body["include"].to_string().contains("reasoning.encrypted_content");
        let mut thought = json!({ "type": "reasoning", "id": id("rs"), "summary": [] });
        if asks {
            thought["encrypted_content"] = format!("sealed-{round}").into();
        }
        let said = json!({ "type": "message", "id": id("msg"), "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": format!("Round {round}."), "annotations": [] }] });
        let call = json!({ "type": "function_call", "id": id("fc"), "call_id": id("call"), "status": "completed",
            "name": "db-look", "arguments": "{}" });
        if body["store"] != false {
            stored.insert(id("rs"), id("rs"));
            stored.insert(id("msg"), id("rs"));
            stored.insert(id("fc"), id("rs"));
        }
        let output = if round < 2 { json!([thought, said, call]) } else { json!([thought, said]) };
        answer(&output, body["stream"] == true)
    })
    .await
}

fn answer(output: &Value, is_stream: bool) -> Vec<Step> {
    let response = json!({ "id": "resp_up", "object": "response", "created_at": 1, "status": "completed", "model": "up",
        "output": output, "usage": { "input_tokens": 11, "output_tokens": 7, "total_tokens": 18 } });
    if !is_stream {
        return whole(200, "", &response.to_string());
    }
    let event = |event: Value| {
        chunk(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).as_bytes())
    };
    let mut steps = vec![events_head()];
    steps.push(event(json!({ "type": "response.created", "response": response })));
    for (at, item) in output.as_array().unwrap().iter().enumerate() {
        let mut opening = item.clone();
        match item["type"].as_str().unwrap() {
            "message" => opening["content"] = json!([]),
            "function_call" => opening["arguments"] = "".into(),
            _ => {}
        }
        steps.push(event(
            json!({ "type": "response.output_item.added", "output_index": at, "item": opening }),
        ));
        if item["type"] == "message" {
            steps.push(event(json!({ "type": "response.output_text.delta", "item_id": item["id"], "output_index": at,
                "content_index": 0, "delta": item["content"][0]["text"] })));
        }
        steps.push(event(
            json!({ "type": "response.output_item.done", "output_index": at, "item": item }),
        ));
    }
    steps.push(event(json!({ "type": "response.completed", "response": response })));
    steps.push(last_chunk());
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_go_back_as_openai_takes_them() {
    let script = |method: &str, _: &Value| match method {
        "tools/list" => result(r#"{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}"#),
        "tools/call" => result(r#"{"content":[{"type":"text","text":"seen"}]}"#),
        _ => unknown(),
    };
    let server = serve(script, Vec::new()).await;
    // One that is known to reason, and one whose name says nothing.
    for (name, is_known) in [("gpt-5.1", true), ("house-deployment", false)] {
        let model = model().await;
        let gateway = Gateway::start(&format!(
            "model_list:\n  - {{model_name: m, litellm_params: {{model: openai/responses/{name}, api_base: 'http://{}/v1', \
             api_key: sk-up}}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], mcp_servers: [db]}}\n\
             mcp_servers:\n  db: {{url: 'http://{}/mcp'}}\n",
            model.address, server.address
        ));
        tools_once_there(&gateway).await;
        for surface in ["/v1/responses", "/v1/chat/completions", "/v1/messages"] {
            for (stream, store) in [
                (false, None),
                (true, None),
                (false, Some(false)),
                (true, Some(false)),
                (true, Some(true)),
            ] {
                let before = model.seen().len();
                let mut body = json!({ "model": "m", "stream": stream });
                if surface == "/v1/responses" {
                    body["input"] = "Go.".into();
                } else {
                    body["messages"] = json!([{ "role": "user", "content": "Go." }]);
                    body["max_tokens"] = 99.into();
                }
                if let Some(store) = store {
                    body["store"] = store.into();
                }
                let request = gateway.post(surface, &body).header("x-mcp-servers", "db");
                let told = request.send().await.unwrap();
                let (status, text) = (told.status(), told.text().await.unwrap());
                let case = format!("{name} {surface} stream {stream} store {store:?}");
                assert_eq!(status, 200, "{case}: {text}");
                assert!(
                    text.contains("Round 2.") && !text.contains("\"error\":{"),
                    "{case}: {text}"
                );
                let seen = model.seen();
                assert_eq!(seen.len() - before, 3, "{case}: {text}");
                let last = seen.last().unwrap().json();
                let sealed: Vec<&Value> = last["input"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|item| item["type"] == "reasoning")
                    .map(|item| &item["encrypted_content"])
                    .collect();
                let expected = [json!("sealed-0"), json!("sealed-1")];
                match is_known {
                    true => {
                        assert_eq!(sealed, expected.iter().collect::<Vec<_>>(), "{case}: {last}")
                    }
                    false => assert!(sealed.is_empty(), "{case}: {last}"),
                }
            }
        }
    }
}
