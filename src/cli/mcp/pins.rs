//! `mcp diff` and `mcp pin`: what servers offer now, against what was accepted.

use super::{Bench, Failed, print};
use crate::config::snapshot::Pin;
use crate::conversation::Json;
use crate::mcp::locked;
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::view::Seen;
use crate::wire::mcp::lock::{Lock, Verdict};
use crate::wire::mcp::{edit, hidden, pin};

/// One server and its tools as it lists them now, but for those that its entry hides.
struct Now {
    seen: Seen,
    tools: Vec<Json>,
}

async fn now(bench: &Bench, servers: &[String]) -> Result<Vec<Now>, Failed> {
    let asker = bench.asker(servers);
    let view = bench.mcp.view(&asker).map_err(|denied| Some(bench.unknown(&denied.0)))?;
    let is_meant = |seen: &&Seen| !servers.is_empty() || seen.server.pin != Pin::Off;
    let mut all = Vec::new();
    for seen in view.seen.iter().filter(is_meant) {
        let name = seen.server.display_name();
        let fail = |text: String| Some(format!("{name}: {text}"));
        seen.slot.connection().await.map_err(|failure| fail(failure.text))?;
        let listed = seen.slot.listing(Kind::Tools).await;
        if let Some(failure) = listed.failure {
            return Err(fail(failure));
        }
        let entries = listed.listing.iter().flat_map(|listing| &listing.entries);
        let entries = entries.filter(|entry| seen.server.allows_tool(&entry.name));
        let tools = entries.map(|entry| entry.definition.clone()).collect();
        all.push(Now { seen: seen.clone(), tools });
    }
    if all.is_empty() {
        return Err(Some("no server has `pin: warn` or `pin: enforce`; name one".into()));
    }
    Ok(all)
}

pub(super) async fn diff(bench: &Bench, servers: &[String]) -> Result<(), Failed> {
    let lock = locked::read(&bench.snapshot.mcp.lock_file).map_err(Some)?;
    let mut differs = false;
    for Now { seen, tools } in now(bench, servers).await? {
        let lines = differences(&lock, &seen.server.name, &tools);
        differs |= !lines.is_empty();
        lines.iter().for_each(|line| print(&format!("{line}\n")));
    }
    if differs { Err(None) } else { Ok(()) }
}

/// What is new, changed or gone, a line each; below a changed tool, how.
fn differences(lock: &Lock, server: &str, tools: &[Json]) -> Vec<String> {
    let mut lines = Vec::new();
    let name = |tool: &Json| edit::text(tool, &["name"]).unwrap_or_default();
    for tool in tools {
        let shown = hidden::made_visible(&name(tool));
        match lock.verdict(server, tool) {
            Verdict::Pinned => {}
            Verdict::New => lines.push(format!("+ {server} {shown}")),
            Verdict::Changed => {
                lines.push(format!("~ {server} {shown}"));
                if let Some(known) = lock.pin(server, &name(tool)) {
                    let how = pin::differences(&known.definition, tool);
                    lines.extend(how.into_iter().map(|line| format!("    {line}")));
                }
            }
        }
    }
    for known in lock.tools(server).filter(|known| !tools.iter().any(|tool| name(tool) == *known)) {
        lines.push(format!("- {server} {}", hidden::made_visible(known)));
    }
    lines
}

pub(super) async fn pin(
    bench: &Bench,
    servers: &[String],
    tool: Option<&str>,
) -> Result<(), Failed> {
    let path = &bench.snapshot.mcp.lock_file;
    let mut lock = locked::read(path).map_err(Some)?;
    let all = now(bench, servers).await?;
    if tool.is_some() && all.len() != 1 {
        return Err(Some("--tool wants the one server that it belongs to".into()));
    }
    for Now { seen, tools } in &all {
        let server = &seen.server.name;
        for line in differences(&lock, server, tools) {
            print(&format!("{line}\n"));
        }
        match tool {
            None => lock.accept(server, tools),
            Some(wanted) => {
                let named = |tool: &&Json| edit::text(tool, &["name"]).as_deref() == Some(wanted);
                let found = tools.iter().find(named);
                let found =
                    found.ok_or_else(|| Some(format!("{server} has no tool `{wanted}`")))?;
                lock.accept_one(server, found);
            }
        }
    }
    locked::write(path, &lock).map_err(Some)?;
    print(&format!("pinned in {}\n", path.display()));
    Ok(())
}
