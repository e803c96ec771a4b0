//! One request of a client, answered: by the gateway itself, by one server, or by all that the caller sees.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Asker, Out};
use super::session::{MAX_SUBSCRIPTIONS, Session};
use super::{changes, discover, lists, relay, resolve};
use crate::conversation::Json;
use crate::mcp::Mcp;
use crate::mcp::era;
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::pool::slot::severity;
use crate::mcp::traced;
use crate::mcp::view::View;
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INVALID_PARAMS, METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Id, Notification, Outcome, answer};
use crate::wire::mcp::revision::{META_CLIENT, Revision};

/// How long a server may take to be told of a subscription before it is answered.
const TELLING: Duration = Duration::from_secs(2);

/// Answers a request. Everything goes through the outbox, the answer last. Dropping this cancels what runs behind it.
pub async fn answer_request(mcp: &Arc<Mcp>, mut ask: Ask) {
    let telling = traced::begin(mcp, &mut ask);
    let outcome = match mcp.view(&ask.asker) {
        Ok(view) => answer_in(mcp, &ask, &view).await,
        Err(denied) => Err(RpcError::new(INVALID_PARAMS, denied.message())),
    };
    let is_modern = ask.asker.revision.is_modern();
    let outcome = outcome.map(|result| match is_modern {
        true => era::complete(result),
        false => era::without_type(result),
    });
    if let Some(telling) = telling {
        telling.end(&outcome);
    }
    let text = answer(Some(&ask.request.id), &outcome);
    let _nobody_waits = ask.outbox.send(Out::Answer(text)).await;
}

/// The table of methods.
async fn answer_in(mcp: &Arc<Mcp>, ask: &Ask, view: &View) -> Outcome {
    let Ask { request, asker, outbox } = ask;
    let is_modern = asker.revision.is_modern();
    let empty = Json::empty_object;
    let params = request.params.clone().unwrap_or_else(empty);
    let session = asker.session.as_ref();
    match (request.method.as_str(), session) {
        ("initialize", Some(session)) if !is_modern => {
            changes::follow(mcp, asker, session);
            Ok(discover::initialized(asker, view))
        }
        ("ping", _) if !is_modern => Ok(empty()),
        ("server/discover", _) if is_modern => Ok(discover::discovered(asker, view)),
        ("tools/list", _) => lists::list(asker, view, Kind::Tools, &params).await,
        ("prompts/list", _) => lists::list(asker, view, Kind::Prompts, &params).await,
        ("resources/list", _) => lists::list(asker, view, Kind::Resources, &params).await,
        ("resources/templates/list", _) => lists::list(asker, view, Kind::Templates, &params).await,
        ("tools/call" | "prompts/get", _) => {
            let target = resolved(mcp, ask, view, &params).await?;
            relay::relay(mcp, asker, outbox, target).await
        }
        ("resources/read", _) => read(mcp, ask, view, params).await,
        ("completion/complete", _) => {
            let target = resolve::completion(asker, view, params).await?;
            relay::relay(mcp, asker, outbox, target).await
        }
        ("logging/setLevel", Some(session)) if !is_modern => set_level(session, view, &params),
        ("resources/subscribe", Some(session)) if !is_modern => {
            let uri = resolve::uri(&params)?;
            let target = resolve::resources(asker, view, &params).await?;
            let target = target.into_iter().next().ok_or_else(|| resolve::no_resource(&uri))?;
            target.slot.want();
            if !session.subscribe(uri, &target.slot, target.own) {
                let text = format!("This session hears of {MAX_SUBSCRIPTIONS} resources already.");
                return Err(RpcError::new(INVALID_PARAMS, text));
            }
            // What changes from the answer on is to be heard of.
            let _late = tokio::time::timeout(TELLING, target.slot.tells_wishes()).await;
            Ok(empty())
        }
        ("resources/unsubscribe", Some(session)) if !is_modern => {
            session.unsubscribe(&resolve::uri(&params)?);
            Ok(empty())
        }
        ("subscriptions/listen", _) if is_modern => changes::listen(mcp, ask, view, &params).await,
        (method, _) => match view.single().filter(|_| !is_of_another_era(method, is_modern)) {
            // One server alone may have methods that nobody here knows.
            Some(seen) => {
                let target = relay::Target::plain(seen, method, params);
                relay::relay(mcp, asker, outbox, target).await
            }
            None => Err(RpcError::new(
                METHOD_NOT_FOUND,
                format!("The method `{}` is not known here.", crate::ground::names::shown(method)),
            )),
        },
    }
}

/// Finds what is called, and once more for every edit of the servers' entries that comes between.
async fn resolved(
    mcp: &Arc<Mcp>,
    ask: &Ask,
    view: &View,
    params: &Json,
) -> Result<relay::Target, RpcError> {
    let Ask { request, asker, .. } = ask;
    let mut newer = None;
    loop {
        let view = newer.as_ref().unwrap_or(view);
        let found = match request.method.as_str() {
            "tools/call" => resolve::tool(asker, view, params).await,
            method => resolve::prompt(asker, view, method, &["name"], params).await,
        };
        if found.is_ok() || !view.is_outdated() {
            return found;
        }
        let view = mcp.view(asker);
        newer = Some(view.map_err(|denied| RpcError::new(INVALID_PARAMS, denied.message()))?);
    }
}

/// A notification of a client with a session, beside those that the HTTP side sees to.
pub async fn notified(mcp: &Arc<Mcp>, asker: Asker, notification: Notification) {
    match notification.method.as_str() {
        "notifications/progress" => return progressed(&asker, &notification).await,
        // Only a connection that is the session's own may be told of it.
        "notifications/roots/list_changed" => {}
        _ => return,
    }
    let Ok(view) = mcp.view(&asker) else { return };
    for seen in &view.seen {
        if seen.slot.session().is_some()
            && let Some(connection) = seen.slot.current()
        {
            let _gone = connection.notify(&notification.method, notification.params.as_ref()).await;
        }
    }
}

/// The client gets on with what a server asked it: that server hears of it, under the token it gave.
async fn progressed(asker: &Asker, notification: &Notification) {
    let (Some(session), Some(params)) = (&asker.session, &notification.params) else { return };
    let token = edit::get(params, &["progressToken"]).and_then(|token| Id::of_json(token.get()));
    let Some(progress) = token.and_then(|token| session.progress(&token)) else { return };
    let params = edit::set(params, &["progressToken"], progress.token.as_str());
    let _gone = progress.connection.notify(&notification.method, Some(&params)).await;
}

/// Reads a resource. Where nobody lists it, those that have resources are asked in turn: links in the results of tools
/// need not be listed.
async fn read(mcp: &Arc<Mcp>, ask: &Ask, view: &View, params: Json) -> Outcome {
    let Ask { asker, outbox, .. } = ask;
    let uri = resolve::uri(&params)?;
    let mut last = Err(resolve::no_resource_for(asker, &uri));
    for found in resolve::resources(asker, view, &params).await? {
        let params = edit::set(&params, &["uri"], Json::of(&found.own).as_str());
        let target = relay::Target {
            slot: found.slot,
            server: found.server,
            method: "resources/read".into(),
            params,
            name: uri.clone(),
            is_safe: true,
            headers: http::HeaderMap::new(),
        };
        last = relay::relay(mcp, asker, outbox, target).await;
        if found.is_certain || last.is_ok() {
            break;
        }
    }
    last.map(|result| {
        if !asker.revision.is_modern() || edit::get(&result, &["ttlMs"]).is_some() {
            return result;
        }
        let result = edit::set(&result, &["ttlMs"], "0");
        edit::set(&result, &["cacheScope"], "\"private\"")
    })
}

fn set_level(session: &Session, view: &View, params: &Json) -> Outcome {
    let level = edit::text(params, &["level"]).unwrap_or_default();
    if severity(&level) > severity("emergency") {
        let text =
            "`level` must be debug, info, notice, warning, error, critical, alert or emergency.";
        return Err(RpcError::new(INVALID_PARAMS, text));
    }
    for seen in &view.seen {
        seen.slot.want_log_level(&level);
    }
    session.set_log_level(level);
    Ok(Json::empty_object())
}

/// Methods that one era has and the other has not.
fn is_of_another_era(method: &str, is_modern: bool) -> bool {
    let older = matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
    );
    let newer = matches!(method, "server/discover" | "subscriptions/listen");
    if is_modern { older } else { newer }
}

/// The name of a client of the newest era, for connections of its own.
pub fn client_info(params: Option<&Json>) -> Option<Json> {
    params.and_then(|params| edit::get(params, &["_meta", META_CLIENT])).map(Json::of_raw)
}

/// What a revision calls a resource that is not there.
pub fn not_found_code(revision: Revision) -> i64 {
    if revision.is_modern() { INVALID_PARAMS } else { crate::wire::mcp::error::RESOURCE_NOT_FOUND }
}
