//! Names that stand for models, and how a group's deployments are tried.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::file::settings::{Fallbacks, LitellmSettings, RouterSettings};
use super::super::file::value::{At, Length, Target};
use super::super::snapshot::{Models, Routing};
use super::Checker;
use crate::ground::names::Pattern;

const RETRIES: u32 = 2;
/// More tries than this only make an outage worse.
const MOST_RETRIES: u32 = 20;
const COOLDOWN: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(600);
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// Adds `model_group_alias` to the models.
pub(super) fn aliases(
    mut models: Models,
    listed: Option<&BTreeMap<String, At<Target>>>,
    checker: &mut Checker<'_, '_>,
) -> Models {
    let mut aliases = BTreeMap::new();
    for (alias, At { value, place, hidden }) in listed.into_iter().flatten() {
        let target = At { value: value.model.clone(), place: *place, hidden: *hidden };
        if value.is_hidden {
            let message = "LiteLLM's `hidden` is not honoured by Tidegate: the alias is listed";
            checker.warning(target.place, message);
        }
        if models.groups.contains_key(alias) {
            let message = "an alias with the name of a model: the model is meant, not the alias";
            checker.error(target.place, message);
        } else if checker.model_exists(&target.value, &models) {
            aliases.insert(alias.clone(), target.value);
        } else {
            let known = models.groups.keys().map(String::as_str);
            checker.dangling(&target, "not a model in `model_list`", known);
        }
    }
    models.aliases = aliases;
    models
}

/// Reports a name under which no model answers.
pub(super) fn must_exist(name: &At<String>, models: &Models, checker: &mut Checker<'_, '_>) {
    if !checker.model_exists(&name.value, models) {
        checker.dangling(name, "not a model in `model_list`", models.names());
    }
}

pub(super) fn routing(
    litellm: &LitellmSettings,
    router: &RouterSettings,
    models: &Models,
    checker: &mut Checker<'_, '_>,
) -> Routing {
    if let Some(strategy) = router.routing_strategy.as_ref()
        && strategy.value != "simple-shuffle"
    {
        let message = format!(
            "`routing_strategy` {} is not honoured by Tidegate: it is `simple-shuffle`",
            strategy.show()
        );
        checker.warning(strategy.place, message);
    }
    let retries = preferred(
        "num_retries",
        router.num_retries.as_ref(),
        litellm.num_retries.as_ref(),
        checker,
    );
    if let Some(many) = retries.filter(|retries| retries.value > MOST_RETRIES) {
        checker.error(many.place, format!("`num_retries` must be from 0 to {MOST_RETRIES}"));
    }
    let whole =
        preferred("timeout", router.timeout.as_ref(), litellm.request_timeout.as_ref(), checker);
    let timeout = time("timeout", whole, checker).unwrap_or(TIMEOUT);
    let idle = router.stream_idle_timeout_seconds.as_ref();
    let mut default_fallbacks = Vec::new();
    let mut fallbacks = BTreeMap::new();
    for list in [&router.fallbacks, &litellm.fallbacks].into_iter().flatten() {
        add_fallbacks(list, models, &mut fallbacks, &mut default_fallbacks, checker);
    }
    for name in
        [&router.default_fallbacks, &litellm.default_fallbacks].into_iter().flatten().flatten()
    {
        must_exist(name, models, checker);
        default_fallbacks.push(name.value.clone());
    }
    Routing {
        num_retries: retries.map_or(RETRIES, |retries| retries.value),
        cooldown: router.cooldown_time.as_ref().map_or(COOLDOWN, |cooldown| cooldown.value.0),
        timeout,
        stream_timeout: time("stream_timeout", router.stream_timeout.as_ref(), checker)
            .unwrap_or(timeout),
        stream_idle_timeout: time("stream_idle_timeout_seconds", idle, checker)
            .unwrap_or(STREAM_IDLE),
        fallbacks,
        default_fallbacks,
    }
}

/// A time limit, which must be above zero.
pub(super) fn time(
    name: &str,
    length: Option<&At<Length>>,
    checker: &mut Checker<'_, '_>,
) -> Option<Duration> {
    let length = length?;
    if length.value.0.is_zero() {
        checker.error(length.place, format!("`{name}` must be above zero"));
    }
    Some(length.value.0)
}

/// What both settings sections may say; LiteLLM's router settings win.
fn preferred<'s, T: PartialEq>(
    name: &str,
    router: Option<&'s At<T>>,
    litellm: Option<&'s At<T>>,
    checker: &mut Checker<'_, '_>,
) -> Option<&'s At<T>> {
    if let (Some(router), Some(litellm)) = (router, litellm)
        && router.value != litellm.value
    {
        let message = format!("not used: `router_settings.{name}` says otherwise and wins");
        checker.warning(litellm.place, message);
    }
    router.or(litellm)
}

fn add_fallbacks(
    list: &Fallbacks,
    models: &Models,
    fallbacks: &mut BTreeMap<String, Vec<String>>,
    default_fallbacks: &mut Vec<String>,
    checker: &mut Checker<'_, '_>,
) {
    for (source, targets) in list.iter().flatten() {
        for target in &targets.value {
            must_exist(target, models, checker);
        }
        let names: Vec<String> = targets.value.iter().map(|target| target.value.clone()).collect();
        if names.contains(source) {
            checker.error(targets.place, "a model that falls back to itself");
        }
        if source == "*" {
            default_fallbacks.extend(names);
            continue;
        }
        let name = At { value: source.clone(), place: targets.place, hidden: false };
        if !Pattern::new(source).is_wild()
            || !models.wildcards.iter().any(|(p, _)| p.as_str() == source)
        {
            must_exist(&name, models, checker);
        }
        match fallbacks.get(source) {
            Some(other) if *other != names => {
                checker
                    .error(targets.place, format!("{} has other fallbacks already", name.show()));
            }
            _ => {
                fallbacks.insert(source.clone(), names);
            }
        }
    }
}
