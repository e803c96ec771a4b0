//! What the other endpoints make of a request: lists, summaries, counts; and whether results have calls.

use super::super::*;
use super::requests::{outline, read};
use crate::conversation::{Json, Part};

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

#[test]
fn a_result_wants_its_call() {
    let missing = |items: &[&str]| {
        let items: Vec<Json> = items.iter().map(|item| Json::parse(*item).expect("JSON")).collect();
        missing_call(&items)
    };
    let call = r#"{"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"}"#;
    let result = r#"{"type":"function_call_output","call_id":"call_1","output":"x"}"#;
    let custom = r#"{"type":"custom_tool_call_output","call_id":"call_2","output":"x"}"#;
    let message = r#"{"role":"user","content":"x"}"#;
    let reference = r#"{"type":"item_reference","id":"fc_1"}"#;
    assert_eq!(missing(&[message, call, message, result]), None);
    assert_eq!(missing(&[result, call]), None, "order is mended, not judged");
    assert_eq!(missing(&[call, result, custom]).as_deref(), Some("call_2"));
    assert_eq!(missing(&[message, result]).as_deref(), Some("call_1"));
    assert_eq!(missing(&[reference, result]), None, "the call may be what is referred to");
    assert_eq!(no_call("a\nb"), "No tool call found for function call output with call_id ab.");
}
