//! `model_list`: entries become deployments, deployments become groups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::super::file::models::{Credential, CredentialValues, LitellmParams, ModelEntry};
use super::super::file::value::{At, OnLoss};
use super::super::problem::Place;
use super::super::snapshot::{Deployment, Group, Models};
use super::prices;
use super::provider::{self, Found, Said};
use super::routing::time;
use super::{Checker, Unenforced, place_of};
use crate::ground::names::Pattern;
use crate::prices::{Book, Pricing};
use crate::wire::codec::Options;

/// Access group → names of the groups whose entries carry it.
pub(super) type AccessGroups = BTreeMap<String, Vec<String>>;

/// Headers that describe the message and are the gateway's to write.
const FRAMING: &[&str] =
    &["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

/// What `litellm_settings` says for all models.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct General {
    pub(super) drop_params: Option<bool>,
    pub(super) modify_params: Option<bool>,
    pub(super) refuse_losses: bool,
}

/// A deployment whose share is not settled yet: that takes the whole group.
struct Draft {
    deployment: Deployment,
    shares: [Option<f64>; 3],
}

pub(super) fn models(
    list: Vec<At<ModelEntry>>,
    credentials: Vec<At<Credential>>,
    general: General,
    book: &Arc<Book>,
    checker: &mut Checker<'_, '_>,
) -> (Models, AccessGroups) {
    let credentials = by_name(credentials, checker);
    let mut access_groups = AccessGroups::new();
    let mut drafts: BTreeMap<String, Vec<Draft>> = BTreeMap::new();
    let mut ids = HashSet::new();
    let mut unenforced = Unenforced::default();
    for entry in list {
        unenforced.note(&unenforced_keys(&entry.value));
        let name = entry.value.model_name.as_ref().map(|name| Pattern::new(name.value.clone()));
        let Some((name, draft)) =
            draft(entry, &credentials, general, book, &mut access_groups, checker)
        else {
            match name {
                Some(name) => checker.faulty_models.push(name),
                None => checker.models_unknown = true,
            }
            continue;
        };
        drafts.entry(name).or_default().push(distinct(draft, &mut ids));
    }
    unenforced.report("model_list", checker);
    (groups(drafts), access_groups)
}

fn by_name(
    list: Vec<At<Credential>>,
    checker: &mut Checker<'_, '_>,
) -> HashMap<String, CredentialValues> {
    let mut credentials = HashMap::new();
    for entry in list {
        let Some(name) = &entry.value.credential_name else {
            checker.missing(&entry, "credential_name");
            continue;
        };
        let values = entry.value.credential_values.unwrap_or_default();
        if credentials.insert(name.value.clone(), values).is_some() {
            checker.error(name.place, format!("the credential {} stands twice", name.show()));
        }
    }
    credentials
}

fn unenforced_keys(entry: &ModelEntry) -> Vec<(&'static str, Option<Place>)> {
    let Some(params) = entry.litellm_params.as_ref().map(|params| &params.value) else {
        return Vec::new();
    };
    vec![
        ("rpm", place_of(params.rpm.as_ref())),
        ("tpm", place_of(params.tpm.as_ref())),
        ("max_parallel_requests", place_of(params.max_parallel_requests.as_ref())),
        ("max_budget", place_of(params.max_budget.as_ref())),
        ("budget_duration", place_of(params.budget_duration.as_ref())),
    ]
}

/// One entry as a deployment, with the name of its group.
fn draft(
    entry: At<ModelEntry>,
    credentials: &HashMap<String, CredentialValues>,
    general: General,
    book: &Arc<Book>,
    access_groups: &mut AccessGroups,
    checker: &mut Checker<'_, '_>,
) -> Option<(String, Draft)> {
    let Some(name) = &entry.value.model_name else {
        checker.missing(&entry, "model_name");
        return None;
    };
    let Some(params_at) = &entry.value.litellm_params else {
        checker.missing(&entry, "litellm_params");
        return None;
    };
    let params = &params_at.value;
    let Some(model) = &params.model else {
        checker.missing(params_at, "model");
        return None;
    };
    let empty = CredentialValues::default();
    let credential = params.litellm_credential_name.as_ref().map_or(&empty, |wanted| {
        credentials.get(&wanted.value).unwrap_or_else(|| {
            checker.dangling(
                wanted,
                "not in `credential_list`",
                credentials.keys().map(String::as_str),
            );
            &empty
        })
    });
    let said = Said { params, credential };
    let Found { provider, formats, model: upstream } =
        provider::provider(params, model, said.api_base().is_some(), checker)?;
    stars(name, model, upstream, checker);
    let base = provider::base(provider, &said, model.place, checker)?;
    let url = base
        .parse()
        .map_err(|error| checker.error(model.place, format!("no address can be made: {error}")))
        .ok()?;
    let key_was_lost = checker.damaged.contains(&params_at.place);
    let api_key = provider::api_key(provider, &said, model.place, &base, key_was_lost, checker);
    let has_key = api_key.is_some() || key_was_lost || params.mock_response.is_some();
    let cloud = provider::cloud(provider, &said, has_key, model.place, checker);
    let organization = params.organization.as_ref().or(credential.organization.as_ref());
    let headers = headers(params, organization, checker);
    let api_version = params.api_version.as_ref().or(credential.api_version.as_ref());
    if let Some(info) = &entry.value.model_info {
        prices::unknown(info, checker);
    }
    let info = entry.value.model_info.map(|info| info.value).unwrap_or_default();
    for group in info.access_groups.iter().flatten() {
        let members = access_groups.entry(group.value.clone()).or_default();
        if !members.contains(&name.value) {
            members.push(name.value.clone());
        }
    }
    let own = prices::own(params, &info, checker);
    let id = info.id.as_ref().map(|id| id.value.clone());
    let shares = [
        params.weight.as_ref().map(|weight| weight.value),
        params.rpm.as_ref().map(share),
        params.tpm.as_ref().map(share),
    ];
    if let Some(bad) = params.weight.as_ref().filter(|weight| weight.value <= 0.0) {
        let message = "`weight` must be above zero (use `order` to keep a deployment for last)";
        checker.error(bad.place, message);
    }
    checker.not_negative("max_budget", params.max_budget.as_ref());
    let mut deployment = Deployment {
        id: String::new(),
        group: name.value.clone(),
        provider,
        formats,
        model: Pattern::new(upstream),
        base: url,
        api_version: api_version.map(|version| version.value.clone()),
        api_key,
        cloud,
        options: options(params, general),
        refuse_losses: params
            .on_loss
            .as_ref()
            .map_or(general.refuse_losses, |on_loss| on_loss.value == OnLoss::Refuse),
        headers,
        extra_body: params.extra_body.clone().unwrap_or_default(),
        weight: 1.0,
        order: params.order.unwrap_or_default(),
        timeout: time("timeout", params.timeout.as_ref(), checker),
        stream_timeout: time("stream_timeout", params.stream_timeout.as_ref(), checker),
        mock_response: params.mock_response.clone(),
        prices: Pricing::default(),
        info: info.whole,
    };
    let base_model = info.base_model.as_ref().map(|name| name.value.as_str());
    deployment.prices = prices::pricing(&deployment, book, base_model, own);
    deployment.id = id.unwrap_or_else(|| digest(&deployment));
    Some((name.value.clone(), Draft { deployment, shares }))
}

fn options(params: &LitellmParams, general: General) -> Options {
    let names = |list: Option<&Vec<At<String>>>| {
        list.into_iter().flatten().map(|name| name.value.clone()).collect()
    };
    Options {
        drop_params: params.drop_params.or(general.drop_params),
        additional_drop_params: names(params.additional_drop_params.as_ref()),
        allowed_openai_params: names(params.allowed_openai_params.as_ref()),
        modify_params: params.modify_params.or(general.modify_params),
        merge_reasoning_content_in_choices: params.merge_reasoning_content_in_choices == Some(true),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of requests")]
fn share(capacity: &At<u64>) -> f64 {
    capacity.value.max(1) as f64
}

/// A `*` in the provider's name takes what a `*` of the public name stood for: there must be one.
fn stars(name: &At<String>, model: &At<String>, upstream: &str, checker: &mut Checker<'_, '_>) {
    let count = |text: &str| text.matches('*').count();
    if count(upstream) > count(&name.value) {
        checker.error(model.place, "`model` has a `*` that `model_name` does not fill");
    }
    if name.value.is_empty() {
        checker.error(name.place, "`model_name` is empty");
    }
}

fn headers(
    params: &LitellmParams,
    organization: Option<&At<String>>,
    checker: &mut Checker<'_, '_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let mut add = |name: &str, text: &str, place: Place, checker: &mut Checker<'_, '_>| {
        let framing = FRAMING.contains(&name.to_ascii_lowercase().as_str());
        match (HeaderName::try_from(name), HeaderValue::from_str(text)) {
            (Ok(_), Ok(_)) if framing => {
                checker.error(place, "a header that the gateway itself writes");
            }
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            (Err(_), _) => checker.error(place, "not a header's name"),
            (_, Err(_)) => checker.error(place, "a value with characters that no header may have"),
        }
    };
    if let Some(organization) = organization {
        add("openai-organization", &organization.value, organization.place, checker);
    }
    for (name, value) in params.extra_headers.iter().flatten() {
        add(name, value.value.expose(), value.place, checker);
    }
    headers
}

/// What identifies a deployment whose entry gives no id: where its requests go, and as whom.
fn digest(deployment: &Deployment) -> String {
    let key = deployment.api_key.as_ref().map(|key| key.hash().to_hex()).unwrap_or_default();
    let version = deployment.api_version.as_deref().unwrap_or_default();
    let parts = [
        deployment.group.as_str(),
        deployment.provider.name,
        deployment.model.as_str(),
        deployment.base.as_str(),
        version,
        &key,
    ];
    let digest = Sha256::digest(parts.join("\0").as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Two entries may be alike to the letter; their ids are not.
fn distinct(mut draft: Draft, ids: &mut HashSet<String>) -> Draft {
    let id = draft.deployment.id.clone();
    let mut number = 2u32;
    while !ids.insert(draft.deployment.id.clone()) {
        draft.deployment.id = format!("{id}-{number}");
        number += 1;
    }
    draft
}

fn groups(drafts: BTreeMap<String, Vec<Draft>>) -> Models {
    let mut models = Models::default();
    for (name, drafts) in drafts {
        let deployments = weighted(drafts).into_iter().map(Arc::new).collect();
        let group = Arc::new(Group { name: name.clone(), deployments });
        let pattern = Pattern::new(name.clone());
        if pattern.is_wild() {
            models.wildcards.push((pattern, group));
        } else {
            models.groups.insert(name, group);
        }
    }
    models.wildcards.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
    models
}

/// Settles the shares of a group: by the first of `weight`, `rpm` and `tpm` that any of its
/// deployments has; one without the number gets the mean of those with it.
fn weighted(drafts: Vec<Draft>) -> Vec<Deployment> {
    let given = |index: usize| -> Vec<Option<f64>> {
        let share = |draft: &Draft| draft.shares.get(index).copied().flatten();
        drafts.iter().map(share).collect()
    };
    let shares = (0..3).map(given).find(|shares| shares.iter().any(Option::is_some));
    let shares = shares.unwrap_or_default();
    let known: Vec<f64> = shares.iter().copied().flatten().collect();
    #[expect(clippy::cast_precision_loss, reason = "a group has few deployments")]
    let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    let mut shares = shares.into_iter();
    drafts
        .into_iter()
        .map(|draft| {
            let weight = shares.next().flatten().unwrap_or(mean);
            Deployment { weight, ..draft.deployment }
        })
        .collect()
}
