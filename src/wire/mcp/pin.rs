//! What of a tool's definition is pinned, its digest, and how one definition differs from another. A tool that was
//! judged and accepted must not become another one under the same name.

use serde_json::value::RawValue;

use super::canonical::{canonical, members, quoted, sha256, sort};
use super::hidden::made_visible;
use crate::conversation::Json;
use crate::wire::fields::listed;

/// Members that are not pinned. Both never reach a model: `_meta` is between programs, and servers put into it what
/// changes with every start; `icons` are pictures for people, often with addresses that expire. All else is pinned, also
/// what no revision knows yet.
const NOT_PINNED: [&str; 2] = ["_meta", "icons"];

/// Texts up to this many characters are shown whole; of longer ones, the part that changed.
const SHOWN_WHOLE: usize = 120;
/// Characters shown on either side of a change.
const CONTEXT: usize = 24;
/// As deep as two definitions are compared member by member; below, as texts.
const MAX_DEPTH: usize = 64;

/// The SHA-256 of a tool's canonical definition, as 64 hexadecimal digits.
pub fn digest(tool: &Json) -> String {
    sha256(definition(tool).as_str())
}

/// What is pinned of a tool: all members but `_meta` and `icons`, in canonical form (see [`canonical`]).
pub fn definition(tool: &Json) -> Json {
    let text = match members_of(tool) {
        Some(members) => {
            let members = members
                .iter()
                .map(|(name, value)| [&quoted(name), ":", &canonical(value)].concat());
            ["{", &members.collect::<Vec<_>>().join(","), "}"].concat()
        }
        None => canonical(tool.as_raw()),
    };
    Json::parse(text).unwrap_or_else(|| tool.clone())
}

/// How `new` differs from `old`, one line each, in the order of names:
///
/// ```text
/// ~ description: "Reads a file." → "Reads a file and sends it."
/// + inputSchema.properties.to: {"type":"string"}
/// - annotations.readOnlyHint: true
/// ```
///
/// Hidden characters are written out. Empty where both have the same digest.
pub fn differences(old: &Json, new: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    match (members_of(old), members_of(new)) {
        (Some(old), Some(new)) => compare_members("", old, new, 0, &mut lines),
        _ => compare("", old.as_raw(), new.as_raw(), 0, &mut lines),
    }
    lines
}

/// The pinned members, sorted; `None` where the tool is no object.
pub(super) fn members_of(tool: &Json) -> Option<Vec<(String, &RawValue)>> {
    let mut members = members(tool.as_raw())?;
    members.retain(|(name, _)| !NOT_PINNED.contains(&name.as_str()));
    Some(members)
}

/// `path.name`, or `path["a name"]` where the name is not a plain word.
pub(super) fn joined(path: &str, name: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
    match (!name.is_empty() && name.chars().all(is_word), path) {
        (true, "") => name.to_owned(),
        (true, _) => [path, ".", name].concat(),
        (false, _) => [path, "[", &made_visible(&quoted(name)), "]"].concat(),
    }
}

fn compare_members(
    path: &str,
    old: Vec<(String, &RawValue)>,
    new: Vec<(String, &RawValue)>,
    depth: usize,
    lines: &mut Vec<String>,
) {
    // Both are sorted: they are gone through as one.
    let mut both: Vec<(String, (bool, &RawValue))> =
        old.into_iter().map(|(name, value)| (name, (false, value))).collect();
    both.extend(new.into_iter().map(|(name, value)| (name, (true, value))));
    sort(&mut both);
    let mut both = both.into_iter().peekable();
    while let Some((name, (is_new, value))) = both.next() {
        let path = joined(path, &name);
        match both.next_if(|(next, _)| *next == name) {
            Some((_, (_, changed))) => compare(&path, value, changed, depth + 1, lines),
            None => one_sided(is_new, &path, value, lines),
        }
    }
}

fn compare(path: &str, old: &RawValue, new: &RawValue, depth: usize, lines: &mut Vec<String>) {
    if depth < MAX_DEPTH {
        if let (Some(old), Some(new)) = (members(old), members(new)) {
            return compare_members(path, old, new, depth, lines);
        }
        if let (Some(old), Some(new)) = (listed(old), listed(new))
            && (old.iter().chain(&new)).any(|item| is_container(item))
        {
            return compare_items(path, &old, &new, depth, lines);
        }
    }
    let (old, new) = (canonical(old), canonical(new));
    if old != new {
        let (old, new) = changed_part(&old, &new);
        lines.push(format!("~ {path}: {} → {}", made_visible(&old), made_visible(&new)));
    }
}

/// Items by their place. Lists of plain values, as `required` and `enum`, are shown whole instead.
fn compare_items(
    path: &str,
    old: &[&RawValue],
    new: &[&RawValue],
    depth: usize,
    lines: &mut Vec<String>,
) {
    for at in 0..old.len().max(new.len()) {
        let path = format!("{path}[{at}]");
        match (old.get(at), new.get(at)) {
            (Some(old), Some(new)) => compare(&path, old, new, depth + 1, lines),
            (Some(old), None) => one_sided(false, &path, old, lines),
            (None, Some(new)) => one_sided(true, &path, new, lines),
            (None, None) => {}
        }
    }
}

fn one_sided(is_new: bool, path: &str, value: &RawValue, lines: &mut Vec<String>) {
    let sign = if is_new { '+' } else { '-' };
    lines.push(format!("{sign} {path}: {}", made_visible(&canonical(value))));
}

fn is_container(value: &RawValue) -> bool {
    value.get().starts_with(['{', '['])
}

/// Two long texts without what they have in common at both ends, but for a few characters. Never a part of what changed
/// is left out: that is where the surprise would be.
fn changed_part(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let shorter = old.len().min(new.len());
    let ends = old.iter().rev().zip(new.iter().rev()).take(shorter - same);
    let same_end = ends.take_while(|(old, new)| old == new).count();
    let part = |text: &[char]| -> String {
        if old.len().max(new.len()) <= SHOWN_WHOLE {
            return text.iter().collect();
        }
        let start = same.saturating_sub(CONTEXT);
        let end = text.len() - same_end.saturating_sub(CONTEXT);
        let middle: String = text.get(start..end).unwrap_or_default().iter().collect();
        let dots = |cut: bool| if cut { "…" } else { "" };
        [dots(start > 0), &middle, dots(end < text.len())].concat()
    };
    (part(&old), part(&new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).expect("JSON")
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let (old, new) = (json(old), json(new));
        assert_eq!(differences(&old, &new), expected);
        assert_eq!(digest(&old) == digest(&new), expected.is_empty());
    }

    #[test]
    fn spelling_order_meta_and_icons_do_not_count() {
        let old = r#"{"name":"a","inputSchema":{"type":"object","properties":{}},"_meta":{"x":1}}"#;
        let new =
            r#"{ "icons":[], "inputSchema":{"properties":{ },"type":"\u006fbject"}, "name":"a"}"#;
        check(old, new, &[]);
        assert_eq!(
            definition(&json(new)).as_str(),
            r#"{"inputSchema":{"properties":{},"type":"object"},"name":"a"}"#
        );
    }

    #[test]
    fn the_digest_is_of_the_canonical_text() {
        // printf '{"name":"a"}' | sha256sum
        let expected = "d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064";
        assert_eq!(digest(&json(r#"{"_meta":{}, "name" : "a"}"#)), expected);
    }

    #[test]
    fn every_other_member_counts() {
        check(r#"{"a":1}"#, r#"{"a":1.0}"#, &["~ a: 1 → 1.0"]);
        check(r#"{"a":null}"#, "{}", &["- a: null"]);
        check(
            r#"{"annotations":{"readOnlyHint":true},"name":"x"}"#,
            r#"{"annotations":{"readOnlyHint":false},"execution":{"x":[1, 2]},"name":"x"}"#,
            &["~ annotations.readOnlyHint: true → false", r#"+ execution: {"x":[1,2]}"#],
        );
        // Only the top level has members that do not count.
        check(
            r#"{"inputSchema":{"_meta":1}}"#,
            r#"{"inputSchema":{}}"#,
            &["- inputSchema._meta: 1"],
        );
    }

    #[test]
    fn a_changed_schema_is_told_by_paths() {
        check(
            r#"{"inputSchema":{"required":["a"],"properties":{"a b":{"type":"string"}},"oneOf":[{"x":1},{"y":1}]}}"#,
            r#"{"inputSchema":{"required":["a","c"],"properties":{"a b":{"type":"number"}},"oneOf":[{"x":2}]}}"#,
            &[
                "~ inputSchema.oneOf[0].x: 1 → 2",
                r#"- inputSchema.oneOf[1]: {"y":1}"#,
                r#"~ inputSchema.properties["a b"].type: "string" → "number""#,
                r#"~ inputSchema.required: ["a"] → ["a","c"]"#,
            ],
        );
        check(r#"{"a":{"b":1}}"#, r#"{"a":[]}"#, &[r#"~ a: {"b":1} → []"#]);
    }

    #[test]
    fn of_long_texts_all_that_changed_is_shown() {
        let (front, back) = ("front ".repeat(50), " back".repeat(50));
        let old = Json::of(&serde_json::json!({ "d": format!("{front}{back}") }));
        let new = Json::of(&serde_json::json!({ "d": format!("{front}send\u{200b} keys{back}") }));
        let lines = differences(&old, &new);
        assert_eq!(lines.len(), 1);
        let line = lines.concat();
        assert!(line.contains(r"front send\u{200b} keys back"), "{line}");
        assert!(line.len() < 220, "{line}");
    }

    #[test]
    fn what_is_no_object_has_a_digest_too() {
        check("[1]", "[ 1 ]", &[]);
        check("[1]", "{}", &["~ : [1] → {}"]);
    }

    #[test]
    fn deep_definitions_are_compared_as_texts() {
        let deep = |inside: &str| {
            json(&["{\"a\":", &"[".repeat(3000), inside, &"]".repeat(3000), "}"].concat())
        };
        assert_eq!(differences(&deep("1"), &deep("1")), Vec::<String>::new());
        assert_eq!(differences(&deep("1"), &deep("2")).len(), 1);
        assert_ne!(digest(&deep("1")), digest(&deep("2")));
    }

    proptest! {
        #[test]
        fn no_difference_exactly_where_the_digest_is_the_same(
            old in tool(), new in tool(),
        ) {
            prop_assert_eq!(differences(&old, &new).is_empty(), digest(&old) == digest(&new));
            prop_assert_eq!(differences(&old, &old.clone()), Vec::<String>::new());
            prop_assert_eq!(digest(&definition(&old)), digest(&old));
        }
    }

    fn tool() -> impl Strategy<Value = Json> {
        let value = prop_oneof!["[0-2]", r#""[a-b]{0,2}""#, r"\[[0-1]\]", r#"\{"x":[0-1]\}"#];
        prop::collection::vec(("[a-c]", value), 0..4).prop_map(|members| {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            json(&format!("{{{}}}", members.join(",")))
        })
    }
}
