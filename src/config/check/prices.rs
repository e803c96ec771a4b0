//! What entries say of prices, and where the prices of a deployment come from. What a price is of, and which one a request has, is
//! decided in `prices`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::file::models::{LitellmParams, ModelInfo};
use super::super::file::servers::McpServer;
use super::super::file::value::At;
use super::super::problem::{Place, Severity, show};
use super::super::snapshot::{Cloud, Deployment, ToolPrices};
use super::Checker;
use crate::ground::names::closest;
use crate::ground::usd::Usd;
use crate::prices::book::{Facts, Place as Served};
use crate::prices::litellm::{self, Entry, Fault, FaultKind};
use crate::prices::{Book, Pricing, component};

/// The prices that an entry says: those of `litellm_params` before those of `model_info`.
pub(super) fn own(
    params: &LitellmParams,
    info: &ModelInfo,
    checker: &mut Checker<'_, '_>,
) -> Entry {
    let mut said = Map::new();
    for (name, at) in info.prices.iter().chain(&params.prices) {
        said.insert(name.clone(), at.value.clone());
    }
    let places: BTreeMap<&String, &At<Value>> = info.prices.iter().chain(&params.prices).collect();
    let mut entry = litellm::entry(&said);
    for fault in std::mem::take(&mut entry.faults) {
        if let Some(at) = places.get(&fault.key) {
            tell(&fault, at, checker);
        }
    }
    entry
}

/// Keys of `model_info` that look like prices and are none: that section takes any key.
pub(super) fn unknown(info: &At<ModelInfo>, checker: &mut Checker<'_, '_>) {
    let faults = litellm::entry(&info.value.whole).faults;
    for fault in faults.iter().filter(|fault| fault.kind == FaultKind::Unknown) {
        let suggestion = closest(&fault.key, component::names()).map(str::to_owned);
        let message = format!("{} in `model_info`: no price is called so", show(&fault.key));
        checker.findings.add(info.place, Severity::Warning, message, suggestion);
    }
}

fn tell(fault: &Fault, at: &At<Value>, checker: &mut Checker<'_, '_>) {
    let name = &fault.key;
    let message = match at.value.as_f64() {
        Some(number) if number < 0.0 => format!("`{name}` must not be below zero"),
        _ if at.value.is_object() || at.value.is_array() => {
            format!(
                "`{name}`: not as LiteLLM has it, or with something else than numbers of US dollars"
            )
        }
        _ => format!("`{name}`: expected a number of US dollars"),
    };
    checker.error(at.place, message);
}

/// How the prices of a deployment are found.
pub(super) fn pricing(
    deployment: &Deployment,
    book: &Arc<Book>,
    base_model: Option<&str>,
    own: Entry,
) -> Pricing {
    let model = &deployment.model;
    let region = match &deployment.cloud {
        Some(Cloud::Amazon { region, .. }) => Some(region.as_str()),
        _ => None,
    };
    let facts = Facts {
        provider: deployment.provider.name,
        model: (!model.is_wild()).then(|| model.as_str()),
        base_model,
        region,
        place: served(deployment),
    };
    Pricing::new(book, &facts, own)
}

/// Where requests are served, as far as the address says it.
fn served(deployment: &Deployment) -> Served {
    let host = deployment.base.host_str().unwrap_or_default();
    match (deployment.provider.name, host) {
        // https://platform.openai.com/docs/guides/your-data
        ("openai", "eu.api.openai.com") => Served::HostEu,
        ("openai", "us.api.openai.com") => Served::HostUs,
        ("openai", "gov.api.openai.com") => Served::HostGov,
        ("vertex_ai", host) if host.ends_with("-aiplatform.googleapis.com") => Served::Location,
        _ => Served::Anywhere,
    }
}

/// `mcp_info.mcp_server_cost_info` of an MCP server.
pub(super) fn tools(server: &McpServer, place: Place, checker: &mut Checker<'_, '_>) -> ToolPrices {
    let Some(told) = server.mcp_info.as_ref().and_then(|info| info.get("mcp_server_cost_info"))
    else {
        return ToolPrices::default();
    };
    let mut price = |name: &str, value: &Value| -> Option<Usd> {
        let amount = litellm::amount(value).ok();
        if amount.is_none() && !value.is_null() {
            let name = show(name);
            checker.error(
                place,
                format!("`mcp_server_cost_info`: {name}: expected a number of US dollars"),
            );
        }
        amount
    };
    let default = told.get("default_cost_per_query");
    let default = default.and_then(|value| price("default_cost_per_query", value));
    let by_tool = told.get("tool_name_to_cost_per_query").and_then(Value::as_object);
    let by_tool = by_tool.into_iter().flatten();
    let by_tool = by_tool.filter_map(|(name, value)| Some((name.clone(), price(name, value)?)));
    ToolPrices { default, by_tool: by_tool.collect() }
}
