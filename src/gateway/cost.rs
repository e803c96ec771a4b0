//! What an answer cost: by the prices of the deployment that gave it, or as its provider says. Knows no price itself.

use std::sync::Arc;

use crate::config::snapshot::Deployment;
use crate::conversation::Usage;
use crate::ground::usd::Usd;

/// Providers whose answers say what they cost, in US dollars: an exact figure, where a table has none for what was routed or
/// searched (<https://openrouter.ai/docs/use-cases/usage-accounting>, <https://docs.perplexity.ai>, <https://docs.x.ai>).
const SAY_IT: &[&str] = &["openrouter", "perplexity", "xai"];
/// What stands in a row's `price_version` then.
const STATED: &str = "provider";

/// An amount, and where its prices are from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) usd: Usd,
    pub(super) version: Arc<str>,
}

/// What an answer cost that used this much. `model` is the provider's name for what was asked for, `answered` the name that the
/// answer gives, the time in microseconds since 1970 UTC. `None`: not known.
pub(super) fn of(
    deployment: &Deployment,
    model: &str,
    answered: Option<&str>,
    usage: &Usage,
    at_us: i64,
) -> Option<Cost> {
    let prices = &deployment.prices;
    let says_it = SAY_IT.contains(&deployment.provider.name) && !prices.is_own();
    if let Some(usd) = usage.stated_cost.filter(|_| says_it) {
        return Some(Cost { usd, version: STATED.into() });
    }
    let prices = prices.of(model, answered)?;
    let usd = prices.cost(usage, at_us)?;
    Some(Cost { usd, version: prices.version.clone() })
}
