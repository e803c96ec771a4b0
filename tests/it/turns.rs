//! What real clients found in the translation between formats, through the public door. What each format
//! says is held to pages elsewhere; here is what takes more than one request.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, one_model};
use crate::support::upstream::{Seen, Step, Upstream, chat, json as answer};

/// A server that has chat and nothing else.
fn chat_only(seen: &Seen) -> Vec<Step> {
    if seen.path.ends_with("/chat/completions") {
        chat("ok")
    } else {
        answer(
            404,
            "",
            r#"{"error":{"message":"Unknown request URL","type":"invalid_request_error"}}"#,
        )
    }
}

#[tokio::test]
async fn a_server_without_responses_is_asked_by_chat_in_later_turns_too() {
    let upstream = Upstream::start(chat_only).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    // Of the second turn on, a conversation holds what the gateway put into it, and is read.
    let sealed =
        json!({ "type": "reasoning", "summary": [], "encrypted_content": "tidegate1.e30" });
    let said = json!({ "type": "message", "role": "user", "content": "hi" });
    for input in [json!([said]), json!([said, sealed, said])] {
        let body = json!({ "model": "m", "store": false, "input": input });
        let answer = gateway.post("/v1/responses", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["status"], "completed");
    }
    let paths: Vec<String> = upstream.seen().into_iter().map(|seen| seen.path).collect();
    assert!(
        paths.iter().filter(|path| path.ends_with("/chat/completions")).count() == 2,
        "{paths:?}"
    );
}

#[tokio::test]
async fn tokens_are_counted_without_max_tokens() {
    let upstream = Upstream::start(chat_only).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let body =
        json!({ "model": "m", "messages": [{ "role": "user", "content": "How high is it?" }] });
    let answer = gateway.post("/v1/messages/count_tokens", &body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(body["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{body}");
    assert!(upstream.seen().is_empty());
}
