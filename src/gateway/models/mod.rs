//! `GET /v1/models` and `/v1/models/{id}`: what a key may use, in the shape that the asking client reads:
//! OpenAI's (<https://platform.openai.com/docs/api-reference/models>), Anthropic's
//! (<https://docs.anthropic.com/en/api/models-list>), or both OpenAI's and Codex CLI's.

mod codex;

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit::Caller;
use super::{Live, discovery};
use crate::config::snapshot::Deployment;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;
use crate::wire::anthropic::client::{model_entry, model_list};

/// What LiteLLM gives for every model; clients only want it not to change.
const CREATED: i64 = 1_677_610_602;

/// Who asks, and so in which shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    OpenAi,
    /// The request carries `anthropic-version`.
    Anthropic,
    /// The query has `client_version`: Codex CLI, which wants `models` beside `data`.
    Codex,
}

impl View {
    pub fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        let named = |pair: &str| pair.split('=').next() == Some("client_version");
        if headers.contains_key("anthropic-version") {
            Self::Anthropic
        } else if query.is_some_and(|query| query.split('&').any(named)) {
            Self::Codex
        } else {
            Self::OpenAi
        }
    }
}

/// Every model that the caller may use, sorted by id.
pub fn list(live: &Live, caller: &Caller, view: View) -> Value {
    let models = &live.snapshot.models;
    let discovered: Vec<String> =
        models.wildcards.iter().flat_map(|(_, group)| discovery::names(live, group)).collect();
    let all = models.names().chain(discovered.iter().map(String::as_str));
    let mut names: Vec<&str> = all.filter(|name| caller.may_use(name, name)).collect();
    if let Caller::Key(key) = caller {
        names.extend(key.aliases.keys().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    let found = names.into_iter().filter_map(|name| Some((name, find(live, caller, name)?)));
    let found: Vec<(&str, Arc<Deployment>)> = found.collect();
    let entries = |view| -> Vec<Value> {
        found.iter().map(|(name, first)| entry(name, first, view)).collect()
    };
    match view {
        View::OpenAi => json!({ "object": "list", "data": entries(view) }),
        View::Codex => {
            let numbered = found.iter().enumerate();
            let models: Vec<Value> =
                numbered.map(|(at, (name, first))| codex::entry(name, first, at)).collect();
            json!({ "object": "list", "data": entries(View::OpenAi), "models": models })
        }
        View::Anthropic => model_list(entries(view)),
    }
}

/// One model.
///
/// # Errors
/// `ModelNotFound`, also for one that exists and the key may not see.
pub fn retrieve(live: &Live, caller: &Caller, name: &str, view: View) -> Result<Value, Fault> {
    let found = find(live, caller, name).ok_or_else(|| {
        Fault::new(
            Kind::ModelNotFound,
            format!(
                "The model `{}` does not exist here, or this key may not use it.",
                names::shown(name)
            ),
        )
        .with_param("model")
    })?;
    Ok(entry(name, &found, view))
}

/// The first deployment of a model that the caller may use.
fn find(live: &Live, caller: &Caller, name: &str) -> Option<Arc<Deployment>> {
    let meant = caller.meaning(name);
    if !caller.may_use(name, meant) {
        return None;
    }
    live.snapshot.models.find(meant)?.group.deployments.first().cloned()
}

fn entry(name: &str, first: &Deployment, view: View) -> Value {
    let text = |key: &str| first.info.get(key).and_then(Value::as_str);
    let created = first.info.get("created").and_then(Value::as_i64).unwrap_or(CREATED);
    if view == View::Anthropic {
        let created = Timestamp::from_second(created).unwrap_or_default().to_string();
        return model_entry(name, text("display_name").unwrap_or(name), &created);
    }
    let owner = text("owned_by").unwrap_or(first.provider.name);
    json!({ "id": name, "object": "model", "created": created, "owned_by": owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_follows_from_who_asks() {
        let mut headers = HeaderMap::new();
        assert_eq!(View::of(&headers, None), View::OpenAi);
        assert_eq!(View::of(&headers, Some("limit=1000")), View::OpenAi);
        assert_eq!(View::of(&headers, Some("a=b&client_version=0.169.0")), View::Codex);
        headers.insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
        assert_eq!(View::of(&headers, Some("limit=1000")), View::Anthropic);
    }
}
