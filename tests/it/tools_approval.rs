//! Calls that wait for the client's word, through the public door: which calls ask, what approval and denial come to, whole and
//! streamed, by the id of the answer before and by its items sent back; and words that are forged, another's, said twice, or
//! said too late. A server counts what is really run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::dialect::{Dialect, Say};
use crate::support::folded::folded;
use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp::tools_once_there;
use crate::support::mcp_script::{result, serve, unknown};
use crate::support::upstream::Upstream;

const OTHER: &str = "sk-other-0123456789abcdefghij";
const TOOLS: &str = r#"{"tools":[{"name":"look","inputSchema":{"type":"object"}},{"name":"drop","inputSchema":{"type":"object"}}]}"#;

struct World {
    dialect: Dialect,
    model: Upstream,
    server: Upstream,
    gateway: Gateway,
    /// How often `drop` and `look` were really called.
    dropped: Arc<AtomicUsize>,
    looked: Arc<AtomicUsize>,
}

fn config(world: (&Upstream, Dialect, &Upstream), own: &str, servers: bool) -> String {
    let (model, dialect, server) = world;
    let servers = match servers {
        true => format!(
            "mcp_servers:\n  db: {{url: 'http://{}/mcp'}}\n  more: {{url: 'http://{}/mcp'}}\n",
            server.address, server.address
        ),
        false => format!("mcp_servers:\n  more: {{url: 'http://{}/mcp'}}\n", server.address),
    };
    format!(
        "model_list:\n  - {{model_name: m, litellm_params: {}}}\nvirtual_keys:\n  - {{api_key: {KEY}, models: [m], \
         mcp_servers: [{own}]}}\n  - {{api_key: {OTHER}, models: [m], mcp_servers: ['*']}}\n{servers}",
        dialect.params(model.address)
    )
}

impl World {
    async fn start(dialect: Dialect) -> Self {
        let (dropped, looked): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let counts = (dropped.clone(), looked.clone());
        let script = move |method: &str, params: &Value| {
            match method {
                "tools/call" => {}
                "tools/list" => return result(TOOLS),
                _ => return unknown(),
            }
            let count = if params["name"] == "drop" { &counts.0 } else { &counts.1 };
            count.fetch_add(1, Ordering::SeqCst);
            result(&format!(
                r#"{{"content":[{{"type":"text","text":"{} is done"}}]}}"#,
                params["name"].as_str().unwrap()
            ))
        };
        let server = serve(script, Vec::new()).await;
        let model = Upstream::start(move |seen| {
            let heard = dialect.heard(seen);
            let is_over =
                heard.iter().any(|it| it.starts_with("result ") && !it.contains("look is done"));
            let is_mixed = heard.iter().any(|it| it.contains("user: Mixed."));
            let says: &[Say] = match (is_over, is_mixed) {
                (true, _) => &[Say::Text("It is over.")],
                (_, true) => &[Say::Call("db-drop", r#"{"t":1}"#), Say::Call("own", "{}")],
                _ => &[Say::Call("db-drop", r#"{"t":1}"#), Say::Call("db-look", "{}")],
            };
            dialect.answer(seen, says)
        })
        .await;
        let gateway = Gateway::start(&config((&model, dialect, &server), "db", true));
        tools_once_there(&gateway).await;
        Self { dialect, model, server, gateway, dropped, looked }
    }

    fn counts(&self) -> (usize, usize) {
        (self.dropped.load(Ordering::SeqCst), self.looked.load(Ordering::SeqCst))
    }

    async fn sent(&self, key: &str, body: &Value) -> (u16, Value) {
        let request = self.gateway.client.post(self.gateway.url("/v1/responses")).bearer_auth(key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let is_stream = body["stream"] == true && status == 200;
        let whole = || serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}"));
        (status, if is_stream { folded("/v1/responses", &text) } else { whole() })
    }

    async fn ok(&self, body: &Value) -> Value {
        let (status, answer) = self.sent(KEY, body).await;
        assert_eq!(status, 200, "{answer}\n{}", self.gateway.log());
        assert_eq!(answer["status"], "completed", "{answer}");
        answer
    }

    /// What the model heard last.
    fn heard(&self) -> Vec<String> {
        self.dialect.heard(self.model.seen().last().unwrap())
    }
}

fn block(approval: &Value) -> Value {
    json!([{ "type": "mcp", "server_label": "house", "server_url": "litellm_proxy/mcp/db", "require_approval": approval }])
}

fn ask(approval: &Value, stream: bool) -> Value {
    json!({ "model": "m", "input": "Go.", "tools": block(approval), "stream": stream })
}

fn items<'a>(answer: &'a Value, kind: &str) -> Vec<&'a Value> {
    answer["output"].as_array().unwrap().iter().filter(|item| item["type"] == kind).collect()
}

fn word(id: &Value, approve: bool) -> Value {
    json!({ "type": "mcp_approval_response", "approval_request_id": id, "approve": approve, "reason": "it is Friday" })
}

/// The request behind an answer, with words: by its id, or with all items sent back.
fn going_on(before: &Value, answer: &Value, words: &[Value], by_id: bool) -> Value {
    let mut body = before.clone();
    let mut input = Vec::new();
    if by_id {
        body["previous_response_id"] = answer["id"].clone();
    } else {
        input.push(json!({ "role": "user", "content": before["input"] }));
        input.extend(answer["output"].as_array().unwrap().iter().cloned());
    }
    input.extend_from_slice(words);
    body["input"] = input.into();
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_that_ask_are_those_that_the_block_says() {
    let world = World::start(Dialect::Chat).await;
    let only = |name: &str| json!({ "tool_names": [name] });
    let cases = [
        (json!("always"), &["drop", "look"][..]),
        (Value::Null, &["drop", "look"]),
        (json!("never"), &[]),
        (json!({ "always": only("drop") }), &["drop"]),
        (json!({ "never": only("look") }), &["drop"]),
        (json!({ "always": only("drop"), "never": only("look") }), &["drop"]),
        (json!({ "never": { "tool_names": ["look", "drop"] } }), &[]),
    ];
    for (approval, expected) in cases {
        for stream in [false, true] {
            let answer = world.ok(&ask(&approval, stream)).await;
            let asked: Vec<_> = items(&answer, "mcp_approval_request")
                .iter()
                .map(|item| item["name"].clone())
                .collect();
            assert_eq!(asked, expected, "{approval}: {answer}");
            assert_eq!(
                items(&answer, "mcp_call").len(),
                2 - expected.len(),
                "{approval}: {answer}"
            );
        }
    }
    for wrong in [json!("sometimes"), json!(7), json!(["look"])] {
        let (status, said) = world.sent(KEY, &ask(&wrong, false)).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(
            said["error"]["message"].as_str().unwrap().contains("`require_approval`"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_runs_the_call_once_or_tells_the_model() {
    for dialect in [Dialect::Chat, Dialect::Anthropic] {
        let world = World::start(dialect).await;
        let approval = json!({ "always": { "tool_names": ["drop"] } });
        for (stream, by_id) in [(false, true), (true, true), (false, false), (true, false)] {
            for approve in [true, false] {
                let before = world.counts();
                let first = ask(&approval, stream);
                let answer = world.ok(&first).await;
                assert_eq!(world.counts(), (before.0, before.1 + 1));
                let id = items(&answer, "mcp_approval_request")[0]["id"].clone();
                let body = going_on(&first, &answer, &[word(&id, approve)], by_id);
                let second = world.ok(&body).await;
                let ran = usize::from(approve);
                assert_eq!(world.counts(), (before.0 + ran, before.1 + 1), "{dialect:?} {body}");
                let calls = items(&second, "mcp_call");
                assert_eq!(calls.len(), ran, "{second}");
                assert!(
                    calls.iter().all(|call| call["approval_request_id"] == id
                        && call["output"] == "drop is done")
                );
                assert_eq!(items(&second, "message")[0]["content"][0]["text"], "It is over.");
                let heard = world.heard();
                let results: Vec<_> = heard.iter().filter(|it| it.starts_with("result ")).collect();
                assert_eq!(results.len(), 2, "{heard:?}");
                let told = if approve { "drop is done" } else { "it is Friday" };
                assert!(results.iter().any(|it| it.contains(told)), "{heard:?}");
                assert_eq!(
                    heard.iter().filter(|it| it.contains("calls db-drop")).count(),
                    1,
                    "{heard:?}"
                );

                // The same request again, as clients send one whose answer they lost, runs nothing again.
                world.ok(&body).await;
                assert_eq!(world.counts().0, before.0 + ran, "{dialect:?} {by_id}: run twice");
                // And neither does the conversation that goes on from there.
                let third = json!({ "model": "m", "input": "And?", "tools": first["tools"],
                    "previous_response_id": second["id"] });
                world.ok(&third).await;
                assert_eq!(world.counts().0, before.0 + ran, "{dialect:?} {by_id}: run again");
                let heard = world.heard();
                assert!(
                    heard.iter().any(|it| it.starts_with("result ") && it.contains(told)),
                    "{heard:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_on_nothing_that_was_asked_are_refused() {
    let world = World::start(Dialect::Chat).await;
    let first = ask(&json!("always"), false);
    let answer = world.ok(&first).await;
    let id = items(&answer, "mcp_approval_request")[0]["id"].clone();
    let forged = json!("tidegate1.mcpr_0123456789abcdef0123456789abcdef1");
    let foreign = json!("mcpr_682d498e3bd4819196a0ce1664f8e77b");
    for (body, what) in [
        (going_on(&first, &answer, &[word(&forged, true)], true), "No approval with the id"),
        (going_on(&first, &answer, &[word(&forged, true)], false), "No approval with the id"),
        (
            json!({ "model": "m", "tools": first["tools"], "input": [word(&id, true)] }),
            "No approval with the id",
        ),
        (going_on(&first, &answer, &[word(&foreign, true)], true), "No approval with the id"),
    ] {
        let (status, said) = world.sent(KEY, &body).await;
        assert_eq!(status, 400, "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(what), "{said}");
        assert_eq!(said["error"]["param"], "input", "{said}");
    }
    // Another key knows nothing of the answer.
    let (status, said) =
        world.sent(OTHER, &going_on(&first, &answer, &[word(&id, true)], true)).await;
    assert_eq!(
        (status, &said["error"]["code"]),
        (400, &json!("previous_response_not_found")),
        "{said}"
    );
    assert_eq!(world.counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_and_yes_to_one_call_is_what_was_said_first() {
    let world = World::start(Dialect::Chat).await;
    let first = ask(&json!("always"), false);
    let answer = world.ok(&first).await;
    let asked = items(&answer, "mcp_approval_request");
    let (one, two) = (asked[0]["id"].clone(), asked[1]["id"].clone());
    // Two calls, one word each; and for one of them another word behind it.
    let words = [word(&one, false), word(&two, true), word(&one, true)];
    world.ok(&going_on(&first, &answer, &words, true)).await;
    assert_eq!(world.counts(), (0, 1));
    let heard = world.heard();
    assert!(heard.iter().any(|it| it.contains("did not approve")), "{heard:?}");
    world.ok(&going_on(&first, &answer, &[word(&one, true)], true)).await;
    assert_eq!(world.counts(), (0, 1), "it had been denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_gone_is_told_to_the_model() {
    let world = World::start(Dialect::Chat).await;
    let first = ask(&json!("always"), false);
    let answer = world.ok(&first).await;
    let id = items(&answer, "mcp_approval_request")[0]["id"].clone();
    // The key loses the server: the block names what is not its own.
    let generation = world.gateway.health().await["config"]["generation"].clone();
    let path = world.gateway.path("config.yaml");
    std::fs::write(&path, config((&world.model, world.dialect, &world.server), "more", true))
        .unwrap();
    world.gateway.health_until(|health| health["config"]["generation"] != generation).await;
    let body = going_on(&first, &answer, &[word(&id, true)], true);
    let (status, said) = world.sent(KEY, &body).await;
    assert_eq!(status, 403, "{said}");
    // The server is gone, and the request asks for others.
    let generation = world.gateway.health().await["config"]["generation"].clone();
    std::fs::write(&path, config((&world.model, world.dialect, &world.server), "more", false))
        .unwrap();
    world.gateway.health_until(|health| health["config"]["generation"] != generation).await;
    for stream in [false, true] {
        let mut body = going_on(&first, &answer, &[word(&id, true)], true);
        body["stream"] = stream.into();
        body["tools"][0]["server_url"] = "litellm_proxy/mcp/more".into();
        body["tools"][0]["allowed_tools"] = json!(["look"]);
        let second = world.ok(&body).await;
        let call = items(&second, "mcp_call")[0];
        assert_eq!(call["status"], "failed", "{second}");
        assert!(call["error"].to_string().contains("no such tool any more"), "{second}");
    }
    // And it asks for none.
    let mut body = going_on(&first, &answer, &[word(&id, true)], true);
    body.as_object_mut().unwrap().remove("tools");
    world.ok(&body).await;
    let heard = world.heard();
    assert!(heard.iter().any(|it| it.contains("this request has no such tool")), "{heard:?}");
    assert_eq!(world.counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_beside_one_of_the_clients_is_run_when_both_are_answered() {
    for dialect in [Dialect::Chat, Dialect::Anthropic] {
        for by_id in [true, false] {
            let world = World::start(dialect).await;
            let own = json!({ "type": "function", "name": "own", "parameters": { "type": "object" }, "strict": false });
            let mut first = ask(&json!("always"), by_id);
            first["input"] = "Mixed.".into();
            first["tools"].as_array_mut().unwrap().push(own);
            let answer = world.ok(&first).await;
            let id = items(&answer, "mcp_approval_request")[0]["id"].clone();
            let call = items(&answer, "function_call")[0]["call_id"].clone();
            let output =
                json!({ "type": "function_call_output", "call_id": call, "output": "mine" });
            world.ok(&going_on(&first, &answer, &[output, word(&id, true)], by_id)).await;
            assert_eq!(world.counts().0, 1);
            let heard = world.heard();
            let of = |what: &str| heard.iter().filter(|it| it.contains(what)).count();
            assert_eq!((of("calls db-drop"), of("calls own")), (1, 1), "{dialect:?} {heard:?}");
            assert_eq!(
                (of("result drop is done"), of("result mine"), of("(no result)")),
                (1, 1, 0),
                "{heard:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn surfaces_without_a_way_to_ask_say_so() {
    let world = World::start(Dialect::Chat).await;
    for approval in [json!("always"), Value::Null, json!({ "always": { "tool_names": ["drop"] } })]
    {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let body = json!({ "model": "m", "max_tokens": 9, "tools": block(&approval),
                "messages": [{ "role": "user", "content": "Go." }] });
            let answer = world.gateway.post(path, &body).send().await.unwrap();
            let (status, said) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, 400, "{path} {said}");
            assert!(said.contains(r#"\"require_approval\": \"never\""#), "{path} {said}");
        }
    }
    assert_eq!(world.model.seen().len(), 0);
}
