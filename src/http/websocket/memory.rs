//! What one connection remembers: the conversations up to its last responses that are stored nowhere else, so that
//! a client that has nothing stored can go on by `previous_response_id`. The oldest go when there is too much.

use std::collections::VecDeque;

use crate::conversation::Json;
use crate::wire::fields::Fields;

const MOST: usize = 16;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// The last responses, the newest last.
#[derive(Debug, Default)]
pub(super) struct Memory(VecDeque<Remembered>);

#[derive(Debug)]
struct Remembered {
    response_id: String,
    said: Said,
    bytes: usize,
}

/// What was said in a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The stored response that it went on from.
    pub(super) after: Option<String>,
    /// All items since, in order.
    pub(super) items: Vec<Json>,
}

impl Memory {
    /// All that was said up to a response, its own items included.
    pub(super) fn recall(&self, response_id: &str) -> Option<Said> {
        let found = self.0.iter().find(|known| known.response_id == response_id)?;
        Some(found.said.clone())
    }

    /// Remembers a response: its last event, and what it answered.
    pub(super) fn keep(&mut self, completed: &[u8], mut said: Said) {
        let mut event = Fields::of_bytes(completed);
        let response = event.as_mut().and_then(|event| event.inner("response"));
        let Some(mut response) = response else { return };
        let Some(response_id) = response.text("id") else { return };
        let output = response.items("output").into_iter().map(Json::of_raw);
        said.items.extend(output.filter(says_something));
        let bytes = said.items.iter().map(|item| item.as_str().len()).sum();
        self.0.push_back(Remembered { response_id, said, bytes });
        let mut all: usize = self.0.iter().map(|known| known.bytes).sum();
        while self.0.len() > MOST || all > MOST_BYTES {
            let Some(oldest) = self.0.pop_front() else { return };
            all -= oldest.bytes;
        }
    }

    /// A response that a request failed to go on from is not offered again, as at OpenAI.
    pub(super) fn forget(&mut self, response_id: &str) {
        self.0.retain(|known| known.response_id != response_id);
    }
}

/// Thoughts that OpenAI neither stored nor gave out in a form that can be sent back are only refused there.
fn says_something(item: &Json) -> bool {
    let Some(item) = Fields::of(item.as_raw()) else { return false };
    let is_reasoning = item.peek("type").is_some_and(|kind| kind.get() == "\"reasoning\"");
    let has_content = item.peek("content").is_some_and(|content| content.get() != "[]");
    !is_reasoning || has_content || item.has("encrypted_content")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(id: &str, text: &str) -> Vec<u8> {
        let reasoning = r#"{"type":"reasoning","id":"rs_1","summary":[]}"#;
        format!(r#"{{"type":"response.completed","response":{{"id":"{id}","output":[{reasoning},"{text}",{{"type":"message"}}]}}}}"#)
            .into_bytes()
    }

    #[test]
    fn what_was_said_is_recalled_and_the_oldest_goes_first() {
        let mut memory = Memory::default();
        let asked = Json::parse("{\"type\":\"question\"}").expect("valid");
        let said = Said { after: Some("stored".into()), items: vec![asked.clone()] };
        memory.keep(&completed("a", ""), said);
        let said = memory.recall("a").expect("known");
        assert_eq!(said.after.as_deref(), Some("stored"));
        let said: Vec<&str> = said.items.iter().map(Json::as_str).collect();
        assert_eq!(said, [asked.as_str(), "{\"type\":\"message\"}"]);
        for number in 0..MOST {
            memory.keep(&completed(&number.to_string(), ""), Said::default());
        }
        assert!(memory.recall("a").is_none() && memory.recall("0").is_some());
        memory.forget("0");
        assert!(memory.recall("0").is_none());
        let huge = Json::of(&"x".repeat(MOST_BYTES));
        memory.keep(&completed("huge", ""), Said { after: None, items: vec![huge] });
        assert!(memory.recall("huge").is_none(), "more than there is room for");
        memory.keep(b"{}", Said::default());
        memory.keep(b"not json", Said::default());
    }
}
