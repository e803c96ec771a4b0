//! Tools that run inside answers: every surface, streamed or not, in front of every format of provider, with a real MCP
//! server behind it over every transport. A scripted model calls tools in two rounds, two of them at once, one of which
//! fails, and then the client's own together with one of the gateway's.

use serde_json::{Value, json};

use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::{Fixture, Listening, tools_once_there};
use crate::support::upstream::{Seen, Step, Upstream};

const DIALECTS: [Dialect; 5] =
    [Dialect::Chat, Dialect::Responses, Dialect::Anthropic, Dialect::Gemini, Dialect::Ollama];
const SURFACES: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];
const TRANSPORTS: [&str; 3] = ["stdio", "http", "sse"];

/// What the model says, by how many results it has heard.
fn script(results: usize, mixes: bool) -> &'static [Say] {
    match (results, mixes) {
        (0, true) => &[Say::Text("Let me look. "), Say::Call("py-echo", r#"{"text":"first"}"#)],
        (1, true) => &[Say::Call("py-echo", r#"{"text":"kept"}"#), Say::Call("own", r#"{"q":1}"#)],
        (3, true) => &[Say::Call("py-echo", r#"{"text":"last"}"#)],
        (4, true) => &[Say::Text("Both are known.")],
        (_, true) => &[Say::Text("All are known.")],
        (0, false) => &[
            Say::Text("Let me look. "),
            Say::Call("py-echo", r#"{"text":"first"}"#),
            Say::Call("py-fail", "{}"),
        ],
        (2, false) => &[Say::Call("py-measure", r#"{"text":"four"}"#)],
        _ => &[Say::Text("It is done.")],
    }
}

/// A model of one format, and the gateway in front of it, with a server over a transport.
struct World {
    upstream: Upstream,
    gateway: Gateway,
    _server: Option<Listening>,
}

async fn world(dialect: Dialect, transport: &str, mixes: bool) -> Option<World> {
    let answer = move |seen: &Seen| -> Vec<Step> {
        let heard = dialect.heard(seen);
        let results = heard.iter().filter(|it| it.starts_with("result ")).count();
        dialect.answer(seen, script(results, mixes))
    };
    let upstream = Upstream::start(answer).await;
    let line = Fixture::Python.command("stdio")?;
    let server = (transport != "stdio").then(|| Fixture::Python.listen(transport)).flatten();
    let entry = match &server {
        None => json!({ "command": line.program, "args": line.args }),
        Some(server) => json!({ "transport": transport, "url": server.url }),
    };
    let config = format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [py]}}\nmcp_servers:\n  py: {entry}\n",
        dialect.params(upstream.address)
    );
    let gateway = Gateway::start(&config);
    tools_once_there(&gateway).await;
    Some(World { upstream, gateway, _server: server })
}

/// The client's own tool, in the words of its surface.
fn own_tool(surface: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "q": { "type": "integer" } } });
    match surface {
        "/v1/chat/completions" => {
            json!([{ "type": "function", "function": { "name": "own", "parameters": schema } }])
        }
        "/v1/responses" => json!([{ "type": "function", "name": "own", "parameters": schema }]),
        _ => json!([{ "name": "own", "input_schema": schema }]),
    }
}

fn request(surface: &str, stream: bool, history: &Value, tools: Option<Value>) -> Value {
    let mut body = json!({ "model": "m", "stream": stream });
    if surface == "/v1/responses" {
        body["input"] = history.clone();
        body["store"] = false.into();
    } else {
        body["messages"] = history.clone();
        body["max_tokens"] = 1000.into();
    }
    if let Some(tools) = tools {
        body["tools"] = tools;
    }
    body
}

/// One answer, whole, however it came: the events of a stream are put together as its SDK would.
async fn asked(gateway: &Gateway, surface: &str, body: &Value) -> Value {
    let request = gateway.post(surface, body).header("x-mcp-servers", "py");
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{surface}: {text}");
    if body["stream"] != true {
        return serde_json::from_str(&text).unwrap();
    }
    folded(surface, &text)
}

/// The same plain list for all surfaces: texts, calls that the gateway ran and what came of them, calls of the client.
fn told(surface: &str, answer: &Value) -> Vec<String> {
    let ran = |name: &Value, text: &str, failed: bool| {
        let how = if failed { "failed" } else { "ok" };
        format!("ran {} {how}: {text}", name.as_str().unwrap())
    };
    match surface {
        "/v1/responses" => answer["output"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| match item["type"].as_str().unwrap() {
                "message" => format!("says {}", item["content"][0]["text"].as_str().unwrap()),
                "mcp_call" => {
                    assert_eq!(item["server_label"], "py");
                    let error = item["error"]["content"][0]["text"].as_str();
                    let text = error.or(item["output"].as_str()).unwrap();
                    ran(&item["name"], text, error.is_some())
                }
                "function_call" => format!("calls {}", item["name"].as_str().unwrap()),
                other => other.to_owned(),
            })
            .collect(),
        "/v1/messages" => {
            let blocks = answer["content"].as_array().unwrap();
            let result = |id: &Value| {
                let found = blocks.iter().find(|block| block["tool_use_id"] == *id).unwrap();
                (found["content"][0]["text"].as_str().unwrap(), found["is_error"] == true)
            };
            blocks
                .iter()
                .filter_map(|block| match block["type"].as_str().unwrap() {
                    "text" => Some(format!("says {}", block["text"].as_str().unwrap())),
                    "mcp_tool_use" => {
                        let (text, failed) = result(&block["id"]);
                        Some(ran(&block["name"], text, failed))
                    }
                    "tool_use" => Some(format!("calls {}", block["name"].as_str().unwrap())),
                    _ => None,
                })
                .collect()
        }
        _ => {
            let message = &answer["choices"][0]["message"];
            let own = &message["provider_specific_fields"];
            let results = own["mcp_call_results"].as_array().cloned().unwrap_or_default();
            let mut told: Vec<String> = results
                .iter()
                .map(|it| ran(&it["name"], it["result"].as_str().unwrap(), it["is_error"] == true))
                .collect();
            let text = message["content"].as_str().unwrap_or_default();
            if !text.is_empty() {
                told.push(format!("says {text}"));
            }
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            told.extend(
                calls.map(|it| format!("calls {}", it["function"]["name"].as_str().unwrap())),
            );
            told
        }
    }
}

async fn two_rounds(world: &World, dialect: Dialect) {
    for surface in SURFACES {
        for stream in [false, true] {
            let before = world.upstream.seen().len();
            let history = json!([{ "role": "user", "content": "Go." }]);
            let answer =
                asked(&world.gateway, surface, &request(surface, stream, &history, None)).await;
            let mut told = told(surface, &answer);
            let mut expected = vec![
                "says Let me look. ",
                "ran echo ok: first",
                "ran fail failed: this tool always fails",
                "ran measure ok: 4",
                "says It is done.",
            ];
            if surface == "/v1/chat/completions" {
                // One text, behind what was run.
                expected.remove(0);
                expected[3] = "says Let me look. It is done.";
            }
            told.iter_mut().for_each(|it| {
                if it.contains("this tool always fails") {
                    *it = "ran fail failed: this tool always fails".into();
                }
            });
            assert_eq!(told, expected, "{dialect:?} {surface} {stream}: {answer}");
            let seen = world.upstream.seen();
            assert_eq!(seen.len() - before, 3, "{dialect:?} {surface} {stream}");
            let last = dialect.heard(seen.last().unwrap());
            let results: Vec<&String> =
                last.iter().filter(|it| it.starts_with("result ")).collect();
            assert_eq!(results.len(), 3, "{last:?}");
            assert!(results[0].contains("first") && results[2].contains('4'), "{last:?}");
            assert!(results[1].contains("this tool always fails"), "{last:?}");
        }
    }
}

/// After a round of the gateway's the model calls the client's tool and the gateway's at once: the client gets its call, and
/// the gateway's results are there when it comes again, as they were said, though the client sends back only what it knows.
async fn both_kinds(world: &World, dialect: Dialect) {
    for surface in SURFACES {
        for stream in [false, true] {
            let tools = Some(own_tool(surface));
            let first = json!([{ "role": "user", "content": "Go." }]);
            let answer =
                asked(&world.gateway, surface, &request(surface, stream, &first, tools.clone()))
                    .await;
            let told = told(surface, &answer);
            let mut expected =
                vec!["says Let me look. ", "ran echo ok: first", "ran echo ok: kept", "calls own"];
            if surface == "/v1/chat/completions" {
                expected[..3].rotate_left(1);
            }
            assert_eq!(told, expected, "{dialect:?} {surface}: {answer}");
            let again = going_on(surface, &answer);
            let answer =
                asked(&world.gateway, surface, &request(surface, stream, &again, tools)).await;
            let told = self::told(surface, &answer);
            assert_eq!(told, ["ran echo ok: last", "says Both are known."], "{answer}");
            let heard = dialect.heard(world.upstream.seen().last().unwrap());
            let words =
                ["calls py-echo", "calls own", "result first", "result kept", "result mine"];
            let told = heard.iter().filter_map(|it| words.iter().find(|word| it.contains(**word)));
            let told: Vec<&str> = told.copied().collect();
            let expected = [
                "calls py-echo",
                "result first",
                "calls py-echo",
                "calls own",
                "result kept",
                "result mine",
                "calls py-echo",
            ];
            assert_eq!(told, expected, "{dialect:?} {surface}: {heard:?}");
        }
    }
}

/// What a client sends that knows only its own tools.
fn going_on(surface: &str, answer: &Value) -> Value {
    let user = json!({ "role": "user", "content": "Go." });
    match surface {
        "/v1/chat/completions" => {
            let calls = answer["choices"][0]["message"]["tool_calls"].clone();
            let id = calls[0]["id"].clone();
            json!([user, { "role": "assistant", "content": null, "tool_calls": calls },
                { "role": "tool", "tool_call_id": id, "content": "mine" }])
        }
        "/v1/responses" => {
            let items = answer["output"].as_array().unwrap();
            let call = items.iter().find(|item| item["type"] == "function_call").unwrap();
            json!([user, call,
                { "type": "function_call_output", "call_id": call["call_id"], "output": "mine" }])
        }
        _ => {
            let blocks = answer["content"].as_array().unwrap();
            let call = blocks.iter().find(|block| block["type"] == "tool_use").unwrap();
            json!([user, { "role": "assistant", "content": [call] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": call["id"],
                    "content": "mine" }] }])
        }
    }
}

async fn matrix(transport: &str) {
    for dialect in DIALECTS {
        for mixes in [false, true] {
            let Some(world) = world(dialect, transport, mixes).await else { return };
            if mixes {
                both_kinds(&world, dialect).await;
            } else {
                two_rounds(&world, dialect).await;
            }
        }
    }
}

#[tokio::test]
async fn tools_over_stdio_run_inside_answers_of_every_kind() {
    matrix(TRANSPORTS[0]).await;
}

#[tokio::test]
async fn tools_over_http_run_inside_answers_of_every_kind() {
    matrix(TRANSPORTS[1]).await;
}

#[tokio::test]
async fn tools_over_sse_run_inside_answers_of_every_kind() {
    matrix(TRANSPORTS[2]).await;
}
