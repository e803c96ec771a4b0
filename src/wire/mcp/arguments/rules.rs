//! The keywords that judge one value by itself: its type, its size, what it may be. They know nothing of schemas within
//! schemas.

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::wire::fields::{Fields, as_string, listed};
use crate::wire::mcp::canonical::canonical;
use crate::wire::mcp::hidden::made_visible;
use crate::wire::mcp::pin::joined;

/// Faults told of one call.
pub(super) const MAX_FAULTS: usize = 16;
/// Characters of a value that a fault repeats.
const REPEATED: usize = 60;

/// Whether a value fits a schema. `Maybe`: nothing speaks against it, but not all was understood; so its opposite is not
/// known either, which matters below `not`, `oneOf` and `if`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    No,
    Maybe,
    Yes,
}

/// A value with what several keywords ask of it.
pub(super) struct Seen<'v> {
    pub(super) raw: &'v RawValue,
    kind: &'static str,
    pub(super) members: Option<Fields<'v>>,
    pub(super) items: Option<Vec<&'v RawValue>>,
    pub(super) text: Option<String>,
    number: Option<f64>,
    pub(super) path: &'v str,
}

impl<'v> Seen<'v> {
    pub(super) fn of(raw: &'v RawValue, path: &'v str) -> Self {
        let text = raw.get();
        let number = serde_json::from_str::<f64>(text).ok();
        let is_whole = number.is_some_and(|number| number.fract() == 0.0);
        let kind = match text.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ if is_whole => "integer",
            _ => "number",
        };
        let members = Fields::of(raw);
        Self { raw, kind, members, items: listed(raw), text: as_string(raw), number, path }
    }

    /// How a sentence about the value begins.
    fn subject(&self) -> String {
        match self.path {
            "" => "the arguments".to_owned(),
            path => ["`", path, "`"].concat(),
        }
    }

    pub(super) fn fault(&self, what: &str, faults: &mut Vec<String>) -> Fit {
        if faults.len() < MAX_FAULTS {
            faults.push([&self.subject(), " ", what].concat());
        }
        Fit::No
    }
}

pub(super) fn kind(rule: &RawValue, seen: &Seen<'_>, faults: &mut Vec<String>) -> Fit {
    const KINDS: [&str; 7] = ["object", "array", "string", "boolean", "null", "integer", "number"];
    let kinds: Option<Vec<String>> = match listed(rule) {
        Some(kinds) => kinds.into_iter().map(as_string).collect(),
        None => as_string(rule).map(|kind| vec![kind]),
    };
    let Some(kinds) = kinds.filter(|kinds| !kinds.is_empty()) else { return Fit::Maybe };
    if !kinds.iter().all(|kind| KINDS.contains(&kind.as_str())) {
        return Fit::Maybe;
    }
    let fits = |kind: &String| kind == seen.kind || (kind == "number" && seen.kind == "integer");
    if kinds.iter().any(fits) {
        return Fit::Yes;
    }
    let told: Vec<&str> = kinds.iter().map(|kind| with_article(kind)).collect();
    let what = format!("must be {}, not {}", told.join(" or "), with_article(seen.kind));
    seen.fault(&what, faults)
}

fn with_article(kind: &str) -> &str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

pub(super) fn constant(
    keyword: &str,
    rule: &RawValue,
    seen: &Seen<'_>,
    faults: &mut Vec<String>,
) -> Fit {
    let allowed = match (keyword, listed(rule)) {
        ("const", _) => vec![rule],
        (_, Some(allowed)) if !allowed.is_empty() => allowed,
        _ => return Fit::Maybe,
    };
    // `[1]` is `[1.0]`: into what has parts nobody looks.
    if matches!(seen.kind, "object" | "array") {
        return Fit::Maybe;
    }
    let value = canonical(seen.raw);
    let same = |allowed: &&RawValue| {
        let number = serde_json::from_str::<f64>(allowed.get()).ok();
        let is_plain = !allowed.get().starts_with(['{', '[']);
        (is_plain && canonical(allowed) == value) || (number.is_some() && number == seen.number)
    };
    if allowed.iter().any(same) {
        return Fit::Yes;
    }
    let told: Vec<String> = allowed.iter().map(|allowed| shown(allowed.get())).take(20).collect();
    let more = if allowed.len() > told.len() { ", …" } else { "" };
    let one_of = if allowed.len() > 1 { "one of " } else { "" };
    let what = format!("must be {one_of}{}{more}, not {}", told.join(", "), shown(seen.raw.get()));
    seen.fault(&what, faults)
}

fn shown(json: &str) -> String {
    let mut shown: String = made_visible(json).chars().take(REPEATED).collect();
    if json.chars().nth(REPEATED).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn bound(
    keyword: &str,
    rule: &RawValue,
    seen: &Seen<'_>,
    faults: &mut Vec<String>,
) -> Fit {
    // Older drafts have `"exclusiveMinimum": true`.
    let Ok(limit) = serde_json::from_str::<f64>(rule.get()) else { return Fit::Maybe };
    let Some(number) = seen.number else { return Fit::Yes };
    let (fits, what) = match keyword {
        "minimum" => (number >= limit, "at least"),
        "maximum" => (number <= limit, "at most"),
        "exclusiveMinimum" => (number > limit, "more than"),
        _ => (number < limit, "less than"),
    };
    if fits {
        return Fit::Yes;
    }
    seen.fault(
        &format!("must be {what} {}, not {}", shown(rule.get()), shown(seen.raw.get())),
        faults,
    )
}

pub(super) fn count(
    keyword: &str,
    rule: &RawValue,
    seen: &Seen<'_>,
    faults: &mut Vec<String>,
) -> Fit {
    let Ok(limit) = serde_json::from_str::<f64>(rule.get()) else { return Fit::Maybe };
    let (least, of) = match keyword.split_at_checked(3) {
        Some(("min", of)) => (true, of),
        Some((_, of)) => (false, of),
        None => return Fit::Maybe,
    };
    let (has, unit) = match of {
        "Length" => (seen.text.as_ref().map(|text| text.chars().count()), "characters"),
        "Items" => (seen.items.as_ref().map(Vec::len), "items"),
        _ => (seen.members.as_ref().map(|members| members.iter().count()), "members"),
    };
    let Some(has) = has else { return Fit::Yes };
    #[expect(clippy::cast_precision_loss, reason = "no value has 2^52 parts")]
    let number = has as f64;
    if if least { number >= limit } else { number <= limit } {
        return Fit::Yes;
    }
    let what = if least { "at least" } else { "at most" };
    seen.fault(&format!("must have {what} {} {unit}, not {has}", shown(rule.get())), faults)
}

pub(super) fn required(rule: &RawValue, seen: &Seen<'_>, faults: &mut Vec<String>) -> Fit {
    let Some(members) = &seen.members else { return Fit::Yes };
    let names: Option<Vec<String>> =
        listed(rule).and_then(|names| names.into_iter().map(as_string).collect());
    let Some(names) = names else { return Fit::Maybe };
    let given: HashSet<&str> = members.iter().map(|(name, _)| name).collect();
    let mut fit = Fit::Yes;
    for name in names.iter().filter(|name| !given.contains(name.as_str())) {
        let path = joined(seen.path, name);
        fit = Seen::of(seen.raw, &path).fault("is missing", faults);
        if faults.len() >= MAX_FAULTS {
            break;
        }
    }
    fit
}

pub(super) fn unique(rule: &RawValue, seen: &Seen<'_>, faults: &mut Vec<String>) -> Fit {
    let Some(items) = seen.items.as_ref().filter(|_| rule.get() == "true") else {
        return Fit::Yes;
    };
    let distinct: HashSet<&str> = items.iter().map(|item| item.get()).collect();
    match distinct.len() == items.len() {
        // Two spellings of one value are not found.
        true => Fit::Maybe,
        false => seen.fault("must not have the same item twice", faults),
    }
}
