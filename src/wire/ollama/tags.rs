//! Which models an Ollama server has: `GET /api/tags`
//! (<https://docs.ollama.com/api/tags>).

use crate::wire::fields::Fields;

/// The names of the models, as requests name them; `None` where the body is no such list.
pub fn models(body: &[u8]) -> Option<Vec<String>> {
    let mut fields = Fields::of_bytes(body)?;
    fields.peek("models").filter(|models| models.get().starts_with('['))?;
    let entries = fields.items("models").into_iter();
    let named = entries.filter_map(|entry| {
        let mut entry = Fields::of(entry)?;
        // Servers before 0.1.30 said only `name`.
        entry.text("model").or_else(|| entry.text("name"))
    });
    Some(named.filter(|name| !name.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_damage_is_passed_over() {
        let body = include_bytes!("../../../tests/golden/answers/ollama/tags.json");
        assert_eq!(models(body).expect("a list"), ["deepseek-r1:latest", "llama3.2:latest"]);
        let odd = br#"{"models":[{"name":"a"},{"name":""},{"size":1},7,null]}"#;
        assert_eq!(models(odd).expect("a list"), ["a"]);
        assert_eq!(models(b"{\"models\":[]}").expect("a list"), [""; 0]);
        for body in [&b""[..], b"[]", b"{}", b"{\"models\":{}}", b"\xff"] {
            assert_eq!(models(body), None);
        }
    }
}
