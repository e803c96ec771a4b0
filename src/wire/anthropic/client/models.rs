//! Model lists in Anthropic's form (<https://docs.anthropic.com/en/api/models-list>).

use serde_json::{Value, json};

/// One model. `created` is an RFC 3339 time.
pub fn model_entry(id: &str, display_name: &str, created: &str) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": display_name,
        "created_at": created,
        "lifecycle": "active",
    })
}

/// All models, on one page.
pub fn model_list(models: Vec<Value>) -> Value {
    let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned();
    let (first, last) = (id(models.first()), id(models.last()));
    json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_its_ends() {
        let list = model_list(vec![
            model_entry("a", "A", "2026-01-01T00:00:00Z"),
            model_entry("b", "B", "2026-01-01T00:00:00Z"),
        ]);
        assert_eq!((&list["first_id"], &list["last_id"]), (&json!("a"), &json!("b")));
        assert_eq!(model_list(Vec::new())["first_id"], Value::Null);
    }
}
