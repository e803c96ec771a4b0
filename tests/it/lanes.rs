//! Which way a body goes, and what is in it when it arrives: byte for byte where both sides speak one format,
//! mended where a provider is particular, and without what gateways put into conversations.

use std::net::SocketAddr;

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider, TEXT};
use crate::support::upstream::{self, Upstream, chat, chunk, events_head, last_chunk};

async fn answering() -> (Gateway, Upstream) {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    (Gateway::start(&providers::config(upstream.address)), upstream)
}

/// Sends these bytes as they are.
async fn send(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut request = gateway
        .client
        .post(gateway.url(path))
        .bearer_auth(KEY)
        .header("content-type", "application/json")
        .body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn lane(gateway: &Gateway, count: usize) -> String {
    match &gateway.rows("lane", count).await[count - 1][0] {
        Cell::Text(lane) => lane.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_both_sides_speak_passes_byte_for_byte() {
    let (gateway, upstream) = answering().await;
    // Unknown fields, odd numbers, escapes, blanks, and an order that nobody would write.
    let rest = "\"zeta\" : 1.0e-00,\n \"alpha\":{\"b\":1,\"a\":12345678901234567890.10},\"t\":\"\\u00e9\\/\"";
    let cases = [
        (
            "/v1/chat/completions",
            format!(
                "{{ {rest}, \"messages\":[{{\"role\":\"user\",\"content\":\"hi\",\"x_new\":[1E3]}}],\t\"model\":\"chat\", \"temperature\":0.50}}"
            ),
            "\"up\"",
        ),
        (
            "/v1/responses",
            format!(
                "{{\"model\":\"responses\",{rest},\"store\":false,\"input\":[{{\"type\":\"new_item\",\"n\":1.50}}]}}"
            ),
            "\"up\"",
        ),
        (
            "/v1/messages",
            format!(
                "{{\"max_tokens\":1e2,{rest},\"model\":\"anthropic\",\"messages\":[{{\"role\":\"system\",\"content\":\"mid\"}},\
                 {{\"role\":\"user\",\"content\":[{{\"type\":\"new_block\",\"v\":0.10}}]}}],\
                 \"context_management\":{{\"edits\":[]}},\"output_config\":{{\"effort\":\"low\"}},\
                 \"tools\":[{{\"name\":\"a.b\",\"defer_loading\":true,\"input_schema\":{{}}}}]}}"
            ),
            "\"claude-sonnet-4-5\"",
        ),
    ];
    for (count, (path, body, name)) in cases.iter().enumerate() {
        let (status, text) = send(&gateway, path, &[], body).await;
        assert_eq!(status, 200, "{text}");
        let seen = &upstream.seen()[count];
        let public = ["\"chat\"", "\"responses\"", "\"anthropic\""][count];
        let expected =
            body.replacen(&format!("\"model\":{public}"), &format!("\"model\":{name}"), 1);
        assert_eq!(String::from_utf8_lossy(&seen.body), expected, "{path}");
        assert_eq!(lane(&gateway, count + 1).await, "verbatim");
        // The answer too is the provider's own.
        let provider = providers::asked(seen);
        assert_eq!(text, provider.whole(), "{path}");
    }
}

#[tokio::test]
async fn claude_code_reaches_anthropic_unchanged() {
    let (gateway, upstream) = answering().await;
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"),
        ("x-app", "cli"),
        ("cookie", "session=secret"),
    ];
    let mut body = Client::Messages.body("anthropic", true);
    body["thinking"] = json!({ "type": "adaptive", "display": "omitted" });
    let (status, text) =
        send(&gateway, "/v1/messages?beta=true", &headers, &body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(text.as_bytes(), Provider::Anthropic.events().concat());
    let seen = &upstream.seen()[0];
    // Anthropic's SDK asks its beta endpoints with a query, which says nothing that the header does not.
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(seen.header("anthropic-beta"), Some(headers[1].1));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("cookie"), None);
    assert_eq!(seen.json()["thinking"], body["thinking"]);
    // Other providers do not see the query, nor what only Anthropic knows.
    let body = Client::Messages.body("gemini", false);
    let (status, _) =
        send(&gateway, "/v1/messages?beta=true&key=x", &headers, &body.to_string()).await;
    assert_eq!(status, 200);
    let seen = &upstream.seen()[1];
    assert!(!seen.path.contains('?'), "{}", seen.path);
    assert_eq!(seen.header("anthropic-beta"), None);
}

/// What gateways put into answers comes back in the next request, which may go to somebody else.
#[tokio::test]
async fn marks_of_gateways_do_not_reach_providers_that_refuse_them() {
    let (gateway, upstream) = answering().await;
    let echoed = json!({
        "role": "assistant", "content": "Hello", "reasoning_content": "hm",
        "thinking_blocks": [{ "type": "thinking", "thinking": "hm", "signature": "c2ln" }],
        "provider_specific_fields": { "citations": null },
    });
    let mut body = Client::Chat.body("chat", false);
    body["messages"] = json!([
        { "role": "user", "content": "hi" }, echoed, { "role": "user", "content": "again" },
    ]);
    let (status, told) = Client::Chat.tell(&gateway, &body).await;
    assert_eq!((status, &*told.text), (200, TEXT));
    let text = String::from_utf8(upstream.seen()[0].body.clone()).unwrap();
    for mark in ["thinking_blocks", "provider_specific_fields"] {
        assert!(!text.contains(mark), "{text}");
    }
    assert!(text.contains("again") && text.contains("Hello"), "{text}");
    assert_eq!(lane(&gateway, 1).await, "hub");
}

/// A conversation that began at another provider, with thoughts that Anthropic has not signed.
#[tokio::test]
async fn thoughts_that_anthropic_did_not_sign_do_not_reach_it() {
    let (gateway, upstream) = answering().await;
    // What the gateway itself told the client of another provider's thoughts.
    for provider in [Provider::Gemini, Provider::Responses, Provider::Ollama, Provider::Chat] {
        let body = Client::Messages.body(provider.name(), false);
        let answer = gateway.post("/v1/messages", &body).send().await.unwrap();
        let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let mut body = Client::Messages.body("anthropic", false);
        body["messages"] = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": said["content"] },
            { "role": "user", "content": "again" },
        ]);
        let (status, told) = Client::Messages.tell(&gateway, &body).await;
        assert_eq!((status, &*told.text), (200, TEXT));
        let sent = upstream.seen().pop().unwrap().json();
        let blocks = sent["messages"][1]["content"].as_array().cloned().unwrap_or_default();
        let thinks = |block: &&Value| block["type"] == "thinking";
        assert_eq!(blocks.iter().find(thinks), None, "{provider:?}: {sent}");
        assert!(sent.to_string().contains("w\u{f6}rld"), "{provider:?}: {sent}");
    }
    // Written by a client, with or without blanks.
    for signature in [r#""signature":"""#, r#""signature" : """#] {
        let body = format!(
            r#"{{"model":"anthropic","max_tokens":10,"messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"hm",{signature}}},{{"type":"text","text":"ok"}}]}},{{"role":"user","content":"again"}}]}}"#
        );
        let (status, text) = send(&gateway, "/v1/messages", &[], &body).await;
        assert_eq!(status, 200, "{text}");
        let sent = upstream.seen().pop().unwrap().json();
        assert!(!sent.to_string().contains("\"thinking\""), "{sent}");
    }
    // Its own come back as they are.
    let body = r#"{"model":"anthropic","max_tokens":10,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"ok"}]},{"role":"user","content":"again"}]}"#;
    let (status, _) = send(&gateway, "/v1/messages", &[], body).await;
    assert_eq!(status, 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        body.replace("\"anthropic\"", "\"claude-sonnet-4-5\"")
    );
}

/// OpenAI's encrypted thoughts, in a conversation that began at Anthropic.
#[tokio::test]
async fn thoughts_that_openai_did_not_encrypt_do_not_reach_it() {
    let (gateway, upstream) = answering().await;
    let mut body = Client::Responses.body("anthropic", false);
    body["include"] = json!(["reasoning.encrypted_content"]);
    let answer = gateway.post("/v1/responses", &body).send().await.unwrap();
    let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let carried = said["output"][0]["encrypted_content"].as_str().unwrap();
    let input = |said: &Value| {
        let mut input = vec![json!({ "role": "user", "content": "hi" })];
        input.extend(said["output"].as_array().unwrap().iter().cloned());
        input.push(json!({ "role": "user", "content": "again" }));
        input
    };
    // Back at Anthropic, the thought is its own again.
    body["input"] = input(&said).into();
    let (status, _) = Client::Responses.tell(&gateway, &body).await;
    assert_eq!(status, 200);
    let sent = upstream.seen().pop().unwrap().json();
    assert_eq!(sent["messages"][1]["content"][0]["signature"], "c2lnbmVk", "{sent}");
    // At OpenAI, it is not.
    body["model"] = "responses".into();
    let (status, told) = Client::Responses.tell(&gateway, &body).await;
    assert_eq!((status, &*told.text), (200, TEXT));
    let sent = upstream.seen().pop().unwrap();
    assert!(!String::from_utf8_lossy(&sent.body).contains(carried));
    assert!(sent.json().to_string().contains("again"));
    let rows = gateway.rows("lane", 3).await;
    assert_eq!(rows[2][0], Cell::from("hub".to_owned()));
}

/// One model of a provider that is told by its prefix or by `custom_llm_provider`.
fn particular(params: &str, address: SocketAddr) -> String {
    format!(
        "model_list:\n- model_name: m\n  litellm_params: {{{params}, api_base: \"http://{address}/v1\", api_key: k}}\n\
         virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n"
    )
}

#[tokio::test]
async fn providers_that_refuse_what_others_take_get_it_mended() {
    let rows = [
        ("model: groq/m", true),
        ("model: m, custom_llm_provider: groq", true),
        ("model: mistral/m", true),
        ("model: m, custom_llm_provider: mistral", true),
        ("model: cerebras/m", true),
        ("model: deepseek/deepseek-chat", true),
        ("model: openai/m", false),
    ];
    for (params, mends) in rows {
        let upstream = Upstream::start(|_| chat("ok")).await;
        let gateway = Gateway::start(&particular(params, upstream.address));
        let body = json!({
            "model": "m", "store": false, "logit_bias": { "1": 2 },
            "messages": [
                { "role": "developer", "content": "be brief", "name": "dev" },
                { "role": "user", "content": "hi" },
                { "role": "assistant", "content": "hm", "reasoning_content": "hm", "refusal": null },
                { "role": "user", "content": "go on" },
            ],
        });
        let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        let losses = answer.headers().get("x-tidegate-loss").cloned();
        assert_eq!(answer.status(), 200, "{params}");
        let sent = upstream.seen()[0].json();
        let what = format!("{params}: {sent}, lost {losses:?}");
        if mends {
            assert!(sent.get("store").is_none(), "{what}");
            assert!(losses.is_some(), "{what}");
            assert_eq!(lane(&gateway, 1).await, "hub", "{what}");
            assert_ne!(sent["messages"][0]["role"], "developer", "{what}");
        } else {
            // A server that only says it is compatible is trusted with what its client sends.
            assert_eq!(sent["store"], false, "{what}");
        }
        // What nobody refuses passes as it is.
        let plain = json!({
            "model": "m", "temperature": 0.5, "messages": [{ "role": "user", "content": "hi" }],
        });
        let (status, _) = send(&gateway, "/v1/chat/completions", &[], &plain.to_string()).await;
        assert_eq!(status, 200);
        let expected =
            plain.to_string().replace("\"model\":\"m\"", &format!("\"model\":{}", sent["model"]));
        assert_eq!(String::from_utf8_lossy(&upstream.seen()[1].body), expected, "{params}");
        assert_eq!(lane(&gateway, 2).await, "verbatim", "{params}");
    }
}

#[tokio::test]
async fn thoughts_go_into_the_text_where_the_operator_wants_them_there() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let merge = "api_key: sk-upstream-0123456789, merge_reasoning_content_in_choices: true";
    let config = providers::config(upstream.address);
    let gateway = Gateway::start(&config.replace("api_key: sk-upstream-0123456789", merge));
    for provider in Provider::ALL {
        for stream in [false, true] {
            let body = Client::Chat.body(provider.name(), stream);
            let (status, told) = Client::Chat.tell(&gateway, &body).await;
            assert_eq!(status, 200);
            assert!(told.complete && told.thoughts.is_empty(), "{provider:?}, {stream}: {told:?}");
            let (thought, text) =
                told.text.split_once("</think>").unwrap_or_else(|| panic!("{told:?}"));
            assert_eq!(thought.trim_start_matches("<think>").trim(), providers::THOUGHT);
            assert!(thought.starts_with("<think>"), "{told:?}");
            assert_eq!(text.trim_start(), TEXT, "{provider:?}, {stream}");
        }
    }
}

/// What the client sent back of a merged answer is plain text, and stays that.
#[tokio::test]
async fn a_server_without_responses_is_asked_for_chat() {
    let upstream = Upstream::start(|seen| {
        if seen.path.ends_with("/responses") {
            return upstream::json(404, "", r#"{"detail":"Not Found"}"#);
        }
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let gateway = Gateway::start(&particular("model: openai/up", upstream.address));
    for stream in [false, true] {
        let (status, told) =
            Client::Responses.tell(&gateway, &Client::Responses.body("m", stream)).await;
        assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{told:?}");
    }
    // Told so, it is not even asked.
    let params = "model: openai/up, use_chat_completions_api: true";
    let gateway = Gateway::start(&particular(params, upstream.address));
    let count = upstream.seen().len();
    let (status, told) =
        Client::Responses.tell(&gateway, &Client::Responses.body("m", false)).await;
    assert_eq!((status, &*told.text), (200, TEXT));
    let paths: Vec<_> = upstream.seen().into_iter().skip(count).map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/chat/completions"]);
}

#[tokio::test]
async fn a_chat_client_is_served_by_responses() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let gateway = Gateway::start(&particular("model: openai/responses/gpt-5.1", upstream.address));
    let mut body = Client::Chat.body("m", false);
    body["reasoning_effort"] = "low".into();
    body["tools"] = json!([{ "type": "function", "function": {
        "name": "look", "parameters": { "type": "object", "properties": {} },
    } }]);
    let (status, told) = Client::Chat.tell(&gateway, &body).await;
    assert_eq!((status, &*told.text), (200, TEXT));
    let seen = &upstream.seen()[0];
    assert_eq!((&*seen.path, &seen.json()["model"]), ("/v1/responses", &json!("gpt-5.1")));
    assert_eq!(seen.json()["reasoning"]["effort"], "low");
    assert_eq!(seen.json()["tools"][0]["name"], "look");
}

/// Legacy completions: prompts, suffixes and echoes over providers that know conversations only.
#[tokio::test]
async fn completions_are_served_by_every_provider() {
    let (gateway, upstream) = answering().await;
    for provider in [Provider::Anthropic, Provider::Ollama] {
        let body = json!({
            "model": provider.name(), "prompt": ["once upon"], "max_tokens": 9, "stop": "\n\n",
            "temperature": 0.1, "echo": false,
        });
        let answer = gateway.post("/v1/completions", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(said["object"], "text_completion");
        assert_eq!(said["choices"][0]["text"], TEXT);
        assert_eq!(said["model"], provider.name());
        let sent = upstream.seen().pop().unwrap().json();
        assert!(sent.to_string().contains("once upon"), "{sent}");
    }
    // Several prompts at once would be several answers.
    let body = json!({ "model": "anthropic", "prompt": ["a", "b"] });
    let (status, text) = send(&gateway, "/v1/completions", &[], &body.to_string()).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("prompt"), "{text}");
}

/// A stream that was asked for without usage is asked for with it, and the client does not see it.
#[tokio::test]
async fn usage_that_the_client_did_not_ask_for_is_counted_only() {
    let (gateway, _upstream) = answering().await;
    for provider in Provider::ALL {
        let mut body = Client::Chat.body(provider.name(), true);
        body.as_object_mut().unwrap().remove("stream_options");
        let (status, told) = Client::Chat.tell(&gateway, &body).await;
        assert_eq!((status, told.complete, told.usage), (200, true, None), "{provider:?}");
    }
    let rows = gateway.rows("input_tokens, output_tokens", Provider::ALL.len()).await;
    assert!(rows.iter().all(|row| row[..] == [Cell::from(11), Cell::from(7)]), "{rows:?}");
}

/// Headers that clients and SDKs steer by come along on every lane; those of the provider's own house do not.
#[tokio::test]
async fn headers_of_the_answer_come_along() {
    let headers = "x-ratelimit-remaining-tokens: 17\r\nanthropic-ratelimit-requests-remaining: 3\r\n\
                   set-cookie: a=b\r\nserver: upstream\r\nrequest-id: req_up\r\n";
    let upstream = Upstream::start(move |seen| {
        let provider = providers::asked(seen);
        upstream::json(200, headers, &provider.whole())
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let clients = [Client::Chat, Client::Responses, Client::Messages];
    let mut count = 0;
    for client in clients {
        for provider in Provider::ALL {
            let body = client.body(provider.name(), false);
            let answer = gateway.post(client.path(), &body).send().await.unwrap();
            let what = format!("{client:?} over {provider:?}: {:?}", answer.headers());
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("x-ratelimit-remaining-tokens"), Some("17"), "{what}");
            assert_eq!(header("anthropic-ratelimit-requests-remaining"), Some("3"), "{what}");
            assert_eq!(header("set-cookie"), None, "{what}");
            assert_ne!(header("server"), Some("upstream"), "{what}");
            assert_ne!(header("x-request-id"), Some("req_up"), "{what}");
            count += 1;
        }
    }
    let rows = gateway.rows("upstream_request_id", count).await;
    assert!(rows.iter().all(|row| row[0] == Cell::from("req_up".to_owned())), "{rows:?}");
}

/// A conversation with tools that moves from provider to provider, as Open WebUI sends it.
#[tokio::test]
async fn a_tool_turn_reaches_every_provider() {
    let (gateway, upstream) = answering().await;
    for provider in Provider::ALL {
        let body = json!({
            "model": provider.name(),
            "messages": [
                { "role": "user", "content": "weather?" },
                { "role": "assistant", "content": "", "tool_calls": [
                    { "index": 0, "id": "call_1", "type": "function",
                      "function": { "name": "look", "arguments": "" } },
                    { "index": 1, "id": "call_2", "type": "function",
                      "function": { "name": "look", "arguments": "{\"at\": \"K\u{f6}ln\"}" } },
                ] },
                { "role": "tool", "tool_call_id": "call_2", "content": "rain" },
                { "role": "tool", "tool_call_id": "call_1", "content": "sun" },
            ],
            "tools": [{ "type": "function", "function": {
                "name": "look", "description": "looks",
                "parameters": { "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object", "properties": { "at": { "type": ["string", "null"] } } },
            } }],
        });
        let (status, told) = Client::Chat.tell(&gateway, &body).await;
        assert_eq!((status, &*told.text), (200, TEXT), "{provider:?}: {told:?}");
        let sent = upstream.seen().pop().unwrap().json().to_string();
        for word in ["rain", "sun", "K\u{f6}ln", "look"] {
            assert!(sent.contains(word), "{provider:?}: {sent}");
        }
    }
}

/// A client that asks for one provider's stream is not told by another's name.
#[tokio::test]
async fn the_model_has_the_name_that_was_asked_for() {
    let (gateway, _upstream) = answering().await;
    for provider in Provider::ALL {
        for (client, at) in
            [(Client::Chat, "/model"), (Client::Messages, "/model"), (Client::Responses, "/model")]
        {
            let body = client.body(provider.name(), false);
            let answer = gateway.post(client.path(), &body).send().await.unwrap();
            let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            let is_own = matches!(
                (client, provider),
                (Client::Chat, Provider::Chat)
                    | (Client::Responses, Provider::Responses)
                    | (Client::Messages, Provider::Anthropic)
            );
            if !is_own {
                assert_eq!(said.pointer(at).unwrap(), provider.name(), "{client:?} {provider:?}");
            }
        }
    }
}

/// Streams of the verbatim lane, with marks in the history, are translated too.
#[tokio::test]
async fn a_mark_inside_a_text_is_no_mark() {
    let upstream = Upstream::start(|_| {
        vec![events_head(), chunk(&Provider::Chat.events().concat()), last_chunk()]
    })
    .await;
    let gateway = Gateway::start(&particular("model: openai/up", upstream.address));
    let mut body = Client::Chat.body("m", true);
    body["messages"][0]["content"] = "what is \"thinking_blocks\" and \"signature\":\"\"?".into();
    let (status, told) = Client::Chat.tell(&gateway, &body).await;
    assert_eq!((status, told.complete), (200, true));
    assert_eq!(lane(&gateway, 1).await, "verbatim");
}
