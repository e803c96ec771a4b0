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

    /// The paths, joined by `, `: the value of `x-tidegate-loss`.
    pub fn paths(&self) -> String {
        let paths: Vec<&str> = self.0.iter().map(|loss| &*loss.path).collect();
        paths.join(", ")
    }
}
