//! `GET /v1/models` and `/v1/models/{id}`: what a key may use, in OpenAI's shape
//! (<https://platform.openai.com/docs/api-reference/models>).

use serde_json::{Value, json};

use super::Live;
use super::admit::Caller;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;

/// What LiteLLM gives for every model; clients only want it not to change.
const CREATED: i64 = 1_677_610_602;

/// `{"object":"list","data":[…]}`, sorted by id.
pub fn list(live: &Live, caller: &Caller) -> Value {
    let models = &live.snapshot.models;
    let mut names: Vec<&str> = models.names().filter(|name| caller.may_use(name, name)).collect();
    if let Caller::Key(key) = caller {
        names.extend(key.aliases.keys().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    let data: Vec<Value> = names.into_iter().filter_map(|name| entry(live, caller, name)).collect();
    json!({ "object": "list", "data": data })
}

/// One model.
///
/// # Errors
/// `ModelNotFound`, also for one that exists and the key may not see.
pub fn retrieve(live: &Live, caller: &Caller, name: &str) -> Result<Value, Fault> {
    entry(live, caller, name).ok_or_else(|| {
        Fault::new(
            Kind::ModelNotFound,
            format!(
                "The model `{}` does not exist here, or this key may not use it.",
                names::shown(name)
            ),
        )
        .with_param("model")
    })
}

fn entry(live: &Live, caller: &Caller, name: &str) -> Option<Value> {
    let meant = caller.meaning(name);
    if !caller.may_use(name, meant) {
        return None;
    }
    let found = live.snapshot.models.find(meant)?;
    let first = found.group.deployments.first()?;
    let created = first.info.get("created").and_then(Value::as_i64).unwrap_or(CREATED);
    let owner = first.info.get("owned_by").and_then(Value::as_str).unwrap_or(first.provider.name);
    Some(json!({ "id": name, "object": "model", "created": created, "owned_by": owner }))
}
