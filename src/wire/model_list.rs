//! Which models a server in OpenAI's shape has: `GET /v1/models`
//! (<https://platform.openai.com/docs/api-reference/models/list>). Knows nothing of who asks, and why.

use super::fields::Fields;

/// The ids of the models, as requests name them; `None` where the body is no such list.
pub fn ids(body: &[u8]) -> Option<Vec<String>> {
    let mut fields = Fields::of_bytes(body)?;
    fields.peek("data").filter(|data| data.get().starts_with('['))?;
    let entries = fields.items("data").into_iter();
    let ids = entries.filter_map(|entry| Fields::of(entry)?.text("id"));
    Some(ids.filter(|id| !id.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_damage_is_passed_over() {
        let body = br#"{"object":"list","data":[{"id":"qwen3"},{"id":""},{"object":"model"},7,{"id":"org/m"}]}"#;
        assert_eq!(ids(body).expect("a list"), ["qwen3", "org/m"]);
        assert_eq!(ids(b"{\"data\":[]}").expect("a list"), [""; 0]);
        for body in [&b""[..], b"[]", b"{}", b"{\"data\":{}}", b"\xff"] {
            assert_eq!(ids(body), None);
        }
    }
}
