//! What passes through the gateway passes as it is, sign by sign: definitions, params, results, errors, ids, tokens. And
//! what has to be translated (names, URIs) is translated alone.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, KEY};
use crate::support::mcp_script::{Client, Reading, Said, request, result, serve};
use crate::support::upstream::Upstream;

const OTHER: &str = "sk-othr-0123456789abcdefghij";

/// A gateway in front of servers: name, where it is, more lines of its entry.
fn gateway(servers: &[(&str, &Upstream, &str)], general: &str) -> Gateway {
    let mut config = format!(
        "general_settings: {{{general}}}\nvirtual_keys:\n- {{api_key: {KEY}, mcp_servers: ['*']}}\n\
         - {{api_key: {OTHER}, mcp_servers: [a]}}\nmcp_servers:\n"
    );
    for (name, upstream, more) in servers {
        let url = format!("http://{}/mcp", upstream.address);
        config += &format!("  {name}: {{transport: http, url: '{url}', {more}}}\n");
    }
    Gateway::start(&config)
}

async fn client<'g>(gateway: &'g Gateway, path: &str) -> Client<'g> {
    Client::open(gateway, KEY, path, None).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn nothing(method: &str, _: &Value) -> Said {
    let member = match method {
        "resources/list" => "resources",
        "resources/templates/list" => "resourceTemplates",
        "prompts/list" => "prompts",
        _ => "tools",
    };
    result(&format!("{{\"{member}\":[]}}"))
}

const FIRST: &str = r#"{"zeta":1e2,"name":"first","inputSchema":{"type":"object","properties":{"n":{"type":"number","maximum":1.0,"x":[1e2,12345678901234567890]}},"y":null},"annotations":{"readOnlyHint":true,"later":1.0},"execution":{"taskSupport":"optional","q":0.10},"icons":[{"src":"data:,","w":1}],"_meta":{"a/b":1.00}}"#;
const SECOND: &str = r#"{"name":"second","inputSchema":{"type":"object"},"description":"ü"}"#;

#[tokio::test]
async fn definitions_pass_and_pages_are_merged() {
    let upstream = serve(
        |method, params| match (method, params["cursor"].as_str()) {
            ("tools/list", None) => result(&format!(r#"{{"tools":[{FIRST}],"nextCursor":"+/="}}"#)),
            ("tools/list", Some("+/=")) => result(&format!(r#"{{"tools":[{SECOND}]}}"#)),
            _ => nothing(method, params),
        },
        vec![],
    )
    .await;
    let gateway = gateway(&[("a", &upstream, "")], "");
    let plain = client(&gateway, "/a/mcp").await.text("7", "tools/list", "{}").await;
    let expected = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{FIRST},{SECOND}]}}}}"#);
    assert_eq!(plain, expected);
    let all = client(&gateway, "/mcp").await.text("7", "tools/list", "{}").await;
    assert_eq!(
        all,
        expected.replace(r#""first""#, r#""a-first""#).replace(r#""second""#, r#""a-second""#)
    );
}

#[tokio::test]
async fn results_params_and_ids_pass_sign_by_sign() {
    const RESULT: &str = r#"{"zz":[1.0,1e2,-0],"content":[{"type":"text","text":"\u00fc","later":1e-2},{"type":"hologram","beams":20000000000000000001}],"isError":true,"structuredContent":{"b":1.0,"a":12345678901234567890123},"_meta":{"k":{"deep":1.50}}}"#;
    let upstream = serve(
        |method, params| match method {
            "tools/list" => result(&format!(r#"{{"tools":[{FIRST}]}}"#)),
            "tools/call" => result(RESULT),
            _ => nothing(method, params),
        },
        vec![],
    )
    .await;
    let gateway = gateway(&[("a", &upstream, "")], "");
    let arguments = r#"{"z":1.0,"a":1e2,"n":12345678901234567890123,"u":"\u00fc"}"#;
    let more = r#""_meta":{"q/r":{"deep":1.0},"tail":[]},"later":{"x":1E5}"#;
    for (path, name) in [("/a/mcp", "first"), ("/mcp", "a-first")] {
        let client = client(&gateway, path).await;
        for id in ["1", "\"1\"", "0", "\"\"", "-7", "9007199254740993", "\"ü\""] {
            let params = format!(r#"{{"arguments":{arguments},"name":"{name}",{more}}}"#);
            let answer = client.text(id, "tools/call", &params).await;
            assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{RESULT}}}"#));
            let seen = upstream.seen().pop().unwrap();
            let seen = String::from_utf8(seen.body).unwrap();
            let sent = format!(r#""params":{{"arguments":{arguments},"name":"first",{more}}}"#);
            assert!(seen.contains(&sent), "{seen}");
        }
    }
}

#[tokio::test]
async fn errors_of_servers_pass_unchanged() {
    const ERROR: &str = r#"{"code":-31999,"message":"m ü","data":{"n":1.0,"big":12345678901234567890},"later":true}"#;
    let upstream = serve(
        |method, params| match method {
            "tools/list" => result(&format!(r#"{{"tools":[{FIRST}]}}"#)),
            "tools/call" => Said::Rest(format!("\"error\":{ERROR}")),
            _ => nothing(method, params),
        },
        vec![],
    )
    .await;
    let gateway = gateway(&[("a", &upstream, "")], "");
    let client = client(&gateway, "/mcp").await;
    let answer = client.text("\"e\"", "tools/call", r#"{"name":"a-first"}"#).await;
    assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":"e","error":{ERROR}}}"#));
}

#[tokio::test]
async fn names_are_made_by_the_entry() {
    let long = "l".repeat(80);
    let tools = ["run", "drop_all", "drop_none", "odd/na.me", &long, "told"];
    let listed: Vec<Value> = tools
        .iter()
        .map(|name| {
            json!({ "name": name, "description": "own", "inputSchema": {
                "type": "object", "properties": { "a": {}, "b": {} }, "required": ["a", "b"] } })
        })
        .collect();
    let listed = json!({ "tools": listed }).to_string();
    let upstream = serve(
        move |method, params| match method {
            "tools/list" => result(&listed),
            "tools/call" => result(
                &json!({ "content": [{ "type": "text", "text": params["name"] }] }).to_string(),
            ),
            _ => nothing(method, params),
        },
        vec![],
    )
    .await;
    let entry = "alias: db, tool_names: {run: execute}, tool_descriptions: {told: another}, \
                 allowed_tools: [run, 'drop_*', 'odd*', 'l*', told], disallowed_tools: ['*_all'], \
                 allowed_params: {told: [a]}";
    let gateway = gateway(&[("a", &upstream, entry)], "mcp_tool_name_separator: __");
    let client = client(&gateway, "/mcp").await;
    let tools = client.call("tools/list", "{}").await["result"]["tools"].clone();
    let names: Vec<&str> =
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), &names[..2]), (5, &["db__execute", "db__drop_none"][..]));
    for name in &names {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        assert!(name.len() <= 64 && name.chars().all(fits), "{name}");
    }
    let told = &tools[4];
    assert_eq!(told["description"], "another");
    let schema = &told["inputSchema"];
    assert_eq!((&schema["properties"], &schema["required"]), (&json!({"a": {}}), &json!(["a"])));
    // What is listed can be called, by the server's own name.
    for (name, own) in names.iter().zip(["run", "drop_none", "odd/na.me", &long, "told"]) {
        let said = client.call("tools/call", &json!({ "name": name }).to_string()).await;
        assert_eq!(said["result"]["content"][0]["text"], own, "{said}");
    }
    let calls = upstream.seen().len();
    // What is not listed cannot, and no server hears of it.
    for name in ["db__drop_all", "db__run", "a__execute", "db-execute", "execute", ""] {
        let said = client.call("tools/call", &json!({ "name": name }).to_string()).await;
        assert_eq!(said["error"]["code"], -32602, "{name}: {said}");
    }
    let params = r#"{"name":"db__told","arguments":{"a":1,"b":2}}"#;
    assert_eq!(client.call("tools/call", params).await["error"]["code"], -32602);
    assert_eq!(upstream.seen().len(), calls);
}

/// A server whose resources say whose they are.
async fn library(owner: &'static str) -> Upstream {
    serve(
        move |method, params| match method {
            "resources/list" => result(
                r#"{"resources":[{"uri":"note://same","name":"n","later":1.0},{"uri":"note://same","name":"twice"}]}"#,
            ),
            "resources/templates/list" => result(&format!(
                r#"{{"resourceTemplates":[{{"uriTemplate":"{owner}://{{+path}}","name":"t"}}]}}"#
            )),
            "prompts/list" => result(r#"{"prompts":[{"name":"greet","later":1.0}]}"#),
            "resources/read" if params["uri"] == "hidden://x" && owner == "a" => {
                Said::Rest(r#""error":{"code":-32002,"message":"none"}"#.into())
            }
            "resources/read" | "prompts/get" | "completion/complete" => result(
                &json!({ "contents": [], "messages": [], "completion": { "values": [] },
                         "owner": owner, "params": params })
                .to_string(),
            ),
            _ => nothing(method, params),
        },
        vec![],
    )
    .await
}

#[tokio::test]
async fn resources_and_prompts_find_their_owner() {
    let (one, two) = (library("a").await, library("b").await);
    let gateway = gateway(&[("a", &one, ""), ("b", &two, "")], "");
    let client = client(&gateway, "/mcp").await;
    let listed = client.text("1", "resources/list", "{}").await;
    let listed: Value = serde_json::from_str(&listed.replace("1.0", "\"1.0\"")).unwrap();
    let listed = listed["result"]["resources"].as_array().unwrap().clone();
    let mut uris: Vec<&str> =
        listed.iter().map(|resource| resource["uri"].as_str().unwrap()).collect();
    assert!(uris.contains(&"note://same") && uris.contains(&"b+note://same"), "{uris:?}");
    assert_eq!(listed[0]["later"], "1.0");
    uris.dedup();
    for (method, params, owner, inner) in [
        ("resources/read", json!({"uri": "note://same"}), "a", "note://same"),
        ("resources/read", json!({"uri": "b+note://same"}), "b", "note://same"),
        ("resources/read", json!({"uri": "b://x/y?z"}), "b", "b://x/y?z"),
        ("resources/read", json!({"uri": "a://x"}), "a", "a://x"),
        // A link that nobody lists.
        ("resources/read", json!({"uri": "hidden://x"}), "b", "hidden://x"),
        ("prompts/get", json!({"name": "b-greet"}), "b", "greet"),
    ] {
        let said = client.call(method, &params.to_string()).await;
        let result = &said["result"];
        assert_eq!(result["owner"], owner, "{params}: {said}");
        let named = result["params"].get("uri").or(result["params"].get("name"));
        assert_eq!(named.unwrap(), inner);
    }
    for (reference, owner) in [
        (json!({"type": "ref/prompt", "name": "b-greet"}), "b"),
        (json!({"type": "ref/resource", "uri": "a://{+path}"}), "a"),
    ] {
        let params = json!({ "ref": reference, "argument": { "name": "n", "value": "" } });
        let said = client.call("completion/complete", &params.to_string()).await;
        assert_eq!(said["result"]["owner"], owner, "{said}");
    }
    let prompts = client.text("1", "prompts/list", "{}").await;
    assert!(prompts.contains(r#"{"name":"b-greet","later":1.0}"#), "{prompts}");
    for (method, params) in [
        ("prompts/get", r#"{"name":"c-greet"}"#),
        ("prompts/get", r#"{"name":"greet"}"#),
        ("resources/read", r#"{"uri":"c+note://same"}"#),
    ] {
        // The last may be a link, so everybody is asked.
        let said = client.call(method, params).await;
        let is_refused = said["error"]["code"] == -32602;
        assert!(is_refused || said["result"]["params"]["uri"] == "c+note://same", "{said}");
    }
}

#[tokio::test]
async fn tokens_and_logs_come_back_as_the_client_wants_them() {
    let upstream = serve(
        |method, params| match method {
            "tools/list" => result(&format!(r#"{{"tools":[{FIRST}]}}"#)),
            "tools/call" => {
                let token = &params["_meta"]["progressToken"];
                let told = |method: &str, params: &str| {
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#
                    )
                };
                let messages = vec![
                    told(
                        "progress",
                        &format!(r#"{{"progress":1.0,"progressToken":{token},"later":1e2}}"#),
                    ),
                    told("progress", r#"{"progress":2,"progressToken":"not ours"}"#),
                    told("message", r#"{"level":"debug","data":1.0}"#),
                    told("message", r#"{"level":"error","data":1e2,"logger":"l"}"#),
                    told("later", r#"{"n":1.0}"#),
                ];
                Said::Stream(messages, r#""result":{"content":[]}"#.into())
            }
            _ => nothing(method, params),
        },
        vec![],
    )
    .await;
    let gateway = gateway(&[("a", &upstream, "")], "");
    let (all, few) = (client(&gateway, "/mcp").await, client(&gateway, "/mcp").await);
    assert_eq!(few.call("logging/setLevel", r#"{"level":"error"}"#).await["result"], json!({}));
    for token in ["7", "\"7\"", "0", "\"t/1\""] {
        let params = format!(r#"{{"name":"a-first","_meta":{{"progressToken":{token}}}}}"#);
        for (client, is_few) in [(&all, false), (&few, true)] {
            let text = client.text("1", "tools/call", &params).await;
            let told = format!(r#"{{"progress":1.0,"progressToken":{token},"later":1e2}}"#);
            assert!(text.contains(&told), "{text}");
            assert!(!text.contains("not ours"), "{text}");
            assert!(text.contains(r#"{"level":"error","data":1e2,"logger":"l"}"#), "{text}");
            assert!(text.contains(r#""params":{"n":1.0}"#), "{text}");
            assert_eq!(text.contains("debug"), !is_few, "{text}");
        }
    }
}

#[tokio::test]
async fn servers_hear_of_the_progress_of_their_questions() {
    let held = Arc::new(Semaphore::new(0));
    let upstream = serve(
        {
            let held = held.clone();
            move |method, params| match method {
                "tools/list" => result(&format!(r#"{{"tools":[{FIRST}]}}"#)),
                "tools/call" => Said::Held(
                    vec![r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?","later":1.0,"_meta":{"progressToken":42}}}"#.into()],
                    held.clone(),
                    r#""result":{"content":[]}"#.into(),
                ),
                _ => nothing(method, params),
            }
        },
        vec![],
    )
    .await;
    let gateway = gateway(&[("a", &upstream, "")], "");
    let client = client(&gateway, "/mcp").await;
    let call = client.post(&request("1", "tools/call", r#"{"name":"a-first"}"#)).await;
    let mut reading = Reading::of(call);
    let asked = reading.until("elicitation/create").await;
    assert!(reading.text.contains(r#""message":"?","later":1.0"#), "{}", reading.text);
    let token = &asked["params"]["_meta"]["progressToken"];
    let params = format!(r#"{{"progressToken":{token},"progress":1.0,"later":1e2}}"#);
    let progress =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#);
    assert_eq!(client.post(&progress).await.status(), 202);
    // One that nobody asked for goes nowhere.
    assert_eq!(client.post(&progress.replace("tidegate-", "x-")).await.status(), 202);
    let sent = |texts: &str| {
        let seen = upstream.seen();
        seen.iter().filter(|it| String::from_utf8_lossy(&it.body).contains(texts)).count()
    };
    let told = r#""params":{"progressToken":42,"progress":1.0,"later":1e2}"#;
    let mut count = upstream.seen().len();
    while sent(told) == 0 {
        count += 1;
        upstream.arrived(count).await;
    }
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept","n":1.0}}}}"#,
        asked["id"]
    );
    assert_eq!(client.post(&answer).await.status(), 202);
    while sent(r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept","n":1.0}}"#) == 0 {
        count += 1;
        upstream.arrived(count).await;
    }
    held.add_permits(1);
    reading.until(r#""id":1,"result""#).await;
    assert_eq!(sent("notifications/progress"), 1);
}

#[tokio::test]
async fn changes_are_told_to_those_whom_they_concern() {
    let (changed, updated) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let watched = |method: &str, params: &Value| match method {
        "resources/list" => result(r#"{"resources":[{"uri":"note://one","name":"n"}]}"#),
        _ => nothing(method, params),
    };
    let common = vec![
        (changed.clone(), r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.into()),
        (updated.clone(), r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://one","later":1.0}}"#.into()),
    ];
    let (quiet, loud) = (serve(nothing, vec![]).await, serve(watched, common).await);
    let gateway = gateway(&[("a", &quiet, ""), ("b", &loud, "")], "");
    let (subscribed, beside) = (client(&gateway, "/mcp").await, client(&gateway, "/mcp").await);
    let blind = Client::open(&gateway, OTHER, "/mcp", None).await.ok().unwrap();
    let narrowed = Client::open(&gateway, KEY, "/mcp", Some("a")).await.ok().unwrap();
    let mut streams = Vec::new();
    for client in [&subscribed, &beside, &blind, &narrowed] {
        client.call("tools/list", "{}").await;
        streams.push(Reading::of(client.listen().await));
    }
    let params = r#"{"uri":"note://one"}"#;
    assert_eq!(subscribed.call("resources/subscribe", params).await["result"], json!({}));
    // It may be a link of a server that this one sees, so it is not refused; nothing comes of it.
    blind.call("resources/subscribe", params).await;
    changed.add_permits(1);
    for stream in &mut streams[..2] {
        stream.until("tools/list_changed").await;
    }
    updated.add_permits(1);
    let told = streams[0].until("resources/updated").await;
    assert_eq!(told["params"]["uri"], "note://one");
    assert!(streams[0].text.contains(r#""later":1.0"#));
    // Everything that could have come has; an answer on the line shows that it is alive.
    for (client, stream) in [&beside, &blind, &narrowed].iter().zip(&mut streams[1..]) {
        assert_eq!(client.call("ping", "{}").await["result"], json!({}));
        assert!(!stream.text.contains("updated"), "{}", stream.text);
    }
    for stream in &mut streams[2..] {
        assert!(!stream.text.contains("list_changed"), "{}", stream.text);
    }
}
