//! The headers in which a request of revision 2026-07-28 repeats parts of its body, so that who stands between need not read
//! it: how values are written, and whether headers and body say the same. What arguments become headers is in
//! [`super::param_header`].
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#request-metadata>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::hidden::made_visible;
use super::{edit, revision};
use crate::conversation::Json;

/// The names of the headers, as HTTP/2 spells them. Case does not matter.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
pub const METHOD: &str = "mcp-method";
pub const NAME: &str = "mcp-name";

/// What stands around a value that HTTP could not carry as it is.
const BEFORE_BASE64: &str = "=?base64?";
const AFTER_BASE64: &str = "?=";

/// Characters of a foreign value that an error repeats.
const REPEATED: usize = 80;

/// The value for `Mcp-Name` or `Mcp-Param-…`: as it is where it is printable ASCII, has no space at either end and does
/// not look encoded itself; else `=?base64?…?=`.
pub fn encode_name(value: &str) -> String {
    let is_printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let looks_encoded = value.starts_with(BEFORE_BASE64) && value.ends_with(AFTER_BASE64);
    let is_safe = is_printable && value == trimmed(value) && !looks_encoded;
    if is_safe {
        return value.to_owned();
    }
    [BEFORE_BASE64, &STANDARD.encode(value), AFTER_BASE64].concat()
}

/// What such a header's value stands for, without the spaces that HTTP allows around it. `None` where it has characters
/// that no header may have, or is marked as base64 and is not (padding and unused bits included), or not UTF-8.
pub fn decode_name(value: &str) -> Option<String> {
    let value = trimmed(value);
    let encoded =
        value.strip_prefix(BEFORE_BASE64).and_then(|rest| rest.strip_suffix(AFTER_BASE64));
    match encoded {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => {
            let may_stand = |byte| byte == b'\t' || (b' '..=b'~').contains(&byte);
            value.bytes().all(may_stand).then(|| value.to_owned())
        }
    }
}

/// What `Mcp-Name` has to say of a request: the name of a tool or prompt, the URI of a resource, the id of a task (an
/// extension); `None` where the method needs no such header, or the body lacks the member.
pub fn name_of(method: &str, params: &Json) -> Option<String> {
    edit::text(params, &[name_member(method)?])
}

/// The member of `params` that `Mcp-Name` repeats.
pub fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Why the standard headers of a request do not go with its body: one is missing, there twice, unreadable, or says
/// something else. To be answered with 400 and `-32020`. `header` gives the values of a header by its name in small
/// letters. A body without the version in its `_meta` is another matter, and not told here.
pub fn mismatch<'h>(
    method: &str,
    params: Option<&Json>,
    header: impl Fn(&str) -> Vec<&'h [u8]>,
) -> Option<String> {
    let check = || {
        let version = one(PROTOCOL_VERSION, &header(PROTOCOL_VERSION))?;
        let version = version.ok_or_else(|| missing(PROTOCOL_VERSION))?;
        let in_body = params.and_then(|it| edit::text(it, &["_meta", revision::META_VERSION]));
        if let Some(in_body) = in_body {
            same(PROTOCOL_VERSION, version, &in_body)?;
        }
        let named = one(METHOD, &header(METHOD))?.ok_or_else(|| missing(METHOD))?;
        same(METHOD, named, method)?;
        if name_member(method).is_none() {
            return Ok(());
        }
        let in_body = params.and_then(|params| name_of(method, params));
        match (one(NAME, &header(NAME))?, in_body) {
            (Some(said), Some(in_body)) => {
                let said = decode_name(said).ok_or_else(|| unreadable(NAME))?;
                same(NAME, &said, &in_body)
            }
            (Some(_), None) => Err(format!("{NAME} names what the body does not")),
            (None, Some(_)) => Err(missing(NAME)),
            (None, None) => Ok(()),
        }
    };
    check().err().map(|why: String| ["Header mismatch: ", &why].concat())
}

/// The one value of a header, without the spaces around it.
pub(super) fn one<'h>(name: &str, values: &[&'h [u8]]) -> Result<Option<&'h str>, String> {
    match values {
        [] => Ok(None),
        [value] => {
            let value = std::str::from_utf8(value).map_err(|_| unreadable(name))?;
            Ok(Some(trimmed(value)))
        }
        _ => Err(format!("{name} is there {} times", values.len())),
    }
}

pub(super) fn missing(name: &str) -> String {
    format!("{name} is missing")
}

pub(super) fn unreadable(name: &str) -> String {
    format!("{name} has characters or base64 that cannot be read")
}

fn same(name: &str, said: &str, in_body: &str) -> Result<(), String> {
    if said == in_body {
        return Ok(());
    }
    Err(format!("{name} says `{}` and the body `{}`", shown(said), shown(in_body)))
}

fn shown(value: &str) -> String {
    let mut shown: String = made_visible(value).chars().take(REPEATED).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

fn trimmed(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, encoded: &str) {
        assert_eq!(encode_name(value), encoded);
        assert_eq!(decode_name(encoded).as_deref(), Some(value));
    }

    #[test]
    fn the_examples_of_the_specification() {
        check("us-west1", "us-west1");
        check("us west 1", "us west 1");
        check("", "");
        check("file:///path/to/file%20name.txt?a=b", "file:///path/to/file%20name.txt?a=b");
        check("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?=");
        check(" padded ", "=?base64?IHBhZGRlZCA=?=");
        check("line1\nline2", "=?base64?bGluZTEKbGluZTI=?=");
        check("line1\r\nline2", "=?base64?bGluZTENCmxpbmUy?=");
        check("\tindented", "=?base64?CWluZGVudGVk?=");
        check("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
        check("us-west1 ", "=?base64?dXMtd2VzdDEg?=");
    }

    #[track_caller]
    fn decodes(value: &str, expected: Option<&str>) {
        assert_eq!(decode_name(value).as_deref(), expected, "{value}");
    }

    #[test]
    fn what_is_only_like_base64_is_literal_and_what_is_broken_is_nothing() {
        decodes("  foo\t", Some("foo"));
        decodes("SGVsbG8=", Some("SGVsbG8="));
        decodes("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8="));
        decodes("=?BASE64?SGVsbG8=?=", Some("=?BASE64?SGVsbG8=?="));
        decodes("=?base64?=", Some("=?base64?="));
        decodes("=?base64?SGVsbG8=?=", Some("Hello"));
        decodes("=?base64??=", Some(""));
        decodes("=?base64?SGVsbG8?=", None);
        decodes("=?base64?SGVs!!!bG8=?=", None);
        decodes("=?base64?SGVsbG9=?=", None);
        decodes("=?base64?/w==?=", None);
        decodes("größe", None);
        decodes("a\u{1}b", None);
    }

    #[test]
    fn names_are_where_the_method_has_them() {
        let params = Json::parse(r#"{"name":"n","uri":"u","taskId":"t"}"#).expect("JSON");
        for (method, expected) in [
            ("tools/call", Some("n")),
            ("prompts/get", Some("n")),
            ("resources/read", Some("u")),
            ("tasks/cancel", Some("t")),
            ("tools/list", None),
            ("completion/complete", None),
        ] {
            assert_eq!(name_of(method, &params).as_deref(), expected, "{method}");
        }
        assert_eq!(name_of("tools/call", &Json::empty_object()), None);
    }

    #[track_caller]
    fn judged(method: &str, params: &str, headers: &[(&str, &str)], expected: Option<&str>) {
        let params = Json::parse(params);
        let header = |name: &str| {
            let same = headers.iter().filter(|(known, _)| *known == name);
            same.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>()
        };
        let found = mismatch(method, params.as_ref(), header);
        let text = expected.map(|it| format!("Header mismatch: {it}"));
        assert_eq!(found, text);
    }

    const META: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    const CALL: &str = r#"{"name":"größe"}"#;

    #[test]
    fn headers_and_body_that_agree_pass() {
        let version = (PROTOCOL_VERSION, "2026-07-28");
        judged("tools/list", META, &[version, (METHOD, "tools/list")], None);
        judged("tools/list", META, &[version, (METHOD, " tools/list\t"), (NAME, "x")], None);
        let name = (NAME, "  =?base64?Z3LDtsOfZQ==?=  ");
        judged("tools/call", CALL, &[version, (METHOD, "tools/call"), name], None);
        judged("tools/call", "{}", &[version, (METHOD, "tools/call")], None);
    }

    #[test]
    fn each_disagreement_is_told() {
        let version = (PROTOCOL_VERSION, "2026-07-28");
        let method = (METHOD, "tools/call");
        judged("tools/list", META, &[], Some("mcp-protocol-version is missing"));
        let other = (PROTOCOL_VERSION, "2025-11-25");
        let said = "mcp-protocol-version says `2025-11-25` and the body `2026-07-28`";
        judged("tools/list", META, &[other], Some(said));
        judged("tools/list", META, &[version], Some("mcp-method is missing"));
        let said = "mcp-method says `TOOLS/LIST` and the body `tools/list`";
        judged("tools/list", META, &[version, (METHOD, "TOOLS/LIST")], Some(said));
        judged("tools/call", CALL, &[version, method], Some("mcp-name is missing"));
        let said = "mcp-name says `b` and the body `größe`";
        judged("tools/call", CALL, &[version, method, (NAME, "b")], Some(said));
        let broken = (NAME, "=?base64?SGVsbG8?=");
        let said = "mcp-name has characters or base64 that cannot be read";
        judged("tools/call", CALL, &[version, method, broken], Some(said));
        let said = "mcp-name names what the body does not";
        judged("tools/call", "{}", &[version, method, (NAME, "b")], Some(said));
        let said = "mcp-method is there 2 times";
        judged("tools/call", CALL, &[version, method, method], Some(said));
        let long = "x".repeat(500);
        let said = format!("mcp-method says `{}…` and the body `tools/call`", "x".repeat(80));
        judged("tools/call", CALL, &[version, (METHOD, &long)], Some(&said));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(value in prop_oneof![any::<String>(), "[ -~]{0,12}", "=[?]base64[?].{0,5}[?]="]) {
            let encoded = encode_name(&value);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(decode_name(&format!(" {encoded}\t")), Some(value));
        }

        #[test]
        fn no_value_is_too_odd(value in any::<String>()) {
            let _any = decode_name(&value);
        }
    }
}
