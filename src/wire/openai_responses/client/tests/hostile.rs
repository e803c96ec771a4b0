//! Requests with one value spoiled are read or refused, never more.

use proptest::prelude::*;
use serde_json::Value;

use super::super::*;

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
