//! Odd words around tools that run inside answers: arguments and results that strain JSON, choices of tools, and answers that
//! are cut, filtered or broken in their second round. Each ends as one of its format does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{Said, result, serve, unknown};
use crate::support::upstream::{Seen, Step, Upstream, chunk, delta, events_head, json as whole};

const SURFACES: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];
const TOOLS: &str = r#"{"tools":[{"name":"look","inputSchema":{"type":"object"}},{"name":"odd","inputSchema":{"type":"object"}},{"name":"mute","inputSchema":{"type":"object"}}]}"#;
/// A result of which a part is no text: half of a surrogate pair.
const ODD: &str =
    r#"{"content":[{"type":"text","text":"a\u2028b \ud83d </script> \u0000 \ud83d\ude00"}]}"#;
const ODD_TOLD: &str = "a\u{2028}b \u{fffd} </script> \0 \u{1f600}";

struct World {
    model: Upstream,
    gateway: Gateway,
    calls: Arc<AtomicUsize>,
    _server: Upstream,
}

/// `says` is asked in each round, with the number of results so far.
async fn world(says: impl Fn(&Seen, usize) -> Vec<Step> + Send + Sync + 'static) -> World {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let script = move |method: &str, params: &Value| {
        match method {
            "tools/call" => {}
            "tools/list" => return result(TOOLS),
            _ => return unknown(),
        }
        count.fetch_add(1, Ordering::SeqCst);
        match params["name"].as_str().unwrap() {
            "odd" => result(ODD),
            "mute" => result(r#"{"content":[],"isError":true}"#),
            _ => {
                let text = params["arguments"].to_string().len().to_string();
                Said::Rest(format!(
                    r#""result":{{"content":[{{"type":"text","text":"{text} bytes"}}]}}"#
                ))
            }
        }
    };
    let server = serve(script, Vec::new()).await;
    let model = Upstream::start(move |seen| {
        let heard = Dialect::Chat.heard(seen);
        says(seen, heard.iter().filter(|it| it.starts_with("result ")).count())
    })
    .await;
    let gateway = Gateway::start(&format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [db]}}\nmcp_servers:\n  db: {{url: 'http://{}/mcp'}}\n",
        Dialect::Chat.params(model.address),
        server.address
    ));
    tools_once_there(&gateway).await;
    World { model, gateway, calls, _server: server }
}

fn ask(surface: &str, stream: bool) -> Value {
    match surface {
        "/v1/responses" => {
            json!({ "model": "m", "stream": stream, "input": "Go.", "store": false })
        }
        _ => json!({ "model": "m", "stream": stream, "max_tokens": 99,
            "messages": [{ "role": "user", "content": "Go." }] }),
    }
}

async fn sent(world: &World, surface: &str, body: &Value) -> (u16, String) {
    let answer =
        world.gateway.post(surface, body).header("x-mcp-servers", "db").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn told(world: &World, surface: &str, body: &Value) -> Value {
    let (status, text) = sent(world, surface, body).await;
    assert_eq!(status, 200, "{surface}: {text}");
    if body["stream"] == true {
        folded(surface, &text)
    } else {
        serde_json::from_str(&text).unwrap()
    }
}

/// How an answer ended: its own word for it.
fn finish(surface: &str, answer: &Value) -> String {
    let found = match surface {
        "/v1/chat/completions" => &answer["choices"][0]["finish_reason"],
        "/v1/messages" => &answer["stop_reason"],
        _ => match &answer["incomplete_details"] {
            Value::Null => &answer["status"],
            details => &details["reason"],
        },
    };
    found.as_str().unwrap().to_owned()
}

fn results(seen: &Seen) -> Vec<String> {
    let heard = Dialect::Chat.heard(seen).into_iter();
    heard.filter_map(|it| it.strip_prefix("result ").map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_results_that_strain_json_pass_or_are_told() {
    let world = world(|seen, results| {
        let large: &'static str =
            Box::leak(format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20)).into_boxed_str());
        let says: &[Say] = match results {
            0 => &[
                Say::Call("db-look", r#"{"n":1,"n":2}"#),
                Say::Call("db-look", large),
                Say::Call("db-odd", r#"{"deep":{"a":1}}"#),
                Say::Call("db-mute", "{}"),
            ],
            _ => &[Say::Text("Done.")],
        };
        Dialect::Chat.answer(seen, says)
    })
    .await;
    for surface in SURFACES {
        for stream in [false, true] {
            let before = world.calls.load(Ordering::SeqCst);
            let answer = told(&world, surface, &ask(surface, stream)).await;
            assert!(answer.to_string().contains("Done."), "{surface}");
            let heard = results(world.model.seen().last().unwrap());
            assert!(heard[0].contains("have `n` twice"), "{}", heard[0]);
            assert_eq!(heard[1], format!("{} bytes", (1 << 20) + r#"{"text":""}"#.len()));
            assert_eq!(heard[2], ODD_TOLD);
            assert!(heard[3].contains("answered with nothing"), "{}", heard[3]);
            assert_eq!(world.calls.load(Ordering::SeqCst) - before, 3);
            let all = serde_json::to_string(&answer).unwrap();
            let odd = serde_json::to_string(ODD_TOLD).unwrap();
            assert!(all.contains(odd.trim_matches('"')), "{surface} {stream}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_of_tools_hold_for_the_first_round() {
    let world = world(|seen, results| {
        let none = seen.json()["tool_choice"] == "none";
        let says: &[Say] = match results {
            0 if !none => &[Say::Call("db-look", "{}")],
            _ => &[Say::Text("Done.")],
        };
        Dialect::Chat.answer(seen, says)
    })
    .await;
    let surface = "/v1/chat/completions";
    for stream in [false, true] {
        let named = json!({ "type": "function", "function": { "name": "db-look" } });
        for (choice, rounds) in [
            (named.clone(), vec![named, Value::Null]),
            (json!("required"), vec![json!("required"), Value::Null]),
            (json!("none"), vec![json!("none")]),
            (json!("auto"), vec![json!("auto"), json!("auto")]),
        ] {
            let before = world.model.seen().len();
            let mut body = ask(surface, stream);
            body["tool_choice"] = choice;
            body["parallel_tool_calls"] = false.into();
            body["n"] = 2.into();
            let answer = told(&world, surface, &body).await;
            assert_eq!(finish(surface, &answer), "stop", "{answer}");
            assert_eq!(answer["choices"].as_array().unwrap().len(), 1, "{answer}");
            let seen: Vec<Value> = world.model.seen()[before..].iter().map(Seen::json).collect();
            let choices: Vec<Value> = seen.iter().map(|body| body["tool_choice"].clone()).collect();
            assert_eq!(choices, rounds, "{body}");
            assert!(
                seen.iter().all(|body| body["parallel_tool_calls"] == false && body["n"].is_null()),
                "{seen:?}"
            );
        }
    }
    // The surfaces' own words for one of the gateway's servers.
    let mut body = ask("/v1/responses", false);
    body["tools"] = json!([{ "type": "mcp", "server_label": "house", "server_url": "tidegate/mcp/db", "require_approval": "never" }]);
    body["tool_choice"] = json!({ "type": "mcp", "server_label": "house" });
    let before = world.model.seen().len();
    told(&world, "/v1/responses", &body).await;
    let seen = world.model.seen();
    assert!(
        seen[before].json()["tool_choice"].to_string().contains("db-look")
            || seen[before].json()["tool_choice"] == "required"
    );
    assert_eq!(seen.len() - before, 2);
}

/// A chat answer with a finish of its own, whole or streamed.
fn ended(seen: &Seen, text: &str, call: Option<&str>, finish: &str) -> Vec<Step> {
    let calls = call.map(|arguments| {
        json!([{ "index": 0, "id": "call_2", "type": "function",
            "function": { "name": "db-look", "arguments": arguments } }])
    });
    let message = json!({ "role": "assistant", "content": text, "tool_calls": calls });
    let head = json!({ "id": "x", "created": 1, "model": "up" });
    let with = |object: &str, choices: Value| {
        let mut value = head.clone();
        value["object"] = object.into();
        value["choices"] = choices;
        value
    };
    if seen.json()["stream"] != true {
        let choice = json!([{ "index": 0, "message": message, "finish_reason": finish }]);
        return whole(200, "", &with("chat.completion", choice).to_string());
    }
    let event = |choices: Value| {
        chunk(format!("data: {}\n\n", with("chat.completion.chunk", choices)).as_bytes())
    };
    vec![
        events_head(),
        event(json!([{ "index": 0, "delta": message, "finish_reason": null }])),
        event(json!([{ "index": 0, "delta": {}, "finish_reason": finish }])),
        chunk(b"data: [DONE]\n\n"),
        Step::Close,
    ]
}

fn first(seen: &Seen) -> Vec<Step> {
    Dialect::Chat.answer(seen, &[Say::Text("One. "), Say::Call("db-look", "{}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_round_that_is_cut_or_filtered_ends_so() {
    for (word, expected) in [
        ("length", ["length", "max_output_tokens", "max_tokens"]),
        ("content_filter", ["content_filter", "content_filter", "refusal"]),
    ] {
        for call in [None, Some(r#"{"half":"#), Some("{}")] {
            let world = world(move |seen, results| match results {
                0 => first(seen),
                _ => ended(seen, "Two", call, word),
            })
            .await;
            for (surface, expected) in SURFACES.iter().zip(expected) {
                for stream in [false, true] {
                    let before = world.model.seen().len();
                    let calls = world.calls.load(Ordering::SeqCst);
                    let answer = told(&world, surface, &ask(surface, stream)).await;
                    assert_eq!(
                        finish(surface, &answer),
                        expected,
                        "{surface} {stream} {call:?}: {answer}"
                    );
                    assert_eq!(world.model.seen().len() - before, 2, "{surface} {stream} {call:?}");
                    assert_eq!(world.calls.load(Ordering::SeqCst) - calls, 1);
                    let text = answer.to_string();
                    assert!(text.contains("One.") && text.contains("Two"), "{answer}");
                    assert_eq!(
                        text.contains("not run; the model's answer was cut short"),
                        call.is_some(),
                        "{answer}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_round_that_breaks_ends_the_answer_in_its_format() {
    for breaks in [true, false] {
        let world = world(move |seen, results| match (results, breaks) {
            (0, _) => first(seen),
            (_, true) if seen.json()["stream"] == true => {
                vec![events_head(), chunk(&delta("Two")), Step::Close]
            }
            _ => whole(
                500,
                "",
                r#"{"error":{"message":"broken","type":"server_error","code":null,"param":null}}"#,
            ),
        })
        .await;
        for surface in SURFACES {
            let (status, text) = sent(&world, surface, &ask(surface, false)).await;
            assert!(status >= 500, "{surface} {status} {text}");
            assert!(
                serde_json::from_str::<Value>(&text).unwrap()["error"]["message"].is_string(),
                "{text}"
            );
            let (status, text) = sent(&world, surface, &ask(surface, true)).await;
            assert_eq!(status, 200, "{surface} {text}");
            let last: Value =
                serde_json::from_str(text.trim_end().rsplit("data: ").next().unwrap())
                    .unwrap_or_else(|error| panic!("{error}: {text}"));
            match surface {
                "/v1/responses" => {
                    assert_eq!(last["type"], "response.failed", "{text}");
                    let output = last["response"]["output"].to_string();
                    assert!(
                        output.contains("\"mcp_call\"") && output.contains("2 bytes"),
                        "{text}"
                    );
                    folded(surface, &text);
                }
                "/v1/messages" => assert_eq!(last["type"], "error", "{text}"),
                _ => assert!(
                    last["error"]["message"].is_string() && !text.contains("[DONE]"),
                    "{text}"
                ),
            }
            assert!(text.contains("One."), "{text}");
        }
    }
}
