//! What the eras write differently in the same message: a request of the newest says what it is in `_meta`, an older one
//! does not; a result of the newest says that it is complete, and for how long lists may be kept.

use serde_json::json;

use crate::conversation::Json;
use crate::wire::mcp::edit;
use crate::wire::mcp::revision::{
    META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION, Revision,
};

/// Who a request is made for, where it has to say so.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub capabilities: Json,
    pub client_info: Json,
}

impl Identity {
    /// The gateway itself, for what it asks on its own account and for connections that clients share: it can do what
    /// any of them may be able to, and says so if the one who is asked cannot.
    pub fn gateway() -> Self {
        Self {
            capabilities: Json::of(&json!({
                "roots": { "listChanged": true },
                "sampling": { "tools": {}, "context": {} },
                "elicitation": { "form": {}, "url": {} },
            })),
            client_info: Json::of(&json!({
                "name": "tidegate", "version": env!("CARGO_PKG_VERSION"),
            })),
        }
    }
}

// `_meta` is taken out, changed and put back: it is short, and what stands beside it may be long.

/// The params of a request to a server of the newest era.
pub fn modern(params: Option<Json>, identity: &Identity, revision: Revision) -> Json {
    let params = params.unwrap_or_else(Json::empty_object);
    let meta = edit::get(&params, &["_meta"]).map_or_else(Json::empty_object, Json::of_raw);
    let meta = edit::set(&meta, &[META_VERSION], &format!("\"{revision}\""));
    let meta = edit::set(&meta, &[META_CAPABILITIES], identity.capabilities.as_str());
    let meta = match edit::get(&meta, &[META_CLIENT]) {
        Some(_) => meta,
        None => edit::set(&meta, &[META_CLIENT], identity.client_info.as_str()),
    };
    edit::set(&params, &["_meta"], meta.as_str())
}

/// The params of a request to a server of an older era: without what that does not know.
pub fn older(params: Json) -> Json {
    let named = [META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL];
    let meta = edit::get(&params, &["_meta"]).map(Json::of_raw);
    let params = match meta {
        None => params,
        Some(meta) => {
            let left = named.iter().fold(meta, |meta, name| edit::remove(&meta, &[name]));
            match left.as_str() {
                "{}" => edit::remove(&params, &["_meta"]),
                left => edit::set(&params, &["_meta"], left),
            }
        }
    };
    let params = edit::remove(&params, &["inputResponses"]);
    edit::remove(&params, &["requestState"])
}

/// A result for a client of the newest era.
pub fn complete(result: Json) -> Json {
    if edit::get(&result, &["resultType"]).is_some() {
        return result;
    }
    edit::set(&result, &["resultType"], "\"complete\"")
}

/// A result for a client of an older era.
pub fn without_type(result: Json) -> Json {
    edit::remove(&result, &["resultType"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_older(params: &str, expected: &str) {
        assert_eq!(older(Json::parse(params).expect("JSON")).as_str(), expected);
    }

    #[test]
    fn what_was_added_is_taken_out_again() {
        let params = Json::parse(r#"{"name":"x","arguments":{"n":1.0}}"#).expect("JSON");
        let there = modern(Some(params.clone()), &Identity::gateway(), Revision::V2026_07_28);
        assert_eq!(edit::text(&there, &["_meta", META_VERSION]).as_deref(), Some("2026-07-28"));
        assert_eq!(older(there).as_str(), params.as_str());
        check_older(
            r#"{"name":"x", "_meta": { "a" : 1.0 }}"#,
            r#"{"name":"x", "_meta": { "a" : 1.0 }}"#,
        );
        let kept = format!(r#"{{"_meta":{{"{META_VERSION}":"v", "a" : 1.0}},"requestState":"s"}}"#);
        check_older(&kept, r#"{"_meta":{"a" : 1.0}}"#);
        let nothing_left = format!(r#"{{"_meta":{{"{META_LOG_LEVEL}":null}},"name":"x"}}"#);
        check_older(&nothing_left, r#"{"name":"x"}"#);
        check_older(r#"{"_meta":"no object"}"#, r#"{"_meta":"no object"}"#);
        let result = Json::parse(r#"{"content":[]}"#).expect("JSON");
        assert_eq!(without_type(complete(result.clone())), result);
    }
}
