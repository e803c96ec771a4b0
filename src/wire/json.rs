//! One pass over a JSON object: the whole text is checked against RFC 8259, and the byte range of
//! every top-level member is reported on the way. No tree is built, nothing is copied, so a large
//! body costs a scan and not a parse. Nesting is bounded; recursion is not used.

use std::fmt;
use std::ops::Range;

/// Deepest nesting accepted: what serde_json allows, and far above what any API needs.
pub const MAX_DEPTH: usize = 128;

/// Words of a string that are looked at one by one.
const SHORT_WORDS: usize = 4;
/// Bytes that are checked for control characters at once.
const BLOCK: usize = 64;

/// One top-level member, as byte ranges of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Without its quotation marks, escapes not decoded.
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// Why a text is not a JSON object, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte offset.
    pub at: usize,
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Checks that `text` is one JSON object and hands every top-level member to `visit`, in order.
///
/// # Errors
/// The first place at which the text stops being a JSON object: not UTF-8, not an object, a broken
/// string, number or literal, deeper than [`MAX_DEPTH`], or followed by something else.
pub fn scan_object(text: &[u8], mut visit: impl FnMut(Member)) -> Result<(), Malformed> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Malformed { at: error.valid_up_to(), what: "the text is not UTF-8" });
    }
    let mut scan = Scan { text, at: 0 };
    scan.spaces();
    if text.starts_with(b"\xef\xbb\xbf") {
        return scan.fail("the text begins with a byte-order mark; leave it out:");
    }
    if !scan.take(b'{') {
        return scan.fail("expected a JSON object");
    }
    scan.spaces();
    if !scan.take(b'}') {
        loop {
            let key = scan.key()?;
            let start = scan.at;
            scan.value()?;
            visit(Member { key, value: start..scan.at });
            scan.spaces();
            if scan.take(b'}') {
                break;
            }
            if !scan.take(b',') {
                return scan.fail("expected `,` or `}`");
            }
            scan.spaces();
        }
    }
    scan.spaces();
    if scan.at < text.len() {
        return scan.fail("expected the end of the text");
    }
    Ok(())
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, Malformed> {
        let what = if self.at >= self.text.len() { "the text ends too early" } else { what };
        Err(Malformed { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// A member's key, the colon and the spaces around it; leaves the cursor at the value.
    fn key(&mut self) -> Result<Range<usize>, Malformed> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a quoted key");
        }
        let start = self.at + 1;
        self.string()?;
        let key = start..self.at - 1;
        self.spaces();
        if !self.take(b':') {
            return self.fail("expected `:`");
        }
        self.spaces();
        Ok(key)
    }

    /// Any value. Open containers are kept as bits (1: object), so nesting costs no recursion.
    fn value(&mut self) -> Result<(), Malformed> {
        let mut objects: u128 = 0;
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    // The outermost object counts too.
                    if depth + 2 > MAX_DEPTH {
                        return self.fail("nested too deeply (128 levels are allowed)");
                    }
                    self.at += 1;
                    self.spaces();
                    let is_object = open == b'{';
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        depth += 1;
                        objects = (objects << 1) | u128::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return self.fail("expected a JSON value"),
            }
            // A value is complete: close what it closes, or go on to its sibling.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                self.spaces();
                if self.take(b',') {
                    self.spaces();
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                if !self.take(if is_object { b'}' } else { b']' }) {
                    return self.fail("expected `,` or the closing bracket");
                }
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            let digits = self.text.get(self.at + 1..self.at + 5);
                            if !digits.is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit)) {
                                return self.fail("expected four hexadecimal digits");
                            }
                            self.at += 5;
                        }
                        _ => return self.fail("unknown escape in a string"),
                    }
                }
                _ => return self.fail("control character in a string; escape it:"),
            }
        }
    }

    /// Moves over bytes that need no look of their own: the first few a word at a time, as most strings
    /// are short, and what is longer with vector instructions.
    fn plain_run(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        const HIGH: u64 = ONES << 7;
        for _ in 0..SHORT_WORDS {
            let Some(Ok(word)) = self.text.get(self.at..self.at + 8).map(<[u8; 8]>::try_from)
            else {
                break;
            };
            let word = u64::from_le_bytes(word);
            let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
            let quote = has_zero(word ^ (ONES * u64::from(b'"')));
            let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
            // A borrow can only raise false marks above a true one, so the lowest mark is true.
            let marks = quote | backslash | control;
            if marks != 0 {
                self.at += (marks.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let run = rest.get(..end).unwrap_or_default();
        // Whole blocks without a branch inside, which the compiler turns into vector instructions.
        let clean = |block: &&[u8]| !block.iter().fold(false, |found, &byte| found | (byte < 0x20));
        let blocks = run.chunks(BLOCK).take_while(clean).count();
        let tail = run.get((blocks * BLOCK).min(run.len())..).unwrap_or_default();
        let control = tail.iter().position(|&byte| byte < 0x20).unwrap_or(tail.len());
        self.at += run.len() - tail.len() + control;
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.fail("expected a digit") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.take(b'-');
        if self.take(b'0') {
            if let Some(b'0'..=b'9') = self.peek() {
                return self.fail("a number may not begin with 0");
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fail("expected a JSON value");
        }
        self.at += word.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let mut found = Vec::new();
        scan_object(text.as_bytes(), |member| found.push(member)).expect(text);
        let found: Vec<_> =
            found.into_iter().map(|member| (&text[member.key], &text[member.value])).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[track_caller]
    fn refuse(text: &[u8], what: &str) {
        let error = scan_object(text, |_| ()).expect_err(&String::from_utf8_lossy(text));
        assert!(error.to_string().contains(what), "{error} for {}", String::from_utf8_lossy(text));
    }

    #[test]
    fn members_come_with_their_ranges() {
        check("{}", &[]);
        check(" { } \n", &[]);
        check(r#"{"model":"a","n":-1.50e+3}"#, &[("model", r#""a""#), ("n", "-1.50e+3")]);
        check(
            r#"{ "a" : [ {} , [] , {"b":[1,2,{"c":null}]} ] , "d" : {"e":{}} , "f":true }"#,
            &[
                ("a", r#"[ {} , [] , {"b":[1,2,{"c":null}]} ]"#),
                ("d", r#"{"e":{}}"#),
                ("f", "true"),
            ],
        );
        check(r#"{"m\u006fdel":"\"\\\u00e9é"}"#, &[(r"m\u006fdel", r#""\"\\\u00e9é""#)]);
    }

    #[test]
    fn what_is_not_an_object_is_refused_with_its_place() {
        refuse(b"", "ends too early");
        refuse(b"{", "ends too early at byte 1");
        refuse(b"[]", "expected a JSON object at byte 0");
        refuse(b"null", "expected a JSON object");
        refuse(b"{\"a\":1}x", "end of the text at byte 7");
        refuse(b"{\"a\":1,}", "expected a quoted key");
        refuse(b"{\"a\":01}", "may not begin with 0");
        refuse(b"{\"a\":1.}", "expected a digit");
        refuse(b"{\"a\":nul}", "expected a JSON value");
        refuse(b"{\"a\":[1,]}", "expected a JSON value");
        refuse(b"{\"a\":\"\x01\"}", "control character");
        refuse(b"{\"a\":\"\\x\"}", "unknown escape");
        refuse(b"{\"a\":\"\\u12g4\"}", "hexadecimal");
        refuse(b"{\"a\":\"\xff\"}", "not UTF-8 at byte 6");
        refuse(b"\xef\xbb\xbf{}", "byte-order mark");
        refuse(b"{\"a\":{]}", "quoted key");
        refuse(b"{\"a\":[}]}", "JSON value");
        refuse(b"{\"a\" 1}", "expected `:`");
        refuse(b"{\"a\":1 \"b\":2}", "expected `,`");
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |depth: usize| {
            let lists = depth - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(lists), "]".repeat(lists))
        };
        scan_object(nested(MAX_DEPTH).as_bytes(), |_| ()).expect("128 levels");
        refuse(nested(MAX_DEPTH + 1).as_bytes(), "nested too deeply");
        refuse(nested(10_000).as_bytes(), "nested too deeply");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,24}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec((".{0,8}", inner), 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_objects(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.expect("a value prints");
            let mut members = serde_json::Map::new();
            let scanned = scan_object(text.as_bytes(), |member| {
                let key = format!("\"{}\"", &text[member.key]);
                members.insert(
                    serde_json::from_str(&key).expect("key"),
                    serde_json::from_str(&text[member.value]).expect("value"),
                );
            });
            prop_assert_eq!(scanned.is_ok(), value.is_object());
            if scanned.is_ok() {
                let whole: serde_json::Value = serde_json::from_str(&text).expect("whole");
                prop_assert_eq!(serde_json::Value::Object(members), whole);
            }
        }

        #[test]
        fn agrees_with_serde_json_on_damage(
            value in any_json(), at: prop::sample::Index, byte in prop::sample::select(&b"{}[],:\"\\0-1.eE+tn x\x00\xff"[..]),
        ) {
            let mut text = serde_json::to_vec(&serde_json::json!({ "a": value })).expect("prints");
            let at = at.index(text.len());
            text[at] = byte;
            let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text);
            // serde_json also refuses what is valid JSON but not a Rust value (lone surrogates,
            // numbers out of range); the scanner leaves those to the provider.
            if object.is_ok() {
                prop_assert!(scan_object(&text, |_| ()).is_ok());
            } else if scan_object(&text, |_| ()).is_ok() {
                let ignored = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
                prop_assert!(ignored.is_ok());
            }
        }
    }
}
