//! Finding tools by words: a lexical index over their names, descriptions and parameters, ranked by BM25 with a weight for
//! each field. The same tools and the same words always give the same order. It knows neither servers nor models.
//! <https://en.wikipedia.org/wiki/Okapi_BM25>

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::value::RawValue;

use super::edit;
use crate::conversation::Json;
use crate::wire::fields::Fields;

/// How soon repeating a word adds nothing more.
const K1: f64 = 1.2;
/// How much a long text counts less.
const B: f64 = 0.75;
/// What a word is worth in a name, in a description or a parameter's name, in a parameter's description.
const IN_NAME: f64 = 4.0;
const IN_DESCRIPTION: f64 = 1.5;
const IN_PARAMETER: f64 = 1.5;
const IN_PARAMETER_DESCRIPTION: f64 = 0.75;
/// What a word is worth that only begins like the one asked for.
const BEGINS_ALIKE: f64 = 0.5;
/// Words of one tool that are read, and of one query.
const MAX_WORDS: usize = 2_000;
const MAX_QUERY_WORDS: usize = 64;
/// Words of a query that say nothing of any tool.
const EMPTY: [&str; 24] = [
    "a", "an", "and", "are", "at", "by", "can", "do", "for", "from", "how", "in", "is", "it", "of",
    "on", "or", "that", "the", "there", "to", "what", "which", "with",
];
/// Schemas within schemas.
const MAX_DEPTH: usize = 8;

/// What is known of one tool.
#[derive(Clone, Copy, Debug)]
pub struct Described<'t> {
    pub name: &'t str,
    pub description: Option<&'t str>,
    /// The JSON Schema of its arguments.
    pub schema: &'t Json,
}

/// The index; tools have the numbers in which they came.
#[derive(Debug, Default)]
pub struct Index {
    /// Word → tools that have it, each with the weighted number of times.
    postings: BTreeMap<String, Vec<(usize, f64)>>,
    lengths: Vec<f64>,
    mean_length: f64,
}

impl Index {
    pub fn of<'t>(tools: impl Iterator<Item = Described<'t>>) -> Self {
        let mut index = Self::default();
        for (number, tool) in tools.enumerate() {
            let mut counts: BTreeMap<String, f64> = BTreeMap::new();
            let mut left = MAX_WORDS;
            let mut read = |text: &str, weight: f64| {
                for word in words(text).into_iter().take(left) {
                    left -= 1;
                    *counts.entry(word).or_default() += weight;
                }
            };
            read(tool.name, IN_NAME);
            read(tool.description.unwrap_or_default(), IN_DESCRIPTION);
            parameters(tool.schema.as_raw(), 0, &mut |name, description| {
                read(name, IN_PARAMETER);
                read(description, IN_PARAMETER_DESCRIPTION);
            });
            index.lengths.push(counts.values().sum());
            for (word, count) in counts {
                index.postings.entry(word).or_default().push((number, count));
            }
        }
        let many = index.lengths.len().max(1) as f64;
        index.mean_length = (index.lengths.iter().sum::<f64>() / many).max(1.0);
        index
    }

    /// The numbers of the tools that fit the query, the best first, of equals the first; at most `most`.
    pub fn search(&self, query: &str, most: usize) -> Vec<usize> {
        let mut wanted = words(query);
        wanted.retain(|word| !EMPTY.contains(&word.as_str()));
        let wanted: BTreeSet<String> = wanted.into_iter().take(MAX_QUERY_WORDS).collect();
        let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
        for word in &wanted {
            match self.postings.get(word) {
                Some(found) => self.score(found, 1.0, &mut scores),
                None => {
                    let alike = self.alike(word);
                    alike.iter().for_each(|found| self.score(found, BEGINS_ALIKE, &mut scores));
                }
            }
        }
        let mut ranked: Vec<(usize, f64)> = scores.into_iter().collect();
        ranked.sort_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
        ranked.into_iter().take(most).map(|(number, _)| number).collect()
    }

    fn score(&self, found: &[(usize, f64)], worth: f64, scores: &mut BTreeMap<usize, f64>) {
        let (all, having) = (self.lengths.len() as f64, found.len() as f64);
        let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
        for (number, count) in found {
            let length = self.lengths.get(*number).copied().unwrap_or_default();
            let damped = count + K1 * (1.0 - B + B * length / self.mean_length);
            *scores.entry(*number).or_default() += worth * rarity * count * (K1 + 1.0) / damped;
        }
    }

    /// Words that begin like one that no tool has, or with which it begins.
    fn alike(&self, word: &str) -> Vec<&[(usize, f64)]> {
        const LEAST: usize = 3;
        if word.chars().count() < LEAST {
            return Vec::new();
        }
        let longer = self.postings.range(word.to_owned()..);
        let longer = longer.take_while(|(known, _)| known.starts_with(word));
        let shorter = word.char_indices().skip(LEAST).filter_map(|(end, _)| {
            let known = word.get(..end)?;
            self.postings.get(known)
        });
        longer.map(|(_, found)| found).chain(shorter).map(Vec::as_slice).collect()
    }
}

/// The names that are most like one that does not exist, the best first: by the pairs of letters that both have.
pub fn closest<'n>(name: &str, known: impl Iterator<Item = &'n str>, most: usize) -> Vec<&'n str> {
    const LEAST: f64 = 0.3;
    let wanted = pairs(name);
    let alike = |known: &str| {
        let own = pairs(known);
        let all: usize = wanted.values().sum::<usize>() + own.values().sum::<usize>();
        let shared: usize = wanted
            .iter()
            .map(|(pair, times)| own.get(pair).map_or(0, |others| *times.min(others)))
            .sum();
        2.0 * shared as f64 / all.max(1) as f64
    };
    let mut ranked: Vec<(&str, f64)> =
        known.map(|known| (known, alike(known))).filter(|(_, alike)| *alike >= LEAST).collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    ranked.into_iter().take(most).map(|(known, _)| known).collect()
}

fn pairs(name: &str) -> HashMap<(char, char), usize> {
    let letters: Vec<char> = name.chars().take(256).flat_map(char::to_lowercase).collect();
    let mut pairs = HashMap::new();
    for (one, next) in letters.iter().zip(letters.iter().skip(1)) {
        *pairs.entry((*one, *next)).or_default() += 1;
    }
    pairs
}

/// Tells of every parameter of a schema, those of objects within it too: name and description.
fn parameters(schema: &RawValue, depth: usize, tell: &mut impl FnMut(&str, &str)) {
    let Some(fields) = Fields::of(schema).filter(|_| depth <= MAX_DEPTH) else { return };
    if let Some(properties) = fields.peek("properties").and_then(Fields::of) {
        for (name, property) in properties.iter() {
            let description = edit::text(&Json::of_raw(property), &["description"]);
            tell(name, description.as_deref().unwrap_or_default());
            parameters(property, depth + 1, tell);
        }
    }
    if let Some(items) = fields.peek("items") {
        parameters(items, depth + 1, tell);
    }
}

/// The words of a text, in one spelling: parts of names that are written together are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before: Option<char> = None;
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(in_one_spelling(std::mem::take(word)));
        }
    };
    for c in text.chars() {
        if !c.is_alphanumeric() {
            end(&mut word);
        } else if is_ideograph(c) {
            // Nothing stands between these words.
            end(&mut word);
            word.push(c);
            end(&mut word);
        } else {
            let is_hump = c.is_uppercase() && before.is_some_and(char::is_lowercase);
            if is_hump {
                end(&mut word);
            }
            word.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    end(&mut word);
    words
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..='\u{3ffff}')
}

/// Plurals and the forms of verbs that end alike are one word; only English, and only the plain cases.
fn in_one_spelling(word: String) -> String {
    if !word.is_ascii() || word.len() < 4 {
        return word;
    }
    let cut = |end: &str| word.strip_suffix(end).filter(|rest| rest.len() >= 3);
    if let Some(rest) = cut("ies") {
        return format!("{rest}y");
    }
    if let Some(rest) = cut("ing").or_else(|| cut("ed")) {
        return rest.strip_suffix('e').unwrap_or(rest).to_owned();
    }
    let rest = ["sses", "xes", "ches", "shes"].iter().any(|end| word.ends_with(end));
    let rest = if rest { cut("es") } else { cut("s").filter(|rest| !rest.ends_with('s')) };
    let rest = rest.unwrap_or(&word);
    rest.strip_suffix('e').filter(|rest| rest.len() >= 3).unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tools() -> Vec<(&'static str, &'static str, Json)> {
        let schema =
            |properties: Value| Json::of(&json!({ "type": "object", "properties": properties }));
        vec![
            ("db-list_schemas", "Lists the schemas of the database.", schema(json!({}))),
            (
                "db-run_query",
                "Runs a statement.",
                schema(
                    json!({ "sql": { "type": "string", "description": "One SELECT statement" } }),
                ),
            ),
            ("time-getCurrentTime", "Tells what time it is.", schema(json!({ "timezone": {} }))),
            (
                "mail-send",
                "Sends a message.",
                schema(
                    json!({ "to": { "items": { "properties": { "address": {} } } }, "text": {} }),
                ),
            ),
            ("files-search", "ファイルを検索します", schema(json!({}))),
        ]
    }

    #[track_caller]
    fn check(query: &str, expected: &[&str]) {
        let tools = tools();
        let described = tools.iter().map(|(name, description, schema)| Described {
            name,
            description: Some(description),
            schema,
        });
        let found = Index::of(described).search(query, 2);
        let found: Vec<&str> = found.into_iter().map(|number| tools[number].0).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn tools_are_found_by_what_they_are_called_and_do() {
        check("list schemas", &["db-list_schemas"]);
        check("which schema is there", &["db-list_schemas"]);
        check("current time", &["time-getCurrentTime"]);
        check("timezones", &["time-getCurrentTime"]);
        check("select something", &["db-run_query"]);
        check("the address", &["mail-send"]);
        check("sending messages", &["mail-send"]);
        check("検索", &["files-search"]);
        check("", &[]);
        check("zebra", &[]);
    }

    #[test]
    fn words_that_no_tool_has_are_taken_for_beginnings() {
        check("datab", &["db-list_schemas"]);
        check("currently", &["time-getCurrentTime"]);
        check("qu", &[]);
    }

    #[test]
    fn of_equals_the_first_comes_first() {
        let schema = Json::empty_object();
        let described =
            || (0..50).map(|_| Described { name: "a_tool", description: None, schema: &schema });
        let expected: Vec<usize> = (0..10).collect();
        assert_eq!(Index::of(described()).search("tool", 10), expected);
        assert!(Index::of(std::iter::empty()).search("tool", 10).is_empty());
    }

    #[test]
    fn names_that_are_alike_are_found() {
        let names = ["db-list_schemas", "db-list_tables", "mail-send"];
        let alike = |name: &str| closest(name, names.into_iter(), 2);
        assert_eq!(alike("list_schema"), ["db-list_schemas", "db-list_tables"]);
        assert_eq!(alike("sendMail"), ["mail-send"]);
        assert!(alike("zzz").is_empty());
    }

    #[test]
    fn spellings_of_a_word_are_one() {
        for (one, other) in [
            ("queries", "query"),
            ("tables", "table"),
            ("searches", "search"),
            ("listed", "listing"),
            ("creates", "creating"),
            ("classes", "class"),
        ] {
            assert_eq!(words(one), words(other), "{one}");
        }
        assert_eq!(words("getHTTPUrl_x2"), ["get", "httpurl", "x2"]);
    }
}
