//! What the gateway says of itself: liveness, readiness, health, the configuration in force, the front
//! page. Nothing here dials anything, so a health check costs nothing and tells nothing secret.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::outline::{Seals, outline};
use crate::gateway::Gate;
use crate::ground::series::{counters, gauge};
use crate::journal::Journal;
use crate::journal::audit::{Act, Source};
use crate::mcp::{Mcp, status as servers};

/// What came of the latest edit of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus {
    pub reloads: u64,
    pub failures: u64,
    /// Why the edit that is in the file now is not in force; gone once one is.
    pub last_error: Option<ReloadError>,
    /// Warnings of the configuration in force.
    pub warnings: Vec<String>,
}

/// An edit that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadError {
    pub at: Timestamp,
    /// `file:line:column: error: text`, one for each problem.
    pub problems: Vec<String>,
}

/// Everything the status pages read.
pub struct Status {
    pub reload: ArcSwap<ReloadStatus>,
    pub started_at: Timestamp,
    journal: Arc<Journal>,
    mcp: Arc<Mcp>,
}

impl Status {
    pub fn new(journal: Arc<Journal>, mcp: Arc<Mcp>, warnings: Vec<String>) -> Self {
        let reload = ReloadStatus { warnings, ..ReloadStatus::default() };
        Self { reload: ArcSwap::from_pointee(reload), started_at: Timestamp::now(), journal, mcp }
    }

    /// Writes down that the operator asked for a reload, and from where.
    pub(super) fn audit_reload_request(&self, client: IpAddr) {
        let client = serde_json::json!({ "client": client });
        let act = Act::new("reload_request", Source::AdminApi, "/admin/reload");
        self.journal.audit(Act { after: Some(client), ..act });
    }

    /// `GET /health`: the state of each part, without names of models or keys.
    pub(super) fn health(&self, gate: &Gate) -> Value {
        let live = gate.live();
        let reload = self.reload.load();
        json!({
            "status": if gate.is_draining() { "draining" } else { "healthy" },
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at,
            "config": {
                "generation": live.generation,
                "hash": live.snapshot.hash,
                "loaded_at": live.loaded_at,
                "reloads": reload.reloads,
                "failed_reloads": reload.failures,
                "last_error": reload.last_error,
            },
            "in_flight": gate.load().in_flight(),
            "request_log": self.journal.status(),
            "mcp_servers": servers::health(&self.mcp, &live.snapshot),
        })
    }

    /// Everything on the page of metrics that requests to models do not tell.
    ///
    /// # Errors
    /// The page refuses.
    pub(super) fn encode_metrics(
        &self,
        gate: &Gate,
        page: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result {
        let live = gate.live();
        self.journal.encode_metrics(page)?;
        servers::encode_metrics(&self.mcp, &live.snapshot, page)?;
        let reload = self.reload.load();
        let results = [("success", reload.reloads), ("failure", reload.failures)];
        let results = results.map(|(result, count)| ([("result", result)], count));
        let help = "Edits of the configuration, put into force or refused";
        counters(page, "tidegate_config_reloads", help, results)?;
        let help = "Whether what is in the file is in force";
        let is_good = i64::from(reload.last_error.is_none());
        gauge(page, "tidegate_config_last_reload_successful", help, is_good)?;
        let help = "When the configuration in force was loaded, in seconds since 1970";
        let name = "tidegate_config_last_reload_success_timestamp_seconds";
        gauge(page, name, help, live.loaded_at.as_millisecond() as f64 / 1e3)?;
        let help = "The number of the configuration in force, counted from 1 at the start";
        gauge(page, "tidegate_config_generation", help, live.generation)?;
        let info = |page: &mut DescriptorEncoder<'_>, name, help, label: (&str, &str)| {
            let family = page.encode_descriptor(name, help, None, MetricType::Info)?;
            Info::new([label]).encode(family)
        };
        let help = "The configuration in force, by its digest";
        info(page, "tidegate_config", help, ("sha256", &live.snapshot.hash))?;
        let version = ("version", env!("CARGO_PKG_VERSION"));
        info(page, "tidegate_build", "What runs", version)
    }

    /// `GET /health/ready`: whether new requests are welcome. Neither a provider nor PostgreSQL being
    /// away makes the gateway unready: it serves, and keeps the rows.
    pub(super) fn readiness(&self, gate: &Gate) -> (u16, Value) {
        let (status, word) = if gate.is_draining() { (503, "draining") } else { (200, "ready") };
        (status, json!({ "status": word, "generation": gate.live().generation }))
    }

    /// `GET /admin/config`: what is in force, with every secret left out.
    pub(super) fn config(&self, gate: &Gate) -> Value {
        let live = gate.live();
        let snapshot = &live.snapshot;
        let reload = self.reload.load();
        let groups = snapshot.models.groups.values();
        let wild = snapshot.models.wildcards.iter().map(|(_, group)| group);
        let models: Vec<Value> = groups
            .chain(wild)
            .map(|group| {
                // A lone deployment is never passed over.
                let is_lone = group.deployments.len() == 1;
                let deployments: Vec<Value> = group
                    .deployments
                    .iter()
                    .map(|deployment| {
                        let health = live.ward.get(&deployment.id);
                        json!({
                            "id": deployment.id,
                            "provider": deployment.provider.name,
                            "model": deployment.model.as_str(),
                            "api_base": deployment.base.as_str(),
                            "cooling_down": !is_lone && health.is_some_and(|health| health.is_cooling()),
                        })
                    })
                    .collect();
                json!({ "model_name": group.name, "deployments": deployments })
            })
            .collect();
        let keys: Vec<Value> = snapshot
            .keys
            .virtual_keys
            .values()
            .map(|key| {
                let models: Vec<&str> = key.models.iter().map(|pattern| pattern.as_str()).collect();
                json!({
                    "id": key.id, "key_alias": key.alias, "models": models,
                    "expires": key.expires, "blocked": key.blocked,
                })
            })
            .collect();
        json!({
            "generation": live.generation,
            "hash": snapshot.hash,
            "loaded_at": live.loaded_at,
            "sources": snapshot.sources,
            "listen": snapshot.listen,
            "admin_listen": snapshot.admin_listen,
            "reloads": reload.reloads,
            "failed_reloads": reload.failures,
            "last_error": reload.last_error,
            "warnings": reload.warnings,
            "model_list": models,
            "virtual_keys": keys,
            "mcp_servers": servers::connections(&self.mcp, snapshot),
            // Every setting by its name in the file: what `config diff` and `plan` compare with.
            "outline": outline(snapshot, &Seals::of_master(snapshot.keys.master)),
        })
    }
}

/// `GET /`: what this is, for a person with a browser.
pub(super) fn front_page() -> &'static str {
    concat!(
        "Tidegate ",
        env!("CARGO_PKG_VERSION"),
        ": one gate for every model and every tool.\n\n\
         Point an OpenAI client at this address with /v1 behind it and a key of the configuration:\n\n\
         \x20 GET  /v1/models\n\
         \x20 POST /v1/chat/completions\n\
         \x20 POST /v1/responses\n\
         \x20 POST /v1/embeddings\n\n\
         Point an MCP client at /mcp, or at /SERVER/mcp for one server alone. Without MCP:\n\n\
         \x20 GET  /v1/mcp/server, /v1/mcp/tools\n\
         \x20 GET  /mcp-rest/tools/list\n\
         \x20 POST /mcp-rest/tools/call\n\
         \x20 GET  /mcp-openapi/SERVER/openapi.json\n\n\
         State: GET /health, /health/live, /health/ready. Configuration in force: GET /admin/config\n\
         with the master key.\n"
    )
}
