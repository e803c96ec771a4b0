//! Telling clients what changed: those with a session on their common stream, the others on the stream that they opened for
//! it. Each hears only of servers that it sees; changes that come together are told once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::ask::{Ask, Asker, Out};
use super::resolve;
use super::session::{MAX_SUBSCRIPTIONS, Session};
use crate::config::snapshot::{Pin, Snapshot};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::mcp::Mcp;
use crate::mcp::pool::slot::Slot;
use crate::mcp::pool::{Change, Changed, SlotKey, Updates, slot_key};
use crate::mcp::view::{self, View};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INVALID_PARAMS, RpcError};
use crate::wire::mcp::message::{Outcome, notification};
use crate::wire::mcp::revision::META_SUBSCRIPTION;

/// Changes that come within this time are told together.
const GATHER: Duration = Duration::from_millis(50);
/// How long the streams of servers may take to be open before one that hears of them is.
const OPENING: Duration = Duration::from_millis(500);

/// What has to be told.
#[derive(Default)]
struct Due {
    tools: bool,
    prompts: bool,
    resources: bool,
    /// By the server's slot.
    updated: Vec<(SlotKey, Updates)>,
}

impl Due {
    fn all() -> Self {
        Self { tools: true, prompts: true, resources: true, updated: Vec::new() }
    }

    fn add(&mut self, change: Change) {
        match change.what {
            Changed::Tools => self.tools = true,
            Changed::Prompts => self.prompts = true,
            Changed::Resources => self.resources = true,
            Changed::Updated(updated) => self.updated.push((change.slot, updated)),
            Changed::Health => {}
        }
    }

    fn merge(&mut self, other: Self) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
    }

    fn is_any(&self) -> bool {
        self.tools || self.prompts || self.resources || !self.updated.is_empty()
    }

    /// The methods of the lists that changed.
    fn lists(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.tools, "notifications/tools/list_changed"),
            (self.prompts, "notifications/prompts/list_changed"),
            (self.resources, "notifications/resources/list_changed"),
        ];
        all.into_iter().filter(|(is_due, _)| *is_due).map(|(_, method)| method)
    }
}

/// Waits for changes of what a caller sees, and gathers those that come with the first; `false`: there will be none. What
/// was gathered stays in `due` if this is dropped.
async fn gather(
    changes: &mut broadcast::Receiver<Change>,
    due: &mut Due,
    sees: impl Fn(&SlotKey) -> bool,
) -> bool {
    let soon = || tokio::time::Instant::now() + GATHER;
    let mut until = due.is_any().then(soon);
    loop {
        let next = match until {
            None => changes.recv().await,
            Some(until) => match tokio::time::timeout_at(until, changes.recv()).await {
                Ok(next) => next,
                Err(_) => return true,
            },
        };
        match next {
            Ok(change) if !sees(&change.slot) => continue,
            Ok(change) if change.what == Changed::Health => continue,
            Ok(change) => due.add(change),
            // What was missed may have been anything.
            Err(RecvError::Lagged(_)) => due.merge(Due::all()),
            Err(RecvError::Closed) => return false,
        }
        until.get_or_insert_with(soon);
    }
}

/// Tells a session of changes for as long as it lives.
pub(super) fn follow(mcp: &Arc<Mcp>, asker: &Asker, session: &Arc<Session>) {
    let mut changes = mcp.pool.changes();
    let mut configured = configured(mcp, asker);
    let mut asker = asker.clone();
    asker.session = None;
    let (id, ended) = (session.id.clone(), session.ended.clone());
    let session = Arc::downgrade(session);
    let (house, pool) = (mcp.clone(), mcp.clone());
    let telling = async move {
        let mut due = Due::default();
        loop {
            let keys = session.upgrade().map(|session| keys(&asker, &session));
            let Some(keys) = keys else { return };
            tokio::select! {
                more = gather(&mut changes, &mut due, |slot| keys.contains(slot)) => {
                    if !more {
                        return;
                    }
                }
                changed = configured.changed() => {
                    let Ok(()) = changed else { return };
                    let snapshot = configured.borrow_and_update().clone();
                    let Some(snapshot) = snapshot else { continue };
                    let Some(session) = session.upgrade() else { return };
                    match adopt(&mut asker, session.key, &snapshot) {
                        Adopted::Refused => return house.sessions.revoke(&session.id),
                        Adopted::Other => due.merge(Due::all()),
                        Adopted::Same => {}
                    }
                    if session.has_lost_slots() {
                        let own = Asker { session: Some(session.clone()), ..asker.clone() };
                        let view = house.view(&own);
                        session.follow_slots(|slot| in_place_of(slot, view.as_ref().ok()?));
                    }
                    if !due.is_any() {
                        continue;
                    }
                }
            }
            let Some(session) = session.upgrade() else { return };
            let due = std::mem::take(&mut due);
            for method in due.lists() {
                let _full = session.common.try_send(Out::Message(notification(method, None)));
            }
            for (slot, updated) in &due.updated {
                for (uri, params) in updated.iter() {
                    for own in session.subscribed_as(slot, uri) {
                        let params = edit::set(params, &["uri"], Json::of(&own).as_str());
                        let text = notification("notifications/resources/updated", Some(&params));
                        let _full = session.common.try_send(Out::Message(text));
                    }
                }
            }
        }
    };
    mcp.handle().spawn(async move {
        tokio::select! {
            () = telling => {}
            () = ended.cancelled() => {}
        }
        pool.pool.end_session(&id);
    });
}

/// The slots that a session sees.
fn keys(asker: &Asker, session: &Arc<Session>) -> Vec<SlotKey> {
    let asker = Asker { session: Some(session.clone()), ..asker.clone() };
    let servers = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope);
    servers.unwrap_or_default().iter().map(|server| slot_key(server, &asker)).collect()
}

/// New configurations; also one that came after the request did.
fn configured(mcp: &Mcp, asker: &Asker) -> watch::Receiver<Option<Arc<Snapshot>>> {
    let mut configured = mcp.configured();
    let is_newer = configured
        .borrow_and_update()
        .as_ref()
        .is_some_and(|snapshot| !Arc::ptr_eq(snapshot, &asker.snapshot));
    if is_newer {
        configured.mark_changed();
    }
    configured
}

/// What a new configuration means to a client.
#[derive(Debug, PartialEq, Eq)]
enum Adopted {
    Same,
    /// It sees other servers now, or other parts of them.
    Other,
    /// Its key is no more, or it has none and now needs one.
    Refused,
}

/// Goes on under a new configuration.
fn adopt(asker: &mut Asker, key: Option<KeyHash>, snapshot: &Arc<Snapshot>) -> Adopted {
    let seen = |asker: &Asker| {
        view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope).unwrap_or_default()
    };
    let before = seen(asker);
    let is_pinned = before.iter().any(|server| server.pin != Pin::Off);
    // What was accepted of tools says which of them are seen.
    let is_unlocked = is_pinned && asker.snapshot.mcp.lock != snapshot.mcp.lock;
    let was_open = asker.snapshot.keys.is_open();
    asker.snapshot = snapshot.clone();
    asker.key = key.and_then(|hash| snapshot.keys.virtual_keys.get(&hash)).cloned();
    let is_gone = key.is_some() && asker.key.is_none();
    let needs_one = key.is_none() && was_open && !snapshot.keys.is_open();
    match before == seen(asker) && !is_unlocked {
        _ if is_gone || needs_one => Adopted::Refused,
        true => Adopted::Same,
        false => Adopted::Other,
    }
}

/// The slot that took the place of one; a connection is wanted.
fn in_place_of(slot: &Slot, view: &View) -> Option<Arc<Slot>> {
    let seen = view.seen.iter().find(|seen| seen.server.name == slot.name)?;
    seen.slot.want();
    Some(seen.slot.clone())
}

/// The stream of changes of the newest era. It ends with the client, or with the gateway.
pub(super) async fn listen(mcp: &Arc<Mcp>, ask: &Ask, view: &View, params: &Json) -> Outcome {
    let Ask { request, asker, outbox } = ask;
    let Some(filter) = edit::read::<Map<String, Value>>(params, &["notifications"]) else {
        let text = "`params.notifications` is missing: it says what is to be told.";
        return Err(RpcError::new(INVALID_PARAMS, text));
    };
    let wants = |name: &str| filter.get(name).and_then(Value::as_bool) == Some(true);
    let mut changes = mcp.pool.changes();
    let mut configured = configured(mcp, asker);
    let mut subscribed = Subscribed::default();
    let uris = filter.get("resourceSubscriptions").and_then(Value::as_array);
    let uris = uris.into_iter().flatten().filter_map(Value::as_str);
    for uri in uris.take(MAX_SUBSCRIPTIONS) {
        let named = Json::of(&json!({ "uri": uri }));
        let Ok(found) = resolve::resources(asker, view, &named).await else { continue };
        if let Some(found) = found.into_iter().next() {
            subscribed.add(found.slot, found.own, uri.to_owned());
        }
    }
    // What changes from now on must be heard of.
    let open = view.seen.iter().map(|seen| async {
        seen.slot.want();
        seen.slot.hears_changes().await;
    });
    let _some_are_late = tokio::time::timeout(OPENING, futures_util::future::join_all(open)).await;
    let keys_of = |view: &View| view.seen.iter().map(|seen| seen.slot.key()).collect::<Vec<_>>();
    let mut keys = keys_of(view);

    let id = request.id.as_json();
    let mut honored = Map::new();
    for name in ["toolsListChanged", "promptsListChanged", "resourcesListChanged"] {
        if wants(name) {
            honored.insert(name.into(), true.into());
        }
    }
    if !subscribed.all.is_empty() {
        let uris: Vec<&str> = subscribed.all.iter().map(|(_, _, shown)| shown.as_str()).collect();
        honored.insert("resourceSubscriptions".into(), json!(uris));
    }
    let tell = |method: &str, params: Json| {
        let params = edit::set(&params, &["_meta", META_SUBSCRIPTION], id);
        outbox.send(Out::Message(notification(method, Some(&params))))
    };
    let acknowledged = Json::of(&json!({ "notifications": honored }));
    let _nobody = tell("notifications/subscriptions/acknowledged", acknowledged).await;
    let mut asker = asker.clone();
    let key = asker.key.as_ref().map(|key| key.hash);
    let mut due = Due::default();
    loop {
        let goes_on = tokio::select! {
            more = gather(&mut changes, &mut due, |slot| keys.contains(slot)) => more,
            changed = configured.changed() => {
                let snapshot = configured.borrow_and_update().clone();
                let adopted = snapshot.map(|snapshot| adopt(&mut asker, key, &snapshot));
                if adopted == Some(Adopted::Other) {
                    due.merge(Due::all());
                }
                if let Ok(view) = mcp.view(&asker) {
                    keys = keys_of(&view);
                    view.seen.iter().for_each(|seen| seen.slot.want());
                    subscribed.follow_slots(&view);
                }
                changed.is_ok() && adopted != Some(Adopted::Refused)
            }
            () = outbox.closed() => false,
            () = mcp.closing() => false,
        };
        if !goes_on {
            break;
        }
        let due = std::mem::take(&mut due);
        let wanted = [
            ("tools", wants("toolsListChanged")),
            ("prompts", wants("promptsListChanged")),
            ("resources", wants("resourcesListChanged")),
        ];
        for method in due.lists() {
            let is_wanted =
                wanted.iter().any(|(kind, is)| *is && method.contains(&format!("/{kind}/")));
            if is_wanted {
                let _nobody = tell(method, Json::empty_object()).await;
            }
        }
        for (slot, updated) in &due.updated {
            for (own, known, shown) in &subscribed.all {
                let found = updated.iter().find(|(uri, _)| own.key() == *slot && uri == known);
                let Some((_, params)) = found else { continue };
                let params = edit::set(params, &["uri"], Json::of(shown).as_str());
                let _nobody = tell("notifications/resources/updated", params).await;
            }
        }
    }
    let result = Json::of(&json!({ "resultType": "complete", "_meta": {} }));
    Ok(edit::set(&result, &["_meta", META_SUBSCRIPTION], id))
}

/// What a stream hears of, until it ends.
#[derive(Default)]
struct Subscribed {
    /// The slot, the server's URI, the client's.
    all: Vec<(Arc<Slot>, String, String)>,
}

impl Subscribed {
    fn add(&mut self, slot: Arc<Slot>, own: String, shown: String) {
        slot.subscribe(&own);
        self.all.push((slot, own, shown));
    }

    /// Subscribes anew where a server's entry changed.
    fn follow_slots(&mut self, view: &View) {
        for (slot, own, _) in self.all.iter_mut().filter(|(slot, ..)| slot.is_retired()) {
            let Some(now) = in_place_of(slot, view) else { continue };
            now.subscribe(own);
            *slot = now;
        }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        for (slot, own, _) in &self.all {
            slot.unsubscribe(own);
        }
    }
}
