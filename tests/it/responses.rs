//! Responses that outlive their request: conversations that go on by `previous_response_id` over every provider,
//! what can be asked of a stored response, compaction, and servers that have no `/responses`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::dialect::{ALL, Dialect, Say};
use crate::support::gateway::{Gateway, KEY, MASTER};
use crate::support::upstream::{Step, Upstream, chunk, events_head, json as whole, last_chunk};

const OTHER_KEY: &str = "sk-other-0123456789abcdefghij";

/// A configuration: each model's name and its `litellm_params`.
fn config(models: &[(&str, String)]) -> String {
    let entries: String = models
        .iter()
        .map(|(name, params)| format!("- {{model_name: {name}, litellm_params: {params}}}\n"))
        .collect();
    format!(
        "general_settings: {{master_key: {MASTER}}}\nmodel_list:\n{entries}virtual_keys:\n\
         - {{api_key: {KEY}, key_alias: tester, models: ['*']}}\n\
         - {{api_key: {OTHER_KEY}, key_alias: other, models: ['*']}}\n"
    )
}

/// The parameters of a server in OpenAI's format, which may have responses.
fn openai(upstream: &Upstream) -> String {
    format!("{{model: openai/up, api_base: '{}', api_key: sk-upstream}}", upstream.base())
}

/// A provider that answers each request with the next of these, and the gateway before it.
async fn scripted(dialect: Dialect, says: &'static [&'static [Say]]) -> (Upstream, Gateway) {
    let next = AtomicUsize::new(0);
    let upstream = Upstream::start(move |seen| {
        let at = next.fetch_add(1, Ordering::SeqCst);
        dialect.answer(seen, says[at % says.len()])
    })
    .await;
    let gateway = Gateway::start(&config(&[("m", dialect.params(upstream.address))]));
    (upstream, gateway)
}

/// Sends a body; status and JSON.
async fn sent(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

/// Asks for a response, streamed or not; the response object.
async fn ask(gateway: &Gateway, body: &Value, is_stream: bool) -> Value {
    let mut body = body.clone();
    if !is_stream {
        let (status, response) = sent(gateway.post("/v1/responses", &body)).await;
        assert_eq!(status, 200, "{response}");
        return response;
    }
    body["stream"] = true.into();
    let answer = gateway.post("/v1/responses", &body).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last.split_once("data: ").unwrap().1;
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["type"], "response.completed", "{text}");
    event["response"].clone()
}

fn restart(gateway: &mut Gateway) -> Gateway {
    let directory = std::mem::replace(&mut gateway.directory, TempDir::new().unwrap());
    Gateway::start_in(directory, "config.yaml", &[])
}

fn looks() -> Value {
    json!([{ "type": "function", "name": "look", "strict": false,
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } } }])
}

#[tokio::test]
async fn a_conversation_goes_on_over_every_provider() {
    for dialect in ALL {
        for is_stream in [false, true] {
            let says: &[&[Say]] =
                &[&[Say::Text("one")], &[Say::Text("two")], &[Say::Text("three")]];
            let (upstream, gateway) = scripted(dialect, says).await;
            let first = json!({ "model": "m", "input": "a", "instructions": "Be brief." });
            let first = ask(&gateway, &first, is_stream).await;
            assert_eq!(first["instructions"], "Be brief.");
            let second = json!({ "model": "m", "previous_response_id": first["id"],
                "input": [{ "role": "user", "content": "b" }] });
            let second = ask(&gateway, &second, is_stream).await;
            assert_eq!(second["previous_response_id"], first["id"], "{dialect:?}: {second:#}");
            assert_eq!(second["instructions"], Value::Null);
            let third = json!({ "model": "m", "previous_response_id": second["id"],
                "instructions": "Be long.", "input": "c" });
            let third = ask(&gateway, &third, is_stream).await;
            assert_eq!(third["output"][0]["content"][0]["text"], "three");
            let heard: Vec<_> = upstream.seen().iter().map(|seen| dialect.heard(seen)).collect();
            assert_eq!(heard[0], ["system: Be brief.", "user: a"], "{dialect:?}");
            assert_eq!(heard[1], ["user: a", "assistant: one", "user: b"], "{dialect:?}");
            let all = [
                "system: Be long.",
                "user: a",
                "assistant: one",
                "user: b",
                "assistant: two",
                "user: c",
            ];
            assert_eq!(heard[2], all, "{dialect:?}");
            for seen in upstream.seen() {
                let body = String::from_utf8_lossy(&seen.body).into_owned();
                assert!(!body.contains("previous_response_id"), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn tools_and_their_results_are_in_the_history() {
    for dialect in ALL {
        for is_stream in [false, true] {
            let says: &[&[Say]] = &[
                &[Say::Text("Looking."), Say::Look(r#"{"q":"x"}"#)],
                &[Say::Text("It is blue.")],
                &[Say::Text("Bye.")],
            ];
            let (upstream, gateway) = scripted(dialect, says).await;
            let first = json!({ "model": "m", "input": "a", "tools": looks() });
            let first = ask(&gateway, &first, is_stream).await;
            let call = first["output"].as_array().unwrap().last().unwrap();
            assert_eq!(call["type"], "function_call", "{first:#}");
            let second = json!({ "model": "m", "previous_response_id": first["id"], "tools": looks(),
                "input": [{ "type": "function_call_output", "call_id": call["call_id"], "output": "blue" }] });
            let second = ask(&gateway, &second, is_stream).await;
            // A fork: the same beginning twice.
            for _ in 0..2 {
                let third =
                    json!({ "model": "m", "previous_response_id": second["id"], "input": "b" });
                ask(&gateway, &third, is_stream).await;
            }
            let heard: Vec<_> = upstream.seen().iter().map(|seen| dialect.heard(seen)).collect();
            let before = [
                "user: a",
                "assistant: Looking.",
                r#"assistant calls look {"q":"x"}"#,
                "result blue",
            ];
            // Gemini 3 wants a seal with each call, and has one for calls that lost theirs.
            let plain = |heard: &Vec<String>| -> Vec<String> {
                heard
                    .iter()
                    .map(|said| said.replace(" (skip_thought_signature_validator)", ""))
                    .collect()
            };
            assert_eq!(plain(&heard[1]), before, "{dialect:?}");
            for last in &heard[2..4] {
                assert_eq!(plain(last)[..4], before, "{dialect:?}");
                assert_eq!(last[4..], ["assistant: It is blue.", "user: b"], "{dialect:?}");
            }
        }
    }
}

#[tokio::test]
async fn thoughts_and_their_seals_are_kept_though_nobody_asked_to_see_them() {
    for (dialect, thought) in [
        (Dialect::Anthropic, "assistant thinks Hm. (c2VhbA==)"),
        (Dialect::Gemini, r#"assistant calls look {"q":"x"} (c2VhbA==)"#),
        (Dialect::Ollama, "assistant thinks Hm."),
    ] {
        for is_stream in [false, true] {
            let says: &[&[Say]] = &[
                &[Say::Thought("Hm.", "c2VhbA=="), Say::Look(r#"{"q":"x"}"#)],
                &[Say::Text("It is blue.")],
            ];
            let (upstream, gateway) = scripted(dialect, says).await;
            let reasoning = json!({ "effort": "medium" });
            let first =
                json!({ "model": "m", "input": "a", "tools": looks(), "reasoning": reasoning });
            let first = ask(&gateway, &first, is_stream).await;
            let output = first["output"].as_array().unwrap();
            let call = output.iter().find(|item| item["type"] == "function_call").unwrap();
            let second = json!({ "model": "m", "previous_response_id": first["id"], "tools": looks(),
                "reasoning": reasoning,
                "input": [{ "type": "function_call_output", "call_id": call["call_id"], "output": "blue" }] });
            ask(&gateway, &second, is_stream).await;
            let heard = dialect.heard(&upstream.seen()[1]);
            assert!(
                heard.iter().any(|said| said == thought),
                "{dialect:?} {is_stream}: {heard:#?}"
            );
        }
    }
}

#[tokio::test]
async fn a_conversation_moves_from_one_provider_to_another() {
    let mut upstreams = Vec::new();
    let mut models = Vec::new();
    for (dialect, name) in ALL.into_iter().zip(["chat", "anthropic", "gemini", "ollama"]) {
        let says = [Say::Thought("Hm.", "c2VhbA=="), Say::Text(name)];
        let upstream = Upstream::start(move |seen| dialect.answer(seen, &says)).await;
        models.push((name, dialect.params(upstream.address)));
        upstreams.push((dialect, upstream));
    }
    let gateway = Gateway::start(&config(&models));
    let mut previous = Value::Null;
    for (name, _) in models.iter().chain(&models) {
        let body = json!({ "model": name, "previous_response_id": previous, "input": "go on" });
        let response = ask(&gateway, &body, false).await;
        previous = response["id"].clone();
    }
    for (dialect, upstream) in &upstreams {
        let heard = dialect.heard(upstream.seen().last().unwrap());
        // No seal goes to anyone but its own maker.
        let said: Vec<&String> = heard.iter().filter(|said| said.starts_with("user")).collect();
        assert!(said.len() >= 5, "{dialect:?}: {heard:#?}");
        let seals = heard.iter().filter(|said| said.contains("c2VhbA==")).count();
        assert!(seals <= 1, "{dialect:?}: {heard:#?}");
    }
}

#[tokio::test]
async fn what_is_not_stored_is_not_found() {
    let (upstream, gateway) = scripted(Dialect::Chat, &[&[Say::Text("one")]]).await;
    let body = json!({ "model": "m", "input": "a", "store": false });
    let unstored = ask(&gateway, &body, false).await["id"].as_str().unwrap().to_owned();
    let stored = ask(&gateway, &json!({ "model": "m", "input": "a" }), true).await;
    let stored = stored["id"].as_str().unwrap().to_owned();
    let asked = upstream.seen().len();
    let go_on = |key: &str, id: &str| {
        let body = json!({ "model": "m", "input": "b", "previous_response_id": id });
        let request = gateway.client.post(gateway.url("/v1/responses")).bearer_auth(key);
        sent(request.header("content-type", "application/json").body(body.to_string()))
    };
    // The master key is a key like any other here: it has not made the response.
    let cases =
        [(KEY, unstored.as_str()), (KEY, "resp_none"), (OTHER_KEY, &stored), (MASTER, &stored)];
    for (key, id) in cases {
        let (status, body) = go_on(key, id).await;
        assert_eq!(status, 400, "{key} {id}: {body}");
        assert_eq!(body["error"]["code"], "previous_response_not_found");
        assert_eq!(body["error"]["param"], "previous_response_id");
        for path in [format!("/v1/responses/{id}"), format!("/v1/responses/{id}/input_items")] {
            let (status, body) =
                sent(gateway.client.get(gateway.url(&path)).bearer_auth(key)).await;
            assert_eq!(
                (status, &body["error"]["code"]),
                (404, &"response_not_found".into()),
                "{path}"
            );
            assert_eq!(body["error"]["type"], "invalid_request_error");
        }
        for request in [
            gateway.client.delete(gateway.url(&format!("/v1/responses/{id}"))),
            gateway.client.post(gateway.url(&format!("/v1/responses/{id}/cancel"))),
        ] {
            assert_eq!(sent(request.bearer_auth(key)).await.0, 404);
        }
    }
    assert_eq!(upstream.seen().len(), asked, "nothing is asked with half a conversation");
    // Nobody without a key learns anything.
    let (status, body) =
        sent(gateway.client.get(gateway.url(&format!("/v1/responses/{stored}")))).await;
    assert_eq!((status, &body["error"]["code"]), (401, &"invalid_api_key".into()));
    assert_eq!(go_on(KEY, &stored).await.0, 200);
    for wrong in [json!(7), json!(["resp"]), json!({})] {
        let body = json!({ "model": "m", "input": "b", "previous_response_id": wrong });
        let (status, body) = sent(gateway.post("/v1/responses", &body)).await;
        assert_eq!((status, &body["error"]["param"]), (400, &"previous_response_id".into()));
    }
}

#[tokio::test]
async fn a_stored_response_is_shown_listed_and_deleted() {
    let (_upstream, gateway) = scripted(Dialect::Anthropic, &[&[Say::Text("one")]]).await;
    let first = json!({ "model": "m", "metadata": { "a": "b" }, "instructions": "Be brief.",
        "input": [{ "role": "user", "content": "a" },
            { "role": "assistant", "content": [{ "type": "output_text", "text": "b" }] },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "c" }] }] });
    let first = ask(&gateway, &first, false).await;
    let second = json!({ "model": "m", "previous_response_id": first["id"], "input": "d" });
    let second = ask(&gateway, &second, true).await;
    let path = |response: &Value| format!("/v1/responses/{}", response["id"].as_str().unwrap());
    for response in [&first, &second] {
        let (status, shown) = sent(gateway.get(&path(response))).await;
        assert_eq!((status, &shown), (200, response), "what was answered is what is shown");
    }
    let items = format!("{}/input_items", path(&second));
    let list = async |query: &str| {
        let (status, page) = sent(gateway.get(&format!("{items}{query}"))).await;
        assert_eq!((status, &page["object"]), (200, &"list".into()), "{query}: {page}");
        page
    };
    let texts = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().unwrap().iter();
        data.map(|item| item["content"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    let all = list("?order=asc").await;
    assert_eq!(texts(&all), ["a", "b", "c", "one", "d"]);
    assert_eq!(all["has_more"], false);
    let ids: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.starts_with("msg_")), "{ids:?}");
    assert_eq!((&all["first_id"], &all["last_id"]), (&json!(ids[0]), &json!(ids[4])));
    assert_eq!(texts(&list("").await), ["d", "one", "c", "b", "a"]);
    // Two at a time, to the end, in either order.
    for order in ["asc", "desc"] {
        let (mut got, mut after) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("?order={order}&limit=2{after}")).await;
            got.extend(texts(&page));
            if page["has_more"] == false {
                break;
            }
            after = format!("&after={}", page["last_id"].as_str().unwrap());
        }
        let mut expected = ["a", "b", "c", "one", "d"];
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(got, expected, "{order}");
    }
    for query in ["?limit=0", "?limit=101", "?limit=x", "?order=up", "?after=msg_none"] {
        let (status, body) = sent(gateway.get(&format!("{items}{query}"))).await;
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body["error"]["param"].is_string(), "{query}: {body}");
    }
    let cancel =
        gateway.client.post(gateway.url(&format!("{}/cancel", path(&first)))).bearer_auth(KEY);
    let (status, body) = sent(cancel).await;
    assert_eq!((status, &body["error"]["type"]), (400, &"invalid_request_error".into()));
    let (status, body) = sent(gateway.get(&format!("{}?stream=true", path(&first)))).await;
    assert_eq!((status, &body["error"]["param"]), (400, &"stream".into()), "{body}");
    // Deleted, it is gone, and so is what went on from it.
    let delete = || gateway.client.delete(gateway.url(&path(&first))).bearer_auth(KEY);
    let (status, body) = sent(delete()).await;
    assert_eq!(
        (status, body),
        (200, json!({ "id": first["id"], "object": "response", "deleted": true }))
    );
    assert_eq!(sent(delete()).await.0, 404);
    assert_eq!(sent(gateway.get(&path(&first))).await.0, 404);
    let body = json!({ "model": "m", "previous_response_id": second["id"], "input": "e" });
    assert_eq!(
        sent(gateway.post("/v1/responses", &body)).await.0,
        400,
        "never half a conversation"
    );
}

#[tokio::test]
async fn items_can_be_referred_to() {
    for dialect in ALL {
        let (upstream, gateway) = scripted(dialect, &[&[Say::Text("one")]]).await;
        let first = json!({ "model": "m", "input": [{ "id": "msg_mine", "role": "user", "content": "a" }] });
        let first = ask(&gateway, &first, false).await;
        let body = json!({ "model": "m", "input": [
            { "type": "item_reference", "id": "msg_mine" },
            // Without a type, too.
            { "id": first["output"][0]["id"] },
            { "role": "user", "content": "b" }] });
        ask(&gateway, &body, true).await;
        assert_eq!(dialect.heard(&upstream.seen()[1]), ["user: a", "assistant: one", "user: b"]);
        // One that nobody knows is no reason to ask with less than was meant.
        let body =
            json!({ "model": "m", "input": [{ "type": "item_reference", "id": "msg_none" }] });
        let (status, body) = sent(gateway.post("/v1/responses", &body)).await;
        assert_eq!(status, 400, "{dialect:?}: {body}");
    }
}

/// What is known here is put in place, and what only the provider knows is not left out for it.
#[tokio::test]
async fn a_reference_does_not_cut_off_what_the_provider_keeps() {
    let (chat, keeps) = (scripted(Dialect::Chat, &[&[Say::Text("one")]]).await, native("a").await);
    let models = [("chat", Dialect::Chat.params(chat.0.address)), ("m", openai(&keeps))];
    let gateway = Gateway::start(&config(&models));
    let told = ask(&gateway, &json!({ "model": "chat", "input": "a" }), false).await;
    let kept = ask(&gateway, &json!({ "model": "m", "input": "b" }), false).await;
    let body = json!({ "model": "m", "previous_response_id": kept["id"],
        "input": [{ "type": "item_reference", "id": told["output"][0]["id"] }] });
    let (status, _) = sent(gateway.post("/v1/responses", &body)).await;
    let seen = keeps.seen().pop().unwrap().json();
    assert!(status == 400 || seen["previous_response_id"] == kept["id"], "{status}: {seen}");
}

#[tokio::test]
async fn conversations_outlive_a_restart_and_an_edit() {
    let says: &[&[Say]] = &[&[Say::Text("one")], &[Say::Text("two")], &[Say::Text("three")]];
    let (upstream, mut gateway) = scripted(Dialect::Gemini, says).await;
    let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), true).await;
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let gateway = restart(&mut gateway);
    let second = json!({ "model": "m", "previous_response_id": first["id"], "input": "b" });
    let second = ask(&gateway, &second, false).await;
    // Another name, another address, the other lines moved: the key is the same.
    let models =
        [("z", "{model: mock}".to_owned()), ("new", Dialect::Gemini.params(upstream.address))];
    std::fs::write(gateway.path("config.yaml"), config(&models)).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    let third = json!({ "model": "new", "previous_response_id": second["id"], "input": "c" });
    ask(&gateway, &third, false).await;
    let heard = Dialect::Gemini.heard(&upstream.seen()[2]);
    assert_eq!(heard, ["user: a", "assistant: one", "user: b", "assistant: two", "user: c"]);
}

#[tokio::test]
async fn an_answer_that_broke_off_is_not_stored() {
    let upstream = Upstream::start(|seen| match seen.json()["messages"][0]["content"].as_str() {
        Some("cut") => {
            let begun = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
            vec![events_head(), chunk(begun.as_bytes()), Step::Close]
        }
        _ => Dialect::Chat.answer(seen, &[Say::Text("one")]),
    })
    .await;
    let gateway = Gateway::start(&config(&[("m", Dialect::Chat.params(upstream.address))]));
    let body = json!({ "model": "m", "input": "cut", "stream": true });
    let text = gateway.post("/v1/responses", &body).send().await.unwrap().text().await.unwrap();
    let data = text.trim_end().rsplit("data: ").next().unwrap();
    let failed: Value = serde_json::from_str(data).unwrap();
    assert_eq!(failed["type"], "response.failed");
    let id = failed["response"]["id"].as_str().unwrap();
    assert_eq!(sent(gateway.get(&format!("/v1/responses/{id}"))).await.0, 404);
}

/// A provider that has responses itself, and says who it is.
async fn native(name: &'static str) -> Upstream {
    let number = AtomicUsize::new(0);
    Upstream::start(move |seen| {
        if seen.path != "/v1/responses" {
            let body = json!({ "id": "resp_x", "object": "response", "asked": seen.path, "by": name });
            return whole(200, "", &body.to_string());
        }
        let number = number.fetch_add(1, Ordering::SeqCst);
        let response = json!({ "id": format!("resp_{name}{number}"), "object": "response", "created_at": 1,
            "status": "completed", "model": "up", "output": [], "usage": null });
        if seen.json()["stream"] != true {
            return whole(200, "", &response.to_string());
        }
        let event = |kind: &str, number: u8| {
            let data = json!({ "type": kind, "sequence_number": number, "response": response });
            chunk(format!("event: {kind}\ndata: {data}\n\n").as_bytes())
        };
        vec![events_head(), event("response.created", 0), event("response.completed", 1), last_chunk()]
    })
    .await
}

#[tokio::test]
async fn a_provider_that_keeps_responses_is_asked_again() {
    let (a, b) = (native("a").await, native("b").await);
    let mut models =
        vec![("m", openai(&a)), ("m", openai(&b)), ("chat", "{model: mock}".to_owned())];
    let gateway = Gateway::start(&config(&models));
    for is_stream in [false, true] {
        let mut response = ask(&gateway, &json!({ "model": "m", "input": "a" }), is_stream).await;
        let keeper = response["id"].as_str().unwrap().to_owned();
        let keeper = &keeper[..6];
        for _ in 0..8 {
            let body =
                json!({ "model": "m", "input": "b", "previous_response_id": response["id"] });
            let next = ask(&gateway, &body, is_stream).await;
            assert!(next["id"].as_str().unwrap().starts_with(keeper), "{next} is not at {keeper}");
            let upstream = if keeper == "resp_a" { &a } else { &b };
            let sent = upstream.seen().last().unwrap().json();
            assert_eq!(sent["previous_response_id"], response["id"], "it knows the rest itself");
            assert_eq!(sent["input"], "b");
            response = next;
        }
    }
    let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), false).await;
    let id = first["id"].as_str().unwrap();
    let name = &id[5..6];
    let upstream = if name == "a" { &a } else { &b };
    let path = format!("/v1/responses/{id}");
    for (request, asked) in [
        (gateway.get(&path), path.clone()),
        (gateway.get(&format!("{path}?include=x")), format!("{path}?include=x")),
        (
            gateway.get(&format!("{path}/input_items?limit=3&order=asc")),
            format!("{path}/input_items?limit=3&order=asc"),
        ),
        (
            gateway.client.post(gateway.url(&format!("{path}/cancel"))).bearer_auth(KEY),
            format!("{path}/cancel"),
        ),
    ] {
        let (status, body) = sent(request).await;
        assert_eq!((status, &body["by"], &body["asked"]), (200, &json!(name), &json!(asked)));
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.header("authorization"), Some("Bearer sk-upstream"));
    }
    // Not to another key, to go on from neither, though the provider would know it; and no other model leads there.
    let asked = a.seen().len() + b.seen().len();
    for key in [OTHER_KEY, MASTER] {
        let body = json!({ "model": "m", "input": "b", "previous_response_id": id });
        let request = gateway.client.post(gateway.url("/v1/responses")).bearer_auth(key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let (status, body) = sent(request).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (400, &"previous_response_not_found".into()),
            "{key}"
        );
    }
    assert_eq!(a.seen().len() + b.seen().len(), asked);
    let other = gateway.client.get(gateway.url(&path)).bearer_auth(OTHER_KEY);
    assert_eq!(sent(other).await.0, 404);
    let body = json!({ "model": "chat", "input": "b", "previous_response_id": id });
    let (status, body) = sent(gateway.post("/v1/responses", &body)).await;
    assert_eq!((status, &body["error"]["code"]), (400, &"previous_response_not_found".into()));
    // The model moves: the response stays where it is.
    models = vec![("m", Dialect::Chat.params(a.address))];
    std::fs::write(gateway.path("config.yaml"), config(&models)).unwrap();
    gateway.health_until(|health| health["config"]["generation"] == 2).await;
    let body = json!({ "model": "m", "input": "b", "previous_response_id": id });
    let (status, body) = sent(gateway.post("/v1/responses", &body)).await;
    assert_eq!((status, &body["error"]["code"]), (400, &"previous_response_not_found".into()));
    assert!(body["error"]["message"].as_str().unwrap().contains("kept by a provider"), "{body}");
    assert_eq!(sent(gateway.get(&path)).await.0, 404);
}

#[tokio::test]
async fn a_deleted_response_is_deleted_where_it_is_kept() {
    let upstream = native("a").await;
    let gateway = Gateway::start(&config(&[("m", openai(&upstream))]));
    let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), true).await;
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    let delete = || gateway.client.delete(gateway.url(&path)).bearer_auth(KEY);
    assert_eq!(
        sent(delete()).await,
        (200, json!({ "id": "resp_x", "object": "response", "asked": path, "by": "a" }))
    );
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(sent(delete()).await.0, 404);
    assert_eq!(upstream.seen().len(), 2, "and asked no more");
    // What went on from one that was deleted is there as before: the provider has the rest.
    let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), true).await;
    let body = json!({ "model": "m", "input": "b", "previous_response_id": first["id"] });
    let second = ask(&gateway, &body, false).await;
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    assert_eq!(sent(gateway.client.delete(gateway.url(&path)).bearer_auth(KEY)).await.0, 200);
    let path = format!("/v1/responses/{}", second["id"].as_str().unwrap());
    assert_eq!(sent(gateway.get(&path)).await.0, 200);
}

/// More deployments than are tried: the one that keeps the response is found all the same.
#[tokio::test]
async fn the_keeper_is_found_among_many() {
    let mut upstreams = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        upstreams.push(native(name).await);
    }
    let models: Vec<_> = upstreams.iter().map(|upstream| ("m", openai(upstream))).collect();
    let gateway = Gateway::start(&(config(&models) + "router_settings: {num_retries: 0}\n"));
    for _ in 0..8 {
        let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), false).await;
        let at = |text: &str| {
            let sent = |upstream: &&Upstream| {
                upstream.seen().last().is_some_and(|seen| seen.json()["input"] == text)
            };
            upstreams.iter().find(sent).unwrap().address
        };
        let keeper = at("a");
        let body = json!({ "model": "m", "input": "b", "previous_response_id": first["id"] });
        ask(&gateway, &body, false).await;
        assert_eq!(at("b"), keeper);
        // From the next round on, no last request is an old one.
        for upstream in &upstreams {
            let path = upstream.base() + "/forget";
            let forget = reqwest::Client::builder().no_proxy().build().unwrap().post(path);
            forget.body("{\"input\":\"\"}").send().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_words() {
    let upstream = native("a").await;
    let chat = ("chat", Dialect::Chat.params(upstream.address));
    let gateway = Gateway::start(&config(&[chat, ("native", openai(&upstream))]));
    for (model, field, value) in [
        ("chat", "conversation", json!("conv_1")),
        ("chat", "conversation", json!({ "id": "conv_1" })),
        ("native", "conversation", json!("conv_1")),
        ("chat", "background", json!(true)),
    ] {
        let mut body = json!({ "model": model, "input": "a" });
        body[field] = value;
        let (status, body) = sent(gateway.post("/v1/responses", &body)).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(field)), "{model}: {body}");
    }
    assert!(upstream.seen().is_empty());
    // No value is no wish.
    let body = json!({ "model": "native", "input": "a", "conversation": null, "background": false,
        "previous_response_id": null });
    assert_eq!(sent(gateway.post("/v1/responses", &body)).await.0, 200);
}

#[tokio::test]
async fn a_compacted_conversation_goes_on_at_another_provider() {
    for (from, to) in [
        (Dialect::Chat, Dialect::Anthropic),
        (Dialect::Anthropic, Dialect::Gemini),
        (Dialect::Gemini, Dialect::Ollama),
        (Dialect::Ollama, Dialect::Chat),
    ] {
        let maker =
            Upstream::start(move |seen| from.answer(seen, &[Say::Text("They want blue.")])).await;
        let next = Upstream::start(move |seen| to.answer(seen, &[Say::Text("Blue it is.")])).await;
        let models = [("from", from.params(maker.address)), ("to", to.params(next.address))];
        let gateway = Gateway::start(&config(&models));
        let first =
            json!({ "model": "from", "input": "Which colour?", "instructions": "Be brief." });
        let first = ask(&gateway, &first, false).await;
        let body = json!({ "model": "from", "previous_response_id": first["id"],
            "input": [{ "role": "user", "content": "Paint it." }], "instructions": "Be brief." });
        let (status, compacted) = sent(gateway.post("/v1/responses/compact", &body)).await;
        assert_eq!(status, 200, "{compacted}");
        assert_eq!(compacted["object"], "response.compaction");
        let asked = from.heard(&maker.seen()[1]);
        assert!(asked.contains(&"user: Which colour?".to_owned()), "{asked:#?}");
        let output = compacted["output"].as_array().unwrap();
        let item = output.last().unwrap();
        assert_eq!(item["type"], "compaction");
        assert!(!item.to_string().contains("blue"), "the summary is opaque: {item}");
        let mut input = output.clone();
        input.push(json!({ "role": "user", "content": "Go on." }));
        let answer = ask(&gateway, &json!({ "model": "to", "input": input }), true).await;
        assert_eq!(answer["output"][0]["content"][0]["text"], "Blue it is.");
        let heard = to.heard(&next.seen()[0]).join("\n");
        for said in ["Which colour?", "Paint it.", "They want blue.", "user: Go on."] {
            assert!(heard.contains(said), "{to:?}: {heard}");
        }
        // And on, from the stored response.
        let body =
            json!({ "model": "from", "previous_response_id": answer["id"], "input": "More." });
        ask(&gateway, &body, false).await;
        let heard = from.heard(maker.seen().last().unwrap()).join("\n");
        assert!(heard.contains("They want blue.") && heard.contains("Blue it is."), "{heard}");
    }
}

#[tokio::test]
async fn tokens_are_estimated_with_all_that_was_said_before() {
    let (upstream, gateway) = scripted(Dialect::Anthropic, &[&[Say::Text("one")]]).await;
    let long = "word ".repeat(200);
    let first = ask(&gateway, &json!({ "model": "m", "input": long }), false).await;
    let count = async |body: Value| {
        let (status, body) = sent(gateway.post("/v1/responses/input_tokens", &body)).await;
        assert_eq!((status, &body["object"]), (200, &"response.input_tokens".into()), "{body}");
        body["input_tokens"].as_u64().unwrap()
    };
    let short = count(json!({ "model": "m", "input": "Hello there" })).await;
    assert!((2..20).contains(&short), "{short}");
    let body = json!({ "model": "m", "input": "Hello there", "previous_response_id": first["id"] });
    let whole = count(body).await;
    assert!(whole > short + 200, "{whole}");
    assert!(count(json!({ "model": "m", "input": "Hello there", "tools": looks() })).await > short);
    assert_eq!(upstream.seen().len(), 1, "nobody else was asked");
}

/// A server with chat completions only, which says so as it likes.
async fn chat_only(refusal: fn() -> Vec<Step>) -> Upstream {
    Upstream::start(move |seen| match seen.path.as_str() {
        "/v1/chat/completions" => Dialect::Chat.answer(seen, &[Say::Text("one")]),
        _ => refusal(),
    })
    .await
}

fn count_of(upstream: &Upstream, path: &str) -> usize {
    upstream.seen().iter().filter(|seen| seen.path == path).count()
}

#[tokio::test]
async fn a_server_without_responses_is_asked_for_chat_and_this_is_remembered() {
    let refusals: [fn() -> Vec<Step>; 4] = [
        || whole(404, "", r#"{"detail":"Not Found"}"#),
        || {
            whole(
                404,
                "",
                r#"{"error":{"message":"Unknown request URL","type":"invalid_request_error"}}"#,
            )
        },
        || whole(405, "", r#"{"detail":"Method Not Allowed"}"#),
        || crate::support::upstream::whole(404, "content-type: text/html\r\n", b"<html>404</html>"),
    ];
    for refusal in refusals {
        let upstream = chat_only(refusal).await;
        let gateway = Gateway::start(&config(&[("m", openai(&upstream))]));
        let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), false).await;
        for is_stream in [true, false] {
            let body = json!({ "model": "m", "input": "b", "previous_response_id": first["id"] });
            ask(&gateway, &body, is_stream).await;
        }
        // An edit elsewhere does not forget it.
        let models = [("m", openai(&upstream)), ("z", "{model: mock}".to_owned())];
        std::fs::write(gateway.path("config.yaml"), config(&models)).unwrap();
        gateway.health_until(|health| health["config"]["generation"] == 2).await;
        ask(&gateway, &json!({ "model": "m", "input": "c" }), true).await;
        assert_eq!(count_of(&upstream, "/v1/responses"), 1, "the detour is made once");
        assert_eq!(count_of(&upstream, "/v1/chat/completions"), 4);
        let heard = Dialect::Chat.heard(&upstream.seen()[2]);
        assert_eq!(heard, ["user: a", "assistant: one", "user: b"]);
        let rows = gateway.rows("lane, status", 4).await;
        assert!(rows.iter().all(|row| row[0] == "hub".to_owned().into()), "{rows:?}");
    }
}

/// A restart forgets it; a conversation that is kept here goes on all the same.
#[tokio::test]
async fn a_conversation_goes_on_when_the_detour_is_forgotten() {
    let upstream = chat_only(|| whole(404, "", r#"{"detail":"Not Found"}"#)).await;
    let mut gateway = Gateway::start(&config(&[("m", openai(&upstream))]));
    let first = ask(&gateway, &json!({ "model": "m", "input": "a" }), false).await;
    gateway.signal("-TERM");
    gateway.ended().await;
    let gateway = restart(&mut gateway);
    for is_stream in [false, true] {
        let body = json!({ "model": "m", "input": "b", "previous_response_id": first["id"] });
        ask(&gateway, &body, is_stream).await;
    }
    let seen = upstream.seen();
    let heard = Dialect::Chat.heard(seen.last().unwrap());
    assert_eq!(heard, ["user: a", "assistant: one", "user: b"]);
    assert_eq!(count_of(&upstream, "/v1/responses"), 2);
}

#[tokio::test]
async fn a_missing_model_is_no_missing_path() {
    let responses = Arc::new(Mutex::new(false));
    let upstream = Upstream::start({
        let has_model = responses.clone();
        move |seen| {
            if !*has_model.lock().unwrap() {
                let error = json!({ "error": { "message": "The model `up` does not exist.",
                    "type": "NotFoundError", "param": "model", "code": 404 } });
                return whole(404, "", &error.to_string());
            }
            let response = json!({ "id": "resp_1", "object": "response", "status": "completed", "output": [] });
            assert_eq!(seen.path, "/v1/responses");
            whole(200, "", &response.to_string())
        }
    })
    .await;
    let gateway = Gateway::start(&config(&[("m", openai(&upstream))]));
    let body = json!({ "model": "m", "input": "a" });
    let (status, body_) = sent(gateway.post("/v1/responses", &body)).await;
    assert_eq!(status, 404, "{body_}");
    assert!(body_["error"]["message"].as_str().unwrap().contains("does not exist"), "{body_}");
    *responses.lock().unwrap() = true;
    assert_eq!(ask(&gateway, &body, false).await["id"], "resp_1");
}

/// Compaction may be missing alone: that says nothing of responses.
#[tokio::test]
async fn a_server_with_responses_but_without_compaction() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/v1/chat/completions" => Dialect::Chat.answer(seen, &[Say::Text("summary")]),
        "/v1/responses" => {
            let response = json!({ "id": "resp_1", "object": "response", "status": "completed", "output": [] });
            whole(200, "", &response.to_string())
        }
        _ => whole(404, "", r#"{"detail":"Not Found"}"#),
    })
    .await;
    let gateway = Gateway::start(&config(&[("m", openai(&upstream))]));
    let body = json!({ "model": "m", "input": "a" });
    let (status, compacted) = sent(gateway.post("/v1/responses/compact", &body)).await;
    assert_eq!((status, &compacted["object"]), (200, &"response.compaction".into()), "{compacted}");
    assert_eq!(ask(&gateway, &body, false).await["id"], "resp_1");
    let (status, tokens) = sent(gateway.post("/v1/responses/input_tokens", &body)).await;
    assert_eq!((status, &tokens["object"]), (200, &"response.input_tokens".into()));
}
