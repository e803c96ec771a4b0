//! What becomes of each of LiteLLM's settings: the rows and how one is found; how a configuration is converted by them is told above.
//! Settings that are in no row are taken over as they are where Tidegate has the key, and left out where it has not.

mod models;
mod settings;

use super::Verdict;

/// What a row says of a setting.
pub(super) struct Rule {
    /// The type of the mapping that it stands in, as `known` calls it.
    pub(super) section: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) verdict: Verdict,
    /// Why, or what is different.
    pub(super) reason: &'static str,
    /// What to do; empty where there is nothing.
    pub(super) fix: &'static str,
}

const fn rule(
    section: &'static str,
    keys: &'static [&'static str],
    verdict: Verdict,
    reason: &'static str,
    fix: &'static str,
) -> Rule {
    Rule { section, keys, verdict, reason, fix }
}

/// Finds the row for a setting.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.section == section && rule.keys.contains(&key))
}

/// Every row.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    settings::RULES.iter().chain(models::RULES)
}

pub(super) const NO_CALLBACKS: &str =
    "no code of others runs in the gateway, and no logging service is called";
pub(super) const SEE_LOGS: &str =
    "every request is a row in the request log: `tidegate logs`, SQL, Grafana";
const ONE_PROCESS: &str = "one process holds the state that LiteLLM's workers share through Redis";
const NO_TEAMS: &str = "keys are in the file; there are no teams, users or keys in a database";
const NO_GUARDRAILS: &str = "contents are neither checked nor changed";
