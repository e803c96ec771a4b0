//! Whether a call's arguments fit a tool's `inputSchema`, told so that a model or a person can mend them. What is checked
//! is what tools use of JSON Schema 2020-12; no reference leaves the schema, no pattern is run, and the work has a bound,
//! for schemas come from strangers. Whatever cannot be judged passes: the server judges again.
//! <https://json-schema.org/draft/2020-12>

mod rules;

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use self::rules::{Fit, Seen};
use super::pin::joined;
use crate::conversation::Json;
use crate::wire::fields::{Fields, as_string, listed};

/// What may be looked at in all, in bytes of schema and arguments, each as often as it is gone through; large arguments
/// may be gone through a few times besides.
const WORK: usize = 4 * 1024 * 1024;
const TIMES: usize = 4;
/// What one look costs however little there is to see.
const LOOK: usize = 64;
/// Schemas within schemas, references counted.
const MAX_DEPTH: usize = 64;

/// Keywords that forbid nothing. `format` is among them: it is only checked where both sides agree to.
const SILENT: [&str; 19] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "$anchor",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "x-mcp-header",
];

/// Checks the arguments of a call.
///
/// A keyword that is unknown, malformed, or needs more than this file does (`pattern`, a reference elsewhere) forbids
/// nothing.
///
/// # Errors
/// What does not fit, one sentence each, with the path of the argument; at most 16.
pub fn check(schema: &Json, arguments: &Json) -> Result<(), Vec<String>> {
    let left = WORK.saturating_add(arguments.as_str().len().saturating_mul(TIMES));
    let mut check = Check { root: schema.as_raw(), left };
    let mut faults = Vec::new();
    let fit = check.fit(schema.as_raw(), arguments.as_raw(), "", 0, &mut faults);
    if fit == Fit::No && check.left > 0 { Err(faults) } else { Ok(()) }
}

struct Check<'s> {
    root: &'s RawValue,
    left: usize,
}

impl<'s> Check<'s> {
    fn fit(
        &mut self,
        schema: &'s RawValue,
        value: &RawValue,
        path: &str,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        let cost = LOOK + schema.get().len() + value.get().len();
        self.left = self.left.saturating_sub(cost);
        if self.left == 0 || depth > MAX_DEPTH {
            return Fit::Maybe;
        }
        let seen = Seen::of(value, path);
        match (schema.get(), Fields::of(schema)) {
            ("true", _) => Fit::Yes,
            ("false", _) => seen.fault("must not be there", faults),
            // References in a schema with an `$id` begin at that schema: left to who knows.
            (_, Some(fields)) if schema.get() == self.root.get() || !fields.has("$id") => {
                let mut fit = Fit::Yes;
                for (keyword, rule) in fields.iter() {
                    fit = fit.min(self.keyword(keyword, rule, &fields, &seen, depth, faults));
                }
                fit
            }
            _ => Fit::Maybe,
        }
    }

    /// One keyword of a schema.
    fn keyword(
        &mut self,
        keyword: &str,
        rule: &'s RawValue,
        schema: &Fields<'s>,
        seen: &Seen<'_>,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        match keyword {
            "type" => rules::kind(rule, seen, faults),
            "enum" | "const" => rules::constant(keyword, rule, seen, faults),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                rules::bound(keyword, rule, seen, faults)
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => rules::count(keyword, rule, seen, faults),
            "required" => rules::required(rule, seen, faults),
            "uniqueItems" => rules::unique(rule, seen, faults),
            "properties" => self.properties(rule, seen, depth, faults),
            "additionalProperties" => self.additional(rule, schema, seen, depth, faults),
            "items" | "prefixItems" => self.items(keyword, rule, schema, seen, depth, faults),
            "allOf" => {
                let Some(rules) = listed(rule) else { return Fit::Maybe };
                let fits = rules
                    .into_iter()
                    .map(|rule| self.fit(rule, seen.raw, seen.path, depth + 1, faults));
                fits.min().unwrap_or(Fit::Maybe)
            }
            "anyOf" | "oneOf" => self.alternatives(keyword, rule, seen, depth, faults),
            "not" => match self.fit(rule, seen.raw, seen.path, depth + 1, &mut Vec::new()) {
                Fit::Yes => seen.fault("must not have this form", faults),
                Fit::Maybe => Fit::Maybe,
                Fit::No => Fit::Yes,
            },
            "if" => {
                let branch = match self.fit(rule, seen.raw, seen.path, depth + 1, &mut Vec::new()) {
                    Fit::Yes => schema.peek("then"),
                    Fit::No => schema.peek("else"),
                    Fit::Maybe => return Fit::Maybe,
                };
                branch.map_or(Fit::Yes, |branch| {
                    self.fit(branch, seen.raw, seen.path, depth + 1, faults)
                })
            }
            "then" | "else" => Fit::Yes,
            "$ref" => match as_string(rule).and_then(|reference| self.resolve(&reference)) {
                Some(schema) => self.fit(schema, seen.raw, seen.path, depth + 1, faults),
                None => Fit::Maybe,
            },
            "pattern" if seen.text.is_none() => Fit::Yes,
            _ if SILENT.contains(&keyword) => Fit::Yes,
            _ => Fit::Maybe,
        }
    }

    fn properties(
        &mut self,
        rule: &'s RawValue,
        seen: &Seen<'_>,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        let Some(rules) = Fields::of(rule) else { return Fit::Maybe };
        let Some(members) = &seen.members else { return Fit::Yes };
        let mut fit = Fit::Yes;
        let given = Lookup::of(members);
        for (name, rule) in rules.iter() {
            if let Some(value) = given.get(name) {
                let path = joined(seen.path, name);
                fit = fit.min(self.fit(rule, value, &path, depth + 1, faults));
            }
        }
        fit
    }

    fn additional(
        &mut self,
        rule: &'s RawValue,
        schema: &Fields<'s>,
        seen: &Seen<'_>,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        if rule.get() == "true" {
            return Fit::Yes;
        }
        let Some(members) = &seen.members else { return Fit::Yes };
        let declared = schema.peek("properties").and_then(Fields::of).unwrap_or_default();
        let declared: HashSet<&str> = declared.iter().map(|(name, _)| name).collect();
        let mut fit = Fit::Yes;
        for (name, value) in members.iter().filter(|(name, _)| !declared.contains(name)) {
            if schema.has("patternProperties") {
                return Fit::Maybe;
            }
            let path = joined(seen.path, name);
            fit = fit.min(match rule.get() {
                "false" => Seen::of(value, &path).fault("is not known here", faults),
                _ => self.fit(rule, value, &path, depth + 1, faults),
            });
        }
        fit
    }

    fn items(
        &mut self,
        keyword: &str,
        rule: &'s RawValue,
        schema: &Fields<'s>,
        seen: &Seen<'_>,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        let Some(items) = &seen.items else { return Fit::Yes };
        let prefix = schema.peek("prefixItems").and_then(listed);
        let mut fit = Fit::Yes;
        let rules: Vec<(usize, &RawValue, &'s RawValue)> = match (keyword, listed(rule)) {
            ("prefixItems", None) => return Fit::Maybe,
            // A list under `items` is how older drafts say `prefixItems`.
            (_, Some(rules)) => items
                .iter()
                .zip(rules)
                .enumerate()
                .map(|(at, (item, rule))| (at, *item, rule))
                .collect(),
            (_, None) => {
                let first = prefix.map_or(0, |prefix| prefix.len());
                items.iter().enumerate().skip(first).map(|(at, item)| (at, *item, rule)).collect()
            }
        };
        for (at, item, rule) in rules {
            let path = format!("{}[{at}]", seen.path);
            fit = fit.min(self.fit(rule, item, &path, depth + 1, faults));
            if self.left == 0 {
                return Fit::Maybe;
            }
        }
        fit
    }

    fn alternatives(
        &mut self,
        keyword: &str,
        rule: &'s RawValue,
        seen: &Seen<'_>,
        depth: usize,
        faults: &mut Vec<String>,
    ) -> Fit {
        let Some(rules) = listed(rule).filter(|rules| !rules.is_empty()) else {
            return Fit::Maybe;
        };
        let mut nearest: Option<Vec<String>> = None;
        let (mut yes, mut maybe) = (0, 0);
        for rule in &rules {
            let mut why = Vec::new();
            match self.fit(rule, seen.raw, seen.path, depth + 1, &mut why) {
                Fit::Yes if keyword == "anyOf" => return Fit::Yes,
                Fit::Yes => yes += 1,
                Fit::Maybe => maybe += 1,
                Fit::No if nearest.as_ref().is_none_or(|best| why.len() < best.len()) => {
                    nearest = Some(why);
                }
                Fit::No => {}
            }
        }
        match (yes, maybe) {
            (0, 0) => {
                let nearest = nearest.unwrap_or_default().join("; ");
                let what = format!(
                    "must fit one of {} alternatives; of the nearest, {nearest}",
                    rules.len()
                );
                seen.fault(&what, faults)
            }
            (1, 0) => Fit::Yes,
            (0 | 1, _) => Fit::Maybe,
            _ => seen.fault("must fit only one of the alternatives, and more fit", faults),
        }
    }

    /// A place in the schema, by `#` or `#/a/pointer`.
    fn resolve(&mut self, reference: &str) -> Option<&'s RawValue> {
        let pointer = reference.strip_prefix('#')?;
        let mut at = self.root;
        for step in pointer.split('/').skip(1) {
            self.left = self.left.saturating_sub(at.get().len());
            let step = step.replace("~1", "/").replace("~0", "~");
            at = match listed(at) {
                Some(items) => *items.get(step.parse::<usize>().ok()?)?,
                None => Fields::of(at)?.take(&step)?,
            };
        }
        (pointer.is_empty() || pointer.starts_with('/')).then_some(at)
    }
}

/// Members by name, also those that are null, without looking through all of them for each.
struct Lookup<'f>(HashMap<&'f str, &'f RawValue>);

impl<'f> Lookup<'f> {
    fn of(members: &'f Fields<'_>) -> Self {
        Self(members.iter().collect())
    }

    fn get(&self, name: &str) -> Option<&'f RawValue> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn judged(schema: Value, arguments: Value, expected: &[&str]) {
        let faults = check(&Json::of(&schema), &Json::of(&arguments)).err().unwrap_or_default();
        assert_eq!(faults, expected, "{schema} {arguments}");
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_path() {
        let schema = json!({
            "type": "object",
            "properties": {
                "zone": {"type": "string", "minLength": 2},
                "count": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"enum": ["day", "hour"]},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": true},
                "a b": {"type": ["string", "null"]},
            },
            "required": ["zone"],
            "additionalProperties": false,
        });
        judged(schema.clone(), json!({"zone": "UTC", "count": 3, "unit": "day", "a b": null}), &[]);
        judged(
            schema.clone(),
            json!({"count": "3", "unit": "week", "tags": ["a", 1, "a"], "a b": 1, "zones": 1}),
            &[
                "`count` must be a whole number, not a string",
                r#"`unit` must be one of "day", "hour", not "week""#,
                "`tags[1]` must be a string, not a whole number",
                "`tags` must have at most 2 items, not 3",
                "`tags` must not have the same item twice",
                r#"`["a b"]` must be a string or null, not a whole number"#,
                "`zone` is missing",
                "`zones` is not known here",
            ],
        );
        judged(
            schema.clone(),
            json!({"zone": "é", "count": 10}),
            &["`zone` must have at least 2 characters, not 1", "`count` must be at most 9, not 10"],
        );
        judged(schema, json!([]), &["the arguments must be an object, not a list"]);
    }

    #[test]
    fn whole_numbers_are_so_however_spelled() {
        let schema = Json::of(&json!({"type": "integer", "enum": [1, 20]}));
        for text in ["1", "1.0", "2e1"] {
            assert_eq!(check(&schema, &Json::parse(text).expect("JSON")), Ok(()));
        }
        judged(
            json!({"type": "integer"}),
            json!(1.5),
            &["the arguments must be a whole number, not a number"],
        );
        judged(
            json!({"type": "number", "exclusiveMinimum": 0}),
            json!(0),
            &["the arguments must be more than 0, not 0"],
        );
    }

    #[test]
    fn schemas_of_schemas() {
        let optional =
            json!({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}});
        judged(optional.clone(), json!({"a": null}), &[]);
        judged(
            optional,
            json!({"a": 1}),
            &[
                "`a` must fit one of 2 alternatives; of the nearest, `a` must be a string, not a whole number",
            ],
        );
        let one = json!({"oneOf": [{"type": "integer"}, {"type": "number"}]});
        judged(one.clone(), json!(1.5), &[]);
        judged(
            one,
            json!(1),
            &["the arguments must fit only one of the alternatives, and more fit"],
        );
        judged(
            json!({"not": {"type": "null"}}),
            json!(null),
            &["the arguments must not have this form"],
        );
        let all = json!({"allOf": [{"required": ["a"]}, {"required": ["b"]}]});
        judged(all, json!({}), &["`a` is missing", "`b` is missing"]);
        let branch = json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}});
        judged(branch.clone(), json!({"a": 1}), &["`b` is missing"]);
        judged(branch, json!({}), &["`c` is missing"]);
        judged(
            json!({"prefixItems": [{"type": "string"}], "items": false}),
            json!(["a", 1]),
            &["`[1]` must not be there"],
        );
        judged(
            json!({"additionalProperties": {"type": "string"}}),
            json!({"a": 1}),
            &["`a` must be a string, not a whole number"],
        );
    }

    #[test]
    fn references_are_followed_inside_only() {
        let tree = json!({
            "$ref": "#/$defs/a~1b",
            "$defs": {"a/b": {"type": "object", "properties": {"next": {"$ref": "#/$defs/a~1b"}, "n": {"type": "integer"}}}},
        });
        judged(
            tree,
            json!({"next": {"next": {"n": "x"}}}),
            &["`next.next.n` must be a whole number, not a string"],
        );
        for outside in
            ["http://127.0.0.1:1/x", "file:///etc/passwd", "other.json#/a", "#/nowhere", "#anchor"]
        {
            judged(json!({"$ref": outside}), json!({"a": 1}), &[]);
        }
    }

    #[test]
    fn what_is_not_understood_passes_also_upside_down() {
        for schema in [
            json!({"pattern": "^a$"}),
            json!({"not": {"pattern": "^a$"}}),
            json!({"oneOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]}),
            json!({"if": {"pattern": "^a$"}, "then": false, "else": false}),
            json!({"type": "strng"}),
            json!({"type": 3}),
            json!({"required": "a", "properties": [], "items": 3, "enum": [], "anyOf": []}),
            json!({"not": {"futureKeyword": true}}),
            json!({"minimum": "x", "maxLength": null, "exclusiveMinimum": true}),
            json!(null),
            json!("x"),
        ] {
            judged(schema, json!("b"), &[]);
        }
        judged(
            json!({"patternProperties": {"^x": {}}, "additionalProperties": false}),
            json!({"y": 1}),
            &[],
        );
    }

    #[test]
    fn hostile_schemas_end_soon() {
        judged(json!({"$ref": "#"}), json!({}), &[]);
        judged(
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
            json!({}),
            &[],
        );
        let mut defs = serde_json::Map::new();
        for level in 0..50 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"allOf": [next, next, {"type": "string"}]}));
        }
        judged(json!({"$defs": defs, "$ref": "#/$defs/d0"}), json!({}), &[]);
        let deep = Json::parse(["[".repeat(50_000), "]".repeat(50_000)].concat()).expect("JSON");
        assert_eq!(check(&Json::of(&json!({"items": {"$ref": "#"}})), &deep), Ok(()));
        let missing: Vec<String> = (0..100_000).map(|at| at.to_string()).collect();
        let faults = check(&Json::of(&json!({"required": missing})), &Json::empty_object());
        assert_eq!(faults.map_err(|faults| faults.len()), Err(rules::MAX_FAULTS));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(schema in schema(), arguments in arguments()) {
            let _either = check(&Json::of(&schema), &Json::of(&arguments));
        }

        #[test]
        fn not_is_never_the_same_verdict(schema in schema(), arguments in arguments()) {
            let arguments = Json::of(&arguments);
            let plain = check(&Json::of(&schema), &arguments).is_err();
            let opposite = check(&Json::of(&json!({"not": schema})), &arguments).is_err();
            prop_assert!(!(plain && opposite));
        }
    }

    fn arguments() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!(1.5)), Just(json!("ab"))];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[ab]", inner), 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!({"type": "string"})),
            Just(json!({"type": ["object", "integer"]})),
            Just(json!({"minimum": 1, "maxLength": 1, "minItems": 1})),
            Just(json!({"pattern": "a"})),
            Just(json!({"required": ["a"]})),
            Just(json!({"enum": [1, "ab", [1]]})),
            Just(json!({"$ref": "#/$defs/elsewhere"})),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|it| json!({"anyOf": it})),
                prop::collection::vec(inner.clone(), 0..3).prop_map(|it| json!({"oneOf": it})),
                inner.clone().prop_map(|it| json!({"not": it})),
                inner.clone().prop_map(|it| json!({"items": it, "additionalProperties": it})),
                inner
                    .prop_map(|it| json!({"properties": {"a": it}, "additionalProperties": false})),
            ]
        })
    }
}
