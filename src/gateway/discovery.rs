//! Which models stand behind a `*`. A wildcard group has no names of its own to show in `GET /v1/models`, so the
//! operator's own servers behind it are asked what they have: after each edit, and every minute. It happens in the
//! background and within bounds; while a server is away, what it last said stays. Requests never wait for it, nor are
//! they held to it: a model that came a moment ago can be asked for before it is listed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

use super::{Gate, Live, attempt, lane};
use crate::config::snapshot::{Deployment, Group};
use crate::conversation::Format;
use crate::ground::fault::Fault;
use crate::ground::names;
use crate::provider::client::Upstreams;
use crate::provider::{Call, Content};
use crate::wire::catalogue::Layout;
use crate::wire::codec::garbage;
use crate::wire::{model_list, ollama};

const EVERY: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Servers that are asked at once.
const AT_ONCE: usize = 8;
/// Largest list, in bytes and in names, and longest name.
const MAX_LIST: usize = 4 * 1024 * 1024;
const MAX_MODELS: usize = 1_000;
const MAX_NAME: usize = 200;

/// Asks after each swap and every minute, until `stop`.
pub async fn follow(gate: Arc<Gate>, upstreams: Upstreams, stop: CancellationToken) {
    loop {
        let live = gate.live();
        let round = async {
            ask_all(&live, &upstreams).await;
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            () = round => {}
            () = gate.swapped() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The public names of what the servers behind a wildcard group have.
pub(super) fn names(live: &Live, group: &Group) -> Vec<String> {
    let pattern = names::Pattern::new(group.name.as_str());
    let mut names = Vec::new();
    for deployment in &group.deployments {
        let Some(health) = live.ward.get(&deployment.id) else { continue };
        for model in health.discovered().iter() {
            let Some(captured) = deployment.model.captures(model) else { continue };
            let name = pattern.fill(&captured);
            // The name must lead back here: another group may be the more specific one.
            let leads_here = live.snapshot.models.find(&name).is_some_and(|found| {
                let captured: Vec<&str> = found.captured.iter().map(String::as_str).collect();
                found.group.name == group.name && deployment.model.fill(&captured) == *model
            });
            if leads_here {
                names.push(name);
            }
        }
    }
    names
}

async fn ask_all(live: &Live, upstreams: &Upstreams) {
    let mut questions: Vec<(Arc<Deployment>, Question)> = Vec::new();
    for (_, group) in &live.snapshot.models.wildcards {
        let deployments = group.deployments.iter();
        questions.extend(deployments.filter_map(|one| Some((one.clone(), question(one)?))));
    }
    let ask = |(deployment, question): (Arc<Deployment>, Question)| async move {
        let answer = ask(&deployment, question, upstreams).await;
        (deployment, question, answer)
    };
    let mut answers = stream::iter(questions).map(ask).buffer_unordered(AT_ONCE);
    while let Some((deployment, question, answer)) = answers.next().await {
        let Some(health) = live.ward.get(&deployment.id) else { continue };
        let (group, path) = (&deployment.group, question.path);
        match answer {
            Ok(models) if *health.discovered() == models => {}
            Ok(models) => {
                tracing::info!(model_name = %group, models = models.len(), "models were discovered");
                health.discover(models);
            }
            Err(fault) => {
                tracing::debug!(model_name = %group, path, error = %fault, "models were not listed");
            }
        }
    }
}

/// How a server is asked.
#[derive(Clone, Copy)]
struct Question {
    path: &'static str,
    is_native: bool,
    read: fn(&[u8]) -> Option<Vec<String>>,
}

/// How to ask what a deployment's server has; `None` where nobody asks: one model stands behind the name, or a
/// public provider, whose list is long and says nothing of what is meant here.
fn question(deployment: &Deployment) -> Option<Question> {
    let provider = deployment.provider;
    if !deployment.model.is_wild() || deployment.mock_response.is_some() {
        return None;
    }
    let speaks = |format| deployment.formats.contains(&format);
    if speaks(Format::Ollama) {
        return Some(Question { path: "/api/tags", is_native: true, read: ollama::models });
    }
    let is_openai_like = speaks(Format::OpenAiChat) || speaks(Format::OpenAiResponses);
    let is_own_server = !lane::is_own_address(deployment) || is_local(deployment);
    let asks = is_openai_like && is_own_server && provider.layout == Layout::Plain;
    asks.then_some(Question { path: "/models", is_native: false, read: model_list::ids })
}

/// Servers such as LM Studio live on this machine unless the operator says otherwise.
fn is_local(deployment: &Deployment) -> bool {
    match deployment.base.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

async fn ask(
    deployment: &Deployment,
    question: Question,
    upstreams: &Upstreams,
) -> Result<Vec<String>, Fault> {
    let call = Call {
        method: Method::GET,
        path: question.path.into(),
        is_native: question.is_native,
        model: "",
        headers: HeaderMap::new(),
        body: Content::Pieces(Vec::new()),
        timeout: TIMEOUT,
    };
    let body = attempt::fetch(upstreams, deployment, call, MAX_LIST).await?;
    // A name goes into lists that people and programs read.
    let is_plain = |name: &String| name.len() <= MAX_NAME && names::shown(name) == *name;
    let models =
        (question.read)(&body).ok_or_else(|| garbage("The answer is no list of models."))?;
    let mut models: Vec<String> = models.into_iter().filter(is_plain).collect();
    models.sort_unstable();
    models.dedup();
    models.truncate(MAX_MODELS);
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, base: &str, expected: Option<&str>) {
        let asked = question(&Deployment::sample(model, base)).map(|question| question.path);
        assert_eq!(asked, expected, "{model} at {base}");
    }

    #[test]
    fn own_servers_are_asked_and_public_providers_are_not() {
        check("ollama_chat/*", "http://ollama-a:11434", Some("/api/tags"));
        check("ollama_chat/qwen3:8b", "http://ollama-a:11434", None);
        check("openai/*", "http://vllm-b:8000/v1", Some("/models"));
        check("hosted_vllm/*", "http://vllm-b:8000/v1", Some("/models"));
        check("lm_studio/*", "http://127.0.0.1:1234/v1", Some("/models"));
        check("openai/*", "https://api.openai.com/v1", None);
        check("groq/*", "https://api.groq.com/openai/v1", None);
        check("anthropic/*", "https://api.anthropic.com", None);
        check("azure/*", "https://x.openai.azure.com", None);
        check("mock/*", "http://127.0.0.1:1", None);
    }
}
