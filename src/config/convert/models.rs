//! `model_list` converted: prefixes of providers, what a client may set moved into `extra_body`, entries that nobody can serve left out.

use super::super::node::{Key, Node, Scalar, Value};
use super::super::{known, problem::Place};
use super::providers::{OPENAI_LIKE, WITH_OWN_BASE};
use super::{Converter, Entries, Verdict, has_key, shown, text};
use crate::wire::catalogue;

impl Converter {
    pub(super) fn models(&mut self, node: Node) -> Option<Node> {
        let Value::List(items) = node.value else {
            self.note("model_list".into(), node.place, Verdict::Manual, "it is not a list", "");
            return None;
        };
        let mut kept = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            kept.extend(self.model(&format!("model_list[{index}]"), item));
        }
        Some(Node { place: node.place, value: Value::List(kept) })
    }

    fn model(&mut self, path: &str, node: Node) -> Option<Node> {
        let Value::Map(entries) = node.value else {
            self.note(path.to_owned(), node.place, Verdict::Manual, "it is not a mapping", "");
            return None;
        };
        if !entries.iter().any(|(key, _)| key.text == "litellm_params") {
            let reason = "the entry has no `litellm_params` and leads nowhere; it is left out";
            self.note(path.to_owned(), node.place, Verdict::Manual, reason, "");
            return None;
        }
        let mut kept = Entries::new();
        for (key, value) in entries {
            let below = format!("{path}.{}", shown(&key.text));
            match key.text.as_str() {
                "litellm_params" => {
                    let params = self.params(&below, value)?;
                    kept.push((key, params));
                }
                // Whatever is in it is shown to clients, there as here.
                "model_info" => {
                    self.exact(below, key.place);
                    kept.push((key, value));
                }
                _ => {
                    if let Some(value) = self.setting("ModelEntry", &key, below, value) {
                        kept.push((key, value));
                    }
                }
            }
        }
        Some(Node { place: node.place, value: Value::Map(kept) })
    }

    /// `None`: nobody here can serve the entry.
    fn params(&mut self, path: &str, node: Node) -> Option<Node> {
        let place = node.place;
        let Value::Map(mut entries) = node.value else {
            self.note(path.to_owned(), place, Verdict::Manual, "it is not a mapping", "");
            return None;
        };
        if !self.provider(path, place, &mut entries) {
            return None;
        }
        let mut kept = Entries::new();
        let mut body = Entries::new();
        for (key, value) in entries {
            let below = format!("{path}.{}", shown(&key.text));
            let is_field = known::litellm("LitellmParams", &key.text)
                .is_some_and(|hint| hint.contains("extra_body"));
            if is_field && !has_key("LitellmParams", &key.text) {
                let reason = "sent with every request, over what the client says (LiteLLM: where the \
                              client says nothing)";
                self.note(below, key.place, Verdict::Approximate, reason, "it is in `extra_body`");
                body.push((key, value));
            } else if key.text == "model" {
                kept.push((key, value));
            } else if key.text == "extra_body" {
                self.exact(below, key.place);
                if let Value::Map(own) = value.value {
                    body.extend(own);
                }
            } else if let Some(value) = self.setting("LitellmParams", &key, below, value) {
                kept.push((key, value));
            }
        }
        if !body.is_empty() {
            let key = Key { place, text: "extra_body".to_owned() };
            kept.push((key, Node { place, value: Value::Map(body) }));
        }
        Some(Node { place, value: Value::Map(kept) })
    }

    /// Sees to it that the entry names a provider that is known here. Whether it does.
    fn provider(&mut self, path: &str, place: Place, entries: &mut Entries) -> bool {
        let of = |entries: &Entries, name: &str| -> Option<String> {
            let found = entries.iter().find(|(key, _)| key.text == name)?;
            text(&found.1).map(str::to_owned)
        };
        let Some(model) = of(entries, "model") else {
            self.note(path.to_owned(), place, Verdict::Manual, "`model` is missing", "");
            return false;
        };
        let at = format!("{path}.model");
        let has_mock = entries.iter().any(|(key, _)| key.text == "mock_response");
        let custom = of(entries, "custom_llm_provider");
        let base = of(entries, "api_base").or_else(|| of(entries, "base_url"));
        let (prefix, rest) = match &custom {
            Some(provider) => (provider.as_str(), model.as_str()),
            None => model.split_once('/').unwrap_or(("openai", &model)),
        };
        let is_known = catalogue::prefixes().any(|known| known == prefix);
        if is_known && rest.is_empty() {
            let fix = "write the deployment's name behind the `/`";
            self.note(
                at,
                place,
                Verdict::Unsupported,
                "the entry names no model; it is left out",
                fix,
            );
            return false;
        }
        if is_known || (custom.is_none() && model.contains("${")) {
            self.exact(at, place);
            return true;
        }
        let row = OPENAI_LIKE.iter().find(|(known, ..)| *known == prefix);
        let own_base = WITH_OWN_BASE.contains(&prefix) && base.is_some();
        if row.is_none() && !own_base {
            if has_mock {
                set(entries, place, "model", "mock-response");
                self.note(at, place, Verdict::Exact, "the answer is Tidegate's own", "");
                return true;
            }
            let (reason, fix) = if base.is_some() && custom.is_none() {
                // As LiteLLM's own default for an address that is given.
                self.note(
                    at,
                    place,
                    Verdict::Approximate,
                    "the provider is not known here; its address is spoken to in OpenAI's format",
                    "",
                );
                return true;
            } else {
                (
                    format!(
                        "the provider `{}` is not known here; the entry is left out",
                        shown(prefix)
                    ),
                    "where it has an address in OpenAI's format, write `model: openai/NAME` and `api_base`",
                )
            };
            self.note(at, place, Verdict::Unsupported, &reason, fix);
            return false;
        }
        entries.retain(|(key, _)| key.text != "custom_llm_provider");
        set(entries, place, "model", &format!("openai/{rest}"));
        if let Some((_, address, variable)) = row {
            if base.is_none() {
                set(entries, place, "api_base", address);
            }
            if !entries.iter().any(|(key, _)| key.text == "api_key") {
                set(entries, place, "api_key", &format!("${{{variable}}}"));
            }
        }
        let reason = "the provider speaks OpenAI's format: `openai/` with its address";
        self.note(at, place, Verdict::Exact, reason, "");
        true
    }
}

fn set(entries: &mut Entries, place: Place, name: &str, value: &str) {
    let node = Node { place, value: Value::Scalar(Scalar::new(value, true)) };
    match entries.iter_mut().find(|(key, _)| key.text == name) {
        Some((_, known)) => *known = node,
        None => entries.push((Key { place, text: name.to_owned() }, node)),
    }
}
