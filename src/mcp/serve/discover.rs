//! What the gateway says of itself: once for each session, or whenever it is asked. The same in both eras, and the same
//! whether servers are up or not, so that a client that comes early misses nothing.

use serde_json::{Map, Value, json};

use super::ask::Asker;
use super::http::supported;
use crate::conversation::Json;
use crate::mcp::view::View;
use crate::wire::mcp::revision::META_SERVER;

/// How long a client may hold what it was told of the gateway itself, in milliseconds.
const HOLDS_MS: u64 = 60_000;

/// The result of `initialize`.
pub(super) fn initialized(asker: &Asker, view: &View) -> Json {
    let mut result = json!({
        "protocolVersion": asker.revision.as_str(),
        "capabilities": capabilities(view),
        "serverInfo": server_info(),
    });
    with_instructions(&mut result, view);
    wake(view);
    Json::of(&result)
}

/// The result of `server/discover`.
pub(super) fn discovered(_asker: &Asker, view: &View) -> Json {
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": supported(),
        "capabilities": capabilities(view),
        "ttlMs": HOLDS_MS,
        "cacheScope": "private",
        "_meta": { META_SERVER: server_info() },
    });
    with_instructions(&mut result, view);
    wake(view);
    Json::of(&result)
}

/// The gateway's name and version, as `serverInfo`.
fn server_info() -> Value {
    json!({ "name": "tidegate", "title": "Tidegate", "version": env!("CARGO_PKG_VERSION") })
}

/// A client that introduces itself will ask for lists: the servers are called already.
fn wake(view: &View) {
    view.seen.iter().for_each(|seen| seen.slot.want());
}

fn capabilities(view: &View) -> Value {
    let mut capabilities = json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "completions": {},
        "logging": {},
    });
    let mut extensions = Map::new();
    for seen in &view.seen {
        let Some(connection) = seen.slot.current() else { continue };
        let known = crate::wire::mcp::edit::get(&connection.peer().capabilities, &["extensions"]);
        if let Some(Value::Object(known)) = known.map(|known| Json::of_raw(known).to_value()) {
            extensions.extend(known);
        }
    }
    if !extensions.is_empty()
        && let Some(capabilities) = capabilities.as_object_mut()
    {
        capabilities.insert("extensions".into(), extensions.into());
    }
    capabilities
}

/// What the servers want a model to know, each below its name.
fn with_instructions(result: &mut Value, view: &View) {
    let said = view.seen.iter().filter_map(|seen| {
        let own = seen.server.instructions.clone();
        let peers = || seen.slot.current().and_then(|it| it.peer().instructions.clone());
        let text = own.or_else(peers).filter(|text| !text.trim().is_empty())?;
        Some(if view.is_plain {
            text
        } else {
            format!("# {}\n\n{}", seen.server.display_name(), text.trim())
        })
    });
    let instructions: Vec<String> = said.collect();
    if !instructions.is_empty()
        && let Some(result) = result.as_object_mut()
    {
        result.insert("instructions".into(), instructions.join("\n\n").into());
    }
}
