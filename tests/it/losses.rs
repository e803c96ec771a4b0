//! What a provider's format cannot carry: named in a header, in the row, or in a refusal; and the operator's
//! words about what is sent.

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider};
use crate::support::upstream::Upstream;

async fn answering() -> Upstream {
    Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await
}

/// All models, with more said for each of them.
fn with(upstream: &Upstream, params: &str, general: &str) -> String {
    let key = format!("api_key: {}", providers::SECRET);
    let config = providers::config(upstream.address);
    format!("{}{general}", config.replace(&key, &format!("{key}{params}")))
}

/// Sends a body; status, header and body.
async fn ask(gateway: &Gateway, client: Client, body: &Value) -> (u16, Option<String>, Value) {
    let answer = gateway.post(client.path(), body).send().await.unwrap();
    let status = answer.status().as_u16();
    let losses = answer.headers().get("x-tidegate-loss");
    let losses = losses.map(|value| value.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    (status, losses, serde_json::from_str(&text).unwrap_or_else(|_| text.into()))
}

fn chat_with_losses(model: &str, stream: bool) -> Value {
    let mut body = Client::Chat.body(model, stream);
    body["logit_bias"] = json!({ "50256": -100 });
    body
}

#[tokio::test]
async fn losses_stand_in_a_header_and_in_the_row() {
    let upstream = answering().await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let lacking = [
        Provider::Anthropic,
        Provider::Gemini,
        Provider::Bedrock,
        Provider::Ollama,
        Provider::Cohere,
    ];
    for provider in lacking {
        for stream in [false, true] {
            let (status, losses, _) =
                ask(&gateway, Client::Chat, &chat_with_losses(provider.name(), stream)).await;
            assert_eq!((status, losses.as_deref()), (200, Some("logit_bias")), "{provider:?}");
        }
    }
    let rows = gateway.rows("losses", 2 * lacking.len()).await;
    for row in rows {
        let Cell::Text(losses) = &row[0] else { panic!("{row:?}") };
        let losses: Value = serde_json::from_str(losses).unwrap();
        assert_eq!(losses[0]["path"], "logit_bias", "{losses}");
        assert!(losses[0]["why"].as_str().is_some_and(|why| !why.is_empty()), "{losses}");
    }
}

/// A request that failed at the provider says in its row what was left out of it.
#[tokio::test]
async fn the_row_of_a_failed_request_has_its_losses_too() {
    let upstream = Upstream::start(|_| {
        crate::support::upstream::json(400, "", r#"{"error":{"message":"No.","type":"x"}}"#)
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let (status, _, _) = ask(&gateway, Client::Chat, &chat_with_losses("gemini", false)).await;
    assert_eq!(status, 400);
    let rows = gateway.rows("losses", 1).await;
    let Cell::Text(losses) = &rows[0][0] else { panic!("{rows:?}") };
    assert!(losses.contains("logit_bias"), "{losses}");
}

/// Names of fields are the client's, and may be anything.
#[tokio::test]
async fn the_header_is_short_and_plain_whatever_the_client_wrote() {
    let upstream = answering().await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let long = "x".repeat(100_000);
    let names =
        ["line\r\nset-cookie: a=b", "h\u{e9}\u{1F642}", "a\u{0}b", "\u{7f}", "with, comma", &long];
    for client in [Client::Chat, Client::Responses, Client::Messages] {
        for provider in [
            Provider::Anthropic,
            Provider::Gemini,
            Provider::Ollama,
            Provider::Bedrock,
            Provider::Chat,
            Provider::Responses,
        ] {
            for name in names {
                let mut body = client.body(provider.name(), false);
                body[name] = json!({ "deep": true });
                let answer = gateway.post(client.path(), &body).send().await.unwrap();
                let status = answer.status();
                let what = format!(
                    "{client:?} over {provider:?}: {}",
                    &name.escape_debug().to_string()[..name.len().min(30)]
                );
                assert_eq!(status, 200, "{what}");
                assert!(answer.headers().get("set-cookie").is_none(), "{what}");
                if let Some(losses) = answer.headers().get("x-tidegate-loss") {
                    let losses = losses.to_str().expect("plain text");
                    assert!(losses.len() <= 2048, "{what}: {} bytes", losses.len());
                }
            }
        }
    }
    // Many, each of some length, name as many as fit.
    let mut body = Client::Chat.body("gemini", false);
    let tool = |at: usize| json!({ "type": format!("hosted_{at}"), "name": "n" });
    body["tools"] = (0..200).map(tool).collect();
    let (status, losses, answer) = ask(&gateway, Client::Chat, &body).await;
    assert!(status == 200 || status == 400, "{answer}");
    assert!(losses.is_none_or(|losses| losses.len() <= 2048));
}

#[tokio::test]
async fn losses_are_refused_where_the_operator_says_so() {
    let upstream = answering().await;
    let for_one = with(&upstream, ", on_loss: refuse", "");
    let for_all = with(&upstream, "", "litellm_settings: {on_loss: refuse}\n");
    for config in [for_one, for_all] {
        let gateway = Gateway::start(&config);
        for stream in [false, true] {
            let (status, _, body) =
                ask(&gateway, Client::Chat, &chat_with_losses("gemini", stream)).await;
            assert_eq!(status, 400);
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains("`logit_bias`"), "{message}");
            assert_eq!(body["error"]["param"], "logit_bias");
            assert_eq!(body["error"]["type"], "invalid_request_error");
        }
        let mut body = Client::Messages.body("ollama", false);
        body["metadata"] = json!({ "user_id": "u" });
        body["service_tier"] = "standard_only".into();
        let (status, _, body) = ask(&gateway, Client::Messages, &body).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        let mut body = Client::Responses.body("cohere", false);
        body["top_logprobs"] = 3.into();
        body["text"] = json!({ "verbosity": "low" });
        let (status, _, body) = ask(&gateway, Client::Responses, &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["error"]["message"].as_str().unwrap().contains('`'), "{body}");
        // Nothing is lost: nothing is refused.
        let (status, told) =
            Client::Messages.tell(&gateway, &Client::Messages.body("gemini", false)).await;
        assert_eq!((status, told.complete), (200, true), "{told:?}");
    }
    assert!(upstream.seen().iter().all(|seen| providers::asked(seen) == Provider::Gemini));
    let one_of_two = with(&upstream, ", on_loss: report", "litellm_settings: {on_loss: refuse}\n");
    let gateway = Gateway::start(&one_of_two);
    let (status, losses, _) = ask(&gateway, Client::Chat, &chat_with_losses("cohere", false)).await;
    assert_eq!((status, losses.as_deref()), (200, Some("logit_bias")));
}

#[tokio::test]
async fn parameters_are_refused_without_drop_params() {
    let upstream = answering().await;
    let gateway = Gateway::start(&with(&upstream, "", "litellm_settings: {drop_params: false}\n"));
    let (status, _, body) =
        ask(&gateway, Client::Chat, &chat_with_losses("anthropic", false)).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("logit_bias")), "{body}");
    // What is inside the conversation is no parameter.
    let mut body = Client::Chat.body("ollama", false);
    body["tools"] = json!([{ "type": "function", "function": {
        "name": "f", "strict": true, "parameters": { "type": "object", "properties": {} },
    } }]);
    let (status, losses, _) = ask(&gateway, Client::Chat, &body).await;
    assert_eq!(status, 200);
    assert!(losses.is_some_and(|losses| losses.contains("tools[0]")));
}

#[tokio::test]
async fn what_the_operator_drops_does_not_arrive_on_either_lane() {
    let upstream = answering().await;
    let params = ", additional_drop_params: [temperature, \"tools[*].function.strict\", \"messages[0].name\", \
                  metadata, \"tools[*].strict\"]";
    let gateway = Gateway::start(&with(&upstream, params, ""));
    for provider in Provider::ALL {
        let body = json!({
            "model": provider.name(), "temperature": 0.25, "metadata": { "a": "b" }, "top_p": 0.75,
            "messages": [{ "role": "user", "content": "hi", "name": "bob" }],
            "tools": [{ "type": "function", "function": {
                "name": "f", "strict": true, "parameters": { "type": "object", "properties": {} },
            } }],
        });
        let (status, losses, answer) = ask(&gateway, Client::Chat, &body).await;
        assert_eq!(status, 200, "{provider:?}: {answer}");
        let sent = upstream.seen().pop().unwrap().json().to_string();
        for gone in ["0.25", "strict", "bob", "metadata"] {
            assert!(!sent.contains(gone), "{provider:?}: {gone} in {sent}");
        }
        assert!(sent.contains("0.75") || losses.is_some(), "{provider:?}: {sent}");
        // What the operator drops is no loss of the provider's.
        assert!(losses.is_none_or(|losses| !losses.contains("temperature")), "{provider:?}");
    }
}

#[tokio::test]
async fn what_the_operator_adds_arrives_on_both_lanes() {
    let upstream = answering().await;
    let params = ", extra_body: {zeta: {keep: 1}, temperature: 0.125}, extra_headers: {x-team: blue, anthropic-beta: own-beta}, \
                  allowed_openai_params: [logit_bias]";
    let gateway = Gateway::start(&with(&upstream, params, ""));
    let mut count = 0;
    for client in [Client::Chat, Client::Responses, Client::Messages] {
        for provider in Provider::ALL {
            for stream in [false, true] {
                let mut body = client.body(provider.name(), stream);
                body["temperature"] = 0.5.into();
                let answer = gateway.post(client.path(), &body).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{client:?} over {provider:?}");
                answer.bytes().await.unwrap();
                let seen = &upstream.seen()[count];
                let what = format!("{client:?} over {provider:?}: {}", seen.json());
                assert_eq!(seen.json()["zeta"], json!({ "keep": 1 }), "{what}");
                assert_eq!(seen.json()["temperature"], 0.125, "{what}");
                assert_eq!(seen.header("x-team"), Some("blue"), "{what}");
                assert_eq!(seen.header("anthropic-beta"), Some("own-beta"), "{what}");
                count += 1;
            }
        }
    }
    // What is allowed by name is sent, although the provider is not known to take it.
    for provider in [
        Provider::Anthropic,
        Provider::Gemini,
        Provider::Bedrock,
        Provider::Ollama,
        Provider::Cohere,
    ] {
        let (status, losses, _) =
            ask(&gateway, Client::Chat, &chat_with_losses(provider.name(), false)).await;
        assert_eq!((status, losses), (200, None), "{provider:?}");
        let sent = upstream.seen().pop().unwrap().json();
        assert!(sent.to_string().contains("50256"), "{provider:?}: {sent}");
    }
}

/// A body that is sent to Google again and again keeps what the operator adds, also inside an object that is
/// written anyway.
#[tokio::test]
async fn what_the_operator_adds_is_laid_over_objects() {
    let upstream = answering().await;
    let params = ", extra_body: {options: {num_ctx: 32768}, generationConfig: {topK: 3}}";
    let gateway = Gateway::start(&with(&upstream, params, ""));
    let mut body = Client::Chat.body("ollama", false);
    body["temperature"] = 0.5.into();
    assert_eq!(ask(&gateway, Client::Chat, &body).await.0, 200);
    let sent = upstream.seen().pop().unwrap().json();
    assert_eq!(sent["options"], json!({ "temperature": 0.5, "num_ctx": 32768 }), "{sent}");
    body["model"] = "gemini".into();
    assert_eq!(ask(&gateway, Client::Chat, &body).await.0, 200);
    let sent = upstream.seen().pop().unwrap().json();
    let config = &sent["generationConfig"];
    assert_eq!((&config["temperature"], &config["topK"]), (&json!(0.5), &json!(3)), "{sent}");
    assert!(!sent.to_string().contains(KEY));
}
