//! Token counts, in one convention for every format: OpenAI's, in which the input includes what was
//! read from a cache and the output includes reasoning.

/// Tokens of one answer; `None` where the provider said nothing, never a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub reasoning: Option<u64>,
}

impl Usage {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
