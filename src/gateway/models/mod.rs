//! `GET /v1/models` and `/v1/models/{id}`: what a key may use, in the shape that the asking client reads:
//! OpenAI's (<https://platform.openai.com/docs/api-reference/models>), Anthropic's
//! (<https://docs.anthropic.com/en/api/models-list>), or both OpenAI's and Codex CLI's. In OpenAI's alone, each model says
//! which of the gateway's tools it could be given.

mod codex;
mod tools;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::admit::Caller;
use super::{Live, discovery};
use crate::config::snapshot::Deployment;
use crate::conversation::Json;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;
use crate::mcp::Mcp;
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

/// A list in OpenAI's shape, with Codex CLI's own beside it.
#[derive(Serialize)]
struct List<'m> {
    object: &'static str,
    data: Vec<Entry<'m>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<Value>>,
}

/// One model in OpenAI's shape.
#[derive(Serialize)]
struct Entry<'m> {
    id: &'m str,
    object: &'static str,
    created: i64,
    owned_by: &'m str,
    /// No part of OpenAI's shape; absent for callers without MCP servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'m Json>,
}

/// Every model that the caller may use, sorted by id; or the one with a name. `headers` may narrow the tools.
///
/// # Errors
/// `ModelNotFound`, also for one that exists and the key may not see; `ToolDenied` where the headers name a server that the
/// key may not use.
pub async fn show(
    live: &Live,
    mcp: &Mcp,
    caller: &Caller,
    headers: &HeaderMap,
    view: View,
    name: Option<&str>,
) -> Result<Bytes, Fault> {
    let single = name.map(|name| Ok((name, retrieve(live, caller, name)?))).transpose()?;
    let tools = match view {
        View::OpenAi => tools::of(&live.snapshot, mcp, caller, headers).await?,
        View::Anthropic | View::Codex => None,
    };
    if let Some((name, first)) = &single {
        let tools = tools.map(|tools| tools.for_models(1));
        return match view {
            View::Anthropic => written(&anthropic_entry(name, first)),
            View::OpenAi | View::Codex => written(&entry(name, first, tools.as_ref())),
        };
    }
    let discovered = discovered(live);
    let found = found(live, caller, &discovered);
    if view == View::Anthropic {
        let entries = found.iter().map(|(name, first)| anthropic_entry(name, first));
        return written(&model_list(entries.collect()));
    }
    let numbered = found.iter().enumerate();
    let tools = tools.map(|tools| tools.for_models(found.len()));
    written(&List {
        object: "list",
        data: found.iter().map(|(name, first)| entry(name, first, tools.as_ref())).collect(),
        models: (view == View::Codex)
            .then(|| numbered.map(|(at, (name, first))| codex::entry(name, first, at)).collect()),
    })
}

/// The models that stand behind a `*`.
fn discovered(live: &Live) -> Vec<String> {
    let wildcards = live.snapshot.models.wildcards.iter();
    wildcards.flat_map(|(_, group)| discovery::names(live, group)).collect()
}

/// What the caller may use, sorted by name, each with its first deployment.
fn found<'m>(
    live: &'m Live,
    caller: &'m Caller,
    discovered: &'m [String],
) -> Vec<(&'m str, Arc<Deployment>)> {
    let all = live.snapshot.models.names().chain(discovered.iter().map(String::as_str));
    let mut names: Vec<&str> = all.filter(|name| caller.may_use(name, name)).collect();
    if let Caller::Key(key) = caller {
        names.extend(key.aliases.keys().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| Some((name, find(live, caller, name)?))).collect()
}

fn retrieve(live: &Live, caller: &Caller, name: &str) -> Result<Arc<Deployment>, Fault> {
    find(live, caller, name).ok_or_else(|| {
        Fault::new(
            Kind::ModelNotFound,
            format!(
                "The model `{}` does not exist here, or this key may not use it.",
                names::shown(name)
            ),
        )
        .with_param("model")
    })
}

/// The first deployment of a model that the caller may use.
fn find(live: &Live, caller: &Caller, name: &str) -> Option<Arc<Deployment>> {
    let meant = caller.meaning(name);
    if !caller.may_use(name, meant) {
        return None;
    }
    live.snapshot.models.find(meant)?.group.deployments.first().cloned()
}

fn text<'d>(first: &'d Deployment, key: &str) -> Option<&'d str> {
    first.info.get(key).and_then(Value::as_str)
}

fn created(first: &Deployment) -> i64 {
    first.info.get("created").and_then(Value::as_i64).unwrap_or(CREATED)
}

fn anthropic_entry(name: &str, first: &Deployment) -> Value {
    let created = Timestamp::from_second(created(first)).unwrap_or_default().to_string();
    model_entry(name, text(first, "display_name").unwrap_or(name), &created)
}

fn entry<'m>(name: &'m str, first: &'m Deployment, tools: Option<&'m Json>) -> Entry<'m> {
    Entry {
        id: name,
        object: "model",
        created: created(first),
        owned_by: text(first, "owned_by").unwrap_or(first.provider.name),
        tools,
    }
}

fn written(body: &impl Serialize) -> Result<Bytes, Fault> {
    let text = serde_json::to_vec(body);
    text.map(Bytes::from).map_err(|_| Fault::bug("models cannot be written"))
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
