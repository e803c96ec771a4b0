//! Whether a URI can have come from a URI template, which is how the server of a resource is found. In time proportional
//! to the product of both lengths, whatever a server or client sends. <https://www.rfc-editor.org/rfc/rfc6570>
//!
//! It is read as servers use templates, not to the letter: variables may hold characters that should have been escaped,
//! and query parameters may come in any order or not at all.

/// Longer templates match nothing.
const MAX_TEMPLATE: usize = 2 * 1024;
/// Longer URIs match nothing.
const MAX_URI: usize = 8 * 1024;

/// A piece of a template.
enum Part<'t> {
    Literal(&'t [u8]),
    /// `{x}`, `{+x}`: at least one byte, none of `without`.
    Run {
        without: &'static [u8],
    },
    /// `{/x}`, `{.x}`, `{#x}`: `lead` and what follows it, or nothing at all.
    Led {
        lead: u8,
        without: &'static [u8],
    },
    /// `{?x,y}`, `{&x}`, `{;x}`: `lead`, then pairs of a name and a value, or nothing at all.
    Pairs {
        lead: u8,
        between: u8,
        /// `;x` alone is a pair, too.
        may_lack_value: bool,
        /// Empty: any name will do, as with `{?x*}`.
        names: Vec<&'t [u8]>,
    },
}

/// Whether `uri` is an expansion of `template`: levels 1 to 3 of RFC 6570, and lists and maps (`{x*}`).
///
/// `{x}` stands for one segment of a path (no `/`), `{+x}` for anything; neither for nothing. Expressions with another
/// operator may be absent altogether. A template that is none matches nothing.
pub fn matches(template: &str, uri: &str) -> bool {
    if template.len() > MAX_TEMPLATE || uri.len() > MAX_URI {
        return false;
    }
    let Some(parts) = parse(template.as_bytes()) else { return false };
    let uri = uri.as_bytes();
    // The places of the URI up to which the parts so far can reach.
    let mut reached = vec![false; uri.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for part in &parts {
        reached = part.advance(uri, &reached);
        if !reached.contains(&true) {
            return false;
        }
    }
    reached.last() == Some(&true)
}

fn parse(mut rest: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let Some(open) = rest.iter().position(|byte| matches!(byte, b'{' | b'}')) else {
            parts.push(Part::Literal(rest));
            break;
        };
        let (literal, after) = rest.split_at_checked(open)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let inside = after.strip_prefix(b"{")?;
        let close = inside.iter().position(|byte| *byte == b'}')?;
        let (expression, after) = inside.split_at_checked(close)?;
        expand(expression, &mut parts)?;
        rest = after.get(1..)?;
    }
    Some(parts)
}

/// The parts for one expression, without its braces.
fn expand<'t>(expression: &'t [u8], parts: &mut Vec<Part<'t>>) -> Option<()> {
    let (operator, variables) = match expression.split_first()? {
        (operator @ (b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&'), rest) => (*operator, rest),
        _ => (b' ', expression),
    };
    let mut names = Vec::new();
    let mut any_explodes = false;
    for variable in variables.split(|byte| *byte == b',') {
        let explodes = variable.ends_with(b"*");
        let name = variable.strip_suffix(b"*").unwrap_or(variable);
        // `{x:3}` is the first three characters of it.
        let name = name.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.%-".contains(byte);
        if name.is_empty() || !name.iter().all(is_name) {
            return None;
        }
        names.push(name);
        any_explodes |= explodes;
        // Each variable of these has a segment or an extension of its own.
        let within: Option<&'static [u8]> = match (operator, explodes) {
            (b'/', true) => Some(b"?#"),
            (b'/' | b'.', _) => Some(b"/?#"),
            _ => None,
        };
        if let Some(without) = within {
            parts.push(Part::Led { lead: operator, without });
        }
    }
    match operator {
        b' ' => parts.push(Part::Run { without: b"/" }),
        b'+' => parts.push(Part::Run { without: b"" }),
        b'#' => parts.push(Part::Led { lead: b'#', without: b"" }),
        b';' | b'?' | b'&' => {
            if any_explodes {
                names.clear();
            }
            let between = if operator == b'?' { b'&' } else { operator };
            let may_lack_value = operator == b';';
            parts.push(Part::Pairs { lead: operator, between, may_lack_value, names });
        }
        _ => {}
    }
    Some(())
}

impl Part<'_> {
    /// The places that this part can end at, from the places where it can begin. One pass over the URI.
    fn advance(&self, uri: &[u8], from: &[bool]) -> Vec<bool> {
        match self {
            Self::Literal(text) => {
                let mut to = vec![false; from.len()];
                for at in places(from) {
                    if uri.get(at..).is_some_and(|rest| rest.starts_with(text)) {
                        mark(&mut to, at + text.len());
                    }
                }
                to
            }
            Self::Run { without } => {
                let mut to = vec![false; from.len()];
                let mut inside = false;
                for (at, (byte, begins)) in uri.iter().zip(from).enumerate() {
                    inside = (inside || *begins) && !without.contains(byte);
                    if inside {
                        mark(&mut to, at + 1);
                    }
                }
                to
            }
            Self::Led { lead, without } => {
                let mut to = from.to_vec();
                let mut inside = false;
                for (at, (byte, begins)) in uri.iter().zip(from).enumerate() {
                    inside = (*begins && byte == lead) || (inside && !without.contains(byte));
                    if inside {
                        mark(&mut to, at + 1);
                    }
                }
                to
            }
            Self::Pairs { lead, between, may_lack_value, names } => {
                let mut to = from.to_vec();
                // Where a name can begin, and where a value can be.
                let mut name_at = vec![false; from.len()];
                let mut value_at = vec![false; from.len()];
                for (at, byte) in uri.iter().enumerate() {
                    if is_marked(from, at) && byte == lead {
                        mark(&mut name_at, at + 1);
                    }
                    if is_marked(&name_at, at) && names.is_empty() {
                        mark(&mut value_at, at);
                    }
                    if is_marked(&name_at, at) {
                        for name in names {
                            let Some(rest) = uri.get(at..).and_then(|it| it.strip_prefix(*name))
                            else {
                                continue;
                            };
                            let end = at + name.len();
                            match rest.first() {
                                Some(b'=') => mark(&mut value_at, end + 1),
                                None if *may_lack_value => mark(&mut to, end),
                                Some(next) if *may_lack_value => {
                                    mark(&mut to, end);
                                    if next == between {
                                        mark(&mut name_at, end + 1);
                                    }
                                }
                                _ => {}
                            }
                        }
                    }
                    if is_marked(&value_at, at) {
                        mark(&mut to, at);
                        if byte == between {
                            mark(&mut name_at, at + 1);
                        } else if !b"/?#&".contains(byte) {
                            mark(&mut value_at, at + 1);
                        }
                    }
                }
                if is_marked(&value_at, uri.len()) {
                    mark(&mut to, uri.len());
                }
                to
            }
        }
    }
}

fn places(from: &[bool]) -> impl Iterator<Item = usize> {
    from.iter().enumerate().filter_map(|(at, reached)| reached.then_some(at))
}

fn mark(places: &mut [bool], at: usize) {
    if let Some(place) = places.get_mut(at) {
        *place = true;
    }
}

fn is_marked(places: &[bool], at: usize) -> bool {
    places.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(template: &str, yes: &[&str], no: &[&str]) {
        for uri in yes {
            assert!(matches(template, uri), "{template} must match {uri}");
        }
        for uri in no {
            assert!(!matches(template, uri), "{template} must not match {uri}");
        }
    }

    #[test]
    fn plain_texts_match_themselves() {
        check(
            "test://static-text",
            &["test://static-text"],
            &["test://static-text/", "test://", ""],
        );
        check("", &[""], &["a"]);
    }

    #[test]
    fn a_simple_variable_is_one_segment() {
        check(
            "test://template/{id}/data",
            &["test://template/123/data", "test://template/a%20b,c:d/data"],
            &["test://template//data", "test://template/1/2/data", "test://template/1/data/"],
        );
        check("{scheme}://{host}", &["a://b", "a:b://c"], &["a://", "://b", "a://b/c"]);
        check("x://{a,b}", &["x://1,2"], &["x://"]);
        check("x://{a*}-{b:3}", &["x://1,2-abc", "x://a-b-c"], &["x://a"]);
        check("größe://{x}", &["größe://ö"], &["gr://ö"]);
    }

    #[test]
    fn a_reserved_variable_is_anything() {
        check("file://{+path}", &["file:///a/b?c#d", "file://x"], &["file://", "files://a"]);
        check("{+a}/end", &["x/y/end"], &["x/y/ende", "/end"]);
    }

    #[test]
    fn operators_lead_what_may_be_absent() {
        check("x://a{#f}", &["x://a", "x://a#", "x://a#b/c?d"], &["x://ab", "x://a?b"]);
        check("x://a{.e}", &["x://a.json", "x://a.tar.gz", "x://a"], &["x://ajson", "x://a.b/c"]);
        check("x://a{/b,c}", &["x://a", "x://a/1", "x://a/1/2"], &["x://a/1/2/3", "x://a1"]);
        check("x://a{/b*}/end", &["x://a/1/2/3/end", "x://a/end"], &["x://a/1?/end", "x://a/1"]);
        check("x://a{;m,n}", &["x://a;m=1;n=2", "x://a;n", "x://a"], &["x://a;o=1", "x://a;mn"]);
    }

    #[test]
    fn query_parameters_come_in_any_order_or_not() {
        check(
            "x://a{?m,n}",
            &["x://a", "x://a?m=1", "x://a?n=1&m=", "x://a?m=a=b;c,d"],
            &[
                "x://a?",
                "x://a?o=1",
                "x://a?m",
                "x://a?m=1&o=2",
                "x://a?m=1#f",
                "x://a?m=1&",
                "x://am=1",
            ],
        );
        check(
            "x://a?fixed=1{&m}",
            &["x://a?fixed=1", "x://a?fixed=1&m=2"],
            &["x://a?fixed=1m=2", "x://a"],
        );
        check("x://a{?m*}", &["x://a?any=1&other=2", "x://a"], &["x://a?b/c", "x://a?"]);
        check("x://a{?m}{#f}", &["x://a?m=1#f", "x://a#f", "x://a?m=1"], &["x://a?m"]);
    }

    #[test]
    fn what_is_no_template_matches_nothing() {
        for template in ["{", "a}", "{}", "{a", "{=a}", "{|a}", "{a,}", "{a b}", "{{a}}", "{?}"] {
            check(template, &[], &["", "a", template]);
        }
    }

    #[test]
    fn hostile_lengths_cost_little() {
        let uri = ["a".repeat(MAX_URI - 1), "b".to_owned()].concat();
        for part in ["{+a}", "{a}a", "{+a}a{/b*}", "{?a,aa,aaa}", "aaaaaaaa{+a}", "{;a*}{.b}"] {
            let template = part.repeat(MAX_TEMPLATE / part.len());
            let _either = matches(&template, &uri);
        }
        assert!(!matches("{+a}", &"a".repeat(MAX_URI + 1)));
        assert!(!matches(&"a".repeat(MAX_TEMPLATE + 1), "a"));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(template in "[{}a?&;/.#+*,:=]{0,24}", uri in "[a?&;/.#+*,:=]{0,24}") {
            let _either = matches(&template, &uri);
        }

        #[test]
        fn an_expansion_matches(
            id in "[a-zA-Z0-9%._~,-]{1,12}",
            path in "[a-zA-Z0-9/?#=-]{1,12}",
            segments in prop::collection::vec("[a-z]{0,4}", 0..4),
            query in prop::collection::vec(("[mn]", "[a-z0-9=]{0,4}"), 0..4),
        ) {
            let segments: String = segments.iter().map(|it| format!("/{it}")).collect();
            let pairs: Vec<String> = query.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
            let uri = format!("x://{id}{segments}{query}");
            let fits = matches("x://{id}{/s*}{?m,n}", &uri);
            prop_assert!(fits, "{}", uri);
            let fits = matches("x://{+path}", &format!("x://{path}"));
            prop_assert!(fits, "{}", path);
        }
    }
}
