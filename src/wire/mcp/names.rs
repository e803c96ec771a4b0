//! The names under which one server's tools and prompts are shown: made so that every client takes them, no two are the
//! same, and one tool's name does not hang on which others the server has.

use std::collections::{HashMap, HashSet};

use super::canonical::sha256;

/// What Anthropic and OpenAI take for the name of a function.
const FUNCTION_NAME: usize = 64;
/// What MCP recommends for the name of a tool (SEP-986), with `.` besides.
const TOOL_NAME: usize = 128;
/// Hexadecimal digits of the hash behind a name that had to be changed.
const HASH: usize = 8;

/// The exposed name for each of `names`, in their order, all of them different.
///
/// With a prefix (which has its separator, `db-`) each is `[a-zA-Z0-9_-]{1,64}`. A name that does not fit gets `_` for
/// every odd character, is cut, and ends in `_` and eight digits of the hash of the whole original. Without a prefix a
/// name that MCP allows (`[a-zA-Z0-9_.-]{1,128}`) stays as it is.
///
/// Where two come out the same (a name listed twice, or one that looks like another's shortened form), the first keeps
/// it and the later ones get a hash of the original and of how often it came before.
pub fn expose(prefix: &str, names: &[&str]) -> Vec<String> {
    let natural: Vec<String> = names.iter().map(|name| of(prefix, name)).collect();
    // First come the names that nobody disputes, so that a stand-in never pushes one of them away.
    let mut taken: HashSet<String> = natural.iter().cloned().collect();
    let mut claimed: HashSet<&str> = HashSet::with_capacity(natural.len());
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(natural.len());
    let mut exposed = Vec::with_capacity(natural.len());
    for (name, shown) in names.iter().zip(&natural) {
        let times = seen.entry(name).or_insert(0);
        *times += 1;
        if claimed.insert(shown) {
            exposed.push(shown.clone());
            continue;
        }
        let full = [prefix, name].concat();
        let mut number = *times;
        let other = loop {
            let other = shortened(&full, &format!("{full}\n{number}"));
            if taken.insert(other.clone()) {
                break other;
            }
            number += 1;
        };
        exposed.push(other);
    }
    exposed
}

/// The name of one tool, were it alone.
fn of(prefix: &str, name: &str) -> String {
    let full = [prefix, name].concat();
    let fits = is_function_name(&full) || (prefix.is_empty() && is_tool_name(&full));
    if fits { full } else { shortened(&full, &full) }
}

/// Odd characters replaced, cut, and with a hash of `seed` at the end: always a function's name.
pub fn shortened(full: &str, seed: &str) -> String {
    let clean = full.chars().map(|c| if is_plain(c) { c } else { '_' });
    let mut name: String = clean.take(FUNCTION_NAME - HASH - 1).collect();
    name.push('_');
    name.extend(sha256(seed).chars().take(HASH));
    name
}

/// `[a-zA-Z0-9_-]{1,64}`.
pub fn is_function_name(name: &str) -> bool {
    (1..=FUNCTION_NAME).contains(&name.len()) && name.chars().all(is_plain)
}

/// `[a-zA-Z0-9_.-]{1,128}`.
fn is_tool_name(name: &str) -> bool {
    (1..=TOOL_NAME).contains(&name.len()) && name.chars().all(|c| is_plain(c) || c == '.')
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(prefix: &str, names: &[&str], expected: &[&str]) {
        assert_eq!(expose(prefix, names), expected);
    }

    #[test]
    fn names_that_fit_stay() {
        check("db-", &["query", "list_tables"], &["db-query", "db-list_tables"]);
        check("", &["query", "admin.tools-list"], &["query", "admin.tools-list"]);
        let long = "x".repeat(128);
        check("", &[&long], &[&long]);
        let just = "x".repeat(61);
        check("db-", &[&just], &[&format!("db-{just}")]);
    }

    #[test]
    fn odd_and_long_names_end_in_their_hash() {
        check("db-", &["a.b", "a/b", ""], &["db-a_b_0df9eb75", "db-a_b_f232b57d", "db-"]);
        check("", &["größe in m", ""], &["gr__e_in_m_34d1aadf", "_e3b0c442"]);
        let (one, two) = ("y".repeat(70), "y".repeat(71));
        let names = expose("db-", &[&one, &two]);
        assert!(names.iter().all(|name| name.len() == 64 && is_function_name(name)), "{names:?}");
    }

    #[test]
    fn of_two_that_come_out_the_same_the_first_keeps_the_name() {
        let twice = expose("db-", &["a", "a", "a"]);
        assert_eq!(twice.first().map(String::as_str), Some("db-a"));
        assert_eq!(twice, expose("db-", &["a", "a", "a"]));
        let shown = expose("db-", &["a.b"]).concat();
        let literal = shown.strip_prefix("db-").expect("a prefix");
        let first = expose("db-", &["a.b", literal]);
        assert_eq!(first.first(), Some(&shown));
        assert_eq!(expose("db-", &[literal, "a.b"]).first(), Some(&shown));
    }

    #[test]
    fn many_of_one_name_cost_no_square() {
        let names = vec!["same"; 20_000];
        let distinct: HashSet<String> = expose("p-", &names).into_iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop_oneof!["[ab._]{0,3}", ".{0,12}", "[a-c]{60,70}"], 0..20)
    }

    proptest! {
        #[test]
        fn all_are_different_and_fit(prefix in "([a-z]{1,8}-)?", names in names()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let shown = expose(&prefix, &names);
            prop_assert_eq!(shown.len(), names.len());
            let distinct: HashSet<&String> = shown.iter().collect();
            prop_assert_eq!(distinct.len(), shown.len());
            for name in &shown {
                let fits = is_function_name(name) || (prefix.is_empty() && is_tool_name(name));
                prop_assert!(fits, "{:?}", name);
            }
        }

        #[test]
        fn a_name_does_not_hang_on_the_others(names in names(), prefix in "([a-z]{1,8}-)?") {
            let distinct: Vec<&str> = names.iter().map(String::as_str).collect();
            let shown = expose(&prefix, &distinct);
            let mut seen = HashSet::new();
            for (name, shown) in distinct.iter().zip(&shown) {
                let alone = of(&prefix, name);
                if seen.insert(alone.clone()) {
                    prop_assert_eq!(shown, &alone);
                }
            }
        }
    }
}
