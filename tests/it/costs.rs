//! What requests cost, through the public door: the header, the row, the tables that prices come from, and `tidegate prices`.

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, MASTER, command};
use crate::support::upstream::{
    DONE, FINISH, Seen, Upstream, chunk, delta, events_head, json as answer, last_chunk, whole,
};

const COST: &str = "x-litellm-response-cost";
/// One dollar for each token that is read, and two for each that is said.
const OWN: &str =
    r#"{"house":{"litellm_provider":"openai","input_cost_per_token":1,"output_cost_per_token":2}}"#;

/// Says what the endpoint's answers say of their size.
async fn provider() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let path = seen.path.split('?').next().unwrap_or_default();
        let told = match path.rsplit('/').next().unwrap_or_default() {
            "completions" if seen.json()["stream"] == true => {
                let usage = json!({ "choices": [], "service_tier": "priority", "usage":
                    { "prompt_tokens": 1000, "completion_tokens": 100 } });
                let usage = format!("data: {usage}\n\n");
                let all = [&delta("a")[..], FINISH, usage.as_bytes(), DONE].concat();
                return vec![events_head(), chunk(&all), last_chunk()];
            }
            "completions" => json!({ "id": "c", "object": "chat.completion", "created": 1,
                "model": if seen.json()["model"] == "house" { "house" } else { "gpt-4o-2024-08-06" },
                "service_tier": "default",
                "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "a" } }],
                "usage": { "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
                    "prompt_tokens_details": { "cached_tokens": 400 }, "cost": 0.5 } }),
            "embeddings" => json!({ "object": "list", "model": "e", "usage": { "prompt_tokens": 500, "total_tokens": 500 },
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }] }),
            "generations" => json!({ "created": 1, "data": [{ "url": "http://a" }, { "url": "http://b" }] }),
            "rerank" => json!({ "results": [{ "index": 0, "relevance_score": 0.5 }],
                "meta": { "billed_units": { "search_units": 3 } } }),
            "responses" => json!({ "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
                "model": "gpt-4o", "output": [{ "type": "web_search_call", "id": "ws_1", "status": "completed" },
                    { "type": "message", "id": "m", "role": "assistant", "status": "completed",
                      "content": [{ "type": "output_text", "text": "a", "annotations": [] }] }],
                "usage": { "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100 } }),
            "speech" => return whole(200, "content-type: audio/mpeg\r\n", b"abc"),
            other => json!({ "error": { "message": other } }),
        };
        answer(200, "", &told.to_string())
    })
    .await
}

fn config(base: &str, more: &str) -> String {
    let entry = |name: &str, model: &str, more: &str| {
        format!(
            "- {{model_name: {name}, litellm_params: {{model: {model}, api_base: '{base}', api_key: k{more}}}}}\n"
        )
    };
    let entries = [
        entry("known", "openai/gpt-4o", ""),
        entry("any/*", "openai/*", ""),
        entry("house", "openai/house", ""),
        entry("free", "openai/gpt-4o", ", input_cost_per_token: 0, output_cost_per_token: '0.0'"),
        entry("azure", "azure/of-ones-own", ", api_version: '1'"),
        entry("stated", "openrouter/new/model", ""),
        entry("embed", "openai/text-embedding-3-small", ""),
        entry("picture", "openai/p", ", output_cost_per_image: 0.04"),
        entry("rank", "openai/r", ", input_cost_per_query: 0.002"),
        entry("voice", "openai/tts-1", ""),
        entry(
            "search",
            "openai/s",
            ", input_cost_per_token: 0, output_cost_per_token: 0, \
            search_context_cost_per_query: {search_context_size_medium: 0.01}",
        ),
    ];
    format!(
        "general_settings: {{master_key: {MASTER}{more}}}\nmodel_list:\n{}virtual_keys:\n\
         - {{api_key: {KEY}, key_alias: tester, models: ['*']}}\n",
        entries.concat()
    )
}

/// The header and the row's cost and version, once the row is there.
async fn cost(
    gateway: &Gateway,
    path: &str,
    body: &Value,
    rows: &mut usize,
) -> (Option<String>, String) {
    let answered = gateway.post(path, body).send().await.unwrap();
    let status = answered.status();
    let header = answered.headers().get(COST).map(|value| value.to_str().unwrap().to_owned());
    let text = answered.bytes().await.unwrap();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&text));
    *rows += 1;
    let all = gateway
        .rows(
            "coalesce(iif(cost_usd IS NULL, NULL, printf('%.9f', cost_usd)), '-') || ' ' || coalesce(price_version, '-')",
            *rows,
        )
        .await;
    let Cell::Text(row) = &all[*rows - 1][0] else { panic!("{all:?}") };
    (header, row.clone())
}

fn chat(model: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_and_the_row_say_what_was_used_by_which_prices() {
    let upstream = provider().await;
    let gateway = Gateway::start(&config(&upstream.base(), ""));
    let rows = &mut 0;
    let version = {
        let shown = command(gateway.directory.path()).args(["prices", "show"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.contains("MIT License") && text.contains("LiteLLM"), "{text}");
        text.lines().next().unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    // gpt-4o: 2.50, 1.25 cached and 10.00 for a million. 600 × 2.5 + 400 × 1.25 + 100 × 10.
    let expected = |header: &str, row: &str, version: &str| {
        (Some(header.to_owned()), format!("{row} {version}"))
    };
    for model in ["known", "any/gpt-4o", "any/gpt-4o-2024-11-20", "azure"] {
        let found = cost(&gateway, "/v1/chat/completions", &chat(model, false), rows).await;
        assert_eq!(found, expected("0.003", "0.003000000", &version), "{model}");
    }
    // Streamed, it is known at the end only; here with priority: 4.25 and 17.00.
    let found = cost(&gateway, "/v1/chat/completions", &chat("known", true), rows).await;
    assert_eq!(found, (None, format!("0.005950000 {version}")));
    // Nobody knows what a model of one's own costs; what is free says so.
    let found = cost(&gateway, "/v1/chat/completions", &chat("house", false), rows).await;
    assert_eq!(found, (None, "- -".to_owned()));
    let found = cost(&gateway, "/v1/chat/completions", &chat("free", false), rows).await;
    assert_eq!(found, expected("0.0", "0.000000000", "config"));
    // OpenRouter says it itself, and only such a provider is believed.
    let found = cost(&gateway, "/v1/chat/completions", &chat("stated", false), rows).await;
    assert_eq!(found, expected("0.5", "0.500000000", "provider"));
    // A translated answer is priced the same.
    let message = json!({ "model": "known", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    let found = cost(&gateway, "/v1/messages", &message, rows).await;
    assert_eq!(found, expected("0.003", "0.003000000", &version));
    let embed = json!({ "model": "embed", "input": "a" });
    let found = cost(&gateway, "/v1/embeddings", &embed, rows).await;
    assert_eq!(found, expected("1e-05", "0.000010000", &version));
    let picture = json!({ "model": "picture", "prompt": "a" });
    let found = cost(&gateway, "/v1/images/generations", &picture, rows).await;
    assert_eq!(found, expected("0.08", "0.080000000", "config"));
    let rank = json!({ "model": "rank", "query": "a", "documents": ["a"] });
    let found = cost(&gateway, "/v1/rerank", &rank, rows).await;
    assert_eq!(found, expected("0.006", "0.006000000", "config"));
    let search = json!({ "model": "search", "input": "a" });
    let found = cost(&gateway, "/v1/responses", &search, rows).await;
    assert_eq!(found, expected("0.01", "0.010000000", "config"));
    // tts-1: 15.00 for a million characters; the sound flows.
    let voice = json!({ "model": "voice", "input": "Füñf!", "voice": "alloy" });
    let found = cost(&gateway, "/v1/audio/speech", &voice, rows).await;
    assert_eq!(found, (None, format!("0.000075000 {version}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_file_goes_first_and_is_read_again() {
    let upstream = provider().await;
    let text = config(&upstream.base(), ", pricing_file: prices.json");
    let gateway = Gateway::start_with(&text, &[("prices.json", OWN)], &[]);
    let rows = &mut 0;
    let (header, _) = cost(&gateway, "/v1/chat/completions", &chat("house", false), rows).await;
    assert_eq!(header.as_deref(), Some("1200.0"));
    let dearer = OWN.replace(":2}", ":3}");
    std::fs::write(gateway.path("prices.json"), dearer).unwrap();
    gateway.log_until("configuration reloaded").await;
    let (header, _) = cost(&gateway, "/v1/chat/completions", &chat("house", false), rows).await;
    assert_eq!(header.as_deref(), Some("1300.0"));
    // One that is broken changes nothing.
    std::fs::write(gateway.path("prices.json"), "{").unwrap();
    gateway.log_until("the edit was refused").await;
    let (header, _) = cost(&gateway, "/v1/chat/completions", &chat("house", false), rows).await;
    assert_eq!(header.as_deref(), Some("1300.0"));
}

#[test]
fn a_table_is_made_looked_into_and_brought_up_to_date() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("litellm.json"), OWN).unwrap();
    let run = |arguments: &[&str]| {
        let output = command(directory.path()).arg("prices").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    };
    for output in ["prices.table", "prices.z"] {
        let made = run(&["import", "litellm.json", "--output", output, "--date", "2026-11-26"]);
        assert_eq!(made.0, Some(0), "{}", made.1);
        assert!(made.1.contains("1 models, 2026-11-26-"), "{}", made.1);
        let (code, shown) = run(&["show", "openai/house", "--file", output]);
        assert_eq!(code, Some(0), "{shown}");
        let shown: Vec<&str> = shown.split_whitespace().collect();
        assert!(shown.ends_with(&["in", "1", "out", "2"]), "{shown:?}");
    }
    let (code, shown) = run(&["show", "gemini/gemini-2.5-pro"]);
    assert!(code == Some(0) && shown.contains("in+200000"), "{shown}");
    assert_eq!(run(&["show", "nobody/knows"]).0, Some(1));
    assert_eq!(run(&["import", "litellm.json", "--date", "today"]).0, Some(1));
    assert_eq!(run(&["import", "absent.json"]).0, Some(1));

    let newer = |output: u32| OWN.replace(":2}", &format!(":{output}}}"));
    std::fs::write(path("newer.json"), newer(3)).unwrap();
    let (code, told) = run(&["update", "--from", "newer.json", "--output", "prices.table"]);
    assert!(code == Some(0) && told.contains("openai/house out: 2 -> 3"), "{told}");
    let before = std::fs::read(path("prices.table")).unwrap();
    std::fs::write(path("newer.json"), newer(16)).unwrap();
    let jump = ["update", "--from", "newer.json", "--output", "prices.table"];
    let (code, told) = run(&jump);
    assert!(
        code == Some(1) && told.contains("! openai/house out: 3 -> 16") && told.contains("--force"),
        "{told}"
    );
    assert_eq!(std::fs::read(path("prices.table")).unwrap(), before);
    assert_eq!(run(&[&jump[..], &["--force"]].concat()).0, Some(0));
    assert_ne!(std::fs::read(path("prices.table")).unwrap(), before);
    // Against the built-in prices, nearly all would be gone.
    let (code, told) = run(&["update", "--from", "newer.json", "--output", "other.table"]);
    assert!(code == Some(1) && told.contains("most models would be gone"), "{told}");
}
