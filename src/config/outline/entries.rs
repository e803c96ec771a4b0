//! Entries of `model_list`, `virtual_keys` and `mcp_servers`, each told as the mapping that it is in the file.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Seals, Section, put, seconds, texts, tool_limits};
use crate::config::snapshot::{
    Cloud, Deployment, Key, McpServer, McpTransport, Pin, Sharing, ToolPrices,
};

pub(super) fn deployment(deployment: &Deployment, seals: &Seals) -> Value {
    let Deployment {
        id,
        group: _,
        provider,
        formats,
        model,
        base,
        api_version,
        api_key,
        cloud,
        options,
        refuse_losses,
        headers,
        extra_body,
        weight,
        order,
        timeout,
        stream_timeout,
        mock_response,
        prices,
        info,
    } = deployment;
    let mut params = Section::new();
    let named = match provider.is_mock() {
        true => provider.name.to_owned(),
        false => format!("{}/{}", provider.name, model.as_str()),
    };
    put(&mut params, "model", json!(named));
    let base = if provider.is_mock() { Value::Null } else { json!(shown_url(base)) };
    put(&mut params, "api_base", base);
    put(&mut params, "api_version", json!(api_version));
    put(&mut params, "api_key", json!(api_key.as_ref().map(|key| seals.seal(key.expose()))));
    match cloud {
        Some(Cloud::Amazon { region, access_key_id, secret_access_key, session_token }) => {
            put(&mut params, "aws_region_name", json!(region));
            put(&mut params, "aws_access_key_id", seals.seal(access_key_id));
            put(&mut params, "aws_secret_access_key", seals.seal(secret_access_key.expose()));
            let token = session_token.as_ref().map(|token| seals.seal(token.expose()));
            put(&mut params, "aws_session_token", json!(token));
        }
        Some(Cloud::Google(credentials)) => {
            put(&mut params, "vertex_credentials", seals.seal(credentials.expose()));
        }
        None => {}
    }
    let spoken = formats.first() != provider.formats.first();
    put(&mut params, "use_chat_completions_api", json!(spoken.then_some(true)));
    put(&mut params, "drop_params", json!(options.drop_params.unwrap_or(true)));
    put(&mut params, "modify_params", json!(options.modify_params.unwrap_or(true)));
    put(&mut params, "additional_drop_params", json!(options.additional_drop_params));
    put(&mut params, "allowed_openai_params", json!(options.allowed_openai_params));
    let merges = options.merge_reasoning_content_in_choices.then_some(true);
    put(&mut params, "merge_reasoning_content_in_choices", json!(merges));
    put(&mut params, "on_loss", json!(if *refuse_losses { "refuse" } else { "report" }));
    put(&mut params, "extra_headers", header_values(headers, seals));
    put(&mut params, "extra_body", veiled(&Value::Object(extra_body.clone()), seals));
    put(&mut params, "weight", json!(weight));
    put(&mut params, "order", json!(order));
    put(&mut params, "timeout", json!(timeout.map(seconds)));
    put(&mut params, "stream_timeout", json!(stream_timeout.map(seconds)));
    put(&mut params, "mock_response", json!(mock_response));
    for (name, price) in prices.own() {
        put(&mut params, &name, json!(price.to_string()));
    }
    let mut whole = Section::new();
    whole.insert("id".into(), json!(id));
    whole.insert("litellm_params".into(), params.into());
    put(&mut whole, "model_info", veiled(&Value::Object(info.clone()), seals));
    whole.into()
}

pub(super) fn key(key: &Key) -> Section {
    let Key {
        hash: _,
        id: _,
        alias,
        models,
        mcp_servers,
        aliases,
        expires,
        blocked,
        user_id,
        team_id,
        tags,
        limits,
        default_tools,
        tool_limits: tools,
    } = key;
    let mut section = Section::new();
    put(&mut section, "key_alias", json!(alias));
    section.insert("models".into(), texts(models));
    if let Some(servers) = mcp_servers {
        section.insert("mcp_servers".into(), json!(servers));
    }
    put(&mut section, "aliases", json!(aliases));
    put(&mut section, "expires", json!(expires));
    put(&mut section, "blocked", json!(blocked));
    put(&mut section, "user_id", json!(user_id));
    put(&mut section, "team_id", json!(team_id));
    put(&mut section, "tags", json!(tags));
    put(&mut section, "default_tools", json!(default_tools));
    tool_limits(&mut section, tools);
    put(&mut section, "rpm_limit", json!(limits.rpm_limit));
    put(&mut section, "tpm_limit", json!(limits.tpm_limit));
    put(&mut section, "max_parallel_requests", json!(limits.max_parallel_requests));
    put(&mut section, "max_budget", json!(limits.max_budget));
    put(&mut section, "budget_duration", json!(limits.budget_duration.map(seconds)));
    section
}

pub(super) fn server(server: &McpServer, seals: &Seals) -> Section {
    let McpServer {
        name: _,
        aliases,
        access_groups,
        api_keys,
        allow_all_keys,
        fingerprint: _,
        prefix,
        server_id,
        description,
        instructions,
        info,
        transport,
        allowed_hosts,
        headers,
        forwarded_headers,
        allowed_tools,
        disallowed_tools,
        allowed_params,
        tool_names,
        tool_descriptions,
        timeout,
        max_concurrent_requests,
        health_path,
        allowed_paths,
        sharing,
        restart,
        revision,
        sampling_model,
        pin,
        parallel,
        tool_prices,
    } = server;
    let mut section = Section::new();
    let is_child = matches!(transport, McpTransport::Stdio(_));
    way(&mut section, transport, seals);
    put(&mut section, "alias", json!(aliases));
    put(&mut section, "prefix", json!(prefix));
    put(&mut section, "description", json!(description));
    put(&mut section, "instructions", json!(instructions));
    let mut info = info.clone();
    let by_tool = tool_prices.by_tool.iter().map(|(tool, price)| (tool, price.to_string()));
    let prices = json!({
        "default_cost_per_query": tool_prices.default.map(|price| price.to_string()),
        "tool_name_to_cost_per_query": by_tool.collect::<BTreeMap<_, _>>(),
    });
    if *tool_prices != ToolPrices::default() {
        info.insert("mcp_server_cost_info".into(), prices);
    }
    put(&mut section, "mcp_info", veiled(&Value::Object(info), seals));
    put(&mut section, "server_id", json!(server_id));
    if let Some(keys) = api_keys {
        let mut ids: Vec<String> = keys.iter().map(|key| key.id()).collect();
        ids.sort_unstable();
        section.insert("api_keys".into(), json!(ids));
    }
    put(&mut section, "allow_all_keys", json!(allow_all_keys));
    put(&mut section, "access_groups", json!(access_groups));
    put(&mut section, "static_headers", header_values(headers, seals));
    let forwarded: Vec<&str> = forwarded_headers.iter().map(HeaderName::as_str).collect();
    put(&mut section, "extra_headers", json!(forwarded));
    if let Some(tools) = allowed_tools {
        section.insert("allowed_tools".into(), texts(tools));
    }
    put(&mut section, "disallowed_tools", texts(disallowed_tools));
    put(&mut section, "allowed_params", json!(allowed_params));
    put(&mut section, "tool_names", json!(tool_names));
    put(&mut section, "tool_descriptions", json!(tool_descriptions));
    put(&mut section, "timeout", seconds(*timeout));
    put(&mut section, "max_concurrent_requests", json!(max_concurrent_requests));
    put(&mut section, "health_check", json!(health_path.as_deref().unwrap_or("ping")));
    put(&mut section, "allowed_hosts", texts(allowed_hosts));
    put(&mut section, "allowed_paths", json!(allowed_paths));
    put(
        &mut section,
        "sharing",
        json!(match sharing {
            Sharing::Shared => "shared",
            Sharing::PerKey => "per_key",
            Sharing::PerSession => "per_session",
        }),
    );
    if is_child {
        let (first, longest) = (seconds(restart.first), seconds(restart.longest));
        let restart = json!({ "min_delay_seconds": first, "max_delay_seconds": longest });
        put(&mut section, "restart", restart);
    }
    put(&mut section, "protocol_version", json!(revision.map(|revision| revision.as_str())));
    put(&mut section, "sampling_model", json!(sampling_model));
    put(
        &mut section,
        "pin",
        json!(match pin {
            Pin::Off => "off",
            Pin::Warn => "warn",
            Pin::Enforce => "enforce",
        }),
    );
    put(&mut section, "parallel", json!(parallel));
    section
}

fn way(section: &mut Section, transport: &McpTransport, seals: &Seals) {
    let (word, url) = match transport {
        McpTransport::Http(url) => ("http", url),
        McpTransport::Sse(url) => ("sse", url),
        McpTransport::Stdio(command) => {
            put(section, "transport", json!("stdio"));
            put(section, "command", json!(command.program));
            let args = command.args.iter().map(|arg| seals.seal(arg.expose()));
            put(section, "args", args.collect());
            let env = command.env.iter();
            let env = env.map(|(name, text)| (name.clone(), seals.seal(text.expose())));
            put(section, "env", Value::Object(env.collect()));
            put(section, "cwd", json!(command.cwd));
            return;
        }
    };
    put(section, "transport", json!(word));
    put(section, "url", json!(shown_url(url)));
    // What is left out of the address may be what changed.
    let hidden = url.query().is_some() || !url.username().is_empty() || url.password().is_some();
    put(section, "url_credentials", json!(hidden.then(|| seals.seal(url.as_str()))));
}

/// A URL without what may be secret in it.
pub fn shown_url(url: &url::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _cannot = url.set_username("");
    let _cannot = url.set_password(None);
    url.into()
}

/// Every header that the file names is taken for a secret: the file's types say so too.
fn header_values(headers: &[(HeaderName, HeaderValue)], seals: &Seals) -> Value {
    let told = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), seals.seal(&String::from_utf8_lossy(value.as_bytes())))
    });
    Value::Object(told.collect())
}

/// What is free text in the file, with what its name makes a secret sealed.
fn veiled(value: &Value, seals: &Seals) -> Value {
    match value {
        Value::Object(entries) => {
            let told = entries.iter().map(|(name, value)| {
                let told = match value {
                    Value::String(text) if names_a_secret(name) => seals.seal(text),
                    value => veiled(value, seals),
                };
                (name.clone(), told)
            });
            Value::Object(told.collect())
        }
        Value::Array(items) => items.iter().map(|item| veiled(item, seals)).collect(),
        value => value.clone(),
    }
}

/// Whether what stands under a name is likely one.
fn names_a_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["auth", "key", "token", "secret", "cookie", "password", "credential"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
        && !name.contains("tokens")
        && !name.contains("_per_token")
}
