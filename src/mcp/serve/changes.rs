//! Telling clients what changed: those with a session on their common stream, the others on the stream that they opened for
//! it. Each hears only of servers that it sees; changes that come together are told once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::ask::{Ask, Asker, Out};
use super::resolve;
use super::session::Session;
use crate::config::snapshot::Snapshot;
use crate::conversation::Json;
use crate::mcp::Mcp;
use crate::mcp::pool::slot::Slot;
use crate::mcp::pool::{Change, Changed, SlotKey, slot_key};
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
    /// Server's slot, its URI, the notification's params; each once.
    updated: Vec<(SlotKey, String, Json)>,
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
            Changed::Updated { uri, params } => {
                if !self
                    .updated
                    .iter()
                    .any(|(slot, known, _)| *slot == change.slot && *known == uri)
                {
                    self.updated.push((change.slot, uri, params));
                }
            }
            Changed::Health => {}
        }
    }

    fn merge(&mut self, other: Self) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
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

/// Waits for changes of what a caller sees, and gathers those that come with the first. `None`: there will be none.
async fn gather(
    changes: &mut broadcast::Receiver<Change>,
    sees: impl Fn(&SlotKey) -> bool,
) -> Option<Due> {
    let mut due = Due::default();
    let mut until: Option<tokio::time::Instant> = None;
    loop {
        let next = match until {
            None => changes.recv().await,
            Some(until) => match tokio::time::timeout_at(until, changes.recv()).await {
                Ok(next) => next,
                Err(_) => return Some(due),
            },
        };
        match next {
            Ok(change) if !sees(&change.slot) => continue,
            Ok(change) if change.what == Changed::Health => continue,
            Ok(change) => due.add(change),
            // What was missed may have been anything.
            Err(RecvError::Lagged(_)) => due.merge(Due::all()),
            Err(RecvError::Closed) => return None,
        }
        until.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
    }
}

/// Tells a session of changes for as long as it lives.
pub(super) fn follow(mcp: &Arc<Mcp>, asker: &Asker, session: &Arc<Session>) {
    let mut changes = mcp.pool.changes();
    let mut configured = mcp.configured();
    // The session may have been opened under the one before.
    configured.mark_changed();
    let mut asker = asker.clone();
    asker.session = None;
    let (id, ended) = (session.id.clone(), session.ended.clone());
    let session = Arc::downgrade(session);
    let house = mcp.clone();
    let telling = async move {
        loop {
            let keys = session.upgrade().map(|session| keys(&asker, &session));
            let Some(keys) = keys else { return };
            let due = tokio::select! {
                due = gather(&mut changes, |slot| keys.contains(slot)) => due,
                changed = configured.changed() => {
                    let Ok(()) = changed else { return };
                    let snapshot = configured.borrow_and_update().clone();
                    let Some(snapshot) = snapshot else { continue };
                    let Some(session) = session.upgrade() else { return };
                    match adopt(&mut asker, &snapshot, &session) {
                        true => Some(Due::all()),
                        false => continue,
                    }
                }
            };
            let (Some(due), Some(session)) = (due, session.upgrade()) else { return };
            for method in due.lists() {
                let _full = session.common.try_send(Out::Message(notification(method, None)));
            }
            for (slot, uri, params) in &due.updated {
                for own in session.subscribed_as(slot, uri) {
                    let params = edit::set(params, &["uri"], Json::of(&own).as_str());
                    let text = notification("notifications/resources/updated", Some(&params));
                    let _full = session.common.try_send(Out::Message(text));
                }
            }
        }
    };
    mcp.handle().spawn(async move {
        tokio::select! {
            () = telling => {}
            () = ended.cancelled() => {}
        }
        house.pool.end_session(&id);
    });
}

/// The slots that a session sees.
fn keys(asker: &Asker, session: &Arc<Session>) -> Vec<SlotKey> {
    let asker = Asker { session: Some(session.clone()), ..asker.clone() };
    let servers = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope);
    servers.unwrap_or_default().iter().map(|server| slot_key(server, &asker)).collect()
}

/// Goes on under a new configuration; whether the session sees other servers now, or other parts of them.
fn adopt(asker: &mut Asker, snapshot: &Arc<Snapshot>, session: &Session) -> bool {
    let seen = |asker: &Asker| {
        view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope).unwrap_or_default()
    };
    let before = seen(asker);
    asker.snapshot = snapshot.clone();
    asker.key = session.key.and_then(|hash| snapshot.keys.virtual_keys.get(&hash)).cloned();
    let is_gone = session.key.is_some() && asker.key.is_none();
    !is_gone && before != seen(asker)
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
    let mut subscribed = Subscribed::default();
    let uris = filter.get("resourceSubscriptions").and_then(Value::as_array);
    for uri in uris.into_iter().flatten().filter_map(Value::as_str) {
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
    let keys: Vec<SlotKey> = view.seen.iter().map(|seen| slot_key(&seen.server, asker)).collect();

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
    loop {
        let due = tokio::select! {
            due = gather(&mut changes, |slot| keys.contains(slot)) => due,
            () = outbox.closed() => None,
            () = mcp.closing() => None,
        };
        let Some(due) = due else { break };
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
        for (slot, uri, params) in &due.updated {
            let known =
                subscribed.all.iter().filter(|(own, known, _)| own.key() == *slot && known == uri);
            for (_, _, shown) in known {
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
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        for (slot, own, _) in &self.all {
            slot.unsubscribe(own);
        }
    }
}
