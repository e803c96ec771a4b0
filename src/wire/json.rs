//! One pass over a JSON object: the whole text is checked against RFC 8259, and the byte range of
//! every top-level member is reported on the way. No tree is built, nothing is copied, so a large
//! body costs a scan and not a parse. Nesting is bounded; recursion is not used.

use std::fmt;
use std::ops::Range;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

/// Deepest nesting accepted: what serde_json allows, and far above what any API needs.
pub const MAX_DEPTH: usize = 128;

/// Words of a string that are looked at one by one before longer blocks are.
const SHORT_WORDS: usize = 2;
/// Bytes of a string that are looked at at once.
const BLOCK: usize = 32;

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
pub fn scan_object(text: &[u8], visit: impl FnMut(Member)) -> Result<(), Malformed> {
    match std::str::from_utf8(text) {
        Ok(text) => scan_members(text, visit),
        Err(error) => Err(Malformed { at: error.valid_up_to(), what: "the text is not UTF-8" }),
    }
}

/// The same for what is known to be UTF-8.
///
/// # Errors
/// As [`scan_object`].
pub fn scan_members(text: &str, visit: impl FnMut(Member)) -> Result<(), Malformed> {
    Scan { text: text.as_bytes(), at: 0, known: false }.members(visit)
}

/// The same for a value that is known to be JSON: its inside is passed over and not checked again.
///
/// # Errors
/// It is no object.
pub fn members_of(value: &RawValue, visit: impl FnMut(Member)) -> Result<(), Malformed> {
    Scan { text: value.get().as_bytes(), at: 0, known: true }.members(visit)
}

/// Hands the byte range of every element of a list to `visit`, in order.
///
/// # Errors
/// The value is no list.
pub fn elements_of(value: &RawValue, visit: impl FnMut(Range<usize>)) -> Result<(), Malformed> {
    Scan { text: value.get().as_bytes(), at: 0, known: true }.elements(visit)
}
/// A part of a text that a scan has found to be a value, as serde_json has such: without looking at it
/// again. serde_json reads a raw value from a map of one member, whose name it asks for.
pub fn raw(value: &str) -> Option<&RawValue> {
    <&RawValue>::deserialize(Scanned(value)).ok()
}

struct Scanned<'de>(&'de str);

impl<'de> Deserializer<'de> for Scanned<'de> {
    type Error = serde::de::value::Error;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let value = BorrowedStrDeserializer::new(self.0);
        visitor.visit_map(MapDeserializer::new(std::iter::once((name, value))))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    /// The text is known to be JSON: only the ends of values are looked for.
    known: bool,
}

impl Scan<'_> {
    /// The whole text as an object.
    fn members(mut self, mut visit: impl FnMut(Member)) -> Result<(), Malformed> {
        self.spaces();
        if self.text.starts_with(b"\xef\xbb\xbf") {
            return self.fail("the text begins with a byte-order mark; leave it out:");
        }
        if !self.take(b'{') {
            return self.fail("expected a JSON object");
        }
        self.each(b'}', |scan| {
            let key = scan.key()?;
            let start = scan.at;
            scan.value()?;
            visit(Member { key, value: start..scan.at });
            Ok(())
        })
    }

    /// The whole text as a list.
    fn elements(mut self, mut visit: impl FnMut(Range<usize>)) -> Result<(), Malformed> {
        self.spaces();
        if !self.take(b'[') {
            return self.fail("expected a JSON list");
        }
        self.each(b']', |scan| {
            let start = scan.at;
            scan.value()?;
            visit(start..scan.at);
            Ok(())
        })
    }

    /// The members or elements of the container that was opened, up to the end of the text.
    fn each(
        &mut self,
        close: u8,
        mut one: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.spaces();
        if !self.take(close) {
            loop {
                one(self)?;
                self.spaces();
                if self.take(close) {
                    break;
                }
                if !self.take(b',') {
                    return self.fail("expected `,` or the closing bracket");
                }
                self.spaces();
            }
        }
        self.spaces();
        if self.at < self.text.len() {
            return self.fail("expected the end of the text");
        }
        Ok(())
    }

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

    /// Moves over a value that is known to be one.
    fn pass_over(&mut self) -> Result<(), Malformed> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => self.known_string()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                // Inside a container it does not matter what else there is.
                Some(_) if depth > 0 => self.at += 1,
                Some(_) => self.word(),
                None => return self.fail("the text ends too early"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Moves over a string that is known to be one: to the first quotation mark that is not escaped.
    fn known_string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(run) = memchr::memchr(b'"', rest) else {
                self.at = self.text.len();
                return self.fail("the text ends too early");
            };
            let before = rest.get(..run).unwrap_or_default();
            let escapes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
            self.at += run + 1;
            if escapes % 2 == 0 {
                return Ok(());
            }
        }
    }

    /// Moves over a number or a literal that is known to be one.
    fn word(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().position(is_end).unwrap_or(rest.len()).max(1);
    }

    /// Any value. Open containers are kept as bits (1: object), so nesting costs no recursion.
    fn value(&mut self) -> Result<(), Malformed> {
        if self.known {
            return self.pass_over();
        }
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
        if self.known {
            return self.known_string();
        }
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
    /// are short, and what is longer in blocks, for which the compiler has vector instructions.
    fn plain_run(&mut self) {
        for _ in 0..SHORT_WORDS {
            if self.plain_word() {
                return;
            }
        }
        while self.text.get(self.at..self.at + BLOCK).is_some_and(is_plain) {
            self.at += BLOCK;
        }
        while !self.plain_word() {}
    }

    /// Moves over one word, or what is plain of it; whether the run has ended.
    fn plain_word(&mut self) -> bool {
        const ONES: u64 = u64::MAX / 255;
        const HIGH: u64 = ONES << 7;
        let Some(Ok(word)) = self.text.get(self.at..self.at + 8).map(<[u8; 8]>::try_from) else {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
            self.at += rest.iter().position(special).unwrap_or(rest.len());
            return true;
        };
        let word = u64::from_le_bytes(word);
        let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        // A borrow can only raise false marks above a true one, so the lowest mark is true.
        let marks = quote | backslash | control;
        self.at += if marks == 0 { 8 } else { (marks.trailing_zeros() / 8) as usize };
        marks != 0
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

/// Whether nothing in a block ends a plain run; without a branch inside, so that it is done at once.
fn is_plain(block: &[u8]) -> bool {
    let special =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    block.iter().fold(0, |found, &byte| found | special(byte)) == 0
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
        fn what_is_known_is_passed_over_to_the_same_ends(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.expect("a value prints");
            let known: &RawValue = serde_json::from_str(&text).expect("valid");
            prop_assert_eq!(raw(&text).expect("serde_json takes it").get(), known.get());
            let (mut scanned, mut passed) = (Vec::new(), Vec::new());
            let is_object = scan_object(text.as_bytes(), |member| scanned.push(member)).is_ok();
            prop_assert_eq!(members_of(known, |member| passed.push(member)).is_ok(), is_object);
            if is_object {
                prop_assert_eq!(passed, scanned);
            }
            let mut elements = Vec::new();
            let is_list = elements_of(known, |at| elements.push(&text[at])).is_ok();
            let list = serde_json::from_str::<Vec<&RawValue>>(&text).ok();
            prop_assert_eq!(is_list, list.is_some());
            if let Some(list) = list {
                prop_assert_eq!(elements, list.iter().map(|raw| raw.get()).collect::<Vec<_>>());
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
