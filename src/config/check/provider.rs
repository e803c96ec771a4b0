//! Where a deployment's requests go, in which format, and as whom: from the prefix of `model`, `api_base`
//! and keys, to an address and credentials. What LiteLLM derives from names and suffixes is derived here.

use std::path::Path;

use http::HeaderValue;
use url::Url;

use super::super::file::models::{CredentialValues, LitellmParams};
use super::super::file::value::At;
use super::super::problem::{Place, Severity};
use super::super::snapshot::Cloud;
use super::Checker;
use crate::conversation::Format;
use crate::ground::names::closest;
use crate::ground::secret::Secret;
use crate::wire::catalogue::{self, Auth, Layout, Provider};

/// Paths that belong to an endpoint and not to the base that all endpoints share.
const ENDPOINTS: &[&str] = &[
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/models",
    "/moderations",
    "/images/generations",
    "/audio/transcriptions",
    "/audio/speech",
    "/rerank",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
    "/v2/chat",
];

/// Largest file of credentials.
const MAX_CREDENTIALS: usize = 64 * 1024;

/// Whose the model is.
pub(super) struct Found<'p> {
    pub(super) provider: &'static Provider,
    pub(super) formats: &'static [Format],
    /// The provider's name for the model.
    pub(super) model: &'p str,
}

/// What an entry and its credential say together; the entry wins.
pub(super) struct Said<'p> {
    pub(super) params: &'p LitellmParams,
    pub(super) credential: &'p CredentialValues,
}

impl<'p> Said<'p> {
    pub(super) fn api_base(&self) -> Option<&'p At<String>> {
        let own = self.params.api_base.as_ref();
        own.or(self.credential.api_base.as_ref())
            .or(self.params.aws_bedrock_runtime_endpoint.as_ref())
    }
}

/// The provider that `model` names, or `None` after an error.
pub(super) fn provider<'p>(
    params: &'p LitellmParams,
    model: &'p At<String>,
    has_base: bool,
    checker: &mut Checker<'_, '_>,
) -> Option<Found<'p>> {
    let (provider, name) = row(params, model, has_base, checker)?;
    let only_chat = params.use_chat_completions_api == Some(true);
    // LiteLLM's `openai/responses/gpt-5` and `bedrock/converse/…` say the format in the name.
    let said = |word: &str| name.strip_prefix(word).filter(|rest| !rest.is_empty());
    let speaks = |format| provider.formats.contains(&format);
    let found = |formats, model| Some(Found { provider, formats, model });
    if speaks(Format::OpenAiResponses)
        && let Some(rest) = said("responses/")
    {
        return found(&[Format::OpenAiResponses], rest);
    }
    if speaks(Format::OpenAiChat)
        && let Some(rest) = said("chat/completions/")
    {
        return found(&[Format::OpenAiChat], rest);
    }
    if speaks(Format::OpenAiChat) && only_chat {
        return found(&[Format::OpenAiChat], name);
    }
    if speaks(Format::Bedrock)
        && let Some(rest) = said("converse/")
    {
        return found(provider.formats, rest);
    }
    // Claude on Vertex AI is spoken to in Anthropic's format.
    if provider.name == "vertex_ai" && name.starts_with("claude") {
        return found(&[Format::Anthropic], name);
    }
    found(provider.formats, name)
}

fn row<'p>(
    params: &'p LitellmParams,
    model: &'p At<String>,
    has_base: bool,
    checker: &mut Checker<'_, '_>,
) -> Option<(&'static Provider, &'p str)> {
    if let Some(prefix) = &params.custom_llm_provider {
        let known = catalogue::PROVIDERS.iter();
        let Some(provider) =
            known.into_iter().find(|provider| provider.prefixes.contains(&prefix.value.as_str()))
        else {
            checker.dangling(prefix, "not a provider that Tidegate knows", catalogue::prefixes());
            return None;
        };
        let rest = model.value.strip_prefix(&prefix.value).and_then(|rest| rest.strip_prefix('/'));
        return Some((provider, rest.unwrap_or(&model.value)));
    }
    let found = catalogue::find(&model.value, has_base);
    match found {
        Some((_, "")) => checker.error(model.place, "`model` has no name after its provider"),
        Some((_, "*")) if model.value == "*" => {
            let message = "`*` has no provider: every name goes to `openai`, write `provider/*`";
            checker.warning(model.place, message);
        }
        Some(_) if !has_base && params.mock_response.is_none() && !model.value.contains('/') => {
            if let Some(provider) = catalogue::by_name(&model.value) {
                let message = format!(
                    "{} has no provider before it and goes to `openai`: write `{provider}/…`",
                    model.show()
                );
                checker.warning(model.place, message);
            }
        }
        Some(_) => {}
        None => {
            let prefix = model.value.split('/').next().unwrap_or_default();
            let suggestion = closest(prefix, catalogue::prefixes())
                .filter(|_| !model.hidden)
                .map(|prefix| format!("{prefix}/…"));
            let message = format!(
                "{}: no provider has this prefix (any OpenAI-compatible one is `openai/…` with an \
                 `api_base`)",
                model.show()
            );
            checker.findings.add(model.place, Severity::Error, message, suggestion);
        }
    }
    found
}

/// The base URL, or `None` after an error.
pub(super) fn base(
    provider: &Provider,
    said: &Said<'_>,
    place: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<String> {
    let Some(api_base) = said.api_base() else {
        return own_base(provider, said, place, checker);
    };
    if provider.is_mock() {
        return Some(provider.base.unwrap_or("mock:").to_owned());
    }
    let url = match http_url(&api_base.value) {
        Ok(url) => url,
        Err(message) => {
            checker.error(api_base.place, format!("`api_base`: {message}"));
            return None;
        }
    };
    let mut base = url.as_str().trim_end_matches('/').to_owned();
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| base.ends_with(**endpoint)) {
        base.truncate(base.len() - endpoint.len());
        let message = format!(
            "`api_base` is the address below which endpoints are: `{endpoint}` was removed"
        );
        checker.warning(api_base.place, message);
    }
    // The address of the OpenAI-compatible endpoints, given where the provider's own are spoken to.
    if !provider.beside.is_empty()
        && let Some(shorter) = base.strip_suffix(provider.beside)
    {
        base.truncate(shorter.len());
    }
    if Url::parse(&base).is_ok_and(|url| url.path() == "/") {
        base.push_str(provider.base_suffix);
    }
    if provider.layout == Layout::Azure
        && said.params.api_version.is_none()
        && !base.ends_with("/openai/v1")
    {
        let message =
            "`api_version` is missing: Azure wants one, unless `api_base` ends in `/openai/v1`";
        checker.warning(api_base.place, message);
    }
    Some(base)
}

/// The provider's own address, where the entry gives none.
fn own_base(
    provider: &Provider,
    said: &Said<'_>,
    place: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<String> {
    let Said { params, credential } = said;
    match provider.auth {
        Auth::Amazon => {
            let region = region(said, place, checker)?;
            Some(format!("https://bedrock-runtime.{region}.amazonaws.com"))
        }
        Auth::GoogleToken => {
            let own = params.vertex_project.as_ref().or(credential.vertex_project.as_ref());
            let project = plain(own, &["VERTEXAI_PROJECT"], place, checker);
            let own = params.vertex_location.as_ref().or(credential.vertex_location.as_ref());
            let location = plain(own, &["VERTEXAI_LOCATION", "VERTEX_LOCATION"], place, checker)
                .unwrap_or_else(|| "us-central1".to_owned());
            let Some(project) = project else {
                checker.error(place, "`vertex_project` is missing, and so is the variable `VERTEXAI_PROJECT`: Vertex AI wants a project");
                return None;
            };
            let host = match location.as_str() {
                "global" => "aiplatform.googleapis.com".to_owned(),
                location => format!("{location}-aiplatform.googleapis.com"),
            };
            Some(format!("https://{host}/v1/projects/{project}/locations/{location}"))
        }
        _ if params.mock_response.is_none() && provider.base.is_none() => {
            let message =
                format!("`api_base` is missing: `{}` has no address of its own", provider.name);
            checker.error(place, message);
            None
        }
        _ => Some(provider.base.unwrap_or("mock:").to_owned()),
    }
}

fn region(said: &Said<'_>, place: Place, checker: &mut Checker<'_, '_>) -> Option<String> {
    let own = said.params.aws_region_name.as_ref().or(said.credential.aws_region_name.as_ref());
    let variables = ["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"];
    let region = plain(own, &variables, place, checker);
    match region {
        Some(region) if region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            Some(region)
        }
        Some(_) => {
            checker.error(place, "`aws_region_name` is not a region such as `us-east-1`");
            None
        }
        None => {
            checker.error(place, "`aws_region_name` is missing, and so is the variable `AWS_REGION`: Bedrock wants a region");
            None
        }
    }
}

/// A value of the entry, else of the first variable that is set.
fn plain(
    own: Option<&At<String>>,
    variables: &[&str],
    place: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<String> {
    if let Some(own) = own {
        return Some(own.value.clone());
    }
    let found = variables.iter().find_map(|name| checker.variable(name, place));
    found.map(|value| value.as_str().to_owned()).filter(|value| !value.is_empty())
}

/// The same for what must not be seen.
fn hidden(
    own: Option<&At<Secret>>,
    variable: &str,
    place: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<Secret> {
    if let Some(own) = own {
        return Some(own.value.clone());
    }
    checker.variable(variable, place).map(|value| Secret::new(value.as_str()))
}

/// What a cloud wants instead of a key.
pub(super) fn cloud(
    provider: &Provider,
    said: &Said<'_>,
    has_key: bool,
    place: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<Cloud> {
    match provider.auth {
        Auth::Amazon if !has_key => amazon(said, place, checker),
        Auth::GoogleToken if !has_key => google(said, place, checker),
        _ => None,
    }
}

fn amazon(said: &Said<'_>, place: Place, checker: &mut Checker<'_, '_>) -> Option<Cloud> {
    let Said { params, credential } = said;
    let own = params.aws_access_key_id.as_ref().or(credential.aws_access_key_id.as_ref());
    let access_key_id = hidden(own, "AWS_ACCESS_KEY_ID", place, checker);
    let own = params.aws_secret_access_key.as_ref().or(credential.aws_secret_access_key.as_ref());
    let secret_access_key = hidden(own, "AWS_SECRET_ACCESS_KEY", place, checker);
    let own = params.aws_session_token.as_ref().or(credential.aws_session_token.as_ref());
    let session_token = hidden(own, "AWS_SESSION_TOKEN", place, checker);
    let (Some(access_key_id), Some(secret_access_key)) = (access_key_id, secret_access_key) else {
        let message = "no `api_key`, and no `aws_access_key_id` and `aws_secret_access_key`: requests \
                       to Bedrock are not signed";
        checker.warning(place, message);
        return None;
    };
    let region = region(said, place, checker)?;
    let access_key_id = access_key_id.expose().to_owned();
    Some(Cloud::Amazon { region, access_key_id, secret_access_key, session_token })
}

fn google(said: &Said<'_>, place: Place, checker: &mut Checker<'_, '_>) -> Option<Cloud> {
    let Said { params, credential } = said;
    let own = params.vertex_credentials.as_ref().or(credential.vertex_credentials.as_ref());
    let Some(given) = hidden(own, "GOOGLE_APPLICATION_CREDENTIALS", place, checker) else {
        let message = "no `vertex_credentials`, and the variable `GOOGLE_APPLICATION_CREDENTIALS` is \
                       not set: requests to Vertex AI carry no token";
        checker.warning(place, message);
        return None;
    };
    let place = own.map_or(place, |own| own.place);
    let json = if given.expose().trim_start().starts_with('{') {
        given
    } else {
        let (_, read) = checker.origins.read(Path::new(given.expose()), MAX_CREDENTIALS);
        match read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            Ok(text) => Secret::new(text),
            Err(reason) => {
                checker.error(place, format!("`vertex_credentials` cannot be read: {reason}"));
                return None;
            }
        }
    };
    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json.expose()).is_err() {
        checker.error(place, "`vertex_credentials` is not the JSON of a Google credential");
        return None;
    }
    Some(Cloud::Google(json))
}

/// An address that requests can be sent to. The error does not hold it.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("not a URL such as `http://host:8000/v1` ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("a URL must begin with `http://` or `https://`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a user or password within a URL would be logged; send it as a header".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a base URL has no `?` and no `#`".to_owned());
    }
    Ok(url)
}

/// The provider's key: the entry's, the credential's, or the provider's customary variable. That
/// variable is shown to the provider's own address only: LiteLLM sends `OPENAI_API_KEY` to any
/// `openai/` entry with an `api_base`, also to a stranger's.
pub(super) fn api_key(
    provider: &Provider,
    said: &Said<'_>,
    place: Place,
    base: &str,
    key_was_lost: bool,
    checker: &mut Checker<'_, '_>,
) -> Option<Secret> {
    let Said { params, credential } = said;
    if let Some(key) = params.api_key.as_ref().or(credential.api_key.as_ref()) {
        if HeaderValue::from_str(key.value.expose()).is_err() {
            checker.error(key.place, "`api_key` has characters that no header may have");
        }
        return Some(key.value.clone());
    }
    if params.mock_response.is_some() || key_was_lost {
        return None;
    }
    let variable = provider.key_variable?;
    let value = checker.variable(variable, place).map(|value| Secret::new(value.as_str()));
    let own = provider.base.is_none_or(|own| same_host(own, base));
    match (own, value) {
        (true, Some(key)) => return Some(key),
        (true, None) => {
            // A server of one's own may well want no key.
            if provider.base.is_some_and(|base| base.starts_with("https:")) {
                let message = format!(
                    "no `api_key`, and the variable `{variable}` is not set: no key is sent"
                );
                checker.warning(place, message);
            }
        }
        (false, Some(_)) => {
            let message = format!(
                "no `api_key`: `{variable}` is not sent to an `api_base` of another host \
                 (write `api_key: os.environ/{variable}` if it should be, `api_key: none` if not)"
            );
            checker.warning(place, message);
        }
        (false, None) => {}
    }
    None
}

fn same_host(one: &str, other: &str) -> bool {
    let host = |text: &str| Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
    match (host(one), host(other)) {
        // eu.api.openai.com belongs to whom api.openai.com belongs to.
        (Some(one), Some(other)) => other == one || other.ends_with(&format!(".{one}")),
        (one, other) => one == other,
    }
}
