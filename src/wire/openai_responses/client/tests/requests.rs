//! What requests are read as, each told in a few lines.

use proptest::prelude::*;
use serde_json::Value;

use super::super::*;
use super::outline::{outline, tools};
use crate::conversation::{Annotation, Ask, Content, Effort, Json, Part, ToolChoice, ToolKind};
use crate::ground::fault::Fault;
use crate::wire::codec::Echo;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../tests/golden/requests/openai_responses/",
            $name,
            ".json"
        ))
    };
}

fn read(text: &str) -> (Ask, Echo) {
    (CLIENT.request)(text.as_bytes()).expect("a request")
}

fn refused(text: &str) -> Fault {
    (CLIENT.request)(text.as_bytes()).expect_err("no request")
}

#[track_caller]
fn check(text: &str, turns: &[&str]) -> Ask {
    let (ask, _) = read(text);
    assert_eq!(outline(&ask), turns);
    ask
}

#[test]
fn plain_texts() {
    check(golden!("text"), &["user: Say hello in exactly 3 words."]);
    check(
        golden!("messages"),
        &[
            "system: You are terse.",
            "user: My name is Alice.",
            "assistant: Hello Alice!",
            "user: What is my name?",
        ],
    );
}

#[test]
fn parameters() {
    let (ask, echo) = read(golden!("parameters"));
    assert!(ask.stream);
    assert_eq!(ask.sampling.temperature.as_ref().map(Json::as_str), Some("0.30"));
    assert_eq!(ask.sampling.top_p.as_ref().map(Json::as_str), Some("1e0"));
    assert_eq!((ask.sampling.top_logprobs, ask.sampling.logprobs), (Some(2), Some(true)));
    assert_eq!((ask.max_tokens, ask.parallel_tool_calls), (Some(512), Some(false)));
    assert_eq!(ask.user.as_deref(), Some("user-7"));
    assert_eq!(ask.service_tier.as_deref(), Some("flex"));
    assert_eq!(ask.verbosity.as_deref(), Some("low"));
    let reasoning = ask.reasoning.expect("reasoning");
    assert_eq!(reasoning.effort, Some(Effort::XHigh));
    assert_eq!(reasoning.summary.as_deref(), Some("auto"));
    let Some(crate::conversation::TextFormat::JsonSchema { name, schema, strict, .. }) =
        ask.text_format
    else {
        panic!("a schema")
    };
    assert_eq!((name.as_str(), strict), ("answer", Some(true)));
    assert!(schema.as_str().contains("1.50"));
    let left: Vec<&str> = ask.extras.of(FORMAT).iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "reasoning",
        "max_tool_calls",
        "include",
        "user",
        "store",
        "truncation",
        "prompt_cache_key",
        "stream_options",
        "client_metadata",
    ];
    assert_eq!(left, expected);
    assert_eq!(ask.extras.get("reasoning").map(Json::as_str), Some(r#"{"context":"all_turns"}"#));
    assert_eq!(echo.get("temperature").map(Json::as_str), Some("0.30"));
    assert!(echo.get("stream").is_none());
}

#[test]
fn codex_sends_tools_of_every_kind() {
    let ask = check(
        golden!("codex_tools"),
        &[
            "developer: You are Codex, a coding agent.",
            "developer: <permissions instructions>read-only</permissions instructions>",
            "user: <environment_context>\n  <cwd>/repo</cwd>\n</environment_context>",
            "user: Fix the typo in README",
        ],
    );
    let expected = [
        "-/exec_command function Some(false)",
        "-/apply_patch custom",
        "mcp__docs/search function Some(false)",
        "mcp__docs/fetch function Some(false)",
        "-/web_search hosted",
        "-/tool_search tool search",
    ];
    assert_eq!(tools(&ask), expected);
    let grammar = ask.tools[1].kind.clone();
    let ToolKind::Custom { format: Some(format) } = grammar else { panic!("a grammar") };
    assert!(format.as_str().contains("begin_patch hunk+ end_patch"));
    let told = ask.tools[2].extras.get("namespace_description");
    assert_eq!(told.map(Json::as_str), Some("\"Tools of the docs server.\""));
    assert_eq!(ask.tool_choice, Some(ToolChoice::Auto));
}

#[test]
fn thoughts_messages_and_calls_are_one_turn_and_results_another() {
    let ask = check(
        golden!("codex_turns"),
        &[
            "developer: You are Codex.",
            "user: What does the picture show? | Image image/png iVBORw0KGgo= None Some(\"high\")",
            "assistant: thought rs_01 \"\" [\"**Looking**\"] Some(\"openai_responses:gAAAAABo\") | I will look. | Function \
             fc_01 call_1 mcp__docs/search {\"query\":\"a\"} | Function fc_02 call_2 -/view_image {\"path\":\"/a.png\"} | \
             Custom ctc_01 call_3 -/apply_patch *** Begin Patch\n*** Delete File: a\n*** End Patch",
            "user: Function result call_1 [found] | Function result call_2 [attached, Image image/jpeg /9j/4AAQ None \
             None] | Custom result call_3 [Success.]",
            "developer: The sandbox is now read-only.",
            "assistant: Done.",
            "user: Thanks",
        ],
    );
    let said = &ask.turns[2].parts[1].extras;
    assert_eq!(said.get("id").map(Json::as_str), Some("\"msg_03\""));
    assert_eq!(said.get("phase").map(Json::as_str), Some("\"commentary\""));
    assert_eq!(ask.turns[0].extras.get("id").map(Json::as_str), Some("\"msg_01\""));
    assert_eq!(ask.called("call_3"), Some("apply_patch"));
}

#[test]
fn tools_that_items_bring_can_be_called() {
    let (ask, _) = read(golden!("codex_lite"));
    assert_eq!(tools(&ask), ["functions/exec custom", "functions/wait function Some(false)"]);
    assert_eq!(outline(&ask)[2], "assistant: Custom ctc_01 call_1 functions/exec await tools.ls()");
    let (ask, _) = read(golden!("codex_tool_search"));
    assert_eq!(
        tools(&ask),
        ["-/tool_search tool search", "mcp__calendar/create_event function Some(false)"]
    );
    assert_eq!(
        outline(&ask)[1],
        "assistant: ToolSearch tsc_01 call_1 -/tool_search {\"query\": \"calendar\", \"limit\": 1}"
    );
    assert!(outline(&ask)[2].starts_with("user: ToolSearch result call_1 [[\n"));
}

#[test]
fn compaction() {
    check(
        golden!("codex_compaction"),
        &[
            "developer: You are Codex.",
            "user: Fix it",
            "assistant: Function - call_1 -/exec_command {\"cmd\":\"ls\"}",
            "user: Function result call_1 [a.rs]",
            "assistant: Fixed.",
            "user: You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary.",
        ],
    );
    check(
        golden!("compacted"),
        &[
            "user: Build a page.",
            "user: Summary of the conversation so far, which stands in its place:\n\nThe page is built.",
            "user: Go on.",
            "assistant: foreign compaction",
        ],
    );
}

#[test]
fn media_of_every_kind() {
    check(
        golden!("media"),
        &[
            "user: Image https://example.com/a.png None Some(\"low\") | Image image/webp UklGRg== None None | Image file \
           file-1 None None | Document application/pdf JVBERi0= Some(\"a.pdf\") None | Document text/plain aGk= \
           Some(\"b.txt\") None | Document https://example.com/c.pdf None None | Document file file-2 None None | Audio \
           audio/wav UklGRg== None None | foreign input_hologram",
        ],
    );
}

#[test]
fn shells_and_patches() {
    let ask = check(
        golden!("shells"),
        &[
            "user: go",
            "assistant: LocalShell lsh_1 call_1 -/local_shell {\"type\": \"exec\", \"command\": [\"ls\", \"-l\"], \
             \"env\": {}, \"timeout_ms\": 1000} | LocalShell sh_1 call_2 -/shell {\"commands\": [\"pwd\"], \
             \"max_output_length\": 100} | ApplyPatch apc_1 call_3 -/apply_patch {\"type\": \"delete_file\", \"path\": \"a\"}",
            "user: LocalShell result call_1 [total 0] | LocalShell result call_2 [[{\"stdout\": \"/\\n\", \"stderr\": \"\", \
             \"outcome\": {\"type\": \"exit\", \"exit_code\": 0}}]] | ApplyPatch result call_3 error [no such file]",
        ],
    );
    assert_eq!(
        tools(&ask),
        [
            "-/local_shell local shell",
            "-/shell local shell",
            "-/shell hosted",
            "-/apply_patch apply patch"
        ]
    );
}

#[test]
fn what_only_openai_has_is_carried_whole() {
    let ask = check(
        golden!("hosted"),
        &[
            "user: news?",
            "assistant: foreign web_search_call | foreign tool_search_call",
            "user: foreign tool_search_output",
            "assistant: See [1]. | refusal Not more. | foreign mcp_approval_request",
            "user: foreign mcp_approval_response",
            "user: more",
        ],
    );
    assert_eq!(
        tools(&ask),
        ["-/mcp hosted", "-/web_search_preview hosted", "-/tool_search hosted"]
    );
    let names = vec!["web_search_preview".to_owned(), "f".to_owned()];
    assert_eq!(ask.tool_choice, Some(ToolChoice::Allowed { names, required: true }));
    let Content::Text { annotations, logprobs, .. } = &ask.turns[3].parts[0].content else {
        panic!("a text")
    };
    let url = "https://example.com".to_owned();
    let cited =
        Annotation::Url { url, title: Some("Example".into()), start: Some(4), end: Some(7) };
    assert_eq!(annotations[0], cited);
    assert!(matches!(annotations[1], Annotation::Foreign { .. }));
    assert_eq!(*logprobs, None);
}

#[test]
fn seals_return_to_where_they_came_from() {
    check(
        golden!("sealed"),
        &[
            "user: go",
            "assistant: thought rs_1 \"I should look.\" [] Some(\"anthropic:EqQB==\") | Function fc_1 call_1 -/f {} sealed",
            "user: Function result call_1 []",
            "assistant: thought - \"Raw.\" [] None",
        ],
    );
}

#[test]
fn references_are_left_to_the_gateway() {
    let (ask, echo) = read(golden!("references"));
    for name in ["previous_response_id", "conversation"] {
        assert!(ask.extras.get(name).is_some() && echo.get(name).is_some(), "{name}");
    }
    read(r#"{"previous_response_id":"resp_1"}"#);
    read(r#"{"prompt":{"id":"pmpt_1"}}"#);
}

#[test]
fn choices_of_every_form() {
    let choice = |text: &str| {
        let (ask, _) = read(&format!(r#"{{"input":"x","tool_choice":{text}}}"#));
        ask.tool_choice.expect("a choice")
    };
    assert_eq!(choice("\"none\""), ToolChoice::None);
    assert_eq!(choice("\"required\""), ToolChoice::Required);
    let named = |text: &str| match choice(text) {
        ToolChoice::Named { name, namespace, kind } => {
            format!("{kind:?} {} {name}", namespace.unwrap_or_default())
        }
        other => format!("{other:?}"),
    };
    assert_eq!(named(r#"{"type":"function","name":"f"}"#), "Function  f");
    assert_eq!(named(r#"{"type":"function","name":"f","namespace":"n"}"#), "Function n f");
    assert_eq!(named(r#"{"type":"function","function":{"name":"f"}}"#), "Function  f");
    assert_eq!(named(r#"{"type":"custom","name":"f"}"#), "Custom  f");
    assert_eq!(named(r#"{"type":"shell"}"#), "LocalShell  shell");
    assert_eq!(named(r#"{"type":"apply_patch"}"#), "ApplyPatch  apply_patch");
    let hosted = choice(r#"{"type":"mcp","server_label":"x"}"#);
    assert!(matches!(hosted, ToolChoice::Foreign { .. }));
}

#[test]
fn what_cannot_be_read_is_refused_with_its_path() {
    let cases = [
        ("[]", None),
        ("null", None),
        ("{", None),
        ("{}", Some("input")),
        (r#"{"input":7}"#, Some("input")),
        (r#"{"input":[7]}"#, Some("input[0]")),
        (r#"{"input":[{}]}"#, Some("input[0].type")),
        (r#"{"input":[{"role":"tool","content":"x"}]}"#, Some("input[0].role")),
        (r#"{"input":[{"role":"user","content":7}]}"#, Some("input[0].content")),
        (
            r#"{"input":[{"role":"user","content":[{"type":"text"}]}]}"#,
            Some("input[0].content[0].text"),
        ),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_image"}]}]}"#,
            Some("input[0].content[0]"),
        ),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:x"}]}]}"#,
            Some("input[0].content[0].image_url"),
        ),
        (
            r#"{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}"#,
            Some("input[0].call_id"),
        ),
        (
            r#"{"input":[{"type":"function_call","name":"f","call_id":"c","arguments":{}}]}"#,
            Some("input[0].arguments"),
        ),
        (
            r#"{"input":[{"type":"function_call_output","call_id":"c","output":{}}]}"#,
            Some("input[0].output"),
        ),
        (r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#, Some("input[0]")),
        (r#"{"input":[{"id":"msg_1"}]}"#, Some("input[0]")),
        (r#"{"input":"x","background":true}"#, Some("background")),
        (r#"{"input":"x","tools":{}}"#, Some("tools")),
        (r#"{"input":"x","tools":[{"name":"f"}]}"#, Some("tools[0].type")),
        (r#"{"input":"x","tools":[{"type":"function"}]}"#, Some("tools[0].name")),
        (
            r#"{"input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"namespace"}]}]}"#,
            Some("tools[0].tools[0]"),
        ),
        (r#"{"input":"x","tool_choice":"any"}"#, Some("tool_choice")),
        (r#"{"input":"x","tool_choice":{"type":"function"}}"#, Some("tool_choice.name")),
        (r#"{"input":"x","temperature":"hot"}"#, Some("temperature")),
        (r#"{"input":"x","max_output_tokens":-1}"#, Some("max_output_tokens")),
        (r#"{"input":"x","reasoning":{"effort":"huge"}}"#, Some("reasoning.effort")),
        (r#"{"input":"x","text":{"format":{"type":"json_schema"}}}"#, Some("text.format.name")),
        (r#"{"input":"x","metadata":[]}"#, Some("metadata")),
        (r#"{"input":"x","model":7}"#, Some("model")),
        (r#"{"input":"x","stream":"yes"}"#, Some("stream")),
    ];
    for (text, param) in cases {
        let fault = refused(text);
        assert_eq!(fault.param.as_deref(), param, "{text}: {fault}");
        assert_eq!(fault.status(), 400);
    }
    let deep = format!(r#"{{"input":"x","tools":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    (CLIENT.request)(deep.as_bytes()).expect_err("too deep");
}

#[test]
fn what_clients_send_by_habit_is_understood() {
    check(
        r#"{"input":[{"role":"assistant","content":null},{"role":"user","content":""}]}"#,
        &["user: "],
    );
    check(r#"{"input":[],"instructions":"x"}"#, &["system: x"]);
    let (ask, _) = read(
        r#"{"input":"x","tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}"#,
    );
    assert_eq!(tools(&ask), ["-/f function None"]);
    let (ask, _) =
        read(r#"{"input":"x","tools":null,"tool_choice":null,"reasoning":null,"text":null}"#);
    assert_eq!(ask.tool_choice, None);
}

#[test]
fn damaged_histories_are_carried_as_they_are() {
    // Two calls' arguments run together by an earlier gateway (litellm#33678), and an id of its making (codex#14355).
    let id = "call_".repeat(200);
    let text = format!(
        r#"{{"input":[{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{\"a\":1}}{{\"b\":2}}"}}]}}"#
    );
    let (ask, _) = read(&text);
    let call = ask.turns[0].parts[0].as_call().expect("a call");
    assert_eq!(call.arguments, r#"{"a":1}{"b":2}"#);
    assert_eq!(call.id, id);
}

#[test]
fn input_is_listed_as_items_with_ids() {
    let list = |text: &str| -> Vec<String> {
        input_items(text.as_bytes(), "ab").iter().map(|item| item.as_str().to_owned()).collect()
    };
    assert_eq!(
        list(golden!("text")),
        [
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"Say hello in exactly 3 words."}],"status":"completed","id":"msg_ab0000"}"#
        ]
    );
    let items = list(golden!("messages"));
    assert_eq!(
        items[1],
        r#"{"role":"assistant","content":[{"type":"output_text","text":"Hello Alice!","annotations":[]}],"type":"message","status":"completed","id":"msg_ab0001"}"#
    );
    assert!(items[2].contains(r#"[{"type":"input_text","text":"What is my name?"}]"#));
    assert!(list(golden!("codex_turns"))[2].contains("\"id\":\"rs_01\""));
    assert!(
        list(golden!("codex_turns"))[8]
            .contains(r#""image_url":"data:image/jpeg;base64,/9j/4AAQ","detail":"auto"}]"#)
    );
    assert!(list(golden!("media"))[0].contains("\"image_url\":\"data:image/webp"));
    assert!(list("[]").is_empty());
}

#[test]
fn a_compaction_keeps_what_the_user_said() {
    use crate::conversation::{Choice, Finish, Reply};
    use crate::wire::codec::Stamp;
    let (ask, echo) =
        (COMPACTION.request)(golden!("codex_compaction").as_bytes()).expect("a request");
    assert!(ask.tools.is_empty() && !ask.stream);
    assert!(outline(&ask).last().expect("a turn").starts_with("user: This conversation is about"));
    let parts = vec![Part::text("All is well.")];
    let choice = Choice { parts, finish: Some(Finish::Stop) };
    let reply = Reply { choices: vec![choice], ..Reply::default() };
    let stamp = Stamp { id: "ab".into(), created: 7, model: "m".into() };
    let body = (COMPACTION.reply)(&reply, &echo, &stamp).expect("a summary");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["object"], "response.compaction");
    let output = body["output"].as_array().expect("a list");
    assert_eq!(output.len(), 3);
    assert_eq!(output[0]["id"], "msg_ab0000");
    let again = serde_json::json!({ "input": output }).to_string();
    let last = outline(&read(&again).0);
    assert!(last.last().expect("a turn").ends_with("in its place:\n\nAll is well."));
    (COMPACTION.reply)(&Reply::default(), &echo, &stamp).expect_err("nothing was written");
    assert_eq!(input_tokens(7), br#"{"object":"response.input_tokens","input_tokens":7}"#);
}

/// Replaces one value of the tree, the `at`th in order.
fn spoil(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, at, with)),
        Value::Object(members) => members.values_mut().for_each(|member| spoil(member, at, with)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn hostile_requests_are_read_or_refused(
        text in prop::sample::select(&[
            golden!("codex_tools"),
            golden!("codex_turns"),
            golden!("codex_lite"),
            golden!("codex_tool_search"),
            golden!("hosted"),
            golden!("media"),
            golden!("parameters"),
            golden!("sealed"),
            golden!("shells"),
            golden!("compacted"),
        ][..]),
        at in 0_usize..150,
        with in prop::sample::select(&["null", "7", "\"\"", "\"x\"", "[]", "[null]", "{}", "true", "\"tidegate1.call.\""][..]),
    ) {
        let mut body: Value = serde_json::from_str(text).expect("JSON");
        spoil(&mut body, &mut at.clone(), &serde_json::from_str(with).expect("JSON"));
        let body = body.to_string();
        match (CLIENT.request)(body.as_bytes()) {
            Ok((_, echo)) => {
                let stamp = crate::wire::codec::Stamp::default();
                let reply = crate::conversation::Reply::default();
                let object = response_object(&reply, &echo, &stamp, 0).to_value();
                prop_assert!(object["tools"].is_array() && object["text"].is_object());
            }
            Err(fault) => prop_assert_eq!(fault.status(), 400),
        }
        input_items(body.as_bytes(), "ab");
        let _ = (COMPACTION.request)(body.as_bytes()).map(drop);
    }
}
