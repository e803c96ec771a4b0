//! Who reaches which server: the key, the entry's own list of keys, groups, the path and the header, at every method that
//! lists or names something. Whoever may not is told what they would be told of a server that does not exist.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, MASTER};
use crate::support::mcp_script::{Client, Said, result, serve};
use crate::support::upstream::Upstream;

/// A server whose everything is called by its name.
async fn server(name: &'static str) -> Upstream {
    serve(
        move |method, _| match method {
            "tools/list" => result(&format!(
                r#"{{"tools":[{{"name":"{name}","inputSchema":{{"type":"object"}}}}]}}"#
            )),
            "prompts/list" => result(&format!(r#"{{"prompts":[{{"name":"{name}"}}]}}"#)),
            "resources/list" => {
                result(&format!(r#"{{"resources":[{{"uri":"note://{name}","name":"{name}"}}]}}"#))
            }
            "resources/templates/list" => result(&format!(
                r#"{{"resourceTemplates":[{{"uriTemplate":"{name}://{{x}}","name":"{name}"}}]}}"#
            )),
            _ => Said::Rest(format!(
                r#""result":{{"content":[],"messages":[],"contents":[],"completion":{{"values":[]}},"by":"{name}"}}"#
            )),
        },
        vec![],
    )
    .await
}

fn key(name: &str) -> String {
    format!("sk-{name}-0123456789abcdefghijklm")
}

/// What each method says that is about `name`.
fn requests(name: &str) -> [(&'static str, Value); 6] {
    let entry = format!("{name}-{name}");
    let uri = format!("note://{name}");
    let argument = json!({ "name": "n", "value": "" });
    [
        ("tools/call", json!({ "name": entry })),
        ("prompts/get", json!({ "name": entry })),
        ("resources/read", json!({ "uri": uri })),
        ("resources/subscribe", json!({ "uri": uri })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": entry }, "argument": argument }),
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": format!("{name}://{{x}}") }, "argument": argument }),
        ),
    ]
}

/// Checks what a client sees: all of `seen`, and nothing else.
async fn sees(case: &str, client: &Client<'_>, seen: &[&str]) {
    let lists = [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    ];
    for (method, member, named) in lists {
        let answer = client.call(method, "{}").await;
        let entries = answer["result"][member].as_array().unwrap_or_else(|| panic!("{answer}"));
        let names: Vec<&str> = entries.iter().map(|entry| entry[named].as_str().unwrap()).collect();
        let expected: Vec<String> = seen
            .iter()
            .map(|name| match member {
                "tools" | "prompts" => format!("{name}-{name}"),
                "resources" => format!("note://{name}"),
                _ => format!("{name}://{{x}}"),
            })
            .collect();
        assert_eq!(names, expected, "{case}: {method}");
    }
    for name in ["one", "two", "three", "four", "none"] {
        for (method, params) in requests(name) {
            let answer = client.call(method, &params.to_string()).await;
            if seen.contains(&name) {
                let by = &answer["result"]["by"];
                assert!(
                    by == name || method == "resources/subscribe",
                    "{case}: {method} {params}: {answer}"
                );
                continue;
            }
            // A link may be anybody's whom the client sees; a server that it does not see never answers.
            assert_ne!(answer["result"]["by"], name, "{case}: {method} {params}");
            let unknown =
                client.call(method, &params.to_string().replace(name, "nowhere")).await.to_string();
            assert_eq!(answer.to_string().replace(name, "nowhere"), unknown, "{case}");
        }
    }
}

#[tokio::test]
async fn every_key_sees_its_servers_and_no_others() {
    let mut upstreams = Vec::new();
    for name in ["one", "two", "three", "four"] {
        upstreams.push(server(name).await);
    }
    let url = |at: usize| format!("http://{}/mcp", upstreams[at].address);
    // `one` is for whoever names it; `two` lists its keys; `three` is in a group; `four` is for nobody who does not say all.
    let config = format!(
        "general_settings: {{master_key: {MASTER}}}\nvirtual_keys:\n\
         - {{api_key: {all}, mcp_servers: ['*']}}\n- {{api_key: {one}, mcp_servers: [one]}}\n\
         - {{api_key: {listed}}}\n- {{api_key: {nothing}}}\n- {{api_key: {empty}, mcp_servers: []}}\n\
         - {{api_key: {group}, mcp_servers: [shelf]}}\n- {{api_key: {both}, mcp_servers: [two, one]}}\n\
         - {{api_key: {named}, mcp_servers: [two]}}\n\
         mcp_servers:\n  one: {{transport: http, url: '{}'}}\n\
         \x20 two: {{transport: http, url: '{}', api_keys: [{listed}, {both}]}}\n\
         \x20 three: {{transport: http, url: '{}', access_groups: [shelf]}}\n\
         \x20 four: {{transport: http, url: '{}'}}\n",
        url(0),
        url(1),
        url(2),
        url(3),
        all = key("all"),
        one = key("one"),
        listed = key("list"),
        nothing = key("none"),
        empty = key("empt"),
        group = key("grou"),
        both = key("both"),
        named = key("name"),
    );
    let gateway = Gateway::start(&config);
    let all = ["four", "one", "three", "two"];
    // Key, path, header → what is seen; `None`: refused at the door.
    let cases: &[(&str, &str, Option<&str>, Option<&[&str]>)] = &[
        (MASTER, "/mcp", None, Some(&all)),
        // `two` lists its keys, and this is none of them.
        ("all", "/mcp", None, Some(&["four", "one", "three"])),
        ("one", "/mcp", None, Some(&["one"])),
        ("list", "/mcp", None, Some(&["two"])),
        ("none", "/mcp", None, Some(&[])),
        ("empt", "/mcp", None, Some(&[])),
        ("grou", "/mcp", None, Some(&["three"])),
        ("both", "/mcp", None, Some(&["one", "two"])),
        ("name", "/mcp", None, Some(&[])),
        (MASTER, "/mcp/one,two", None, Some(&["one", "two"])),
        (MASTER, "/mcp/one,two", Some("two"), Some(&["two"])),
        (MASTER, "/mcp/one,two", Some("three"), None),
        (MASTER, "/mcp", Some("one, shelf"), Some(&["one", "three"])),
        (MASTER, "/mcp", Some("*,!two"), Some(&["four", "one", "three"])),
        (MASTER, "/mcp", Some("nowhere"), None),
        ("all", "/mcp/two", None, None),
        ("all", "/mcp", Some("two"), None),
        ("all", "/mcp", Some("one"), Some(&["one"])),
        ("all", "/two/mcp", None, None),
        ("one", "/mcp/two", None, None),
        ("one", "/mcp", Some("two,one"), None),
        ("grou", "/mcp/shelf", None, Some(&["three"])),
        ("grou", "/mcp", Some("one"), None),
        ("none", "/one/mcp", None, None),
        ("name", "/two/mcp", None, None),
    ];
    for (name, path, header, expected) in cases {
        let case = format!("{name} {path} {header:?}");
        let key = if *name == MASTER { MASTER.to_owned() } else { key(name) };
        match (Client::open(&gateway, &key, path, *header).await, expected) {
            (Ok(client), Some(seen)) => sees(&case, &client, seen).await,
            (Err((status, text)), None) => {
                assert_eq!(status, 403, "{case}: {text}");
                // The same words as for a server that is not there.
                let (path, header) = match header {
                    Some(_) => (path.to_string(), Some("nowhere".to_owned())),
                    None => (path.replace("one", "nowhere").replace("two", "nowhere"), None),
                };
                let other = Client::open(&gateway, &key, &path, header.as_deref()).await;
                let (other_status, other_text) = other.err().unwrap();
                let anonymous = |text: &str| {
                    ["one", "two", "three"].iter().fold(text.to_owned(), |text, name| {
                        text.replace(&format!("`{name}`"), "`nowhere`")
                    })
                };
                assert_eq!((status, anonymous(&text)), (other_status, other_text), "{case}");
            }
            (Ok(_), None) => panic!("{case}: let in"),
            (Err(refused), Some(_)) => panic!("{case}: {refused:?}"),
        }
    }
    // A single server's view has plain names, and no other server's.
    let single = Client::open(&gateway, &key("one"), "/one/mcp", None).await.ok().unwrap();
    let tools = single.call("tools/list", "{}").await;
    assert_eq!(tools["result"]["tools"][0]["name"], "one");
    assert_eq!(single.call("tools/call", r#"{"name":"one"}"#).await["result"]["by"], "one");
}
