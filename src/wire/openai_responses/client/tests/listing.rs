//! Whether results have their calls.

use super::super::*;
use crate::conversation::Json;

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
