//! OpenRouter's `reasoning_details`: what it wants back unchanged, in one list, though it streams them in
//! pieces (<https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks>).

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::CHAT;
use crate::conversation::{Json, Seal};

/// The details so far.
#[derive(Debug, Default)]
pub(super) struct Details(Vec<Map<String, Value>>);

impl Details {
    /// Takes a list of them; what they show of the thoughts is returned.
    pub(super) fn take(&mut self, raw: &RawValue) -> String {
        let mut shown = String::new();
        let list: Vec<Map<String, Value>> = serde_json::from_str(raw.get()).unwrap_or_default();
        for detail in list {
            // Of another gateway like this one: its thoughts were told as text before.
            let is_told = detail.get("origin").and_then(Value::as_str) == Some("tidegate");
            for name in ["text", "summary"].into_iter().filter(|_| !is_told) {
                shown.push_str(detail.get(name).and_then(Value::as_str).unwrap_or_default());
            }
            match self.0.last_mut().filter(|last| continues(last, &detail)) {
                Some(last) => grow(last, detail),
                None => self.0.push(detail),
            }
        }
        shown
    }

    /// All of them as a seal, where anything in them proves or hides something. Plain thoughts go back as
    /// text.
    pub(super) fn seal(&mut self) -> Option<Seal> {
        let mut details = std::mem::take(&mut self.0);
        // In whatever order the pieces brought them.
        details.iter_mut().for_each(Map::sort_keys);
        let filled = |detail: &Map<String, Value>, name| {
            detail.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        };
        let sealed = details.iter().any(|one| filled(one, "signature") || filled(one, "data"));
        sealed.then(|| Seal { format: CHAT, data: Json::of(&details).as_str().to_owned() })
    }
}

fn continues(last: &Map<String, Value>, next: &Map<String, Value>) -> bool {
    ["type", "index"].iter().all(|name| last.get(*name) == next.get(*name))
}

fn grow(last: &mut Map<String, Value>, next: Map<String, Value>) {
    for (name, value) in next {
        match (last.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more))
                if matches!(name.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(&more);
            }
            (_, value) => {
                last.insert(name, value);
            }
        }
    }
}
