//! The mock's hand with tools: it picks the offered tool whose name and description share the most words with what the user
//! said. Where the user asks for two things, and two tools fit them well, it picks both.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::arguments;

/// A tool as the request offers it.
#[derive(Clone, Debug)]
pub(super) struct Tool<'r> {
    pub(super) name: &'r str,
    description: &'r str,
    pub(super) parameters: Option<&'r Value>,
}

/// The function tools of a request.
pub(super) fn offered(request: &Map<String, Value>) -> Vec<Tool<'_>> {
    let tools = request.get("tools").and_then(Value::as_array);
    let functions = tools.into_iter().flatten().filter_map(|tool| {
        let function = tool.get("function")?;
        Some(Tool {
            name: function.get("name")?.as_str()?,
            description: function.get("description").and_then(Value::as_str).unwrap_or_default(),
            parameters: function.get("parameters"),
        })
    });
    functions.collect()
}

/// Shared words from which on a tool fits well: one in its name, or two in its description.
const FITS: usize = 2;
/// Calls of one turn, and the parts of a text that may be one.
const MAX_CALLS: usize = 8;
const MAX_PARTS: usize = 32;
/// Words that say nothing about a tool.
const EMPTY: [&str; 14] = [
    "and", "any", "are", "can", "for", "from", "has", "that", "the", "then", "this", "what",
    "with", "you",
];

/// The tools to call, each with the words it is called for: the one `tool_choice` names, else the best match for the text,
/// or for each part of it; none where tools are forbidden or none is offered.
pub(super) fn choose<'r>(request: &'r Map<String, Value>, text: &str) -> Vec<(Tool<'r>, String)> {
    let choice = request.get("tool_choice");
    if choice.and_then(Value::as_str) == Some("none") {
        return Vec::new();
    }
    let named = choice.and_then(|choice| choice.pointer("/function/name")).and_then(Value::as_str);
    let mut tools = offered(request);
    tools.retain(|tool| named.is_none_or(|name| tool.name == name));
    let known: Vec<Known> = tools.iter().map(Known::of).collect();
    let mut chosen: Vec<(usize, String)> = Vec::new();
    if request.get("parallel_tool_calls") != Some(&Value::Bool(false)) {
        for part in parts(text).into_iter().take(MAX_PARTS) {
            let fit = best(&known, &part).filter(|(_, score)| *score >= FITS);
            let fit = fit.filter(|(at, _)| chosen.iter().all(|(other, _)| other != at));
            chosen.extend(fit.map(|(at, _)| (at, part)));
        }
    }
    if chosen.len() < 2 {
        chosen = best(&known, text).map(|(at, _)| (at, text.to_owned())).into_iter().collect();
    }
    let taken = chosen.into_iter().take(MAX_CALLS);
    taken.filter_map(|(at, words)| Some((tools.get(at)?.clone(), words))).collect()
}

/// A tool's words.
struct Known {
    name: Vec<String>,
    description: Vec<String>,
}

impl Known {
    fn of(tool: &Tool<'_>) -> Self {
        Self { name: telling(tool.name), description: telling(tool.description) }
    }
}

fn telling(text: &str) -> Vec<String> {
    let mut words = words(text);
    words.retain(|word| !EMPTY.contains(&word.as_str()));
    words
}

/// The tool that fits best, and how well.
fn best(tools: &[Known], text: &str) -> Option<(usize, usize)> {
    let wanted: HashSet<String> = telling(text).into_iter().collect();
    let shares = |of: &[String]| of.iter().filter(|word| wanted.contains(*word)).count();
    let scores = tools.iter().map(|tool| 2 * shares(&tool.name) + shares(&tool.description));
    // Of equals the first wins, so that the same request gives the same answer.
    scores.enumerate().max_by_key(|(at, score)| (*score, std::cmp::Reverse(*at)))
}

/// The things that a text asks for: what stands between `and`, `;` and the ends of lines and sentences, outside quotes.
fn parts(text: &str) -> Vec<String> {
    let quoted = arguments::quoted(text);
    let is_quoted = |at: usize| quoted.iter().any(|range| range.contains(&at));
    let mut parts = vec![String::new()];
    let mut begin = |word: &str, ends: bool, at: usize| {
        let is_and = word.trim().eq_ignore_ascii_case("and") && !is_quoted(at);
        if let Some(last) = parts.last_mut().filter(|_| !is_and) {
            last.push_str(word);
        }
        if is_and || (ends && !is_quoted(at)) {
            parts.push(String::new());
        }
    };
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let end = word.trim_end();
        let ends = end.ends_with([';', '.', '!', '?']) || word.ends_with(['\n', '\r']);
        begin(word, ends, at);
        at += word.len();
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 2)
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(names: &[&str]) -> Map<String, Value> {
        let tools =
            names.iter().map(|name| json!({ "type": "function", "function": { "name": name } }));
        Map::from_iter([("tools".to_owned(), tools.collect())])
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let request = request(&["list_schemas", "get_time", "get_weather"]);
        let chosen = choose(&request, text);
        let chosen: Vec<(&str, &str)> =
            chosen.iter().map(|(tool, words)| (tool.name, words.as_str())).collect();
        assert_eq!(chosen, expected);
    }

    #[test]
    fn the_best_match_is_called() {
        check("What is the weather?", &[("get_weather", "What is the weather?")]);
        check("hi", &[("list_schemas", "hi")]);
    }

    #[test]
    fn two_things_are_two_calls() {
        let both = [("list_schemas", "List schemas"), ("get_time", "get the time")];
        check("List schemas and get the time", &both);
        check("List schemas\nget the time", &both);
        check(
            "get weather in \"Oslo and schemas\"",
            &[("get_weather", "get weather in \"Oslo and schemas\"")],
        );
        check("List schemas; get the time", &[("list_schemas", "List schemas;"), both[1]]);
        check("List schemas and more", &[("list_schemas", "List schemas and more")]);
        check("the time and then the time", &[("get_time", "the time and then the time")]);
    }

    #[test]
    fn tool_choice_is_obeyed() {
        let mut body = request(&["a", "b"]);
        let name = |body: &Map<String, Value>, text: &str| {
            choose(body, text).first().map(|(tool, _)| tool.name.to_owned())
        };
        assert_eq!(name(&body, "").as_deref(), Some("a"));
        body.insert(
            "tool_choice".into(),
            json!({ "type": "function", "function": { "name": "b" } }),
        );
        assert_eq!(name(&body, "").as_deref(), Some("b"));
        body.insert("tool_choice".into(), "none".into());
        assert!(name(&body, "").is_none());
        let mut body = request(&["list_schemas", "get_time"]);
        body.insert("parallel_tool_calls".into(), false.into());
        assert_eq!(choose(&body, "list schemas and get time").len(), 1);
    }
}
