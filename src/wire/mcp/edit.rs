//! Changing one member of a JSON object, however deep, and leaving every other byte as it is: spaces, the order of
//! members, the spelling of numbers, members that nobody here knows.

use serde_json::value::RawValue;

use crate::conversation::Json;
use crate::wire::fields::Fields;
use crate::wire::json;

/// The value at a path of member names; `None` where there is none.
pub fn get<'j>(object: &'j Json, path: &[&str]) -> Option<&'j RawValue> {
    path.iter().try_fold(object.as_raw(), |at, name| Fields::of(at)?.take(name))
}

/// The string at a path.
pub fn text(object: &Json, path: &[&str]) -> Option<String> {
    serde_json::from_str(get(object, path)?.get()).ok()
}

/// The value at a path as a type, where it fits.
pub fn read<T: serde::de::DeserializeOwned>(object: &Json, path: &[&str]) -> Option<T> {
    serde_json::from_str(get(object, path)?.get()).ok()
}

/// The object with the member at `path` set to a JSON text, made where it is not there, with the objects that lead to
/// it. Something that is no object, and should lead to it, is replaced by one.
pub fn set(object: &Json, path: &[&str], value: &str) -> Json {
    change(object, path, Some(value))
}

/// The object without the member at `path`.
pub fn remove(object: &Json, path: &[&str]) -> Json {
    let Some((last, before)) = path.split_last() else { return change(object, path, None) };
    let parent = before.iter().try_fold(object.as_raw(), |at, name| Fields::of(at)?.take(name));
    // A member that is null is there, too.
    let is_there = parent
        .and_then(Fields::of)
        .is_some_and(|fields| fields.iter().any(|(name, _)| name == *last));
    if is_there { change(object, path, None) } else { object.clone() }
}

fn change(object: &Json, path: &[&str], value: Option<&str>) -> Json {
    let text = changed(object.as_str(), path, value);
    Json::parse(text).unwrap_or_else(|| object.clone())
}

/// The text of a value with a member set, or taken out with the comma that belongs to it.
fn changed(text: &str, path: &[&str], value: Option<&str>) -> String {
    let Some((name, rest)) = path.split_first() else {
        return value.unwrap_or("null").to_owned();
    };
    let mut members = Vec::new();
    if json::scan_members(text, |member| members.push(member)).is_err() {
        return changed("{}", path, value);
    }
    let names = |at: &json::Member| {
        let quoted = text.get(at.key.start.saturating_sub(1)..at.key.end + 1);
        quoted.and_then(|quoted| serde_json::from_str::<String>(quoted).ok())
    };
    // Of a repeated name the last one counts.
    let found = members.iter().rposition(|member| names(member).as_deref() == Some(*name));
    let piece = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let Some(at) = found else {
        let Some(_) = value else { return text.to_owned() };
        let new = if rest.is_empty() {
            value.unwrap_or("null").to_owned()
        } else {
            changed("{}", rest, value)
        };
        let key = serde_json::to_string(name).unwrap_or_default();
        let end = text.rfind('}').unwrap_or(text.len());
        let comma = if members.is_empty() { "" } else { "," };
        return [piece(0..end), comma, &key, ":", &new, piece(end..text.len())].concat();
    };
    let Some(member) = members.get(at) else { return text.to_owned() };
    if rest.is_empty() && value.is_none() {
        // With the comma behind it, or, for the last one, with the comma before it.
        let next = members.get(at + 1).map(|next| next.key.start - 1);
        let before = at.checked_sub(1).and_then(|at| members.get(at)).map(|it| it.value.end);
        let (start, end) = match (next, before) {
            (Some(next), _) => (member.key.start - 1, next),
            (None, Some(before)) => (before, member.value.end),
            (None, None) => (member.key.start - 1, member.value.end),
        };
        return [piece(0..start), piece(end..text.len())].concat();
    }
    let new = changed(piece(member.value.clone()), rest, value);
    [piece(0..member.value.start), &new, piece(member.value.end..text.len())].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).expect("JSON")
    }

    #[track_caller]
    fn check(text: &str, path: &[&str], value: Option<&str>, expected: &str) {
        let edited = match value {
            Some(value) => set(&json(text), path, value),
            None => remove(&json(text), path),
        };
        assert_eq!(edited.as_str(), expected);
    }

    #[test]
    fn one_member_changes_and_no_other_byte() {
        check(r#"{ "a":1.0, "b" : [ 2 ] }"#, &["b"], Some("7"), r#"{ "a":1.0, "b" : 7 }"#);
        check(r#"{"a":{"b":1,"c":2}}"#, &["a", "c"], Some("\"x\""), r#"{"a":{"b":1,"c":"x"}}"#);
        check(r#"{"a":1}"#, &["_meta", "p"], Some("5"), r#"{"a":1,"_meta":{"p":5}}"#);
        check("{ }", &["x"], Some("5"), r#"{ "x":5}"#);
        check(r#"{"a":3}"#, &["a", "b"], Some("5"), r#"{"a":{"b":5}}"#);
        check(r#"{"a":1,"\u0061":2}"#, &["a"], Some("5"), r#"{"a":1,"\u0061":5}"#);
    }

    #[test]
    fn members_are_taken_out_with_their_comma() {
        check(r#"{"a":1, "b":2, "c":3}"#, &["a"], None, r#"{"b":2, "c":3}"#);
        check(r#"{"a":1, "b":2, "c":3}"#, &["b"], None, r#"{"a":1, "c":3}"#);
        check(r#"{"a":1, "b":2, "c":3}"#, &["c"], None, r#"{"a":1, "b":2}"#);
        check(r#"{ "a":1 }"#, &["a"], None, "{  }");
        check(r#"{"m":{"a":null}}"#, &["m", "a"], None, r#"{"m":{}}"#);
        check(r#"{"a":1}"#, &["x", "y"], None, r#"{"a":1}"#);
    }

    #[test]
    fn values_are_found_by_their_path() {
        let object = json(r#"{"a":{"b":"c"},"n":null}"#);
        assert_eq!(text(&object, &["a", "b"]).as_deref(), Some("c"));
        assert!(get(&object, &["n"]).is_none());
        assert!(get(&object, &["a", "b", "c"]).is_none());
    }
}
