//! `additional_drop_params`: parameters that are taken out of a body, by name or by path, while every other
//! byte keeps its spelling. Paths are LiteLLM's: `tools[*].function.strict`, `messages[0].name`
//! (<https://docs.litellm.ai/docs/completion/drop_params>).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::Fields;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step<'p> {
    Member(&'p str),
    /// An element of a list; `None` is all of them.
    Element(Option<usize>),
}

/// The body without the parameters that the paths name. What is not JSON stays as it is.
pub fn without<'b>(body: &'b [u8], paths: &[String]) -> Cow<'b, [u8]> {
    if paths.is_empty() {
        return Cow::Borrowed(body);
    }
    let paths: Vec<Vec<Step<'_>>> = paths.iter().filter_map(|path| steps(path)).collect();
    let paths: Vec<&[Step<'_>]> = paths.iter().map(Vec::as_slice).collect();
    let Ok(raw) = serde_json::from_slice::<&RawValue>(body) else { return Cow::Borrowed(body) };
    match pruned(raw, &paths) {
        Some(text) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(body),
    }
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !name.is_empty() {
            steps.push(Step::Member(name));
        }
        for index in indices.split('[').skip(1) {
            let index = index.strip_suffix(']')?;
            steps.push(Step::Element(if index == "*" { None } else { Some(index.parse().ok()?) }));
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// The value without what the paths name; `None` where nothing of it changes.
fn pruned(raw: &RawValue, paths: &[&[Step<'_>]]) -> Option<String> {
    if paths.is_empty() {
        return None;
    }
    if raw.get().starts_with('[') { list(raw, paths) } else { object(raw, paths) }
}

fn object(raw: &RawValue, paths: &[&[Step<'_>]]) -> Option<String> {
    let fields = Fields::of(raw)?;
    let mut changed = false;
    let mut members = Vec::new();
    for (name, value) in fields.iter() {
        let steps = |path: &&[Step<'_>]| path.first() == Some(&Step::Member(name));
        let below = below(paths, steps);
        if below.iter().any(|path| path.is_empty()) {
            changed = true;
            continue;
        }
        let inner = pruned(value, &below);
        changed |= inner.is_some();
        let name = serde_json::to_string(name).ok()?;
        members.push(format!("{name}:{}", inner.as_deref().unwrap_or(value.get())));
    }
    changed.then(|| format!("{{{}}}", members.join(",")))
}

fn list(raw: &RawValue, paths: &[&[Step<'_>]]) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    let mut changed = false;
    let mut kept = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let steps = |path: &&[Step<'_>]| match path.first() {
            Some(Step::Element(index)) => index.is_none_or(|index| index == at),
            _ => false,
        };
        let below = below(paths, steps);
        if below.iter().any(|path| path.is_empty()) {
            changed = true;
            continue;
        }
        let inner = pruned(item, &below);
        changed |= inner.is_some();
        kept.push(inner.unwrap_or_else(|| item.get().to_owned()));
    }
    changed.then(|| format!("[{}]", kept.join(",")))
}

/// What is left of the paths that go on through here.
fn below<'a, 'p>(
    paths: &[&'a [Step<'p>]],
    goes_on: impl Fn(&&[Step<'_>]) -> bool,
) -> Vec<&'a [Step<'p>]> {
    paths.iter().filter(|path| goes_on(path)).filter_map(|path| path.get(1..)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, paths: &[&str], expected: &str) {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let out = without(body.as_bytes(), &paths);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn names_and_paths_are_taken_out() {
        check(r#"{"a": 1.0e0, "b":2}"#, &["c"], r#"{"a": 1.0e0, "b":2}"#);
        check(r#"{"a": 1.0e0, "b":2}"#, &["b"], r#"{"a":1.0e0}"#);
        check(
            r#"{"tools":[{"f":{"strict":true,"n":1e3}},{"f":{}}],"x":"\u00e9"}"#,
            &["tools[*].f.strict"],
            r#"{"tools":[{"f":{"n":1e3}},{"f":{}}],"x":"\u00e9"}"#,
        );
        check(r#"{"m":[1,2,3]}"#, &["m[1]"], r#"{"m":[1,3]}"#);
        check(r#"{"m":[1]}"#, &["m[x]", "", "m.n", "m[0].k"], r#"{"m":[1]}"#);
        check("not json", &["a"], "not json");
    }
}
