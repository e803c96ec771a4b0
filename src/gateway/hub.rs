//! The hub lane: a request that is read in the client's format and written in the provider's, and the
//! answer the other way round. Which formats these are is decided in `lane`; how they are spelled is known
//! below, in `wire`. Nothing here sends anything.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Asked;
use super::attempt::Miss;
use super::route::Candidate;
use super::tools;
use crate::config::snapshot::Deployment;
use crate::conversation::stand_in::{self, Names};
use crate::conversation::{Ask, Format, Loss, Losses, repair};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::{ClientHalf, Echo, Ids, Outbound, ProviderHalf, ReplyContext, Target};
use crate::wire::fields::Fields;
use crate::wire::{drop_params, envelope, formats};

/// A request, written for one deployment.
pub(super) struct Written {
    pub(super) provider: &'static ProviderHalf,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<Bytes>,
    pub(super) context: ReplyContext,
    pub(super) names: Names,
    pub(super) losses: Losses,
    /// What the client's half remembers of its request.
    pub(super) echo: Echo,
}

/// What a provider's half is told of a deployment.
pub(super) fn target<'t>(
    asked: &Asked<'_>,
    deployment: &'t Deployment,
    model: &'t str,
) -> Target<'t> {
    Target {
        model,
        provider: deployment.provider,
        base: deployment.base.as_str(),
        info: &deployment.info,
        options: &deployment.options,
        stream: asked.envelope.stream,
    }
}

/// Writes the request for one deployment.
pub(super) fn write(
    asked: &Asked<'_>,
    client: &ClientHalf,
    format: Format,
    candidate: &Candidate,
    seed: &str,
) -> Result<Written, Fault> {
    let provider =
        formats::provider(format).ok_or_else(|| Fault::bug("a format without a half"))?;
    let deployment = &candidate.deployment;
    let dropped = &deployment.options.additional_drop_params;
    // Read again for each try: most requests are tried once, and a copy would cost them more.
    let (mut ask, echo) = (client.request)(&asked.body)?;
    if !dropped.is_empty() {
        (ask, _) = (client.request)(&drop_params::without(&asked.body, dropped))?;
    }
    let mut losses = Losses::default();
    let target = target(asked, deployment, &candidate.model);
    tools::apply(&mut ask, format, &asked.served, &mut losses)?;
    repair::pair_results(&mut ask);
    let abilities = formats::abilities(format, &target);
    let names = stand_in::stand_in(&mut ask, &abilities, &mut losses);
    let Outbound { path, headers, body, json_tool } =
        (provider.request)(&ask, &target, &mut losses)?;
    take_back_served(&ask, &mut losses);
    let let_through = &deployment.options.allowed_openai_params;
    let mut body = allowed(&asked.body, body, let_through, &mut losses);
    if deployment.refuse_losses {
        refuse(losses.iter())?;
    }
    if deployment.options.drop_params == Some(false) {
        // A parameter stands at the top; what is inside the conversation has a path.
        refuse(losses.iter().filter(|loss| !loss.path.contains('[')))?;
    }
    if !dropped.is_empty() {
        body = drop_params::without(&body, dropped).into_owned();
    }
    let body = envelope::overlay(&Bytes::from(body), &deployment.extra_body);
    let before = asked.served.turns.iter().flat_map(|turn| &turn.parts);
    let ids = Ids::after(seed, before.filter(|part| part.as_call().is_some()).count());
    let context = ReplyContext { ids, json_tool, model: candidate.model.clone() };
    Ok(Written { provider, path, headers, body, context, names, losses, echo })
}

/// What Tidegate does itself, whoever the provider is, is not lost: it stores responses and carries encrypted
/// thoughts. And nothing is lost of what is not wanted.
fn take_back_served(ask: &Ask, losses: &mut Losses) {
    let is_unwanted = ask.extras.get("store").is_some_and(|store| store.as_str() == "false");
    if ask.format == Format::OpenAiResponses || is_unwanted {
        losses.take_back("store");
    }
    if ask.format == Format::OpenAiResponses {
        losses.take_back("include");
    }
}

/// What the operator lets through though the provider's format has no place for it, as the client spelled it.
fn allowed(asked: &[u8], body: Vec<u8>, names: &[String], losses: &mut Losses) -> Vec<u8> {
    let lost: Vec<&String> = names.iter().filter(|name| losses.take_back(name)).collect();
    if lost.is_empty() {
        return body;
    }
    let fields = Fields::of_bytes(asked).unwrap_or_default();
    lost.into_iter().fold(body, |body, name| match fields.peek(name) {
        Some(value) => envelope::replace(&Bytes::from(body), name, value.get()).concat(),
        None => body,
    })
}

/// `on_loss: refuse`, and `drop_params: false`.
fn refuse<'l>(losses: impl Iterator<Item = &'l Loss>) -> Result<(), Fault> {
    let losses: Vec<&Loss> = losses.collect();
    let Some(first) = losses.first() else { return Ok(()) };
    let all: Vec<String> =
        losses.iter().map(|loss| format!("`{}` ({})", loss.path, loss.why)).collect();
    let message = format!(
        "This model's provider cannot take all of this request, and the gateway is set to refuse \
         rather than leave something out: {}. Leave it out, or ask another model.",
        all.join(", ")
    );
    Err(Fault::new(Kind::Unsupported, message).with_param(first.path.clone()))
}

/// The betas that a client asks for stay beside those that the request needs.
fn joined(headers: &HeaderMap, name: &str, value: &str) -> String {
    if name != "anthropic-beta" {
        return value.to_owned();
    }
    let asked = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut betas: Vec<&str> = Vec::new();
    for beta in asked.chain([value]).flat_map(|list| list.split(',')).map(str::trim) {
        if !beta.is_empty() && !betas.contains(&beta) {
            betas.push(beta);
        }
    }
    betas.join(",")
}

impl Written {
    /// The headers that the provider's format adds to those that travel anyway.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) -> Result<(), Miss> {
        for (name, value) in &self.headers {
            let value = joined(headers, name, value);
            let value = HeaderValue::try_from(value)
                .map_err(|_| Miss::refusal(Fault::bug("a format wrote a header that is none")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        headers.remove(header::ACCEPT);
        Ok(())
    }
}
