//! Embeddings and reranking over providers with formats of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY};
use crate::support::upstream::{self, Upstream};

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let answer = gateway.post(path, body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

async fn start() -> (Gateway, Upstream) {
    let upstream = Upstream::start(|seen| {
        let said = match seen.path.as_str() {
            "/api/embed" => {
                json!({ "embeddings": [[0.5, -0.25], [1, 2e-1]], "prompt_eval_count": 8 })
            }
            "/v2/embed" => json!({
                "id": "x", "embeddings": { "float": [[0.5, -0.25], [1, 2e-1]] },
                "meta": { "billed_units": { "input_tokens": 8 } },
            }),
            "/v2/rerank" => json!({ "id": "x", "results": [
                { "index": 1, "relevance_score": 0.9 }, { "index": 0, "relevance_score": 0.1 },
            ], "meta": { "billed_units": { "search_units": 1 } } }),
            "/v1/rerank" | "/rerank" => json!([
                { "index": 0, "score": 0.1 }, { "index": 1, "score": 0.9 },
            ]),
            path if path.ends_with(":batchEmbedContents") => {
                json!({ "embeddings": [{ "values": [0.5, -0.25] }, { "values": [1, 2e-1] }] })
            }
            "/v1/embeddings" => json!({
                "object": "list", "model": "up", "usage": { "prompt_tokens": 8, "total_tokens": 8 },
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.50] }],
            }),
            path => return upstream::json(404, "", &json!({ "message": path }).to_string()),
        };
        upstream::json(200, "", &said.to_string())
    })
    .await;
    let at = upstream.address;
    let models: String = [
        ("ollama", "ollama/all-minilm", ""),
        ("cohere", "cohere/embed-v4.0", ""),
        ("gemini", "gemini/gemini-embedding-001", ""),
        ("openai", "openai/up", "/v1"),
        ("rerank", "cohere/rerank-v3.5", ""),
        ("tei", "huggingface/bge-reranker", ""),
    ]
    .map(|(name, model, path)| {
        format!("- {{model_name: {name}, litellm_params: {{model: {model}, api_base: \"http://{at}{path}\", api_key: up-key}}}}\n")
    })
    .concat();
    let config =
        format!("model_list:\n{models}virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n");
    (Gateway::start(&config), upstream)
}

#[tokio::test]
async fn embeddings_are_openais_whoever_made_them() {
    let (gateway, upstream) = start().await;
    for model in ["ollama", "cohere", "gemini"] {
        let body = json!({ "model": model, "input": ["a", "b"] });
        let (status, said) = post(&gateway, "/v1/embeddings", &body).await;
        assert_eq!(status, 200, "{model}: {said}");
        assert_eq!((&said["object"], &said["model"]), (&json!("list"), &json!(model)));
        assert_eq!(said["data"][1]["index"], 1);
        assert_eq!(said["data"][0]["embedding"], json!([0.5, -0.25]));
        assert!(said["usage"]["prompt_tokens"].is_u64() && said["usage"]["total_tokens"].is_u64());
        let sent = upstream.seen().pop().unwrap().json().to_string();
        assert!(sent.contains("\"a\"") && sent.contains("\"b\""), "{sent}");
        // The SDKs ask for base64 by themselves.
        let body =
            json!({ "model": model, "input": "a", "encoding_format": "base64", "dimensions": 2 });
        let (status, said) = post(&gateway, "/v1/embeddings", &body).await;
        assert_eq!(status, 200, "{model}: {said}");
        let bytes = STANDARD.decode(said["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes, [0.5_f32.to_le_bytes(), (-0.25_f32).to_le_bytes()].concat());
        let sent = upstream.seen().pop().unwrap().json().to_string();
        assert!(sent.contains('2') && !sent.contains("base64"), "{sent}");
        let (status, said) =
            post(&gateway, "/v1/embeddings", &json!({ "model": model, "input": [[1, 2]] })).await;
        assert_eq!((status, &said["error"]["param"]), (400, &json!("input")));
    }
    let rows = gateway.rows("lane, input_tokens, operation, status", 9).await;
    assert_eq!(
        rows[0],
        [
            Cell::from("hub".to_owned()),
            Cell::from(8),
            Cell::from("embeddings".to_owned()),
            Cell::from("ok".to_owned())
        ]
    );
    // Where both speak OpenAI's format, numbers keep their spelling.
    let body = r#"{ "input":["a"],"model":"openai","dimensions":1.0e1 }"#;
    let request = gateway.client.post(gateway.url("/v1/embeddings")).bearer_auth(KEY);
    let answer =
        request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.body), body.replace("openai", "up"));
}

#[tokio::test]
async fn documents_are_ranked_by_cohere_and_by_text_embeddings_inference() {
    let (gateway, upstream) = start().await;
    for model in ["rerank", "tei"] {
        let body = json!({
            "model": model, "query": "q", "documents": ["a", { "text": "b" }], "top_n": 1,
            "return_documents": true,
        });
        let (status, said) = post(&gateway, "/v1/rerank", &body).await;
        assert_eq!(status, 200, "{model}: {said}");
        let results = said["results"].as_array().unwrap();
        assert_eq!(
            (&results[0]["index"], &results[0]["relevance_score"]),
            (&json!(1), &json!(0.9)),
            "{said}"
        );
        assert_eq!(results[0]["document"]["text"], "b", "{said}");
        assert!(model == "rerank" || results.len() == 1, "{said}");
        let sent = upstream.seen().pop().unwrap();
        assert!(sent.path.ends_with("/rerank"), "{}", sent.path);
        let (status, said) =
            post(&gateway, "/v1/rerank", &json!({ "model": model, "query": "q", "documents": [] }))
                .await;
        assert_eq!((status, &said["error"]["param"]), (400, &json!("documents")));
        let (status, _) =
            post(&gateway, "/v1/rerank", &json!({ "model": model, "documents": ["a"] })).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn errors_of_embeddings_are_told_in_openais_shape() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/api/embed" => upstream::json(
            404,
            "",
            r#"{"error":"model \"all-minilm\" not found, try pulling it first"}"#,
        ),
        "/v2/embed" => upstream::json(429, "retry-after: 3\r\n", r#"{"message":"Slow down"}"#),
        _ => upstream::json(
            400,
            "",
            r#"{"error":{"code":400,"message":"Bad.","status":"INVALID_ARGUMENT"}}"#,
        ),
    })
    .await;
    let at = upstream.address;
    let config = format!(
        "model_list:\n\
         - {{model_name: o, litellm_params: {{model: ollama/all-minilm, api_base: \"http://{at}\"}}}}\n\
         - {{model_name: c, litellm_params: {{model: cohere/e, api_base: \"http://{at}\", api_key: k}}}}\n\
         - {{model_name: g, litellm_params: {{model: gemini/e, api_base: \"http://{at}\", api_key: k}}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    );
    let gateway = Gateway::start(&config);
    for (model, status, code) in [
        ("o", 404, json!("model_not_found")),
        ("c", 429, json!("rate_limit_exceeded")),
        ("g", 400, Value::Null),
    ] {
        let body = json!({ "model": model, "input": "a" });
        let (found, said) = post(&gateway, "/v1/embeddings", &body).await;
        assert_eq!((found, &said["error"]["code"]), (status, &code), "{said}");
    }
}
