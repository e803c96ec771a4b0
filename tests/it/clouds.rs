//! Clouds and keys: signatures for Amazon, tokens of Google, paths of Azure, and the headers in which keys
//! are shown.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider, TEXT};
use crate::support::upstream::{self, Seen, Upstream};

/// One model `m`.
fn model(params: &str) -> String {
    format!(
        "model_list:\n- model_name: m\n  litellm_params: {{{params}}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    )
}

async fn answering() -> Upstream {
    Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that Amazon would compute of what it received, by its own description
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
fn signature(seen: &Seen, secret: &str, region: &str) -> String {
    let shown = seen.header("authorization").unwrap();
    let signed = shown.split_once("SignedHeaders=").unwrap().1.split_once(',').unwrap().0;
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", seen.header(name).unwrap())).collect();
    // Every service but S3 has its path encoded twice.
    let path: String = seen
        .path
        .bytes()
        .map(|byte| match byte {
            b'%' => "%25".to_owned(),
            byte => char::from(byte).to_string(),
        })
        .collect();
    let body = hex(digest::digest(&digest::SHA256, &seen.body).as_ref());
    let canonical = format!("POST\n{path}\n\n{headers}\n{signed}\n{body}");
    let time = seen.header("x-amz-date").unwrap();
    let date = &time[..8];
    let scope = format!("{date}/{region}/bedrock/aws4_request");
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, "bedrock", "aws4_request"] {
        key = sign(&key, part);
    }
    format!(
        "Credential=AKIDTEST/{scope}, SignedHeaders={signed}, Signature={}",
        hex(&sign(&key, &text))
    )
}

#[tokio::test]
async fn requests_to_bedrock_are_signed() {
    let upstream = answering().await;
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    for id in [
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/ab12",
        "converse/meta.llama3-1-8b-instruct-v1:0",
    ] {
        for session in ["", ", aws_session_token: FwoGZXIvYXdzEB0="] {
            let params = format!(
                "model: \"bedrock/{id}\", aws_region_name: eu-central-1, aws_access_key_id: AKIDTEST, \
                 aws_secret_access_key: \"{secret}\"{session}, \
                 aws_bedrock_runtime_endpoint: \"http://{}\", extra_body: {{requestMetadata: {{a: \"\u{e9}\"}}}}",
                upstream.address
            );
            let gateway = Gateway::start(&model(&params));
            for client in Client::ALL {
                for stream in [false, true] {
                    let (status, told) = client.tell(&gateway, &client.body("m", stream)).await;
                    assert_eq!((status, &*told.text), (200, TEXT), "{client:?}: {told:?}");
                    let seen = upstream.seen().pop().unwrap();
                    let shown = seen.header("authorization").unwrap();
                    let shown = shown.strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
                    assert_eq!(shown, signature(&seen, secret, "eu-central-1"), "{}", seen.path);
                    let token = seen.header("x-amz-security-token");
                    assert_eq!(token.is_some(), !session.is_empty());
                    assert_eq!(shown.contains("x-amz-security-token"), !session.is_empty());
                    assert!(
                        !seen.path.contains(':') && !seen.path.contains("converse%2F"),
                        "{}",
                        seen.path
                    );
                    assert_eq!(seen.path.ends_with("/converse-stream"), stream);
                }
            }
            assert!(!gateway.log().contains(secret));
        }
    }
}

/// What Amazon says of a signature repeats a good deal of it.
#[tokio::test]
async fn what_amazon_says_of_a_signature_does_not_reach_the_client() {
    let upstream = Upstream::start(|seen| {
        let shown = seen.header("authorization").unwrap();
        let token = seen.header("x-amz-security-token").unwrap();
        let said = json!({ "message": format!("The signature does not match: {shown} {token}") });
        upstream::json(403, "x-amzn-errortype: InvalidSignatureException\r\n", &said.to_string())
    })
    .await;
    let params = format!(
        "model: bedrock/m, aws_region_name: eu-central-1, aws_access_key_id: AKIDTEST0123, \
         aws_secret_access_key: sekret0123456789, aws_session_token: sessiontoken0123456789, \
         aws_bedrock_runtime_endpoint: \"http://{}\"",
        upstream.address
    );
    let gateway = Gateway::start(&model(&params));
    let answer =
        gateway.post("/v1/messages", &Client::Messages.body("m", false)).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let text = answer.text().await.unwrap();
    for secret in ["AKIDTEST0123", "sekret0123456789", "sessiontoken0123456789"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("does not match"), "{text}");
}

const ACCOUNT: &str = include_str!("../golden/google/service_account.json");

/// A key file whose tokens come from this address.
fn account(address: std::net::SocketAddr) -> Value {
    let mut account: Value = serde_json::from_str(ACCOUNT).unwrap();
    account["token_uri"] = format!("http://{address}/token").into();
    account
}

fn vertex(address: std::net::SocketAddr, account: &Value, model_name: &str) -> String {
    model(&format!(
        "model: vertex_ai/{model_name}, api_base: \"http://{address}/v1/projects/p/locations/europe-west1\", \
         vertex_project: p, vertex_location: europe-west1, vertex_credentials: '{account}'"
    ))
}

/// A provider with a token endpoint beside it: tokens are numbered, and live for so many seconds.
async fn google(seconds: i64) -> (Upstream, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let given = given.clone();
        move |seen| {
            if seen.path == "/token" {
                let number = given.fetch_add(1, Ordering::SeqCst) + 1;
                let token =
                    json!({ "access_token": format!("ya29.token{number}"), "expires_in": seconds });
                return upstream::json(200, "", &token.to_string());
            }
            let provider = if seen.path.contains("anthropic") {
                Provider::Anthropic
            } else {
                Provider::Gemini
            };
            let stream = seen.path.contains("tream");
            provider.answer(stream)
        }
    })
    .await;
    (upstream, given)
}

#[tokio::test]
async fn one_token_serves_many_requests_to_vertex() {
    let (upstream, given) = google(3600).await;
    let gateway = Arc::new(Gateway::start(&vertex(
        upstream.address,
        &account(upstream.address),
        "gemini-2.5-flash",
    )));
    let mut all = tokio::task::JoinSet::new();
    for at in 0..24 {
        let gateway = gateway.clone();
        all.spawn(async move {
            let client = Client::ALL[at % 4];
            client.tell(&gateway, &client.body("m", at % 2 == 0)).await
        });
    }
    while let Some(done) = all.join_next().await {
        let (status, told) = done.unwrap();
        assert_eq!((status, &*told.text), (200, TEXT), "{told:?}");
    }
    assert_eq!(given.load(Ordering::SeqCst), 1);
    for seen in upstream.seen().iter().filter(|seen| seen.path != "/token") {
        assert_eq!(seen.header("authorization"), Some("Bearer ya29.token1"));
        let expected =
            "/v1/projects/p/locations/europe-west1/publishers/google/models/gemini-2.5-flash:";
        assert!(seen.path.starts_with(expected), "{}", seen.path);
    }
    // The form holds an assertion, and no key.
    let form = upstream.seen().into_iter().find(|seen| seen.path == "/token").unwrap();
    let form = String::from_utf8(form.body).unwrap();
    assert!(form.contains("assertion=") && !form.contains("PRIVATE"), "{form}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    // Shorter than the margin: each request needs a new one.
    let (upstream, given) = google(60).await;
    let gateway =
        Gateway::start(&vertex(upstream.address, &account(upstream.address), "gemini-2.5-flash"));
    for count in 1..=3 {
        let (status, _) = Client::Chat.tell(&gateway, &Client::Chat.body("m", false)).await;
        assert_eq!((status, given.load(Ordering::SeqCst)), (200, count));
        let shown = upstream.seen().pop().unwrap();
        assert_eq!(shown.header("authorization"), Some(&*format!("Bearer ya29.token{count}")));
    }
}

#[tokio::test]
async fn without_a_token_the_client_is_told_without_secrets() {
    let words = json!({ "error": "invalid_grant", "error_description": "canary of the assertion" });
    let answers =
        [(400, words.to_string()), (500, "canary".to_owned()), (200, "canary".to_owned())];
    let at = Arc::new(Mutex::new(0));
    let upstream = Upstream::start({
        let at = at.clone();
        move |_| {
            let (status, body) = &answers[*at.lock().unwrap()];
            upstream::json(*status, "", body)
        }
    })
    .await;
    let account = account(upstream.address);
    let gateway = Gateway::start(&vertex(upstream.address, &account, "gemini-2.5-flash"));
    for answer in 0..3 {
        *at.lock().unwrap() = answer;
        for client in Client::ALL {
            let (status, told) = client.tell(&gateway, &client.body("m", true)).await;
            assert_eq!(status, 502, "{told:?}");
            let error = told.error.unwrap();
            assert!(error.contains("credentials"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
    let log = gateway.log();
    assert!(log.contains("invalid_grant"), "{log}");
    for secret in ["canary", "PRIVATE", account["private_key_id"].as_str().unwrap_or("PRIVATE")] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn claude_on_vertex_is_spoken_to_in_anthropics_words() {
    let (upstream, _) = google(3600).await;
    let gateway = Gateway::start(&vertex(
        upstream.address,
        &account(upstream.address),
        "claude-sonnet-4-5@20250929",
    ));
    for client in Client::ALL {
        for stream in [false, true] {
            let (status, told) = client.tell(&gateway, &client.body("m", stream)).await;
            assert_eq!((status, &*told.text), (200, TEXT), "{client:?}: {told:?}");
            let seen = upstream.seen().pop().unwrap();
            let verb = if stream { "streamRawPredict" } else { "rawPredict" };
            let expected = format!(
                "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929:{verb}"
            );
            assert_eq!(seen.path.replace("%40", "@"), expected);
            let sent = seen.json();
            assert_eq!(sent["anthropic_version"], "vertex-2023-10-16", "{sent}");
            assert!(sent.get("model").is_none(), "{sent}");
            assert_eq!(seen.header("authorization"), Some("Bearer ya29.token1"));
        }
    }
    let body = Client::Messages.body("m", false);
    let counted = gateway.post("/v1/messages/count_tokens", &body).send().await.unwrap();
    assert_eq!(counted.status(), 200);
}

#[tokio::test]
async fn azure_has_its_own_paths() {
    let upstream = answering().await;
    let at = upstream.address;
    let cases = [
        (
            format!("api_base: \"http://{at}\", api_version: 2025-04-01-preview"),
            "/openai/deployments/my-gpt/chat/completions?api-version=2025-04-01-preview",
            "/openai/responses?api-version=2025-04-01-preview",
        ),
        (
            format!("api_base: \"http://{at}/\""),
            "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            "/openai/responses?api-version=2024-10-21",
        ),
        (
            format!("api_base: \"http://{at}/openai/v1\""),
            "/openai/v1/chat/completions",
            "/openai/v1/responses",
        ),
    ];
    for (base, chat, responses) in cases {
        let gateway =
            Gateway::start(&model(&format!("model: azure/my-gpt, {base}, api_key: az-key")));
        for stream in [false, true] {
            let (status, told) = Client::Chat.tell(&gateway, &Client::Chat.body("m", stream)).await;
            assert_eq!((status, &*told.text), (200, TEXT), "{told:?}");
            let seen = upstream.seen().pop().unwrap();
            assert_eq!((&*seen.path, seen.header("api-key")), (chat, Some("az-key")));
            assert_eq!(seen.header("authorization"), None);
            let (status, told) =
                Client::Responses.tell(&gateway, &Client::Responses.body("m", stream)).await;
            assert_eq!((status, &*told.text), (200, TEXT), "{told:?}");
            let seen = upstream.seen().pop().unwrap();
            assert_eq!((&*seen.path, seen.header("api-key")), (responses, Some("az-key")));
            assert_eq!(seen.json()["model"], "my-gpt");
            // A client of another format, too.
            let (status, told) =
                Client::Messages.tell(&gateway, &Client::Messages.body("m", stream)).await;
            assert_eq!((status, &*told.text), (200, TEXT), "{told:?}");
            assert_eq!(upstream.seen().pop().unwrap().path, chat);
        }
    }
    // A deployment's name with what no path may have.
    let params =
        format!("model: \"azure/a b/c?d\", api_base: \"http://{at}\", api_version: v, api_key: k");
    let gateway = Gateway::start(&model(&params));
    let (status, _) = Client::Chat.tell(&gateway, &Client::Chat.body("m", false)).await;
    assert_eq!(status, 200);
    let path = upstream.seen().pop().unwrap().path;
    assert!(path.ends_with("/chat/completions?api-version=v"), "{path}");
    assert!(path.contains("a%20b%2Fc%3Fd"), "{path}");
}

/// The first chunk of Azure has no choices, and the last ones no delta.
#[tokio::test]
async fn azures_empty_chunks_say_nothing() {
    let upstream = Upstream::start(|_| {
        let mut events = Provider::Chat.events();
        let empty = json!({ "id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [] });
        events.insert(0, providers::data(&empty));
        let filter = json!({ "id": "", "object": "", "created": 0, "model": "", "choices": [{ "index": 0, "finish_reason": null, "content_filter_offsets": {} }] });
        events.insert(6, providers::data(&filter));
        providers::streamed(Provider::Chat, &events)
    })
    .await;
    let params = format!(
        "model: azure/m, api_base: \"http://{}\", api_version: v, api_key: k",
        upstream.address
    );
    let gateway = Gateway::start(&model(&params));
    for client in [Client::Messages, Client::Chat] {
        let (status, told) = client.tell(&gateway, &client.body("m", true)).await;
        assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{told:?}");
        assert_eq!(told.usage, Some((11, 7)));
    }
}

#[tokio::test]
async fn keys_go_where_each_provider_wants_them() {
    let upstream = answering().await;
    let at = upstream.address;
    let base = format!("api_base: \"http://{at}\"");
    let cases = [
        (
            format!("model: anthropic/claude-sonnet-4-5, {base}, api_key: sk-ant-api03-x"),
            "x-api-key",
            "sk-ant-api03-x",
            Client::Chat,
        ),
        (
            format!("model: anthropic/claude-sonnet-4-5, {base}, api_key: sk-ant-oat01-x"),
            "authorization",
            "Bearer sk-ant-oat01-x",
            Client::Chat,
        ),
        (
            format!("model: anthropic/claude-sonnet-4-5, {base}, api_key: sk-ant-oat01-x"),
            "authorization",
            "Bearer sk-ant-oat01-x",
            Client::Messages,
        ),
        (
            format!("model: gemini/gemini-2.5-flash, {base}, api_key: AIza-x"),
            "x-goog-api-key",
            "AIza-x",
            Client::Messages,
        ),
        (
            format!("model: ollama/qwen3, {base}, api_key: o-x"),
            "authorization",
            "Bearer o-x",
            Client::Messages,
        ),
        (
            format!("model: cohere/command-a, {base}, api_key: c-x"),
            "authorization",
            "Bearer c-x",
            Client::Responses,
        ),
        (
            format!(
                "model: bedrock/m, aws_region_name: eu-central-1, aws_bedrock_runtime_endpoint: \"http://{at}\", api_key: b-x"
            ),
            "authorization",
            "Bearer b-x",
            Client::Chat,
        ),
    ];
    for (params, name, value, client) in cases {
        let gateway = Gateway::start(&model(&params));
        for stream in [false, true] {
            let (status, told) = client.tell(&gateway, &client.body("m", stream)).await;
            assert_eq!((status, &*told.text), (200, TEXT), "{params}: {told:?}");
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.header(name), Some(value), "{params}");
            let keys = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
            let shown = keys.iter().filter(|key| seen.header(key).is_some()).count();
            assert_eq!(shown, 1, "{params}: {:?}", seen.headers);
            assert!(!seen.path.contains(value), "no key in an address: {}", seen.path);
        }
    }
    // Nothing is shown where there is nothing to show.
    let gateway = Gateway::start(&model(&format!("model: ollama/qwen3, {base}")));
    let (status, _) = Client::Chat.tell(&gateway, &Client::Chat.body("m", false)).await;
    assert_eq!(status, 200);
    assert_eq!(upstream.seen().pop().unwrap().header("authorization"), None);
}
