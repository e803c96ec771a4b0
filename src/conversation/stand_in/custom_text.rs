//! A custom tool's text out of the arguments of the function that plays it, as they come. A model that obeys
//! answers `{"input": "…"}`, and the text is there at once, character by character. One that does not may
//! answer with the raw text, with another key, or with a bare JSON string: the text is found all the same,
//! at the latest at the end. Cuts make no difference.

use serde_json::Value;

/// Half of a pair without the other.
const LONE: char = '\u{fffd}';

/// The beginning is known for what it is by then.
const LONGEST_BEGINNING: usize = 256;

/// The arguments of one call, being unwrapped.
#[derive(Debug, Default)]
pub(super) struct CustomText {
    state: State,
    /// What has been read and not yet told: the beginning, until it is clear what it is.
    held: String,
}

#[derive(Debug, Default)]
enum State {
    /// Only the beginning of `{"input": "` so far.
    #[default]
    Beginning,
    /// Within the string; `Some`: within an escape.
    Text(Option<Escape>),
    /// Behind the string: nothing more counts.
    Done,
    /// Not our object at all: the text itself.
    Raw,
    /// JSON of another shape, perhaps: seen to at the end.
    Whole,
}

/// What of an escape has come. `high`: the first half of a pair, which waits for its second.
#[derive(Debug)]
enum Escape {
    /// Only the backslash.
    Backslash { high: Option<u16> },
    /// `\u` and some of its digits.
    Digits { digits: String, high: Option<u16> },
    /// A whole first half.
    High(u16),
}

/// What the held beginning is.
enum Seen {
    /// It may become anything yet.
    Open,
    /// All of `{"input": "`.
    Ours,
    Raw,
    Whole,
}

impl CustomText {
    /// Takes more of the arguments and adds the text they hold to `out`.
    pub(super) fn push(&mut self, arguments: &str, out: &mut String) {
        for c in arguments.chars() {
            self.take(c, out);
        }
    }

    /// The arguments are complete, or will never be.
    pub(super) fn finish(&mut self, out: &mut String) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Text(Some(escape)) => escape.cut_short(out),
            State::Beginning | State::Whole => {
                out.push_str(&whole(&std::mem::take(&mut self.held)))
            }
            _ => {}
        }
    }

    fn take(&mut self, c: char, out: &mut String) {
        match &mut self.state {
            State::Beginning => {
                self.held.push(c);
                match look(&self.held) {
                    Seen::Open if self.held.len() < LONGEST_BEGINNING => {}
                    Seen::Open => self.state = State::Whole,
                    Seen::Ours => {
                        self.held.clear();
                        self.state = State::Text(None);
                    }
                    Seen::Raw => {
                        out.push_str(&std::mem::take(&mut self.held));
                        self.state = State::Raw;
                    }
                    Seen::Whole => self.state = State::Whole,
                }
            }
            State::Text(escape) => match escape.take() {
                Some(begun) => self.state = begun.take(c, out),
                None => self.state = Escape::plain(c, out),
            },
            State::Done => {}
            State::Raw => out.push(c),
            State::Whole => self.held.push(c),
        }
    }
}

impl Escape {
    /// Takes the next character, and says where that leads.
    fn take(self, c: char, out: &mut String) -> State {
        match self {
            Self::Backslash { high } if c == 'u' => {
                State::Text(Some(Self::Digits { digits: String::new(), high }))
            }
            Self::Backslash { high } => {
                out.extend(high.map(|_| LONE));
                Self::simple(c, out)
            }
            Self::High(high) if c == '\\' => {
                State::Text(Some(Self::Backslash { high: Some(high) }))
            }
            Self::High(_) => {
                out.push(LONE);
                Self::plain(c, out)
            }
            Self::Digits { mut digits, high } if c.is_ascii_hexdigit() => {
                digits.push(c);
                if digits.len() < 4 {
                    return State::Text(Some(Self::Digits { digits, high }));
                }
                Self::unit(u16::from_str_radix(&digits, 16).unwrap_or_default(), high, out)
            }
            // Broken: told as it stands.
            Self::Digits { digits, high } => {
                out.extend(high.map(|_| LONE));
                out.push_str("\\u");
                out.push_str(&digits);
                Self::plain(c, out)
            }
        }
    }

    /// A character outside of escapes.
    fn plain(c: char, out: &mut String) -> State {
        match c {
            '"' => return State::Done,
            '\\' => return State::Text(Some(Self::Backslash { high: None })),
            c => out.push(c),
        }
        State::Text(None)
    }

    /// One UTF-16 unit is complete.
    fn unit(unit: u16, high: Option<u16>, out: &mut String) -> State {
        if high.is_none() && (0xd800..0xdc00).contains(&unit) {
            return State::Text(Some(Self::High(unit)));
        }
        let units = high.into_iter().chain([unit]);
        out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(LONE)));
        State::Text(None)
    }

    /// Nothing more comes.
    fn cut_short(self, out: &mut String) {
        let (Self::Backslash { high } | Self::Digits { high, .. }) = self else {
            return out.push(LONE);
        };
        out.extend(high.map(|_| LONE));
    }

    fn simple(c: char, out: &mut String) -> State {
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '"' | '\\' | '/' => out.push(c),
            // No escape JSON knows (models write `\d` of a regular expression): as it stands.
            c => out.extend(['\\', c]),
        }
        State::Text(None)
    }
}

/// Reads the beginning as far as it goes.
fn look(held: &str) -> Seen {
    let rest = held.trim_start();
    if rest.is_empty() {
        return Seen::Open;
    }
    if rest.starts_with('"') {
        return Seen::Whole;
    }
    let Some(rest) = rest.strip_prefix('{') else { return Seen::Raw };
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Seen::Open;
    }
    const KEY: &str = "\"input\"";
    let Some(rest) = rest.strip_prefix(KEY) else {
        return match rest {
            open if KEY.starts_with(open) => Seen::Open,
            other if other.starts_with(['"', '}']) => Seen::Whole,
            _ => Seen::Raw,
        };
    };
    let rest = rest.trim_start();
    let Some(value) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Seen::Open } else { Seen::Raw };
    };
    match value.trim_start() {
        "" => Seen::Open,
        "\"" => Seen::Ours,
        _ => Seen::Whole,
    }
}

/// The text that complete arguments of an odd shape mean.
fn whole(arguments: &str) -> String {
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match serde_json::from_str(arguments) {
        Ok(Value::String(text)) => text,
        Ok(Value::Object(mut members)) => {
            if let Some(input) = members.remove("input") {
                return text(input);
            }
            let only = members.values().next().filter(|_| members.len() == 1);
            match only {
                Some(Value::String(only)) => only.clone(),
                None if members.is_empty() => String::new(),
                _ => arguments.to_owned(),
            }
        }
        _ => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unwrapped(pieces: &[&str]) -> String {
        let (mut text, mut out) = (CustomText::default(), String::new());
        pieces.iter().for_each(|piece| text.push(piece, &mut out));
        text.finish(&mut out);
        out
    }

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        assert_eq!(unwrapped(&[arguments]), expected, "{arguments}");
        let single: Vec<String> = arguments.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(unwrapped(&single), expected, "{arguments}, in single characters");
    }

    #[test]
    fn what_models_answer() {
        check(r#"{"input":"a\n\"b\" \\ \/ \u00e9 \ud83d\ude00 é"}"#, "a\n\"b\" \\ / é 😀 é");
        check("  {\n \"input\" : \"x\" , \"other\": 1 }  ", "x");
        check("*** Begin Patch\n*** End Patch", "*** Begin Patch\n*** End Patch");
        check("  indented", "  indented");
        check(r#"{"patch":"a\nb"}"#, "a\nb");
        check(r#"{"why":1,"input":"late"}"#, "late");
        check(r#"{"a":"x","b":"y"}"#, r#"{"a":"x","b":"y"}"#);
        check(r#"{"input":{"deep":1}}"#, r#"{"deep":1}"#);
        check(r#"{"input":null}"#, "");
        check("{}", "");
        check("", "");
        check(r#""bare\tstring""#, "bare\tstring");
        check(r#""use strict"; text()"#, r#""use strict"; text()"#);
        check("{ let x = 1; }", "{ let x = 1; }");
        check(r#"{"input" = 3}"#, r#"{"input" = 3}"#);
    }

    #[test]
    fn broken_answers_lose_nothing_that_was_said() {
        check(r#"{"input":"cut sho"#, "cut sho");
        check(r#"{"input":"cut \"#, "cut ");
        check(r#"{"input":"\d+ \x"}"#, r"\d+ \x");
        check(r#"{"input":"\u12"}"#, r"\u12");
        check(r#"{"input":"\ud83d and"}"#, "\u{fffd} and");
        check(r#"{"input":"\ud83d"}"#, "\u{fffd}");
        check(r#"{"input":"\ud83d\n"}"#, "\u{fffd}\n");
        check(r#"{"input":"\ud83d"#, "\u{fffd}");
        check("{\"input\":\"raw\nbreak\"}", "raw\nbreak");
        check(r#"{"inpu"#, r#"{"inpu"#);
    }

    #[test]
    fn the_text_is_told_as_it_comes() {
        let (mut text, mut out) = (CustomText::default(), String::new());
        text.push(r#"{"input":"abc"#, &mut out);
        assert_eq!(out, "abc");
    }

    proptest! {
        #[test]
        fn wrapping_is_undone(input in any::<String>(), size in 1_usize..7) {
            let arguments = super::super::schema::custom_arguments(&input);
            let all: Vec<char> = arguments.chars().collect();
            let pieces: Vec<String> = all.chunks(size).map(|piece| piece.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(unwrapped(&pieces), input);
        }

        #[test]
        fn cuts_make_no_difference(arguments in r#"[{}"\\u0-9dn:inputx ,\u{e9}]{0,40}"#, cut in 0_usize..40) {
            let at = arguments.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(arguments.len());
            let (first, second) = arguments.split_at(at);
            prop_assert_eq!(unwrapped(&[first, second]), unwrapped(&[&arguments]));
        }
    }
}
