//! Characters that nobody sees and a model reads: what an instruction hides in. A tool's text comes from its server, and
//! people judge it by what their screen shows.

use serde_json::value::RawValue;

use super::pin;
use crate::conversation::Json;
use crate::wire::fields::{Fields, as_string, listed};

/// Places told of one text; the rest is counted.
const TOLD: usize = 4;
/// As deep as a definition is looked into. What lies deeper is told as such.
const MAX_DEPTH: usize = 128;

/// The invisible and direction-changing characters of a text, with their byte offsets.
///
/// These are the control characters but for tab and line ends, what Unicode calls default-ignorable (zero-width spaces
/// and joiners, byte order marks, soft hyphens, fillers, tags, variation selectors), the marks, embeddings, overrides and
/// isolates of bidirectional text, and the interlinear marks. Left out is what ordinary writing needs: a joiner inside
/// an emoji or between letters of a script that has joiners, and one variation selector behind a character that can have
/// one.
pub fn suspicious(text: &str) -> Vec<(usize, char)> {
    let mut found = Vec::new();
    let mut before = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|(_, after)| *after);
        let stands_out = is_hidden(c) && !is_ordinary(before, c, after);
        if stands_out {
            found.push((at, c));
        }
        before = (!stands_out).then_some(c);
    }
    found
}

/// Where a tool's definition has such characters: the path of each text, with the first few of them. Looked at is every
/// text that a client may show to a model: names, titles, descriptions, and all of the schemas with the names of their
/// members. `_meta` and `icons` are passed over.
pub fn suspicious_in(tool: &Json) -> Vec<String> {
    let mut found = Vec::new();
    match pin::members_of(tool) {
        Some(members) => {
            for (name, value) in members {
                look_at_member("", &name, value, 1, &mut found);
            }
        }
        None => look(tool.as_raw(), "", 0, &mut found),
    }
    found
}

/// A text in which such characters are written out: `\u{200b}`.
pub fn made_visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, c) in suspicious(text) {
        out.push_str(text.get(copied..at).unwrap_or_default());
        out.extend(c.escape_unicode());
        copied = at + c.len_utf8();
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

fn look(value: &RawValue, path: &str, depth: usize, found: &mut Vec<String>) {
    if depth >= MAX_DEPTH {
        found.push(format!("{path}: nested too deeply to be looked at"));
    } else if let Some(text) = as_string(value) {
        tell(path, &text, found);
    } else if let Some(fields) = Fields::of(value) {
        for (name, value) in fields.iter() {
            look_at_member(path, name, value, depth + 1, found);
        }
    } else if let Some(items) = listed(value) {
        for (at, value) in items.into_iter().enumerate() {
            look(value, &format!("{path}[{at}]"), depth + 1, found);
        }
    }
}

fn look_at_member(path: &str, name: &str, value: &RawValue, depth: usize, found: &mut Vec<String>) {
    let path = pin::joined(path, name);
    tell(&format!("the name of {path}"), name, found);
    look(value, &path, depth, found);
}

fn tell(path: &str, text: &str, found: &mut Vec<String>) {
    let places = suspicious(text);
    if places.is_empty() {
        return;
    }
    let first = places.iter().take(TOLD);
    let told: Vec<String> =
        first.map(|(at, c)| format!("U+{:04X} at byte {at}", u32::from(*c))).collect();
    let more = match places.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    found.push(format!("{path}: {}{more}", told.join(", ")));
}

fn is_hidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        _ if c.is_control() => true,
        // Soft hyphen, grapheme joiner, Arabic letter mark, Hangul and Khmer fillers, Mongolian selectors.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' => true,
        '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' => true,
        // Zero width, direction, line separators, invisible operators, isolates.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // Fillers, variation selectors, byte order mark, interlinear marks.
        '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' => true,
        // Shorthand and musical formats, tags, more selectors.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

/// Whether a hidden character stands where ordinary writing has it.
fn is_ordinary(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match c {
        // Families and professions are emojis joined; Persian and the scripts of India have joiners in words.
        '\u{200c}' | '\u{200d}' => {
            let joins_emojis = c == '\u{200d}'
                && (is_emoji(before) || before == '\u{fe0f}')
                && after.is_some_and(is_emoji);
            let has_joiners = |c: char| matches!(c, '\u{600}'..='\u{109f}') && !is_hidden(c);
            joins_emojis || (has_joiners(before) && after.is_some_and(has_joiners))
        }
        '\u{fe0e}' | '\u{fe0f}' => {
            is_emoji(before) || matches!(before, '0'..='9' | '#' | '*' | '©' | '®' | '‼' | '⁉')
        }
        '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => {
            matches!(before, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        }
        _ => false,
    }
}

/// Roughly: arrows, symbols, dingbats and the planes of pictures, with the tones of skin.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{2100}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, char)]) {
        assert_eq!(suspicious(text), expected, "{text:?}");
    }

    #[test]
    fn hidden_characters_are_found() {
        check("a\u{200b}b\u{feff}", &[(1, '\u{200b}'), (5, '\u{feff}')]);
        check("\u{202e}gpj\u{202c}", &[(0, '\u{202e}'), (6, '\u{202c}')]);
        for c in ['\u{2066}', '\u{2069}', '\u{200e}', '\u{200f}', '\u{61c}', '\u{ad}', '\u{2060}'] {
            check(&format!("x{c}"), &[(1, c)]);
        }
        for c in ['\u{e0041}', '\u{e0001}', '\u{3164}', '\u{0}', '\u{1b}', '\u{85}', '\u{fff9}'] {
            check(&format!("x{c}"), &[(1, c)]);
        }
    }

    #[test]
    fn ordinary_writing_is_not() {
        for text in [
            "tabs\tand\r\nlines",
            "größe, Ελληνικά, 日本語, עברית, العربية",
            "\u{1f468}\u{200d}\u{1f4bb} and \u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "\u{1f44d}\u{1f3fd}\u{200d}\u{2642}\u{fe0f} 1\u{fe0f}\u{20e3} ✔\u{fe0f} ©\u{fe0f}",
            "می\u{200c}خواهم क्\u{200d}ष",
            "葛\u{e0100}",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn selectors_and_joiners_in_excess_are() {
        check("a\u{fe0f}", &[(1, '\u{fe0f}')]);
        check("\u{2764}\u{fe0f}\u{fe0f}", &[(6, '\u{fe0f}')]);
        check("a\u{e0150}", &[(1, '\u{e0150}')]);
        check("a\u{200d}b", &[(1, '\u{200d}')]);
        check("\u{200d}", &[(0, '\u{200d}')]);
    }

    #[test]
    fn a_definition_is_searched_through() {
        let tool = serde_json::json!({
            "name": "a\u{200b}",
            "title": "fine",
            "description": "x\u{202e}\u{202e}\u{202e}\u{202e}\u{202e}",
            "inputSchema": {"properties": {"p\u{feff}": {"description": "\u{ad}"}, "e": {"enum": ["", "\u{0}"]}}},
            "_meta": {"x": "\u{200b}"},
            "icons": ["\u{200b}"],
        });
        let found = suspicious_in(&Json::of(&tool));
        assert_eq!(
            found,
            [
                "description: U+202E at byte 1, U+202E at byte 4, U+202E at byte 7, U+202E at byte 10 and 1 more",
                "the name of inputSchema.properties[\"p\\u{feff}\"]: U+FEFF at byte 1",
                "inputSchema.properties[\"p\\u{feff}\"].description: U+00AD at byte 0",
                "inputSchema.properties.e.enum[1]: U+0000 at byte 0",
                "name: U+200B at byte 1",
            ]
        );
    }

    #[test]
    fn depth_is_told_not_followed() {
        let deep = ["{\"name\":", &"[".repeat(5000), &"]".repeat(5000), "}"].concat();
        let found = suspicious_in(&Json::parse(deep).expect("JSON"));
        assert!(found.concat().ends_with("nested too deeply to be looked at"));
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn made_visible_has_none_left(text in "[ -~\u{200b}\u{fe0f}\u{1f468}\u{200d}\u{e0100}葛]{0,20}") {
            let shown = made_visible(&text);
            prop_assert_eq!(suspicious(&shown), vec![]);
        }

        #[test]
        fn offsets_point_at_the_characters(text in any::<String>()) {
            for (at, c) in suspicious(&text) {
                prop_assert!(text.get(at..).is_some_and(|rest| rest.starts_with(c)));
            }
        }
    }
}
