//! `mcp list` and `mcp test`: every server is called at once, and each has its own line.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Bench, Failed, print};
use crate::config::outline::shown_url;
use crate::config::snapshot::McpTransport;
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::view::Seen;
use crate::wire::mcp::hidden;

/// What was seen of one server.
struct Report {
    name: String,
    way: String,
    outcome: Result<Found, String>,
}

struct Found {
    server: String,
    revision: &'static str,
    connect_ms: f64,
    list_ms: f64,
    counts: [usize; 4],
    /// A list that could not be had, a path that does not answer, texts with hidden characters.
    remarks: Vec<String>,
}

pub(super) async fn list(bench: &Bench, as_json: bool) -> Result<(), Failed> {
    let reports = reports(bench, &[]).await?;
    if reports.is_empty() {
        print("no MCP servers are configured\n");
    }
    for report in &reports {
        if as_json { print(&format!("{}\n", report.json())) } else { print(&report.text()) }
    }
    Ok(())
}

pub(super) async fn test(bench: &Bench, servers: &[String]) -> Result<(), Failed> {
    let reports = reports(bench, servers).await?;
    reports.iter().for_each(|report| print(&report.text()));
    let failed = reports.iter().filter(|report| !report.is_well()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Some(format!("{failed} of {} servers failed", reports.len()))),
    }
}

async fn reports(bench: &Bench, servers: &[String]) -> Result<Vec<Report>, Failed> {
    let asker = bench.asker(servers);
    let view = bench.mcp.view(&asker).map_err(|denied| Some(bench.unknown(&denied.0)))?;
    Ok(join_all(view.seen.iter().map(report)).await)
}

async fn report(seen: &Seen) -> Report {
    let way = match &seen.server.transport {
        McpTransport::Stdio(command) => format!("stdio {}", command.program),
        McpTransport::Sse(url) => format!("sse {}", shown_url(url)),
        McpTransport::Http(url) => format!("http {}", shown_url(url)),
    };
    Report { name: seen.server.display_name().to_owned(), way, outcome: found(seen).await }
}

async fn found(seen: &Seen) -> Result<Found, String> {
    let began = Instant::now();
    let connection = seen.slot.connection().await.map_err(|failure| failure.text)?;
    let connect_ms = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let kinds = [Kind::Tools, Kind::Prompts, Kind::Resources, Kind::Templates];
    let lists = join_all(kinds.map(|kind| seen.slot.listing(kind))).await;
    let list_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut remarks = Vec::new();
    let mut counts = [0; 4];
    for ((count, kind), listed) in counts.iter_mut().zip(kinds).zip(lists) {
        remarks.extend(listed.failure.map(|failure| format!("{}: {failure}", kind.member())));
        let Some(listing) = listed.listing else { continue };
        *count = listing.entries.len();
        for entry in listing.entries.iter().filter(|_| kind == Kind::Tools) {
            for place in hidden::suspicious_in(&entry.definition) {
                remarks.push(format!("the tool {} has hidden characters: {place}", entry.name));
            }
        }
    }
    if let Err(text) = seen.slot.ask_health_path().await {
        remarks.push(text);
    }
    let peer = connection.peer();
    let text = |name: &str| crate::wire::mcp::edit::text(&peer.info, &[name]).unwrap_or_default();
    Ok(Found {
        server: format!("{} {}", text("name"), text("version")).trim().to_owned(),
        revision: peer.revision.as_str(),
        connect_ms,
        list_ms,
        counts,
        remarks,
    })
}

impl Report {
    fn is_well(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|found| found.remarks.is_empty())
    }

    fn text(&self) -> String {
        let Self { name, way, outcome } = self;
        match outcome {
            Err(error) => format!("{name:<20} FAILED  {way}\n{:20} {error}\n", ""),
            Ok(found) => {
                let [tools, prompts, resources, templates] = found.counts;
                let mut text = format!(
                    "{name:<20} ok      {way}\n{:20} {}, revision {}, up in {:.0} ms, lists in {:.0} ms\n{:20} \
                     {tools} tools, {prompts} prompts, {resources} resources, {templates} templates\n",
                    "", found.server, found.revision, found.connect_ms, found.list_ms, ""
                );
                for remark in &found.remarks {
                    text.push_str(&format!("{:20} {remark}\n", ""));
                }
                text
            }
        }
    }

    fn json(&self) -> Value {
        let Self { name, way, outcome } = self;
        match outcome {
            Err(error) => json!({ "server": name, "way": way, "ok": false, "error": error }),
            Ok(found) => {
                let [tools, prompts, resources, templates] = found.counts;
                json!({
                    "server": name, "way": way, "ok": true, "server_info": found.server,
                    "protocol_version": found.revision, "connect_ms": found.connect_ms,
                    "list_ms": found.list_ms, "tools": tools, "prompts": prompts,
                    "resources": resources, "templates": templates, "remarks": found.remarks,
                })
            }
        }
    }
}
