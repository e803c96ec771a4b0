//! `tidegate status`: how a running gateway is, on one screen.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::admin::Running;
use super::{answered, complain, failed, print};
use crate::config::{LoadOptions, ProcessEnvironment, load};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    running: Running,
    /// One JSON object: what /health says, and with the master key what /admin/config says.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    answered(async {
        let options = LoadOptions { listen, ..LoadOptions::default() };
        let loaded = load(config, &ProcessEnvironment, &options);
        let running = match (&loaded.snapshot, listen) {
            // With a file that cannot be read, there is still what the command line says.
            (None, Some(listen)) => arguments.running.clone().or_at(listen),
            _ => arguments.running.clone(),
        };
        let found = running.find(config, &[loaded.snapshot.as_ref()], "/health").await;
        let (asker, health) = found.map_err(failed)?;
        // Without the master key there is less to see, and still something.
        let admin = asker.get("/admin/config").await;
        let refused = admin.as_ref().err().map(ToString::to_string);
        let admin = admin.ok();
        if arguments.json {
            let whole =
                serde_json::json!({ "url": asker.shown(), "health": health, "config": admin });
            print(&format!("{whole:#}\n"));
        } else {
            print(&text(asker.shown(), &health, admin.as_ref()));
            if let Some(refused) = refused.filter(|_| asker.has_key()) {
                complain(&refused);
            }
        }
        let is_well = at(&health, "/status") == "healthy"
            && health.pointer("/config/last_error").is_none_or(Value::is_null);
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// A text of an answer, or what else stands there.
fn at(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// A moment without its fraction.
fn to_seconds(time: &str) -> String {
    time.parse::<jiff::Timestamp>().map_or_else(|_| time.to_owned(), |time| format!("{time:.0}"))
}

fn text(base: &str, health: &Value, admin: Option<&Value>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    let status = at(health, "/status");
    line("gateway", format!("{base}  {status}, version {}", at(health, "/version")));
    line("started", to_seconds(&at(health, "/started_at")));
    line("in flight", at(health, "/in_flight"));
    let hash = at(health, "/config/hash");
    line(
        "config",
        format!(
            "generation {}, hash {}, loaded {}; {} reloads, {} refused",
            at(health, "/config/generation"),
            hash.get(..12).unwrap_or(&hash),
            to_seconds(&at(health, "/config/loaded_at")),
            at(health, "/config/reloads"),
            at(health, "/config/failed_reloads"),
        ),
    );
    if let Some(error) = health.pointer("/config/last_error").filter(|error| !error.is_null()) {
        line("", format!("the edit of {} was refused:", to_seconds(&at(error, "/at"))));
        let problems = error.get("problems").and_then(Value::as_array);
        for problem in problems.into_iter().flatten().filter_map(Value::as_str) {
            line("", format!("  {problem}"));
        }
    }
    let log = health.get("request_log").cloned().unwrap_or_default();
    let postgres = match log.get("postgres") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Object(error)) => {
            format!("error: {}", error.get("error").and_then(Value::as_str).unwrap_or_default())
        }
        _ => "-".to_owned(),
    };
    line(
        "request log",
        format!(
            "{} rows written, {} in the file, {} dropped, {} dead letters; PostgreSQL {postgres}",
            at(&log, "/rows_total"),
            at(&log, "/spool_rows"),
            at(&log, "/dropped_total"),
            at(&log, "/dead_letter_total"),
        ),
    );
    if let Some(waiting) = log.get("spool_oldest_seconds").and_then(Value::as_f64)
        && waiting > 0.0
    {
        line("", format!("the oldest row has waited for PostgreSQL for {waiting:.0} s"));
    }
    for group in admin.and_then(|admin| admin.get("model_list")?.as_array()).into_iter().flatten() {
        let deployments = group.get("deployments").and_then(Value::as_array);
        let deployments = deployments.map(Vec::as_slice).unwrap_or_default();
        let cooling: Vec<String> = deployments
            .iter()
            .filter(|it| it.get("cooling_down") == Some(&Value::Bool(true)))
            .map(|it| at(it, "/id"))
            .collect();
        let state = match cooling.len() {
            0 => String::new(),
            _ => format!(", cooling down: {}", cooling.join(", ")),
        };
        let count = deployments.len();
        let noun = if count == 1 { "deployment" } else { "deployments" };
        line("model", format!("{:<28} {count} {noun}{state}", at(group, "/model_name")));
    }
    let servers = health.get("mcp_servers").and_then(Value::as_array);
    for server in servers.into_iter().flatten() {
        let tools = match server.get("tools").and_then(Value::as_u64) {
            Some(tools) => format!(", {tools} tools"),
            None => String::new(),
        };
        let error = match server.get("last_error").filter(|error| !error.is_null()) {
            Some(error) => {
                format!("; last error {}: {}", to_seconds(&at(error, "/at")), at(error, "/text"))
            }
            None => String::new(),
        };
        let (name, transport) = (at(server, "/name"), at(server, "/transport"));
        line(
            "mcp server",
            format!("{name:<28} {transport} {}{tools}{error}", at(server, "/status")),
        );
    }
    if admin.is_none() {
        line("", "(models are shown to the master key: set LITELLM_MASTER_KEY)".to_owned());
    }
    text
}
