//! Which of the gateway's tools a request asks for: by the header `x-mcp-servers`, by a block of tools in the words of its
//! surface, or because its key has them always. Only servers of the configuration are ever meant.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::{Asking, connector};
use crate::conversation::{Ask, Content, Format, Json, ToolKind};
use crate::gateway::admit::Caller;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;
use crate::mcp::serve::ask::Scope;
use crate::wire::codec::ClientHalf;

const SERVERS: &str = "x-mcp-servers";
/// What a program asks on its own account, such as the title of a chat: Open WebUI writes it for `{{TASK}}` in a header of a
/// connection (`utils/headers.py` of 0.12).
const TASK: &str = "x-tidegate-task";

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub sources: Vec<Source>,
    /// The request, where it had to be read to know that.
    pub ask: Option<Ask>,
}

/// Tools of one scope.
#[derive(Debug)]
pub(super) struct Source {
    /// The client's own name for it; none: each server has its own.
    pub label: Option<String>,
    pub scope: Scope,
    pub allowed: Allowed,
    pub approval: Approval,
    /// What the client sends for these servers alone.
    pub headers: HeaderMap,
}

/// Which tools of a scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    pub names: Option<Vec<String>>,
    pub except: Vec<String>,
    /// Only tools that say that they change nothing.
    pub read_only: bool,
}

/// Which calls the client has to approve. <https://platform.openai.com/docs/guides/tools-connectors-mcp#approvals>
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Approval {
    #[default]
    Never,
    Always,
    /// By name: those that need one, and those that do not.
    Some {
        always: Option<Vec<String>>,
        never: Option<Vec<String>>,
    },
}

/// OpenAI's block, and what is alike in Anthropic's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block {
    server_label: Option<String>,
    server_url: Option<String>,
    allowed_tools: Option<Value>,
    require_approval: Option<Value>,
    headers: Option<BTreeMap<String, String>>,
    authorization: Option<String>,
    /// Where it is not said in `allowed_tools`.
    #[serde(skip)]
    allowed: Option<Allowed>,
}

/// Reads a request. Its body is parsed only where something in it looks like a block of tools.
pub(super) fn read(client: &ClientHalf, asking: &Asking<'_>) -> Result<Wanted, Fault> {
    let mut wanted = Wanted::default();
    let listed = named_servers(asking.headers);
    let always = matches!(asking.caller, Caller::Key(key) if key.default_tools);
    // Nobody looks at what such a request runs, and the definitions of the tools would be paid for with each.
    if (!listed.is_empty() || always) && !is_task(asking.headers) {
        wanted.sources.push(Source {
            label: None,
            scope: Scope { header: listed, ..Scope::default() },
            allowed: Allowed::default(),
            approval: Approval::Never,
            headers: HeaderMap::new(),
        });
    }
    let mentions = |name: &[u8]| memmem::find(asking.body, name).is_some();
    if mentions(b"\"server_url\"") || mentions(b"\"mcp_servers\"") {
        let (ask, _) = (client.request)(asking.body)?;
        for block in blocks(&ask) {
            let block = block?;
            if let Some(source) = source(block, asking.headers)? {
                wanted.sources.push(source);
            }
        }
        wanted.ask = Some(ask);
    }
    Ok(wanted)
}

/// Whether `x-tidegate-task` says something.
fn is_task(headers: &HeaderMap) -> bool {
    headers.get(TASK).is_some_and(|task| !task.as_bytes().trim_ascii().is_empty())
}

/// What `x-mcp-servers` names.
pub(in crate::gateway) fn named_servers(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(SERVERS).iter();
    lists.flat_map(|list| names_in(&String::from_utf8_lossy(list.as_bytes()))).collect()
}

/// Whether a tool is a block that the gateway serves.
pub(super) fn is_ours(value: &Json, headers: &HeaderMap) -> bool {
    let block: Option<Block> = value.read();
    let url = block.and_then(|block| block.server_url);
    url.is_some_and(|url| is_own_url(&url, headers))
}

/// Whether a URL means this gateway.
pub(super) fn is_own_url(url: &str, headers: &HeaderMap) -> bool {
    gateway_scope(url, headers).is_some()
}

/// Every block of a request, as this reads it.
fn blocks(ask: &Ask) -> Vec<Result<Block, Fault>> {
    let hosted = ask.tools.iter().filter_map(|tool| match &tool.kind {
        ToolKind::Hosted { value, .. } if is_mcp(value) => Some(value),
        _ => None,
    });
    let openai = hosted.map(|value| {
        value.read().ok_or_else(|| {
            Fault::invalid(
                "A tool of the type `mcp` is wrong: look at its `server_url` and `server_label`.",
            )
            .with_param("tools")
        })
    });
    let anthropic = connector::servers(ask).into_iter().map(|server| {
        let server = server.ok_or_else(|| {
            Fault::invalid("An entry of `mcp_servers` is wrong: look at its `url` and `name`.")
                .with_param("mcp_servers")
        })?;
        Ok(Block {
            allowed: Some(connector::allowed(ask, &server)),
            server_label: server.name,
            server_url: server.url,
            authorization: server.authorization_token,
            // Anthropic's connector asks for none.
            require_approval: Some("never".into()),
            ..Block::default()
        })
    });
    openai.chain(anthropic).collect()
}

pub(super) fn is_mcp(value: &Json) -> bool {
    crate::wire::mcp::edit::text(value, &["type"]).as_deref() == Some("mcp")
}

fn source(block: Block, headers: &HeaderMap) -> Result<Option<Source>, Fault> {
    let url = block.server_url.unwrap_or_default();
    let Some(scope) = gateway_scope(&url, headers) else { return Ok(None) };
    let wrong = |what: &str| {
        Fault::invalid(format!("`{what}` of a tool of the type `mcp` is wrong."))
            .with_param("tools")
    };
    let strings = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let named = |value: &Value| value.get("tool_names").map(&strings);
    let allowed = match &block.allowed_tools {
        None | Some(Value::Null) => block.allowed.unwrap_or_default(),
        Some(list @ Value::Array(_)) => Allowed {
            names: Some(strings(list).ok_or_else(|| wrong("allowed_tools"))?),
            ..Allowed::default()
        },
        Some(filter @ Value::Object(_)) => Allowed {
            names: named(filter).flatten(),
            read_only: filter.get("read_only").and_then(Value::as_bool).unwrap_or_default(),
            ..Allowed::default()
        },
        Some(_) => return Err(wrong("allowed_tools")),
    };
    let approval = match &block.require_approval {
        // OpenAI's own default.
        None | Some(Value::Null) => Approval::Always,
        Some(Value::String(word)) if word == "never" => Approval::Never,
        Some(Value::String(word)) if word == "always" => Approval::Always,
        Some(filter @ Value::Object(_)) => Approval::Some {
            always: filter.get("always").and_then(named).flatten(),
            never: filter.get("never").and_then(named).flatten(),
        },
        Some(_) => return Err(wrong("require_approval")),
    };
    let mut headers = HeaderMap::new();
    let token = block.authorization.map(|token| ("authorization".to_owned(), bearer(&token)));
    for (name, value) in block.headers.into_iter().flatten().chain(token) {
        let name = HeaderName::try_from(name).map_err(|_| wrong("headers"))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong("headers"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Some(Source { label: block.server_label, scope, allowed, approval, headers }))
}

/// OpenAI and Anthropic take the token alone.
fn bearer(token: &str) -> String {
    if token.contains(' ') { token.to_owned() } else { format!("Bearer {token}") }
}

/// The scope that a URL means, if it means this gateway: `litellm_proxy`, `tidegate`, either with `/mcp/a,b` behind it, or
/// the address that the request itself came to.
fn gateway_scope(url: &str, headers: &HeaderMap) -> Option<Scope> {
    let words = ["litellm_proxy", "tidegate"];
    let named = words.iter().find_map(|word| url.strip_prefix(word));
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let parsed = url::Url::parse(url).ok()?;
            let host = headers.get(header::HOST)?.to_str().ok()?;
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            let is_here = host.eq_ignore_ascii_case(&format!("{}{port}", parsed.host_str()?));
            is_here.then(|| parsed.path().to_owned())?
        }
    };
    let path = path.trim_matches('/');
    let mut pieces = path.split('/');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some("" | "mcp"), None, _) => Some(Scope::default()),
        (Some("mcp"), Some(list), None) => Some(Scope { path: names_in(list), ..Scope::default() }),
        (Some(single), Some("mcp"), None) if !single.is_empty() => {
            Some(Scope { path: vec![single.to_owned()], ..Scope::default() })
        }
        _ => None,
    }
}

fn names_in(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect()
}

impl Approval {
    /// Whether a call of a tool needs one.
    pub(super) fn is_needed(&self, tool: &str) -> bool {
        let names = |list: &Option<Vec<String>>| {
            list.as_ref().map(|list| list.iter().any(|name| name == tool))
        };
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Some { always, never } => match (names(always), names(never)) {
                (Some(true), _) => true,
                (_, Some(true)) => false,
                // With a list of those that need one, the others do not.
                (Some(false), None) => false,
                _ => true,
            },
        }
    }
}

/// A tool that a provider would have to run, from servers that are not the gateway's, for one that does not.
pub(super) fn foreign(ask: &Ask, provider: Format, headers: &HeaderMap) -> Option<Fault> {
    if ask.format == provider {
        return None;
    }
    let is_foreign = |value: &Json| is_mcp(value) && !is_ours(value, headers);
    let value = ask.tools.iter().find_map(|tool| match &tool.kind {
        ToolKind::Hosted { value, .. } if is_foreign(value) => Some(value),
        _ => None,
    });
    let (param, url) = match value {
        Some(value) => {
            let text = |name: &str| crate::wire::mcp::edit::text(value, &[name]);
            ("tools", text("server_url").or(text("connector_id")).or(text("server_label")))
        }
        None => {
            let urls = connector::servers(ask).into_iter().flatten().filter_map(|it| it.url);
            ("mcp_servers", Some(urls.into_iter().find(|url| !is_own_url(url, headers))?))
        }
    };
    let url = url.unwrap_or_default();
    let text = format!(
        "The MCP server `{}` is none of this gateway's, which calls only servers of its configuration, and the model's \
         provider runs none itself. Use \"server_url\": \"litellm_proxy\" for the gateway's own.",
        names::shown(&url)
    );
    Some(Fault::new(Kind::Unsupported, text).with_param(param))
}

/// A word on a call that neither this gateway nor the provider has asked about.
pub(super) fn foreign_word(ask: &Ask, provider: Format) -> Option<Fault> {
    if ask.format == provider {
        return None;
    }
    let text = |value: &Json, name: &str| crate::wire::mcp::edit::text(value, &[name]);
    let mut parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    let id = parts.find_map(|part| match &part.content {
        Content::Foreign { value, .. } => text(value, "type")
            .filter(|kind| kind == "mcp_approval_response")
            .and_then(|_| text(value, "approval_request_id")),
        _ => None,
    })?;
    Some(nothing_asked(&id))
}

/// There is nothing to say that word on.
pub(super) fn nothing_asked(approval: &str) -> Fault {
    let text = format!(
        "No approval with the id `{}` was asked for in this conversation. Send the `mcp_approval_request` item too, or \
         `previous_response_id`.",
        names::shown(approval)
    );
    Fault::invalid(text).with_param("input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_mean_the_gateway_or_something_else() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "gate.lan:4000".parse().expect("a host"));
        let path = |url: &str| gateway_scope(url, &headers).map(|scope| scope.path.join("+"));
        assert_eq!(path("litellm_proxy").as_deref(), Some(""));
        assert_eq!(path("litellm_proxy/mcp/a,b").as_deref(), Some("a+b"));
        assert_eq!(path("tidegate/mcp").as_deref(), Some(""));
        assert_eq!(path("http://gate.lan:4000/mcp/").as_deref(), Some(""));
        assert_eq!(path("http://gate.lan:4000/db/mcp").as_deref(), Some("db"));
        assert_eq!(path("http://gate.lan:4001/mcp"), None);
        assert_eq!(path("https://mcp.example.com/mcp"), None);
        assert_eq!(path("litellm_proxy_x"), None);
    }

    #[test]
    fn approvals_are_needed_as_they_are_spelled() {
        let some = |always: Option<&str>, never: Option<&str>| Approval::Some {
            always: always.map(|name| vec![name.to_owned()]),
            never: never.map(|name| vec![name.to_owned()]),
        };
        let needed = |approval: Approval| (approval.is_needed("a"), approval.is_needed("b"));
        assert_eq!(needed(Approval::Never), (false, false));
        assert_eq!(needed(Approval::Always), (true, true));
        assert_eq!(needed(some(Some("a"), None)), (true, false));
        assert_eq!(needed(some(None, Some("a"))), (false, true));
        assert_eq!(needed(some(Some("a"), Some("b"))), (true, false));
    }
}
