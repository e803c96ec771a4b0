//! What a target format cannot carry: named, never silent. The gateway reports losses in a header and in
//! the request's row, or refuses the request where the configuration says so.

use std::borrow::Cow;

/// One thing of the request that does not reach the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where it stood, in the client's words: `logit_bias`, `messages[2].content[0]`.
    pub path: Cow<'static, str>,
    /// Why, for people: "Ollama has no tool_choice".
    pub why: Cow<'static, str>,
}

/// The losses of one request, each path once, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(Vec<Loss>);

impl Losses {
    /// More than these say nothing new.
    const MOST: usize = 32;
    /// Characters of one path in the header.
    const LONGEST: usize = 128;
    /// Bytes of the header, the ellipsis apart.
    const HEADER: usize = 1024;

    pub fn add(&mut self, path: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) {
        let path = path.into();
        if self.0.len() < Self::MOST && !self.0.iter().any(|loss| loss.path == path) {
            self.0.push(Loss { path, why: why.into() });
        }
    }

    /// A loss where the value is there; returns it no more.
    pub fn add_if<T>(&mut self, value: Option<T>, path: &'static str, why: &'static str) {
        if value.is_some() {
            self.add(path, why);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.0.iter()
    }

    /// The paths, joined by `, `: the value of `x-tidegate-loss`. Names of fields are the client's and may be
    /// anything, a header may not: what is no plain ASCII is a `?`, long names are cut, and of too many the last
    /// are an ellipsis.
    pub fn paths(&self) -> String {
        let mut out = String::new();
        for loss in &self.0 {
            let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let path: String = loss.path.chars().take(Self::LONGEST).map(plain).collect();
            let comma = if out.is_empty() { "" } else { ", " };
            if out.len() + comma.len() + path.len() > Self::HEADER {
                out.push_str(", ...");
                break;
            }
            out.push_str(comma);
            out.push_str(&path);
        }
        out
    }

    /// Takes a loss back: what was lost is sent after all. Whether there was one of this path.
    pub fn take_back(&mut self, path: &str) -> bool {
        let count = self.0.len();
        self.0.retain(|loss| loss.path != path);
        self.0.len() < count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_plain_and_bounded() {
        let mut losses = Losses::default();
        losses.add("tools[0].strict", "x");
        losses.add("a\r\nset-cookie: h\u{e9}\u{7f}", "x");
        assert_eq!(losses.paths(), "tools[0].strict, a??set-cookie: h??");
        for at in 0..40 {
            losses.add(format!("{at}{}", "x".repeat(5000)), "x");
        }
        let paths = losses.paths();
        assert!(paths.len() < 1100 && paths.ends_with("xxx, ..."), "{paths}");
        assert!(losses.take_back("tools[0].strict") && !losses.take_back("tools[0].strict"));
    }
}
