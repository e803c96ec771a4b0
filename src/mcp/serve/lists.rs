//! Lists of all that the caller sees, merged: every server is asked at once, and none waits for another. A server that does
//! not answer is named in `_meta`, and what it offered before stays listed.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use super::ask::Asker;
use crate::conversation::Json;
use crate::mcp::offers::{Offer, Offers};
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::view::{Seen, View};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INVALID_PARAMS, RpcError};
use crate::wire::mcp::message::Outcome;

/// Where the result of a list says which servers are missing.
pub const META_UNAVAILABLE: &str = "tidegate/unavailable";
/// How long a client may hold a list, in milliseconds: it is told of changes.
const HOLDS_MS: u64 = 0;

/// What one server offers a caller.
pub struct Offered {
    pub seen: Seen,
    pub offers: Arc<Offers>,
    /// Why that may not be all.
    pub failure: Option<String>,
}

/// The answer to a request for a list. All is on one page, so a cursor is none of ours.
pub(super) async fn list(asker: &Asker, view: &View, kind: Kind, params: &Json) -> Outcome {
    if edit::get(params, &["cursor"]).is_some() {
        let text = "The cursor is unknown: lists come on one page here.";
        return Err(RpcError::new(INVALID_PARAMS, text));
    }
    let offered = offered(asker, view, kind).await;
    let mut text = format!("{{\"{}\":[", kind.member());
    let mut uris = HashSet::new();
    let mut is_first = true;
    for Offered { seen, offers, .. } in &offered {
        for offer in &offers.entries {
            let clashes = is_by_uri(kind) && !uris.insert(offer.name.clone());
            if !std::mem::replace(&mut is_first, false) {
                text.push(',');
            }
            match clashes {
                true => text.push_str(renamed(seen, kind, offer).as_str()),
                false => text.push_str(offer.definition.as_str()),
            }
        }
    }
    text.push(']');
    if asker.revision.is_modern() {
        let _never_fails = write!(
            text,
            ",\"resultType\":\"complete\",\"ttlMs\":{HOLDS_MS},\"cacheScope\":\"private\""
        );
    }
    let missing: Vec<_> = offered
        .iter()
        .filter_map(|it| {
            let error = it.failure.as_ref()?;
            Some(json!({ "server": it.seen.server.display_name(), "error": error }))
        })
        .collect();
    if !missing.is_empty() {
        let _never_fails = write!(text, ",\"_meta\":{}", json!({ META_UNAVAILABLE: missing }));
    }
    text.push('}');
    Ok(Json::parse(text).unwrap_or_else(Json::empty_object))
}

/// What every server of a view offers, in the view's order.
pub async fn offered(asker: &Asker, view: &View, kind: Kind) -> Vec<Offered> {
    join_all(view.seen.iter().map(|seen| offered_by(asker, seen, kind, view.is_plain))).await
}

/// What one server offers.
pub async fn offered_by(asker: &Asker, seen: &Seen, kind: Kind, is_plain: bool) -> Offered {
    let listed = seen.slot.listing(kind).await;
    let offers = listed
        .listing
        .map(|listing| {
            seen.slot.offers.of(kind, &listing, &seen.server, &asker.snapshot.mcp.lock, is_plain)
        })
        .unwrap_or_default();
    Offered { seen: seen.clone(), offers, failure: listed.failure }
}

fn is_by_uri(kind: Kind) -> bool {
    matches!(kind, Kind::Resources | Kind::Templates)
}

/// A resource whose URI another server has too: its own stands behind the alias.
fn renamed(seen: &Seen, kind: Kind, offer: &Offer) -> Json {
    let uri = behind_alias(seen, &offer.name);
    edit::set(&offer.definition, &[kind.key()], Json::of(&uri).as_str())
}

/// `alias+uri`.
pub(super) fn behind_alias(seen: &Seen, uri: &str) -> String {
    format!("{}+{uri}", seen.server.display_name())
}
