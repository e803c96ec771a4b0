//! JSON laid out for the eye with every token as it stood: numbers keep their spelling, members their order,
//! repeated names both show.

/// No line of a body is longer, where a single token does not make it so.
const WIDTH: usize = 110;

/// The same for events, of which there are many.
const EVENT_WIDTH: usize = 180;

enum Node<'t> {
    Token(&'t str),
    Object(Vec<(&'t str, Self)>),
    List(Vec<Self>),
}

/// The text laid out; what is no JSON stays as it is, with a word in front that says so.
pub(super) fn json(text: &str) -> String {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return format!("NOT JSON ({error}): {text:?}");
    }
    let node = node(&mut &*text);
    let mut out = String::new();
    write(&node, 0, 0, WIDTH, &mut out);
    out
}

/// A stream of server-sent events: each with its name and its data laid out. What an event repeats of the one
/// before is `…`.
pub(super) fn events(text: &str) -> String {
    let mut out = String::new();
    let mut before = Vec::new();
    for event in text.split_inclusive("\n\n") {
        let Some(event) = event.strip_suffix("\n\n") else {
            return format!("{out}NOT ENDED: {event:?}\n");
        };
        let mut lines = event.split('\n').peekable();
        if let Some(name) = lines.next_if(|line| line.starts_with("event: ")) {
            out.push_str(name);
            out.push('\n');
        }
        for line in lines {
            match line.strip_prefix("data: ") {
                Some("[DONE]") | None => out.push_str(line),
                Some(data) => out.push_str(&format!("data: {}", repeating(data, &mut before))),
            }
            out.push('\n');
        }
    }
    out
}

/// Members of an event: name and value.
type Members<'t> = Vec<(&'t str, String)>;

/// One event's data, without what it repeats: the members it begins with as the one before did, and long ones.
fn repeating<'t>(text: &'t str, before: &mut Members<'t>) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return json(text);
    }
    let Node::Object(members) = node(&mut &*text) else { return json(text) };
    let spelled: Members<'t> =
        members.iter().map(|(name, value)| (*name, flattened(value))).collect();
    let mut shown = Vec::new();
    let mut leading = true;
    for (member, spelled) in members.into_iter().zip(&spelled) {
        let is_repeated = before.contains(spelled);
        leading &= is_repeated;
        if !leading {
            let is_long = spelled.1.len() > 60;
            let value = if is_repeated && is_long { Node::Token("…") } else { member.1 };
            shown.push((member.0, value));
        }
    }
    let skipped = shown.len() < spelled.len();
    *before = spelled;
    let mut out = String::new();
    write(&Node::Object(shown), 0, 6, EVENT_WIDTH, &mut out);
    if skipped && out.starts_with("{\n") {
        out.insert_str(1, "…,");
    } else if skipped {
        out.insert_str(1, "…, ");
    }
    out
}

fn node<'t>(rest: &mut &'t str) -> Node<'t> {
    skip(rest, " \t\r\n");
    match rest.as_bytes().first() {
        Some(b'{') => {
            let mut members = Vec::new();
            while open(rest, '}') {
                let name = token(rest);
                skip(rest, " \t\r\n:");
                members.push((name, node(rest)));
            }
            Node::Object(members)
        }
        Some(b'[') => {
            let mut items = Vec::new();
            while open(rest, ']') {
                items.push(node(rest));
            }
            Node::List(items)
        }
        _ => Node::Token(token(rest)),
    }
}

/// Steps over an opening bracket or a comma; false at the closing one, which is passed too.
fn open(rest: &mut &str, close: char) -> bool {
    let opened = rest.starts_with(['{', '[']);
    if opened {
        *rest = &rest[1..];
    }
    skip(rest, if opened { " \t\r\n" } else { " \t\r\n," });
    if let Some(after) = rest.strip_prefix(close) {
        *rest = after;
        return false;
    }
    true
}

fn token<'t>(rest: &mut &'t str) -> &'t str {
    let bytes = rest.as_bytes();
    let mut end = 1;
    if bytes[0] == b'"' {
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        end += 1;
    } else {
        let stops = |byte: &u8| b",]}: \t\r\n".contains(byte);
        end = bytes.iter().position(stops).unwrap_or(bytes.len());
    }
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

fn skip(rest: &mut &str, these: &str) {
    *rest = rest.trim_start_matches(|c| these.contains(c));
}

fn flattened(node: &Node<'_>) -> String {
    let mut out = String::new();
    flat(node, &mut out);
    out
}

fn flat(node: &Node<'_>, out: &mut String) {
    match node {
        Node::Token(token) => out.push_str(token),
        Node::Object(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                out.push_str(name);
                out.push_str(": ");
                flat(value, out);
            }
            out.push('}');
        }
        Node::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                flat(item, out);
            }
            out.push(']');
        }
    }
}

/// `before` counts what stands on the line already.
fn write(node: &Node<'_>, indent: usize, before: usize, width: usize, out: &mut String) {
    let line = flattened(node);
    if before + line.len() <= width {
        out.push_str(&line);
        return;
    }
    let inner = " ".repeat(indent + 2);
    match node {
        Node::Token(token) => out.push_str(token),
        Node::Object(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&inner);
                out.push_str(name);
                out.push_str(": ");
                write(value, indent + 2, indent + 4 + name.len(), width, out);
            }
            out.push_str(&format!("\n{}}}", &inner[2..]));
        }
        Node::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&inner);
                write(item, indent + 2, indent + 2, width, out);
            }
            out.push_str(&format!("\n{}]", &inner[2..]));
        }
    }
}

#[test]
fn tokens_stay_as_they_are() {
    let long = "x".repeat(120);
    let text = format!(r#" {{"a" : 1.0e2,"a":[ ],"b":{{}}, "c":["q\"}}",null , "{long}"]}}"#);
    let expected = format!(
        "{{\n  \"a\": 1.0e2,\n  \"a\": [],\n  \"b\": {{}},\n  \"c\": [\n    \"q\\\"}}\",\n    null,\n    \"{long}\"\n  ]\n}}"
    );
    assert_eq!(json(&text), expected);
    assert!(json("{").starts_with("NOT JSON"));
}
