//! `model_list` converted: prefixes of providers, what a client may set moved into `extra_body`, entries that nobody can serve left out.

use super::super::node::{Key, Node, Scalar, Value};
use super::super::{known, problem::Place};
use super::providers::{OPENAI_LIKE, WITH_OWN_BASE, WITH_OWN_FORMAT};
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
                    if value.get("supported_environments").is_some() {
                        let below = format!("{below}.supported_environments");
                        let reason = "the entry is there in every environment";
                        let fix = "leave it out of the file where it is not meant";
                        self.note(below, key.place, Verdict::Manual, reason, fix);
                    }
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
        let Some(model) = value(entries, "model") else {
            self.note(path.to_owned(), place, Verdict::Manual, "`model` is missing", "");
            return false;
        };
        let at = format!("{path}.model");
        if model == "*" {
            let reason = "every name goes to OpenAI; LiteLLM asks the provider that it is of";
            let fix = "write an entry for each provider, such as `anthropic/*`";
            self.note(at, place, Verdict::Manual, reason, fix);
            return true;
        }
        let has_mock = has(entries, "mock_response");
        let custom = value(entries, "custom_llm_provider");
        let base = value(entries, "api_base").or_else(|| value(entries, "base_url"));
        let named = catalogue::by_name(&model).filter(|_| custom.is_none());
        let (prefix, rest) = match (&custom, named) {
            (Some(provider), _) => (provider.as_str(), model.as_str()),
            (None, Some(provider)) => (provider, model.as_str()),
            (None, None) => model.split_once('/').unwrap_or(("openai", &model)),
        };
        let is_known = catalogue::prefixes().any(|known| known == prefix);
        if is_known && rest.is_empty() {
            let fix = "write the deployment's name behind the `/`";
            let reason = "the entry names no model; it is left out";
            self.note(at, place, Verdict::Unsupported, reason, fix);
            return false;
        }
        if is_known || (custom.is_none() && model.contains("${")) {
            return self.served(path, place, (prefix, rest), entries);
        }
        let row = OPENAI_LIKE.iter().find(|(known, ..)| *known == prefix);
        let own_base = WITH_OWN_BASE.contains(&prefix) && base.is_some();
        if row.is_none() && !own_base {
            if has_mock {
                set(entries, place, "model", "mock-response");
                self.note(at, place, Verdict::Exact, "the answer is Tidegate's own", "");
                return true;
            }
            return self.unknown(at, place, (prefix, rest), base.is_some() && custom.is_none());
        }
        entries.retain(|(key, _)| key.text != "custom_llm_provider");
        set(entries, place, "model", &format!("openai/{rest}"));
        if let Some((_, address, variable)) = row {
            if base.is_none() {
                set(entries, place, "api_base", address);
            }
            if !has(entries, "api_key") {
                set(entries, place, "api_key", &format!("${{{variable}}}"));
            }
        }
        let reason = "the provider speaks OpenAI's format: `openai/` with its address";
        self.note(at, place, Verdict::Exact, reason, "");
        true
    }

    /// An entry of a provider that is known here: what LiteLLM says in a name, and what it fills in by itself. Whether it can be
    /// served.
    fn served(
        &mut self,
        path: &str,
        place: Place,
        (prefix, rest): (&str, &str),
        entries: &mut Entries,
    ) -> bool {
        let at = format!("{path}.model");
        let is_custom = has(entries, "custom_llm_provider");
        let base = value(entries, "api_base").or_else(|| value(entries, "base_url"));
        let mut name = rest.to_owned();
        let (mut verdict, mut reason) = (Verdict::Exact, "");
        match prefix {
            "azure" => {
                let families = ["o_series/", "gpt5_series/"];
                if let Some(short) = families.iter().find_map(|family| rest.strip_prefix(family)) {
                    name = short.to_owned();
                }
                let has_version = base.is_some_and(|base| base.ends_with("/openai/v1"));
                if !has_version
                    && !has(entries, "api_version")
                    && !has(entries, "litellm_credential_name")
                {
                    let reason =
                        "LiteLLM has a version of its own where none is said; Azure wants one";
                    let fix = "add `api_version`, or an `api_base` that ends in `/openai/v1`";
                    self.note(format!("{path}.api_version"), place, Verdict::Manual, reason, fix);
                }
            }
            "bedrock" => {
                if let Some((region, short)) = rest.split_once('/')
                    && is_region(region)
                {
                    name = short.to_owned();
                    if !has(entries, "aws_region_name") {
                        set(entries, place, "aws_region_name", region);
                    }
                }
                if let Some(short) = name.strip_prefix("invoke/") {
                    name = short.to_owned();
                    (verdict, reason) = (Verdict::Approximate, "by Converse, not by InvokeModel");
                }
                if ["agent/", "agentcore/", "async_invoke/"].iter().any(|way| name.starts_with(way))
                {
                    let reason =
                        "agents and asynchronous calls are not served; the entry is left out";
                    self.note(at, place, Verdict::Unsupported, reason, "");
                    return false;
                }
            }
            "vertex_ai" | "vertex_ai_beta" => {
                const VENDORS: [&str; 6] =
                    ["meta/", "mistral", "codestral", "jamba", "deepseek-ai/", "openai/"];
                let is_number = rest.chars().all(|c| c.is_ascii_digit());
                if is_number || VENDORS.iter().any(|vendor| rest.starts_with(vendor)) {
                    let reason = "of Vertex AI, models of Google and of Anthropic are served; the entry is left out";
                    self.note(at, place, Verdict::Unsupported, reason, "");
                    return false;
                }
            }
            _ => {}
        }
        if !is_custom && !rest.contains("${") {
            let model = value(entries, "model").unwrap_or_default();
            let is_bare = model == rest && catalogue::by_name(&model).is_some();
            if is_bare || name != rest {
                set(entries, place, "model", &format!("{prefix}/{name}"));
            }
            if is_bare {
                reason = "LiteLLM knows the provider by the name; here it stands before it";
            }
        }
        self.note(at, place, verdict, reason, "");
        self.credential(path, place, prefix, entries);
        true
    }

    /// Tells once of each cloud where its credentials come from, if not from the entry.
    fn credential(&mut self, path: &str, place: Place, prefix: &str, entries: &Entries) {
        const AMAZON: &str = "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from \
                              AWS_BEARER_TOKEN_BEDROCK; profiles and the machine's role are not looked for";
        const GOOGLE: &str = "the credential is the file that GOOGLE_APPLICATION_CREDENTIALS names; the machine's \
                              own account is not looked for";
        let (key, reason) = match prefix {
            "bedrock" | "bedrock_converse" => ("aws_access_key_id", AMAZON),
            "vertex_ai" | "vertex_ai_beta" => ("vertex_credentials", GOOGLE),
            _ => return,
        };
        let said = [key, "api_key", "litellm_credential_name", "mock_response"];
        if said.iter().any(|name| has(entries, name)) || self.told.contains(&key) {
            return;
        }
        self.told.push(key);
        self.note(format!("{path}.{key}"), place, Verdict::Approximate, reason, "");
    }

    /// An entry of a provider that is not known here. Whether its address may do.
    fn unknown(
        &mut self,
        at: String,
        place: Place,
        (prefix, rest): (&str, &str),
        has_base: bool,
    ) -> bool {
        let left_out =
            "the provider is spoken to in a format that is not known here; the entry is left out";
        let (reason, fix) = match prefix {
            "auto_router" => (
                "models are not chosen by what is asked; the entry is left out".to_owned(),
                "give the name to one model in `router_settings.model_group_alias`",
            ),
            "azure_ai" if rest.starts_with("claude") => (
                "Azure has Claude in Anthropic's format; the entry is left out".to_owned(),
                "write `model: anthropic/NAME`, and an `api_base` that ends in `/anthropic`",
            ),
            "azure_ai" => (
                "Azure AI is served by its address in OpenAI's format; the entry is left out"
                    .to_owned(),
                "write `model: openai/NAME`, and an `api_base` that ends in `/openai/v1`",
            ),
            _ if has_base && !WITH_OWN_FORMAT.contains(&prefix) => {
                // As LiteLLM's own default for an address that is given.
                let reason =
                    "the provider is not known here; its address is spoken to in OpenAI's format";
                self.note(at, place, Verdict::Approximate, reason, "");
                return true;
            }
            _ => (
                match has_base {
                    true => left_out.to_owned(),
                    false => format!(
                        "the provider `{}` is not known here; the entry is left out",
                        shown(prefix)
                    ),
                },
                "where it has an address in OpenAI's format, write `model: openai/NAME` and `api_base`",
            ),
        };
        self.note(at, place, Verdict::Unsupported, &reason, fix);
        false
    }
}

/// What an entry says in a key, where that is a text.
fn value(entries: &Entries, name: &str) -> Option<String> {
    let found = entries.iter().find(|(key, _)| key.text == name)?;
    text(&found.1).map(str::to_owned)
}

fn has(entries: &Entries, name: &str) -> bool {
    entries.iter().any(|(key, _)| key.text == name)
}

/// Whether it is like `us-west-2`.
fn is_region(text: &str) -> bool {
    text.split('-').count() >= 3
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn set(entries: &mut Entries, place: Place, name: &str, value: &str) {
    let node = Node { place, value: Value::Scalar(Scalar::new(value, true)) };
    match entries.iter_mut().find(|(key, _)| key.text == name) {
        Some((_, known)) => *known = node,
        None => entries.push((Key { place, text: name.to_owned() }, node)),
    }
}
