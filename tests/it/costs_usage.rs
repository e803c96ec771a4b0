//! What is made of the usage that providers report: kinds of tokens, units, what is missing and what cannot be. Each case is an
//! answer of a scripted provider, streamed and not, and what its row says then.

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::upstream::{
    DONE, FINISH, Seen, Upstream, chunk, delta, events_head, json as answer, last_chunk,
};

/// Round prices, so that each kind of token is seen in the sum: input 1, output 2, read from a cache 0.1, written to it 3 and for an
/// hour 5, reasoning 10, a search 1000.
const PRICES: &str = ", input_cost_per_token: 1, output_cost_per_token: 2, cache_read_input_token_cost: 0.1, \
     cache_creation_input_token_cost: 3, cache_creation_input_token_cost_above_1hr: 5, \
     output_cost_per_reasoning_token: 10, search_context_cost_per_query: {search_context_size_medium: 1000}";

/// Answers of chat completions: the name of a case, its usage, its cost.
fn chats() -> Vec<(&'static str, Value, Option<f64>)> {
    vec![
        ("plain", json!({ "prompt_tokens": 10, "completion_tokens": 5 }), Some(20.0)),
        (
            "cached",
            json!({ "prompt_tokens": 10, "completion_tokens": 5,
                "prompt_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 3 } }),
            Some(3.0 + 0.4 + 9.0 + 10.0),
        ),
        // LiteLLM, where it stands before the provider, says the same under two names.
        (
            "litellm",
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4,
                "prompt_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 3, "cache_creation_tokens": 3,
                    "cache_creation_token_details": { "ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2 } } }),
            Some(3.0 + 0.4 + 3.0 + 10.0 + 10.0),
        ),
        (
            "both-names",
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "input_tokens": 10, "output_tokens": 5 }),
            Some(20.0),
        ),
        ("fractions", json!({ "prompt_tokens": 10.0, "completion_tokens": 5.0 }), Some(20.0)),
        (
            "reasoning",
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {
                "reasoning_tokens": 3, "accepted_prediction_tokens": 1, "rejected_prediction_tokens": 1 } }),
            Some(10.0 + 4.0 + 30.0),
        ),
        ("nothing", json!({ "prompt_tokens": 0, "completion_tokens": 0 }), Some(0.0)),
        // What cannot be is not known, and half of it is not the whole.
        ("negative", json!({ "prompt_tokens": -10, "completion_tokens": 5 }), None),
        ("absurd", json!({ "prompt_tokens": u64::MAX, "completion_tokens": 5 }), None),
        ("output-only", json!({ "completion_tokens": 5 }), None),
        ("absent", Value::Null, None),
    ]
}

async fn provider() -> Upstream {
    Upstream::start(|seen: &Seen| {
        if seen.path.contains("transcriptions") {
            return answer(200, "", r#"{"text":"a","duration":"10.5"}"#);
        }
        let body = seen.json();
        let name = body["model"].as_str().unwrap_or_default();
        let told = match seen.path.split('?').next().unwrap_or_default().rsplit('/').next() {
            Some("completions") => {
                let usage = chats().into_iter().find(|it| it.0 == name).map(|it| it.1);
                let usage = usage.unwrap_or(json!({ "prompt_tokens": 1, "completion_tokens": 1,
                    "cost": 0.25, "is_byok": name == "own-key", "cost_details": { "upstream_inference_cost": 0.5 } }));
                if body["stream"] == true {
                    let last = json!({ "choices": [], "usage": usage });
                    let last = format!("data: {last}\n\n");
                    let all = [&delta("a")[..], FINISH, last.as_bytes(), DONE].concat();
                    return vec![events_head(), chunk(&all), last_chunk()];
                }
                json!({ "id": "c", "object": "chat.completion", "created": 1, "model": name, "usage": usage,
                    "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "a" } }] })
            }
            Some("messages") => json!({ "id": "m", "type": "message", "role": "assistant", "model": name,
                "content": [{ "type": "text", "text": "a" }], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": { "input_tokens": 1000, "output_tokens": 100, "service_tier": "batch",
                    "cache_creation": { "ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200 } } }),
            _ => {
                let call = |kind: &str| {
                    json!({ "type": "web_search_call", "id": kind, "status": "completed", "action": { "type": kind } })
                };
                json!({ "id": "r", "object": "response", "created_at": 1, "status": "completed", "model": name,
                    "output": [call("search"), call("open_page"), call("find_in_page"),
                        { "type": "message", "id": "m", "role": "assistant", "status": "completed",
                          "content": [{ "type": "output_text", "text": "a", "annotations": [] }] }],
                    "usage": { "input_tokens": 10, "output_tokens": 5, "total_tokens": 15 } })
            }
        };
        answer(200, "", &told.to_string())
    })
    .await
}

/// The row's cost, once it is there.
async fn cost(gateway: &Gateway, path: &str, body: &Value, rows: &mut usize) -> Option<f64> {
    let answered = gateway.post(path, body).send().await.unwrap();
    let status = answered.status();
    let header = answered.headers().get("x-litellm-response-cost").cloned();
    let text = answered.bytes().await.unwrap();
    assert_eq!(status, 200, "{path} {body}: {}", String::from_utf8_lossy(&text));
    row(gateway, header, body["stream"] == true, rows).await
}

async fn row(
    gateway: &Gateway,
    header: Option<http::HeaderValue>,
    is_streamed: bool,
    rows: &mut usize,
) -> Option<f64> {
    *rows += 1;
    let all = gateway.rows("cost_usd", *rows).await;
    let cost = match &all[*rows - 1][0] {
        Cell::Null => None,
        Cell::Real(cost) => Some(*cost),
        other => panic!("{other:?}"),
    };
    let header = header.map(|value| value.to_str().unwrap().parse::<f64>().unwrap());
    assert_eq!(header, cost.filter(|_| !is_streamed), "the header says what the row says");
    cost
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_usage_has_its_price_and_what_cannot_be_has_none() {
    let upstream = provider().await;
    let base = upstream.base();
    let entry = |name: &str, model: &str, more: &str| {
        format!(
            "- {{model_name: {name}, litellm_params: {{model: {model}, api_base: '{base}', api_key: k{more}}}}}\n"
        )
    };
    let mut entries: String =
        chats().iter().map(|it| entry(it.0, &format!("openai/{}", it.0), PRICES)).collect();
    entries.push_str(&entry("own-key", "openrouter/own-key", ""));
    entries.push_str(&entry("their-key", "openrouter/their-key", ""));
    entries.push_str(&entry("claude", "anthropic/claude-sonnet-4-5", ""));
    entries.push_str(&entry("searching", "openai/searching", PRICES));
    entries.push_str(&entry("heard", "openai/heard", ", input_cost_per_second: 2"));
    let gateway = Gateway::start(&format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n{entries}virtual_keys:\n\
         - {{api_key: {KEY}, key_alias: tester, models: ['*']}}\n"
    ));
    let rows = &mut 0;
    let chat = |model: &str, stream: bool| json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
    for (name, _, expected) in chats() {
        for stream in [false, true] {
            let found = cost(&gateway, "/v1/chat/completions", &chat(name, stream), rows).await;
            assert_eq!(found, expected, "{name}, streamed: {stream}");
        }
    }
    // OpenRouter takes 0.25 for a request that goes to a provider with one's own key, which itself charges 0.50.
    for (name, expected) in [("own-key", 0.75), ("their-key", 0.25)] {
        let found = cost(&gateway, "/v1/chat/completions", &chat(name, false), rows).await;
        assert_eq!(found, Some(expected), "{name}");
    }
    // Half of 1000 × 3.00, 100 × 3.75, 200 × 6.00 and 100 × 15.00 for a million, but for the hour, which has no price of its own
    // in a batch: the same by whichever door.
    let message = json!({ "model": "claude", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let verbatim = cost(&gateway, "/v1/messages", &message, rows).await;
    assert_eq!(verbatim, Some(0.003_637_5));
    let translated = cost(&gateway, "/v1/chat/completions", &chat("claude", false), rows).await;
    assert_eq!(translated, verbatim);
    // A page that is opened is no search.
    let asked = json!({ "model": "searching", "input": "a" });
    assert_eq!(cost(&gateway, "/v1/responses", &asked, rows).await, Some(1020.0));
    // Seconds, which some servers write as text.
    let form = "--B\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nheard\r\n--B\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--B--\r\n";
    let heard = gateway.client.post(gateway.url("/v1/audio/transcriptions")).bearer_auth(KEY);
    let heard = heard.header("content-type", "multipart/form-data; boundary=B").body(form);
    let heard = heard.send().await.unwrap();
    let header = heard.headers().get("x-litellm-response-cost").cloned();
    heard.bytes().await.unwrap();
    assert_eq!(row(&gateway, header, false, rows).await, Some(21.0));
}
