//! Names and the patterns that stand for them: `*` in a model list, the closest known word for a
//! misspelt one. Pure text; what the names mean is decided above.

/// A name that may hold one or more `*`, each standing for any run of characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text holds a `*` at all; without one it matches only itself.
    pub fn is_wild(&self) -> bool {
        self.0.contains('*')
    }

    /// How many characters are fixed: of two matching patterns the one with more is meant.
    pub fn weight(&self) -> usize {
        self.0.len() - self.0.matches('*').count()
    }

    pub fn matches(&self, name: &str) -> bool {
        self.captures(name).is_some()
    }

    /// What each `*` stands for in `name`, leftmost shortest; `None` when the pattern does not match.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Vec<&'n str>> {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let mut rest = name.strip_prefix(first)?;
        let mut captured = Vec::new();
        let mut pieces = pieces.peekable();
        while let Some(piece) = pieces.next() {
            let at = if pieces.peek().is_none() {
                rest.ends_with(piece).then(|| rest.len() - piece.len())?
            } else {
                rest.find(piece)?
            };
            let (star, tail) = rest.split_at_checked(at)?;
            captured.push(star);
            rest = tail.get(piece.len()..)?;
        }
        rest.is_empty().then_some(captured)
    }

    /// Puts what was captured into the stars of this pattern, in order: `openai/*` with `gpt-5`
    /// gives `openai/gpt-5`. Stars without a capture stay empty.
    pub fn fill(&self, captured: &[&str]) -> String {
        let mut pieces = self.0.split('*');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (index, piece) in pieces.enumerate() {
            text.push_str(captured.get(index).copied().unwrap_or_default());
            text.push_str(piece);
        }
        text
    }
}

/// A name that someone else chose, fit to be repeated in an answer or a log: cut to 100 characters,
/// without control characters and those that change the direction of writing.
pub fn shown(name: &str) -> String {
    let is_plain = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let mut text: String = name.chars().filter(is_plain).take(100).collect();
    if name.chars().count() > 100 {
        text.push('…');
    }
    text
}

/// Whether a `host` or `host:port` names this machine: what a page that was led here by DNS does not.
pub fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The known word closest to `word`, if one is close enough to be what was meant.
pub fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let longest_distance = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= longest_distance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, captured: Option<&[&str]>) {
        assert_eq!(Pattern::new(pattern).captures(name).as_deref(), captured, "{pattern} {name}");
    }

    #[test]
    fn only_this_machines_names_are_loopback() {
        for host in ["localhost", "LOCALHOST:4000", "127.0.0.1:1", "[::1]:4000", "a.localhost"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "localhost.evil"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn stars_match_any_run() {
        check("gpt-4o", "gpt-4o", Some(&[]));
        check("gpt-4o", "gpt-4o-mini", None);
        check("*", "", Some(&[""]));
        check("*", "anything/at:all", Some(&["anything/at:all"]));
        check("openai/*", "openai/gpt-5", Some(&["gpt-5"]));
        check("openai/*", "openai", None);
        check("house-*", "house-", Some(&[""]));
        check("*-mini", "gpt-mini-mini", Some(&["gpt-mini"]));
        check("a*b*c", "a1b2c", Some(&["1", "2"]));
        check("a*b*c", "abc", Some(&["", ""]));
        check("ab*ba", "aba", None);
        check("é*", "éa", Some(&["a"]));
    }

    #[test]
    fn captures_fill_the_upstream_name() {
        let captured = Pattern::new("house-*").captures("house-mini").unwrap_or_default();
        assert_eq!(Pattern::new("openai/gpt-*").fill(&captured), "openai/gpt-mini");
        assert_eq!(Pattern::new("openai/gpt-5").fill(&captured), "openai/gpt-5");
    }

    #[test]
    fn names_are_shown_short_and_plain() {
        assert_eq!(shown("gpt-5\r\n\u{202E}x"), "gpt-5x");
        assert_eq!(shown(&"é".repeat(101)).chars().count(), 101);
    }

    #[test]
    fn the_closest_word_is_close() {
        assert_eq!(closest("model_lst", ["model_list", "mcp_servers"]), Some("model_list"));
        assert_eq!(closest("elephant", ["model_list", "mcp_servers"]), None);
        assert_eq!(closest("db", ["bd", "x"]), Some("bd"));
    }
}
