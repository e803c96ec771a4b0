//! What is counted of MCP servers, for the page of metrics: calls of tools, how long they took, children that were started
//! again, tools that are not what was pinned. Counted where it happens, over all connections, and kept while the server is
//! configured.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::pool::slot::Slot;
use super::transport::FailureKind;
use crate::config::snapshot::{McpServer, McpTransport};
use crate::conversation::Json;
use crate::ground::series::Series;
use crate::wire::mcp::edit;

/// Tools of one server that are told apart.
const MOST_TOOLS: usize = 200;
/// Bytes of a tool's name in a label.
const LONGEST_NAME: usize = 128;
/// What stands for all further tools.
const OTHER: &str = "other";
/// Bounds of durations in seconds, as OpenTelemetry's conventions for MCP advise.
const BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// All series of MCP servers.
#[derive(Debug)]
pub struct Figures {
    calls: Series<Called, Counter>,
    durations: Series<OfServer, Histogram>,
    restarts: Series<OfServer, Counter>,
    unpinned: Series<OfServer, Counter>,
    /// Tools that have series, by server.
    tools: RwLock<HashMap<Arc<str>, HashSet<Arc<str>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Called {
    server: Arc<str>,
    tool: Arc<str>,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OfServer {
    server: Arc<str>,
}

/// A call of a tool while it runs. Dropped before its end, it was cancelled.
pub(super) struct Calling<'f> {
    slot: &'f Slot,
    tool: &'f str,
    begun: Instant,
    has_ended: bool,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: Series::counters(
                "tidegate_mcp_calls",
                "Calls of MCP servers' tools, for models and for MCP clients",
            ),
            durations: Series::new(
                "tidegate_mcp_call_duration_seconds",
                "How long calls of an MCP server's tools took",
                || Histogram::new(BOUNDS),
            ),
            restarts: Series::counters(
                "tidegate_mcp_stdio_restarts",
                "How often an MCP server that is a child ended unasked, or did not start",
            ),
            unpinned: Series::counters(
                "tidegate_tool_pin_mismatch",
                "Tools found to be something else than was pinned",
            ),
            tools: RwLock::default(),
        }
    }
}

impl Figures {
    /// These servers are configured now. The series of others are gone; what rarely happens begins at zero.
    pub(super) fn adopt<'s>(&self, servers: impl Iterator<Item = &'s Arc<McpServer>>) {
        let mut names: HashSet<&str> = HashSet::new();
        for server in servers {
            names.insert(&server.name);
            if matches!(server.transport, McpTransport::Stdio(_)) {
                self.restarts.with(OfServer::of(&server.name), |_| {});
            }
        }
        self.calls.retain(|labels| names.contains(&*labels.server));
        for series in [&self.restarts, &self.unpinned] {
            series.retain(|labels| names.contains(&*labels.server));
        }
        self.durations.retain(|labels| names.contains(&*labels.server));
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        tools.retain(|server, _| names.contains(&**server));
    }

    /// A connection ended that was not to end, or was not made.
    pub(super) fn count_restart(&self, server: &McpServer) {
        if matches!(server.transport, McpTransport::Stdio(_)) {
            self.restarts.with(OfServer::of(&server.name), |count| _ = count.inc());
        }
    }

    /// So many tools are not what was pinned.
    pub(super) fn count_unpinned(&self, server: &str, tools: usize) {
        let tools = u64::try_from(tools).unwrap_or(u64::MAX);
        self.unpinned.with(OfServer::of(server), |count| _ = count.inc_by(tools));
    }

    /// Writes all series onto a page.
    ///
    /// # Errors
    /// The page refuses.
    pub(super) fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.calls.encode(page)?;
        self.durations.encode(page)?;
        self.restarts.encode(page)?;
        self.unpinned.encode(page)
    }

    /// The label for a tool. Its name is its server's to choose, and not a client's that calls what is not listed.
    fn tool(&self, server: &str, tool: &str, is_listed: impl FnOnce() -> bool) -> Arc<str> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let known = tools.get(server).and_then(|tools| tools.get(tool)).cloned();
        drop(tools);
        known.unwrap_or_else(|| {
            if tool.len() > LONGEST_NAME || !is_listed() {
                return OTHER.into();
            }
            let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
            let tools = tools.entry(server.into()).or_default();
            if tools.len() >= MOST_TOOLS {
                return OTHER.into();
            }
            let name: Arc<str> = tool.into();
            tools.insert(name.clone());
            name
        })
    }
}

impl OfServer {
    fn of(server: &str) -> Self {
        Self { server: server.into() }
    }
}

impl<'f> Calling<'f> {
    /// A tool is called, by its server's name for it.
    pub(super) fn begin(slot: &'f Slot, tool: &'f str) -> Self {
        Self { slot, tool, begun: Instant::now(), has_ended: false }
    }

    /// The call came to a result, which may say that the tool failed.
    pub(super) fn answered(mut self, result: &Json) {
        let failed: Option<bool> = edit::read(result, &["isError"]);
        self.end(if failed == Some(true) { "error" } else { "ok" });
    }

    /// The server refused it.
    pub(super) fn refused(mut self) {
        self.end("error");
    }

    /// There was no answer.
    pub(super) fn failed(mut self, why: FailureKind) {
        self.end(match why {
            FailureKind::Timeout => "timeout",
            FailureKind::Unreachable => "unreachable",
            _ => "error",
        });
    }

    fn end(&mut self, status: &'static str) {
        self.has_ended = true;
        let (figures, server) = (&self.slot.figures, self.slot.name.as_str());
        let tool = figures.tool(server, self.tool, || self.slot.lists_tool(self.tool));
        let called = Called { server: server.into(), tool, status };
        figures.calls.with(called, |count| _ = count.inc());
        let took = self.begun.elapsed().as_secs_f64();
        figures.durations.with(OfServer::of(server), |durations| durations.observe(took));
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end("cancelled");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_ever_new_tools_has_few_series() {
        let figures = Figures::default();
        for number in 0..1000 {
            assert!(figures.tool("s", &format!("t{number}"), || true).len() <= LONGEST_NAME);
        }
        assert_eq!(&*figures.tool("s", "t0", || true), "t0");
        assert_eq!(&*figures.tool("s", "t999", || true), OTHER);
        assert_eq!(&*figures.tool("t", &"x".repeat(LONGEST_NAME + 1), || true), OTHER);
        assert_eq!(&*figures.tool("t", "invented", || false), OTHER);
    }
}
